"""Density on the CPU: points in cells, eight at a time, each cell with the Gaussians that reach it.

Points and Gaussians are taken relative to the middle of their cell in double precision before they are rounded to
single, so that nothing is lost far from the origin. A cell's sums run over its Gaussians in their order, whichever
thread has it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.gaussians.backends.numba.kernel import kernel
from VesselFlowGSLib.gaussians.backends.numba.simd import (
    LANES,
    at_most,
    below,
    exponential,
    load,
    store,
)
from VesselFlowGSLib.gaussians.backends.numba.threads import COMPILED, ranges, run
from VesselFlowGSLib.gaussians.cloud import GaussianCloud

Array = NDArray[np.float64]

FAST: dict[str, Any] = {"fastmath": True, **COMPILED}
PARTS_PER_THREAD = 4  # so that threads end together
CELL_PER_REACH = 1.1  # side of a cell over the usual Gaussian's half width
MOST_CELLS = 1 << 21
GAUSSIANS_AT_A_TIME = 256  # so that a cell's table stays in the fastest memory

# Columns of the shapes, in double precision, and of a cell's table, in single.
MEAN, REACH, FACTOR, PEAK, SHAPE_COLUMNS = 0, 3, 6, 12, 13
TABLE_COLUMNS = 10  # six of the factor, three whitened coordinates of the middle, the peak
ZERO, HALF, LARGEST = np.float32(0), np.float32(0.5), np.float32(160)


@kernel(**FAST)
def fill_shapes(first, last, mean, sigma, quaternion, peak, cut, shapes):
    """Rows of (N, 13): mean, half widths of the cut's box, the triangle U with U^T U the inverse covariance, peak.

    U comes from the whitening diag(1 / sigma) R^T by making its columns orthogonal: no digit is lost along needles.
    """
    turn, column = np.empty((3, 3)), np.empty((3, 3))
    for i in range(first, last):
        w, x, y, z = quaternion[i, 0], quaternion[i, 1], quaternion[i, 2], quaternion[i, 3]
        t = 2 / (w * w + x * x + y * y + z * z)
        turn[0, 0], turn[0, 1], turn[0, 2] = 1 - t * (y * y + z * z), t * (x * y - w * z), t * (x * z + w * y)
        turn[1, 0], turn[1, 1], turn[1, 2] = t * (x * y + w * z), 1 - t * (x * x + z * z), t * (y * z - w * x)
        turn[2, 0], turn[2, 1], turn[2, 2] = t * (x * z - w * y), t * (y * z + w * x), 1 - t * (x * x + y * y)
        for k in range(3):
            shapes[i, MEAN + k] = mean[i, k]
            variance = 0.0
            for j in range(3):
                variance += (turn[k, j] * sigma[i, j]) ** 2
                column[k, j] = turn[k, j] / sigma[i, j]
            shapes[i, REACH + k] = cut * math.sqrt(variance)
        at = FACTOR
        for k in range(3):
            length = 1 / math.sqrt(column[k, 0] ** 2 + column[k, 1] ** 2 + column[k, 2] ** 2)
            shapes[i, at] = 1 / length
            for other in range(k + 1, 3):
                along = 0.0
                for j in range(3):
                    along += column[k, j] * column[other, j]
                shapes[i, at + other - k] = along * length
                for j in range(3):
                    column[other, j] -= along * length * length * column[k, j]
            at += 3 - k
        shapes[i, PEAK] = peak[i]


@kernel(**FAST)
def sort_points(x, low, side, counts, cell_of, order):
    """Sorts points by cell; returns, of the occupied cells in their order, (K + 1,) first points and (K, 3) indices.

    cell_of (cells,) becomes the number of each occupied cell, -1 for an empty one; order (M,) the sorted points.
    """
    cell_of[:] = 0
    key = np.empty(len(x), np.int32)
    for p in range(len(x)):
        a = min(counts[0] - 1, int((x[p, 0] - low[0]) / side))
        b = min(counts[1] - 1, int((x[p, 1] - low[1]) / side))
        c = min(counts[2] - 1, int((x[p, 2] - low[2]) / side))
        key[p] = (a * counts[1] + b) * counts[2] + c
        cell_of[key[p]] += 1
    occupied = 0
    for cell in range(len(cell_of)):
        occupied += cell_of[cell] > 0
    start, index = np.empty(occupied + 1, np.int32), np.empty((occupied, 3), np.int32)
    k, before = 0, 0
    for cell in range(len(cell_of)):
        inside = cell_of[cell]
        cell_of[cell] = k if inside else -1
        if inside:
            start[k] = before
            index[k, 0], index[k, 1] = cell // (counts[1] * counts[2]), cell // counts[2] % counts[1]
            index[k, 2] = cell % counts[2]
            before += inside
            k += 1
    start[k] = before
    free = start[:-1].copy()
    for p in range(len(x)):
        k = cell_of[key[p]]
        order[free[k]] = p
        free[k] += 1
    return start, index


@kernel(inline="always", **FAST)
def _bounds(shape, axis, low, side, first, last):
    """First and last cell along an axis that a Gaussian's box touches, of those from first to last."""
    begin = (shape[MEAN + axis] - shape[REACH + axis] - low[axis]) / side
    end = (shape[MEAN + axis] + shape[REACH + axis] - low[axis]) / side
    # Compared as floats: a huge Gaussian would overflow an integer.
    return int(min(max(begin, float(first)), last + 1.0)), int(math.floor(min(max(end, first - 1.0), float(last))))


@kernel(**FAST)
def _pairs(first, last, shapes, low, side, counts, cell_of, index, begin, members):
    """Notes for each occupied cell first ... last - 1 the Gaussians whose boxes touch it: counts them into begin where
    members is empty, else writes them behind begin."""
    writing = len(members) > 0
    first_layer, last_layer = index[first, 0], index[last - 1, 0]
    for i in range(len(shapes)):
        shape = shapes[i]
        a0, a1 = _bounds(shape, 0, low, side, first_layer, last_layer)
        b0, b1 = _bounds(shape, 1, low, side, 0, counts[1] - 1)
        c0, c1 = _bounds(shape, 2, low, side, 0, counts[2] - 1)
        if a0 > a1 or b0 > b1 or c0 > c1:
            continue
        if (a1 - a0 + 1) * (b1 - b0 + 1) * (c1 - c0 + 1) > last - first:
            for k in range(first, last):
                a, b, c = index[k, 0], index[k, 1], index[k, 2]
                if a0 <= a <= a1 and b0 <= b <= b1 and c0 <= c <= c1:
                    if writing:
                        members[begin[k - first]] = i
                    begin[k - first] += 1
            continue
        for a in range(a0, a1 + 1):
            for b in range(b0, b1 + 1):
                row = (a * counts[1] + b) * counts[2]
                for cell in range(row + c0, row + c1 + 1):
                    k = cell_of[cell]
                    if first <= k < last:
                        if writing:
                            members[begin[k - first]] = i
                        begin[k - first] += 1


@kernel(inline="always", **FAST)
def _gather(x, order, begin, end, local, middle, half):
    """The points of a cell relative to the middle of their box, in local (3, room); the middle and half the box."""
    for k in range(3):
        least = most = x[order[begin], k]
        for p in range(begin + 1, end):
            least, most = min(least, x[order[p], k]), max(most, x[order[p], k])
        middle[k], half[k] = 0.5 * (least + most), 0.5 * (most - least)
        for p in range(begin, end):
            local[k, p - begin] = x[order[p], k] - middle[k]
        for p in range(end, end + LANES):
            local[k, p - begin] = 0


@kernel(inline="always", **FAST)
def _reaches(shape, middle, half, cut, row):
    """Whether a Gaussian reaches a box; its row of the cell's table."""
    x, y, z = middle[0] - shape[MEAN], middle[1] - shape[MEAN + 1], middle[2] - shape[MEAN + 2]
    u0, u1, u2 = shape[FACTOR], shape[FACTOR + 1], shape[FACTOR + 2]
    u3, u4, u5 = shape[FACTOR + 3], shape[FACTOR + 4], shape[FACTOR + 5]
    a, b, c = u0 * x + u1 * y + u2 * z, u3 * y + u4 * z, u5 * z
    beyond_a = max(0.0, abs(a) - abs(u0) * half[0] - abs(u1) * half[1] - abs(u2) * half[2])
    beyond_b = max(0.0, abs(b) - abs(u3) * half[1] - abs(u4) * half[2])
    beyond_c = max(0.0, abs(c) - abs(u5) * half[2])
    row[0], row[1], row[2], row[3], row[4], row[5] = u0, u1, u2, u3, u4, u5
    row[6], row[7], row[8], row[9] = a, b, c, shape[PEAK]
    return beyond_a * beyond_a + beyond_b * beyond_b + beyond_c * beyond_c < cut * cut


@kernel(inline="always", **FAST)
def _add(table, filled, local, count, room, square, sums):
    """Adds the filled rows of the table to the sums (4, room) at the points of a cell: density and gradient."""
    for p in range(0, count, LANES):
        x, y, z = load(local, p), load(local, room + p), load(local, 2 * room + p)
        value, gx, gy, gz = load(sums, p), load(sums, room + p), load(sums, 2 * room + p), load(sums, 3 * room + p)
        for j in range(filled):
            u0, u1, u2 = table[j, 0], table[j, 1], table[j, 2]
            u3, u4, u5 = table[j, 3], table[j, 4], table[j, 5]
            a = x * u0 + (y * u1 + (z * u2 + table[j, 6]))
            b = y * u3 + (z * u4 + table[j, 7])
            c = z * u5 + table[j, 8]
            squared = a * a + (b * b + c * c)
            weight = below(exponential(at_most(squared, LARGEST) * -HALF) * table[j, 9], squared, square)
            value = value + weight
            a, b, c = a * weight, b * weight, c * weight
            gx = gx - a * u0
            gy = gy - (a * u1 + b * u3)
            gz = gz - (a * u2 + (b * u4 + c * u5))
        store(sums, p, value)
        store(sums, room + p, gx)
        store(sums, 2 * room + p, gy)
        store(sums, 3 * room + p, gz)


@kernel(**FAST)
def add_cells(first, last, x, order, start, index, cell_of, low, side, counts, shapes, cut, values, gradients):
    """Density and gradient at the points of the occupied cells first ... last - 1."""
    begin = np.zeros(last - first + 1, np.int64)
    _pairs(first, last, shapes, low, side, counts, cell_of, index, begin, np.empty(0, np.int32))
    total = 0
    for k in range(last - first):
        begin[k], total = total, total + begin[k]
    members = np.empty(max(total, 1), np.int32)
    _pairs(first, last, shapes, low, side, counts, cell_of, index, begin, members)

    most = 0
    for k in range(first, last):
        most = max(most, start[k + 1] - start[k])
    room = most + LANES
    local, sums = np.empty((3, room), np.float32), np.empty((4, room), np.float32)
    table = np.empty((GAUSSIANS_AT_A_TIME, TABLE_COLUMNS), np.float32)
    middle, half, square = np.empty(3), np.empty(3), np.float32(cut * cut)
    listed = 0
    for k in range(first, last):
        count = start[k + 1] - start[k]
        _gather(x, order, start[k], start[k + 1], local, middle, half)
        sums[:] = 0
        filled = 0
        # begin is now where the next cell's begin.
        for j in range(listed, begin[k - first]):
            if _reaches(shapes[members[j]], middle, half, cut, table[filled]):
                filled += 1
            if filled == GAUSSIANS_AT_A_TIME:
                _add(table, filled, local, count, room, square, sums)
                filled = 0
        _add(table, filled, local, count, room, square, sums)
        listed = begin[k - first]
        for p in range(count):
            at = order[start[k] + p]
            values[at] = sums[0, p]
            gradients[at, 0], gradients[at, 1], gradients[at, 2] = sums[1, p], sums[2, p], sums[3, p]


def density(cloud: GaussianCloud, points: Array, cut: float, device: str, threads: int) -> tuple[Array, Array]:
    """Attenuation (M,) in 1/mm and its gradient (M, 3) in 1/mm^2 at (M, 3) LPS mm points; all well formed, at
    least one."""
    values, gradients = np.zeros(len(points)), np.zeros((len(points), 3))
    x = np.ascontiguousarray(points)
    parts = PARTS_PER_THREAD * threads if threads > 1 else 1
    shapes = np.empty((len(cloud), SHAPE_COLUMNS))
    of_cloud = (cloud.mean, cloud.sigma, cloud.quaternion, cloud.density)
    mean, sigma, quaternion, peak = (np.ascontiguousarray(v, np.float64) for v in of_cloud)
    run(threads, fill_shapes, ranges(len(cloud), parts), mean, sigma, quaternion, peak, float(cut), shapes)

    low = np.array([x[:, k].min() for k in range(3)])  # along the short axis numpy is ten times slower
    extent = np.array([x[:, k].max() for k in range(3)]) - low
    side = max(CELL_PER_REACH * float(np.median(shapes[:, REACH : REACH + 3])), float(extent.max()) / MOST_CELLS)
    while np.prod(np.floor(extent / side) + 1) > MOST_CELLS:
        side *= 1.26  # half as many
    counts = (np.floor(extent / side) + 1).astype(np.int64)
    cell_of, order = np.empty(int(counts.prod()), np.int32), np.empty(len(x), np.int32)
    start, index = sort_points(x, low, side, counts, cell_of, order)
    shared = (x, order, start, index, cell_of, low, side, counts, shapes, float(cut), values, gradients)
    run(threads, add_cells, _divided(start, parts), *shared)
    return values, gradients


def _divided(start: NDArray[np.int32], parts: int) -> list[tuple[int, int]]:
    """Ranges of occupied cells with about as many points each; they do not touch the sums of a cell."""
    wanted = np.linspace(0, start[-1], parts + 1)
    edges = np.unique(np.searchsorted(start, wanted))
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]

"""Density on the CPU: points in cells, eight at a time, each cell with the Gaussians that reach it.

Points and Gaussians are taken relative to the middle of their cell in double precision before they are rounded to
single, so that nothing is lost far from the origin. A cell's sums run over its Gaussians in their order, whichever
thread has it.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from VesselFlowGSLib.gaussians.backends.numba.threads import COMPILED, run
from VesselFlowGSLib.gaussians.cloud import GaussianCloud

Array = NDArray[np.float64]
Index = NDArray[np.int32]

FAST: dict[str, Any] = {"fastmath": True, **COMPILED}
PARTS_PER_THREAD = 4  # so that threads end together
CELL_PER_REACH = 1.1  # side of a cell over the usual Gaussian's half width
MOST_CELLS = 1 << 21
GAUSSIANS_AT_A_TIME = 256  # so that a cell's table stays in the fastest memory

# Columns of the shapes, in double precision, and of a cell's table, in single.
MEAN, REACH, FACTOR, PEAK, SHAPE_COLUMNS = 0, 3, 6, 12, 13
TABLE_COLUMNS = 10  # six of the factor, three whitened coordinates of the middle, the peak
ZERO, HALF, LARGEST = np.float32(0), np.float32(0.5), np.float32(160)


def _shapes(cloud: GaussianCloud, cut: float) -> Array:
    """Rows of (N, 13): mean, half widths of the cut's box, the triangle U with U^T U the inverse covariance, peak.

    U comes from the whitening diag(1 / sigma) R^T by making its columns orthogonal: no digit is lost along needles.
    """
    w, x, y, z = np.ascontiguousarray(cloud.quaternion.T)
    t = 2 / (w * w + x * x + y * y + z * z)
    turn = (
        (1 - t * (y * y + z * z), t * (x * y - w * z), t * (x * z + w * y)),
        (t * (x * y + w * z), 1 - t * (x * x + z * z), t * (y * z - w * x)),
        (t * (x * z - w * y), t * (y * z + w * x), 1 - t * (x * x + y * y)),
    )
    sigma = np.ascontiguousarray(cloud.sigma.T)
    shapes = np.empty((len(cloud), SHAPE_COLUMNS))
    shapes[:, MEAN : MEAN + 3], shapes[:, PEAK] = cloud.mean, cloud.density
    columns = []
    for k in range(3):
        axes = np.stack(turn[k])
        shapes[:, REACH + k] = cut * np.sqrt(((axes * sigma) ** 2).sum(0))
        columns.append(axes / sigma)
    at = FACTOR
    for k in range(3):
        length = np.sqrt((columns[k] ** 2).sum(0))
        unit = columns[k] / length
        shapes[:, at] = length
        for other in range(k + 1, 3):
            along = (unit * columns[other]).sum(0)
            shapes[:, at + other - k] = along
            columns[other] -= along * unit
        at += 3 - k
    return shapes


@dataclass(frozen=True)
class _Cells:
    """Points sorted into the cells of a grid.

    low (3,) mm, side mm, counts (3,)  the grid
    cell_of  (cells,) number of each occupied cell, -1 for an empty one
    index    (K, 3) where the occupied cells are
    start    (K + 1,) their first points in the order
    order    (M,)
    """

    low: Array
    side: float
    counts: Index
    cell_of: Index
    index: Index
    start: Index
    order: Index


def _cells(x: Array, wanted_mm: float) -> _Cells:
    low = np.array([x[:, k].min() for k in range(3)])  # along the short axis numpy is ten times slower
    extent = np.array([x[:, k].max() for k in range(3)]) - low
    side = max(wanted_mm, float(extent.max()) / MOST_CELLS)
    while np.prod(np.floor(extent / side) + 1) > MOST_CELLS:
        side *= 1.26  # half as many
    counts = (np.floor(extent / side) + 1).astype(np.int32)
    key = np.zeros(len(x), np.int32)
    for k in range(3):
        key = key * counts[k] + np.minimum(((x[:, k] - low[k]) / side).astype(np.int32), counts[k] - 1)
    # A stable order in linear time, which numpy has for numbers of 16 bits.
    order = np.argsort((key & 0xFFFF).astype(np.uint16), kind="stable")
    order = order[np.argsort((key >> 16).astype(np.uint16)[order], kind="stable")]
    ordered = key[order]
    begin = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1])
    occupied = ordered[begin]
    cell_of = np.full(int(np.prod(counts)), -1, np.int32)
    cell_of[occupied] = np.arange(len(occupied))
    index = np.stack(np.unravel_index(occupied, tuple(counts)), 1).astype(np.int32)
    start = np.append(begin, len(x)).astype(np.int32)
    return _Cells(low, side, counts, cell_of, index, start, order.astype(np.int32))


@kernel(**FAST)
def _touched(centre, reach, low, side, first, last):
    """First and last cell along an axis that a Gaussian's box touches, of those from first to last."""
    begin, end = (centre - reach - low) / side, (centre + reach - low) / side
    # Compared as floats: a huge Gaussian would overflow an integer.
    if end < first or begin >= last + 1:
        return 1, 0
    return (first if begin < first else int(begin)), (last if end >= last else int(end))


@kernel(**FAST)
def _pairs(first, last, shapes, low, side, counts, cell_of, index, begin, members):
    """Notes for each occupied cell first ... last - 1 the Gaussians whose boxes touch it: counts them into begin where
    members is empty, else writes them behind begin."""
    writing = len(members) > 0
    for i in range(len(shapes)):
        a0, a1 = _touched(shapes[i, MEAN], shapes[i, REACH], low[0], side, index[first, 0], index[last - 1, 0])
        if a0 > a1:
            continue
        b0, b1 = _touched(shapes[i, MEAN + 1], shapes[i, REACH + 1], low[1], side, np.int32(0), counts[1] - np.int32(1))
        c0, c1 = _touched(shapes[i, MEAN + 2], shapes[i, REACH + 2], low[2], side, np.int32(0), counts[2] - np.int32(1))
        if b0 > b1 or c0 > c1:
            continue
        # The cells of the box, or where that is more, all cells.
        inside = (a1 - a0 + 1) * (b1 - b0 + 1) * (c1 - c0 + 1)
        of_box = inside <= last - first
        for n in range(inside if of_box else last - first):
            k = first + n
            if of_box:
                row, c = divmod(n, c1 - c0 + 1)
                a, b = divmod(row, b1 - b0 + 1)
                k = cell_of[((a0 + a) * counts[1] + b0 + b) * counts[2] + c0 + c]
                if k < first or k >= last:
                    continue
            else:
                a, b, c = index[k, 0], index[k, 1], index[k, 2]
                if a < a0 or a > a1 or b < b0 or b > b1 or c < c0 or c > c1:
                    continue
            if writing:
                members[begin[k - first]] = i
            begin[k - first] += 1


@kernel(**FAST)
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


@kernel(**FAST)
def _reaches(shape, middle, half, cut, row):
    """Whether a Gaussian reaches a box; its row of the cell's table."""
    x, y, z = middle[0] - shape[MEAN], middle[1] - shape[MEAN + 1], middle[2] - shape[MEAN + 2]
    u0, u1, u2 = shape[FACTOR], shape[FACTOR + 1], shape[FACTOR + 2]
    u3, u4, u5 = shape[FACTOR + 3], shape[FACTOR + 4], shape[FACTOR + 5]
    a, b, c = u0 * x + u1 * y + u2 * z, u3 * y + u4 * z, u5 * z
    beyond_a = max(0.0, abs(a) - abs(u0) * half[0] - abs(u1) * half[1] - abs(u2) * half[2])
    beyond_b = max(0.0, abs(b) - abs(u3) * half[1] - abs(u4) * half[2])
    beyond_c = max(0.0, abs(c) - abs(u5) * half[2])
    row[0], row[1], row[2] = u0, u1, u2
    row[3], row[4], row[5] = u3, u4, u5
    row[6], row[7], row[8] = a, b, c
    row[9] = shape[PEAK]
    return beyond_a * beyond_a + beyond_b * beyond_b + beyond_c * beyond_c < cut * cut


@kernel(**FAST)
def _add(table, filled, local, count, room, square, sums):
    """Adds the filled rows of the table to the sums (4, room) at the points of a cell: density and gradient."""
    for p in range(0, count, LANES):
        x, y, z = load(local, p), load(local, room + p), load(local, 2 * room + p)
        value, gx = load(sums, p), load(sums, room + p)
        gy, gz = load(sums, 2 * room + p), load(sums, 3 * room + p)
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
    shapes = _shapes(cloud, cut)
    cells = _cells(x, CELL_PER_REACH * float(np.median(shapes[:, REACH : REACH + 3])))
    parts = PARTS_PER_THREAD * threads if threads > 1 else 1
    grid = (cells.order, cells.start, cells.index, cells.cell_of, cells.low, cells.side, cells.counts)
    run(threads, add_cells, _divided(cells.start, parts), x, *grid, shapes, float(cut), values, gradients)
    return values, gradients


def _divided(start: Index, parts: int) -> list[tuple[int, int]]:
    """Ranges of occupied cells with about as many points each; they do not touch the sums of a cell."""
    wanted = np.linspace(0, start[-1], parts + 1)
    edges = np.unique(np.searchsorted(start, wanted))
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]

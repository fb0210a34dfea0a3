"""Kernels that add footprints into images, and gather the image's gradient over them; eight pixels at a time.

Images, distances and gradients of one frame are (rows, columns + LANES): a block of lanes may reach over a row's end.
"""

from __future__ import annotations

import numpy as np

from VesselFlowGSLib.gaussians.backends.numba.footprint import (
    A11,
    AMPLITUDE,
    B1,
    B2,
    C11,
    C12,
    C22,
    FOOT_U,
    FOOT_V,
    MOMENTS,
    PART_U,
    PART_V,
    WIDTH,
    K,
    M,
)
from VesselFlowGSLib.gaussians.backends.numba.kernel import kernel
from VesselFlowGSLib.gaussians.backends.numba.simd import (
    LANES,
    at_least,
    at_most,
    ceiling,
    exponential,
    first,
    floor,
    load,
    ramp,
    root,
    spread,
    store,
    totals,
)
from VesselFlowGSLib.gaussians.backends.numba.threads import COMPILED

FAST = {"fastmath": True, **COMPILED}
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
DEEPEST = np.float32(-80)  # exponent; below, the falloff is nothing


# A kernel's scratch: what `fill_lines` says of eight image rows, the values of eight pixels, and sums in lanes.
LOW, HIGH, CENTRE, REST, CONSTANT, SLOPE, VALUES, SUMS = (LANES * k for k in range(8))
SCRATCH = SUMS + LANES * LANES


@kernel(**FAST)
def fill_lines(lines, y, row, cut2, columns):
    """A footprint on the image rows y ... y + 7: its first and last column (first > last: none), and what its quadratic
    forms become there, num = A11 (du - centre)^2 + rest, den = (C11 du + slope) du + constant."""
    dv = (ramp() + (np.float32(y) - row[FOOT_V])) - row[PART_V]
    centre, rest = dv * -row[K], dv * dv * row[M]
    half = root(at_least((cut2 - rest) * (ONE / row[A11]), ZERO))
    foot = (centre + row[PART_U]) + row[FOOT_U]
    store(lines, LOW, at_least(ceiling(foot - half), ZERO))
    store(lines, HIGH, at_most(floor(foot + half), np.float32(columns - 1)))
    store(lines, CENTRE, centre)
    store(lines, REST, rest)
    store(lines, CONSTANT, (dv * row[C22] + TWO * row[B2]) * dv + ONE)
    store(lines, SLOPE, (dv * row[C12] + row[B1]) * TWO)


@kernel(**FAST)
def forward_one(low, high, scratch, table, spans, distances, image, columns, cut2):
    """Adds unit weights into image rows low ... high - 1; image and distances (rows, columns + LANES)."""
    stride, steps = columns + LANES, ramp()
    for i in range(len(table)):
        first_row, last_row = max(low, spans[i, 0]), min(high - 1, spans[i, 1])
        if first_row > last_row:
            continue
        row = table[i]
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11, amplitude = row[A11], row[C11], row[AMPLITUDE]
        for y in range(first_row, last_row + 1):
            n = (y - first_row) % LANES
            if n == 0:
                fill_lines(scratch, y, row, cut2, columns)
            low_x, high_x, rest = scratch[LOW + n], scratch[HIGH + n], scratch[REST + n]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = scratch[CENTRE + n], scratch[CONSTANT + n], scratch[SLOPE + n]
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - foot_u) - part_u)
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = (apart * apart * a11 + rest) * inverse
                at = y * stride + x
                value = load(distances, at) * root(inverse) * exponential(at_most(exponent, -DEEPEST) * -HALF)
                store(image, at, load(image, at) + first(value * amplitude, x1 - x))


@kernel(**FAST)
def forward_frames(low, high, scratch, table, spans, distances, weights, image, columns, cut2):
    """Adds weights (N, T) into image rows low ... high - 1 of (rows, columns, T), T a multiple of LANES."""
    stride, frames, steps = columns + LANES, weights.shape[1], ramp()
    for i in range(len(table)):
        first_row, last_row = max(low, spans[i, 0]), min(high - 1, spans[i, 1])
        if first_row > last_row:
            continue
        row = table[i]
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11, amplitude = row[A11], row[C11], row[AMPLITUDE]
        for y in range(first_row, last_row + 1):
            n = (y - first_row) % LANES
            if n == 0:
                fill_lines(scratch, y, row, cut2, columns)
            low_x, high_x, rest = scratch[LOW + n], scratch[HIGH + n], scratch[REST + n]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = scratch[CENTRE + n], scratch[CONSTANT + n], scratch[SLOPE + n]
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - foot_u) - part_u)
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = (apart * apart * a11 + rest) * inverse
                value = load(distances, y * stride + x) * root(inverse)
                value = value * exponential(at_most(exponent, -DEEPEST) * -HALF)
                # Four pixels at a time. Where fewer are left the last one gets nothing once more.
                count = min(LANES, x1 + 1 - x)
                store(scratch, VALUES, first(value * amplitude, count - 1))
                for k in range(0, LANES, 4):
                    at0 = (y * columns + x + min(k, count - 1)) * frames
                    at1 = (y * columns + x + min(k + 1, count - 1)) * frames
                    at2 = (y * columns + x + min(k + 2, count - 1)) * frames
                    at3 = (y * columns + x + min(k + 3, count - 1)) * frames
                    v0, v1 = scratch[VALUES + k], scratch[VALUES + k + 1]
                    v2, v3 = scratch[VALUES + k + 2], scratch[VALUES + k + 3]
                    for t in range(0, frames, LANES):
                        w = load(weights, i * frames + t)
                        store(image, at0 + t, load(image, at0 + t) + w * v0)
                        store(image, at1 + t, load(image, at1 + t) + w * v1)
                        store(image, at2 + t, load(image, at2 + t) + w * v2)
                        store(image, at3 + t, load(image, at3 + t) + w * v3)


@kernel(**FAST)
def _store_moments(scratch, moments, n, s0, s1, s2, s3, s4, s5, e0, e1, e2, e3, e4, e5):
    """Adds up the lanes of twelve sums into moments[n]."""
    store(scratch, SUMS, s0)
    store(scratch, SUMS + LANES, s1)
    store(scratch, SUMS + 2 * LANES, s2)
    store(scratch, SUMS + 3 * LANES, s3)
    store(scratch, SUMS + 4 * LANES, s4)
    store(scratch, SUMS + 5 * LANES, s5)
    store(scratch, SUMS + 6 * LANES, e0)
    store(scratch, SUMS + 7 * LANES, e1)
    store(moments, n * MOMENTS, totals(scratch, SUMS))
    store(scratch, SUMS, e2)
    store(scratch, SUMS + LANES, e3)
    store(scratch, SUMS + 2 * LANES, e4)
    store(scratch, SUMS + 3 * LANES, e5)
    store(moments, n * MOMENTS + LANES, totals(scratch, SUMS))


@kernel(**FAST)
def gather_one(scratch, table, spans, distances, gradient, columns, cut2, moments):
    """The moments (n, 16) of an image's gradient over the footprints of a table; see `pull_back`."""
    stride, steps, zero = columns + LANES, ramp(), spread(np.float32(0))
    for i in range(len(table)):
        first_row, last_row = spans[i, 0], spans[i, 1]
        if first_row > last_row:
            continue
        row = table[i]
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11 = row[A11], row[C11]
        s0 = s1 = s2 = s3 = s4 = s5 = zero
        e0 = e1 = e2 = e3 = e4 = e5 = zero
        for y in range(first_row, last_row + 1):
            k = (y - first_row) % LANES
            if k == 0:
                fill_lines(scratch, y, row, cut2, columns)
            low_x, high_x, rest = scratch[LOW + k], scratch[HIGH + k], scratch[REST + k]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = scratch[CENTRE + k], scratch[CONSTANT + k], scratch[SLOPE + k]
            dv = (np.float32(y) - row[FOOT_V]) - row[PART_V]
            # Moments of the row; the powers of dv come in once a row.
            v0 = t0 = t1 = t2 = m0 = m1 = m2 = zero
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - foot_u) - part_u)
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = at_most((apart * apart * a11 + rest) * inverse, -DEEPEST)
                at = y * stride + x
                value = load(distances, at) * root(inverse) * exponential(exponent * -HALF)
                value = value * first(load(gradient, at), x1 - x)
                t = value * inverse
                m = t * (exponent - ONE)
                td, md = t * du, m * du
                v0, t0 = v0 + value, t0 + t
                t1, t2 = t1 + td, t2 + td * du
                m0, m1, m2 = m0 + m, m1 + md, m2 + md * du
            s0, s1, s2 = s0 + v0, s1 + t1, s2 + t0 * dv
            s3, s4, s5 = s3 + t2, s4 + t1 * dv, s5 + t0 * (dv * dv)
            e0, e1, e2 = e0 + m0, e1 + m1, e2 + m0 * dv
            e3, e4, e5 = e3 + m2, e4 + m1 * dv, e5 + m0 * (dv * dv)
        _store_moments(scratch, moments, i, s0, s1, s2, s3, s4, s5, e0, e1, e2, e3, e4, e5)


@kernel(**FAST)
def gather_frames(
    scratch, table, spans, distances, gradient, weights, columns, cut2, geometry, to_weights, moments
):  # fmt: skip
    """The same for frames (rows, columns, T) and weights (n, T), and what the gradient means for the weights.

    geometry: whether the moments are wanted.
    """
    stride, frames = columns + LANES, weights.shape[1]
    steps, zero = ramp(), spread(np.float32(0))
    for i in range(len(table)):
        first_row, last_row = spans[i, 0], spans[i, 1]
        if first_row > last_row:
            continue
        row = table[i]
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11, amplitude = row[A11], row[C11], row[AMPLITUDE]
        s0 = s1 = s2 = s3 = s4 = s5 = zero
        e0 = e1 = e2 = e3 = e4 = e5 = zero
        for y in range(first_row, last_row + 1):
            k = (y - first_row) % LANES
            if k == 0:
                fill_lines(scratch, y, row, cut2, columns)
            low_x, high_x, rest = scratch[LOW + k], scratch[HIGH + k], scratch[REST + k]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = scratch[CENTRE + k], scratch[CONSTANT + k], scratch[SLOPE + k]
            dv = (np.float32(y) - row[FOOT_V]) - row[PART_V]
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - foot_u) - part_u)
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = at_most((apart * apart * a11 + rest) * inverse, -DEEPEST)
                value = load(distances, y * stride + x) * root(inverse) * exponential(exponent * -HALF)
                # Four pixels at a time, so that the sums over pixels do not wait for their own last store. Where fewer
                # are left the last one is read again, with nothing.
                count = min(LANES, x1 + 1 - x)
                store(scratch, VALUES, first(value * amplitude, count - 1))
                for k in range(0, LANES, 4):
                    at0 = (y * columns + x + min(k, count - 1)) * frames
                    at1 = (y * columns + x + min(k + 1, count - 1)) * frames
                    at2 = (y * columns + x + min(k + 2, count - 1)) * frames
                    at3 = (y * columns + x + min(k + 3, count - 1)) * frames
                    v0, v1 = scratch[VALUES + k], scratch[VALUES + k + 1]
                    v2, v3 = scratch[VALUES + k + 2], scratch[VALUES + k + 3]
                    f0 = f1 = f2 = f3 = zero
                    for t in range(i * frames, (i + 1) * frames, LANES):
                        w, of_pixels = load(weights, t), load(to_weights, t)
                        g0, g1 = load(gradient, at0), load(gradient, at1)
                        g2, g3 = load(gradient, at2), load(gradient, at3)
                        store(to_weights, t, (of_pixels + g0 * v0 + g1 * v1) + (g2 * v2 + g3 * v3))
                        f0, f1 = f0 + g0 * w, f1 + g1 * w
                        f2, f3 = f2 + g2 * w, f3 + g3 * w
                        at0, at1 = at0 + LANES, at1 + LANES
                        at2, at3 = at2 + LANES, at3 + LANES
                    store(scratch, SUMS + k * LANES, f0)
                    store(scratch, SUMS + (k + 1) * LANES, f1)
                    store(scratch, SUMS + (k + 2) * LANES, f2)
                    store(scratch, SUMS + (k + 3) * LANES, f3)
                if geometry:
                    value = value * first(totals(scratch, SUMS), count - 1)
                    t_ = value * inverse
                    m = t_ * (exponent - ONE)
                    td, md = t_ * du, m * du
                    s0, s1, s2 = s0 + value, s1 + td, s2 + t_ * dv
                    s3, s4, s5 = s3 + td * du, s4 + td * dv, s5 + t_ * (dv * dv)
                    e0, e1, e2 = e0 + m, e1 + md, e2 + m * dv
                    e3, e4, e5 = e3 + md * du, e4 + md * dv, e5 + m * (dv * dv)
        if geometry:
            _store_moments(scratch, moments, i, s0, s1, s2, s3, s4, s5, e0, e1, e2, e3, e4, e5)


@kernel(**COMPILED)
def row_work(table, spans, work):
    """What each image row costs, about: adds to work (rows + 1,) the differences from row to row."""
    for i in range(len(table)):
        if spans[i, 0] <= spans[i, 1]:
            cost = 2.0 + min(table[i, WIDTH], 1e4) / 4
            work[spans[i, 0]] += cost
            work[spans[i, 1] + 1] -= cost

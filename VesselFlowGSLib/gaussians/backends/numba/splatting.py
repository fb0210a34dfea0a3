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
    PART_U,
    PART_V,
    PARTS,
    TABLE_COLUMNS,
    WIDTH,
    K,
    M,
    fill_row,
    pull_back,
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
    total,
    totals,
)
from VesselFlowGSLib.gaussians.backends.numba.threads import COMPILED

FAST = {"fastmath": True, **COMPILED}
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
DEEPEST = np.float32(-80)  # exponent; below, the falloff is nothing


# What `fill_lines` says of eight image rows: where in the array each number's eight begin.
LOW, HIGH, CENTRE, REST, CONSTANT, SLOPE = (LANES * k for k in range(6))
LINES = 6 * LANES


@kernel(**FAST)
def fill_lines(lines, y, row, cut2, columns):
    """A footprint on the image rows y ... y + 7: its first and last column (first > last: none), and what its quadratic
    forms become there, num = A11 (du - centre)^2 + rest, den = (C11 du + slope) du + constant. lines (LINES,)."""
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
def forward_one(low, high, table, spans, distances, image, columns, cut2):
    """Adds unit weights into image rows low ... high - 1; image and distances (rows, columns + LANES)."""
    stride = columns + LANES
    steps, lines = ramp(), np.empty(LINES, np.float32)
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
                fill_lines(lines, y, row, cut2, columns)
            low_x, high_x, rest = lines[LOW + n], lines[HIGH + n], lines[REST + n]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = lines[CENTRE + n], lines[CONSTANT + n], lines[SLOPE + n]
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - foot_u) - part_u)
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = (apart * apart * a11 + rest) * inverse
                at = y * stride + x
                value = load(distances, at) * root(inverse) * exponential(at_most(exponent, -DEEPEST) * -HALF)
                store(image, at, load(image, at) + first(value * amplitude, x1 - x))


@kernel(**FAST)
def forward_frames(low, high, table, spans, order, distances, weights, image, columns, cut2):
    """Adds weights (N, T) into image rows low ... high - 1 of (rows, columns, T), T a multiple of LANES."""
    stride, frames = columns + LANES, weights.shape[1]
    steps, lines = ramp(), np.empty(LINES, np.float32)
    values = np.empty(LANES, np.float32)
    for i in order:
        first_row, last_row = max(low, spans[i, 0]), min(high - 1, spans[i, 1])
        if first_row > last_row:
            continue
        row = table[i]
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11, amplitude = row[A11], row[C11], row[AMPLITUDE]
        for y in range(first_row, last_row + 1):
            n = (y - first_row) % LANES
            if n == 0:
                fill_lines(lines, y, row, cut2, columns)
            low_x, high_x, rest = lines[LOW + n], lines[HIGH + n], lines[REST + n]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = lines[CENTRE + n], lines[CONSTANT + n], lines[SLOPE + n]
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - foot_u) - part_u)
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = (apart * apart * a11 + rest) * inverse
                value = load(distances, y * stride + x) * root(inverse)
                value = value * exponential(at_most(exponent, -DEEPEST) * -HALF)
                store(values, 0, value * amplitude)
                for k in range(min(LANES, x1 + 1 - x)):
                    at = (y * columns + x + k) * frames
                    for t in range(0, frames, LANES):
                        store(image, at + t, load(image, at + t) + load(weights, i * frames + t) * values[k])


@kernel(**FAST)
def _row_gradient(g, row, s0, s1, s2, s3, s4, s5, e0, e1, e2, e3, e4, e5):
    """The gradient (11,) of a footprint from the moments over its pixels."""
    a, a11 = float(row[AMPLITUDE]), float(row[A11])
    a12 = row[K] * a11
    a22 = row[M] + row[K] * a12
    g[0] = a * (a11 * s1 + a12 * s2 - row[B1] * e0 - row[C11] * e1 - row[C12] * e2)
    g[1] = a * (a12 * s1 + a22 * s2 - row[B2] * e0 - row[C12] * e1 - row[C22] * e2)
    g[2], g[3], g[4] = -0.5 * a * s3, -a * s4, -0.5 * a * s5
    g[5], g[6] = a * e1, a * e2
    g[7], g[8], g[9] = 0.5 * a * e3, a * e4, 0.5 * a * e5
    g[10] = s0


@kernel(**FAST)
def backward_one(
    low, high, part, mean, inverse_sigma, quaternion, density, view, cut, variance, rows, columns, distances, gradient,
    scale, to_scale, geometry, view_moves, to_mean, to_log_sigma, to_quaternion, to_density, to_view,
):  # fmt: skip
    """The adjoint for Gaussians low ... high - 1, whose amplitudes were multiplied by scale (N,)."""
    stride, cut2 = columns + LANES, np.float32(cut * cut)
    steps, zero, lines = ramp(), spread(np.float32(0)), np.empty(LINES, np.float32)
    row, g, parts = np.empty(TABLE_COLUMNS, np.float32), np.empty(11, np.float64), np.empty(PARTS, np.float64)
    for i in range(low, high):
        first_row, last_row = fill_row(
            row, parts, i, mean, inverse_sigma, quaternion, density, view, cut, variance, rows, columns
        )  # fmt: skip
        if first_row > last_row:
            continue
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11, amplitude = row[A11], row[C11], row[AMPLITUDE]
        s0 = s1 = s2 = s3 = s4 = s5 = zero
        e0 = e1 = e2 = e3 = e4 = e5 = zero
        for y in range(first_row, last_row + 1):
            n = (y - first_row) % LANES
            if n == 0:
                fill_lines(lines, y, row, cut2, columns)
            low_x, high_x, rest = lines[LOW + n], lines[HIGH + n], lines[REST + n]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = lines[CENTRE + n], lines[CONSTANT + n], lines[SLOPE + n]
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
        sum0 = total(s0)
        to_scale[i] += amplitude * sum0
        if geometry:
            w = scale[i]
            _row_gradient(
                g, row, w * sum0, w * total(s1), w * total(s2), w * total(s3), w * total(s4), w * total(s5),
                w * total(e0), w * total(e1), w * total(e2), w * total(e3), w * total(e4), w * total(e5),
            )  # fmt: skip
            pull_back(
                i, g, parts, inverse_sigma, quaternion, density, view, variance, view_moves,
                to_mean, to_log_sigma, to_quaternion, to_density, to_view[part],
            )  # fmt: skip


@kernel(**FAST)
def backward_frames(
    low, high, part, order, mean, inverse_sigma, quaternion, density, view, cut, variance, rows, columns, distances,
    gradient, weights, to_weights, geometry, view_moves, to_mean, to_log_sigma, to_quaternion, to_density, to_view,
):  # fmt: skip
    """The adjoint for Gaussians order[low:high] with weights (N, T); gradient (rows, columns, T)."""
    stride, frames, cut2 = columns + LANES, weights.shape[1], np.float32(cut * cut)
    steps, zero, lines = ramp(), spread(np.float32(0)), np.empty(LINES, np.float32)
    row, g, parts = np.empty(TABLE_COLUMNS, np.float32), np.empty(11, np.float64), np.empty(PARTS, np.float64)
    values, of_frames = np.empty(LANES, np.float32), np.zeros(LANES * LANES, np.float32)
    for i in order[low:high]:
        first_row, last_row = fill_row(
            row, parts, i, mean, inverse_sigma, quaternion, density, view, cut, variance, rows, columns
        )  # fmt: skip
        if first_row > last_row:
            continue
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11, amplitude = row[A11], row[C11], row[AMPLITUDE]
        s0 = s1 = s2 = s3 = s4 = s5 = zero
        e0 = e1 = e2 = e3 = e4 = e5 = zero
        for y in range(first_row, last_row + 1):
            n = (y - first_row) % LANES
            if n == 0:
                fill_lines(lines, y, row, cut2, columns)
            low_x, high_x, rest = lines[LOW + n], lines[HIGH + n], lines[REST + n]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = lines[CENTRE + n], lines[CONSTANT + n], lines[SLOPE + n]
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
                store(values, 0, first(value * amplitude, count - 1))
                for k in range(0, count, 4):
                    at0, at1 = (y * columns + x + k) * frames, (y * columns + x + min(k + 1, count - 1)) * frames
                    at2 = (y * columns + x + min(k + 2, count - 1)) * frames
                    at3 = (y * columns + x + min(k + 3, count - 1)) * frames
                    f0 = f1 = f2 = f3 = zero
                    for t in range(i * frames, (i + 1) * frames, LANES):
                        w, of_pixels = load(weights, t), load(to_weights, t)
                        g0, g1 = load(gradient, at0), load(gradient, at1)
                        g2, g3 = load(gradient, at2), load(gradient, at3)
                        of_pixels = of_pixels + g0 * values[k] + g1 * values[k + 1]
                        store(to_weights, t, of_pixels + (g2 * values[k + 2] + g3 * values[k + 3]))
                        f0, f1 = f0 + g0 * w, f1 + g1 * w
                        f2, f3 = f2 + g2 * w, f3 + g3 * w
                        at0, at1 = at0 + LANES, at1 + LANES
                        at2, at3 = at2 + LANES, at3 + LANES
                    store(of_frames, k * LANES, f0)
                    store(of_frames, (k + 1) * LANES, f1)
                    store(of_frames, (k + 2) * LANES, f2)
                    store(of_frames, (k + 3) * LANES, f3)
                if geometry:
                    value = value * first(totals(of_frames), count - 1)
                    t_ = value * inverse
                    m = t_ * (exponent - ONE)
                    td, md = t_ * du, m * du
                    s0, s1, s2 = s0 + value, s1 + td, s2 + t_ * dv
                    s3, s4, s5 = s3 + td * du, s4 + td * dv, s5 + t_ * (dv * dv)
                    e0, e1, e2 = e0 + m, e1 + md, e2 + m * dv
                    e3, e4, e5 = e3 + md * du, e4 + md * dv, e5 + m * (dv * dv)
        if geometry:
            _row_gradient(
                g, row, total(s0), total(s1), total(s2), total(s3), total(s4), total(s5),
                total(e0), total(e1), total(e2), total(e3), total(e4), total(e5),
            )  # fmt: skip
            pull_back(
                i, g, parts, inverse_sigma, quaternion, density, view, variance, view_moves,
                to_mean, to_log_sigma, to_quaternion, to_density, to_view[part],
            )  # fmt: skip


@kernel(**COMPILED)
def row_work(table, spans, work):
    """What each image row costs, about: adds to work (rows + 1,) the differences from row to row."""
    for i in range(len(table)):
        if spans[i, 0] <= spans[i, 1]:
            cost = 2.0 + min(table[i, WIDTH], 1e4) / 4
            work[spans[i, 0]] += cost
            work[spans[i, 1] + 1] -= cost

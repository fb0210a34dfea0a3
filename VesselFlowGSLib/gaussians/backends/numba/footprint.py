"""Footprints and their adjoint, one Gaussian at a time in double precision; the mathematics is gaussians/footprint.py.

A row of the table is what the pixels need, in single precision. Two of its numbers are kept so that nothing cancels far
from pixel (0, 0) or along a needle: the foot as whole pixel and fraction, and the quadratic form with its square
completed, num = A11 (du + k dv)^2 + m dv^2 with k = A12 / A11, m = det A / A11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VesselFlowGSLib.gaussians.backends.numba.kernel import kernel
from VesselFlowGSLib.gaussians.backends.numba.threads import COMPILED, ranges, run
from VesselFlowGSLib.gaussians.footprint import LARGEST_LOG_SIGMA, SMALLEST_LOG_SIGMA, SMALLEST_QUATERNION
from VesselFlowGSLib.gaussians.views import View

# Columns of the table.
FOOT_U, PART_U, FOOT_V, PART_V, A11, K, M, B1, B2, C11, C12, C22, AMPLITUDE, WIDTH = range(14)
TABLE_COLUMNS = 16  # one cache line

# Where what a kernel knows of a view begins.
SOURCE, COLUMN_STEP, ROW_STEP, PROJECTION, VOLUME, DISTANCE, CORNER = 0, 3, 6, 9, 18, 19, 20
VIEW_NUMBERS = 23
LARGEST, LARGEST_INVERSE = 1e300, math.exp(-SMALLEST_LOG_SIGMA)

# Infinities and NaN are looked for, so that the compiler may not leave them out of account.
EXACT = {"fastmath": {"contract", "arcp", "nsz", "reassoc"}, **COMPILED}


def view_vector(view: View) -> Tensor:
    """(23,) what the kernels know of a view; differentiable.

    Source, steps along columns and rows, projection, volume, distance of the receptor, and the corner: the vector from
    the source to pixel (0, 0). The distance only decides what is seen.
    """
    return torch.cat(
        [
            view.source, view.column_step, view.row_step, view.projection.reshape(-1), view.volume[None],
            view.receptor_distance[None].detach(), view.origin - view.source,
        ]
    )  # fmt: skip


# Where what a footprint was made of is kept for its adjoint.
_RAY, _SCALE, _FOOT, _L, _W, _E1, _E2, _C1, _C2 = 0, 3, 4, 6, 15, 18, 21, 24, 27
_INVERSE_W, _SHAPE, _DETERMINANT, _Q = 30, 31, 34, 35
PARTS = 36
MOMENTS = 16  # twelve are used: two times eight lanes


@kernel(**EXACT)
def invert_sizes(first, last, log_sigma, inverse_sigma):
    """1/mm, of bounded size, for Gaussians first ... last - 1; NaN where one is too large to be computed with."""
    for i in range(first, last):
        for k in range(3):
            exponent = float(log_sigma[i, k])
            inverse_sigma[i, k] = math.nan
            if exponent < LARGEST_LOG_SIGMA:
                inverse_sigma[i, k] = math.exp(-max(exponent, SMALLEST_LOG_SIGMA))


def inverse_sigmas(log_sigma: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """(N, 3) for all."""
    inverse = np.empty(log_sigma.shape)
    run(threads, invert_sizes, ranges(len(log_sigma), threads, 10_000), log_sigma, inverse)
    return inverse


@kernel(**EXACT)
def fill_table(mean, inverse_sigma, quaternion, density, view, cut, variance, rows, columns, table, spans, parts):
    """The table (n, 16) of n Gaussians, and the first and last image row that each footprint touches.

    spans (n, 2), 1 and 0 where there is none. parts: what a row was made of, for `pull_back`, (n, PARTS), or (1, PARTS)
    where that is not wanted.
    """
    for i in range(len(mean)):
        row, part = table[i], parts[min(i, len(parts) - 1)]
        spans[i, 0], spans[i, 1] = 1, 0
        for j in range(TABLE_COLUMNS):
            row[j] = 0.0
        a, b = float(quaternion[i, 0]), float(quaternion[i, 1])
        c, e = float(quaternion[i, 2]), float(quaternion[i, 3])
        length2 = a * a + b * b + c * c + e * e
        x, y, z = mean[i, 0] - view[0], mean[i, 1] - view[1], mean[i, 2] - view[2]
        s0, s1, s2 = inverse_sigma[i, 0], inverse_sigma[i, 1], inverse_sigma[i, 2]
        # What is not finite makes the sum so. numba's isfinite is a difference, which these flags let vanish.
        if not abs(length2 + float(density[i]) + (x + y + z) + (s0 + s1 + s2)) < LARGEST:
            continue
        h2 = view[15] * x + view[16] * y + view[17] * z
        if not (math.sqrt(length2) > SMALLEST_QUATERNION and h2 * view[DISTANCE] * min(s0, s1, s2) > cut):
            continue
        per_h2 = 1.0 / h2
        u = (view[9] * x + view[10] * y + view[11] * z) * per_h2
        v = (view[12] * x + view[13] * y + view[14] * z) * per_h2
        t = 2.0 / length2
        l00, l01, l02 = (1 - t * (c * c + e * e)) * s0, t * (b * c + a * e) * s0, t * (b * e - a * c) * s0
        l10, l11, l12 = t * (b * c - a * e) * s1, (1 - t * (b * b + e * e)) * s1, t * (c * e + a * b) * s1
        l20, l21, l22 = t * (b * e + a * c) * s2, t * (c * e - a * b) * s2, (1 - t * (b * b + c * c)) * s2
        qx, qy, qz = x * per_h2, y * per_h2, z * per_h2
        ux, uy, uz = view[3], view[4], view[5]
        vx, vy, vz = view[6], view[7], view[8]
        w0, w1, w2 = l00 * qx + l01 * qy + l02 * qz, l10 * qx + l11 * qy + l12 * qz, l20 * qx + l21 * qy + l22 * qz
        p0, p1, p2 = l00 * ux + l01 * uy + l02 * uz, l10 * ux + l11 * uy + l12 * uz, l20 * ux + l21 * uy + l22 * uz
        r0, r1, r2 = l00 * vx + l01 * vy + l02 * vz, l10 * vx + l11 * vy + l12 * vz, l20 * vx + l21 * vy + l22 * vz
        c0, c1, c2 = p1 * w2 - p2 * w1, p2 * w0 - p0 * w2, p0 * w1 - p1 * w0
        d0, d1, d2 = r1 * w2 - r2 * w1, r2 * w0 - r0 * w2, r0 * w1 - r1 * w0
        inverse = 1.0 / (w0 * w0 + w1 * w1 + w2 * w2)
        k = h2 * h2 * inverse
        a11, a12 = (c0 * c0 + c1 * c1 + c2 * c2) * k, (c0 * d0 + c1 * d1 + c2 * d2) * k
        a22 = (d0 * d0 + d1 * d1 + d2 * d2) * k
        root = h2 * h2 * view[VOLUME] * (s0 * s1 * s2)
        determinant = root * root * inverse
        per_determinant = 1.0 / determinant
        half_u = cut * math.sqrt(a22 * per_determinant + variance)
        half_v = cut * math.sqrt(a11 * per_determinant + variance)
        if not (u + half_u >= 0 and u - half_u <= columns - 1 and v + half_v >= 0 and v - half_v <= rows - 1):
            continue
        q = 1 + variance * (a11 + a22) + variance * variance * determinant
        blurred = a11 + variance * determinant
        foot_u, foot_v = math.floor(u), math.floor(v)
        row[FOOT_U], row[PART_U] = foot_u, u - foot_u
        row[FOOT_V], row[PART_V] = foot_v, v - foot_v
        row[A11], row[K], row[M] = blurred / q, a12 / blurred, determinant / blurred
        row[B1], row[B2] = (p0 * w0 + p1 * w1 + p2 * w2) * inverse, (r0 * w0 + r1 * w1 + r2 * w2) * inverse
        row[C11], row[C12] = (p0 * p0 + p1 * p1 + p2 * p2) * inverse, (p0 * r0 + p1 * r1 + p2 * r2) * inverse
        row[C22] = (r0 * r0 + r1 * r1 + r2 * r2) * inverse
        row[AMPLITUDE] = density[i] * math.sqrt(2 * math.pi * inverse / q)
        row[WIDTH] = half_u
        part[_RAY], part[_RAY + 1], part[_RAY + 2] = x, y, z
        part[_SCALE], part[_FOOT], part[_FOOT + 1] = h2, u, v
        part[_L], part[_L + 1], part[_L + 2] = l00, l01, l02
        part[_L + 3], part[_L + 4], part[_L + 5] = l10, l11, l12
        part[_L + 6], part[_L + 7], part[_L + 8] = l20, l21, l22
        part[_W], part[_W + 1], part[_W + 2] = w0, w1, w2
        part[_E1], part[_E1 + 1], part[_E1 + 2] = p0, p1, p2
        part[_E2], part[_E2 + 1], part[_E2 + 2] = r0, r1, r2
        part[_C1], part[_C1 + 1], part[_C1 + 2] = c0, c1, c2
        part[_C2], part[_C2 + 1], part[_C2 + 2] = d0, d1, d2
        part[_SHAPE], part[_SHAPE + 1], part[_SHAPE + 2] = a11, a12, a22
        part[_INVERSE_W], part[_DETERMINANT], part[_Q] = inverse, determinant, q
        spans[i, 0] = int(max(0.0, math.ceil(v - half_v)))
        spans[i, 1] = int(min(rows - 1.0, math.floor(v + half_v)))


@kernel(**EXACT)
def pull_back(
    table, spans, parts, moments, inverse_sigma, quaternion, density, view, variance, view_moves,
    to_mean, to_log_sigma, to_quaternion, to_density, to_view,
):  # fmt: skip
    """Adds what the moments (n, 16) over the footprints of n Gaussians mean for them, and for the view.

    With g the gradient of the image, v = |q| den^-1/2 exp(-m / 2) g, t = v / den and e = t (m - 1) the moments are the
    sums over the pixels of v; t (du, dv, du^2, du dv, dv^2); e (1, du, dv, du^2, du dv, dv^2).
    to_view (23,), if it moves: source, steps, projection, volume.
    """
    g = np.empty(11, np.float64)
    for i in range(len(table)):
        if spans[i, 0] > spans[i, 1]:
            continue
        row, part, s = table[i], parts[i], moments[i]
        # The footprint: u, v, A11, A12, A22, B1, B2, C11, C12, C22, a.
        a, b11 = float(row[AMPLITUDE]), float(row[A11])
        b12 = row[K] * b11
        b22 = row[M] + row[K] * b12
        g[0] = a * (b11 * s[1] + b12 * s[2] - row[B1] * s[6] - row[C11] * s[7] - row[C12] * s[8])
        g[1] = a * (b12 * s[1] + b22 * s[2] - row[B2] * s[6] - row[C12] * s[7] - row[C22] * s[8])
        g[2], g[3], g[4] = -0.5 * a * s[3], -a * s[4], -0.5 * a * s[5]
        g[5], g[6] = a * s[7], a * s[8]
        g[7], g[8], g[9] = 0.5 * a * s[9], a * s[10], 0.5 * a * s[11]
        g[10] = s[0]

        h2, u, v = part[_SCALE], part[_FOOT], part[_FOOT + 1]
        l00, l01, l02 = part[_L], part[_L + 1], part[_L + 2]
        l10, l11, l12 = part[_L + 3], part[_L + 4], part[_L + 5]
        l20, l21, l22 = part[_L + 6], part[_L + 7], part[_L + 8]
        w0, w1, w2 = part[_W], part[_W + 1], part[_W + 2]
        p0, p1, p2 = part[_E1], part[_E1 + 1], part[_E1 + 2]
        r0, r1, r2 = part[_E2], part[_E2 + 1], part[_E2 + 2]
        c0, c1, c2 = part[_C1], part[_C1 + 1], part[_C1 + 2]
        d0, d1, d2 = part[_C2], part[_C2 + 1], part[_C2 + 2]
        a11, a12, a22 = part[_SHAPE], part[_SHAPE + 1], part[_SHAPE + 2]
        inverse, determinant, q = part[_INVERSE_W], part[_DETERMINANT], part[_Q]
        s0, s1, s2 = inverse_sigma[i, 0], inverse_sigma[i, 1], inverse_sigma[i, 2]
        ux, uy, uz = view[3], view[4], view[5]
        vx, vy, vz = view[6], view[7], view[8]
        per_h2 = 1.0 / h2
        x, y, z = part[_RAY], part[_RAY + 1], part[_RAY + 2]
        qx, qy, qz = x * per_h2, y * per_h2, z * per_h2
        k = h2 * h2 * inverse
        unit = math.sqrt(2 * math.pi * inverse / q)
        to_density[i] += g[10] * unit

        # The aperture.
        amplitude = g[10] * density[i] * unit
        g_q = -(
            (g[2] * (a11 + variance * determinant) + g[3] * a12 + g[4] * (a22 + variance * determinant)) / q
            + 0.5 * amplitude
        ) / q  # fmt: skip
        g11, g12, g22 = g[2] / q + variance * g_q, g[3] / q, g[4] / q + variance * g_q
        g_log_det = determinant * (variance * (g[2] + g[4]) / q + variance * variance * g_q)

        # The quadratic forms.
        g_a = g11 * a11 + g12 * a12 + g22 * a22
        g_bc = inverse * (
            g[5] * (p0 * w0 + p1 * w1 + p2 * w2) + g[6] * (r0 * w0 + r1 * w1 + r2 * w2)
            + g[7] * (p0 * p0 + p1 * p1 + p2 * p2) + g[8] * (p0 * r0 + p1 * r1 + p2 * r2)
            + g[9] * (r0 * r0 + r1 * r1 + r2 * r2)
        )  # fmt: skip
        g_w = -(0.5 * amplitude + g_log_det + g_a + g_bc) * inverse
        g_h2 = (4 * g_log_det + 2 * g_a) * per_h2
        gc0, gc1, gc2 = k * (2 * g11 * c0 + g12 * d0), k * (2 * g11 * c1 + g12 * d1), k * (2 * g11 * c2 + g12 * d2)
        gd0, gd1, gd2 = k * (2 * g22 * d0 + g12 * c0), k * (2 * g22 * d1 + g12 * c1), k * (2 * g22 * d2 + g12 * c2)
        gp0 = w1 * gc2 - w2 * gc1 + (g[5] * w0 + 2 * g[7] * p0 + g[8] * r0) * inverse
        gp1 = w2 * gc0 - w0 * gc2 + (g[5] * w1 + 2 * g[7] * p1 + g[8] * r1) * inverse
        gp2 = w0 * gc1 - w1 * gc0 + (g[5] * w2 + 2 * g[7] * p2 + g[8] * r2) * inverse
        gr0 = w1 * gd2 - w2 * gd1 + (g[6] * w0 + 2 * g[9] * r0 + g[8] * p0) * inverse
        gr1 = w2 * gd0 - w0 * gd2 + (g[6] * w1 + 2 * g[9] * r1 + g[8] * p1) * inverse
        gr2 = w0 * gd1 - w1 * gd0 + (g[6] * w2 + 2 * g[9] * r2 + g[8] * p2) * inverse
        gw0 = gc1 * p2 - gc2 * p1 + gd1 * r2 - gd2 * r1 + (g[5] * p0 + g[6] * r0) * inverse + 2 * g_w * w0
        gw1 = gc2 * p0 - gc0 * p2 + gd2 * r0 - gd0 * r2 + (g[5] * p1 + g[6] * r1) * inverse + 2 * g_w * w1
        gw2 = gc0 * p1 - gc1 * p0 + gd0 * r1 - gd1 * r0 + (g[5] * p2 + g[6] * r2) * inverse + 2 * g_w * w2

        # The whitening: sizes and rotation. A size at its lower bound stands still.
        g00, g01, g02 = gw0 * qx + gp0 * ux + gr0 * vx, gw0 * qy + gp0 * uy + gr0 * vy, gw0 * qz + gp0 * uz + gr0 * vz
        g10, g11_, g12_ = gw1 * qx + gp1 * ux + gr1 * vx, gw1 * qy + gp1 * uy + gr1 * vy, gw1 * qz + gp1 * uz + gr1 * vz
        g20, g21, g22_ = gw2 * qx + gp2 * ux + gr2 * vx, gw2 * qy + gp2 * uy + gr2 * vy, gw2 * qz + gp2 * uz + gr2 * vz
        if s0 < LARGEST_INVERSE:
            to_log_sigma[i, 0] -= g00 * l00 + g01 * l01 + g02 * l02 + 2 * g_log_det
        if s1 < LARGEST_INVERSE:
            to_log_sigma[i, 1] -= g10 * l10 + g11_ * l11 + g12_ * l12 + 2 * g_log_det
        if s2 < LARGEST_INVERSE:
            to_log_sigma[i, 2] -= g20 * l20 + g21 * l21 + g22_ * l22 + 2 * g_log_det
        a, b = float(quaternion[i, 0]), float(quaternion[i, 1])
        c, e = float(quaternion[i, 2]), float(quaternion[i, 3])
        length2 = a * a + b * b + c * c + e * e
        t = 2.0 / length2
        t00, t01, t02 = g00 * s0, g01 * s0, g02 * s0
        t10, t11, t12 = g10 * s1, g11_ * s1, g12_ * s1
        t20, t21, t22 = g20 * s2, g21 * s2, g22_ * s2
        ga = t * (e * (t01 - t10) + c * (t20 - t02) + b * (t12 - t21))
        gb = t * (c * (t01 + t10) + e * (t02 + t20) + a * (t12 - t21) - 2 * b * (t11 + t22))
        gc = t * (b * (t01 + t10) + e * (t12 + t21) + a * (t20 - t02) - 2 * c * (t00 + t22))
        ge = t * (b * (t02 + t20) + c * (t12 + t21) + a * (t01 - t10) - 2 * e * (t00 + t11))
        along = (ga * a + gb * b + gc * c + ge * e) / length2
        to_quaternion[i, 0] += ga - along * a
        to_quaternion[i, 1] += gb - along * b
        to_quaternion[i, 2] += gc - along * c
        to_quaternion[i, 3] += ge - along * e

        # The ray.
        gqx, gqy, gqz = (
            l00 * gw0 + l10 * gw1 + l20 * gw2, l01 * gw0 + l11 * gw1 + l21 * gw2, l02 * gw0 + l12 * gw1 + l22 * gw2
        )  # fmt: skip
        gh0, gh1 = g[0] * per_h2, g[1] * per_h2
        g_h2 -= gh0 * u + gh1 * v + (gqx * qx + gqy * qy + gqz * qz) * per_h2
        gx = gqx * per_h2 + view[9] * gh0 + view[12] * gh1 + view[15] * g_h2
        gy = gqy * per_h2 + view[10] * gh0 + view[13] * gh1 + view[16] * g_h2
        gz = gqz * per_h2 + view[11] * gh0 + view[14] * gh1 + view[17] * g_h2
        to_mean[i, 0] += gx
        to_mean[i, 1] += gy
        to_mean[i, 2] += gz

        # The view.
        if not view_moves:
            continue
        to_view[0] -= gx
        to_view[1] -= gy
        to_view[2] -= gz
        to_view[3] += l00 * gp0 + l10 * gp1 + l20 * gp2
        to_view[4] += l01 * gp0 + l11 * gp1 + l21 * gp2
        to_view[5] += l02 * gp0 + l12 * gp1 + l22 * gp2
        to_view[6] += l00 * gr0 + l10 * gr1 + l20 * gr2
        to_view[7] += l01 * gr0 + l11 * gr1 + l21 * gr2
        to_view[8] += l02 * gr0 + l12 * gr1 + l22 * gr2
        to_view[9] += gh0 * x
        to_view[10] += gh0 * y
        to_view[11] += gh0 * z
        to_view[12] += gh1 * x
        to_view[13] += gh1 * y
        to_view[14] += gh1 * z
        to_view[15] += g_h2 * x
        to_view[16] += g_h2 * y
        to_view[17] += g_h2 * z
        to_view[VOLUME] += 2 * g_log_det / view[VOLUME]


@kernel(**EXACT)
def fill_distances(first, last, view, distances):
    """Distances from the source to the pixels of image rows first ... last - 1, mm; columns may be more than there
    are."""
    for y in range(first, last):
        x0, x1 = view[20] + y * view[6], view[21] + y * view[7]
        x2 = view[22] + y * view[8]
        for x in range(distances.shape[1]):
            q0, q1, q2 = x0 + x * view[3], x1 + x * view[4], x2 + x * view[5]
            distances[y, x] = math.sqrt(np.float32(q0 * q0 + q1 * q1 + q2 * q2))


def pull_back_distances(view: NDArray[np.float64], weight: NDArray[np.floating]) -> NDArray[np.float64]:
    """(23,) what the gradient of an image with respect to the logarithms of the pixel distances means for the view.

    weight (rows, columns): that gradient, divided by the squared distances. With q = corner + x eu + y ev the gradient
    of q is weight q, so that six moments of the weight are enough.
    """
    rows, columns = weight.shape
    powers = np.stack([np.ones(columns), np.arange(columns)]), np.stack([np.ones(rows), np.arange(rows)])
    of_columns = weight.astype(np.float64).sum(0)
    plain, along_x = powers[0] @ of_columns
    along_xx = float(np.arange(columns) ** 2.0 @ of_columns)
    of_rows = weight.astype(np.float64).sum(1)
    along_y, along_yy = float(powers[1][1] @ of_rows), float(np.arange(rows) ** 2.0 @ of_rows)
    along_xy = float(powers[1][1] @ (weight.astype(np.float64) @ powers[0][1]))
    corner, eu, ev = (view[k : k + 3] for k in (CORNER, COLUMN_STEP, ROW_STEP))
    pulled = np.zeros(VIEW_NUMBERS)
    pulled[CORNER : CORNER + 3] = plain * corner + along_x * eu + along_y * ev
    pulled[COLUMN_STEP : COLUMN_STEP + 3] = along_x * corner + along_xx * eu + along_xy * ev
    pulled[ROW_STEP : ROW_STEP + 3] = along_y * corner + along_xy * eu + along_yy * ev
    return pulled


def empty_table(count: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A table for so many Gaussians, with the image rows that each touches."""
    return np.empty((count, TABLE_COLUMNS), np.float32), np.empty((count, 2), np.int32)


def tabulated(
    gaussians: Sequence[NDArray[Any]],
    view: NDArray[np.float64],
    matrix: tuple[float, float, int, int],
    threads: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The table of the Gaussians, and the image rows that each touches; matrix: cut, variance, rows, columns."""
    count = len(gaussians[0])
    table, spans = empty_table(count)

    def work(low: int, high: int) -> None:
        some = (x[low:high] for x in gaussians)
        fill_table(*some, view, *matrix, table[low:high], spans[low:high], np.empty((1, PARTS)))

    run(threads, work, ranges(count, threads, 2000))
    return table, spans

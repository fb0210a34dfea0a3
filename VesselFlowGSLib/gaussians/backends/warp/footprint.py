"""Footprints and their adjoint, one Gaussian in one view at a time, in double precision.

The mathematics is gaussians/footprint.py. What the pixels need is rounded to a row of single precision, kept such that
nothing cancels far from pixel (0, 0) or along a needle: the foot counts from the corner of the footprint's box, and the
quadratic form has its square completed, num = A11 (du + k dv)^2 + m dv^2 with k = A12 / A11, m = det A / A11.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import warp as wp
from torch import Tensor

from VesselFlowGSLib.gaussians.footprint import LARGEST_LOG_SIGMA, SMALLEST_LOG_SIGMA, SMALLEST_QUATERNION
from VesselFlowGSLib.gaussians.views import Views

BLOCK = 64  # threads; so many Gaussians' gradients of a view are summed at once

wp.set_module_options({"enable_backward": False, "block_dim": BLOCK})

real = wp.float64
vec19d = wp.types.vector(length=19, dtype=wp.float64)
ROW_LENGTH = 16  # numbers, of which 15 are used: one cache line
Row: Any = wp.types.vector(length=ROW_LENGTH, dtype=wp.float32)
vec12 = wp.types.vector(length=12, dtype=wp.float32)

# Where the numbers of a row are. The box is in whole pixels, its width is 0 if unseen.
U, V, A11, K, M, B1, B2, C11, C12, C22, AMPLITUDE, COLUMN, ROW, WIDTH, HEIGHT = (wp.constant(k) for k in range(15))

# Where a view's numbers begin.
SOURCE, COLUMN_STEP, ROW_STEP, PROJECTION, VOLUME, DISTANCE = (wp.constant(k) for k in (0, 3, 6, 9, 18, 19))
VIEW_GRADIENTS = 19  # the distance only decides what is seen

LOWEST, HIGHEST = wp.constant(real(SMALLEST_LOG_SIGMA)), wp.constant(real(LARGEST_LOG_SIGMA))
SHORTEST = wp.constant(real(SMALLEST_QUATERNION**2))
TWO_PI = wp.constant(real(2 * math.pi))
ZERO, HALF, ONE, TWO, FOUR = (wp.constant(real(x)) for x in (0.0, 0.5, 1.0, 2.0, 4.0))


def view_numbers(views: Views) -> Tensor:
    """(V, 20) what the kernels know of each view, in double precision; differentiable.

    Source, steps along columns and rows, projection, volume, distance of the receptor.
    """
    eu, ev, source = views.column_step.double(), views.row_step.double(), views.source.double()
    corner = views.origin.double() - source
    normal = torch.linalg.cross(eu, ev)
    volume = (normal * corner).sum(1, keepdim=True)
    sides = torch.cat([torch.linalg.cross(ev, corner), torch.linalg.cross(corner, eu), normal], 1)
    distance = (volume.abs() / normal.norm(dim=1, keepdim=True)).detach()
    return torch.cat([source, eu, ev, sides / volume, volume, distance], 1)


def pixel_distances(views: Views) -> Tensor:
    """(V, rows, columns) from the source to every pixel centre, mm, in double precision; differentiable."""
    eu, ev = views.column_step.double(), views.row_step.double()
    corner = views.origin.double() - views.source.double()
    along = torch.arange(views.columns, device=eu.device, dtype=eu.dtype)
    down = torch.arange(views.rows, device=eu.device, dtype=eu.dtype)[:, None]
    products = [(a * b).sum(1)[:, None, None] for a, b in ((corner, corner), (corner, eu), (eu, eu), (ev, ev))]
    of_row = products[0] + down * (2 * (corner * ev).sum(1)[:, None, None] + down * products[3])
    slope = 2 * (products[1] + down * (eu * ev).sum(1)[:, None, None])
    distances: Tensor = (of_row + along * (slope + along * products[2])).sqrt()
    return distances


@wp.struct
class Geometry:
    """Of one Gaussian in one view; the names are those of gaussians/footprint.py."""

    seen: wp.bool
    ray: wp.vec3d
    h: wp.vec3d  # column and row of the foot, one over the magnification
    turn: wp.mat33d  # R^T, R's columns as rows
    inverse_sigma: wp.vec3d
    w: wp.vec3d
    e1: wp.vec3d
    e2: wp.vec3d
    c1: wp.vec3d
    c2: wp.vec3d
    inverse_w: wp.float64
    k: wp.float64
    a11: wp.float64
    a12: wp.float64
    a22: wp.float64
    determinant: wp.float64
    q: wp.float64


@wp.func
def three(numbers: wp.array2d(dtype=wp.float64), v: int, begin: int):
    return wp.vec3d(numbers[v, begin], numbers[v, begin + 1], numbers[v, begin + 2])


@wp.func
def turned(turn: wp.mat33d, x: wp.vec3d, inverse_sigma: wp.vec3d):
    return wp.cw_mul(turn * x, inverse_sigma)


@wp.func
def geometry(
    mean: wp.vec3,
    log_sigma: wp.vec3,
    quaternion: wp.vec4,
    views: wp.array2d(dtype=wp.float64),
    v: int,
    cut: wp.float64,
    variance: wp.float64,
):
    g = Geometry()
    g.seen = False
    size = wp.vec3d(real(log_sigma[0]), real(log_sigma[1]), real(log_sigma[2]))
    a, b, c, d = real(quaternion[0]), real(quaternion[1]), real(quaternion[2]), real(quaternion[3])
    length2 = a * a + b * b + c * c + d * d
    largest = wp.max(size)
    if not (wp.isfinite(mean) and wp.isfinite(log_sigma) and wp.isfinite(length2)):
        return g
    if not (length2 > SHORTEST and largest < HIGHEST):
        return g
    ray = wp.vec3d(real(mean[0]), real(mean[1]), real(mean[2])) - three(views, v, SOURCE)
    scale = wp.dot(three(views, v, PROJECTION + 6), ray)
    if not scale * views[v, DISTANCE] > cut * wp.exp(largest):
        return g
    g.seen = True
    g.ray = ray
    g.h = wp.vec3d(
        wp.dot(three(views, v, PROJECTION), ray) / scale, wp.dot(three(views, v, PROJECTION + 3), ray) / scale, scale
    )
    t = TWO / length2
    g.turn = wp.mat33d(
        ONE - t * (c * c + d * d), t * (b * c + a * d), t * (b * d - a * c),
        t * (b * c - a * d), ONE - t * (b * b + d * d), t * (c * d + a * b),
        t * (b * d + a * c), t * (c * d - a * b), ONE - t * (b * b + c * c),
    )  # fmt: skip
    g.inverse_sigma = wp.vec3d(
        wp.exp(-wp.max(size[0], LOWEST)), wp.exp(-wp.max(size[1], LOWEST)), wp.exp(-wp.max(size[2], LOWEST))
    )
    g.w = turned(g.turn, ray / scale, g.inverse_sigma)
    g.e1 = turned(g.turn, three(views, v, COLUMN_STEP), g.inverse_sigma)
    g.e2 = turned(g.turn, three(views, v, ROW_STEP), g.inverse_sigma)
    g.c1 = wp.cross(g.e1, g.w)
    g.c2 = wp.cross(g.e2, g.w)
    g.inverse_w = ONE / wp.dot(g.w, g.w)
    g.k = scale * scale * g.inverse_w
    g.a11 = wp.dot(g.c1, g.c1) * g.k
    g.a12 = wp.dot(g.c1, g.c2) * g.k
    g.a22 = wp.dot(g.c2, g.c2) * g.k
    root = scale * scale * views[v, VOLUME] * g.inverse_sigma[0] * g.inverse_sigma[1] * g.inverse_sigma[2]
    g.determinant = root * root * g.inverse_w
    g.q = ONE + variance * (g.a11 + g.a22) + variance * variance * g.determinant
    return g


@wp.func
def write_row(
    table: wp.array(dtype=Row),
    row: int,
    g: Geometry,
    amplitude: wp.float64,
    cut: wp.float64,
    variance: wp.float64,
    rows: int,
    columns: int,
):
    """One row of the table. Rows of what is unseen, or not on the detector, are left as they are: zeros."""
    half_u = cut * wp.sqrt(g.a22 / g.determinant + variance)
    half_v = cut * wp.sqrt(g.a11 / g.determinant + variance)
    low_u, high_u = wp.max(wp.ceil(g.h[0] - half_u), ZERO), wp.min(wp.floor(g.h[0] + half_u), real(columns - 1))
    low_v, high_v = wp.max(wp.ceil(g.h[1] - half_v), ZERO), wp.min(wp.floor(g.h[1] + half_v), real(rows - 1))
    if high_u >= low_u and high_v >= low_v:
        a11 = (g.a11 + variance * g.determinant) / g.q
        table[row] = Row(
            wp.float32(g.h[0] - low_u), wp.float32(g.h[1] - low_v),
            wp.float32(a11), wp.float32(g.a12 / g.q / a11), wp.float32(g.determinant / g.q / a11),
            wp.float32(wp.dot(g.e1, g.w) * g.inverse_w), wp.float32(wp.dot(g.e2, g.w) * g.inverse_w),
            wp.float32(wp.dot(g.e1, g.e1) * g.inverse_w), wp.float32(wp.dot(g.e1, g.e2) * g.inverse_w),
            wp.float32(wp.dot(g.e2, g.e2) * g.inverse_w),
            wp.float32(amplitude), wp.float32(low_u), wp.float32(low_v),
            wp.float32(high_u - low_u + ONE), wp.float32(high_v - low_v + ONE), 0.0,
        )  # fmt: skip


@wp.func
def squared(g: Row, du: float, dv: float):
    """The numerator: the square of the distance from the foot, in standard deviations of the footprint."""
    along = du + g[K] * dv
    return g[A11] * along * along + g[M] * dv * dv


@wp.func
def inverse_denominator(g: Row, du: float, dv: float):
    of_row = 1.0 + dv * (2.0 * g[B2] + g[C22] * dv)
    slope = 2.0 * (g[B1] + g[C12] * dv)
    return 1.0 / wp.max(of_row + du * (slope + g[C11] * du), 1.0e-6)


@wp.kernel
def tabulate(
    mean: wp.array(dtype=wp.vec3),
    log_sigma: wp.array(dtype=wp.vec3),
    quaternion: wp.array(dtype=wp.vec4),
    density: wp.array(dtype=wp.float32),
    views: wp.array2d(dtype=wp.float64),
    cut: wp.float64,
    variance: wp.float64,
    rows: int,
    columns: int,
    table: wp.array(dtype=Row),
):
    """Row v N + i of the table, which comes filled with zeros: Gaussian i in view v."""
    v, i = wp.tid()
    g = geometry(mean[i], log_sigma[i], quaternion[i], views, v, cut, variance)
    if g.seen and wp.isfinite(density[i]):
        amplitude = real(density[i]) * wp.sqrt(TWO_PI * g.inverse_w / g.q)
        write_row(table, v * mean.shape[0] + i, g, amplitude, cut, variance, rows, columns)


@wp.kernel
def tabulate_splats(
    mean: wp.array(dtype=wp.vec3),
    log_sigma: wp.array(dtype=wp.vec3),
    quaternion: wp.array(dtype=wp.vec4),
    opacity: wp.array(dtype=wp.float32),
    views: wp.array2d(dtype=wp.float64),
    cut: wp.float64,
    variance: wp.float64,
    rows: int,
    columns: int,
    table: wp.array(dtype=Row),
):
    """Row i of the table, which comes filled with zeros: a splat in view 0, fading as it gets thinner than a pixel."""
    i = wp.tid()
    g = geometry(mean[i], log_sigma[i], quaternion[i], views, 0, cut, variance)
    if g.seen and wp.isfinite(opacity[i]):
        write_row(table, i, g, real(opacity[i]) / wp.sqrt(g.q), cut, variance, rows, columns)


@wp.kernel
def pull_back(
    mean: wp.array(dtype=wp.vec3),
    log_sigma: wp.array(dtype=wp.vec3),
    quaternion: wp.array(dtype=wp.vec4),
    density: wp.array(dtype=wp.float32),
    views: wp.array2d(dtype=wp.float64),
    cut: wp.float64,
    variance: wp.float64,
    table: wp.array(dtype=Row),
    moments: wp.array(dtype=vec12),
    views_move: int,
    to_mean: wp.array(dtype=wp.vec3),
    to_log_sigma: wp.array(dtype=wp.vec3),
    to_quaternion: wp.array(dtype=wp.vec4),
    to_density: wp.array(dtype=wp.float32),
    to_views: wp.array2d(dtype=vec19d),
):
    """What the moments (see project.py) mean for each Gaussian, over all views, and for each view, block by block."""
    block, lane = wp.tid()
    i = block * wp.block_dim() + lane
    count = mean.shape[0]
    g_mean, g_size, g_quaternion, g_density = wp.vec3d(), wp.vec3d(), wp.vec4d(), real(0.0)
    for v in range(views.shape[0]):
        g_view = vec19d()
        row = v * count + wp.min(i, count - 1)
        if i < count and table[row][WIDTH] > 0.0:
            g = geometry(mean[i], log_sigma[i], quaternion[i], views, v, cut, variance)
            s = moments[row]
            unit = wp.sqrt(TWO_PI * g.inverse_w / g.q)
            a = real(density[i]) * unit
            b1, b2 = wp.dot(g.e1, g.w) * g.inverse_w, wp.dot(g.e2, g.w) * g.inverse_w
            c11, c12 = wp.dot(g.e1, g.e1) * g.inverse_w, wp.dot(g.e1, g.e2) * g.inverse_w
            c22 = wp.dot(g.e2, g.e2) * g.inverse_w
            blurred11, blurred22 = g.a11 + variance * g.determinant, g.a22 + variance * g.determinant

            # From the moments to the footprint.
            s1, s2, m0, m1, m2 = real(s[1]), real(s[2]), real(s[6]), real(s[7]), real(s[8])
            g_u = a * ((blurred11 * s1 + g.a12 * s2) / g.q - b1 * m0 - c11 * m1 - c12 * m2)
            g_v = a * ((g.a12 * s1 + blurred22 * s2) / g.q - b2 * m0 - c12 * m1 - c22 * m2)
            g11, g12, g22 = -HALF * a * real(s[3]), -a * real(s[4]), -HALF * a * real(s[5])
            g_b1, g_b2 = a * m1, a * m2
            g_c11, g_c12, g_c22 = HALF * a * real(s[9]), a * real(s[10]), HALF * a * real(s[11])
            g_density += real(s[0]) * unit

            # The aperture.
            g_amplitude = a * real(s[0])
            traced = variance * (g11 + g22) / g.q
            g_q = -((g11 * blurred11 + g12 * g.a12 + g22 * blurred22) / g.q + HALF * g_amplitude) / g.q
            g11, g12, g22 = g11 / g.q + variance * g_q, g12 / g.q, g22 / g.q + variance * g_q
            g_log_det = g.determinant * (traced + variance * variance * g_q)

            # The quadratic forms.
            g_a = g11 * g.a11 + g12 * g.a12 + g22 * g.a22
            g_bc = g_b1 * b1 + g_b2 * b2 + g_c11 * c11 + g_c12 * c12 + g_c22 * c22
            g_w2 = -(HALF * g_amplitude + g_log_det + g_a + g_bc) * g.inverse_w
            g_scale = (FOUR * g_log_det + TWO * g_a) / g.h[2]
            g_x1 = g.k * (TWO * g11 * g.c1 + g12 * g.c2)
            g_x2 = g.k * (TWO * g22 * g.c2 + g12 * g.c1)
            g_e1 = wp.cross(g.w, g_x1) + (g_b1 * g.w + TWO * g_c11 * g.e1 + g_c12 * g.e2) * g.inverse_w
            g_e2 = wp.cross(g.w, g_x2) + (g_b2 * g.w + TWO * g_c22 * g.e2 + g_c12 * g.e1) * g.inverse_w
            g_w = (
                wp.cross(g_x1, g.e1) + wp.cross(g_x2, g.e2) + (g_b1 * g.e1 + g_b2 * g.e2) * g.inverse_w
                + TWO * g_w2 * g.w
            )  # fmt: skip

            # The whitening: sizes and rotation. A size at its lower bound stands still.
            eu, ev, point = three(views, v, COLUMN_STEP), three(views, v, ROW_STEP), g.ray / g.h[2]
            for j in range(3):
                if real(log_sigma[i][j]) >= LOWEST:
                    g_size[j] -= g_w[j] * g.w[j] + g_e1[j] * g.e1[j] + g_e2[j] * g.e2[j] + TWO * g_log_det
            g_w, g_e1 = wp.cw_mul(g_w, g.inverse_sigma), wp.cw_mul(g_e1, g.inverse_sigma)
            g_e2 = wp.cw_mul(g_e2, g.inverse_sigma)
            t = wp.outer(g_w, point) + wp.outer(g_e1, eu) + wp.outer(g_e2, ev)
            q = wp.vec4d(real(quaternion[i][0]), real(quaternion[i][1]), real(quaternion[i][2]), real(quaternion[i][3]))
            length2 = wp.dot(q, q)
            x, y, z = t[1, 2] - t[2, 1], t[2, 0] - t[0, 2], t[0, 1] - t[1, 0]
            xy, xz, yz = t[0, 1] + t[1, 0], t[0, 2] + t[2, 0], t[1, 2] + t[2, 1]
            pulled = (TWO / length2) * wp.vec4d(
                q[1] * x + q[2] * y + q[3] * z,
                q[0] * x + q[2] * xy + q[3] * xz - TWO * q[1] * (t[1, 1] + t[2, 2]),
                q[0] * y + q[1] * xy + q[3] * yz - TWO * q[2] * (t[0, 0] + t[2, 2]),
                q[0] * z + q[1] * xz + q[2] * yz - TWO * q[3] * (t[0, 0] + t[1, 1]),
            )
            g_quaternion += pulled - (wp.dot(pulled, q) / length2) * q

            # The ray.
            back = wp.transpose(g.turn)
            g_point = back * g_w
            g_h = wp.vec3d(g_u, g_v, ZERO) / g.h[2]
            g_h[2] = g_scale - g_h[0] * g.h[0] - g_h[1] * g.h[1] - wp.dot(g_point, point) / g.h[2]
            g_ray = (
                g_point / g.h[2]
                + g_h[0] * three(views, v, PROJECTION)
                + g_h[1] * three(views, v, PROJECTION + 3)
                + g_h[2] * three(views, v, PROJECTION + 6)
            )
            g_mean += g_ray

            # The view.
            g_eu, g_ev = back * g_e1, back * g_e2
            for j in range(3):
                g_view[SOURCE + j] = -g_ray[j]
                g_view[COLUMN_STEP + j] = g_eu[j]
                g_view[ROW_STEP + j] = g_ev[j]
                for k in range(3):
                    g_view[PROJECTION + 3 * j + k] = g_h[j] * g.ray[k]
            g_view[VOLUME] = TWO * g_log_det / views[v, VOLUME]
        if views_move != 0:
            summed = wp.tile_sum(wp.tile(g_view, preserve_type=True))
            total = summed[0]
            if lane == 0:
                to_views[v, block] = total
    if i < count:
        to_mean[i] = wp.vec3(g_mean)
        to_log_sigma[i] = wp.vec3(g_size)
        to_quaternion[i] = wp.vec4(g_quaternion)
        to_density[i] = wp.float32(g_density)

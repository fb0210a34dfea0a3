"""Projection on the CPU: eight pixels (or frames) at a time, on threads of our own, the same bits for any number.

Forward, each thread adds up a band of image rows, Gaussian after Gaussian; backward, it gathers twelve moments of the
image's gradient over each footprint. So nothing is locked, sorted, or summed in the order of the threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    TABLE_COLUMNS,
    VIEW_NUMBERS,
    WIDTH,
    K,
    M,
    empty_table,
    fill_distances,
    fill_row,
    fill_table,
    pull_back,
    pull_back_distances,
    view_vector,
)  # fmt: skip
from VesselFlowGSLib.gaussians.backends.numba.simd import (
    LANES,
    at_most,
    exponential,
    first,
    load,
    ramp,
    root,
    spread,
    store,
    total,
)  # fmt: skip
from VesselFlowGSLib.gaussians.backends.numba.threads import COMPILED, ranges, run
from VesselFlowGSLib.gaussians.footprint import PIXEL_VARIANCE
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import View, Views

Floats = NDArray[np.float32]

FAST = {"fastmath": True, **COMPILED}
PARTS_PER_THREAD = 4  # so that threads end together
GAUSSIANS_PER_PART = 512  # of the sums over Gaussians, which must not hang on the number of threads
HALF, ONE, TWO = np.float32(0.5), np.float32(1), np.float32(2)
DEEPEST = np.float32(-80)  # exponent; below, the falloff is nothing


@nb.njit(inline="always", **FAST)
def _span(row, dv, cut2, columns):
    """First and last column of a footprint on an image row, the square's centre and what the row adds to it."""
    centre = -row[K] * dv
    rest = row[M] * dv * dv
    if rest >= cut2:
        return 1, 0, centre, rest
    half = np.float32(math.sqrt((cut2 - rest) / row[A11]))
    foot = row[FOOT_U] + (row[PART_U] + centre)
    low = max(np.float32(0), np.float32(math.ceil(foot - half)))
    high = min(np.float32(columns - 1), np.float32(math.floor(foot + half)))
    if not low <= high:
        return 1, 0, centre, rest
    return int(low), int(high), centre, rest


@nb.njit(**FAST)
def _forward_one(low, high, table, spans, distances, image, columns, cut2):
    """Adds unit weights into image rows low ... high - 1; image and distances (rows, columns + LANES)."""
    stride = columns + LANES
    steps = ramp()
    for i in range(len(table)):
        first_row, last_row = max(low, spans[i, 0]), min(high - 1, spans[i, 1])
        if first_row > last_row:
            continue
        row = table[i]
        a11, b1, c11, amplitude = row[A11], row[B1], row[C11], row[AMPLITUDE]
        for y in range(first_row, last_row + 1):
            dv = (np.float32(y) - row[FOOT_V]) - row[PART_V]
            x0, x1, centre, rest = _span(row, dv, cut2, columns)
            constant = ONE + (TWO * row[B2] + row[C22] * dv) * dv
            slope = TWO * (b1 + row[C12] * dv)
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - row[FOOT_U]) - row[PART_U])
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = (apart * apart * a11 + rest) * inverse
                at = y * stride + x
                value = load(distances, at) * root(inverse) * exponential(at_most(exponent, -DEEPEST) * -HALF)
                store(image, at, load(image, at) + first(value * amplitude, x1 - x))


@nb.njit(**FAST)
def _forward_frames(low, high, table, spans, distances, weights, image, columns, cut2):
    """Adds weights (N, T) into image rows low ... high - 1 of (rows, columns, T), T a multiple of LANES."""
    stride, frames = columns + LANES, weights.shape[1]
    steps = ramp()
    values = np.empty(LANES, np.float32)
    for i in range(len(table)):
        first_row, last_row = max(low, spans[i, 0]), min(high - 1, spans[i, 1])
        if first_row > last_row:
            continue
        row = table[i]
        a11, b1, c11, amplitude = row[A11], row[B1], row[C11], row[AMPLITUDE]
        for y in range(first_row, last_row + 1):
            dv = (np.float32(y) - row[FOOT_V]) - row[PART_V]
            x0, x1, centre, rest = _span(row, dv, cut2, columns)
            constant = ONE + (TWO * row[B2] + row[C22] * dv) * dv
            slope = TWO * (b1 + row[C12] * dv)
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - row[FOOT_U]) - row[PART_U])
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


@nb.njit(inline="always", **FAST)
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


@nb.njit(**FAST)
def _backward_one(
    low, high, part, mean, log_sigma, quaternion, density, view, cut, variance, rows, columns, distances, gradient,
    scale, to_scale, geometry, to_mean, to_log_sigma, to_quaternion, to_density, to_view,
):  # fmt: skip
    """The adjoint for Gaussians low ... high - 1, whose amplitudes were multiplied by scale (N,)."""
    stride, cut2 = columns + LANES, np.float32(cut * cut)
    steps, zero = ramp(), spread(np.float32(0))
    row, g = np.empty(TABLE_COLUMNS, np.float32), np.empty(11, np.float64)
    for i in range(low, high):
        first_row, last_row = fill_row(
            row, i, mean, log_sigma, quaternion, density, view, cut, variance, rows, columns
        )  # fmt: skip
        if first_row > last_row:
            continue
        a11, b1, c11 = row[A11], row[B1], row[C11]
        s0, s1, s2, s3, s4, s5 = zero, zero, zero, zero, zero, zero
        e0, e1, e2, e3, e4, e5 = zero, zero, zero, zero, zero, zero
        for y in range(first_row, last_row + 1):
            dv = (np.float32(y) - row[FOOT_V]) - row[PART_V]
            x0, x1, centre, rest = _span(row, dv, cut2, columns)
            constant = ONE + (TWO * row[B2] + row[C22] * dv) * dv
            slope = TWO * (b1 + row[C12] * dv)
            # Moments of the row; the powers of dv come in once a row.
            v0, t0, t1, t2, m0, m1, m2 = zero, zero, zero, zero, zero, zero, zero
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - row[FOOT_U]) - row[PART_U])
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = at_most((apart * apart * a11 + rest) * inverse, -DEEPEST)
                at = y * stride + x
                value = load(distances, at) * root(inverse) * exponential(exponent * -HALF)
                value = value * first(load(gradient, at), x1 - x)
                t = value * inverse
                m = t * (exponent - ONE)
                td, md = t * du, m * du
                v0, t0, t1, t2 = v0 + value, t0 + t, t1 + td, t2 + td * du
                m0, m1, m2 = m0 + m, m1 + md, m2 + md * du
            s0, s1, s2, s3, s4, s5 = s0 + v0, s1 + t1, s2 + t0 * dv, s3 + t2, s4 + t1 * dv, s5 + t0 * (dv * dv)
            e0, e1, e2, e3, e4, e5 = e0 + m0, e1 + m1, e2 + m0 * dv, e3 + m2, e4 + m1 * dv, e5 + m0 * (dv * dv)
        sum0 = total(s0)
        to_scale[i] += row[AMPLITUDE] * sum0
        if geometry:
            w = scale[i]
            _row_gradient(
                g, row, w * sum0, w * total(s1), w * total(s2), w * total(s3), w * total(s4), w * total(s5),
                w * total(e0), w * total(e1), w * total(e2), w * total(e3), w * total(e4), w * total(e5),
            )  # fmt: skip
            pull_back(
                i, g, mean, log_sigma, quaternion, density, view, variance,
                to_mean, to_log_sigma, to_quaternion, to_density, to_view[part],
            )  # fmt: skip


@nb.njit(**FAST)
def _backward_frames(
    low, high, part, mean, log_sigma, quaternion, density, view, cut, variance, rows, columns, distances, gradient,
    weights, to_weights, geometry, to_mean, to_log_sigma, to_quaternion, to_density, to_view,
):  # fmt: skip
    """The adjoint for Gaussians low ... high - 1 with weights (N, T); gradient (rows, columns, T)."""
    stride, frames, cut2 = columns + LANES, weights.shape[1], np.float32(cut * cut)
    steps, zero = ramp(), spread(np.float32(0))
    row, g = np.empty(TABLE_COLUMNS, np.float32), np.empty(11, np.float64)
    values, seen = np.empty(LANES, np.float32), np.zeros(LANES, np.float32)
    for i in range(low, high):
        first_row, last_row = fill_row(
            row, i, mean, log_sigma, quaternion, density, view, cut, variance, rows, columns
        )  # fmt: skip
        if first_row > last_row:
            continue
        a11, b1, c11, amplitude = row[A11], row[B1], row[C11], row[AMPLITUDE]
        s0, s1, s2, s3, s4, s5 = zero, zero, zero, zero, zero, zero
        e0, e1, e2, e3, e4, e5 = zero, zero, zero, zero, zero, zero
        for y in range(first_row, last_row + 1):
            dv = (np.float32(y) - row[FOOT_V]) - row[PART_V]
            x0, x1, centre, rest = _span(row, dv, cut2, columns)
            constant = ONE + (TWO * row[B2] + row[C22] * dv) * dv
            slope = TWO * (b1 + row[C12] * dv)
            for x in range(x0, x1 + 1, LANES):
                du = steps + ((np.float32(x) - row[FOOT_U]) - row[PART_U])
                apart = du - centre
                inverse = ONE / ((du * c11 + slope) * du + constant)
                exponent = at_most((apart * apart * a11 + rest) * inverse, -DEEPEST)
                value = load(distances, y * stride + x) * root(inverse) * exponential(exponent * -HALF)
                store(values, 0, value * amplitude)
                count = min(LANES, x1 + 1 - x)
                for k in range(count):
                    at = (y * columns + x + k) * frames
                    of_frames = zero
                    for t in range(0, frames, LANES):
                        g_t = load(gradient, at + t)
                        store(
                            to_weights, i * frames + t, load(to_weights, i * frames + t) + g_t * values[k]
                        )  # fmt: skip
                        of_frames = of_frames + g_t * load(weights, i * frames + t)
                    if geometry:
                        seen[k] = total(of_frames)
                if geometry:
                    value = value * first(load(seen, 0), count - 1)
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
                i, g, mean, log_sigma, quaternion, density, view, variance,
                to_mean, to_log_sigma, to_quaternion, to_density, to_view[part],
            )  # fmt: skip


@nb.njit(**COMPILED)
def _row_work(table, spans, work):
    """What each image row costs, about: adds to work (rows + 1,) the differences from row to row."""
    for i in range(len(table)):
        if spans[i, 0] <= spans[i, 1]:
            cost = 2.0 + min(table[i, WIDTH], 1e4) / 4
            work[spans[i, 0]] += cost
            work[spans[i, 1] + 1] -= cost


@dataclass(frozen=True)
class _Call:
    """What forward and backward of one view share; padded distances (rows, columns + LANES)."""

    vector: NDArray[np.float64]
    distances: Floats
    rows: int
    columns: int
    cut: float
    variance: float
    threads: int


def _bands(table: Floats, spans: NDArray[np.int32], call: _Call) -> list[tuple[int, int]]:
    """Ranges of image rows that cost about the same."""
    if call.threads <= 1:
        return [(0, call.rows)]
    work = np.zeros(call.rows + 1)
    _row_work(table, spans, work)
    done = np.cumsum(np.cumsum(work)[: call.rows] + 1.0)
    parts = min(call.rows, call.threads * PARTS_PER_THREAD)
    edges = np.searchsorted(done, done[-1] * np.arange(1, parts) / parts)
    edges = np.unique(np.concatenate([[0], edges, [call.rows]]))
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _forward(gaussians: tuple[Floats, ...], weights: Floats, call: _Call) -> Floats:
    """(rows, columns, T) of one view."""
    count, frames = weights.shape
    table, spans = empty_table(count)
    filled = ranges(count, call.threads)
    run(
        call.threads, fill_table, filled, *gaussians, call.vector, call.cut, call.variance, call.rows, call.columns,
        table, spans,
    )  # fmt: skip
    bands, cut2 = _bands(table, spans, call), np.float32(call.cut**2)
    if frames == 1:
        table[:, AMPLITUDE] *= weights[:, 0]
        image = np.zeros((call.rows, call.columns + LANES), np.float32)
        run(call.threads, _forward_one, bands, table, spans, call.distances, image, call.columns, cut2)
        return image[:, : call.columns, None]
    padded = _whole_lanes(weights)
    image = np.zeros((call.rows, call.columns, padded.shape[1]), np.float32)
    run(call.threads, _forward_frames, bands, table, spans, call.distances, padded, image, call.columns, cut2)
    return image[:, :, :frames]


def _backward(
    gaussians: tuple[Floats, ...],
    weights: Floats,
    image_gradient: Floats,
    call: _Call,
    geometry: bool,
    into: tuple[Floats, ...],
    to_weights: Floats,
) -> NDArray[np.float64]:
    """Adds the adjoint of one view to the gradients; returns what its vector gets (23,)."""
    count, frames = weights.shape
    parts = ranges(count, -(-count // GAUSSIANS_PER_PART))
    to_view = np.zeros((len(parts), VIEW_NUMBERS))
    jobs = [(low, high, k) for k, (low, high) in enumerate(parts)]
    view = (call.vector, call.cut, call.variance, call.rows, call.columns, call.distances)
    if frames == 1:
        padded = np.zeros((call.rows, call.columns + LANES), np.float32)
        padded[:, : call.columns] = image_gradient[:, :, 0]
        run(
            call.threads, _backward_one, jobs, *gaussians, *view, padded, np.ascontiguousarray(weights[:, 0]),
            to_weights[:, 0], geometry, *into, to_view,
        )  # fmt: skip
        return np.asarray(to_view.sum(0))
    whole = _whole_lanes(weights)
    to_whole = np.zeros_like(whole)
    run(
        call.threads, _backward_frames, jobs, *gaussians, *view, _whole_lanes(image_gradient), whole, to_whole,
        geometry, *into, to_view,
    )  # fmt: skip
    to_weights += to_whole[:, :frames]
    return np.asarray(to_view.sum(0))


def _whole_lanes(values: Floats) -> Floats:
    """The same with zeros after the last column, up to a multiple of LANES; contiguous."""
    missing = -values.shape[-1] % LANES
    if missing:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], missing), np.float32)], axis=-1)
    return np.ascontiguousarray(values)


def _array(x: Tensor) -> Floats:
    values: Floats = x.detach().contiguous().numpy()
    return values


class _Project(torch.autograd.Function):
    """One view: Gaussians, weights (N, T), and what the kernels know of the view (23,)."""

    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        log_sigma: Tensor,
        quaternion: Tensor,
        density: Tensor,
        weights: Tensor,
        vector: Tensor,
        size: tuple[int, int],
        cut: float,
        aperture: bool,
        threads: int,
    ) -> Tensor:
        rows, columns = size
        knows = vector.detach().double().contiguous().numpy()
        distances = np.empty((rows, columns + LANES), np.float32)
        fill_distances(knows, rows, columns, distances)
        call = _Call(knows, distances, rows, columns, float(cut), PIXEL_VARIANCE if aperture else 0.0, threads)
        gaussians = tuple(_array(x) for x in (mean, log_sigma, quaternion, density))
        image = torch.from_numpy(np.ascontiguousarray(_forward(gaussians, _array(weights), call)))
        ctx.call = call
        kept = image if ctx.needs_input_grad[5] else image.new_zeros(0)
        ctx.save_for_backward(mean, log_sigma, quaternion, density, weights, kept)
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, image_gradient: Tensor) -> tuple[Tensor | None, ...]:
        *given, weights, image = ctx.saved_tensors
        call: _Call = ctx.call
        gaussians = tuple(_array(x) for x in given)
        into, to_weights = tuple(np.zeros_like(x) for x in gaussians), np.zeros(weights.shape, np.float32)
        geometry = any(ctx.needs_input_grad[k] for k in (0, 1, 2, 3, 5))
        to_view = _backward(gaussians, _array(weights), _array(image_gradient), call, geometry, into, to_weights)
        if ctx.needs_input_grad[5]:
            squared = call.distances[:, : call.columns].astype(np.float64) ** 2
            to_view += pull_back_distances(call.vector, _array((image_gradient * image).sum(-1)) / squared)
        tensors = (torch.from_numpy(x) for x in (*into, to_weights, to_view))
        return (*tensors, None, None, None, None)


def _one(gaussians: Parameters, view: View, weights: Tensor, cut: float, aperture: bool, threads: int) -> Tensor:
    image: Tensor = _Project.apply(
        gaussians.mean, gaussians.log_sigma, gaussians.quaternion, gaussians.density, weights, view_vector(view),
        (view.rows, view.columns), cut, aperture, threads,
    )  # fmt: skip
    return image


def project(gaussians: Parameters, views: Views, weights: Tensor, cut: float, aperture: bool, threads: int) -> Tensor:
    """(V, rows, columns, T) line integrals in single precision."""
    return torch.stack([_one(gaussians, view, weights, cut, aperture, threads) for view in views])

"""Projection on the CPU: eight pixels (or frames) at a time, on threads of our own, the same bits for any number.

Forward, each thread adds up a band of image rows, Gaussian after Gaussian; backward, it gathers twelve moments of the
image's gradient over each footprint. So nothing is locked, sorted, or summed in the order of the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from VesselFlowGSLib.gaussians.backends.numba.footprint import (
    AMPLITUDE,
    FOOT_U,
    MOMENTS,
    PARTS,
    VIEW_NUMBERS,
    empty_table,
    fill_distances,
    fill_table,
    inverse_sigmas,
    pull_back,
    pull_back_distances,
    tabulated,
    view_vector,
)
from VesselFlowGSLib.gaussians.backends.numba.simd import LANES
from VesselFlowGSLib.gaussians.backends.numba.splatting import (
    SCRATCH,
    forward_frames,
    forward_one,
    gather_frames,
    gather_one,
    row_work,
)
from VesselFlowGSLib.gaussians.backends.numba.threads import ranges, run
from VesselFlowGSLib.gaussians.footprint import PIXEL_VARIANCE
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import Views

Floats = NDArray[np.float32]
Index = NDArray[np.int64]
Arrays = Sequence[NDArray[Any]]

BANDS_PER_THREAD = 4  # so that threads end together; footprints on an edge are taken twice
FRAMES_WORTH_ORDER, TILE = 16, 16  # frames; pixels
GAUSSIANS_PER_PART = 2048  # whose tables stay in the cache; sums over them must not hang on the number of threads


@dataclass(frozen=True)
class _Call:
    """What the views of one projection share: the detector matrix, cut and aperture, threads to use."""

    rows: int
    columns: int
    cut: float
    variance: float
    threads: int

    @property
    def matrix(self) -> tuple[float, float, int, int]:
        return self.cut, self.variance, self.rows, self.columns

    @property
    def cut2(self) -> np.float32:
        return np.float32(self.cut**2)


def _bands(table: Floats, spans: NDArray[np.int32], call: _Call) -> list[tuple[int, int]]:
    """Ranges of image rows that cost about the same."""
    if call.threads <= 1:
        return [(0, call.rows)]
    work = np.zeros(call.rows + 1)
    row_work(table, spans, work)
    done = np.cumsum(np.cumsum(work)[: call.rows] + 1.0)
    parts = min(call.rows, call.threads * BANDS_PER_THREAD)
    edges = np.searchsorted(done, done[-1] * np.arange(1, parts) / parts)
    edges = np.unique(np.concatenate([[0], edges, [call.rows]]))
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _order(table: Floats, spans: NDArray[np.int32], frames: int) -> Index | None:
    """The Gaussians tile by tile: with many frames a pixel is long, and neighbours find it in the cache."""
    if frames < FRAMES_WORTH_ORDER:
        return None
    column = np.clip(table[:, FOOT_U], 0, 1 << 20).astype(np.int64) // TILE
    row = spans[:, 0].astype(np.int64) // TILE
    return np.argsort((row << 32) + column, kind="stable")


def _distances(view: NDArray[np.float64], call: _Call) -> Floats:
    """(rows, columns + LANES) from the source to the pixels, mm."""
    distances = np.empty((call.rows, call.columns + LANES), np.float32)
    run(call.threads, fill_distances, ranges(call.rows, call.threads, 256), view, distances)
    return distances


def _scratch() -> Floats:
    return np.zeros(SCRATCH, np.float32)


def _forward(gaussians: Arrays, weights: Floats, view: NDArray[np.float64], call: _Call, image: Floats) -> Index | None:
    """Adds one view to its image, (rows, columns + LANES) or (rows, columns, T); returns the order of the Gaussians."""
    table, spans = tabulated(gaussians, view, call.matrix, call.threads)
    bands = [(low, high, _scratch()) for low, high in _bands(table, spans, call)]
    distances, order = _distances(view, call), _order(table, spans, weights.shape[1])
    if image.ndim == 2:
        table[:, AMPLITUDE] *= weights[:, 0]
        run(call.threads, forward_one, bands, table, spans, distances, image, call.columns, call.cut2)
        return order
    if order is not None:
        table, spans, weights = _taken(order, (table, spans, weights))
    run(call.threads, forward_frames, bands, table, spans, distances, weights, image, call.columns, call.cut2)
    return order


def _backward(
    gaussians: Arrays,
    weights: Floats,
    view: NDArray[np.float64],
    call: _Call,
    gradient: Floats,
    geometry: bool,
    view_moves: bool,
    into: Arrays,
) -> NDArray[np.float64]:
    """Adds the adjoint of one view to the gradients; returns what the view's numbers get (23,), distances left out.

    gradient like the image of `_forward`; geometry, view_moves: whether more than the weights' gradient is wanted, and
    the view's; into: of the Gaussians and the weights.
    """
    parts = ranges(len(weights), -(-len(weights) // GAUSSIANS_PER_PART))
    to_view, distances = np.zeros((len(parts), VIEW_NUMBERS)), _distances(view, call)
    own, most = threading.local(), max(high - low for low, high in parts)

    def work(low: int, high: int, part: int) -> None:
        mean, *shape = (x[low:high] for x in gaussians)
        *to_gaussians, to_weights = (x[low:high] for x in into)
        if not hasattr(own, "room"):  # once a thread: memory that is new again and again is slow, and shared
            own.room = (*empty_table(most), np.empty((most, PARTS)), np.empty((most, MOMENTS), np.float32))
        table, spans, kept, moments = (x[: high - low] for x in own.room)
        moments[:] = 0
        fill_table(mean, *shape, view, *call.matrix, table, spans, kept)
        given = (_scratch(), table, spans, distances, gradient)
        if gradient.ndim == 2:
            gather_one(*given, call.columns, call.cut2, moments)
            to_weights[:, 0] += table[:, AMPLITUDE] * moments[:, 0]
            moments *= weights[low:high]
        else:
            gather_frames(*given, weights[low:high], call.columns, call.cut2, geometry, to_weights, moments)
        if geometry:
            pull_back(
                table, spans, kept, moments, *shape, view, call.variance, view_moves, *to_gaussians, to_view[part]
            )  # fmt: skip

    run(call.threads, work, [(low, high, k) for k, (low, high) in enumerate(parts)])
    return np.asarray(to_view.sum(0))


def _backward_in_order(order: Index | None, gaussians: Arrays, weights: Floats, into: Arrays, **rest: Any) -> Any:
    """`_backward` of the Gaussians in this order, so that neighbours in the image are neighbours in memory."""
    if order is None:
        return _backward(gaussians, weights, into=into, **rest)
    ordered, *taken = [np.zeros_like(x) for x in into], *_taken(order, (*gaussians, weights))
    to_view = _backward(taken[:-1], taken[-1], into=ordered, **rest)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    for x, values in zip(into, _taken(back, ordered), strict=True):
        x += values
    return to_view


def _taken(order: Index, arrays: Arrays) -> list[NDArray[Any]]:
    return [x.take(order, axis=0) for x in arrays]


def _whole_lanes(values: Floats) -> Floats:
    """The same with zeros after the last column, up to a multiple of LANES; contiguous."""
    missing = -values.shape[-1] % LANES
    if missing:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], missing), np.float32)], axis=-1)
    return np.ascontiguousarray(values)


def _padded(gradient: Floats, frames: int) -> Floats:
    """The gradient of images (V, rows, columns, T) as the kernels read it."""
    if frames > 1:
        return _whole_lanes(gradient)
    views, rows, columns, _ = gradient.shape
    padded = np.zeros((views, rows, columns + LANES), np.float32)
    padded[..., :columns] = gradient[..., 0]
    return padded


def _array(x: Tensor) -> Floats:
    values: Floats = x.detach().contiguous().numpy()
    return values


class _Project(torch.autograd.Function):
    """All views: Gaussians, weights (N, T), and what the kernels know of the views (V, 23)."""

    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        log_sigma: Tensor,
        quaternion: Tensor,
        density: Tensor,
        weights: Tensor,
        vectors: Tensor,
        call: _Call,
    ) -> Tensor:
        sizes = inverse_sigmas(_array(log_sigma), call.threads)
        gaussians = (_array(mean), sizes, _array(quaternion), _array(density))
        views, frames = vectors.detach().double().contiguous().numpy(), weights.shape[1]
        per_frame = _array(weights) if frames == 1 else _whole_lanes(_array(weights))
        size = (call.columns + LANES,) if frames == 1 else (call.columns, per_frame.shape[1])
        images = np.zeros((len(views), call.rows, *size), np.float32)
        ctx.orders = [
            _forward(gaussians, per_frame, view, call, image) for view, image in zip(views, images, strict=True)
        ]
        seen = images[:, :, : call.columns, None] if frames == 1 else images[..., :frames]
        result = torch.from_numpy(np.ascontiguousarray(seen))
        ctx.call, ctx.sizes = call, sizes
        kept = result if ctx.needs_input_grad[5] else result.new_zeros(0)
        ctx.save_for_backward(mean, log_sigma, quaternion, density, weights, vectors, kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *given, weights, vectors, images = ctx.saved_tensors
        call: _Call = ctx.call
        mean, _, quaternion, density = (_array(x) for x in given)
        gaussians = (mean, ctx.sizes, quaternion, density)
        views, frames = vectors.detach().double().contiguous().numpy(), weights.shape[1]
        per_frame = _array(weights) if frames == 1 else _whole_lanes(_array(weights))
        into = tuple(np.zeros(x.shape, np.float32) for x in given)
        to_weights = np.zeros_like(per_frame)
        moves, geometry = ctx.needs_input_grad[5], any(ctx.needs_input_grad[k] for k in (0, 1, 2, 3, 5))
        padded, to_views = _padded(_array(gradient), frames), np.zeros(views.shape)
        for k, (view, order) in enumerate(zip(views, ctx.orders, strict=True)):
            to_views[k] = _backward_in_order(
                order, gaussians, per_frame, (*into, to_weights), view=view, call=call, gradient=padded[k],
                geometry=geometry, view_moves=moves,
            )  # fmt: skip
            if moves:
                squared = _distances(view, call)[:, : call.columns].astype(np.float64) ** 2
                to_views[k] += pull_back_distances(view, _array((gradient[k] * images[k]).sum(-1)) / squared)
        results = (*into, to_weights[:, :frames], to_views)
        return *(torch.from_numpy(np.ascontiguousarray(x)) for x in results), None


def project(gaussians: Parameters, views: Views, weights: Tensor, cut: float, aperture: bool, threads: int) -> Tensor:
    """(V, rows, columns, T) line integrals in single precision."""
    call = _Call(views.rows, views.columns, float(cut), PIXEL_VARIANCE if aperture else 0.0, threads)
    images: Tensor = _Project.apply(
        gaussians.mean, gaussians.log_sigma, gaussians.quaternion, gaussians.density, weights,
        torch.stack([view_vector(view) for view in views]), call,
    )  # fmt: skip
    return images

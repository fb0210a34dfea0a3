"""Projection in plain torch, on any device: patches of equal size at a time, and an adjoint written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.footprint import Footprints, View, footprints

SIDES = (3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)
PATCH_ELEMENTS = 1 << 20  # pixels (times frames) that are worked on at a time


@dataclass(frozen=True)
class Patch:
    """The footprints of n Gaussians on squares of one size.

    chosen       (n,) rows of the table
    du, dv       (n, 1, K), (n, K, 1) pixels from the foot
    numerator, denominator  (n, K, K)
    inside       (n, K, K) within the cut and on the detector
    pixel        (n, K, K) flat index of the pixel
    """

    chosen: Tensor
    du: Tensor
    dv: Tensor
    numerator: Tensor
    denominator: Tensor
    inside: Tensor
    pixel: Tensor


def view_tensors(cameras: Cameras, index: int, device: torch.device, dtype: torch.dtype) -> View:
    """One of the cameras as tensors."""
    source, origin, column_step, row_step = (
        torch.as_tensor(x[index], device=device, dtype=dtype)
        for x in (cameras.source, cameras.origin, cameras.column_step, cameras.row_step)
    )
    return View(source, origin, column_step, row_step, cameras.rows, cameras.columns)


def patches(table: Tensor, spread: Tensor, rows: int, columns: int, cut: float, frames: int = 1) -> Iterator[Patch]:
    """All pixels within `cut` standard deviations of each foot, in pieces of bounded size."""
    low = torch.clamp(torch.ceil(table[:, :2] - cut * spread), min=0)
    limit = torch.tensor([columns - 1, rows - 1], device=table.device, dtype=table.dtype)
    high = torch.minimum(torch.floor(table[:, :2] + cut * spread), limit)
    extent = high - low + 1
    seen = torch.nonzero((extent > 0).all(1))[:, 0]
    sides = torch.tensor([s for s in SIDES if s < max(rows, columns)] + [max(rows, columns)], device=table.device)
    bucket = torch.bucketize(extent[seen].max(1).values, sides.to(table.dtype))
    for j in torch.unique(bucket).tolist():
        side = int(sides[j])
        step = torch.arange(side, device=table.device, dtype=table.dtype)
        members = seen[bucket == j]
        for chosen in torch.split(members, max(1, PATCH_ELEMENTS // (side * side * frames))):
            g = table[chosen]
            column, row = low[chosen, :1] + step, low[chosen, 1:] + step
            du, dv = (column - g[:, :1])[:, None, :], (row - g[:, 1:2])[:, :, None]
            a11, a12, a22, b1, b2, c11, c12, c22 = (g[:, k, None, None] for k in range(2, 10))
            numerator = (a11 * du + 2 * a12 * dv) * du + a22 * dv * dv
            denominator = ((c11 * du + 2 * (c12 * dv + b1)) * du + (c22 * dv + 2 * b2) * dv + 1).clamp(min=1e-6)
            on_detector = (column < columns)[:, None, :] & (row < rows)[:, :, None]
            pixel = row.clamp(max=rows - 1).long()[:, :, None] * columns + column.clamp(max=columns - 1).long()[:, None]
            yield Patch(chosen, du, dv, numerator, denominator, on_detector & (numerator < cut * cut), pixel)


def unit_values(patch: Patch, distances: Tensor) -> Tensor:
    """(n, K, K) line integrals for unit amplitude."""
    falloff = torch.exp(-0.5 * patch.numerator / patch.denominator) * torch.rsqrt(patch.denominator)
    return distances[patch.pixel] * falloff * patch.inside


class _Splat(torch.autograd.Function):
    """Adds footprints into (pixels, T) images; the adjoint gathers over each footprint, so nothing needs an order."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, weights: Tensor, spread: Tensor, view: View, cut: float) -> Tensor:
        distances = view.distances().to(table.dtype)
        frames = weights.shape[1]
        image = table.new_zeros(view.rows * view.columns, frames)
        for patch in patches(table, spread, view.rows, view.columns, cut, frames):
            value = table[patch.chosen, 10, None, None] * unit_values(patch, distances)
            spread_out = value.reshape(len(value), -1, 1) * weights[patch.chosen, None, :]
            image.index_add_(0, patch.pixel.reshape(-1), spread_out.reshape(-1, frames))
        ctx.save_for_backward(table, weights, spread, distances)
        ctx.view, ctx.cut = view, cut
        return image

    @staticmethod
    def backward(ctx: Any, image_gradient: Tensor) -> tuple[Tensor | None, ...]:
        table, weights, spread, distances = ctx.saved_tensors
        view, cut, frames = ctx.view, ctx.cut, weights.shape[1]
        to_table, to_weights = torch.zeros_like(table), torch.zeros_like(weights)
        for patch in patches(table, spread, view.rows, view.columns, cut, frames):
            g, du, dv = table[patch.chosen], patch.du[:, 0, :], patch.dv[:, :, 0]
            value = unit_values(patch, distances)
            at_pixels = image_gradient[patch.pixel.reshape(-1)].view(*value.shape, frames)
            to_weights[patch.chosen] = g[:, 10, None] * torch.einsum("nyx,nyxt->nt", value, at_pixels)
            v = value * torch.einsum("nyxt,nt->nyx", at_pixels, weights[patch.chosen])
            t = v / patch.denominator
            e = t * (patch.numerator / patch.denominator - 1)
            t_u, t_v, e_u, e_v = t.sum(1), t.sum(2), e.sum(1), e.sum(2)
            t_uv, e_uv = (torch.einsum("nyx,nx,ny->n", x, du, dv) for x in (t, e))
            s1, s2, s3, s5 = (t_u * du).sum(1), (t_v * dv).sum(1), (t_u * du**2).sum(1), (t_v * dv**2).sum(1)
            m0, m1, m2 = e_u.sum(1), (e_u * du).sum(1), (e_v * dv).sum(1)
            m3, m5 = (e_u * du**2).sum(1), (e_v * dv**2).sum(1)
            a = g[:, 10]
            to_table[patch.chosen] = torch.stack(
                [
                    a * (g[:, 2] * s1 + g[:, 3] * s2 - g[:, 5] * m0 - g[:, 7] * m1 - g[:, 8] * m2),
                    a * (g[:, 3] * s1 + g[:, 4] * s2 - g[:, 6] * m0 - g[:, 8] * m1 - g[:, 9] * m2),
                    -0.5 * a * s3, -a * t_uv, -0.5 * a * s5,
                    a * m1, a * m2,
                    0.5 * a * m3, a * e_uv, 0.5 * a * m5,
                    v.sum((1, 2)),
                ],
                1,
            )  # fmt: skip
        return to_table, to_weights, None, None, None


def project(
    mean: Tensor,
    log_sigma: Tensor,
    quaternion: Tensor,
    density: Tensor,
    cameras: Cameras,
    weights: Tensor,
    cut: float,
    aperture: bool,
) -> Tensor:
    """(V, rows, columns, T) line integrals in the precision and on the device of `mean`."""
    # The table is made in double precision wherever the device has it; only the pixels are worked in the caller's.
    inner = torch.float32 if mean.device.type == "mps" else torch.float64
    images = []
    for index in range(len(cameras)):
        view = view_tensors(cameras, index, mean.device, inner)
        seen: Footprints = footprints(
            mean.to(inner), log_sigma.to(inner), quaternion.to(inner), density.to(inner), view, cut, aperture
        )
        image = _Splat.apply(  # type: ignore[no-untyped-call]
            seen.table.to(mean.dtype), weights[seen.index], seen.spread.to(mean.dtype), view, cut
        )
        images.append(image.view(cameras.rows, cameras.columns, -1))
    return torch.stack(images)

"""Projection in plain torch, on any device: patches of equal size at a time, and an adjoint written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from VesselFlowGSLib.gaussians.backends.torch.patches import patches, unit_values
from VesselFlowGSLib.gaussians.footprint import footprints
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import Views


class _Splat(torch.autograd.Function):
    """Adds footprints into (pixels, T) images; the adjoint gathers over each footprint, so nothing needs an order.

    table (M, 11) and spread (M, 2) in double precision, weights (M, T) and distances (pixels,) in that of the image.
    """

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, weights: Tensor, distances: Tensor, spread: Tensor, rows: int, columns: int, cut: float
    ) -> Tensor:
        frames = weights.shape[1]
        image = weights.new_zeros(rows * columns, frames)
        for patch in patches(table, spread, rows, columns, cut, weights.dtype, frames):
            value = patch.shape[:, 8, None, None] * unit_values(patch, distances)
            spread_out = value.reshape(len(value), -1, 1) * weights[patch.chosen, None, :]
            image.index_add_(0, patch.pixel.reshape(-1), spread_out.reshape(-1, frames))
        moving = ctx.needs_input_grad[2]
        ctx.save_for_backward(table, weights, distances, spread, image if moving else weights.new_zeros(0))
        ctx.size, ctx.cut, ctx.moving = (rows, columns), cut, moving
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, image_gradient: Tensor) -> tuple[Tensor | None, ...]:
        table, weights, distances, spread, image = ctx.saved_tensors
        (rows, columns), frames = ctx.size, weights.shape[1]
        to_table, to_weights = torch.zeros_like(table), torch.zeros_like(weights)
        for patch in patches(table, spread, rows, columns, ctx.cut, weights.dtype, frames):
            g, du, dv = patch.shape, patch.du[:, 0, :], patch.dv[:, :, 0]
            value = unit_values(patch, distances)
            at_pixels = image_gradient[patch.pixel.reshape(-1)].view(*value.shape, frames)
            to_weights[patch.chosen] = g[:, 8, None] * torch.einsum("nyx,nyxt->nt", value, at_pixels)
            v = value * torch.einsum("nyxt,nt->nyx", at_pixels, weights[patch.chosen])
            t = v / patch.denominator
            e = t * (patch.numerator / patch.denominator - 1)
            t_u, t_v, e_u, e_v = t.sum(1), t.sum(2), e.sum(1), e.sum(2)
            t_uv, e_uv = (torch.einsum("nyx,nx,ny->n", x, du, dv) for x in (t, e))
            s1, s2, s3, s5 = (t_u * du).sum(1), (t_v * dv).sum(1), (t_u * du**2).sum(1), (t_v * dv**2).sum(1)
            m0, m1, m2 = e_u.sum(1), (e_u * du).sum(1), (e_v * dv).sum(1)
            m3, m5 = (e_u * du**2).sum(1), (e_v * dv**2).sum(1)
            a = g[:, 8]
            to_table[patch.chosen] = torch.stack(
                [
                    a * (g[:, 0] * s1 + g[:, 1] * s2 - g[:, 3] * m0 - g[:, 5] * m1 - g[:, 6] * m2),
                    a * (g[:, 1] * s1 + g[:, 2] * s2 - g[:, 4] * m0 - g[:, 6] * m1 - g[:, 7] * m2),
                    -0.5 * a * s3, -a * t_uv, -0.5 * a * s5,
                    a * m1, a * m2,
                    0.5 * a * m3, a * e_uv, 0.5 * a * m5,
                    v.sum((1, 2)),
                ],
                1,
            ).to(table.dtype)  # fmt: skip
        to_distances = (image_gradient * image).sum(1) / distances if ctx.moving else None
        return to_table, to_weights, to_distances, None, None, None, None


def project(gaussians: Parameters, views: Views, weights: Tensor, cut: float, aperture: bool, threads: int) -> Tensor:
    """(V, rows, columns, T) line integrals in the precision and on the device of the Gaussians."""
    # The table is made in double precision wherever the device has it; only the pixels are worked in the caller's.
    dtype, inner = weights.dtype, views.source.dtype
    exact = Parameters(
        gaussians.mean.to(inner), gaussians.log_sigma.to(inner), gaussians.quaternion.to(inner),
        gaussians.density.to(inner),
    )  # fmt: skip
    images = []
    for view in views:
        found = footprints(exact, view, cut, aperture)
        distances = view.pixel_distances().reshape(-1).to(dtype)
        image = _Splat.apply(  # type: ignore[no-untyped-call]
            found.table, weights[found.index], distances, found.spread, view.rows, view.columns, cut
        )
        images.append(image.view(view.rows, view.columns, -1))
    return torch.stack(images)

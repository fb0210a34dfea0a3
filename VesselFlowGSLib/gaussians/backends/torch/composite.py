"""Compositing in plain torch, on any device: all pixels of all footprints, sorted by pixel and depth."""

from __future__ import annotations

import torch
from torch import Tensor

from VesselFlowGSLib.gaussians.backends.torch.patches import patches
from VesselFlowGSLib.gaussians.footprint import footprints
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.splats import LARGEST_ALPHA, LEAST_TRANSMITTANCE, Splats, depths, faded
from VesselFlowGSLib.gaussians.views import View

LAYERS_AT_A_TIME = 1 << 21  # splats on pixels that are held at a time


def composite(splats: Splats, view: View, cut: float, threads: int) -> Tensor:
    """(rows, columns, 4) premultiplied red, green, blue, and opacity, in the precision of the splats."""
    g, inner, dtype = splats.gaussians, view.source.dtype, splats.mean.dtype
    exact = Parameters(g.mean.to(inner), g.log_sigma.to(inner), g.quaternion.to(inner), g.density.to(inner))
    found = footprints(exact, view, cut, aperture=True)
    order = torch.argsort(depths(g.mean[found.index], view), stable=True)
    index, table, spread = found.index[order], found.table[order], found.spread[order]
    opacity = faded(exact.density[index], table).to(dtype)
    colour = torch.cat([splats.colour[index], torch.ones_like(opacity)[:, None]], 1)
    picture = torch.zeros(view.rows * view.columns, 4, dtype=dtype, device=g.mean.device)
    for low, high in _bands(table, spread, cut, view.rows, view.columns):
        band, reach = table.clone(), cut * spread[:, 1]
        band[:, 1] -= low
        near = torch.nonzero((band[:, 1] > -1 - reach) & (band[:, 1] < high - low + reach))[:, 0]
        pixel, splat, alpha = _layers(band[near], spread[near], opacity[near], cut, high - low, view.columns)
        sorted_by = torch.argsort(pixel * max(len(near), 1) + splat)
        pixel, splat, alpha = pixel[sorted_by], splat[sorted_by], alpha[sorted_by]
        seen = alpha * _transmittance_before(pixel, alpha)
        picture.index_add_(0, pixel + low * view.columns, seen[:, None] * colour[near[splat]])
    return picture.view(view.rows, view.columns, 4)


def _bands(table: Tensor, spread: Tensor, cut: float, rows: int, columns: int) -> list[tuple[int, int]]:
    """Ranges of image rows, each with a bounded number of layers (one row at least)."""
    half = cut * spread.clamp(max=float(max(rows, columns)))
    first, last = ((table[:, 1] + s * half[:, 1]).clamp(0, rows - 1).round().long() for s in (-1, 1))
    width = (2 * half[:, 0] + 1).clamp(max=columns).to(table.dtype)
    change = torch.zeros(rows + 1, dtype=table.dtype, device=table.device)
    change.index_add_(0, first, width)
    change.index_add_(0, last + 1, -width)
    done = torch.cumsum(torch.cumsum(change, 0)[:rows], 0).tolist()
    bands, low, before = [], 0, 0.0
    for row in range(1, rows):
        if done[row] - before > LAYERS_AT_A_TIME:
            bands.append((low, row))
            low, before = row, done[row - 1]
    return [*bands, (low, rows)]


def _layers(
    table: Tensor, spread: Tensor, opacity: Tensor, cut: float, rows: int, columns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel, splat and alpha of every splat on every pixel that it touches, (L,) each."""
    pixels, splats = [torch.zeros(0, dtype=torch.long, device=table.device)] * 2
    found = [(pixels, splats, opacity[:0])]
    for patch in patches(table, spread, rows, columns, cut, opacity.dtype):
        inside = torch.nonzero(patch.inside.reshape(-1))[:, 0]
        exponent = (patch.numerator / patch.denominator).reshape(-1)[inside]
        splat = patch.chosen[inside // patch.inside[0].numel()]
        alpha = (opacity[splat] * torch.exp(-0.5 * exponent)).clamp(max=LARGEST_ALPHA)
        found.append((patch.pixel.reshape(-1)[inside], splat, alpha))
    pixel, splat, alpha = (torch.cat(parts) for parts in zip(*found, strict=True))
    return pixel, splat, alpha


def _transmittance_before(pixel: Tensor, alpha: Tensor) -> Tensor:
    """(L,) what is left in front of each layer, for layers in the order of pixel and depth; 0 where next to nothing.

    The products are taken over 2, 4, 8, … layers of a pixel, so that single precision is enough for any number.
    """
    if len(pixel) == 0:
        return alpha
    number = torch.arange(len(pixel), device=pixel.device)
    begins = torch.ones_like(pixel, dtype=torch.bool)
    begins[1:] = pixel[1:] != pixel[:-1]
    place = number - torch.cummax(torch.where(begins, number, torch.zeros_like(number)), 0).values
    left = torch.ones_like(alpha)
    left[1:] = torch.where(begins[1:], left[1:], 1 - alpha[:-1])
    reach, deepest = 1, int(place.max())
    while reach <= deepest:
        further = left.clone()
        further[reach:] *= torch.where(place[reach:] >= reach, left[:-reach], torch.ones_like(left[reach:]))
        left, reach = further, 2 * reach
    return torch.where(left < LEAST_TRANSMITTANCE, torch.zeros_like(left), left)

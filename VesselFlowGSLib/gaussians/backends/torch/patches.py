"""Footprints as patches of equal size, so that plain tensor operations can work on many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SIDES = (3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)
PATCH_ELEMENTS = 1 << 20  # pixels (times frames) that are worked on at a time


@dataclass(frozen=True)
class Patch:
    """The footprints of n Gaussians on squares of one size.

    chosen       (n,) rows of the table
    shape        (n, 9) A11 A12 A22, B1 B2, C11 C12 C22, a, in the precision of the pixels
    du, dv       (n, 1, K), (n, K, 1) pixels from the foot
    numerator, denominator  (n, K, K)
    inside       (n, K, K) within the cut and on the detector
    pixel        (n, K, K) flat index of the pixel
    """

    chosen: Tensor
    shape: Tensor
    du: Tensor
    dv: Tensor
    numerator: Tensor
    denominator: Tensor
    inside: Tensor
    pixel: Tensor


def patches(
    table: Tensor, spread: Tensor, rows: int, columns: int, cut: float, dtype: torch.dtype, frames: int = 1
) -> Iterator[Patch]:
    """All pixels within `cut` standard deviations of each foot, in pieces of bounded size.

    table (M, 11) and spread (M, 2) in double precision; the pixels are worked on in `dtype`.
    """
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
            g = table[chosen, 2:].to(dtype)
            column, row = low[chosen, :1] + step, low[chosen, 1:] + step
            # Far from pixel (0, 0) single precision would lose the foot's last digits: subtracted before rounding.
            du = (column - table[chosen, :1]).to(dtype)[:, None, :]
            dv = (row - table[chosen, 1:2]).to(dtype)[:, :, None]
            a11, _, _, b1, b2, c11, c12, c22 = (g[:, k, None, None] for k in range(8))
            # With the square completed nothing cancels along a needle.
            slant = table[chosen, 3] / table[chosen, 2]
            rest = (table[chosen, 4] - slant * table[chosen, 3]).to(dtype)[:, None, None]
            numerator = a11 * (du + slant.to(dtype)[:, None, None] * dv) ** 2 + rest * dv * dv
            denominator = ((c11 * du + 2 * (c12 * dv + b1)) * du + (c22 * dv + 2 * b2) * dv + 1).clamp(min=1e-6)
            on_detector = (column < columns)[:, None, :] & (row < rows)[:, :, None]
            pixel = row.clamp(max=rows - 1).long()[:, :, None] * columns + column.clamp(max=columns - 1).long()[:, None]
            inside = on_detector & (numerator < cut * cut)
            yield Patch(chosen, g, du, dv, numerator, denominator, inside, pixel)


def unit_values(patch: Patch, distances: Tensor) -> Tensor:
    """(n, K, K) line integrals for unit amplitude; distances (rows * columns,) from the source to each pixel."""
    falloff = torch.exp(-0.5 * patch.numerator / patch.denominator) * torch.rsqrt(patch.denominator)
    return distances[patch.pixel] * falloff * patch.inside

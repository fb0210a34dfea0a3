"""The footprint of a Gaussian on a detector: the closed form of its line integral, around the point it is seen at.

With the source at the origin, q the vector to a pixel, L = diag(1/sigma) R^T and mu the mean, the line integral of
density exp(-|L (x - mu)|^2 / 2) along q is

    density sqrt(2 pi) |q| / |L q|  exp(-m / 2),     m = |L q x L mu|^2 / |L q|^2.

Written around the foot point (where the ray through the mean meets the detector), both quadratic forms are free of
cancellation, so that single precision suffices per pixel:

    m = num / den,  num = A11 du^2 + 2 A12 du dv + A22 dv^2,
    den = 1 + 2 (B1 du + B2 dv) + C11 du^2 + 2 C12 du dv + C22 dv^2,
    line integral = a |q| den^-1/2 exp(-m / 2),     (du, dv) = pixel - foot, in pixels along columns and rows.

It is exact for a cone beam, any aspect ratio, and pixel steps that are not at right angles. A pixel measures the mean
over its area: the variance b of that area is added to the footprint's, and the amplitude keeps the mass. With D the
determinant of A that is, without inverting A,

    A <- (A + b D I) / Q,    a <- a Q^-1/2,    D <- D / Q,    Q = 1 + b (A11 + A22) + b^2 D.

Every backend makes this table in double precision and adds up pixels in its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import View

PIXEL_VARIANCE = 1 / 12  # px^2, of a unit square along each side
SMALLEST_LOG_SIGMA, LARGEST_LOG_SIGMA = math.log(1e-6), math.log(1e6)  # mm; beyond, double precision would overflow
SMALLEST_QUATERNION = 1e-12


@dataclass(frozen=True)
class Footprints:
    """Footprints of the Gaussians that a view can see.

    index   (M,) which Gaussians they are
    table   (M, 11) column and row of the foot, A11 A12 A22, B1 B2, C11 C12 C22, a
    spread  (M, 2) standard deviations along columns and rows, pixels; carries no gradient
    """

    index: Tensor
    table: Tensor
    spread: Tensor


def rotations(quaternion: Tensor) -> Tensor:
    """(N, 4) quaternions w, x, y, z of any length to (N, 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=1).unbind(1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        1,
    ).view(-1, 3, 3)  # fmt: skip


def seen(gaussians: Parameters, view: View, cut: float) -> Tensor:
    """(N,) whether a Gaussian is well formed and lies wholly in front of the source: the others have no footprint."""
    with torch.no_grad():
        g = gaussians
        finite = g.mean.isfinite().all(1) & g.log_sigma.isfinite().all(1) & g.quaternion.isfinite().all(1)
        formed = finite & g.density.isfinite() & (g.log_sigma < LARGEST_LOG_SIGMA).all(1)
        formed &= g.quaternion.norm(dim=1) > SMALLEST_QUATERNION
        extent = cut * torch.exp(g.log_sigma.max(1).values)
        ray = (g.mean - view.source.to(g.mean.dtype)).to(view.source.dtype)
        depth = (ray @ view.projection[2]) * view.receptor_distance
        in_front: Tensor = depth > extent
        return formed & in_front


def footprints(gaussians: Parameters, view: View, cut: float, aperture: bool) -> Footprints:
    """The footprints of the Gaussians; differentiable in them and in the view, and meant for double precision.

    Malformed Gaussians (not finite, no rotation) and those at or behind the source are left out.
    """
    index = torch.nonzero(seen(gaussians, view, cut))[:, 0]
    mean, quaternion, density = gaussians.mean[index], gaussians.quaternion[index], gaussians.density[index]
    log_sigma = gaussians.log_sigma[index].clamp(min=SMALLEST_LOG_SIGMA)
    eu, ev = view.column_step, view.row_step

    ray = mean - view.source
    h = ray @ view.projection.T
    scale = h[:, 2]  # one over the magnification
    column, row = h[:, 0] / scale, h[:, 1] / scale
    whiten = rotations(quaternion).transpose(1, 2) * torch.exp(-log_sigma)[:, :, None]
    w = (whiten @ (ray / scale[:, None])[:, :, None])[:, :, 0]
    e1, e2 = whiten @ eu, whiten @ ev
    inverse_w = 1 / (w * w).sum(1)
    c1, c2 = torch.linalg.cross(e1, w), torch.linalg.cross(e2, w)
    k = scale**2 * inverse_w
    a11, a12, a22 = (c1 * c1).sum(1) * k, (c1 * c2).sum(1) * k, (c2 * c2).sum(1) * k
    # The determinant as a product: the difference a11 a22 - a12^2 loses all digits for needles.
    determinant = (scale**2 * view.volume * torch.exp(-log_sigma.sum(1))) ** 2 * inverse_w

    b = PIXEL_VARIANCE if aperture else 0.0
    q = 1 + b * (a11 + a22) + b * b * determinant
    table = torch.stack(
        [
            column, row, (a11 + b * determinant) / q, a12 / q, (a22 + b * determinant) / q,
            (e1 * w).sum(1) * inverse_w, (e2 * w).sum(1) * inverse_w,
            (e1 * e1).sum(1) * inverse_w, (e1 * e2).sum(1) * inverse_w, (e2 * e2).sum(1) * inverse_w,
            density * torch.sqrt(2 * math.pi * inverse_w / q),
        ],
        1,
    )  # fmt: skip
    spread = torch.stack([a22 / determinant + b, a11 / determinant + b], 1).sqrt()
    return Footprints(index, table, spread.detach())

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
over its area: the variance of that area is added to the footprint's, and the amplitude keeps the mass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PIXEL_VARIANCE = 1 / 12  # px^2, of a unit square along each side
SMALLEST_LOG_SIGMA, LARGEST_LOG_SIGMA = math.log(1e-6), math.log(1e6)  # mm; beyond, double precision would overflow
SMALLEST_QUATERNION = 1e-12


@dataclass(frozen=True)
class View:
    """One cone-beam view as tensors: source, pixel (0, 0), steps along columns and rows (3,), mm."""

    source: Tensor
    origin: Tensor
    column_step: Tensor
    row_step: Tensor
    rows: int
    columns: int

    @property
    def normal(self) -> Tensor:
        n = torch.linalg.cross(self.column_step, self.row_step)
        n = torch.nn.functional.normalize(n, dim=0)
        towards: Tensor = torch.sign((self.origin - self.source) @ n)
        return n * towards

    def distances(self) -> Tensor:
        """(rows * columns,) from the source to every pixel centre, mm."""
        r = torch.arange(self.rows, device=self.origin.device, dtype=self.origin.dtype)[:, None, None]
        c = torch.arange(self.columns, device=self.origin.device, dtype=self.origin.dtype)[None, :, None]
        q = self.origin - self.source + c * self.column_step + r * self.row_step
        length: Tensor = q.norm(dim=-1)
        return length.reshape(-1)


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


def _seen(mean: Tensor, log_sigma: Tensor, quaternion: Tensor, density: Tensor, view: View, cut: float) -> Tensor:
    """Indices of the Gaussians that are well formed and lie wholly in front of the source."""
    with torch.no_grad():
        finite = (
            mean.isfinite().all(1) & log_sigma.isfinite().all(1) & quaternion.isfinite().all(1) & density.isfinite()
        )
        formed = finite & (quaternion.norm(dim=1) > SMALLEST_QUATERNION) & (log_sigma < LARGEST_LOG_SIGMA).all(1)
        extent = cut * torch.exp(log_sigma.max(1).values)
        in_front = (mean - view.source) @ view.normal > extent
        return torch.nonzero(formed & in_front)[:, 0]


def footprints(
    mean: Tensor, log_sigma: Tensor, quaternion: Tensor, density: Tensor, view: View, cut: float, aperture: bool
) -> Footprints:
    """The footprints of (N, 3), (N, 3), (N, 4), (N,) Gaussians; differentiable, and meant for double precision.

    Malformed Gaussians (not finite, no rotation) and those at or behind the source are left out.
    """
    index = _seen(mean, log_sigma, quaternion, density, view, cut)
    mean, quaternion, density = mean[index], quaternion[index], density[index]
    log_sigma = log_sigma[index].clamp(min=SMALLEST_LOG_SIGMA)
    eu, ev, normal = view.column_step, view.row_step, view.normal
    receptor = (view.origin - view.source) @ normal

    whiten = rotations(quaternion).transpose(1, 2) * torch.exp(-log_sigma)[:, :, None]
    ray = mean - view.source
    scale = (ray @ normal) / receptor  # one over the magnification
    foot = ray / scale[:, None]
    on_detector = foot + view.source - view.origin
    uu, uv, vv = eu @ eu, eu @ ev, ev @ ev
    along_u, along_v = on_detector @ eu, on_detector @ ev
    u0 = (vv * along_u - uv * along_v) / (uu * vv - uv * uv)
    v0 = (uu * along_v - uv * along_u) / (uu * vv - uv * uv)

    w = (whiten @ foot[:, :, None])[:, :, 0]
    e1, e2 = whiten @ eu, whiten @ ev
    inverse_w = 1 / (w * w).sum(1)
    c1, c2 = torch.linalg.cross(e1, w), torch.linalg.cross(e2, w)
    k = scale**2 * inverse_w
    a11, a12, a22 = (c1 * c1).sum(1) * k, (c1 * c2).sum(1) * k, (c2 * c2).sum(1) * k
    # The determinant as a product: the difference a11 a22 - a12^2 loses all digits for needles.
    area = torch.linalg.cross(eu, ev).norm()
    determinant = scale**4 * inverse_w * (area * receptor * torch.exp(-log_sigma.sum(1))) ** 2

    b = PIXEL_VARIANCE if aperture else 0.0
    own = 1 / determinant
    s11, s12, s22 = a22 * own + b, -a12 * own, a11 * own + b
    blurred = own + b * (a11 + a22) * own + b * b
    amplitude = density * torch.sqrt(2 * math.pi * inverse_w * own / blurred)
    table = torch.stack(
        [
            u0, v0, s22 / blurred, -s12 / blurred, s11 / blurred,
            (e1 * w).sum(1) * inverse_w, (e2 * w).sum(1) * inverse_w,
            (e1 * e1).sum(1) * inverse_w, (e1 * e2).sum(1) * inverse_w, (e2 * e2).sum(1) * inverse_w,
            amplitude,
        ],
        1,
    )  # fmt: skip
    return Footprints(index, table, torch.sqrt(torch.stack([s11, s22], 1)).detach())

"""What compositing draws: Gaussians that hide what lies behind them, from a cloud and from a surface.

A splat of peak opacity o hides exp(-m/2) o of what is behind it on a pixel where its footprint has the exponent m
(gaussians/footprint.py). With the pixel's aperture the footprint is widened by the variance b of the pixel's area, and
the opacity times Q^-1/2 keeps what it hides in all, so that thin splats fade instead of flickering:

    1 / Q = det(1 - b A),    A: after it was widened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation
from scipy.special import spence
from torch import Tensor

from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.footprint import PIXEL_VARIANCE
from VesselFlowGSLib.gaussians.parameters import Parameters, fit_the_means
from VesselFlowGSLib.gaussians.views import View

Array = NDArray[np.float64]

LARGEST_ALPHA = 0.999  # of one splat on one pixel: what lies behind is never quite gone, so that its order matters
LEAST_TRANSMITTANCE = 1e-4  # below it nothing more is drawn on a pixel; a fortieth of a step of eight bits

# A uniform triangle's covariance times this: neighbours overlap to a sheet that is even to a few percent.
SHEET_SPREAD = 4.0
# sqrt(det) of a triangle's covariance over its area, times 2 pi: pi / (3 sqrt 3), of any triangle.
SHEET_FILLING = np.pi / (3 * np.sqrt(3))
SHEET_THICKNESS = 0.05  # of the smaller side of the sheet's splat
STEEPEST = 0.1  # cosine: a sheet seen nearer to its edge grows no denser


@dataclass(frozen=True)
class Splats:
    """N Gaussians to be seen, as tensors of one precision and device.

    mean        (N, 3) LPS mm
    log_sigma   (N, 3) log of the standard deviations in mm
    quaternion  (N, 4) w, x, y, z, of any length
    colour      (N, 3) red, green, blue, 0..1
    opacity     (N,) 0..1, at the centre

    Raises ValueError for shapes, precisions or devices that do not fit.
    """

    mean: Tensor
    log_sigma: Tensor
    quaternion: Tensor
    colour: Tensor
    opacity: Tensor

    def __post_init__(self) -> None:
        fit_the_means("Splats", self, mean=(3,), log_sigma=(3,), quaternion=(4,), colour=(3,), opacity=())

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def gaussians(self) -> Parameters:
        """As a cloud whose density is the opacity; NaN, and so not seen, where opacity or colour are not finite."""
        formed = self.colour.isfinite().all(1) & self.opacity.isfinite()
        opacity = torch.where(formed, self.opacity.clamp(0, 1), torch.nan)
        return Parameters(self.mean, self.log_sigma, self.quaternion, opacity)


@dataclass(frozen=True)
class Sheet:
    """A surface to be seen as tinted glass.

    points     (n, 3) LPS mm
    triangles  (m, 3) indices of points
    colour     (n, 3) at the points or (3,) of all, 0..1
    opacity    of one crossing at a right angle; a slanting ray crosses more of it and sees it denser
    ambient    part of the colour that stays where the sheet is seen along its edge
    """

    points: Array
    triangles: NDArray[np.integer]
    colour: ArrayLike
    opacity: float = 0.2
    ambient: float = 0.35


def splats_of_cloud(
    cloud: GaussianCloud, colours: ArrayLike, opacity: ArrayLike, dtype: torch.dtype, device: torch.device | str
) -> Splats:
    """The cloud with (N, 3) or (3,) colours and (N,) or one opacity."""
    n = len(cloud)
    found = Parameters.of(cloud, dtype, device)
    colour, peak = (
        torch.as_tensor(np.broadcast_to(np.asarray(x, float), shape).copy(), dtype=dtype, device=device)
        for x, shape in ((colours, (n, 3)), (opacity, (n,)))
    )
    return Splats(found.mean, found.log_sigma, found.quaternion, colour, peak)


def splats_of_sheet(sheet: Sheet, eye: Array, dtype: torch.dtype, device: torch.device | str) -> Splats:
    """One flat splat for each triangle, with the triangle's own covariance: shaded and as dense as the eye sees it.

    A sheet of optical depth t at a right angle has t / cos on a ray at that angle to its normal. Splats of peak opacity
    o whose covariances are s times those of the triangles that they tile a plane with have, on average over the plane,

        -ln(1 - o exp(-r^2 / 2)) summed = s pi / (3 sqrt 3) Li2(o)

    from every direction (Li2: the dilogarithm, the integral of the logarithm over the plane), which gives o.
    """
    corners = np.asarray(sheet.points, float)[np.asarray(sheet.triangles, np.int64)]
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(edge, other)
    area, length = np.linalg.norm(normal, axis=1) / 2, np.linalg.norm(edge, axis=1)
    flat = np.linalg.norm(other, axis=1)
    sound = np.isfinite(corners).all((1, 2)) & (area > 1e-9 * np.maximum(length, flat) ** 2)
    corners, normal, edge = corners[sound], normal[sound] / (2 * area[sound, None]), edge[sound] / length[sound, None]
    centre = corners.mean(1)

    across = np.cross(normal, edge)
    from_centre = corners - centre[:, None]
    u, v = (np.einsum("nki,ni->nk", from_centre, axis) for axis in (edge, across))
    uu, uv, vv = ((x * y).sum(1) * SHEET_SPREAD / 12 for x, y in ((u, u), (u, v), (v, v)))
    angle = np.arctan2(2 * uv, uu - vv) / 2
    main = np.cos(angle)[:, None] * edge + np.sin(angle)[:, None] * across
    radius, middle = np.hypot((uu - vv) / 2, uv), (uu + vv) / 2
    wide = np.sqrt(middle + radius)
    narrow = np.sqrt(uu * vv - uv * uv) / wide
    axes = np.stack([main, np.cross(normal, main), normal], -1)
    turn = Rotation.from_matrix(axes).as_quat()[:, [3, 0, 1, 2]] if len(axes) else np.zeros((0, 4))

    towards = np.asarray(eye, float) - centre
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)
    facing = np.abs(np.einsum("ni,ni->n", normal, towards))
    depth = -np.log1p(-min(max(sheet.opacity, 0.0), LARGEST_ALPHA)) / np.maximum(facing, STEEPEST)
    colour = np.broadcast_to(np.asarray(sheet.colour, float), np.shape(sheet.points))
    of_triangle = colour[np.asarray(sheet.triangles, np.int64)[sound]].mean(1)
    shaded = of_triangle * (sheet.ambient + (1 - sheet.ambient) * facing)[:, None]
    values = (
        centre, np.log(np.stack([wide, narrow, SHEET_THICKNESS * narrow], 1)), turn, shaded, _peak_opacity(depth),
    )  # fmt: skip
    return Splats(*(torch.as_tensor(x, dtype=dtype, device=device) for x in values))


def _peak_opacity(optical_depth: Array) -> Array:
    """Of a sheet's splats, so that they have this optical depth on average; at most LARGEST_ALPHA."""
    peak = LARGEST_ALPHA * np.linspace(0, 1, 2001) ** 2
    return np.asarray(np.interp(optical_depth, SHEET_SPREAD * SHEET_FILLING * spence(1 - peak), peak))


def joined(first: Splats, second: Splats) -> Splats:
    """Both, in one sort by depth."""
    return Splats(
        *(torch.cat([getattr(first, x), getattr(second, x)]) for x in Splats.__dataclass_fields__)
    )  # fmt: skip


def faded(opacity: Tensor, table: Tensor) -> Tensor:
    """(M,) opacity at the centre of footprints whose (M, 11) table was made with the pixel's aperture."""
    a11, a12, a22 = (PIXEL_VARIANCE * table[:, k] for k in (2, 3, 4))
    return opacity * ((1 - a11) * (1 - a22) - a12 * a12).clamp(min=0).sqrt()


def depths(mean: Tensor, view: View) -> Tensor:
    """(N,) depth along the view's normal, in parts of the distance to its plane, in the view's precision."""
    return (mean.to(view.source.dtype) - view.source) @ view.projection[2]

"""Attenuation of a cloud at points, and its gradient: for the surface, the wall's distance and its normals."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from VesselFlowGSLib.gaussians.backends.declaration import choose, threads_to_use
from VesselFlowGSLib.gaussians.backends.torch.density import density_on_grid as on_grid
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.footprint import LARGEST_LOG_SIGMA, SMALLEST_LOG_SIGMA, SMALLEST_QUATERNION

Array = NDArray[np.float64]

FARTHEST_MM = 1e9  # of a Gaussian from the origin


def density(
    cloud: GaussianCloud,
    points: ArrayLike,
    *,
    cut: float = 4.0,
    backend: str = "auto",
    device: str = "cpu",
    threads: int = 0,
) -> tuple[Array, Array]:
    """Attenuation (M,) in 1/mm and its gradient (M, 3) in 1/mm^2 at (M, 3) LPS mm points.

    Gaussians end at `cut` standard deviations. Malformed Gaussians and points that are not finite give nothing.
    threads: of the CPU backends, 0 for all cores. Raises InstallationError for a backend that is not there.
    """
    x = np.asarray(points, float).reshape(-1, 3)
    chosen = choose("density", backend, device)
    values, gradients = np.zeros(len(x)), np.zeros((len(x), 3))
    formed = well_formed(cloud)
    reach = cut * formed.sigma.max(1, keepdims=True)
    low = (formed.mean - reach).min(0, initial=np.inf)
    high = (formed.mean + reach).max(0, initial=-np.inf)
    reached = ((x >= low) & (x <= high)).all(1)  # a point far out would make every cell large
    if not reached.any():
        return values, gradients
    run = chosen.operator("density")
    values[reached], gradients[reached] = run(formed, x[reached], cut, device, threads_to_use(threads))
    return values, gradients


def density_on_grid(
    cloud: GaussianCloud, origin: ArrayLike, spacing_mm: ArrayLike, shape: tuple[int, int, int], *, cut: float = 4.0
) -> Array:
    """Attenuation (I, J, K) in 1/mm at the points of a grid along the axes of LPS.

    origin (3,) LPS mm of the point (0, 0, 0); spacing_mm one number or (3,).
    """
    spacing = np.broadcast_to(np.asarray(spacing_mm, float), 3)
    return on_grid(well_formed(cloud), np.asarray(origin, float), spacing, shape, cut)


def well_formed(cloud: GaussianCloud) -> GaussianCloud:
    """The Gaussians that are finite, turned by something and of a size to be computed with, as the projection takes
    them; with quaternions of length 1. What is thinner than the smallest size has that size."""
    numbers = np.column_stack([cloud.mean, cloud.sigma, cloud.quaternion, cloud.density])
    length = np.linalg.norm(cloud.quaternion, axis=1)
    formed = np.isfinite(numbers).all(1) & np.isfinite(length) & (length > SMALLEST_QUATERNION)
    formed &= (np.abs(cloud.mean) < FARTHEST_MM).all(1)
    formed &= (cloud.sigma > 0).all(1) & (cloud.sigma < math.exp(LARGEST_LOG_SIGMA)).all(1)
    taken = cloud if formed.all() else GaussianCloud(*(getattr(cloud, f.name)[formed] for f in fields(cloud)))
    unit = taken.quaternion / length[formed, None]
    return replace(taken, sigma=np.maximum(taken.sigma, math.exp(SMALLEST_LOG_SIGMA)), quaternion=unit)

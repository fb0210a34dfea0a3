"""Attenuation of a cloud at points, and its gradient: for the surface, the wall's distance and its normals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from VesselFlowGSLib.gaussians.backends.declaration import choose, threads_to_use
from VesselFlowGSLib.gaussians.backends.torch.density import density_on_grid as density_on_grid
from VesselFlowGSLib.gaussians.cloud import GaussianCloud

Array = NDArray[np.float64]


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
    values, gradients = chosen.operator("density")(cloud, x, cut, device, threads_to_use(threads))
    return values, gradients

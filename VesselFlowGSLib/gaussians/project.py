"""X-ray projection of Gaussians: line integrals on every pixel of every view, exact for a cone beam."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.backends.declaration import choose

Values = Tensor | NDArray[np.floating]


def project(
    mean: Values,
    log_sigma: Values,
    quaternion: Values,
    density: Values,
    cameras: Cameras,
    *,
    weights: Values | None = None,
    cut: float = 4.0,
    aperture: bool = True,
    backend: str = "auto",
    device: str | torch.device | None = None,
) -> Tensor:
    """Line integrals (V, rows, columns), or (V, rows, columns, T) with weights; dimensionless.

    mean (N, 3) LPS mm, log_sigma (N, 3) log mm, quaternion (N, 4) w x y z of any length, density (N,) 1/mm;
    weights (N, T) multiply the densities, one column per frame. Gaussians end at `cut` standard deviations of their
    footprint; with `aperture` a pixel holds the mean over its area, else the ray through its centre. Differentiable in
    the Gaussians and the weights. Gaussians that are malformed, or at or behind the source, are not seen; they get no
    gradient. Precision and, unless given, device are those of `mean` (an array: float64 on the CPU).
    Raises InstallationError for a backend that is not there, ValueError for shapes that do not fit.
    """
    place = torch.device(device) if device is not None else getattr(mean, "device", torch.device("cpu"))
    if not isinstance(place, torch.device):
        place = torch.device("cpu")
    centre = torch.as_tensor(mean, device=place)
    dtype = centre.dtype
    size, turn, amount = (torch.as_tensor(x, device=place, dtype=dtype) for x in (log_sigma, quaternion, density))
    n = len(centre)
    if centre.shape != (n, 3) or size.shape != (n, 3) or turn.shape != (n, 4) or amount.shape != (n,):
        raise ValueError("project: mean (N, 3), log_sigma (N, 3), quaternion (N, 4) and density (N,) must fit.")
    per_frame = torch.ones(n, 1, dtype=dtype, device=place)
    if weights is not None:
        per_frame = torch.as_tensor(weights, device=place, dtype=dtype)
        if per_frame.ndim != 2 or len(per_frame) != n:
            raise ValueError("project: weights must be (N, T).")
    chosen = choose(backend, place.type)
    wants_gradient = any(x.requires_grad for x in (centre, size, turn, amount, per_frame))
    if wants_gradient and torch.is_grad_enabled() and not chosen.differentiable:
        raise ValueError(f"project: the backend {chosen.name!r} has no gradients.")
    images = chosen.project(centre, size, turn, amount, cameras, per_frame, cut, aperture)
    return images if weights is not None else images[..., 0]

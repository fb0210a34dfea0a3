"""X-ray projection of a cloud: line integrals on every pixel of every view, exact for a cone beam."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.backends.declaration import choose, threads_to_use
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import Views


def project(
    cloud: GaussianCloud | Parameters,
    cameras: Cameras | Views,
    *,
    weights: Tensor | NDArray[np.floating] | None = None,
    cut: float = 4.0,
    aperture: bool = True,
    backend: str = "auto",
    threads: int = 0,
) -> Tensor:
    """Line integrals (V, rows, columns), or (V, rows, columns, T) with weights; dimensionless.

    weights (N, T) multiply the densities, one column per frame: a cloud at rest that fills and empties. Gaussians end
    at `cut` standard deviations of their footprint; with `aperture` a pixel holds the mean over its area, else the ray
    through its centre. Differentiable in the Gaussians, the weights and the views. Gaussians that are malformed, or at
    or behind the source, are not seen; they get no gradient. Precision and device are those of the parameters (a
    GaussianCloud: float32 on the CPU). threads: of the CPU backends, 0 for all cores.
    Raises InstallationError for a backend that is not there, ValueError for shapes that do not fit.
    """
    gaussians = cloud if isinstance(cloud, Parameters) else Parameters.of(cloud, torch.float32)
    like = gaussians.mean
    views = cameras if isinstance(cameras, Views) else Views.of(cameras, like.device)
    per_frame = torch.ones(len(like), 1, dtype=like.dtype, device=like.device)
    if weights is not None:
        per_frame = torch.as_tensor(weights, dtype=like.dtype, device=like.device)
        if per_frame.ndim != 2 or len(per_frame) != len(like):
            raise ValueError(f"project: weights must be (N, T) with N = {len(like)}, not {tuple(per_frame.shape)}.")
    chosen = choose("project", backend, like.device.type, str(like.dtype).removeprefix("torch."))
    differentiated = gaussians.needs_gradient or views.needs_gradient or per_frame.requires_grad
    if differentiated and torch.is_grad_enabled() and not chosen.differentiable:
        raise ValueError(f"project: the backend {chosen.name!r} has no gradients.")
    run = chosen.operator("project")
    images: Tensor = run(gaussians, views, per_frame, cut, aperture, threads_to_use(threads))
    return images if weights is not None else images[..., 0]

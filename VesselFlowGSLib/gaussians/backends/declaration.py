"""Which projectors exist and how one is chosen; the tests run every backend from this one declaration."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.gaussians.backends import reference
from VesselFlowGSLib.gaussians.backends import torch as plain_torch

log = logging.getLogger(__name__)

Projector = Callable[[Tensor, Tensor, Tensor, Tensor, Cameras, Tensor, float, bool], Tensor]
"""mean, log_sigma, quaternion, density, cameras, weights (N, T), cut, aperture -> (V, rows, columns, T)."""


@dataclass(frozen=True)
class Backend:
    """One projector.

    differentiable   gradients reach the Gaussians and the weights
    devices          device types it runs on
    rank             the lowest available one is chosen by "auto"; negative is never chosen
    available        whether what it needs is installed
    """

    name: str
    project: Projector
    differentiable: bool
    devices: tuple[str, ...]
    rank: int
    available: Callable[[], bool] = lambda: True


def _reference(
    mean: Tensor,
    log_sigma: Tensor,
    quaternion: Tensor,
    density: Tensor,
    cameras: Cameras,
    weights: Tensor,
    cut: float,
    aperture: bool,
) -> Tensor:
    centre, size, turn, amount, per_frame = (
        x.detach().cpu().double().numpy() for x in (mean, log_sigma, quaternion, density, weights)
    )
    images = reference.project(centre, size, turn, amount, cameras, per_frame, cut, aperture)
    return torch.as_tensor(images, dtype=mean.dtype)


BACKENDS: tuple[Backend, ...] = (
    Backend("torch", plain_torch.project, True, ("cpu", "cuda", "mps", "xpu"), 10),
    Backend("reference", _reference, False, ("cpu",), -1),
)


def choose(name: str, device: str) -> Backend:
    """The backend of that name, or for "auto" the best one that runs on the device type.

    Raises InstallationError where the name is unknown or its library is missing.
    """
    if name != "auto":
        for backend in BACKENDS:
            if backend.name == name and backend.available() and device in backend.devices:
                return backend
        known = ", ".join(b.name for b in BACKENDS if b.available() and device in b.devices)
        raise InstallationError(f"No projection backend {name!r} for device {device!r}; use auto or one of: {known}.")
    usable = [b for b in BACKENDS if b.rank >= 0 and device in b.devices and b.available()]
    if not usable:
        raise InstallationError(f"No projection backend runs on device {device!r}; use the CPU.")
    chosen = min(usable, key=lambda b: b.rank)
    log.debug("projection backend: %s on %s", chosen.name, device)
    return chosen

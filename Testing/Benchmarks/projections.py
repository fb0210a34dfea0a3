"""One projection and its adjoint through any backend, called beneath the public verb so that all are called alike."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from vessel_clouds import carm_view, vessel_tree

from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import Views

Project = Callable[[Parameters, Views, Tensor, float, bool, int], Tensor]


@dataclass(frozen=True)
class Scene:
    """Gaussians, one view, weights (N, T), and a gradient that the images (V, rows, columns, T) are given."""

    gaussians: Parameters
    views: Views
    weights: Tensor
    gradient: Tensor


def scene(
    n: int, pixels: int, pitch_mm: float, frames: int = 1, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Scene:
    """A vessel tree in front of a C-arm's detector; with several frames each Gaussian fills and empties."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.ones(n, 1) if frames == 1 else torch.rand(n, frames, generator=draw)
    gradient = torch.randn(1, pixels, pixels, frames, generator=draw)
    return Scene(
        Parameters.of(vessel_tree(n), dtype, device),
        Views.of(carm_view(pixels, pitch_mm), device),
        weights.to(device, dtype),
        gradient.to(device, dtype),
    )


def projector(backend: str) -> Project:
    """The backend's function."""
    function: Project = importlib.import_module(f"VesselFlowGSLib.gaussians.backends.{backend}.project").project
    return function


def why_not(backend: str, operator: str = "project") -> str:
    """Why a backend cannot be called here, or nothing; one declared for a GPU alone may be called on the CPU."""
    declared = {b.name: b for b in BACKENDS}.get(backend)
    if declared is None or operator not in declared.operators:
        return f"there is no backend {backend} for {operator}"
    return "" if declared.available else f"{declared.library} is not installed"


def forward_backward(project: Project, given: Scene, cut: float, threads: int = 1) -> Tensor:
    """The images, after the gradients of the Gaussians (and of the weights, where there are several) were made."""
    g = given.gaussians
    leaves = [x.detach().requires_grad_() for x in (g.mean, g.log_sigma, g.quaternion, g.density)]
    weights = given.weights.detach().requires_grad_(given.weights.shape[1] > 1)
    images = project(Parameters(*leaves), given.views, weights, cut, True, threads)
    images.backward(given.gradient)  # type: ignore[no-untyped-call]
    return images.detach()


def forward(project: Project, given: Scene, cut: float, aperture: bool = True, threads: int = 1) -> Tensor:
    with torch.no_grad():
        return project(given.gaussians, given.views, given.weights, cut, aperture, threads)


def in_precision(given: Scene, dtype: torch.dtype) -> Scene:
    g = given.gaussians
    cast = Parameters(*(x.to(dtype) for x in (g.mean, g.log_sigma, g.quaternion, g.density)))
    return replace(given, gaussians=cast, weights=given.weights.to(dtype), gradient=given.gradient.to(dtype))

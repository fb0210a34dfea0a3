"""Kernels that are ready before they are needed: compiled once on a computer, loaded in every later process."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import fields
from functools import partial

import numpy as np
import torch

from VesselFlowGSLib.acquisition.camera import Cameras, carm_cameras
from VesselFlowGSLib.gaussians.backends.declaration import OPERATORS, Backend, choose, chosen, pass_over
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.composite import composite
from VesselFlowGSLib.gaussians.density import density
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.project import project

MESSAGE = "preparing the kernels, once on this computer"
PATIENCE_S = 1.5  # what loads them from the disk; a person is told of what takes longer
GAUSSIANS, FRAMES, PIXELS = 8, 16, 16


def prepare(device: str = "cpu", on_step: Callable[[str], None] | None = None) -> dict[str, str]:
    """Runs every operator that "auto" chooses on a device, on few Gaussians; the backend of each operator.

    on_step is told once, from the calling thread, where that takes long. A backend whose kernels fail is passed over
    from then on. Not for a thread that draws a user interface.
    """
    # On a thread of its own, so that this one can tell how long it takes.
    with ThreadPoolExecutor(1, thread_name_prefix="preparation") as pool:
        work = pool.submit(contextvars.copy_context().run, _run_all, device)
        if not wait([work], PATIENCE_S).done and on_step is not None:
            on_step(MESSAGE)
        work.result()
    return chosen(device)


def _run_all(device: str) -> None:
    for operator in OPERATORS:
        while not _works(operator, choose(operator, device=device), device):
            pass


def _works(operator: str, backend: Backend, device: str) -> bool:
    try:
        for use in _uses(operator, backend.name, device):
            use()
    except Exception as error:  # a compiler fails with anything
        if backend.library is None:
            raise
        pass_over(backend, error)
        return False
    return True


def _uses(operator: str, backend: str, device: str) -> Iterator[Callable[[], object]]:
    """What an operator is asked for in a reconstruction, as calls on few Gaussians."""
    cloud, camera = _scene()
    if operator == "density":
        yield partial(density, cloud, cloud.mean, backend=backend, device=device)
    elif operator == "composite":
        yield partial(composite, cloud, (1.0, 1.0, 1.0), camera, backend=backend, device=device)
    else:
        for frames in (1, FRAMES):
            yield partial(_project_and_back, cloud, camera, frames, backend, device)


def _project_and_back(cloud: GaussianCloud, camera: Cameras, frames: int, backend: str, device: str) -> None:
    gaussians = Parameters.of(cloud, torch.float32, device)
    project(gaussians, camera, backend=backend)
    leaves = Parameters(*(getattr(gaussians, f.name).clone().requires_grad_() for f in fields(Parameters)))
    weights = torch.ones(len(cloud), frames, device=device, requires_grad=True)
    project(leaves, camera, weights=weights, backend=backend).sum().backward()  # type: ignore[no-untyped-call]


def _scene() -> tuple[GaussianCloud, Cameras]:
    n = np.arange(GAUSSIANS, dtype=float)
    mean = np.stack([np.cos(n), np.sin(n), 0.1 * n], 1)
    sigma, turn = np.tile([1.0, 0.5, 0.7], (GAUSSIANS, 1)), np.tile([1.0, 0.1, 0.2, 0.3], (GAUSSIANS, 1))
    ones = np.ones(GAUSSIANS)
    cloud = GaussianCloud(mean, sigma, turn, 0.1 * ones, ones, np.full(GAUSSIANS, np.nan))
    camera = carm_cameras(
        np.zeros(1), np.zeros(1), 750.0, 1200.0, (0.5, 0.5), (PIXELS, PIXELS), (PIXELS / 2, PIXELS / 2)
    )
    return cloud, camera

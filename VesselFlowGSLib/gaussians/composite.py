"""The cloud in visible colours: splats in the order of their depth, each hiding a part of what lies behind it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.backends.declaration import choose, threads_to_use
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.splats import Sheet as Sheet
from VesselFlowGSLib.gaussians.splats import Splats as Splats
from VesselFlowGSLib.gaussians.splats import joined, splats_of_cloud, splats_of_sheet
from VesselFlowGSLib.gaussians.views import Views


def composite(
    cloud: GaussianCloud,
    colours: ArrayLike,
    camera: Cameras,
    *,
    opacity: ArrayLike = 0.5,
    surface: Sheet | None = None,
    cut: float = 3.5,
    backend: str = "auto",
    device: str = "cpu",
    threads: int = 0,
) -> NDArray[np.float32]:
    """The cloud as the eye at the camera's source sees it on the camera's plane: (rows, columns, 4), 0..1.

    Red, green and blue times opacity, and opacity: over a ground g the picture is rgb + (1 - opacity) g. colours (N, 3)
    or (3,), 0..1; opacity (N,) or one, at the centre of a Gaussian; surface: drawn as glass among the Gaussians, in the
    same order of depth. Gaussians end at `cut` standard deviations of their footprint. Malformed ones, and those that
    are not wholly in front of the eye, are left out. threads: of the CPU backends, 0 for all cores.
    Raises InstallationError for a backend that is not there, ValueError for shapes that do not fit or several views.
    """
    if len(camera) != 1:
        raise ValueError(f"composite: one view is drawn, not {len(camera)}; give cameras[0].")
    n = len(cloud)
    for name, given, shape in (("colours", colours, (3,)), ("opacity", opacity, ())):
        if np.shape(given) not in (shape, (n, *shape)):
            raise ValueError(f"composite: {name} must be {(n, *shape)} or {shape}, not {np.shape(given)}.")
    chosen = choose("composite", backend, device)
    splats = splats_of_cloud(cloud, colours, opacity, torch.float32, device)
    if surface is not None:
        splats = joined(splats, splats_of_sheet(surface, camera.source[0], torch.float32, device))
    view = next(iter(Views.of(camera, device)))
    with torch.no_grad():
        picture = chosen.operator("composite")(splats, view, cut, threads_to_use(threads))
    return np.asarray(picture.cpu().numpy(), np.float32)

"""Compositing by the library gsplat on an NVIDIA GPU.

gsplat flattens the perspective at each splat's mean (elliptical weighted average), where the other backends are exact:
less than a step of eight bits for splats that are small beside their distance to the eye. It ends splats where they
hide less than 1/255, so that `cut` only says which ones reach behind the eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from VesselFlowGSLib.errors import InputError, InstallationError
from VesselFlowGSLib.gaussians.footprint import PIXEL_VARIANCE, SMALLEST_LOG_SIGMA, seen
from VesselFlowGSLib.gaussians.splats import Splats
from VesselFlowGSLib.gaussians.views import View

LARGEST_SKEW = 1e-4  # cosine between columns and rows


@dataclass(frozen=True)
class Pinhole:
    """to_camera (4, 4): LPS mm to columns, rows and depth of the camera; intrinsics (3, 3), pixel edges at integers."""

    to_camera: Tensor
    intrinsics: Tensor


def pinhole(view: View) -> Pinhole:
    """The view as gsplat and OpenCV write it. Raises InputError where columns and rows are not at right angles.

    Columns, rows and depth may be left-handed, as those of a C-arm are: to_camera is then a mirrored frame.
    """
    across, down = view.column_step.norm(), view.row_step.norm()
    right, below = view.column_step / across, view.row_step / down
    if abs(float(right @ below)) > LARGEST_SKEW:
        raise InputError(
            "The camera's columns and rows are not at right angles, which gsplat cannot draw; choose another backend."
        )
    distance = view.receptor_distance
    normal = torch.linalg.cross(right, below)
    normal = normal * torch.sign(normal @ (view.origin - view.source))
    turn = torch.stack([right, below, normal])
    to_camera = torch.eye(4, dtype=turn.dtype, device=turn.device)
    to_camera[:3, :3], to_camera[:3, 3] = turn, -turn @ view.source
    corner = turn @ (view.origin - view.source)
    intrinsics = torch.eye(3, dtype=turn.dtype, device=turn.device)
    intrinsics[0, 0], intrinsics[1, 1] = distance / across, distance / down
    # A pixel's coordinate is that of its centre here, and half a pixel more there.
    intrinsics[0, 2], intrinsics[1, 2] = 0.5 - corner[0] / across, 0.5 - corner[1] / down
    return Pinhole(to_camera, intrinsics)


def composite(splats: Splats, view: View, cut: float, threads: int) -> Tensor:
    """(rows, columns, 4) premultiplied red, green, blue, and opacity, in single precision.

    Raises InputError for a skewed camera, InstallationError where gsplat cannot compile its kernels.
    """
    from gsplat import rasterization

    camera, g = pinhole(view), splats.gaussians
    chosen = seen(g, view, cut)
    if not bool(chosen.any()):
        return torch.zeros(view.rows, view.columns, 4, device=g.mean.device)
    try:
        colour, opacity, _ = rasterization(
            means=g.mean[chosen].float(),
            quats=g.quaternion[chosen].float(),
            scales=g.log_sigma[chosen].clamp(min=SMALLEST_LOG_SIGMA).exp().float(),
            opacities=g.density[chosen].float(),
            colors=splats.colour[chosen].float(),
            viewmats=camera.to_camera.float()[None],
            Ks=camera.intrinsics.float()[None],
            width=view.columns,
            height=view.rows,
            near_plane=0.0,
            eps2d=PIXEL_VARIANCE,
            rasterize_mode="antialiased",
            packed=False,
        )
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        raise InstallationError(
            f"gsplat is installed but cannot draw here ({type(error).__name__}: {error}); it compiles its kernels with "
            "the CUDA toolkit's nvcc. Choose another backend: VESSELFLOWGS_BACKEND=warp or torch."
        ) from error
    return torch.cat([colour[0], opacity[0]], -1)

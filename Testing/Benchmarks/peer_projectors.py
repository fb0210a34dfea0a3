"""Line integrals by others: DiffDRR, RTK and ASTRA on the CPU, each through its public interface."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from vessel_clouds import Voxels

from VesselFlowGSLib.acquisition.camera import Cameras

Array = NDArray[np.float64]
Projector = Callable[[Voxels, Cameras], Array]

RAYS_AT_A_TIME = 4096
SAMPLES_PER_VOXEL = 2.5
WHERE = "not installed: make peers"


def missing(module: str) -> str:
    """Why a peer cannot be used here, or nothing."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a half-installed library fails with anything
        return WHERE if isinstance(error, ModuleNotFoundError) else f"cannot be loaded: {error}"
    return ""


def diffdrr_siddon(volume: Voxels, camera: Cameras, differentiated: bool = False) -> Array:
    """(rows, columns) by the exact path through each voxel."""
    from diffdrr.renderers import Siddon

    return _diffdrr(Siddon(), volume, camera, differentiated)


def diffdrr_trilinear(volume: Voxels, camera: Cameras, differentiated: bool = False) -> Array:
    """(rows, columns) by samples along the ray, interpolated between voxel centres."""
    from diffdrr.renderers import Trilinear

    samples = int(SAMPLES_PER_VOXEL * len(volume.values))
    return _diffdrr(Trilinear(), volume, camera, differentiated, n_points=samples)


def _diffdrr(renderer: Any, volume: Voxels, camera: Cameras, differentiated: bool, **options: int) -> Array:
    targets = camera.pixel_centres()[0].reshape(-1, 3)
    lengths = np.linalg.norm(targets - camera.source[0], axis=1)

    def in_voxels(points: Array) -> torch.Tensor:
        return torch.tensor((points - volume.first) / volume.side_mm, dtype=torch.float32)[None]

    source = in_voxels(camera.source[:1])
    values = torch.from_numpy(volume.values).requires_grad_(differentiated)
    image = np.empty(len(targets))
    with torch.set_grad_enabled(differentiated):
        for start in range(0, len(targets), RAYS_AT_A_TIME):
            part = slice(start, start + RAYS_AT_A_TIME)
            length = torch.tensor(lengths[part], dtype=torch.float32)[None, None]
            found = renderer(values, source, in_voxels(targets[part]), length, **options)
            if differentiated:
                found.sum().backward()
            image[part] = found.detach().numpy().ravel()
    return image.reshape(camera.rows, camera.columns)


def rtk_joseph(volume: Voxels, camera: Cameras) -> Array:
    """(rows, columns) by RTK's Joseph projector; the pixel steps must be at right angles."""
    import itk
    from itk import RTK as rtk  # noqa: N811 - its name

    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(1)
    pitch = [float(np.linalg.norm(step[0])) for step in (camera.column_step, camera.row_step)]
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    placed = geometry.AddProjection(
        camera.source[0].tolist(),
        camera.origin[0].tolist(),
        (camera.column_step[0] / pitch[0]).tolist(),
        (camera.row_step[0] / pitch[1]).tolist(),
    )
    if not placed:
        raise ValueError("RTK takes no such view")
    image_type = itk.Image[itk.F, 3]
    stack = itk.image_from_array(np.zeros((1, camera.rows, camera.columns), np.float32))
    stack.SetSpacing([*pitch, 1.0])
    solid = itk.image_from_array(np.ascontiguousarray(volume.values.transpose(2, 1, 0)))
    solid.SetSpacing([volume.side_mm] * 3)
    solid.SetOrigin(volume.first.tolist())
    projector = rtk.JosephForwardProjectionImageFilter[image_type, image_type].New()
    projector.SetGeometry(geometry)
    projector.SetInput(0, stack)
    projector.SetInput(1, solid)
    projector.Update()
    return np.asarray(itk.array_from_image(projector.GetOutput())[0], float)


def astra_row(values: Array, half_width_mm: float, camera: Cameras, row: int) -> Array:
    """(columns,) line integrals along one detector row in the plane of the source, from that plane's (x, y) pixels."""
    import astra

    pixels = camera.pixel_centres()[0, row]
    if max(abs(camera.source[0, 2]), np.abs(pixels[:, 2]).max()) > 1e-9:
        raise ValueError("the row and the source must lie in the plane z = 0")
    square = astra.create_vol_geom(*values.shape, *[-half_width_mm, half_width_mm] * 2)
    fan = np.array([[*camera.source[0, :2], *pixels.mean(0)[:2], *camera.column_step[0, :2]]])
    rays = astra.create_proj_geom("fanflat_vec", camera.columns, fan)
    projector = astra.create_projector("line_fanflat", rays, square)
    # ASTRA's first row is the one of the largest y
    _, sinogram = astra.create_sino(np.ascontiguousarray(values.T[::-1]), projector)
    return np.asarray(sinogram[0], float)

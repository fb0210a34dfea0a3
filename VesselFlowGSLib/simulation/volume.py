"""The angiography volume: the lumen averaged over voxels, blurred, on uneven tissue, with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from VesselFlowGSLib.simulation.settings import VolumeSpec
from VesselFlowGSLib.simulation.vessels import Vessel

_FINE = 2
_FWHM_TO_SIGMA = 2.3548
_TISSUE_MM = 4.0


def imaged_volume(vessel: Vessel, spec: VolumeSpec, seed: int) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Values (I, J, K) int16 and the LPS mm position of voxel (0, 0, 0); axes along L, P, S."""
    rng = np.random.default_rng([seed, 2])
    low, high = vessel.bounds
    corner = (low + high) / 2 - spec.spacing_mm * (spec.voxels - 1) / 2
    fine = spec.spacing_mm / _FINE
    axes = [corner[k] - spec.spacing_mm / 2 + fine * (np.arange(spec.voxels * _FINE) + 0.5) for k in range(3)]
    filled = np.zeros((spec.voxels,) * 3)
    for i in range(spec.voxels):  # slab by slab, so that memory stays small
        slab = np.stack(np.meshgrid(axes[0][_FINE * i : _FINE * (i + 1)], axes[1], axes[2], indexing="ij"), -1)
        points = slab.reshape(-1, 3)
        part = np.zeros(len(points))
        close = np.flatnonzero(vessel.near(points, fine))
        if len(close):
            part[close] = np.clip(0.5 + vessel.wall_distance(points[close]) / fine, 0, 1)
        filled[i] = part.reshape(_FINE, spec.voxels, _FINE, spec.voxels, _FINE).mean((0, 2, 4))
    blurred = gaussian_filter(filled, spec.blur_fwhm_mm / _FWHM_TO_SIGMA / spec.spacing_mm)
    tissue = gaussian_filter(rng.normal(size=filled.shape), _TISSUE_MM / spec.spacing_mm)
    tissue *= spec.tissue / max(float(tissue.std()), 1e-12)
    noise = rng.normal(0, spec.noise, filled.shape)
    values = spec.vessel_value * (blurred + tissue) + noise
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16), corner


def write_volume(folder: Path, values: NDArray[np.int16], corner: NDArray[np.float64], spec: VolumeSpec) -> Path:
    """volume.nrrd or volume.nii.gz, compressed."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing([spec.spacing_mm] * 3)  # type: ignore[no-untyped-call]
    image.SetOrigin([float(c) for c in corner])  # type: ignore[no-untyped-call]
    path = folder / ("volume.nii.gz" if spec.file_format == "nifti" else "volume.nrrd")
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    return path

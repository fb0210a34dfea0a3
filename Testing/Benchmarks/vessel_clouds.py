"""A vessel tree as Gaussians, the view of a C-arm on it, and its voxels: what the operators are measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.camera import Cameras, carm_cameras
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.density import density_on_grid

Array = NDArray[np.float64]

STEPS_OF_A_BRANCH = 24
SOURCE_TO_ISOCENTRE_MM, SOURCE_TO_DETECTOR_MM = 750.0, 1100.0


def vessel_tree(n: int, seed: int = 0, box_mm: float = 48.0, levels: int = 6) -> GaussianCloud:
    """n Gaussians of 0.3 to 1 mm along the branches of a random tree that stays within the box (half width, mm)."""
    draw = np.random.default_rng(seed)
    branches: list[tuple[Array, float]] = []
    _grow(draw, branches, np.array([0.0, -0.2 * box_mm, -0.9 * box_mm]), np.array([0.0, 0.2, 1.0]), 2.0, levels, box_mm)
    begin = np.concatenate([points[:-1] for points, _ in branches])
    along = np.concatenate([np.diff(points, axis=0) for points, _ in branches])
    radius = np.concatenate([np.full(len(points) - 1, r) for points, r in branches])
    length = np.linalg.norm(along, axis=1)
    chosen = draw.choice(len(begin), n, p=length * radius**2 / (length @ radius**2))
    tangent = along[chosen] / length[chosen, None]
    centre = begin[chosen] + draw.random((n, 1)) * along[chosen]
    offset = _across(draw.normal(size=(n, 3)), tangent) * (0.7 * radius[chosen, None] * np.sqrt(draw.random((n, 1))))
    thick = np.clip(0.25 * radius[chosen, None] + draw.uniform(0.15, 0.25, (n, 2)), 0.3, 0.7)
    sigma = np.column_stack([thick, draw.uniform(0.5, 1.0, n)])
    axis = tangent + draw.normal(0, 0.1, (n, 3))
    peak = draw.uniform(0.01, 0.03, n) * 2000 / n**0.9
    return GaussianCloud(
        centre + offset, sigma, _turning_z_to(axis, draw.uniform(0, np.pi, n)), peak, np.ones(n), np.full(n, np.nan)
    )


def _grow(
    draw: np.random.Generator, branches: list[tuple[Array, float]], start: Array, direction: Array, radius: float,
    levels: int, box_mm: float,
) -> None:  # fmt: skip
    step = box_mm * 1.1 * 0.72 ** (6 - levels) * draw.uniform(0.7, 1.2) / STEPS_OF_A_BRANCH
    points = [start]
    for _ in range(STEPS_OF_A_BRANCH):
        direction = direction + draw.normal(0, 0.16, 3) - 0.2 / box_mm * points[-1]
        leaving = (np.abs(points[-1]) > 0.9 * box_mm) & (direction * points[-1] > 0)
        direction = np.where(leaving, -direction, direction)
        direction = direction / np.linalg.norm(direction)
        points.append(points[-1] + direction * step)
    branches.append((np.array(points), radius))
    if levels > 0:
        aside = _across(draw.normal(size=(1, 3)), direction[None])[0]
        for turned in (direction + 0.8 * aside, direction - 0.8 * aside):
            forked = turned / np.linalg.norm(turned)
            _grow(draw, branches, points[-1], forked, max(0.5, 0.79 * radius), levels - 1, box_mm)


def _across(vectors: Array, tangent: Array) -> Array:
    """Unit vectors at right angles to the tangents."""
    rest = vectors - (vectors * tangent).sum(1, keepdims=True) * tangent
    return np.asarray(rest / np.linalg.norm(rest, axis=1, keepdims=True))


def _turning_z_to(axis: Array, spin_rad: Array) -> Array:
    """(N, 4) quaternions that turn about z by the spin, then z onto the axis."""
    unit = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    half = np.column_stack([1 + unit[:, 2], -unit[:, 1], unit[:, 0], np.zeros(len(unit))])
    half[1 + unit[:, 2] < 1e-9] = [0.0, 1.0, 0.0, 0.0]
    w, x, y, z = (half / np.linalg.norm(half, axis=1, keepdims=True)).T
    c, s = np.cos(spin_rad / 2), np.sin(spin_rad / 2)
    return np.column_stack([w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s])


def carm_view(pixels: int, pitch_mm: float, primary_deg: float = 25.0, secondary_deg: float = 10.0) -> Cameras:
    """One view with a square detector."""
    return carm_cameras(
        np.radians(primary_deg), np.radians(secondary_deg), SOURCE_TO_ISOCENTRE_MM, SOURCE_TO_DETECTOR_MM,
        (pitch_mm, pitch_mm), (pixels, pixels),
    )  # fmt: skip


@dataclass(frozen=True)
class Voxels:
    """Attenuation at voxel centres, 1/mm: values (I, J, K) along the axes of LPS, the first at `first` (3,) mm."""

    values: NDArray[np.float32]
    first: Array
    side_mm: float


def voxels(cloud: GaussianCloud, half_width_mm: float, side_mm: float, cut: float) -> Voxels:
    """The cloud sampled in a cube around the isocentre."""
    count = round(2 * half_width_mm / side_mm)
    first = np.full(3, side_mm / 2 - half_width_mm)
    values = density_on_grid(cloud, first, side_mm, (count, count, count), cut=cut)
    return Voxels(values.astype(np.float32), first, side_mm)

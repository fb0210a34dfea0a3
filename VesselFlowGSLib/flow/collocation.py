"""Collocation points: where the Navier-Stokes residual is asked to vanish."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]
WALL_LAYER_RADII = 0.3


def collocation_points(lumen: Lumen, cloud: GaussianCloud, count: int, wall_part: float, seed: int) -> Array:
    """(count, 3) LPS mm points in the lumen, drawn from the Gaussians.

    A Gaussian is chosen in proportion to its mass and a point drawn from it; points beyond the wall or the
    openings are dropped. The given part of the points is kept for the layer within 0.3 local radii of the wall,
    where velocity changes fastest. Raises ValueError where the Gaussians do not lie in the lumen.
    """
    generator = np.random.default_rng(seed)
    mass = np.maximum(cloud.occupancy, 0) * cloud.sigma.prod(1)
    chosen: list[Array] = []
    found = 0
    while found < 6 * count:
        index = generator.choice(len(cloud), 4 * count, p=mass / mass.sum())
        local = generator.standard_normal((len(index), 3)) * cloud.sigma[index]
        x = cloud.mean[index] + rotated(cloud.quaternion[index], local)
        x = x[lumen.inside(x)]
        if not len(x):
            raise ValueError("the Gaussians do not lie in the lumen")
        chosen.append(x)
        found += len(x)
    x = np.concatenate(chosen)
    curve = np.concatenate([b.points for b in lumen.tree.branches])
    radius = np.concatenate([b.radius_mm for b in lumen.tree.branches])
    near = lumen.wall(x) < WALL_LAYER_RADII * radius[cKDTree(curve).query(x)[1]]
    from_wall = min(round(wall_part * count), int(near.sum()))
    return np.concatenate([x[near][:from_wall], x[~near][: count - from_wall]])


def rotated(quaternion: Array, vectors: Array) -> Array:
    """Turn (N, 3) vectors by (N, 4) quaternions (w, x, y, z), normalised here."""
    q = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
    w, axis = q[:, :1], q[:, 1:]
    twice = 2 * np.cross(axis, vectors)
    return np.asarray(vectors + w * twice + np.cross(axis, twice))

"""Density in double precision, every point with every Gaussian: what the other backends are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from VesselFlowGSLib.gaussians.cloud import GaussianCloud

Array = NDArray[np.float64]

PAIRS_AT_A_TIME = 1 << 18


def density(cloud: GaussianCloud, points: Array, cut: float, device: str, threads: int) -> tuple[Array, Array]:
    """Attenuation (M,) in 1/mm and its gradient (M, 3) in 1/mm^2 at (M, 3) LPS mm points; all well formed, at
    least one."""
    values, gradients = np.zeros(len(points)), np.zeros((len(points), 3))
    axes = Rotation.from_quat(cloud.quaternion[:, [1, 2, 3, 0]]).as_matrix()
    step = max(1, PAIRS_AT_A_TIME // len(cloud))
    for part in (slice(at, at + step) for at in range(0, len(points), step)):
        along = np.einsum("nji,mnj->mni", axes, points[part][:, None] - cloud.mean) / cloud.sigma
        squared = (along**2).sum(-1)
        weight = np.where(squared < cut * cut, np.exp(-0.5 * squared), 0.0) * cloud.density
        values[part] = weight.sum(1)
        gradients[part] = -np.einsum("mn,nij,mnj->mi", weight, axes, along / cloud.sigma)
    return values, gradients

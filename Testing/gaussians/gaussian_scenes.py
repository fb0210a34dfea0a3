"""Random clouds and cameras for the tests of the projectors."""

from __future__ import annotations

import numpy as np

from VesselFlowGSLib.acquisition.camera import Cameras, carm_cameras
from VesselFlowGSLib.gaussians.cloud import GaussianCloud


def random_cloud(n: int, seed: int = 0, box_mm: float = 12.0, aspect: float = 3.0) -> GaussianCloud:
    draw = np.random.default_rng(seed)
    sigma = 0.4 * aspect ** draw.uniform(0, 1, (n, 3))
    return GaussianCloud(
        draw.uniform(-box_mm, box_mm, (n, 3)),
        sigma,
        draw.normal(size=(n, 4)),
        draw.uniform(0.01, 0.05, n),
        draw.uniform(0.2, 1.0, n),
        np.full(n, np.nan),
    )


def views(pixels: int = 64, pitch_mm: float = 0.8) -> Cameras:
    return carm_cameras(
        np.radians([-30.0, 60.0]), np.radians([5.0, -20.0]), 750.0, 1200.0, (pitch_mm, pitch_mm), (pixels, pixels),
        (pixels / 2 + 3.3, pixels / 2 - 4.1),
    )  # fmt: skip


def skewed(cameras: Cameras) -> Cameras:
    """The same views with pixel steps that are neither equal nor at right angles."""
    return Cameras(
        cameras.source, cameras.origin, cameras.column_step * 1.3 + 0.2 * cameras.row_step, cameras.row_step,
        cameras.rows, cameras.columns,
    )  # fmt: skip


def quadrature(cloud: GaussianCloud, camera: Cameras, pixels: np.ndarray) -> np.ndarray:
    """(P,) line integrals of the density through (P, 2) pixels (row, column), by the trapezoid rule."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_quat(cloud.quaternion[:, [1, 2, 3, 0]]).as_matrix()
    whiten = np.swapaxes(turn, 1, 2) / cloud.sigma[:, :, None]
    out = np.zeros(len(pixels))
    for k, (row, column) in enumerate(pixels):
        at = camera.origin[0] + row * camera.row_step[0] + column * camera.column_step[0]
        direction = (at - camera.source[0]) / np.linalg.norm(at - camera.source[0])
        for i in range(len(cloud)):
            middle = (cloud.mean[i] - camera.source[0]) @ direction
            t = middle + np.linspace(-12, 12, 1501) * cloud.sigma[i].max()
            y = (camera.source[0] + t[:, None] * direction - cloud.mean[i]) @ whiten[i].T
            out[k] += cloud.density[i] * np.exp(-(y**2).sum(1) / 2).sum() * (t[1] - t[0])
    return out

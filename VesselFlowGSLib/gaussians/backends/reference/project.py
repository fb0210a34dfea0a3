"""Projection as the textbook writes it: numpy, double precision, every pixel with every Gaussian. For tests.

Shares nothing with the other backends, so that a mistake in the footprint's algebra shows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import Views

Array = NDArray[np.float64]
PIXELS_AT_A_TIME = 4096


def _rotation(quaternion: Array) -> Array:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + 2 * w * cross + 2 * cross @ cross)


def _one(
    mean: Array, sigma: Array, rotation: Array, camera: Cameras, pixels: Array, cut: float, aperture: bool
) -> Array:
    """(P,) line integrals of one Gaussian of unit density through (P, 2) pixels (row, column)."""
    whiten = rotation.T / sigma[:, None]
    steps = np.stack([camera.row_step[0], camera.column_step[0]])
    to_mean = mean - camera.source[0]
    q = camera.origin[0] - camera.source[0] + pixels @ steps
    wq = q @ whiten.T
    length = np.linalg.norm(wq, axis=1)
    # Distance of the mean from the ray in units of sigma: |L q x L mu| / |L q|.
    apart = np.linalg.norm(np.cross(wq, whiten @ to_mean), axis=1) / length
    value = np.sqrt(2 * np.pi) * np.linalg.norm(q, axis=1) / length * np.exp(-(apart**2) / 2)

    foot = camera.pixels(mean[None])[0, 0]
    at_foot = camera.origin[0] - camera.source[0] + foot @ steps
    wf = whiten @ at_foot
    arms = np.cross(whiten @ steps.T, wf, axisa=0) * np.linalg.norm(to_mean) / np.linalg.norm(at_foot)
    shape = arms @ arms.T / (wf @ wf)  # 1/px^2 around the foot, row and column
    offset = pixels - foot
    if aperture:
        wider = np.linalg.inv(np.linalg.inv(shape) + np.eye(2) / 12)
        relative = length**2 / (wf @ wf)
        exponent = np.einsum("pi,ij,pj->p", offset, wider, offset) / relative
        keep_mass = np.sqrt(np.linalg.det(wider) / np.linalg.det(shape))
        value = np.sqrt(2 * np.pi) * np.linalg.norm(q, axis=1) / length * keep_mass * np.exp(-exponent / 2)
        shape = wider
    within = np.einsum("pi,ij,pj->p", offset, shape, offset) < cut**2
    return np.asarray(np.where(within, value, 0.0))


def project(gaussians: Parameters, views: Views, weights: Tensor, cut: float, aperture: bool, threads: int) -> Tensor:
    """(V, rows, columns, T) line integrals, one Gaussian after the other."""
    mean, log_sigma, quaternion, density, per_frame = (
        x.detach().cpu().double().numpy()
        for x in (gaussians.mean, gaussians.log_sigma, gaussians.quaternion, gaussians.density, weights)
    )
    source, origin, column_step, row_step = (
        x.detach().cpu().double().numpy() for x in (views.source, views.origin, views.column_step, views.row_step)
    )
    cameras = Cameras(source, origin, column_step, row_step, views.rows, views.columns)
    pixels = np.indices((cameras.rows, cameras.columns), float).reshape(2, -1).T
    images = np.zeros((len(cameras), len(pixels), per_frame.shape[1]))
    for v in range(len(cameras)):
        camera = cameras[v]
        for i in range(len(mean)):
            parameters = np.concatenate([mean[i], log_sigma[i], quaternion[i], [density[i]]])
            if not np.isfinite(parameters).all() or np.linalg.norm(quaternion[i]) < 1e-12:
                continue
            sigma = np.exp(np.maximum(log_sigma[i], np.log(1e-6)))
            if (mean[i] - camera.source[0]) @ camera.normal[0] <= cut * sigma.max():
                continue
            for start in range(0, len(pixels), PIXELS_AT_A_TIME):
                part = slice(start, start + PIXELS_AT_A_TIME)
                value = _one(mean[i], sigma, _rotation(quaternion[i]), camera, pixels[part], cut, aperture)
                images[v, part] += density[i] * value[:, None] * per_frame[i]
    return torch.as_tensor(images.reshape(len(cameras), cameras.rows, cameras.columns, -1), dtype=gaussians.mean.dtype)

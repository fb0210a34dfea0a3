"""Compositing as the textbook writes it: numpy, double precision, every splat on every pixel. For tests.

Shares nothing with the other backends, so that a mistake in the footprint's algebra shows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from VesselFlowGSLib.gaussians.splats import LARGEST_ALPHA, LEAST_TRANSMITTANCE, Splats
from VesselFlowGSLib.gaussians.views import View

Array = NDArray[np.float64]


def _alpha(
    precision: Array, to_mean: Array, depth: float, corner: Array, steps: Array, pixels: Array, cut: float
) -> Array:
    """(P,) what a splat of unit opacity hides on (P, 2) pixels (row, column).

    precision (3, 3) inverse covariance; steps (2, 3) to the next row and column; depth in parts of the plane's
    distance.
    """
    at_foot = to_mean / depth
    foot = np.linalg.lstsq(steps.T, at_foot - corner, rcond=None)[0]
    seen = precision @ at_foot
    along = steps @ seen
    squared = at_foot @ seen
    # What is left of the precision once the ray may pass at any depth: a Schur complement.
    shape = depth**2 * (steps @ precision @ steps.T - np.outer(along, along) / squared)
    wider = np.linalg.inv(np.linalg.inv(shape) + np.eye(2) / 12)
    offset = pixels - foot
    rays = at_foot + offset @ steps
    numerator = np.einsum("pi,ij,pj->p", offset, wider, offset)
    exponent = numerator * squared / np.einsum("pi,ij,pj->p", rays, precision, rays)
    fade = np.sqrt(np.linalg.det(wider) / np.linalg.det(shape))
    return np.where(numerator < cut**2, fade * np.exp(-exponent / 2), 0.0)


def composite(splats: Splats, view: View, cut: float, threads: int) -> Tensor:
    """(rows, columns, 4) premultiplied red, green, blue, and opacity; one splat after the other."""
    mean, log_sigma, quaternion, colour, opacity, source, origin, column_step, row_step = (
        x.detach().cpu().double().numpy()
        for x in (
            splats.mean, splats.log_sigma, splats.quaternion, splats.colour, splats.opacity,
            view.source, view.origin, view.column_step, view.row_step,
        )
    )  # fmt: skip
    corner, steps = origin - source, np.stack([row_step, column_step])
    normal = np.cross(column_step, row_step)
    depth = (mean - source) @ normal / (corner @ normal)
    distance = abs(corner @ normal) / np.linalg.norm(normal)
    pixels = np.indices((view.rows, view.columns), float).reshape(2, -1).T
    picture, transmittance = np.zeros((len(pixels), 4)), np.ones(len(pixels))
    for i in np.argsort(depth, kind="stable"):
        values = np.concatenate([mean[i], log_sigma[i], quaternion[i], colour[i], opacity[i : i + 1]])
        if not np.isfinite(values).all() or np.linalg.norm(quaternion[i]) < 1e-12 or log_sigma[i].max() > np.log(1e6):
            continue
        sigma = np.exp(np.maximum(log_sigma[i], np.log(1e-6)))
        if depth[i] * distance <= cut * sigma.max():
            continue
        turn = Rotation.from_quat(quaternion[i, [1, 2, 3, 0]]).as_matrix()
        covering = _alpha(turn / sigma**2 @ turn.T, mean[i] - source, depth[i], corner, steps, pixels, cut)
        alpha = np.minimum(min(max(opacity[i], 0.0), 1.0) * covering, LARGEST_ALPHA)
        alpha[transmittance < LEAST_TRANSMITTANCE] = 0
        picture += (alpha * transmittance)[:, None] * np.append(colour[i], 1.0)
        transmittance *= 1 - alpha
    return torch.as_tensor(picture.reshape(view.rows, view.columns, 4), dtype=splats.mean.dtype)

"""Attenuation at points on a GPU: every point looks up the Gaussians whose boxes hold it in a tree of boxes.

Offsets between points and means are taken in double precision before they are rounded, and sums are kept in it, so
that single precision is exact to its own rounding however far from the origin a vessel lies.
"""

from __future__ import annotations

import numpy as np
import torch
import warp as wp
from numpy.typing import NDArray
from torch import Tensor

from VesselFlowGSLib.gaussians.backends.warp.launching import array, launch, on_stream_of
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.footprint import LARGEST_LOG_SIGMA, SMALLEST_LOG_SIGMA, SMALLEST_QUATERNION, rotations
from VesselFlowGSLib.gaussians.parameters import Parameters

Array = NDArray[np.float64]

BLOCK = 128  # threads
CELLS = 1024  # along each axis, in whose order points are worked on, so that neighbours look up the same Gaussians
WIDER = 1e-6  # part of its distance from the middle by which a box is widened before it is rounded

wp.set_module_options({"enable_backward": False, "block_dim": BLOCK})


@wp.kernel
def look_up(
    boxes: wp.uint64,
    mean: wp.array(dtype=wp.vec3d),
    whiten: wp.array(dtype=wp.mat33),
    amplitude: wp.array(dtype=wp.float32),
    points: wp.array(dtype=wp.vec3d),
    order: wp.array(dtype=wp.int64),
    cut2: float,
    values: wp.array(dtype=wp.float64),
    gradients: wp.array(dtype=wp.vec3d),
):
    j = int(order[wp.tid()])
    point = points[j]
    at = wp.vec3(point)
    value, gradient = wp.float64(0.0), wp.vec3d()
    i = wp.int32(0)
    query = wp.bvh_query_aabb(boxes, at, at)
    while wp.bvh_query_next(query, i):
        apart = whiten[i] * wp.vec3(point - mean[i])
        squared = wp.dot(apart, apart)
        if squared < cut2:
            weight = amplitude[i] * wp.exp(-0.5 * squared)
            value += wp.float64(weight)
            gradient -= wp.vec3d(weight * (wp.transpose(whiten[i]) * apart))
    values[j] = value
    gradients[j] = gradient


def _well_formed(g: Parameters) -> Tensor:
    finite = g.mean.isfinite().all(1) & g.log_sigma.isfinite().all(1) & g.quaternion.isfinite().all(1)
    turned = g.quaternion.norm(dim=1) > SMALLEST_QUATERNION
    formed: Tensor = finite & turned & g.density.isfinite() & (g.log_sigma < LARGEST_LOG_SIGMA).all(1)
    return formed


def _in_order(points: Tensor) -> Tensor:
    """(M,) indices, cell by cell."""
    low, high = points.amin(0), points.amax(0)
    cell = ((points - low) / (high - low).clamp(min=1e-9) * (CELLS - 1)).long().clamp(0, CELLS - 1)
    return torch.argsort((cell[:, 0] * CELLS + cell[:, 1]) * CELLS + cell[:, 2])


def density(cloud: GaussianCloud, x: Array, cut: float, device: str, threads: int) -> tuple[Array, Array]:
    """Attenuation (M,) in 1/mm and its gradient (M, 3) in 1/mm^2 at (M, 3) LPS mm points."""
    values, gradients = np.zeros(len(x)), np.zeros((len(x), 3))
    usable = np.flatnonzero(np.isfinite(x).all(1))
    every = Parameters.of(cloud, torch.float64, device)
    formed = _well_formed(every)
    if not len(usable) or not bool(formed.any()):
        return values, gradients
    points = torch.as_tensor(x[usable], device=device)
    # The cloud's middle becomes the origin: the tree of boxes is in single precision.
    middle = every.mean[formed].median(0).values
    mean = every.mean[formed] - middle
    sigma = every.log_sigma[formed].clamp(min=SMALLEST_LOG_SIGMA).exp()
    turn = rotations(every.quaternion[formed])
    whiten = turn.transpose(1, 2) / sigma[:, :, None]
    reach = cut * ((turn * sigma[:, None, :]) ** 2).sum(2).sqrt()
    reach += WIDER * (reach + mean.abs())
    amplitude, order = every.density[formed].float(), _in_order(points)
    found, slopes = torch.empty(len(points), dtype=torch.float64, device=device), torch.empty_like(points)
    with on_stream_of(points):
        boxes = wp.Bvh(array((mean - reach).float(), wp.vec3), array((mean + reach).float(), wp.vec3))
        launch(
            look_up, len(points), boxes.id, array(mean, wp.vec3d), array(whiten.float(), wp.mat33), array(amplitude),
            array(points - middle, wp.vec3d), array(order), float(cut * cut), array(found), array(slopes, wp.vec3d),
            like=points, block=BLOCK,
        )  # fmt: skip
        values[usable], gradients[usable] = found.cpu().numpy(), slopes.cpu().numpy()
    return values, gradients

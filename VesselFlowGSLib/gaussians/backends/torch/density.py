"""Attenuation of a cloud at points and on grids, as tensors on any device; on the CPU in double precision.

Points are taken in compact blocks, and blocks in compact groups: which Gaussians reach a group, and which of these a
block, is decided before anything is computed. Where double precision is slow or not to be had, points and Gaussians
are taken relative to the middle of their block before they are rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.footprint import rotations

Array = NDArray[np.float64]

POINTS, GRID_SIDE = 64, 6  # of a block; along each side of a grid's block
BLOCKS = 32  # of a group
PARTS = 8  # that many groups are divided into, until they are groups
GAUSSIANS = 32  # of one matrix product with a block
MORTON_BITS = 16  # along each axis
# So many pairs of a point and a Gaussian fit the cache of a processor; a graphics card wants more at a time.
PAIRS_AT_A_TIME = {"cpu": 1 << 16}
PAIRS_OF_A_DEVICE = 1 << 23


@dataclass(frozen=True)
class _Shapes:
    """N Gaussians in double precision: mean (N, 3), whitening (N, 3, 3), peak (N,), half widths of the cut's box."""

    mean: Tensor
    whitening: Tensor
    peak: Tensor
    reach: Tensor

    def at(self, index: Tensor) -> _Shapes:
        return _Shapes(self.mean[index], self.whitening[index], self.peak[index], self.reach[index])


def density(cloud: GaussianCloud, points: Array, cut: float, device: str, threads: int) -> tuple[Array, Array]:
    """Attenuation (M,) in 1/mm and its gradient (M, 3) in 1/mm^2 at (M, 3) LPS mm points; all well formed, at
    least one."""
    x = torch.as_tensor(points)
    order = _along_a_curve(x)
    padded = torch.cat([order, order[-1:].expand(-len(order) % POINTS)])  # the last point fills the last block
    sums = _at_blocks(_shapes(cloud, cut), x[padded].view(-1, POINTS, 3), cut, device, 4).view(-1, 4)
    values, gradients = np.empty(len(x)), np.empty((len(x), 3))
    values[order], gradients[order] = sums[: len(x), 0].numpy(), sums[: len(x), 1:].numpy()
    return values, gradients


def density_on_grid(cloud: GaussianCloud, origin: Array, spacing: Array, shape: tuple[int, ...], cut: float) -> Array:
    """Attenuation (I, J, K) in 1/mm at the points of a grid along the axes of LPS; all Gaussians well formed."""
    blocks = [-(-n // GRID_SIDE) for n in shape]
    axes = [
        torch.arange(b * GRID_SIDE, dtype=torch.float64) * s + o
        for b, s, o in zip(blocks, spacing, origin, strict=True)
    ]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    split = [n for b in blocks for n in (b, GRID_SIDE)]
    blocked = points.view(*split, 3).permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, GRID_SIDE**3, 3)
    order = _along_a_curve(blocked.mean(1))
    values = torch.empty(blocked.shape[:2], dtype=torch.float64)
    values[order] = _at_blocks(_shapes(cloud, cut), blocked[order], cut, "cpu", 1)[..., 0]
    whole = values.view(*blocks, *[GRID_SIDE] * 3).permute(0, 3, 1, 4, 2, 5).reshape([b * GRID_SIDE for b in blocks])
    return np.ascontiguousarray(whole[: shape[0], : shape[1], : shape[2]].numpy())


def _shapes(cloud: GaussianCloud, cut: float) -> _Shapes:
    mean, sigma, quaternion, peak = (
        torch.as_tensor(np.asarray(x, float)) for x in (cloud.mean, cloud.sigma, cloud.quaternion, cloud.density)
    )
    turn = rotations(quaternion)
    reach = cut * ((turn * sigma[:, None]) ** 2).sum(2).sqrt()
    return _Shapes(mean, turn.transpose(1, 2) / sigma[:, :, None], peak, reach)


def _along_a_curve(x: Tensor) -> Tensor:
    """(M,) an order of the points in which neighbours are close: Morton's."""
    low = x.amin(0)
    step = ((x.amax(0) - low).max() / (2**MORTON_BITS - 1)).clamp(min=1e-300)
    key = ((x - low) / step).to(torch.int64)
    code = torch.zeros(len(x), dtype=torch.int64)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= (key[:, axis] >> bit & 1) << (3 * bit + axis)
    return torch.argsort(code, stable=True)


def _at_blocks(shapes: _Shapes, points: Tensor, cut: float, device: str, numbers: int) -> Tensor:
    """(B, P, numbers) density and, if numbers is 4, gradient at the points (B, P, 3) of compact blocks, neighbours
    close to each other."""
    low, high = points.amin((0, 1)), points.amax((0, 1))
    near = ((shapes.mean + shapes.reach >= low) & (shapes.mean - shapes.reach <= high)).all(1)
    if not near.any():
        return torch.zeros(*points.shape[:2], numbers, dtype=torch.float64)
    reaching = shapes.at(near)
    if len(points) <= BLOCKS:
        return _at_group(reaching, points, cut, device, numbers)
    parts = torch.split(points, max(BLOCKS, -(-len(points) // PARTS)))
    return torch.cat([_at_blocks(reaching, part, cut, device, numbers) for part in parts])


def _at_group(shapes: _Shapes, points: Tensor, cut: float, device: str, numbers: int) -> Tensor:
    """(B, P, numbers) at the points (B, P, 3) of a group."""
    low, high = points.amin(1), points.amax(1)
    middle, half = (low + high) / 2, (high - low) / 2
    near = ((shapes.mean - middle[:, None]).abs() <= shapes.reach + half[:, None]).all(2)
    block, member = near.nonzero(as_tuple=True)
    whitening = shapes.whitening[member]
    whitened = (whitening * (middle[block] - shapes.mean[member])[:, None]).sum(2)
    beyond = whitened.abs() - (whitening.abs() * half[block][:, None]).sum(2)
    reached = (beyond.clamp(min=0) ** 2).sum(1) < cut * cut
    filled = torch.cat([whitening.flatten(1), whitened, shapes.peak[member, None]], 1)[reached]
    block = block[reached]

    # Products of a block with a fixed number of Gaussians; what is missing of the last has no peak.
    count = torch.bincount(block, minlength=len(points))
    products = -(-count // GAUSSIANS)
    place = torch.arange(len(block)) - (count.cumsum(0) - count)[block]
    row = ((products.cumsum(0) - products)[block] + place // GAUSSIANS) * GAUSSIANS + place % GAUSSIANS
    total = int(products.sum())
    block_of = torch.repeat_interleave(torch.arange(len(points)), products)
    work = torch.float64 if device == "cpu" else torch.float32
    # Columns: three rows of the whitening with the whitened middle, peak.
    table = torch.zeros(total * GAUSSIANS, 13, dtype=work, device=device)
    table[row.to(device)] = filled.to(work).to(device)
    local = (points - middle[:, None]).to(work).to(device)
    block_of = block_of.to(device)
    sums = torch.zeros(*points.shape[:2], numbers, dtype=work, device=device)
    step = max(1, PAIRS_AT_A_TIME.get(device, PAIRS_OF_A_DEVICE) // (GAUSSIANS * points.shape[1]))
    for at in range(0, total, step):
        which = block_of[at : at + step]
        part = _products(
            table[at * GAUSSIANS : (at + step) * GAUSSIANS].view(-1, GAUSSIANS, 13), local[which], cut, numbers
        )
        sums.index_add_(0, which, part)
    return sums.cpu().double()


def _products(table: Tensor, local: Tensor, cut: float, numbers: int) -> Tensor:
    """(K, P, numbers) at points (K, P, 3), each with its Gaussians (K, G, 13)."""
    k, points = local.shape[:2]
    axes = table[:, :, :9].reshape(k, GAUSSIANS, 3, 3).transpose(1, 2).reshape(k, 3 * GAUSSIANS, 3)
    start = table[:, :, 9:12].transpose(1, 2).reshape(k, 1, 3 * GAUSSIANS)
    along = torch.baddbmm(start, local, axes.transpose(1, 2))
    parts = along.view(k, points, 3, GAUSSIANS)
    squared = (parts * parts).sum(2)
    weight = torch.exp(-0.5 * squared).mul_(squared < cut * cut).mul_(table[:, None, :, 12])
    value = weight.sum(2, keepdim=True)
    if numbers == 1:
        return value
    slopes = torch.bmm((parts * weight[:, :, None]).view(k, points, 3 * GAUSSIANS), axes)
    return torch.cat([value, -slopes], 2)

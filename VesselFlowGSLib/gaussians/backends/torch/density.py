"""Attenuation of a cloud at points and on grids, in double precision.

Points are taken cell by cell: within a cell the squared distance to each Gaussian is a quadratic polynomial of the
point, so that a whole cell is one product of two small matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from VesselFlowGSLib.gaussians.cloud import GaussianCloud

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SMALLEST_SIGMA_MM = 1e-4
CELLS_OF_A_WIDE_GAUSSIAN = 4096  # one that touches more is handed to every cell instead of being listed
GRID_BLOCK = 8  # grid points along a side that are worked on together
PAIRS_AT_A_TIME = 1 << 22
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class _Shapes:
    """Well-formed Gaussians: mean (N, 3), precision (N, 3, 3) 1/mm^2, density (N,), half widths of the cut's box."""

    mean: Array
    precision: Array
    density: Array
    reach: Array


def _shapes(cloud: GaussianCloud, cut: float) -> _Shapes:
    length = np.linalg.norm(cloud.quaternion, axis=1)
    parameters = np.column_stack([cloud.mean, cloud.sigma, cloud.quaternion, cloud.density])
    formed = np.isfinite(parameters).all(1) & (length > 1e-12) & (cloud.sigma > 0).all(1)
    sigma = np.maximum(cloud.sigma[formed], SMALLEST_SIGMA_MM)
    turn = Rotation.from_quat(cloud.quaternion[formed][:, [1, 2, 3, 0]]).as_matrix()
    precision = np.einsum("nij,nj,nkj->nik", turn, sigma**-2.0, turn)
    half_width = cut * np.sqrt(np.einsum("nij,nj->ni", turn**2, sigma**2))
    return _Shapes(cloud.mean[formed], precision, cloud.density[formed], half_width)


def _monomials(x: Array) -> Array:
    """(M, 3) to (M, 10): xx yy zz xy xz yz x y z 1."""
    squares = np.stack([x[:, i] * x[:, j] for i, j in _PAIRS], -1)
    return np.concatenate([squares, x, np.ones((len(x), 1))], 1)


def _polynomials(shapes: _Shapes, which: Index, centre: Array) -> tuple[Array, Array]:
    """(10, n) coefficients of the squared distance around a centre, and (n, 3) precision times mean."""
    precision, offset = shapes.precision[which], shapes.mean[which] - centre
    pulled = np.einsum("nij,nj->ni", precision, offset)
    squares = np.stack([precision[:, i, j] * (1 if i == j else 2) for i, j in _PAIRS])
    constant = np.einsum("ni,ni->n", offset, pulled)
    return np.concatenate([squares, -2 * pulled.T, constant[None]]), pulled


def _lists(shapes: _Shapes, low: Array, side: Array, counts: Index, occupied: Index) -> Iterator[tuple[int, Index]]:
    """For each occupied cell (flat indices, ascending) that a Gaussian's box touches: its position, the Gaussians."""
    # Compared as floats: a huge Gaussian would overflow an integer.
    first = np.clip(np.floor((shapes.mean - shapes.reach - low) / side), 0, counts).astype(np.int64)
    last = np.clip(np.floor((shapes.mean + shapes.reach - low) / side), -1, counts - 1).astype(np.int64)
    extent = np.maximum(last - first + 1, 0)
    touched = extent.prod(axis=1)
    wide = np.flatnonzero(touched > CELLS_OF_A_WIDE_GAUSSIAN)
    small = np.flatnonzero((touched > 0) & (touched <= CELLS_OF_A_WIDE_GAUSSIAN))
    gaussian = np.repeat(small, touched[small])
    start = np.repeat(np.cumsum(touched[small]) - touched[small], touched[small])
    step = np.arange(len(gaussian)) - start
    e = extent[gaussian]
    inner = np.stack([step // (e[:, 1] * e[:, 2]), step // e[:, 2] % e[:, 1], step % e[:, 2]], -1)
    cell = np.ravel_multi_index(tuple((first[gaussian] + inner).T), tuple(counts)) if len(gaussian) else step
    place = np.minimum(np.searchsorted(occupied, cell), len(occupied) - 1)
    real = occupied[place] == cell
    place, gaussian = place[real], gaussian[real]
    order = np.argsort(place, kind="stable")
    place, gaussian = place[order], gaussian[order]
    bounds = np.searchsorted(place, np.arange(len(occupied) + 1))
    for i in range(len(occupied)):
        members = gaussian[bounds[i] : bounds[i + 1]]
        if len(wide):
            members = np.concatenate([members, wide])
        if len(members):
            yield i, members


def density(cloud: GaussianCloud, x: Array, cut: float, device: str, threads: int) -> tuple[Array, Array]:
    """Attenuation (M,) in 1/mm and its gradient (M, 3) in 1/mm^2 at (M, 3) LPS mm points."""
    values, gradients = np.zeros(len(x)), np.zeros((len(x), 3))
    shapes = _shapes(cloud, cut)
    usable = np.flatnonzero(np.isfinite(x).all(1))
    if not len(usable) or not len(shapes.mean):
        return values, gradients
    low, high = x[usable].min(0), x[usable].max(0)
    reach = float(np.median(shapes.reach)) if len(shapes.reach) else 1.0
    side = np.maximum(0.6 * reach, (high - low) / 1e6 + 1e-9) * np.ones(3)
    counts = np.floor((high - low) / side).astype(np.int64) + 1
    index = np.floor((x[usable] - low) / side).astype(np.int64)
    key = np.ravel_multi_index(tuple(np.minimum(index, counts - 1).T), tuple(counts))
    order = np.argsort(key, kind="stable")
    occupied, begin = np.unique(key[order], return_index=True)
    bounds = np.append(begin, len(order))
    for i, which in _lists(shapes, low, side, counts, occupied):
        here = usable[order[bounds[i] : bounds[i + 1]]]
        for part in np.array_split(here, -(-len(here) * len(which) // PAIRS_AT_A_TIME)):
            centre = x[part].mean(0)
            local = x[part] - centre
            polynomial, pulled = _polynomials(shapes, which, centre)
            squared = _monomials(local) @ polynomial
            weight = np.where(squared < cut * cut, np.exp(-0.5 * squared), 0.0) * shapes.density[which]
            values[part] = weight.sum(1)
            # The gradient is sum w (P mu - P x), and P x needs only the weighted sum of P.
            matrix = (weight @ shapes.precision[which].reshape(-1, 9)).reshape(-1, 3, 3)
            gradients[part] = weight @ pulled - np.einsum("mij,mj->mi", matrix, local)
    return values, gradients


def density_on_grid(
    cloud: GaussianCloud, origin: ArrayLike, spacing_mm: ArrayLike, shape: tuple[int, int, int], cut: float
) -> Array:
    """Attenuation (I, J, K) in 1/mm at the points of a grid along the axes of LPS.

    origin (3,) LPS mm of the point (0, 0, 0); spacing_mm one number or (3,).
    """
    low, spacing = np.asarray(origin, float), np.broadcast_to(np.asarray(spacing_mm, float), 3)
    blocks = -(-np.asarray(shape) // GRID_BLOCK)
    padded = np.zeros(tuple(blocks * GRID_BLOCK))
    shapes = _shapes(cloud, cut)
    if not len(shapes.mean):
        return padded[: shape[0], : shape[1], : shape[2]]
    local = np.stack(np.meshgrid(*[(np.arange(GRID_BLOCK) - (GRID_BLOCK - 1) / 2) * s for s in spacing], indexing="ij"))
    monomials = _monomials(local.reshape(3, -1).T)
    side = spacing * GRID_BLOCK
    every = np.arange(int(blocks.prod()))
    for i, which in _lists(shapes, low - spacing / 2, side, blocks, every):
        corner = np.array(np.unravel_index(i, tuple(blocks))) * GRID_BLOCK
        centre = low + (corner + (GRID_BLOCK - 1) / 2) * spacing
        polynomial, _ = _polynomials(shapes, which, centre)
        squared = monomials @ polynomial
        value = np.where(squared < cut * cut, np.exp(-0.5 * squared), 0.0) @ shapes.density[which]
        into = tuple(slice(c, c + GRID_BLOCK) for c in corner)
        padded[into] = value.reshape(GRID_BLOCK, GRID_BLOCK, GRID_BLOCK)
    return padded[: shape[0], : shape[1], : shape[2]]

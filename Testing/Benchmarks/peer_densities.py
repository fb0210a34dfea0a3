"""The density of a cloud at points by others' searches: SciPy's k-d tree with numpy, and Warp's hash grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from VesselFlowGSLib.gaussians.cloud import GaussianCloud

Array = NDArray[np.float64]

PAIRS_AT_A_TIME = 2_000_000
GRID_CELLS = 64


def _whitening(cloud: GaussianCloud) -> Array:
    turn = Rotation.from_quat(cloud.quaternion[:, [1, 2, 3, 0]]).as_matrix()
    return np.asarray(np.swapaxes(turn, 1, 2) / cloud.sigma[:, :, None])


def by_tree(cloud: GaussianCloud, points: Array, cut: float) -> Array:
    """(M,) densities, without gradients: the pairs within reach of the largest Gaussian, then numpy over them."""
    whiten = _whitening(cloud).astype(np.float32)
    near = cKDTree(cloud.mean).query_ball_point(points, cut * cloud.sigma.max(), return_sorted=False)
    counts = np.array([len(found) for found in near])
    gaussian = np.concatenate([np.asarray(found, np.int64) for found in near])
    point = np.repeat(np.arange(len(points)), counts)
    values = np.zeros(len(points))
    for start in range(0, len(point), PAIRS_AT_A_TIME):
        i, j = point[start : start + PAIRS_AT_A_TIME], gaussian[start : start + PAIRS_AT_A_TIME]
        y = np.einsum("kij,kj->ki", whiten[j], (points[i] - cloud.mean[j]).astype(np.float32))
        squared = (y * y).sum(1)
        weight = np.where(squared < cut * cut, np.exp(-squared / 2), 0.0) * cloud.density[j]
        values += np.bincount(i, weight, len(points))
    return values


def by_hash_grid(cloud: GaussianCloud, points: Array, cut: float) -> Callable[[], tuple[Array, Array]]:
    """A call that makes Warp's grid of the means and gives (M,) densities and (M, 3) gradients, on the CPU."""
    import warp as wp

    wp.config.log_level = wp.LOG_WARNING
    kernel = _hash_grid_kernel()
    reach = float(cut * cloud.sigma.max())
    on = {"device": "cpu"}
    x, mean = (wp.array(values.astype(np.float32), dtype=wp.vec3, **on) for values in (points, cloud.mean))
    whiten = wp.array(_whitening(cloud).astype(np.float32), dtype=wp.mat33, **on)
    peak = wp.array(cloud.density.astype(np.float32), dtype=float, **on)
    values, gradients = wp.zeros(len(points), dtype=float, **on), wp.zeros(len(points), dtype=wp.vec3, **on)

    def work() -> tuple[Array, Array]:
        grid = wp.HashGrid(GRID_CELLS, GRID_CELLS, GRID_CELLS, **on)
        grid.build(mean, reach)
        wp.launch(
            kernel, len(points), [grid.id, x, mean, whiten, peak, reach, float(cut * cut), values, gradients], **on
        )  # fmt: skip
        return values.numpy(), gradients.numpy()

    return work


def _hash_grid_kernel():  # type: ignore[no-untyped-def]
    import warp as wp

    @wp.kernel(enable_backward=False)
    def density(
        grid: wp.uint64,
        points: wp.array(dtype=wp.vec3),
        mean: wp.array(dtype=wp.vec3),
        whiten: wp.array(dtype=wp.mat33),
        peak: wp.array(dtype=float),
        reach: float,
        cut2: float,
        values: wp.array(dtype=float),
        gradients: wp.array(dtype=wp.vec3),
    ):
        i = wp.tid()
        x = points[i]
        value = wp.float32(0.0)
        gradient = wp.vec3()
        for j in wp.hash_grid_query(grid, x, reach):
            y = whiten[j] * (x - mean[j])
            squared = wp.dot(y, y)
            if squared < cut2:
                weight = peak[j] * wp.exp(-0.5 * squared)
                value += weight
                gradient -= weight * (wp.transpose(whiten[j]) * y)
        values[i] = value
        gradients[i] = gradient

    return density

"""Angiography volumes of vessels known in closed form: blurred, noisy, on any grid of voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from VesselFlowGSLib.acquisition.study import Volume

Distance = Callable[[np.ndarray], np.ndarray]
FINER = 3
BACKGROUND, CONTRAST = 100.0, 1000.0


def tube(curve: np.ndarray, radius: np.ndarray) -> Distance:
    """Signed distance to the wall of a tube around a finely sampled curve, positive inside."""
    tree = cKDTree(curve)

    def distance(x: np.ndarray) -> np.ndarray:
        reach, nearest = tree.query(x)
        return radius[nearest] - reach

    return distance


def union(*parts: Distance) -> Distance:
    return lambda x: np.max([part(x) for part in parts], axis=0)


def line(direction: Sequence[float], half_length_mm: float = 20.0) -> np.ndarray:
    d = np.asarray(direction, float) / np.linalg.norm(direction)
    return np.arange(-half_length_mm, half_length_mm, 0.08)[:, None] * d


def volume_of(
    distance: Distance,
    low: Sequence[float],
    high: Sequence[float],
    spacing_mm: Sequence[float] = (0.42, 0.42, 0.42),
    sigma_mm: float = 0.32,
    noise: float = 0.05,
    turn: np.ndarray | None = None,
    seed: int = 0,
) -> Volume:
    """Fractions of voxels inside, blurred by a Gaussian, with noise in units of the contrast.

    low, high  corners of the box in the frame of the voxels; turn (3, 3) takes that frame to LPS
    """
    turn = np.eye(3) if turn is None else turn
    spacing = np.asarray(spacing_mm, float)
    n = np.ceil((np.asarray(high, float) - low) / spacing).astype(int)
    axes = [low[k] + spacing[k] * ((np.arange(n[k] * FINER) + 0.5) / FINER - 0.5) for k in range(3)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    inside = np.clip(distance(x @ turn.T).reshape(tuple(n * FINER)) / (spacing.min() / FINER) + 0.5, 0, 1)
    blurred = ndimage.gaussian_filter(inside, sigma_mm * FINER / spacing, mode="nearest")
    middle = slice(FINER // 2, None, FINER)
    seen = blurred[middle, middle, middle]
    seen = seen + noise * np.random.default_rng(seed).standard_normal(seen.shape)
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = turn @ np.asarray(low, float)
    return Volume((BACKGROUND + CONTRAST * seen).astype(np.float32), affine, "volume.nrrd")

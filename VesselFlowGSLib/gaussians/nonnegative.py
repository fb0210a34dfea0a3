"""Least squares with unknowns that are never negative: occupancies and attenuations from line integrals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Term:
    """Measurements that a matrix without negative entries explains: target (P,) of matrix (P, N), weight (P,).

    free_scale   the target is known up to a factor only
    """

    matrix: sparse.csr_matrix
    target: Array
    weight: Array
    free_scale: bool = False

    def residual(self, x: Array) -> Array:
        """(P,) matrix x - target; a free scale is the one that fits best, which keeps the problem convex."""
        model = self.matrix @ x
        scale: float | np.floating = 1.0
        if self.free_scale:
            energy = (self.weight * self.target) @ self.target
            scale = (self.weight * self.target) @ model / energy if energy > 0 else 0.0
        return np.asarray(model - scale * self.target)


def solve_nonnegative(
    terms: Sequence[Term],
    start: Array,
    *,
    prior: Array,
    prior_weight: Array,
    iterations: int,
    tolerance: float = 1e-4,
) -> Array:
    """(N,) x >= 0 that minimises sum weight (matrix x - target)^2 + sum prior_weight (x - prior)^2.

    Accelerated projected gradient (Beck and Teboulle, 2009) with restart. As no matrix has negative entries,
    A^T W A is below the diagonal A^T W A 1, which gives every unknown a step of its own without a search; free scales
    only lower the curvature.
    Ends when the largest step falls below `tolerance` of the largest unknown.
    """
    curvature = np.array(prior_weight, start.dtype, copy=True)
    for term in terms:
        curvature += term.matrix.T @ (term.weight * (term.matrix @ np.ones_like(start)))
    step = np.where(curvature > 0, 1 / np.maximum(curvature, np.finfo(start.dtype).tiny), 0)
    x, ahead, momentum = np.maximum(start, 0), np.maximum(start, 0), 1.0
    for _ in range(iterations):
        slope = prior_weight * (ahead - prior)
        for term in terms:
            slope = slope + term.matrix.T @ (term.weight * term.residual(ahead))
        new = np.maximum(ahead - step * slope, 0)
        if (slope * (new - x)).sum() > 0:
            momentum = 1.0
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / grown * (new - x)
        change = np.abs(new - x).max(initial=0)
        x, momentum = new, grown
        if change <= tolerance * np.abs(x).max(initial=0):
            break
    return np.asarray(x)

"""Jets: a function with its gradient and Laplacian at points, and how they multiply.

A jet is a tensor (5, N, …): value, the three first derivatives, the Laplacian. Propagating jets forward
(collapsed Taylor mode) gives the Navier-Stokes residual about three times faster than nested reverse mode.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


def jet_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Jet of the product of two functions; trailing dimensions broadcast."""
    value = a[:1] * b[:1]
    first = a[1:4] * b[:1] + a[:1] * b[1:4]
    laplacian = a[4:] * b[:1] + a[:1] * b[4:] + 2 * (a[1:4] * b[1:4]).sum(0, keepdim=True)
    return torch.cat([value, first, laplacian])


def jet_tanh(z: torch.Tensor) -> torch.Tensor:
    """Jet of tanh(z)."""
    a = torch.tanh(z[0])
    slope = 1 - a * a
    bend = -2 * a * slope
    return torch.cat([a[None], z[1:4] * slope, (slope * z[4] + bend * (z[1:4] ** 2).sum(0))[None]])


def sampled_jets(function: Callable[[Array], Array], points: Array, step: float) -> Array:
    """Jets (5, M, k) of a function of position, (M, 3) -> (M, k), by central differences of the given step.

    The step is in the points' unit; the function must be smooth over it. Done once per set of points.
    """
    shifted = [points] + [points + sign * step * e for e in np.eye(3) for sign in (1.0, -1.0)]
    values = function(np.concatenate(shifted)).reshape(7, len(points), -1)
    centre = values[0]
    first = [(values[1 + 2 * k] - values[2 + 2 * k]) / (2 * step) for k in range(3)]
    second = sum(values[1 + 2 * k] + values[2 + 2 * k] - 2 * centre for k in range(3)) / step**2
    return np.stack([centre, *first, second])

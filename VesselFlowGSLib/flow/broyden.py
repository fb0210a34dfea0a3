"""Self-scaled Broyden minimisation (Al-Baali 1998; for physics-informed networks Urban et al., arXiv:2405.04230)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import line_search

Array = NDArray[np.float64]


@dataclass
class BroydenState:
    """Where a minimisation stands: parameters, inverse Hessian estimate, loss, iterations done."""

    x: Array
    inverse_hessian: torch.Tensor | None = None
    loss: float = math.inf
    iterations: int = 0


class SelfScaledBroyden:
    """Minimises a smooth function of P parameters with a dense (P, P) inverse Hessian and a strong Wolfe search.

    value_and_gradient: (P,) float64 tensor with requires_grad to a scalar loss tensor.
    """

    def __init__(self, loss: Callable[[torch.Tensor], torch.Tensor], state: BroydenState) -> None:
        self._loss = loss
        self.state = state
        self._at: bytes = b""
        self._value = math.inf
        self._gradient = np.zeros_like(state.x)

    def _evaluate(self, x: Array) -> tuple[float, Array]:
        key = x.tobytes()
        if key != self._at:
            flat = torch.from_numpy(np.array(x)).requires_grad_(True)
            value = self._loss(flat)
            (gradient,) = torch.autograd.grad(value, flat)
            self._at, self._value, self._gradient = key, float(value.detach()), gradient.numpy()
        return self._value, self._gradient

    def run(self, iterations: int) -> BroydenState:
        """Take up to the given number of steps; ends early where no descent is found any more."""
        for _ in self.steps(iterations):
            pass
        return self.state

    def steps(self, iterations: int) -> Iterator[BroydenState]:
        """The same, step by step: yields the state after each that lowered the loss."""
        state = self.state
        fresh = state.inverse_hessian is None
        x = state.x
        value, gradient = self._evaluate(x)
        inverse = _first_inverse(gradient) if state.inverse_hessian is None else state.inverse_hessian
        previous: float | None = None
        restarts = 0
        for _ in range(iterations):
            direction = -(inverse @ torch.from_numpy(gradient)).numpy()
            if not direction @ gradient < 0:
                inverse, fresh = _first_inverse(gradient), True
                direction = -(inverse @ torch.from_numpy(gradient)).numpy()
                if not gradient.any():
                    break
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                step = line_search(
                    lambda z: self._evaluate(z)[0],
                    lambda z: self._evaluate(z)[1],
                    x,
                    direction,
                    gradient,
                    value,
                    previous,
                    maxiter=15,
                )[0]
            state.iterations += 1
            if step is None:
                restarts += 1
                if restarts > 3 or fresh:
                    break
                inverse, fresh, previous = _first_inverse(gradient), True, None
                continue
            new_x = x + step * direction
            new_value, new_gradient = self._evaluate(new_x)
            _update(inverse, new_x - x, new_gradient - gradient, gradient, step, fresh)
            fresh = False
            previous, x, value, gradient = value, new_x, new_value, new_gradient
            state.x, state.loss, state.inverse_hessian = x, value, inverse
            yield state
        state.x, state.loss, state.inverse_hessian = x, value, inverse


def _first_inverse(gradient: Array) -> torch.Tensor:
    """A multiple of the identity with which the first step is no longer than one."""
    return torch.eye(len(gradient), dtype=torch.float64) / max(1.0, float(np.linalg.norm(gradient)))


def _update(inverse: torch.Tensor, s_: Array, y_: Array, gradient: Array, step: float, first: bool) -> None:
    """Self-scaled Broyden update of the inverse Hessian, in place; nothing where the curvature is not positive."""
    s, y = torch.from_numpy(s_), torch.from_numpy(y_)
    ys = float(y @ s)
    if not ys > 1e-300:
        return
    n = s.numel()
    hy = inverse @ y
    yhy = float(y @ hy)
    h = yhy / ys
    b = -step * float(s @ torch.from_numpy(gradient)) / ys
    a = max(b * h - 1, 1e-14)
    c = math.sqrt(a / (1 + a))
    rho_minus = min(1.0, h * (1 - c))
    theta = max((rho_minus - 1) / a, min(1 / rho_minus, (1 - b) / b))
    sigma = 1 + theta * a
    if first:
        tau = h / sigma
    else:
        rho = min(1.0, 1 / b)
        shrink = abs(sigma) ** (1 / (1 - n))
        tau = min(rho * shrink, sigma) if theta <= 0 else rho * min(shrink, 1 / theta)
    phi = (1 - theta) / (1 + a * theta)
    v = s / ys - hy / yhy
    # one pass over the matrix, whose size in memory is what an iteration costs
    columns = torch.stack([hy, v, s], 1)
    factors = torch.tensor([-1 / (yhy * tau), phi * yhy / tau, 1 / ys], dtype=torch.float64)
    inverse.addmm_(columns * factors, columns.T, beta=1 / tau)

"""Jets by nested reverse mode: slow, and independent of the jets under test."""

from __future__ import annotations

from collections.abc import Callable

import torch


def jets_by_autograd(function: Callable[[torch.Tensor], torch.Tensor], points: torch.Tensor) -> torch.Tensor:
    """(5, N, k): value, gradient and Laplacian of a function (N, 3) -> (N, k)."""
    x = points.detach().clone().requires_grad_(True)
    value = function(x)
    parts = [value.detach()]
    gradients, laplacians = [], []
    for k in range(value.shape[1]):
        (slope,) = torch.autograd.grad(value[:, k].sum(), x, create_graph=True)
        second = torch.zeros(len(x), dtype=x.dtype)
        for i in range(3):
            if slope.requires_grad:
                (row,) = torch.autograd.grad(slope[:, i].sum(), x, retain_graph=True, allow_unused=True)
                second = second + (row[:, i] if row is not None else 0)
        gradients.append(slope.detach())
        laplacians.append(second.detach())
    parts += [torch.stack([g[:, i] for g in gradients], 1) for i in range(3)]
    parts.append(torch.stack(laplacians, 1))
    return torch.stack(parts)

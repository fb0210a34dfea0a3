"""Jets agree with automatic differentiation and with closed forms."""

from __future__ import annotations

import numpy as np
import torch
from autograd_jets import jets_by_autograd

from VesselFlowGSLib.flow.jets import jet_product, jet_tanh, sampled_jets

POINTS = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (40, 3)))


def some(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.sin(x[:, 0] * x[:, 1]), x[:, 2] ** 3 - x[:, 0]], 1)


def other(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.exp(x[:, 2] - x[:, 1]), x[:, 0] * x[:, 1] * x[:, 2]], 1)


def test_the_jet_of_a_product():
    found = jet_product(jets_by_autograd(some, POINTS), jets_by_autograd(other, POINTS))
    expected = jets_by_autograd(lambda x: some(x) * other(x), POINTS)
    assert torch.allclose(found, expected, atol=1e-12)


def test_a_product_broadcasts_over_its_last_dimensions():
    a, b = jets_by_autograd(some, POINTS), jets_by_autograd(other, POINTS)
    found = jet_product(a[:, :, :1], b)
    assert torch.allclose(found[:, :, 1], jet_product(a[:, :, 0], b[:, :, 1]), atol=1e-12)


def test_the_jet_of_tanh():
    found = jet_tanh(jets_by_autograd(some, POINTS))
    assert torch.allclose(found, jets_by_autograd(lambda x: torch.tanh(some(x)), POINTS), atol=1e-12)


def test_sampled_jets_of_a_quadratic_are_exact():
    a = np.array([[2.0, 0.5, 0.0], [0.5, -1.0, 0.3], [0.0, 0.3, 0.7]])
    x = POINTS.numpy()
    jets = sampled_jets(lambda p: np.einsum("mi,ij,mj->m", p, a, p)[:, None], x, 0.1)
    assert jets.shape == (5, len(x), 1)
    assert np.allclose(jets[0, :, 0], np.einsum("mi,ij,mj->m", x, a, x))
    assert np.allclose(jets[1:4, :, 0].T, 2 * x @ a, atol=1e-12)
    assert np.allclose(jets[4, :, 0], 2 * np.trace(a), atol=1e-10)


def test_sampled_jets_converge_with_the_square_of_the_step():
    expected = jets_by_autograd(some, POINTS).numpy()
    errors = [
        np.abs(sampled_jets(lambda p: some(torch.from_numpy(p)).numpy(), POINTS.numpy(), h) - expected).max()
        for h in (0.04, 0.02)
    ]
    assert errors[1] < 0.3 * errors[0] < 1e-3

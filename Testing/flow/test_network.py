"""The network on jets is the network, differentiated."""

from __future__ import annotations

import numpy as np
import torch
from autograd_jets import jets_by_autograd

from VesselFlowGSLib.flow.network import Network

POINTS = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (25, 3)))


def inputs(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x[:, 0] * x[:, 1], torch.cos(x[:, 2]), x[:, 0], x[:, 1] ** 2 - x[:, 2]], 1)


def test_the_jet_of_the_network_is_its_gradient_and_laplacian():
    network = Network((4, 12, 12, 3), seed=3)
    flat = network.start + torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, len(network.start)))
    found = network.jet(flat, jets_by_autograd(inputs, POINTS))
    expected = jets_by_autograd(lambda x: network.value(flat, inputs(x)), POINTS)
    assert found.shape == (5, len(POINTS), 3)
    assert torch.allclose(found, expected, atol=1e-12)


def test_the_value_is_the_first_part_of_the_jet():
    network = Network((4, 9, 2), seed=0)
    flat = network.start + 0.3
    jets = jets_by_autograd(inputs, POINTS)
    assert torch.allclose(network.value(flat, inputs(POINTS)), network.jet(flat, jets)[0], atol=1e-13)


def test_it_starts_with_nothing():
    network = Network((4, 9, 2), seed=1)
    assert not network.value(network.start, inputs(POINTS)).any()
    assert network.start.any()


def test_the_start_depends_on_the_seed_alone():
    a, b, c = (Network((4, 9, 2), seed) for seed in (5, 5, 6))
    assert torch.equal(a.start, b.start)
    assert not torch.equal(a.start, c.start)
    assert len(a.start) == 4 * 9 + 9 + 9 * 2 + 2 and a.start.dtype == torch.float64

"""The Navier-Stokes residual vanishes on exact solutions, and equals a plain reference on any field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from autograd_jets import jets_by_autograd

from VesselFlowGSLib.flow.residuals import navier_stokes_residual

POINTS = torch.from_numpy(np.random.default_rng(2).uniform(-0.7, 0.7, (60, 3)))
REYNOLDS = 20.0


def poiseuille(x: torch.Tensor) -> torch.Tensor:
    """u, v, w, p of u_z = 2 (1 - r^2) in units of the radius and the mean speed."""
    zero = 0 * x[:, 0]
    return torch.stack([zero, zero, 2 * (1 - x[:, 0] ** 2 - x[:, 1] ** 2), -8 * x[:, 2] / REYNOLDS], 1)


def kovasznay(x: torch.Tensor) -> torch.Tensor:
    """Kovasznay, Proc. Camb. Phil. Soc. 44:58, 1948: the wake behind a grid, an exact steady solution, here in x-z."""
    rate = REYNOLDS / 2 - np.sqrt(REYNOLDS**2 / 4 + 4 * np.pi**2)
    decay, phase = torch.exp(rate * x[:, 0]), 2 * np.pi * x[:, 2]
    return torch.stack(
        [1 - decay * torch.cos(phase), 0 * x[:, 0], rate / (2 * np.pi) * decay * torch.sin(phase), -(decay**2) / 2], 1
    )


def beltrami(x: torch.Tensor, a: float = np.pi / 4, d: float = np.pi / 2) -> torch.Tensor:
    """Ethier and Steinman, Int. J. Numer. Meth. Fluids 19:369, 1994, at time zero."""
    e = [torch.exp(a * x[:, i]) for i in range(3)]

    def wave(function, i: int, j: int) -> torch.Tensor:
        return function(a * x[:, i] + d * x[:, j])

    sin, cos = torch.sin, torch.cos
    u = -a * (e[0] * wave(sin, 1, 2) + e[2] * wave(cos, 0, 1))
    v = -a * (e[1] * wave(sin, 2, 0) + e[0] * wave(cos, 1, 2))
    w = -a * (e[2] * wave(sin, 0, 1) + e[1] * wave(cos, 2, 0))
    p = -(u**2 + v**2 + w**2) / 2
    return torch.stack([u, v, w, p], 1)


def residual(field, points=POINTS) -> tuple[torch.Tensor, torch.Tensor]:
    jets = jets_by_autograd(field, points)
    return navier_stokes_residual(jets[..., :3], jets[:4, :, 3], REYNOLDS)


@pytest.mark.parametrize("field", [poiseuille, kovasznay])
def test_exact_steady_solutions_leave_nothing(field):
    momentum, continuity = residual(field)
    assert momentum.shape == (60, 3) and continuity.shape == (60,)
    assert momentum.abs().max() < 1e-10 and continuity.abs().max() < 1e-12


def test_a_beltrami_flow_leaves_its_decay():
    """Convection and pressure balance exactly; the friction d^2 u / Re makes the flow decay."""
    momentum, continuity = residual(beltrami)
    assert continuity.abs().max() < 1e-12
    assert torch.allclose(momentum, (np.pi / 2) ** 2 / REYNOLDS * beltrami(POINTS)[:, :3], atol=1e-10)


def test_the_wrong_pressure_or_reynolds_number_shows():
    jets = jets_by_autograd(poiseuille, POINTS)
    assert navier_stokes_residual(jets[..., :3], 2 * jets[:4, :, 3], REYNOLDS)[0].abs().max() > 0.1
    assert navier_stokes_residual(jets[..., :3], jets[:4, :, 3], 2 * REYNOLDS)[0].abs().max() > 0.1


def test_it_equals_a_plain_reference_on_any_field():
    """Sums written out term by term, in float64."""
    draw = np.random.default_rng(0)
    velocity, pressure = draw.standard_normal((5, 30, 3)), draw.standard_normal((4, 30))
    momentum, continuity = navier_stokes_residual(torch.from_numpy(velocity), torch.from_numpy(pressure), REYNOLDS)
    for n in range(30):
        for i in range(3):
            convection = sum(velocity[0, n, j] * velocity[1 + j, n, i] for j in range(3))
            expected = convection + pressure[1 + i, n] - velocity[4, n, i] / REYNOLDS
            assert float(momentum[n, i]) == pytest.approx(expected, abs=1e-12)
        assert float(continuity[n]) == pytest.approx(sum(velocity[1 + j, n, j] for j in range(3)), abs=1e-12)

"""Self-scaled Broyden: reaches known minima, never climbs, goes on from where it stood."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from VesselFlowGSLib.flow.broyden import BroydenState, SelfScaledBroyden

SCALES = torch.logspace(0, 4, 12, dtype=torch.float64)
MIDDLE = torch.linspace(-1, 2, 12, dtype=torch.float64)


def quadratic(x: torch.Tensor) -> torch.Tensor:
    return (SCALES * (x - MIDDLE) ** 2).sum()


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize(
    ("loss", "start", "minimum"),
    [
        (quadratic, np.zeros(12), MIDDLE.numpy()),
        (rosenbrock, np.array([-1.2, 1.0]), np.ones(2)),
        (rosenbrock, np.linspace(-0.5, 1.5, 8), np.ones(8)),
    ],
    ids=["quadratic", "valley in 2", "valley in 8"],
)
def test_it_reaches_the_minimum_and_never_climbs(loss, start, minimum):
    losses = [float(loss(torch.from_numpy(start)))]
    state = BroydenState(start.copy())
    losses += [found.loss for found in SelfScaledBroyden(loss, state).steps(300)]
    assert state.loss < 1e-8
    assert np.allclose(state.x, minimum, atol=1e-3)
    assert (np.diff(losses) <= 0).all()


def test_it_goes_on_from_its_state():
    state = BroydenState(np.array([-1.2, 1.0]))
    SelfScaledBroyden(rosenbrock, state).run(5)
    begun = state.loss
    assert state.iterations == 5 and state.inverse_hessian is not None
    SelfScaledBroyden(rosenbrock, state).run(100)
    assert begun > 1e-3 and state.loss < 1e-8
    assert state.loss == pytest.approx(float(rosenbrock(torch.from_numpy(state.x))), abs=1e-15)


def test_a_curvature_that_does_not_descend_is_thrown_away():
    state = BroydenState(np.array([-1.2, 1.0]), inverse_hessian=-torch.eye(2, dtype=torch.float64))
    SelfScaledBroyden(rosenbrock, state).run(200)
    assert state.loss < 1e-8


def test_it_ends_where_there_is_nothing_to_gain():
    state = SelfScaledBroyden(quadratic, BroydenState(MIDDLE.numpy().copy())).run(50)
    assert np.array_equal(state.x, MIDDLE.numpy()) and state.loss == 0
    assert state.iterations < 50

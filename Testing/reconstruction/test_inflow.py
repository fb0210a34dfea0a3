"""The inflow from films whose flow is known, and that nothing of the engine projected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dyed_tube import ATTENUATION, AXIS, ISOCENTRE, LENGTH, LUMEN, RADIUS, bolus, filmed

from VesselFlowGSLib.acquisition.study import Run
from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.network import NetworkSettings
from VesselFlowGSLib.flow.solve import FlowSettings, FlowSolver, NetworkField
from VesselFlowGSLib.lumen.fit import start_cloud
from VesselFlowGSLib.reconstruction.inflow import InflowEstimate, InflowSettings, NoArrival, estimate_inflow

CLOUD = start_cloud(LUMEN, ATTENUATION).cloud
ANGLES = (-20.0, 50.0)


@pytest.fixture(scope="module")
def field() -> NetworkField:
    """Before training the field is Poiseuille flow, of another inflow than the films show."""
    small = FlowSettings(points_per_radius=10, network=NetworkSettings(2, 8))
    solver = FlowSolver(LUMEN, CLOUD, Fluid(), [1.0], small)
    solver.set_inflow(1.0)
    return NetworkField.of(solver)


@pytest.fixture(scope="module")
def from_one_view(field) -> InflowEstimate:
    return estimated(field, [filmed(2.0, ANGLES[0])])


def estimated(field: NetworkField, runs: list[Run]) -> InflowEstimate:
    return estimate_inflow(CLOUD, field, runs, [r.cameras(ISOCENTRE) for r in runs], InflowSettings())


@pytest.mark.parametrize("flow", [0.8, 2.0, 5.0])
def test_the_flow_is_found_whatever_the_field_was_solved_for(field, flow):
    found = estimated(field, [filmed(flow, a, seed=i) for i, a in enumerate(ANGLES)])
    assert found.mean_ml_s == pytest.approx(flow, rel=0.10)
    assert abs(found.mean_ml_s - flow) < 2.5 * found.sd_ml_s < 0.5 * flow
    assert found.branch_ml_s == pytest.approx([found.mean_ml_s])


def test_the_dye_arrives_when_its_front_does(field):
    """On the axis blood runs with twice the mean speed; the front is where the bolus is half its peak."""
    found = estimated(field, [filmed(2.0, a, seed=i) for i, a in enumerate(ANGLES)])
    axial = np.linalg.norm(CLOUD.mean[:, :2], axis=1) < 0.4
    z = CLOUD.mean[axial, 2]
    t = np.linspace(0, 1, 2000)
    front = t[np.argmax(bolus(t) > 0.5)]
    expected = front + z / (2 * 2000 / (np.pi * RADIUS**2))
    late = found.arrival_s[axial] - expected
    assert np.isfinite(late).mean() > 0.95
    assert abs(np.nanmedian(late)) < 0.05
    assert np.corrcoef(z[np.isfinite(late)], found.arrival_s[axial][np.isfinite(late)])[0, 1] > 0.9


def test_injections_of_their_own_are_read_apart(field):
    first, second = filmed(2.0, ANGLES[0]), filmed(2.0, ANGLES[1], injection=1, seed=1)
    # the second injection comes 0.4 s later on its clock
    later = replace(second, line_integrals=np.roll(second.line_integrals, 6, axis=0))
    later.line_integrals[:6] = second.line_integrals[:6]
    found = estimated(field, [first, later])
    assert len(found.curves) == 2
    fronts = [t[np.argmax(c > 0.5 * c.max())] for t, c in found.curves]
    assert fronts[1] - fronts[0] == pytest.approx(0.4, abs=0.07)


def test_the_result_follows_from_the_seed(field, from_one_view):
    again = estimated(field, [filmed(2.0, ANGLES[0])])
    assert again.mean_ml_s == from_one_view.mean_ml_s
    assert np.array_equal(again.arrival_s, from_one_view.arrival_s, equal_nan=True)


def test_films_without_dye_tell_no_flow(field):
    with pytest.raises(NoArrival):
        estimated(field, [filmed(2.0, a, dye=0.0, seed=i) for i, a in enumerate(ANGLES)])


def test_a_vessel_that_is_full_from_the_first_frame_tells_no_flow(field):
    run = filmed(2.0, ANGLES[0])
    full = np.median(run.line_integrals[10:16], axis=0) + np.random.default_rng(0).normal(
        0, 0.01, run.line_integrals.shape
    )
    with pytest.raises(NoArrival):
        estimated(field, [replace(run, line_integrals=full.astype(np.float32))])


def test_dye_that_comes_from_the_other_end_tells_no_flow(field):
    with pytest.raises(NoArrival):
        estimated(field, [filmed(2.0, ANGLES[0], downstream=False)])


def test_pixels_that_measured_nothing_have_no_say(field, from_one_view):
    """A collimator over a part of the picture: no values there, and a noise that says so."""
    run = filmed(2.0, ANGLES[0])
    values, noise = run.line_integrals.copy(), run.noise.copy()
    values[:, :35] = 0.0
    noise[:35] = 1e3
    found = estimated(field, [replace(run, line_integrals=values, noise=noise)])
    assert found.mean_ml_s == pytest.approx(from_one_view.mean_ml_s, rel=0.10)


def test_the_films_are_what_they_say():
    """Of the test itself: chord times attenuation times bolus at the inlet, and the mean of arrivals downstream."""
    run = filmed(2.0, noise=0.0)
    at = run.cameras(ISOCENTRE).pixels(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, LENGTH - 1]]))[0].round().astype(int)
    inlet, outlet = (run.line_integrals[:, r, c] for r, c in at)
    assert inlet.max() == pytest.approx(2 * RADIUS * ATTENUATION, rel=0.05)
    assert np.argmax(outlet) > np.argmax(inlet)
    assert AXIS @ AXIS == 1

"""Transit times of Poiseuille flow: a length over the local speed, which stays the same along a straight path."""

from __future__ import annotations

import numpy as np
import pytest
from solved_tube import AXIS, MEAN_M_S, RADIUS, at

from VesselFlowGSLib.flow.contrast import TransitSettings, transit_times
from VesselFlowGSLib.flow.solve import NetworkField

ORIGINS = np.array([1.0, 5.0])
Z = np.array([7.1, 10.1, 13.1, 15.1])


@pytest.mark.parametrize("part", [0.0, 0.4, 0.7, 0.85])
def test_times_are_length_over_speed(solved, part):
    speed_mm_s = 2 * MEAN_M_S * 1e3 * (1 - part**2)
    times = transit_times(solved, at(Z, np.full(4, part * RADIUS), 0.7), ORIGINS, TransitSettings())
    assert times.shape == (4, 2)
    assert np.allclose(times, (Z[:, None] - ORIGINS) / speed_mm_s, rtol=0.05, atol=2e-3)


def test_upstream_of_the_origin_is_before_it(solved):
    times = transit_times(solved, at(np.array([0.5, 3.1]), np.zeros(2)), ORIGINS, TransitSettings())
    assert (times[0] == -np.inf).all()
    assert times[1, 1] == -np.inf and np.isfinite(times[1, 0])


def test_blood_that_is_never_reached_is_infinitely_old(solved):
    brief = TransitSettings(longest_s=0.02)
    times = transit_times(solved, at(np.array([1.05, 15.0]), np.zeros(2)), np.array([1.0]), brief)
    assert np.isfinite(times[0, 0]) and times[1, 0] == np.inf


def test_times_scale_inversely_with_the_flow(straight):
    solver = straight.solver()
    points = 12.0 * AXIS[None]
    found = []
    for flow in (1.0, 4.0):
        solver.set_inflow(flow)
        found.append(transit_times(NetworkField.of(solver), points, ORIGINS, TransitSettings()))
    assert np.allclose(found[0], 4 * found[1], rtol=1e-3)

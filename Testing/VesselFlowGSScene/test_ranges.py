"""Colour ranges: robust, round, over all phases where they are locked, and still while a solution sharpens."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated

from VesselFlowGSLib.results.snapshot import Snapshot, Stage, Surface
from VesselFlowGSScene.appearance import Appearance, Quantity
from VesselFlowGSScene.case import Case
from VesselFlowGSScene.ranges import automatic_range, decimals_of, held_range, ordered, ranges_of


def wall(**arrays) -> Snapshot:
    count = len(next(iter(arrays.values())))
    points = np.random.default_rng(0).random((count, 3))
    return Snapshot(Stage.FLOW, 0.5, "", surface=Surface(points, np.zeros((0, 3), int), arrays))


def test_a_range_holds_nearly_all_values_and_not_the_jet_at_an_opening():
    rng = np.random.default_rng(1)
    stress = rng.uniform(0.5, 3.0, 10_000)
    stress[:50] = 80.0
    low, high = automatic_range(wall(wss=stress), Quantity.WSS, None, over_time=True)
    assert low == 0.0
    assert 2.9 <= high <= 3.6


def test_pressure_is_told_in_mmhg():
    low, high = automatic_range(wall(pressure=np.linspace(0, 1333.22, 5000)), Quantity.PRESSURE, None, True)
    assert 0.0 <= low <= 0.2
    assert 9.8 <= high <= 12.1


def test_confidence_is_a_share_and_its_range_does_not_depend_on_the_values():
    assert automatic_range(wall(confidence=np.full(10, 0.9)), Quantity.CONFIDENCE, None, True) == (0.0, 1.0)


def test_what_is_not_known_has_no_range():
    assert automatic_range(wall(confidence=np.ones(5)), Quantity.WSS, None, True) is None
    assert automatic_range(wall(wss=np.full(5, np.nan)), Quantity.WSS, None, True) is None
    assert automatic_range(Snapshot(Stage.GEOMETRY, 0.0, ""), Quantity.SPEED, None, True) is None


def test_a_locked_range_spans_all_phases_and_a_free_one_the_phase_that_is_shown():
    snapshot = simulated.pulsatile_bifurcation(phases=6, triangles=1500)
    over_time = automatic_range(snapshot, Quantity.WSS, 0, over_time=True)
    each = [automatic_range(snapshot, Quantity.WSS, k, over_time=False) for k in range(6)]
    assert over_time[1] <= max(high for _, high in each) * 1.01
    assert min(high for _, high in each) < 0.8 * over_time[1]
    assert all(automatic_range(snapshot, Quantity.WSS, k, over_time=True) == over_time for k in range(6))


def test_a_held_range_stays_until_the_values_leave_it_by_more_than_the_margin(scene):
    case = Case.create(scene, "case")
    assert held_range(case, Quantity.WSS, (0.0, 10.0)) == (0.0, 10.0)
    assert held_range(case, Quantity.WSS, (0.0, 11.0)) == (0.0, 10.0)
    assert held_range(case, Quantity.WSS, (0.0, 8.0)) == (0.0, 10.0)
    assert held_range(case, Quantity.WSS, (0.0, 16.0)) == (0.0, 16.0)
    assert held_range(case, Quantity.WSS, (0.0, 4.0)) == (0.0, 4.0)
    assert held_range(case, Quantity.WSS, (0.0, 4.5)) == (0.0, 4.0)
    # another quantity and another case have their own
    assert held_range(case, Quantity.SPEED, (0.0, 0.4)) == (0.0, 0.4)
    assert held_range(Case.create(scene, "other"), Quantity.WSS, (0.0, 9.0)) == (0.0, 9.2)


def test_a_held_range_is_found_again_in_the_scene_and_a_damaged_one_is_taken_anew(scene):
    case = Case.create(scene, "case")
    held_range(case, Quantity.WSS, (0.0, 10.0))
    assert held_range(Case.all_in(scene)[0], Quantity.WSS, (0.0, 11.0)) == (0.0, 10.0)
    case.node.SetAttribute("VesselFlowGS.Range.wall shear stress", "so and so")
    assert held_range(case, Quantity.WSS, (0.0, 11.0)) == (0.0, 12.0)


def test_a_free_range_follows_and_a_manual_one_is_what_the_person_said(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(1500)
    faster = dataclasses.replace(
        snapshot,
        surface=dataclasses.replace(
            snapshot.surface, arrays={n: 1.1 * np.asarray(v) for n, v in snapshot.surface.arrays.items()}
        ),
    )
    locked = Appearance(quantity=Quantity.WSS, streamlines=False)
    first = ranges_of(case, snapshot, locked, None)
    assert ranges_of(case, faster, locked, None) == first
    free = dataclasses.replace(locked, locked=False)
    expected = automatic_range(faster, Quantity.WSS, None, over_time=False)
    assert ranges_of(case, faster, free, None)[Quantity.WSS] == expected
    manual = dataclasses.replace(locked, automatic=False, low=7.0, high=2.0)
    assert ranges_of(case, snapshot, manual, None)[Quantity.WSS] == (2.0, 7.0)


def test_a_manual_range_of_speed_holds_for_all_that_shows_speed(scene):
    case = Case.create(scene, "case")
    manual = Appearance(quantity=Quantity.SPEED, automatic=False, low=0.1, high=0.2, streamlines=True)
    assert ranges_of(case, simulated.steady_tube(1500), manual, None)[Quantity.SPEED] == (0.1, 0.2)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_two_ends_give_a_range_of_some_width(low, high):
    found = ordered(low, high)
    assert found[0] < found[1]
    assert 0 <= decimals_of(*found) <= 4


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_an_automatic_range_holds_the_percentiles_and_wastes_little(start, width):
    values = np.linspace(start, start + width, 2001)
    low, high = automatic_range(wall(pressure=133.322 * values), Quantity.PRESSURE, None, True)
    inner = np.percentile(values, [2, 98])
    slack = 1e-3 * width + 1e-6 * abs(start)
    assert low <= inner[0] + slack
    assert high >= inner[1] - slack
    assert high - low <= 1.45 * width + slack

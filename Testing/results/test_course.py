"""What runs along the centreline: known degrees of stenosis are found, healthy vessels have none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simulated_snapshots as simulated
from hypothesis import given
from hypothesis import strategies as st
from simulated_snapshots import Stenosis, Tube

from VesselFlowGSLib.results.course import course_of, reference_radius
from VesselFlowGSLib.results.snapshot import Polylines


@given(
    part=st.floats(0.2, 0.7),
    taper=st.floats(0, 0.3),
    at=st.floats(0.25, 0.7),
    lesion_mm=st.floats(3, 13),
    noise=st.floats(0, 0.01),
    bulge=st.sampled_from([0.0, 0.8]),
)
def test_the_degree_of_a_stenosis_is_found_within_two_points(
    part: float, taper: float, at: float, lesion_mm: float, noise: float, bulge: float
) -> None:
    tube = Tube(length_mm=40.0, taper=taper, stenoses=(Stenosis(part, at * 40.0, lesion_mm),))
    s = np.linspace(0, 40, 120)
    away = 35.0 if at < 0.5 else 5.0
    radius = tube.radius(s) * (1 + bulge * np.exp(-(((s - away) / 2.0) ** 2)))
    radius = radius * (1 + noise * np.random.default_rng(1).normal(size=len(s)))
    reference = reference_radius(s, radius)
    near = np.abs(s - at * 40) < lesion_mm / 2
    found = 100 * (1 - radius / reference)[near].max()
    truth = 100 * (1 - radius / tube.healthy_radius(s))[near].max()
    assert found == pytest.approx(truth, abs=2.0)


@given(taper=st.floats(0, 0.3), length=st.floats(8, 80), noise=st.floats(0, 0.02), bulge=st.floats(0, 1.5))
def test_a_healthy_vessel_an_aneurysm_too_has_no_stenosis(
    taper: float, length: float, noise: float, bulge: float
) -> None:
    s = np.linspace(0, length, 100)
    radius = 2.0 * (1 - taper * s / length) * (1 + noise * np.random.default_rng(3).normal(size=100))
    radius = radius * (1 + bulge * np.exp(-(((s - 0.5 * length) / (0.12 * length)) ** 2)))
    percent = 100 * (1 - radius / reference_radius(s, radius))
    assert percent.max() < 3 + 400 * noise


def test_a_course_says_what_the_centreline_holds() -> None:
    snapshot = simulated.stenosed_tube(part=0.5, taper=0.2, bend_deg=40.0)
    (branch,) = course_of(snapshot)
    assert branch.opens_at_start and branch.opens_at_end
    assert branch.arc_length_mm[-1] == pytest.approx(32.0, abs=0.05)
    assert branch.stenosis_percent.max() == pytest.approx(50.0, abs=2.0)
    at = branch.stenosis_percent.argmax()
    assert branch.arc_length_mm[at] == pytest.approx(0.4 * 32.0, abs=0.5)
    assert np.allclose(branch.area_mm2, np.pi * branch.radius_mm**2)
    assert np.array_equal(branch.pressure_pa, snapshot.centreline.arrays["pressure_pa"])
    assert (branch.pressure_low_pa < branch.pressure_high_pa).all()


def test_a_fork_has_three_branches_and_a_phase_its_own_flow() -> None:
    snapshot = simulated.pulsatile_bifurcation(phases=4, triangles=2000)
    branches = course_of(snapshot)
    assert [b.parent for b in branches] == [-1, 0, 0]
    assert [(b.opens_at_start, b.opens_at_end) for b in branches] == [(True, False), (False, True), (False, True)]
    assert branches[2].from_inlet_mm[0] == pytest.approx(branches[0].from_inlet_mm[-1])
    first = course_of(snapshot, snapshot.phases[0])
    assert first[0].flow_ml_s[0] == pytest.approx(snapshot.phases[0].centreline["flow_ml_s"][0])
    assert first[0].flow_ml_s[0] != pytest.approx(branches[0].flow_ml_s[0])
    # Without the words about branches the ends' places say the same.
    assert [b.parent for b in course_of(dataclasses.replace(snapshot, geometry={}))] == [-1, 0, 0]


def test_what_is_not_known_is_none_and_bad_radii_do_not_spread() -> None:
    snapshot = simulated.steady_tube(triangles=1000)
    geometry = course_of(simulated.without_flow(snapshot))[0]
    assert geometry.pressure_pa is None and geometry.flow_ml_s is None
    assert course_of(dataclasses.replace(snapshot, centreline=None)) == ()
    line = snapshot.centreline
    holed = {**line.arrays, "radius_mm": np.where(np.arange(len(line.points)) % 7 == 3, np.nan, 1.6)}
    (branch,) = course_of(dataclasses.replace(snapshot, centreline=dataclasses.replace(line, arrays=holed)))
    assert np.allclose(branch.reference_radius_mm, 1.6, atol=0.01)
    empty = Polylines(np.zeros((0, 3)), np.zeros(1, int), {"radius_mm": np.zeros(0)})
    assert course_of(dataclasses.replace(snapshot, centreline=empty)) == ()
    lost = {**line.arrays, "radius_mm": np.full(len(line.points), np.nan)}
    (branch,) = course_of(dataclasses.replace(snapshot, centreline=dataclasses.replace(line, arrays=lost)))
    assert np.isnan(branch.reference_radius_mm).all()

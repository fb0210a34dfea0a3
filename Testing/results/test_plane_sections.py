"""Plane sections and values at points of a field: the flow is what was put in, wherever and however a plane cuts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simulated_snapshots as simulated
from hypothesis import given
from hypothesis import strategies as st
from simulated_snapshots import ACROSS, AXIS, BESIDE, START, Tube, tube_snapshot

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.sections import FieldSampler
from VesselFlowGSLib.results.snapshot import VolumeMesh

TUBE = Tube(flow_ml_s=2.0, radius_mm=1.6, length_mm=20.0)
FINE = tube_snapshot(TUBE, triangles=16000)
SAMPLER = FieldSampler(FINE.field)
MIDDLE = START + 10.0 * AXIS


@given(tilt=st.floats(0, 60), turn=st.floats(0, 360), at=st.floats(-3, 3), reverse=st.booleans())
def test_the_flow_is_the_same_through_every_oblique_plane(tilt: float, turn: float, at: float, reverse: bool) -> None:
    t, w = np.radians([tilt, turn])
    normal = np.cos(t) * AXIS + np.sin(t) * (np.cos(w) * ACROSS + np.sin(w) * BESIDE)
    sign = -1.0 if reverse else 1.0
    cut = SAMPLER.cut(MIDDLE + at * AXIS, sign * 3.0 * normal)
    assert cut.flow_ml_s == pytest.approx(sign * 2.0, rel=0.01)
    assert cut.area_mm2 == pytest.approx(np.pi * 1.6**2 / np.cos(t), rel=0.01)
    middle = float(TUBE.pressure(np.array([10.0 + at]))[0])
    assert cut.mean_pressure_pa == pytest.approx(middle, rel=0.01)
    assert np.abs((cut.section.points - MIDDLE - at * AXIS) @ normal).max() < 1e-9


def test_a_section_looks_along_its_normal_and_holds_the_field() -> None:
    cut = SAMPLER.cut(MIDDLE, AXIS)
    sides = cut.section.points[cut.section.triangles]
    assert (np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]) @ AXIS > 0).all()
    radius = np.linalg.norm(cut.section.points - MIDDLE, axis=1)
    expected = 2 * 2.0 / (np.pi * 1.6**2) * (1 - (radius / 1.6) ** 2)
    assert np.allclose(cut.section.arrays["velocity"] @ AXIS, expected, atol=0.01)
    assert cut.mean_speed_m_s == pytest.approx(2.0 / (np.pi * 1.6**2), rel=0.01)


@pytest.mark.parametrize("single", [False, True])
def test_mass_is_kept_at_a_fork_and_only_the_nearest_branch_is_cut(single: bool) -> None:
    snapshot = simulated.pulsatile_bifurcation(phases=4, triangles=12000)
    snapshot = simulated.in_single(snapshot) if single else snapshot
    sampler = FieldSampler(snapshot.field)
    trunk = sampler.cut(START + 5 * AXIS, AXIS)
    branches = []
    for k in (1, 2):
        opening = snapshot.geometry["openings"][k]
        place, normal = np.array(opening["centre_lps_mm"]), np.array(opening["normal"])
        branches.append(sampler.cut(place - 2.0 * normal, normal, near_mm=2.0))
    assert trunk.flow_ml_s == pytest.approx(3.0, rel=0.01)
    assert [b.flow_ml_s for b in branches] == pytest.approx([1.98, 1.02], rel=0.015)
    assert trunk.flow_ml_s == pytest.approx(sum(b.flow_ml_s for b in branches), rel=0.01)
    # The plane across the axis beyond the fork meets both branches.
    both = sampler.cut(START + 24 * AXIS, AXIS)
    assert both.flow_ml_s == pytest.approx(3.0, rel=0.015)
    one = sampler.cut(START + 24 * AXIS + 4 * ACROSS, AXIS, near_mm=3.0)
    assert one.flow_ml_s == pytest.approx(1.98, rel=0.02)
    phase = snapshot.phases[1]
    later = sampler.with_arrays(phase.field["velocity"], phase.field["pressure"])
    assert later.cut(START + 5 * AXIS, AXIS).flow_ml_s == pytest.approx(
        float(phase.centreline["flow_ml_s"][0]), rel=0.01
    )


def test_a_plane_beside_the_vessel_cuts_nothing() -> None:
    assert SAMPLER.cut(START - 5 * AXIS, AXIS) is None
    assert SAMPLER.cut(MIDDLE + 10 * ACROSS, AXIS, near_mm=3.0) is None
    assert SAMPLER.cut(MIDDLE + 10 * ACROSS, AXIS) is not None


@pytest.mark.parametrize("count", [5, 200])
def test_values_at_points_are_those_of_the_flow(count: int) -> None:
    rng = np.random.default_rng(2)
    s, radius, angle = rng.uniform(1, 19, count), 0.9 * np.sqrt(rng.random(count)), rng.uniform(0, 7, count)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    velocity, pressure, inside = SAMPLER.probe(TUBE.point(s, x, y))
    assert inside.all()
    assert np.allclose(velocity, TUBE.velocity(s, x, y), atol=0.006)
    assert np.allclose(pressure, TUBE.pressure(s), atol=0.1)
    out = [START - 3 * AXIS, MIDDLE + 1.7 * ACROSS, np.full(3, np.nan)]
    velocity, pressure, inside = SAMPLER.probe(out)
    assert not inside.any()
    assert np.isnan(velocity).all() and np.isnan(pressure).all()


def test_every_kind_of_cell_is_cut_exactly() -> None:
    """One cube as a hexahedron, two wedges, three pyramids and six tetrahedra: half of it is half a unit."""
    corner = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], float)
    splits = {
        12: [range(8)],
        13: [(0, 2, 1, 4, 6, 5), (0, 3, 2, 4, 7, 6)],
        14: [(0, 1, 2, 3, 6), (0, 4, 5, 1, 6), (0, 3, 7, 4, 6)],
        10: [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)],
    }
    normal = np.array([0.2, 0.3, 0.5])
    for kind, cells in splits.items():
        flat = np.array([i for cell in cells for i in cell])
        offsets = np.cumsum([0] + [len(cell) for cell in cells])
        arrays = {"velocity": np.tile([1.0, 2.0, 3.0], (8, 1)), "pressure": corner @ [1.0, 0.0, 0.0]}
        mesh = VolumeMesh(corner, flat, offsets, np.full(len(cells), kind, np.uint8), arrays)
        cut = FieldSampler(mesh).cut([0.5, 0.5, 0.5], [0, 0, 1.0])
        assert cut.area_mm2 == pytest.approx(1.0)
        assert cut.flow_ml_s == pytest.approx(3.0)
        assert cut.mean_pressure_pa == pytest.approx(0.5)
        oblique = FieldSampler(mesh).cut([0.5, 0.5, 0.5], normal)
        assert oblique.flow_ml_s == pytest.approx(oblique.area_mm2 * 2.3 / np.linalg.norm(normal))
        velocity, pressure, inside = FieldSampler(mesh).probe([[0.25, 0.6, 0.7]])
        assert inside[0] and np.allclose(velocity, [1, 2, 3]) and pressure[0] == pytest.approx(0.25)


def test_bad_planes_and_fields_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="direction"):
        SAMPLER.cut(MIDDLE, [0, 0, 0])
    with pytest.raises(InputError, match="direction"):
        SAMPLER.cut([np.nan, 0, 0], AXIS)
    with pytest.raises(InputError, match="not solved"):
        FieldSampler(dataclasses.replace(FINE.field, arrays={}))
    with pytest.raises(InputError, match="type 11"):
        FieldSampler(dataclasses.replace(FINE.field, cell_types=np.full_like(FINE.field.cell_types, 11)))

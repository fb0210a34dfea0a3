"""The plane that a person drags across a vessel whose flow is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import simulated_snapshots

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
import slicer
import vtk

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene import cutplane
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.frames import lps_of, ras_of

TUBE = simulated_snapshots.Tube(bend_deg=50.0)


@pytest.fixture(scope="module")
def tube() -> Snapshot:
    return simulated_snapshots.tube_snapshot(TUBE, triangles=6000)


@pytest.fixture(scope="module")
def beating() -> Snapshot:
    return simulated_snapshots.pulsatile_bifurcation(phases=4, triangles=3000, lines=4)


@pytest.fixture
def case(scene: Any) -> Case:
    return Case.create(scene, "Vessel")


def world(node: Any, what: str) -> np.ndarray:
    found = np.zeros(3)
    getattr(node, f"Get{what}World")(found)
    return found


@pytest.mark.parametrize("at_mm", [4.0, 16.0, 28.5])
def test_the_plane_stands_across_the_vessel_and_gives_its_flow(case: Case, tube: Snapshot, at_mm: float) -> None:
    plane = cutplane.place_plane(case, tube, at_mm)
    centre, tangent, _ = TUBE.frame(np.array([at_mm]))
    assert np.allclose(world(plane, "Origin"), ras_of(centre[0]), atol=0.02)
    assert world(plane, "Normal") @ ras_of(tangent[0]) > 0.9999
    cut = cutplane.measure(case, tube, cutplane.sampler_of(tube))
    assert cut is not None
    radius = TUBE.radius(np.array([at_mm]))[0]
    assert cut.flow_ml_s == pytest.approx(TUBE.flow_ml_s, rel=0.02)
    assert cut.area_mm2 == pytest.approx(np.pi * radius**2, rel=0.02)
    assert cut.mean_pressure_pa == pytest.approx(TUBE.pressure(np.array([at_mm]))[0], rel=0.02, abs=0.5)


def test_what_flows_against_the_normal_is_negative(case: Case, tube: Snapshot) -> None:
    plane = cutplane.place_plane(case, tube, 10.0)
    sampler = cutplane.sampler_of(tube)
    plane.SetNormalWorld(*(-world(plane, "Normal")))
    cut = cutplane.measure(case, tube, sampler)
    assert cut is not None and cut.flow_ml_s == pytest.approx(-TUBE.flow_ml_s, rel=0.02)


def test_a_dragged_and_tilted_plane_still_gives_the_flow(case: Case, tube: Snapshot) -> None:
    plane = cutplane.place_plane(case, tube, 10.0)
    sampler = cutplane.sampler_of(tube)
    straight = cutplane.measure(case, tube, sampler)
    moved = world(plane, "Origin") + np.array([0.3, -0.2, 0.4])
    plane.SetOriginWorld(*moved)
    tilted = world(plane, "Normal") + np.array([0.3, 0.2, 0.0])
    plane.SetNormalWorld(*(tilted / np.linalg.norm(tilted)))
    cut = cutplane.measure(case, tube, sampler)
    assert straight is not None and cut is not None
    assert cut.flow_ml_s == pytest.approx(TUBE.flow_ml_s, rel=0.03)
    assert cut.area_mm2 > straight.area_mm2


def test_a_plane_below_a_transform_is_measured_where_it_is_seen(case: Case, tube: Snapshot) -> None:
    plane = cutplane.place_plane(case, tube, 10.0)
    move = case.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 500.0)
    move.SetMatrixTransformToParent(matrix)
    plane.SetAndObserveTransformNodeID(move.GetID())
    assert cutplane.measure(case, tube, cutplane.sampler_of(tube)) is None


def test_the_section_is_coloured_where_the_plane_is(case: Case, tube: Snapshot) -> None:
    plane = cutplane.place_plane(case, tube, 20.0)
    cut = cutplane.measure(case, tube, cutplane.sampler_of(tube))
    section = case.get(Role.CUT_SECTION)
    points = slicer.util.arrayFromModelPoints(section)
    assert np.abs((points - world(plane, "Origin")) @ world(plane, "Normal")).max() < 1e-3
    assert cut is not None and np.allclose(points, ras_of(cut.section.points), atol=1e-4)
    velocity = slicer.util.arrayFromModelPointData(section, "Velocity_m_s")
    fastest = np.argmax(np.linalg.norm(velocity, axis=1))
    _, tangent, _ = TUBE.frame(np.array([20.0]))
    assert velocity[fastest] @ ras_of(tangent[0]) > 0.99 * np.linalg.norm(velocity[fastest])
    speed = slicer.util.arrayFromModelPointData(section, "Speed_m_s")
    assert speed.max() == pytest.approx(2 * TUBE.mean_speed(np.array([20.0]))[0], rel=0.03)
    display = section.GetDisplayNode()
    assert display.GetActiveScalarName() == "Speed_m_s" and display.GetScalarVisibility()
    assert display.GetScalarRange()[0] == 0 and display.GetScalarRange()[1] >= 0.9 * speed.max()


def test_the_text_says_what_was_measured_with_its_units(case: Case, tube: Snapshot) -> None:
    plane = cutplane.place_plane(case, tube, 12.0)
    cut = cutplane.measure(case, tube, cutplane.sampler_of(tube))
    assert cut is not None
    text = plane.GetNthControlPointLabel(0)
    assert text.split("\n") == cutplane.text_of(cut).split(" · ")
    for part in (
        f"flow {cut.flow_ml_s:.2f} ml/s",
        f"area {cut.area_mm2:.2f} mm²",
        f"mean speed {cut.mean_speed_m_s:.3f} m/s",
        f"mean pressure {cut.mean_pressure_pa / PASCAL_PER_MMHG:.2f} mmHg",
    ):
        assert part in text


def test_the_label_is_seen_and_the_plane_can_be_dragged(case: Case, tube: Snapshot) -> None:
    display = cutplane.place_plane(case, tube, 12.0).GetDisplayNode()
    assert display.GetPointLabelsVisibility() and not display.GetPropertiesLabelVisibility()
    assert display.GetHandlesInteractive()
    display.SetSelectedColor(0.1, 0.2, 0.3)
    cutplane.place_plane(case, tube, 14.0)
    assert display.GetSelectedColor() == (0.1, 0.2, 0.3), "a person's colours stay"


def test_beside_the_vessel_there_is_nothing_and_that_is_said(case: Case, tube: Snapshot) -> None:
    plane = cutplane.place_plane(case, tube, 12.0)
    sampler = cutplane.sampler_of(tube)
    assert cutplane.measure(case, tube, sampler) is not None
    plane.SetOriginWorld(*(world(plane, "Origin") + 200 * world(plane, "Normal")))
    assert cutplane.measure(case, tube, sampler) is None
    assert plane.GetNthControlPointLabel(0) == "outside the vessel"
    assert not case.get(Role.CUT_SECTION).GetDisplayNode().GetVisibility()
    cutplane.place_plane(case, tube, 12.0)
    assert cutplane.measure(case, tube, sampler) is not None
    assert case.get(Role.CUT_SECTION).GetDisplayNode().GetVisibility()


def test_of_two_branches_the_one_at_the_plane_counts(case: Case, beating: Snapshot) -> None:
    sampler = cutplane.sampler_of(beating)
    line = beating.centreline
    assert line is not None
    flows = []
    for branch in range(3):
        length = np.linalg.norm(
            np.diff(line.points[line.offsets[branch] : line.offsets[branch + 1]], axis=0), axis=1
        ).sum()
        cutplane.place_plane(case, beating, 0.7 * length if branch else 0.4 * length, branch)
        cut = cutplane.measure(case, beating, sampler)
        assert cut is not None
        expected = line.arrays["flow_ml_s"][line.offsets[branch] : line.offsets[branch + 1]].mean()
        assert cut.flow_ml_s == pytest.approx(expected, rel=0.04)
        flows.append(cut.flow_ml_s)
    assert flows[0] == pytest.approx(flows[1] + flows[2], rel=0.04)


def test_the_flow_of_a_phase_is_that_of_its_instant(case: Case, beating: Snapshot) -> None:
    line = beating.centreline
    assert line is not None
    cutplane.place_plane(case, beating, 6.0)
    for number, phase in enumerate(beating.phases):
        cut = cutplane.measure(case, beating, cutplane.sampler_of(beating, number))
        assert cut is not None
        assert cut.flow_ml_s == pytest.approx(phase.centreline["flow_ml_s"][3], rel=0.03)


def test_without_what_it_needs_nothing_is_measured(case: Case, tube: Snapshot) -> None:
    early = simulated_snapshots.without_flow(tube)
    assert cutplane.sampler_of(early) is None
    assert cutplane.measure(case, tube, cutplane.sampler_of(tube)) is None, "no plane yet"
    assert cutplane.place_plane(case, early, 5.0) is not None
    assert cutplane.measure(case, early, None) is None
    assert cutplane.place_plane(case, early, 5.0, branch=7) is None
    cutplane.remove_plane(case)
    assert case.get(Role.CUT_PLANE) is None and case.get(Role.CUT_SECTION) is None


def test_places_beyond_the_ends_are_the_ends() -> None:
    line = Polylines(
        np.array([[0.0, 0, 0], [0, 0, 3], [0, 4, 3]]), np.array([0, 3]), {"radius_mm": np.array([1.0, 2, 3])}
    )
    for at, point, radius in ((-5.0, (0, 0, 0), 1.0), (5.0, (0, 2, 3), 2.5), (99.0, (0, 4, 3), 3.0)):
        found = cutplane.point_on_branch(line, at)
        assert found is not None
        assert np.allclose(found[0], point) and found[2] == pytest.approx(radius)
        assert np.linalg.norm(found[1]) == pytest.approx(1.0)
    assert np.allclose(lps_of(ras_of(line.points)), line.points)

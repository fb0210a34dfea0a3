"""Streamlines as tubes: around the curves, of their width, facing outwards, with the velocity turned into RAS."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot, Stage
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.show import show
from VesselFlowGSScene.streamlines import StreamlineSettings, streamline_data

SIDES = StreamlineSettings().sides


def with_lines(points, offsets, **arrays) -> Snapshot:
    return Snapshot(Stage.FLOW, 0.5, "", streamlines=Polylines(np.asarray(points, float), np.asarray(offsets), arrays))


def helix(count: int = 80) -> np.ndarray:
    t = np.linspace(0, 4 * np.pi, count)
    return np.stack([5 * np.cos(t), 5 * np.sin(t), t], -1)


def points_of(data):
    return vtk_to_numpy(data.GetPoints().GetData()).astype(float)


def test_tubes_lie_half_a_width_around_the_curves():
    lines = np.concatenate([helix(), [20, 0, 0] + helix(50)])
    data = streamline_data(with_lines(lines, [0, 80, 130]), Appearance(streamline_width_mm=0.3))
    rings = points_of(data).reshape(-1, SIDES, 3)
    centres = lines * [-1, -1, 1]
    assert rings.mean(1) == pytest.approx(centres, abs=1e-4)
    assert np.linalg.norm(rings - centres[:, None], axis=2) == pytest.approx(0.15, rel=1e-3)


def test_tubes_face_outwards_with_outward_normals():
    data = streamline_data(with_lines(helix(), [0, 80]), Appearance())
    normals = vtk_to_numpy(data.GetPointData().GetNormals())
    outwards = points_of(data) - np.repeat(helix() * [-1, -1, 1], SIDES, axis=0)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert (normals * outwards).sum(1).min() > 0.999
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputData(data)
    triangles.Update()
    corners = vtk_to_numpy(triangles.GetOutput().GetPolys().GetConnectivityArray()).reshape(-1, 3)
    a, b, c = (points_of(data)[corners[:, k]] for k in range(3))
    assert ((np.cross(b - a, c - a) * outwards[corners[:, 0]]).sum(1) > 0).all()
    assert len(corners) == 2 * SIDES * 79


def test_curves_do_not_run_into_each_other():
    lines = np.concatenate([helix(), [40, 0, 0] + helix()])
    data = streamline_data(with_lines(lines, [0, 80, 160]), Appearance())
    strips = data.GetStrips()
    ids = vtk.vtkIdList()
    strips.InitTraversal()
    while strips.GetNextCell(ids):
        curves = {ids.GetId(k) // (80 * SIDES) for k in range(ids.GetNumberOfIds())}
        assert len(curves) == 1


def test_blood_to_the_patients_left_has_its_velocity_to_the_left_also_after_a_hardened_turn(scene):
    line = np.stack([np.linspace(0, 10, 30), np.zeros(30), np.zeros(30)], -1)
    velocity = np.tile([0.4, 0.0, 0.0], (30, 1))
    snapshot = with_lines(line, [0, 30], velocity=velocity)
    case = Case.create(scene, "case")
    show(case, snapshot, Appearance())
    node = case.get(Role.STREAMLINES)
    held = node.GetPolyData().GetPointData()
    assert held.GetVectors().GetName() == "Velocity_m_s"
    assert vtk_to_numpy(held.GetVectors())[0] == pytest.approx([-0.4, 0, 0])
    assert vtk_to_numpy(held.GetArray("Speed_m_s")) == pytest.approx(0.4)
    matrix = vtk.vtkMatrix4x4()
    for i, row in enumerate([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]):
        for j, value in enumerate(row):
            matrix.SetElement(i, j, value)
    node.ApplyTransformMatrix(matrix)
    held = node.GetPolyData().GetPointData()
    assert vtk_to_numpy(held.GetArray("Velocity_m_s"))[0] == pytest.approx([0, -0.4, 0], abs=1e-6)


def test_a_width_is_a_matter_of_the_appearance_alone(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(1500)
    show(case, snapshot, Appearance())
    thin = points_of(case.get(Role.STREAMLINES).GetPolyData())
    show(case, snapshot, Appearance(streamline_width_mm=0.5))
    thick = points_of(case.get(Role.STREAMLINES).GetPolyData())
    assert thick.shape == thin.shape
    assert np.abs(thick - thin).max() == pytest.approx(0.175, rel=0.2)


def test_what_did_not_change_is_left_alone(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(1500)
    show(case, snapshot, Appearance())
    mesh = case.get(Role.STREAMLINES).GetPolyData()
    copied = dataclasses.replace(
        snapshot, streamlines=dataclasses.replace(snapshot.streamlines, points=np.array(snapshot.streamlines.points))
    )
    show(case, copied, Appearance(opacity=0.2))
    assert case.get(Role.STREAMLINES).GetPolyData() is mesh


def test_a_phase_has_its_own_lines_where_it_has_some():
    snapshot = simulated.pulsatile_bifurcation(phases=3, triangles=1500, lines=6)
    mean = streamline_data(snapshot, Appearance())
    own = streamline_data(snapshot, Appearance(), 1)
    speed = vtk_to_numpy(own.GetPointData().GetArray("Speed_m_s"))
    assert speed[::SIDES] == pytest.approx(snapshot.phases[1].streamlines.arrays["speed"], rel=1e-5)
    assert not np.allclose(speed, vtk_to_numpy(mean.GetPointData().GetArray("Speed_m_s")))


def test_very_many_points_stay_lines():
    count = StreamlineSettings().most_points + 2
    line = np.stack([np.linspace(0, 100, count), np.zeros(count), np.zeros(count)], -1)
    data = streamline_data(with_lines(line, [0, count]), Appearance())
    assert data.GetNumberOfPoints() == count
    assert data.GetNumberOfLines() == 1


def test_curves_of_one_or_two_points_and_points_on_each_other_do_no_harm():
    lines = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [2, 0, 0], [2, 0, 0], [3, 0, 0]], float)
    data = streamline_data(with_lines(lines, [0, 1, 3, 6]), Appearance())
    assert np.isfinite(points_of(data)).all()
    none = with_lines(np.zeros((0, 3)), [0])
    assert streamline_data(none, Appearance()).GetNumberOfPoints() == 0

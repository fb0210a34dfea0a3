"""Arrows of the velocity: on their points, along the blood, of its speed, evenly spread, turned with the model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import Snapshot, Stage, VolumeMesh
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.glyphs import GlyphSettings, even_subset, glyph_data
from VesselFlowGSScene.show import show

CORNERS = 3 * GlyphSettings().sides + 2


def arrows(data):
    """Tip, tail (n, 3), velocity (n, 3), speed (n,) of each arrow, as drawn."""
    points = vtk_to_numpy(data.GetPoints().GetData()).reshape(-1, CORNERS, 3)
    velocity = vtk_to_numpy(data.GetPointData().GetVectors()).reshape(-1, CORNERS, 3)[:, 0]
    speed = vtk_to_numpy(data.GetPointData().GetArray("Speed_m_s")).reshape(-1, CORNERS)[:, 0]
    return points[:, -2], points[:, -1], velocity, speed


def leftward(speed: float = 0.3, count: int = 4000) -> Snapshot:
    """Blood in a box that flows to the patient's left: +x in LPS."""
    points = np.random.default_rng(3).random((count, 3)) * [20, 4, 4]
    velocity = np.tile([speed, 0.0, 0.0], (count, 1))
    empty = np.zeros(0, np.int64)
    field = VolumeMesh(points, empty, np.zeros(1, np.int64), empty, {"velocity": velocity})
    return Snapshot(Stage.FLOW, 0.5, "", field=field, shape="box")


def test_blood_to_the_patients_left_is_drawn_to_the_left():
    tip, tail, velocity, speed = arrows(glyph_data(leftward(), Appearance(glyph_count=300)))
    along = (tip - tail) / np.linalg.norm(tip - tail, axis=1, keepdims=True)
    assert along == pytest.approx(np.tile([-1, 0, 0], (len(along), 1)), abs=1e-5)
    assert velocity == pytest.approx(np.tile([-0.3, 0, 0], (len(along), 1)), abs=1e-6)
    assert speed == pytest.approx(0.3)


def test_velocity_is_the_one_active_vector_array():
    held = glyph_data(leftward(), Appearance(glyph_count=100)).GetPointData()
    assert held.GetVectors().GetName() == "Velocity_m_s"
    three = [
        held.GetArrayName(k) for k in range(held.GetNumberOfArrays()) if held.GetArray(k).GetNumberOfComponents() == 3
    ]
    assert three == ["Velocity_m_s"]


def test_a_turned_and_hardened_model_has_its_arrows_along_the_turned_velocity(scene):
    case = Case.create(scene, "case")
    show(case, leftward(), Appearance(glyphs=True, glyph_count=200))
    node = case.get(Role.GLYPHS)
    turn = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    for i, row in enumerate([[0, -1, 0, 7], [1, 0, 0, -2], [0, 0, 1, 5]]):
        for j, value in enumerate(row):
            matrix.SetElement(i, j, value)
    turn.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(turn.GetID())
    node.HardenTransform()
    tip, tail, velocity, _ = arrows(node.GetPolyData())
    # (-1, 0, 0) a quarter of a turn about the third axis
    assert velocity == pytest.approx(np.tile([0, -0.3, 0], (len(velocity), 1)), abs=1e-6)
    along = (tip - tail) / np.linalg.norm(tip - tail, axis=1, keepdims=True)
    assert along == pytest.approx(np.tile([0, -1, 0], (len(along), 1)), abs=1e-4)


def test_arrows_survive_a_model_file_with_their_signs(scene, tmp_path):
    case = Case.create(scene, "case")
    show(case, leftward(), Appearance(glyphs=True, glyph_count=200))
    for ending in ("vtp", "vtk"):
        path = str(tmp_path / f"arrows.{ending}")
        storage = scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
        storage.SetFileName(path)
        assert storage.WriteData(case.get(Role.GLYPHS))
        back = scene.AddNewNodeByClass("vtkMRMLModelNode")
        storage = scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
        storage.SetFileName(path)
        assert storage.ReadData(back)
        tip, tail, _, _ = arrows(case.get(Role.GLYPHS).GetPolyData())
        points = vtk_to_numpy(back.GetPolyData().GetPoints().GetData()).reshape(-1, CORNERS, 3)
        velocity = vtk_to_numpy(back.GetPolyData().GetPointData().GetArray("Velocity_m_s"))
        assert points[:, -2] == pytest.approx(tip, abs=1e-4)
        assert velocity == pytest.approx(np.tile([-0.3, 0, 0], (len(velocity), 1)), abs=1e-6)


def test_lengths_are_as_the_speeds_and_middles_on_the_points():
    snapshot = simulated.stenosed_tube(triangles=3000)
    tip, tail, velocity, speed = arrows(glyph_data(snapshot, Appearance(glyph_count=400)))
    length = np.linalg.norm(tip - tail, axis=1)
    assert length / speed == pytest.approx((length / speed)[0], rel=1e-3)
    assert np.linalg.norm(velocity, axis=1) == pytest.approx(speed, rel=1e-4)
    middles = 0.5 * (tip + tail)
    inside = np.asarray(snapshot.field.points) * [-1, -1, 1]
    nearest = np.array([np.abs(inside - m).max(1).min() for m in middles[::20]])
    assert nearest.max() < 1e-3
    twice = arrows(glyph_data(snapshot, Appearance(glyph_count=400, glyph_scale=2.0)))
    assert np.linalg.norm(twice[0] - twice[1], axis=1) == pytest.approx(2 * length, rel=1e-3)


def test_arrows_are_closed_and_face_outwards():
    data = glyph_data(leftward(), Appearance(glyph_count=50))
    points = vtk_to_numpy(data.GetPoints().GetData()).astype(float)
    triangles = vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    one = triangles[(triangles < CORNERS).all(1)]
    a, b, c = (points[one[:, k]] - points[:CORNERS].mean(0) for k in range(3))
    assert (a * np.cross(b, c)).sum() > 0
    edges = np.sort(np.concatenate([one[:, [0, 1]], one[:, [1, 2]], one[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_the_choice_is_seeded_and_no_more_than_asked():
    snapshot = simulated.steady_tube(3000)
    first, again = (glyph_data(snapshot, Appearance(glyph_count=700)) for _ in range(2))
    assert np.array_equal(vtk_to_numpy(first.GetPoints().GetData()), vtk_to_numpy(again.GetPoints().GetData()))
    assert first.GetNumberOfPoints() <= 700 * CORNERS
    many = glyph_data(leftward(count=30_000), Appearance(glyph_count=100_000))
    assert many.GetNumberOfPoints() <= GlyphSettings().most * CORNERS


def test_points_are_even_in_space_though_the_field_is_not():
    rng = np.random.default_rng(5)
    # nine tenths of the points lie in a tenth of the box
    dense, thin = rng.random((18_000, 3)) * [1, 10, 10], [1, 0, 0] + rng.random((2_000, 3)) * [9, 10, 10]
    points = np.concatenate([dense, thin])
    chosen = points[even_subset(points, 400, 16, 0)]
    assert len(np.unique(chosen, axis=0)) == len(chosen) <= 400
    assert (chosen[:, 0] < 1).mean() < 0.3


def test_a_subset_of_few_points_is_all_of_them():
    points = np.random.default_rng(0).random((7, 3))
    assert sorted(even_subset(points, 100, 16, 0)) == list(range(7))
    assert list(even_subset(np.zeros((1, 3)), 5, 16, 0)) == [0]


def test_phases_share_the_points_and_have_their_own_velocities():
    snapshot = simulated.pulsatile_bifurcation(phases=4, triangles=2000, lines=4)
    middles = []
    for phase in range(4):
        tip, tail, velocity, _ = arrows(glyph_data(snapshot, Appearance(glyph_count=200), phase))
        middles.append({tuple(np.round(m, 2)) for m in 0.5 * (tip + tail)})
        assert len(velocity)
    assert len(middles[0] & middles[2]) > 0.8 * min(len(middles[0]), len(middles[2]))


def test_no_field_no_arrows(scene):
    case = Case.create(scene, "case")
    geometry = dataclasses.replace(simulated.steady_tube(1500), field=None, streamlines=None)
    show(case, geometry, Appearance(glyphs=True))
    assert case.get(Role.GLYPHS) is None
    assert glyph_data(geometry, Appearance()).GetNumberOfPoints() == 0


def test_still_blood_has_no_arrows():
    assert glyph_data(leftward(speed=0.0), Appearance(glyph_count=100)).GetNumberOfPoints() == 0


def test_arrows_that_are_switched_off_are_hidden_and_not_made_again(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(1500)
    show(case, snapshot, Appearance(glyphs=True))
    node = case.get(Role.GLYPHS)
    mesh = node.GetPolyData()
    show(case, snapshot, Appearance(glyphs=False))
    assert not node.GetDisplayNode().GetVisibility()
    show(case, snapshot, Appearance(glyphs=True))
    assert node.GetDisplayNode().GetVisibility()
    assert node.GetPolyData() is mesh
    assert slicer.util.getNodesByClass("vtkMRMLModelNode", scene).count(node) == 1

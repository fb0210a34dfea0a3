"""The wall as a model: in RAS, in the units shown, and its arrays alone changed where the shape is the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import Snapshot, Stage
from VesselFlowGSScene.appearance import Appearance, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.lumen import lumen_data
from VesselFlowGSScene.near_wall import wall_normals
from VesselFlowGSScene.show import show


def array(data, name):
    return vtk_to_numpy(data.GetPointData().GetArray(name))


def scaled(snapshot: Snapshot, factor: float) -> Snapshot:
    """The same vessel with all of its wall's and field's values times a factor."""
    parts = {
        name: dataclasses.replace(
            getattr(snapshot, name),
            arrays={key: factor * np.asarray(values) for key, values in getattr(snapshot, name).arrays.items()},
        )
        for name in ("surface", "field")
    }
    return dataclasses.replace(snapshot, **parts)


def test_points_are_ras_and_values_are_in_the_units_of_their_names():
    snapshot = simulated.steady_tube(2000)
    data = lumen_data(snapshot)
    lps = np.asarray(snapshot.surface.points)
    assert vtk_to_numpy(data.GetPoints().GetData()) == pytest.approx(lps * [-1, -1, 1], abs=1e-4)
    assert array(data, "Pressure_mmHg") == pytest.approx(snapshot.surface.arrays["pressure"] / 133.322, rel=1e-5)
    assert array(data, "WSS_Pa") == pytest.approx(snapshot.surface.arrays["wss"], rel=1e-5)
    assert array(data, "Confidence") == pytest.approx(snapshot.surface.arrays["confidence"], rel=1e-5)
    assert data.GetNumberOfPolys() == len(snapshot.surface.triangles)


def test_speed_on_the_wall_is_that_of_the_blood_half_a_radius_below():
    snapshot = simulated.steady_tube(8000)
    speed = array(lumen_data(snapshot), "Speed_m_s")
    mean = 2.0 / (np.pi * 1.6**2)
    assert np.median(speed) == pytest.approx(2 * mean * (1 - 0.25), rel=0.1)
    assert speed.std() < 0.15 * speed.mean()


def test_normals_point_out_of_the_vessel():
    snapshot = simulated.steady_tube(2000)
    surface = snapshot.surface
    axis = simulated.AXIS
    off = surface.points - simulated.START
    outwards = off - (off @ axis)[:, None] * axis
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    normals = wall_normals(surface)
    inner = (off @ axis > 1) & (off @ axis < 31)
    assert (normals[inner] * outwards[inner]).sum(1).min() > 0.98
    shown = vtk_to_numpy(lumen_data(snapshot).GetPointData().GetNormals())
    assert shown == pytest.approx(normals * [-1, -1, 1], abs=1e-6)


def test_an_update_of_the_same_shape_changes_the_arrays_alone(scene):
    snapshot = simulated.stenosed_tube(triangles=2000)
    case = Case.create(scene, "case")
    show(case, snapshot, Appearance())
    node = case.get(Role.LUMEN)
    before = node.GetPolyData()
    show(case, scaled(snapshot, 1.5), Appearance())
    after = node.GetPolyData()
    assert after.GetPoints() is before.GetPoints()
    assert after.GetPolys() is before.GetPolys()
    assert after.GetPointData().GetNormals() is before.GetPointData().GetNormals()
    assert array(after, "Pressure_mmHg") == pytest.approx(
        1.5 * np.asarray(snapshot.surface.arrays["pressure"]) / 133.322, rel=1e-4
    )


def test_an_item_of_a_sequence_that_is_shown_without_a_copy_keeps_its_values(scene):
    snapshot = simulated.stenosed_tube(triangles=2000)
    case = Case.create(scene, "case")
    show(case, snapshot, Appearance())
    item = slicer.vtkMRMLModelNode()
    item.SetAndObserveMesh(lumen_data(snapshot))
    kept = array(item.GetPolyData(), "Pressure_mmHg").copy()
    # as a sequence browser does that saves no changes
    case.get(Role.LUMEN).CopyContent(item, False)
    show(case, scaled(snapshot, 1.5), Appearance())
    assert np.array_equal(array(item.GetPolyData(), "Pressure_mmHg"), kept)
    assert array(case.get(Role.LUMEN).GetPolyData(), "Pressure_mmHg") == pytest.approx(1.5 * kept, rel=1e-4)


def test_another_shape_with_as_many_points_is_drawn_anew(scene):
    case = Case.create(scene, "case")
    narrow = simulated.steady_tube(2000)
    show(case, narrow, Appearance())
    moved = dataclasses.replace(
        narrow, surface=dataclasses.replace(narrow.surface, points=narrow.surface.points + 5.0), shape="moved"
    )
    show(case, moved, Appearance())
    shown = vtk_to_numpy(case.get(Role.LUMEN).GetPolyData().GetPoints().GetData())
    assert shown == pytest.approx(moved.surface.points * [-1, -1, 1], abs=1e-4)


def test_without_a_name_of_its_shape_a_snapshot_is_still_told_from_another(scene):
    case = Case.create(scene, "case")
    first = dataclasses.replace(simulated.steady_tube(2000), shape="")
    show(case, first, Appearance())
    moved = dataclasses.replace(first, surface=dataclasses.replace(first.surface, points=first.surface.points + 5.0))
    show(case, moved, Appearance())
    shown = vtk_to_numpy(case.get(Role.LUMEN).GetPolyData().GetPoints().GetData())
    assert shown == pytest.approx(moved.surface.points * [-1, -1, 1], abs=1e-4)


def test_a_phase_shows_its_own_values(scene):
    snapshot = simulated.pulsatile_bifurcation(phases=4, triangles=2000)
    case = Case.create(scene, "case")
    for phase in (None, 2, 0):
        show(case, snapshot, Appearance(), phase)
        wanted = (snapshot.surface.arrays if phase is None else snapshot.phases[phase].surface)["pressure"]
        shown = array(case.get(Role.LUMEN).GetPolyData(), "Pressure_mmHg")
        assert shown == pytest.approx(np.asarray(wanted) / 133.322, rel=1e-4, abs=1e-6)


def test_the_geometry_alone_is_shown_plain(scene):
    whole = simulated.steady_tube(2000)
    bare = dataclasses.replace(whole.surface, arrays={"confidence": whole.surface.arrays["confidence"]})
    geometry = Snapshot(Stage.GEOMETRY, 0.1, "geometry", surface=bare, centreline=whole.centreline, shape="x")
    case = Case.create(scene, "case")
    show(case, geometry, Appearance(quantity=Quantity.PRESSURE))
    display = case.get(Role.LUMEN).GetDisplayNode()
    assert not display.GetScalarVisibility()
    assert display.GetVisibility()
    show(case, geometry, Appearance(quantity=Quantity.CONFIDENCE))
    assert display.GetScalarVisibility()
    assert display.GetActiveScalarName() == "Confidence"


def test_arrays_that_a_later_snapshot_lacks_do_not_stay(scene):
    whole = simulated.steady_tube(2000)
    case = Case.create(scene, "case")
    show(case, whole, Appearance())
    without = {name: values for name, values in whole.surface.arrays.items() if name != "wss"}
    show(case, dataclasses.replace(whole, surface=dataclasses.replace(whole.surface, arrays=without)), Appearance())
    assert not case.get(Role.LUMEN).GetPolyData().GetPointData().HasArray("WSS_Pa")


def test_nothing_of_the_snapshot_is_changed_or_shared(scene):
    snapshot = simulated.stenosed_tube(triangles=2000)
    before = {name: np.array(values) for name, values in snapshot.surface.arrays.items()}
    points = np.array(snapshot.surface.points)
    case = Case.create(scene, "case")
    show(case, snapshot, Appearance(quantity=Quantity.SPEED))
    data = case.get(Role.LUMEN).GetPolyData()
    for k in range(data.GetPointData().GetNumberOfArrays()):
        vtk_to_numpy(data.GetPointData().GetArray(k))[...] = -7
    vtk_to_numpy(data.GetPoints().GetData())[...] = -7
    vtk_to_numpy(data.GetPolys().GetConnectivityArray())[...] = 0
    assert np.array_equal(points, snapshot.surface.points)
    assert snapshot.surface.triangles.max() > 0
    for name, values in before.items():
        assert np.array_equal(values, snapshot.surface.arrays[name])

"""One call brings a snapshot into the scene: idempotent, folder by folder, cheap where only the appearance changes."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
import slicer
import vtk

from VesselFlowGSLib.results.snapshot import FindingKind, Snapshot, Stage
from VesselFlowGSScene.appearance import Appearance, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.show import show

EVERYTHING = Appearance(
    glyphs=True,
    glyph_count=300,
    gaussians=True,
    centreline=True,
    findings=frozenset(FindingKind),
    quantity=Quantity.WSS,
)


def told(nodes):
    """How often each of the nodes says that it, or its mesh, was modified."""
    counts = {node.GetID(): 0 for node in nodes}

    def count(caller, _event):
        counts[caller.GetID()] += 1

    for node in nodes:
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, count)
        if node.IsA("vtkMRMLModelNode"):
            node.AddObserver(slicer.vtkMRMLModelNode.MeshModifiedEvent, count)
    return counts


def times_of(mesh):
    """When points, cells and arrays were last changed; which array is active is a matter of the display."""
    held = mesh.GetPointData()
    arrays = [held.GetArray(k).GetMTime() for k in range(held.GetNumberOfArrays())]
    return [mesh.GetPoints().GetMTime(), mesh.GetPolys().GetMTime(), *arrays]


def shown_nodes(case):
    roles = (Role.LUMEN, Role.STREAMLINES, Role.GLYPHS, Role.GAUSSIANS, Role.CENTRELINE, Role.FINDINGS)
    models = [case.get(role) for role in roles]
    return models, [model.GetDisplayNode() for model in models]


def test_showing_again_changes_nothing_and_makes_no_nodes(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.stenosed_tube(triangles=2000)
    show(case, snapshot, EVERYTHING)
    models, displays = shown_nodes(case)
    count, counts = scene.GetNumberOfNodes(), told([*models, *displays])
    show(case, snapshot, EVERYTHING)
    assert scene.GetNumberOfNodes() == count
    assert sum(counts.values()) == 0


def test_a_change_of_the_appearance_leaves_the_meshes_alone(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.stenosed_tube(triangles=2000)
    show(case, snapshot, EVERYTHING)
    models, _ = shown_nodes(case)
    meshes = [m.GetPolyData() for m in models]
    times = [times_of(mesh) for mesh in meshes]
    other = dataclasses.replace(EVERYTHING, opacity=0.2, quantity=Quantity.PRESSURE, automatic=False, low=0, high=5)
    show(case, snapshot, other)
    show(case, snapshot, EVERYTHING)
    assert [m.GetPolyData() for m in models] == meshes
    assert [times_of(mesh) for mesh in meshes] == times


def test_the_nodes_lie_in_the_folder_of_their_case(scene):
    case = Case.create(scene, "case")
    show(case, simulated.stenosed_tube(triangles=1500), EVERYTHING)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    models, _ = shown_nodes(case)
    for model in models:
        assert tree.GetItemParent(tree.GetItemByDataNode(model)) == case.folder


def test_two_cases_show_their_own(scene):
    first, second = Case.create(scene, "one"), Case.create(scene, "two")
    show(first, simulated.steady_tube(1500), Appearance(opacity=0.3))
    show(second, simulated.stenosed_tube(triangles=3000), Appearance(opacity=0.9))
    assert first.get(Role.LUMEN) is not second.get(Role.LUMEN)
    assert first.get(Role.LUMEN).GetDisplayNode().GetOpacity() == pytest.approx(0.3)
    assert (
        second.get(Role.LUMEN).GetPolyData().GetNumberOfPolys() > first.get(Role.LUMEN).GetPolyData().GetNumberOfPolys()
    )


def test_a_snapshot_without_anything_makes_nothing(scene):
    case = Case.create(scene, "case")
    count = scene.GetNumberOfNodes()
    show(case, Snapshot(Stage.GEOMETRY, 0.0, "begins"), EVERYTHING)
    assert scene.GetNumberOfNodes() == count


def test_parts_that_come_later_are_shown_when_they_come(scene):
    case = Case.create(scene, "case")
    whole = simulated.stenosed_tube(triangles=2000)
    bare = dataclasses.replace(whole.surface, arrays={})
    geometry = Snapshot(Stage.GEOMETRY, 0.2, "", surface=bare, centreline=whole.centreline, shape=whole.shape)
    show(case, geometry, EVERYTHING)
    assert not case.get(Role.LUMEN).GetDisplayNode().GetScalarVisibility()
    show(case, whole, EVERYTHING)
    assert case.get(Role.LUMEN).GetDisplayNode().GetScalarVisibility()
    assert all(display.GetVisibility() for display in shown_nodes(case)[1])


def test_colours_do_not_jump_while_the_solution_sharpens(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(1500)
    show(case, snapshot, Appearance(quantity=Quantity.WSS))
    display = case.get(Role.LUMEN).GetDisplayNode()
    first = display.GetScalarRange()

    def times(factor):
        arrays = {name: factor * values for name, values in snapshot.surface.arrays.items()}
        return dataclasses.replace(snapshot, surface=dataclasses.replace(snapshot.surface, arrays=arrays))

    for factor in (1.05, 0.9, 1.1):
        show(case, times(factor), Appearance(quantity=Quantity.WSS))
        assert display.GetScalarRange() == first
    show(case, times(3.0), Appearance(quantity=Quantity.WSS))
    assert display.GetScalarRange()[1] > 2 * first[1]


def test_a_phase_outside_the_period_is_the_snapshot_itself(scene):
    case = Case.create(scene, "case")
    show(case, simulated.steady_tube(1500), Appearance(), phase=7)
    assert case.get(Role.LUMEN).GetDisplayNode().GetScalarVisibility()

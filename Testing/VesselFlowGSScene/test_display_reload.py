"""Nodes, colours and legends of a case after its scene is saved and read again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import mrml_scene
import simulated_snapshots as simulated
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import FindingKind
from VesselFlowGSScene.appearance import Appearance, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.show import show

SHOWN = Appearance(
    quantity=Quantity.WSS,
    opacity=0.4,
    glyphs=True,
    glyph_count=200,
    gaussians=True,
    centreline=True,
    findings=frozenset(FindingKind),
)
ROLES = (Role.LUMEN, Role.STREAMLINES, Role.GLYPHS, Role.GAUSSIANS, Role.CENTRELINE, Role.FINDINGS)


def first_colours(display):
    held = [0.0] * 4
    display.GetColorNode().GetColor(0, held)
    return held


def told(case):
    """What a person sees of each node, in plain values."""
    found = {}
    for role in ROLES:
        node = case.get(role)
        display = node.GetDisplayNode()
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(display)
        found[role] = {
            "points": node.GetPolyData().GetNumberOfPoints(),
            "array": display.GetActiveScalarName(),
            "range": tuple(round(end, 6) for end in display.GetScalarRange()),
            "scalars": display.GetScalarVisibility(),
            "opacity": round(display.GetOpacity(), 6),
            "representation": display.GetRepresentation(),
            "point size": display.GetPointSize(),
            "colour": [round(c, 3) for c in first_colours(display)],
            "legend": (legend.GetTitleText(), legend.GetPosition()) if legend and legend.GetVisibility() else None,
        }
    return found


@pytest.fixture
def reopened(tmp_path):
    """A case that was shown, saved as a bundle and read into another scene: what was told before, the case after."""
    snapshot = simulated.stenosed_tube(triangles=2000)
    opened = mrml_scene.open_scene()
    case = Case.create(opened.scene, "case")
    show(case, snapshot, SHOWN)
    before = told(case)
    vectors = {role: velocity(case.get(role)) for role in (Role.GLYPHS, Role.STREAMLINES, Role.GAUSSIANS)}
    path = str(tmp_path / "case.mrb")
    assert opened.scene.WriteToMRB(path)
    opened.close()
    again = mrml_scene.open_scene()
    assert again.scene.ReadFromMRB(path)
    yield snapshot, before, vectors, Case.all_in(again.scene)[0]
    again.close()


def velocity(node):
    return vtk_to_numpy(node.GetPolyData().GetPointData().GetArray("Velocity_m_s")).copy()


def test_everything_looks_as_it_did(reopened):
    _, before, vectors, case = reopened
    assert told(case) == before
    for role, values in vectors.items():
        assert velocity(case.get(role)) == pytest.approx(values, abs=1e-6)
    labels = case.get(Role.FINDING_LABELS)
    assert labels.GetNthControlPointDescription(0)


def test_showing_the_snapshot_again_takes_the_nodes_that_are_there(reopened):
    snapshot, before, _, case = reopened
    nodes = {role: case.get(role) for role in ROLES}
    meshes = {role: node.GetPolyData() for role, node in nodes.items()}
    tables = case.scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")
    show(case, snapshot, SHOWN)
    assert {role: case.get(role) for role in ROLES} == nodes
    assert told(case) == before
    assert case.scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") == tables
    # what a file says of its origin is believed: nothing is drawn anew
    assert [role for role, node in nodes.items() if node.GetPolyData() is not meshes[role]] == []


def test_held_ranges_come_back(reopened):
    snapshot, before, _, case = reopened
    arrays = {name: 1.1 * np.asarray(values) for name, values in snapshot.surface.arrays.items()}
    show(case, dataclasses.replace(snapshot, surface=dataclasses.replace(snapshot.surface, arrays=arrays)), SHOWN)
    found = case.get(Role.LUMEN).GetDisplayNode().GetScalarRange()
    assert found == pytest.approx(before[Role.LUMEN]["range"], abs=1e-5)

"""Findings in the view: regions and labelled points, each kind a toggle."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import Finding, FindingKind
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import FINDING_COLOURS
from VesselFlowGSScene.finding_marks import KINDS, finding_data, label_of
from VesselFlowGSScene.show import show

STENOSIS = Appearance(findings=frozenset({FindingKind.STENOSIS}))
BOTH = Appearance(findings=frozenset({FindingKind.STENOSIS, FindingKind.JET}))


def labels(case):
    node = case.get(Role.FINDING_LABELS)
    return [node.GetNthControlPointLabel(k) for k in range(node.GetNumberOfControlPoints())]


def test_every_kind_has_its_own_colour():
    assert set(FINDING_COLOURS) == set(FindingKind)
    assert len(set(FINDING_COLOURS.values())) == len(FindingKind)


def test_a_chosen_kind_is_marked_where_it_is_with_its_sentence(scene):
    snapshot = simulated.stenosed_tube(part=0.5, triangles=3000)
    stenosis = next(f for f in snapshot.findings if f.kind is FindingKind.STENOSIS)
    case = Case.create(scene, "case")
    show(case, snapshot, STENOSIS)
    node = case.get(Role.FINDING_LABELS)
    assert labels(case) == ["stenosis 50 %"]
    assert node.GetNthControlPointDescription(0) == stenosis.text
    assert np.array(node.GetNthControlPointPosition(0)) == pytest.approx(stenosis.centre * [-1, -1, 1], abs=1e-4)
    assert node.GetLocked()
    data = case.get(Role.FINDINGS).GetPolyData()
    shown = vtk_to_numpy(data.GetPoints().GetData())
    assert shown == pytest.approx(stenosis.region.points * [-1, -1, 1], abs=1e-4)
    assert case.get(Role.FINDINGS).GetDisplayNode().GetVisibility()


def test_kinds_come_and_go_by_their_toggles(scene):
    snapshot = simulated.stenosed_tube(part=0.5, triangles=3000)
    case = Case.create(scene, "case")
    show(case, snapshot, BOTH)
    assert len(labels(case)) == 2
    kinds = set(vtk_to_numpy(case.get(Role.FINDINGS).GetPolyData().GetPointData().GetArray("Finding_kind")))
    assert kinds == {KINDS.index(FindingKind.STENOSIS), KINDS.index(FindingKind.JET)}
    show(case, snapshot, STENOSIS)
    assert len(labels(case)) == 1
    show(case, snapshot, Appearance())
    assert not case.get(Role.FINDINGS).GetDisplayNode().GetVisibility()
    assert not case.get(Role.FINDING_LABELS).GetDisplayNode().GetVisibility()
    show(case, snapshot, BOTH)
    assert case.get(Role.FINDING_LABELS).GetDisplayNode().GetVisibility()
    assert len(labels(case)) == 2


def test_a_later_snapshot_moves_the_marks(scene):
    snapshot = simulated.stenosed_tube(part=0.5, triangles=3000)
    case = Case.create(scene, "case")
    show(case, snapshot, STENOSIS)
    milder = tuple(dataclasses.replace(f, value=38.0, centre=f.centre + 1.0) for f in snapshot.findings)
    show(case, dataclasses.replace(snapshot, findings=milder), STENOSIS)
    assert labels(case) == ["stenosis 38 %"]
    place = np.array(case.get(Role.FINDING_LABELS).GetNthControlPointPosition(0))
    stenosis = next(f for f in milder if f.kind is FindingKind.STENOSIS)
    assert place == pytest.approx(stenosis.centre * [-1, -1, 1], abs=1e-4)


def test_a_finding_without_a_region_is_a_ball_around_its_place():
    vortex = Finding(FindingKind.VORTEX, "Blood turns here.", np.array([3.0, -2.0, 7.0]), 1.5, 120.0, "1/s")
    data = finding_data((vortex,))
    points = vtk_to_numpy(data.GetPoints().GetData()).astype(float)
    centre = np.array([-3.0, 2.0, 7.0])
    assert np.linalg.norm(points - centre, axis=1) == pytest.approx(1.5, rel=1e-4)
    triangles = vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    a, b, c = (points[triangles[:, k]] - centre for k in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    assert 0.85 * 4 / 3 * np.pi * 1.5**3 < volume < 4 / 3 * np.pi * 1.5**3


def test_nothing_found_makes_no_nodes(scene):
    case = Case.create(scene, "case")
    show(case, simulated.steady_tube(1500), BOTH)
    assert case.get(Role.FINDINGS) is None
    assert case.get(Role.FINDING_LABELS) is None


def test_labels_name_the_kind_and_the_value():
    jet = Finding(FindingKind.JET, "", np.zeros(3), 1.0, 0.8461, "m/s")
    assert label_of(jet) == "jet 0.85 m/s"

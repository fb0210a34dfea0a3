"""A whole case saved as .mrb and read again; the scene closed; two cases in one scene; a case removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated_snapshots

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
import mrml_scene
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import FindingKind, Snapshot
from VesselFlowGSLib.worker.messages import Progress
from VesselFlowGSScene import cutplane, plots, probe, timebase
from VesselFlowGSScene.appearance import Appearance, CloudQuantity, Quantity
from VesselFlowGSScene.case import MARK, Case, Role
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.glyphs import glyph_data
from VesselFlowGSScene.kept import keep, kept_snapshot
from VesselFlowGSScene.particles import Particles
from VesselFlowGSScene.poly_data import VELOCITY
from VesselFlowGSScene.show import show
from VesselFlowGSScene.streamlines import streamline_data
from VesselFlowGSScene.timebase import Filmed

LOOKS = Appearance(
    quantity=Quantity.WSS,
    opacity=0.4,
    automatic=False,
    low=0.5,
    high=2.5,
    glyphs=True,
    glyph_count=80,
    particles=True,
    particle_count=100,
    gaussians=True,
    gaussian_quantity=CloudQuantity.PRESSURE,
    centreline=True,
    findings=frozenset(FindingKind),
)
MODELS = {Role.GLYPHS: glyph_data, Role.STREAMLINES: streamline_data}
SHOWN = 3
TIMES = (0.0, 0.25, 1.1)


@pytest.fixture(scope="module")
def beating() -> Snapshot:
    result = simulated_snapshots.pulsatile_bifurcation(phases=4, triangles=1500, lines=6)
    return dataclasses.replace(result, findings=simulated_snapshots.stenosed_tube(triangles=800).findings)


def whole_case(scene: Any, snapshot: Snapshot, name: str = "Gefäß A") -> Case:
    """A case with everything that a person can make of it."""
    case = Case.create(scene, name)
    case.set(Role.VOLUME, scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CTA"))
    Particles(case, snapshot, LOOKS)
    show(case, snapshot, LOOKS)
    keep(case, snapshot)
    sampler = cutplane.sampler_of(snapshot)
    cutplane.place_plane(case, snapshot, 5.0)
    cutplane.measure(case, snapshot, sampler)
    probe.place_probe(case, snapshot)
    probe.read_probe(case, snapshot, sampler)
    plots.course_charts(case, snapshot)
    plots.flow_chart(case, snapshot)
    plots.figures_table(case, snapshot)
    plots.convergence_chart(case, [Progress("flow", 0.1 * k, "", 2.0 * k, None, k, 10.0**-k) for k in range(4)])
    timebase.put_on_time_base(case, snapshot, LOOKS, [Filmed(film(scene), TIMES)])
    timebase.select_time(case, snapshot.phases[SHOWN].time_s)
    return case


def film(scene: Any) -> Any:
    series = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "DSA")
    for number in range(len(TIMES)):
        image = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(image, np.full((1, 4, 5), number, np.int16))
        series.SetDataNodeAtValue(image, str(number))
    return series


def nodes_by_role(case: Case) -> dict[Role, list[str]]:
    return {role: [node.GetClassName() for node in case.all(role)] for role in Role if case.all(role)}


@pytest.fixture(scope="module")
def saved(beating: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Case]]:
    """A file, and the case that it was written of, in a scene that stays open and is only looked at."""
    opened = mrml_scene.open_scene()
    case = whole_case(opened.scene, beating)
    path = tmp_path_factory.mktemp("Fälle und mehr") / "scene of ours.mrb"
    assert opened.scene.WriteToMRB(str(path))
    yield path, case
    opened.close()


@pytest.fixture
def reopened(saved: tuple[Path, Case]) -> Iterator[Any]:
    opened = mrml_scene.open_scene()
    assert opened.scene.ReadFromMRB(str(saved[0]), True)
    yield opened
    opened.close()


def test_all_roles_come_back(saved: tuple[Path, Case], reopened: Any) -> None:
    (case,) = Case.all_in(reopened.scene)
    assert case.name == saved[1].name
    before = nodes_by_role(saved[1])
    assert nodes_by_role(case) == before
    made_elsewhere = {Role.FILMED, Role.OVERLAY}
    assert set(Role) - set(before) == made_elsewhere, "this test makes every node that a case can have"
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(reopened.scene)
    assert tree.GetItemName(case.folder) == case.name
    for role in (Role.LUMEN, Role.STREAMLINES, Role.CUT_PLANE, Role.PRESSURE_CHART, Role.COURSE_TABLE, Role.BROWSER):
        assert tree.GetItemParent(tree.GetItemByDataNode(case.get(role))) == case.folder


def test_the_look_comes_back(saved: tuple[Path, Case], reopened: Any) -> None:
    (case,) = Case.all_in(reopened.scene)
    for role in (Role.LUMEN, Role.GLYPHS, Role.STREAMLINES, Role.PARTICLES, Role.GAUSSIANS, Role.CENTRELINE):
        then, now = saved[1].get(role).GetDisplayNode(), case.get(role).GetDisplayNode()
        assert now.GetVisibility() == then.GetVisibility() == 1
        assert now.GetOpacity() == then.GetOpacity()
        assert now.GetActiveScalarName() == then.GetActiveScalarName()
        assert now.GetScalarRange() == pytest.approx(then.GetScalarRange(), rel=1e-5)
        assert now.GetScalarVisibility() == then.GetScalarVisibility()
        if then.GetColorNode() is not None:
            assert now.GetColorNode().GetName() == then.GetColorNode().GetName()
            assert colours_of(now) == pytest.approx(colours_of(then), abs=1e-3)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode
    before, after = (legend(c.get(Role.LUMEN).GetDisplayNode()) for c in (saved[1], case))
    assert after.GetVisibility() and after.GetTitleText() == before.GetTitleText()


def colours_of(display: Any) -> list[float]:
    colour = np.zeros(4)
    found: list[float] = []
    for number in (0, 100, 255):
        display.GetColorNode().GetColor(number, colour)
        found += colour.tolist()
    return found


def test_the_clock_comes_back_and_runs(saved: tuple[Path, Case], reopened: Any, beating: Snapshot) -> None:
    (case,) = Case.all_in(reopened.scene)
    assert timebase.times(case) == timebase.times(saved[1])
    assert timebase.phase_at(case) == SHOWN
    lumen = case.get(Role.LUMEN)
    for number in (1, 2):
        timebase.select_time(case, beating.phases[number].time_s)
        reopened.logics["Sequences"].UpdateProxyNodesFromSequences(case.get(Role.BROWSER))
        wall = slicer.util.arrayFromModelPointData(lumen, "WSS_Pa")
        assert np.allclose(wall, beating.phases[number].surface["wss"], rtol=1e-5)
        assert beating.surface is not None
        assert np.allclose(slicer.util.arrayFromModelPoints(lumen), ras_of(beating.surface.points), atol=1e-4)
        for role, build in MODELS.items():
            held = slicer.util.arrayFromModelPointData(case.get(role), VELOCITY)
            made = vtk_to_numpy(build(beating, LOOKS, number).GetPointData().GetArray(VELOCITY))
            assert np.allclose(held, made, atol=1e-6), f"the velocities of {role.value} keep their signs"
    timebase.select_time(case, TIMES[-1])
    reopened.logics["Sequences"].UpdateProxyNodesFromSequences(case.get(Role.BROWSER))
    assert np.all(slicer.util.arrayFromVolume(case.get(Role.FILM_VOLUMES)) == len(TIMES) - 1)
    assert lumen.GetDisplayNode().GetOpacity() == LOOKS.opacity


def test_charts_and_tables_come_back(saved: tuple[Path, Case], reopened: Any) -> None:
    (case,) = Case.all_in(reopened.scene)
    for role in (Role.PRESSURE_CHART, Role.AREA_CHART, Role.FLOW_CHART, Role.CONVERGENCE_CHART):
        then, now = saved[1].get(role), case.get(role)
        assert (now.GetTitle(), now.GetXAxisTitle(), now.GetYAxisTitle()) == (
            then.GetTitle(),
            then.GetXAxisTitle(),
            then.GetYAxisTitle(),
        )
        assert now.GetNumberOfPlotSeriesNodes() == then.GetNumberOfPlotSeriesNodes() > 0
        for k in range(now.GetNumberOfPlotSeriesNodes()):
            one, other = then.GetNthPlotSeriesNode(k), now.GetNthPlotSeriesNode(k)
            assert (one.GetName(), one.GetColor()) == (other.GetName(), other.GetColor())
            for column in (one.GetXColumnName(), one.GetYColumnName()):
                kept, read = (slicer.util.arrayFromTableColumn(s.GetTableNode(), column) for s in (one, other))
                assert np.allclose(read, kept, rtol=1e-4, atol=1e-6, equal_nan=True)
    assert case.get(Role.CONVERGENCE_CHART).GetYAxisLogScale()
    figures = case.get(Role.FIGURES_TABLE).GetTable()
    names = [figures.GetValue(row, 0).ToString() for row in range(figures.GetNumberOfRows())]
    assert "mean inflow" in names


def test_plane_and_probe_come_back_with_what_they_say(saved: tuple[Path, Case], reopened: Any) -> None:
    (case,) = Case.all_in(reopened.scene)
    for role in (Role.CUT_PLANE, Role.PROBE):
        then, now = saved[1].get(role), case.get(role)
        assert now.GetNthControlPointLabel(0) == then.GetNthControlPointLabel(0) != ""
        assert now.GetNthControlPointPosition(0) == pytest.approx(then.GetNthControlPointPosition(0), abs=1e-3)
        assert now.GetDisplayNode().GetSelectedColor() == pytest.approx(then.GetDisplayNode().GetSelectedColor())
    section = slicer.util.arrayFromModelPointData(case.get(Role.CUT_SECTION), VELOCITY)
    assert np.allclose(section, slicer.util.arrayFromModelPointData(saved[1].get(Role.CUT_SECTION), VELOCITY))


def test_the_case_goes_on_after_a_reload(saved: tuple[Path, Case], reopened: Any, beating: Snapshot) -> None:
    """Measured, drawn and scrubbed from what the scene keeps, into the same nodes."""
    (case,) = Case.all_in(reopened.scene)
    snapshot = kept_snapshot(case)
    assert snapshot is not None
    count = reopened.scene.GetNumberOfNodes()
    show(case, snapshot, LOOKS, timebase.phase_at(case))
    cut = cutplane.measure(case, snapshot, cutplane.sampler_of(snapshot))
    assert cut is not None and cut.flow_ml_s == pytest.approx(3.0, rel=0.03)
    plots.course_charts(case, snapshot)
    plots.flow_chart(case, snapshot)
    films = reopened.scene.GetFirstNodeByName("DSA")
    timebase.put_on_time_base(case, snapshot, LOOKS, [Filmed(films, TIMES)])
    assert nodes_by_role(case) == nodes_by_role(saved[1])
    assert reopened.scene.GetNumberOfNodes() == count, "nothing is made twice"
    for number in range(len(beating.phases)):
        timebase.select_time(case, beating.phases[number].time_s)
        reopened.logics["Sequences"].UpdateProxyNodesFromSequences(case.get(Role.BROWSER))
        for role, build in MODELS.items():
            held = slicer.util.arrayFromModelPointData(case.get(role), VELOCITY)
            made = vtk_to_numpy(build(beating, LOOKS, number).GetPointData().GetArray(VELOCITY))
            assert np.allclose(held, made, atol=1e-6)


def test_a_scene_read_into_another_one_brings_its_case_along(
    saved: tuple[Path, Case], reopened: Any, beating: Snapshot
) -> None:
    scene = reopened.scene
    assert scene.ReadFromMRB(str(saved[0]), False)
    first, second = Case.all_in(scene)
    assert nodes_by_role(first) == nodes_by_role(second)
    assert first.folder != second.folder
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for case in (first, second):
        assert tree.GetItemParent(tree.GetItemByDataNode(case.get(Role.LUMEN))) == case.folder
    mine = {node.GetID() for role in Role if role is not Role.VOLUME for node in first.all(role)}
    theirs = {node.GetID() for role in Role for node in second.all(role)}
    assert not mine & theirs
    timebase.select_time(second, beating.phases[1].time_s)
    reopened.logics["Sequences"].UpdateProxyNodesFromSequences(second.get(Role.BROWSER))
    assert (timebase.phase_at(first), timebase.phase_at(second)) == (SHOWN, 1)
    second.remove()
    assert nodes_by_role(first) == nodes_by_role(saved[1])


def test_a_closed_scene_forgets_its_cases_and_takes_new_ones(scene: Any, beating: Snapshot) -> None:
    whole_case(scene, beating)
    scene.Clear(0)
    assert Case.all_in(scene) == []
    case = whole_case(scene, beating)
    assert [held.node for held in Case.all_in(scene)] == [case.node]
    assert timebase.phase_at(case) == SHOWN


def test_a_removed_case_leaves_what_the_person_loaded_and_nothing_else(scene: Any, beating: Snapshot) -> None:
    Case.create(scene, "first").remove()
    before = plain_nodes(scene)
    whole_case(scene, beating).remove()
    after = plain_nodes(scene)
    added = sorted(after[node] for node in set(after) - set(before))
    assert [name for name in added if not name.startswith("VesselFlowGS ")] == ["CTA", "DSA"]
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = vtk.vtkIdList()
    tree.GetItemChildren(tree.GetSceneItemID(), items, True)
    assert not any(tree.GetItemAttribute(items.GetId(k), MARK) for k in range(items.GetNumberOfIds()))
    assert scene.GetFirstNodeByName("CTA") is not None
    assert scene.GetFirstNodeByName("DSA").GetNumberOfDataNodes() == len(TIMES)


def plain_nodes(scene: Any) -> dict[str, str]:
    """Names by id, without the scene's own and without those that only store."""
    nodes = (scene.GetNthNode(k) for k in range(scene.GetNumberOfNodes()))
    return {n.GetID(): n.GetName() for n in nodes if not n.GetSingletonTag() and not n.IsA("vtkMRMLStorageNode")}

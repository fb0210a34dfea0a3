"""Display, by its widgets, on simulated snapshots in a real scene."""

from __future__ import annotations

import pytest
import simulated_snapshots as simulated
from told_job import ToldJob, logic_of

from VesselFlowGSLib.results.snapshot import FindingKind, Snapshot, Stage

SHOWN_S = 0.1


@pytest.fixture(scope="module")
def narrowed():
    return simulated.stenosed_tube(triangles=1500)


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.display_section import DisplaySection

    panel.logic = logic_of()
    panel.logic.select = lambda case: setattr(panel, "shown", case)
    return panel.add(DisplaySection)


@pytest.fixture
def shown(panel, section, scene, narrowed):
    """A case that shows a narrowed tube."""
    return put(panel, scene, narrowed)


def put(panel, scene, snapshot, name="Vessel"):
    from VesselFlowGSPanel.display import appearance_of
    from VesselFlowGSScene.case import Case
    from VesselFlowGSScene.show import show

    panel.shown, panel.newest = Case.create(scene, name), snapshot
    show(panel.shown, snapshot, appearance_of(panel.parameters))
    panel.refresh()
    return panel.shown


def visible(case, role):
    node = case.get(role)
    return node is not None and bool(node.GetDisplayNode().GetVisibility())


def test_the_appearance_is_what_the_parameters_say(panel, section):
    from VesselFlowGSPanel.display import appearance_of
    from VesselFlowGSScene.appearance import Appearance, CloudQuantity, Quantity

    assert appearance_of(panel.parameters) == Appearance(findings=frozenset({FindingKind.STENOSIS}))
    section.ui.quantity.setCurrentIndex(list(Quantity).index(Quantity.WSS))
    section.ui.gaussianQuantity.setCurrentIndex(list(CloudQuantity).index(CloudQuantity.PRESSURE))
    section.ui.opacity.value = 0.25
    section.ui.glyphCount.value = 700
    section.ui.glyphs.checked = True
    section.ui.stenosis.checked = False
    section.ui.vortex.checked = True
    section.ui.low.setValue(-2.0)
    found = appearance_of(panel.parameters)
    assert found == Appearance(
        quantity=Quantity.WSS,
        gaussian_quantity=CloudQuantity.PRESSURE,
        opacity=0.25,
        glyph_count=700,
        glyphs=True,
        low=-2.0,
        findings=frozenset({FindingKind.VORTEX}),
    )


def test_every_field_of_the_appearance_has_a_widget(section):
    """Nothing that can be shown is out of a person's reach."""
    import dataclasses

    from VesselFlowGSPanel.display import PARAMETER_OF
    from VesselFlowGSScene.appearance import Appearance

    reached = {w.property("SlicerParameterName") for w in vars(section.ui).values()}
    wanted = {f.name for f in dataclasses.fields(Appearance)} - {"findings"} | set(PARAMETER_OF.values())
    assert wanted <= reached
    assert set(PARAMETER_OF) == set(FindingKind)


def test_quantities_have_names_with_units(section):
    names = [section.ui.quantity.itemText(k) for k in range(section.ui.quantity.count)]
    assert names[0] == "Pressure (mmHg)" and "Pa" in names[1] and "m/s" in names[4]
    assert "averaged" in names[2] and "(Pa)" in names[2] and "0.5" in names[3]
    clouds = [section.ui.gaussianQuantity.itemText(k) for k in range(section.ui.gaussianQuantity.count)]
    assert clouds[2].endswith("(s)")


def can_be_chosen(box, number):
    from PySide6 import QtCore

    return bool(box.model().flags(box.model().index(number, 0)) & QtCore.Qt.ItemFlag.ItemIsEnabled)


def test_what_needs_a_period_can_be_chosen_where_there_is_one(panel, section, scene, shown):
    """Of a steady flow the entries are grey and say why; of a pulsatile one without directions OSI alone is."""
    import qt

    from VesselFlowGSScene.appearance import Quantity

    box = section.ui.quantity
    tawss, osi = list(Quantity).index(Quantity.TAWSS), list(Quantity).index(Quantity.OSI)
    assert [number for number in range(box.count) if not can_be_chosen(box, number)] == [tawss, osi]
    assert "steady" in box.itemData(tawss, int(qt.Qt.ToolTipRole)) and "steady" in box.toolTip
    put(panel, scene, simulated.pulsatile_bifurcation(phases=4, triangles=1500), "Fork")
    assert can_be_chosen(box, tawss) and not can_be_chosen(box, osi)
    assert not box.itemData(tawss, int(qt.Qt.ToolTipRole)) and "direction" in box.toolTip
    panel.shown = panel.newest = None
    panel.refresh()
    assert not can_be_chosen(box, tawss) and "no result" in box.toolTip


def test_a_chosen_quantity_that_is_not_known_is_explained(panel, section, shown):
    from VesselFlowGSScene.appearance import Quantity

    panel.parameters.quantity = Quantity.OSI
    panel.refresh()
    assert "steady" in section.ui.displayNote.text
    panel.parameters.quantity = Quantity.WSS
    panel.refresh()
    assert section.ui.displayNote.text == ""


def test_gaussians_without_arrival_are_explained(panel, section, scene, narrowed):
    import dataclasses

    import numpy as np

    from VesselFlowGSScene.appearance import CloudQuantity

    panel.parameters.gaussians, panel.parameters.gaussian_quantity = True, CloudQuantity.ARRIVAL
    put(panel, scene, narrowed)
    assert section.ui.displayNote.text == ""
    cloud = dataclasses.replace(narrowed.cloud, arrival_s=np.full(len(narrowed.cloud.mean), np.nan))
    put(panel, scene, dataclasses.replace(narrowed, cloud=cloud), "Without")
    assert "not known" in section.ui.displayNote.text


def test_switches_reach_the_scene(panel, section, shown, slicer_host):
    from VesselFlowGSScene.case import Role

    assert visible(shown, Role.LUMEN) and not visible(shown, Role.GLYPHS)
    section.ui.glyphs.checked = True
    section.ui.gaussians.checked = True
    section.ui.streamlines.checked = False
    slicer_host.process_events(SHOWN_S)
    assert visible(shown, Role.GLYPHS) and visible(shown, Role.GAUSSIANS)
    assert not visible(shown, Role.STREAMLINES)
    section.ui.lumen.checked = False
    slicer_host.process_events(SHOWN_S)
    assert not visible(shown, Role.LUMEN)


def test_many_steps_of_a_slider_are_one_picture(panel, section, shown, slicer_host, monkeypatch):
    import VesselFlowGSScene.show as scene_show

    calls = []
    real = scene_show.show
    monkeypatch.setattr(scene_show, "show", lambda *arguments: calls.append(arguments) or real(*arguments))
    for k in range(20):
        section.ui.opacity.value = 0.05 * k
    slicer_host.process_events(SHOWN_S)
    from VesselFlowGSScene.case import Role

    assert 1 <= len(calls) <= 3
    assert shown.get(Role.LUMEN).GetDisplayNode().GetOpacity() == pytest.approx(0.95)


def test_a_typed_range_begins_with_the_one_that_is_seen(panel, section, shown, slicer_host):
    from VesselFlowGSScene.case import Role

    seen = shown.get(Role.LUMEN).GetDisplayNode().GetScalarRange()
    assert not section.ui.low.enabled and section.ui.rangeUnit.text.startswith("mmHg, now ")
    section.ui.automatic.click()
    slicer_host.process_events(SHOWN_S)
    assert section.ui.low.enabled and section.ui.high.enabled and not section.ui.locked.enabled
    assert section.ui.rangeUnit.text == "mmHg"
    assert (panel.parameters.low, panel.parameters.high) == pytest.approx(seen)
    assert shown.get(Role.LUMEN).GetDisplayNode().GetScalarRange() == pytest.approx(seen)
    section.ui.high.setValue(9.0)
    slicer_host.process_events(SHOWN_S)
    assert shown.get(Role.LUMEN).GetDisplayNode().GetScalarRange()[1] == pytest.approx(9.0)


def test_a_range_upside_down_is_told(panel, section, shown, slicer_host):
    panel.parameters.low, panel.parameters.high = 3.0, 1.0
    panel.parameters.automatic = False
    slicer_host.process_events(SHOWN_S)
    assert "below" in section.ui.displayNote.text


def test_findings_are_counted_listed_and_found(panel, section, shown, slicer_host):
    import slicer

    assert section.ui.stenosis.text.endswith("(1)") and section.ui.jet.text.endswith("(1)")
    assert section.ui.vortex.text.endswith("(0)") or section.ui.vortex.text.endswith("(1)")
    assert section.ui.findingsList.count == 1
    section.ui.jet.checked = True
    slicer_host.process_events(SHOWN_S)
    assert section.ui.findingsList.count == 2
    assert "Narrowing" in section.ui.findingsList.item(0).text()
    slice_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    slice_node.SetLayoutName("Red")
    section.ui.findingsList.setCurrentRow(0)
    section.go_to_finding()
    from VesselFlowGSScene.frames import ras_of

    middle = [slice_node.GetSliceToRAS().GetElement(k, 3) for k in range(3)]
    assert middle == pytest.approx(list(ras_of(panel.newest.findings[0].centre)), abs=1e-3)


def test_particles_move_while_they_are_seen_and_only_then(panel, section, shown, slicer_host):
    import numpy as np
    import slicer

    from VesselFlowGSScene.case import Role

    section.ui.particlePace.value = 0.05
    section.ui.particles.checked = True
    slicer_host.process_events(SHOWN_S)
    node = shown.get(Role.PARTICLES)
    before = slicer.util.arrayFromModelPoints(node).copy()
    slicer_host.process_events(SHOWN_S)
    after = slicer.util.arrayFromModelPoints(node).copy()
    assert not np.allclose(before, after)
    section.ui.particles.checked = False
    slicer_host.process_events(SHOWN_S)
    assert not visible(shown, Role.PARTICLES)
    before = slicer.util.arrayFromModelPoints(node).copy()
    slicer_host.process_events(SHOWN_S)
    assert np.array_equal(before, slicer.util.arrayFromModelPoints(node))


def test_the_scene_closes_while_particles_run(panel, section, shown, slicer_host):
    section.ui.particles.checked = True
    slicer_host.process_events(SHOWN_S)
    panel.close_scene()
    slicer_host.process_events(SHOWN_S)
    assert not panel.parameters.particles
    assert section.ui.caseSelector.count == 0


def test_the_case_is_removed_while_particles_run(panel, section, shown, slicer_host):
    section.ui.particles.checked = True
    slicer_host.process_events(SHOWN_S)
    shown.remove()
    panel.shown = panel.newest = None
    slicer_host.process_events(SHOWN_S)
    panel.refresh()
    slicer_host.process_events(SHOWN_S)


def test_particles_stop_when_the_panel_is_closed(panel, section, shown, slicer_host):
    import numpy as np
    import slicer

    from VesselFlowGSScene.case import Role

    section.ui.particles.checked = True
    slicer_host.process_events(SHOWN_S)
    section.close()
    before = slicer.util.arrayFromModelPoints(shown.get(Role.PARTICLES)).copy()
    slicer_host.process_events(SHOWN_S)
    assert np.array_equal(before, slicer.util.arrayFromModelPoints(shown.get(Role.PARTICLES)))


def test_a_person_chooses_which_case_is_shown(panel, section, shown, scene, narrowed, slicer_host):
    second = put(panel, scene, narrowed, "Second")
    box = section.ui.caseSelector
    assert [box.itemText(k) for k in range(box.count)] == ["Vessel", "Second"]
    assert box.currentText == "Second"
    box.setCurrentIndex(0)
    assert panel.shown.node is shown.node
    section.ui.opacity.value = 0.1
    slicer_host.process_events(SHOWN_S)
    from VesselFlowGSScene.case import Role

    assert shown.get(Role.LUMEN).GetDisplayNode().GetOpacity() == pytest.approx(0.1)
    assert second.get(Role.LUMEN).GetDisplayNode().GetOpacity() != pytest.approx(0.1)


def test_a_case_that_is_reopened_keeps_its_looks(panel, section, shown, slicer_host):
    from VesselFlowGSScene.case import Role

    shown.get(Role.LUMEN).GetDisplayNode().SetOpacity(0.9)
    parameters = panel.parameters
    panel.follow(None)
    panel.follow(parameters)
    slicer_host.process_events(SHOWN_S)
    assert shown.get(Role.LUMEN).GetDisplayNode().GetOpacity() == pytest.approx(0.9)


def test_a_run_draws_its_snapshots_as_the_panel_says(panel, section, scene, narrowed, tmp_path, slicer_host):
    from VesselFlowGSScene.case import Case, Role

    panel.shown = Case.create(scene, "Vessel")
    job = ToldJob(tmp_path / "job", panel.shown)
    panel.logic.runs[panel.shown.node.GetID()] = job.running
    section.ui.streamlines.checked = False
    slicer_host.process_events(SHOWN_S)
    job.begin()
    job.send(narrowed)
    panel.newest = job.running.snapshot
    panel.refresh()
    assert visible(panel.shown, Role.LUMEN) and not visible(panel.shown, Role.STREAMLINES)


def states():
    """Everything that a snapshot may lack."""
    whole = simulated.stenosed_tube(triangles=600)
    forked = simulated.pulsatile_bifurcation(phases=10, triangles=1200)
    return {
        "nothing": Snapshot(Stage.GEOMETRY, 0.0, ""),
        "geometry": simulated.growing(whole)[0],
        "unknown flow": simulated.without_flow(whole),
        "phases": forked,
        "single": simulated.in_single(whole),
    }


@pytest.mark.parametrize("name", ["nothing", "geometry", "unknown flow", "phases", "single"])
def test_whatever_a_snapshot_lacks_all_switches_work(panel, section, scene, slicer_host, name):
    put(panel, scene, states()[name])
    for switch in ("glyphs", "particles", "gaussians", "centreline", "vortex", "jet", "high_wss", "low_wss"):
        getattr(section.ui, switch).checked = True
    for quantity in range(section.ui.quantity.count):
        section.ui.quantity.setCurrentIndex(quantity)
        slicer_host.process_events(0.05)
    slicer_host.process_events(SHOWN_S)
    if name in ("nothing", "geometry", "unknown flow"):
        assert "only the vessel" in section.ui.displayNote.text
    else:
        assert section.ui.displayNote.text == ""


def test_without_any_case_nothing_happens(panel, section, slicer_host):
    section.ui.particles.checked = True
    slicer_host.process_events(SHOWN_S)
    assert "Nothing to show" in section.ui.displayNote.text


def test_every_widget_has_a_tooltip(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []

"""Time, by its widgets: the time base is prepared, played and scrubbed, and every section follows."""

from __future__ import annotations

import numpy as np
import pytest
import simulated_snapshots as simulated
from told_job import logic_of

from VesselFlowGSLib.results.snapshot import Snapshot, Stage

PREPARED_S = 20.0


@pytest.fixture(scope="module")
def forked():
    return simulated.pulsatile_bifurcation(phases=10, triangles=1200)


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.time_section import TimeSection

    panel.logic = logic_of()
    return panel.add(TimeSection)


def put(panel, scene, snapshot):
    from VesselFlowGSPanel.display import appearance_of
    from VesselFlowGSScene.case import Case
    from VesselFlowGSScene.show import show

    panel.shown, panel.newest = Case.create(scene, "Vessel"), snapshot
    show(panel.shown, snapshot, appearance_of(panel.parameters))
    panel.refresh()
    return panel.shown


@pytest.fixture
def played(panel, section, scene, forked, slicer_host):
    """A pulsatile case whose time base is prepared."""
    case = put(panel, scene, forked)
    assert wait_for_browser(case, slicer_host)
    return case


def wait_for_browser(case, slicer_host):
    from VesselFlowGSScene.case import Role

    found = slicer_host.wait_until(lambda: case.get(Role.BROWSER) is not None, PREPARED_S)
    slicer_host.process_events(0.1)
    return found


def browser_of(case):
    from VesselFlowGSScene.case import Role

    return case.get(Role.BROWSER)


def test_a_pulsatile_result_can_be_played(panel, section, played, forked):
    assert browser_of(played).GetNumberOfItems() == len(forked.phases)
    assert section.ui.playWidget.enabled and section.ui.seekWidget.enabled
    assert f"{len(forked.phases)} instants" in section.ui.timeStatus.text
    assert section.ui.phaseLabel.text.startswith(f"1 of {len(forked.phases)}")


def test_scrubbing_moves_the_vessel_and_says_the_instant(panel, section, played, forked, slicer_host):
    import slicer

    from VesselFlowGSScene.case import Role

    def pressures():
        return np.array(slicer.util.arrayFromModelPointData(played.get(Role.LUMEN), "Pressure_mmHg"))

    first = pressures()
    section.ui.seekWidget.slider().setValue(4)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser_of(played))
    assert section.ui.phaseLabel.text == "5 of 10 (40 % of the period)"
    assert section.ui.instantLabel.text == f"{forked.phases[4].time_s:.3f} s"
    assert not np.allclose(first, pressures())
    section.ui.seekWidget.slider().setValue(0)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser_of(played))
    assert np.allclose(first, pressures())


def test_the_rate_is_the_browsers(panel, section, played):
    section.ui.frameRate.setValue(25)
    assert browser_of(played).GetPlaybackRateFps() == 25
    browser_of(played).SetPlaybackRateFps(7)
    panel.refresh()
    assert section.ui.frameRate.value == 7


def test_arrows_that_are_switched_on_are_played_too(panel, section, played, slicer_host):
    from VesselFlowGSPanel.display import appearance_of
    from VesselFlowGSScene.case import Role
    from VesselFlowGSScene.show import show

    assert played.get(Role.GLYPH_SERIES) is None
    panel.parameters.glyphs = True
    show(played, panel.newest, appearance_of(panel.parameters))
    assert slicer_host.wait_until(lambda: played.get(Role.GLYPH_SERIES) is not None, PREPARED_S)


def test_a_look_that_costs_nothing_prepares_nothing(panel, section, played, slicer_host, monkeypatch):
    import VesselFlowGSScene.timebase as timebase

    calls = []
    monkeypatch.setattr(timebase, "time_base_steps", lambda *arguments: calls.append(arguments) or iter(()))
    panel.parameters.opacity = 0.2
    panel.parameters.legend = False
    slicer_host.process_events(0.6)
    assert calls == []


def test_a_steady_flow_says_so_and_has_no_players(panel, section, scene, slicer_host):
    case = put(panel, scene, simulated.steady_tube(triangles=600))
    slicer_host.process_events(0.6)
    assert browser_of(case) is None
    assert "steady" in section.ui.timeStatus.text
    assert not section.ui.playWidget.enabled and not section.ui.flowChartButton.enabled


def test_the_flow_over_time_becomes_a_chart(panel, section, played):
    from VesselFlowGSScene.case import Role

    section.ui.flowChartButton.click()
    chart = played.get(Role.FLOW_CHART)
    assert chart is not None and chart.GetNumberOfPlotSeriesNodes() >= 2


def test_a_reopened_scene_is_not_prepared_again(panel, section, played, slicer_host, monkeypatch):
    import VesselFlowGSScene.timebase as timebase

    calls = []
    monkeypatch.setattr(timebase, "time_base_steps", lambda *arguments: calls.append(arguments) or iter(()))
    parameters = panel.parameters
    panel.follow(None)
    panel.follow(parameters)
    slicer_host.process_events(0.6)
    assert calls == []
    assert section.ui.phaseLabel.text.startswith("1 of 10")


def test_the_scene_closes_while_the_instants_are_prepared(panel, section, scene, forked, slicer_host):
    put(panel, scene, forked)
    section.prepare()
    section.step()
    panel.close_scene()
    slicer_host.process_events(0.5)
    assert section.ui.timeStatus.text == "No result yet."


def test_runs_in_the_scene_play_on_the_same_clock(panel, section, scene, slicer_host):
    """A steady flow with a run of five frames: the frames are the instants."""
    panel.parameters.runs = a_run(scene, times=(0.0, 0.2, 0.4, 0.6, 0.8))
    case = put(panel, scene, simulated.steady_tube(triangles=600))
    assert wait_for_browser(case, slicer_host)
    assert browser_of(case).GetNumberOfItems() == 5
    assert "steady" in section.ui.timeStatus.text and "DSA" in section.ui.timeStatus.text
    section.ui.seekWidget.slider().setValue(3)
    assert section.ui.instantLabel.text == "0.600 s"
    section.ui.films.checked = False
    assert slicer_host.wait_until(lambda: browser_of(case) is None, PREPARED_S)


def test_runs_that_do_not_know_their_times_are_left_out(panel, section, scene):
    from VesselFlowGSPanel.films import filmed_runs

    panel.parameters.runs = a_run(scene, times=None)
    assert filmed_runs(panel.parameters) == ()
    panel.parameters.runs = a_run(scene, times=(0.0, 0.1))
    assert filmed_runs(panel.parameters) == ()
    panel.parameters.runs = "{broken"
    assert filmed_runs(panel.parameters) == ()


def a_run(scene, times, frames=5):
    """The table's text for one DSA run of the scene."""
    import slicer

    from VesselFlowGSLib.acquisition.description import RunSection
    from VesselFlowGSScene.runs import Known, RunEntry, RunSource, entries_to_json

    series = scene.AddNewNodeByClass("vtkMRMLSequenceNode", f"DSA {frames} {times}")
    for k in range(frames):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, np.full((1, 8, 8), k, np.int16))
        series.SetDataNodeAtValue(volume, str(k))
    found = RunSection(file="", frame_times_s=times)
    entry = RunEntry(series.GetName(), RunSource(sequence=series.GetID()), frames, 8, 8, found, Known.SEQUENCE)
    return entries_to_json((entry,))


@pytest.mark.parametrize("state", ["none", "nothing", "unknown"])
def test_whatever_is_missing_is_told(panel, section, scene, slicer_host, state):
    whole = simulated.steady_tube(triangles=600)
    snapshots = {"nothing": Snapshot(Stage.GEOMETRY, 0.0, ""), "unknown": simulated.without_flow(whole)}
    if state in snapshots:
        put(panel, scene, snapshots[state])
    slicer_host.process_events(0.5)
    assert (
        section.ui.timeStatus.text
        == {
            "none": "No result yet.",
            "nothing": "The flow is still to be solved.",
            "unknown": "The flow could not be found.",
        }[state]
    )


def test_every_widget_has_a_tooltip(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []

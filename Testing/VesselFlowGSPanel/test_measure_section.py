"""Measure, by its widgets, against what is known of simulated tubes and forks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import simulated_snapshots as simulated
from told_job import logic_of

from VesselFlowGSLib.results.snapshot import Snapshot, Stage

SETTLED_S = 0.1


@pytest.fixture(scope="module")
def tube():
    return simulated.steady_tube(triangles=3000)


@pytest.fixture(scope="module")
def narrowed():
    return simulated.stenosed_tube(part=0.5, triangles=3000)


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.measure_section import MeasureSection

    panel.logic = logic_of()
    return panel.add(MeasureSection)


@pytest.fixture
def put(panel, section, scene, slicer_host):
    """Shows a snapshot as a case of the scene."""
    from VesselFlowGSScene.case import Case

    def place(snapshot, name="Vessel"):
        panel.shown, panel.newest = Case.create(scene, name), snapshot
        panel.refresh()
        slicer_host.process_events(SETTLED_S)
        return panel.shown

    return place


def number_after(text, word):
    line = next(line for line in text.split("\n") if line.startswith(word))
    return float(line.split(":")[1].split()[0])


def flow_of(snapshot):
    return snapshot.figures["mean_inflow"].value


def area_of(snapshot, part):
    """Of the circle at this part of the first branch."""
    line = snapshot.centreline
    first = slice(int(line.offsets[0]), int(line.offsets[1]))
    radius = np.asarray(line.arrays["radius_mm"])[first]
    return math.pi * float(radius[round(part * (len(radius) - 1))]) ** 2


def test_the_plane_gives_the_flow_of_the_tube_wherever_it_is(section, put, tube, slicer_host):
    from VesselFlowGSScene.case import Role

    case = put(tube)
    assert section.ui.cutReadout.text == ""
    section.ui.cutPlane.checked = True
    slicer_host.process_events(SETTLED_S)
    assert case.get(Role.CUT_PLANE) is not None
    flow = flow_of(tube)
    for part in (0.2, 0.5, 0.8):
        section.ui.cutPosition.value = part * section.ui.cutPosition.maximum
        slicer_host.process_events(SETTLED_S)
        assert number_after(section.ui.cutReadout.text, "Flow") == pytest.approx(flow, rel=0.03)
        assert number_after(section.ui.cutReadout.text, "Area") == pytest.approx(area_of(tube, part), rel=0.03)
    section.ui.cutPlane.checked = False
    slicer_host.process_events(SETTLED_S)
    assert case.get(Role.CUT_PLANE) is None and section.ui.cutReadout.text == ""


def test_a_dragged_plane_tells_slider_and_readout_and_stays_where_it_is(section, panel, put, tube, slicer_host):
    from VesselFlowGSScene.case import Role

    case = put(tube)
    section.ui.cutPlane.checked = True
    slicer_host.process_events(SETTLED_S)
    before = section.ui.cutPosition.value
    plane = case.get(Role.CUT_PLANE)
    origin, normal = np.zeros(3), np.zeros(3)
    plane.GetOriginWorld(origin)
    plane.GetNormalWorld(normal)
    plane.SetOriginWorld(*(origin + 4.0 * normal))
    slicer_host.process_events(SETTLED_S)
    assert section.ui.cutPosition.value == pytest.approx(before + 4.0, abs=0.3)
    assert panel.parameters.cut_mm == pytest.approx(section.ui.cutPosition.value)
    now = np.zeros(3)
    plane.GetOriginWorld(now)
    assert now == pytest.approx(origin + 4.0 * normal)
    assert number_after(section.ui.cutReadout.text, "Flow") == pytest.approx(flow_of(tube), rel=0.03)


def test_a_turned_plane_measures_the_flow_backwards(section, put, tube, slicer_host):
    from VesselFlowGSScene.case import Role

    case = put(tube)
    section.ui.cutPlane.checked = True
    slicer_host.process_events(SETTLED_S)
    plane = case.get(Role.CUT_PLANE)
    normal = np.zeros(3)
    plane.GetNormalWorld(normal)
    plane.SetNormalWorld(*-normal)
    slicer_host.process_events(SETTLED_S)
    assert number_after(section.ui.cutReadout.text, "Flow") == pytest.approx(-flow_of(tube), rel=0.03)


def test_a_plane_beside_the_vessel_says_so(section, put, tube, slicer_host):
    from VesselFlowGSScene.case import Role

    case = put(tube)
    section.ui.cutPlane.checked = True
    slicer_host.process_events(SETTLED_S)
    case.get(Role.CUT_PLANE).SetOriginWorld(900.0, 900.0, 900.0)
    slicer_host.process_events(SETTLED_S)
    assert "does not cut" in section.ui.cutReadout.text


def test_the_drop_is_poiseuilles_and_does_not_depend_on_the_order(section, put, tube, slicer_host):
    """What is lost over half of the tube is half of what is lost over all of it."""
    put(tube)
    length = section.ui.toPosition.maximum
    assert section.ui.fromPosition.value == 0 and section.ui.toPosition.value == pytest.approx(length)
    whole = number_after(section.ui.dropReadout.text, "Pressure drop")
    pressure = np.asarray(tube.centreline.arrays["pressure_pa"])
    assert whole == pytest.approx((pressure[0] - pressure[-1]) / 133.322, rel=0.03)
    section.ui.toPosition.value = length / 2
    slicer_host.process_events(SETTLED_S)
    assert number_after(section.ui.dropReadout.text, "Pressure drop") == pytest.approx(whole / 2, rel=0.05)
    text = section.ui.dropReadout.text
    section.ui.fromPosition.value = length / 2
    section.ui.toPosition.value = 0
    slicer_host.process_events(SETTLED_S)
    assert section.ui.dropReadout.text == text


def test_the_narrowing_between_a_and_b_is_told(section, put, narrowed):
    put(narrowed)
    assert number_after(section.ui.dropReadout.text, "Diameter stenosis") == pytest.approx(50, abs=4)
    finding = narrowed.findings[0]
    assert finding.value == pytest.approx(50, abs=1)


def test_the_probe_reads_the_middle_of_the_tube(section, put, tube, slicer_host):
    """On the axis of a tube the speed is twice the mean speed."""
    from VesselFlowGSScene.case import Role

    case = put(tube)
    section.ui.probe.checked = True
    slicer_host.process_events(SETTLED_S)
    speed = number_after(section.ui.probeReadout.text, "Speed")
    mean = flow_of(tube) / area_of(tube, 0.5)
    assert speed == pytest.approx(2 * mean, rel=0.05)
    assert "Wall shear stress" in section.ui.probeReadout.text
    case.get(Role.PROBE).SetNthControlPointPositionWorld(0, 900.0, 900.0, 900.0)
    slicer_host.process_events(SETTLED_S)
    assert "outside the vessel" in section.ui.probeReadout.text
    section.ui.probe.checked = False
    slicer_host.process_events(SETTLED_S)
    assert case.get(Role.PROBE) is None and section.ui.probeReadout.text == ""


def test_split_and_balance_of_a_fork(section, put):
    fork = simulated.pulsatile_bifurcation(phases=4, triangles=1500)
    put(fork)
    table = section.ui.splitTable
    rows = [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]
    assert len(rows) == len(fork.geometry["openings"]) + 1
    shares = [float(row[2].split()[0]) for row in rows[1:-1]]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert float(rows[-1][1].split()[0]) == pytest.approx(0, abs=0.02)
    assert rows[0][2] == "–" and rows[0][3].endswith("ml/s")
    assert all(row[3] == "–" or row[3].endswith("%") for row in rows[1:])
    assert section.ui.branch.count == len(fork.centreline.offsets) - 1


def test_a_branch_has_positions_of_its_own_length(section, panel, put, slicer_host):
    fork = simulated.pulsatile_bifurcation(phases=4, triangles=1500)
    put(fork)
    from VesselFlowGSPanel.measured import branch_lengths_mm

    lengths = branch_lengths_mm(fork.centreline)
    section.ui.branch.setCurrentIndex(1)
    slicer_host.process_events(SETTLED_S)
    assert panel.parameters.branch == 1
    assert section.ui.cutPosition.maximum == pytest.approx(lengths[1])
    assert section.ui.dropReadout.text


def test_the_plane_follows_the_instant(section, panel, put, slicer_host):
    """The flow through the trunk is that of the phase that is shown."""
    from VesselFlowGSPanel.display import appearance_of
    from VesselFlowGSScene.show import show
    from VesselFlowGSScene.timebase import put_on_time_base

    fork = simulated.pulsatile_bifurcation(phases=4, triangles=1500)
    case = put(fork)
    show(case, fork, appearance_of(panel.parameters))
    browser = put_on_time_base(case, fork, appearance_of(panel.parameters))
    section.ui.cutPlane.checked = True
    section.ui.cutPosition.value = 0.3 * section.ui.cutPosition.maximum
    slicer_host.process_events(SETTLED_S)
    for number, phase in enumerate(fork.phases):
        browser.SetSelectedItemNumber(number)
        slicer_host.process_events(SETTLED_S)
        expected = float(phase.centreline["flow_ml_s"][0])
        assert number_after(section.ui.cutReadout.text, "Flow") == pytest.approx(expected, rel=0.05, abs=0.02)


def test_charts_that_were_asked_for_follow_the_instant(section, panel, put, slicer_host):
    import slicer

    from VesselFlowGSPanel.display import appearance_of
    from VesselFlowGSScene.case import Role
    from VesselFlowGSScene.show import show
    from VesselFlowGSScene.timebase import put_on_time_base

    fork = simulated.pulsatile_bifurcation(phases=4, triangles=900)
    case = put(fork)
    show(case, fork, appearance_of(panel.parameters))
    browser = put_on_time_base(case, fork, appearance_of(panel.parameters))
    section.ui.pressureChartButton.click()
    panel.refresh()

    def pressures():
        table = case.get(Role.COURSE_TABLE)
        names = [table.GetColumnName(k) for k in range(table.GetNumberOfColumns())]
        name = next(name for name in names if "pressure" in name)
        return np.array(slicer.util.arrayFromTableColumn(table, name))

    first = pressures()
    browser.SetSelectedItemNumber(2)
    slicer_host.process_events(0.3)
    assert not np.allclose(first, pressures(), equal_nan=True)


def test_charts_and_table_along_the_centreline(section, put, tube):
    from VesselFlowGSScene.case import Role

    case = put(tube)
    section.ui.pressureChartButton.click()
    section.ui.areaChartButton.click()
    section.ui.courseTableButton.click()
    assert case.get(Role.PRESSURE_CHART) is not None and case.get(Role.AREA_CHART) is not None
    assert case.get(Role.COURSE_TABLE).GetNumberOfRows() > 10
    import slicer

    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveTableID() == case.get(Role.COURSE_TABLE).GetID()
    assert selection.GetActivePlotChartID() == case.get(Role.AREA_CHART).GetID()


def test_a_reopened_plane_stays_where_it_was_left(section, panel, put, tube, slicer_host):
    from VesselFlowGSScene.case import Role

    case = put(tube)
    section.ui.cutPlane.checked = True
    slicer_host.process_events(SETTLED_S)
    plane = case.get(Role.CUT_PLANE)
    plane.SetNormalWorld(0.0, 0.6, 0.8)
    slicer_host.process_events(SETTLED_S)
    parameters = panel.parameters
    panel.follow(None)
    panel.follow(parameters)
    slicer_host.process_events(SETTLED_S)
    normal = np.zeros(3)
    case.get(Role.CUT_PLANE).GetNormalWorld(normal)
    assert normal == pytest.approx([0.0, 0.6, 0.8], abs=1e-6)


@pytest.mark.parametrize("state", ["none", "nothing", "geometry", "unknown"])
def test_without_a_flow_nothing_can_be_measured_but_the_shape(section, panel, put, tube, slicer_host, state):
    snapshots = {
        "nothing": Snapshot(Stage.GEOMETRY, 0.0, ""),
        "geometry": simulated.growing(tube)[0],
        "unknown": simulated.without_flow(tube),
    }
    if state in snapshots:
        put(snapshots[state])
    assert not section.ui.cutPlane.enabled and not section.ui.probe.enabled
    panel.parameters.cut_plane = panel.parameters.probe = True
    slicer_host.process_events(SETTLED_S)
    assert section.ui.cutPlane.enabled, "what is on can be switched off"
    assert not section.ui.cutPosition.enabled and not section.ui.pressureChartButton.enabled
    assert section.ui.cutReadout.text == ("" if state == "none" else "Needs a solved flow.")
    assert section.ui.splitTable.rowCount == 0
    if state == "unknown":
        assert "not known" in section.ui.dropReadout.text and "Area" in section.ui.dropReadout.text
        section.ui.areaChartButton.click()


def test_the_scene_closes_with_plane_and_probe_in_it(section, panel, put, tube, slicer_host):
    put(tube)
    section.ui.cutPlane.checked = section.ui.probe.checked = True
    slicer_host.process_events(SETTLED_S)
    panel.refresh()
    panel.close_scene()
    slicer_host.process_events(SETTLED_S)
    assert section.ui.branch.count == 0 and not section.ui.cutPlane.enabled


def test_the_plane_is_deleted_by_the_person(section, panel, put, tube, slicer_host):
    from VesselFlowGSScene.case import Role

    case = put(tube)
    section.ui.cutPlane.checked = True
    slicer_host.process_events(SETTLED_S)
    case.scene.RemoveNode(case.get(Role.CUT_PLANE))
    panel.refresh()
    slicer_host.process_events(SETTLED_S)
    assert not section.ui.cutPlane.checked and case.get(Role.CUT_PLANE) is None


def test_every_widget_has_a_tooltip(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []

"""Charts and tables hold the numbers of the result, with their units."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import simulated_snapshots

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
import slicer

from VesselFlowGSLib.results.course import course_of
from VesselFlowGSLib.results.snapshot import Figure, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSLib.worker.messages import Progress
from VesselFlowGSScene import plots, tables, timebase
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.show import show

PHASES = 5


@pytest.fixture(scope="module")
def beating() -> Snapshot:
    return simulated_snapshots.pulsatile_bifurcation(phases=PHASES, triangles=1200, lines=4)


@pytest.fixture(scope="module")
def narrowed() -> Snapshot:
    return simulated_snapshots.stenosed_tube(part=0.5, triangles=1200)


@pytest.fixture
def case(scene: Any) -> Case:
    return Case.create(scene, "Vessel")


def column(node: Any, name: str) -> np.ndarray:
    """A column without the padding at its end."""
    values = np.array(slicer.util.arrayFromTableColumn(node, name))
    return values[np.isfinite(values)]


def curves(chart: Any) -> dict[str, Any]:
    series = (chart.GetNthPlotSeriesNode(k) for k in range(chart.GetNumberOfPlotSeriesNodes()))
    return {node.GetName(): node for node in series}


@pytest.mark.parametrize("phase", [None, 0, 3])
def test_the_table_holds_the_course_of_every_branch(case: Case, beating: Snapshot, phase: int | None) -> None:
    plots.course_charts(case, beating, phase)
    table = case.get(Role.COURSE_TABLE)
    courses = course_of(beating, None if phase is None else beating.phases[phase])
    assert len(courses) == 3
    for k, course in enumerate(courses):
        assert course.pressure_pa is not None and course.flow_ml_s is not None
        for quantity, values in (
            (tables.FROM_INLET, course.from_inlet_mm),
            (tables.ARC_LENGTH, course.arc_length_mm),
            (tables.RADIUS, course.radius_mm),
            (tables.AREA, course.area_mm2),
            (tables.STENOSIS, course.stenosis_percent),
            (tables.PRESSURE, course.pressure_pa / PASCAL_PER_MMHG),
            (tables.FLOW, course.flow_ml_s),
        ):
            held = column(table, f"branch {k + 1}: {quantity}")
            assert np.array_equal(held, values), f"branch {k + 1}: {quantity}"


def test_every_branch_has_its_curve_and_every_axis_its_unit(case: Case, beating: Snapshot) -> None:
    pressure, area = plots.course_charts(case, beating)
    names = {"branch 1", "branch 2", "branch 3"}
    assert names <= set(curves(pressure)) and names <= set(curves(area))
    assert (pressure.GetXAxisTitle(), pressure.GetYAxisTitle()) == ("from the inlet (mm)", "pressure (mmHg)")
    assert (area.GetXAxisTitle(), area.GetYAxisTitle()) == ("from the inlet (mm)", "area (mm²)")
    solid = slicer.vtkMRMLPlotSeriesNode.LineStyleSolid
    for chart in (pressure, area):
        own = [series for name, series in curves(chart).items() if name in names]
        assert len({series.GetColor() for series in own}) == 3
        assert all(series.GetLineStyle() == solid for series in own)
        for name, series in curves(chart).items():
            assert series.GetTableNode() is case.get(Role.COURSE_TABLE)
            assert (series.GetLineStyle() == solid) == (name in names), "limits are dashed"


def test_the_interval_of_the_pressure_is_drawn_where_it_is_known(case: Case, beating: Snapshot) -> None:
    assert beating.centreline is not None
    known = set(beating.centreline.arrays)
    assert {"pressure_low_pa", "pressure_high_pa"} <= known
    pressure, _ = plots.course_charts(case, beating)
    assert {"branch 1, 90 % from", "branch 1, 90 % to"} <= set(curves(pressure))
    course = course_of(beating)[0]
    low = column(case.get(Role.COURSE_TABLE), "branch 1: pressure, 90 % from (mmHg)")
    assert course.pressure_low_pa is not None and np.array_equal(low, course.pressure_low_pa / PASCAL_PER_MMHG)
    bare = {name: a for name, a in beating.centreline.arrays.items() if "_low_" not in name and "_high_" not in name}
    without = dataclasses.replace(beating, centreline=dataclasses.replace(beating.centreline, arrays=bare), phases=())
    pressure, _ = plots.course_charts(case, without)
    assert set(curves(pressure)) == {"branch 1", "branch 2", "branch 3"}


def test_a_stenosis_is_seen_in_table_and_area(case: Case, narrowed: Snapshot) -> None:
    _, area = plots.course_charts(case, narrowed)
    assert {"vessel", "vessel, healthy"} == set(curves(area))
    table = case.get(Role.COURSE_TABLE)
    assert column(table, "vessel: diameter lost (%)").max() == pytest.approx(50, abs=3)
    areas, healthy = column(table, "vessel: area (mm²)"), column(table, f"vessel: {tables.HEALTHY_AREA}")
    assert areas.min() == pytest.approx(0.25 * np.pi * 1.6**2, rel=0.05)
    assert healthy == pytest.approx(np.pi * 1.6**2, rel=0.05)


def test_flow_over_time_has_a_curve_a_branch_and_the_time_that_is_shown(
    opened_scene: Any, case: Case, beating: Snapshot
) -> None:
    show(case, beating, Appearance())
    chart = plots.flow_chart(case, beating)
    assert set(curves(chart)) == {"branch 1", "branch 2", "branch 3", "now"}
    assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == ("time (s)", "flow (ml/s)")
    table = case.get(Role.FLOW_TABLE)
    assert column(table, "time (s)") == pytest.approx([phase.time_s for phase in beating.phases])
    for k in range(3):
        expected = [np.mean(course_of(beating, phase)[k].flow_ml_s) for phase in beating.phases]
        assert column(table, f"branch {k + 1}: flow (ml/s)") == pytest.approx(expected)
    browser = timebase.put_on_time_base(case, beating, Appearance())
    flows = np.concatenate([column(table, f"branch {k}: flow (ml/s)") for k in (1, 2, 3)])
    for number in (2, 4):
        timebase.select_time(case, beating.phases[number].time_s)
        opened_scene.logics["Sequences"].UpdateProxyNodesFromSequences(browser)
        now = curves(chart)["now"]
        line = [column(now.GetTableNode(), name) for name in (now.GetXColumnName(), now.GetYColumnName())]
        assert line[0] == pytest.approx([beating.phases[number].time_s] * 2)
        assert line[1] == pytest.approx([min(0, flows.min()), flows.max()])


def test_the_cursor_spans_a_chart_that_is_drawn_after_the_clock_was_made(
    opened_scene: Any, case: Case, beating: Snapshot
) -> None:
    show(case, beating, Appearance())
    browser = timebase.put_on_time_base(case, beating, Appearance())
    chart = plots.flow_chart(case, beating)
    for number in (0, 3):
        timebase.select_time(case, beating.phases[number].time_s)
        opened_scene.logics["Sequences"].UpdateProxyNodesFromSequences(browser)
        now = curves(chart)["now"]
        assert column(now.GetTableNode(), now.GetXColumnName()) == pytest.approx([beating.phases[number].time_s] * 2)
        assert column(now.GetTableNode(), now.GetYColumnName()).max() > 2


def test_the_course_follows_the_clock_on_a_still_axis(opened_scene: Any, case: Case, beating: Snapshot) -> None:
    show(case, beating, Appearance())
    browser = timebase.put_on_time_base(case, beating, Appearance())
    pressure, area = plots.course_charts(case, beating, 0)
    axis = pressure.GetYAxisRange()
    assert not pressure.GetYAxisRangeAuto()
    for number in (1, 4, 2):
        timebase.select_time(case, beating.phases[number].time_s)
        opened_scene.logics["Sequences"].UpdateProxyNodesFromSequences(browser)
        table = case.get(Role.COURSE_TABLE)
        for k, course in enumerate(course_of(beating, beating.phases[number])):
            assert course.pressure_pa is not None
            held = column(table, f"branch {k + 1}: pressure (mmHg)")
            assert np.allclose(held, course.pressure_pa / PASCAL_PER_MMHG)
            assert axis[0] <= held.min() and held.max() <= axis[1]
        assert case.get(Role.PRESSURE_CHART) is pressure and case.get(Role.AREA_CHART) is area
        assert pressure.GetYAxisRange() == axis


def test_once_more_the_same_nodes_hold_the_new_numbers(case: Case, beating: Snapshot, narrowed: Snapshot) -> None:
    first = plots.course_charts(case, beating)
    count = case.scene.GetNumberOfNodes()
    before = {name: node.GetID() for name, node in curves(first[0]).items()}
    again = plots.course_charts(case, beating, 1)
    assert again == first and case.scene.GetNumberOfNodes() == count
    assert {name: node.GetID() for name, node in curves(again[0]).items()} == before
    pressure, _ = plots.course_charts(case, narrowed)
    assert "branch 1" not in curves(pressure) and "vessel" in curves(pressure)
    assert not [node for node in case.all(Role.CURVES) if node.GetName().startswith("branch")]


def test_without_flow_there_is_the_area_alone(case: Case, narrowed: Snapshot) -> None:
    plots.course_charts(case, narrowed)
    pressure, area = plots.course_charts(case, simulated_snapshots.without_flow(narrowed))
    assert pressure is None and case.get(Role.PRESSURE_CHART) is None
    assert area is not None
    assert plots.flow_chart(case, narrowed) is None, "a steady flow has no course over time"
    empty = dataclasses.replace(narrowed, centreline=None)
    assert plots.course_charts(case, empty) == (None, None)
    assert case.get(Role.COURSE_TABLE) is None and case.all(Role.CURVES) == []


def test_the_misfit_is_drawn_over_time_on_a_log_axis(case: Case) -> None:
    assert plots.convergence_chart(case, []) is None
    history = [
        Progress("geometry", 0.1, "", 1.0),
        Progress("flow", 0.5, "", 4.0, None, 1, 1e-1),
        Progress("flow", 0.6, "", 5.0, None, 2, 1e-3),
        Progress("flow", 0.7, "", 6.0, None, 3, 0.0),
    ]
    chart = plots.convergence_chart(case, history)
    assert chart is not None and chart.GetYAxisLogScale()
    table = case.get(Role.CONVERGENCE_TABLE)
    assert column(table, "elapsed (s)") == pytest.approx([4.0, 5.0])
    assert column(table, "misfit (1)") == pytest.approx([1e-1, 1e-3])
    assert column(table, "iteration") == pytest.approx([1, 2])


def test_figures_have_intervals_where_there_are_some(case: Case, narrowed: Snapshot) -> None:
    node = plots.figures_table(case, narrowed)
    cells = rows_of(node)
    assert set(cells) == {plots.figure_name(name) for name in narrowed.figures}
    for name, figure in narrowed.figures.items():
        row = cells[plots.figure_name(name)]
        assert float(row["value"]) == pytest.approx(figure.value, rel=1e-5)
        assert row["unit"] == ("" if figure.unit == "1" else figure.unit)
        assert row["origin"] == figure.origin
        if figure.interval_90 is None:
            assert (row["90 % from"], row["90 % to"]) == ("", "")
        else:
            assert float(row["90 % from"]) == pytest.approx(figure.interval_90[0], rel=1e-5)
            assert float(row["90 % to"]) == pytest.approx(figure.interval_90[1], rel=1e-5)
    plain = dataclasses.replace(narrowed, figures={"max_wss": Figure(3.5, "Pa", "estimated")})
    assert rows_of(plots.figures_table(case, plain)) == {
        "max wall shear stress": {
            "figure": "max wall shear stress",
            "value": "3.5",
            "unit": "Pa",
            "origin": "estimated",
        }
    }


def rows_of(node: Any) -> dict[str, dict[str, str]]:
    table = node.GetTable()
    titles = [table.GetColumnName(k) for k in range(table.GetNumberOfColumns())]
    cells = [
        {title: table.GetValue(row, k).ToString() for k, title in enumerate(titles)}
        for row in range(table.GetNumberOfRows())
    ]
    return {row["figure"]: row for row in cells}

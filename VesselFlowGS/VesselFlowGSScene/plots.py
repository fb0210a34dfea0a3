"""Plots and tables of a case: along the centreline, over time, of the solution's way, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import slicer
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.tables import (
    AREA,
    CURSOR,
    FLOW,
    FROM_INLET,
    HEALTHY_AREA,
    PRESSURE,
    PRESSURE_HIGH,
    PRESSURE_LOW,
    TIME,
    branch_name,
    column_name,
    course_columns,
    courses_at,
    cursor_rows,
    flow_columns,
    rows,
)
from VesselFlowGSScene.timebase import set_cursor_range

Array = NDArray[Any]
CURVE = "VesselFlowGS.Curve"

# apart for all usual colour vision; a case rarely has more branches, and then they begin again
BRANCH_COLOURS = (
    (0.00, 0.45, 0.70),
    (0.90, 0.40, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.34, 0.71, 0.91),
    (0.85, 0.65, 0.00),
)
CURSOR_COLOUR = (0.45, 0.45, 0.45)


class Loss(Protocol):
    """What a message about progress says of the solution's way: see worker.messages.Progress."""

    iteration: int | None
    loss: float | None
    elapsed_s: float


@dataclass(frozen=True)
class Curve:
    """One line of a chart: two columns of a table. dashed: a limit or a cursor, not a result."""

    name: str
    table: Any
    x: str
    y: str
    colour: tuple[float, float, float]
    dashed: bool = False


def course_charts(case: Case, snapshot: Snapshot, phase: int | None = None) -> tuple[Any | None, Any | None]:
    """Pressure and area along every branch, over the way from the inlet: the chart nodes, None without such values.

    phase  number of the phase, None for the snapshot's own values (of a pulsatile flow: the mean)
    Dashed: the 90 % interval of the pressure where it is known, and the area of the healthy vessel. The table beside
    them holds all of results.course for every branch. On a time base it follows the clock.
    """
    courses = courses_at(snapshot, phase)
    if not courses:
        for role in (Role.PRESSURE_CHART, Role.AREA_CHART):
            _drop_chart(case, role)
        case.drop(Role.COURSE_TABLE)
        return None, None
    columns = course_columns(courses)
    table = _write(case, Role.COURSE_TABLE, columns)
    x_of = [column_name(branch_name(k, len(courses)), FROM_INLET) for k in range(len(courses))]

    def curves(quantity: str, dashed: Mapping[str, str]) -> list[Curve]:
        found: list[Curve] = []
        for k, x in enumerate(x_of):
            branch = branch_name(k, len(courses))
            for title, name in ((quantity, branch), *((title, f"{branch}, {what}") for title, what in dashed.items())):
                if column_name(branch, title) in columns:
                    y = column_name(branch, title)
                    found.append(Curve(name, table, x, y, _colour(k), dashed=title is not quantity))
        return found

    def chart(role: Role, title: str, quantity: str, lines: list[Curve]) -> Any | None:
        node = _draw(case, role, title, FROM_INLET, quantity, lines)
        if node is not None:
            _hold_range(node, snapshot, [line.y for line in lines])
        return node

    interval = {PRESSURE_LOW: "90 % from", PRESSURE_HIGH: "90 % to"}
    return (
        chart(Role.PRESSURE_CHART, "Pressure along the centreline", PRESSURE, curves(PRESSURE, interval)),
        chart(Role.AREA_CHART, "Area along the centreline", AREA, curves(AREA, {HEALTHY_AREA: "healthy"})),
    )


def flow_chart(case: Case, snapshot: Snapshot) -> Any | None:
    """The flow of every branch over one period, with the time that is shown: its chart node; None for a steady flow."""
    columns = flow_columns(snapshot)
    if not columns:
        _drop_chart(case, Role.FLOW_CHART)
        case.drop(Role.FLOW_TABLE)
        return None
    names = [name for name in columns if name != TIME]
    table = _write(case, Role.FLOW_TABLE, columns)
    low = min(0.0, *(float(columns[name].min()) for name in names))
    high = max(float(columns[name].max()) for name in names)
    cursor = case.put(Role.CURSOR_TABLE, "vtkMRMLTableNode", hidden=True)
    if cursor.GetNumberOfColumns() != 2:
        cursor.SetAndObserveTable(cursor_rows(float(columns[TIME][0]), low, high))
    set_cursor_range(case, low, high)
    curves = [Curve(branch_name(k, len(names)), table, TIME, name, _colour(k)) for k, name in enumerate(names)]
    curves.append(Curve(CURSOR, cursor, TIME, CURSOR, CURSOR_COLOUR, dashed=True))
    return _draw(case, Role.FLOW_CHART, "Flow over one period", TIME, FLOW, curves)


def convergence_chart(case: Case, history: Sequence[Loss]) -> Any | None:
    """How the equations' misfit fell, by the progress messages that tell one: the chart node, None before the first."""
    told = [(item.elapsed_s, item.iteration, item.loss) for item in history if item.loss is not None and item.loss > 0]
    if not told:
        _drop_chart(case, Role.CONVERGENCE_CHART)
        case.drop(Role.CONVERGENCE_TABLE)
        return None
    columns = {
        "elapsed (s)": np.array([row[0] for row in told], float),
        "iteration": np.array([np.nan if row[1] is None else row[1] for row in told], float),
        "misfit (1)": np.array([row[2] for row in told], float),
    }
    table = _write(case, Role.CONVERGENCE_TABLE, columns)
    curves = [Curve("misfit", table, "elapsed (s)", "misfit (1)", _colour(0))]
    chart = _draw(case, Role.CONVERGENCE_CHART, "Misfit of the equations", "elapsed (s)", "misfit (1)", curves)
    chart.SetYAxisLogScale(True)
    return chart


def figures_table(case: Case, snapshot: Snapshot) -> Any:
    """The figures as a table node: what, value, unit, 90 % interval where there is one, and where it comes from."""
    figures = snapshot.figures
    columns: dict[str, Array | list[str]] = {
        "figure": [figure_name(name) for name in figures],
        "value": np.array([figure.value for figure in figures.values()], float),
        "unit": [_unit(figure.unit) for figure in figures.values()],
    }
    if any(figure.interval_90 is not None for figure in figures.values()):
        for k, title in enumerate(("90 % from", "90 % to")):
            columns[title] = [
                "" if figure.interval_90 is None else f"{figure.interval_90[k]:.6g}" for figure in figures.values()
            ]
    columns["origin"] = [figure.origin for figure in figures.values()]
    return _write(case, Role.FIGURES_TABLE, columns)


def figure_name(name: str) -> str:
    """A figure's name as a person reads it."""
    return name.replace("_", " ").replace("wss", "wall shear stress")


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _colour(number: int) -> tuple[float, float, float]:
    return BRANCH_COLOURS[number % len(BRANCH_COLOURS)]


def _write(case: Case, role: Role, columns: Mapping[str, Array | list[str]]) -> Any:
    node = case.put(role, "vtkMRMLTableNode")
    node.SetLocked(True)
    node.SetAndObserveTable(rows(columns))
    return node


def _hold_range(chart: Any, snapshot: Snapshot, names: Sequence[str]) -> None:
    """Let the axis span all phases, so that it stands still while time runs."""
    if not snapshot.phases:
        chart.SetYAxisRangeAuto(True)
        return
    every = [course_columns(courses_at(snapshot, number)) for number in range(len(snapshot.phases))]
    values = np.concatenate([columns[name] for columns in every for name in names if name in columns])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.05 * (high - low) or 1.0
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(low - margin, high + margin)


def _draw(case: Case, role: Role, title: str, x_title: str, y_title: str, curves: Sequence[Curve]) -> Any | None:
    """Bring the chart of a role up to its curves; it and its series stay the same nodes."""
    if not curves:
        _drop_chart(case, role)
        return None
    chart = case.put(role, "vtkMRMLPlotChartNode")
    before = chart.StartModify()
    nodes = [_series(case, role, curve) for curve in curves]
    wanted = [node.GetID() for node in nodes]
    present = [chart.GetNthPlotSeriesNodeID(k) for k in range(chart.GetNumberOfPlotSeriesNodes())]
    if wanted != present:
        chart.RemoveAllPlotSeriesNodeIDs()
        for node_id in wanted:
            chart.AddAndObservePlotSeriesNodeID(node_id)
        for node in _series_of(case, role):
            if node.GetID() not in wanted:
                case.take_out(Role.CURVES, node)
    chart.SetTitle(title)
    chart.SetXAxisTitle(x_title)
    chart.SetYAxisTitle(y_title)
    chart.SetLegendVisibility(len(curves) > 1)
    chart.EndModify(before)
    return chart


def _series(case: Case, role: Role, curve: Curve) -> Any:
    key = f"{role.value}: {curve.name}"
    node = next((held for held in _series_of(case, role) if held.GetAttribute(CURVE) == key), None)
    if node is None:
        node = case.add(Role.CURVES, "vtkMRMLPlotSeriesNode", key, hidden=True)
        node.SetAttribute(CURVE, key)
    before = node.StartModify()
    # the legend of a plot is the name of its series
    node.SetName(curve.name)
    node.SetAndObserveTableNodeID(curve.table.GetID())
    node.SetXColumnName(curve.x)
    node.SetYColumnName(curve.y)
    node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    node.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    dash, solid = slicer.vtkMRMLPlotSeriesNode.LineStyleDash, slicer.vtkMRMLPlotSeriesNode.LineStyleSolid
    node.SetLineStyle(dash if curve.dashed else solid)
    node.SetLineWidth(1.5 if curve.dashed else 2.0)
    node.SetColor(*curve.colour)
    node.EndModify(before)
    return node


def _series_of(case: Case, role: Role) -> list[Any]:
    return [node for node in case.all(Role.CURVES) if (node.GetAttribute(CURVE) or "").startswith(f"{role.value}: ")]


def _drop_chart(case: Case, role: Role) -> None:
    case.drop(role)
    for node in _series_of(case, role):
        case.take_out(Role.CURVES, node)

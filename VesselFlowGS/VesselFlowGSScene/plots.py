"""Plots and tables of a case: along the centreline, over time, of the solution's way, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import slicer
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkTable

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.ranges import PA_PER_MMHG
from VesselFlowGSScene.timebase import MARK_COLUMN, TIME_COLUMN, cursor_rows, set_cursor_range

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
    """Pressure and area along every branch: the two chart nodes, each None where there are no such values.

    phase  number of the phase, None for the snapshot's own values (of a pulsatile flow: the mean)
    The table holds one group of columns per branch: arc length in mm from the branch's beginning, radius, area,
    pressure in mmHg, flow, and the part of the diameter that is lost, in percent.
    """
    from VesselFlowGSLib.results.course import course_of

    courses = course_of(snapshot, phase)
    if not courses:
        for role in (Role.PRESSURE_CHART, Role.AREA_CHART, Role.COURSE_TABLE):
            _drop_chart(case, role)
        return None, None
    names = [branch_name(k, len(courses)) for k in range(len(courses))]
    columns: dict[str, Array] = {}
    for name, course in zip(names, courses, strict=True):
        columns.update(_course_columns(name, course))
    table = _write(case, Role.COURSE_TABLE, columns)

    def chart(role: Role, title: str, quantity: str) -> Any | None:
        curves = [
            Curve(name, table, f"{name}: arc length (mm)", f"{name}: {quantity}", _colour(k))
            for k, name in enumerate(names)
            if f"{name}: {quantity}" in columns
        ]
        return _draw(case, role, title, "arc length (mm)", quantity, curves)

    return (
        chart(Role.PRESSURE_CHART, "Pressure along the centreline", "pressure (mmHg)"),
        chart(Role.AREA_CHART, "Area along the centreline", "area (mm²)"),
    )


def flow_chart(case: Case, snapshot: Snapshot) -> Any | None:
    """The flow of every branch over one period, with the time that is shown: its chart node; None for a steady flow."""
    from VesselFlowGSLib.results.course import course_of

    courses = [course_of(snapshot, k) for k in range(len(snapshot.phases))]
    if len(courses) < 2 or any(course.flow_ml_s is None for branches in courses for course in branches):
        _drop_chart(case, Role.FLOW_CHART)
        case.drop(Role.FLOW_TABLE)
        return None
    count = len(courses[0])
    names = [branch_name(k, count) for k in range(count)]
    times = [phase.time_s for phase in snapshot.phases]
    flows = np.array([[float(np.mean(course.flow_ml_s)) for course in branches] for branches in courses])
    columns: dict[str, Array] = {TIME_COLUMN: np.asarray(times, float)}
    columns |= {f"{name}: flow (ml/s)": flows[:, k] for k, name in enumerate(names)}
    table = _write(case, Role.FLOW_TABLE, columns)
    low, high = min(0.0, float(flows.min())), float(flows.max())
    cursor = case.put(Role.CURSOR_TABLE, "vtkMRMLTableNode", hidden=True)
    if cursor.GetNumberOfColumns() != 2:
        cursor.SetAndObserveTable(cursor_rows(times[0], low, high))
    set_cursor_range(case, low, high)
    curves = [Curve(name, table, TIME_COLUMN, f"{name}: flow (ml/s)", _colour(k)) for k, name in enumerate(names)]
    curves.append(Curve("now", cursor, TIME_COLUMN, MARK_COLUMN, CURSOR_COLOUR, dashed=True))
    return _draw(case, Role.FLOW_CHART, "Flow over one period", TIME_COLUMN, "flow (ml/s)", curves)


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


def branch_name(number: int, count: int) -> str:
    """How plots and tables call a branch."""
    return "vessel" if count == 1 else f"branch {number + 1}"


def figure_name(name: str) -> str:
    """A figure's name as a person reads it."""
    return name.replace("_", " ").replace("wss", "wall shear stress")


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _course_columns(name: str, course: Any) -> dict[str, Array]:
    held: dict[str, Array | None] = {
        "arc length (mm)": course.arc_length_mm,
        "radius (mm)": course.radius_mm,
        "area (mm²)": course.area_mm2,
        "pressure (mmHg)": None if course.pressure_pa is None else np.asarray(course.pressure_pa) / PA_PER_MMHG,
        "flow (ml/s)": course.flow_ml_s,
        "diameter lost (%)": course.stenosis_percent,
    }
    return {f"{name}: {title}": np.asarray(values, float) for title, values in held.items() if values is not None}


def _colour(number: int) -> tuple[float, float, float]:
    return BRANCH_COLOURS[number % len(BRANCH_COLOURS)]


def _write(case: Case, role: Role, columns: Mapping[str, Array | list[str]]) -> Any:
    """Put columns into the table node of a role; shorter ones end with "not a number", which plots leave out."""
    node = case.put(role, "vtkMRMLTableNode")
    rows = max((len(values) for values in columns.values()), default=0)
    table = vtkTable()
    for name, values in columns.items():
        if isinstance(values, list):
            column = vtkStringArray()
            for text in values:
                column.InsertNextValue(text)
        else:
            padded = np.full(rows, np.nan)
            padded[: len(values)] = values
            column = numpy_to_vtk(padded, deep=True)
        column.SetName(name)
        table.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(False)
    node.SetLocked(True)
    node.SetAndObserveTable(table)
    return node


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
                case.scene.RemoveNode(node)
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
        case.scene.RemoveNode(node)

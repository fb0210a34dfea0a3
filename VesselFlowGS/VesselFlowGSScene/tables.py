"""What plots and tables are made of: rows of numbers with units in the titles. Knows no scene."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkTable

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG

if TYPE_CHECKING:
    from VesselFlowGSLib.results.course import BranchCourse

Array = NDArray[Any]

TIME = "time (s)"
CURSOR = "now"
FROM_INLET = "from the inlet (mm)"
ARC_LENGTH = "arc length (mm)"
RADIUS = "radius (mm)"
AREA = "area (mm²)"
HEALTHY_AREA = "area of the healthy vessel (mm²)"
STENOSIS = "diameter lost (%)"
PRESSURE = "pressure (mmHg)"
PRESSURE_LOW = "pressure, 90 % from (mmHg)"
PRESSURE_HIGH = "pressure, 90 % to (mmHg)"
FLOW = "flow (ml/s)"

PARTS_OF_PHASES = ("pressure_pa", "flow_ml_s", "pressure_low_pa", "pressure_high_pa")


def branch_name(number: int, count: int) -> str:
    """How plots and tables call a branch."""
    return "vessel" if count == 1 else f"branch {number + 1}"


def column_name(branch: str, quantity: str) -> str:
    """The title of a branch's column."""
    return f"{branch}: {quantity}"


def courses_at(snapshot: Snapshot, phase: int | None = None) -> tuple[BranchCourse, ...]:
    """results.course.course_of of a phase, None for the snapshot's own; the vessel's shape is looked at once."""
    if snapshot.centreline is None:
        return ()
    courses = _shape_of(snapshot)
    if phase is None or not 0 <= phase < len(snapshot.phases):
        return courses
    held = snapshot.phases[phase].centreline
    offsets = snapshot.centreline.offsets
    return tuple(
        dataclasses.replace(
            course,
            **{
                name: np.asarray(held[name][offsets[course.branch] : offsets[course.branch + 1]], float)
                for name in PARTS_OF_PHASES
                if name in held
            },
        )
        for course in courses
    )


def course_columns(courses: Sequence[BranchCourse]) -> dict[str, Array]:
    """The columns of all branches beside each other; the values that are known alone."""
    columns: dict[str, Array] = {}
    for number, course in enumerate(courses):
        held: dict[str, Array | None] = {
            FROM_INLET: course.from_inlet_mm,
            ARC_LENGTH: course.arc_length_mm,
            RADIUS: course.radius_mm,
            AREA: course.area_mm2,
            HEALTHY_AREA: np.pi * course.reference_radius_mm**2,
            STENOSIS: course.stenosis_percent,
            PRESSURE: _mmhg(course.pressure_pa),
            PRESSURE_LOW: _mmhg(course.pressure_low_pa),
            PRESSURE_HIGH: _mmhg(course.pressure_high_pa),
            FLOW: course.flow_ml_s,
        }
        branch = branch_name(number, len(courses))
        columns |= {column_name(branch, name): values for name, values in held.items() if values is not None}
    return columns


def flow_columns(snapshot: Snapshot) -> dict[str, Array]:
    """Time and the mean flow of every branch at each phase; {} where the flow is steady or not known."""
    if len(snapshot.phases) < 2 or snapshot.centreline is None:
        return {}
    by_phase = [courses_at(snapshot, number) for number in range(len(snapshot.phases))]
    if any(course.flow_ml_s is None for courses in by_phase for course in courses) or not by_phase[0]:
        return {}
    columns = {TIME: np.array([phase.time_s for phase in snapshot.phases], float)}
    for number in range(len(by_phase[0])):
        name = column_name(branch_name(number, len(by_phase[0])), FLOW)
        columns[name] = np.array([np.mean(courses[number].flow_ml_s) for courses in by_phase], float)
    return columns


def cursor_rows(time_s: float, low: float, high: float) -> vtkTable:
    """Two rows: a line across a plot over time."""
    return rows({TIME: np.array([time_s, time_s]), CURSOR: np.array([low, high])})


def rows(columns: Mapping[str, Array | list[str]]) -> vtkTable:
    """The columns as a table; shorter ones end with "not a number", which plots leave out."""
    count = max((len(values) for values in columns.values()), default=0)
    table = vtkTable()
    for name, values in columns.items():
        if isinstance(values, list):
            column = vtkStringArray()
            for text in values:
                column.InsertNextValue(text)
        else:
            padded = np.full(count, np.nan)
            padded[: len(values)] = values
            column = numpy_to_vtk(padded, deep=True)
        column.SetName(name)
        table.AddColumn(column)
    return table


# the centreline that was looked at last, so that the phases of one snapshot cost nothing more
_last: tuple[weakref.ref[Polylines], tuple[BranchCourse, ...]] | None = None


def _shape_of(snapshot: Snapshot) -> tuple[BranchCourse, ...]:
    global _last
    from VesselFlowGSLib.results.course import course_of

    assert snapshot.centreline is not None
    if _last is None or _last[0]() is not snapshot.centreline:
        _last = (weakref.ref(snapshot.centreline), course_of(snapshot))
    return _last[1]


def _mmhg(pressure_pa: Array | None) -> Array | None:
    return None if pressure_pa is None else np.asarray(pressure_pa, float) / PASCAL_PER_MMHG

"""Lines along the flow as a model: thin tubes coloured by speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkTubeFilter

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.lumen import phase_of
from VesselFlowGSScene.poly_data import VELOCITY, fingerprint, mark, mark_of, poly_data


@dataclass(frozen=True)
class StreamlineSettings:
    """sides of a tube; most_points: with more of them the lines stay lines, so that a view never waits."""

    sides: int = 5
    most_points: int = 60_000


def streamline_data(snapshot: Snapshot, appearance: Appearance, phase: int | None = None) -> vtkPolyData:
    """Tubes of the appearance's width in RAS with Speed_m_s and Velocity_m_s; empty where there are no lines.

    phase  number of one of the snapshot's phases; its own lines where it has some, else the snapshot's
    """
    lines = lines_of(snapshot, phase)
    if lines is None or len(lines.points) == 0:
        return vtkPolyData()
    settings = StreamlineSettings()
    data = _tubes(line_data(lines), appearance.streamline_width_mm / 2, settings)
    return mark(data, _made_of(lines, appearance))


def line_data(lines: Polylines) -> vtkPolyData:
    """The curves themselves in RAS with Speed_m_s and, as the active vectors, Velocity_m_s."""
    velocity = np.asarray(lines.arrays["velocity"], np.float32) if "velocity" in lines.arrays else None
    speed = lines.arrays.get("speed")
    if speed is None and velocity is not None:
        speed = np.linalg.norm(velocity, axis=1)
    arrays = {}
    if speed is not None:
        arrays["Speed_m_s"] = np.array(speed, np.float32)
    if velocity is not None:
        arrays[VELOCITY] = ras_of(velocity)
    points = ras_of(np.asarray(lines.points, np.float32))
    return poly_data(points, arrays, lines=lines.offsets, vectors=VELOCITY)


def lines_of(snapshot: Snapshot, phase: int | None) -> Polylines | None:
    """The streamlines of a phase, or the snapshot's own."""
    moment = phase_of(snapshot, phase)
    return moment.streamlines if moment is not None and moment.streamlines is not None else snapshot.streamlines


def show_streamlines(
    case: Case, snapshot: Snapshot, appearance: Appearance, scale: Scale | None, phase: int | None
) -> Any:
    """Bring the streamlines' model up to date; its display node, or None where there is none."""
    node = case.get(Role.STREAMLINES)
    lines = lines_of(snapshot, phase)
    if not appearance.streamlines or lines is None or len(lines.points) == 0:
        return hidden(node)
    node = case.put(Role.STREAMLINES, "vtkMRMLModelNode")
    modifying = node.StartModify()
    if mark_of(node.GetPolyData()) != _made_of(lines, appearance):
        node.SetAndObserveMesh(streamline_data(snapshot, appearance, phase))
    display = with_display(node)
    display.SetVisibility(True)
    paint(display, scale)
    node.EndModify(modifying)
    return display


def hidden(node: Any | None) -> Any | None:
    """Hide a node that may not exist; its display node, or None."""
    display = None if node is None else node.GetDisplayNode()
    if display is not None:
        display.SetVisibility(False)
    return display


def with_display(node: Any) -> Any:
    """The display node of a model, made where there is none."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def _tubes(data: vtkPolyData, radius: float, settings: StreamlineSettings) -> vtkPolyData:
    if data.GetNumberOfPoints() > settings.most_points:
        return data
    tube = vtkTubeFilter()
    tube.SetInputData(data)
    tube.SetRadius(radius)
    tube.SetNumberOfSides(settings.sides)
    tube.Update()
    made = vtkPolyData()
    made.ShallowCopy(tube.GetOutput())
    made.GetPointData().SetActiveVectors(VELOCITY)
    return made


def _made_of(lines: Polylines, appearance: Appearance) -> str:
    arrays = [np.asarray(values) for _, values in sorted(lines.arrays.items())]
    return fingerprint(np.asarray(lines.points), np.asarray(lines.offsets), *arrays, appearance.streamline_width_mm)

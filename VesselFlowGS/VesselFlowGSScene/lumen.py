"""The vessel's wall as a model, coloured by what is known on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.vtkCommonDataModel import vtkPolyData

from VesselFlowGSLib.results.snapshot import Phase, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene.appearance import Appearance, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.near_wall import speed_below_wall, velocity_of, wall_normals
from VesselFlowGSScene.over_time import over_time_of
from VesselFlowGSScene.poly_data import (
    drop_arrays_but,
    fingerprint,
    mark,
    mark_of,
    note,
    note_of,
    poly_data,
    set_array,
)

Array = NDArray[Any]
SHAPE = "VesselFlowGS.Shape"
SLICE_LINE = 3
PLAIN_COLOUR = (0.86, 0.47, 0.42)
NORMALS = "Normals"
ENGINE_ARRAYS = ("pressure", "wss", "confidence")
OVER_TIME = {"tawss": "TAWSS_Pa", "osi": "OSI"}


def phase_of(snapshot: Snapshot, phase: int | None) -> Phase | None:
    """The numbered phase, or None where the snapshot stands for itself or has no such phase."""
    return snapshot.phases[phase] if phase is not None and 0 <= phase < len(snapshot.phases) else None


def lumen_data(snapshot: Snapshot, phase: int | None = None, speed: bool = True) -> vtkPolyData:
    """The wall in RAS with what is known of Pressure_mmHg, WSS_Pa, TAWSS_Pa, OSI, Speed_m_s and Confidence.

    Empty without a wall.

    phase  number of one of the snapshot's phases; None: the snapshot itself, of a pulsatile flow its mean
    speed  whether Speed_m_s is wanted, whose first time for a shape takes a search

    Speed on the wall is zero: Speed_m_s is that of the blood half a radius below.
    """
    surface = snapshot.surface
    if surface is None:
        return vtkPolyData()
    points = ras_of(np.asarray(surface.points, np.float32))
    normals = ras_of(wall_normals(surface))
    data = poly_data(points, wall_arrays(snapshot, phase, speed), triangles=surface.triangles, normals=normals)
    note(data, SHAPE, _shape(snapshot))
    return mark(data, _made_of(snapshot, phase, speed))


def wall_arrays(snapshot: Snapshot, phase: int | None = None, speed: bool = True) -> dict[str, Array]:
    """The point arrays of lumen_data, (n,) float32 each."""
    surface = snapshot.surface
    if surface is None:
        return {}
    moment = phase_of(snapshot, phase)
    known = {**surface.arrays, **(moment.surface if moment else {})}
    arrays: dict[str, Array] = {}
    if "pressure" in known:
        arrays["Pressure_mmHg"] = np.asarray(known["pressure"], np.float32) / np.float32(PASCAL_PER_MMHG)
    if "wss" in known:
        arrays["WSS_Pa"] = np.array(known["wss"], np.float32)
    period = over_time_of(snapshot)
    # the same at all phases, which share the memory
    arrays.update({shown: period[name] for name, shown in OVER_TIME.items() if name in period})
    below = speed_below_wall(snapshot, moment) if speed else None
    if below is not None:
        arrays["Speed_m_s"] = below
    if "confidence" in known:
        arrays["Confidence"] = np.array(known["confidence"], np.float32)
    return arrays


def show_lumen(case: Case, snapshot: Snapshot, appearance: Appearance, scale: Scale | None, phase: int | None) -> Any:
    """Bring the wall's model up to date; its display node, or None where there is no wall yet."""
    if snapshot.surface is None:
        return None
    node = case.put(Role.LUMEN, "vtkMRMLModelNode")
    speed = appearance.quantity is Quantity.SPEED
    if _same_wall(node, snapshot):
        _change_arrays(node, snapshot, phase, speed)
    else:
        node.SetAndObserveMesh(lumen_data(snapshot, phase, speed))
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetColor(*PLAIN_COLOUR)
        node.GetDisplayNode().SetVisibility2D(True)
        node.GetDisplayNode().SetSliceIntersectionThickness(SLICE_LINE)
        node.GetDisplayNode().SetBackfaceCulling(False)
    display = node.GetDisplayNode()
    still = display.StartModify()
    display.SetVisibility(appearance.lumen)
    display.SetOpacity(appearance.opacity)
    paint(display, scale if scale and node.GetPolyData().GetPointData().HasArray(scale.array) else None)
    display.EndModify(still)
    return display


def _same_wall(node: Any, snapshot: Snapshot) -> bool:
    data = node.GetPolyData()
    surface = snapshot.surface
    if data is None or surface is None or data.GetNumberOfPoints() != len(surface.points):
        return False
    return data.GetNumberOfPolys() == len(surface.triangles) and note_of(data, SHAPE) == _shape(snapshot)


def _change_arrays(node: Any, snapshot: Snapshot, phase: int | None, speed: bool) -> None:
    shown = node.GetPolyData()
    # what was once worth a search stays up to date, so that a step in time needs no other arrays
    speed = speed or bool(shown.GetPointData().HasArray("Speed_m_s"))
    made_of = _made_of(snapshot, phase, speed)
    if mark_of(shown) == made_of:
        return
    arrays = wall_arrays(snapshot, phase, speed)
    # what is shown may be an item of a sequence, which a browser shows without copying: it keeps its values
    data = vtkPolyData()
    data.ShallowCopy(shown)
    drop_arrays_but(data, {NORMALS})
    for name, values in arrays.items():
        set_array(data, name, values)
    node.SetAndObserveMesh(mark(data, made_of))


def _shape(snapshot: Snapshot) -> str:
    surface = snapshot.surface
    if snapshot.shape or surface is None:
        return snapshot.shape
    return fingerprint(np.asarray(surface.points), np.asarray(surface.triangles))


def _made_of(snapshot: Snapshot, phase: int | None, speed: bool) -> str:
    surface = snapshot.surface
    moment = phase_of(snapshot, phase)
    known = {**(surface.arrays if surface else {}), **(moment.surface if moment else {})}
    parts = [(name, fingerprint(np.asarray(known[name]))) for name in ENGINE_ARRAYS if name in known]
    parts += [(name, fingerprint(values)) for name, values in over_time_of(snapshot).items()]
    # the wall's own arrays tell one flow from another; of the field it is enough to know that there is one
    return fingerprint(_shape(snapshot), *parts, speed and velocity_of(snapshot, moment) is not None)

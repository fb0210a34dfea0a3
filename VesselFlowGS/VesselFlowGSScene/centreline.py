"""The centreline as a model of lines with the radius along it."""

from __future__ import annotations

from typing import Any

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.poly_data import fingerprint, mark, mark_of, poly_data
from VesselFlowGSScene.ranges import ordered
from VesselFlowGSScene.streamlines import hidden, with_display

LINE_WIDTH = 4.0
ARRAYS = {"radius_mm": "Radius_mm", "branch_id": "Branch", "flow_ml_s": "Flow_ml_s"}


def centreline_data(snapshot: Snapshot) -> vtkPolyData:
    """One line a branch in RAS with Radius_mm, Branch and, with a flow, Flow_ml_s and Pressure_mmHg."""
    line = snapshot.centreline
    if line is None or len(line.points) == 0:
        return vtkPolyData()
    arrays = {shown: np.array(line.arrays[name]) for name, shown in ARRAYS.items() if name in line.arrays}
    if "pressure_pa" in line.arrays:
        arrays["Pressure_mmHg"] = np.asarray(line.arrays["pressure_pa"]) / PASCAL_PER_MMHG
    data = poly_data(ras_of(np.asarray(line.points, np.float32)), arrays, lines=line.offsets)
    return mark(data, _made_of(line))


def radius_scale(snapshot: Snapshot) -> Scale | None:
    """What colours the centreline: from its narrowest to its widest place."""
    line = snapshot.centreline
    if line is None or "radius_mm" not in line.arrays or len(line.points) == 0:
        return None
    radius = np.asarray(line.arrays["radius_mm"], float)
    return Scale("Radius_mm", "Radius (mm)", "radius", *ordered(float(radius.min()), float(radius.max())))


def show_centreline(case: Case, snapshot: Snapshot, appearance: Appearance, scale: Scale | None) -> Any:
    """Bring the centreline's model up to date; its display node, or None where there is none."""
    line = snapshot.centreline
    if not appearance.centreline or line is None or len(line.points) == 0:
        return hidden(case.get(Role.CENTRELINE))
    node = case.put(Role.CENTRELINE, "vtkMRMLModelNode")
    if mark_of(node.GetPolyData()) != _made_of(line):
        node.SetAndObserveMesh(centreline_data(snapshot))
    display = with_display(node)
    display.SetLineWidth(LINE_WIDTH)
    display.SetLighting(False)
    display.SetVisibility(True)
    paint(display, scale)
    return display


def _made_of(line: Polylines) -> str:
    arrays = [np.asarray(values) for _, values in sorted(line.arrays.items())]
    return fingerprint(np.asarray(line.points), np.asarray(line.offsets), *arrays)

"""A plane across the vessel that a person drags: the flow through it, and its section coloured by speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene.appearance import Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import paint, scale_of
from VesselFlowGSScene.frames import lps_of, ras_of
from VesselFlowGSScene.poly_data import VELOCITY, poly_data
from VesselFlowGSScene.ranges import automatic_range

if TYPE_CHECKING:
    from VesselFlowGSLib.results.sections import FieldSampler, PlaneCut

Array = NDArray[Any]

# of the plane that is drawn, in radii of the vessel
PLANE_RADII = 4.0
PLANE_COLOUR = (0.95, 0.85, 0.25)
# how far, in radii, the section may lie from where the plane is held
NEAR_RADII = 2.0


def sampler_of(snapshot: Snapshot, phase: int | None = None) -> FieldSampler | None:
    """What measure and read_probe sample: the field of a phase, None for the snapshot's own; None without a field.

    Keep it, and use its with_arrays for other phases: making it takes longer than a measurement.
    """
    from VesselFlowGSLib.results.sections import FieldSampler

    if snapshot.field is None or not {"velocity", "pressure"} <= set(snapshot.field.arrays):
        return None
    sampler = FieldSampler(snapshot.field)
    if phase is None or not 0 <= phase < len(snapshot.phases):
        return sampler
    arrays = {**snapshot.field.arrays, **snapshot.phases[phase].field}
    return sampler.with_arrays(arrays["velocity"], arrays["pressure"])


def place_plane(case: Case, snapshot: Snapshot, arc_length_mm: float, branch: int = 0) -> Any | None:
    """The case's cut plane, put across a branch at an arc length from its beginning; None without a centreline.

    Its normal points downstream, so that the flow through it is positive.
    """
    at = point_on_branch(snapshot.centreline, arc_length_mm, branch)
    if at is None:
        return None
    point, tangent, radius = at
    # a new one is dressed here: Slicer gives it a display node of its own at once
    fresh = case.get(Role.CUT_PLANE) is None
    node = case.put(Role.CUT_PLANE, "vtkMRMLMarkupsPlaneNode")
    before = node.StartModify()
    if fresh:
        _dress(node)
    node.SetPlaneType(node.PlaneTypePointNormal)
    node.SetSizeMode(node.SizeModeAbsolute)
    node.SetOriginWorld(*ras_of(point))
    node.SetNormalWorld(*ras_of(tangent))
    node.SetSize(PLANE_RADII * radius, PLANE_RADII * radius)
    node.EndModify(before)
    return node


def measure(case: Case, snapshot: Snapshot, sampler: FieldSampler | None) -> PlaneCut | None:
    """What flows through the plane where it lies now; its label and its coloured section are brought up to it.

    None where there is no plane, no field, or the plane misses the vessel; the section is then hidden. The flow is
    positive along the plane's normal. Of several sections the one nearest to the plane's origin counts.
    """
    plane = case.get(Role.CUT_PLANE)
    if plane is None or sampler is None or not plane.GetIsPlaneValid():
        _hide_section(case)
        return None
    origin, normal = np.zeros(3), np.zeros(3)
    plane.GetOriginWorld(origin)
    plane.GetNormalWorld(normal)
    origin, normal = lps_of(origin), lps_of(normal)
    cut = sampler.cut(origin, normal, near_mm=_near(snapshot, origin))
    _write(plane, "outside the vessel" if cut is None else "\n".join(_words(cut)))
    if cut is None:
        _hide_section(case)
    else:
        _show_section(case, snapshot, cut)
    return cut


def remove_plane(case: Case) -> None:
    """Remove the plane and its section."""
    case.drop(Role.CUT_PLANE)
    case.drop(Role.CUT_SECTION)


def text_of(cut: PlaneCut) -> str:
    """The measurement in one line."""
    return " · ".join(_words(cut))


def point_on_branch(
    centreline: Polylines | None, arc_length_mm: float, branch: int = 0
) -> tuple[Array, Array, float] | None:
    """Point (3,), downstream tangent (3,) and radius mm on a branch, LPS; the arc length is kept within the branch."""
    if centreline is None or not 0 <= branch < len(centreline.offsets) - 1:
        return None
    part = slice(int(centreline.offsets[branch]), int(centreline.offsets[branch + 1]))
    points = np.asarray(centreline.points[part], float)
    if len(points) < 2:
        return None
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = float(np.clip(arc_length_mm, 0.0, arc[-1]))
    slopes = np.gradient(points, arc, axis=0)
    point = np.array([np.interp(at, arc, points[:, k]) for k in range(3)])
    tangent = np.array([np.interp(at, arc, slopes[:, k]) for k in range(3)])
    radius = float(np.interp(at, arc, np.asarray(centreline.arrays["radius_mm"], float)[part]))
    return point, tangent / np.linalg.norm(tangent), radius


def _words(cut: PlaneCut) -> tuple[str, ...]:
    return (
        f"flow {cut.flow_ml_s:.2f} ml/s",
        f"area {cut.area_mm2:.2f} mm²",
        f"mean speed {cut.mean_speed_m_s:.3f} m/s",
        f"mean pressure {cut.mean_pressure_pa / PASCAL_PER_MMHG:.2f} mmHg",
    )


def _near(snapshot: Snapshot, origin: Array) -> float | None:
    line = snapshot.centreline
    if line is None or len(line.points) == 0:
        return None
    nearest = int(np.argmin(np.linalg.norm(np.asarray(line.points) - origin, axis=1)))
    return NEAR_RADII * float(line.arrays["radius_mm"][nearest])


def _dress(node: Any) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*PLANE_COLOUR)
    display.SetColor(*PLANE_COLOUR)
    display.SetFillOpacity(0.15)
    display.SetHandlesInteractive(True)
    display.SetRotationHandleVisibility(True)
    display.SetTranslationHandleVisibility(True)
    display.SetScaleHandleVisibility(False)
    # the text stands at the plane's own point
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(True)


def _write(plane: Any, text: str) -> None:
    if plane.GetNumberOfControlPoints() and plane.GetNthControlPointLabel(0) != text:
        plane.SetNthControlPointLabel(0, text)


def _show_section(case: Case, snapshot: Snapshot, cut: PlaneCut) -> None:
    section = cut.section
    velocity = np.asarray(section.arrays["velocity"], np.float32)
    arrays = {
        VELOCITY: ras_of(velocity),
        "Speed_m_s": np.linalg.norm(velocity, axis=1),
        "Pressure_mmHg": np.asarray(section.arrays["pressure"], np.float32) / np.float32(PASCAL_PER_MMHG),
    }
    data = poly_data(
        ras_of(np.asarray(section.points, np.float32)), arrays, triangles=section.triangles, vectors=VELOCITY
    )
    node = case.put(Role.CUT_SECTION, "vtkMRMLModelNode")
    before = node.StartModify()
    node.SetAndObserveMesh(data)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetLighting(False)
        node.GetDisplayNode().SetBackfaceCulling(False)
    speeds = automatic_range(snapshot, Quantity.SPEED, None, over_time=True)
    paint(node.GetDisplayNode(), None if speeds is None else scale_of(Quantity.SPEED, {Quantity.SPEED: speeds}))
    node.GetDisplayNode().SetVisibility(True)
    node.EndModify(before)


def _hide_section(case: Case) -> None:
    node = case.get(Role.CUT_SECTION)
    if node is not None and node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetVisibility(False)

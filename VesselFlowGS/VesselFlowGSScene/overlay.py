"""The projected lumen over a frame of a run, or over its times to peak: two nodes of a case in a slice view.

They lie in the plane of the detector, which is laid flat at the scene's origin, as Slicer lays the frames of a run:
columns run to the patient's left, rows to the back, so that an axial slice view shows the frame upright. It is no place
in the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from VesselFlowGSLib.errors import InputError
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, show_image_legend, table_node
from VesselFlowGSScene.poly_data import fingerprint, poly_data
from VesselFlowGSScene.projection import Drawing, Vessel, cameras_of, drawing_of, vessel_of_mesh
from VesselFlowGSScene.ranges import ordered, rounded
from VesselFlowGSScene.runs import RunEntry
from VesselFlowGSScene.scene_geometry import grid_of_segments, has_labelmap, surface_of_model, surface_of_segments

COLOUR = (1.0, 0.8, 0.1)
LINE_WIDTH = 2
# the window of gray levels leaves out so many of a frame's pixels at either end, and is never narrower than this
WINDOW_SHARE = 0.9995
LEAST_WINDOW = 1e-3
GREY = "vtkMRMLColorTableNodeGrey"
# the colours of the times to peak resolve what lies between these; steps: see ranges.RangeSettings
PEAK_TABLE = "arrival"
PEAK_PERCENTILES = (2.0, 98.0)
PEAK_STEPS = 20.0


def show_frame(case: Case, entry: RunEntry, image: NDArray[np.floating[Any]]) -> Any:
    """Show (rows, columns) values of a run as the case's frame; contrast is drawn dark. Returns the volume node.

    The window of gray levels is chosen anew when another run is shown; while frames of one run follow it grows with
    what they show, until a person sets it.
    """
    values = -np.ascontiguousarray(image, np.float32)
    node = _filmed(case, entry, values)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(GREY)
    display.SetApplyThreshold(False)
    display.SetInterpolate(True)
    show_image_legend(display, None)
    _choose_window(node, entry, values)
    return node


def show_peak_times(case: Case, entry: RunEntry, times_s: NDArray[np.floating[Any]]) -> Any:
    """Show (rows, columns) times to peak, s on the run's clock, in colours as the case's frame; returns the volume.

    Where the time is NaN nothing is drawn; the volume holds a second less than the run's first time there.
    """
    assert entry.frame_times_s is not None
    known = times_s[np.isfinite(times_s)]
    nothing = entry.frame_times_s[0] - 1.0
    node = _filmed(case, entry, np.nan_to_num(times_s, nan=nothing).astype(np.float32))
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(table_node(case.scene, PEAK_TABLE).GetID())
    # between a time and no time there is nothing that could be drawn
    display.SetInterpolate(False)
    display.SetAutoThreshold(False)
    display.SetThreshold(entry.frame_times_s[0] - 0.5, entry.frame_times_s[-1] + 0.5)
    display.SetApplyThreshold(True)
    ends = entry.frame_times_s[0], entry.frame_times_s[-1]
    if len(known):
        ends = rounded(*(float(end) for end in np.percentile(known, PEAK_PERCENTILES)), PEAK_STEPS)
    low, high = ordered(*ends)
    _set_window(node, f"{_mark(entry)} {PEAK_TABLE}", low, high)
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    show_image_legend(display, Scale("", "Time to peak (s)", PEAK_TABLE, low, high))
    return node


def show_outline(
    case: Case,
    entry: RunEntry,
    vessel: Vessel,
    isocentre_lps_mm: Sequence[float],
    *,
    frame: int = 0,
    shift_px: tuple[float, float] = (0.0, 0.0),
    centreline: bool = True,
) -> Any:
    """Draw the outline of a vessel where the run's camera sees it; returns the model node.

    isocentre_lps_mm  of the C-arm
    frame             which camera of a C-arm that turns
    shift_px          moves the drawing, (row, column), as while it is dragged
    Raises InputError with what is missing of the run's geometry.
    """
    cameras = cameras_of(entry, isocentre_lps_mm)
    drawing = drawing_of(vessel, cameras[min(frame, len(cameras) - 1)], centreline)
    node = case.put(Role.OVERLAY, "vtkMRMLModelNode")
    node.SetAndObservePolyData(_flat(drawing, entry, shift_px))
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetColor(*COLOUR)
        display.SetLineWidth(LINE_WIDTH)
        display.SetSliceIntersectionThickness(LINE_WIDTH)
        display.SetVisibility2D(True)
        display.SetVisibility3D(False)  # the plane of the detector is no place in the patient
        display.SetSliceDisplayModeToProjection()
    node.GetDisplayNode().SetVisibility(True)
    return node


def hide(case: Case) -> None:
    """Take frame and drawing out of the scene."""
    case.drop(Role.OVERLAY)
    case.drop(Role.FILMED)


def frame_at(entry: RunEntry, time_s: float) -> int:
    """The frame, from 0, that was taken nearest to a time on the study's clock, by the run's own offset."""
    if entry.frame_times_s is None:
        raise InputError(f"{entry.name}: its frames have no times. Enter frame_times_s.")
    times = np.array(entry.frame_times_s) + (entry.time_offset_s or 0.0)
    return int(np.argmin(np.abs(times - time_s)))


def dragged_px(entry: RunEntry, ras_from: Sequence[float], ras_to: Sequence[float]) -> tuple[float, float]:
    """A movement in the plane of the frame, RAS mm as a mouse gives it, in pixels (row, column)."""
    spacing = _spacing(entry)
    across = np.asarray(ras_to, float) - np.asarray(ras_from, float)
    return float(-across[1] / spacing[0]), float(-across[0] / spacing[1])


def pixels_of_ras(entry: RunEntry, ras: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(n, 2) row and column of (n, 3) points in the plane of the frame."""
    spacing = _spacing(entry)
    return np.stack([-np.asarray(ras, float)[:, 1] / spacing[0], -np.asarray(ras, float)[:, 0] / spacing[1]], 1)


def vessel_of_node(node: Any, segments: Sequence[str] = ()) -> Vessel:
    """The vessel of a model node or of a segmentation node, for show_outline. Raises InputError for an empty one."""
    if node.IsA("vtkMRMLModelNode"):
        return _vessel_of_surface(surface_of_model(node))
    if not node.IsA("vtkMRMLSegmentationNode"):
        raise InputError(f"{node.GetName()}: is no vessel. Choose a segmentation or a model.")
    if not has_labelmap(node):
        return _vessel_of_surface(surface_of_segments(node, segments))
    grid = grid_of_segments(node, segments)
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(_image_of(np.pad(grid.values, 1).astype(np.float32)))
    contour.SetValue(0, 0.5)
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    surface = contour.GetOutput()
    index = vtk_to_numpy(surface.GetPoints().GetData()).astype(float) - 1
    return vessel_of_mesh(index @ grid.affine[:3, :3].T + grid.affine[:3, 3], _triangles(surface))


SHOWN = "VesselFlowGS.Run"
WINDOW = "VesselFlowGS.Window"


def _choose_window(node: Any, entry: RunEntry, values: NDArray[np.float32]) -> None:
    display = node.GetDisplayNode()
    low, high = (float(v) for v in np.quantile(values, [1 - WINDOW_SHARE, WINDOW_SHARE]))
    if node.GetAttribute(SHOWN) == _mark(entry):
        now = display.GetWindowLevelMin(), display.GetWindowLevelMax()
        if node.GetAttribute(WINDOW) != _window_text(*now):
            return  # a person has set it
        low, high = min(low, now[0]), max(high, now[1])
    node.SetAttribute(SHOWN, _mark(entry))
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, max(high, low + LEAST_WINDOW))
    node.SetAttribute(WINDOW, _window_text(display.GetWindowLevelMin(), display.GetWindowLevelMax()))


def _set_window(node: Any, shown: str, low: float, high: float) -> None:
    """Another window for what is shown now, unless a person has set one for it."""
    display = node.GetDisplayNode()
    now = _window_text(display.GetWindowLevelMin(), display.GetWindowLevelMax())
    if node.GetAttribute(SHOWN) == shown and node.GetAttribute(WINDOW) != now:
        return
    node.SetAttribute(SHOWN, shown)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    node.SetAttribute(WINDOW, _window_text(display.GetWindowLevelMin(), display.GetWindowLevelMax()))


def _filmed(case: Case, entry: RunEntry, values: NDArray[np.float32]) -> Any:
    """The case's frame with these values, and a display node."""
    spacing = _spacing(entry)
    node = case.put(Role.FILMED, "vtkMRMLScalarVolumeNode")
    node.SetIJKToRASMatrix(_laid_flat())
    node.SetSpacing(spacing[1], spacing[0], 1.0)
    there = node.GetImageData()
    if there is not None and there.GetDimensions() == (*values.shape[::-1], 1):
        slicer.util.arrayFromVolume(node)[0] = values
        slicer.util.arrayFromVolumeModified(node)
    else:
        node.SetAndObserveImageData(_image_of(values))
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node


def _window_text(low: float, high: float) -> str:
    return f"{low:.6g} {high:.6g}"


def _mark(entry: RunEntry) -> str:
    """Tells runs apart without naming them: the scene may be handed on."""
    return fingerprint(entry.source.sequence, entry.source.instance_uid, entry.name)


def _spacing(entry: RunEntry) -> tuple[float, float]:
    if entry.pixel_spacing_mm is None:
        raise InputError(f"{entry.name}: pixel_spacing_mm is missing: enter the millimetres between pixels.")
    return entry.pixel_spacing_mm


def _laid_flat() -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, -1.0)
    matrix.SetElement(1, 1, -1.0)
    return matrix


def _flat(drawing: Drawing, entry: RunEntry, shift_px: tuple[float, float]) -> Any:
    spacing = _spacing(entry)
    rows, columns = (drawing.pixels + shift_px).T
    ras = np.stack([-columns * spacing[1], -rows * spacing[0], np.zeros(len(rows))], 1)
    return poly_data(ras, {}, lines=drawing.offsets)


def _vessel_of_surface(surface: Any) -> Vessel:
    return vessel_of_mesh(vtk_to_numpy(surface.GetPoints().GetData()), _triangles(surface))


def _triangles(surface: Any) -> NDArray[np.int64]:
    return vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)


def _image_of(values: NDArray[np.float32]) -> Any:
    """vtkImageData of (rows, columns) or (k, j, i)."""
    image = vtk.vtkImageData()
    image.SetDimensions(*(values if values.ndim == 3 else values[None]).shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image

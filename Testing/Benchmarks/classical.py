"""The peer of the end-to-end benchmark: what is commonly read off a volume and two DSA runs by hand.

The lumen is the volume above half of its maximum. The flow is the volume of the vessel over the time that the bolus'
half-rise takes to pass it (plug flow). Velocity is a parabola with that flow in every cross-section; pressure drops by
Poiseuille's law and by Bernoulli's. One unbranched vessel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from score import Field
from skimage.graph import MCP_Geometric
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPolyData
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkCommonTransforms import vtkTransform
from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D
from vtkmodules.vtkFiltersGeneral import vtkTransformPolyDataFilter

from VesselFlowGSLib.acquisition.study import Run, Study, Volume

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClassicalSettings:
    """step_mm: length of a piece of the vessel; trim_mm: what of its ends is not read; smoothing, in pieces."""

    step_mm: float = 1.0
    trim_mm: float = 3.0
    smoothing: float = 2.0
    near_click_mm: float = 4.0


@dataclass(frozen=True)
class Vessel:
    """Pieces of the vessel from the inlet downstream: centres (n, 3) LPS mm, radius (n,) mm, length of one in mm."""

    centres: Array
    radius_mm: Array
    step_mm: float

    @property
    def volume_mm3(self) -> Array:
        """(n,) volume between the inlet and each centre."""
        return np.cumsum(np.pi * self.radius_mm**2 * self.step_mm)


def read_by_hand(study: Study, settings: ClassicalSettings = ClassicalSettings()) -> tuple[Field, vtkPolyData, float]:
    """Field, wall and flow (ml/s) of a study. Raises ValueError where the flow cannot be read."""
    volume = study.volume
    if volume is None:
        raise ValueError("no volume")
    lumen, threshold = _lumen(volume, study, settings)
    vessel = _vessel(volume, lumen, study, settings)
    isocentre = study.description.geometry.isocentre_lps_mm
    centre = volume.lps((np.array(volume.values.shape) - 1) / 2) if isocentre is None else np.array(isocentre)
    delay = float(np.median([_delay(run, vessel, centre) for run in study.dsa]))
    if delay < 0:  # with no inlet given, the dye tells which end it is
        vessel = Vessel(vessel.centres[::-1], vessel.radius_mm[::-1], vessel.step_mm)
    flow = 1e-3 / abs(delay)
    density = study.description.fluid.density_kg_m3 or 1060.0
    viscosity = study.description.fluid.viscosity_pa_s or 0.0035
    return _field(vessel, flow, density, viscosity), _wall(volume, lumen, threshold), flow


def _lumen(volume: Volume, study: Study, settings: ClassicalSettings) -> tuple[NDArray[np.bool_], float]:
    """The piece of the volume above half of the maximum that the inlet lies in, or the largest one."""
    values = volume.values
    click = study.description.geometry.inlet_lps_mm
    ground = float(np.median(values))
    if click is None:
        threshold = (ground + float(np.percentile(values, 99.9))) / 2
    else:
        at, reach = volume.index(click), settings.near_click_mm / volume.spacing_mm
        low, high = np.maximum(at - reach, 0).astype(int), np.ceil(at + reach + 1).astype(int)
        around = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        threshold = (ground + float(np.percentile(around, 98))) / 2
    pieces, count = ndimage.label(values > threshold)
    if count == 0:
        raise ValueError("nothing above half of the maximum")
    if click is None:
        chosen = np.bincount(pieces.ravel())[1:].argmax() + 1
    else:
        inside = np.argwhere(pieces > 0)
        chosen = pieces[tuple(inside[np.linalg.norm(volume.lps(inside) - click, axis=1).argmin()])]
    return pieces == chosen, threshold


def _vessel(volume: Volume, lumen: NDArray[np.bool_], study: Study, settings: ClassicalSettings) -> Vessel:
    """Slices of equal distance from the inlet, measured through the lumen."""
    inside = np.argwhere(lumen)
    points = volume.lps(inside)
    geometry = study.description.geometry
    if geometry.inlet_lps_mm is None:
        reach = _reach(volume, lumen, inside[0])
        begin = inside[reach[tuple(inside.T)].argmax()]
    else:
        # From the end of the lumen behind the click, so that the slices lie across the vessel at the click.
        begin = inside[np.linalg.norm(points - geometry.inlet_lps_mm, axis=1).argmin()]
        reach = _reach(volume, lumen, begin)
        if geometry.outlets_lps_mm:
            end = inside[np.linalg.norm(points - geometry.outlets_lps_mm[0], axis=1).argmin()]
            begin = inside[_reach(volume, lumen, end)[tuple(inside.T)].argmax()]
    reach = _reach(volume, lumen, begin)[tuple(inside.T)]
    piece = (reach / settings.step_mm).astype(int)
    count = np.bincount(piece)
    kept = np.arange(len(count))[(count > 0)]
    centres = np.stack([np.bincount(piece, points[:, k])[kept] / count[kept] for k in range(3)], -1)
    centres = ndimage.gaussian_filter1d(centres, settings.smoothing, axis=0, mode="nearest")
    area = count[kept] * np.prod(volume.spacing_mm) / settings.step_mm
    radius = np.sqrt(ndimage.gaussian_filter1d(area.astype(float), settings.smoothing, mode="nearest") / np.pi)
    first, last = (np.array([1, -1]) * int(settings.trim_mm / settings.step_mm)) % len(centres)
    if geometry.inlet_lps_mm is not None:
        first = np.linalg.norm(centres - geometry.inlet_lps_mm, axis=1).argmin()
    if geometry.outlets_lps_mm:
        last = np.linalg.norm(centres - geometry.outlets_lps_mm[0], axis=1).argmin()
    return Vessel(centres[first : last + 1], radius[first : last + 1], settings.step_mm)


def _reach(volume: Volume, lumen: NDArray[np.bool_], begin: NDArray[np.int_]) -> Array:
    """Distance from a voxel through the lumen, mm; -1 outside."""
    costs = MCP_Geometric(np.where(lumen, 1.0, np.inf), sampling=tuple(volume.spacing_mm)).find_costs([tuple(begin)])[0]
    return np.where(np.isfinite(costs), costs, -1.0)


def _delay(run: Run, vessel: Vessel, isocentre: Array) -> float:
    """How much later half of the brightness is reached per volume of vessel passed, s/mm³."""
    pixels = run.cameras(isocentre)[0].pixels(vessel.centres)[0]
    curves = np.stack([ndimage.map_coordinates(frame, pixels.T, order=1) for frame in run.line_integrals])
    curves = ndimage.gaussian_filter1d(curves, 0.7, axis=0)
    half = curves.max(0) / 2
    first = (curves >= half).argmax(0)
    seen = first > 0
    before, after = curves[first - 1, np.arange(len(half))], curves[first, np.arange(len(half))]
    part = (half - before) / np.maximum(after - before, 1e-9)
    times = run.frame_times_s[first - 1] + part * (run.frame_times_s[first] - run.frame_times_s[first - 1])
    if seen.sum() < 3:
        raise ValueError("no bolus seen along the vessel")
    return float(np.polyfit(vessel.volume_mm3[seen], times[seen], 1)[0])


def _field(vessel: Vessel, flow_ml_s: float, density: float, viscosity: float) -> Field:
    tangent = np.gradient(vessel.centres, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    mean = flow_ml_s / (np.pi * vessel.radius_mm**2)
    gradient = 8 * viscosity * (flow_ml_s * 1e-6) / (np.pi * (vessel.radius_mm * 1e-3) ** 4)
    friction = np.cumsum((gradient * vessel.step_mm * 1e-3)[::-1])[::-1]
    pressure = friction - friction[-1] + density / 2 * (mean[-1] ** 2 - mean**2)
    along = vessel.step_mm * np.arange(len(mean))
    tree = cKDTree(vessel.centres)

    def field(points: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        _, nearest = tree.query(points)
        offset = points - vessel.centres[nearest]
        shift = np.einsum("ni,ni->n", offset, tangent[nearest])
        across = np.linalg.norm(offset - shift[:, None] * tangent[nearest], axis=1)
        inside = across < vessel.radius_mm[nearest]
        speed = 2 * mean[nearest] * (1 - (across / vessel.radius_mm[nearest]) ** 2)
        velocity = np.where(inside[:, None], speed[:, None] * tangent[nearest], 0.0)
        return velocity, np.interp(along[nearest] + shift, along, pressure), inside

    return field


def _wall(volume: Volume, lumen: NDArray[np.bool_], threshold: float) -> vtkPolyData:
    """The surface at the threshold around the lumen, LPS mm."""
    near = ndimage.binary_dilation(lumen, iterations=2)
    values = np.pad(np.where(near, volume.values, volume.values.min()).astype(np.float32), 1, mode="minimum")
    image = vtkImageData()
    image.SetDimensions(*values.shape)
    image.SetOrigin(-1, -1, -1)
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(order="F"), deep=True))
    contour, turn, matrix = vtkFlyingEdges3D(), vtkTransform(), vtkMatrix4x4()
    contour.SetInputData(image)
    contour.SetValue(0, threshold)
    matrix.DeepCopy(volume.affine.ravel().tolist())
    turn.SetMatrix(matrix)
    placed = vtkTransformPolyDataFilter()
    placed.SetInputConnection(contour.GetOutputPort())
    placed.SetTransform(turn)
    placed.Update()
    return placed.GetOutput()

"""How far a result is from the truth: velocity, flow, pressure drop, shape.

A truth is a folder with
  truth.json   planes (name, center, normal, radius, Q_ml_s, p_Pa) and pressure_drops (frm, to)
  case.json    caps: where the vessel is cut (center_lps_mm, outward_normal, radius_mm)
  samples.npz  points (n, 3) LPS mm, volume (n,) mm³, velocity (n, 3) m/s, pressure (n,) Pa
  wall.vtp     the wall of the lumen
All figures hold between the caps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.util.vtkConstants import VTK_UNSIGNED_CHAR
from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkDataSet, vtkImageData, vtkPolyData, vtkStaticCellLocator
from vtkmodules.vtkFiltersCore import vtkCleanPolyData, vtkImplicitPolyDataDistance, vtkProbeFilter, vtkTriangleFilter
from vtkmodules.vtkFiltersModeling import vtkFillHolesFilter
from vtkmodules.vtkImagingStencil import vtkImageStencil, vtkPolyDataToImageStencil
from vtkmodules.vtkIOXML import vtkXMLImageDataReader, vtkXMLPolyDataReader, vtkXMLUnstructuredGridReader

Array = NDArray[np.float64]

# What a field says at (n, 3) LPS mm: velocity (n, 3) m/s (zero outside), pressure (n,) Pa, inside (n,).
Field = Callable[[Array], tuple[Array, Array, NDArray[np.bool_]]]


@dataclass(frozen=True)
class ScoreSettings:
    """Distances in mm. margin: samples this near to a cap count as beyond it, of the field and of the surface."""

    field_margin: float = 0.3
    surface_margin: float = 0.7
    voxel: float = 0.2
    plane_reach: float = 1.8
    plane_steps: int = 40
    surface_points: int = 20000
    seed: int = 0


@dataclass(frozen=True)
class Station:
    """A cross-section with its true flow and mean pressure."""

    name: str
    centre: Array
    normal: Array
    radius_mm: float
    flow_ml_s: float
    pressure_pa: float


@dataclass(frozen=True)
class Truth:
    points: Array
    volume_mm3: Array
    velocity: Array
    stations: tuple[Station, ...]
    drops: tuple[tuple[str, str], ...]
    caps: tuple[Station, ...]
    wall: vtkPolyData


@dataclass(frozen=True)
class Scores:
    """Errors as parts of one, the surface distance in mm; None where the result has no such thing."""

    velocity: float | None
    flow: float | None
    pressure_drop: float | None
    dice: float | None
    surface_mm: float | None


def load_truth(folder: Path, settings: ScoreSettings = ScoreSettings()) -> Truth:
    """The truth that lies in a folder; samples beyond the caps are left out."""
    facts = json.loads((folder / "truth.json").read_text())
    caps = tuple(
        Station(name, np.array(c["center_lps_mm"]), np.array(c["outward_normal"]), c["radius_mm"], np.nan, np.nan)
        for name, c in json.loads((folder / "case.json").read_text())["caps"].items()
    )
    stations = tuple(
        Station(p["name"], np.array(p["center"]), np.array(p["normal"]), p["radius"], p["Q_ml_s"], p["p_Pa"])
        for p in facts["planes"]
    )
    with np.load(folder / "samples.npz") as samples:
        points, volume, velocity = (samples[k].astype(float) for k in ("points", "volume", "velocity"))
    keep = ~beyond(points, caps, settings.field_margin)
    return Truth(
        points[keep],
        volume[keep],
        velocity[keep],
        stations,
        tuple((d["frm"], d["to"]) for d in facts["pressure_drops"]),
        caps,
        read(vtkXMLPolyDataReader(), folder / "wall.vtp"),
    )


def score(
    truth: Truth, field: Field | None, surface: vtkPolyData | None, settings: ScoreSettings = ScoreSettings()
) -> Scores:
    """Compare a field and a surface with the truth."""
    velocity = flow = drop = dice = distance = None
    if field is not None:
        found, _, _ = field(truth.points)
        velocity = float(np.sqrt(_energy(found - truth.velocity, truth) / _energy(truth.velocity, truth)))
        sections = {s.name: section(field, s, settings) for s in truth.stations}
        flow = float(np.mean([abs(sections[s.name][0] / s.flow_ml_s - 1) for s in truth.stations]))
        true = {s.name: s.pressure_pa for s in truth.stations}
        drops = [abs((sections[a][1] - sections[b][1]) / (true[a] - true[b]) - 1) for a, b in truth.drops]
        drop = float(np.mean(drops)) if drops else None
    if surface is not None:
        dice = _dice(truth, surface, settings)
        distance = _distance(truth, surface, settings)
    return Scores(velocity, flow, drop, dice, distance)


def score_folder(truth: Truth, result: Path) -> Scores:
    """Compare a result folder with the truth."""
    surface = result / "surface.vtp"
    return score(truth, field_of(result), read(vtkXMLPolyDataReader(), surface) if surface.exists() else None)


def field_of(result: Path) -> Field | None:
    """The field that a result folder holds (field.vtu or field.vti), None where the flow is unknown."""
    if (result / "field.vtu").exists():
        return _sampler(read(vtkXMLUnstructuredGridReader(), result / "field.vtu"))
    if (result / "field.vti").exists():
        return _sampler(read(vtkXMLImageDataReader(), result / "field.vti"))
    return None


def read(reader: Any, path: Path) -> Any:
    """What a VTK reader finds in a file."""
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def beyond(points: Array, caps: tuple[Station, ...], margin_mm: float = 0.0) -> NDArray[np.bool_]:
    """(n,): past a cap, or less than the margin before it."""
    result = np.zeros(len(points), bool)
    for cap in caps:
        along = (points - cap.centre) @ cap.normal
        across = np.linalg.norm(points - cap.centre - along[:, None] * cap.normal, axis=1)
        result |= (along > -margin_mm) & (across < 2.5 * cap.radius_mm)
    return result


def cloud(points: Array) -> vtkPolyData:
    """Points as VTK has them."""
    held = vtkPoints()
    held.SetData(numpy_to_vtk(np.ascontiguousarray(points, float), deep=True))
    data = vtkPolyData()
    data.SetPoints(held)
    return data


def _sampler(mesh: vtkDataSet) -> Field:
    def sample(points: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        probe = vtkProbeFilter()
        probe.SetCellLocatorPrototype(vtkStaticCellLocator())
        probe.SetInputData(cloud(points))
        probe.SetSourceData(mesh)
        probe.Update()
        arrays = probe.GetOutput().GetPointData()
        inside = vtk_to_numpy(arrays.GetArray("vtkValidPointMask")).astype(bool)
        if arrays.GetArray("inside"):
            inside &= vtk_to_numpy(arrays.GetArray("inside")) > 0.5
        velocity = np.where(inside[:, None], vtk_to_numpy(arrays.GetArray("velocity")), 0.0)
        return velocity, np.where(inside, vtk_to_numpy(arrays.GetArray("pressure")), np.nan), inside

    return sample


def _energy(velocity: Array, truth: Truth) -> float:
    return float(truth.volume_mm3 @ (velocity**2).sum(1))


def section(field: Field, station: Station, settings: ScoreSettings = ScoreSettings()) -> tuple[float, float]:
    """Flow in ml/s through a station, and the mean pressure on it (m/s times mm² are ml/s)."""
    across = np.cross(station.normal, np.eye(3)[np.abs(station.normal).argmin()])
    across /= np.linalg.norm(across)
    up = np.cross(station.normal, across)
    step = station.radius_mm / settings.plane_steps
    count = int(settings.plane_reach * settings.plane_steps)
    grid = np.stack(np.meshgrid(*2 * [step * np.arange(-count, count + 1)]), -1).reshape(-1, 2)
    grid = grid[np.linalg.norm(grid, axis=1) < settings.plane_reach * station.radius_mm]
    velocity, pressure, inside = field(station.centre + grid @ np.stack([across, up]))
    if not inside.any():
        return 0.0, np.nan
    return float((velocity @ station.normal).sum() * step**2), float(pressure[inside].mean())


def _closed(surface: vtkPolyData) -> vtkPolyData:
    triangles, clean, fill, again = vtkTriangleFilter(), vtkCleanPolyData(), vtkFillHolesFilter(), vtkTriangleFilter()
    triangles.SetInputData(surface)
    clean.SetInputConnection(triangles.GetOutputPort())
    fill.SetInputConnection(clean.GetOutputPort())
    fill.SetHoleSize(1e3)
    again.SetInputConnection(fill.GetOutputPort())
    again.Update()
    return again.GetOutput()


def _voxels(surface: vtkPolyData, origin: Array, shape: NDArray[np.int_], voxel: float) -> NDArray[np.bool_]:
    image = vtkImageData()
    image.SetOrigin(*origin)
    image.SetSpacing(voxel, voxel, voxel)
    image.SetDimensions(*(int(n) for n in shape))
    image.AllocateScalars(VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(1)
    inside, cut = vtkPolyDataToImageStencil(), vtkImageStencil()
    inside.SetInputData(surface)
    inside.SetInformationInput(image)
    cut.SetInputData(image)
    cut.SetStencilConnection(inside.GetOutputPort())
    cut.SetBackgroundValue(0)
    cut.Update()
    return vtk_to_numpy(cut.GetOutput().GetPointData().GetScalars()).astype(bool)


def _dice(truth: Truth, surface: vtkPolyData, settings: ScoreSettings) -> float:
    true, found = _closed(truth.wall), _closed(surface)
    bounds = np.array(true.GetBounds()).reshape(3, 2) + [-3.0, 3.0]
    shape = np.ceil((bounds[:, 1] - bounds[:, 0]) / settings.voxel).astype(int)
    a, b = (_voxels(s, bounds[:, 0], shape, settings.voxel) for s in (true, found))
    either = np.flatnonzero(a | b)
    index = np.stack(np.unravel_index(either, shape[::-1])[::-1], -1)
    either = either[~beyond(bounds[:, 0] + settings.voxel * index, truth.caps)]
    return float(2 * (a & b)[either].sum() / (a[either].sum() + b[either].sum()))


def _distance(truth: Truth, surface: vtkPolyData, settings: ScoreSettings) -> float:
    """Mean of the two mean distances, each from points on one surface to the other."""
    true, found = _closed(truth.wall), _closed(surface)
    box = np.array(true.GetBounds()).reshape(3, 2) + [-3.0, 3.0]
    means = []
    for one, other in ((true, found), (found, true)):
        points = _on(one, settings)
        points = points[~beyond(points, truth.caps, settings.surface_margin)]
        points = points[np.all((points > box[:, 0]) & (points < box[:, 1]), axis=1)]
        distance, answer = vtkImplicitPolyDataDistance(), vtkDoubleArray()
        distance.SetInput(other)
        distance.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points)), answer)
        means.append(np.abs(vtk_to_numpy(answer)).mean())
    return float(np.mean(means))


def _on(surface: vtkPolyData, settings: ScoreSettings) -> Array:
    random = np.random.default_rng(settings.seed)
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    corners = points[vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = corners[random.choice(len(corners), settings.surface_points, p=area / area.sum())]
    weights = random.dirichlet([1.0, 1.0, 1.0], len(chosen))
    return np.einsum("nk,nki->ni", weights, chosen)

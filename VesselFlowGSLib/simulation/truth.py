"""What a simulated study is scored against: fields, wall, sections, the dye's curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from VesselFlowGSLib.simulation.bolus import Bolus
from VesselFlowGSLib.simulation.fields import Flow, section_figures
from VesselFlowGSLib.simulation.settings import SamplingSpec, SimulationSettings

Array = NDArray[np.float64]
_CURVE_STEP_S = 0.02
_INSIDE = 0.999
_VOXEL_PER_RADIUS = 8.0
_DIGITS = 6


def write_truth(
    folder: Path, settings: SimulationSettings, flow: Flow, bolus: Bolus, imaging: dict[str, Any], isocentre: Array
) -> None:
    """Writes truth.json, case.json, fluid.json, imaging.json and curves; the fields too if settings ask for them."""
    folder.mkdir()
    planes = _planes(flow)
    caps = {
        c.name: {
            "center_lps_mm": _rounded(c.centre),
            "outward_normal": _rounded(c.normal),
            "radius_mm": round(c.radius_mm, _DIGITS),
        }
        for c in flow.vessel.caps
    }
    i, f = settings.imaging, settings.flow
    name = f"simulated_{settings.vessel.kind.value}"
    _json(
        folder / "case.json",
        {
            "case": name,
            "frame": "patient LPS",
            "isocenter_lps_mm": _rounded(isocentre),
            "SID_mm": i.source_to_detector_mm,
            "SOD_mm": i.source_to_isocentre_mm,
            "caps": caps,
            "pulsatile_period_s": f.period_s if f.pulsatile_amplitude else None,
            "mean_inlet_flow_ml_s": f.mean_inflow_ml_s,
        },
    )
    first = planes[0]
    drops = [
        {"frm": first["name"], "to": p["name"], "dp_Pa": first["p_Pa"] - p["p_Pa"]} for p in _last_of_branches(planes)
    ]
    _json(
        folder / "truth.json",
        {
            "case": name,
            "units": "mm, m/s, Pa, ml/s, s",
            "description": flow.description,
            "pulsatility": _pulsatility(settings),
            "expected_error": flow.expected_error,
            "outlet_shares": dict(zip([c for c in caps if c != "inlet"], flow.vessel.shares, strict=True)),
            "planes": planes,
            "pressure_drops": drops,
            "mean_inlet_flow_ml_s": f.mean_inflow_ml_s,
            "pressure_drop_pa": section_figures(flow, 0, 0.0)["p_Pa"],
            "seed": settings.seed,
        },
    )
    _json(
        folder / "fluid.json",
        {
            "density_kg_m3": f.density_kg_m3,
            "viscosity_Pa_s": f.viscosity_pa_s,
            "model": "Newtonian, laminar, rigid wall",
        },
    )
    _json(folder / "imaging.json", imaging)
    times = np.arange(0, i.frames / i.frames_per_s + _CURVE_STEP_S, _CURVE_STEP_S)
    inflow = f.mean_inflow_ml_s * 1e-6 * (1 + f.pulsatile_amplitude * np.cos(2 * np.pi * times / f.period_s))
    _csv(folder / "inlet_flow.csv", "time_s,flow_m3_per_s", [times, inflow])
    _csv(folder / "contrast_inlet.csv", "time_s,concentration_normalised", [times, bolus.over_section(0, 0.0, times)])
    outlets = [c for c in flow.vessel.caps if c.name != "inlet"]
    curves = [bolus.over_section(c.tube, c.s_mm, times) for c in outlets]
    _csv(folder / "contrast_outlets.csv", ",".join(["time_s", *(c.name for c in outlets)]), [times, *curves])
    if settings.fields_of_truth:
        write_fields(folder, flow, settings.sampling, settings.seed)


def write_fields(folder: Path, flow: Flow, sampling: SamplingSpec, seed: int) -> None:
    """truth.vtu (point velocity, pressure), wall.vtp (point pressure, cell wss), samples.npz."""
    mesh, wall = _swept(flow, sampling) if len(flow.tubes) == 1 else _clipped(flow)
    points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
    _add(mesh.GetPointData(), "velocity", flow.velocity(points))
    _add(mesh.GetPointData(), "pressure", flow.pressure(points))
    writer = vtk.vtkXMLUnstructuredGridWriter()
    writer.SetFileName(str(folder / "truth.vtu"))
    writer.SetInputData(mesh)
    writer.Write()
    _write_wall(folder / "wall.vtp", wall, flow)
    _write_samples(folder / "samples.npz", flow, sampling.truth_samples, seed)


def _planes(flow: Flow) -> list[dict[str, Any]]:
    """Sections along every branch: 0 the trunk (or the whole vessel), then one per outlet."""
    length, r = flow.vessel.spec.length_mm, flow.vessel.spec.radius_mm
    if len(flow.tubes) == 1:
        places = [(0, 0, s) for s in np.linspace(2 * r, length - 2 * r, 7)]
    else:
        split = flow.vessel.spec.lesion_at * length - r
        places = [(0, 0, s) for s in np.linspace(2 * r, split, 3)]
        begin = flow.vessel.parting_mm + r
        places += [(k + 1, k, s) for k in range(len(flow.tubes)) for s in np.linspace(begin, length - 2 * r, 3)]
    out: list[dict[str, Any]] = []
    for branch, k, s in places:
        tube, at = flow.tubes[k].tube, np.array([float(s)])
        index = sum(p["branch"] == branch for p in out)
        out.append(
            {
                "name": f"b{branch}_{index}",
                "branch": branch,
                "s_mm": round(float(s), 3),
                "center": _rounded(flow.vessel.lps(tube.point(at, np.zeros(1), np.zeros(1)))[0]),
                "normal": _rounded(flow.vessel.rotation @ tube.frame(at)[0][0]),
                "radius": float(tube.radius(at)[0]),
                **section_figures(flow, k, float(s)),
            }
        )
    return out


def _last_of_branches(planes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = {p["branch"]: p for p in planes}
    return [p for branch, p in last.items() if branch or len(last) == 1]


def _pulsatility(settings: SimulationSettings) -> str:
    if not settings.flow.pulsatile_amplitude:
        return "steady"
    return (
        "quasi-steady: the velocity keeps the shape of the mean flow and follows the inflow; "
        "pressures are those of the mean flow"
    )


def _swept(flow: Flow, sampling: SamplingSpec) -> tuple[vtk.vtkUnstructuredGrid, vtk.vtkPolyData]:
    """Hexahedra (wedges on the axis) swept along a single tube, rings closer together at the wall; and its wall."""
    tube = flow.tubes[0].tube
    n = int(np.ceil((tube.end_mm - tube.start_mm) / sampling.truth_step_mm)) + 1
    s = np.linspace(tube.start_mm, tube.end_mm, n)
    rings, around = sampling.truth_radial, sampling.truth_angular
    eta = np.sin(np.pi / 2 * np.arange(1, rings + 1) / rings) ** 0.9
    angle = 2 * np.pi * np.arange(around) / around
    x = np.r_[0.0, np.outer(eta, np.cos(angle)).ravel()]
    y = np.r_[0.0, np.outer(eta, np.sin(angle)).ravel()]
    per = len(x)
    at = np.repeat(s, per)
    r = tube.radius(at)
    points = flow.vessel.lps(tube.point(at, r * np.tile(x, n), r * np.tile(y, n)))
    j = np.arange(around)
    j1 = (j + 1) % around
    wedge = np.stack([0 * j, 1 + j, 1 + j1], -1)
    ring = np.arange(rings - 1)[:, None] * around + 1
    quad = np.stack([ring + j, ring + around + j, ring + around + j1, ring + j1], -1).reshape(-1, 4)
    layer = (np.arange(n - 1) * per)[:, None, None]
    wedges = np.concatenate([layer + wedge, layer + per + wedge], 2).reshape(-1, 6)
    bricks = np.concatenate([layer + quad, layer + per + quad], 2).reshape(-1, 8)
    mesh = vtk.vtkUnstructuredGrid()
    mesh.SetPoints(_points(points))
    types = np.r_[np.full(len(wedges), vtk.VTK_WEDGE), np.full(len(bricks), vtk.VTK_HEXAHEDRON)].astype(np.uint8)
    cells = _cells([wedges, bricks])
    mesh.SetCells(numpy_to_vtk(types, deep=True, array_type=vtk.VTK_UNSIGNED_CHAR), cells)
    rim = (rings - 1) * around + 1
    own = np.concatenate([k * per + rim + j for k in range(n)])
    low = (np.arange(n - 1) * around)[:, None]
    faces = np.stack([low + j, low + j1, low + around + j1, low + around + j], -1).reshape(-1, 4)
    wall = vtk.vtkPolyData()
    wall.SetPoints(_points(points[own]))
    wall.SetPolys(_cells([faces]))
    return mesh, wall


def _clipped(flow: Flow) -> tuple[vtk.vtkUnstructuredGrid, vtk.vtkPolyData]:
    """Voxels clipped at the wall, and the wall as an iso-surface."""
    vessel = flow.vessel
    step = min(float(t.radius(vessel.spec.length_mm)) for t in vessel.tubes) / _VOXEL_PER_RADIUS
    low, high = vessel.bounds
    size = np.ceil((high - low) / step).astype(int) + 5
    origin = low - 2 * step
    grid = np.stack(np.meshgrid(*[origin[k] + step * np.arange(size[k]) for k in (2, 1, 0)], indexing="ij")[::-1], -1)
    points = grid.reshape(-1, 3)
    distance = np.full(len(points), -2 * step)
    close = np.flatnonzero(vessel.near(points, 2 * step))
    distance[close] = vessel.wall_distance(points[close])
    image = vtk.vtkImageData()
    image.SetOrigin(*origin)
    image.SetSpacing(step, step, step)
    image.SetDimensions(*(int(k) for k in size))
    scalars = numpy_to_vtk(distance, deep=True)
    scalars.SetName("distance")
    image.GetPointData().SetScalars(scalars)
    clip = vtk.vtkTableBasedClipDataSet()
    clip.SetInputData(image)
    clip.SetValue(0.0)
    clip.Update()
    mesh = clip.GetOutput()
    mesh.GetPointData().Initialize()
    contour = vtk.vtkContourFilter()
    contour.SetInputData(image)
    contour.SetValue(0, 0.0)
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    return mesh, contour.GetOutput()


def _write_wall(path: Path, wall: vtk.vtkPolyData, flow: Flow) -> None:
    centres = vtk.vtkCellCenters()
    centres.SetInputData(wall)
    centres.Update()
    middle = vtk_to_numpy(centres.GetOutput().GetPoints().GetData()).astype(float)
    x = flow.vessel.local(middle)
    outward = np.zeros_like(x)
    just_inside = np.zeros_like(x)
    least = np.full(len(x), np.inf)
    for tube_flow in flow.tubes:
        s, a, b, _ = tube_flow.unit(x)
        reach = np.hypot(a, b)
        axes = tube_flow.axes(s)
        radial = (a[:, None] * axes[:, :, 1] + b[:, None] * axes[:, :, 2]) / reach[:, None]
        slope = tube_flow.tube.radius.derivative()(s)
        normal = radial - slope[:, None] * axes[:, :, 0]
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        r = tube_flow.tube.radius(s)
        inner = tube_flow.tube.point(s, r * _INSIDE * a / reach, r * _INSIDE * b / reach)
        use = np.abs(reach - 1) < least
        least[use] = np.abs(reach - 1)[use]
        outward[use], just_inside[use] = normal[use], inner[use]
    turn = flow.vessel.rotation
    wss = flow.wall_shear(flow.vessel.lps(just_inside), outward @ turn.T)
    _add(wall.GetCellData(), "wss", wss)
    points = vtk_to_numpy(wall.GetPoints().GetData()).astype(float)
    _add(wall.GetPointData(), "pressure", flow.pressure(points))
    writer = vtk.vtkXMLPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(wall)
    writer.Write()


def _write_samples(path: Path, flow: Flow, count: int, seed: int) -> None:
    """Random points with the volume that each stands for, and the fields there."""
    rng = np.random.default_rng([seed, 3])
    each = count // len(flow.tubes)
    points, volumes = [], []
    for tube_flow in flow.tubes:
        tube = tube_flow.tube
        s = rng.uniform(tube.start_mm, tube.end_mm, each)
        eta, angle = np.sqrt(rng.uniform(0, 1, each)), rng.uniform(0, 2 * np.pi, each)
        a, b = eta * np.cos(angle), eta * np.sin(angle)
        r = tube.radius(s)
        p = tube.point(s, r * a, r * b)
        share = sum((f.unit(p)[3] if f is not tube_flow else np.ones(each, bool)).astype(int) for f in flow.tubes)
        points.append(p)
        volumes.append(tube_flow.metric(s, a, b).volume * np.pi * (tube.end_mm - tube.start_mm) / each / share)
    x = flow.vessel.lps(np.concatenate(points))
    np.savez_compressed(
        path,
        points=x.astype(np.float32),
        volume=np.concatenate(volumes).astype(np.float32),
        velocity=flow.velocity(x).astype(np.float32),
        pressure=flow.pressure(x).astype(np.float32),
    )


def _points(x: Array) -> vtk.vtkPoints:
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(x, np.float32), deep=True))
    return points


def _cells(groups: list[NDArray[np.int_]]) -> vtk.vtkCellArray:
    cells = vtk.vtkCellArray()
    lengths = np.concatenate([np.full(len(g), g.shape[1]) for g in groups])
    offsets = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    ids = np.concatenate([g.ravel() for g in groups]).astype(np.int64)
    cells.SetData(
        numpy_to_vtk(offsets, deep=True, array_type=vtk.VTK_ID_TYPE),
        numpy_to_vtk(ids, deep=True, array_type=vtk.VTK_ID_TYPE),
    )
    return cells


def _add(data: vtk.vtkDataSetAttributes, name: str, values: Array) -> None:
    array = numpy_to_vtk(np.ascontiguousarray(values, np.float32), deep=True)
    array.SetName(name)
    data.AddArray(array)


def _rounded(values: Array) -> list[float]:
    return [round(float(v), _DIGITS) for v in values]


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _csv(path: Path, header: str, columns: list[Array]) -> None:
    np.savetxt(path, np.stack(columns, -1), fmt="%.6g", delimiter=",", header=header, comments="")

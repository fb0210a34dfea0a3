"""The newest snapshot of a case as hidden nodes, so that a scene saved and reopened can be measured without its job.

Points and vectors are RAS in the scene and turned here. Slicer's model files flip, of poly data, the active vectors
alone: other arrays of three components are kept as one array a component, and stay LPS.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPointSet, vtkPolyData, vtkUnstructuredGrid

from VesselFlowGSLib.results.snapshot import (
    CloudArrays,
    Figure,
    Finding,
    FindingKind,
    Phase,
    Polylines,
    Snapshot,
    Stage,
    Surface,
    ViewMatch,
    VolumeMesh,
)
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.frames import lps_of, ras_of

VECTORS = "velocity"
COMPONENT = "|"
PHASE = "@"
OF_PHASE = "phase"
STEADY = -1

# what of a snapshot is plain enough for JSON
_PLAIN = ("progress", "message", "geometry", "flow_status", "warnings", "provenance", "timings_s", "period_s", "shape")
_CLOUD_ROWS = ("sigma", "quaternion")
_CLOUD_COLUMNS = ("attenuation", "occupancy", "arrival_s", "pressure")


def keep(case: Case, snapshot: Snapshot) -> None:
    """Keep a snapshot in the scene, in place of the one that was kept before."""
    for _ in keep_steps(case, snapshot):
        pass


def keep_steps(case: Case, snapshot: Snapshot) -> Iterator[None]:
    """The same in steps that are short enough for a window, at the end of each a yield.

    Arrays of single precision are shared with the snapshot where they need not be turned.
    """
    for role, part, convert in (
        (Role.KEPT_SURFACE, "surface", _surface_data),
        (Role.KEPT_FIELD, "field", _field_data),
        (Role.KEPT_CENTRELINE, "centreline", _lines_data),
    ):
        held = getattr(snapshot, part)
        data = None if held is None else convert(held)
        yield
        for k, phase in enumerate(snapshot.phases if data is not None else ()):
            _set_arrays(data, {f"{name}{PHASE}{k}": values for name, values in getattr(phase, part).items()})
            yield
        _put(case, role, data)
    streamlines = _all_streamlines(snapshot)
    _put(case, Role.KEPT_STREAMLINES, None if streamlines is None else _lines_data(streamlines))
    _put(case, Role.KEPT_CLOUD, None if snapshot.cloud is None else _cloud_data(snapshot.cloud))
    yield
    node = case.put(Role.KEPT_SUMMARY, "vtkMRMLTextNode", hidden=True)
    node.SetText(json.dumps(_summary(snapshot)))


def kept_snapshot(case: Case) -> Snapshot | None:
    """The snapshot that a case keeps, or None where it keeps none."""
    node = case.get(Role.KEPT_SUMMARY)
    if node is None or not node.GetText():
        return None
    held = json.loads(node.GetText())
    surface = _data(case, Role.KEPT_SURFACE)
    field = _data(case, Role.KEPT_FIELD)
    centreline = _data(case, Role.KEPT_CENTRELINE)
    kept_streams = _data(case, Role.KEPT_STREAMLINES)
    streams = {} if kept_streams is None else _streamlines_by_phase(_lines(kept_streams))
    cloud = _data(case, Role.KEPT_CLOUD)
    parts = {name: _arrays(data) for name, data in (("surface", surface), ("field", field), ("centreline", centreline))}
    phases = tuple(
        Phase(time, **{name: _of_phase(arrays, k) for name, arrays in parts.items()}, streamlines=streams.get(k))
        for k, time in enumerate(held["phase_times_s"])
    )
    plain = {name: held[name] for name in _PLAIN}
    plain["warnings"] = tuple(plain["warnings"])
    return Snapshot(
        stage=Stage(held["stage"]),
        surface=None if surface is None else _surface(surface),
        field=None if field is None else _mesh(field),
        centreline=None if centreline is None else _lines(centreline),
        streamlines=streams.get(STEADY),
        cloud=None if cloud is None else _cloud(cloud),
        figures={name: _figure(f) for name, f in held["figures"].items()},
        phases=phases,
        views=tuple(ViewMatch(**view) for view in held["views"]),
        findings=tuple(_finding(f) for f in held["findings"]),
        **plain,
    )


def _put(case: Case, role: Role, data: vtkPointSet | None) -> None:
    if data is None:
        case.drop(role)
    else:
        case.put(role, "vtkMRMLModelNode", hidden=True).SetAndObserveMesh(data)


def _data(case: Case, role: Role) -> vtkPointSet | None:
    node = case.get(role)
    return None if node is None else node.GetMesh()


def _summary(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "stage": snapshot.stage.value,
        **{name: _plain(getattr(snapshot, name)) for name in _PLAIN},
        "figures": {name: dataclasses.asdict(figure) for name, figure in snapshot.figures.items()},
        "views": [dataclasses.asdict(view) for view in snapshot.views],
        # regions are seen through the nodes that show them
        "findings": [_plain(dataclasses.asdict(dataclasses.replace(f, region=None))) for f in snapshot.findings],
        "phase_times_s": [phase.time_s for phase in snapshot.phases],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value


def _figure(held: Mapping[str, Any]) -> Figure:
    interval = held["interval_90"]
    return Figure(held["value"], held["unit"], held["origin"], None if interval is None else tuple(interval))


def _finding(held: Mapping[str, Any]) -> Finding:
    return Finding(**{**held, "kind": FindingKind(held["kind"]), "centre": np.asarray(held["centre"]), "region": None})


def _of_phase(arrays: Mapping[str, Any], number: int) -> dict[str, Any]:
    end = f"{PHASE}{number}"
    return {name.removesuffix(end): values for name, values in arrays.items() if name.endswith(end)}


def _surface_data(surface: Surface) -> vtkPolyData:
    data = _with_points(vtkPolyData(), surface.points)
    triangles = np.asarray(surface.triangles)
    data.SetPolys(_cells(np.arange(len(triangles) + 1) * 3, triangles.ravel()))
    _set_arrays(data, surface.arrays)
    return data


def _surface(data: vtkPointSet) -> Surface:
    triangles = vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return Surface(_points(data), triangles, _steady(_arrays(data)))


def _lines_data(lines: Polylines) -> vtkPolyData:
    data = _with_points(vtkPolyData(), lines.points)
    data.SetLines(_cells(np.asarray(lines.offsets), np.arange(len(lines.points))))
    _set_arrays(data, lines.arrays)
    return data


def _lines(data: vtkPointSet) -> Polylines:
    return Polylines(_points(data), vtk_to_numpy(data.GetLines().GetOffsetsArray()), _steady(_arrays(data)))


def _field_data(mesh: VolumeMesh) -> vtkUnstructuredGrid:
    data = _with_points(vtkUnstructuredGrid(), mesh.points)
    types = numpy_to_vtk(np.ascontiguousarray(mesh.cell_types, np.uint8))
    data.SetCells(types, _cells(np.asarray(mesh.offsets), np.asarray(mesh.connectivity)))
    _set_arrays(data, mesh.arrays)
    return data


def _mesh(data: vtkPointSet) -> VolumeMesh:
    cells = data.GetCells()
    kinds = data.GetCellTypesArray() if hasattr(data, "GetCellTypesArray") else data.GetCellTypes()
    return VolumeMesh(
        _points(data),
        vtk_to_numpy(cells.GetConnectivityArray()),
        vtk_to_numpy(cells.GetOffsetsArray()),
        vtk_to_numpy(kinds),
        _steady(_arrays(data)),
    )


def _cloud_data(cloud: CloudArrays) -> vtkPolyData:
    data = _with_points(vtkPolyData(), cloud.mean)
    count = len(cloud.mean)
    # a model without cells is drawn as nothing and saved as nothing by some readers: one vertex a Gaussian
    data.SetVerts(_cells(np.arange(count + 1), np.arange(count)))
    arrays = {name: getattr(cloud, name) for name in (*_CLOUD_COLUMNS, *_CLOUD_ROWS)}
    arrays[VECTORS] = cloud.velocity
    _set_arrays(data, {name: values for name, values in arrays.items() if values is not None})
    return data


def _cloud(data: vtkPointSet) -> CloudArrays:
    arrays = _arrays(data)
    return CloudArrays(
        mean=_points(data),
        velocity=arrays.get(VECTORS),
        **{name: arrays.get(name) for name in (*_CLOUD_COLUMNS, *_CLOUD_ROWS)},
    )


def _all_streamlines(snapshot: Snapshot) -> Polylines | None:
    """The snapshot's lines and those of its phases as one, with the number of the phase at every point."""
    held = {STEADY: snapshot.streamlines, **{k: phase.streamlines for k, phase in enumerate(snapshot.phases)}}
    parts = [(number, lines) for number, lines in held.items() if lines is not None]
    if not parts:
        return None
    names = set.intersection(*(set(lines.arrays) for _, lines in parts))
    starts = np.cumsum([0, *(len(lines.points) for _, lines in parts)])
    arrays = {name: np.concatenate([np.asarray(lines.arrays[name]) for _, lines in parts]) for name in names}
    arrays[OF_PHASE] = np.concatenate([np.full(len(lines.points), number, np.float32) for number, lines in parts])
    return Polylines(
        np.concatenate([np.asarray(lines.points) for _, lines in parts]),
        np.concatenate(
            [[0], *(start + np.asarray(lines.offsets)[1:] for start, (_, lines) in zip(starts, parts, strict=False))]
        ),
        arrays,
    )


def _streamlines_by_phase(kept: Polylines) -> dict[int, Polylines]:
    """The inverse of _all_streamlines; STEADY: the snapshot's own."""
    arrays = dict(kept.arrays)
    number = arrays.pop(OF_PHASE, np.full(len(kept.points), STEADY)).astype(int)
    offsets = np.asarray(kept.offsets)
    found = {}
    for phase in np.unique(number).tolist():
        points = np.flatnonzero(number == phase)
        first, last = int(points[0]), int(points[-1]) + 1
        inside = offsets[(offsets >= first) & (offsets <= last)]
        found[phase] = Polylines(
            kept.points[first:last], inside - first, {name: values[first:last] for name, values in arrays.items()}
        )
    return found


def _steady(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values for name, values in arrays.items() if PHASE not in name}


def _with_points(data: Any, lps: Any) -> Any:
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(ras_of(np.asarray(lps, np.float32)))))
    data.SetPoints(points)
    return data


def _points(data: vtkPointSet) -> Any:
    return lps_of(vtk_to_numpy(data.GetPoints().GetData()))


def _set_arrays(data: vtkPointSet, arrays: Mapping[str, Any]) -> None:
    all_vectors_flip = data.IsA("vtkUnstructuredGrid")
    for name, values in arrays.items():
        table = np.asarray(values)
        if table.ndim == 1:
            _add(data, name, table)
        elif table.shape[1] == 3 and (name == VECTORS or all_vectors_flip):
            _add(data, name, ras_of(table.astype(np.float32, copy=False)))
        else:
            for k in range(table.shape[1]):
                _add(data, f"{name}{COMPONENT}{k}", table[:, k])
    if data.GetPointData().HasArray(VECTORS):
        data.GetPointData().SetActiveVectors(VECTORS)


def _add(data: vtkPointSet, name: str, values: Any) -> None:
    single = values.astype(np.float32, copy=False) if values.dtype == np.float64 else values
    array = numpy_to_vtk(np.ascontiguousarray(single))
    array.SetName(name)
    data.GetPointData().AddArray(array)


def _arrays(data: vtkPointSet | None) -> dict[str, Any]:
    if data is None:
        return {}
    held = data.GetPointData()
    found: dict[str, Any] = {}
    split: dict[str, list[Any]] = {}
    for k in range(held.GetNumberOfArrays()):
        name = held.GetArrayName(k)
        values = vtk_to_numpy(held.GetArray(k))
        if COMPONENT in name:
            split.setdefault(name.split(COMPONENT)[0], []).append(values)
        else:
            found[name] = lps_of(values) if values.ndim == 2 else values
    return {**found, **{name: np.column_stack(columns) for name, columns in split.items()}}


def _cells(offsets: Any, connectivity: Any) -> vtkCellArray:
    cells = vtkCellArray()
    cells.SetData(
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(offsets, np.int64)),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(connectivity, np.int64)),
    )
    return cells

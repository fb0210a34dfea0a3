"""The speed of the blood below the wall, where on the wall itself it is zero."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersPoints import vtkPointInterpolator, vtkVoronoiKernel

from VesselFlowGSLib.results.snapshot import Phase, Polylines, Snapshot, Surface
from VesselFlowGSScene.poly_data import fingerprint, poly_data

Array = NDArray[Any]


@dataclass(frozen=True)
class NearWallSettings:
    """depth: of the local radius, how far below the wall; most_points: of the field and of the centreline that are
    searched, drawn with the seed; smoothing: how often each point of the wall takes the mean around it, since the
    nearest point of the field answers for it; remembered: how many vessels' searches are kept."""

    depth: float = 0.5
    most_points: int = 50_000
    most_stations: int = 200
    seed: int = 0
    smoothing: int = 4
    remembered: int = 4


# The search depends on the shape alone; plain indices, so that no node is held.
_searched: OrderedDict[str, Array] = OrderedDict()


def speed_below_wall(snapshot: Snapshot, moment: Phase | None = None) -> Array | None:
    """(n,) m/s half a local radius below each point of the wall; None where field, wall or centreline are not known.

    The nearest point of the field answers, so an update of the same shape costs a look-up alone.
    """
    velocity = velocity_of(snapshot, moment)
    if snapshot.surface is None or velocity is None or radius_of(snapshot.centreline) is None:
        return None
    settings = NearWallSettings()
    chosen = np.asarray(velocity)[_points_below(snapshot, settings)].astype(np.float32, copy=False)
    speed = np.sqrt(np.einsum("ij,ij->i", chosen, chosen))
    return _smooth(speed, np.asarray(snapshot.surface.triangles), settings.smoothing)


def velocity_of(snapshot: Snapshot, moment: Phase | None) -> Array | None:
    """(n, 3) m/s on the points of the field, of the phase where it has its own; None where it is not known."""
    if snapshot.field is None:
        return None
    known = {**snapshot.field.arrays, **(moment.field if moment else {})}
    return known.get("velocity")


def radius_of(line: Polylines | None) -> Array | None:
    """(n,) mm on the points of the centreline, or None."""
    return None if line is None or len(line.points) == 0 else line.arrays.get("radius_mm")


def wall_normals(surface: Surface) -> Array:
    """(n, 3) float32 in the surface's frame: the mean of the triangles around each point, weighted by area."""
    x = np.asarray(surface.points, np.float32)
    corners = np.asarray(surface.triangles)
    first, second, third = (x[corners[:, k]] for k in range(3))
    a, b = (second - first).T, (third - first).T
    face = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    total = np.zeros((len(x), 3))
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(corners[:, corner], face[axis], len(x))
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)).astype(np.float32)


def _smooth(values: Array, triangles: Array, times: int) -> Array:
    """The mean over the triangles around each point, of the means of their corners."""
    corners = np.ascontiguousarray(triangles.T)
    weight = np.maximum(sum(np.bincount(corner, minlength=len(values)) for corner in corners), 1)
    for _ in range(times):
        mean = values[corners].mean(0)
        values = sum(np.bincount(corner, mean, len(values)) for corner in corners) / weight
    return np.asarray(values, np.float32)


def _points_below(snapshot: Snapshot, settings: NearWallSettings) -> Array:
    surface, field, line = snapshot.surface, snapshot.field, snapshot.centreline
    assert surface is not None and field is not None and line is not None
    key = f"{len(surface.points)} {len(field.points)} "
    key += snapshot.shape or fingerprint(np.asarray(surface.points), np.asarray(field.points[::97]))
    if key not in _searched:
        _searched[key] = _search(surface, np.asarray(field.points), line, settings)
        while len(_searched) > settings.remembered:
            _searched.popitem(last=False)
    _searched.move_to_end(key)
    return _searched[key]


def _search(surface: Surface, points: Array, line: Polylines, settings: NearWallSettings) -> Array:
    radius = radius_of(line)
    assert radius is not None
    wall = np.asarray(surface.points, np.float32)
    step = max(1, len(line.points) // settings.most_stations)
    local = np.asarray(radius)[::step][_nearest(np.asarray(line.points)[::step], wall)]
    below = wall - (settings.depth * local[:, None] * wall_normals(surface)).astype(np.float32)
    chosen = np.arange(len(points))
    if len(points) > settings.most_points:
        drawn = np.random.default_rng(settings.seed).random(len(points)) < settings.most_points / len(points)
        chosen = np.flatnonzero(drawn)
    # Moved at random by as much as the field's points are apart, the answers have no bias and their means are smooth.
    length = float(np.linalg.norm(np.diff(np.asarray(line.points), axis=0), axis=1).sum())
    apart = (np.pi * float(np.mean(np.square(radius))) * length / max(len(chosen), 1)) ** (1 / 3)
    moved = np.random.default_rng(settings.seed).uniform(-0.5 * apart, 0.5 * apart, below.shape)
    return chosen[_nearest(points[chosen], below + moved.astype(np.float32))]


def _nearest(points: Array, queries: Array) -> Array:
    """(m,) number of the point nearest to each query."""
    source = poly_data(points, {})
    number = numpy_to_vtk(np.arange(len(points), dtype=np.float64))
    number.SetName("number")
    source.GetPointData().AddArray(number)
    finder = vtkPointInterpolator()
    finder.SetKernel(vtkVoronoiKernel())
    asked: vtkPolyData = poly_data(queries, {})
    finder.SetInputData(asked)
    finder.SetSourceData(source)
    finder.Update()
    found = vtk_to_numpy(finder.GetOutput().GetPointData().GetArray("number"))
    return np.asarray(found).astype(np.int64)

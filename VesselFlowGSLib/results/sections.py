"""Plane sections through the cells of a result, and values at points. Needs numpy and VTK alone.

It serves the panel's thread, so nothing is prepared: the cells that a plane cuts are found from the sides on which
their corners lie, in one pass over the corners. These cells are split into tetrahedra, where a linear field is exact.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.vtkCommonDataModel import vtkStaticCellLocator
from vtkmodules.vtkFiltersCore import vtkPolyDataConnectivityFilter

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results import vtk_data
from VesselFlowGSLib.results.snapshot import Surface, VolumeMesh

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Faces of a cell by VTK's type and its order of corners; a triangle repeats its last corner.
FACES: dict[int, tuple[tuple[int, int, int, int], ...]] = {
    10: ((0, 1, 2, 2), (0, 1, 3, 3), (0, 2, 3, 3), (1, 2, 3, 3)),
    12: ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)),
    13: ((0, 1, 2, 2), (3, 4, 5, 5), (0, 1, 4, 3), (1, 2, 5, 4), (2, 0, 3, 5)),
    14: ((0, 1, 2, 3), (0, 1, 4, 4), (1, 2, 4, 4), (2, 3, 4, 4), (3, 0, 4, 4)),
}
CORNERS = {10: 4, 12: 8, 13: 6, 14: 5}

FEW_POINTS = 8
INSIDE = 1e-4  # a barycentric coordinate may be this far below zero


@dataclass(frozen=True)
class PlaneCut:
    """What flows through a plane.

    flow_ml_s         along the plane's normal; negative where it comes against it
    mean_speed_m_s    mean over the area of |velocity|
    mean_pressure_pa  mean over the area
    section           triangles in the plane, facing along the normal, with "velocity", "speed" and "pressure"
    """

    flow_ml_s: float
    area_mm2: float
    mean_speed_m_s: float
    mean_pressure_pa: float
    section: Surface


@dataclass(frozen=True)
class FieldSampler:
    """Cuts and reads a field of cells. mesh: with "velocity" (n, 3) m/s and "pressure" (n,) Pa on points in mm.

    cut takes some 20 ms with 300,000 cells; probe less for each of a few points. For more than FEW_POINTS at once
    probe builds a search tree at its first call, which takes longer; after it 2000 points take some 30 ms.
    Raises InputError where an array is missing or the cells are of another kind than the engine's.
    """

    mesh: VolumeMesh
    _search: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, shape in (("velocity", (len(self.mesh.points), 3)), ("pressure", (len(self.mesh.points),))):
            if name not in self.mesh.arrays or np.shape(self.mesh.arrays[name]) != shape:
                raise InputError(
                    f"The field has no usable {name}: the flow is not solved yet. Wait for the first flow."
                )
        kinds = np.flatnonzero(np.bincount(np.asarray(self.mesh.cell_types, np.uint8), minlength=1))
        if unknown := sorted(set(kinds.tolist()) - set(CORNERS)):
            raise InputError(f"The field has cells of VTK's type {unknown[0]}. Give a field that was written by a run.")

    def with_arrays(self, velocity: NDArray[Any], pressure: NDArray[Any]) -> FieldSampler:
        """The same cells with other values: another phase."""
        arrays = {**self.mesh.arrays, "velocity": velocity, "pressure": pressure}
        return FieldSampler(dataclasses.replace(self.mesh, arrays=arrays), self._search)

    def cut(self, origin: Any, normal: Any, near_mm: float | None = None) -> PlaneCut | None:
        """The section with the plane through origin, LPS mm; None where it meets no cell.

        near_mm  only the connected piece of it that lies nearest to the origin, and not farther away than this;
                 None for all that the plane meets
        Raises InputError for a normal without length.
        """
        at, direction = np.asarray(origin, float), np.asarray(normal, float)
        length = np.linalg.norm(direction)
        if not np.isfinite(at).all() or not np.isfinite(length) or length == 0:
            raise InputError("The plane has no place or no direction. Set it anew.")
        direction = direction / length
        section = self._section(at, direction)
        if section is not None and near_mm is not None:
            gap = np.linalg.norm(section.points - at, axis=1)
            section = _piece_at(section, at) if gap.min() <= near_mm or _covers(section, at) else None
        return None if section is None else _summed(section, direction)

    def probe(self, points: Any) -> tuple[Array, Array, Mask]:
        """Velocity (m, 3) m/s, pressure (m,) Pa and whether the point lies in a cell (m,); NaN where it does not."""
        places = np.asarray(points, float).reshape(-1, 3)
        velocity, pressure = np.full((len(places), 3), np.nan), np.full(len(places), np.nan)
        cells, owner = self._around(places) if len(places) <= FEW_POINTS else self._located(places)
        tetrahedra, cell = self._tetrahedra(cells)
        found, corners, weights = self._weights(places, tetrahedra, owner[cell])
        velocity[found] = np.einsum("mi,mik->mk", weights, self.mesh.arrays["velocity"][corners])
        pressure[found] = (weights * self.mesh.arrays["pressure"][corners]).sum(1)
        return velocity, pressure, np.isfinite(pressure)

    def _section(self, origin: Array, normal: Array) -> Surface | None:
        distance = self._along(normal) - float(origin @ normal)
        corners, _ = self._tetrahedra(self._parted(distance >= 0))
        height = distance[corners]
        above = (height >= 0).sum(1)
        # Corners below the plane first: with one or three of them a triangle, with two a quadrangle.
        order = np.argsort(height >= 0, axis=1, kind="stable")
        corners = np.take_along_axis(corners, order, axis=1)
        one, two, three = (corners[above == k] for k in (1, 2, 3))
        edges = np.concatenate(
            [
                one[:, [3, 0, 3, 1, 3, 2]].reshape(-1, 3, 2),
                three[:, [0, 1, 0, 2, 0, 3]].reshape(-1, 3, 2),
                two[:, [0, 2, 0, 3, 1, 3]].reshape(-1, 3, 2),
                two[:, [0, 2, 1, 3, 1, 2]].reshape(-1, 3, 2),
            ]
        )
        if not len(edges):
            return None
        edges = np.sort(edges, axis=2)
        count = len(self.mesh.points)
        code, triangles = np.unique(edges[..., 0] * count + edges[..., 1], return_inverse=True)
        low, high = code // count, code % count
        part = (distance[low] / (distance[low] - distance[high]))[:, None]

        def between(values: NDArray[Any]) -> Array:
            first, second = np.asarray(values[low], float), np.asarray(values[high], float)
            mixed = part if first.ndim > 1 else part[:, 0]
            return np.asarray(first + mixed * (second - first))

        velocity = between(self.mesh.arrays["velocity"])
        arrays = {
            "velocity": velocity,
            "speed": np.linalg.norm(velocity, axis=1),
            "pressure": between(self.mesh.arrays["pressure"]),
        }
        points, triangles = between(self.mesh.points), triangles.reshape(-1, 3)
        sides = points[triangles]
        facing = np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]) @ normal
        triangles[facing < 0] = triangles[facing < 0][:, ::-1]
        # Triangles without area, where the plane meets a corner, stay as long as they join their neighbours.
        return Surface(points, triangles, arrays)

    def _along(self, normal: Array) -> Array:
        points = self.mesh.points
        return np.asarray(points @ normal.astype(points.dtype), float)

    def _parted(self, side: Mask) -> Integers:
        """The cells whose corners lie on both sides."""
        offsets = self.mesh.offsets
        of_corner = side.take(self.mesh.connectivity)
        change = np.flatnonzero(of_corner[1:] != of_corner[:-1]) + 1
        cell = np.searchsorted(offsets, change, side="right") - 1
        return np.unique(cell[offsets[cell] != change])

    def _tetrahedra(self, cells: Integers) -> tuple[Integers, Integers]:
        """Points (m, 4), and which of the cells each belongs to (m,)."""
        kinds = np.asarray(self.mesh.cell_types)[cells]
        found, owners = [np.zeros((0, 4), np.int64)], [np.zeros(0, np.int64)]
        for kind, count in CORNERS.items():
            which = np.flatnonzero(kinds == kind)
            start = np.asarray(self.mesh.offsets)[cells[which]]
            corners = np.asarray(self.mesh.connectivity, np.int64)[start[:, None] + np.arange(count)]
            tetrahedra, row = _split(corners, kind)
            found.append(tetrahedra)
            owners.append(which[row])
        return np.concatenate(found), np.concatenate(owners)

    def _around(self, places: Array) -> tuple[Integers, Integers]:
        """Cells whose box holds a place, and the number of the place."""
        cells, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number, place in enumerate(places):
            if not np.isfinite(place).all():
                continue
            held = self._parted(self.mesh.points[:, 0] >= place[0])
            for axis in (1, 2):
                tetrahedra, cell = self._tetrahedra(held)
                side = self.mesh.points[:, axis].take(tetrahedra) >= place[axis]
                held = held[_on_both_sides(cell, side, len(held))]
            cells.append(held)
            owners.append(np.full(len(held), number))
        return np.concatenate(cells), np.concatenate(owners)

    def _located(self, places: Array) -> tuple[Integers, Integers]:
        """The cell of each place that VTK's search tree finds, and the number of the place."""
        if "locator" not in self._search:
            locator = vtkStaticCellLocator()
            locator.SetDataSet(vtk_data.unstructured_grid(dataclasses.replace(self.mesh, arrays={})))
            locator.BuildLocator()
            self._search["locator"] = locator
        find = self._search["locator"].FindCell
        cells = np.array([find(place) if np.isfinite(place).all() else -1 for place in places], np.int64)
        return cells[cells >= 0], np.flatnonzero(cells >= 0)

    def _weights(self, places: Array, tetrahedra: Integers, owner: Integers) -> tuple[Integers, Integers, Array]:
        """Of each place that lies in one of its tetrahedra: its number, that one's points (m, 4) and weights (m, 4)."""
        corner = np.asarray(self.mesh.points[tetrahedra], float)
        sides = corner[:, 1:] - corner[:, :1]
        whole = np.abs(np.linalg.det(sides)) > 1e-12 * np.abs(sides).max(initial=0.0) ** 3
        corner, sides, tetrahedra, owner = corner[whole], sides[whole], tetrahedra[whole], owner[whole]
        offset = places[owner] - corner[:, 0]
        rest = np.linalg.solve(sides.transpose(0, 2, 1), offset[..., None])[..., 0]
        weight = np.concatenate([1 - rest.sum(1, keepdims=True), rest], axis=1)
        least = weight.min(1)
        order = np.lexsort((-least, owner))
        found, first = np.unique(owner[order], return_index=True)
        best = order[first]
        good = least[best] >= -INSIDE
        held = weight[best[good]].clip(0)
        return found[good], tetrahedra[best[good]], held / held.sum(1, keepdims=True)


def _on_both_sides(cell: Integers, side: Mask, count: int) -> Mask:
    """(count,) the cells with corners on both sides, from those of their tetrahedra: cell (m,), side (m, 4)."""
    above, below = np.zeros(count, bool), np.zeros(count, bool)
    above[cell[side.any(1)]] = True
    below[cell[~side.all(1)]] = True
    return above & below


def _split(corners: Integers, kind: int) -> tuple[Integers, Integers]:
    """Tetrahedra (m, 4) of cells (k, corners) of one kind, and the cell of each (m,).

    Every face is parted from its corner of lowest number, and the cell too, so that neighbours fit.
    J. Dompierre et al., How to subdivide pyramids, prisms, and hexahedra into tetrahedra, 8th Int. Meshing Roundtable,
    1999.
    """
    if kind == 10 or not len(corners):
        return corners.reshape(-1, 4), np.arange(len(corners))
    faces = corners[:, np.array(FACES[kind])]
    first = faces.argmin(2)[..., None]
    turned = np.take_along_axis(faces, (first + np.arange(4)) % 4, axis=2)
    triangles = turned[:, :, [[0, 1, 2], [0, 2, 3]]].reshape(len(corners), -1, 3)
    apex = np.broadcast_to(corners.min(1)[:, None, None], (*triangles.shape[:2], 1))
    found = np.concatenate([apex, triangles], axis=2)
    a, b, c = (triangles[..., i] for i in range(3))
    whole = (triangles != apex).all(2) & (a != b) & (b != c) & (c != a)
    return found[whole], np.nonzero(whole)[0]


def _summed(section: Surface, normal: Array) -> PlaneCut | None:
    """Integrals over the triangles, exact for values that are linear on each; None for a section without area."""
    sides = section.points[section.triangles]
    area = np.linalg.norm(np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]), axis=1) / 2
    whole = float(area.sum())
    if whole == 0:
        return None
    section = dataclasses.replace(section, triangles=section.triangles[area > 0])
    area = area[area > 0]

    def integral(values: NDArray[Any]) -> float:
        return float(area @ values[section.triangles].mean(1))

    return PlaneCut(
        integral(section.arrays["velocity"] @ normal),
        whole,
        integral(section.arrays["speed"]) / whole,
        integral(section.arrays["pressure"]) / whole,
        section,
    )


def _covers(section: Surface, place: Array) -> bool:
    """Whether the place lies in one of the triangles."""
    a, b, c = (section.points[section.triangles[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    inside = [np.einsum("ij,ij->i", np.cross(q - p, place - p), normal) >= 0 for p, q in ((a, b), (b, c), (c, a))]
    return bool(np.logical_and.reduce(inside).any())


def _piece_at(section: Surface, place: Array) -> Surface:
    """The connected piece that covers the place, or is nearest to it."""
    connectivity = vtkPolyDataConnectivityFilter()
    connectivity.SetInputData(vtk_data.surface_data(section))
    connectivity.SetExtractionModeToAllRegions()
    connectivity.ColorRegionsOn()
    connectivity.Update()
    pieces = vtk_data.surface(connectivity.GetOutput())
    label = np.asarray(pieces.arrays["RegionId"])[pieces.triangles[:, 0]].astype(np.int64)
    middle = pieces.points[pieces.triangles].mean(1)
    nearest = label[np.linalg.norm(middle - place, axis=1).argmin()]
    kept = pieces.triangles[label == nearest]
    used, triangles = np.unique(kept, return_inverse=True)
    arrays = {name: np.asarray(values)[used] for name, values in pieces.arrays.items() if name != "RegionId"}
    return Surface(np.asarray(pieces.points[used]), triangles.reshape(-1, 3), arrays)

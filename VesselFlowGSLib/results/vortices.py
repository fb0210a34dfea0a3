"""Where blood turns: velocity gradients on the cells, the Q and the lambda-2 criterion, regions of cells.

Q = (|Omega|^2 - |S|^2) / 2 > 0: J. Hunt, A. Wray, P. Moin, Eddies, streams, and convergence zones in turbulent flows,
CTR-S88 (1988). lambda-2 < 0, the middle eigenvalue of S^2 + Omega^2: J. Jeong, F. Hussain, On the identification of a
vortex, J. Fluid Mech. 285 (1995) 69. S and Omega are the symmetric and the antisymmetric part of grad u.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkFiltersCore import vtkContourFilter

from VesselFlowGSLib.results import vtk_data
from VesselFlowGSLib.results.snapshot import Surface, VolumeMesh

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

CELLS_AT_ONCE = 200_000

# Derivatives of the shape functions at the middle of a cell of VTK's type, and its volume over their determinant.
_HEXAHEDRON = np.array([[-1, 1, 1, -1] * 2, [-1, -1, 1, 1] * 2, [-1] * 4 + [1] * 4]) / 4
_WEDGE = np.array([[-3, 3, 0] * 2, [-3, 0, 3] * 2, [-2] * 3 + [2] * 3]) / 6
_PYRAMID = np.array([[-3, 3, 3, -3, 0], [-3, -3, 3, 3, 0], [-2, -2, -2, -2, 8]]) / 8
_TETRAHEDRON = np.array([[-1.0, 1, 0, 0], [-1, 0, 1, 0], [-1, 0, 0, 1]])
SHAPES: dict[int, tuple[Array, float]] = {
    12: (_HEXAHEDRON, 1.0),
    13: (_WEDGE, 1 / 2),
    14: (_PYRAMID, 1 / 3 / 0.5625),
    10: (_TETRAHEDRON, 1 / 6),
}


@dataclass(frozen=True)
class CellGradients:
    """Of the cells with these numbers (k,): middle (k, 3) mm, volume (k,) mm^3, velocity (k, 3) m/s.

    gradient  (k, 3, 3) du_i/dx_j, 1/s
    """

    cells: Integers
    middle: Array
    volume: Array
    velocity: Array
    gradient: Array


def cell_gradients(mesh: VolumeMesh) -> CellGradients:
    """At the middle of every whole cell; mesh with "velocity".

    The tetrahedra that a wall cuts off can be slivers with a gradient that means nothing: they are left out, unless
    the mesh has no other cells. Cells turned inside out or flat are left out, too.
    """
    kinds = np.asarray(mesh.cell_types)
    wanted = [kind for kind in SHAPES if kind != 10 and (kinds == kind).any()] or [10]
    parts = []
    for kind in wanted:
        numbers = np.flatnonzero(kinds == kind)
        for first in range(0, len(numbers), CELLS_AT_ONCE):
            parts.append(_gradients(mesh, numbers[first : first + CELLS_AT_ONCE], kind))
    cells, middle, volume, velocity, gradient = (np.concatenate([p[i] for p in parts]) for i in range(5))
    return CellGradients(cells, middle, volume, velocity, gradient)


def q_criterion(gradient: Array) -> Array:
    """(k,) 1/s^2 from (k, 3, 3): positive where turning outweighs straining."""
    return np.asarray(-0.5 * np.einsum("kij,kji->k", gradient, gradient))


def lambda2(gradient: Array) -> Array:
    """(k,) 1/s^2 from (k, 3, 3): negative in a vortex; -Omega^2 in blood that turns as a solid body at Omega rad/s."""
    symmetric = 0.5 * (gradient + gradient.transpose(0, 2, 1))
    other = 0.5 * (gradient - gradient.transpose(0, 2, 1))
    return np.asarray(np.linalg.eigvalsh(symmetric @ symmetric + other @ other)[:, 1])


def strain_squared(gradient: Array) -> Array:
    """(k,) 1/s^2: |S|^2."""
    symmetric = 0.5 * (gradient + gradient.transpose(0, 2, 1))
    return np.asarray(np.einsum("kij,kij->k", symmetric, symmetric))


def corners_of(mesh: VolumeMesh, cells: Integers) -> tuple[Integers, Integers]:
    """The corners of the cells (m,), one cell after the other (k,), and the row of the cell of each (k,)."""
    start = np.asarray(mesh.offsets)[cells]
    count = np.asarray(mesh.offsets)[cells + 1] - start
    row = np.repeat(np.arange(len(cells)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return np.asarray(mesh.connectivity)[start[row] + within], row


def pieces(mesh: VolumeMesh, cells: Integers) -> NDArray[np.int32]:
    """(m,) the number of the connected piece of each of the cells (m,): cells of a piece share corners."""
    corner, row = corners_of(mesh, cells)
    _, corner = np.unique(corner, return_inverse=True)
    size = len(cells) + (int(corner.max()) + 1 if len(corner) else 0)
    graph = coo_matrix((np.ones(len(row), np.int8), (row, len(cells) + corner)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(cells)])


def boundary(mesh: VolumeMesh, cells: Integers) -> Surface | None:
    """The smooth surface around the cells: half of the cells at a point of it are theirs. None where there is none."""
    own, _ = corners_of(mesh, cells)
    near = np.zeros(len(mesh.points), bool)
    near[own] = True
    touched = np.flatnonzero(near[mesh.connectivity])
    around = np.unique(np.searchsorted(mesh.offsets, touched, side="right") - 1)
    flat, row = corners_of(mesh, around)
    used, connectivity = np.unique(flat, return_inverse=True)
    inside = np.bincount(np.searchsorted(used, own), minlength=len(used))
    part = VolumeMesh(
        np.asarray(mesh.points)[used],
        connectivity,
        np.concatenate([[0], np.cumsum(np.bincount(row))]),
        np.asarray(mesh.cell_types)[around],
        {"inside": inside / np.bincount(connectivity)},
    )
    contour = vtkContourFilter()
    contour.SetInputData(vtk_data.unstructured_grid(part))
    contour.SetInputArrayToProcess(0, 0, 0, vtkDataObject.FIELD_ASSOCIATION_POINTS, "inside")
    contour.SetValue(0, 0.5)
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    data = contour.GetOutput()
    if data.GetNumberOfPolys() == 0:
        return None
    drawn = vtk_data.surface(data)
    return Surface(drawn.points, drawn.triangles, {})


def _gradients(mesh: VolumeMesh, cells: Integers, kind: int) -> tuple[Any, ...]:
    shape, factor = SHAPES[kind]
    corner = np.asarray(mesh.connectivity)[np.asarray(mesh.offsets)[cells] + np.arange(shape.shape[1])[:, None]]
    places = np.asarray(mesh.points)[corner].astype(float)
    speeds = np.asarray(mesh.arrays["velocity"])[corner].astype(float)
    # (3, k, 3): corners come first, so that one matrix product serves all cells.
    frame, slope = np.tensordot(shape, places, 1), np.tensordot(shape, speeds, 1)
    crossed = [_cross(frame[(i + 1) % 3], frame[(i + 2) % 3]) for i in range(3)]
    determinant = np.einsum("kx,kx->k", frame[0], crossed[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        # m/s per mm is a thousand per second
        scaled = [1e3 * c / determinant[:, None] for c in crossed]
        gradient = sum(slope[i][:, :, None] * scaled[i][:, None, :] for i in range(3))
    whole = (determinant > 0) & np.isfinite(gradient).all((1, 2))
    return cells[whole], places.mean(0)[whole], factor * determinant[whole], speeds.mean(0)[whole], gradient[whole]


def _cross(a: Array, b: Array) -> Array:
    turned = np.empty_like(a)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        turned[:, i] = a[:, j] * b[:, k] - a[:, k] * b[:, j]
    return turned

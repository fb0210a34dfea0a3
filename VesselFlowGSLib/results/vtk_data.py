"""Arrays of a Snapshot as VTK data, and back. Copies at the border, so that neither side holds the other's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonCore import vtkDataArray, vtkIdTypeArray, vtkPoints, vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkDataObject, vtkPointSet, vtkPolyData, vtkUnstructuredGrid

from VesselFlowGSLib.results.snapshot import Polylines, Surface, VolumeMesh

Array = NDArray[Any]

VECTORS = "velocity"


def unstructured_grid(mesh: VolumeMesh) -> vtkUnstructuredGrid:
    """The cells with their point arrays; points in the precision of the mesh."""
    grid = vtkUnstructuredGrid()
    grid.SetPoints(_points(mesh.points))
    types = to_vtk(np.asarray(mesh.cell_types, np.uint8))
    grid.SetCells(types, _cells(mesh.offsets, mesh.connectivity))
    _set_arrays(grid, mesh.arrays)
    return grid


def volume_mesh(grid: vtkUnstructuredGrid) -> VolumeMesh:
    """The inverse of unstructured_grid."""
    cells = grid.GetCells()
    types = to_numpy(grid.GetCellTypes() if hasattr(grid, "GetCellTypes") else grid.GetCellTypesArray())
    return VolumeMesh(
        _point_array(grid),
        to_numpy(cells.GetConnectivityArray()).copy(),
        to_numpy(cells.GetOffsetsArray()).copy(),
        types.copy(),
        arrays_of(grid),
    )


def surface_data(surface: Surface) -> vtkPolyData:
    """The triangles with their point arrays."""
    data = vtkPolyData()
    data.SetPoints(_points(surface.points))
    count = len(surface.triangles)
    data.SetPolys(_cells(3 * np.arange(count + 1), np.asarray(surface.triangles).ravel()))
    _set_arrays(data, surface.arrays)
    return data


def surface(data: vtkPolyData) -> Surface:
    """The inverse of surface_data; cells that are no triangles are an error of the caller."""
    cells = data.GetPolys()
    triangles = to_numpy(cells.GetConnectivityArray()).reshape(-1, 3).copy()
    return Surface(_point_array(data), triangles, arrays_of(data))


def polyline_data(lines: Polylines) -> vtkPolyData:
    """The curves as poly-lines with their point arrays."""
    data = vtkPolyData()
    data.SetPoints(_points(lines.points))
    data.SetLines(_cells(lines.offsets, np.arange(len(lines.points))))
    _set_arrays(data, lines.arrays)
    return data


def polylines(data: vtkPolyData) -> Polylines:
    """The inverse of polyline_data."""
    return Polylines(_point_array(data), to_numpy(data.GetLines().GetOffsetsArray()).copy(), arrays_of(data))


def point_data(points: Array, arrays: Mapping[str, Array]) -> vtkPolyData:
    """Points with arrays and no cells."""
    data = vtkPolyData()
    data.SetPoints(_points(points))
    _set_arrays(data, arrays)
    return data


def arrays_of(data: vtkPointSet) -> dict[str, Array]:
    """The point arrays by name, copied."""
    attributes = data.GetPointData()
    found = (attributes.GetAbstractArray(i) for i in range(attributes.GetNumberOfArrays()))
    return {a.GetName(): to_numpy(a).copy() for a in found if a.IsNumeric()}


def to_vtk(values: Array) -> vtkDataArray:
    """A copy of the values as VTK holds them."""
    held: vtkDataArray = numpy_support.numpy_to_vtk(np.ascontiguousarray(values), deep=True)  # type: ignore[no-untyped-call]
    return held


def to_numpy(held: Any) -> Array:
    """The values as numpy sees them: a view, good for as long as VTK holds them."""
    return np.asarray(numpy_support.vtk_to_numpy(held))  # type: ignore[no-untyped-call]


def say_frame(data: vtkDataObject) -> None:
    """State the frame of the coordinates in the field data, as Slicer and others read it."""
    text = vtkStringArray()
    text.SetName("SPACE")
    text.InsertNextValue("LPS")
    data.GetFieldData().AddArray(text)


def _points(points: Array) -> vtkPoints:
    held = vtkPoints()
    held.SetData(to_vtk(points))
    return held


def _point_array(data: vtkPointSet) -> Array:
    if data.GetNumberOfPoints() == 0:
        return np.zeros((0, 3))
    return np.asarray(to_numpy(data.GetPoints().GetData()).copy())


def _cells(offsets: Array, connectivity: Array) -> vtkCellArray:
    cells = vtkCellArray()
    cells.SetData(
        _ids(offsets),
        _ids(connectivity),
    )
    return cells


def _ids(values: Array) -> vtkIdTypeArray:
    plain = np.ascontiguousarray(values, np.int64)
    held: vtkIdTypeArray = numpy_support.numpy_to_vtkIdTypeArray(plain, deep=True)  # type: ignore[no-untyped-call]
    return held


def _set_arrays(data: vtkPointSet, arrays: Mapping[str, Array]) -> None:
    """Set point arrays. The velocity is the active one: of poly data Slicer turns the active vectors alone into RAS."""
    for name, values in arrays.items():
        held = to_vtk(values)
        held.SetName(name)
        data.GetPointData().AddArray(held)
    if VECTORS in arrays and np.ndim(arrays[VECTORS]) == 2:
        data.GetPointData().SetActiveVectors(VECTORS)

"""Poly data in RAS that share the memory of fresh numpy arrays, and the mark that says what they were made of."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints, vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

Array = NDArray[Any]
MADE_OF = "VesselFlowGS.MadeOf"
VELOCITY = "Velocity_m_s"


def poly_data(
    points: Array,
    arrays: Mapping[str, Array],
    *,
    triangles: Array | None = None,
    lines: Array | None = None,
    strips: tuple[Array, Array] | None = None,
    vectors: str | None = None,
    normals: Array | None = None,
) -> vtkPolyData:
    """Points (n, 3) in RAS with arrays (n,) or (n, 3); without cells one vertex cell shows them all.

    The arrays are held, not copied: hand over fresh ones and do not write into them afterwards.

    triangles  (m, 3)
    lines      offsets (k + 1,) into the points
    strips     triangle strips: offsets and the numbers of their points
    vectors    the one array that MRML turns with the points (model files and transforms turn the active one alone)
    """
    data = vtkPolyData()
    held = vtkPoints()
    held.SetData(_held(np.asarray(points, np.float32)))
    data.SetPoints(held)
    if triangles is not None:
        data.SetPolys(_cells(np.arange(0, 3 * len(triangles) + 1, 3), np.asarray(triangles).ravel()))
    elif strips is not None:
        data.SetStrips(_cells(*strips))
    elif lines is not None:
        data.SetLines(_cells(np.asarray(lines), np.arange(len(points))))
    else:
        count = len(points)
        data.SetVerts(_cells(np.array([0, count] if count else [0]), np.arange(count)))
    for name, values in arrays.items():
        set_array(data, name, values)
    if vectors is not None and vectors in arrays:
        data.GetPointData().SetActiveVectors(vectors)
    if normals is not None:
        array = _held(np.asarray(normals, np.float32))
        array.SetName("Normals")
        data.GetPointData().SetNormals(array)
    return data


def set_array(data: vtkPolyData, name: str, values: Array) -> None:
    """Give the points this array, in place of the one of its name; it is held, not copied."""
    fresh = np.asarray(values)
    array = _held(fresh.astype(np.float32, copy=False) if np.issubdtype(fresh.dtype, np.floating) else fresh)
    array.SetName(name)
    data.GetPointData().AddArray(array)


def drop_arrays_but(data: vtkPolyData, names: set[str]) -> None:
    """Remove the point arrays that are not named."""
    held = data.GetPointData()
    for name in [held.GetArrayName(k) for k in range(held.GetNumberOfArrays())]:
        if name not in names:
            held.RemoveArray(name)


def fingerprint(*parts: Any) -> str:
    """A short text that changes with any of the parts: arrays by their bytes, everything else by its repr."""
    words = []
    for part in parts:
        if isinstance(part, np.ndarray):
            words.append(f"{part.shape}{part.dtype.str}{zlib.crc32(np.ascontiguousarray(part).data):x}")
        else:
            words.append(repr(part))
    return f"{zlib.crc32(';'.join(words).encode()):08x}-{len(words)}"


def mark(data: vtkPolyData, made_of: str) -> vtkPolyData:
    """Write the fingerprint into the data, where copies and files carry it on."""
    note(data, MADE_OF, made_of)
    return data


def mark_of(data: vtkPolyData | None) -> str:
    """The fingerprint that the data carries, or ""."""
    return note_of(data, MADE_OF)


def note(data: vtkPolyData, name: str, words: str) -> None:
    """Write words into the field data."""
    text = vtkStringArray()
    text.SetName(name)
    text.InsertNextValue(words)
    data.GetFieldData().AddArray(text)


def note_of(data: vtkPolyData | None, name: str) -> str:
    """The words of this name in the field data, or ""."""
    text = None if data is None else data.GetFieldData().GetAbstractArray(name)
    return str(text.GetValue(0)) if text is not None and text.GetNumberOfValues() else ""


def points_of(data: vtkPolyData) -> Array:
    """(n, 3) RAS: a view, good for as long as the data lives."""
    if data.GetNumberOfPoints() == 0:
        return np.zeros((0, 3), np.float32)
    return np.asarray(vtk_to_numpy(data.GetPoints().GetData()))


def array_of(data: vtkPolyData, name: str) -> Array | None:
    """A point array as a view, or None."""
    held = data.GetPointData().GetArray(name)
    return None if held is None else np.asarray(vtk_to_numpy(held))


def _held(values: Array) -> Any:
    return numpy_to_vtk(np.ascontiguousarray(values))


def _cells(offsets: Array, connectivity: Array) -> vtkCellArray:
    cells = vtkCellArray()
    cells.SetData(
        numpy_to_vtkIdTypeArray(np.array(offsets, np.int64)), numpy_to_vtkIdTypeArray(np.array(connectivity, np.int64))
    )
    return cells

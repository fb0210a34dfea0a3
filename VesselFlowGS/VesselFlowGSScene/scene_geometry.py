"""Images and surfaces out of the scene, in LPS mm, with the transforms above them applied; and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from VesselFlowGSLib.errors import InputError, ResourceError
from VesselFlowGSScene.frames import lps_matrix_of, lps_of

# directions of a volume whose cosine is more than this are not at right angles
SHEAR_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Grid:
    """An image taken out of the scene: values (K, J, I), affine (4, 4) from (i, j, k, 1) to LPS mm."""

    values: NDArray[Any]
    affine: NDArray[np.float64]


def grid_of_volume(node: Any) -> Grid:
    """A copy of a volume node's voxels and its place, with linear transforms above it applied.

    Raises InputError for an empty volume, colours, a transform that is not linear, and axes that are not at right
    angles.
    """
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or min(image.GetDimensions()) < 2:
        raise InputError(f"{node.GetName()}: holds no three-dimensional image. Choose another volume.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f"{node.GetName()}: holds colours or vectors. Choose a volume of gray levels.")
    ijk_to_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijk_to_ras)
    affine = lps_matrix_of(_to_world(node) @ array_of(ijk_to_ras))
    _refuse_shear(affine, node.GetName())
    return Grid(voxels(image), affine)


def voxels(image: Any) -> NDArray[Any]:
    i, j, k = image.GetDimensions()
    return np.array(vtk_to_numpy(image.GetPointData().GetScalars())).reshape(k, j, i)


def _to_world(node: Any) -> NDArray[np.float64]:
    """What the transforms above a node do, (4, 4) in RAS."""
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()}: lies under a transform that is not linear ({transform.GetName()}). Harden it "
            "(Transforms module, Harden transform), which resamples, or take it away."
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return array_of(matrix)


def _refuse_shear(affine: NDArray[np.float64], name: str) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() <= 0 or not np.isfinite(affine).all():
        raise InputError(f"{name}: the voxel spacing or directions make no sense. Load the volume again.")
    axes = affine[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE:
        raise InputError(
            f"{name}: its axes are not at right angles (a sheared volume or transform). Resample it onto a straight "
            "grid (Resample Scalar/Vector/DWI Volume module)."
        )


_NRRD_TYPES = {
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "float32": "float",
    "float64": "double",
}


def write_nrrd(path: Path, grid: Grid) -> None:
    """An image as NRRD in LPS mm; nothing but voxels and place is written."""
    values = np.ascontiguousarray(grid.values)
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    sizes = " ".join(str(n) for n in values.shape[::-1])
    directions = " ".join(_vector(grid.affine[:3, axis]) for axis in range(3))
    header = (
        "NRRD0004\n"
        f"type: {_NRRD_TYPES[values.dtype.name]}\n"
        "dimension: 3\n"
        "space: left-posterior-superior\n"
        f"sizes: {sizes}\n"
        f"space directions: {directions}\n"
        "kinds: domain domain domain\n"
        "endian: little\n"
        "encoding: raw\n"
        f"space origin: {_vector(grid.affine[:3, 3])}\n\n"
    )
    with path.open("wb") as file:
        file.write(header.encode("ascii"))
        values.tofile(file)


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(v) + 0.0) for v in values) + ")"


def array_of(matrix: Any) -> NDArray[np.float64]:
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def surface_of_model(node: Any) -> Any:
    """The triangles of a model as vtkPolyData in LPS mm, with all transforms above it applied; open ends stay open."""
    return _in_lps(node.GetPolyData(), node)


def surface_of_segments(node: Any, segments: Sequence[str] = ()) -> Any:
    """The closed surface of segments (none: the visible ones) as vtkPolyData in LPS mm."""
    whole = vtk.vtkAppendPolyData()
    for segment in chosen_segments(node, segments):
        piece = vtk.vtkPolyData()
        if not node.GetClosedSurfaceRepresentation(segment, piece):
            node.CreateClosedSurfaceRepresentation()
            node.GetClosedSurfaceRepresentation(segment, piece)
        whole.AddInputData(piece)
    whole.Update()
    return _in_lps(whole.GetOutput(), node)


def grid_of_segments(node: Any, segments: Sequence[str] = ()) -> Grid:
    """Segments (none: the visible ones) as one labelmap of 0 and 1, cut to what surrounds them.

    A vessel that reaches the border of the reference volume reaches the border of the labelmap, and goes on beyond.
    """
    ids = vtk.vtkStringArray()
    for segment in chosen_segments(node, segments):
        ids.InsertNextValue(segment)
    merged = slicer.vtkOrientedImageData()
    whole = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    node.GenerateMergedLabelmapForAllSegments(merged, whole, None, ids)
    if merged.GetPointData().GetScalars() is None:
        raise InputError(f"{node.GetName()}: the segment is empty. Draw the vessel, or choose another segment.")
    inside = voxels(merged) > 0
    if not inside.any():
        raise InputError(f"{node.GetName()}: the segment is empty. Draw the vessel, or choose another segment.")
    matrix = vtk.vtkMatrix4x4()
    merged.GetImageToWorldMatrix(matrix)
    start = np.eye(4)
    start[:3, 3] = merged.GetExtent()[::2]
    affine = lps_matrix_of(_to_world(node) @ array_of(matrix) @ start)
    _refuse_shear(affine, node.GetName())
    window, low = _around(inside)
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low[::-1]
    return Grid(inside[window].astype(np.uint8), affine)


def _around(inside: NDArray[np.bool_], margin: int = 8) -> tuple[tuple[slice, ...], NDArray[np.int_]]:
    """The window of an array around what is inside, with a margin where there is room, and its low corner."""
    ends = []
    for axis in range(3):
        seen = np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis})))
        ends.append((max(int(seen[0]) - margin, 0), min(int(seen[-1]) + 1 + margin, inside.shape[axis])))
    return tuple(slice(*end) for end in ends), np.array([low for low, _ in ends])


def write_surface(path: Path, surface: Any) -> None:
    """Triangles as .vtp, which says that it is LPS."""
    writer = vtk.vtkXMLPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(surface)
    if not writer.Write():
        raise ResourceError(f"{path.name} cannot be written. Make room on the disk, or choose another jobs folder.")


def _in_lps(poly: Any, node: Any) -> Any:
    if poly is None or poly.GetNumberOfPolys() + poly.GetNumberOfStrips() == 0:
        raise InputError(f"{node.GetName()}: holds no surface. Choose a model of the vessel's wall, or a segmentation.")
    to_world = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetTransformToWorld(to_world)
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetTransform(to_world)
    moved.SetInputData(poly)
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputConnection(moved.GetOutputPort())
    triangles.PassLinesOff()
    triangles.PassVertsOff()
    triangles.Update()
    found = triangles.GetOutput()
    surface = vtk.vtkPolyData()
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(lps_of(vtk_to_numpy(found.GetPoints().GetData())), deep=True))
    surface.SetPoints(points)
    surface.SetPolys(found.GetPolys())
    frame = vtk.vtkStringArray()
    frame.SetName("SPACE")
    frame.InsertNextValue("LPS")
    surface.GetFieldData().AddArray(frame)
    return surface


def has_labelmap(node: Any) -> bool:
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    return bool(node.GetSegmentation().ContainsRepresentation(name))


def chosen_segments(node: Any, segments: Sequence[str]) -> list[str]:
    here = [node.GetSegmentation().GetNthSegmentID(n) for n in range(node.GetSegmentation().GetNumberOfSegments())]
    if not here:
        raise InputError(f"{node.GetName()}: has no segment. Segment the vessel, or choose another segmentation.")
    if segments:
        gone = [segment for segment in segments if segment not in here]
        if gone:
            raise InputError(f"{node.GetName()}: a chosen segment is no longer there. Choose the segment again.")
        return list(segments)
    display = node.GetDisplayNode()
    seen = [segment for segment in here if display is None or display.GetSegmentVisibility(segment)]
    if not seen:
        raise InputError(f"{node.GetName()}: no segment is visible. Show the vessel's segment, or choose it.")
    return seen

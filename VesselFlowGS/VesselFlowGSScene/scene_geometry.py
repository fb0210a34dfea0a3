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
    """An image taken out of the scene: values (K, J, I), affine (4, 4) from (i, j, k, 1) to LPS mm.

    The values of a volume share the memory of its node: it is not to be changed until they are written.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]


def grid_of_volume(node: Any) -> Grid:
    """A volume node's voxels and its place, with linear transforms above it applied.

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
    """The values of an image as (K, J, I), sharing its memory, which lives as long as the array."""
    i, j, k = image.GetDimensions()
    return np.asarray(vtk_to_numpy(image.GetPointData().GetScalars())).reshape(k, j, i)


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


@dataclass(frozen=True)
class Layer:
    """Voxels (K, J, I) of a segmentation, of which those with the label count; low is the lattice index of the first.

    The voxels are those of the scene, not copied.
    """

    voxels: NDArray[Any]
    label: int
    low: tuple[int, int, int]


@dataclass(frozen=True)
class Segments:
    """Segments on one lattice, taken out of the scene.

    affine     (4, 4) from lattice index (i, j, k, 1) to LPS mm
    reference  lowest and highest lattice index (i, j, k) of the volume that was segmented, or None
    """

    name: str
    layers: tuple[Layer, ...]
    affine: NDArray[np.float64]
    reference: tuple[NDArray[np.int_], NDArray[np.int_]] | None

    def grid(self, margin: int = 8) -> Grid:
        """One labelmap of 0 and 1 cut to what surrounds the segments. InputError where they are empty.

        The margin ends where the segmented volume ends: a vessel that reaches its border reaches the border of the
        labelmap, and goes on beyond.
        """
        found = [(layer, box) for layer in self.layers if (box := _box_of(layer)) is not None]
        if not found:
            raise InputError(f"{self.name}: the segment is empty. Draw the vessel, or choose another segment.")
        tight_low = np.min([box[0] for _, box in found], axis=0)
        tight_high = np.max([box[1] for _, box in found], axis=0)
        low, high = tight_low - margin, tight_high + margin
        if self.reference is not None:
            low = np.maximum(low, np.minimum(self.reference[0], tight_low))
            high = np.minimum(high, np.maximum(self.reference[1], tight_high))
        values = np.zeros((high - low + 1)[::-1], np.uint8)
        for layer, (first, last) in found:
            inside = layer.voxels[_window(first - layer.low, last - layer.low)] == layer.label
            values[_window(first - low, last - low)] |= inside
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        return Grid(values, affine)


def grid_of_segments(node: Any, segments: Sequence[str] = ()) -> Grid:
    """Segments (none: the visible ones) as one labelmap; see Segments.grid."""
    return segments_of(node, segments).grid()


def segments_of(node: Any, segments: Sequence[str] = ()) -> Segments:
    """The voxels of segments (none: the visible ones) and their place, which costs little whatever their size.

    Raises InputError where there is no such segment, or where a transform above them is not linear.
    """
    chosen = chosen_segments(node, segments)
    images = [node.GetBinaryLabelmapInternalRepresentation(segment) for segment in chosen]
    labels = [node.GetSegmentation().GetSegment(segment).GetLabelValue() for segment in chosen]
    kept = [(i, n) for i, n in zip(images, labels, strict=True) if i is not None and i.GetNumberOfPoints()]
    if not kept:
        raise InputError(f"{node.GetName()}: the segment is empty. Draw the vessel, or choose another segment.")
    to_world = _image_to_world(kept[0][0])
    if not all(np.allclose(_image_to_world(image), to_world) for image, _ in kept):
        kept, to_world = _on_one_lattice(node, chosen)
    affine = lps_matrix_of(_to_world(node) @ to_world)
    _refuse_shear(affine, node.GetName())
    layers = tuple(Layer(voxels(image), label, image.GetExtent()[::2]) for image, label in kept)
    return Segments(node.GetName(), layers, affine, _reference_of(node, to_world))


def _image_to_world(image: Any) -> NDArray[np.float64]:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return array_of(matrix)


def _on_one_lattice(node: Any, chosen: Sequence[str]) -> tuple[list[tuple[Any, int]], NDArray[np.float64]]:
    """Segments that lie on different lattices, resampled by Slicer onto a common one."""
    ids = vtk.vtkStringArray()
    ones = vtk.vtkIntArray()
    for segment in chosen:
        ids.InsertNextValue(segment)
        ones.InsertNextValue(1)
    merged = slicer.vtkOrientedImageData()
    extent = slicer.vtkSegmentation.EXTENT_UNION_OF_EFFECTIVE_SEGMENTS
    node.GenerateMergedLabelmapForAllSegments(merged, extent, None, ids, ones)
    return [(merged, 1)], _image_to_world(merged)


def _reference_of(node: Any, to_world: NDArray[np.float64]) -> tuple[NDArray[np.int_], NDArray[np.int_]] | None:
    """The lattice indices that the segmented volume spans; None where it is not known or lies askew to them."""
    key = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = node.GetSegmentation().GetConversionParameter(key)
    reference = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False):
        return None
    between = np.linalg.inv(to_world) @ _image_to_world(reference)
    scale = np.diag(between)[:3]
    if scale.min() <= 0 or np.abs(between[:3, :3] - np.diag(scale)).max() > SHEAR_TOLERANCE * scale.max():
        return None
    extent = np.array(reference.GetExtent(), float)
    low = scale * (extent[::2] - 0.5) + between[:3, 3] + 0.5
    high = scale * (extent[1::2] + 0.5) + between[:3, 3] - 0.5
    return np.rint(low).astype(int), np.rint(high).astype(int)


def _box_of(layer: Layer) -> tuple[NDArray[np.int_], NDArray[np.int_]] | None:
    """Lowest and highest lattice index (i, j, k) of the voxels that count."""
    inside = layer.voxels == layer.label
    ends = []
    for axis in range(3):  # what is found along an axis is all that the next ones look at
        seen = np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis})))
        if not len(seen):
            return None
        ends.append((int(seen[0]), int(seen[-1])))
        inside = inside[(slice(None),) * axis + (slice(seen[0], seen[-1] + 1),)]
    low, high = np.array(ends).T
    return low[::-1] + layer.low, high[::-1] + layer.low


def _window(first: NDArray[np.int_], last: NDArray[np.int_]) -> tuple[slice, ...]:
    """Of a (K, J, I) array, indices (i, j, k) from first to last."""
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(first[::-1], last[::-1], strict=True))


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

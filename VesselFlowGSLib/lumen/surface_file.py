"""The lumen as the user gives it: a surface (.stl, .vtp) or a labelmap (.nrrd, .nii, .mha), in LPS mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonCore import VTK_UNSIGNED_CHAR
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPolyData
from vtkmodules.vtkFiltersCore import (
    vtkAppendPolyData,
    vtkCleanPolyData,
    vtkFeatureEdges,
    vtkMassProperties,
    vtkPolyDataConnectivityFilter,
    vtkTriangleFilter,
)
from vtkmodules.vtkFiltersModeling import vtkFillHolesFilter, vtkLinearExtrusionFilter
from vtkmodules.vtkImagingStencil import vtkImageStencil, vtkPolyDataToImageStencil
from vtkmodules.vtkIOGeometry import vtkSTLReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.extraction import lumen_from_occupancy
from VesselFlowGSLib.lumen.segment import Occupancy
from VesselFlowGSLib.lumen.tracing import ExtractionSettings
from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]
Point = Sequence[float]

sitk: Any = SimpleITK
vtk_array: Any = numpy_support.vtk_to_numpy

SURFACES = (".stl", ".vtp")
LABELMAPS = (".nrrd", ".nii", ".nii.gz", ".mha")


@dataclass(frozen=True)
class SurfaceFileSettings:
    """voxels_per_radius: fineness of the grid that a surface is filled into; blur_voxels: its blur, against steps.

    open_end_radii: an open end is prolonged straight by so many of its radii before it is closed
    """

    voxels_per_radius: float = 4.5
    blur_voxels: float = 1.0
    open_end_radii: float = 3.0
    max_voxels: int = 8_000_000
    extraction: ExtractionSettings = ExtractionSettings()


def lumen_from_file(
    path: Path,
    *,
    inlet: Point | None = None,
    outlets: Sequence[Point] = (),
    settings: SurfaceFileSettings | None = None,
) -> Lumen:
    """Wall, tree and openings of a given lumen.

    A surface that is open at its ends opens there, the widest end being the inlet; a closed one, and a labelmap, is cut
    at inlet and outlets if these are given, else near its tips.
    Raises InputError (study.toml key geometry.lumen_file): unreadable, empty, not in mm, or without a tube.
    """
    settings = settings or SurfaceFileSettings()
    name = path.name.lower()
    if name.endswith(SURFACES):
        occupancy, ends = _filled(_read_surface(path), path, settings)
        if inlet is None and not outlets and len(ends) > 1:
            inlet, outlets = ends[0], ends[1:]
    elif name.endswith(LABELMAPS):
        occupancy = _labelled(path, settings)
    else:
        raise InputError(
            f"geometry.lumen_file = {path.name} in study.toml: give a surface ({', '.join(SURFACES)}) "
            f"or a labelmap ({', '.join(LABELMAPS)})."
        )
    return lumen_from_occupancy(occupancy, inlet=inlet, outlets=outlets, settings=settings.extraction)


def _wrong(path: Path, what: str) -> InputError:
    return InputError(f"geometry.lumen_file = {path.name} in study.toml {what}")


def _read_surface(path: Path) -> vtkPolyData:
    if not path.is_file():
        raise _wrong(path, "is not in the study.")
    reader = vtkSTLReader() if path.suffix.lower() == ".stl" else vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    triangles = vtkTriangleFilter()
    triangles.SetInputData(reader.GetOutput())
    triangles.PassLinesOff()
    triangles.PassVertsOff()
    clean = vtkCleanPolyData()
    clean.SetInputConnection(triangles.GetOutputPort())
    clean.Update()
    surface: vtkPolyData = clean.GetOutput()
    if surface.GetNumberOfCells() < 20:
        raise _wrong(path, "holds no surface, or is damaged: export it anew as triangles.")
    size = np.array(surface.GetBounds()).reshape(3, 2) @ [-1, 1]
    if not np.isfinite(size).all() or not 2 < size.max() < 1000:
        raise _wrong(path, f"is {size.max():.3g} mm long: it must be in LPS millimetres.")
    return surface


def _open_ends(surface: vtkPolyData) -> list[tuple[Array, vtkPolyData]]:
    """The rims (points and lines) of a surface, the widest first."""
    edges = vtkFeatureEdges()
    edges.SetInputData(surface)
    edges.BoundaryEdgesOn()
    edges.FeatureEdgesOff()
    edges.NonManifoldEdgesOff()
    edges.ManifoldEdgesOff()
    edges.Update()
    pieces = vtkPolyDataConnectivityFilter()
    pieces.SetInputConnection(edges.GetOutputPort())
    pieces.SetExtractionModeToAllRegions()
    pieces.Update()
    rims = []
    for i in range(pieces.GetNumberOfExtractedRegions()):
        one = vtkPolyDataConnectivityFilter()
        one.SetInputConnection(edges.GetOutputPort())
        one.SetExtractionModeToSpecifiedRegions()
        one.AddSpecifiedRegion(i)
        clean = vtkCleanPolyData()
        clean.SetInputConnection(one.GetOutputPort())
        clean.Update()
        rim = vtkPolyData()
        rim.DeepCopy(clean.GetOutput())
        rims.append((np.asarray(vtk_array(rim.GetPoints().GetData()), np.float64), rim))
    return sorted(rims, key=lambda r: -float(r[0].std(0).sum()))


def _filled(
    surface: vtkPolyData, path: Path, settings: SurfaceFileSettings
) -> tuple[Occupancy, list[tuple[float, ...]]]:
    whole = vtkAppendPolyData()
    whole.AddInputData(surface)
    points = np.asarray(vtk_array(surface.GetPoints().GetData()), np.float64)
    ends = []
    for rim_points, rim in _open_ends(surface):
        centre = rim_points.mean(0)
        radius = float(np.linalg.norm(rim_points - centre, axis=1).mean())
        normal = np.linalg.svd(rim_points - centre)[2][2]
        inside = points[np.linalg.norm(points - centre, axis=1) < 3 * radius].mean(0)
        normal *= -1 if (inside - centre) @ normal > 0 else 1
        prolong = vtkLinearExtrusionFilter()
        prolong.SetInputData(rim)
        prolong.SetExtrusionTypeToVectorExtrusion()
        prolong.SetVector(*normal)
        prolong.SetScaleFactor(settings.open_end_radii * radius)
        prolong.CappingOff()
        prolong.Update()
        whole.AddInputData(prolong.GetOutput())
        ends.append(tuple(float(v) for v in centre))
    triangles = vtkTriangleFilter()
    triangles.SetInputConnection(whole.GetOutputPort())
    clean = vtkCleanPolyData()
    clean.SetInputConnection(triangles.GetOutputPort())
    fill = vtkFillHolesFilter()
    fill.SetInputConnection(clean.GetOutputPort())
    fill.SetHoleSize(1e3)
    fill.Update()
    mass = vtkMassProperties()
    mass.SetInputData(fill.GetOutput())
    mass.Update()
    if mass.GetSurfaceArea() <= 0 or mass.GetVolume() <= 0:
        raise _wrong(path, "encloses nothing: close it, or leave only its ends open.")
    # Of a tube, twice the volume divided by the wall is the radius.
    return _voxels(fill.GetOutput(), 2 * mass.GetVolume() / mass.GetSurfaceArea(), settings), ends


def _voxels(closed: vtkPolyData, radius: float, settings: SurfaceFileSettings) -> Occupancy:
    low, high = np.array(closed.GetBounds()).reshape(3, 2).T
    h = radius / settings.voxels_per_radius
    low, high = low - 6 * h, high + 6 * h
    h *= max(1.0, (float(np.prod((high - low) / h)) / settings.max_voxels) ** (1 / 3))
    # Filled on a grid twice as fine: a tube along the axes would otherwise lose or gain whole rows of voxels.
    n = [2 * int(v) for v in np.ceil((high - low) / h).astype(int) + 1]
    image = vtkImageData()
    image.SetOrigin(*low)
    image.SetSpacing(h / 2, h / 2, h / 2)
    image.SetDimensions(*n)
    image.AllocateScalars(VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(1)
    outline = vtkPolyDataToImageStencil()
    outline.SetInputData(closed)
    outline.SetOutputOrigin(*low)
    outline.SetOutputSpacing(h / 2, h / 2, h / 2)
    outline.SetOutputWholeExtent(image.GetExtent())
    stencil = vtkImageStencil()
    stencil.SetInputData(image)
    stencil.SetStencilConnection(outline.GetOutputPort())
    stencil.ReverseStencilOff()
    stencil.SetBackgroundValue(0)
    stencil.Update()
    inside = vtk_array(stencil.GetOutput().GetPointData().GetScalars()).reshape(n, order="F") > 0
    return _blurred(inside, low, h / 2, 2 * settings.blur_voxels, 2)


def _blurred(inside: NDArray[np.bool_], origin: Array, h: float, blur_voxels: float, stride: int) -> Occupancy:
    """The largest piece, blurred; of the grid every stride-th voxel is kept."""
    labels, count = ndimage.label(inside)
    if not count:
        raise InputError("geometry.lumen_file in study.toml holds no lumen.")
    piece = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    values = ndimage.gaussian_filter(piece.astype(np.float32), blur_voxels)
    kept = (slice(None, None, stride),) * 3
    values, piece = values[kept], piece[kept]
    return Occupancy(values, origin, stride * h, blur_voxels * h, 0.0, piece, np.ones(piece.shape, bool))


def _labelled(path: Path, settings: SurfaceFileSettings) -> Occupancy:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise _wrong(path, "cannot be read as an image: export it anew.") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise _wrong(path, "is not a 3D labelmap.")
    label = sitk.Cast(image != 0, sitk.sitkFloat32)
    # Onto a cubic grid along the LPS axes, which takes the linear way between labels.
    size, spacing = np.array(label.GetSize()), np.array(label.GetSpacing())
    corners = np.array(np.meshgrid(*[(0, int(n) - 1) for n in size], indexing="ij")).reshape(3, -1).T
    world = np.array([label.TransformContinuousIndexToPhysicalPoint([float(v) for v in c]) for c in corners])
    h = float(spacing.min())
    low, high = world.min(0) - 4 * h, world.max(0) + 4 * h
    h *= max(1.0, (float(np.prod((high - low) / h)) / settings.max_voxels) ** (1 / 3))
    n = [int(v) for v in np.ceil((high - low) / h).astype(int) + 1]
    on_grid = sitk.Resample(
        label, n, sitk.Transform(), sitk.sitkLinear, [float(v) for v in low], [h] * 3, np.eye(3).ravel().tolist(), 0.0
    )
    inside = sitk.GetArrayFromImage(on_grid).transpose(2, 1, 0) >= 0.5
    occupancy = _blurred(np.ascontiguousarray(inside), low, h, settings.blur_voxels, 1)
    axes = np.stack(np.meshgrid(*[low[k] + h * np.arange(n[k]) for k in range(3)], indexing="ij"), -1).reshape(-1, 3)
    turn = np.array(label.GetDirection()).reshape(3, 3)
    index = (axes - np.array(label.GetOrigin())) @ turn / spacing
    within = ((index > -0.51) & (index < size - 0.49)).all(1).reshape(occupancy.covered.shape)
    # Where a label reaches the border it goes on beyond.
    nearest = ndimage.distance_transform_edt(~within, return_distances=False, return_indices=True)
    piece = occupancy.piece[tuple(nearest)]
    values = ndimage.gaussian_filter(piece.astype(np.float32), settings.blur_voxels)
    return Occupancy(values, low, h, occupancy.sigma_mm, 0.0, piece & within, within)

"""Volumes and vessels leave the scene where they lie in the patient: read again by the engine, and by Slicer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from filmed_scenes import add_volume, matrix_of
from scipy.spatial.transform import Rotation
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.volume import VolumeSource, read_volume
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.surface_file import lumen_from_file
from VesselFlowGSScene.frames import lps_of
from VesselFlowGSScene.scene_geometry import (
    grid_of_segments,
    grid_of_volume,
    surface_of_model,
    surface_of_segments,
    write_nrrd,
    write_surface,
)

RNG = np.random.default_rng(3)
VALUES = RNG.integers(-1000, 3000, (5, 6, 7)).astype(np.int16)


def oblique(spacing=(0.4, 0.7, 1.3), origin=(12.0, -30.0, 55.0), mirrored=False) -> np.ndarray:
    """IJK to RAS of a tilted volume with different spacings."""
    turn = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    if mirrored:
        turn[:, 0] *= -1
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * np.array(spacing), origin
    return matrix


def put_under(node, scene, matrix: np.ndarray):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(matrix_of(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def rigid() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("zyx", [30, 10, -5], degrees=True).as_matrix()
    matrix[:3, 3] = (5, -7, 11)
    return matrix


def bent(scene, node):
    """A transform that is not linear, above a node."""
    warp = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        at = 200.0 * np.array(corner) - 100
        points[0].InsertNextPoint(at)
        points[1].InsertNextPoint(at + (5 * corner[0] * corner[1], 0, 0))
    warp.SetSourceLandmarks(points[0])
    warp.SetTargetLandmarks(points[1])
    warp.SetBasisToR()
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    transform.SetAndObserveTransformToParent(warp)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return warp


def read_by_the_engine(path: Path):
    return read_volume(VolumeSource(path.name, (path,), dicom=False), AcquisitionSettings())


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("moved", [None, rigid(), np.diag([2.0, 2.0, 0.5, 1.0])], ids=["still", "moved", "scaled"])
def test_every_voxel_lies_where_it_lay_in_the_scene(scene, tmp_path, mirrored, moved):
    spacing = (0.4, 0.7, 1.3)
    straight = np.diag([*spacing, 1.0])
    ijk_to_ras = straight if moved is not None and moved[0, 0] == 2 else oblique(spacing, mirrored=mirrored)
    node = add_volume(scene, VALUES, ijk_to_ras)
    if moved is not None:
        put_under(node, scene, moved)
    write_nrrd(tmp_path / "volume.nrrd", grid_of_volume(node))
    volume, notes = read_by_the_engine(tmp_path / "volume.nrrd")
    assert notes == ()
    for i, j, k in [(0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (3, 2, 1)]:
        ras = (np.eye(4) if moved is None else moved) @ ijk_to_ras @ [i, j, k, 1]
        assert np.allclose(volume.lps([i, j, k]), lps_of(ras[:3]), atol=1e-6)
        assert volume.values[i, j, k] == VALUES[k, j, i]


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_voxels_keep_their_kind(scene, tmp_path, kind):
    values = (VALUES % 100).astype(kind)
    write_nrrd(tmp_path / "v.nrrd", grid_of_volume(add_volume(scene, values, oblique())))
    volume, _ = read_by_the_engine(tmp_path / "v.nrrd")
    assert np.array_equal(volume.values, values.transpose(2, 1, 0))


def test_slicer_reads_the_file_where_the_volume_was(scene, tmp_path):
    ijk_to_ras = oblique()
    write_nrrd(tmp_path / "v.nrrd", grid_of_volume(add_volume(scene, VALUES, ijk_to_ras)))
    again = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "again")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "v.nrrd"))
    assert storage.ReadData(again)
    matrix = vtk.vtkMatrix4x4()
    again.GetIJKToRASMatrix(matrix)
    assert np.allclose([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)], ijk_to_ras, atol=1e-6)
    assert np.array_equal(slicer.util.arrayFromVolume(again), VALUES)


def test_the_voxels_outlive_their_node(scene):
    node = add_volume(scene, VALUES, oblique())
    grid = grid_of_volume(node)
    scene.RemoveNode(node)
    del node
    assert np.array_equal(grid.values, VALUES)


def test_volumes_that_cannot_be_used_say_why(scene):
    sheared = oblique()
    sheared[:3, 0] += 0.1 * sheared[:3, 1]
    with pytest.raises(InputError, match="right angles.*Resample"):
        grid_of_volume(add_volume(scene, VALUES, sheared, "schräg"))
    with pytest.raises(InputError, match="three-dimensional"):
        grid_of_volume(add_volume(scene, VALUES[:1], oblique()))
    with pytest.raises(InputError, match="three-dimensional"):
        grid_of_volume(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "leer"))
    node = add_volume(scene, VALUES, oblique())
    bent(scene, node)
    with pytest.raises(InputError, match="not linear.*Harden"):
        grid_of_volume(node)


# vessels

# a tube along a tilted line, RAS mm
START, END, RADIUS = np.array([10.0, -20.0, 30.0]), np.array([28.0, -8.0, 39.0]), 2.0


def tube(scene, name="Gefäß"):
    """An open model of the tube."""
    line = vtk.vtkLineSource()
    line.SetPoint1(*START)
    line.SetPoint2(*END)
    line.SetResolution(30)
    skin = vtk.vtkTubeFilter()
    skin.SetInputConnection(line.GetOutputPort())
    skin.SetRadius(RADIUS)
    skin.SetNumberOfSides(24)
    skin.CappingOff()
    skin.Update()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.SetAndObservePolyData(skin.GetOutput())
    return node


def tube_labels(shape=(40, 50, 60), ijk_to_ras=None) -> tuple[np.ndarray, np.ndarray]:
    """(K, J, I) labels of the tube, and IJK to RAS, on a tilted grid around it."""
    if ijk_to_ras is None:
        ijk_to_ras = oblique((0.5, 0.55, 0.6), (0, 0, 0))
        middle = ijk_to_ras[:3, :3] @ (np.array(shape[::-1]) / 2)
        ijk_to_ras[:3, 3] = (START + END) / 2 - middle
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in shape[::-1]], indexing="ij"), -1)
    ras = ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    along = (END - START) / np.linalg.norm(END - START)
    far = (ras - START) @ along
    off = np.linalg.norm(ras - START - far[..., None] * along, axis=-1)
    inside = (off < RADIUS) & (far > 0) & (far < np.linalg.norm(END - START))
    return inside.transpose(2, 1, 0).astype(np.uint8), ijk_to_ras


def segmentation(scene, labels: np.ndarray, ijk_to_ras: np.ndarray, names=("vessel",)):
    """A segmentation node whose n-th segment holds the voxels with label n + 1."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentierung")
    node.CreateDefaultDisplayNodes()
    for n, name in enumerate(names):
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*labels.shape[::-1])
        scalars = vtk.util.numpy_support.numpy_to_vtk((labels == n + 1).astype(np.uint8).ravel(), deep=True)
        scalars.SetName("ImageScalars")
        image.GetPointData().SetScalars(scalars)
        image.SetImageToWorldMatrix(matrix_of(ijk_to_ras))
        node.AddSegmentFromBinaryLabelmapRepresentation(image, name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(add_volume(scene, labels, ijk_to_ras, "reference"))
    return node


def centre_of(points: np.ndarray) -> np.ndarray:
    return (points.min(0) + points.max(0)) / 2


def test_an_open_model_is_read_where_it_lies_and_open(scene, tmp_path):
    write_surface(tmp_path / "lumen.vtp", surface_of_model(tube(scene)))
    lumen = lumen_from_file(tmp_path / "lumen.vtp")
    ends = np.array([o.centre for o in lumen.openings])
    truth = lps_of(np.array([START, END]))
    assert len(ends) == 2
    assert np.abs(np.linalg.norm(ends[:, None] - truth, axis=2).min(1)).max() < 0.5
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(str(tmp_path / "lumen.vtp"))
    reader.Update()
    assert reader.GetOutput().GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"


def test_transforms_above_a_model_are_applied_bent_ones_too(scene):
    node = tube(scene)
    still = vtk_to_numpy(surface_of_model(node).GetPoints().GetData())
    put_under(node, scene, rigid())
    moved = vtk_to_numpy(surface_of_model(node).GetPoints().GetData())
    ras = lps_of(still) @ rigid()[:3, :3].T + rigid()[:3, 3]
    assert np.allclose(lps_of(moved), ras, atol=1e-4)
    warp = bent(scene, node)
    warped = vtk_to_numpy(surface_of_model(node).GetPoints().GetData())
    at = lps_of(still[17])
    assert np.allclose(lps_of(warped[17]), warp.TransformPoint(*[float(v) for v in at]), atol=1e-3)


def test_the_inside_of_a_model_stays_inside(scene):
    def volume(poly):
        closed = vtk.vtkFillHolesFilter()
        closed.SetInputData(poly)
        closed.SetHoleSize(100)
        normals = vtk.vtkPolyDataNormals()
        normals.SetInputConnection(closed.GetOutputPort())
        mass = vtk.vtkMassProperties()
        mass.SetInputConnection(normals.GetOutputPort())
        return mass.GetVolume()

    node = tube(scene)
    assert np.isclose(volume(surface_of_model(node)), volume(node.GetPolyData()), rtol=1e-4)


def test_segments_become_a_labelmap_in_their_place(scene, tmp_path):
    labels, ijk_to_ras = tube_labels()
    node = segmentation(scene, labels, ijk_to_ras)
    put_under(node, scene, rigid())
    grid = grid_of_segments(node)
    write_nrrd(tmp_path / "lumen.nrrd", grid)
    lumen = lumen_from_file(tmp_path / "lumen.nrrd")
    ends = np.array([o.centre for o in lumen.openings])
    world = np.array([START, END]) @ rigid()[:3, :3].T + rigid()[:3, 3]
    assert np.linalg.norm(ends[:, None] - lps_of(world), axis=2).min(1).max() < 3 * RADIUS
    k, j, i = np.nonzero(grid.values)
    points = np.c_[i, j, k] @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    k, j, i = np.nonzero(labels)
    truth = (np.c_[i, j, k] @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]) @ rigid()[:3, :3].T + rigid()[:3, 3]
    assert len(points) == len(truth) and np.allclose(points.mean(0), lps_of(truth.mean(0)), atol=1e-6)


def test_the_chosen_segments_count_else_the_visible_ones(scene):
    labels, ijk_to_ras = tube_labels()
    labels[labels.shape[0] // 2 :] *= 2
    node = segmentation(scene, labels, ijk_to_ras, ("a", "b"))
    a, b = (node.GetSegmentation().GetNthSegmentID(n) for n in range(2))
    both = int(grid_of_segments(node).values.sum())
    only = int(grid_of_segments(node, (a,)).values.sum())
    assert only == (labels == 1).sum() and both == (labels > 0).sum()
    node.GetDisplayNode().SetSegmentVisibility(a, False)
    assert int(grid_of_segments(node).values.sum()) == (labels == 2).sum()
    node.GetDisplayNode().SetSegmentVisibility(b, False)
    with pytest.raises(InputError, match="no segment is visible"):
        grid_of_segments(node)
    with pytest.raises(InputError, match="no longer there"):
        grid_of_segments(node, ("gone",))


def test_a_vessel_that_leaves_the_volume_reaches_the_border_of_its_labelmap(scene):
    labels = np.zeros((30, 20, 25), np.uint8)
    labels[:, 8:12, 9:14] = 1  # through both faces along k, away from all others
    grid = grid_of_segments(segmentation(scene, labels, np.diag([0.5, 0.5, 0.5, 1])))
    assert grid.values[0].any() and grid.values[-1].any()
    for face in (grid.values[:, 0], grid.values[:, -1], grid.values[:, :, 0], grid.values[:, :, -1]):
        assert not face.any()


def test_a_finer_segmentation_knows_where_the_volume_ends(scene):
    """The segments have half the voxels' size; along k the vessel leaves the volume, along i and j it does not."""
    fine = np.zeros((30, 40, 40), np.uint8)
    fine[:, 18:22, 18:22] = 1
    node = segmentation(scene, fine, np.diag([0.5, 0.5, 0.5, 1]))
    coarse = np.eye(4)
    coarse[:3, 3] = 0.25  # centres of voxels twice as large
    node.SetReferenceImageGeometryParameterFromVolumeNode(add_volume(scene, fine[::2, ::2, ::2], coarse, "coarse"))
    grid = grid_of_segments(node)
    assert grid.values.shape == (30, 20, 20) and grid.values[0].any() and grid.values[-1].any()
    taller = add_volume(scene, np.zeros((20, 20, 20), np.uint8), coarse, "taller")
    node.SetReferenceImageGeometryParameterFromVolumeNode(taller)
    grid = grid_of_segments(node)
    assert grid.values[0].any() and not grid.values[-1].any()


def test_segments_on_different_lattices_come_together(scene):
    labels, ijk_to_ras = tube_labels()
    node = segmentation(scene, labels, ijk_to_ras)
    one = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(node.GetSegmentation().GetNthSegmentID(0), one)
    ball = np.zeros((20, 20, 20), np.uint8)
    ball[5:15, 5:15, 5:15] = 1
    place = np.diag([0.5, 0.5, 0.5, 1.0])
    place[:3, 3] = END
    other = segmentation(scene, ball, place)
    image = slicer.vtkOrientedImageData()
    other.GetBinaryLabelmapRepresentation(other.GetSegmentation().GetNthSegmentID(0), image)
    node.AddSegmentFromBinaryLabelmapRepresentation(image, "ball")
    grid = grid_of_segments(node)
    k, j, i = np.nonzero(grid.values)
    lps = np.c_[i, j, k] @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    centre = lps_of(END + 0.5 * 9.5)
    assert np.linalg.norm(lps - centre, axis=1).min() < 1 and np.linalg.norm(lps - lps_of(START), axis=1).min() < 3


def test_a_closed_surface_alone_is_a_surface(scene, tmp_path):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentierung")
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.AddSegmentFromClosedSurfaceRepresentation(tube(scene).GetPolyData(), "vessel")
    surface = surface_of_segments(node)
    points = vtk_to_numpy(surface.GetPoints().GetData())
    assert np.allclose(centre_of(points), lps_of((START + END) / 2), atol=0.2)


def test_empty_vessels_say_what_to_do(scene):
    with pytest.raises(InputError, match="Leer.*no segment"):
        grid_of_segments(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Leer"))
    labels, ijk_to_ras = tube_labels()
    with pytest.raises(InputError, match="empty"):
        grid_of_segments(segmentation(scene, 0 * labels, ijk_to_ras))
    with pytest.raises(InputError, match="no surface"):
        surface_of_model(scene.AddNewNodeByClass("vtkMRMLModelNode", "Leer"))

"""Volumes lie in LPS millimetres where their headers put them, whatever the format."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    XRay3DAngiographicImageStorage,
    generate_uid,
)
from written_xa import item_of

from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.volume import VolumeSource, read_volume
from VesselFlowGSLib.errors import InputError, ResourceError

SETTINGS = AcquisitionSettings()
DATA = os.environ.get("VESSELFLOWGS_DATA", "")

TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
SPACING = np.array([0.4, 0.5, 0.7])
ORIGIN = np.array([10.0, -20.0, 30.0])
VALUES = np.random.default_rng(0).integers(-500, 1500, (7, 6, 5)).astype(np.int16)


def source(path, *more):
    return VolumeSource(path.name, (path, *more), dicom=path.suffix == ".dcm")


def read(path, *more, settings=SETTINGS):
    return read_volume(source(path, *more), settings)


def image(values=VALUES):
    made = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    made.SetSpacing(SPACING.tolist())
    made.SetOrigin(ORIGIN.tolist())
    made.SetDirection(TURN.ravel().tolist())
    return made


def saved(values, path):
    SimpleITK.WriteImage(image(values), str(path))
    return path


def holds(volume):
    assert volume.values.dtype == np.float32 and np.array_equal(volume.values, VALUES)
    assert np.allclose(volume.affine[:3, :3], TURN * SPACING, atol=1e-6)
    assert np.allclose(volume.affine[:3, 3], ORIGIN, atol=1e-5)
    assert np.allclose(volume.spacing_mm, SPACING, atol=1e-6)
    assert np.allclose(volume.index(volume.lps([1, 2, 3])), [1, 2, 3])


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_oblique_volumes_come_back_from_every_format(tmp_path, ending):
    volume, notes = read(saved(VALUES, tmp_path / f"v{ending}"))
    holds(volume)
    assert notes == ()


def test_a_nrrd_in_ras_is_turned_to_lps(tmp_path):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 2 2 2\n"
        "space directions: (1,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (5,6,7)\n\n"
    )
    path = tmp_path / "v.nrrd"
    path.write_bytes(header.encode() + np.arange(8, dtype="<i2").tobytes())
    volume, _ = read(path)
    assert np.allclose(volume.lps([0, 0, 0]), [-5, -6, 7]) and np.allclose(volume.lps([1, 1, 1]), [-6, -8, 10])


def test_a_volume_that_does_not_say_how_the_patient_lies_is_noted(tmp_path):
    path = tmp_path / "v.nrrd"
    path.write_bytes(b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n" + bytes(range(8)))
    assert "LPS" in read(path)[1][0]


def ct_slices(folder, order, **changes):
    paths = []
    series = generate_uid()
    for number, k in enumerate(order):
        ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = CTImageStorage, generate_uid(), series
        ds.Modality, ds.SamplesPerPixel, ds.PhotometricInterpretation = "CT", 1, "MONOCHROME2"
        ds.Rows, ds.Columns = VALUES.shape[1], VALUES.shape[0]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleSlope, ds.RescaleIntercept = 2.0, -1000.0
        ds.ImagePositionPatient = [f"{x:.6f}" for x in ORIGIN + TURN[:, 2] * SPACING[2] * k]
        ds.ImageOrientationPatient = [f"{x:.8f}" for x in (*TURN[:, 0], *TURN[:, 1])]
        ds.PixelSpacing = [SPACING[1], SPACING[0]]
        ds.PixelData = ((VALUES[:, :, k].T.astype(int) + 1000) // 2).astype("<u2").tobytes()
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        paths.append(folder / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def test_a_dicom_series_in_any_order(tmp_path):
    volume, _ = read(*ct_slices(tmp_path, [3, 0, 4, 1, 2]))
    assert np.array_equal(volume.values, VALUES // 2 * 2)
    assert np.allclose(volume.affine[:3, :3], TURN * SPACING, atol=1e-5)
    assert np.allclose(volume.affine[:3, 3], ORIGIN, atol=1e-5)


@pytest.mark.parametrize(("order", "word"), [([0, 1, 3, 4], "missing"), ([0, 1, 1, 2], "one position")])
def test_a_series_that_is_no_stack_is_refused(tmp_path, order, word):
    with pytest.raises(InputError, match=word):
        read(*ct_slices(tmp_path, order))


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_series_without_a_place_is_refused_by_name(tmp_path, keyword):
    with pytest.raises(InputError, match=keyword):
        read(*ct_slices(tmp_path, [0, 1, 2], **{keyword: None}))


@pytest.mark.parametrize("compress", [False, True])
def test_an_x_ray_3d_angiographic_volume(tmp_path, compress):
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = XRay3DAngiographicImageStorage, generate_uid()
    ds.Modality, ds.SamplesPerPixel, ds.PhotometricInterpretation = "XA", 1, "MONOCHROME2"
    ds.Columns, ds.Rows, ds.NumberOfFrames = VALUES.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    shared = Dataset()
    shared.PlaneOrientationSequence = item_of(ImageOrientationPatient=[f"{x:.8f}" for x in (*TURN[:, 0], *TURN[:, 1])])
    shared.PixelMeasuresSequence = item_of(PixelSpacing=[SPACING[1], SPACING[0]])
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    order = [4, 3, 2, 1, 0]
    for k in order:
        frame = Dataset()
        position = [f"{x:.6f}" for x in ORIGIN + TURN[:, 2] * SPACING[2] * k]
        frame.PlanePositionSequence = item_of(ImagePositionPatient=position)
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.PixelData = np.ascontiguousarray(VALUES.transpose(2, 1, 0)[order]).astype("<i2").tobytes()
    if compress:
        ds.compress(RLELossless)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    path = tmp_path / "v.dcm"
    ds.save_as(path, enforce_file_format=True)
    volume, _ = read(path)
    assert np.array_equal(volume.values, VALUES)
    assert np.allclose(volume.affine[:3, :3], TURN * SPACING, atol=1e-5)
    assert np.allclose(volume.affine[:3, 3], ORIGIN, atol=1e-5)


def test_voxels_that_are_no_number_become_background(tmp_path):
    values = VALUES.astype(np.float32)
    values[0, 0, :3] = [np.nan, np.inf, -np.inf]
    volume, notes = read(saved(values, tmp_path / "v.nrrd"))
    assert np.all(volume.values[0, 0, :3] == values[np.isfinite(values)].min())
    assert notes[0].startswith("v.nrrd: 3 of 210 voxels")


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_a_volume_that_shows_nothing_is_refused(tmp_path, value):
    with pytest.raises(InputError, match="v.nii"):
        read(saved(np.full((4, 4, 4), value, np.float32), tmp_path / "v.nii"))


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_truncated_volumes_are_refused(tmp_path, ending):
    path = saved(np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32), tmp_path / f"v{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="v"):
        read(path)


def test_a_huge_header_is_refused_before_reading(tmp_path):
    path = tmp_path / "v.nrrd"
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 200000 200000 3\nendian: little\nencoding: raw\n\n"
    path.write_bytes(header + b"\0\0")
    with pytest.raises(InputError, match="200000"):
        read(path)
    with pytest.raises(ResourceError, match="GiB"):
        read(saved(VALUES, tmp_path / "w.nrrd"), settings=AcquisitionSettings(memory_limit_bytes=1000))


def test_data_in_another_file_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(range(8)))
    nrrd = tmp_path / "v.nrrd"
    nrrd.write_bytes(b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: secret\n\n")
    mha = tmp_path / "v.mha"
    header = b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
    mha.write_bytes(header + b"ElementDataFile = secret\n")
    for path in (nrrd, mha):
        with pytest.raises(InputError, match="another file"):
            read(path)


def test_pictures_and_series_in_time_are_refused(tmp_path):
    flat = tmp_path / "flat.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 4), np.uint8)), str(flat))
    moving = tmp_path / "moving.nii"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.arange(96.0).reshape(2, 3, 4, 4)), str(moving))
    colour = tmp_path / "colour.nrrd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 3, 3, 3), np.uint8), isVector=True), str(colour))
    for path in (flat, moving, colour):
        with pytest.raises(InputError, match=path.name):
            read(path)


@pytest.mark.skipif(not DATA, reason="VESSELFLOWGS_DATA is not set")
@pytest.mark.parametrize("name", ["data/noncommercial/mra_tof_head.nii.gz", "data/volumes/cta_avm_head.nii.gz"])
def test_real_volumes_lie_where_another_reader_puts_them(name):
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    path = Path(DATA) / name
    if not path.exists():
        pytest.skip(f"{name} is not among the data")
    volume, _ = read(path)
    other = nibabel.load(path)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    assert np.abs(ras - other.affine).max() < 1e-4
    assert np.array_equal(volume.values, np.asarray(other.dataobj, np.float32))

"""Writes small, real X-ray angiographic DICOM files for the tests of reading them."""

from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    EnhancedXAImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    XRayAngiographicImageStorage,
    generate_uid,
)

PHOTONS = 40_000.0


def bolus(
    frames: int = 12, rows: int = 64, columns: int = 80, arrives: int = 5, peak: float = 0.8
) -> NDArray[np.float64]:
    """(T, rows, columns) line integrals: a horizontal vessel that fills from the left after frame `arrives` - 1."""
    r, c = np.mgrid[:rows, :columns]
    vessel = peak * np.sqrt(np.clip(1 - ((r - rows / 2) / (rows / 10)) ** 2, 0, None))
    fronts = (np.arange(frames) - arrives + 1) * columns / 6
    return np.stack([vessel * (c < front) for front in fronts])


def intensities(integrals: NDArray[np.float64], seed: int = 0, top: float = 3000.0) -> NDArray[np.float64]:
    """Gray levels linear in intensity: a smooth anatomy, Beer-Lambert and photon noise."""
    rng = np.random.default_rng(seed)
    _, rows, columns = integrals.shape
    r, c = np.mgrid[:rows, :columns]
    anatomy = 0.9 + 0.5 * np.sin(c / 9.0) * np.cos(r / 13.0)
    counts = rng.poisson(PHOTONS * np.exp(-anatomy - integrals))
    return counts * (top / PHOTONS)


def stored(values: NDArray[np.float64], bits: int = 12) -> NDArray[np.uint16]:
    return np.clip(np.rint(values), 0, (1 << bits) - 1).astype(np.uint16)


def xa(pixels: NDArray[Any], bits: int = 12, **changes: Any) -> FileDataset:
    """A complete X-Ray Angiographic Image; a change of None removes the attribute."""
    frames, rows, columns = pixels.shape[:3]
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = XRayAngiographicImageStorage, generate_uid()
    ds.PatientName, ds.PatientID = "Secret^Name", "SECRET-ID"
    ds.Modality, ds.ImageType = "XA", ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    ds.AcquisitionDate, ds.AcquisitionTime = "20260105", "101500.000"
    ds.Rows, ds.Columns, ds.NumberOfFrames = rows, columns, frames
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = pixels.itemsize * 8, bits, bits - 1, 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", 1
    ds.FrameTime, ds.FrameIncrementPointer = 100.0, 0x00181063
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = 1100.0, 700.0
    ds.ImagerPixelSpacing = [0.4, 0.5]
    ds.PositionerMotion, ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle = "STATIC", -30.0, 10.0
    ds.PixelData = np.ascontiguousarray(pixels).tobytes()
    if pixels.itemsize == 1:
        ds["PixelData"].VR = "OB"
    change(ds, changes)
    return ds


def change(ds: Dataset, changes: dict[str, Any]) -> None:
    for keyword, value in changes.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)


def average_mask(*frames: int, **changes: Any) -> list[Dataset]:
    item = Dataset()
    item.MaskOperation, item.MaskFrameNumbers = "AVG_SUB", list(frames)
    change(item, changes)
    return [item]


def item_of(**values: Any) -> list[Dataset]:
    item = Dataset()
    change(item, values)
    return [item]


def enhanced(pixels: NDArray[Any], angles: NDArray[np.float64], step_s: float = 0.1, **changes: Any) -> FileDataset:
    """An Enhanced XA Image: angles (T, 2) primary and secondary, positions and times in functional groups."""
    bare = dict.fromkeys(
        ("FrameTime", "FrameIncrementPointer", "DistanceSourceToDetector", "DistanceSourceToPatient",
         "ImagerPixelSpacing", "PositionerMotion", "PositionerPrimaryAngle", "PositionerSecondaryAngle",
         "PixelIntensityRelationship", "PixelIntensityRelationshipSign")
    )  # fmt: skip
    ds = xa(pixels, **bare)
    ds.SOPClassUID = EnhancedXAImageStorage
    shared = Dataset()
    shared.XRayGeometrySequence = item_of(DistanceSourceToDetector=1100.0, DistanceSourceToIsocenter=700.0)
    shared.FramePixelDataPropertiesSequence = item_of(
        PixelIntensityRelationship="LIN",
        PixelIntensityRelationshipSign=1,
        ImagerPixelSpacing=[0.4, 0.5],
        ImageProcessingApplied="NONE",
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for t, (primary, secondary) in enumerate(angles):
        group = Dataset()
        group.PositionerPositionSequence = item_of(
            PositionerPrimaryAngle=float(primary), PositionerSecondaryAngle=float(secondary)
        )
        group.FrameContentSequence = item_of(FrameReferenceDateTime=f"202601051015{t * step_s:09.6f}")
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    change(ds, changes)
    return ds


def write(ds: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def write_rle(ds: FileDataset, path: Path) -> Path:
    ds.compress(RLELossless)
    return write(ds, path)


def write_jpeg(ds: FileDataset, path: Path, lossless: bool = True) -> Path:
    """Rewrites the file with GDCM as JPEG lossless, or JPEG baseline for 8 bits."""
    write(ds, path)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    to = gdcm.ImageChangeTransferSyntax()
    kind = gdcm.TransferSyntax.JPEGLosslessProcess14_1 if lossless else gdcm.TransferSyntax.JPEGBaselineProcess1
    to.SetTransferSyntax(gdcm.TransferSyntax(kind))
    to.SetInput(reader.GetImage())
    assert to.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(to.GetOutput())
    assert writer.Write()
    return path

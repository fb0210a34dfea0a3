"""X-Ray Angiographic multi-frame DICOM files (PS3.3 A.14), as a C-arm system writes them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, XRayAngiographicImageStorage, generate_uid

from VesselFlowGSLib.errors import InstallationError


@dataclass(frozen=True)
class XaRun:
    """One run to be written.

    frames         (T, rows, columns) uint16, 12 bit, linear in exposure
    angles_deg     (primary, secondary) of the first frame
    increments_deg (T, 2) offsets from it of a rotational run, or None
    mask_frames    numbered from 1; empty: no MaskSubtractionSequence
    acquired       (HHMMSS.ffffff) AcquisitionTime; equal for runs that are simultaneous
    """

    name: str
    frames: NDArray[np.uint16]
    angles_deg: tuple[float, float]
    frame_time_ms: float
    source_to_detector_mm: float
    source_to_isocentre_mm: float
    pitch_mm: float
    number: int
    acquired: str
    mask_frames: tuple[int, ...] = ()
    increments_deg: NDArray[np.float64] | None = None
    biplane: bool = False


def write_xa(path: Path, run: XaRun, study: str, compression: str = "none") -> None:
    """Writes a run; the same run and study (any text) give the same bytes. compression: none, rle or jpeg."""
    data = _dataset(run, study)
    pixels = np.ascontiguousarray(run.frames, np.uint16)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    if compression == "rle":
        data.compress(RLELossless, pixels, encoding_plugin="pydicom", generate_instance_uid=False)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    if compression == "jpeg":
        _to_lossless_jpeg(path)


def _to_lossless_jpeg(path: Path) -> None:
    """Rewrites a file in JPEG Lossless (process 14, selection value 1)."""
    try:
        import gdcm
    except ImportError:
        raise InstallationError("JPEG compression needs the package python-gdcm: install it, or choose rle.") from None
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    change.Change()
    original = pydicom.dcmread(path)
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    writer.Write()
    written = pydicom.dcmread(path)
    # The codec's own version and dates stay out of the header, so that equal runs give equal files.
    original.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID
    original.PixelData = written.PixelData
    original["PixelData"].VR = "OB"
    original["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    original.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def _dataset(run: XaRun, study: str) -> FileDataset:
    count, rows, columns = run.frames.shape
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[study, run.name, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    d.SpecificCharacterSet = "ISO_IR 100"
    plane = "BIPLANE A" if run.number == 1 else "BIPLANE B"
    d.ImageType = ["ORIGINAL", "PRIMARY", plane if run.biplane else "SINGLE PLANE"]
    d.SOPClassUID = XRayAngiographicImageStorage
    d.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = "20260101"
    d.StudyTime = "100000"
    d.SeriesTime = d.AcquisitionTime = d.ContentTime = run.acquired
    d.AccessionNumber = ""
    d.Modality = "XA"
    d.Manufacturer = "VesselFlowGS simulation"
    d.ReferringPhysicianName = ""
    d.SeriesDescription = run.name
    d.PatientName = "Simulated"
    d.PatientID = "SIMULATED"
    d.PatientBirthDate = ""
    d.PatientSex = ""
    d.PatientPosition = "HFS"
    d.BodyPartExamined = "HEAD"
    d.ContrastBolusAgent = "IODINE"
    d.KVP = "75"
    d.ExposureTime = "7"
    d.XRayTubeCurrent = "400"
    d.Exposure = "3"
    d.RadiationSetting = "GR"
    d.StudyInstanceUID = generate_uid(entropy_srcs=[study, "study"])
    d.SeriesInstanceUID = generate_uid(entropy_srcs=[study, run.name, "series"])
    d.StudyID = "1"
    d.SeriesNumber = d.AcquisitionNumber = str(run.number)
    d.InstanceNumber = "1"
    d.PatientOrientation = ""
    _geometry(d, run, count)
    d.FrameTime = f"{run.frame_time_ms:.6g}"
    d.CineRate = d.RecommendedDisplayFrameRate = str(round(1000 / run.frame_time_ms))
    d.FrameIncrementPointer = 0x00181063
    d.NumberOfFrames = str(count)
    d.Rows, d.Columns = rows, columns
    d.SamplesPerPixel = 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.PixelIntensityRelationship = "LIN"
    d.PixelIntensityRelationshipSign = 1
    low, high = np.percentile(run.frames, [0.5, 99.5])
    d.WindowCenter, d.WindowWidth = f"{(low + high) / 2:.0f}", f"{max(high - low, 1):.0f}"
    d.LossyImageCompression = "00"
    if run.mask_frames:
        item = Dataset()
        item.MaskOperation = "AVG_SUB"
        item.ApplicableFrameRange = [1, count]
        item.MaskFrameNumbers = list(run.mask_frames)
        d.MaskSubtractionSequence = [item]
        d.RecommendedViewingMode = "SUB"
    return d


def _geometry(d: FileDataset, run: XaRun, count: int) -> None:
    """The C-arm's attributes (PS3.3 C.8.7.5)."""
    d.DistanceSourceToDetector = f"{run.source_to_detector_mm:g}"
    d.DistanceSourceToPatient = f"{run.source_to_isocentre_mm:g}"
    d.EstimatedRadiographicMagnificationFactor = f"{run.source_to_detector_mm / run.source_to_isocentre_mm:.6g}"
    d.ImagerPixelSpacing = [f"{run.pitch_mm:g}", f"{run.pitch_mm:g}"]
    d.FieldOfViewShape = "RECTANGLE"
    d.FieldOfViewDimensions = [str(round(run.pitch_mm * n)) for n in run.frames.shape[1:]]
    d.PositionerType = "CARM"
    d.PositionerMotion = "STATIC" if run.increments_deg is None else "DYNAMIC"
    d.PositionerPrimaryAngle, d.PositionerSecondaryAngle = (f"{a:.4f}" for a in run.angles_deg)
    if run.increments_deg is not None:
        d.PositionerPrimaryAngleIncrement = _strings(run.increments_deg[:, 0])
        d.PositionerSecondaryAngleIncrement = _strings(run.increments_deg[:, 1])


def _strings(values: Sequence[float] | NDArray[np.float64]) -> list[str]:
    return [f"{v:.4f}" for v in values]

"""Runs that lie in the scene alone, as X-ray angiographic DICOM files without a patient."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.description import RunSection
from VesselFlowGSLib.errors import InputError
from VesselFlowGSScene.runs import INTENSITY, Intensity, RunEntry, sequence_of, value
from VesselFlowGSScene.scene_geometry import voxels

# the largest value that is stored where values are scaled
LAST_LEVEL = 65534


@dataclass(frozen=True)
class Film:
    """A run that lies in the scene alone, ready to be written as an XA file.

    frames  (rows, columns) each, sharing the memory of the scene
    said    what the file cannot say, for study.toml
    """

    frames: tuple[NDArray[Any], ...]
    entry: RunEntry
    number: int
    said: RunSection = field(default=RunSection(file=""))

    def write(self, path: Path) -> None:
        """An X-Ray Angiographic Image without a patient, with the table's values. Raises OSError."""
        _xa_dataset(self).save_as(path, enforce_file_format=True)


def film_of_sequence(entry: RunEntry, scene: Any, number: int = 1) -> Film:
    """The frames of an entry's sequence. Raises InputError where the sequence is gone or changes its size."""
    sequence = sequence_of(entry, scene)
    if sequence is None:
        raise InputError(f"{entry.name}: neither its DICOM file nor its sequence is there. Load the run again.")
    frames = []
    for n in range(sequence.GetNumberOfDataNodes()):
        image = sequence.GetNthDataNode(n).GetImageData()
        frame = None if image is None else voxels(image)
        if frame is None or frame.shape != (1, entry.rows, entry.columns):
            raise InputError(f"{entry.name}: frame {n + 1} differs in size from the others. Load the run again.")
        frames.append(frame[0])
    told = {key: value(entry, key) for key in ("role", "time_offset_s", "flip_rows", "flip_columns")}
    said = RunSection(file="", principal_point_px=entry.entered.principal_point_px, **told)
    if not entry.turning and said.role == "dsa":
        said = replace(said, role=entry.entered.role)
    if said.role not in (None, "dsa", "mask", "fill"):
        said = replace(said, role=None)
    return Film(tuple(frames), entry, number, said)


def _xa_dataset(film: Film) -> Any:
    """The attributes of PS3.3 A.14 that the frames have; the patient's are empty, as type 2 allows."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid

    entry = film.entry
    pixels, slope, intercept = _stored(np.stack(film.frames), value(entry, INTENSITY), entry.name)
    count, rows, columns = pixels.shape
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    d.SpecificCharacterSet = "ISO_IR 100"
    d.SOPClassUID, d.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    d.StudyInstanceUID, d.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"):
        setattr(d, keyword, "")
    d.StudyDate = d.StudyTime = d.StudyID = d.AccessionNumber = d.PatientOrientation = ""
    d.Modality, d.ImageType = "XA", ["DERIVED", "PRIMARY", "SINGLE PLANE"]
    d.Manufacturer, d.DerivationDescription = "VesselFlowGS", "written from a sequence of 3D Slicer"
    d.SeriesNumber = d.InstanceNumber = str(film.number)
    d.Rows, d.Columns, d.NumberOfFrames = rows, columns, str(count)
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = _bits_of(pixels)
    d.BitsAllocated, d.BitsStored, d.HighBit = pixels.itemsize * 8, bits, bits - 1
    d.PixelRepresentation = int(pixels.dtype.kind == "i")
    linear = value(entry, INTENSITY) is Intensity.LINEAR
    d.PixelIntensityRelationship = "LIN" if linear else "LOG"
    d.PixelIntensityRelationshipSign = -1 if value(entry, INTENSITY) is Intensity.LOG_BRIGHT else 1
    if slope != 1.0:
        d.RescaleSlope, d.RescaleIntercept = _decimal(slope), _decimal(intercept)
    d.DistanceSourceToDetector = _decimal(entry.source_to_detector_mm)
    d.DistanceSourceToPatient = _decimal(entry.source_to_isocentre_mm)
    d.ImagerPixelSpacing = [_decimal(s) for s in entry.pixel_spacing_mm]
    d.PositionerPrimaryAngle = _decimal(entry.primary_angle_deg)
    d.PositionerSecondaryAngle = _decimal(entry.secondary_angle_deg)
    d.PositionerMotion = "DYNAMIC" if entry.turning else "STATIC"
    if entry.turning:
        d.PositionerPrimaryAngleIncrement = [_decimal(a) for a in entry.primary_turn_deg]
        d.PositionerSecondaryAngleIncrement = [_decimal(a) for a in entry.secondary_turn_deg]
    if entry.frame_times_s is not None:
        steps = np.diff(entry.frame_times_s, prepend=entry.frame_times_s[0]) * 1000
        d.FrameTimeVector, d.FrameIncrementPointer = [_decimal(s) for s in steps], 0x00181065
    if entry.mask_frames:
        mask = Dataset()
        mask.MaskOperation, mask.MaskFrameNumbers = "AVG_SUB", list(entry.mask_frames)
        d.MaskSubtractionSequence = [mask]
    d.PixelData = pixels.tobytes()
    d["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    return d


def _decimal(number: float) -> str:
    """A DICOM decimal string (VR DS), which has room for 16 characters."""
    for digits in range(16, 0, -1):
        text = f"{number:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{number:.3g}"


def _stored(frames: NDArray[Any], intensity: Intensity | None, name: str) -> tuple[NDArray[Any], float, float]:
    """Gray levels as integers of 8 or 16 bits, and the scale and offset back to the values.

    The ends of the 16 bits are left free where values are scaled: there a pixel would count as saturated.
    """
    if not np.isfinite(frames).all():
        raise InputError(f"{name}: holds pixels that are no number. Load the run again.")
    low, high = float(frames.min()), float(frames.max())
    if low == high:
        raise InputError(f"{name}: all pixels are alike: the run shows nothing. Choose another run.")
    if intensity is Intensity.LINEAR and low < 0:
        raise InputError(f"{name}: values are negative, so that they are not linear in the intensity. Choose log.")
    whole = frames.dtype.kind in "iu" or bool((frames == np.rint(frames)).all())
    for kind in (np.uint8, np.uint16, np.int16) if whole else ():
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return frames.astype("<" + np.dtype(kind).str[1:]), 1.0, 0.0
    if intensity is Intensity.LINEAR:
        return np.rint(frames * (LAST_LEVEL / high)).astype("<u2"), 1.0, 0.0
    slope = (high - low) / (LAST_LEVEL - 1)
    return np.rint((frames - low) / slope + 1).astype("<u2"), slope, low - slope


def _bits_of(pixels: NDArray[Any]) -> int:
    """The fewest bits that hold all values: detectors store 10 to 16 of them, and scale by their number."""
    largest = max(int(pixels.max()), -int(pixels.min()) - 1, 1)
    return largest.bit_length() + (pixels.dtype.kind == "i")

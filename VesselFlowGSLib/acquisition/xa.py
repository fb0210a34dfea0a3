"""X-ray angiographic runs: what a DICOM header says about geometry, time and intensity, and the frames as stored.

Read are X-Ray Angiographic Image Storage and Enhanced XA. Angles follow DICOM PS3.3 C.8.7.5.1.2 and C.8.7.5.1.3,
masks C.7.6.10, intensities C.8.7.1.1.2 and C.8.19.6.4.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedXAImageStorage, XRayAngiographicImageStorage

from VesselFlowGSLib.acquisition.description import RunSection
from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.errors import InputError, ResourceError, VesselFlowError

Array = NDArray[np.float64]

XA_CLASSES = (XRayAngiographicImageStorage, EnhancedXAImageStorage)


class IntensityRelationship(str, Enum):
    """How stored values follow the X-ray intensity: PixelIntensityRelationship (0028,1040)."""

    LINEAR = "LIN"
    LOG = "LOG"
    DISPLAY = "DISP"
    OTHER = "OTHER"
    ABSENT = ""


@dataclass(frozen=True)
class LookupTable:
    """Stored values from `first` on map to `values`; values outside map to its ends."""

    first: int
    values: Array


@dataclass(frozen=True)
class MaskOperation:
    """One item of MaskSubtractionSequence (0028,6100), frames counted from 0.

    frames         averaged into the mask; empty for time-interval differencing
    ranges         first and last frame to which it applies; empty for all frames
    shift_px       of the mask before subtraction, (vertical, horizontal)
    time_interval  TIDOffset (0028,6120) of time-interval differencing, else None
    """

    frames: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]
    shift_px: tuple[float, float] = (0.0, 0.0)
    time_interval: int | None = None


@dataclass(frozen=True)
class XAHeader:
    """What the header of a run says, checked for sense; None where it says nothing.

    name           file name relative to the study
    primary_deg    (1,) or (T,) degrees; secondary_deg likewise
    frame_times_s  (T,) seconds after the first frame
    principal_point_px, spacing_mm   (row, column), of the image as stored
    to_linear      stored value to a value linear in X-ray intensity
    log_scale      slope and intercept from stored value to natural logarithm of intensity, where the header has it
    subtracted     why the frames are taken as already subtracted; empty where they are not
    acquired       when the acquisition began
    """

    name: str
    path: Path
    enhanced: bool
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool
    relationship: IntensityRelationship
    sign: int | None
    to_linear: LookupTable | None
    log_scale: tuple[float, float] | None
    subtracted: str
    masks: tuple[MaskOperation, ...]
    primary_deg: Array | None
    secondary_deg: Array | None
    source_to_detector_mm: float | None
    source_to_isocentre_mm: float | None
    spacing_mm: tuple[float, float] | None
    principal_point_px: tuple[float, float] | None
    frame_times_s: Array | None
    acquired: datetime | None
    r_wave_frames: tuple[int, ...]
    heart_rate_bpm: float | None
    transfer_syntax: str
    notes: tuple[str, ...]
    role: str | None = None
    mask_frames: tuple[int, ...] | None = None
    time_offset_s: float | None = None
    flip_rows: bool = False
    flip_columns: bool = False

    @property
    def sweep_deg(self) -> float:
        """How far the C-arm turns during the run, in degrees."""
        angles = [a for a in (self.primary_deg, self.secondary_deg) if a is not None]
        return max((float(np.ptp(a)) for a in angles), default=0.0)

    def rotational(self, settings: AcquisitionSettings) -> bool:
        """Whether the C-arm turns during the run."""
        return self.sweep_deg >= settings.rotational_sweep_deg

    def decoded_bytes(self) -> int:
        """Memory that the run needs while it becomes line integrals: as stored, and twice as float32."""
        return self.rows * self.columns * self.frames * (self.bits_allocated // 8 + 8)


def named(keyword: str) -> str:
    """A DICOM attribute as messages name it: keyword and tag."""
    tag = tag_for_keyword(keyword)
    return keyword if tag is None else f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def coded(text: str) -> str:
    """A coded value as messages show it; damaged files may hold anything there, the patient's name included."""
    return text if re.fullmatch(r"[A-Z0-9_ ]{1,16}", text) else "damaged or no coded value"


def uid_name(text: str) -> str:
    """The name of a UID as messages show it."""
    return UID(text).name if re.fullmatch(r"[0-9.]{1,64}", text) else "damaged"


@contextmanager
def quiet_dicom() -> Iterator[None]:
    """Within, what pydicom remarks about a file is not printed: it would show paths and values of the header."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def read_header(path: Path, name: str, settings: AcquisitionSettings) -> XAHeader:
    """The header of an XA file; nothing is decoded.

    Raises InputError for a broken or contradictory header, ResourceError where decoding would need too much memory.
    Missing geometry is no error here: see `missing`.
    """
    ds = _dataset(path, name, pixels=False)
    with quiet_dicom():
        try:
            return Reading(ds, path, name, settings).header()
        except (VesselFlowError, OSError):
            raise
        except Exception as error:  # pydicom converts values when they are asked for, and raises nearly anything
            raise _unreadable(name, error) from None


def read_frames(header: XAHeader) -> NDArray[Any]:
    """(T, rows, columns) integers as stored, whatever the compression. InputError where they cannot be decoded."""
    ds = _dataset(header.path, header.name, pixels=True)
    with quiet_dicom():
        try:
            frames = np.asarray(ds.pixel_array)
        except MemoryError:
            raise ResourceError(f"{header.name}: not enough memory to decode {header.frames} frames.") from None
        except Exception as error:  # decoders raise nearly anything on damaged data
            raise InputError(
                f"{header.name}: PixelData (7FE0,0010), {header.transfer_syntax}, cannot be decoded: the file is "
                f"truncated or damaged ({type(error).__name__}). Export it again."
            ) from None
    shape = (header.frames, header.rows, header.columns)
    if frames.size != np.prod(shape):
        raise InputError(
            f"{header.name}: PixelData (7FE0,0010) holds {frames.size // (shape[1] * shape[2])} frames, but "
            f"{named('NumberOfFrames')} says {header.frames}. The file is truncated: export it again."
        )
    return frames.reshape(shape)


def with_description(header: XAHeader, said: RunSection) -> XAHeader:
    """The header with what study.toml says put in its place. InputError where the two do not fit together."""
    where = f"study.toml: [[run]] {header.name}"
    times = header.frame_times_s
    if said.frame_times_s is not None:
        if len(said.frame_times_s) != header.frames:
            raise InputError(
                f"{where}: frame_times_s has {len(said.frame_times_s)} values, but the run has {header.frames} frames."
            )
        times = np.array(said.frame_times_s)
    if said.mask_frames is not None and max(said.mask_frames) > header.frames:
        raise InputError(
            f"{where}: mask_frames names frame {max(said.mask_frames)}, but the run has {header.frames} frames."
        )
    primary, secondary = header.primary_deg, header.secondary_deg
    if said.primary_angle_deg is not None:
        primary = _moved_to(primary, said.primary_angle_deg)
    if said.secondary_angle_deg is not None:
        secondary = _moved_to(secondary, said.secondary_angle_deg)
    told = replace(
        header,
        primary_deg=primary,
        secondary_deg=secondary,
        source_to_detector_mm=said.source_to_detector_mm or header.source_to_detector_mm,
        source_to_isocentre_mm=said.source_to_isocentre_mm or header.source_to_isocentre_mm,
        spacing_mm=said.pixel_spacing_mm or header.spacing_mm,
        principal_point_px=said.principal_point_px or header.principal_point_px,
        frame_times_s=times,
        role=said.role,
        mask_frames=tuple(n - 1 for n in said.mask_frames) if said.mask_frames is not None else None,
        time_offset_s=said.time_offset_s,
        flip_rows=said.flip_rows,
        flip_columns=said.flip_columns,
    )
    near, far = told.source_to_isocentre_mm, told.source_to_detector_mm
    if near is not None and far is not None and near >= far:
        raise InputError(
            f"{header.name}: the isocentre ({near:g} mm from the source) lies beyond the detector ({far:g} mm). "
            "Correct "
            f"{named('DistanceSourceToPatient')} or source_to_isocentre_mm in study.toml."
        )
    return told


def missing(header: XAHeader) -> tuple[tuple[str, str], ...]:
    """What a reconstruction needs and the run does not have: DICOM attribute and study.toml key of each."""
    isocentre = "DistanceSourceToIsocenter" if header.enhanced else "DistanceSourceToPatient"
    times = f"{named('FrameTime')} or {named('FrameTimeVector')}"
    needed = (
        (header.source_to_detector_mm, named("DistanceSourceToDetector"), "source_to_detector_mm"),
        (header.source_to_isocentre_mm, named(isocentre), "source_to_isocentre_mm"),
        (header.spacing_mm, named("ImagerPixelSpacing"), "pixel_spacing_mm"),
        (header.primary_deg, named("PositionerPrimaryAngle"), "primary_angle_deg"),
        (header.secondary_deg, named("PositionerSecondaryAngle"), "secondary_angle_deg"),
        (header.frame_times_s, times, "frame_times_s"),
    )
    return tuple((attribute, key) for value, attribute, key in needed if value is None)


def ask_for_missing(header: XAHeader) -> InputError:
    """The error that names all that is missing at once, and what to write where."""
    lacks = missing(header)
    attributes = ", ".join(attribute for attribute, _ in lacks)
    keys = ", ".join(key for _, key in lacks)
    return InputError(
        f"{header.name}: the header has no {attributes}.\n"
        f'Add to study.toml: [[run]] with file = "{header.name}" and {keys} (or role = "ignore").'
    )


def refused_intensity(header: XAHeader) -> InputError | None:
    """Why the stored values cannot become line integrals, or None where they can."""
    relationship = f"{header.name}: {named('PixelIntensityRelationship')}"
    export = "Export the run as acquired, unsubtracted, with the relationship LIN (or LOG with its table)."
    if header.to_linear is not None:
        return None
    if header.relationship is IntensityRelationship.ABSENT:
        return InputError(
            f"{relationship} is absent: it is unknown how the values follow the X-ray intensity.\n{export}"
        )
    if header.relationship in (IntensityRelationship.DISPLAY, IntensityRelationship.OTHER):
        return InputError(
            f"{relationship} is {header.relationship.value}: values made for display do not give attenuation.\n{export}"
        )
    if header.relationship is IntensityRelationship.LINEAR and header.subtracted:
        return InputError(
            f"{relationship} is LIN, but the frames are already subtracted ({header.subtracted}): a difference of "
            f"intensities does not give attenuation.\n{export}"
        )
    return None


def _moved_to(angles: Array | None, start: float) -> Array:
    return np.array([start]) if angles is None else angles - angles[0] + start


def _dataset(path: Path, name: str, pixels: bool) -> Dataset:
    with quiet_dicom():
        try:
            return pydicom.dcmread(path, stop_before_pixels=not pixels)
        except MemoryError:
            raise ResourceError(f"{name}: not enough memory to read the file.") from None
        except Exception as error:  # pydicom raises nearly anything on damaged files
            raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name}: the file is not readable as DICOM, truncated or damaged ({type(error).__name__}). "
        "Export it again, or remove it from the study."
    )


class Reading:
    """One header being read: a dataset, where it came from, and what was noted on the way."""

    def __init__(self, ds: Dataset, path: Path, name: str, settings: AcquisitionSettings) -> None:
        self.ds, self.path, self.name, self.settings = ds, path, name, settings
        self.notes: list[str] = []
        self.enhanced = self._text(ds, "SOPClassUID") == EnhancedXAImageStorage

    def header(self) -> XAHeader:
        self._check_kind()
        rows, columns, frames = self._matrix()
        allocated, stored = self._bits()
        self.frames = frames
        properties = self._group("FramePixelDataPropertiesSequence") or self.ds if self.enhanced else self.ds
        geometry = self._group("XRayGeometrySequence") or self.ds if self.enhanced else self.ds
        masks = self._masks()
        primary, secondary = self._angles()
        far = self._positive(geometry, "DistanceSourceToDetector")
        header = XAHeader(
            name=self.name,
            path=self.path,
            enhanced=self.enhanced,
            rows=rows,
            columns=columns,
            frames=frames,
            bits_allocated=allocated,
            bits_stored=stored,
            signed=self._integer(self.ds, "PixelRepresentation") == 1,
            inverted=self._text(self.ds, "PhotometricInterpretation") == "MONOCHROME1",
            relationship=self._relationship(properties),
            sign=self._sign(properties),
            to_linear=self._to_linear(properties),
            log_scale=self._log_scale(properties),
            subtracted=self._subtracted(properties),
            masks=masks,
            primary_deg=primary,
            secondary_deg=secondary,
            source_to_detector_mm=far,
            source_to_isocentre_mm=self._source_to_isocentre(geometry, far),
            spacing_mm=self._spacing(properties),
            principal_point_px=None,
            frame_times_s=self._frame_times(),
            acquired=self._acquired(),
            r_wave_frames=self._r_waves(),
            heart_rate_bpm=self._positive(self.ds, "HeartRate"),
            transfer_syntax=self._transfer_syntax(),
            notes=(),
        )
        self._check_memory(header)
        if self._text(self.ds, "LossyImageCompression") == "01" or "JPEG Baseline" in header.transfer_syntax:
            self.notes.append(f"{self.name}: the frames were compressed with loss; faint contrast may be missing.")
        return replace(header, notes=tuple(self.notes))

    # what kind of object, how large

    def _check_kind(self) -> None:
        kind = self._text(self.ds, "SOPClassUID") or self._text(self.ds.file_meta, "MediaStorageSOPClassUID")
        if kind not in XA_CLASSES:
            raise InputError(
                f"{self.name}: {named('SOPClassUID')} is {uid_name(kind)}, not an X-ray angiographic "
                "image. "
                "Export the run as XA, or remove the file from the study."
            )
        modality = self._text(self.ds, "Modality")
        if modality not in ("XA", ""):
            raise InputError(
                f"{self.name}: {named('Modality')} is {coded(modality)}, but {named('SOPClassUID')} says X-ray "
                "angiography. "
                "Export the run again as XA."
            )
        samples = self._integer(self.ds, "SamplesPerPixel") or 1
        colours = self._text(self.ds, "PhotometricInterpretation")
        if samples != 1 or colours not in ("MONOCHROME1", "MONOCHROME2", ""):
            raise InputError(
                f"{self.name}: {named('PhotometricInterpretation')} is {coded(colours)}, {named('SamplesPerPixel')} "
                f"{samples}: "
                "a colour picture has no attenuation. Export the run as acquired, in gray levels."
            )

    def _matrix(self) -> tuple[int, int, int]:
        sides = []
        for keyword in ("Rows", "Columns"):
            size = self._integer(self.ds, keyword)
            if size is None or size < 1:
                raise InputError(
                    f"{self.name}: {named(keyword)} is absent or zero: the header is damaged. Export it again."
                )
            if size > self.settings.largest_matrix:
                raise InputError(
                    f"{self.name}: {named(keyword)} = {size}: no detector has more than "
                    f"{self.settings.largest_matrix}. The header is damaged: export it again."
                )
            sides.append(size)
        frames = self._integer(self.ds, "NumberOfFrames")
        frames = 1 if frames is None else frames
        if not 1 <= frames <= self.settings.most_frames:
            raise InputError(
                f"{self.name}: {named('NumberOfFrames')} = {frames}: 1 to {self.settings.most_frames} make sense. "
                "The header is damaged: export it again."
            )
        return sides[0], sides[1], frames

    def _bits(self) -> tuple[int, int]:
        allocated, stored = self._integer(self.ds, "BitsAllocated"), self._integer(self.ds, "BitsStored")
        if allocated not in (8, 16) or stored is None or not 1 <= stored <= allocated:
            raise InputError(
                f"{self.name}: {named('BitsAllocated')} = {allocated}, {named('BitsStored')} = {stored}: 8 or 16 bits "
                "with at least one stored are read. Export the run as acquired."
            )
        return allocated, stored

    def _check_memory(self, header: XAHeader) -> None:
        size = header.path.stat().st_size
        pixels = header.rows * header.columns * header.frames * header.bits_allocated // 8
        if not self._compressed() and size < pixels:
            raise InputError(
                f"{self.name}: {named('Rows')} × {named('Columns')} × {named('NumberOfFrames')} need {pixels} bytes, "
                "the "
                f"file has {size}. It is truncated or its header is damaged: export it again."
            )
        if header.decoded_bytes() > self.settings.memory_limit_bytes:
            raise ResourceError(
                f"{self.name}: {header.frames} frames of {header.rows} × {header.columns} need "
                f"{header.decoded_bytes() / 2**30:.1f} GiB, more than the limit of "
                f"{self.settings.memory_limit_bytes / 2**30:.1f} GiB. Export fewer frames or a smaller matrix."
            )

    def _compressed(self) -> bool:
        syntax = getattr(self.ds.file_meta, "TransferSyntaxUID", None)
        try:
            return syntax is not None and bool(UID(syntax).is_compressed)
        except ValueError:
            return True

    def _transfer_syntax(self) -> str:
        syntax = getattr(self.ds.file_meta, "TransferSyntaxUID", None)
        if syntax is None:
            raise InputError(f"{self.name}: {named('TransferSyntaxUID')} is absent. Export the file again.")
        return uid_name(str(syntax))

    # geometry

    def _angles(self) -> tuple[Array | None, Array | None]:
        if self.enhanced:
            found = tuple(self._per_frame("PositionerPositionSequence", k) for k in _ANGLES)
        else:
            found = tuple(self._angle(k) for k in _ANGLES)
        sweep = max((float(np.ptp(a)) for a in found if a is not None), default=0.0)
        if sweep >= self.settings.rotational_sweep_deg:
            return found[0], found[1]
        if sweep > 0:
            self.notes.append(
                f"{self.name}: the C-arm moves by {sweep:.2g}° during the run; it is taken to be at rest."
            )
        return tuple(None if a is None else a[:1] for a in found)  # type: ignore[return-value]

    def _angle(self, keyword: str) -> Array | None:
        """(1,) or (T,) degrees. One increment is the step per frame, T increments are offsets (C.8.7.5.1.3)."""
        start = self._number(self.ds, keyword)
        if start is None:
            return None
        steps = self._numbers(self.ds, f"{keyword}Increment")
        if steps is None or self.frames == 1:
            return np.array([start])
        if len(steps) == 1:
            return np.asarray(start + steps[0] * np.arange(self.frames))
        if len(steps) != self.frames:
            raise InputError(
                f"{self.name}: {named(keyword + 'Increment')} has {len(steps)} values for {self.frames} frames; "
                "1 or one for each frame are allowed. Export the run again."
            )
        if self._text(self.ds, "PositionerMotion") == "DYNAMIC" and _are_steps(np.array(steps)):
            self.notes.append(
                f"{self.name}: {named(keyword + 'Increment')} repeats one value: read as the step from frame to frame, "
                "not as the offset from the first frame."
            )
            return np.asarray(start + np.concatenate([[0.0], np.cumsum(steps[1:])]))
        return np.asarray(start + np.array(steps))

    def _source_to_isocentre(self, geometry: Dataset, far: float | None) -> float | None:
        given = self._positive(geometry, "DistanceSourceToIsocenter") or self._positive(
            geometry, "DistanceSourceToPatient"
        )
        if given is not None:
            return given
        ratio = self._positive(self.ds, "EstimatedRadiographicMagnificationFactor")
        if far is None or ratio is None or ratio <= 1:
            return None
        self.notes.append(
            f"{self.name}: no {named('DistanceSourceToPatient')}; taken from {named('DistanceSourceToDetector')} and "
            f"{named('EstimatedRadiographicMagnificationFactor')}: {far / ratio:.1f} mm."
        )
        return far / ratio

    def _spacing(self, properties: Dataset) -> tuple[float, float] | None:
        values = self._numbers(properties, "ImagerPixelSpacing") or self._numbers(self.ds, "ImagerPixelSpacing")
        if values is None:
            return None
        if len(values) != 2 or min(values) <= 0:
            raise InputError(
                f"{self.name}: {named('ImagerPixelSpacing')} = {values[:2]}: two positive numbers are needed. "
                "Export the run again."
            )
        return values[0], values[1]

    # time

    def _frame_times(self) -> Array | None:
        clocks = self._frame_clocks() if self.enhanced else None
        if clocks is not None:
            return clocks
        vector, step = self._numbers(self.ds, "FrameTimeVector"), self._number(self.ds, "FrameTime")
        pointer = self.ds.get("FrameIncrementPointer")
        if vector is not None and (step is None or pointer == tag_for_keyword("FrameTimeVector")):
            if len(vector) != self.frames:
                raise InputError(
                    f"{self.name}: {named('FrameTimeVector')} has {len(vector)} values for {self.frames} frames. "
                    "Export the run again, or give frame_times_s in study.toml."
                )
            if any(v <= 0 for v in vector[1:]):
                raise InputError(
                    f"{self.name}: {named('FrameTimeVector')} has an interval that is not positive. "
                    "Export the run again, or give frame_times_s in study.toml."
                )
            times = np.cumsum(vector) / 1000
            return np.asarray(times - times[0])
        if step is None and self.enhanced:
            step = self._frame_duration()
        if step is None:
            return None
        if step <= 0:
            raise InputError(
                f"{self.name}: {named('FrameTime')} = {step:g} ms is not positive. Export the run again, or give "
                "frame_times_s in study.toml."
            )
        return np.arange(self.frames) * step / 1000

    def _frame_clocks(self) -> Array | None:
        moments = []
        for index in range(self.frames):
            content = self._group("FrameContentSequence", index)
            texts = [self._text(content, k) for k in _FRAME_MOMENTS] if content is not None else []
            moment = next((m for m in map(moment_of, texts) if m is not None), None)
            if moment is None:
                return None
            moments.append(moment)
        seconds = np.array([(m - moments[0]).total_seconds() for m in moments])
        if np.any(np.diff(seconds) <= 0):
            raise InputError(
                f"{self.name}: {named('FrameReferenceDateTime')} does not rise from frame to frame. "
                "Export the run again, or give frame_times_s in study.toml."
            )
        return seconds

    def _frame_duration(self) -> float | None:
        content = self._group("FrameContentSequence")
        duration = None if content is None else self._positive(content, "FrameAcquisitionDuration")
        if duration is not None:
            self.notes.append(
                f"{self.name}: frames have no times; taken as {named('FrameAcquisitionDuration')} = {duration:g} ms "
                "apart."
            )
        return duration

    def _acquired(self) -> datetime | None:
        whole = moment_of(self._text(self.ds, "AcquisitionDateTime"))
        if whole is not None:
            return whole
        date = next((d for d in (self._text(self.ds, k) for k in _DATES) if d), "19700101")
        time = self._text(self.ds, "AcquisitionTime")
        return moment_of(date + time) if time else None

    def _r_waves(self) -> tuple[int, ...]:
        marks = self._numbers(self.ds, "RWavePointer") or []
        return tuple(int(m) - 1 for m in marks if 1 <= m <= self.frames)

    # intensity

    def _relationship(self, properties: Dataset) -> IntensityRelationship:
        text = self._text(properties, "PixelIntensityRelationship") or self._text(self.ds, "PixelIntensityRelationship")
        known = {member.value: member for member in IntensityRelationship}
        return known.get(text, IntensityRelationship.OTHER)

    def _sign(self, properties: Dataset) -> int | None:
        sign = self._integer(properties, "PixelIntensityRelationshipSign")
        sign = self._integer(self.ds, "PixelIntensityRelationshipSign") if sign is None else sign
        if sign not in (None, 1, -1):
            raise InputError(f"{self.name}: {named('PixelIntensityRelationshipSign')} = {sign}: 1 or -1 are allowed.")
        return sign

    def _to_linear(self, properties: Dataset) -> LookupTable | None:
        for item in self._group_items("PixelIntensityRelationshipLUTSequence"):
            if self._text(item, "LUTFunction") == "TO_LINEAR":
                return self._table(item)
        if self._relationship(properties) is IntensityRelationship.LOG and not self.enhanced:
            items = self.ds.get("ModalityLUTSequence") or []
            return self._table(items[0]) if len(items) else None
        return None

    def _table(self, item: Dataset) -> LookupTable:
        descriptor, data = self._numbers(item, "LUTDescriptor"), item.get("LUTData")
        if isinstance(data, bytes):
            data = np.frombuffer(data[: len(data) // 2 * 2], "<u2")
        values = np.atleast_1d(np.asarray(data if data is not None else [], float))
        if (
            descriptor is None
            or len(descriptor) != 3
            or len(values) != (int(descriptor[0]) or 65536)
            or values.max() <= 0
        ):
            raise InputError(f"{self.name}: {named('LUTData')} does not fit {named('LUTDescriptor')}. Export it again.")
        first = int(descriptor[1])
        signed = self._integer(self.ds, "PixelRepresentation") == 1
        return LookupTable(first - 65536 if signed and first > 32767 else first, values)

    def _log_scale(self, properties: Dataset) -> tuple[float, float] | None:
        transform = self._group("PixelValueTransformationSequence") or self.ds if self.enhanced else self.ds
        slope, intercept = self._number(transform, "RescaleSlope"), self._number(transform, "RescaleIntercept")
        if slope in (None, 0.0, 1.0):
            return None
        return float(slope or 1.0), float(intercept or 0.0)

    def _subtracted(self, properties: Dataset) -> str:
        kinds = [self._text(self.ds, "ImageType"), self._text(properties, "FrameType")]
        words = {word for kind in kinds for word in re.split(r"[\\ _]", kind.upper())}
        if words & {"SUBTRACTED", "SUBTRACTION", "SUB", "SUBTR", "DSA"}:
            return f"{named('ImageType')}"
        if "DIGITAL_SUBTR" in self._text(properties, "ImageProcessingApplied"):
            return f"{named('ImageProcessingApplied')} has DIGITAL_SUBTR"
        logarithmic = self._relationship(properties) is IntensityRelationship.LOG
        signed = self._integer(self.ds, "PixelRepresentation") == 1
        if signed and logarithmic and not self.ds.get("MaskSubtractionSequence"):
            return f"{named('PixelRepresentation')} is signed and there is no {named('MaskSubtractionSequence')}"
        return ""

    def _masks(self) -> tuple[MaskOperation, ...]:
        operations = []
        for item in self.ds.get("MaskSubtractionSequence") or []:
            kind = self._text(item, "MaskOperation")
            if kind in ("NONE", ""):
                continue
            ends = [int(n) - 1 for n in self._numbers(item, "ApplicableFrameRange") or []]
            ranges = tuple(zip(ends[::2], ends[1::2], strict=False))
            if any(not 0 <= low <= high for low, high in ranges):
                raise InputError(
                    f"{self.name}: {named('ApplicableFrameRange')} is not a rising pair of frames. "
                    "Give mask_frames in study.toml."
                )
            if kind == "AVG_SUB":
                operations.append(MaskOperation(self._mask_frames(item), ranges, self._shift(item)))
            elif kind in ("TID", "REV_TID"):
                offset = self._integer(item, "TIDOffset")
                operations.append(MaskOperation((), ranges, (0.0, 0.0), 1 if offset is None else offset))
            else:
                self.notes.append(f"{self.name}: {named('MaskOperation')} {coded(kind)} is not known and not used.")
        return tuple(operations)

    def _mask_frames(self, item: Dataset) -> tuple[int, ...]:
        numbers = [int(n) for n in self._numbers(item, "MaskFrameNumbers") or []]
        if self.frames == 1:
            return ()  # no run, which is said elsewhere
        if not numbers or min(numbers) < 1 or max(numbers) > self.frames:
            raise InputError(
                f"{self.name}: {named('MaskFrameNumbers')} = {numbers[:8]}: frames are numbered 1 to {self.frames}. "
                "Give mask_frames in study.toml."
            )
        return tuple(n - 1 for n in numbers)

    def _shift(self, item: Dataset) -> tuple[float, float]:
        values = self._numbers(item, "MaskSubPixelShift")
        return (values[0], values[1]) if values is not None and len(values) == 2 else (0.0, 0.0)

    # access to attributes, whose values may be damaged

    def _group(self, keyword: str, frame: int = 0) -> Dataset | None:
        return next(iter(self._group_items(keyword, frame)), None)

    def _group_items(self, keyword: str, frame: int = 0) -> Iterator[Dataset]:
        """Items of a functional group: of this frame, else shared by all."""
        per_frame = self.ds.get("PerFrameFunctionalGroupsSequence") or []
        shared = self.ds.get("SharedFunctionalGroupsSequence") or []
        for groups in ([per_frame[frame]] if frame < len(per_frame) else [], list(shared)[:1]):
            for group in groups:
                yield from group.get(keyword) or []

    def _per_frame(self, sequence: str, keyword: str) -> Array | None:
        values = []
        for frame in range(self.frames):
            item = self._group(sequence, frame)
            value = None if item is None else self._number(item, keyword)
            if value is None:
                return None
            values.append(value)
        return np.array(values)

    def _text(self, ds: Dataset, keyword: str) -> str:
        value = ds.get(keyword)
        if value is None:
            return ""
        return "\\".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)

    def _numbers(self, ds: Dataset, keyword: str) -> list[float] | None:
        try:
            value = ds.get(keyword)
            if value is None or value == "" or value == b"":
                return None
            values = [float(v) for v in (value if isinstance(value, Sequence | np.ndarray) else [value])]
        except (TypeError, ValueError, OverflowError):
            raise self._broken(keyword) from None
        if not np.all(np.isfinite(values)):
            raise self._broken(keyword)
        return values or None

    def _number(self, ds: Dataset, keyword: str) -> float | None:
        values = self._numbers(ds, keyword)
        return None if values is None else values[0]

    def _integer(self, ds: Dataset, keyword: str) -> int | None:
        value = self._number(ds, keyword)
        return None if value is None else int(value)

    def _positive(self, ds: Dataset, keyword: str) -> float | None:
        """A positive number, or None: scanners write zero where they do not know."""
        value = self._number(ds, keyword)
        if value is not None and value < 0:
            raise InputError(
                f"{self.name}: {named(keyword)} = {value:g} is negative. Correct it in study.toml or export again."
            )
        return value or None

    def _broken(self, keyword: str) -> InputError:
        return InputError(f"{self.name}: {named(keyword)} is not a number: the header is damaged. Export it again.")


_ANGLES = ("PositionerPrimaryAngle", "PositionerSecondaryAngle")
_DATES = ("AcquisitionDate", "SeriesDate", "StudyDate")
_FRAME_MOMENTS = ("FrameReferenceDateTime", "FrameAcquisitionDateTime")
_MOMENT = re.compile(r"(\d{8})(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?")


def moment_of(text: str) -> datetime | None:
    """A DICOM date and time (VR DT, or DA and TM in a row); an offset from UTC is removed."""
    match = _MOMENT.fullmatch(text.strip().replace(":", ""))
    if match is None:
        return None
    date, hours, minutes, seconds, fraction, zone = match.groups()
    try:
        moment = datetime.strptime(date + hours + (minutes or "00"), "%Y%m%d%H%M")
        moment += timedelta(seconds=int(seconds or 0), microseconds=int((fraction or "0").ljust(6, "0")))
        if zone:
            away = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
            moment = moment - away if zone[0] == "+" else moment + away
    except (ValueError, OverflowError):
        return None
    return moment


def _are_steps(increments: Array) -> bool:
    """Whether a vector of increments can only be steps: one value again and again is no path of a moving C-arm."""
    rest = increments[1:]
    return len(rest) >= 3 and abs(rest.mean()) > 0.05 and float(np.ptp(rest)) <= 0.1 * abs(float(rest.mean()))

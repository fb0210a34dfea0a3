"""Angiography volumes: NRRD, NIfTI, MHA, DICOM series and multi-frame DICOM, as values with an affine to LPS mm."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    XRay3DAngiographicImageStorage,
)

from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.study import Volume
from VesselFlowGSLib.acquisition.xa import named, quiet_dicom
from VesselFlowGSLib.errors import InputError, ResourceError, VesselFlowError

# the library has no types
sitk: Any = SimpleITK

VOLUME_ENDINGS = (".nrrd", ".nii", ".nii.gz", ".mha")
SLICE_CLASSES = (CTImageStorage, MRImageStorage)
MULTIFRAME_CLASSES = (
    XRay3DAngiographicImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)

# slices whose distances differ by more than this share are not one stack
SPACING_TOLERANCE = 0.05


@dataclass(frozen=True)
class VolumeSource:
    """Where a volume lies: its name in messages, and one file or the slices of a DICOM series (any order)."""

    name: str
    paths: tuple[Path, ...]
    dicom: bool


@dataclass(frozen=True)
class VolumeHeader:
    """What is known of a volume before its voxels are read: (I, J, K) and the affine of its first stack to LPS mm."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def read_volume(source: VolumeSource, settings: AcquisitionSettings) -> tuple[Volume, tuple[str, ...]]:
    """The volume in patient LPS mm, and notes.

    Voxels that are no number become background (the smallest value), with a note. Raises InputError for a damaged,
    empty or constant volume, one that is not three-dimensional, or slices that form no regular stack; ResourceError
    where it would need too much memory.
    """
    header = volume_header(source, settings)
    values = _dicom_values(source, header) if source.dicom else _image_values(source)
    values, notes = _finite(values, source.name)
    return Volume(values, header.affine, source.name), (*header.notes, *notes)


def volume_header(source: VolumeSource, settings: AcquisitionSettings) -> VolumeHeader:
    """Size and place of a volume; no voxel is read. Raises as read_volume."""
    header = _guarded(_dicom_header, source) if source.dicom else _image_header(source)
    if min(header.shape) < 2:
        raise InputError(f"{source.name}: {_size(header.shape)} voxels are no volume. Give a three-dimensional one.")
    if max(header.shape) > settings.largest_volume_side:
        raise InputError(
            f"{source.name}: {_size(header.shape)} voxels: more than {settings.largest_volume_side} along one axis. "
            "The header is damaged: export the volume again."
        )
    needed = 3 * 4 * int(np.prod(header.shape, dtype=object))
    if needed > settings.memory_limit_bytes:
        raise ResourceError(
            f"{source.name}: {_size(header.shape)} voxels need {needed / 2**30:.1f} GiB, more than the limit of "
            f"{settings.memory_limit_bytes / 2**30:.1f} GiB. Crop or resample the volume."
        )
    spacing = np.linalg.norm(header.affine[:3, :3], axis=0)
    if not np.all(np.isfinite(header.affine)) or spacing.min() <= 1e-6 or abs(np.linalg.det(header.affine)) < 1e-12:
        raise InputError(f"{source.name}: the voxel spacing or directions make no sense. Export the volume again.")
    return header


def _guarded(read: Callable[[VolumeSource], VolumeHeader], source: VolumeSource) -> VolumeHeader:
    with quiet_dicom():
        try:
            return read(source)
        except (VesselFlowError, OSError):
            raise
        except Exception:  # pydicom converts values when they are asked for, and raises nearly anything
            raise _unreadable(source.name) from None


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _finite(values: NDArray[np.float32], name: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    finite = np.isfinite(values)
    bad = values.size - int(finite.sum())
    if bad == values.size:
        raise InputError(f"{name}: no voxel holds a number. Export the volume again.")
    notes: tuple[str, ...] = ()
    if bad:
        values = np.where(finite, values, values[finite].min()).astype(np.float32)
        notes = (f"{name}: {bad} of {values.size} voxels are no number and count as background.",)
    if values.min() == values.max():
        raise InputError(f"{name}: all voxels have the same value: the volume shows nothing. Export it again.")
    return values, notes


# images of one file


def _image_reader(source: VolumeSource) -> Any:
    path = source.paths[0]
    _refuse_detached_data(path, source.name)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    return reader


def _image_header(source: VolumeSource) -> VolumeHeader:
    reader = _image_reader(source)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise _unreadable(source.name) from None
    size = tuple(reader.GetSize())
    if reader.GetNumberOfComponents() != 1:
        raise InputError(
            f"{source.name}: {reader.GetNumberOfComponents()} values per voxel. Give a volume of gray levels."
        )
    if any(n != 1 for n in size[3:]):
        raise InputError(f"{source.name}: {_size(size)} voxels: a series in time. Give one volume.")
    dimension = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)
    if dimension < 3:
        raise InputError(f"{source.name}: {_size(size)} pixels are a picture. Give a three-dimensional volume.")
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * np.array(reader.GetSpacing())[:3]
    affine[:3, 3] = reader.GetOrigin()[:3]
    return VolumeHeader((size[0], size[1], size[2]), affine, _unplaced(reader, source.name))


def _unplaced(reader: Any, name: str) -> tuple[str, ...]:
    keys = reader.GetMetaDataKeys()
    unknown_nifti = all(k in keys and reader.GetMetaData(k) == "0" for k in ("qform_code", "sform_code"))
    unknown_nrrd = name.lower().endswith(".nrrd") and "NRRD_space" not in keys
    if unknown_nifti or unknown_nrrd:
        return (f"{name}: the file does not say how the patient lies in it; its axes are taken as LPS.",)
    return ()


def _image_values(source: VolumeSource) -> NDArray[np.float32]:
    reader = _image_reader(source)
    _refuse_truncated_nifti(source)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        values = sitk.GetArrayFromImage(reader.Execute())
    except MemoryError:
        raise ResourceError(f"{source.name}: not enough memory to read the volume.") from None
    except RuntimeError:
        raise _unreadable(source.name) from None
    return np.ascontiguousarray(values.reshape(values.shape[-3:]).transpose(2, 1, 0))


def _refuse_detached_data(path: Path, name: str) -> None:
    """Headers may point to data in other files, anywhere on the disk; those are not followed."""
    if not name.lower().endswith((".nrrd", ".mha")):
        return
    with path.open("rb") as file:
        lines = file.read(8192).split(b"\n\n")[0].lower().split(b"\n")
    for line in lines:
        key, _, value = line.replace(b"=", b":").partition(b":")
        local = key.strip() == b"elementdatafile" and value.strip() == b"local"
        if key.strip() in (b"data file", b"datafile", b"elementdatafile") and not local:
            raise InputError(f"{name}: the header points to data in another file. Save header and data in one file.")
        if local:
            return


def _refuse_truncated_nifti(source: VolumeSource) -> None:
    """The library fills what is missing at the end of a NIfTI file with anything, so its length is checked first."""
    path = source.paths[0]
    if not source.name.lower().endswith((".nii", ".nii.gz")):
        return
    opened: Any = gzip.open if source.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            head = file.read(348)
            order = "<" if 1 <= struct.unpack_from("<h", head, 40)[0] <= 7 else ">"
            dimensions = struct.unpack_from(order + "8h", head, 40)
            bits = struct.unpack_from(order + "h", head, 72)[0]
            offset = struct.unpack_from(order + "f", head, 108)[0]
            needed = int(max(offset, 348)) + math.prod(dimensions[1 : 1 + dimensions[0]]) * bits // 8
            held = len(head)
            while chunk := file.read(1 << 22):
                held += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error, ValueError, OverflowError):
        raise _unreadable(source.name) from None
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and held < needed:
        raise _unreadable(source.name)


def _unreadable(name: str) -> InputError:
    return InputError(f"{name}: the volume is not readable, truncated or damaged. Export it again.")


# DICOM


def _dicom_header(source: VolumeSource) -> VolumeHeader:
    first = _dataset(source.paths[0], source.name, pixels=False)
    if len(source.paths) == 1 and "NumberOfFrames" in first:
        corners, along_i, along_j, notes = _frames_of(first, source.name)
    else:
        slices = [_dataset(p, source.name, pixels=False) for p in source.paths]
        if len({(ds.get("Rows"), ds.get("Columns")) for ds in slices}) != 1:
            raise InputError(f"{source.name}: the slices differ in size. Keep one series in the study.")
        corners = np.array([_vector(ds, "ImagePositionPatient", 3, source.name) for ds in slices])
        along_i, along_j = _plane(slices[0], slices[0], source.name)
        turned = [np.abs(np.subtract(_plane(ds, ds, source.name), (along_i, along_j))).max() for ds in slices]
        if max(turned) > 1e-3:
            raise InputError(f"{source.name}: the slices are not parallel. Keep one series in the study.")
        notes = ()
    order, step = _stack(corners, np.cross(along_i, along_j), source.name)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = along_i, along_j, step, corners[order[0]]
    columns, rows = (_count(first, k, source.name) for k in ("Columns", "Rows"))
    if (_count(first, "SamplesPerPixel", source.name, 1)) != 1:
        raise InputError(f"{source.name}: {named('SamplesPerPixel')} is not 1: a volume of gray levels is needed.")
    return VolumeHeader((columns, rows, len(corners)), affine, notes)


def _dicom_values(source: VolumeSource, header: VolumeHeader) -> NDArray[np.float32]:
    normal = np.cross(header.affine[:3, 0], header.affine[:3, 1])
    if len(source.paths) == 1:
        ds = _dataset(source.paths[0], source.name, pixels=True)
        corners = _frames_of(ds, source.name)[0]
        order, _ = _stack(corners, normal, source.name)
        planes = _decoded(ds, source.name).reshape(len(corners), header.shape[1], header.shape[0])[order]
        scales = [_rescale(ds, int(f)) for f in order]
    else:
        slices = [_dataset(p, source.name, pixels=True) for p in source.paths]
        corners = np.array([_vector(ds, "ImagePositionPatient", 3, source.name) for ds in slices])
        order, _ = _stack(corners, normal, source.name)
        planes = np.stack([_decoded(slices[f], source.name) for f in order])
        scales = [_rescale(slices[f], 0) for f in order]
    slope, intercept = (np.array(s, np.float32)[:, None, None] for s in zip(*scales, strict=True))
    return np.ascontiguousarray((planes.astype(np.float32) * slope + intercept).transpose(2, 1, 0))


def _frames_of(
    ds: Dataset, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Corners (K, 3) of the frames of a multi-frame volume, and the steps along i and j, LPS mm."""
    count = _count(ds, "NumberOfFrames", name)
    if len(ds.get("PerFrameFunctionalGroupsSequence") or []) not in (0, count):
        raise InputError(
            f"{name}: {named('PerFrameFunctionalGroupsSequence')} does not match {named('NumberOfFrames')}."
        )
    corners = []
    for frame in range(count):
        position = _macro(ds, "PlanePositionSequence", frame) or _macro(ds, "PlanePositionVolumeSequence", frame)
        corners.append(_vector(position or ds, "ImagePositionPatient", 3, name))
    orientation = _macro(ds, "PlaneOrientationSequence", 0) or ds
    measures = _macro(ds, "PixelMeasuresSequence", 0) or ds
    along_i, along_j = _plane(orientation, measures, name)
    inverted = ds.get("PhotometricInterpretation") == "MONOCHROME1"
    notes = (f"{name}: shown inverted (MONOCHROME1); high values are taken as vessel.",) if inverted else ()
    return np.array(corners), along_i, along_j, notes


def _plane(orientation: Dataset, measures: Dataset, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cosines = _vector(orientation, "ImageOrientationPatient", 6, name)
    rows_apart, columns_apart = _vector(measures, "PixelSpacing", 2, name)
    return cosines[:3] * columns_apart, cosines[3:] * rows_apart


def _stack(
    corners: NDArray[np.float64], normal: NDArray[np.float64], name: str
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Order of the slices along the normal, and the step from one to the next."""
    along = corners @ (normal / max(float(np.linalg.norm(normal)), 1e-12))
    order = np.argsort(along)
    if len(order) < 2:
        raise InputError(f"{name}: one slice is no volume. Export the whole series.")
    gaps = np.diff(along[order])
    middle = float(np.median(gaps))
    if gaps.min() <= 1e-3 * max(middle, 1e-3):
        raise InputError(f"{name}: several slices at one position, as in a series in time. Give one volume.")
    if np.abs(gaps - middle).max() > SPACING_TOLERANCE * middle:
        raise InputError(
            f"{name}: the distance between slices varies ({gaps.min():.3g} to {gaps.max():.3g} mm): a slice "
            "is missing, or two series are mixed. Export the whole series."
        )
    return order, (corners[order[-1]] - corners[order[0]]) / (len(order) - 1)


def _macro(ds: Dataset, keyword: str, frame: int) -> Dataset | None:
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
    shared = ds.get("SharedFunctionalGroupsSequence") or []
    for group in ([per_frame[frame]] if frame < len(per_frame) else []) + list(shared)[:1]:
        if group.get(keyword):
            item: Dataset = group.get(keyword)[0]
            return item
    return None


def _rescale(ds: Dataset, frame: int) -> tuple[float, float]:
    transform = _macro(ds, "PixelValueTransformationSequence", frame) or ds
    slope, intercept = transform.get("RescaleSlope"), transform.get("RescaleIntercept")
    return float(slope if slope is not None else 1), float(intercept if intercept is not None else 0)


def _vector(ds: Dataset, keyword: str, length: int, name: str) -> NDArray[np.float64]:
    try:
        vector = np.array([float(v) for v in ds.get(keyword) or []])
    except (TypeError, ValueError):
        vector = np.zeros(0)
    if len(vector) != length or not np.all(np.isfinite(vector)):
        raise InputError(f"{name}: {named(keyword)} is absent or damaged: the volume has no place. Export it again.")
    return vector


def _count(ds: Dataset, keyword: str, name: str, default: int | None = None) -> int:
    try:
        count = int(ds.get(keyword, default))
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise InputError(f"{name}: {named(keyword)} is absent or damaged. Export the volume again.")
    return count


def _dataset(path: Path, name: str, pixels: bool) -> Dataset:
    with quiet_dicom():
        try:
            return pydicom.dcmread(path, stop_before_pixels=not pixels)
        except MemoryError:
            raise ResourceError(f"{name}: not enough memory to read the volume.") from None
        except Exception:  # pydicom raises nearly anything on damaged files
            raise _unreadable(name) from None


def _decoded(ds: Dataset, name: str) -> NDArray[Any]:
    with quiet_dicom():
        try:
            return np.asarray(ds.pixel_array)
        except MemoryError:
            raise ResourceError(f"{name}: not enough memory to decode the volume.") from None
        except Exception:  # decoders raise nearly anything on damaged data
            raise _unreadable(name) from None

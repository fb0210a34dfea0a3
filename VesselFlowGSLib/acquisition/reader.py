"""From a study folder to a Study: what the files are, which runs belong together, and their common clock."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from VesselFlowGSLib.acquisition import attenuation, volume, xa
from VesselFlowGSLib.acquisition.attenuation import LineIntegrals, LogFrames
from VesselFlowGSLib.acquisition.description import FILE_NAME, StudyDescription, read_description
from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.study import CArm, Run, RunRole, Study
from VesselFlowGSLib.acquisition.volume import VolumeSource
from VesselFlowGSLib.acquisition.xa import IntensityRelationship, XAHeader
from VesselFlowGSLib.errors import InputError, VesselFlowError

DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
TRUTH = "truth"  # where a simulated study keeps what is true of it


@dataclass(frozen=True)
class Findings:
    """What lies in a study folder, by headers alone.

    runs       XA runs in order of name, with study.toml applied, those to be ignored left out
    volumes    every volume found; a study may have one
    ignored    runs that study.toml leaves out
    problems   files that are broken or refused, each with its message
    """

    folder: Path
    description: StudyDescription
    runs: tuple[XAHeader, ...]
    volumes: tuple[VolumeSource, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[VesselFlowError, ...]


@dataclass(frozen=True)
class Moment:
    """When a run begins on the study's clock, and which injection it shows."""

    injection: int
    start_s: float


def read_study(
    folder: Path | str, *, memory_limit_bytes: int | None = None, settings: AcquisitionSettings | None = None
) -> Study:
    """Everything that was measured in a study folder, as line integrals and LPS mm.

    The volume is given whole (`region_lps_mm` is left to the reconstruction). A folder named `truth`, where simulated
    studies keep what is true of them, is not looked into. Raises InputError for what is missing, broken or
    contradictory, naming file, DICOM attribute and study.toml key; ResourceError where memory does not reach.
    """
    settings = settings or AcquisitionSettings()
    if memory_limit_bytes is not None:
        settings = replace(settings, memory_limit_bytes=memory_limit_bytes)
    found = find(Path(folder), settings)
    if found.problems:
        raise found.problems[0]
    refuse_unusable(found, settings)
    filmed = [h for h in found.runs if is_filmed(h)]
    for header in filmed:
        lacks = xa.missing(header)
        needless = header.rotational(settings) and all(key == "frame_times_s" for _, key in lacks)
        if lacks and not needless:
            raise xa.ask_for_missing(header)
        refusal = xa.refused_intensity(header)
        if refusal is not None:
            raise refusal
    notes = [*found.notes, *(n for h in found.runs for n in h.notes)]
    notes += [f"{h.name} is not used: {_one_frame(h)}" for h in found.runs if not is_filmed(h)]
    given, volume_notes = volume.read_volume(found.volumes[0], settings) if found.volumes else (None, ())
    notes += volume_notes
    begins = clock([h for h in filmed if h.role != "mask"], settings)
    runs = [_run_at_rest(h, begins[h.name], settings, notes) for h in filmed if not h.rotational(settings)]
    runs += _rotational_runs([h for h in filmed if h.rotational(settings)], begins, settings, notes)
    if given is None and not runs and found.description.geometry.lumen_file is None:
        raise InputError(f"{found.folder.name}: nothing can be reconstructed from this study.\n{_first(notes)}")
    return Study(found.folder, given, tuple(runs), found.description, tuple(notes))


def find(folder: Path, settings: AcquisitionSettings) -> Findings:
    """What lies in the folder, by headers alone. Raises InputError where the folder or its study.toml is unusable."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give the folder that holds the study's files.")
    folder = folder.resolve()
    description = read_description(folder)
    notes: list[str] = []
    problems: list[VesselFlowError] = []
    headers: list[XAHeader] = []
    volumes: list[VolumeSource] = []
    slices: dict[str, list[tuple[str, Path]]] = {}
    apart = {FILE_NAME, description.geometry.lumen_file, description.flow.inflow_csv}
    ignored = tuple(run.file for run in description.run if run.role == "ignore")
    for name, path in _files(folder, settings, notes):
        if name in apart or name in ignored:
            continue
        try:
            if name.lower().endswith(volume.VOLUME_ENDINGS):
                volumes.append(VolumeSource(name, (path,), dicom=False))
                continue
            ds = _peek(name, path)
            kind = _class_of(ds) if ds is not None else ""
            if ds is None:
                notes.append(f"{name}: not understood, and not used.")
            elif kind in xa.XA_CLASSES:
                headers.append(xa.with_description(xa.read_header(path, name, settings), description.of_run(name)))
            elif kind in volume.MULTIFRAME_CLASSES:
                volumes.append(VolumeSource(name, (path,), dicom=True))
            elif kind in volume.SLICE_CLASSES:
                _add_slice(ds, name, path, slices, notes)
            elif kind != MediaStorageDirectoryStorage:
                notes.append(f"{name}: {xa.uid_name(kind)} is not used.")
        except VesselFlowError as problem:
            problems.append(problem)
        except OSError as error:
            problems.append(InputError(f"{name}: cannot be read: {error.strerror}. Make it readable or remove it."))
    for members in slices.values():
        if len(members) == 1:
            notes.append(f"{members[0][0]}: a single slice is not used.")
        else:
            volumes.append(VolumeSource(members[0][0], tuple(path for _, path in members), dicom=True))
    read = {h.name for h in headers} | {str(p).split(":")[0] for p in problems}
    for run in description.run:
        if run.file not in read and run.file not in ignored:
            problems.append(
                InputError(f'{FILE_NAME}: [[run]] file = "{run.file}" is no X-ray angiographic run. Correct it.')
            )
    return Findings(folder, description, tuple(headers), tuple(volumes), ignored, tuple(notes), tuple(problems))


def refuse_unusable(found: Findings, settings: AcquisitionSettings) -> None:
    """Raises InputError where the study holds too many volumes, nothing at all, or roles that do not fit."""
    if len(found.volumes) > 1:
        names = " and ".join(v.name for v in found.volumes[:2])
        raise InputError(
            f"{found.folder.name}: {len(found.volumes)} volumes, "
            f"{names}{' and more' if len(found.volumes) > 2 else ''}; a "
            "study has one.\nMove the others out of the folder."
        )
    for header in found.runs:
        turning = header.rotational(settings)
        if header.role in ("mask", "fill") and not turning:
            raise InputError(
                f'{header.name}: role = "{header.role}" is for a rotational run, but the C-arm is at rest: there is no '
                f"{xa.named('PositionerPrimaryAngleIncrement')}. Correct the role in study.toml."
            )
        if header.role == "dsa" and turning:
            raise InputError(
                f'{header.name}: role = "dsa" is for a C-arm at rest, but it turns by {header.sweep_deg:.0f}°. '
                "Correct the "
                "role in study.toml."
            )
        if header.role is not None and not is_filmed(header):
            raise InputError(f"{header.name}: {_one_frame(header)}")
    given = found.volumes or found.description.geometry.lumen_file is not None
    if not given and not any(map(is_filmed, found.runs)):
        reasons = [f"{h.name}: {_one_frame(h)}" for h in found.runs] or list(found.notes)
        raise InputError(
            f"{found.folder.name}: the folder holds no angiography volume and no X-ray run that can be "
            f"used.\n{_first(reasons)}"
        )


def _first(reasons: Sequence[str]) -> str:
    if not reasons:
        return "Put the scanner's files (DICOM, NRRD, NIfTI, MHA) into it."
    return reasons[0] + (f" ({len(reasons) - 1} more notes.)" if len(reasons) > 1 else "")


def is_filmed(header: XAHeader) -> bool:
    return header.frames > 1


def _one_frame(header: XAHeader) -> str:
    return (
        f"{xa.named('NumberOfFrames')} = {header.frames}: one frame is no run and shows no flow. Export the whole run."
    )


# the folder


def _files(folder: Path, settings: AcquisitionSettings, notes: list[str]) -> Iterator[tuple[str, Path]]:
    """Names relative to the study and paths of its files, in order, without hidden files, links and `truth`."""
    count = 0
    for top, folders, files in os.walk(folder, followlinks=False):
        for name in sorted(folders):
            if (Path(top) / name).is_symlink():
                notes.append(
                    f"{(Path(top) / name).relative_to(folder).as_posix()}: a link to a folder is not followed."
                )
            elif name == TRUTH:
                notes.append(
                    f"{(Path(top) / name).relative_to(folder).as_posix()}: a folder of this name is not looked into."
                )
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in ("__MACOSX", TRUTH))
        for file in sorted(files):
            path = Path(top) / file
            name = path.relative_to(folder).as_posix()
            count += 1
            if count > settings.most_files:
                raise InputError(f"{folder.name}: more than {settings.most_files} files. Give the folder of one study.")
            if file.startswith("."):
                continue
            if path.is_symlink():
                inside = path.resolve().is_relative_to(folder)
                reason = "is a second name of a file" if inside else "leaves the study folder; copy the file into it"
                notes.append(f"{name}: a link that {reason}. It is not used.")
                continue
            if path.is_file():
                yield name, path


def _peek(name: str, path: Path) -> Dataset | None:
    """The header of a DICOM file, None for another file. InputError where it should be DICOM and is broken."""
    with path.open("rb") as file:
        preamble = file.read(132)
    claims = preamble[128:] == b"DICM"
    if not claims and not name.lower().endswith(DICOM_ENDINGS) and "." in Path(name).name:
        return None
    with xa.quiet_dicom():
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=not claims)
            if _class_of(ds):
                return ds
        except Exception:  # pydicom raises nearly anything on damaged files
            pass
    if claims or name.lower().endswith(DICOM_ENDINGS):
        raise InputError(
            f"{name}: the file is not readable as DICOM, truncated or damaged. Export it again, or remove it from "
            "the study."
        )
    return None


def _class_of(ds: Dataset) -> str:
    for part in (ds, getattr(ds, "file_meta", Dataset())):
        for keyword in ("SOPClassUID", "MediaStorageSOPClassUID"):
            value = str(part.get(keyword, ""))
            if re.fullmatch(r"[0-9.]{1,64}", value):
                return value
    return ""


def _add_slice(ds: Dataset, name: str, path: Path, slices: dict[str, list[tuple[str, Path]]], notes: list[str]) -> None:
    with xa.quiet_dicom():
        try:
            kind, series = ds.get("ImageType") or [], str(ds.get("SeriesInstanceUID", ""))
        except Exception:  # pydicom converts values when they are asked for, and raises nearly anything
            raise InputError(f"{name}: the header is damaged. Export the series again, or remove the file.") from None
    if "LOCALIZER" in [str(word).upper() for word in kind]:
        notes.append(f"{name}: a localizer is not used.")
        return
    slices.setdefault(series, []).append((name, path))


# the clock


def clock(headers: Sequence[XAHeader], settings: AcquisitionSettings) -> dict[str, Moment]:
    """Runs that begin at the same acquisition time, within a frame, show one injection.

    A time_offset_s sets the time of a run's first frame; runs that have one share a clock, and so an injection.
    """
    groups: list[list[XAHeader]] = []
    for header in headers:
        mate = next((g for g in groups if any(_together(header, other, settings) for other in g)), None)
        if mate is None:
            groups.append([header])
        else:
            mate.append(header)
    moments = {}
    for injection, group in enumerate(groups):
        begun = [h.acquired for h in group if h.acquired is not None]
        for header in group:
            moments[header.name] = Moment(injection, _start(header, begun))
    return moments


def _start(header: XAHeader, begun: Sequence[datetime]) -> float:
    if header.time_offset_s is not None:
        return header.time_offset_s
    return (header.acquired - min(begun)).total_seconds() if header.acquired is not None else 0.0


def _together(a: XAHeader, b: XAHeader, settings: AcquisitionSettings) -> bool:
    if a.time_offset_s is not None and b.time_offset_s is not None:
        return True
    if a.acquired is None or b.acquired is None:
        return False
    interval = max(
        (float(h.frame_times_s[1] - h.frame_times_s[0]) for h in (a, b) if h.frame_times_s is not None), default=0
    )
    return abs((a.acquired - b.acquired).total_seconds()) <= settings.simultaneous_frames * interval


# runs


def _decoded(header: XAHeader, settings: AcquisitionSettings) -> LogFrames:
    stored = xa.read_frames(header)
    if header.flip_rows:
        stored = stored[:, ::-1]
    if header.flip_columns:
        stored = stored[:, :, ::-1]
    return attenuation.log_frames(stored, header, settings)


def _run_at_rest(header: XAHeader, moment: Moment, settings: AcquisitionSettings, notes: list[str]) -> Run:
    logs = _decoded(header, settings)
    header = _recognised(header, logs)
    return _run(header, RunRole.DSA, attenuation.subtract(logs, header, settings), moment, notes)


def _recognised(header: XAHeader, logs: LogFrames) -> XAHeader:
    """The header, with frames marked as already subtracted where only the picture tells."""
    logarithmic = header.relationship is IntensityRelationship.LOG and not header.masks
    if logarithmic and not header.subtracted and attenuation.looks_subtracted(logs):
        return replace(header, subtracted="the picture is flat, without anatomy")
    return header


def _rotational_runs(
    headers: Sequence[XAHeader], begins: dict[str, Moment], settings: AcquisitionSettings, notes: list[str]
) -> list[Run]:
    """One run for each fill, with its mask taken off."""
    runs = []
    waiting = list(headers)
    logs: dict[str, LogFrames] = {}
    while waiting:
        alike = [h for h in waiting if same_sweep(waiting[0], h, settings)]
        waiting = [h for h in waiting if h not in alike]
        logs = {h.name: _decoded(h, settings) for h in alike}
        alike = [_recognised(h, logs[h.name]) for h in alike]
        for header in [h for h in alike if h.subtracted]:
            integrals = attenuation.subtracted_rotation(logs[header.name], header, settings)
            runs.append(_run(header, RunRole.FILL, integrals, begins[header.name], notes))
        fills, mask = _fills_and_mask([h for h in alike if not h.subtracted], logs)
        for fill in fills:
            if mask is None:
                notes.append(
                    f"{fill.name}: a rotational run without a second run at the same angles (the mask, without "
                    "contrast) "
                    "cannot be subtracted and is not used. Add the other run to the study."
                )
                continue
            pairs, apart = _nearest_angles(fill, mask)
            notes.append(f"{fill.name}: rotational run with contrast; {mask.name} is its mask.")
            if apart > 0.01:
                notes.append(f"{fill.name}: frames are paired with mask frames up to {apart:.2f}° away.")
            integrals = attenuation.subtract_pair(logs[fill.name], logs[mask.name], pairs, fill, settings)
            runs.append(_run(fill, RunRole.FILL, integrals, begins[fill.name], notes))
    return runs


def _fills_and_mask(headers: Sequence[XAHeader], logs: dict[str, LogFrames]) -> tuple[list[XAHeader], XAHeader | None]:
    """Of runs at the same angles: those with contrast, and the mask (by role, else the one that attenuates least)."""
    named_masks = [h for h in headers if h.role == "mask"]
    open_ones = [h for h in headers if h.role != "fill"]
    if named_masks:
        mask: XAHeader | None = named_masks[0]
    elif len(headers) > 1 and open_ones:
        mask = min(open_ones, key=lambda h: attenuation.mean_attenuation(logs[h.name]))
    else:
        mask = None
    return [h for h in headers if h is not mask and h.role != "mask"], mask


def _angles(header: XAHeader) -> NDArray[np.float64]:
    """(T, 2) primary and secondary angle of each frame, degrees."""
    given = (header.primary_deg, header.secondary_deg)
    return np.stack([np.broadcast_to(a if a is not None else np.zeros(1), header.frames) for a in given], 1)


def _nearest_angles(fill: XAHeader, mask: XAHeader) -> tuple[list[int], float]:
    """For each fill frame the mask frame at the nearest angle, and how far the worst one is away, degrees."""
    distance = np.linalg.norm(_angles(fill)[:, None] - _angles(mask)[None], axis=2)
    return [int(i) for i in distance.argmin(1)], float(distance.min(1).max())


def same_sweep(a: XAHeader, b: XAHeader, settings: AcquisitionSettings) -> bool:
    if a is b:
        return True
    same_matrix = (a.rows, a.columns) == (b.rows, b.columns)
    return same_matrix and _nearest_angles(a, b)[1] <= settings.pair_angle_deg


def _run(header: XAHeader, role: RunRole, integrals: LineIntegrals, moment: Moment, notes: list[str]) -> Run:
    notes += integrals.notes
    times = header.frame_times_s
    if times is None:
        notes.append(f"{header.name}: the frames have no times; this does not matter for a rotational run.")
        times = np.zeros(header.frames)
    return Run(
        name=header.name,
        role=role,
        line_integrals=integrals.values,
        noise=integrals.noise,
        frame_times_s=times + moment.start_s,
        carm=carm(header),
        mask_frames=integrals.mask_frames,
        injection=moment.injection,
        r_wave_frames=header.r_wave_frames,
        heart_rate_bpm=header.heart_rate_bpm,
    )


def carm(header: XAHeader) -> CArm:
    """The C-arm of a run that lacks nothing; the principal point moves with flipped rows and columns."""
    given = (header.primary_deg, header.secondary_deg, header.source_to_detector_mm, header.source_to_isocentre_mm)
    primary, secondary, far, near = given
    if primary is None or secondary is None or far is None or near is None or header.spacing_mm is None:
        raise xa.ask_for_missing(header)
    size = max(len(primary), len(secondary))
    row, column = header.principal_point_px or ((header.rows - 1) / 2, (header.columns - 1) / 2)
    return CArm(
        primary_deg=np.array(np.broadcast_to(primary, size)),
        secondary_deg=np.array(np.broadcast_to(secondary, size)),
        source_to_detector_mm=far,
        source_to_isocentre_mm=near,
        pixel_spacing_mm=header.spacing_mm,
        principal_point_px=(
            header.rows - 1 - row if header.flip_rows else row,
            header.columns - 1 - column if header.flip_columns else column,
        ),
    )

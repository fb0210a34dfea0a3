"""What a study folder holds, what is missing and what will be assumed; headers only, no frame is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition import reader, volume, xa
from VesselFlowGSLib.acquisition.description import StudyDescription
from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.xa import XAHeader
from VesselFlowGSLib.errors import VesselFlowError


@dataclass(frozen=True)
class RunInspection:
    """One run in words and numbers; None where the header and study.toml say nothing.

    angles_deg     (first primary, first secondary, last primary, last secondary)
    mask           where the mask comes from
    missing        (DICOM attribute, study.toml key) of what a reconstruction still needs
    refused        why the gray levels cannot be used, or empty
    """

    name: str
    role: str
    frames: int
    rows: int
    columns: int
    angles_deg: tuple[float, float, float, float] | None
    source_to_detector_mm: float | None
    source_to_isocentre_mm: float | None
    pixel_spacing_mm: tuple[float, float] | None
    duration_s: float | None
    interval_s: float | None
    injection: int
    intensity: str
    mask: str
    missing: tuple[tuple[str, str], ...]
    refused: str


@dataclass(frozen=True)
class VolumeInspection:
    """A volume's name, voxels (I, J, K), spacing and the LPS mm box of its voxel centres."""

    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    low_lps_mm: tuple[float, float, float]
    high_lps_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Inspection:
    """What was found, and in words what is missing, what will be assumed, what is wrong and what was noted.

    lumen_file  name of the vessel as given by study.toml, None where it is to be found
    """

    folder: Path
    volumes: tuple[VolumeInspection, ...]
    runs: tuple[RunInspection, ...]
    missing: tuple[str, ...]
    assumed: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    lumen_file: str | None = None


def inspect_study(folder: Path | str, *, settings: AcquisitionSettings | None = None) -> Inspection:
    """What a study folder holds. Raises InputError only where the folder or its study.toml cannot be read at all."""
    settings = settings or AcquisitionSettings()
    found = reader.find(Path(folder), settings)
    problems = [str(p) for p in found.problems]
    try:
        reader.refuse_unusable(found, settings)
    except VesselFlowError as error:
        problems.append(str(error))
    volumes, notes = [], [*found.notes, *(n for h in found.runs for n in h.notes)]
    for source in found.volumes:
        try:
            header = volume.volume_header(source, settings)
            volumes.append(_volume(source.name, header))
            notes += header.notes
        except VesselFlowError as error:
            problems.append(str(error))
    runs = tuple(_runs(found, settings))
    problems += [run.refused for run in runs if run.refused]
    missing = [f"{run.name}: {attribute}: give {key}" for run in runs for attribute, key in run.missing]
    return Inspection(
        folder=found.folder,
        volumes=tuple(volumes),
        runs=runs,
        missing=tuple(missing),
        assumed=tuple(_assumed(found)),
        problems=tuple(problems),
        notes=tuple(notes),
        lumen_file=found.description.geometry.lumen_file,
    )


def describe(inspection: Inspection) -> str:
    """The inspection as text for a person."""
    lines = [f"Study {inspection.folder.name}"]
    for v in inspection.volumes:
        lines += [
            f"\nVolume {v.name}",
            f"  voxels        {' × '.join(map(str, v.shape))} of {' × '.join(f'{s:.3g}' for s in v.spacing_mm)} mm",
            f"  extent        {_point(v.low_lps_mm)} to {_point(v.high_lps_mm)} mm LPS",
        ]
    if inspection.lumen_file is not None:
        lines.append(f"\nVessel as given: {inspection.lumen_file}")
    if not inspection.volumes:
        lines.append("\nNo volume")
    for run in inspection.runs:
        lines += ["", *_run_lines(run)]
    if not inspection.runs:
        lines.append("\nNo X-ray run")
    sections = (
        ("Missing (add to study.toml)", inspection.missing),
        ("Wrong", inspection.problems),
        ("Will be assumed or estimated", inspection.assumed),
        ("Notes", inspection.notes),
    )
    for title, entries in sections:
        if entries:
            lines += [f"\n{title}", *(f"  - {entry}".replace("\n", "\n    ") for entry in entries)]
    return "\n".join(lines) + "\n"


def _run_lines(run: RunInspection) -> list[str]:
    known = f"{run.frames} frames of {run.rows} × {run.columns}"
    times = "missing" if run.duration_s is None else f"{run.duration_s:.3g} s"
    if run.interval_s is not None:
        times += f", {run.interval_s * 1000:.4g} ms apart"
    spacing = (
        "missing" if run.pixel_spacing_mm is None else " × ".join(f"{s:.4g}" for s in run.pixel_spacing_mm) + " mm"
    )
    return [
        f"Run {run.name}",
        f"  role          {run.role}",
        f"  frames        {known}, {times}",
        f"  angles        {_angles(run)}",
        f"  source to detector   {_millimetres(run.source_to_detector_mm)}",
        f"  source to isocentre  {_millimetres(run.source_to_isocentre_mm)}",
        f"  pixel spacing        {spacing}",
        f"  injection     {run.injection + 1}",
        f"  intensity     {run.intensity}",
        f"  mask          {run.mask}",
    ]


def _angles(run: RunInspection) -> str:
    if run.angles_deg is None:
        return "missing"
    p0, s0, p1, s1 = run.angles_deg
    first = f"primary {p0:g}°, secondary {s0:g}°"
    return first if (p0, s0) == (p1, s1) else f"{first}, turning to primary {p1:g}°, secondary {s1:g}°"


def _millimetres(value: float | None) -> str:
    return "missing" if value is None else f"{value:g} mm"


def _point(p: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{x:.1f}" for x in p) + ")"


def _volume(name: str, header: volume.VolumeHeader) -> VolumeInspection:
    ends = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    ends[:, :3] *= np.array(header.shape) - 1
    corners = (ends @ header.affine.T)[:, :3]
    spacing = np.linalg.norm(header.affine[:3, :3], axis=0)
    low, high = corners.min(0), corners.max(0)
    return VolumeInspection(name, header.shape, _triple(spacing), _triple(low), _triple(high))


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _runs(found: reader.Findings, settings: AcquisitionSettings) -> list[RunInspection]:
    clock = reader.clock(found.runs, settings)
    return [_run(header, found, clock[header.name].injection, settings) for header in found.runs]


def _run(header: XAHeader, found: reader.Findings, injection: int, settings: AcquisitionSettings) -> RunInspection:
    times, turning = header.frame_times_s, header.rotational(settings)
    angles = None
    if header.primary_deg is not None and header.secondary_deg is not None:
        ends = (header.primary_deg[0], header.secondary_deg[0], header.primary_deg[-1], header.secondary_deg[-1])
        angles = (float(ends[0]), float(ends[1]), float(ends[2]), float(ends[3]))
    refusal = xa.refused_intensity(header)
    lacks = [(a, k) for a, k in xa.missing(header) if not (turning and k == "frame_times_s")]
    role = _role(header, found, settings)
    return RunInspection(
        name=header.name,
        role=role,
        frames=header.frames,
        rows=header.rows,
        columns=header.columns,
        angles_deg=angles,
        source_to_detector_mm=header.source_to_detector_mm,
        source_to_isocentre_mm=header.source_to_isocentre_mm,
        pixel_spacing_mm=header.spacing_mm,
        duration_s=None if times is None else float(times[-1] - times[0]),
        interval_s=None if times is None or len(times) < 2 else float(np.median(np.diff(times))),
        injection=injection,
        intensity=f"{header.relationship.value or 'not stated'}, {header.bits_stored} bits, {header.transfer_syntax}",
        mask="the run at the same angles" if turning else _mask(header),
        missing=tuple(lacks) if reader.is_filmed(header) else (),
        refused="" if refusal is None or not reader.is_filmed(header) else str(refusal),
    )


def _role(header: XAHeader, found: reader.Findings, settings: AcquisitionSettings) -> str:
    if not reader.is_filmed(header):
        return "none (one frame is no run)"
    if header.role is not None:
        return f"{header.role} (from study.toml)"
    if not header.rotational(settings):
        return "dsa"
    mates = [h.name for h in found.runs if h is not header and reader.same_sweep(header, h, settings)]
    if header.subtracted:
        return "fill (rotational, already subtracted)"
    if not mates:
        return "none (rotational, but no second run at the same angles)"
    return f"mask or fill (rotational, paired with {', '.join(mates)}: the less attenuating is the mask)"


def _mask(header: XAHeader) -> str:
    if header.mask_frames is not None:
        return f"frames {_frames(header.mask_frames)}, from study.toml"
    averaged = [m for m in header.masks if m.frames]
    if averaged:
        listed = "; ".join(_frames(m.frames) for m in averaged)
        return f"frames {listed}, from {xa.named('MaskSubtractionSequence')}"
    if header.subtracted:
        return f"none: already subtracted ({header.subtracted})"
    return "the leading frames without contrast, to be found in the frames"


def _frames(frames: tuple[int, ...]) -> str:
    return ", ".join(str(f + 1) for f in frames)


def _assumed(found: reader.Findings) -> list[str]:
    said: StudyDescription = found.description
    entries = []
    if found.runs and said.geometry.isocentre_lps_mm is None:
        where = "the origin"
        if found.volumes or said.geometry.lumen_file is not None:
            where = f"the middle of the {'volume' if found.volumes else 'vessel'}, refined by the runs"
        entries.append(f"[geometry] isocentre_lps_mm is not given: {where}.")
    if said.geometry.inlet_lps_mm is None:
        entries.append(
            "[geometry] inlet_lps_mm is not given: the inlet is found from where the contrast arrives first."
        )
    if not said.geometry.outlets_lps_mm:
        entries.append("[geometry] outlets_lps_mm is not given: every other end of the vessel is an outlet.")
    if said.fluid.viscosity_pa_s is None or said.fluid.density_kg_m3 is None:
        entries.append("[fluid] is not complete: usual values of blood are assumed for the rest.")
    if said.flow.mean_inflow_ml_s is None and said.flow.inflow_csv is None:
        how = (
            "estimated from the contrast in the runs" if found.runs else "unknown: there is no run to estimate it from"
        )
        entries.append(f"[flow] mean_inflow_ml_s is not given: the inflow is {how}.")
    for header in found.runs:
        if header.principal_point_px is None:
            entries.append(f"{header.name}: the central ray meets the middle of the detector (principal_point_px).")
        if header.acquired is None and header.time_offset_s is None and len(found.runs) > 1:
            entries.append(f"{header.name}: no {xa.named('AcquisitionTime')}: an injection of its own (time_offset_s).")
    return entries

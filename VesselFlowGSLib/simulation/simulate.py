"""A study with known truth: the files that a scanner would have written, and what they show."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.camera import Cameras, carm_cameras
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.simulation.bolus import Bolus, find_transit
from VesselFlowGSLib.simulation.fields import solve_flow
from VesselFlowGSLib.simulation.projector import Anatomy, RayLengths, filmed, random_anatomy, ray_lengths
from VesselFlowGSLib.simulation.settings import ImagingSpec, SimulationSettings, check
from VesselFlowGSLib.simulation.truth import write_truth
from VesselFlowGSLib.simulation.vessels import Vessel, build_vessel
from VesselFlowGSLib.simulation.volume import imaged_volume, write_volume
from VesselFlowGSLib.simulation.write_xa import XaRun, write_xa

Array = NDArray[np.float64]
Report = Callable[[str, float], None]
_ISOCENTRE_OFFSET_MM = (1.1, -0.8, 0.6)
_CLICK_MM = 0.5
_INJECTION_APART_S = 0.07
_ROTATION_FRAME_MS = 1000 / 30


def simulate(spec: SimulationSettings, out: Path, report: Report | None = None) -> None:
    """Writes a study to the folder `out`, and its truth to `out`/truth (which no reader of studies looks into).

    The same settings give the same files. The folder appears whole or not at all; it must not exist or be empty.
    `report` is told what is being done and which part is done (0 to 1). InputError for impossible settings and for
    a folder that cannot be written.
    """
    check(spec)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already and is not empty: name another folder for the simulated study.")
    begun = out.with_name(out.name + ".partial")
    try:
        if begun.exists():
            shutil.rmtree(begun)
        begun.mkdir(parents=True)
    except OSError as e:
        raise InputError(f"{out} cannot be written ({e.strerror}): name another folder.") from None
    try:
        _write_study(spec, begun, report or (lambda what, part: None))
        if out.exists():
            out.rmdir()
        begun.rename(out)
    finally:
        if begun.exists():
            shutil.rmtree(begun)


def _write_study(spec: SimulationSettings, folder: Path, report: Report) -> None:
    vessel = build_vessel(spec.vessel)
    isocentre = np.asarray(spec.vessel.centre_lps_mm) + _ISOCENTRE_OFFSET_MM
    report("flow", 0.0)
    flow = solve_flow(vessel, spec.flow, spec.solver)
    report("transit times of the dye", 0.4)
    bolus = Bolus(spec.bolus, find_transit(flow, spec.sampling))
    report("X-ray films", 0.6)
    imaging = _write_films(spec, folder, vessel, bolus, isocentre)
    report("volume", 0.85)
    values, corner = imaged_volume(vessel, spec.volume, spec.seed)
    write_volume(folder, values, corner, spec.volume)
    (folder / "study.toml").write_text(study_toml(spec, vessel, isocentre))
    report("truth", 0.9)
    write_truth(folder / "truth", spec, flow, bolus, imaging, isocentre)
    report("done", 1.0)


def view_camera(imaging: ImagingSpec, angles_deg: tuple[float, float], isocentre: Array) -> Cameras:
    """The camera of one view (length 1)."""
    return carm_cameras(
        np.radians(angles_deg[0]),
        np.radians(angles_deg[1]),
        imaging.source_to_isocentre_mm,
        imaging.source_to_detector_mm,
        (imaging.pitch_mm, imaging.pitch_mm),
        (imaging.matrix, imaging.matrix),
        None,
        isocentre,
    )


def _write_films(
    spec: SimulationSettings, folder: Path, vessel: Vessel, bolus: Bolus, isocentre: Array
) -> dict[str, Any]:
    """Writes all runs; returns what truth/imaging.json says."""
    i = spec.imaging
    times = np.arange(i.frames) / i.frames_per_s
    field_mm = i.matrix * i.pitch_mm * i.source_to_isocentre_mm / i.source_to_detector_mm
    anatomy = random_anatomy(isocentre, field_mm, i.background, spec.seed)
    cameras = [view_camera(i, view, isocentre) for view in i.views_deg]
    # Transit times count in units of the mean flow, of which a pulse can pass more than the film's own time.
    longest = float(times[-1]) + spec.flow.period_s * spec.flow.pulsatile_amplitude
    rays = [ray_lengths(vessel, c, spec.sampling, bolus.transit, longest) for c in cameras]
    filled = [np.stack([r.filled(_injected(bolus, spec, k), t) for t in times]) for k, r in enumerate(rays)]
    attenuation = i.peak_line_integral / max(float(f.max()) for f in filled)
    study = f"{spec!r}"
    for k, (view, camera, lengths) in enumerate(zip(i.views_deg, cameras, filled, strict=True)):
        rng = np.random.default_rng([spec.seed, 10 + k])
        frames = filmed(anatomy.line_integrals(camera), attenuation * lengths, i, rng)
        acquired = "101500.000000" if i.biplane else f"1015{10 * k:02d}.000000"
        masks = tuple(range(1, i.mask_frames + 1))
        run = _run(i, f"dsa_{k + 1}", frames, view, 1000 / i.frames_per_s, k + 1, acquired, masks)
        write_xa(folder / f"dsa_{k + 1}.dcm", run, study, i.compression)
    if i.rotational_views:
        _write_rotation(spec, folder, vessel, anatomy, isocentre, attenuation, study)
    return {
        "mu_c_per_mm_at_conc1": attenuation,
        "photons": i.photons,
        "bits": 12,
        "peak_line_integral": [float(attenuation * f.max()) for f in filled],
        "bolus": {
            "arrival_s": spec.bolus.arrival_s,
            "time_to_peak_s": spec.bolus.time_to_peak_s,
            "shape": spec.bolus.shape,
            "enters_mm_before_inlet": spec.vessel.extension_mm,
        },
    }


def _injected(bolus: Bolus, spec: SimulationSettings, view: int) -> Bolus:
    """The bolus that a view shows: the same one in biplane, else a later one of its own."""
    if spec.imaging.biplane or not view:
        return bolus
    return replace(bolus, spec=replace(bolus.spec, arrival_s=bolus.spec.arrival_s + _INJECTION_APART_S * view))


def _run(
    i: ImagingSpec,
    name: str,
    frames: NDArray[np.uint16],
    angles: tuple[float, float],
    frame_time_ms: float,
    number: int,
    acquired: str,
    masks: tuple[int, ...] = (),
    increments: Array | None = None,
) -> XaRun:
    return XaRun(
        name,
        frames,
        angles,
        frame_time_ms,
        i.source_to_detector_mm,
        i.source_to_isocentre_mm,
        i.pitch_mm,
        number,
        acquired,
        masks,
        increments,
        biplane=i.biplane and increments is None and len(i.views_deg) == 2,
    )


def _write_rotation(
    spec: SimulationSettings,
    folder: Path,
    vessel: Vessel,
    anatomy: Anatomy,
    isocentre: Array,
    attenuation: float,
    study: str,
) -> None:
    """rot_mask.dcm and rot_fill.dcm: one turn without dye, one with the whole vessel full of it."""
    i = spec.imaging
    half = i.rotational_range_deg / 2
    primary = np.linspace(-half, half, i.rotational_views)
    cameras = [view_camera(i, (float(a), 0.0), isocentre) for a in primary]
    background = np.stack([anatomy.line_integrals(c) for c in cameras])
    lengths: list[RayLengths] = [ray_lengths(vessel, c, spec.sampling) for c in cameras]
    contrast = attenuation * np.stack([r.total for r in lengths])
    increments = np.stack([primary - primary[0], np.zeros_like(primary)], -1)
    for k, (name, shown) in enumerate((("rot_mask", 0 * contrast), ("rot_fill", contrast))):
        rng = np.random.default_rng([spec.seed, 50 + k])
        frames = filmed(background, shown, i, rng)
        start, acquired = (float(primary[0]), 0.0), f"1020{10 * k:02d}.000000"
        run = _run(i, name, frames, start, _ROTATION_FRAME_MS, 11 + k, acquired, increments=increments)
        write_xa(folder / f"{name}.dcm", run, study, i.compression)


def study_toml(spec: SimulationSettings, vessel: Vessel, isocentre: Array) -> str:
    """What a user would know: isocentre, inlet and outlets as clicked, the fluid."""

    def listed(x: Array, step: float) -> str:
        return "[" + ", ".join(f"{round(float(v) / step) * step:g}" for v in x) + "]"

    inlet, *outlets = [listed(c.centre, _CLICK_MM) for c in vessel.caps]
    lines = [
        "[geometry]",
        f"isocentre_lps_mm = {listed(isocentre, 0.01)}",
        f"inlet_lps_mm = {inlet}",
        f"outlets_lps_mm = [{', '.join(outlets)}]",
        "",
        "[fluid]",
        f"density_kg_m3 = {spec.flow.density_kg_m3}",
        f"viscosity_pa_s = {spec.flow.viscosity_pa_s}",
    ]
    if spec.flow.pulsatile_amplitude:
        lines += ["", "[flow]", 'waveform = "pulsatile"', f"period_s = {spec.flow.period_s}"]
    return "\n".join(lines) + "\n"

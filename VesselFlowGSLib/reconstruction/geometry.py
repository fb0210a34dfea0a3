"""The geometry stage: from the study to Gaussians and lumen that match every image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.acquisition.study import Run, RunRole, Study, Volume
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.flow.coordinates import VesselCoordinates
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.matrix import projection_matrix
from VesselFlowGSLib.lumen.extraction import lumen_from_occupancy
from VesselFlowGSLib.lumen.fit import (
    ImageTerm,
    LatticeCloud,
    blurred_film,
    compared_pixels,
    peak_opacity,
    refine_occupancy,
    start_cloud,
)
from VesselFlowGSLib.lumen.follow import faired, followed, wall_shift
from VesselFlowGSLib.lumen.hull import volume_from_rotation
from VesselFlowGSLib.lumen.pose import Alignment, align
from VesselFlowGSLib.lumen.segment import vessel_occupancy
from VesselFlowGSLib.lumen.surface_file import SurfaceFileSettings, lumen_from_file
from VesselFlowGSLib.lumen.wall import Lumen
from VesselFlowGSLib.reconstruction.checkpoint import Checkpoint
from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """What the geometry stage found.

    runs, cameras  the DSA runs that show the vessel, each with its (1,) Cameras
    words          for summary.json; warnings for a person
    """

    lumen: Lumen
    cloud: GaussianCloud
    runs: tuple[Run, ...]
    cameras: tuple[Cameras, ...]
    words: dict[str, Any]
    warnings: tuple[str, ...]

    @staticmethod
    def of_checkpoint(study: Study, start: Checkpoint, settings: ReconstructionSettings) -> Geometry:
        """The stored geometry, with the runs that it was aligned to."""
        used = start.words.get("runs", {})
        centre = start.words.get("isocentre_lps_mm")
        runs = tuple(r for r in study.dsa if r.name in used)
        cameras = tuple(r.cameras(np.asarray(centre, float)) for r in runs)
        return Geometry(start.lumen, start.cloud, runs, cameras, dict(start.words), start.warnings)


def first_opening_filled(geometry: Geometry, least_signal: float = 6.0) -> str | None:
    """Name of the opening where the contrast is seen first, at half of its local peak; None where frames do not tell.

    At every opening the frames are read in a disc a little inside it. Other vessels that cross the disc in a film are
    not told apart.
    """
    arrival: dict[str, list[float]] = {o.name: [] for o in geometry.lumen.openings}
    for run, cameras in zip(geometry.runs, geometry.cameras, strict=True):
        noise = float(np.median(run.noise))
        for opening in geometry.lumen.openings:
            # a little inside, so that the whole disc lies in the vessel that is known
            at = cameras.pixels((opening.centre - 1.5 * opening.radius_mm * opening.normal)[None])[0, 0]
            rim = cameras.pixels((opening.centre - 2.0 * opening.radius_mm * opening.normal)[None])[0, 0]
            reach = max(float(np.linalg.norm(rim - at)), 1.5)
            rows, columns = np.ogrid[: cameras.rows, : cameras.columns]
            disc = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 <= reach**2
            if disc.sum() < 3:
                continue
            curve = ndimage.gaussian_filter1d(run.line_integrals[:, disc].mean(1).astype(float), 1.0)
            if curve.max() > least_signal * noise / np.sqrt(disc.sum()):
                first = int(np.argmax(curve >= 0.5 * curve.max()))
                before = curve[first - 1] if first else curve[first]
                part = (0.5 * curve.max() - before) / max(curve[first] - before, 1e-9) if first else 1.0
                step = run.frame_times_s[first] - run.frame_times_s[max(first - 1, 0)]
                arrival[opening.name].append(float(run.frame_times_s[first] - (1 - part) * step))
    times = {name: float(np.median(t)) for name, t in arrival.items() if t}
    if len(times) < len(arrival):
        return None
    ordered = sorted(times, key=lambda name: times[name])
    return ordered[0] if times[ordered[1]] > times[ordered[0]] else None


def first_lumen(study: Study, settings: ReconstructionSettings) -> tuple[Lumen, list[str]]:
    """The lumen as given, else from the volume, else from the rotational run alone; and what a person should know."""
    said = study.description.geometry
    notes: list[str] = []
    if said.lumen_file is not None:
        path = study.folder / said.lumen_file
        drawn = SurfaceFileSettings(extraction=settings.extraction)
        return lumen_from_file(path, inlet=said.inlet_lps_mm, outlets=said.outlets_lps_mm, settings=drawn), notes
    volume = study.volume
    if volume is None:
        volume = _volume_of_rotation(study, settings, notes)
    seeds = [] if said.inlet_lps_mm is None else [said.inlet_lps_mm]
    names = [] if said.inlet_lps_mm is None else ["geometry.inlet_lps_mm"]
    for number, outlet in enumerate(said.outlets_lps_mm, 1):
        seeds.append(outlet)
        names.append(f"geometry.outlets_lps_mm[{number}]")
    occupancy = vessel_occupancy(
        volume, region_lps_mm=said.region_lps_mm, seeds_lps_mm=seeds, seed_names=names, settings=settings.segment
    )
    lumen = lumen_from_occupancy(
        occupancy, inlet=said.inlet_lps_mm, outlets=said.outlets_lps_mm, settings=settings.extraction
    )
    return lumen, notes


def _volume_of_rotation(study: Study, settings: ReconstructionSettings, notes: list[str]) -> Volume:
    if not study.rotational:
        raise InputError(
            f"{study.folder}: holds neither an angiography volume nor a rotational run with its mask, so there is no "
            "3D vessel to find. Add the volume (DICOM, NRRD, NIfTI, MHA), or geometry.lumen_file in study.toml."
        )
    isocentre = study.description.geometry.isocentre_lps_mm
    if isocentre is None:
        notes.append("No volume: the C-arm's isocentre is taken as the origin (0, 0, 0) of the result.")
    return volume_from_rotation(study.rotational[0], isocentre or (0.0, 0.0, 0.0), settings.hull)


def align_runs(
    study: Study, lumen: Lumen, settings: ReconstructionSettings
) -> tuple[tuple[Run, ...], Alignment | None, list[str]]:
    """Where the C-arm stood, from the frames themselves; runs that do not show the vessel are left out.

    Where none of them shows it, the geometry is the volume's alone, and a note says so.
    """
    runs = (*study.dsa, *study.rotational)
    if not runs:
        return (), None, []
    said = study.description.geometry
    given = said.isocentre_lps_mm
    if given is None and study.volume is None and said.lumen_file is None:
        given = (0.0, 0.0, 0.0)
    start = given if given is not None else _middle(study, lumen)
    found = align(lumen, runs, start, settings.pose, given=given is not None, fit=settings.fit)
    seen = [i for i in range(len(runs)) if found.shows_vessel(i, settings.pose)]
    notes = [
        f"{run.name}: does not show the vessel (match {found.overlap[i]:.2f}); not used."
        for i, run in enumerate(runs)
        if i not in seen
    ]
    if not seen:
        notes.append(
            "None of the runs shows the vessel that was found in the volume. Check that they are of the same patient "
            "and side, isocentre_lps_mm and region_lps_mm in study.toml, and the runs' angles."
        )
        return (), None, notes
    if given is None:
        x, y, z = found.isocentre_lps_mm
        notes.append(f"The C-arm's isocentre was not given; found from the frames: ({x:.1f}, {y:.1f}, {z:.1f}) mm.")
        if not found.known:
            notes.append("All runs look from nearly one side: the isocentre's depth along the rays is assumed.")
    kept = replace(
        found,
        cameras=tuple(found.cameras[i] for i in seen),
        gains=tuple(found.gains[i] for i in seen),
        residual_px=tuple(found.residual_px[i] for i in seen),
        overlap=tuple(found.overlap[i] for i in seen),
    )
    return tuple(runs[i] for i in seen), kept, notes


def _middle(study: Study, lumen: Lumen) -> Array:
    if study.volume is None:
        return np.asarray(np.concatenate([b.points for b in lumen.tree.branches]).mean(0))
    return study.volume.lps((np.array(study.volume.values.shape) - 1) / 2)


@dataclass(frozen=True)
class Refined:
    """The lumen that follows the frames, and the Gaussians that fill it with the runs' attenuation (1/mm)."""

    lumen: Lumen
    cloud: GaussianCloud
    words: dict[str, Any]


def refined(lumen: Lumen, runs: Sequence[Run], cameras: Sequence[Cameras], settings: ReconstructionSettings) -> Refined:
    """Move the Gaussians' occupancies until their projections match the frames, and the wall with them.

    Without runs, or where refinement is switched off, the lumen stays and the attenuation is 1.
    """
    lattice = start_cloud(lumen, 1.0, settings.fit, shell=True)
    path = VesselCoordinates(lumen)(lattice.cloud.mean).path
    terms: list[ImageTerm] = []
    for run, camera in zip(runs, cameras, strict=True):
        if run.role is RunRole.FILL:
            terms += _rotational_terms(lattice, lumen, run, camera, settings)
        else:
            terms += _dsa_terms(lattice, lumen, run, camera, path, settings)
    if not terms:
        smooth = faired(lumen, settings.follow)
        return Refined(smooth, start_cloud(smooth, 1.0, settings.fit).cloud, {})
    fit = settings.fit if settings.geometry.refine else replace(settings.fit, rounds=0)
    result = refine_occupancy(lattice.cloud, terms, fit)
    counts = np.array([len(t.line_integrals) for t in terms], float)
    attenuation = max(float(np.average(result.gains, weights=counts)), 1e-6)
    shift = wall_shift(lumen, lattice.cloud, result.cloud, settings.follow)
    words: dict[str, Any] = {
        "residual_before": float(np.sqrt(np.average(result.rms_before**2, weights=counts))),
        "residual_after": float(np.sqrt(np.average(result.rms_after**2, weights=counts))),
        "attenuation_per_mm": attenuation,
        "wall_moved_mm": {
            "mean": float(np.mean(shift.shift_mm)),
            "rms": float(np.sqrt(np.mean(shift.shift_mm**2))),
        },
    }
    moved = faired(followed(lumen, shift, settings.follow), settings.follow)
    return Refined(moved, start_cloud(moved, attenuation, settings.fit).cloud, words)


def _dsa_terms(
    lattice: LatticeCloud, lumen: Lumen, run: Run, cameras: Cameras, path: Array, settings: ReconstructionSettings
) -> list[ImageTerm]:
    """A DSA run at each pixel's most opaque moment, in pieces along the vessel with a gain of their own.

    The bolus flattens on its way, so that its peak differs along the vessel: only the shape across it tells where
    the wall is.
    """
    cloud = lattice.cloud
    opacity, noise = peak_opacity(run, settings.fit)
    opacity = blurred_film(opacity, cameras[0], lattice.blur_mm[0], cloud.mean.mean(0))
    pixels = compared_pixels(cloud, cameras, lumen.openings, settings.fit)
    matrix = projection_matrix(cloud, cameras, pixels=pixels, dtype=np.float32).tocsr()
    weight = np.asarray(matrix.sum(1), float)[:, 0]
    along = np.asarray(matrix @ path.astype(np.float32), float) / np.maximum(weight, 1e-9)
    radius = float(np.median(np.concatenate([b.radius_mm for b in lumen.tree.branches])))
    piece = np.floor(along / (settings.geometry.gain_radii * radius)).astype(int)
    terms = []
    for number in np.unique(piece[weight > 0]):
        rows = np.flatnonzero((piece == number) & (weight > 0))
        if (weight[rows] > 0.5 * weight.max()).sum() < settings.geometry.least_pixels:
            continue
        film = opacity.ravel()[pixels[rows]].astype(float)
        # blood at the wall fills later than that in the core, so that even the peak is not evenly filled
        uneven = settings.geometry.uneven_filling * np.quantile(film, 0.95)
        terms.append(ImageTerm(matrix[rows], film, np.hypot(noise.ravel()[pixels[rows]].astype(float), uneven)))
    return terms


def _rotational_terms(
    lattice: LatticeCloud, lumen: Lumen, run: Run, cameras: Cameras, settings: ReconstructionSettings
) -> list[ImageTerm]:
    """Views of a rotational run, evenly chosen, with one gain."""
    chosen = np.unique(np.linspace(0, len(cameras) - 1, settings.geometry.rotational_views).round().astype(int))
    views = cameras[chosen]
    cloud = lattice.cloud
    centre = cloud.mean.mean(0)
    films = [blurred_film(run.line_integrals[i], cameras[int(i)], lattice.blur_mm[0], centre) for i in chosen]
    pixels = compared_pixels(cloud, views, lumen.openings, settings.fit)
    matrix = projection_matrix(cloud, views, pixels=pixels, dtype=np.float32).tocsr()
    values = np.stack(films).ravel()[pixels].astype(float)
    noise = np.tile(run.noise.ravel(), len(chosen))[pixels].astype(float)
    return [ImageTerm(matrix, values, noise)]


def reconstruct_geometry(
    study: Study,
    settings: ReconstructionSettings,
    first: tuple[Lumen, Sequence[str]] | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> Geometry:
    """All of it: lumen, C-arm poses, refinement. Raises InputError where the study gives no vessel.

    first  what first_lumen found, where it has been called already
    doing  told what is being done
    """
    if study.description.geometry.lumen_file is not None:
        # the vessel as given is not moved
        settings = replace(settings, geometry=replace(settings.geometry, refine=False))
    lumen, found = first_lumen(study, settings) if first is None else first
    doing("finding where the C-arm stood")
    runs, alignment, notes = align_runs(study, lumen, settings)
    warnings = [*found, *notes]
    doing("fitting the Gaussians to the frames")
    cameras = alignment.cameras if alignment is not None else ()
    result = refined(lumen, runs, cameras, settings)
    words: dict[str, Any] = dict(result.words)
    if alignment is not None:
        words["isocentre_lps_mm"] = [float(v) for v in alignment.isocentre_lps_mm]
        words["runs"] = {
            run.name: {"match": float(match), "shift_left_px": float(left)}
            for run, match, left in zip(runs, alignment.overlap, alignment.residual_px, strict=True)
        }
    dsa = [i for i, run in enumerate(runs) if run.role is RunRole.DSA]
    return Geometry(
        result.lumen,
        result.cloud,
        tuple(runs[i] for i in dsa),
        tuple(cameras[i] for i in dsa),
        words,
        tuple(warnings),
    )

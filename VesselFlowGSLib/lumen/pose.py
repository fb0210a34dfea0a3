"""Where the C-arm stood: the isocentre in the volume's frame, from films of the same vessel.

A coarse search correlates the projected cloud with each film over all shifts and lets the films vote for one shift in
space; a fine one (Gauss-Newton, with a gain per run eliminated) matches line integrals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.acquisition.study import Run, RunRole
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.project import project
from VesselFlowGSLib.lumen.centreline import Opening
from VesselFlowGSLib.lumen.fit import FitSettings, compared_pixels, lattice, lattice_cloud, peak_opacity, start_cloud
from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]
Image = NDArray[np.floating]


@dataclass(frozen=True)
class PoseSettings:
    """How the isocentre is looked for.

    gaussians             the cloud is thinned to so many
    coarse_px             side of the images of the coarse search
    coarse_rounds         projections of the coarse search; each corrects the magnification
    candidates            correlation peaks of a view that are followed
    views_per_run         of a rotational run
    opaque_sd             line integrals above so many standard deviations are vessel
    least_seen            part of the projected cloud that a shift must leave on the detector
    parallax_deg          views closer than this do not tell depth
    steps                 of Gauss-Newton at each resolution
    fine_px               sides of the images of the fine search, coarse to fine
    margin_mm             pixels so far beside the cloud are compared
    robust_sd             larger residuals count by their size
    given_sd_mm           how well a given isocentre is trusted
    correct_runs          whether each run may move by itself: angles in the header are nominal
    turn_sd_deg, move_sd_mm   prior of that motion
    residual_px           patch of neighbouring pixels whose residuals go together, for the weight of the prior
    overlap               normalised correlation below which a run is said not to show the vessel
    """

    gaussians: int = 6000
    coarse_px: int = 96
    coarse_rounds: int = 4
    candidates: int = 5
    views_per_run: int = 8
    opaque_sd: float = 4.0
    least_seen: float = 0.3
    parallax_deg: float = 15.0
    steps: int = 12
    fine_px: tuple[int, ...] = (128, 256)
    margin_mm: float = 3.0
    robust_sd: float = 2.5
    given_sd_mm: float = 1.0
    correct_runs: bool = False
    turn_sd_deg: float = 1.0
    move_sd_mm: float = 1.0
    residual_px: float = 25.0
    overlap: float = 0.6


@dataclass(frozen=True)
class Alignment:
    """Where the C-arm stood for every run.

    isocentre_lps_mm  (3,)
    cameras           of every run, in its order, with the run's own correction where there is one
    gains             contrast of each run relative to the cloud's attenuation
    residual_px       what each run would still like to move, pixels
    overlap           normalised correlation of each run with the projected cloud, at the vessel; near 1 is a match
    shift_mm          (3,) from the isocentre that the search began with
    known             whether depth is known: given, or seen from two sides
    sd_mm             (3,) standard deviation along x, y, z, from residuals; infinite where nothing was seen
    """

    isocentre_lps_mm: Array
    cameras: tuple[Cameras, ...]
    gains: tuple[float, ...]
    residual_px: tuple[float, ...]
    overlap: tuple[float, ...]
    shift_mm: Array
    known: bool
    sd_mm: Array

    def shows_vessel(self, run: int, settings: PoseSettings | None = None) -> bool:
        """Whether the run shows the vessel of the cloud."""
        return self.overlap[run] >= (settings or PoseSettings()).overlap


@dataclass(frozen=True)
class _View:
    """One film of the vessel: camera about the isocentre (0, 0, 0), line integrals (rows, columns), noise, its run."""

    camera: Cameras
    image: Image
    noise: Image
    run: int


def cloud_from_occupancy(
    occupancy: Image,
    affine: ArrayLike,
    attenuation_per_mm: float,
    spacing_mm: float,
    settings: FitSettings | None = None,
) -> GaussianCloud:
    """A quick cloud of everything that is vessel in a volume: (I, J, K) part of each voxel, affine to LPS mm."""
    chosen = settings or FitSettings()
    to_lps = np.asarray(affine, float)
    voxel = np.linalg.norm(to_lps[:3, :3], axis=0)
    inside = np.argwhere(occupancy > 0.05)
    if not len(inside):
        empty = np.zeros((0, 3))
        return GaussianCloud(empty, empty, np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0))
    low, high = np.maximum(inside.min(0) - 2, 0), inside.max(0) + 3
    # The mean over a lattice cell: a Gaussian of the cell's variance before sampling.
    part = ndimage.gaussian_filter(
        occupancy[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32),
        spacing_mm / voxel / np.sqrt(12),
    )
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T @ to_lps[:3, :3].T + to_lps[:3, 3]
    points = lattice(corners.min(0), corners.max(0), spacing_mm)
    inverse = np.linalg.inv(to_lps)
    index = points @ inverse[:3, :3].T + inverse[:3, 3] - low
    value = ndimage.map_coordinates(part, index.T, order=1, mode="constant", cval=0.0)
    kept = value > 0.02
    along = np.tile([0.0, 0.0, 1.0], (int(kept.sum()), 1))
    return lattice_cloud(
        points[kept], value[kept].astype(float), along, spacing_mm, attenuation_per_mm, chosen.sigma_per_spacing, 1.0
    ).cloud


def _thinned(cloud: GaussianCloud, count: int) -> GaussianCloud:
    """Fewer, larger Gaussians of the same mass: those in one cell of a coarser lattice become one."""
    if len(cloud) <= count:
        return cloud
    mass = cloud.density * cloud.sigma.prod(1)
    used = mass > 0
    side = 1.05 * (np.prod(np.ptp(cloud.mean, axis=0) + 1e-6) / count) ** (1 / 3) * 0.2
    while True:
        key = np.floor((cloud.mean - cloud.mean.min(0)) / side).astype(int)
        cells, member = np.unique(key[used], axis=0, return_inverse=True)
        if len(cells) <= count:
            break
        side *= 1.1
    member = member.ravel()
    total = np.bincount(member, mass[used], len(cells))
    moment = [np.bincount(member, mass[used] * cloud.mean[used, k], len(cells)) for k in range(3)]
    mean = np.asarray(np.stack(moment, -1) / total[:, None], float)
    across = float(np.sqrt(np.median(cloud.sigma) ** 2 + side**2 / 12))
    sigma = np.full((len(cells), 3), across)
    turn = np.tile([1.0, 0.0, 0.0, 0.0], (len(cells), 1))
    return GaussianCloud(mean, sigma, turn, total / across**3, np.ones(len(cells)), np.full(len(cells), np.nan))


def _views(runs: Sequence[Run], settings: PoseSettings, fit: FitSettings) -> list[_View]:
    views = []
    for number, run in enumerate(runs):
        cameras = run.cameras((0.0, 0.0, 0.0))
        if run.role is RunRole.FILL and len(cameras) > 1:
            for t in np.unique(np.linspace(0, len(cameras) - 1, settings.views_per_run).round().astype(int)):
                views.append(_View(cameras[int(t)], run.line_integrals[t], run.noise, number))
        else:
            image, noise = peak_opacity(run, fit)
            views.append(_View(cameras[0], image, noise, number))
    return views


def _binned(view: _View, side: int) -> _View:
    """The view with so many neighbouring pixels joined that it has at most `side` pixels along its longer edge."""
    b = max(1, -(-max(view.image.shape) // side))
    rows, columns = view.image.shape[0] // b, view.image.shape[1] // b

    def mean(x: Image) -> Image:
        return np.asarray(x[: rows * b, : columns * b].reshape(rows, b, columns, b).mean((1, 3)))

    c = view.camera
    middle = (b - 1) / 2 * (c.column_step + c.row_step)
    camera = Cameras(c.source, c.origin + middle, c.column_step * b, c.row_step * b, rows, columns)
    return replace(view, camera=camera, image=mean(view.image), noise=mean(view.noise) / b)


def _at(camera: Cameras, isocentre: Array) -> Cameras:
    return camera.moved(np.eye(3), isocentre)


def _image(cloud: GaussianCloud, camera: Cameras) -> Image:
    with torch.no_grad():
        return np.asarray(project(cloud, camera, cut=3.5)[0].double().numpy())


def _correlation(model: Image, view: _View, margin: int, settings: PoseSettings) -> Image:
    """Normalised correlation of the film with the model moved by every shift of (-margin, margin) pixels.

    model (rows + 2 margin, columns + 2 margin): what a larger detector would see. Only pixels of the film count, so
    that a vessel which leaves the detector is compared where it is seen. (2 margin + 1, 2 margin + 1).
    """
    film = np.sqrt(np.where(view.image > settings.opaque_sd * view.noise, view.image, 0))
    shape = [fft.next_fast_len(a + b, real=True) for a, b in zip(model.shape, film.shape, strict=True)]
    rooted = np.sqrt(np.maximum(model, 0))

    def slide(a: Image, b: Image) -> Image:
        product = fft.irfft2(np.conj(fft.rfft2(b, shape)) * fft.rfft2(a, shape), shape)
        # Entry (i, j) holds sum a[x + (i, j)] b[x]: the model moved by margin - (i, j).
        return np.asarray(product[: 2 * margin + 1, : 2 * margin + 1][::-1, ::-1])

    seen = np.ones_like(film)
    n = film.size
    total, energy = slide(rooted, seen), slide(rooted**2, seen)
    covariance = slide(rooted, film) - total * film.sum() / n
    spread = np.sqrt(
        np.maximum(energy - total**2 / n, 1e-12) * max(float((film**2).sum() - film.sum() ** 2 / n), 1e-12)
    )
    enough = energy > settings.least_seen * float((rooted**2).sum())
    return np.asarray(np.where(enough, covariance / spread, -1.0))


def _peaks(score: Image, count: int) -> NDArray[np.int_]:
    """(n, 2) places of the highest separate maxima."""
    highest = (score == ndimage.maximum_filter(score, 9)) & (score > 0)
    places = np.argwhere(highest)
    order = np.argsort(-score[highest])[:count]
    return np.asarray(places[order])


def _shift_of(camera: Cameras, isocentre: Array, centre: Array, move: Array) -> Array:
    """(2,) pixels (row, column) that the cloud's centre moves by when the isocentre moves."""
    before = _at(camera, isocentre).pixels(centre[None])[0, 0]
    return np.asarray(_at(camera, isocentre + move).pixels(centre[None])[0, 0] - before)


def _triangulate(views: Sequence[_View], shifts: Sequence[Array], isocentre: Array, centre: Array) -> Array:
    """The move of the isocentre that explains shifts seen in several views best; what none sees stays."""
    move = np.zeros(3)
    for _ in range(3):
        slope, miss = [], []
        for view, shift in zip(views, shifts, strict=True):
            here = _shift_of(view.camera, isocentre, centre, move)
            slope.append(np.stack([_shift_of(view.camera, isocentre, centre, move + e) - here for e in np.eye(3)], -1))
            miss.append(shift - here)
        # A direction along the rays of every view is not determined; the cut leaves it at zero.
        move = move + np.linalg.lstsq(np.concatenate(slope), np.concatenate(miss), rcond=0.05)[0]
        if np.linalg.norm(move) > 1e3:
            return np.full(3, np.nan)
    return move


def _coarse(cloud: GaussianCloud, views: Sequence[_View], isocentre: Array, settings: PoseSettings) -> Array:
    """The isocentre to within about a pixel of the coarse images, from anywhere the vessel is still on the films."""
    small = [_binned(v, settings.coarse_px) for v in views]
    few = _thinned(cloud, settings.gaussians // 3)
    mass = few.density * few.sigma.prod(1)
    centre = (mass[:, None] * few.mean).sum(0) / mass.sum()
    best = isocentre
    for round_ in range(settings.coarse_rounds):
        scores = []
        for view in small:
            margin = max(view.image.shape) // (1 if round_ == 0 else 6)
            c = _at(view.camera, best)
            larger = Cameras(
                c.source, c.origin - margin * (c.column_step + c.row_step), c.column_step, c.row_step,
                c.rows + 2 * margin, c.columns + 2 * margin,
            )  # fmt: skip
            scores.append(_correlation(_image(few, larger), view, margin, settings))
        candidates = [np.zeros(3)]
        middles = [(s.shape[0] - 1) // 2 for s in scores]
        found = [_peaks(s, settings.candidates) for s in scores]
        axes = [v.camera.normal[0] for v in small]
        pairs = [
            p for p in combinations(range(len(small)), 2)
            if np.degrees(np.arccos(min(1.0, abs(float(axes[p[0]] @ axes[p[1]]))))) > settings.parallax_deg
        ]  # fmt: skip
        pairs.sort(key=lambda p: abs(float(axes[p[0]] @ axes[p[1]])))
        groups: list[tuple[int, ...]] = list(pairs[:6]) or [(i,) for i in range(len(small))]
        for group in groups:
            for choice in np.ndindex(*[len(found[i]) for i in group]):
                shifts = [found[i][k] - middles[i] for i, k in zip(group, choice, strict=True)]
                candidates.append(_triangulate([small[i] for i in group], shifts, best, centre))

        def votes(move: Array, scores: list[Image] = scores, middles: list[int] = middles, at: Array = best) -> float:
            total = 0.0
            for view, score, middle in zip(small, scores, middles, strict=True):
                place = np.round(_shift_of(view.camera, at, centre, move) + middle)
                if np.isfinite(place).all() and (place >= 0).all() and (place < score.shape).all():
                    total += max(0.0, float(score[int(place[0]), int(place[1])]))
            return total

        candidates = [m for m in candidates if np.isfinite(m).all()]
        move = max(candidates, key=votes)
        best = best + move
        if round_ and np.linalg.norm(move) < 0.3:
            break
    return np.asarray(best)


def _turned(view: _View, parameters: Array, own: Array | None) -> Cameras:
    """The camera about the isocentre parameters[:3], carried by the run's own motion (turn in rad, move in mm)."""
    camera = _at(view.camera, parameters[:3])
    if own is None:
        return camera
    return camera.moved(Rotation.from_rotvec(own[:3]).as_matrix(), own[3:], parameters[:3])


@dataclass(frozen=True)
class _Match:
    """Residuals of one view and their slopes with the gain eliminated."""

    residual: Array
    slope: Array
    weight: Array
    gain: float


def _match(
    cloud: GaussianCloud,
    view: _View,
    pixels: NDArray[np.int_],
    parameters: Array,
    runs: int,
    settings: PoseSettings,
    robust: bool = True,
) -> _Match:
    own_slice = slice(3 + 6 * view.run, 9 + 6 * view.run)
    free = list(range(3)) + (list(range(*own_slice.indices(len(parameters)))) if settings.correct_runs else [])

    def picture(p: Array) -> Array:
        own = p[own_slice] if settings.correct_runs else None
        return np.asarray(_image(cloud, _turned(view, p, own)).ravel()[pixels])

    film, model = view.image.ravel()[pixels].astype(float), picture(parameters)
    energy = float(model @ model)
    gain = float(model @ film) / energy if energy > 0 else 0.0
    residual = gain * model - film
    scale = max(1.4826 * float(np.median(np.abs(residual))), float(np.median(view.noise)))
    weight = (
        np.minimum(1, settings.robust_sd * scale / np.maximum(np.abs(residual), 1e-12))
        if robust
        else np.ones(len(film))
    )
    energy = float((weight * model) @ model)
    gain = float((weight * model) @ film) / energy if energy > 0 else 0.0
    residual = gain * model - film
    slope = np.zeros((len(pixels), len(parameters)))
    for k in free:
        step = np.zeros(len(parameters))
        step[k] = 2e-4 if k >= 3 and (k - 3) % 6 < 3 else 0.1
        slope[:, k] = gain * (picture(parameters + step) - picture(parameters - step)) / (2 * step[k])
    if energy > 0:
        slope -= model[:, None] * ((weight * model) @ slope / energy)
    return _Match(residual, slope, weight / scale**2, gain)


def _fine(
    cloud: GaussianCloud,
    views: Sequence[_View],
    parameters: Array,
    prior: Array,
    openings: Sequence[Opening],
    fit: FitSettings,
    settings: PoseSettings,
) -> tuple[Array, Array]:
    """Gauss-Newton on the residual line integrals; the parameters and their covariance."""
    runs = 1 + max(v.run for v in views)
    covariance = np.full((len(parameters), len(parameters)), np.inf)
    few = _thinned(cloud, settings.gaussians)
    longest_side = max(max(v.image.shape) for v in views)
    for side in sorted({min(s, longest_side) for s in settings.fine_px}):
        small = [_binned(v, side) for v in views]
        for _ in range(settings.steps):
            normal, pull = np.diag(prior), -prior * parameters * (prior > 0)
            pull[:3] = 0 if prior[0] == 0 else pull[:3]
            for view in small:
                camera = _turned(view, parameters, None)
                pixels = compared_pixels(few, camera, openings, fit)
                if len(pixels) < 20:
                    continue
                match = _match(few, view, pixels, parameters, runs, settings)
                # Neighbouring residuals go together: so many fewer independent measurements.
                weight = match.weight / settings.residual_px
                normal = normal + (match.slope * weight[:, None]).T @ match.slope
                pull = pull - (match.slope * weight[:, None]).T @ match.residual
            # What no view sees (depth, from one side) stays where it is.
            values, vectors = np.linalg.eigh(normal)
            usable = values > 1e-4 * max(float(values.max()), 1e-12)
            step = vectors[:, usable] @ (vectors[:, usable].T @ pull / values[usable])
            longest = float(np.abs(step[:3]).max())
            step *= min(1.0, 3.0 / max(longest, 1e-9))
            parameters = parameters + step
            inverse = np.where(usable, 1 / np.where(usable, values, 1), np.inf)
            with np.errstate(invalid="ignore"):
                covariance = np.nan_to_num((vectors * np.where(usable, inverse, 1e12)) @ vectors.T, nan=np.inf)
            if longest < 0.01:
                break
    return parameters, covariance


def align(
    vessel: Lumen | GaussianCloud,
    runs: Sequence[Run],
    isocentre_start: ArrayLike,
    settings: PoseSettings | None = None,
    *,
    given: bool = False,
    openings: Sequence[Opening] = (),
    fit: FitSettings | None = None,
) -> Alignment:
    """The isocentre (LPS mm) for which the vessel's projections match the runs.

    vessel           the lumen, or a cloud of everything that is vessel in the volume
    isocentre_start  where to begin: with `given`, what the user said (refined, but held near); else the middle of the
                     volume, from where the vessel is searched for
    openings         where a cloud ends though the vessel goes on in the images (a lumen knows its own)
    Runs that show something else get a low overlap and are left for the caller to refuse.
    """
    chosen, fitting = settings or PoseSettings(), fit or FitSettings()
    fitting = replace(fitting, margin_mm=chosen.margin_mm)
    start = np.asarray(isocentre_start, float)
    if isinstance(vessel, Lumen):
        openings, cloud = vessel.openings, start_cloud(vessel, 1.0, fitting).cloud
    else:
        cloud = vessel
    count = 3 + (6 * len(runs) if chosen.correct_runs else 0)
    views = _views(runs, chosen, fitting)
    if not len(cloud) or not views:
        unmoved = tuple(r.cameras(start) for r in runs)
        nothing = (0.0,) * len(runs)
        return Alignment(start, unmoved, nothing, nothing, nothing, np.zeros(3), given, np.full(3, np.inf))

    begin = start if given else _coarse(cloud, views, start, chosen)
    prior = np.zeros(count)
    if given:
        prior[:3] = chosen.given_sd_mm**-2
    if chosen.correct_runs:
        own = np.r_[np.full(3, np.radians(chosen.turn_sd_deg) ** -2.0), np.full(3, chosen.move_sd_mm**-2.0)]
        prior[3:] = np.tile(own, len(runs))
    parameters = np.r_[begin, np.zeros(count - 3)]
    parameters, covariance = _fine_about(cloud, views, parameters, prior, start, openings, fitting, chosen)

    gains, residuals, overlaps, cameras_out = [], [], [], []
    few = _thinned(cloud, chosen.gaussians)
    for number, run in enumerate(runs):
        own_motion = parameters[3 + 6 * number : 9 + 6 * number] if chosen.correct_runs else None
        cameras = run.cameras(parameters[:3])
        if own_motion is not None:
            turn = Rotation.from_rotvec(own_motion[:3]).as_matrix()
            cameras = cameras.moved(turn, own_motion[3:], parameters[:3])
        cameras_out.append(cameras)
        mine = [_binned(v, max(chosen.fine_px)) for v in views if v.run == number]
        figures = np.array([_figures(few, v, _turned(v, parameters, own_motion), openings, fitting) for v in mine])
        gains.append(float(np.median(figures[:, 0])))
        overlaps.append(float(np.mean(figures[:, 1])))
        residuals.append(float(np.sqrt(np.mean(figures[:, 2] ** 2))))
    axes = np.array([v.camera.normal[0] for v in views])
    parallax = np.degrees(np.arccos(np.clip(np.abs(axes @ axes.T), 0, 1))).max()
    with np.errstate(invalid="ignore"):
        sd = np.sqrt(np.maximum(np.diag(covariance)[:3], 0))
    return Alignment(
        parameters[:3], tuple(cameras_out), tuple(gains), tuple(residuals), tuple(overlaps), parameters[:3] - start,
        bool(given or parallax > chosen.parallax_deg), np.where(sd > 1e3, np.inf, sd),
    )  # fmt: skip


def _fine_about(
    cloud: GaussianCloud,
    views: Sequence[_View],
    parameters: Array,
    prior: Array,
    centre: Array,
    openings: Sequence[Opening],
    fit: FitSettings,
    settings: PoseSettings,
) -> tuple[Array, Array]:
    """The fine search with the prior of the isocentre about `centre`: worked relative to it."""
    shifted = replace(cloud, mean=cloud.mean - centre)
    moved = [replace(o, centre=o.centre - centre) for o in openings]
    relative = parameters.copy()
    relative[:3] -= centre
    found, covariance = _fine(shifted, views, relative, prior, moved, fit, settings)
    found[:3] += centre
    return found, covariance


def _figures(
    cloud: GaussianCloud, view: _View, camera: Cameras, openings: Sequence[Opening], fit: FitSettings
) -> tuple[float, float, float]:
    """Gain, normalised correlation at the vessel, and the remaining shift in pixels of the view."""
    pixels = compared_pixels(cloud, camera, openings, fit)
    if len(pixels) < 20:
        return 0.0, 0.0, 0.0
    picture = _image(cloud, camera)
    model, film = picture.ravel()[pixels], view.image.ravel()[pixels].astype(float)
    gain = float(model @ film) / max(float(model @ model), 1e-12)
    a, b = model - model.mean(), film - film.mean()
    correlation = float(a @ b) / max(float(np.sqrt((a @ a) * (b @ b))), 1e-12)
    slopes = -gain * np.stack([g.ravel()[pixels] for g in np.gradient(picture)], -1)
    slopes = np.concatenate([slopes, model[:, None]], 1)
    residual = film - gain * model
    # Pixels of other vessels, or where the vessel ends, should not speak for the rest.
    trust = np.minimum(1, 2.5 * 1.4826 * np.median(np.abs(residual)) / np.maximum(np.abs(residual), 1e-12))
    shift = np.linalg.lstsq(slopes * trust[:, None], residual * trust, rcond=1e-3)[0][:2]
    return gain, correlation, float(np.hypot(*shift))

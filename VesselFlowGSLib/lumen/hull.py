"""A volume from a rotational run alone: where every view may have contrast, and how much of it explains the films."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.acquisition.study import Run, Volume
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.density import density_on_grid
from VesselFlowGSLib.gaussians.matrix import projection_matrix
from VesselFlowGSLib.gaussians.nonnegative import Term, solve_nonnegative
from VesselFlowGSLib.lumen.fit import lattice_cloud

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HullSettings:
    """How a volume is found from few views.

    spacing_mm          of the volume; made coarser where there would be more than `largest_count` candidates
    coarse_mm           of the grid that candidates are looked for on
    largest_count       candidates that are solved for
    most_views          of the run that are used, evenly spread
    finest_pixel_mm     pixels are joined until they are at least so large at the isocentre
    opaque_sd           line integrals above so many standard deviations of noise show contrast
    least_views         views that must see a place before it can be a candidate
    miss_part           part of the views that may see no contrast at a candidate (noise, time)
    dilation_mm         candidates reach this far around what is seen
    floor               part of the brightest line integrals (99.9th percentile) below which contrast is not trusted
    model_error         part of a line integral that counts as noise
    saturation          line integrals above this come from pixels without light
    iterations          of the solver
    damping             weight of the prior (nothing there) relative to the average candidate's own evidence
    grown               candidates reach so much beyond what the views see: vessels there shade the rays too
    most_seen_part      the volume holds places that this part of the views see
    sigma_per_spacing   of the Gaussians that carry the attenuation
    """

    spacing_mm: float = 0.45
    coarse_mm: float = 1.0
    largest_count: int = 120_000
    most_views: int = 40
    finest_pixel_mm: float = 0.24
    opaque_sd: float = 4.0
    least_views: int = 4
    miss_part: float = 0.1
    dilation_mm: float = 0.8
    floor: float = 0.04
    model_error: float = 0.03
    saturation: float = 6.0
    iterations: int = 40
    damping: float = 1e-3
    grown: float = 1.25
    most_seen_part: float = 0.7
    sigma_per_spacing: float = 0.5


@dataclass(frozen=True)
class _Films:
    """Chosen views with joined pixels: line integrals, variance (V, rows, columns), and which pixels had light."""

    cameras: Cameras
    images: NDArray[np.float32]
    variance: NDArray[np.float32]
    usable: NDArray[np.bool_]


def _films(run: Run, isocentre: Array, settings: HullSettings) -> _Films:
    cameras = run.cameras(isocentre)
    chosen = np.unique(np.linspace(0, len(cameras) - 1, settings.most_views).round().astype(int))
    cameras, images = cameras[chosen], run.line_integrals[chosen]
    pitch = run.carm.pixel_spacing_mm[0] * run.carm.source_to_isocentre_mm / run.carm.source_to_detector_mm
    b = max(1, round(settings.finest_pixel_mm / pitch))
    rows, columns = cameras.rows // b, cameras.columns // b

    def joined(x: NDArray[np.generic]) -> NDArray[np.float64]:
        cropped = np.asarray(x, float)[..., : rows * b, : columns * b]
        return np.asarray(cropped.reshape(*x.shape[:-2], rows, b, columns, b).mean((-3, -1)))

    light = np.isfinite(images) & (images < settings.saturation)
    usable = joined(light) > 0.99
    values = joined(np.where(light, images, 0))
    step = (b - 1) / 2 * (cameras.column_step + cameras.row_step)
    cameras = Cameras(
        cameras.source, cameras.origin + step, cameras.column_step * b, cameras.row_step * b, rows, columns
    )
    # Contrast takes light away, so that noise grows with half of the line integral's exponential.
    noise = joined(run.noise**2) / b**2 * np.exp(np.clip(values, 0, settings.saturation))
    variance = noise + (settings.model_error * values) ** 2
    return _Films(cameras, values.astype(np.float32), variance.astype(np.float32), usable)


def _seen_box(cameras: Cameras, isocentre: Array, grown: float) -> Array:
    """(2, 3) LPS mm corners of the box around what the views see at the isocentre's depth, grown about it."""
    corners = []
    for v in range(len(cameras)):
        for r, c in ((0, 0), (0, cameras.columns - 1), (cameras.rows - 1, 0), (cameras.rows - 1, cameras.columns - 1)):
            at = cameras.origin[v] + r * cameras.row_step[v] + c * cameras.column_step[v]
            ray = at - cameras.source[v]
            depth = (isocentre - cameras.source[v]) @ cameras.normal[v] / (ray @ cameras.normal[v])
            corners.append(cameras.source[v] + ray * depth)
    return isocentre + grown * (np.stack([np.min(corners, axis=0), np.max(corners, axis=0)]) - isocentre)


def _contrast(films: _Films, settings: HullSettings) -> NDArray[np.bool_]:
    """(V, rows, columns) pixels that show contrast."""
    level = settings.floor * np.percentile(films.images, 99.9)
    noise = np.sqrt(films.variance - (settings.model_error * films.images) ** 2)
    return np.asarray((films.images > np.maximum(settings.opaque_sd * noise, level)) | ~films.usable)


def _hull(
    points: Array, films: _Films, contrast: NDArray[np.bool_], reach_mm: float, settings: HullSettings
) -> NDArray[np.bool_]:
    """(M,) points that nearly every view which sees them sees contrast at."""
    seen, hit = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    cameras = films.cameras
    for v in range(len(cameras)):
        camera = cameras[v]
        pixel = np.linalg.norm(camera.row_step[0]) * 0.6
        wide = ndimage.distance_transform_edt(~contrast[v]) * pixel <= reach_mm
        at = np.nan_to_num(camera.pixels(points)[0], nan=-1e6).round().astype(np.int64)
        inside = ((at >= 0) & (at < [camera.rows, camera.columns])).all(1)
        seen += inside
        hit[inside] += wide[at[inside, 0], at[inside, 1]]
    return np.asarray((seen >= settings.least_views) & (seen - hit <= settings.miss_part * seen))


def _candidates(films: _Films, box: Array, spacing: float, settings: HullSettings) -> tuple[Array, Array]:
    """Lattice points (M, 3) that may hold contrast, and the lattice's first corner."""
    contrast = _contrast(films, settings)
    coarse = np.stack(np.meshgrid(*[np.arange(a, b, settings.coarse_mm) for a, b in box.T], indexing="ij"), -1).reshape(
        -1, 3
    )
    half = settings.coarse_mm * np.sqrt(3) / 2
    coarse = coarse[_hull(coarse, films, contrast, settings.dilation_mm + half, settings)]
    if not len(coarse):
        return np.zeros((0, 3)), box[0]
    n = int(np.ceil(settings.coarse_mm / spacing)) + 1
    around = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    around = around[(np.abs(around) * spacing <= settings.coarse_mm / 2 + spacing).all(1)]
    first = np.round((coarse - box[0]) / spacing).astype(np.int64)
    index = np.unique((first[:, None] + around).reshape(-1, 3), axis=0)
    points = box[0] + spacing * index
    return points[_hull(points, films, contrast, settings.dilation_mm, settings)], box[0]


def volume_from_rotation(run: Run, isocentre_lps_mm: ArrayLike, settings: HullSettings | None = None) -> Volume:
    """Attenuation (1/mm) on a regular LPS grid, from a rotational run (T views) and where its isocentre is (LPS mm).

    Places that nearly all views show contrast at are filled with Gaussians, whose attenuations, never negative, are
    solved for. Beyond them the volume is zero.
    Raises InputError where the run is not rotational or shows no contrast.
    """
    chosen = settings or HullSettings()
    isocentre = np.asarray(isocentre_lps_mm, float)
    if len(run.carm.primary_deg) < chosen.least_views:
        raise InputError(
            f"{run.name}: {len(run.carm.primary_deg)} view(s) are too few for a volume; give a rotational run "
            "(PositionerPrimaryAngleIncrement (0018,1520)) or an angiography volume."
        )
    films = _films(run, isocentre, chosen)
    box = _seen_box(films.cameras, isocentre, chosen.grown)
    spacing = chosen.spacing_mm
    points, low = _candidates(films, box, spacing, chosen)
    while len(points) > chosen.largest_count:
        spacing *= 1.02 * (len(points) / chosen.largest_count) ** (1 / 3)
        points, low = _candidates(films, box, spacing, chosen)
    if not len(points):
        raise InputError(
            f"{run.name}: no place shows contrast in all views; check the angles, and that the mask run "
            "(role in study.toml) is the one without contrast."
        )
    upward = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    cloud = lattice_cloud(points, np.ones(len(points)), upward, spacing, 1.0, chosen.sigma_per_spacing, 1.0).cloud
    solved = replace(cloud, occupancy=_attenuation(cloud, films, chosen) * _well_seen(points, films.cameras, chosen))
    margin = 4 * spacing
    first = points.min(0) - margin
    shape = np.ceil((points.max(0) + margin - first) / spacing).astype(int) + 1
    values = density_on_grid(solved, first, spacing, (int(shape[0]), int(shape[1]), int(shape[2])))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = first
    return Volume(values.astype(np.float32), affine, run.name)


def _attenuation(cloud: GaussianCloud, films: _Films, settings: HullSettings) -> Array:
    """(N,) plateau attenuation of each Gaussian, 1/mm."""
    pixels = np.flatnonzero(films.usable & _reached(cloud, films.cameras))
    matrix = projection_matrix(cloud, films.cameras, cut=3.0, pixels=pixels, dtype=np.float32)
    matrix = matrix.multiply(cloud.attenuation[None].astype(np.float32)).tocsr()
    target, weight = films.images.ravel()[pixels], 1 / films.variance.ravel()[pixels]
    typical = matrix.T @ (weight * (matrix @ np.ones(len(cloud), np.float32)))
    damping = np.full(len(cloud), settings.damping * float(typical.mean()), np.float32)
    start = np.full(len(cloud), float(target.mean() / max(float(matrix.sum(1).mean()), 1e-12)), np.float32)
    found = solve_nonnegative(
        [Term(matrix, target, weight)], start,
        prior=np.zeros_like(start), prior_weight=damping, iterations=settings.iterations,
    )  # fmt: skip
    return np.asarray(found, float)


def _well_seen(points: Array, cameras: Cameras, settings: HullSettings) -> NDArray[np.bool_]:
    """(M,) points that enough views see."""
    at = np.nan_to_num(cameras.pixels(points), nan=-1e6)
    inside = ((at >= 0) & (at <= [cameras.rows - 1, cameras.columns - 1])).all(-1)
    return np.asarray(inside.mean(axis=0) >= settings.most_seen_part)


def _reached(cloud: GaussianCloud, cameras: Cameras) -> NDArray[np.bool_]:
    """(V, rows, columns) pixels on or just beside a candidate, but not where rays meet what other views never saw."""
    near = np.zeros((len(cameras), cameras.rows, cameras.columns), bool)
    for v in range(len(cameras)):
        at = np.nan_to_num(cameras[v].pixels(cloud.mean)[0], nan=-1e6).round().astype(np.int64)
        inside = ((at >= 0) & (at < [cameras.rows, cameras.columns])).all(1)
        near[v, at[inside, 0], at[inside, 1]] = True
        near[v] = ndimage.binary_dilation(near[v], iterations=3)
    return near

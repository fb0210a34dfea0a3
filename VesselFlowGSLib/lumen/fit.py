"""The vessel as Gaussians: a lattice that fills the lumen, and its occupancies fitted to images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.spatial import cKDTree
from scipy.special import ndtr

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.acquisition.study import Run
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.nonnegative import Term, solve_nonnegative
from VesselFlowGSLib.lumen.centreline import Opening
from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FitSettings:
    """How the vessel is filled with Gaussians and how they follow the images.

    spacings_per_radius    Gaussians across the smallest radius
    smallest_spacing_mm, largest_spacing_mm, largest_count   bounds on the lattice
    sigma_per_spacing      0.55 keeps a full lattice flat within 2 %
    elongation             sigma along the vessel over sigma across it
    shell_spacings         candidates reach this far out of the wall
    least_occupancy        Gaussians with less are left out of a start
    wall_sd, inner_sd      how far an occupancy may leave the start's, one standard deviation: near the wall, where the
                           start may be wrong, and deep inside, where blood and contrast mix to the same everywhere
    wall_spacings          what is so near the start's half level is near the wall
    model_error            part of a line integral that the model is not trusted with
    robust_sd              residuals beyond so many standard deviations lose weight with their square
    rounds, iterations     of gains and robust weights; of occupancies in each
    opacity_window_s       span that the peak opacity is averaged over
    opacity_blur_px        neighbourhood that says when a pixel is most opaque
    margin_mm              pixels so far beside the vessel (at the vessel) are compared too
    beyond_radii           past an opening, images are not compared within so many radii
    """

    spacings_per_radius: float = 4.0
    smallest_spacing_mm: float = 0.3
    largest_spacing_mm: float = 0.8
    largest_count: int = 20_000
    sigma_per_spacing: float = 0.55
    elongation: float = 1.5
    shell_spacings: float = 1.5
    least_occupancy: float = 1e-3
    wall_sd: float = 0.3
    inner_sd: float = 0.03
    wall_spacings: float = 1.8
    model_error: float = 0.03
    robust_sd: float = 3.0
    rounds: int = 4
    iterations: int = 100
    opacity_window_s: float = 0.25
    opacity_blur_px: float = 1.5
    margin_mm: float = 1.5
    beyond_radii: float = 2.5


@dataclass(frozen=True)
class LatticeCloud:
    """A lattice of Gaussians; its density is the attenuation in the lumen, blurred.

    spacing_mm     of the cubic lattice
    blur_mm        standard deviation of that blur across and along the vessel
    """

    cloud: GaussianCloud
    spacing_mm: float
    blur_mm: tuple[float, float]


def _depth_inside(lumen: Lumen, points: Array) -> Array:
    """(M,) mm to the wall or to the plane of an opening, positive inside."""
    depth = np.array(lumen.wall(points))
    for opening in lumen.openings:
        offset = points - opening.centre
        along = offset @ opening.normal
        across = np.linalg.norm(offset - along[:, None] * opening.normal, axis=1)
        # Not deeper upstream than a radius: there, another branch may lie before the plane.
        near = (across < 2.5 * opening.radius_mm) & (along > -opening.radius_mm)
        depth[near] = np.minimum(depth[near], -along[near])
    return depth


def lattice(low: Array, high: Array, spacing: float) -> Array:
    """(M, 3) points of a cubic lattice that fills a box, corners in LPS mm."""
    axes = [np.arange(a, b + spacing, spacing) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _towards(direction: Array) -> Array:
    """(N, 3) unit vectors to the (N, 4) quaternions w, x, y, z that turn the third axis onto them."""
    quaternion = np.stack([1 + direction[:, 2], -direction[:, 1], direction[:, 0], 0 * direction[:, 0]], -1)
    quaternion[direction[:, 2] < -1 + 1e-9] = [0.0, 1.0, 0.0, 0.0]
    return np.asarray(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))


def lattice_cloud(
    points: Array,
    occupancy: Array,
    tangent: Array,
    spacing_mm: float,
    attenuation_per_mm: float,
    sigma_per_spacing: float,
    elongation: float,
) -> LatticeCloud:
    """Gaussians on points of a cubic lattice, elongated along (N, 3) tangents; full occupancy gives the attenuation."""
    across = sigma_per_spacing * spacing_mm
    sigma = np.tile([across, across, across * elongation], (len(points), 1))
    peak = attenuation_per_mm * spacing_mm**3 / ((2 * np.pi) ** 1.5 * across**3 * elongation)
    cloud = GaussianCloud(
        points, sigma, _towards(tangent), np.full(len(points), peak), occupancy, np.full(len(points), np.nan)
    )
    # A Gaussian stands for the mean over its cell, whose own variance adds.
    cell = spacing_mm**2 / 12
    return LatticeCloud(
        cloud, spacing_mm, (float(np.sqrt(across**2 + cell)), float(np.sqrt((across * elongation) ** 2 + cell)))
    )


def start_cloud(
    lumen: Lumen, attenuation_per_mm: float, settings: FitSettings | None = None, *, shell: bool = False
) -> LatticeCloud:
    """Gaussians that fill a lumen between its openings with a constant attenuation (1/mm).

    Occupancy is the part of a Gaussian's lattice cell inside the wall. With `shell`, candidates of no occupancy around
    the wall are kept, so that a refinement may also let the vessel grow.
    """
    chosen = settings or FitSettings()
    radius = np.concatenate([b.radius_mm for b in lumen.tree.branches])
    curve = np.concatenate([b.points for b in lumen.tree.branches])
    tangent = np.concatenate([b.tangent for b in lumen.tree.branches])
    finest = float(np.percentile(radius, 5)) / chosen.spacings_per_radius
    spacing = float(np.clip(finest, chosen.smallest_spacing_mm, chosen.largest_spacing_mm))
    low, high = curve.min(0) - 1.5 * radius.max(), curve.max(0) + 1.5 * radius.max()
    grid_low = np.maximum(low, lumen.wall.origin)
    grid_high = np.minimum(high, lumen.wall.origin + lumen.wall.spacing_mm * (np.array(lumen.wall.values.shape) - 1))
    while True:
        points = lattice(grid_low, grid_high, spacing)
        reach = chosen.shell_spacings * spacing if shell else 0.5 * np.sqrt(3) * spacing
        points = points[np.asarray(lumen.wall(points)) > -reach]
        depth = _depth_inside(lumen, points)
        # The part of a cell on one side of a plane, as a Gaussian of the cell's variance gives it.
        # On a round wall it is a little less, or the vessel would gain the area of half that variance.
        curved = spacing**2 / 24 / radius[cKDTree(curve).query(points)[1]]
        occupancy = ndtr((depth - curved) * np.sqrt(12) / spacing)
        occupancy[occupancy < chosen.least_occupancy] = 0
        # The vessel runs on past an opening: there, nothing is a candidate.
        keep = occupancy > 0
        if shell:
            keep |= ~lumen.beyond_openings(points)
        if keep.sum() <= chosen.largest_count:
            break
        spacing *= 1.02 * float(keep.sum() / chosen.largest_count) ** (1 / 3)
    _, nearest = cKDTree(curve).query(points[keep])
    return lattice_cloud(
        points[keep], occupancy[keep], tangent[nearest], spacing, attenuation_per_mm,
        chosen.sigma_per_spacing, chosen.elongation,
    )  # fmt: skip


@dataclass(frozen=True)
class ImageTerm:
    """One image, or several of one gain, to compare the cloud with.

    matrix          (P, N) projection matrix of the cloud's Gaussians on the compared pixels
    line_integrals  (P,)
    noise           (P,) one standard deviation
    gain            contrast of this run relative to the cloud's attenuation; None where it is to be found
    """

    matrix: sparse.csr_matrix
    line_integrals: Array
    noise: Array
    gain: float | None = None


@dataclass(frozen=True)
class Refinement:
    """A cloud that follows the images.

    gains                    (K,) of each image
    rms_before, rms_after    (K,) residual line integrals, gains fitted in both
    change_sd                root mean square change of the occupancies, in units of the prior's standard deviation
    """

    cloud: GaussianCloud
    gains: Array
    rms_before: Array
    rms_after: Array
    change_sd: float


def _gain(image: ImageTerm, model: Array, weight: Array) -> float:
    if image.gain is not None:
        return image.gain
    energy = float((weight * model * model).sum())
    return float((weight * model * image.line_integrals).sum()) / energy if energy > 0 else 1.0


def _occupancy_sd(cloud: GaussianCloud, settings: FitSettings) -> Array:
    """(N,) standard deviation of each occupancy about the start's: wide near the wall, narrow deep inside."""
    trust = np.full(len(cloud), settings.wall_sd)
    inside = cloud.occupancy > 0.5
    if inside.all() or not inside.any() or len(cloud) < 2:
        return trust
    spacing = float(np.median(cKDTree(cloud.mean).query(cloud.mean, k=2)[0][:, 1]))
    depth, _ = cKDTree(cloud.mean[~inside]).query(cloud.mean[inside])
    trust[np.flatnonzero(inside)[depth > settings.wall_spacings * spacing]] = settings.inner_sd
    return trust


def _first_gain(image: ImageTerm, model: Array) -> float:
    """The median over the vessel's core, which other vessels across it do not move."""
    core = model > 0.5 * model.max(initial=0)
    if image.gain is not None or not core.any():
        return image.gain or 1.0
    return max(float(np.median(image.line_integrals[core] / model[core])), 1e-6)


def refine_occupancy(
    cloud: GaussianCloud, images: Sequence[ImageTerm], settings: FitSettings | None = None
) -> Refinement:
    """Occupancies, never negative, that make the cloud's projections match the images, close to those given.

    Convex in the occupancies; free gains are eliminated (variable projection), and large residuals (vessels that the
    cloud does not know) lose weight from round to round. The cloud is blurred: blur the images alike (`blurred_film`),
    else the wall moves inwards.
    """
    chosen = settings or FitSettings()
    occupancy = np.array(cloud.occupancy)
    trust = _occupancy_sd(cloud, chosen)
    prior_weight = trust**-2
    variances = [i.noise**2 + (chosen.model_error * i.line_integrals) ** 2 for i in images]
    weights = [1 / np.maximum(v, 1e-12) for v in variances]
    scaled = [sparse.csr_matrix(i.matrix @ sparse.diags(cloud.attenuation.astype(i.matrix.dtype))) for i in images]

    models = [np.asarray(m @ occupancy, float) for m in scaled]
    gains = np.array([_first_gain(i, m) for i, m in zip(images, models, strict=True)])
    residuals = [g * m - i.line_integrals for g, m, i in zip(gains, models, images, strict=True)]
    before = np.array([np.sqrt(np.mean(r**2)) for r in residuals])
    for _ in range(chosen.rounds):
        robust = [
            w * np.minimum(1, chosen.robust_sd**2 / np.maximum(r * r * w, 1e-12))
            for r, w in zip(residuals, weights, strict=True)
        ]
        # A gain scales its rows; moved to the other side, the matrices need no copies.
        terms = [
            Term(m, i.line_integrals / g, w * g * g, i.gain is None)
            for m, i, w, g in zip(scaled, images, robust, gains, strict=True)
            if g > 0
        ]
        occupancy = np.asarray(
            solve_nonnegative(
                terms, occupancy, prior=cloud.occupancy, prior_weight=prior_weight, iterations=chosen.iterations
            ),
            float,
        )
        models = [np.asarray(m @ occupancy, float) for m in scaled]
        gains = np.array([_gain(i, m, w) for i, m, w in zip(images, models, robust, strict=True)])
        residuals = [g * m - i.line_integrals for g, m, i in zip(gains, models, images, strict=True)]
    after = np.array([np.sqrt(np.mean(r**2)) for r in residuals])
    change = float(np.sqrt(np.mean(((occupancy - cloud.occupancy) / trust) ** 2)))
    return Refinement(replace(cloud, occupancy=occupancy), gains, before, after, change)


def blurred_film(image: NDArray[np.floating], camera: Cameras, blur_mm: float, centre: Array) -> NDArray[np.floating]:
    """(rows, columns) line integrals as seen of a vessel blurred by so many mm around a point (LPS mm).

    The projection of a blurred vessel is the blurred projection of the vessel.
    """
    return np.asarray(ndimage.gaussian_filter(image, blur_mm / _pixel_mm(camera, centre), mode="nearest"))


def peak_opacity(run: Run, settings: FitSettings | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The vessel as if filled all at once: (rows, columns) line integrals at each pixel's most opaque moment; noise.

    The moment is read from the neighbouring pixels only, so that the pixel's own noise does not choose it: a plain
    maximum over time would be too high everywhere by several standard deviations.
    """
    chosen = settings or FitSettings()
    frames = run.line_integrals
    times = run.frame_times_s
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    window = max(1, min(len(frames), round(chosen.opacity_window_s / max(interval, 1e-6))))
    in_time = ndimage.uniform_filter1d(frames, window, axis=0, mode="nearest")
    blurred = ndimage.gaussian_filter(in_time, (0, chosen.opacity_blur_px, chosen.opacity_blur_px))
    impulse = np.zeros((15, 15))
    impulse[7, 7] = 1
    own = ndimage.gaussian_filter(impulse, chosen.opacity_blur_px)[7, 7]
    when = np.argmax(blurred - own * in_time, axis=0)
    opacity = np.take_along_axis(in_time, when[None], 0)[0]
    return opacity.astype(np.float32), (run.noise / np.sqrt(window)).astype(np.float32)


def compared_pixels(
    cloud: GaussianCloud, cameras: Cameras, openings: Sequence[Opening] = (), settings: FitSettings | None = None
) -> NDArray[np.int_]:
    """Ascending flat pixels (view, row, column) on and beside the cloud, but not where the vessel runs on beyond it.

    Past its openings the vessel goes on in the images though not in the cloud.
    """
    chosen = settings or FitSettings()
    near = np.zeros((len(cameras), cameras.rows, cameras.columns), bool)
    mass = cloud.mean[cloud.occupancy > 0.1]
    for v in range(len(cameras)):
        camera = cameras[v]
        at = np.round(np.nan_to_num(camera.pixels(mass)[0], nan=-1e6)).astype(int)
        seen = ((at >= 0) & (at < [cameras.rows, cameras.columns])).all(1)
        near[v, at[seen, 0], at[seen, 1]] = True
        pixel = _pixel_mm(camera, mass.mean(0)) if len(mass) else 1.0
        lattice = float(np.median(cloud.sigma[:, 0])) * 2 if len(cloud) else 0.0
        reach = max(1, round((chosen.margin_mm + lattice) / pixel))
        near[v] = ndimage.distance_transform_edt(~near[v]) <= reach if near[v].any() else False
        for opening in openings:
            steps = np.linspace(0, chosen.beyond_radii, 6)[:, None] * opening.radius_mm
            discs = camera.pixels(opening.centre + steps * opening.normal)[0]
            radius = 1.5 * opening.radius_mm / pixel
            r, c = np.ogrid[: cameras.rows, : cameras.columns]
            for disc in discs[np.isfinite(discs).all(1)]:
                near[v] &= (r - disc[0]) ** 2 + (c - disc[1]) ** 2 > radius**2
    return np.flatnonzero(near)


def _pixel_mm(camera: Cameras, point: Array) -> float:
    """Side of a pixel seen back at a point, mm."""
    step = float(np.sqrt(np.linalg.norm(camera.column_step[0]) * np.linalg.norm(camera.row_step[0])))
    depth = float((point - camera.source[0]) @ camera.normal[0])
    receptor = float((camera.origin[0] - camera.source[0]) @ camera.normal[0])
    return step * depth / receptor

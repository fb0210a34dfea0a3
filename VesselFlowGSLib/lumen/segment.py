"""From an angiography volume to the vessel of interest: occupancy on a regular grid, and the blur of its edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, optimize, special
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric
from skimage.measure import marching_cubes

from VesselFlowGSLib.acquisition.study import Volume
from VesselFlowGSLib.errors import InputError

Array = NDArray[np.float64]
Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]
Point = Sequence[float]

_SD_PER_MAD = 1.4826
_LIGHT = 0.5  # blur in voxels, against noise, of the image in which the half-level surface is read
_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class SegmentSettings:
    """How a vessel is told from what surrounds it.

    smoothing_voxels     blur before detection, in units of the smallest voxel edge
    detection_sd         a vessel stands out by this many standard deviations of the smoothed background
    contrast_to_noise    and by this many of a single voxel's noise
    largest_radius_mm    wider bright things are background
    levels               fractions of the contrast at which the vessel is sought, tried until it connects all seeds
    bridge_level         fraction of the contrast down to which a vessel goes on without seeds (a narrowing)
    seed_reach_mm        how far from the vessel a click may be
    tube_length_radii    the shortest medial line of a tube, in units of its largest radius
    line_spread          variance of a tube's medial points across their line, relative to that along it, at most
    pieces_tried         connected pieces looked at, the largest first
    margin_mm            kept around the way between the seeds
    variation_mm         length over which plateau and background may change
    shell_mm             where the background is read: distance from anything bright, from and to
    blur_samples         voxels at the edge that the blur is fitted to
    max_voxels           the grid's limit; a larger one is made coarser
    """

    smoothing_voxels: float = 1.0
    detection_sd: float = 6.0
    contrast_to_noise: float = 4.0
    largest_radius_mm: float = 8.0
    levels: tuple[float, ...] = (0.5, 0.4, 0.3, 0.2)
    bridge_level: float = 0.35
    seed_reach_mm: float = 3.0
    tube_length_radii: float = 3.0
    line_spread: float = 0.35
    pieces_tried: int = 12
    margin_mm: float = 10.0
    variation_mm: float = 5.0
    shell_mm: tuple[float, float] = (1.0, 4.0)
    blur_samples: int = 5000
    max_voxels: int = 30_000_000
    seed: int = 0


@dataclass(frozen=True)
class Occupancy:
    """How much of each voxel the vessel fills, blurred as the image is.

    values      (I, J, K) float32: about 1 in the lumen's plateau, 0 in the background; noisy, not clipped;
                0 where another vessel is nearer
    origin      (3,) LPS mm of the voxel (0, 0, 0); the grid's axes are those of LPS
    spacing_mm  edge of the cubic voxels
    sigma_mm    standard deviation of the Gaussian blur of its edge (point-spread function)
    noise       standard deviation of a value
    piece       (I, J, K) bool: the connected vessel, roughly
    covered     (I, J, K) bool: where the volume (and the region) has data
    """

    values: Grid
    origin: Array
    spacing_mm: float
    sigma_mm: float
    noise: float
    piece: Mask
    covered: Mask

    def lps(self, index: ArrayLike) -> Array:
        """(..., 3) voxel indices to LPS mm."""
        return np.asarray(self.origin + np.asarray(index, float) * self.spacing_mm)

    def index(self, points: ArrayLike) -> Array:
        """(..., 3) LPS mm to fractional voxel indices."""
        return np.asarray((np.asarray(points, float) - self.origin) / self.spacing_mm)


def blurred_disc(r: ArrayLike, radius: ArrayLike, sigma: float) -> Array:
    """Value at distance r from the centre of a disc of ones after Gaussian blur.

    It is the chance that a Gaussian step from there ends in the disc: the cumulative non-central chi-squared
    distribution of two degrees of freedom (Rice). A straight round tube has the same profile.
    """
    return np.asarray(special.chndtr((np.asarray(radius) / sigma) ** 2, 2, (np.asarray(r) / sigma) ** 2))


def wall_value(radius_over_sigma: ArrayLike) -> Array:
    """Value of a blurred disc on its true rim: (1 - exp(-a) I0(a)) / 2 with a = (R/sigma)^2.

    Marcum's Q function of equal arguments; 1/2 for a flat wall.
    """
    return np.asarray((1 - special.i0e(np.asarray(radius_over_sigma, float) ** 2)) / 2)


def axis_value(radius_over_sigma: ArrayLike) -> Array:
    """Value of a blurred disc at its centre: 1 - exp(-R^2 / (2 sigma^2))."""
    return np.asarray(-np.expm1(-(np.asarray(radius_over_sigma, float) ** 2) / 2))


@lru_cache(maxsize=8)
def _level_table(level: float) -> tuple[Array, Array]:
    """Where a blurred disc passes a level: (r/sigma, R/sigma), both increasing."""
    least = float(np.sqrt(-2 * np.log1p(-level))) + 1e-3
    true = least + np.concatenate([np.linspace(0, 3, 60) ** 2 / 3, np.linspace(3.2, 30, 40)])
    low, high = np.zeros(len(true)), true + 3
    for _ in range(30):
        middle = (low + high) / 2
        above = blurred_disc(middle, true, 1.0) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return low, true


def radius_from_contour(level_radius: ArrayLike, sigma: float, level: float = 0.5) -> Array:
    """True radius of a blurred tube whose contour at half (or another level) of its contrast has level_radius."""
    contour, true = _level_table(level)
    q = np.asarray(level_radius, float) / sigma
    return np.asarray(sigma * np.where(q > contour[-1], q + (true[-1] - contour[-1]), np.interp(q, contour, true)))


def vessel_occupancy(
    volume: Volume,
    *,
    region_lps_mm: tuple[Point, Point] | None = None,
    seeds_lps_mm: Sequence[Point] = (),
    seed_names: Sequence[str] = (),
    settings: SegmentSettings | None = None,
) -> Occupancy:
    """The vessel that holds the seeds, or the largest tube, as occupancy on a cubic grid along the LPS axes.

    region_lps_mm  two opposite corners
    seeds_lps_mm   inlet and outlets as clicked; seed_names says in messages where they come from
    Raises InputError: NaN, a region outside the volume, no vessel, a seed that is not on a vessel or not connected.
    """
    settings = settings or SegmentSettings()
    names = tuple(seed_names) or tuple(
        "geometry.inlet_lps_mm" if i == 0 else f"geometry.outlets_lps_mm[{i}]" for i in range(len(seeds_lps_mm))
    )
    seeds = np.asarray(seeds_lps_mm, float).reshape(-1, 3)
    _refuse_unusable(volume)
    cropped, covered = _crop(volume, region_lps_mm)
    _refuse_seeds_outside(cropped, covered, seeds, names)
    bright = _brightness(cropped, covered, settings)
    piece, others, contrast = _vessel(cropped, bright, seeds, names, settings)
    return _occupancy(cropped, covered, piece, others, bright, contrast, seeds, settings)


# ---- the part of the volume to look at


def _label(volume: Volume) -> str:
    return volume.name or "the volume"


def _point(p: ArrayLike) -> str:
    return "[" + ", ".join(f"{v:.1f}" for v in np.asarray(p, float)) + "]"


def _refuse_unusable(volume: Volume) -> None:
    if volume.values.ndim != 3 or min(volume.values.shape) < 8:
        size = " × ".join(map(str, volume.values.shape))
        raise InputError(f"{_label(volume)} has {size} voxels: a 3D volume of at least 8 × 8 × 8 is needed.")
    bad = volume.values.size - int(np.isfinite(volume.values).sum())
    if bad:
        raise InputError(
            f"{_label(volume)}: {bad} voxels are NaN or infinite. Export it anew, or replace them by the background."
        )


def _crop(volume: Volume, region: tuple[Point, Point] | None) -> tuple[Volume, Mask]:
    """The box of voxels that holds the region, and which of them lie in it."""
    shape = np.array(volume.values.shape)
    if region is None:
        return volume, np.ones(volume.values.shape, bool)
    corners = np.sort(np.asarray(region, float), axis=0)
    box = np.array(np.meshgrid(*corners.T, indexing="ij")).reshape(3, -1).T
    index = volume.index(box)
    first = np.maximum(np.floor(index.min(0)).astype(int), 0)
    last = np.minimum(np.ceil(index.max(0)).astype(int), shape - 1)
    extent = volume.lps(np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T)
    whole = f"The volume spans {_point(extent.min(0))} to {_point(extent.max(0))} (LPS mm)."
    if np.any(last < first):
        raise InputError(f"geometry.region_lps_mm in study.toml lies outside {_label(volume)}. {whole}")
    if np.any(last - first < 7):
        raise InputError(f"geometry.region_lps_mm in study.toml holds fewer than 8 voxels of {_label(volume)}. {whole}")
    part = volume.values[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    affine = volume.affine.copy()
    affine[:3, 3] = volume.lps(first)
    cropped = Volume(np.ascontiguousarray(part, np.float32), affine, volume.name)
    covered = np.ones(part.shape, bool)
    for axis in range(3):
        i, j, k = np.ogrid[tuple(slice(n) for n in part.shape)]
        x = affine[axis, 0] * i + affine[axis, 1] * j + affine[axis, 2] * k + affine[axis, 3]
        slack = 0.51 * cropped.spacing_mm.max()
        covered &= (x >= corners[0, axis] - slack) & (x <= corners[1, axis] + slack)
    return cropped, covered


def _refuse_seeds_outside(volume: Volume, covered: Mask, seeds: Array, names: Sequence[str]) -> None:
    shape = np.array(covered.shape)
    for seed, name in zip(seeds, names, strict=True):
        index = np.round(volume.index(seed)).astype(int)
        if np.any(index < 0) or np.any(index >= shape) or not covered[tuple(index)]:
            raise InputError(
                f"{name} = {_point(seed)} in study.toml lies outside {_label(volume)} or geometry.region_lps_mm. "
                "Give it in LPS mm of the volume's frame."
            )


# ---- what stands out


@dataclass(frozen=True)
class _Brightness:
    """smooth: lightly blurred values; above: over the local background; sd of its background; noise of a raw voxel."""

    smooth: Grid
    above: Grid
    sd: float
    noise: float


def _brightness(volume: Volume, covered: Mask, settings: SegmentSettings) -> _Brightness:
    spacing = volume.spacing_mm
    sigma = settings.smoothing_voxels * spacing.min() / spacing
    values = np.asarray(volume.values, np.float32)
    smooth = ndimage.gaussian_filter(values, sigma, mode="nearest")
    impulse = np.zeros((17, 17, 17))
    impulse[8, 8, 8] = 1
    kernel = ndimage.gaussian_filter(impulse, sigma)
    passed = float(np.sqrt((kernel**2).sum()))
    kept = float(np.sqrt(((impulse - kernel) ** 2).sum()))
    residual = (values - smooth)[covered]
    noise = _SD_PER_MAD * float(np.median(np.abs(residual))) / kept
    width = np.maximum(3, 2 * np.round(settings.largest_radius_mm / spacing).astype(int) + 1)
    opened = ndimage.maximum_filter(ndimage.minimum_filter(smooth, tuple(width)), tuple(width))
    above = smooth - opened
    inside = above[covered]
    base = float(np.median(inside))
    sd = max(_SD_PER_MAD * float(np.median(np.abs(inside - base))), passed * noise)
    above -= np.float32(base)
    # Background cut off at a constant (bone removed, skull stripped) has no noise to measure.
    floor = 2e-3 * float(np.ptp(volume.values))
    return _Brightness(smooth, np.where(covered, above, np.float32(-np.inf)), max(sd, floor), noise)


def _vessel(
    volume: Volume, bright: _Brightness, seeds: Array, names: Sequence[str], settings: SegmentSettings
) -> tuple[Mask, Mask, float]:
    """The vessel, other bright voxels, and its contrast."""
    if len(seeds):
        return _vessel_at_seeds(volume, bright, seeds, names, settings)
    candidates = bright.above > settings.detection_sd * bright.sd
    if not candidates.any():
        raise _no_vessel(volume, settings)
    contrast = _ridge_level(bright.above, candidates, volume.spacing_mm)
    piece = candidates
    for _ in range(3):
        level = max(settings.levels[0] * contrast, settings.detection_sd * bright.sd)
        found = _longest_tube(bright.above > level, volume, settings)
        if found is None or contrast < settings.contrast_to_noise * bright.noise:
            raise _no_vessel(volume, settings)
        piece = found
        contrast = _ridge_level(bright.above, piece, volume.spacing_mm)
    level = max(settings.bridge_level * contrast, settings.detection_sd * bright.sd)
    mask = bright.above > level
    labels, _ = ndimage.label(mask, _EVERY_NEIGHBOUR)
    piece = labels == labels[piece].max()
    return piece, mask & ~piece, contrast


def _no_vessel(volume: Volume, settings: SegmentSettings) -> InputError:
    return InputError(
        f"{_label(volume)} shows no vessel: nothing tubular stands out from the background by "
        f"{settings.detection_sd:g} standard deviations. Give a contrast-filled angiography, or "
        "geometry.region_lps_mm and geometry.inlet_lps_mm in study.toml."
    )


def _ridge_level(above: Grid, mask: Mask, spacing: Array) -> float:
    """Contrast on the medial lines of the wider vessels of a mask."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    ridge = mask & (depth >= ndimage.maximum_filter(depth, 3))
    level, weight = above[ridge], depth[ridge] ** 2
    order = np.argsort(level)
    total = np.cumsum(weight[order])
    return float(level[order][np.searchsorted(total, 0.6 * total[-1])])


def _longest_tube(mask: Mask, volume: Volume, settings: SegmentSettings) -> Mask | None:
    """The connected piece with the most wall among those that are long and, nearly everywhere, tubes."""
    labels, count = ndimage.label(mask, _EVERY_NEIGHBOUR)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    boxes = ndimage.find_objects(labels)
    best, most = None, 0.0
    for i in np.argsort(sizes)[::-1][: settings.pieces_tried]:
        part = np.pad(labels[boxes[i]] == i + 1, 1)
        depth = ndimage.distance_transform_edt(part, sampling=volume.spacing_mm)
        medial = part & (depth >= ndimage.maximum_filter(depth, 3)) & (depth > 0.7 * ndimage.maximum_filter(depth, 5))
        radius = depth[medial]
        if not _is_tube(np.argwhere(medial) * volume.spacing_mm, radius, settings):
            continue
        wall = sizes[i] / float(np.median(radius))
        if wall > most:
            best, most = i + 1, wall
    return None if best is None else labels == best


def _is_tube(medial: Array, radius: Array, settings: SegmentSettings) -> bool:
    """Long, and its medial points lie along lines: those of a ball are a point, those of a plate a plane."""
    if len(medial) < 5:
        return False
    centred = medial - medial.mean(0)
    length = np.ptp(centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1])
    if length < settings.tube_length_radii * radius.max():
        return False
    tree = cKDTree(medial)
    generator = np.random.default_rng(settings.seed)
    some = generator.permutation(len(medial))[:300]
    lines = 0
    for i in some:
        near = medial[tree.query_ball_point(medial[i], 4 * radius[i])]
        spread = np.linalg.eigvalsh(np.cov(near.T)) if len(near) > 3 else np.zeros(3)
        lines += bool(spread[1] < settings.line_spread * spread[2])
    return lines > 0.5 * len(some)


def _vessel_at_seeds(
    volume: Volume, bright: _Brightness, seeds: Array, names: Sequence[str], settings: SegmentSettings
) -> tuple[Mask, Mask, float]:
    seen = settings.detection_sd * bright.sd
    contrasts = []
    for seed, name in zip(seeds, names, strict=True):
        level = _near(bright.above, volume, seed, 0.67 * settings.seed_reach_mm).max()
        if level < max(seen, settings.contrast_to_noise * bright.noise):
            raise _off_vessel(volume, bright.above > 2 * seen, seed, name)
        contrasts.append(level)
    contrast = float(np.median(contrasts))
    labels: NDArray[np.int32] = np.zeros(bright.above.shape, np.int32)
    held: list[int] = []
    for fraction in settings.levels:
        level = max(fraction * contrast, seen)
        mask = bright.above > level
        labels, _ = ndimage.label(mask, _EVERY_NEIGHBOUR)
        held = []
        for seed, name in zip(seeds, names, strict=True):
            at = _nearest_label(labels, volume, seed, settings.seed_reach_mm)
            if at == 0 and fraction == settings.levels[-1]:
                raise _off_vessel(volume, mask, seed, name)
            held.append(at)
        if len(set(held)) == 1 and held[0]:
            piece = labels == held[0]
            return piece, mask & ~piece, contrast
    apart = next(i for i, at in enumerate(held) if at != held[0])
    raise InputError(
        f"{names[0]} and {names[apart]} in study.toml are not on one vessel of {_label(volume)}: no bright way joins "
        "them. Move one of the points, or enlarge geometry.region_lps_mm."
    )


def _ball(volume: Volume, shape: tuple[int, ...], seed: Array, reach: float) -> tuple[tuple[slice, ...], Array]:
    """Box of voxels around a point, and their distance from it (mm)."""
    index = volume.index(seed)
    half = np.ceil(reach / volume.spacing_mm).astype(int) + 1
    first = np.maximum(np.floor(index).astype(int) - half, 0)
    last = np.minimum(np.ceil(index).astype(int) + half, np.array(shape) - 1)
    box = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
    grid = np.stack(np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(first, last, strict=True)], indexing="ij"), -1)
    return box, np.linalg.norm(volume.lps(grid) - seed, axis=-1)


def _near(values: Grid, volume: Volume, seed: Array, reach: float) -> Grid:
    box, distance = _ball(volume, values.shape, seed, reach)
    near = distance <= max(reach, float(distance.min()))
    return values[box][near]


def _nearest_label(labels: NDArray[np.int32], volume: Volume, seed: Array, reach: float) -> int:
    box, distance = _ball(volume, labels.shape, seed, reach)
    distance = np.where(labels[box] > 0, distance, np.inf)
    at = np.unravel_index(int(np.argmin(distance)), distance.shape)
    return int(labels[box][at]) if distance[at] <= reach else 0


def _off_vessel(volume: Volume, mask: Mask, seed: Array, name: str) -> InputError:
    where = "no vessel was found anywhere"
    points = volume.lps(np.argwhere(mask)) if mask.any() else np.zeros((0, 3))
    if len(points):
        distance = np.linalg.norm(points - seed, axis=1)
        nearest = int(np.argmin(distance))
        where = f"the nearest vessel is {distance[nearest]:.1f} mm away, at {_point(points[nearest])}"
    return InputError(
        f"{name} = {_point(seed)} in study.toml is not on a vessel of {_label(volume)}: {where}. "
        "Click on the vessel's middle, in LPS mm."
    )


# ---- occupancy


def _occupancy(
    volume: Volume,
    covered: Mask,
    piece: Mask,
    others: Mask,
    bright: _Brightness,
    contrast: float,
    seeds: Array,
    settings: SegmentSettings,
) -> Occupancy:
    kept = _between_seeds(volume, piece, bright, seeds, settings) if len(seeds) > 1 else piece
    margin = np.ceil(settings.margin_mm / volume.spacing_mm).astype(int)
    index = np.argwhere(kept)
    first = np.maximum(index.min(0) - margin, 0)
    last = np.minimum(index.max(0) + margin, np.array(piece.shape) - 1)
    box = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] = volume.lps(first)
    part = Volume(np.asarray(volume.values[box], np.float32), affine, volume.name)
    to_grid = _CubicGrid.around(part, settings.max_voxels)
    values = to_grid.spline(part.values)
    inside = to_grid.nearest(covered[box]) & to_grid.within(part)
    vessel = to_grid.nearest(piece[box])
    other = to_grid.nearest(others[box])
    return _normalised(values, inside, vessel, other, to_grid, contrast, bright.noise, settings)


def _between_seeds(volume: Volume, piece: Mask, bright: _Brightness, seeds: Array, settings: SegmentSettings) -> Mask:
    """Voxels of the ways that join the first seed with the others."""
    index = np.argwhere(piece)
    tree = cKDTree(volume.lps(index))
    ends = [tuple(index[i]) for i in np.atleast_1d(tree.query(seeds)[1])]
    cost = np.where(piece, 1 / np.maximum(bright.above, bright.sd) ** 2, -1.0)
    search = MCP_Geometric(cost, sampling=tuple(volume.spacing_mm))
    search.find_costs([ends[0]], ends[1:])
    ways = np.zeros(piece.shape, bool)
    for end in ends[1:]:
        ways[tuple(np.array(search.traceback(end)).T)] = True
    return ways


@dataclass(frozen=True)
class _CubicGrid:
    """A grid along the LPS axes, and how a volume's values come onto it."""

    origin: Array
    spacing_mm: float
    shape: tuple[int, int, int]
    affine_inverse: Array

    @staticmethod
    def around(part: Volume, max_voxels: int) -> _CubicGrid:
        n = np.array(part.values.shape)
        corners = part.lps(np.array(np.meshgrid(*[(0, k - 1) for k in n], indexing="ij")).reshape(3, -1).T)
        low, high = corners.min(0), corners.max(0)
        spacing = float(part.spacing_mm.min())
        needed = float(np.prod((high - low) / spacing + 1))
        spacing *= max(1.0, (needed / max_voxels) ** (1 / 3))
        shape = np.floor((high - low) / spacing + 1e-6).astype(int) + 1
        return _CubicGrid(
            low,
            spacing,
            (int(shape[0]), int(shape[1]), int(shape[2])),
            np.asarray(np.linalg.inv(part.affine), np.float64),
        )

    def _transform(self) -> tuple[Array, Array]:
        matrix = self.affine_inverse[:3, :3] * self.spacing_mm
        offset = self.affine_inverse[:3, :3] @ self.origin + self.affine_inverse[:3, 3]
        return np.round(matrix, 9), np.round(offset, 6)

    def spline(self, values: Grid) -> Grid:
        matrix, offset = self._transform()
        return np.asarray(
            ndimage.affine_transform(values, matrix, offset, self.shape, order=3, mode="nearest", output=np.float32)
        )

    def nearest(self, mask: Mask) -> Mask:
        matrix, offset = self._transform()
        return np.asarray(
            ndimage.affine_transform(mask.astype(np.uint8), matrix, offset, self.shape, order=0, mode="nearest") > 0
        )

    def within(self, part: Volume) -> Mask:
        matrix, offset = self._transform()
        ok = np.ones(self.shape, bool)
        axes = [np.arange(n).reshape([-1 if j == k else 1 for j in range(3)]) for k, n in enumerate(self.shape)]
        for k in range(3):
            index = sum(matrix[k, j] * axes[j] for j in range(3)) + offset[k]
            ok &= (index > -0.51) & (index < part.values.shape[k] - 0.49)
        return ok


def _normalised(
    values: Grid,
    covered: Mask,
    vessel: Mask,
    other: Mask,
    grid: _CubicGrid,
    contrast: float,
    noise: float,
    settings: SegmentSettings,
) -> Occupancy:
    """Plateau, background and blur depend on each other: a few rounds settle them."""
    h = grid.spacing_mm
    background = _background_map(values, covered, vessel | other, h, noise, settings)
    if other.any():
        nearer = ndimage.distance_transform_edt(~vessel) > ndimage.distance_transform_edt(~other)
    else:
        nearer = np.zeros(vessel.shape, bool)
    sigma = 0.8 * h
    plateau: Grid | float = contrast
    occupancy = (values - background) / np.float32(contrast)
    for _ in range(3):
        edge = _Edge.find(np.where(nearer, np.float32(0), occupancy), vessel, h, settings)
        if edge is None:
            break
        plateau = _plateau_map(values - background, edge, sigma, contrast, settings)
        occupancy = (values - background) / plateau
        sigma = _edge_blur(occupancy, edge, sigma)
    level = float(np.median(plateau[vessel])) if isinstance(plateau, np.ndarray) else float(plateau)
    sealed = np.where(nearer, np.minimum(occupancy, 0), occupancy).astype(np.float32)
    return Occupancy(sealed, grid.origin, h, sigma, noise / level, vessel, covered)


def _spread(samples: Array, weights: Array, at: NDArray[np.intp], like: Grid, reach: float, usual: float) -> Grid:
    """Samples at voxels become a smooth map by normalised convolution; far from any it is the usual value."""
    top, bottom = np.zeros(like.shape, np.float32), np.zeros(like.shape, np.float32)
    np.add.at(top, tuple(at.T), samples * weights)
    np.add.at(bottom, tuple(at.T), weights)
    top = ndimage.gaussian_filter(top, reach, mode="constant", truncate=3)
    bottom = ndimage.gaussian_filter(bottom, reach, mode="constant", truncate=3)
    little = 1e-3 * float(bottom.max()) + 1e-30
    return np.asarray((top + little * usual) / (bottom + little), np.float32)


def _background_map(
    values: Grid, covered: Mask, bright: Mask, h: float, noise: float, settings: SegmentSettings
) -> Grid:
    away = ndimage.distance_transform_edt(~bright) * h
    near, far = settings.shell_mm
    shell = covered & (away > max(near, 2.5 * h)) & (away < max(far, 6 * h))
    if not shell.any():
        return np.full(values.shape, np.percentile(values[covered], 10), np.float32)
    at = np.argwhere(shell)
    level = values[shell].astype(float)
    usual = float(np.median(level))
    spread = max(_SD_PER_MAD * float(np.median(np.abs(level - usual))), noise)
    keep = np.abs(level - usual) <= 4 * spread + 1e-9
    return _spread(level[keep], np.ones(keep.sum()), at[keep], values, settings.variation_mm / h, usual)


@dataclass(frozen=True)
class _Edge:
    """The half-level surface of the vessel, in mm of the grid.

    near        (n, 3) voxels close to the surface; distance (n,) to it, positive inside
    medial      (m, 3) positions deepest inside (mm); depth (m,) their distance to the surface
    radius      (n,) depth of the medial position nearest to each voxel
    """

    near: NDArray[np.intp]
    distance: Array
    radius: Array
    medial: Array
    depth: Array
    spacing_mm: float

    @staticmethod
    def find(occupancy: Grid, vessel: Mask, h: float, settings: SegmentSettings) -> _Edge | None:
        slight = ndimage.gaussian_filter(np.where(ndimage.binary_dilation(vessel, iterations=3), occupancy, 0), _LIGHT)
        if slight.max() < 0.6:
            return None
        corner, faces, _, _ = marching_cubes(slight, 0.5)  # type: ignore[no-untyped-call]
        corner, faces = corner.astype(float) * h, faces.astype(int)
        a, b, c = corner[faces[:, 0]], corner[faces[:, 1]], corner[faces[:, 2]]
        normal = np.cross(b - a, c - a)
        size = np.linalg.norm(normal, axis=1, keepdims=True)
        good = size[:, 0] > 1e-12
        centre, normal = ((a + b + c) / 3)[good], (normal / np.maximum(size, 1e-12))[good]
        surface = cKDTree(centre)
        inner = slight > 0.5
        depth = ndimage.distance_transform_edt(np.pad(inner, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
        ridge = np.argwhere(inner & (depth >= ndimage.maximum_filter(depth, 3)) & vessel)
        medial, reach = _deepest(np.asarray(ridge * h, np.float64), surface, h)
        rng = np.random.default_rng(settings.seed)
        band = ndimage.binary_dilation(inner, iterations=3) & (depth < 4) & ~_border(inner.shape, 3)
        near = np.argwhere(band & ndimage.binary_dilation(vessel, iterations=4))
        if len(near) > settings.blur_samples:
            near = near[np.sort(rng.choice(len(near), settings.blur_samples, replace=False))]
        if not len(near) or not len(medial):
            return None
        _, closest = surface.query(near * h)
        offset = near * h - centre[closest]
        across = (offset * normal[closest]).sum(1)
        inside = inner[tuple(near.T)]
        far = np.linalg.norm(offset, axis=1)
        distance = np.where(far < 1.5 * h, np.abs(across), far) * np.where(inside, 1, -1)
        axis_distance, owner = cKDTree(medial).query(near * h)
        radius = reach[owner]
        # Only voxels whose nearest medial point explains them belong to a tube of that radius.
        fits = np.abs(axis_distance - (radius - distance)) < 0.5 * radius + 0.5 * h
        return _Edge(near[fits], distance[fits], radius[fits], medial, reach, h)


def _border(shape: tuple[int, ...], width: int) -> Mask:
    inner = np.zeros(shape, bool)
    inner[tuple(slice(width, -width) for _ in shape)] = True
    return ~inner


def _deepest(points: Array, surface: cKDTree, h: float) -> tuple[Array, Array]:
    """Positions moved uphill in distance from the surface, and that distance."""
    x = points.astype(float)
    best, nearest = surface.query(x)
    for step in h * np.array([0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.05]):
        away = x - surface.data[nearest]
        trial = x + step * away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        depth, close = surface.query(trial)
        better = depth > best
        x[better], best[better], nearest[better] = trial[better], depth[better], close[better]
    return x, best


def _plateau_map(above: Grid, edge: _Edge, sigma: float, usual: float, settings: SegmentSettings) -> Grid:
    """Contrast of an unblurred vessel: what is read on the axis, divided by what blur leaves of it there."""
    h = edge.spacing_mm
    total = float(np.hypot(sigma, _LIGHT * h))
    smooth = ndimage.gaussian_filter(above, _LIGHT)
    read = ndimage.map_coordinates(smooth, (edge.medial / h).T, order=3, mode="nearest")
    ratio = radius_from_contour(edge.depth, total) / total
    left = axis_value(ratio)
    # A thin vessel's own plateau is uncertain: its wider neighbours count for more.
    weight = np.clip(ratio - 1.2, 0.01, 2.5) ** 3
    samples = read / left
    usual = float(np.median(samples[weight >= np.percentile(weight, 70)]))
    at = np.clip(np.round(edge.medial / h).astype(int), 0, np.array(above.shape) - 1)
    fair = (samples > 0.4 * usual) & (samples < 2.0 * usual)
    plateau = _spread(samples[fair], weight[fair], at[fair], above, settings.variation_mm / h, usual)
    return np.maximum(plateau, np.float32(0.25 * usual))


def _edge_blur(occupancy: Grid, edge: _Edge, start: float) -> float:
    """Standard deviation of the Gaussian that turns a tube of the local radius into the profile seen, least squares."""
    seen = occupancy[tuple(edge.near.T)].astype(float)
    r = np.maximum(edge.radius - edge.distance, 0)
    # A shallow tail may have been cut off at a constant (bone removed): the upper part of the edge decides.
    use = seen > 0.15
    r, half, seen = r[use], edge.radius[use], seen[use]
    if len(seen) < 50:
        return start

    def misfit(sigma: float) -> float:
        model = blurred_disc(r, radius_from_contour(half, float(np.hypot(sigma, _LIGHT * edge.spacing_mm))), sigma)
        return float(np.mean(np.minimum(np.abs(seen - model), 0.3) ** 2))

    low, high = 0.25 * edge.spacing_mm, 2.5 * edge.spacing_mm
    return float(optimize.minimize_scalar(misfit, bounds=(low, high), method="bounded", options={"xatol": 1e-3}).x)

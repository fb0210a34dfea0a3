"""The centreline of a vessel in an image: ways traced to its ends, centred and measured in its cross-sections.

The wall of a blurred tube does not lie at half of the contrast: there the image has the value wall_value(R / sigma),
which falls with the radius. The threshold therefore follows the local radius, to a fixed point.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import interp1d
from scipy.optimize import minimize
from scipy.signal import savgol_filter
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.segment import Occupancy, blurred_disc, radius_from_contour, wall_value

Array = NDArray[np.float64]
Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ExtractionSettings:
    """How wall and centreline are drawn. Lengths "in radii" are in units of the local radius.

    smoothing_voxels     blur of the occupancy against noise; counted into the edge's blur
    station_radii        spacing of centreline points
    smoothing_radii      window over which a centreline point is fitted by a parabola
    rays                 cast in each cross-section
    passes               of re-centring and threshold; damping of the threshold's step
    calibrations         of the edge's blur and the plateau on the cross-sections found
    calibration_sections at most about so many cross-sections are used for it
    spur_radii           a shorter side branch, from its parent's wall on, is none
    bulge_radii          a shorter blind side branch is a bulge of the wall (an aneurysm), not a vessel
    most_branches        traced at most
    resolvable_sigma     the smallest radius at which a vessel may end, in units of the edge's blur
    tip_share            a vessel ends where it is narrower than this share of its radius just before: its tip is round
    cut_radii            a branch that is left out is cut this far from the wall, in radii of its parent
    spike_radii          a protrusion narrower than this, in radii of the vessel, is the stump of a thin branch: cut
    stub_radii           the wall runs on so far past an opening
    grid_per_radius      grid points of the wall distance along the smallest radius
    coarsest_grid        as a fraction of the image's voxel, whatever the radius
    max_grid_points      bounds the grid; it is made coarser
    surface_smoothing_radii   wavelength below which roughness of the wall is noise (the tube does not shrink)
    edge_error_scale     error of the wall, in radii, at which confidence has fallen to one half
    """

    smoothing_voxels: float = 0.6
    station_radii: float = 0.35
    smoothing_radii: float = 2.4
    rays: int = 32
    passes: int = 6
    damping: float = 0.6
    calibrations: int = 2
    calibration_sections: int = 150
    spur_radii: float = 1.3
    bulge_radii: float = 3.0
    most_branches: int = 200
    resolvable_sigma: float = 1.0
    tip_share: float = 0.88
    cut_radii: float = 0.2
    spike_radii: float = 0.45
    stub_radii: float = 2.0
    grid_per_radius: float = 5.0
    coarsest_grid: float = 0.75
    max_grid_points: int = 6_000_000
    surface_smoothing_radii: float = 0.9
    edge_error_scale: float = 0.1


# ---- the image, as the lumen reads it


@dataclass(frozen=True)
class Image:
    """Smoothed occupancy as a cubic spline (coefficients), and the blur of its edge, smoothing included."""

    occupancy: Occupancy
    smooth: Grid
    coefficients: Grid
    sigma: float
    noise: float

    @staticmethod
    def of(occupancy: Occupancy, settings: ExtractionSettings) -> Image:
        g = settings.smoothing_voxels
        smooth = ndimage.gaussian_filter(occupancy.values, g, mode="nearest")
        sigma = float(np.hypot(occupancy.sigma_mm, g * occupancy.spacing_mm))
        passed = (1 / (2 * np.sqrt(np.pi) * g)) ** 1.5 if g > 0.4 else 1.0
        coefficients = ndimage.spline_filter(smooth, order=3, output=np.float32, mode="nearest")
        return Image(occupancy, smooth, coefficients, sigma, occupancy.noise * min(1.0, passed))

    def __call__(self, points: Array) -> Array:
        index = self.occupancy.index(points.reshape(-1, 3))
        value = ndimage.map_coordinates(self.coefficients, index.T, order=3, mode="nearest", prefilter=False)
        return np.asarray(value, float).reshape(points.shape[:-1])

    def covered(self, points: Array) -> Mask:
        """Inside the data, on the grid."""
        index = np.round(self.occupancy.index(points.reshape(-1, 3))).astype(int)
        shape = np.array(self.occupancy.covered.shape)
        inside = ((index >= 0) & (index < shape)).all(1)
        index = np.clip(index, 0, shape - 1)
        return np.asarray((inside & self.occupancy.covered[tuple(index.T)]).reshape(points.shape[:-1]))

    def level(self, radius: Array) -> Array:
        """Value at the wall of a tube of this radius."""
        return wall_value(radius / self.sigma)


# ---- a graph of curves


@dataclass(frozen=True)
class Curve:
    """A centreline between two nodes."""

    start: int
    end: int
    points: Array
    radius: Array

    @property
    def length(self) -> float:
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    def reversed(self) -> Curve:
        return Curve(self.end, self.start, self.points[::-1], self.radius[::-1])


Graph = list[Curve]


def degrees(graph: Iterable[Curve]) -> dict[int, int]:
    degree: dict[int, int] = defaultdict(int)
    for c in graph:
        degree[c.start] += 1
        degree[c.end] += 1
    return degree


def joined(graph: Graph, keep: Iterable[int] = ()) -> Graph:
    """Curves that meet two by two become one; nodes in keep stay."""
    graph, keep = list(graph), set(keep)
    while True:
        degree = degrees(graph)
        node = next((n for n, d in degree.items() if d == 2 and n not in keep), None)
        if node is None:
            return graph
        ends = [c for c in graph if node in (c.start, c.end)]
        if len(ends) == 1:
            keep.add(node)
            continue
        a = ends[0] if ends[0].end == node else ends[0].reversed()
        b = ends[1] if ends[1].start == node else ends[1].reversed()
        whole = Curve(
            a.start, b.end, np.concatenate([a.points, b.points[1:]]), np.concatenate([a.radius, b.radius[1:]])
        )
        graph = [c for c in graph if c is not ends[0] and c is not ends[1]] + [whole]


def neighbours(graph: Graph) -> dict[int, list[Curve]]:
    around: dict[int, list[Curve]] = defaultdict(list)
    for c in graph:
        around[c.start].append(c)
        around[c.end].append(c.reversed())
    return around


def ways_from(graph: Graph, root: int) -> dict[int, list[Curve]]:
    """Every node's way from the root, as curves that run away from it."""
    around = neighbours(graph)
    ways: dict[int, list[Curve]] = {root: []}
    queue = [root]
    while queue:
        node = queue.pop(0)
        for c in around[node]:
            if c.end not in ways:
                ways[c.end] = [*ways[node], c]
                queue.append(c.end)
    return ways


# ---- tracing


def traced_ways(image: Image, start: Array | None, settings: ExtractionSettings) -> Graph:
    """Cheapest ways through the middle of the vessel from one end to all others (as TEASAR does)."""
    occupancy = image.occupancy
    if not occupancy.piece.any():
        raise InputError("The occupancy holds no vessel.")
    box = tuple(slice(s.start, s.stop) for s in ndimage.find_objects(occupancy.piece.astype(np.uint8))[0])
    offset = np.array([s.start for s in box])
    piece, smooth = np.pad(occupancy.piece[box], 1), np.pad(image.smooth[box], 1)
    # The data's border is no wall: there the depth is read as if the tube went on.
    inner = np.pad(ndimage.distance_transform_edt(np.pad(occupancy.piece[box], 8, mode="edge"))[8:-8, 8:-8, 8:-8], 1)
    depth = np.asarray(np.where(piece, inner + 0.5 * np.clip(smooth, 0, 1), 0))
    voxels = np.argwhere(piece)
    at = cKDTree(voxels)
    cost = np.where(piece, 1 / np.maximum(depth, 0.1) ** 3, -1.0)
    unit = np.where(piece, 1.0, -1.0)
    if start is None:
        root = tuple(voxels[int(np.argmax(depth[piece]))])
        reach = MCP_Geometric(unit).find_costs([root])[0]
        root = tuple(voxels[int(np.argmax(np.where(np.isfinite(reach[piece]), reach[piece], -1)))])
    else:
        root = _middle(voxels, depth[piece], occupancy.index(start) - offset + 1)
    reach = MCP_Geometric(unit).find_costs([root])[0][piece]
    ways = MCP_Geometric(cost)
    ways.find_costs([root])
    paths = _ways_to_tips(ways, voxels, reach, depth, root, at, settings)
    if not paths:
        raise InputError("The vessel is too short to follow. Enlarge geometry.region_lps_mm in study.toml.")
    return _curves(paths, depth, lambda v: occupancy.lps(v + offset - 1), occupancy.spacing_mm)


def _middle(voxels: NDArray[np.intp], depth: Array, index: Array) -> tuple[int, ...]:
    """The deep voxel near a click."""
    distance = np.linalg.norm(voxels - index, axis=1)
    nearest = int(np.argmin(distance))
    near = np.flatnonzero(np.linalg.norm(voxels - voxels[nearest], axis=1) <= depth[nearest] + 3)
    best = near[np.argmax(depth[near] - 0.7 * distance[near])]
    return tuple(voxels[best])


def _ways_to_tips(
    ways: MCP_Geometric,
    voxels: NDArray[np.intp],
    reach: Array,
    depth: Array,
    root: tuple[int, ...],
    at: cKDTree,
    settings: ExtractionSettings,
) -> list[NDArray[np.intp]]:
    covered = ~np.isfinite(reach)
    order = np.argsort(-np.where(covered, -1, reach), kind="stable")
    traced: set[tuple[int, ...]] = set()
    paths: list[NDArray[np.intp]] = []
    for tip in order:
        if covered[tip]:
            continue
        way = [tuple(v) for v in ways.traceback(tuple(voxels[tip]))]
        first = max((i for i, v in enumerate(way) if v in traced), default=0)
        new = np.array(way[first:])
        steps = np.linalg.norm(np.diff(new, axis=0), axis=1).sum() if len(new) > 1 else 0.0
        stem = depth[way[first]] if traced else 0.0
        radius = depth[tuple(new.T)]
        for c, r in zip(new, 1.3 * radius + 1.5, strict=True):
            covered[at.query_ball_point(c, r)] = True
        covered[tip] = True
        if len(new) < 3 or steps - stem < settings.spur_radii * max(stem, 1.0):
            continue
        paths.append(new)
        traced.update(way[first:])
        if len(paths) >= settings.most_branches:
            break
    return paths


def _curves(
    paths: list[NDArray[np.intp]], depth: Array, lps: Callable[[NDArray[np.intp]], Array], spacing: float
) -> Graph:
    """Paths, each of which begins on an earlier one, cut where others begin."""
    begins = {tuple(p[0]) for p in paths}
    number: dict[tuple[int, ...], int] = {}
    graph: Graph = []
    for path in paths:
        cuts = [i for i, v in enumerate(path) if i in (0, len(path) - 1) or tuple(v) in begins]
        for a, b in zip(cuts[:-1], cuts[1:], strict=True):
            nodes = [number.setdefault(tuple(int(v) for v in path[i]), len(number)) for i in (a, b)]
            part = path[a : b + 1]
            graph.append(Curve(nodes[0], nodes[1], lps(part), depth[tuple(part.T)] * spacing))
    return _without_short_links(joined(graph))


def _without_short_links(graph: Graph) -> Graph:
    """Forks closer together than a radius are one fork."""
    while True:
        degree = degrees(graph)
        short = next(
            (
                c
                for c in graph
                if degree[c.start] > 2 and degree[c.end] > 2 and c.length < 0.8 * float(np.median(c.radius))
            ),
            None,
        )
        if short is None:
            return graph
        middle = short.points[len(short.points) // 2]
        moved = []
        for c in graph:
            if c is short:
                continue
            points = c.points.copy()
            if c.start in (short.start, short.end):
                points[0] = middle
            if c.end in (short.start, short.end):
                points[-1] = middle
            start = short.start if c.start == short.end else c.start
            end = short.start if c.end == short.end else c.end
            moved.append(Curve(start, end, points, c.radius))
        graph = moved


def curves_about(graph: Graph, clicks: Sequence[Array]) -> Graph:
    """The curves between the clicks, and those that leave them."""
    held = [min(graph, key=lambda c: float(np.linalg.norm(c.points - p, axis=1).min())) for p in clicks]
    nodes = [held[0].start, held[0].end]
    ways = ways_from(graph, nodes[0])
    on_way = {frozenset(nodes)}
    for c in held:
        on_way.add(frozenset((c.start, c.end)))
        for node in (c.start, c.end):
            on_way.update(frozenset((d.start, d.end)) for d in ways.get(node, []))
    touched = set().union(*on_way)
    kept = [c for c in graph if c.start in touched or c.end in touched]
    return kept


# ---- refining


def resampled(points: Array, radius: Array, step: float) -> tuple[Array, Array]:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    along += 1e-9 * np.arange(len(along))
    n = max(4, int(round(along[-1] / step)) + 1)
    at = np.linspace(0, along[-1], n)
    kind = "cubic" if len(points) > 8 and step < 2.5 * along[-1] / len(points) else "linear"
    return interp1d(along, points, kind=kind, axis=0)(at), np.interp(at, along, radius)


def _smoothed(values: Array, window: int) -> Array:
    """Running parabola: keeps bends as they are."""
    window = min(window | 1, len(values) - 1 + len(values) % 2)
    if window < 5:
        return values
    return np.asarray(savgol_filter(values, window, 2, axis=0, mode="interp"))


def tangents(points: Array) -> Array:
    t = np.gradient(points, axis=0)
    return np.asarray(t / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-12))


def frames(tangent: Array) -> tuple[Array, Array]:
    """Two unit vectors across each tangent."""
    helper = np.eye(3)[np.argmin(np.abs(tangent), axis=1)]
    a = np.cross(tangent, helper)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    return a, np.cross(tangent, a)


@dataclass(frozen=True)
class _Sections:
    """Cross-sections: centroid (n, 3), equal-area radius (n,), share of rays that met the wall (n,).

    direction (n, rays, 3) and reach (n, rays) mm of each ray from its point to the wall, NaN where it met none
    """

    centroid: Array
    radius: Array
    met: Array
    direction: Array
    reach: Array


def sections(
    field: Callable[[Array], Array], points: Array, tangent: Array, guess: Array, level: Array, rays: int
) -> _Sections:
    """Casts rays in the plane across each tangent, out to where the field falls below the level.

    Area and centroid in polar form: A = sum r^2 dtheta / 2, centroid = sum r^3 e dtheta / (3 A).
    """
    a, b = frames(tangent)
    theta = 2 * np.pi * np.arange(rays) / rays
    direction = np.cos(theta)[None, :, None] * a[:, None] + np.sin(theta)[None, :, None] * b[:, None]
    fraction = np.linspace(0, 2.4, 49)
    distance = guess[:, None] * fraction
    x = points[:, None, None] + distance[:, None, :, None] * direction[:, :, None]
    value = field(x) - level[:, None, None]
    below = value < 0
    hit = below.any(2) & ~below[:, :, 0]
    last = np.clip(below.argmax(2), 1, None)
    v1 = np.take_along_axis(value, last[..., None], 2)[..., 0]
    v0 = np.take_along_axis(value, last[..., None] - 1, 2)[..., 0]
    step = fraction[1] * guess[:, None]
    reach = np.where(hit, (last - 1) * step + step * v0 / np.where(v0 > v1, v0 - v1, 1), np.nan)
    with np.errstate(all="ignore"):
        middle = np.array([np.median(r[np.isfinite(r)]) if np.isfinite(r).any() else np.nan for r in reach])
    reach = np.where(reach > 1.7 * middle[:, None], np.nan, reach)
    met = np.isfinite(reach).mean(1)
    radius, centroid = guess.copy(), points.copy()
    for i in np.flatnonzero(met >= 0.5):
        r = reach[i]
        good = np.isfinite(r)
        r = np.interp(theta, theta[good], r[good], period=2 * np.pi)
        radius[i] = np.sqrt(np.mean(r**2))
        shift = (r[:, None] ** 3 * direction[i]).sum(0) * (2 / (3 * rays)) / radius[i] ** 2
        centroid[i] = points[i] + shift
    return _Sections(centroid, radius, met, direction, reach)


def refined(graph: Graph, image: Image, settings: ExtractionSettings) -> Graph:
    degree = degrees(graph)
    reach: dict[int, float] = {}
    for c in graph:
        for node, r in ((c.start, c.radius[0]), (c.end, c.radius[-1])):
            if degree[node] > 2:
                reach[node] = max(reach.get(node, 0.0), float(r))
    curves = [_refined_curve(c, degree, reach, image, settings) for c in graph]
    # A fork lies where its curves now come from: the mean of their ends.
    ends: dict[int, list[Array]] = defaultdict(list)
    for c in curves:
        ends[c.start].append(c.points[0])
        ends[c.end].append(c.points[-1])
    fork = {n: np.mean(p, axis=0) for n, p in ends.items() if len(p) > 1}
    result = []
    for c in curves:
        points = c.points.copy()
        if c.start in fork:
            points[0] = fork[c.start]
        if c.end in fork:
            points[-1] = fork[c.end]
        result.append(replace(c, points=points))
    return result


def _refined_curve(
    curve: Curve, degree: dict[int, int], fork_reach: dict[int, float], image: Image, settings: ExtractionSettings
) -> Curve:
    usual = max(float(np.median(curve.radius)), image.occupancy.spacing_mm)
    step = settings.station_radii * usual
    window = int(round(settings.smoothing_radii / settings.station_radii)) | 1
    free = degree[curve.start] == 1, degree[curve.end] == 1
    points, radius = _without_swerves(curve, free)
    points, radius = resampled(points, radius, step)
    points = _smoothed(points, window)
    points, radius = _prolonged(points, radius, free, step, usual, image)
    level = image.level(radius)
    for _ in range(settings.passes):
        tangent = tangents(_smoothed(points, window))
        cut = sections(image, points, tangent, np.maximum(radius, 0.5 * image.sigma), level, settings.rays)
        away = np.ones(len(points), bool)
        for node, end in ((curve.start, points[0]), (curve.end, points[-1])):
            if node in fork_reach:
                away &= np.linalg.norm(points - end, axis=1) > 1.1 * fork_reach[node]
        good = (cut.met > 0.85) & away & image.covered(cut.centroid)
        if not good.any():
            good = cut.met > 0.5
        if not good.any():
            break
        shift = np.where(good[:, None], cut.centroid - points, 0)
        size = np.linalg.norm(shift, axis=1, keepdims=True)
        shift *= np.minimum(1, 0.5 * radius[:, None] / np.maximum(size, 1e-9))
        at = np.arange(len(points))
        radius = np.interp(at, at[good], cut.radius[good])
        points = _smoothed(points + shift, window)
        points, radius = resampled(points, radius, step)
        settled = np.interp(np.linspace(0, 1, len(points)), np.linspace(0, 1, len(level)), level)
        level = settled + settings.damping * (image.level(radius) - settled)
    return Curve(curve.start, curve.end, points, radius)


def _without_swerves(curve: Curve, free: tuple[bool, bool]) -> tuple[Array, Array]:
    """A traced way ends in a corner of the vessel's end: the last radius of it is not its middle."""
    points, radius = curve.points, curve.radius
    first, last = 0, len(points) - 1
    middle = float(np.median(radius))
    if free[0]:
        first = int(np.argmax(np.linalg.norm(points - points[0], axis=1) > min(middle, curve.length / 4)))
    if free[1]:
        last -= int(np.argmax(np.linalg.norm(points[::-1] - points[-1], axis=1) > min(middle, curve.length / 4)))
    return points[first : last + 1], radius[first : last + 1]


def _prolonged(
    points: Array, radius: Array, free: tuple[bool, bool], step: float, length: float, image: Image
) -> tuple[Array, Array]:
    """Straight on at free ends, as far as there are data."""
    n = int(np.ceil(1.2 * length / step))
    back = min(len(points) - 1, max(3, n))
    if free[0]:
        d = points[0] - points[back]
        d /= max(float(np.linalg.norm(d)), 1e-9)
        more = points[0] + step * np.arange(n, 0, -1)[:, None] * d
        more = more[image.covered(more)]
        points = np.concatenate([more, points])
        radius = np.concatenate([np.full(len(more), radius[: back + 1].mean()), radius])
    if free[1]:
        d = points[-1] - points[-1 - back]
        d /= max(float(np.linalg.norm(d)), 1e-9)
        more = points[-1] + step * np.arange(1, n + 1)[:, None] * d
        more = more[image.covered(more)]
        points = np.concatenate([points, more])
        radius = np.concatenate([radius, np.full(len(more), radius[-1 - back :].mean())])
    return points, radius


def calibrated(image: Image, graph: Graph, settings: ExtractionSettings) -> Image:
    """Blur and plateau by least squares: the Gaussian that turns round tubes into the profiles seen across the wall.

    Profiles are read along rays and lined up at the wall, so that a cross-section need not be round. Where the contour
    lies at a known level, blur and plateau say which true radius that means.
    """
    degree = degrees(graph)
    offsets = np.linspace(-2.5, 1.25, 31) * image.sigma
    profiles, contours, levels = [], [], []
    for c in graph:
        tangent = tangents(c.points)
        level = image.level(c.radius)
        cut = sections(image, c.points, tangent, np.maximum(c.radius, 0.5 * image.sigma), level, settings.rays)
        outer = np.nan_to_num(cut.reach)[..., None] + 2 * image.sigma
        rim = c.points[:, None] + outer * cut.direction
        whole = (cut.met > 0.95) & image.covered(rim).all(1)
        for node, end in ((c.start, c.points[0]), (c.end, c.points[-1])):
            if degree[node] != 2:
                whole &= np.linalg.norm(c.points - end, axis=1) > 2 * c.radius
        stride = 1 + sum(len(d.points) for d in graph) // settings.calibration_sections
        for i in np.flatnonzero(whole)[::stride]:
            reach = np.nan_to_num(cut.reach[i], nan=float(np.nanmean(cut.reach[i])))
            at = np.maximum(reach[:, None] + offsets, 0)
            seen = image(c.points[i] + at[..., None] * cut.direction[i][:, None])
            profiles.append(np.median(seen, axis=0))
            contours.append(float(np.sqrt(np.mean(reach**2))))
            levels.append(float(level[i]))
    if len(profiles) < 8:
        return image
    seen, contour, level = np.array(profiles), np.array(contours), np.array(levels)
    distance = np.maximum(contour[:, None] + offsets, 0)
    # A faint tail may have been cut off at a constant (bone removed), or be another vessel's: the upper edge decides.
    use = (seen > 0.15) & (contour[:, None] + offsets >= 0)
    smoothing = settings.smoothing_voxels * image.occupancy.spacing_mm

    def misfit(x: Array) -> float:
        sigma, plateau = float(x[0]), float(x[1])
        if not (1.05 * smoothing < sigma < 5 * image.occupancy.spacing_mm and 0.75 < plateau < 1.33):
            return 1.0
        radius = _radius_at_level(contour, level / plateau, sigma)
        error = np.abs(seen - plateau * blurred_disc(distance, radius[:, None], sigma))[use]
        return float(np.mean(np.minimum(error, 0.2) ** 2))

    simplex = [[image.sigma, 1.0], [1.15 * image.sigma, 1.0], [image.sigma, 1.06]]
    found = minimize(misfit, simplex[0], method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-3})
    sigma, plateau = float(found.x[0]), float(found.x[1])
    return replace(
        image,
        sigma=sigma,
        smooth=np.asarray(image.smooth / np.float32(plateau)),
        coefficients=np.asarray(image.coefficients / np.float32(plateau)),
        noise=image.noise / plateau,
    )


def _radius_at_level(contour: Array, level: Array, sigma: float) -> Array:
    """True radii of tubes whose contours at their own levels are known."""
    steps = np.linspace(level.min(), level.max(), 6) if np.ptp(level) > 1e-3 else np.array([level.mean()])
    table = np.stack([radius_from_contour(contour, sigma, round(float(v), 4)) for v in steps])
    if len(steps) == 1:
        return np.asarray(table[0])
    place = (level - steps[0]) / (steps[1] - steps[0])
    low = np.clip(place.astype(int), 0, len(steps) - 2)
    share = place - low
    at = np.arange(len(contour))
    return np.asarray((1 - share) * table[low, at] + share * table[low + 1, at])

"""From occupancy to the lumen: centreline tree with radii and openings, and the wall between them.

The wall of a blurred tube does not lie at half of the contrast: there the image has the value wall_value(R / sigma),
which falls with the radius. The threshold therefore follows the local radius, to a fixed point.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import interp1d
from scipy.optimize import minimize
from scipy.signal import savgol_filter
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric
from skimage.measure import marching_cubes
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree, Opening, rerooted
from VesselFlowGSLib.lumen.segment import Occupancy, axis_value, blurred_disc, radius_from_contour, wall_value
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance

Array = NDArray[np.float64]
Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]
Point = Sequence[float]


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
    cut_radii: float = 0.2
    spike_radii: float = 0.45
    stub_radii: float = 2.0
    grid_per_radius: float = 5.0
    coarsest_grid: float = 0.75
    max_grid_points: int = 6_000_000
    surface_smoothing_radii: float = 0.9
    edge_error_scale: float = 0.1


def lumen_from_occupancy(
    occupancy: Occupancy,
    *,
    inlet: Point | None = None,
    outlets: Sequence[Point] = (),
    settings: ExtractionSettings | None = None,
) -> Lumen:
    """Wall, centreline tree and flat openings of the vessel.

    inlet, outlets  LPS mm, on or near the centreline: the vessel is cut there, what lies beyond is left out;
                    without them the tree reaches every end of the vessel, and the widest end is the inlet.
    Raises InputError: nothing to follow, or a point that is not on the vessel.
    """
    settings = settings or ExtractionSettings()
    image = _Image.of(occupancy, settings)
    clicks = ([] if inlet is None else [np.asarray(inlet, float)]) + [np.asarray(p, float) for p in outlets]
    traced = _trace(image, clicks[0] if clicks else None, settings)
    if len(clicks) > 1:
        traced = _about(traced, clicks)
    graph = _refined(traced, image, settings)
    for _ in range(settings.calibrations):
        image = _calibrated(image, graph, settings)
        graph = _refined(traced, image, settings)
    kept = _kept_part(graph, image, inlet, outlets, settings)
    return _lumen(kept, image, settings)


def with_inlet(lumen: Lumen, opening_name: str) -> Lumen:
    """The same lumen seen from another inlet: branches run away from it, and the other openings are its outlets."""
    names = [o.name for o in lumen.openings]
    if opening_name not in names:
        raise ValueError(f"no opening {opening_name!r}; there are {', '.join(names)}")
    chosen = lumen.openings[names.index(opening_name)]
    if chosen is lumen.inlet:
        return lumen
    tree, new_index = rerooted(lumen.tree, chosen.branch)
    old_root = new_index[lumen.inlet.branch]
    others = [o for o in lumen.openings if o is not chosen]
    openings = [replace(chosen, name="inlet", branch=0)]
    for number, o in enumerate(others, 1):
        branch = old_root if o is lumen.inlet else new_index[o.branch]
        openings.append(replace(o, name=f"outlet {number}", branch=branch))
    return replace(lumen, tree=tree, openings=tuple(openings))


# ---- the image, as the lumen reads it


@dataclass(frozen=True)
class _Image:
    """Smoothed occupancy as a cubic spline (coefficients), and the blur of its edge, smoothing included."""

    occupancy: Occupancy
    smooth: Grid
    coefficients: Grid
    sigma: float
    noise: float

    @staticmethod
    def of(occupancy: Occupancy, settings: ExtractionSettings) -> _Image:
        g = settings.smoothing_voxels
        smooth = ndimage.gaussian_filter(occupancy.values, g, mode="nearest")
        sigma = float(np.hypot(occupancy.sigma_mm, g * occupancy.spacing_mm))
        passed = (1 / (2 * np.sqrt(np.pi) * g)) ** 1.5 if g > 0.4 else 1.0
        coefficients = ndimage.spline_filter(smooth, order=3, output=np.float32, mode="nearest")
        return _Image(occupancy, smooth, coefficients, sigma, occupancy.noise * min(1.0, passed))

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
class _Curve:
    """A centreline between two nodes."""

    start: int
    end: int
    points: Array
    radius: Array

    @property
    def length(self) -> float:
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    def reversed(self) -> _Curve:
        return _Curve(self.end, self.start, self.points[::-1], self.radius[::-1])


Graph = list[_Curve]


def _degrees(graph: Iterable[_Curve]) -> dict[int, int]:
    degree: dict[int, int] = defaultdict(int)
    for c in graph:
        degree[c.start] += 1
        degree[c.end] += 1
    return degree


def _joined(graph: Graph, keep: Iterable[int] = ()) -> Graph:
    """Curves that meet two by two become one; nodes in keep stay."""
    graph, keep = list(graph), set(keep)
    while True:
        degree = _degrees(graph)
        node = next((n for n, d in degree.items() if d == 2 and n not in keep), None)
        if node is None:
            return graph
        ends = [c for c in graph if node in (c.start, c.end)]
        if len(ends) == 1:
            keep.add(node)
            continue
        a = ends[0] if ends[0].end == node else ends[0].reversed()
        b = ends[1] if ends[1].start == node else ends[1].reversed()
        joined = _Curve(
            a.start, b.end, np.concatenate([a.points, b.points[1:]]), np.concatenate([a.radius, b.radius[1:]])
        )
        graph = [c for c in graph if c is not ends[0] and c is not ends[1]] + [joined]


# ---- tracing


def _trace(image: _Image, start: Array | None, settings: ExtractionSettings) -> Graph:
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
    return _curves(paths, depth, lambda v: occupancy.lps(v + offset - 1), occupancy.spacing_mm, settings)


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
    paths: list[NDArray[np.intp]], depth: Array, lps: object, spacing: float, settings: ExtractionSettings
) -> Graph:
    """Paths, each of which begins on an earlier one, cut where others begin."""
    begins = {tuple(p[0]) for p in paths}
    number: dict[tuple[int, ...], int] = {}
    graph: Graph = []
    for path in paths:
        cuts = [i for i, v in enumerate(path) if i in (0, len(path) - 1) or tuple(v) in begins]
        for a, b in zip(cuts[:-1], cuts[1:], strict=True):
            nodes = [number.setdefault(tuple(path[i]), len(number)) for i in (a, b)]
            part = path[a : b + 1]
            graph.append(_Curve(nodes[0], nodes[1], lps(part), depth[tuple(part.T)] * spacing))  # type: ignore[operator]
    return _without_short_links(_joined(graph))


def _without_short_links(graph: Graph) -> Graph:
    """Forks closer together than a radius are one fork."""
    while True:
        degree = _degrees(graph)
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
            moved.append(_Curve(start, end, points, c.radius))
        graph = moved


def _about(graph: Graph, clicks: Sequence[Array]) -> Graph:
    """The curves between the clicks, and those that leave them."""
    held = [min(graph, key=lambda c: float(np.linalg.norm(c.points - p, axis=1).min())) for p in clicks]
    nodes = [held[0].start, held[0].end]
    ways = _ways_from(graph, nodes[0])
    on_way = {frozenset(nodes)}
    for c in held:
        on_way.add(frozenset((c.start, c.end)))
        for node in (c.start, c.end):
            on_way.update(frozenset((d.start, d.end)) for d in ways.get(node, []))
    touched = set().union(*on_way)
    kept = [c for c in graph if c.start in touched or c.end in touched]
    return kept


# ---- refining


def _resampled(points: Array, radius: Array, step: float) -> tuple[Array, Array]:
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


def _tangents(points: Array) -> Array:
    t = np.gradient(points, axis=0)
    return np.asarray(t / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-12))


def _frames(tangent: Array) -> tuple[Array, Array]:
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


def _sections(field: object, points: Array, tangent: Array, guess: Array, level: Array, rays: int) -> _Sections:
    """Casts rays in the plane across each tangent, out to where the field falls below the level.

    Area and centroid in polar form: A = sum r^2 dtheta / 2, centroid = sum r^3 e dtheta / (3 A).
    """
    a, b = _frames(tangent)
    theta = 2 * np.pi * np.arange(rays) / rays
    direction = np.cos(theta)[None, :, None] * a[:, None] + np.sin(theta)[None, :, None] * b[:, None]
    fraction = np.linspace(0, 2.4, 49)
    distance = guess[:, None] * fraction
    x = points[:, None, None] + distance[:, None, :, None] * direction[:, :, None]
    value = field(x) - level[:, None, None]  # type: ignore[operator]
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


def _refined(graph: Graph, image: _Image, settings: ExtractionSettings) -> Graph:
    degree = _degrees(graph)
    reach: dict[int, float] = {}
    for c in graph:
        for node, r in ((c.start, c.radius[0]), (c.end, c.radius[-1])):
            if degree[node] > 2:
                reach[node] = max(reach.get(node, 0.0), float(r))
    refined = [_refined_curve(c, degree, reach, image, settings) for c in graph]
    # A fork lies where its curves now come from: the mean of their ends.
    ends: dict[int, list[Array]] = defaultdict(list)
    for c in refined:
        ends[c.start].append(c.points[0])
        ends[c.end].append(c.points[-1])
    fork = {n: np.mean(p, axis=0) for n, p in ends.items() if len(p) > 1}
    result = []
    for c in refined:
        points = c.points.copy()
        if c.start in fork:
            points[0] = fork[c.start]
        if c.end in fork:
            points[-1] = fork[c.end]
        result.append(replace(c, points=points))
    return result


def _refined_curve(
    curve: _Curve, degree: dict[int, int], fork_reach: dict[int, float], image: _Image, settings: ExtractionSettings
) -> _Curve:
    usual = max(float(np.median(curve.radius)), image.occupancy.spacing_mm)
    step = settings.station_radii * usual
    window = int(round(settings.smoothing_radii / settings.station_radii)) | 1
    free = degree[curve.start] == 1, degree[curve.end] == 1
    points, radius = _without_swerves(curve, free)
    points, radius = _resampled(points, radius, step)
    points = _smoothed(points, window)
    points, radius = _prolonged(points, radius, free, step, usual, image)
    level = image.level(radius)
    for _ in range(settings.passes):
        tangent = _tangents(_smoothed(points, window))
        cut = _sections(image, points, tangent, np.maximum(radius, 0.5 * image.sigma), level, settings.rays)
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
        points, radius = _resampled(points, radius, step)
        settled = np.interp(np.linspace(0, 1, len(points)), np.linspace(0, 1, len(level)), level)
        level = settled + settings.damping * (image.level(radius) - settled)
    return _Curve(curve.start, curve.end, points, radius)


def _without_swerves(curve: _Curve, free: tuple[bool, bool]) -> tuple[Array, Array]:
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
    points: Array, radius: Array, free: tuple[bool, bool], step: float, length: float, image: _Image
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


def _calibrated(image: _Image, graph: Graph, settings: ExtractionSettings) -> _Image:
    """Blur and plateau by least squares: the Gaussian that turns round tubes into the profiles seen across the wall.

    Profiles are read along rays and lined up at the wall, so that a cross-section need not be round. Where the contour
    lies at a known level, blur and plateau say which true radius that means.
    """
    degree = _degrees(graph)
    offsets = np.linspace(-2.5, 1.25, 31) * image.sigma
    profiles, contours, levels = [], [], []
    for c in graph:
        tangent = _tangents(c.points)
        level = image.level(c.radius)
        cut = _sections(image, c.points, tangent, np.maximum(c.radius, 0.5 * image.sigma), level, settings.rays)
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


# ---- what is kept


@dataclass(frozen=True)
class _Kept:
    """Curves from the inlet downstream with parents; openings; stations that are not part of the lumen; bulges."""

    tree: CentrelineTree
    openings: tuple[Opening, ...]
    cut_points: Array
    cut_radius: Array
    bulge_points: Array
    bulge_radius: Array


def _kept_part(
    graph: Graph, image: _Image, inlet: Point | None, outlets: Sequence[Point], settings: ExtractionSettings
) -> _Kept:
    whole = graph
    graph = [_ended(c, _degrees(graph), image, settings) for c in graph]
    clicks = [] if inlet is None else [(inlet, "geometry.inlet_lps_mm")]
    clicks += [(p, f"geometry.outlets_lps_mm[{i + 1}]") for i, p in enumerate(outlets)]
    nodes: list[int] = []
    for point, name in clicks:
        graph, node = _cut_at(graph, np.asarray(point, float), name, nodes)
        nodes.append(node)
    given_inlet = nodes[0] if inlet is not None else None
    given_outlets = nodes[1:] if inlet is not None else nodes
    sides = [] if nodes else _blind_bulges(graph, image, settings)
    graph_open = [c for c in graph if not any(c is s for s in sides)]
    leaves = [n for n, d in _degrees(graph_open).items() if d == 1]
    ends = _ends(graph_open, given_inlet, given_outlets, leaves)
    kept = _spanning(graph_open, ends[0], ends[1:])
    hanging = [c for c in graph if not any(c is k for k in kept)]
    kept = _joined(kept, ends)
    tree, branch_of = _rooted(kept, ends[0])
    openings = _openings(tree, ends, branch_of)
    return _with_cuts(tree, openings, hanging, whole, image, settings)


def _ended(curve: _Curve, degree: dict[int, int], image: _Image, settings: ExtractionSettings) -> _Curve:
    """A free end moved back to the last cross-section that the data show whole."""
    usual = float(np.median(curve.radius))
    tangent = _tangents(curve.points)
    radius = np.maximum(curve.radius, 0.5 * image.sigma)
    cut = _sections(image, curve.points, tangent, radius, image.level(radius), settings.rays)
    a, b = _frames(tangent)
    theta = 2 * np.pi * np.arange(16) / 16
    rim = np.cos(theta)[None, :, None] * a[:, None] + np.sin(theta)[None, :, None] * b[:, None]
    reach = (radius + 0.5 * image.occupancy.spacing_mm)[:, None, None]
    whole = image.covered(curve.points[:, None] + reach * rim).all(1) & (cut.met > 0.85)
    n = max(3, int(round(2 / settings.station_radii)))
    good = whole & (curve.radius >= settings.resolvable_sigma * image.occupancy.sigma_mm)
    axis = image(curve.points)
    good &= axis > 0.6 * axis_value(curve.radius / image.sigma)
    good &= np.linalg.norm(cut.centroid - curve.points, axis=1) < 0.15 * curve.radius
    first, last = 0, len(curve.points) - 1
    if degree[curve.start] == 1:
        first = next(
            (i for i in range(len(good)) if good[i] and cut.radius[i] > 0.8 * np.median(curve.radius[i : i + n])), first
        )
    if degree[curve.end] == 1:
        last = next(
            (
                i
                for i in range(last, -1, -1)
                if good[i] and cut.radius[i] > 0.8 * np.median(curve.radius[max(0, i - n) : i + 1])
            ),
            last,
        )
    if last - first < 3 or curve.length * (last - first) / len(curve.points) < 0.5 * usual:
        return curve
    return replace(curve, points=curve.points[first : last + 1], radius=curve.radius[first : last + 1])


def _cut_at(graph: Graph, click: Array, name: str, taken: Sequence[int]) -> tuple[Graph, int]:
    """A node at the centreline point nearest to the click."""
    distance = [float(np.linalg.norm(c.points - click, axis=1).min()) for c in graph]
    which = int(np.argmin(distance))
    curve = graph[which]
    if distance[which] > max(2.5 * float(curve.radius.max()), 2.0):
        text = ", ".join(f"{v:.1f}" for v in click)
        raise InputError(
            f"{name} = [{text}] in study.toml is {distance[which]:.1f} mm away from the vessel's centreline. "
            "Click on the vessel's middle, in LPS mm."
        )
    segment = np.diff(curve.points, axis=0)
    size = (segment**2).sum(1)
    share = np.clip(((click - curve.points[:-1]) * segment).sum(1) / size, 0, 1)
    foot = curve.points[:-1] + share[:, None] * segment
    i = int(np.argmin(np.linalg.norm(foot - click, axis=1)))
    new = max([n for c in graph for n in (c.start, c.end)]) + 1
    near = 0.25 * float(np.sqrt(size.mean()))
    if np.linalg.norm(foot[i] - curve.points[0]) < near and curve.start not in taken:
        return graph, curve.start
    if np.linalg.norm(foot[i] - curve.points[-1]) < near and curve.end not in taken:
        return graph, curve.end
    r = curve.radius[i] + share[i] * (curve.radius[i + 1] - curve.radius[i])
    before = _Curve(
        curve.start, new, np.vstack([curve.points[: i + 1], foot[i]]), np.append(curve.radius[: i + 1], r)
    )
    after = _Curve(
        new, curve.end, np.vstack([foot[i], curve.points[i + 1 :]]), np.append(r, curve.radius[i + 1 :])
    )
    return [c for c in graph if c is not curve] + [before, after], new


def _blind_bulges(graph: Graph, image: _Image, settings: ExtractionSettings) -> Graph:
    degree = _degrees(graph)
    if len(graph) == 1:
        return []
    return [c for c in graph if 1 in (degree[c.start], degree[c.end]) and _is_bulge(c, degree, image, settings)]


def _is_bulge(curve: _Curve, degree: dict[int, int], image: _Image, settings: ExtractionSettings) -> bool:
    """Short beyond its parent's wall, measured in its own radii, and not cut by the data's border."""
    c = curve if degree[curve.end] == 1 else curve.reversed()
    own = float(np.median(c.radius[len(c.radius) // 2 :]))
    stem = float(c.radius[0])
    ahead = c.points[-1] + _tangents(c.points)[-1] * 2 * own
    return c.length - stem < settings.bulge_radii * own and bool(image.covered(ahead[None])[0])


def _neighbours(graph: Graph) -> dict[int, list[_Curve]]:
    around: dict[int, list[_Curve]] = defaultdict(list)
    for c in graph:
        around[c.start].append(c)
        around[c.end].append(c.reversed())
    return around


def _ways_from(graph: Graph, root: int) -> dict[int, list[_Curve]]:
    """Every node's way from the root, as curves that run away from it."""
    around = _neighbours(graph)
    ways: dict[int, list[_Curve]] = {root: []}
    queue = [root]
    while queue:
        node = queue.pop(0)
        for c in around[node]:
            if c.end not in ways:
                ways[c.end] = [*ways[node], c]
                queue.append(c.end)
    return ways


def _ends(graph: Graph, inlet: int | None, outlets: Sequence[int], leaves: Sequence[int]) -> list[int]:
    """Inlet node, then outlet nodes."""
    width = {}
    for c in graph:
        for node, r in ((c.start, c.radius[:5]), (c.end, c.radius[-5:])):
            width[node] = float(np.median(r))
    if inlet is not None and outlets:
        return [inlet, *outlets]
    if inlet is None:
        free = [n for n in leaves if n not in outlets]
        if not free:
            raise InputError(
                "All ends of the vessel are given as geometry.outlets_lps_mm: give geometry.inlet_lps_mm too."
            )
        if outlets:
            # An end that lies behind an outlet, seen from the others, is not the inlet.
            def blocked(n: int) -> int:
                ways = _ways_from(graph, n)
                return sum(any(c.end in outlets for c in ways.get(o, [])[:-1]) for o in outlets)

            least = min(blocked(n) for n in free)
            free = [n for n in free if blocked(n) == least]
        first = max(free, key=lambda n: width[n])
        return [first, *(outlets or [n for n in leaves if n != first])]
    sides = []
    for c in _neighbours(graph)[inlet]:
        rest = [d for d in graph if not (d is c or {d.start, d.end} == {c.start, c.end})]
        ways = _ways_from(rest, c.end)
        reached = [n for n in leaves if n in ways and n != inlet]
        sides.append((c.length + sum(d.length for d in rest if d.start in ways and inlet not in (d.start,)), reached))
    return [inlet, *max(sides, key=lambda s: s[0])[1]]


def _spanning(graph: Graph, root: int, ends: Sequence[int]) -> Graph:
    ways = _ways_from(graph, root)
    wanted: set[tuple[int, int]] = set()
    for end in ends:
        if end not in ways or not ways[end]:
            raise InputError("An outlet coincides with the inlet, or is not joined to it: check geometry in study.toml.")
        wanted.update((c.start, c.end) for c in ways[end])
    return [c for c in graph if (c.start, c.end) in wanted or (c.end, c.start) in wanted]


def _rooted(graph: Graph, root: int) -> tuple[CentrelineTree, dict[int, int]]:
    """Tree with branches away from the root, and the branch that ends at each node (0 for the root)."""
    around = _neighbours(graph)
    branches: list[Branch] = []
    ends_at = {root: -1}
    queue = [root]
    while queue:
        node = queue.pop(0)
        for c in around[node]:
            if c.end in ends_at:
                continue
            step = c.length / max(3, len(c.points) - 1)
            points, radius = _resampled(c.points, c.radius, step)
            branches.append(Branch(points, radius, ends_at[node]))
            ends_at[c.end] = len(branches) - 1
            queue.append(c.end)
    return CentrelineTree(tuple(branches)), {**ends_at, root: 0}


def _direction(points: Array, radius: Array) -> Array:
    """Outward tangent at the last point, over about one radius."""
    along = np.linalg.norm(points - points[-1], axis=1)
    near = along <= max(1.2 * float(radius[-1]), float(along[-min(4, len(points))]))
    near &= np.arange(len(points)) >= np.flatnonzero(~near).max(initial=-1)
    s = -along[near]
    slope = np.polynomial.polynomial.polyfit(s, points[near], 2 if near.sum() > 4 else 1)[1]
    return np.asarray(slope / np.linalg.norm(slope))


def _openings(tree: CentrelineTree, ends: Sequence[int], branch_of: dict[int, int]) -> tuple[Opening, ...]:
    result = []
    for i, node in enumerate(ends):
        b = tree.branches[branch_of[node]]
        points, radius = (b.points[::-1], b.radius_mm[::-1]) if i == 0 else (b.points, b.radius_mm)
        name = "inlet" if i == 0 else f"outlet {i}"
        result.append(Opening(name, points[-1].copy(), _direction(points, radius), float(radius[-1]), branch_of[node]))
    return tuple(result)


def _with_cuts(
    tree: CentrelineTree,
    openings: tuple[Opening, ...],
    hanging: Graph,
    whole: Graph,
    image: _Image,
    settings: ExtractionSettings,
) -> _Kept:
    """Stations of vessels that are left out, and of bulges, which are not."""
    kept = np.concatenate([b.points for b in tree.branches])
    kept_radius = np.concatenate([b.radius_mm for b in tree.branches])
    near = cKDTree(kept)
    degree = _degrees(hanging)
    cut_p, cut_r, bulge_p, bulge_r = [], [], [], []
    at_opening = [o.centre for o in openings]
    for c in hanging:
        touches = min(min(np.linalg.norm(c.points[k] - o) for o in at_opening) for k in (0, -1)) < 1e-6
        alone = 1 in (degree[c.start], degree[c.end])
        if alone and not touches and _is_bulge(c, degree, image, settings):
            bulge_p.append(c.points)
            bulge_r.append(c.radius)
        else:
            cut_p.append(c.points)
            cut_r.append(c.radius)
    # The ends that were moved back are left out too.
    for c in whole:
        cut_p.append(c.points)
        cut_r.append(c.radius)
    points, radius = np.concatenate(cut_p), np.concatenate(cut_r)
    bulges = np.concatenate(bulge_p) if bulge_p else np.zeros((0, 3))
    distance, owner = near.query(points)
    apart = distance > kept_radius[owner] + 0.2 * radius
    if len(bulges):
        apart &= cKDTree(bulges).query(points)[0] > 0.5 * radius
    for o in openings:
        t, across = _along_across(points, o)
        apart &= ~((t > -0.5 * o.radius_mm) & (t < settings.stub_radii * o.radius_mm) & (across < o.radius_mm))
    return _Kept(
        tree,
        openings,
        points[apart],
        radius[apart],
        bulges,
        np.concatenate(bulge_r) if bulge_r else np.zeros(0),
    )


def _along_across(points: Array, opening: Opening) -> tuple[Array, Array]:
    offset = points - opening.centre
    along = offset @ opening.normal
    return along, np.linalg.norm(offset - along[..., None] * opening.normal, axis=-1)


# ---- the wall


def _lumen(kept: _Kept, image: _Image, settings: ExtractionSettings) -> Lumen:
    stations, radius = _stations(kept, settings)
    low, h, shape = _grid(stations, radius, image, settings)
    level_set = _level_set(kept, image, stations, radius, low, h, shape, settings)
    inner, _ = ndimage.label(level_set > 0)
    seeds = np.clip(np.round((stations - low) / h).astype(int), 0, np.array(shape) - 1)
    held = np.unique(inner[tuple(seeds.T)])
    held = held[held > 0]
    if not len(held):
        raise InputError("The vessel's wall was not found: its contrast is too weak, or it is too thin for the volume.")
    # Bits that belong to nothing are not vessel.
    stray = (inner > 0) & ~np.isin(inner, held)
    level_set[stray] = -np.abs(level_set[stray]) - np.float32(h)
    wall = WallDistance(_distance(level_set, low, h, radius, settings), low, h)
    tree, openings = _measured(kept, wall, settings)
    at = np.concatenate([b.points for b in tree.branches])
    r = np.concatenate([b.radius_mm for b in tree.branches])
    error = max(image.noise, 0.01) * image.sigma * np.sqrt(2 * np.pi) / axis_value(r / image.sigma) / r
    trust = 1 / (1 + (error / settings.edge_error_scale) ** 2)
    return Lumen(wall, tree, openings, (at, np.asarray(trust)))


def _stations(kept: _Kept, settings: ExtractionSettings) -> tuple[Array, Array]:
    """Centreline points with those of the straight stubs and of the bulges."""
    points = [b.points for b in kept.tree.branches] + [kept.bulge_points]
    radius = [b.radius_mm for b in kept.tree.branches] + [kept.bulge_radius]
    for o in kept.openings:
        t = o.radius_mm * np.arange(settings.station_radii, settings.stub_radii + 1e-9, settings.station_radii)
        points.append(o.centre + t[:, None] * o.normal)
        radius.append(np.full(len(t), o.radius_mm))
    return np.concatenate(points), np.concatenate(radius)


def _grid(
    stations: Array, radius: Array, image: _Image, settings: ExtractionSettings
) -> tuple[Array, float, tuple[int, int, int]]:
    smallest = float(np.percentile(radius, 1))
    h = min(smallest / settings.grid_per_radius, settings.coarsest_grid * image.occupancy.spacing_mm)
    pad = 1.6 * radius.max() + 1.0
    low, high = stations.min(0) - pad, stations.max(0) + pad
    h *= max(1.0, (float(np.prod((high - low) / h)) / settings.max_grid_points) ** (1 / 3))
    n = np.ceil((high - low) / h).astype(int) + 1
    return low, h, (int(n[0]), int(n[1]), int(n[2]))


def _level_set(
    kept: _Kept,
    image: _Image,
    stations: Array,
    radius: Array,
    low: Array,
    h: float,
    shape: tuple[int, int, int],
    settings: ExtractionSettings,
) -> Grid:
    """Positive in the lumen and its stubs; near the wall about the distance from it, mm."""
    occupancy = image.occupancy
    ratio = h / occupancy.spacing_mm
    value = ndimage.affine_transform(
        image.coefficients, np.full(3, ratio), occupancy.index(low), shape, order=3, mode="nearest", prefilter=False
    )
    lowest = float(image.level(np.array(radius.min()))) * 0.5
    active = value > lowest
    for o in kept.openings:
        active |= _in_stub(o, low, h, shape, settings)
    at = np.argwhere(active)
    x = low + h * at
    value = np.asarray(value[active], float)
    distance, owner = cKDTree(stations).query(x, k=2)
    weight = 1 / np.maximum(distance, 0.05 * h) ** 2
    own = (radius[owner] * weight).sum(1) / weight.sum(1)
    gap = distance[:, 0] - own
    for o in kept.openings:
        t, across = _along_across(x, o)
        there = (t > 0) & (across < 1.8 * o.radius_mm) & (t < (settings.stub_radii + 1.5) * o.radius_mm)
        reach = _data_beyond(o, image, settings)
        shown = reach * -np.expm1(-t[there] / reach)
        value[there] = image(x[there] - (t[there] - shown)[:, None] * o.normal)
    phi = (value - image.level(own)) * image.sigma * np.sqrt(2 * np.pi)
    if len(kept.cut_points):
        distance, owner = cKDTree(kept.cut_points).query(x)
        beside = distance - kept.cut_radius[owner]
        phi = np.minimum(phi, (beside - gap) / 2)
        # A branch that is left out is cut where it leaves the wall.
        phi = np.where(beside < 0.5 * kept.cut_radius[owner], np.minimum(phi, settings.cut_radii * own - gap), phi)
    # Far from every station nothing belongs to this vessel.
    phi = np.minimum(phi, 1.2 * own - gap)
    for o in kept.openings:
        t, across = _along_across(x, o)
        near = (t > 0) & (across < 2.5 * o.radius_mm)
        end = np.minimum(settings.stub_radii * o.radius_mm - t, 1.6 * o.radius_mm - across)
        own_tube = near & (gap < 0.8 * own)
        own_tube &= np.linalg.norm(x - o.centre, axis=1) < 3.5 * o.radius_mm
        phi = np.where(own_tube, np.minimum(phi, end), phi)
    phi = np.minimum(phi, _room(phi, own, active, h, settings))
    result = np.full(shape, -2 * h, np.float32)
    result[active] = np.clip(phi, -2 * h, None)
    return result


def _room(phi: Array, own: Array, active: Mask, h: float, settings: ExtractionSettings) -> Array:
    """Negative in thin spikes: where no ball of a fraction of the local radius fits (a morphological opening)."""
    inside = np.zeros(active.shape, bool)
    inside[active] = phi > 0
    ball = np.zeros(active.shape, np.float32)
    ball[active] = settings.spike_radii * own
    core = ndimage.distance_transform_edt(inside) * h > ball
    if not core.any():
        return np.full(len(phi), np.inf)
    away = np.asarray(ndimage.distance_transform_edt(~core)[active]) * h
    return np.asarray((settings.spike_radii + 0.15) * own + h - away)


def _in_stub(
    opening: Opening, low: Array, h: float, shape: tuple[int, int, int], settings: ExtractionSettings
) -> Mask:
    axes = [low[k] + h * np.arange(shape[k]).reshape([-1 if j == k else 1 for j in range(3)]) for k in range(3)]
    offset = [axes[k] - opening.centre[k] for k in range(3)]
    t = sum(offset[k] * opening.normal[k] for k in range(3))
    across = sum(offset[k] ** 2 for k in range(3)) - t**2
    limit = settings.stub_radii * opening.radius_mm
    return np.asarray((t > 0) & (t < limit + 2 * h) & (across < (1.4 * opening.radius_mm) ** 2))


def _data_beyond(opening: Opening, image: _Image, settings: ExtractionSettings) -> float:
    """How far past an opening the vessel goes on straight in the data; a little at least."""
    r = opening.radius_mm
    a, b = _frames(opening.normal[None])
    theta = 2 * np.pi * np.arange(12) / 12
    rim = np.cos(theta)[:, None] * a + np.sin(theta)[:, None] * b
    t = np.linspace(0, settings.stub_radii * r, 21)
    x = opening.centre + t[:, None, None] * opening.normal + 0.7 * r * rim
    outer = opening.centre + t[:, None, None] * opening.normal + 1.1 * r * rim
    value = image(x).min(1)
    goes_on = (value > 0.75 * value[0]) & image.covered(outer).all(1)
    stop = int(np.argmin(goes_on)) if not goes_on.all() else len(t) - 1
    return float(np.clip(t[stop] - 1.5 * image.sigma, 0.05 * r, r))


def _distance(level_set: Grid, low: Array, h: float, radius: Array, settings: ExtractionSettings) -> Array:
    """Signed distance to the smoothed zero surface of a level set, at its grid points, mm."""
    padded = np.pad(level_set, 1, constant_values=-2 * h)
    corner, faces, _, _ = marching_cubes(padded, 0.0, gradient_direction="ascent")
    wavelength = settings.surface_smoothing_radii * float(np.percentile(radius, 5))
    corner = _faired((corner - 1) * h + low, faces, h, wavelength)
    a, b, c = corner[faces[:, 0]], corner[faces[:, 1]], corner[faces[:, 2]]
    normal = np.cross(b - a, c - a)
    size = np.linalg.norm(normal, axis=1)
    good = size > 1e-3 * np.median(size)
    centre, normal = ((a + b + c) / 3)[good], normal[good] / size[good][:, None]
    inside = level_set > 0
    outward = ndimage.map_coordinates(padded, ((centre + 0.5 * h * normal - low) / h + 1).T, order=1)
    inward = ndimage.map_coordinates(padded, ((centre - 0.5 * h * normal - low) / h + 1).T, order=1)
    if np.sum(inward < outward) > len(centre) / 2:
        normal = -normal
    band = inside | ndimage.binary_dilation(inside, iterations=5)
    at = np.argwhere(band)
    x = low + h * at
    far, nearest = cKDTree(centre).query(x)
    plane = -((x - centre[nearest]) * normal[nearest]).sum(1)
    sign = np.where(inside[tuple(at.T)], 1.0, -1.0)
    values = -h * np.asarray(ndimage.distance_transform_edt(~inside))
    values[band] = np.where(far < 3 * h, plane, sign * far)
    return values


def _faired(corner: Array, faces: NDArray[np.int32], h: float, wavelength: float) -> Array:
    """Windowed-sinc smoothing (Taubin 1996): waves shorter than the wavelength go, longer ones stay, nothing shrinks."""
    # The umbrella operator has the eigenvalue of about (2 pi edge / wavelength)^2 / 4 for a wave; edges are about h.
    pass_band = float(np.clip((2 * np.pi * 0.8 * h / wavelength) ** 2 / 4, 1e-3, 1.9))
    mesh = vtkPolyData()
    points = vtkPoints()
    points.SetDataTypeToDouble()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(corner, float), deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(faces) + 1, 3, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(faces.ravel(), np.int64), deep=True),
    )
    mesh.SetPoints(points)
    mesh.SetPolys(cells)
    smooth = vtkWindowedSincPolyDataFilter()
    smooth.SetInputData(mesh)
    smooth.SetNumberOfIterations(30)
    smooth.SetPassBand(pass_band)
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    smooth.Update()
    return np.asarray(vtk_to_numpy(smooth.GetOutput().GetPoints().GetData()), np.float64)


def _measured(
    kept: _Kept, wall: WallDistance, settings: ExtractionSettings
) -> tuple[CentrelineTree, tuple[Opening, ...]]:
    """Radii as the final wall has them."""

    def field(x: Array) -> Array:
        return wall(x.reshape(-1, 3)).reshape(x.shape[:-1])

    branches = []
    for index, b in enumerate(kept.tree.branches):
        tangent = _tangents(b.points)
        cut = _sections(field, b.points, tangent, b.radius_mm, np.zeros(len(b.points)), settings.rays)
        good = cut.met > 0.85
        forks = [b.points[-1]] if kept.tree.children(index) else []
        forks += [b.points[0]] if b.parent >= 0 else []
        for fork in forks:
            good &= np.linalg.norm(b.points - fork, axis=1) > 1.1 * b.radius_mm
        radius = np.interp(np.arange(len(good)), np.flatnonzero(good), cut.radius[good]) if good.any() else b.radius_mm
        branches.append(replace(b, radius_mm=np.asarray(radius)))
    openings = []
    for o in kept.openings:
        cut = _sections(
            field, o.centre[None], o.normal[None], np.array([o.radius_mm]), np.zeros(1), settings.rays
        )
        openings.append(replace(o, radius_mm=float(cut.radius[0])))
    return CentrelineTree(tuple(branches)), tuple(openings)

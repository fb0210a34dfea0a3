"""From occupancy to the lumen: centreline tree with radii and openings, and the wall between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import measure
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree, Opening, rerooted
from VesselFlowGSLib.lumen.segment import Occupancy, axis_value
from VesselFlowGSLib.lumen.tracing import (
    Curve,
    ExtractionSettings,
    Graph,
    Image,
    calibrated,
    curves_about,
    degrees,
    frames,
    joined,
    neighbours,
    refined,
    resampled,
    sections,
    tangents,
    traced_ways,
    ways_from,
)
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance

Array = NDArray[np.float64]
Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]
Point = Sequence[float]

# These libraries bring no types.
surface_of: Any = measure.marching_cubes
vtk_array: Any = numpy_support.numpy_to_vtk
vtk_ids: Any = numpy_support.numpy_to_vtkIdTypeArray
plain_array: Any = numpy_support.vtk_to_numpy


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
    image = Image.of(occupancy, settings)
    clicks = ([] if inlet is None else [np.asarray(inlet, float)]) + [np.asarray(p, float) for p in outlets]
    traced = traced_ways(image, clicks[0] if clicks else None, settings)
    if len(clicks) > 1:
        traced = curves_about(traced, clicks)
    graph = refined(traced, image, settings)
    for _ in range(settings.calibrations):
        image = calibrated(image, graph, settings)
        graph = refined(traced, image, settings)
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
    graph: Graph, image: Image, inlet: Point | None, outlets: Sequence[Point], settings: ExtractionSettings
) -> _Kept:
    whole = graph
    graph = [_ended(c, degrees(graph), image, settings) for c in graph]
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
    leaves = [n for n, d in degrees(graph_open).items() if d == 1]
    ends = _ends(graph_open, given_inlet, given_outlets, leaves)
    kept = _spanning(graph_open, ends[0], ends[1:])
    hanging = [c for c in graph if not any(c is k for k in kept)]
    kept = joined(kept, ends)
    tree, branch_of = _rooted(kept, ends[0])
    openings = _openings(tree, ends, branch_of)
    return _with_cuts(tree, openings, hanging, whole, image, settings)


def _ended(curve: Curve, degree: dict[int, int], image: Image, settings: ExtractionSettings) -> Curve:
    """A free end moved back to the last cross-section that the data show whole."""
    usual = float(np.median(curve.radius))
    tangent = tangents(curve.points)
    radius = np.maximum(curve.radius, 0.5 * image.sigma)
    cut = sections(image, curve.points, tangent, radius, image.level(radius), settings.rays)
    a, b = frames(tangent)
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
            (
                i
                for i in range(len(good))
                if good[i] and cut.radius[i] > settings.tip_share * np.median(curve.radius[i : i + n])
            ),
            first,
        )
    if degree[curve.end] == 1:
        last = next(
            (
                i
                for i in range(last, -1, -1)
                if good[i] and cut.radius[i] > settings.tip_share * np.median(curve.radius[max(0, i - n) : i + 1])
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
    before = Curve(curve.start, new, np.vstack([curve.points[: i + 1], foot[i]]), np.append(curve.radius[: i + 1], r))
    after = Curve(new, curve.end, np.vstack([foot[i], curve.points[i + 1 :]]), np.append(r, curve.radius[i + 1 :]))
    return [c for c in graph if c is not curve] + [before, after], new


def _blind_bulges(graph: Graph, image: Image, settings: ExtractionSettings) -> Graph:
    degree = degrees(graph)
    if len(graph) == 1:
        return []
    return [c for c in graph if 1 in (degree[c.start], degree[c.end]) and _is_bulge(c, degree, image, settings)]


def _is_bulge(curve: Curve, degree: dict[int, int], image: Image, settings: ExtractionSettings) -> bool:
    """Short beyond its parent's wall, measured in its own radii, and not cut by the data's border."""
    c = curve if degree[curve.end] == 1 else curve.reversed()
    own = float(np.median(c.radius[len(c.radius) // 2 :]))
    stem = float(c.radius[0])
    ahead = c.points[-1] + np.linspace(0, 3 * own, 31)[:, None] * tangents(c.points)[-1]
    shown = image.covered(ahead)
    last = ahead[max(int(np.argmin(shown)) - 1, 0)]
    goes_on = not shown.all() and float(image(last[None])[0]) > 0.4
    return c.length - stem < settings.bulge_radii * own and not goes_on


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
                ways = ways_from(graph, n)
                return sum(any(c.end in outlets for c in ways.get(o, [])[:-1]) for o in outlets)

            least = min(blocked(n) for n in free)
            free = [n for n in free if blocked(n) == least]
        first = max(free, key=lambda n: width[n])
        return [first, *(outlets or [n for n in leaves if n != first])]
    sides = []
    for c in neighbours(graph)[inlet]:
        rest = [d for d in graph if not (d is c or {d.start, d.end} == {c.start, c.end})]
        ways = ways_from(rest, c.end)
        reached = [n for n in leaves if n in ways and n != inlet]
        sides.append((c.length + sum(d.length for d in rest if d.start in ways and inlet not in (d.start,)), reached))
    return [inlet, *max(sides, key=lambda s: s[0])[1]]


def _spanning(graph: Graph, root: int, ends: Sequence[int]) -> Graph:
    ways = ways_from(graph, root)
    wanted: set[tuple[int, int]] = set()
    for end in ends:
        if end not in ways or not ways[end]:
            raise InputError(
                "An outlet coincides with the inlet, or is not joined to it: check geometry in study.toml."
            )
        wanted.update((c.start, c.end) for c in ways[end])
    return [c for c in graph if (c.start, c.end) in wanted or (c.end, c.start) in wanted]


def _rooted(graph: Graph, root: int) -> tuple[CentrelineTree, dict[int, int]]:
    """Tree with branches away from the root, and the branch that ends at each node (0 for the root)."""
    around = neighbours(graph)
    branches: list[Branch] = []
    ends_at = {root: -1}
    queue = [root]
    while queue:
        node = queue.pop(0)
        for c in around[node]:
            if c.end in ends_at:
                continue
            step = c.length / max(3, len(c.points) - 1)
            points, radius = resampled(c.points, c.radius, step)
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
    image: Image,
    settings: ExtractionSettings,
) -> _Kept:
    """Stations of vessels that are left out, and of bulges, which are not."""
    kept = np.concatenate([b.points for b in tree.branches])
    kept_radius = np.concatenate([b.radius_mm for b in tree.branches])
    near = cKDTree(kept)
    degree = degrees(hanging)
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
        reach, of = cKDTree(bulges).query(points)
        apart &= reach > 1.6 * np.concatenate(bulge_r)[of]
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


def _lumen(kept: _Kept, image: Image, settings: ExtractionSettings) -> Lumen:
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
    stations: Array, radius: Array, image: Image, settings: ExtractionSettings
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
    image: Image,
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
        end = np.minimum(settings.stub_radii * o.radius_mm - t, 1.35 * o.radius_mm - across)
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


def _in_stub(opening: Opening, low: Array, h: float, shape: tuple[int, int, int], settings: ExtractionSettings) -> Mask:
    axes = [low[k] + h * np.arange(shape[k]).reshape([-1 if j == k else 1 for j in range(3)]) for k in range(3)]
    offset = [axes[k] - opening.centre[k] for k in range(3)]
    t = sum(offset[k] * opening.normal[k] for k in range(3))
    across = sum(offset[k] ** 2 for k in range(3)) - t**2
    limit = settings.stub_radii * opening.radius_mm
    return np.asarray((t > 0) & (t < limit + 2 * h) & (across < (1.4 * opening.radius_mm) ** 2))


def _data_beyond(opening: Opening, image: Image, settings: ExtractionSettings) -> float:
    """How far past an opening the vessel goes on straight in the data; a little at least."""
    r = opening.radius_mm
    a, b = frames(opening.normal[None])
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
    corner, faces, _, _ = surface_of(padded, 0.0, gradient_direction="ascent")
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
    """Windowed-sinc smoothing (Taubin 1996): waves shorter than the wavelength go, and nothing shrinks."""
    # The umbrella operator has the eigenvalue of about (2 pi edge / wavelength)^2 / 4 for a wave; edges are about h.
    pass_band = float(np.clip((2 * np.pi * 0.8 * h / wavelength) ** 2 / 4, 1e-3, 1.9))
    mesh = vtkPolyData()
    points = vtkPoints()
    points.SetDataTypeToDouble()
    points.SetData(vtk_array(np.ascontiguousarray(corner, float), deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(faces) + 1, 3, dtype=np.int64)
    cells.SetData(
        vtk_ids(offsets, deep=True),
        vtk_ids(np.ascontiguousarray(faces.ravel(), np.int64), deep=True),
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
    return np.asarray(plain_array(smooth.GetOutput().GetPoints().GetData()), np.float64)


def _measured(
    kept: _Kept, wall: WallDistance, settings: ExtractionSettings
) -> tuple[CentrelineTree, tuple[Opening, ...]]:
    """Radii as the final wall has them."""

    def field(x: Array) -> Array:
        return wall(x.reshape(-1, 3)).reshape(x.shape[:-1])

    branches = []
    for index, b in enumerate(kept.tree.branches):
        tangent = tangents(b.points)
        cut = sections(field, b.points, tangent, b.radius_mm, np.zeros(len(b.points)), settings.rays)
        good = cut.met > 0.85
        forks = [b.points[-1]] if kept.tree.children(index) else []
        forks += [b.points[0]] if b.parent >= 0 else []
        for fork in forks:
            good &= np.linalg.norm(b.points - fork, axis=1) > 1.1 * b.radius_mm
        radius = np.interp(np.arange(len(good)), np.flatnonzero(good), cut.radius[good]) if good.any() else b.radius_mm
        branches.append(replace(b, radius_mm=np.asarray(radius)))
    openings = []
    for o in kept.openings:
        cut = sections(field, o.centre[None], o.normal[None], np.array([o.radius_mm]), np.zeros(1), settings.rays)
        openings.append(replace(o, radius_mm=float(cut.radius[0])))
    return CentrelineTree(tuple(branches)), tuple(openings)

"""Arrows of the velocity at points spread evenly through the lumen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.vtkCommonDataModel import vtkPolyData

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSScene.appearance import Appearance, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.lumen import phase_of
from VesselFlowGSScene.near_wall import radius_of, velocity_of
from VesselFlowGSScene.poly_data import VELOCITY, fingerprint, mark, mark_of, poly_data
from VesselFlowGSScene.ranges import automatic_range
from VesselFlowGSScene.streamlines import hidden, with_display

Array = NDArray[Any]
BITS = 10
# The choice depends on the shape and the count alone; plain indices, so that no node is held.
_subsets: dict[str, Array] = {}


@dataclass(frozen=True)
class GlyphSettings:
    """most       arrows, however many are asked for
    drawn         points of the field that are drawn for one arrow, from which the evenly spread ones are taken
    least_speed   of the top of the speed range: slower blood, as at the wall, gets no arrow
    length_radii  of an arrow at the top of the speed range, in mean radii of the vessel
    remembered    how many choices of points are kept
    sides, shaft_radius, head_radius, head_length  of an arrow of length 1
    """

    most: int = 5000
    drawn: int = 16
    least_speed: float = 0.02
    length_radii: float = 1.5
    seed: int = 0
    remembered: int = 8
    sides: int = 6
    shaft_radius: float = 0.045
    head_radius: float = 0.13
    head_length: float = 0.36


def glyph_data(snapshot: Snapshot, appearance: Appearance, phase: int | None = None) -> vtkPolyData:
    """Arrows in RAS with Speed_m_s and, as active vectors, Velocity_m_s, each with its middle on its point.

    Empty without a field. The points are the same for all phases and snapshots of one shape. An arrow at the top of
    the speed range (98 % of the blood over all phases is slower) is 1.5 mean radii of the vessel long, times the
    appearance's scale.
    """
    arrows = _arrows(snapshot, appearance, phase, GlyphSettings())
    return vtkPolyData() if arrows is None else _arrow_data(arrows, GlyphSettings())


def typical_radius(snapshot: Snapshot) -> float:
    """mm: the mean along the centreline, or a guess from the size of what there is."""
    radius = radius_of(snapshot.centreline)
    if radius is not None:
        return float(np.mean(radius))
    if snapshot.field is None or len(snapshot.field.points) == 0:
        return 1.0
    return float(np.ptp(np.asarray(snapshot.field.points[::97]), axis=0).max()) / 20


def even_subset(points: Array, count: int, drawn: int, seed: int) -> Array:
    """Numbers of at most count of the points (n, 3), as evenly in space as chance allows whatever their density.

    Of drawn * count random ones, one in each cell of the finest grid that does not fill more than count cells, and for
    the rest some in cells half as large, evenly along the curve that visits these by their interleaved coordinates.
    """
    rng = np.random.default_rng(seed)
    if len(points) <= drawn * count:
        order = rng.permutation(len(points))
    else:
        order = rng.choice(len(points), drawn * count, replace=False, shuffle=True)
    x = np.asarray(points, np.float64)[order]
    low, size = x.min(0), max(float(np.ptp(x, axis=0).max()), 1e-9)
    code = _interleaved(((x - low) * ((1 << BITS) / (size * 1.0001))).astype(np.int64))
    along = np.argsort(code, kind="stable")
    code = code[along]
    coarse = first = np.zeros(0, np.int64)
    for level in range(BITS, -1, -1):
        coarse, first = first, np.flatnonzero(np.diff(code >> (3 * level), prepend=-1))
        if len(first) > count:
            break
    more = np.setdiff1d(first, coarse, assume_unique=True)
    wanted = min(count - len(coarse), len(more))
    fill = more[np.linspace(0, len(more) - 1, wanted).round().astype(np.int64)] if wanted else more[:0]
    return order[along[np.sort(np.concatenate([coarse, fill]))]]


def _interleaved(cells: Array) -> Array:
    """(n, 3) whole numbers below 2**BITS to (n,): the bits of the three by turns."""
    code = np.zeros(len(cells), np.int64)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _subset_of(snapshot: Snapshot, points: Array, count: int, settings: GlyphSettings) -> Array:
    shape = snapshot.shape or fingerprint(np.ascontiguousarray(points[::97]))
    key = f"{shape} {len(points)} {count} {settings}"
    if key not in _subsets:
        if len(_subsets) >= settings.remembered:
            _subsets.clear()
        _subsets[key] = even_subset(points, count, settings.drawn, settings.seed)
    return _subsets[key]


def show_glyphs(case: Case, snapshot: Snapshot, appearance: Appearance, scale: Scale | None, phase: int | None) -> Any:
    """Bring the arrows' model up to date; its display node, or None where there is none."""
    arrows = _arrows(snapshot, appearance, phase, GlyphSettings()) if appearance.glyphs else None
    if arrows is None:
        return hidden(case.get(Role.GLYPHS))
    node = case.put(Role.GLYPHS, "vtkMRMLModelNode")
    if mark_of(node.GetPolyData()) != arrows.made_of:
        node.SetAndObserveMesh(_arrow_data(arrows, GlyphSettings()))
    display = with_display(node)
    display.SetVisibility(True)
    paint(display, scale)
    return display


@dataclass(frozen=True)
class _Arrows:
    """at (n, 3) mm and velocity (n, 3) m/s in RAS; mm_per_m_s: the length of an arrow for its speed."""

    at: Array
    velocity: Array
    mm_per_m_s: float
    made_of: str


def _arrows(snapshot: Snapshot, appearance: Appearance, phase: int | None, settings: GlyphSettings) -> _Arrows | None:
    field, velocity = snapshot.field, velocity_of(snapshot, phase_of(snapshot, phase))
    top = automatic_range(snapshot, Quantity.SPEED, None, over_time=True)
    if field is None or velocity is None or top is None or len(field.points) == 0:
        return None
    subset = _subset_of(snapshot, np.asarray(field.points), min(appearance.glyph_count, settings.most), settings)
    at = ras_of(np.asarray(field.points)[subset].astype(np.float32))
    chosen = ras_of(np.asarray(velocity)[subset].astype(np.float32))
    moving = np.einsum("ij,ij->i", chosen, chosen) > (settings.least_speed * top[1]) ** 2
    at, chosen = at[moving], chosen[moving]
    length = appearance.glyph_scale * settings.length_radii * typical_radius(snapshot) / top[1]
    return _Arrows(at, chosen, length, fingerprint(at, chosen, length))


def _arrow_data(arrows: _Arrows, settings: GlyphSettings) -> vtkPolyData:
    speed = np.linalg.norm(arrows.velocity, axis=1)
    along = arrows.velocity / np.maximum(speed, 1e-30)[:, None]
    points, triangles = _drawn(arrows.at, along, arrows.mm_per_m_s * speed, settings)
    corners = len(_arrow(settings)[0])
    arrays = {"Speed_m_s": np.repeat(speed, corners), VELOCITY: np.repeat(arrows.velocity, corners, axis=0)}
    return mark(poly_data(points, arrays, triangles=triangles, vectors=VELOCITY), arrows.made_of)


def _drawn(at: Array, along: Array, length: Array, settings: GlyphSettings) -> tuple[Array, Array]:
    shape, triangles = _arrow(settings)
    # any direction across will do: an arrow looks the same from all sides
    other = np.where(np.abs(along[:, :1]) < 0.8, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    across = np.cross(along, other)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
    frame = np.stack([along, across, np.cross(along, across)], axis=1) * length[:, None, None]
    points = np.einsum("ki,nij->nkj", shape, frame) + at[:, None]
    every = triangles + len(shape) * np.arange(len(at))[:, None, None]
    return points.reshape(-1, 3), every.reshape(-1, 3)


@cache
def _arrow(settings: GlyphSettings) -> tuple[Array, Array]:
    """Points (k, 3) and triangles, outwards, of an arrow of length 1 along the first axis with its middle at zero."""
    sides = settings.sides
    turn = 2 * np.pi * np.arange(sides) / sides
    neck = 0.5 - settings.head_length
    rings = [(-0.5, settings.shaft_radius), (neck, settings.shaft_radius), (neck, settings.head_radius)]
    points = [np.stack([np.full(sides, x), r * np.cos(turn), r * np.sin(turn)], -1) for x, r in rings]
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    triangles = []
    for ring in range(2):
        a, b = ring * sides, (ring + 1) * sides
        triangles += [np.stack([a + i, b + i, b + j], -1)[:, ::-1], np.stack([a + i, b + j, a + j], -1)[:, ::-1]]
    tip = np.full(sides, 3 * sides)
    triangles.append(np.stack([2 * sides + i, 2 * sides + j, tip], -1))
    end = np.full(sides, 3 * sides + 1)
    triangles.append(np.stack([j, i, end], -1))
    return np.concatenate([*points, [[0.5, 0, 0], [-0.5, 0, 0]]]), np.concatenate(triangles)

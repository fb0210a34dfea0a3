"""How a vessel falls onto the detector of a run: its outline and centreline in pixels. Numpy alone, LPS mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.camera import Cameras, carm_cameras
from VesselFlowGSLib.acquisition.description import Point
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSScene.runs import RunEntry, missing, value

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Vessel:
    """A vessel prepared for projection, so that every camera costs little.

    points      (n, 3) of the wall
    edges       (e, 2) edges between two triangles, or of one at an open end
    sides       (e, 2) those triangles; the second is -1 at an open end
    normals     (m, 3) of the triangles, and heights (m,) of their planes along them
    centreline  (k, 3) points, curve i is centreline[offsets[i]:offsets[i + 1]]
    """

    points: Array
    edges: NDArray[np.int64]
    sides: NDArray[np.int64]
    normals: Array
    heights: Array
    centreline: Array
    offsets: NDArray[np.int64]

    @property
    def centre(self) -> Array:
        """(3,) the middle of the box around it."""
        every = np.concatenate([self.points, self.centreline])
        return np.asarray((every.min(0) + every.max(0)) / 2)


@dataclass(frozen=True)
class Drawing:
    """Lines on a detector: pixels (n, 2) as (row, column); line i is pixels[offsets[i]:offsets[i + 1]]."""

    pixels: Array
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class Drag:
    """How far a person moved the projection in one view to lay it on the vessel, in pixels (row, column)."""

    entry: RunEntry
    shift_px: tuple[float, float]


@dataclass(frozen=True)
class IsocentreFit:
    """An isocentre, LPS mm, and what it leaves of each drag, in pixels."""

    isocentre_lps_mm: Point
    left_px: tuple[float, ...]


def vessel_of_mesh(
    points: NDArray[np.floating],
    triangles: NDArray[np.integer],
    centreline: NDArray[np.floating] | None = None,
    offsets: NDArray[np.integer] | None = None,
) -> Vessel:
    """A vessel from points (n, 3) and triangles (m, 3), LPS mm; the triangles may be turned either way."""
    points = np.asarray(points, np.float64)
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    start, stop = triangles.T.ravel(), np.roll(triangles, -1, axis=1).T.ravel()
    keys = np.minimum(start, stop).astype(np.int64) * len(points) + np.maximum(start, stop)
    order = np.argsort(keys, kind="stable")
    keys, of_triangle = keys[order], order % len(triangles)
    same = keys[1:] == keys[:-1]
    first = np.concatenate([[True], ~same])
    starts = np.flatnonzero(first)
    shared = np.concatenate([same, [False]])[starts]
    second = np.where(shared, of_triangle[np.minimum(starts + 1, len(of_triangle) - 1)], -1)
    none = np.zeros((0, 3)), np.zeros(1, np.int64)
    return Vessel(
        points=points,
        edges=np.stack(np.divmod(keys[starts], len(points)), 1),
        sides=np.stack([of_triangle[starts], second], 1),
        normals=normals,
        heights=np.einsum("ij,ij->i", normals, corners[:, 0]),
        centreline=none[0] if centreline is None else np.asarray(centreline, np.float64),
        offsets=none[1] if offsets is None else np.asarray(offsets, np.int64),
    )


def vessel_of_snapshot(snapshot: Snapshot) -> Vessel | None:
    """The lumen and centreline of a snapshot, or None where there is no lumen yet."""
    if snapshot.surface is None:
        return None
    line = snapshot.centreline
    return vessel_of_mesh(
        snapshot.surface.points,
        snapshot.surface.triangles,
        None if line is None else line.points,
        None if line is None else line.offsets,
    )


def cameras_of(entry: RunEntry, isocentre_lps_mm: Sequence[float]) -> Cameras:
    """The cameras of a run: one for a C-arm at rest, one a frame for one that turns; frames flipped as entered.

    Raises InputError with what is missing.
    """
    used = replace(entry, use=True)
    lacks = {column: reason for column, reason in missing(used).items() if column not in ("intensity", "frame_times_s")}
    if lacks:
        column, reason = next(iter(lacks.items()))
        raise InputError(f"{entry.name}: {column}: {reason}.")
    row, column_px = entry.principal_point_px
    if value(entry, "flip_rows"):
        row = entry.rows - 1 - row
    if value(entry, "flip_columns"):
        column_px = entry.columns - 1 - column_px
    return carm_cameras(
        np.radians(entry.primary_angle_deg + np.array(entry.primary_turn_deg or (0.0,))),
        np.radians(entry.secondary_angle_deg + np.array(entry.secondary_turn_deg or (0.0,))),
        entry.source_to_isocentre_mm,
        entry.source_to_detector_mm,
        entry.pixel_spacing_mm,
        (entry.rows, entry.columns),
        (row, column_px),
        isocentre_lps_mm,
    )


def drawing_of(vessel: Vessel, camera: Cameras, centreline: bool = True) -> Drawing:
    """The outline of a vessel on one detector, and its centreline.

    The outline is where the X-rays touch the wall: edges with one triangle towards the source and one away from it,
    and the rims of open ends. What lies behind the source is left out.
    """
    facing = vessel.normals @ camera.source[0] > vessel.heights
    one, other = vessel.sides.T
    seen = (other < 0) | (facing[one] != facing[np.maximum(other, 0)])
    ends = camera.pixels(vessel.points[vessel.edges[seen]].reshape(-1, 3))[0].reshape(-1, 2, 2)
    ends = ends[np.isfinite(ends).all((1, 2))]
    pixels, lengths = [ends.reshape(-1, 2)], [np.full(len(ends), 2)]
    if centreline and len(vessel.centreline):
        along = camera.pixels(vessel.centreline)[0]
        for start, stop in zip(vessel.offsets, vessel.offsets[1:], strict=False):
            if np.isfinite(along[start:stop]).all():
                pixels.append(along[start:stop])
                lengths.append(np.array([stop - start]))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Drawing(np.concatenate(pixels), offsets.astype(np.int64))


# laying the projection on the vessel


def shifted(entry: RunEntry, shift_px: tuple[float, float]) -> RunEntry:
    """The run with its projection moved by (row, column) pixels, which is where its central ray meets the detector.

    The reconstruction uses it as principal_point_px.
    """
    row, column = shift_px
    row = -row if value(entry, "flip_rows") else row
    column = -column if value(entry, "flip_columns") else column
    middle = entry.principal_point_px
    return replace(entry, entered=replace(entry.entered, principal_point_px=(middle[0] + row, middle[1] + column)))


def shift_of(entry: RunEntry) -> tuple[float, float]:
    """How far the central ray lies from the middle of the detector, (row, column) pixels of the frames as shown."""
    row = entry.principal_point_px[0] - (entry.rows - 1) / 2
    column = entry.principal_point_px[1] - (entry.columns - 1) / 2
    return (
        -row if value(entry, "flip_rows") else row,
        -column if value(entry, "flip_columns") else column,
    )


def fitted_isocentre(
    drags: Sequence[Drag], isocentre_lps_mm: Sequence[float], about_lps_mm: Sequence[float]
) -> IsocentreFit:
    """The isocentre that moves the projections of a point of the vessel as they were dragged (least squares).

    Two views that differ in angle settle it; one leaves it where it was along its rays. Raises InputError without a
    drag.
    """
    if not drags:
        raise InputError("Drag the projected vessel onto the vessel in at least one view, better in two.")
    start = np.asarray(isocentre_lps_mm, float)
    about = np.asarray(about_lps_mm, float)[None]

    def seen(isocentre: Array) -> Array:
        return np.concatenate([cameras_of(drag.entry, isocentre)[0].pixels(about)[0, 0] for drag in drags])

    wanted = seen(start) + np.concatenate([drag.shift_px for drag in drags])
    found = start
    for _ in range(ITERATIONS):
        here = seen(found)
        slopes = np.stack([(seen(found + step) - here) / STEP_MM for step in STEP_MM * np.eye(3)], 1)
        found = found + np.linalg.lstsq(slopes, wanted - here, rcond=WEAK)[0]
    left = np.linalg.norm((wanted - seen(found)).reshape(-1, 2), axis=1)
    x, y, z = (float(v) for v in found)
    return IsocentreFit((x, y, z), tuple(float(v) for v in left))


# Gauss-Newton: the projection is nearly linear in the isocentre, so that few steps do
ITERATIONS = 5
STEP_MM = 0.01
# directions that move the projection by less than this share of the strongest are left alone: along the rays of one
# view it moves by the size of the vessel over its distance only
WEAK = 0.1

"""Lines along the flow as a model: thin tubes coloured by speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.vtkCommonDataModel import vtkPolyData

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.lumen import phase_of
from VesselFlowGSScene.poly_data import VELOCITY, fingerprint, mark, mark_of, poly_data

Array = NDArray[Any]


@dataclass(frozen=True)
class StreamlineSettings:
    """sides of a tube; most_points: with more of them the lines stay lines, so that a view never waits."""

    sides: int = 5
    most_points: int = 60_000


def streamline_data(snapshot: Snapshot, appearance: Appearance, phase: int | None = None) -> vtkPolyData:
    """Tubes of the appearance's width in RAS with Speed_m_s and, as active vectors, Velocity_m_s; empty without lines.

    Where there are too many points for tubes, the lines themselves.

    phase  number of one of the snapshot's phases; its own lines where it has some, else the snapshot's
    """
    lines = lines_of(snapshot, phase)
    if lines is None or len(lines.points) == 0:
        return vtkPolyData()
    settings = StreamlineSettings()
    arrays = _shown_arrays(lines)
    if len(lines.points) > settings.most_points:
        points = ras_of(np.asarray(lines.points, np.float32))
        data = poly_data(points, arrays, lines=lines.offsets, vectors=VELOCITY)
    else:
        data = tubes(lines, arrays, appearance.streamline_width_mm / 2, settings.sides)
    return mark(data, _made_of(lines, appearance))


def _shown_arrays(lines: Polylines) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    velocity = lines.arrays.get("velocity")
    speed = lines.arrays.get("speed")
    if speed is None and velocity is not None:
        speed = np.linalg.norm(velocity, axis=1)
    if speed is not None:
        arrays["Speed_m_s"] = np.array(speed, np.float32)
    if velocity is not None:
        arrays[VELOCITY] = ras_of(np.asarray(velocity, np.float32))
    return arrays


def lines_of(snapshot: Snapshot, phase: int | None) -> Polylines | None:
    """The streamlines of a phase, or the snapshot's own."""
    moment = phase_of(snapshot, phase)
    return moment.streamlines if moment is not None and moment.streamlines is not None else snapshot.streamlines


def show_streamlines(
    case: Case, snapshot: Snapshot, appearance: Appearance, scale: Scale | None, phase: int | None
) -> Any:
    """Bring the streamlines' model up to date; its display node, or None where there is none."""
    node = case.get(Role.STREAMLINES)
    lines = lines_of(snapshot, phase)
    if not appearance.streamlines or lines is None or len(lines.points) == 0:
        return hidden(node)
    node = case.put(Role.STREAMLINES, "vtkMRMLModelNode")
    if mark_of(node.GetPolyData()) != _made_of(lines, appearance):
        node.SetAndObserveMesh(streamline_data(snapshot, appearance, phase))
    display = with_display(node)
    display.SetVisibility(True)
    paint(display, scale)
    return display


def hidden(node: Any | None) -> Any | None:
    """Hide a node that may not exist; its display node, or None."""
    display = None if node is None else node.GetDisplayNode()
    if display is not None:
        display.SetVisibility(False)
    return display


def with_display(node: Any) -> Any:
    """The display node of a model, made where there is none."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def tubes(lines: Polylines, arrays: Mapping[str, Array], radius: float, sides: int) -> vtkPolyData:
    """Tubes in RAS around curves of LPS points, as triangle strips, with the curves' arrays on all their points.

    The sections are turned after one axis for each curve, the one it runs along the least: quicker than carrying a
    frame along, and no other to the eye at the width of a streamline.
    """
    x = ras_of(np.asarray(lines.points, np.float32))
    offsets = np.asarray(lines.offsets, np.int64)
    along = _tangents(x, offsets)
    steepest = np.maximum.reduceat(np.abs(along), offsets[:-1], axis=0)
    axis = np.eye(3, dtype=np.float32)[np.repeat(steepest.argmin(1), np.diff(offsets))]
    first = _unit(_cross(along, axis))
    second = _cross(along, first)
    # as one product of matrices, (n, 6) with (6, 3 sides): several times as fast as sums over axes of three
    turn = 2 * np.pi * np.arange(sides) / sides
    around = np.concatenate([np.kron(wave(turn)[None], np.eye(3)) for wave in (np.cos, np.sin)])
    outwards = np.concatenate([first, second], axis=1) @ around.astype(np.float32)
    points = np.tile(x, sides) + np.float32(radius) * outwards
    on_tube = {name: np.repeat(values, sides, axis=0) for name, values in arrays.items()}
    corner = np.arange(len(x) * sides).reshape(-1, sides)
    strips = np.stack([corner, np.roll(corner, -1, axis=1)], -1).transpose(1, 0, 2)
    ends = 2 * (offsets[:-1] + len(x) * np.arange(sides)[:, None]).ravel()
    return poly_data(
        points.reshape(-1, 3),
        on_tube,
        strips=(np.append(ends, strips.size), strips.ravel()),
        vectors=VELOCITY,
        normals=outwards.reshape(-1, 3),
    )


def _tangents(x: Array, offsets: Array) -> Array:
    step = np.zeros_like(x)
    step[:-1] = x[1:] - x[:-1]
    # at the last point of a curve the step would lead to the next curve: the one before it stands for it
    last = offsets[1:] - 1
    step[last] = step[np.maximum(last - 1, offsets[:-1])] * (np.diff(offsets) > 1)[:, None]
    mean = step.copy()
    mean[1:] += step[:-1]
    mean[offsets[:-1]] = step[offsets[:-1]]
    return _unit(mean)


def _unit(vectors: Array) -> Array:
    size = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / np.maximum(size, 1e-20)[:, None]


def _cross(a: Array, b: Array) -> Array:
    p, q = a.T, b.T
    return np.stack([p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]], -1)


def _made_of(lines: Polylines, appearance: Appearance) -> str:
    arrays = [np.asarray(values) for _, values in sorted(lines.arrays.items())]
    return fingerprint(np.asarray(lines.points), np.asarray(lines.offsets), *arrays, appearance.streamline_width_mm)

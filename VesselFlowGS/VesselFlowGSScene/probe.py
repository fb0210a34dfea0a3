"""A point that a person drags through the vessel: speed, pressure, wall shear stress nearby, the way to the wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Snapshot, Surface
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.cutplane import point_on_branch
from VesselFlowGSScene.frames import lps_of, ras_of

if TYPE_CHECKING:
    from VesselFlowGSLib.results.sections import FieldSampler

Array = NDArray[Any]
PROBE_COLOUR = (0.2, 0.9, 0.9)
# the triangles around so many wall points are looked at for the way to the wall
NEAREST = 12


@dataclass(frozen=True)
class Reading:
    """What is at the probe; what is not known there is None.

    inside            within the vessel
    velocity_m_s      (3,) LPS
    wss_pa            of the nearest wall point
    wall_distance_mm  to the wall, from inside or outside
    """

    inside: bool
    velocity_m_s: Array | None = None
    pressure_pa: float | None = None
    wss_pa: float | None = None
    wall_distance_mm: float | None = None

    @property
    def speed_m_s(self) -> float | None:
        return None if self.velocity_m_s is None else float(np.linalg.norm(self.velocity_m_s))

    @property
    def text(self) -> str:
        """The reading in one line."""
        return " · ".join(self.words)

    @property
    def words(self) -> tuple[str, ...]:
        """The reading piece by piece, with units."""
        away = None if self.wall_distance_mm is None else f"{self.wall_distance_mm:.2f} mm"
        if not self.inside:
            return ("outside the vessel",) if away is None else ("outside the vessel", f"{away} from its wall")
        found = []
        if self.speed_m_s is not None:
            found.append(f"speed {self.speed_m_s:.3f} m/s")
        if self.pressure_pa is not None:
            found.append(f"pressure {self.pressure_pa / PASCAL_PER_MMHG:.2f} mmHg")
        if self.wss_pa is not None:
            found.append(f"wall shear stress nearby {self.wss_pa:.2f} Pa")
        if away is not None:
            found.append(f"wall {away} away")
        return tuple(found)


def place_probe(case: Case, snapshot: Snapshot) -> Any | None:
    """The case's probe; a new one is put into the middle of the first branch. None without a centreline."""
    node = case.get(Role.PROBE)
    if node is not None and node.GetNumberOfControlPoints():
        return node
    line = snapshot.centreline
    if line is None or len(line.offsets) < 2:
        return None
    first = np.asarray(line.points[int(line.offsets[0]) : int(line.offsets[1])], float)
    length = float(np.linalg.norm(np.diff(first, axis=0), axis=1).sum())
    at = point_on_branch(line, length / 2)
    if at is None:
        return None
    node = case.put(Role.PROBE, "vtkMRMLMarkupsFiducialNode")
    node.SetMaximumNumberOfControlPoints(1)
    node.AddControlPointWorld(*ras_of(at[0]))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSelectedColor(*PROBE_COLOUR)
    node.GetDisplayNode().SetPointLabelsVisibility(True)
    return node


def read_probe(
    case: Case, snapshot: Snapshot, sampler: FieldSampler | None, phase: int | None = None
) -> Reading | None:
    """What is where the probe is now; its label says it. None where there is no probe.

    sampler  of the phase that is shown: see cutplane.sampler_of
    """
    node = case.get(Role.PROBE)
    if node is None or node.GetNumberOfControlPoints() == 0:
        return None
    place = np.zeros(3)
    node.GetNthControlPointPositionWorld(0, place)
    reading = reading_at(lps_of(place), snapshot, sampler, phase)
    label = "\n".join(reading.words)
    if node.GetNthControlPointLabel(0) != label:
        node.SetNthControlPointLabel(0, label)
    return reading


def remove_probe(case: Case) -> None:
    """Remove the probe."""
    case.drop(Role.PROBE)


def reading_at(point: Array, snapshot: Snapshot, sampler: FieldSampler | None, phase: int | None = None) -> Reading:
    """What is at a point (3,), LPS mm."""
    wall = snapshot.surface
    distance, nearest = (None, None) if wall is None else distance_to_wall(point, wall)
    if sampler is None:
        return Reading(inside=False, wall_distance_mm=distance)
    velocity, pressure, inside = sampler.probe(np.asarray(point, float)[None])
    if not inside[0]:
        return Reading(inside=False, wall_distance_mm=distance)
    stress = None
    if wall is not None and nearest is not None:
        of_phase = snapshot.phases[phase].surface if phase is not None and phase < len(snapshot.phases) else {}
        values = of_phase.get("wss", wall.arrays.get("wss"))
        stress = None if values is None else float(values[nearest])
    return Reading(True, np.asarray(velocity[0], float), float(pressure[0]), stress, distance)


def distance_to_wall(point: Array, wall: Surface) -> tuple[float | None, int | None]:
    """Millimetres from a point (3,) to the triangles of the wall, and the nearest of its points."""
    if len(wall.points) == 0:
        return None, None
    away = np.linalg.norm(np.asarray(wall.points) - point, axis=1)
    count = min(NEAREST, len(away))
    close = np.argpartition(away, count - 1)[:count]
    nearest = int(close[np.argmin(away[close])])
    triangles = np.asarray(wall.triangles)
    around = triangles[np.isin(triangles, close).any(axis=1)]
    if len(around) == 0:
        return float(away[nearest]), nearest
    corners = np.asarray(wall.points, float)[around]
    return min(float(away[nearest]), float(_to_triangles(np.asarray(point, float), corners).min())), nearest


def _to_triangles(point: Array, corners: Array) -> Array:
    """(n,) distances to triangles (n, 3, 3): over the face where the foot lies in it, else to the nearest edge."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    to_edges = np.min([_to_segments(point, p, q) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    normal = np.cross(b - a, c - a)
    size = np.linalg.norm(normal, axis=1)
    unit = normal / np.maximum(size, 1e-30)[:, None]
    height = np.einsum("ij,ij->i", point - a, unit)
    foot = point - height[:, None] * unit
    sides = [np.einsum("ij,ij->i", np.cross(q - p, foot - p), unit) for p, q in ((a, b), (b, c), (c, a))]
    over = (np.min(sides, axis=0) >= 0) & (size > 0)
    return np.asarray(np.where(over, np.abs(height), to_edges))


def _to_segments(point: Array, start: Array, end: Array) -> Array:
    along = end - start
    length = np.maximum(np.einsum("ij,ij->i", along, along), 1e-30)
    part = np.clip(np.einsum("ij,ij->i", point - start, along) / length, 0, 1)
    return np.asarray(np.linalg.norm(start + part[:, None] * along - point, axis=1))

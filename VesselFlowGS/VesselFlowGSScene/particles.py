"""Particles that the blood carries along, moved in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.glyphs import typical_radius
from VesselFlowGSScene.lumen import phase_of
from VesselFlowGSScene.near_wall import velocity_of
from VesselFlowGSScene.poly_data import VELOCITY, array_of, points_of, poly_data
from VesselFlowGSScene.streamlines import hidden, with_display

Array = NDArray[Any]
POINT_SIZE = 4.0


@dataclass(frozen=True)
class ParticleSettings:
    """cells_per_radius  of the grid on which the velocity is looked up
    most_points          of the field that the grid is made of
    life_radii           how far a particle of typical speed goes, in radii, until it begins anew elsewhere
    most_steps           of one advance; each is at most a cell long as long as there are enough of them
    """

    cells_per_radius: float = 4.0
    most_points: int = 150_000
    life_radii: float = 12.0
    most_steps: int = 8
    seed: int = 0
    most_cells: int = 8_000_000


class Particles:
    """The particles of a case. Made anew for another snapshot; hold none over the closing of a scene.

    They move through the snapshot's field, or that of the phase which is set: the flow of that instant, held still.
    """

    def __init__(self, case: Case, snapshot: Snapshot, appearance: Appearance, phase: int | None = None) -> None:
        self.case, self.snapshot, self.appearance = case, snapshot, appearance
        self.settings = ParticleSettings()
        self._random = np.random.default_rng(self.settings.seed)
        self._grid = _grid_of(snapshot, self.settings)
        self._velocity = np.zeros((0, 3), np.float32)
        if self._grid is not None:
            self.set_phase(phase)
            self._begin()

    @property
    def alive(self) -> bool:
        """Whether there is something to move: a field, and a node in a scene."""
        return self._grid is not None and self.case.scene is not None and self.case.get(Role.PARTICLES) is not None

    def set_phase(self, phase: int | None) -> None:
        """From now on the particles follow the flow of this phase."""
        if self._grid is None:
            return
        velocity = velocity_of(self.snapshot, phase_of(self.snapshot, phase))
        assert velocity is not None
        self._velocity = self._grid.means(ras_of(np.asarray(velocity)[self._grid.chosen]))
        typical = float(np.percentile(np.linalg.norm(self._velocity, axis=1), 75))
        self._life_s = self.settings.life_radii * typical_radius(self.snapshot) / max(1e3 * typical, 1e-6)

    def advance(self, seconds: float) -> None:
        """Move the particles by so many seconds of watching, in the memory of the node's points."""
        if not self.alive:
            return
        data = self.case.get(Role.PARTICLES).GetPolyData()
        x, speed, vectors = points_of(data), array_of(data, "Speed_m_s"), array_of(data, VELOCITY)
        if len(x) != len(self._age) or speed is None or vectors is None:
            return
        flow_s = seconds * self.appearance.particle_pace
        self._move(x, vectors, flow_s)
        self._age += flow_s
        np.sqrt(np.einsum("ij,ij->i", vectors, vectors), out=speed)
        data.GetPoints().GetData().Modified()
        data.GetPointData().GetArray("Speed_m_s").Modified()
        data.GetPointData().GetArray(VELOCITY).Modified()
        data.GetPoints().Modified()
        data.Modified()

    def _begin(self) -> None:
        count = self.appearance.particle_count
        x = self._places(count)
        self._lives = self._life_s * self._random.uniform(0.5, 1.5, count)
        self._age = self._lives * self._random.random(count)
        velocity, _ = self._at(x)
        arrays = {"Speed_m_s": np.linalg.norm(velocity, axis=1), VELOCITY: velocity}
        node = self.case.put(Role.PARTICLES, "vtkMRMLModelNode")
        node.SetAndObserveMesh(poly_data(x, arrays, vectors=VELOCITY))
        display = with_display(node)
        display.SetRepresentation(slicer.vtkMRMLDisplayNode.PointsRepresentation)
        display.SetPointSize(POINT_SIZE)
        display.SetLighting(False)
        display.SetVisibility(self.appearance.particles)

    def _places(self, count: int) -> Array:
        assert self._grid is not None
        cells = self._random.integers(0, len(self._grid.corners), count)
        jitter = self._random.random((count, 3), dtype=np.float32)
        return self._grid.corners[cells] + self._grid.size * jitter

    def _at(self, x: Array) -> tuple[Array, Array]:
        assert self._grid is not None
        cell = self._grid.cell_of(x)
        return self._velocity[cell], cell >= 0

    def _move(self, x: Array, vectors: Array, flow_s: float) -> None:
        assert self._grid is not None
        fastest = 1e3 * float(np.abs(vectors).max(initial=0.0))
        steps = int(np.clip(np.ceil(fastest * flow_s / self._grid.size), 1, self.settings.most_steps))
        # the midpoint rule: m/s to mm by 1e3
        step = np.float32(1e3 * flow_s / steps)
        inside = np.ones(len(x), bool)
        for _ in range(steps):
            middle, _ = self._at(x + (0.5 * step) * vectors)
            x += step * middle
            velocity, still = self._at(x)
            vectors[...] = velocity
            inside &= still
        anew = np.flatnonzero(~inside | (self._age > self._lives))
        if len(anew):
            x[anew] = self._places(len(anew))
            self._age[anew] = 0.0
            vectors[anew], _ = self._at(x[anew])


def paint_particles(case: Case, appearance: Appearance, scale: Scale | None) -> Any:
    """Colour or hide the particles' model; its display node, or None where there is none."""
    node = case.get(Role.PARTICLES)
    if node is None or not appearance.particles:
        return hidden(node)
    display = with_display(node)
    display.SetVisibility(True)
    paint(display, scale)
    return display


@dataclass(frozen=True)
class _Grid:
    """Cells of a grid that hold points of the field.

    low      (3,) RAS of the grid's corner
    number   (x, y, z) number of a cell among those that hold points, -1 for the others; flat
    corners  (cells, 3) RAS
    chosen   points of the field; of_point the cell of each
    """

    low: Array
    size: float
    shape: Array
    number: Array
    corners: Array
    chosen: Array
    of_point: Array

    def cell_of(self, x: Array) -> Array:
        """(n,) number of the cell, -1 outside."""
        at = np.floor((x - self.low) * np.float32(1 / self.size)).astype(np.int32)
        np.clip(at, 0, self.shape - 1, out=at)
        return self.number[(at[:, 0] * self.shape[1] + at[:, 1]) * self.shape[2] + at[:, 2]]

    def means(self, values: Array) -> Array:
        """(points, 3) to (cells + 1, 3) float32; the last row is that of the outside: nothing moves there."""
        count = len(self.corners)
        points = np.maximum(np.bincount(self.of_point, minlength=count), 1)
        sums = [np.bincount(self.of_point, values[:, k], count) / points for k in range(3)]
        return np.append(np.stack(sums, -1), np.zeros((1, 3)), axis=0).astype(np.float32)


def _grid_of(snapshot: Snapshot, settings: ParticleSettings) -> _Grid | None:
    field = snapshot.field
    if field is None or velocity_of(snapshot, None) is None or len(field.points) == 0:
        return None
    count = len(field.points)
    chosen = np.arange(count)
    if count > settings.most_points:
        chosen = np.random.default_rng(settings.seed).integers(0, count, settings.most_points)
    x = ras_of(np.asarray(field.points, np.float32)[chosen])
    extent = np.ptp(x, axis=0)
    size = typical_radius(snapshot) / settings.cells_per_radius
    size = max(size, float(np.prod(extent + size) / settings.most_cells) ** (1 / 3))
    # an empty rim, so that what leaves the box is outside
    low = (x.min(0) - 1.5 * size).astype(np.float32)
    shape = (np.ceil(extent / size).astype(np.int32) + 4).astype(np.int32)
    at = np.floor((x - low) / np.float32(size)).astype(np.int64)
    flat = (at[:, 0] * shape[1] + at[:, 1]) * shape[2] + at[:, 2]
    filled, of_point = np.unique(flat, return_inverse=True)
    number = np.full(int(np.prod(shape.astype(np.int64))), -1, np.int32)
    number[filled] = np.arange(len(filled))
    corners = low + np.float32(size) * np.stack(np.unravel_index(filled, tuple(shape)), -1).astype(np.float32)
    return _Grid(low, float(size), shape, number, corners, chosen, of_point)

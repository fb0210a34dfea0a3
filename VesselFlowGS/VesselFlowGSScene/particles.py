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
    """cells_per_radius  of the grid on which the velocity is looked up, at most
    points_per_cell      of the field, on the mean: with fewer there would be holes in which the blood stands
    most_points          of the field that the grid is made of
    life_radii           how far a particle of typical speed goes, in radii, until it begins anew elsewhere
    step_radii           how far the fastest particle goes in one step; rather longer steps than more than most_steps
    least_speed          of the fastest: slower blood, as at the wall, carries no particles
    """

    cells_per_radius: float = 7.0
    points_per_cell: float = 6.0
    most_points: int = 100_000
    life_radii: float = 12.0
    step_radii: float = 0.8
    most_steps: int = 6
    least_speed: float = 0.03
    seed: int = 0
    most_cells: int = 8_000_000


class Particles:
    """The particles of a case. Made anew for another snapshot; hold none over the closing of a scene.

    They move through the snapshot's field, or that of the phase which is set: the flow of that instant, held still.

    appearance  may be replaced while they move: its pace is that of the next step
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
        speed = np.linalg.norm(self._velocity, axis=1)
        self._fastest = float(speed.max())
        moving = speed[:-1] > self.settings.least_speed * self._fastest
        self._starts = self._grid.points[self._grid.one_point[moving]]
        self._life_s = self.settings.life_radii * self._grid.radius / max(1e3 * float(np.percentile(speed, 75)), 1e-6)

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
        velocity = self._at(x)
        arrays = {"Speed_m_s": np.linalg.norm(velocity, axis=1), VELOCITY: velocity}
        node = self.case.put(Role.PARTICLES, "vtkMRMLModelNode")
        node.SetAndObserveMesh(poly_data(x, arrays, vectors=VELOCITY))
        display = with_display(node)
        display.SetRepresentation(slicer.vtkMRMLDisplayNode.PointsRepresentation)
        display.SetPointSize(POINT_SIZE)
        display.SetLighting(False)
        display.SetVisibility(self.appearance.particles)

    def _places(self, count: int) -> Array:
        """Points of the field in cells drawn at random where the blood moves: as even in space as the cells are."""
        assert self._grid is not None
        starts = self._starts if len(self._starts) else self._grid.points[:1]
        return starts[self._random.integers(0, len(starts), count)]

    def _at(self, x: Array) -> Array:
        assert self._grid is not None
        return self._velocity[self._grid.cell_of(x)]

    def _move(self, x: Array, vectors: Array, flow_s: float) -> None:
        assert self._grid is not None
        settings = self.settings
        longest = settings.step_radii * self._grid.radius
        steps = int(np.clip(np.ceil(1e3 * self._fastest * flow_s / longest), 1, settings.most_steps))
        # the midpoint rule; m/s to mm by 1e3. No step is longer than the empty rim of the grid.
        step = np.float32(min(1e3 * flow_s / steps, longest / max(self._fastest, 1e-9)))
        for _ in range(steps):
            x += step * self._at(x + (0.5 * step) * vectors)
            vectors[...] = self._at(x)
        slow = np.einsum("ij,ij->i", vectors, vectors) < (settings.least_speed * self._fastest) ** 2
        anew = np.flatnonzero(slow | (self._age > self._lives))
        if len(anew):
            x[anew] = self._places(len(anew))
            self._age[anew] = 0.0
            vectors[anew] = self._at(x[anew])


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

    low            (3,) RAS of the grid's corner; an empty rim as wide as a step lies around the points
    number         flat (x, y, z): number of a cell among those that hold points; the last number for all others
    chosen         points of the field; cell_of_point the cell of each, points their RAS
    one_point      (cells,) one of them in each cell
    """

    low: Array
    size: float
    radius: float
    shape: tuple[int, int, int]
    number: Array
    cells: int
    chosen: Array
    cell_of_point: Array
    points: Array
    one_point: Array

    def cell_of(self, x: Array) -> Array:
        """(n,) number of the cell; x must lie on the grid, rim included."""
        at = ((x - self.low) * np.float32(1 / self.size)).astype(np.int32)
        return self.number[(at[:, 0] * self.shape[1] + at[:, 1]) * self.shape[2] + at[:, 2]]

    def means(self, values: Array) -> Array:
        """(points, 3) to (cells + 1, 3) float32; the last row is that of the outside: nothing moves there."""
        points = np.maximum(np.bincount(self.cell_of_point, minlength=self.cells), 1)
        sums = [np.bincount(self.cell_of_point, values[:, k], self.cells) / points for k in range(3)]
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
    radius = typical_radius(snapshot)
    rim = 1.05 * settings.step_radii * radius
    extent = np.ptp(x, axis=0).astype(np.float64) + 2 * rim
    coarse = np.unique(((x - x.min(0)) * (2 / radius)).astype(np.int64) @ np.array([1, 1 << 20, 1 << 40]))
    filled_mm3 = len(coarse) * (radius / 2) ** 3
    size = max(
        radius / settings.cells_per_radius,
        float(settings.points_per_cell * filled_mm3 / len(x)) ** (1 / 3),
        float(np.prod(extent) / settings.most_cells) ** (1 / 3),
    )
    low = (x.min(0) - rim - size).astype(np.float32)
    shape = tuple(int(n) for n in np.ceil(extent / size) + 3)
    at = ((x - low) / np.float32(size)).astype(np.int64)
    flat = (at[:, 0] * shape[1] + at[:, 1]) * shape[2] + at[:, 2]
    filled = np.zeros(int(np.prod(shape)), bool)
    filled[flat] = True
    cells = int(filled.sum())
    number = np.full(len(filled), cells, np.int32)
    number[filled] = np.arange(cells)
    cell_of_point = number[flat]
    one_point = np.zeros(cells, np.int64)
    one_point[cell_of_point] = np.arange(len(x))
    return _Grid(low, float(size), radius, shape, number, cells, chosen, cell_of_point, x, one_point)

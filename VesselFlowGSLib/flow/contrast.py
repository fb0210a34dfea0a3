"""Transport of the contrast medium: when did the blood at a point pass a section upstream?

Iodine diffuses about a million times slower than it is carried (Peclet number 1e5 to 1e6), so its concentration
is constant along a path of the blood: c(x, t) = c_in(t - T(x)) with the transit time T from the inlet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.flow.solve import NetworkField

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TransitSettings:
    """step_radii: length of a step along a path; longest_s: paths slower than this are not followed further."""

    step_radii: float = 0.2
    grid_radii: float = 0.2
    longest_s: float = 20.0


@dataclass(frozen=True)
class _VelocityGrid:
    """Channels on a regular grid, read trilinearly: velocity without its wall factor, path, wall distance in layers.

    The wall factor itself falls too fast for the grid; it is computed from the distance, which is nearly linear.
    """

    origin: Array
    spacing_mm: float
    shape: tuple[int, int, int]
    channels: NDArray[np.float32]

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """(M, 3) mm to velocity (M, 3) mm/s and path (M,) mm."""
        index = np.clip((x - self.origin) / self.spacing_mm, 0, np.array(self.shape) - 1.001)
        low = index.astype(np.int64)
        part = (index - low).astype(np.float32)
        stride = np.array([self.shape[1] * self.shape[2], self.shape[2], 1])
        flat = low @ stride
        value = np.zeros((len(x), self.channels.shape[1]), np.float32)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1 - part), axis=1)
            value += weight[:, None] * self.channels[flat + int(np.array(corner) @ stride)]
        wall = np.tanh(np.maximum(value[:, 4], 0))
        return (value[:, :3] * wall[:, None]).astype(float), value[:, 3].astype(float)


def _velocity_grid(field: NetworkField, settings: TransitSettings) -> _VelocityGrid:
    lumen = field.solver.lumen
    smallest = min(float(b.radius_mm.min()) for b in lumen.tree.branches)
    wall = lumen.wall
    spacing = max(settings.grid_radii * smallest, wall.spacing_mm / 2)
    size = (np.array(wall.values.shape) - 1) * wall.spacing_mm
    shape = np.floor(size / spacing).astype(int) + 1
    axes = [wall.origin[k] + spacing * np.arange(shape[k]) for k in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    distance = wall(points)
    near = distance > -2.5 * spacing
    channels = np.zeros((len(points), 5), np.float32)
    channels[near, :3] = field.core_velocity(points[near])[0] * 1e3
    at = field.solver.coordinates(points[near])
    channels[near, 3] = at.path
    channels[near, 4] = distance[near] / (field.solver.settings.coordinates.wall_layer_radii * at.radius)
    channels[~near, 4] = -1
    return _VelocityGrid(wall.origin, spacing, (int(shape[0]), int(shape[1]), int(shape[2])), channels)


def transit_times(field: NetworkField, points: Array, origins_mm: Array, settings: TransitSettings) -> Array:
    """(M, 3) LPS mm to (M, origins) s: time since the blood at each point passed the path lengths origins_mm.

    Paths are followed upstream. Infinite where the blood is not reached by the flow within the longest time;
    negative infinity where the point lies upstream of the origin.
    """
    grid = _velocity_grid(field, settings)
    smallest = min(float(b.radius_mm.min()) for b in field.solver.lumen.tree.branches)
    step = settings.step_radii * smallest
    floor = 1e-3 * field.scales.speed_m_s * 1e3
    x = np.array(points, float)
    _, path = grid(x)
    total = len(x)
    times = np.where(path[:, None] >= origins_mm[None], np.inf, -np.inf)
    clock = np.zeros(total)
    alive = np.arange(total)[path > origins_mm.min()]
    longest = field.solver.coordinates.samples.path_mm.max()
    for _ in range(int(4 * longest / step)):
        if not len(alive):
            break
        here = x[alive]
        first, _ = grid(here)
        speed = np.linalg.norm(first, axis=1)
        middle = here - 0.5 * step * first / np.maximum(speed, floor)[:, None]
        velocity, _ = grid(middle)
        speed = np.maximum(np.linalg.norm(velocity, axis=1), floor)
        new = here - step * velocity / speed[:, None]
        _, new_path = grid(new)
        elapsed = clock[alive] + step / speed
        old_path = path[alive]
        for j, origin in enumerate(origins_mm):
            crossed = (old_path >= origin) & (new_path < origin) & np.isinf(times[alive, j])
            part = (old_path[crossed] - origin) / np.maximum(old_path[crossed] - new_path[crossed], 1e-9)
            times[alive[crossed], j] = clock[alive[crossed]] + part * (step / speed[crossed])
        x[alive], path[alive], clock[alive] = new, new_path, elapsed
        alive = alive[(new_path >= origins_mm.min()) & (elapsed < settings.longest_s)]
    return times

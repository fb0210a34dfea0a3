"""The dye: a gamma-variate bolus that enters upstream and is carried along the streamlines, without diffusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates, maximum_filter

from VesselFlowGSLib.simulation.fields import Flow, half_disk
from VesselFlowGSLib.simulation.settings import BolusSpec, SamplingSpec

Array = NDArray[np.float64]
_OUTERMOST = 0.985
_DETOURS = 3.0
_CLOCK_STEP_S = 1e-3
_NEVER = 0.5


def entering(spec: BolusSpec, times_s: ArrayLike) -> Array:
    """Concentration at the upstream end, peak 1."""
    x = np.maximum(np.asarray(times_s, float) - spec.arrival_s, 0) / spec.time_to_peak_s
    return np.asarray(x**spec.shape * np.exp(spec.shape * (1 - x)))


@dataclass(frozen=True)
class Transit:
    """How long the dye takes from the upstream end to any point, at the mean flow.

    One table per tube over (s, distance from the axis, angle) of transit time times 1 - eta², which stays bounded at
    the wall, where the time itself grows without bound. Points that no streamline from upstream reaches have
    a time longer than any film.
    """

    flow: Flow
    tables: tuple[Array, ...]
    sampling: SamplingSpec

    def times(self, points: Array) -> Array:
        """(n,) seconds at LPS mm points (inf outside the lumen)."""
        return self.local_times(self.flow.vessel.local(points))

    def local_times(self, x: Array) -> Array:
        out = np.full(len(x), np.inf)
        best = np.zeros(len(x))
        for flow, table in zip(self.flow.tubes, self.tables, strict=True):
            s, a, b, _ = flow.unit(x)
            rise = 1 - (a**2 + b**2)
            use = rise > best
            tube = flow.tube
            where = [
                (s[use] - tube.start_mm) / (tube.end_mm - tube.start_mm) * (table.shape[0] - 1),
                np.hypot(a, b)[use] / _OUTERMOST * (table.shape[1] - 1),
                np.arctan2(np.abs(b), a)[use] / np.pi * (table.shape[2] - 1),
            ]
            out[use] = _interpolated(table, where, self.sampling) / rise[use]
            best[use] = rise[use]
        return out


def _interpolated(table: Array, where: list[Array], sampling: SamplingSpec) -> Array:
    """Cubic, but linear near nodes that no dye reaches, where the table has a jump."""

    def padded(values: Array) -> Array:  # the field is symmetric about the vessel's plane
        return np.concatenate([values[:, :, 2:0:-1], values, values[:, :, -2:-4:-1]], 2)

    at = [where[0], where[1], where[2] + 2]
    reach = np.linspace(0, _OUTERMOST, table.shape[1])
    unreached = table / (1 - reach**2)[:, None] > _NEVER * sampling.longest_transit_s
    # Bounded, so that the long times beside a dead water do not ring into the short ones.
    typical = max(float(np.median(table)), 1e-6)
    bounded = table / (table + typical)
    smooth = bounded
    if unreached.any():
        nearest = distance_transform_edt(unreached, return_distances=False, return_indices=True)
        smooth = bounded[tuple(nearest)]
    found = map_coordinates(padded(smooth), at, order=3, mode="nearest")
    if unreached.any():
        jump = padded(maximum_filter(unreached, 3).astype(float))
        near_jump = map_coordinates(jump, at, order=1, mode="nearest") > 0
        found = np.where(near_jump, map_coordinates(padded(bounded), at, order=1, mode="nearest"), found)
    found = np.clip(found, 0, 1 - 1e-9)
    return np.asarray(typical * found / (1 - found))


def find_transit(flow: Flow, sampling: SamplingSpec) -> Transit:
    """Transit times by following streamlines upstream from every node of the tables."""
    tables = []
    for tube_flow in flow.tubes:
        tube = tube_flow.tube
        stations = np.linspace(
            tube.start_mm, tube.end_mm, int(np.ceil((tube.end_mm - tube.start_mm) / sampling.transit_step_mm)) + 1
        )
        reach = np.linspace(0, _OUTERMOST, sampling.transit_radial)
        angle = np.linspace(0, np.pi, sampling.transit_angular if tube_flow.harmonics else 3)
        s, eta, a = (g.ravel() for g in np.meshgrid(stations, reach, angle, indexing="ij"))
        r = tube.radius(s)
        nodes = tube.point(s, r * eta * np.cos(a), r * eta * np.sin(a))
        times = _trace(flow, nodes, sampling)
        tables.append((times * (1 - eta**2)).reshape(len(stations), len(reach), len(angle)))
    return Transit(flow, tuple(tables), sampling)


def _trace(flow: Flow, nodes: Array, sampling: SamplingSpec) -> Array:
    """(n,) seconds from the upstream end to local points: fourth order Runge-Kutta in path length."""
    tube = flow.tubes[0].tube
    at = np.array([tube.start_mm])
    start, along = tube.point(at, np.zeros(1), np.zeros(1))[0], tube.frame(at)[0][0]
    x, elapsed = nodes.copy(), np.zeros(len(nodes))
    under_way = (x - start) @ along > 1e-6
    out = np.where(under_way, sampling.longest_transit_s, 0.0)
    step = sampling.trace_step_mm
    live = np.flatnonzero(under_way)

    def upstream(p: Array) -> tuple[Array, Array]:
        u = flow.local_velocity(p)
        speed = np.maximum(np.linalg.norm(u, axis=1), 1e-9)
        return -u / speed[:, None], 1 / speed

    for _ in range(int(_DETOURS * (tube.end_mm - tube.start_mm) / step)):
        if not len(live):
            break
        p = x[live]
        d1, w1 = upstream(p)
        d2, w2 = upstream(p + step / 2 * d1)
        d3, w3 = upstream(p + step / 2 * d2)
        height = (p - start) @ along
        # The last step ends on the entry plane, upstream of which nothing is known.
        last = np.minimum(1.0, height / np.maximum(-step * (d3 @ along), 1e-9))
        last = np.where(last > 0, last, 1.0)
        d4, w4 = upstream(p + (step * last)[:, None] * d3)
        partial = last < 1
        move = np.where(partial[:, None], (d1 + d4) / 2, (d1 + 2 * d2 + 2 * d3 + d4) / 6)
        wait = np.where(partial, (w1 + w4) / 2, (w1 + 2 * w2 + 2 * w3 + w4) / 6)
        x[live] = p + (step * last)[:, None] * move
        elapsed[live] += step * last * wait
        arrived = (x[live] - start) @ along < 1e-4
        out[live[arrived]] = elapsed[live[arrived]]
        live = live[~arrived & (elapsed[live] < sampling.longest_transit_s)]
    return np.minimum(out, sampling.longest_transit_s)


@dataclass(frozen=True)
class Bolus:
    """The concentration everywhere: c(x, t) = c_in(entry time), the entry time by the flow that has passed since."""

    spec: BolusSpec
    transit: Transit

    def passed(self, times_s: ArrayLike) -> Array:
        """Time in units of the mean flow: integral of Q / mean Q from 0."""
        f, t = self.transit.flow.spec, np.asarray(times_s, float)
        turn = 2 * np.pi / f.period_s
        return np.asarray(t + f.pulsatile_amplitude / turn * np.sin(turn * t))

    def at(self, transit_s: Array, time_s: float) -> Array:
        """Concentration where the transit time at mean flow is given."""
        horizon = time_s + 1.0
        clock = np.arange(-horizon, horizon, _CLOCK_STEP_S)
        entry = np.interp(self.passed(time_s) - transit_s, self.passed(clock), clock, left=-horizon)
        return entering(self.spec, entry)

    def concentration(self, points: Array, time_s: float) -> Array:
        """(n,) at LPS mm points, zero outside the lumen."""
        return self.at(self.transit.times(points), time_s)

    def over_section(self, tube: int, s: float, times_s: Array) -> Array:
        """(T,) mean over a plane section, weighted by the flow through it: what a cup would collect there."""
        x, y, w = half_disk(24, 24)
        flow = self.transit.flow
        t = flow.tubes[tube].tube
        at = np.full(len(x), s)
        points = t.point(at, t.radius(at) * x, t.radius(at) * y)
        weight = np.sum(flow.local_velocity(points) * t.frame(at)[0], 1) * w
        times = self.transit.local_times(points)
        carried = [float(np.sum(weight * self.at(times, float(k)))) for k in times_s]
        return np.asarray(carried) / float(weight.sum())

    def dye_ml(self, time_s: float, step_mm: float = 0.5) -> float:
        """Dye in the whole vessel, ml of full concentration (single tubes and unions)."""
        flow = self.transit.flow
        points, volume = lumen_quadrature(flow, step_mm)
        return float(volume @ self.at(self.transit.local_times(points), time_s)) * 1e-3


def lumen_quadrature(flow: Flow, step_mm: float) -> tuple[Array, Array]:
    """Local points and volumes (mm³) over the lumen; where tubes overlap, each carries its part."""
    x, y, w = half_disk(24, 24)
    points, volumes = [], []
    for tube_flow in flow.tubes:
        tube = tube_flow.tube
        n = int(np.ceil((tube.end_mm - tube.start_mm) / step_mm))
        stations = tube.start_mm + (np.arange(n) + 0.5) * (tube.end_mm - tube.start_mm) / n
        s = np.repeat(stations, len(x))
        a, b = np.tile(x, n), np.tile(y, n)
        r = tube.radius(s)
        p = tube.point(s, r * a, r * b)
        volume = np.tile(w, n) * tube_flow.metric(s, a, b).volume * (tube.end_mm - tube.start_mm) / n
        copies = sum((f.unit(p)[3] if f is not tube_flow else np.ones(len(p), bool)).astype(int) for f in flow.tubes)
        points.append(p)
        volumes.append(volume / copies)
    return np.concatenate(points), np.concatenate(volumes)

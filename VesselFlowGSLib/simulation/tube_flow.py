"""Steady flow of a Newtonian liquid in tubes: the Navier-Stokes equations by Galerkin's method.

Trial functions are free of divergence and of slip by construction (`sections`), carried from a straight reference
tube to the curved one of varying radius by the Piola transform, so that mass is conserved exactly at any resolution.
Along the tube: cubic B-splines. A Poiseuille profile enters upstream, a traction-free outflow ends the tube.
In a union of tubes every tube's functions, continued by zero, are such fields of the union too; the tubes are
solved in turn, each in the presence of the others, until they nearly agree.

Local coordinates, mm, s; pressure divided by density, mm²/s².
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import solve_banded
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import spsolve

from VesselFlowGSLib.simulation.sections import disk_quadrature, flow_modes, force_modes, mode_count, pressure_modes
from VesselFlowGSLib.simulation.settings import SolverSpec
from VesselFlowGSLib.simulation.vessels import Tube

Array = NDArray[np.float64]
_DEGREE = 3
_LOCAL = _DEGREE + 1
_GAUSS = 3
_CHUNK = 20000
_CONTINUED_MM = 2.0
_MEMORY = 9
_ANDERSON_CUTOFF = 1e-8


@dataclass(frozen=True)
class Metric:
    """The map from the reference tube at n points: radius, curvature, their slopes; (x, y) on the unit disk."""

    radius: Array
    radius1: Array
    radius2: Array
    curvature: Array
    curvature1: Array
    x: Array
    y: Array

    @property
    def stretch(self) -> Array:
        """Length along s at the point over length on the centreline."""
        return np.asarray(1 - self.curvature * self.radius * self.x)

    @property
    def volume(self) -> Array:
        return np.asarray(self.stretch * self.radius**2)

    def velocity(self, flux: Array) -> Array:
        """(..., 3, n) reference flux to velocity along tangent, normal, binormal (Piola)."""
        r, r1, k = self.radius, self.radius1, 1 / self.volume
        return np.stack(
            [
                flux[..., 0, :] / r**2,
                k * (r1 * self.x * flux[..., 0, :] + r * flux[..., 1, :]),
                k * (r1 * self.y * flux[..., 0, :] + r * flux[..., 2, :]),
            ],
            -2,
        )

    def gradient(self, flux: Array, along: Array, across: Array) -> Array:
        """(..., 3, 3, n) velocity gradient d u_i / d x_j in the frame of tangent, normal, binormal.

        flux (..., 3, n), its slope along s (..., 3, n), its slopes over x and y (..., 3, 2, n).
        """
        r, r1, r2, x, y, h = self.radius, self.radius1, self.radius2, self.x, self.y, self.stretch
        k = 1 / self.volume
        h_s = -(self.curvature1 * r + self.curvature * r1) * x
        k_s = -k * (h_s / h + 2 * r1 / r)
        k_x = k * self.curvature * r / h
        f0, f1, f2 = (flux[..., i, :] for i in range(3))
        s0, s1, s2 = (along[..., i, :] for i in range(3))
        x0, x1, x2 = (across[..., i, 0, :] for i in range(3))
        y0, y1, y2 = (across[..., i, 1, :] for i in range(3))
        normal = r1 * x * f0 + r * f1
        binormal = r1 * y * f0 + r * f2
        d_s = [
            s0 / r**2 - 2 * r1 / r**3 * f0 - self.curvature * k * normal,
            k_s * normal + k * (r2 * x * f0 + r1 * x * s0 + r1 * f1 + r * s1) + self.curvature * f0 / r**2,
            k_s * binormal + k * (r2 * y * f0 + r1 * y * s0 + r1 * f2 + r * s2),
        ]
        d_x = [
            x0 / r**2,
            k_x * normal + k * (r1 * f0 + r1 * x * x0 + r * x1),
            k_x * binormal + k * (r1 * y * x0 + r * x2),
        ]
        d_y = [y0 / r**2, k * (r1 * x * y0 + r * y1), k * (r1 * f0 + r1 * y * y0 + r * y2)]
        rows = [
            np.stack([(a - r1 / r * (x * b + y * c)) / h, b / r, c / r], -2)
            for a, b, c in zip(d_s, d_x, d_y, strict=True)
        ]
        return np.stack(rows, -3)


@dataclass(frozen=True)
class TubeFlow:
    """A flow in one tube: coefficients of its modes along the tube.

    inflow_mm3_s  flux through every section
    modes         arc length -> (n, K) a_k, or None for the lubrication field alone
    pressure      arc length -> (n, P) coefficients of the pressure modes, or None
    """

    tube: Tube
    inflow_mm3_s: float
    radial: int
    harmonics: int
    modes: BSpline | None = None
    pressure: BSpline | None = None

    def metric(self, s: Array, x: Array, y: Array) -> Metric:
        t = self.tube
        return Metric(t.radius(s), t.radius(s, 1), t.radius(s, 2), t.curvature(s), t.curvature(s, 1), x, y)

    def velocity_at(self, s: Array, x: Array, y: Array) -> Array:
        """(n, 3) mm/s along tangent, normal, binormal, at points (s, unit disk)."""
        out = np.empty((len(s), 3))
        for i in range(0, len(s), _CHUNK):
            c = slice(i, i + _CHUNK)
            out[c] = self.metric(s[c], x[c], y[c]).velocity(self._flux(s[c], x[c], y[c])).T
        return out

    def _flux(self, s: Array, x: Array, y: Array) -> Array:
        base = np.zeros((3, len(s)))
        base[0] = 2 * self.inflow_mm3_s / np.pi * (1 - x**2 - y**2)
        if self.modes is None:
            return base
        v, _ = flow_modes(x, y, self.radial, self.harmonics, gradients=False)
        return np.asarray(
            base + np.einsum("nk,kin->in", self.modes(s), v[0]) + np.einsum("nk,kin->in", self.modes(s, 1), v[1])
        )

    def gradient_at(self, s: Array, x: Array, y: Array) -> Array:
        """(n, 3, 3) 1/s in the frame of tangent, normal, binormal."""
        out = np.empty((len(s), 3, 3))
        for i in range(0, len(s), _CHUNK):
            c = slice(i, i + _CHUNK)
            out[c] = np.moveaxis(self._gradient(s[c], x[c], y[c]), -1, 0)
        return out

    def _gradient(self, s: Array, x: Array, y: Array) -> Array:
        flux, along = self._flux(s, x, y), np.zeros((3, len(s)))
        across = np.zeros((3, 2, len(s)))
        across[0] = -4 * self.inflow_mm3_s / np.pi * np.stack([x, y])
        if self.modes is not None:
            v, dv = flow_modes(x, y, self.radial, self.harmonics, gradients=True)
            a = [self.modes(s, order) for order in range(3)]
            for order in (0, 1):
                along = along + np.einsum("nk,kin->in", a[order + 1], v[order])
                across = across + np.einsum("nk,kijn->ijn", a[order], dv[order])
        return self.metric(s, x, y).gradient(flux, along, across)

    def unit(self, points: Array) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """Local points as (s, x, y) on the unit disk and whether they lie in the tube (or just past its ends)."""
        s, across, binormal, beyond = self.tube.coordinates(points)
        r = self.tube.radius(s)
        x, y = across / r, binormal / r
        return s, x, y, (x**2 + y**2 < 1) & (np.abs(beyond) < _CONTINUED_MM)

    def axes(self, s: Array) -> Array:
        """(n, 3, 3) columns tangent, normal, binormal in local coordinates."""
        tangent, normal = self.tube.frame(s)
        return np.stack([tangent, normal, np.broadcast_to([0.0, 0.0, 1.0], tangent.shape)], -1)

    def velocity(self, points: Array) -> Array:
        """(n, 3) mm/s at local points, zero outside."""
        s, x, y, inside = self.unit(points)
        out = np.zeros((len(points), 3))
        u = self.velocity_at(s[inside], x[inside], y[inside])
        out[inside] = np.einsum("nij,nj->ni", self.axes(s[inside]), u)
        return out

    def gradient(self, points: Array) -> Array:
        """(n, 3, 3) 1/s at local points, zero outside."""
        s, x, y, inside = self.unit(points)
        out = np.zeros((len(points), 3, 3))
        turn = self.axes(s[inside])
        out[inside] = turn @ self.gradient_at(s[inside], x[inside], y[inside]) @ turn.transpose(0, 2, 1)
        return out

    def pressure_at(self, s: Array, x: Array, y: Array) -> Array:
        """(n,) mm²/s² at points (s, unit disk)."""
        if self.pressure is None:
            raise ValueError("the pressure of this flow has not been found yet")
        out = np.empty(len(s))
        for i in range(0, len(s), _CHUNK):
            c = slice(i, i + _CHUNK)
            radial, harmonics = _pressure_orders(self.radial, self.harmonics)
            out[c] = np.einsum("nk,kn->n", self.pressure(s[c]), pressure_modes(x[c], y[c], radial, harmonics))
        return out


def _pressure_orders(radial: int, harmonics: int) -> tuple[int, int]:
    return max(radial - 3, 2), harmonics


class _Grid:
    """Quadrature over one tube, and what the other tubes' flows are there."""

    def __init__(self, tube: Tube, solver: SolverSpec, radial: int, harmonics: int) -> None:
        mean_radius = float(np.mean(tube.radius(np.linspace(tube.start_mm, tube.end_mm, 200))))
        elements = int(np.ceil((tube.end_mm - tube.start_mm) / (solver.knot_spacing_radii * mean_radius)))
        breaks = np.linspace(tube.start_mm, tube.end_mm, max(elements, 8) + 1)
        self.tube = tube
        self.knots = np.r_[[breaks[0]] * _DEGREE, breaks, [breaks[-1]] * _DEGREE]
        self.splines = len(self.knots) - _LOCAL
        node, weight = np.polynomial.legendre.leggauss(_GAUSS)
        half = np.diff(breaks) / 2
        self.s = (breaks[:-1, None] + half[:, None] * (node + 1)).ravel()
        self.s_weight = (half[:, None] * weight).ravel()
        self.first = np.repeat(np.arange(len(half)), _GAUSS)
        basis = BSpline(self.knots, np.eye(self.splines), _DEGREE)
        at = self.first[:, None] + np.arange(_LOCAL)
        row = np.arange(len(self.s))[:, None]
        self.basis = np.stack([basis(self.s, order)[row, at] for order in range(3)], 1)  # (sections, order, local)
        angular = 2 * harmonics + 2 if harmonics else 1
        self.x, self.y, self.weight = disk_quadrature(radial + 5, angular)
        self.sections = len(self.s)
        self.points = len(self.x)

    def metric(self, i: int) -> Metric:
        t, s = self.tube, np.full(1, self.s[i])
        return Metric(t.radius(s), t.radius(s, 1), t.radius(s, 2), t.curvature(s), t.curvature(s, 1), self.x, self.y)

    def surroundings(self, own: TubeFlow, others: Sequence[TubeFlow]) -> tuple[Array, Array] | None:
        """Velocity (sections, 3, n) and gradient (sections, 3, 3, n) of the others in this tube's frame."""
        if not others:
            return None
        s = np.repeat(self.s, self.points)
        x, y = np.tile(self.x, self.sections), np.tile(self.y, self.sections)
        r = self.tube.radius(s)
        where = self.tube.point(s, r * x, r * y)
        turn = own.axes(s)
        u = np.einsum("nji,nj->ni", turn, np.sum([o.velocity(where) for o in others], 0))
        g = turn.transpose(0, 2, 1) @ np.sum([o.gradient(where) for o in others], 0) @ turn
        return (
            np.moveaxis(u.reshape(self.sections, self.points, 3), 1, -1),
            np.moveaxis(g.reshape(self.sections, self.points, 3, 3), 1, -1),
        )


def _features(metric: Metric, value: Array, slope: Array) -> tuple[Array, Array]:
    """Velocity (E, K, 3, n) and gradient (E + 1, K, 3, 3, n) of modes at a section, by the derivative of a(s)."""
    orders, count, _, n = value.shape
    nothing, flat = np.zeros((1, count, 3, n)), np.zeros((1, count, 3, 2, n))
    flux = np.concatenate([value, nothing])
    along = np.concatenate([nothing, value])
    return metric.velocity(flux), metric.gradient(flux, along, np.concatenate([slope, flat]))


def solve_tube(flow: TubeFlow, viscosity_mm2_s: float, solver: SolverSpec, others: Sequence[TubeFlow] = ()) -> TubeFlow:
    """The flow in a tube in the presence of the others' flows, by Newton's method from the one given."""
    grid = _Grid(flow.tube, solver, flow.radial, flow.harmonics)
    surroundings = grid.surroundings(flow, others)
    count = mode_count(flow.radial, flow.harmonics)
    coefficients = np.zeros((grid.splines, count)) if flow.modes is None else flow.modes.c.copy()
    # A flow that is new is led from slow to its own speed, so that Newton's method starts near enough.
    ramp = (8.0, 2.0, 1.0) if flow.modes is None else (1.0,)
    for slower in ramp:
        for _ in range(solver.max_newton):
            matrix, residual = _assemble(grid, flow, coefficients, viscosity_mm2_s * slower, surroundings)
            step = _solve(matrix, residual, grid.splines, count)
            coefficients += step
            if np.abs(step).max() <= (solver.tolerance if slower == 1 else 1e-2) * flow.inflow_mm3_s:
                break
    return TubeFlow(
        flow.tube, flow.inflow_mm3_s, flow.radial, flow.harmonics, BSpline(grid.knots, coefficients, _DEGREE)
    )


def solve_together(flows: Sequence[TubeFlow], viscosity_mm2_s: float, solver: SolverSpec) -> list[TubeFlow]:
    """The flow in a union of tubes: each tube in turn by one Newton step, the turns accelerated by Anderson's method.

    Turns alone need not settle where inertia is strong; the acceleration takes the combination of the latest
    turns whose changes cancel best.
    """
    found = list(flows)

    def turn(spec: SolverSpec) -> Array:
        for i, flow in enumerate(found):
            found[i] = solve_tube(flow, viscosity_mm2_s, spec, [f for j, f in enumerate(found) if j != i])
        return np.concatenate([f.modes.c.ravel() for f in found if f.modes is not None])

    state = turn(solver)
    if len(found) == 1:
        return found
    sizes = np.cumsum([f.modes.c.size for f in found if f.modes is not None])[:-1]
    reached: list[Array] = []
    changes: list[Array] = []
    for _ in range(solver.sweeps):
        for i, part in enumerate(np.split(state, sizes)):
            modes = found[i].modes
            assert modes is not None
            found[i] = replace(found[i], modes=BSpline(modes.t, part.reshape(modes.c.shape), _DEGREE))
        after = turn(replace(solver, max_newton=1))
        reached = [*reached[1 - _MEMORY :], after]
        changes = [*changes[1 - _MEMORY :], after - state]
        state = after
        if len(changes) > 1:
            differences = np.diff(np.stack(changes, 1), axis=1)
            weights = np.linalg.lstsq(differences, changes[-1], rcond=_ANDERSON_CUTOFF)[0]
            state = after - np.diff(np.stack(reached, 1), axis=1) @ weights
    return found


def _base(flow: TubeFlow, grid: _Grid, metric: Metric) -> tuple[Array, Array]:
    """Velocity (3, n) and gradient (3, 3, n) of the lubrication field at a section."""
    flux, across = np.zeros((3, grid.points)), np.zeros((3, 2, grid.points))
    flux[0] = 2 * flow.inflow_mm3_s / np.pi * (1 - grid.x**2 - grid.y**2)
    across[0] = -4 * flow.inflow_mm3_s / np.pi * np.stack([grid.x, grid.y])
    return metric.velocity(flux), metric.gradient(flux, np.zeros((3, grid.points)), across)


def _assemble(
    grid: _Grid,
    flow: TubeFlow,
    coefficients: Array,
    viscosity: float,
    surroundings: tuple[Array, Array] | None,
) -> tuple[Array, Array]:
    """Banded Jacobian and negative residual of the weak momentum equation."""
    value, slope = flow_modes(grid.x, grid.y, flow.radial, flow.harmonics, gradients=True)
    count = value.shape[1]
    half = _LOCAL * count - 1
    size = grid.splines * count
    banded = np.zeros((2 * half + 1, size))
    residual = np.zeros((grid.splines, count))
    block = np.zeros((_LOCAL, count, _LOCAL, count))
    span = np.arange(_LOCAL * count)
    diagonal = half + span[:, None] - span[None, :]
    for i in range(grid.sections):
        metric = grid.metric(i)
        u_modes, g_modes = _features(metric, value, slope)
        weight = grid.weight * metric.volume * grid.s_weight[i]
        u, g = _base(flow, grid, metric)
        if surroundings is not None:
            u, g = u + surroundings[0][i], g + surroundings[1][i]
        at = slice(grid.first[i], grid.first[i] + _LOCAL)
        a = grid.basis[i] @ coefficients[at]
        u = u + np.einsum("ek,ekin->in", a, u_modes)
        g = g + np.einsum("ek,ekijn->ijn", a, g_modes)
        carried = np.einsum("jn,ekijn->ekin", u, g_modes) + np.einsum("ijn,ekjn->ekin", g, u_modes)
        flat = 3 * count
        um, gm, cm = (m.reshape(flat, -1, grid.points) for m in (u_modes, g_modes, carried))
        tested = (um * weight).reshape(flat, -1)
        strained = (gm * (viscosity * weight)).reshape(flat, -1)
        matrix = (tested @ cm.reshape(flat, -1).T + strained @ gm.reshape(flat, -1).T).reshape(3, count, 3, count)
        force = tested @ np.einsum("jn,ijn->in", u, g).ravel() + strained @ g.ravel()
        b = grid.basis[i]
        half_way = np.einsum("ei,ekfl->ikfl", b, matrix)
        block += np.einsum("ikfl,fj->ikjl", half_way, b)
        residual[at] -= b.T @ force.reshape(3, count)
        if i % _GAUSS == _GAUSS - 1:
            columns = grid.first[i] * count + span
            banded[diagonal, np.broadcast_to(columns, diagonal.shape)] += block.reshape(len(span), len(span))
            block[:] = 0
    return banded, residual


def _solve(banded: Array, residual: Array, splines: int, count: int) -> Array:
    """The Newton step; the first two splines stay zero, so that the entering profile is Poiseuille's."""
    half = (len(banded) - 1) // 2
    held = 2 * count
    step = np.zeros((splines, count))
    inner = banded[:, held:].copy()
    for row in range(held):  # a band stores entry (i, j) at half + i - j: blank what reaches into the held rows
        columns = np.arange(held, min(row + half + 1, banded.shape[1]))
        inner[half + row - columns, columns - held] = 0
    step[2:] = solve_banded((half, half), inner, residual[2:].ravel(), check_finite=False).reshape(-1, count)
    return step


def with_pressure(
    flow: TubeFlow, viscosity_mm2_s: float, solver: SolverSpec, others: Sequence[TubeFlow] = ()
) -> TubeFlow:
    """The flow with the pressure that balances its momentum best, weighed by fields with divergence."""
    grid = _Grid(flow.tube, solver, flow.radial, flow.harmonics)
    surroundings = grid.surroundings(flow, others)
    value, slope = force_modes(grid.x, grid.y, flow.radial, flow.harmonics)
    radial, harmonics = _pressure_orders(flow.radial, flow.harmonics)
    shapes = pressure_modes(grid.x, grid.y, radial, harmonics)
    tests, unknowns = value.shape[1], len(shapes)
    spread = slope[0, :, 1, 0] + slope[0, :, 2, 1]  # divergence over the section, of a
    stretch = value[0, :, 0]  # and of a'
    weighed = np.stack([(spread * grid.weight) @ shapes.T, (stretch * grid.weight) @ shapes.T])  # (2, tests, unknowns)
    rows, columns, entries = [], [], []
    right = np.zeros((grid.splines, tests))
    for i in range(grid.sections):
        metric = grid.metric(i)
        v, dv = _features(metric, value, slope)
        s = np.full(grid.points, grid.s[i])
        u, g = flow.velocity_at(s, grid.x, grid.y).T, np.moveaxis(flow.gradient_at(s, grid.x, grid.y), 0, -1)
        if surroundings is not None:
            u, g = u + surroundings[0][i], g + surroundings[1][i]
        weight = grid.weight * metric.volume * grid.s_weight[i]
        inertia = np.einsum("jn,ijn->in", u, g) * weight
        b = grid.basis[i]
        force = np.einsum("ekin,in->ek", v, inertia) + viscosity_mm2_s * np.einsum("ekijn,ijn->ek", dv, g * weight)
        at = grid.first[i] + np.arange(_LOCAL)
        right[at] += b[:2].T @ force[:2]
        local = np.einsum("ei,ekp,j->ikjp", b[:2], weighed, b[0]) * grid.s_weight[i]
        r, c = at[:, None] * tests + np.arange(tests), at[:, None] * unknowns + np.arange(unknowns)
        rows.append(np.broadcast_to(r[:, :, None, None], local.shape).ravel())
        columns.append(np.broadcast_to(c[None, None], local.shape).ravel())
        entries.append(local.ravel())
    matrix = coo_matrix(
        (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))),
        shape=(grid.splines * tests, grid.splines * unknowns),
    ).tocsr()
    # Fields that do not vanish at the two ends would feel the tractions there.
    keep = np.arange(tests, (grid.splines - 1) * tests)
    matrix, seen = matrix[keep], right.ravel()[keep]
    normal = (matrix.T @ matrix).tocsc()
    normal = normal + 1e-11 * normal.diagonal().max() * identity(normal.shape[0], format="csc")
    found = spsolve(normal, matrix.T @ seen).reshape(grid.splines, unknowns)
    return TubeFlow(
        flow.tube,
        flow.inflow_mm3_s,
        flow.radial,
        flow.harmonics,
        flow.modes,
        BSpline(grid.knots, found, _DEGREE),
    )

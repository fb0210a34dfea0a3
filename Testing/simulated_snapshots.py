"""Snapshots whose flow is known in closed form, for tests: tubes, stenoses with a jet, a pulsatile bifurcation.

They hold what the engine writes, under its names and in its units: LPS mm, m/s, Pa, ml/s, s. The vessels begin at START
and run along AXIS, towards +x, -y, +z in LPS: no two axes are alike, so that a wrongly turned frame is seen at once.

The flow of a tube follows from one function F(q, s), the part of the flow within the radius r = R(s) sqrt(q):

    F = 2 q - q^2 + 2 a(s) q (1 - q)^2

Poiseuille where a = 0; where a is larger, a faster core and, beyond a = 1/2, blood that runs back along the wall. The
axial velocity (Q / pi R^2) dF/dq and the radial one -(Q / 2 pi r) dF/ds are exactly free of divergence, in a bend too.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid
from scipy.special import jv

from VesselFlowGSLib.results.snapshot import (
    CloudArrays,
    Figure,
    Finding,
    FindingKind,
    Phase,
    Polylines,
    Snapshot,
    Stage,
    Surface,
    ViewMatch,
    VolumeMesh,
)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

START = np.array([-31.0, 47.0, 12.0])
AXIS = np.array([0.48, -0.36, 0.8])
ACROSS = np.array([0.6, 0.8, 0.0])
BESIDE = np.cross(AXIS, ACROSS)

DENSITY_KG_M3 = 1060.0
VISCOSITY_PA_S = 0.0035
HEXAHEDRON, WEDGE = 12, 13


@dataclass(frozen=True)
class Stenosis:
    """A narrowing of cosine shape: part of the diameter, middle and whole length mm.

    jet  how much faster than Poiseuille the core runs behind it: F's a at its greatest, 0 for none
    """

    part: float
    at_mm: float
    length_mm: float
    jet: float = 0.0
    jet_length_mm: float = 8.0


@dataclass(frozen=True)
class Tube:
    """A tube with a circular section along a straight line or an arc, and the flow in it.

    taper      part of the radius lost from the inlet to the outlet
    bend_deg   angle between inlet and outlet, in the plane of AXIS and ACROSS
    secondary  greatest speed of a pair of vortices across the axis (Dean), in mean axial speeds
    """

    radius_mm: float = 1.6
    length_mm: float = 32.0
    flow_ml_s: float = 2.0
    taper: float = 0.0
    bend_deg: float = 0.0
    stenoses: tuple[Stenosis, ...] = ()
    secondary: float = 0.0

    @property
    def curvature(self) -> float:
        """1/mm."""
        return float(np.radians(self.bend_deg) / self.length_mm)

    def healthy_radius(self, s: Array) -> Array:
        """(n,) mm: the radius without the stenoses."""
        return np.asarray(self.radius_mm * (1 - self.taper * np.asarray(s, float) / self.length_mm))

    def radius(self, s: Array) -> Array:
        """(n,) mm."""
        return self.healthy_radius(s) * (1 - self._narrowing(s))

    def frame(self, s: Array) -> tuple[Array, Array, Array]:
        """Centre (n, 3) mm, tangent (n, 3) and the direction (n, 3) towards the middle of the bend."""
        s = np.asarray(s, float)
        angle = (self.curvature * s)[..., None]
        tangent = np.cos(angle) * AXIS + np.sin(angle) * ACROSS
        inwards = np.cos(angle) * ACROSS - np.sin(angle) * AXIS
        along = s[..., None] * np.sinc(angle / np.pi)
        aside = s[..., None] * np.sin(angle / 2) * np.sinc(angle / 2 / np.pi)
        return START + along * AXIS + aside * ACROSS, tangent, inwards

    def point(self, s: Array, x: Array, y: Array) -> Array:
        """(..., 3) mm; x, y across the axis in radii, x towards the middle of the bend."""
        centre, _, inwards = self.frame(s)
        r = self.radius(s)
        return np.asarray(centre + (r * x)[..., None] * inwards + (r * y)[..., None] * BESIDE)

    def velocity(self, s: Array, x: Array, y: Array) -> Array:
        """(..., 3) m/s."""
        _, tangent, inwards = self.frame(s)
        r, q = self.radius(s), x**2 + y**2
        mean = self.mean_speed(s)
        a, change = self._jet(s), self._slope(self._jet, s)
        axial = mean * 2 * (1 - q) * (1 + a * (1 - 3 * q))
        # dF/ds at a fixed place, divided by the distance from the axis in radii, which is what turns with (x, y)
        outward = mean * (-r * change * (1 - q) ** 2) + axial * self._slope(self.radius, s)
        stretch = 1 - self.curvature * r * x
        u, v = outward * x / stretch, outward * y / stretch
        if self.secondary:
            # the curl of mean * c * y (1 - q)^2: two vortices, outwards in the middle of the section
            strength = -self.secondary * mean / stretch
            u = u + strength * ((1 - q) ** 2 - 4 * y**2 * (1 - q))
            v = v + strength * 4 * x * y * (1 - q)
        return np.asarray(axial[..., None] * tangent + u[..., None] * inwards + v[..., None] * BESIDE)

    def pressure(self, s: Array) -> Array:
        """(n,) Pa over a section, 0 at the outlet: viscous loss, and kinetic energy of which a jet loses a part."""
        fine = np.linspace(0, self.length_mm, 4001)
        r = 1e-3 * self.radius(fine)
        q = 1e-6 * self.flow_ml_s
        viscous = 8 * VISCOSITY_PA_S * q / (np.pi * r**4)
        speed = q / (np.pi * r**2)
        change = np.gradient(0.5 * DENSITY_KG_M3 * speed**2, 1e-3 * fine)
        kept = np.where(change < 0, 1 - 0.5 * np.minimum(1.0, self._jet(fine)), 1.0)
        total = cumulative_trapezoid(viscous + kept * change, 1e-3 * fine, initial=0.0)
        return np.interp(s, fine, total[-1] - total)

    def wall_shear(self, s: Array) -> Array:
        """(n,) Pa."""
        r = 1e-3 * self.radius(s)
        return np.asarray(4 * VISCOSITY_PA_S * 1e-6 * self.flow_ml_s / (np.pi * r**3) * np.abs(1 - 2 * self._jet(s)))

    def mean_speed(self, s: Array) -> Array:
        """(n,) m/s over the section."""
        return np.asarray(self.flow_ml_s / (np.pi * self.radius(s) ** 2))

    def _narrowing(self, s: Array) -> Array:
        s = np.asarray(s, float)
        part = np.zeros_like(s)
        for stenosis in self.stenoses:
            at = np.clip((s - stenosis.at_mm) / (stenosis.length_mm / 2), -1, 1)
            part = np.maximum(part, stenosis.part * 0.5 * (1 + np.cos(np.pi * at)))
        return part

    def _jet(self, s: Array) -> Array:
        s = np.asarray(s, float)
        a = np.zeros_like(s)
        for stenosis in self.stenoses:
            behind = np.clip((s - stenosis.at_mm) / stenosis.jet_length_mm, 0, 1)
            a = a + stenosis.jet * np.sin(np.pi * behind) ** 2
        return a

    def _slope(self, of: Any, s: Array) -> Array:
        step = 1e-4 * self.length_mm
        return np.asarray((of(s + step) - of(s - step)) / (2 * step))


def steady_tube(triangles: int = 4000, **tube: Any) -> Snapshot:
    """Poiseuille's flow in a tube, straight or bent: a finished result. For the arguments see Tube."""
    return tube_snapshot(Tube(**tube), triangles)


def stenosed_tube(part: float = 0.5, jet: float = 1.6, triangles: int = 6000, **tube: Any) -> Snapshot:
    """A narrowing by this part of the diameter with a jet and a ring of blood that turns behind it."""
    length = tube.get("length_mm", Tube.length_mm)
    stenosis = Stenosis(part, 0.4 * length, 8.0, jet)
    return tube_snapshot(Tube(**{"stenoses": (stenosis,), **tube}), triangles)


def tube_snapshot(tube: Tube, triangles: int = 4000, lines: int = 24, gaussians: int = 400) -> Snapshot:
    """The finished result that holds a tube's flow; about this many triangles of the wall."""
    round_about = _round_about(triangles, tube.length_mm, tube.radius_mm)
    stations = _stations(tube.length_mm, tube.radius_mm, round_about)
    disc = _Disc.of(round_about)
    s = np.repeat(stations, len(disc.x)).reshape(len(stations), -1)
    x, y = np.broadcast_to(disc.x, s.shape), np.broadcast_to(disc.y, s.shape)
    points, velocity, pressure = tube.point(s, x, y), tube.velocity(s, x, y), tube.pressure(s)
    velocity[:, disc.rim] = 0.0
    mesh = _mesh(disc, points, {"velocity": velocity, "pressure": pressure})
    rim = points[:, disc.rim]
    confidence = 0.98 - 0.3 * (s / tube.length_mm) ** 2 - 0.1 * (y > 0)
    wall = {"pressure": pressure, "wss": tube.wall_shear(s), "confidence": confidence}
    surface = _wall(rim, {name: values[:, disc.rim] for name, values in wall.items()})
    along = np.linspace(0, tube.length_mm, max(60, len(stations)))
    centre, tangent, _ = tube.frame(along)
    centreline = _centreline(
        [centre], [tube.radius(along)], [np.full(len(along), tube.flow_ml_s)], [tube.pressure(along)]
    )
    openings = [
        _opening("inlet", centre[0], -tangent[0], tube.radius(along)[0]),
        _opening("outlet 1", centre[-1], tangent[-1], tube.radius(along)[-1]),
    ]
    result = _finished(
        mesh,
        surface,
        centreline,
        _tube_lines(tube, lines),
        _cloud(mesh, tangent[np.searchsorted(along, s).clip(0, len(along) - 1)].reshape(-1, 3), gaussians),
        openings,
        shape=f"tube {tube} {triangles}",
    )
    return dataclasses.replace(result, findings=_stenosis_findings(tube, surface, s[:, disc.rim]))


@dataclass(frozen=True)
class Fork:
    """A vessel that forks in the plane of AXIS and ACROSS, and the pulsatile flow in it.

    split        part of the flow that runs to outlet 1, the branch towards +ACROSS
    harmonics    of the inflow about its mean: complex amplitudes, in means, of one, two, … times the heart's frequency
    first_s      time of the first phase, after the first frame of the earliest run
    """

    radius_mm: float = 2.0
    length_mm: float = 14.0
    radii_mm: tuple[float, float] = (1.7, 1.3)
    lengths_mm: tuple[float, float] = (16.0, 13.0)
    angles_deg: tuple[float, float] = (32.0, 48.0)
    flow_ml_s: float = 3.0
    split: float = 0.66
    period_s: float = 0.8
    harmonics: tuple[complex, ...] = (0.35 - 0.2j, -0.1 - 0.12j)
    first_s: float = 0.0

    def flow(self, branch: int, t: float) -> float:
        """ml/s in branch 0 (trunk), 1 or 2 at a time."""
        wave = sum(h * np.exp(2j * np.pi * (k + 1) * t / self.period_s) for k, h in enumerate(self.harmonics))
        return self.share(branch) * self.flow_ml_s * float(1 + np.real(wave))

    def share(self, branch: int) -> float:
        return (1.0, self.split, 1 - self.split)[branch]

    def profile(self, branch: int, radius_mm: float, q: Array, t: float | None) -> Array:
        """Axial speed in mean speeds of the time's mean, at q = (r/R)^2: Womersley's; t None for the mean over time."""
        found = np.asarray(2 * (1 - q), float)
        if t is None:
            return found
        for k, amplitude in enumerate(self.harmonics):
            lam = self._womersley(radius_mm, k + 1) * 1j**1.5
            shape = (1 - jv(0, lam * np.sqrt(q)) / jv(0, lam)) / (1 - 2 * jv(1, lam) / (lam * jv(0, lam)))
            found = found + np.real(amplitude * shape * np.exp(2j * np.pi * (k + 1) * t / self.period_s))
        return found

    def wall_shear(self, branch: int, radius_mm: Array, t: float | None) -> Array:
        """(n,) Pa at sections of these radii; the sign is that of the flow beside the wall."""
        r = 1e-3 * radius_mm
        speed = 1e-6 * self.share(branch) * self.flow_ml_s / (np.pi * r**2)
        slope = np.full(len(r), 4.0)
        if t is not None:
            for k, amplitude in enumerate(self.harmonics):
                lam = self._womersley(radius_mm, k + 1) * 1j**1.5
                part = -lam * jv(1, lam) / jv(0, lam) / (1 - 2 * jv(1, lam) / (lam * jv(0, lam)))
                slope = slope - np.real(amplitude * part * np.exp(2j * np.pi * (k + 1) * t / self.period_s))
        return VISCOSITY_PA_S * speed / r * slope

    def pressure_gradient(self, branch: int, radius_mm: Array, t: float | None) -> Array:
        """(n,) Pa/m along the vessel, negative where the flow is driven on."""
        r = 1e-3 * radius_mm
        speed = 1e-6 * self.share(branch) * self.flow_ml_s / (np.pi * r**2)
        found = -8 * VISCOSITY_PA_S * speed / r**2
        if t is not None:
            for k, amplitude in enumerate(self.harmonics):
                omega = 2 * np.pi * (k + 1) / self.period_s
                lam = self._womersley(radius_mm, k + 1) * 1j**1.5
                inertia = 1j * omega * DENSITY_KG_M3 / (1 - 2 * jv(1, lam) / (lam * jv(0, lam)))
                found = found - speed * np.real(amplitude * inertia * np.exp(1j * omega * t))
        return np.asarray(found)

    def _womersley(self, radius_mm: Any, harmonic: int) -> Any:
        omega = 2 * np.pi * harmonic / self.period_s
        return 1e-3 * radius_mm * np.sqrt(omega * DENSITY_KG_M3 / VISCOSITY_PA_S)


def pulsatile_bifurcation(phases: int = 12, triangles: int = 6000, lines: int = 24, **fork: Any) -> Snapshot:
    """A finished result with this many phases over one period; its own arrays are the means over it.

    Every section of a branch carries the branch's flow exactly. Between the fork and full round sections the profile
    goes over from the trunk's to the branch's, and is no solution of the flow's equations there.
    """
    return fork_snapshot(Fork(**fork), phases, triangles, lines)


def fork_snapshot(fork: Fork, phases: int = 12, triangles: int = 6000, lines: int = 24) -> Snapshot:
    """The finished result that holds a fork's flow. phases = 0: a steady one."""
    length = fork.length_mm + sum(fork.lengths_mm)
    grid = _ForkGrid.of(fork, _round_about(triangles, length, fork.radius_mm))
    times = [fork.first_s + fork.period_s * k / phases for k in range(phases)]
    mean = grid.arrays(None)
    mesh = grid.mesh(mean)
    surface = grid.surface(mean)
    centreline = grid.centreline(None)
    streams = grid.lines(None, lines)
    told = tuple(grid.phase(t, lines) for t in times)
    result = _finished(
        mesh,
        surface,
        centreline,
        streams,
        _cloud(mesh, np.tile(AXIS, (len(mesh.points), 1)), 400),
        grid.openings(),
        shape=f"fork {fork} {triangles}",
    )
    shares = {
        f"flow_split_outlet_{k}": Figure(
            fork.share(k), "1", "estimated", (fork.share(k) - 0.05, min(1.0, fork.share(k) + 0.05))
        )
        for k in (1, 2)
    }
    drop = float(surface.arrays["pressure"].max())
    figures = {**result.figures, **shares, "pressure_drop_outlet_2": Figure(0.9 * drop, "Pa", "estimated")}
    return dataclasses.replace(result, figures=figures, phases=told, period_s=fork.period_s if phases else None)


def without_flow(snapshot: Snapshot, why: str = "no contrast arrives") -> Snapshot:
    """The same vessel where the flow could not be found."""
    assert snapshot.surface is not None and snapshot.centreline is not None and snapshot.cloud is not None
    held = {"confidence": snapshot.surface.arrays["confidence"]}
    line = {name: snapshot.centreline.arrays[name] for name in ("radius_mm", "branch_id")}
    kept = ("lumen_volume", "min_radius", "length")
    return dataclasses.replace(
        snapshot,
        cloud=dataclasses.replace(snapshot.cloud, velocity=None, pressure=None),
        surface=dataclasses.replace(snapshot.surface, arrays=held),
        centreline=dataclasses.replace(snapshot.centreline, arrays=line),
        field=None,
        streamlines=None,
        figures={name: snapshot.figures[name] for name in kept},
        flow_status={"status": "unknown", "why": why},
        findings=tuple(f for f in snapshot.findings if f.kind is FindingKind.STENOSIS),
        phases=(),
        period_s=None,
    )


def growing(snapshot: Snapshot) -> tuple[Snapshot, ...]:
    """The states that a reconstruction goes through on its way to a finished result: the flow sharpens."""
    pending = dataclasses.replace(
        without_flow(snapshot), flow_status={"status": "pending"}, stage=Stage.GEOMETRY, progress=0.2
    )
    states = [dataclasses.replace(pending, message="The vessel is found.")]
    for k, factor in enumerate((0.8, 0.93, 1.04)):
        stage = Stage.FIRST_FLOW if k == 0 else Stage.FLOW
        states.append(
            dataclasses.replace(
                with_flow_scaled(snapshot, factor),
                stage=stage,
                progress=0.4 + 0.2 * k,
                message="The first flow is found." if k == 0 else "The flow sharpens.",
                streamlines=None if k == 0 else snapshot.streamlines,
                phases=(),
                findings=(),
            )
        )
    return (*states, snapshot)


def with_flow_scaled(snapshot: Snapshot, factor: float) -> Snapshot:
    """The same cells with every velocity, pressure and stress times a factor."""

    def scaled(held: Any) -> Any:
        keep = ("confidence", "radius_mm", "branch_id")
        return dataclasses.replace(
            held, arrays={name: a if name in keep else factor * a for name, a in held.arrays.items()}
        )

    parts = {name: scaled(getattr(snapshot, name)) for name in ("surface", "field", "centreline", "streamlines")}
    return dataclasses.replace(snapshot, **parts)


def in_single(snapshot: Snapshot) -> Snapshot:
    """The same with points and arrays in float32, as they come from files."""

    def single(held: Any) -> Any:
        arrays = {name: np.asarray(a, np.float32) for name, a in held.arrays.items()}
        return dataclasses.replace(held, points=np.asarray(held.points, np.float32), arrays=arrays)

    parts = ("surface", "field", "centreline", "streamlines")
    held = {name: single(getattr(snapshot, name)) for name in parts if getattr(snapshot, name) is not None}
    return dataclasses.replace(snapshot, **held)


@dataclass(frozen=True)
class _Disc:
    """Points and cells of a unit disc: a middle, and rings of equally many points.

    rim  the points on the circle, counter-clockwise from x = 1
    """

    x: Array
    y: Array
    rim: Integers
    inner: Integers
    outer: Integers

    @staticmethod
    def of(round_about: int) -> _Disc:
        rings = max(6, round(round_about / 7))
        # finer towards the wall, where the velocity changes most
        part = np.arange(1, rings + 1) / rings
        radius = part * (1.3 - 0.3 * part)
        angle = 2 * np.pi * np.arange(round_about) / round_about
        x = np.concatenate([[0.0], np.outer(radius, np.cos(angle)).ravel()])
        y = np.concatenate([[0.0], np.outer(radius, np.sin(angle)).ravel()])
        number = 1 + np.arange(rings * round_about).reshape(rings, round_about)
        following = np.roll(number, -1, axis=1)
        inner = np.stack([np.zeros(round_about, int), number[0], following[0]], -1)
        outer = np.stack([number[:-1], number[1:], following[1:], following[:-1]], -1).reshape(-1, 4)
        return _Disc(x, y, number[-1], inner, outer)

    @property
    def half(self) -> Array:
        """(n, 2) the same points squeezed along x into the half where x >= 0."""
        x = (self.x + np.sqrt(np.maximum(0, 1 - self.y**2))) / 2
        return np.stack([np.where(x < 1e-12, 0.0, x), self.y], -1)

    @property
    def triangles(self) -> Integers:
        return np.concatenate([self.inner, self.outer[:, [0, 1, 2]], self.outer[:, [0, 2, 3]]])


def _round_about(triangles: int, length_mm: float, radius_mm: float) -> int:
    """Points around the vessel, a multiple of four, for about this many triangles of equal sides."""
    return max(12, 4 * round(np.sqrt(triangles * np.pi * radius_mm / length_mm) / 4))


def _stations(length_mm: float, radius_mm: float, round_about: int) -> Array:
    return np.linspace(0, length_mm, max(3, round(length_mm * round_about / (2 * np.pi * radius_mm)) + 1))


def _extruded(disc: _Disc, layers: Sequence[int], mirrored: bool) -> tuple[Integers, Integers]:
    """Wedges (m, 6) and hexahedra (k, 8) between each two following layers that begin at these point numbers."""
    start = np.asarray(layers, np.int64)
    low, high = start[:-1, None, None], start[1:, None, None]
    inner = disc.inner if mirrored else disc.inner[:, ::-1]
    outer = disc.outer[:, ::-1] if mirrored else disc.outer
    wedges = np.concatenate([low + inner, high + inner], axis=2).reshape(-1, 6)
    hexahedra = np.concatenate([low + outer, high + outer], axis=2).reshape(-1, 8)
    return wedges, hexahedra


def _volume(points: Array, wedges: Integers, hexahedra: Integers, arrays: Mapping[str, Array]) -> VolumeMesh:
    flat = np.concatenate([wedges.ravel(), hexahedra.ravel()])
    lengths = np.concatenate([np.full(len(wedges), 6), np.full(len(hexahedra), 8)])
    kinds = np.where(lengths == 6, WEDGE, HEXAHEDRON).astype(np.uint8)
    return VolumeMesh(points, flat, np.concatenate([[0], np.cumsum(lengths)]), kinds, dict(arrays))


def _mesh(disc: _Disc, points: Array, arrays: Mapping[str, Array]) -> VolumeMesh:
    wedges, hexahedra = _extruded(disc, len(disc.x) * np.arange(len(points)), mirrored=False)
    flat = {name: a.reshape(-1, 3) if a.ndim == 3 else a.ravel() for name, a in arrays.items()}
    return _volume(points.reshape(-1, 3), wedges, hexahedra, flat)


def _wall(rim: Array, arrays: Mapping[str, Array]) -> Surface:
    """A tube's wall from (stations, round about, 3) points; normals outwards."""
    stations, around = rim.shape[:2]
    triangles = _band(np.arange(stations * around).reshape(stations, around), closed=True)
    return Surface(rim.reshape(-1, 3), triangles, {name: a.ravel() for name, a in arrays.items()})


def _band(number: Integers, closed: bool) -> Integers:
    following = np.roll(number, -1, axis=1)
    a, b, c, d = (m if closed else m[:, :-1] for m in (number[:-1], following[:-1], following[1:], number[1:]))
    return np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)


def _centreline(
    points: Sequence[Array], radii: Sequence[Array], flows: Sequence[Array], pressures: Sequence[Array]
) -> Polylines:
    counts = [len(p) for p in points]
    pressure = np.concatenate(pressures)
    spread = 0.1 * np.abs(pressure) + 2.0
    arrays = {
        "radius_mm": np.concatenate(radii),
        "branch_id": np.repeat(np.arange(len(counts)), counts).astype(float),
        "flow_ml_s": np.concatenate(flows),
        "pressure_pa": pressure,
        "pressure_low_pa": pressure - spread,
        "pressure_high_pa": pressure + spread,
    }
    return Polylines(np.concatenate(points), np.concatenate([[0], np.cumsum(counts)]), arrays)


def _opening(name: str, centre: Array, normal: Array, radius_mm: float) -> dict[str, Any]:
    return {
        "name": name,
        "centre_lps_mm": [float(v) for v in centre],
        "normal": [float(v) for v in normal],
        "radius_mm": float(radius_mm),
    }


def _tube_lines(tube: Tube, count: int) -> Polylines:
    """Curves of constant F, evenly spread over the flow; the blood that turns behind a stenosis has none."""
    seeds = np.arange(count) + 0.5
    part, angle = seeds / count, np.pi * (3 - np.sqrt(5)) * seeds
    s = np.linspace(0, tube.length_mm, 160)
    q = np.linspace(0, 1, 801)
    a = tube._jet(s)
    held = np.empty((count, len(s)))
    for i, strength in enumerate(a):
        inside = 2 * q - q**2 + 2 * strength * q * (1 - q) ** 2
        forward = slice(0, int(inside.argmax()) + 1)
        held[:, i] = np.interp(part, inside[forward], q[forward])
    x, y = np.sqrt(held) * np.cos(angle)[:, None], np.sqrt(held) * np.sin(angle)[:, None]
    at = np.broadcast_to(s, x.shape)
    velocity = tube.velocity(at, x, y).reshape(-1, 3)
    return Polylines(
        tube.point(at, x, y).reshape(-1, 3),
        len(s) * np.arange(count + 1),
        {"velocity": velocity, "speed": np.linalg.norm(velocity, axis=1)},
    )


def _cloud(mesh: VolumeMesh, along: Array, count: int) -> CloudArrays:
    """Gaussians at some of the cells' points, longest along the vessel."""
    rng = np.random.default_rng(5)
    chosen = np.sort(rng.choice(len(mesh.points), min(count, len(mesh.points)), replace=False))
    mean = np.asarray(mesh.points, float)[chosen]
    # the half-way rotation from z onto the vessel
    quaternion = np.column_stack([1 + along[chosen, 2], -along[chosen, 1], along[chosen, 0], np.zeros(len(chosen))])
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    distance = np.linalg.norm(mean - START, axis=1)
    return CloudArrays(
        mean,
        np.tile([0.2, 0.2, 0.4], (len(mean), 1)) * (1 + 0.2 * rng.random((len(mean), 1))),
        quaternion,
        np.full(len(mean), 0.05),
        np.ones(len(mean)),
        0.2 + distance / 150,
        np.asarray(mesh.arrays["velocity"], float)[chosen],
        np.asarray(mesh.arrays["pressure"], float)[chosen],
    )


def _finished(
    mesh: VolumeMesh,
    surface: Surface,
    centreline: Polylines,
    streamlines: Polylines,
    cloud: CloudArrays,
    openings: Sequence[Mapping[str, Any]],
    shape: str,
) -> Snapshot:
    speed = np.linalg.norm(mesh.arrays["velocity"], axis=1)
    wss, pressure = np.asarray(surface.arrays["wss"]), np.asarray(surface.arrays["pressure"])
    flow = float(centreline.arrays["flow_ml_s"][0])
    radius = np.asarray(centreline.arrays["radius_mm"])
    drop = float(pressure.max() - pressure.min())
    ways = [slice(a, b) for a, b in zip(centreline.offsets[:-1], centreline.offsets[1:], strict=True)]
    steps = [np.linalg.norm(np.diff(centreline.points[way], axis=0), axis=1) for way in ways]
    lengths = [float(step.sum()) for step in steps]
    volume = sum(float((np.pi * radius[way][1:] ** 2 * step).sum()) for way, step in zip(ways, steps, strict=True))
    reynolds = float(2 * DENSITY_KG_M3 * flow * 1e-3 / (np.pi * VISCOSITY_PA_S * radius[0]))
    figures = {
        "mean_inflow": Figure(flow, "ml/s", "estimated", (0.85 * flow, 1.18 * flow)),
        "pressure_drop": Figure(drop, "Pa", "estimated", (0.76 * drop, 1.31 * drop)),
        "max_speed": Figure(float(speed.max()), "m/s", "estimated", (0.85 * speed.max(), 1.18 * speed.max())),
        "mean_wss": Figure(float(wss.mean()), "Pa", "estimated", (0.8 * wss.mean(), 1.26 * wss.mean())),
        "max_wss": Figure(float(wss.max()), "Pa", "estimated", (0.8 * wss.max(), 1.26 * wss.max())),
        "reynolds": Figure(reynolds, "1", "estimated", (0.85 * reynolds, 1.18 * reynolds)),
        "lumen_volume": Figure(1e-3 * volume, "ml", "measured"),
        "min_radius": Figure(float(radius.min()), "mm", "measured"),
        "length": Figure(lengths[0] + max(lengths[1:], default=0.0), "mm", "measured"),
        "viscosity": Figure(VISCOSITY_PA_S, "Pa s", "assumed"),
    }
    branches = [
        {
            "parent": -1 if k == 0 else 0,
            "length_mm": lengths[k],
            "mean_radius_mm": float(radius[way].mean()),
            "min_radius_mm": float(radius[way].min()),
        }
        for k, way in enumerate(ways)
    ]
    return Snapshot(
        stage=Stage.DONE,
        progress=1.0,
        message="The reconstruction is finished.",
        cloud=cloud,
        surface=surface,
        centreline=centreline,
        field=mesh,
        streamlines=streamlines,
        figures=figures,
        geometry={
            "openings": list(openings),
            "branches": branches,
            "runs": {
                "dsa_1.dcm": {"match": 0.98, "shift_left_px": 0.02},
                "dsa_2.dcm": {"match": 0.71, "shift_left_px": 1.4},
            },
        },
        flow_status={"status": "solved"},
        warnings=("The second run agrees less well with the result than the first.",),
        provenance={"inputs": {"runs": {"dsa_1.dcm": "dsa", "dsa_2.dcm": "dsa"}}, "seed": 0, "versions": {}},
        timings_s={"geometry": 4.0, "flow": 20.0},
        views=(ViewMatch("dsa_1.dcm", 0.98, 0.02), ViewMatch("dsa_2.dcm", 0.71, 1.4)),
        shape=shape,
    )


def _stenosis_findings(tube: Tube, surface: Surface, s: Array) -> tuple[Finding, ...]:
    """What is known to be there, said by hand; the patch of wall is the region."""
    found: list[Finding] = []
    for stenosis in tube.stenoses:
        at = s.ravel()
        centre = tube.frame(np.array([stenosis.at_mm]))[0][0]
        near = np.abs(at - stenosis.at_mm) < stenosis.length_mm / 4
        region = _patch(surface, near)
        radius = 0.5 * stenosis.length_mm
        percent = 100 * stenosis.part
        found.append(
            Finding(
                FindingKind.STENOSIS, f"Narrowing of {percent:.0f} % (diameter).", centre, radius, percent, "%", region
            )
        )
        if stenosis.jet > 0:
            behind = np.array([stenosis.at_mm + stenosis.jet_length_mm / 2])
            speed = float(np.linalg.norm(tube.velocity(behind, np.zeros(1), np.zeros(1))))
            place = tube.frame(behind)[0][0]
            text = f"Jet of {speed:.2f} m/s behind a narrowing."
            found.append(Finding(FindingKind.JET, text, place, tube.radius_mm, speed, "m/s"))
    return tuple(found)


def _patch(surface: Surface, chosen: NDArray[np.bool_]) -> Surface:
    triangles = surface.triangles[chosen[surface.triangles].all(1)]
    used, triangles = np.unique(triangles, return_inverse=True)
    arrays = {name: values[used] for name, values in surface.arrays.items()}
    return Surface(surface.points[used], triangles.reshape(-1, 3), arrays)


@dataclass(frozen=True)
class _Sections:
    """The sections of trunk and branch: corners of triangles, their areas along the flow, and what they sum up to.

    radius (stations,) mm of the circle of the same area; middle and heading (stations, 3)
    """

    triangles: Integers
    areas: Array
    radius: Array
    middle: Array
    heading: Array

    @staticmethod
    def of(places: Array, disc: _Disc, mirrored: bool) -> _Sections:
        triangles = disc.triangles
        a, b, c = (places[:, triangles[:, i]] for i in range(3))
        areas = 0.5 * np.cross(b - a, c - a) * (-1.0 if mirrored else 1.0)
        size, total = np.linalg.norm(areas, axis=2), areas.sum(1)
        middle = ((a + b + c) / 3 * size[..., None]).sum(1) / size.sum(1)[:, None]
        whole = np.linalg.norm(total, axis=1)
        return _Sections(triangles, areas, np.sqrt(whole / np.pi), middle, total / whole[:, None])

    def through(self, velocity: Array) -> Array:
        """(stations,) ml/s."""
        mean = sum(velocity[:, self.triangles[:, i]] for i in range(3)) / 3
        return np.asarray(np.einsum("stk,stk->s", mean, self.areas))


@dataclass(frozen=True)
class _ForkGrid:
    """The fork's cells: two halves of a disc run along the trunk, each goes over into the disc of its branch.

    Half a disc is a disc squeezed along x: x' = (x + sqrt(1 - y^2)) / 2. places (2, stations, points, 3) mm;
    the first trunk stations belong to the trunk. number: of the merged point at each place.
    """

    fork: Fork
    disc: _Disc
    places: Array
    sections: tuple[_Sections, ...]
    trunk: int
    along: Array
    number: Integers

    @staticmethod
    def of(fork: Fork, round_about: int) -> _ForkGrid:
        disc = _Disc.of(round_about)
        trunk_s = _stations(fork.length_mm, fork.radius_mm, round_about)
        # As many stations in both branches, so that one array holds them.
        later = np.linspace(0, 1, max(3, round(max(fork.lengths_mm) * round_about / (2 * np.pi * min(fork.radii_mm)))))[
            1:
        ]
        half = disc.half
        places = np.empty((2, len(trunk_s) + len(later), len(disc.x), 3))
        for k, side in enumerate((1.0, -1.0)):
            ahead = np.concatenate([trunk_s, fork.length_mm + fork.lengths_mm[k] * later])
            across = fork.radius_mm * (side * half[:, :1] * ACROSS + half[:, 1:] * BESIDE)
            straight = START + ahead[:, None, None] * AXIS + across
            s = np.maximum(ahead - fork.length_mm, 0)
            turned = _branch_places(fork, k, side, s, disc)
            # The section goes from half to whole within three radii.
            part = np.clip(s / (3 * fork.radius_mm), 0, 1)
            part = (part**2 * (3 - 2 * part))[:, None, None]
            places[k] = (1 - part) * straight + part * turned
        number = np.arange(places[..., 0].size).reshape(places.shape[:3])
        shared = np.flatnonzero(half[:, 0] == 0.0)
        number[1][: len(trunk_s), shared] = number[0][: len(trunk_s), shared]
        _, number = np.unique(number, return_inverse=True)
        along = np.concatenate([trunk_s, fork.length_mm + later])
        sections = tuple(_Sections.of(places[k], disc, mirrored=k == 1) for k in range(2))
        return _ForkGrid(fork, disc, places, sections, len(trunk_s), along, number.reshape(places.shape[:3]))

    @property
    def count(self) -> int:
        return int(self.number.max()) + 1

    def arrays(self, t: float | None) -> dict[str, Array]:
        """On the merged points: velocity, pressure, wss, confidence."""
        places = self.places
        velocity = np.empty_like(places)
        pressure = np.empty(places.shape[:3])
        wss = np.empty(places.shape[:3])
        for k in range(2):
            velocity[k] = self._velocity(k, t)
            radii = self._radii(k)
            pressure[k] = self._pressure(k, t)[:, None]
            branch = np.where(np.arange(len(radii)) < self.trunk, 0, k + 1)
            stress = np.where(branch == 0, self.fork.wall_shear(0, radii, t), self.fork.wall_shear(k + 1, radii, t))
            wss[k] = np.abs(stress)[:, None]
        flat = {"velocity": velocity.reshape(-1, 3), "pressure": pressure.ravel(), "wss": wss.ravel()}
        merged = {}
        for name, values in flat.items():
            merged[name] = np.zeros((self.count, *values.shape[1:]))
            merged[name][self.number.ravel()] = values
        merged["velocity"][self._on_wall] = 0.0
        return merged

    def phase(self, t: float, lines: int) -> Phase:
        arrays = self.arrays(t)
        line = self.centreline(t).arrays
        wall = self._on_wall
        return Phase(
            t,
            {name: arrays[name][wall] for name in ("pressure", "wss")},
            {name: arrays[name] for name in ("velocity", "pressure")},
            {name: line[name] for name in ("flow_ml_s", "pressure_pa")},
            self.lines(t, lines),
        )

    def mesh(self, arrays: Mapping[str, Array]) -> VolumeMesh:
        wedges, hexahedra = [], []
        per = len(self.disc.x)
        for k in range(2):
            w, h = _extruded(self.disc, per * np.arange(self.places.shape[1]), mirrored=k == 1)
            wedges.append(self.number[k].ravel()[w])
            hexahedra.append(self.number[k].ravel()[h])
        told = {name: arrays[name] for name in ("velocity", "pressure")}
        return _volume(self._points(), np.concatenate(wedges), np.concatenate(hexahedra), told)

    def surface(self, arrays: Mapping[str, Array]) -> Surface:
        used, triangles = np.unique(self._wall_triangles(), return_inverse=True)
        points = self._points()[used]
        far = np.linalg.norm(points - START, axis=1)
        told = {name: arrays[name][used] for name in ("pressure", "wss")}
        return Surface(points, triangles.reshape(-1, 3), {**told, "confidence": 0.97 - 0.25 * far / far.max()})

    def centreline(self, t: float | None) -> Polylines:
        points, radii, flows, pressures = [], [], [], []
        for branch in range(3):
            k = max(branch - 1, 0)
            of = slice(0, self.trunk) if branch == 0 else slice(self.trunk - 1, None)
            radius, centre = self._radii(k), self.sections[k].middle
            if branch == 0:
                centre = START + self.along[:, None] * AXIS
            flow = self.fork.share(branch) * self.fork.flow_ml_s if t is None else self.fork.flow(branch, t)
            points.append(centre[of].copy())
            radii.append(radius[of])
            if branch:
                radii[-1][0] = radius[self.trunk]
            flows.append(np.full(len(points[-1]), flow))
            pressures.append(self._pressure(k, t)[of])
        points[1][0] = points[2][0] = points[0][-1]
        return _centreline(points, radii, flows, pressures)

    def lines(self, t: float | None, count: int) -> Polylines:
        """Curves of one place in the sections: the velocity is along them."""
        size = np.hypot(self.disc.x, self.disc.y)
        chosen = np.flatnonzero((size > 0.1) & (size < 0.93))
        chosen = chosen[np.linspace(0, len(chosen) - 1, max(1, count // 2)).round().astype(int)]
        points = np.concatenate([self.places[k][:, chosen].transpose(1, 0, 2) for k in range(2)])
        velocity = np.concatenate([self._velocity(k, t)[:, chosen].transpose(1, 0, 2) for k in range(2)])
        flat = velocity.reshape(-1, 3)
        return Polylines(
            points.reshape(-1, 3),
            points.shape[1] * np.arange(len(points) + 1),
            {"velocity": flat, "speed": np.linalg.norm(flat, axis=1)},
        )

    def openings(self) -> list[dict[str, Any]]:
        found = [_opening("inlet", START, -AXIS, self.fork.radius_mm)]
        for k in range(2):
            own = self.sections[k]
            found.append(_opening(f"outlet {k + 1}", own.middle[-1], own.heading[-1], own.radius[-1]))
        return found

    @functools.cached_property
    def _on_wall(self) -> Integers:
        return np.unique(self._wall_triangles())

    def _points(self) -> Array:
        points = np.empty((self.count, 3))
        points[self.number.ravel()] = self.places.reshape(-1, 3)
        return points

    def _radii(self, k: int) -> Array:
        """(stations,) mm: half a disc of the trunk stands for the trunk's whole."""
        radius = self.sections[k].radius.copy()
        radius[: self.trunk] = self.fork.radius_mm
        return radius

    def _velocity(self, k: int, t: float | None) -> Array:
        """(stations, points, 3) m/s; every section carries its flow."""
        fork, disc = self.fork, self.disc
        from_trunk = fork.profile(0, fork.radius_mm, (disc.half**2).sum(1).clip(0, 1), t)
        own = fork.profile(k + 1, fork.radii_mm[k], (disc.x**2 + disc.y**2).clip(0, 1), t)
        s = np.maximum(self.along - fork.length_mm, 0)
        s[self.trunk :] = (self.along[self.trunk :] - fork.length_mm) * fork.lengths_mm[k]
        part = np.clip(s / (2 * fork.radius_mm), 0, 1)[:, None]
        profile = (1 - part) * from_trunk + part * own
        profile[self.trunk :, disc.rim] = 0.0
        heading = np.gradient(self.places[k], axis=0)
        heading /= np.linalg.norm(heading, axis=2, keepdims=True)
        velocity = profile[..., None] * heading
        through = self.sections[k].through(velocity)
        wanted = np.full(len(s), fork.flow(k + 1, t) if t is not None else fork.share(k + 1) * fork.flow_ml_s)
        # In the trunk each half carries half of its flow; the branches share it otherwise at once.
        wanted[: self.trunk] = 0.5 * (fork.flow(0, t) if t is not None else fork.flow_ml_s)
        return np.asarray(velocity * (wanted / through)[:, None, None])

    def _pressure(self, k: int, t: float | None) -> Array:
        """(stations,) Pa along trunk and branch; the branches meet at the fork, 0 at outlet 1."""

        def along(side: int) -> Array:
            radius, centre = self._radii(side), self.sections[side].middle
            steps = 1e-3 * np.linalg.norm(np.diff(centre, axis=0, prepend=centre[:1]), axis=1)
            trunk = np.arange(len(radius)) < self.trunk
            gradient = np.where(
                trunk,
                self.fork.pressure_gradient(0, radius, t),
                self.fork.pressure_gradient(side + 1, radius, t),
            )
            return np.cumsum(gradient * steps)

        first = along(0)
        return first - first[-1] if k == 0 else along(1) - first[-1]

    def _wall_triangles(self) -> Integers:
        rim, quarter = self.disc.rim, len(self.disc.rim) // 4
        outside = np.concatenate([rim[-quarter:], rim[: quarter + 1]])
        bands = []
        for k in range(2):
            trunk = _band(self.number[k][: self.trunk][:, outside], closed=False)
            branch = _band(self.number[k][self.trunk - 1 :][:, rim], closed=True)
            band = np.concatenate([trunk, branch])
            bands.append(band if k == 0 else band[:, ::-1])
        return np.concatenate(bands)


def _branch_places(fork: Fork, k: int, side: float, s: Array, disc: _Disc) -> Array:
    """(stations, points, 3) mm: round sections along an arc that begins beside the trunk's axis."""
    radius = fork.radii_mm[k]
    curvature = np.radians(fork.angles_deg[k]) / fork.lengths_mm[k]
    angle = (curvature * s)[:, None]
    outwards = side * ACROSS
    centre = (
        START
        + fork.length_mm * AXIS
        + radius * outwards
        + (np.sin(angle) * AXIS + (1 - np.cos(angle)) * outwards) / curvature
    )
    aside = np.cos(angle) * outwards - np.sin(angle) * AXIS
    across = disc.x[:, None] * aside[:, None, :] + disc.y[:, None] * BESIDE
    return np.asarray(centre[:, None, :] + radius * across)

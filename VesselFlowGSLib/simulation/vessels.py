"""Parametric vessels: tubes of varying radius around plane curves, and unions of such tubes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from scipy.special import erf

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.simulation.settings import VesselKind, VesselSpec

Array = NDArray[np.float64]
Profile = Callable[[Array], Array]
_SAMPLE_MM = 0.1


@dataclass(frozen=True)
class Tube:
    """A tube around a plane curve; local coordinates (p, q, b), the curve lies in b = 0.

    centre   arc length mm -> (n, 2) point of the curve
    heading  arc length mm -> angle of the tangent, radians
    radius   arc length mm -> radius, mm
    """

    start_mm: float
    end_mm: float
    centre: BSpline
    heading: BSpline
    radius: BSpline

    @cached_property
    def _samples(self) -> tuple[Array, cKDTree]:
        s = np.linspace(self.start_mm, self.end_mm, int((self.end_mm - self.start_mm) / _SAMPLE_MM) + 2)
        return s, cKDTree(self.centre(s))

    @cached_property
    def curvature(self) -> BSpline:
        return self.heading.derivative()

    def frame(self, s: Array) -> tuple[Array, Array]:
        """(n, 3) tangent and normal of the curve (the binormal is b)."""
        a = self.heading(s)
        zero = np.zeros_like(a)
        return np.stack([np.cos(a), np.sin(a), zero], -1), np.stack([-np.sin(a), np.cos(a), zero], -1)

    def coordinates(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Local (n, 3) points as arc length, offsets along normal and binormal, and what lies beyond the ends (mm).

        The last is 0 between the end planes, negative before the start and positive past the end.
        """
        at, tree = self._samples
        s = at[tree.query(points[:, :2])[1]]
        for _ in range(2):  # from a sample 0.05 mm away two steps leave less than a nanometre
            tangent, normal = self.frame(s)
            away = points[:, :2] - self.centre(s)
            along = np.sum(away * tangent[:, :2], 1)
            across = np.sum(away * normal[:, :2], 1)
            s = np.clip(s + along / np.maximum(1 - self.curvature(s) * across, 0.2), self.start_mm, self.end_mm)
        tangent, normal = self.frame(s)
        away = points[:, :2] - self.centre(s)
        beyond = np.sum(away * tangent[:, :2], 1)
        at_end = (s <= self.start_mm) | (s >= self.end_mm)
        return s, np.sum(away * normal[:, :2], 1), points[:, 2], np.where(at_end, beyond, 0.0)

    def point(self, s: Array, across: Array, binormal: Array) -> Array:
        """Local (n, 3) points from arc length and offsets (mm)."""
        _, normal = self.frame(s)
        flat = self.centre(s) + across[:, None] * normal[:, :2]
        return np.concatenate([flat, binormal[:, None]], 1)

    def wall_distance(self, points: Array) -> Array:
        """(n,) mm, positive inside; exact on the wall and to first order off it, closed by flat ends."""
        s, x, y, beyond = self.coordinates(points)
        slope = self.radius.derivative()(s)
        side = (self.radius(s) - np.hypot(x, y)) / np.sqrt(1 + slope**2)
        ends = np.minimum(s - self.start_mm, self.end_mm - s) - np.abs(beyond)
        return np.asarray(np.minimum(side, ends))


@dataclass(frozen=True)
class Cap:
    """Where the vessel is cut: centre and outward normal in LPS mm, on which tube and at which arc length."""

    name: str
    centre: Array
    normal: Array
    radius_mm: float
    tube: int
    s_mm: float


@dataclass(frozen=True)
class Vessel:
    """A union of tubes that share their upstream part.

    rotation  (3, 3) columns are the local axes (p, q, b) in LPS
    shares    part of the inflow that each tube carries
    parting_mm  arc length after which each tube runs alone
    """

    spec: VesselSpec
    tubes: tuple[Tube, ...]
    shares: tuple[float, ...]
    rotation: Array
    origin: Array
    parting_mm: float

    def local(self, points: Array) -> Array:
        return np.asarray((np.asarray(points, float) - self.origin) @ self.rotation)

    def lps(self, points: Array) -> Array:
        return np.asarray(points @ self.rotation.T + self.origin)

    def wall_distance(self, points: Array) -> Array:
        """(n,) signed distance of LPS mm points to the wall, positive inside."""
        x = self.local(points)
        return np.asarray(np.max([t.wall_distance(x) for t in self.tubes], axis=0))

    def near(self, points: Array, margin_mm: float) -> NDArray[np.bool_]:
        """Which LPS points can lie within margin_mm of the lumen (cheap, never misses one)."""
        out = np.zeros(len(points), bool)
        x = self.local(points)
        for tube in self.tubes:
            at, _ = tube._samples
            curve = np.concatenate([tube.centre(at), np.zeros((len(at), 1))], 1)
            reach = float(tube.radius(at).max()) + margin_mm + _SAMPLE_MM
            out |= np.isfinite(cKDTree(curve).query(x, distance_upper_bound=reach)[0])
        return out

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Inlet first, then the outlets in the order of the tubes."""
        length = self.spec.length_mm
        out = [self._cap("inlet", 0, 0.0, -1.0)]
        names = ["outlet"] if len(self.tubes) == 1 else [f"outlet{i + 1}" for i in range(len(self.tubes))]
        return (*out, *(self._cap(name, i, length, 1.0) for i, name in enumerate(names)))

    def _cap(self, name: str, tube: int, s: float, sign: float) -> Cap:
        at = np.array([s])
        t = self.tubes[tube]
        centre = self.lps(t.point(at, np.zeros(1), np.zeros(1)))[0]
        return Cap(name, centre, sign * self.rotation @ t.frame(at)[0][0], float(t.radius(at)[0]), tube, s)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner in LPS mm."""
        low, high = [], []
        for tube in self.tubes:
            at, _ = tube._samples
            p = self.lps(tube.point(at, 0 * at, 0 * at))
            r = tube.radius(at)[:, None]
            low.append((p - r).min(0))
            high.append((p + r).max(0))
        return np.min(low, 0), np.max(high, 0)


def tube_along(heading: Profile, radius: Profile, start_mm: float, end_mm: float) -> Tube:
    """A tube whose curve passes (0, 0) at arc length 0; heading in radians, radius in mm, both of arc length."""
    s = np.linspace(start_mm, end_mm, max(int((end_mm - start_mm) / _SAMPLE_MM), 40) + 1)
    direction = make_interp_spline(s, np.stack([np.cos(heading(s)), np.sin(heading(s))], -1), k=5)
    path = direction.antiderivative()
    centre = BSpline(path.t, path.c - path(0.0), path.k)
    return Tube(start_mm, end_mm, centre, make_interp_spline(s, heading(s), k=5), make_interp_spline(s, radius(s), k=5))


def build_vessel(spec: VesselSpec) -> Vessel:
    """The vessel of a specification, its middle at spec.centre_lps_mm. InputError where the wall would fold."""
    length, r0 = spec.length_mm, spec.radius_mm
    start, end = -spec.extension_mm, length + spec.extension_mm
    middle = spec.lesion_at * length
    angle = np.radians(spec.bend_angle_deg)

    def step(s: Array, at: float, width: float) -> Array:
        return np.asarray(0.5 * (1 + erf((s - at) / width)))

    def tapered(s: Array) -> Array:
        return np.asarray(r0 * (1 + (spec.taper - 1) * step(s, length / 2, length / 4)))

    def lesion(s: Array) -> Array:
        return np.asarray(np.exp(-((s - middle) ** 2) / (2 * (spec.lesion_length_mm / 4) ** 2)))

    def bend(s: Array) -> Array:
        return np.asarray(angle * step(s, length / 2, spec.bend_length_mm / 2) - angle / 2)

    shares: tuple[float, ...] = (1.0,)
    parting = end
    if spec.kind is VesselKind.BIFURCATION:
        width = spec.bend_length_mm / 2
        at = middle + width
        ratios = (1.0, spec.asymmetry)
        turns = (angle, -angle * spec.asymmetry)
        tubes = tuple(
            tube_along(
                lambda s, turn=turn: turn * step(s, at, width),  # type: ignore[misc]
                lambda s, ratio=ratio: r0 * (1 + (spec.taper * ratio - 1) * step(s, at, width)),  # type: ignore[misc]
                start,
                end,
            )
            for turn, ratio in zip(turns, ratios, strict=True)
        )
        cubes = np.array(ratios) ** 3
        shares = tuple(float(c) for c in cubes / cubes.sum())
        parting = _parting(tubes)
    else:
        factor: Profile = lambda s: np.ones_like(s)  # noqa: E731
        if spec.kind is VesselKind.STENOSIS:
            factor = lambda s: 1 - spec.severity * lesion(s)  # noqa: E731
        elif spec.kind is VesselKind.ANEURYSM:
            factor = lambda s: 1 + (spec.dilation - 1) * lesion(s)  # noqa: E731
        tubes = (tube_along(bend, lambda s: tapered(s) * factor(s), start, end),)
    for tube in tubes:
        s = np.linspace(start, end, 500)
        if np.max(np.abs(tube.curvature(s)) * tube.radius(s)) > 0.7:
            raise InputError(
                "The vessel bends more tightly than its radius allows: lower bend_angle_deg or raise bend_length_mm."
            )
    turn = Rotation.from_euler("xyz", spec.orientation_deg, degrees=True).as_matrix()
    coronal = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # p up the body, q to the left, b backwards
    rotation = turn @ coronal
    corners = np.concatenate([t.centre(np.linspace(start, end, 60)) for t in tubes])
    middle_local = np.append((corners.min(0) + corners.max(0)) / 2, 0.0)
    return Vessel(spec, tubes, shares, rotation, np.asarray(spec.centre_lps_mm) - rotation @ middle_local, parting)


def _parting(tubes: tuple[Tube, ...]) -> float:
    """The arc length from which on the sections of the first two tubes no longer touch the other tube."""
    a, b = tubes[0], tubes[1]
    s = np.linspace(a.start_mm, a.end_mm, 600)
    gap = np.linalg.norm(a.centre(s) - b.centre(s), axis=1) - a.radius(s) - b.radius(s)
    apart = np.flatnonzero(gap > 0)
    if not len(apart):
        raise InputError("The branches never part within length_mm: raise bend_angle_deg or length_mm.")
    return float(s[apart[0]])

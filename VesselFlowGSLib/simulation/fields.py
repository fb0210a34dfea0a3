"""Velocity and pressure truth: the flow of one study at any point, in SI and LPS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.simulation.settings import FlowSpec, SolverSpec
from VesselFlowGSLib.simulation.tube_flow import TubeFlow, solve_together, with_pressure
from VesselFlowGSLib.simulation.vessels import Vessel

Array = NDArray[np.float64]
_STRAIGHT_PER_MM = 1e-6
_LAMINAR_REYNOLDS = 500.0

_TUBE = (
    "Steady incompressible Navier-Stokes equations of a Newtonian liquid in a rigid tube, by Galerkin's method with "
    "velocity functions free of divergence and of slip (exactly, at any resolution); Poiseuille inflow {extension:g} "
    "mm before the inlet, traction-free outflow {extension:g} mm behind the outlet. Pressure by weak momentum balance."
)
_UNION = (
    " In the bifurcation the velocity is the sum of one such field per outlet, each in the tube from the inlet to its "
    "outlet, solved together: mass is conserved and there is no slip exactly, momentum in the weak sense of these "
    "functions. The split of the flow is prescribed by the cubes of the radii."
)


@dataclass(frozen=True)
class Flow:
    """The steady (or cycle-mean) flow in a vessel."""

    vessel: Vessel
    spec: FlowSpec
    tubes: tuple[TubeFlow, ...]
    reference_pa: tuple[float, ...]

    @property
    def reynolds(self) -> float:
        """At the inlet, with the mean speed and the diameter."""
        return _reynolds(self.vessel, self.spec)

    @property
    def description(self) -> str:
        text = _TUBE.format(extension=self.vessel.spec.extension_mm)
        return text + (_UNION if len(self.tubes) > 1 else "")

    @property
    def expected_error(self) -> dict[str, object]:
        """What the discretisation leaves, as fractions, and where the description is honest."""
        several = len(self.tubes) > 1
        return {
            "velocity_relative_l2": 0.03 if several else 0.005,
            "pressure_drop_relative": 0.05 if several else 0.01,
            "flow_relative": 0.0,
            "reynolds": round(self.reynolds, 1),
            "honest_up_to_reynolds": _LAMINAR_REYNOLDS,
        }

    def velocity(self, points: Array) -> Array:
        """(n, 3) m/s at LPS mm points, zero outside the lumen."""
        x = self.vessel.local(points)
        return np.asarray(self.local_velocity(x) @ self.vessel.rotation.T * 1e-3)

    def local_velocity(self, points: Array) -> Array:
        """(n, 3) mm/s at local points."""
        return np.asarray(sum(t.velocity(points) for t in self.tubes))

    def gradient(self, points: Array) -> Array:
        """(n, 3, 3) d u_i / d x_j in 1/s at LPS points, zero outside."""
        x, turn = self.vessel.local(points), self.vessel.rotation
        return np.asarray(turn @ sum(t.gradient(x) for t in self.tubes) @ turn.T)

    def pressure(self, points: Array) -> Array:
        """(n,) Pa at LPS points; zero on average on the first outlet; outside, that of the nearest section's rim."""
        x = self.vessel.local(points)
        density = self.spec.density_kg_m3 * 1e-6
        total, weights = np.zeros(len(x)), np.zeros(len(x))
        for tube, reference in zip(self.tubes, self.reference_pa, strict=True):
            s, a, b, _ = tube.unit(x)
            reach = np.hypot(a, b)
            shrink = np.minimum(1.0, 1 / np.maximum(reach, 1e-12))
            p = density * tube.pressure_at(s, a * shrink, b * shrink) - reference
            # Where tubes overlap each speaks for what is nearer to its own axis.
            weight = np.maximum(1 - reach**2, 1e-9 / np.maximum(reach, 1) ** 2)
            total += weight * p
            weights += weight
        return np.asarray(total / weights)

    def wall_shear(self, points: Array, outward: Array) -> Array:
        """(n, 3) Pa, the stress of the fluid on the wall, at LPS points just inside with outward normals."""
        g = self.gradient(points)
        stress = self.spec.viscosity_pa_s * np.einsum("nij,nj->ni", g + g.transpose(0, 2, 1), outward)
        along = np.sum(stress * outward, 1, keepdims=True) * outward
        return np.asarray(-(stress - along))


def _reynolds(vessel: Vessel, spec: FlowSpec) -> float:
    viscosity = spec.viscosity_pa_s / spec.density_kg_m3 * 1e6
    return float(2 * spec.mean_inflow_ml_s * 1e3 / (np.pi * vessel.spec.radius_mm * viscosity))


def solve_flow(vessel: Vessel, spec: FlowSpec, solver: SolverSpec) -> Flow:
    """Velocity and pressure of the steady flow with the mean inflow."""
    viscosity = spec.viscosity_pa_s / spec.density_kg_m3 * 1e6
    inflow = spec.mean_inflow_ml_s * 1e3
    s = np.linspace(0, vessel.spec.length_mm, 200)
    straight = all(np.abs(t.curvature(s)).max() < _STRAIGHT_PER_MM for t in vessel.tubes)
    radial, harmonics = (solver.axisymmetric_radial, 0) if straight else (solver.radial, solver.harmonics)
    parts = zip(vessel.tubes, vessel.shares, strict=True)
    flows = [TubeFlow(tube, share * inflow, radial, harmonics) for tube, share in parts]
    flows = solve_together(flows, viscosity, solver)
    flows = [
        with_pressure(f, viscosity, solver, [g for j, g in enumerate(flows) if j != i]) for i, f in enumerate(flows)
    ]
    raw = Flow(vessel, spec, tuple(flows), (0.0,) * len(flows))
    return replace(raw, reference_pa=_references(raw))


def _references(flow: Flow) -> tuple[float, ...]:
    """What to take off each tube's pressure: equal at the inlet, zero at the first outlet."""
    density = flow.spec.density_kg_m3 * 1e-6

    def mean(tube: TubeFlow, s: float) -> float:
        x, y, w = half_disk()
        return density * float(np.average(tube.pressure_at(np.full(len(x), s), x, y), weights=w))

    inlet = [mean(t, 0.0) for t in flow.tubes]
    drop = inlet[0] - mean(flow.tubes[0], flow.vessel.spec.length_mm)
    return tuple(i - drop for i in inlet)


def half_disk(radial: int = 12, angular: int = 12) -> tuple[Array, Array, Array]:
    """Points and weights over half the unit disk; weights sum to pi."""
    from VesselFlowGSLib.simulation.sections import disk_quadrature

    return disk_quadrature(radial, angular)


def section_figures(flow: Flow, tube: int, s: float) -> dict[str, float]:
    """Flow (ml/s), mean pressure (Pa) and area of a tube's plane section, where it runs alone or all run as one."""
    x, y, w = half_disk()
    t = flow.tubes[tube]
    at = np.full(len(x), s)
    r = t.tube.radius(at)
    points = t.tube.point(at, r * x, r * y)
    tangent, _ = t.tube.frame(at)
    speed = np.sum(flow.local_velocity(points) * tangent, 1)
    area = w * r**2
    return {
        "Q_ml_s": float(speed @ area) * 1e-3,
        "p_Pa": float(flow.pressure(flow.vessel.lps(points)) @ area / area.sum()),
        "area_mm2": float(area.sum()),
    }

"""The flow solve: a network on the vessel's own coordinates, trained until Navier-Stokes holds.

No-slip is exact (the velocity is a product with the wall function), everything else is a residual.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.flow.broyden import BroydenState, SelfScaledBroyden
from VesselFlowGSLib.flow.collocation import collocation_points
from VesselFlowGSLib.flow.coordinates import CoordinateSettings, VesselCoordinates
from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.jets import jet_product, sampled_jets
from VesselFlowGSLib.flow.network import Network, NetworkSettings
from VesselFlowGSLib.flow.network1d import branch_shares, pressure_along
from VesselFlowGSLib.flow.residuals import ResidualWeights, navier_stokes_residual
from VesselFlowGSLib.flow.scales import Scales
from VesselFlowGSLib.flow.sections import SectionSettings, flux_sections, opening_section
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]
T = TypeVar("T")
JET_STEP_RADII = 0.01
LEAST_SHARE = 0.02  # branches that carry less of the inflow are scaled as if they carried this


@dataclass(frozen=True)
class FlowSettings:
    """Settings of the flow solve.

    points_per_radius  collocation points for every radius of vessel length
    points_most        never more than this
    wall_part          part of them in the layer at the wall
    path_scale_radii   length along the vessel that the network sees as one unit
    first_iterations, update_iterations  quasi-Newton steps from scratch, and after the inflow has changed
    """

    coordinates: CoordinateSettings = field(default_factory=CoordinateSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    sections: SectionSettings = field(default_factory=SectionSettings)
    weights: ResidualWeights = field(default_factory=ResidualWeights)
    points_per_radius: int = 70
    points_most: int = 12000
    wall_part: float = 0.35
    path_scale_radii: float = 4.0
    balance_exponent: float = 0.25
    first_iterations: int = 700
    update_iterations: int = 150


def _base_profile(layer: float) -> Array:
    """Coefficients a of g(q) = sum a_k exp(-k q) such that tanh((1 - rho) / layer) g(rho^2) = 2 (1 - rho^2)."""
    rho = (np.arange(400) + 0.5) / 400 * 0.995
    wall = np.tanh((1 - rho) / layer)
    basis = np.exp(-np.arange(4)[None] * rho[:, None] ** 2)
    weight = (wall * np.sqrt(rho))[:, None]
    target = 2 * (1 - rho**2) / wall
    return np.asarray(np.linalg.lstsq(basis * weight, target * weight[:, 0], rcond=None)[0])


def _run_on(at: Array, path: Array, values: Array, over_mm: float) -> Array:
    """Values along a path, linear between its points, and past its ends with the mean slope over a length there."""
    inner = np.interp([path[0] + over_mm, path[-1] - over_mm], path, values)
    reach = min(over_mm, float(path[-1] - path[0]))
    before, after = (inner[0] - values[0]) / reach, (values[-1] - inner[1]) / reach
    beyond = np.minimum(at - path[0], 0) * before + np.maximum(at - path[-1], 0) * after
    return np.asarray(np.interp(at, path, values) + beyond)


class FlowSolver:
    """Solves the flow through one lumen for any inflow; keeps its state, so that a changed inflow costs little.

    shares  (outlets,) part of the inflow that leaves each leaf of the tree
    """

    def __init__(
        self,
        lumen: Lumen,
        cloud: GaussianCloud,
        fluid: Fluid,
        shares: Sequence[float] | Array,
        settings: FlowSettings,
        seed: int = 0,
    ) -> None:
        self.lumen, self.fluid, self.settings = lumen, fluid, settings
        self.shares = branch_shares(lumen.tree, shares)
        self.coordinates = VesselCoordinates(lumen, settings.coordinates)
        self.unit_mm = lumen.inlet.radius_mm
        self._layer_profile = _base_profile(settings.coordinates.wall_layer_radii)
        self.network = Network((self._input_count, *[settings.network.width] * settings.network.layers, 4), seed)
        self.state = BroydenState(self.network.start.numpy().copy())
        length = sum(float(b.arc_length_mm[-1] / np.median(b.radius_mm)) for b in lumen.tree.branches)
        count = min(settings.points_most, max(600, round(settings.points_per_radius * length)))
        self.inner = self._jets(collocation_points(lumen, cloud, count, settings.wall_part, seed))
        self.sections = flux_sections(lumen, settings.sections)
        inlet = opening_section(lumen, 0, settings.sections)
        outlets = [opening_section(lumen, i, settings.sections) for i in range(1, len(lumen.openings))]
        if inlet is None or any(o is None for o in outlets):
            raise InputError(
                "An opening of the vessel does not lie in one closed cross-section of it. "
                "Move inlet_lps_mm or outlets_lps_mm in study.toml a little along the vessel, away from branches."
            )
        self._inlet = inlet
        self._outlets = [o for o in outlets if o is not None]
        self._prepare_boundaries()
        self.scales = Scales.of_inflow(1.0, self.unit_mm, fluid)

    @property
    def _input_count(self) -> int:
        return 5 + len(self.lumen.tree.branches) - 1

    def _inputs(self, points: Array) -> Array:
        """(M, 3) mm to (M, inputs + 1 + 9 + 3): network inputs, wall function, frame, base velocity."""
        at = self.coordinates(points)
        q = (at.offset**2).sum(1)
        unit = self.unit_mm
        inputs = np.concatenate(
            [
                at.offset,
                (q / 2)[:, None],
                (at.path / (self.settings.path_scale_radii * unit) - self._path_middle)[:, None],
                2 * np.log(at.radius / unit)[:, None],
                2 * at.membership[:, 1:] - 1,
            ],
            1,
        )
        profile = np.exp(-np.arange(4)[None] * q[:, None]) @ self._layer_profile
        share = at.membership @ self.shares
        base = (share * (unit / at.radius) ** 2 * profile)[:, None] * at.frame[:, 0]
        # the network's velocity is scaled like the local mean speed, so that narrow and wide parts look alike
        speed = np.maximum(share, LEAST_SHARE) * (unit / at.radius) ** 2
        frame = at.frame * speed[:, None, None]
        return np.concatenate([inputs, at.wall[:, None], frame.reshape(-1, 9), base], 1)

    @property
    def _path_middle(self) -> float:
        path = self.coordinates.samples.path_mm
        return float(path.max() + path.min()) / 2 / (self.settings.path_scale_radii * self.unit_mm)

    def _jets(self, points: Array) -> _PointJets:
        """Jets at (M, 3) mm of everything that depends on position alone, lengths in inlet radii."""
        n = self._input_count
        unit = self.unit_mm
        jets = torch.from_numpy(sampled_jets(lambda x: self._inputs(x * unit), points / unit, JET_STEP_RADII))
        wall = jets[..., n : n + 1]
        frame = jets[..., n + 1 : n + 10]
        at = self.coordinates(points)
        share = np.maximum(at.membership @ self.shares, LEAST_SHARE)
        speed = share * (unit / at.radius) ** 2
        balance = (speed**2 * unit / at.radius) ** -self.settings.balance_exponent
        return _PointJets(
            points,
            jets[..., :n].contiguous(),
            jet_product(wall, frame).reshape(5, len(points), 3, 3),
            jet_product(wall, jets[..., n + 10 :]),
            torch.from_numpy(balance),
        )

    def _values(self, points: Array) -> _PointValues:
        n = self._input_count
        x = torch.from_numpy(self._inputs(points))
        wall = x[:, n : n + 1]
        return _PointValues(
            x[:, :n].contiguous(), (wall * x[:, n + 1 : n + 10]).reshape(-1, 3, 3), wall * x[:, n + 10 :]
        )

    def _prepare_boundaries(self) -> None:
        s = self._inlet
        self._inlet_values = self._values(s.points)
        area = np.pi * self.unit_mm**2
        profile = s.developed_profile() * (area / s.area_mm2)
        self._inlet_target = torch.from_numpy(profile[:, None] * s.normal)
        self._inlet_weight = torch.from_numpy(s.weights / s.area_mm2)
        self._outlet_values = [self._values(o.points) for o in self._outlets]
        self._outlet_weight = [torch.from_numpy(o.weights / o.area_mm2) for o in self._outlets]
        self._outlet_across = [torch.from_numpy(np.eye(3) - np.outer(o.normal, o.normal)) for o in self._outlets]
        self._flux_values = self._values(np.concatenate([s.points for s in self.sections]))
        unit = [max(float(self.shares[s.branch]), LEAST_SHARE) for s in self.sections]
        self._flux_weight = torch.from_numpy(
            np.concatenate(
                [s.weights[:, None] * s.normal / (area * u) for s, u in zip(self.sections, unit, strict=True)]
            )
        )
        self._flux_target = torch.tensor(
            [float(self.shares[s.branch]) / u for s, u in zip(self.sections, unit, strict=True)], dtype=torch.float64
        )
        counts = [len(s.points) for s in self.sections]
        self._flux_owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))

    def _base_pressure(self, points: Array, flow_ml_s: float) -> Array:
        """(M,) Pa: the 1D network's pressure for an inflow, carried to any point."""
        along = pressure_along(self.lumen.tree, self.shares * flow_ml_s, self.fluid)
        c = self.coordinates.samples
        values = np.empty(len(c.path_mm))
        start = {-1: 0.0}
        for index, branch in enumerate(self.lumen.tree.branches):
            own = c.branch == index
            path = start[branch.parent] + branch.arc_length_mm
            start[index] = float(path[-1])
            values[own] = _run_on(c.path_mm[own], path, along[index], float(branch.radius_mm[0]))
        return self.coordinates.average(points, values[:, None])[:, 0]

    def loss(self, flat: torch.Tensor) -> torch.Tensor:
        """Weighted sum of the mean squared residuals."""
        w = self.settings.weights
        out = self.network.jet(flat, self.inner.inputs)
        velocity = self.inner.base + sum(jet_product(out[:, :, k : k + 1], self.inner.frame[:, :, k]) for k in range(3))
        pressure = out[:4, :, 3] + self._inner_pressure[:4]
        momentum, continuity = navier_stokes_residual(velocity, pressure, self.scales.reynolds)
        balance = self.inner.balance
        total = w.momentum * ((momentum * balance[:, None]) ** 2).sum(1).mean()
        total = total + w.continuity * ((continuity**2) * balance).mean()
        u, _ = self._velocity_pressure(flat, self._inlet_values)
        total = total + w.inlet * (((u - self._inlet_target) ** 2).sum(1) * self._inlet_weight).sum()
        for index, (values, weight, across) in enumerate(
            zip(self._outlet_values, self._outlet_weight, self._outlet_across, strict=True)
        ):
            u, p = self._velocity_pressure(flat, values)
            p = p + self._outlet_pressure[index]
            level = 0.0 if index == 0 else (p * weight).sum()
            total = total + w.outlet * (((p - level) ** 2 + ((u @ across) ** 2).sum(1)) * weight).sum()
        u, _ = self._velocity_pressure(flat, self._flux_values)
        flux = torch.zeros(len(self.sections), dtype=torch.float64).index_add_(
            0, self._flux_owner, (u * self._flux_weight).sum(1)
        )
        return total + w.flux * ((flux - self._flux_target) ** 2).mean()

    def _velocity_pressure(self, flat: torch.Tensor, at: _PointValues) -> tuple[torch.Tensor, torch.Tensor]:
        """Velocity (N, 3), and the network's part of the pressure (N,), in the units of Scales."""
        out = self.network.value(flat, at.inputs)
        velocity = at.base + (out[:, :3, None] * at.frame).sum(1)
        return velocity, out[:, 3]

    def set_inflow(self, flow_ml_s: float) -> None:
        """Change the inflow; what the network has learnt stays, since in its own units little changes."""
        self.scales = Scales.of_inflow(flow_ml_s, self.unit_mm, self.fluid)
        unit_pa = self.scales.pressure_pa
        self._inner_pressure = torch.from_numpy(
            sampled_jets(
                lambda x: self._base_pressure(x * self.unit_mm, flow_ml_s)[:, None],
                self.inner.points / self.unit_mm,
                JET_STEP_RADII,
            )[..., 0]
            / unit_pa
        )
        self._outlet_pressure = [
            torch.from_numpy(self._base_pressure(o.points, flow_ml_s) / unit_pa) for o in self._outlets
        ]
        # the curvature estimate belongs to the old loss, but remains a good preconditioner
        self.state.loss = float("inf")

    def solve(self, flow_ml_s: float, iterations: int | None = None) -> None:
        """Train for the given inflow, ml/s; by default as long as the settings say."""
        for _ in self.steps(flow_ml_s, iterations):
            pass

    def steps(self, flow_ml_s: float, iterations: int | None = None) -> Iterator[tuple[int, float]]:
        """The same, step by step: yields the number of steps taken since the network was made, and the loss."""
        self.set_inflow(flow_ml_s)
        if iterations is None:
            fresh = self.state.iterations == 0
            iterations = self.settings.first_iterations if fresh else self.settings.update_iterations
        for state in SelfScaledBroyden(self.loss, self.state).steps(iterations):
            yield state.iterations, state.loss


@dataclass(frozen=True)
class _PointJets:
    points: Array
    inputs: torch.Tensor
    frame: torch.Tensor
    base: torch.Tensor
    balance: torch.Tensor


@dataclass(frozen=True)
class _PointValues:
    inputs: torch.Tensor
    frame: torch.Tensor
    base: torch.Tensor


class PointMemory:
    """What depends on position alone, kept for sets of points that are asked for again.

    Most of what a field costs does, so that a display whose points stay is brought up to date for little.

    fewest  smaller sets are not kept; most: points kept in all, the set that was asked for longest ago goes first
    """

    def __init__(self, fewest: int = 500, most: int = 400_000) -> None:
        self._fewest, self._most = fewest, most
        self._kept: OrderedDict[tuple[object, ...], tuple[int, object]] = OrderedDict()

    def recall(self, what: object, points: Array, compute: Callable[[], T]) -> T:
        """What was computed for these points before, or compute() now."""
        if len(points) < self._fewest:
            return compute()
        key = (what, points.shape, hashlib.blake2b(np.ascontiguousarray(points).data, digest_size=16).digest())
        if key not in self._kept:
            self._kept[key] = (len(points), compute())
            while sum(n for n, _ in self._kept.values()) > self._most and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return cast(T, self._kept[key][1])


@dataclass(frozen=True)
class NetworkField:
    """The solved flow as a FlowField; a frozen copy of the solver's parameters.

    memory  of points that are asked for again; of this solver alone
    """

    solver: FlowSolver
    parameters: Array
    scales: Scales
    reference_pa: float
    memory: PointMemory | None = None

    @staticmethod
    def of(solver: FlowSolver, memory: PointMemory | None = None) -> NetworkField:
        """The field as the solver has it now."""
        parameters = solver.state.x.copy()
        field_ = NetworkField(solver, parameters, solver.scales, 0.0)
        outlet = solver._outlets[0]
        level = float((field_.pressure(outlet.points) * outlet.weights).sum() / outlet.area_mm2)
        return NetworkField(solver, parameters, solver.scales, level, memory)

    def _recall(self, what: object, points: Array, compute: Callable[[Array], T]) -> T:
        return compute(points) if self.memory is None else self.memory.recall(what, points, lambda: compute(points))

    def velocity(self, points: Array) -> Array:
        """(M, 3) LPS mm to (M, 3) m/s; zero on and beyond the wall."""
        x = np.asarray(points, float)
        values = self._recall("values", x, self.solver._values)
        inside = self._recall("inside", x, lambda at: self.solver.lumen.wall(at) > 0)
        with torch.no_grad():
            u, _ = self.solver._velocity_pressure(torch.from_numpy(self.parameters), values)
        return self.scales.velocity_m_s(u.numpy()) * inside[:, None]

    def core_velocity(self, points: Array) -> tuple[Array, Array]:
        """Velocity without its wall factor (M, 3) m/s, smooth across the wall, and the wall function (M,)."""
        x = np.asarray(points, float)
        n = self.solver._input_count
        raw = torch.from_numpy(self.solver._inputs(x))
        values = _PointValues(raw[:, :n], raw[:, n + 1 : n + 10].reshape(-1, 3, 3), raw[:, n + 10 :])
        with torch.no_grad():
            u, _ = self.solver._velocity_pressure(torch.from_numpy(self.parameters), values)
        return self.scales.velocity_m_s(u.numpy()), raw[:, n].numpy()

    def pressure(self, points: Array) -> Array:
        """(M, 3) LPS mm to (M,) Pa; zero, on average, on the first outlet."""
        x = np.asarray(points, float)
        values = self._recall("values", x, self.solver._values)
        flow_ml_s = float(self.scales.flow_ml_s)
        base = self._recall(flow_ml_s, x, lambda at: self.solver._base_pressure(at, flow_ml_s))
        with torch.no_grad():
            _, p = self.solver._velocity_pressure(torch.from_numpy(self.parameters), values)
        return np.asarray(self.scales.pressure(p.numpy()) + base - self.reference_pa)

    def velocity_gradient(self, points: Array) -> Array:
        """(M, 3) LPS mm to (M, 3, 3) 1/s: [m, i, j] is the derivative of component i along axis j."""
        x = np.asarray(points, float)
        jets = self._recall("jets", x, self.solver._jets)
        with torch.no_grad():
            out = self.solver.network.jet(torch.from_numpy(self.parameters), jets.inputs)
            u = jets.base + sum(jet_product(out[:, :, k : k + 1], jets.frame[:, :, k]) for k in range(3))
        return np.ascontiguousarray(self.scales.velocity_gradient_per_s(u[1:4].numpy()).transpose(1, 2, 0))

    def flow_ml_s(self) -> Array:
        """(branches,) flow in every branch of the centreline tree."""
        return self.solver.shares * self.scales.flow_ml_s

"""A straight tube, solved once for all tests that need a solution whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from analytic_lumens import straight_tube

from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.network import NetworkSettings
from VesselFlowGSLib.flow.solve import FlowSettings, FlowSolver
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.lumen.fit import start_cloud
from VesselFlowGSLib.lumen.wall import Lumen

FLUID = Fluid()
AXIS = np.array([1.0, 2.0, 2.0]) / 3
LENGTH, RADIUS = 16.0, 2.0
# a Reynolds number of 100 with the diameter
MEAN_M_S = 100 * FLUID.kinematic_viscosity_m2_s / (2 * RADIUS * 1e-3)
FLOW_ML_S = MEAN_M_S * np.pi * RADIUS**2
SMALL = FlowSettings(points_per_radius=60, network=NetworkSettings(3, 20))


@dataclass(frozen=True)
class Tube:
    lumen: Lumen
    cloud: GaussianCloud

    def solver(self, seed: int = 0) -> FlowSolver:
        return FlowSolver(self.lumen, self.cloud, FLUID, [1.0], SMALL, seed)


def tube() -> Tube:
    lumen = straight_tube(LENGTH, RADIUS, tuple(AXIS), spacing_mm=0.4)
    return Tube(lumen, start_cloud(lumen, 1.0).cloud)


def at(z: np.ndarray, r: np.ndarray, angle: np.ndarray | float = 0.0) -> np.ndarray:
    """Points of the tube in its own cylinder coordinates, mm and radian."""
    e1 = np.cross(AXIS, [1.0, 0.0, 0.0])
    e1 /= np.linalg.norm(e1)
    z, r, angle = np.broadcast_arrays(np.asarray(z, float), r, angle)
    e2 = np.cross(AXIS, e1)
    return z[:, None] * AXIS + r[:, None] * (np.cos(angle)[:, None] * e1 + np.sin(angle)[:, None] * e2)


def inner_points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (count, 3) evenly in the tube, and their z and r."""
    draw = np.random.default_rng(seed)
    z, r = draw.uniform(0, LENGTH, count), RADIUS * np.sqrt(draw.uniform(0, 1, count))
    return at(z, r, draw.uniform(0, 2 * np.pi, count)), z, r

"""The one place where millimetres, seconds and pascals become the network's own units, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from VesselFlowGSLib.flow.fluid import Fluid

MM = 1e-3
ML = 1e-6
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scales:
    """Non-dimensional units: inlet radius, mean inlet speed, and the dynamic pressure rho U^2.

    radius_mm   unit of length
    speed_m_s   unit of velocity, flow / (pi radius^2)
    """

    radius_mm: float
    speed_m_s: float
    fluid: Fluid

    @staticmethod
    def of_inflow(flow_ml_s: float, radius_mm: float, fluid: Fluid) -> Scales:
        """Units in which the given inflow has a mean speed of one at the inlet."""
        return Scales(radius_mm, flow_ml_s * ML / (math.pi * (radius_mm * MM) ** 2), fluid)

    @property
    def reynolds(self) -> float:
        """U R / nu, with the radius; half the Reynolds number of the diameter."""
        return self.speed_m_s * self.radius_mm * MM / self.fluid.kinematic_viscosity_m2_s

    @property
    def pressure_pa(self) -> float:
        return self.fluid.density_kg_m3 * self.speed_m_s**2

    @property
    def flow_ml_s(self) -> float:
        """Flow whose value is one: U pi R^2."""
        return self.speed_m_s * math.pi * (self.radius_mm * MM) ** 2 / ML

    def length(self, mm: ArrayLike) -> Array:
        return np.asarray(mm, float) / self.radius_mm

    def velocity_m_s(self, value: ArrayLike) -> Array:
        return np.asarray(value, float) * self.speed_m_s

    def velocity_gradient_per_s(self, value: ArrayLike) -> Array:
        return np.asarray(value, float) * (self.speed_m_s / (self.radius_mm * MM))

    def pressure(self, value: ArrayLike) -> Array:
        """Network units to Pa."""
        return np.asarray(value, float) * self.pressure_pa

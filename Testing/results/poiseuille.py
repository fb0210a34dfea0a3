"""Poiseuille flow in a straight tube, in closed form, as a FlowField."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Poiseuille:
    """Flow along direction through the origin; pressure is zero at outlet_mm."""

    direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    radius_mm: float = 2.0
    mean_m_s: float = 0.2
    viscosity_pa_s: float = 0.0035
    outlet_mm: float = 20.0

    @property
    def axis(self) -> np.ndarray:
        return np.asarray(self.direction, float) / np.linalg.norm(self.direction)

    @property
    def slope_pa_mm(self) -> float:
        return 8 * self.viscosity_pa_s * self.mean_m_s / (self.radius_mm * 1e-3) ** 2 * 1e-3

    @property
    def wss_pa(self) -> float:
        return 4 * self.viscosity_pa_s * self.mean_m_s / (self.radius_mm * 1e-3)

    def across(self, points: np.ndarray) -> np.ndarray:
        return points - (points @ self.axis)[:, None] * self.axis

    def velocity(self, points: np.ndarray) -> np.ndarray:
        part = (self.across(points) ** 2).sum(1) / self.radius_mm**2
        return 2 * self.mean_m_s * np.maximum(0, 1 - part)[:, None] * self.axis

    def pressure(self, points: np.ndarray) -> np.ndarray:
        return self.slope_pa_mm * (self.outlet_mm - points @ self.axis)

    def velocity_gradient(self, points: np.ndarray) -> np.ndarray:
        off = self.across(points)
        inside = (off**2).sum(1) < self.radius_mm**2
        factor = -4 * self.mean_m_s / (self.radius_mm * 1e-3) ** 2
        return factor * inside[:, None, None] * self.axis[None, :, None] * off[:, None, :] * 1e-3

    def flow_ml_s(self) -> np.ndarray:
        return np.array([np.pi * self.radius_mm**2 * self.mean_m_s])

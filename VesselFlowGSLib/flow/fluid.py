"""The fluid: density and viscosity of blood."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fluid:
    """A Newtonian liquid, SI units."""

    density_kg_m3: float = 1060.0
    viscosity_pa_s: float = 0.0035

    @property
    def kinematic_viscosity_m2_s(self) -> float:
        return self.viscosity_pa_s / self.density_kg_m3

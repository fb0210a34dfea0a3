"""What the network is asked to satisfy: Navier-Stokes inside, the inlet profile, the outlets, flux at every section."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ResidualWeights:
    """Weights of the mean squared residuals, all non-dimensional."""

    momentum: float = 1.0
    continuity: float = 3.0
    inlet: float = 10.0
    outlet: float = 3.0
    flux: float = 20.0


def navier_stokes_residual(
    velocity: torch.Tensor, pressure: torch.Tensor, reynolds: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Steady incompressible momentum (N, 3) and continuity (N,) residuals.

    velocity (5, N, 3) and pressure (>= 4, N) are jets in the units of Scales; Newtonian.
    """
    u = velocity[0]
    convection = u[:, 0:1] * velocity[1] + u[:, 1:2] * velocity[2] + u[:, 2:3] * velocity[3]
    momentum = convection + pressure[1:4].T - velocity[4] / reynolds
    continuity = velocity[1][:, 0] + velocity[2][:, 1] + velocity[3][:, 2]
    return momentum, continuity

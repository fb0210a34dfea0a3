"""The 1D network: flow and pressure along the centreline, in closed form. The first answer, and the PINN's start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.scales import ML, MM
from VesselFlowGSLib.lumen.centreline import CentrelineTree

Array = NDArray[np.float64]
MOMENTUM_FACTOR = 4 / 3  # of a parabolic profile: mean of u^2 over square of mean of u


def murray_shares(tree: CentrelineTree) -> Array:
    """(leaves,) part of the inflow that leaves each outlet, by Murray's law: in proportion to radius cubed.

    Murray, PNAS 12:207, 1926.
    """
    end = np.array([np.median(tree.branches[leaf].radius_mm[-5:]) for leaf in tree.leaves])
    return np.asarray(end**3 / (end**3).sum())


def branch_shares(tree: CentrelineTree, outlet_shares: Sequence[float] | Array) -> Array:
    """(branches,) part of the inflow in every branch, from the outlets' (leaves,), by conservation of mass."""
    shares = np.zeros(len(tree.branches))
    for leaf, share in zip(tree.leaves, outlet_shares, strict=True):
        index = leaf
        while index >= 0:
            shares[index] += share
            index = tree.branches[index].parent
    return shares


def pressure_along(tree: CentrelineTree, flow_ml_s: Array, fluid: Fluid) -> list[Array]:
    """Pressure (n,) Pa along every branch, zero at the end of the first leaf.

    Poiseuille friction plus the change of momentum flux; where the vessel widens half of it is given back, since flow
    that separates behind a narrowing recovers only a part.
    """
    pressure: list[Array] = []
    for index, branch in enumerate(tree.branches):
        q = flow_ml_s[index] * ML
        radius = branch.radius_mm * MM
        s = branch.arc_length_mm * MM
        friction = 8 * fluid.viscosity_pa_s * q / (np.pi * radius**4)
        drop = np.concatenate([[0.0], np.cumsum((friction[1:] + friction[:-1]) / 2 * np.diff(s))])
        dynamic = MOMENTUM_FACTOR / 2 * fluid.density_kg_m3 * (q / (np.pi * radius**2)) ** 2
        gain = np.concatenate(
            [[0.0], np.cumsum(np.maximum(np.diff(dynamic), 0) + 0.5 * np.minimum(np.diff(dynamic), 0))]
        )
        start = 0.0 if branch.parent < 0 else float(pressure[branch.parent][-1])
        pressure.append(start - drop - gain)
    reference = pressure[tree.leaves[0]][-1]
    return [p - reference for p in pressure]

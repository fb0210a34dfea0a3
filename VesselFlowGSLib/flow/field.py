"""The flow field: what every later stage asks of a solution."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class FlowField(Protocol):
    """Velocity and pressure of the blood anywhere in the lumen (steady, or the mean over the cycle)."""

    def velocity(self, points: Array) -> Array:
        """(M, 3) LPS mm to (M, 3) m/s; zero on and beyond the wall."""
        ...

    def pressure(self, points: Array) -> Array:
        """(M, 3) LPS mm to (M,) Pa; zero, on average, on the reference outlet."""
        ...

    def velocity_gradient(self, points: Array) -> Array:
        """(M, 3) LPS mm to (M, 3, 3) 1/s: [m, i, j] is the derivative of component i along axis j."""
        ...

    def flow_ml_s(self) -> Array:
        """(branches,) flow in every branch of the centreline tree."""
        ...

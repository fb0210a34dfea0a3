"""The cloud: a vessel as anisotropic 3D Gaussians of X-ray attenuation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianCloud:
    """N anisotropic Gaussians; the attenuation at x is sum_i attenuation_i occupancy_i exp(-m_i(x)^2 / 2).

    mean         (N, 3) LPS mm
    sigma        (N, 3) mm, standard deviations along the Gaussian's own axes
    quaternion   (N, 4) w, x, y, z: turns the Gaussian's axes into LPS
    attenuation  (N,) 1/mm at full filling
    occupancy    (N,) part of the Gaussian that is lumen; shape and filling are separate unknowns
    arrival_s    (N,) when the contrast arrives, NaN where unknown
    """

    mean: Array
    sigma: Array
    quaternion: Array
    attenuation: Array
    occupancy: Array
    arrival_s: Array

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def density(self) -> Array:
        """(N,) peak attenuation of each Gaussian when filled, 1/mm."""
        return self.attenuation * self.occupancy

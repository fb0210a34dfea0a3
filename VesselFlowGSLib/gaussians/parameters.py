"""The cloud as tensors: what a fit varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from VesselFlowGSLib.gaussians.cloud import GaussianCloud


@dataclass(frozen=True)
class Parameters:
    """N Gaussians as tensors of one precision and device; any of them may require a gradient.

    mean        (N, 3) LPS mm
    log_sigma   (N, 3) log of the standard deviations in mm
    quaternion  (N, 4) w, x, y, z, of any length
    density     (N,) peak attenuation, 1/mm

    Raises ValueError for shapes, precisions or devices that do not fit.
    """

    mean: Tensor
    log_sigma: Tensor
    quaternion: Tensor
    density: Tensor

    def __post_init__(self) -> None:
        n = len(self.mean)
        wanted = {"mean": (n, 3), "log_sigma": (n, 3), "quaternion": (n, 4), "density": (n,)}
        for name, shape in wanted.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise ValueError(f"Gaussians: {name} is {tuple(value.shape)} and must fit the means: {shape}.")
            if value.dtype != self.mean.dtype or value.device != self.mean.device:
                raise ValueError(f"Gaussians: {name} must have the precision and the device of the means.")

    @staticmethod
    def of(cloud: GaussianCloud, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Parameters:
        """The cloud when filled. A size that is not positive becomes NaN: such a Gaussian is not seen."""
        with np.errstate(divide="ignore", invalid="ignore"):
            log_sigma = np.where(cloud.sigma > 0, np.log(cloud.sigma), np.nan)
        values = (cloud.mean, log_sigma, cloud.quaternion, cloud.density)
        return Parameters(*(torch.as_tensor(np.asarray(x), dtype=dtype, device=device) for x in values))

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def needs_gradient(self) -> bool:
        return any(x.requires_grad for x in (self.mean, self.log_sigma, self.quaternion, self.density))

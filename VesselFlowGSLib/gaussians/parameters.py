"""The cloud as tensors: what a fit varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from VesselFlowGSLib.gaussians.cloud import GaussianCloud


def fit_the_means(what: str, of: Any, **wanted: tuple[int, ...]) -> None:
    """Raises ValueError unless the tensors of those names have one row a mean, of these shapes, and are alike."""
    for name, shape in wanted.items():
        value, full = getattr(of, name), (len(of.mean), *shape)
        if tuple(value.shape) != full:
            raise ValueError(f"{what}: {name} is {tuple(value.shape)} and must fit the means: {full}.")
        if value.dtype != of.mean.dtype or value.device != of.mean.device:
            raise ValueError(f"{what}: {name} must have the precision and the device of the means.")


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
        fit_the_means("Gaussians", self, mean=(3,), log_sigma=(3,), quaternion=(4,), density=())

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

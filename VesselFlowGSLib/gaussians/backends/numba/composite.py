"""Compositing on the CPU: bands of image rows on threads of our own, the same bits for any number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VesselFlowGSLib.gaussians.backends.numba.compositing import lay
from VesselFlowGSLib.gaussians.backends.numba.footprint import (
    A11,
    AMPLITUDE,
    K,
    M,
    inverse_sigmas,
    tabulated,
    view_vector,
)
from VesselFlowGSLib.gaussians.backends.numba.simd import LANES
from VesselFlowGSLib.gaussians.backends.numba.splatting import SCRATCH
from VesselFlowGSLib.gaussians.backends.numba.threads import ranges, run
from VesselFlowGSLib.gaussians.footprint import PIXEL_VARIANCE
from VesselFlowGSLib.gaussians.splats import Splats, depths
from VesselFlowGSLib.gaussians.views import View

BAND_ROWS = 64  # whose planes stay in the cache
BANDS_PER_THREAD = 8  # so that threads end together


def composite(splats: Splats, view: View, cut: float, threads: int) -> Tensor:
    """(rows, columns, 4) premultiplied red, green, blue, and opacity, in single precision."""
    g = splats.gaussians
    order = np.argsort(depths(g.mean.detach(), view).numpy(), kind="stable")
    mean, log_sigma, quaternion, opacity = (
        x.detach().contiguous().numpy() for x in (g.mean, g.log_sigma, g.quaternion, g.density)
    )
    gaussians = [x[order] for x in (mean, inverse_sigmas(log_sigma, threads), quaternion, opacity)]
    colour = splats.colour.detach().contiguous().numpy()[order]
    matrix = (float(cut), PIXEL_VARIANCE, view.rows, view.columns)
    table, spans = tabulated(gaussians, view_vector(view).numpy(), matrix, threads)
    table[:, AMPLITUDE] = opacity[order] * np.sqrt(_kept(table))

    planes = np.zeros((4, view.rows, view.columns + LANES), np.float32)
    planes[3] = 1
    picture = np.empty((view.rows, view.columns, 4), np.float32)
    parts = max(-(-view.rows // BAND_ROWS), threads * BANDS_PER_THREAD if threads > 1 else 1)
    bands = ranges(view.rows, parts)
    jobs = [(low, high, np.zeros(SCRATCH, np.float32)) for low, high in bands]
    run(threads, lay, jobs, table, spans, colour, view.columns, np.float32(cut**2), planes, picture)
    return torch.from_numpy(picture)


def _kept(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the part of the opacity at its centre that a splat keeps, thin as it may be beside a pixel."""
    b_a11, b_m = PIXEL_VARIANCE * table[:, A11], PIXEL_VARIANCE * table[:, M]
    kept: NDArray[np.float32] = np.maximum((1 - b_a11) * (1 - b_m) - b_a11 * table[:, K] ** 2, 0)
    return kept

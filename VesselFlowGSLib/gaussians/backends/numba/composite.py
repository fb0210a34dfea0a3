"""Compositing on the CPU: bands of image rows on threads of our own, the same bits for any number."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from VesselFlowGSLib.gaussians.backends.numba.compositing import fill_splats, lay
from VesselFlowGSLib.gaussians.backends.numba.footprint import empty_table, inverse_sigmas, view_vector
from VesselFlowGSLib.gaussians.backends.numba.simd import LANES
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
    gaussians = (mean, inverse_sigmas(log_sigma, threads), quaternion, opacity)
    colour = splats.colour.detach().contiguous().numpy()
    table, spans = empty_table(len(order))
    matrix = (float(cut), PIXEL_VARIANCE, view.rows, view.columns)
    vector = view_vector(view).numpy()
    run(threads, fill_splats, ranges(len(order), threads), order, *gaussians, vector, *matrix, table, spans)

    planes = np.zeros((4, view.rows, view.columns + LANES), np.float32)
    planes[3] = 1
    picture = np.empty((view.rows, view.columns, 4), np.float32)
    parts = max(-(-view.rows // BAND_ROWS), threads * BANDS_PER_THREAD if threads > 1 else 1)
    bands = ranges(view.rows, parts)
    run(threads, lay, bands, table, spans, order, colour, view.columns, np.float32(cut**2), planes, picture)
    return torch.from_numpy(picture)

"""The projection of Gaussians at rest as a sparse matrix: what contrast curves and occupancies are solved with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.backends.torch.patches import patches, unit_values
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.footprint import footprints
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import View, Views


def projection_matrix(
    cloud: GaussianCloud,
    cameras: Cameras,
    *,
    cut: float = 3.5,
    pixels: NDArray[np.int_] | None = None,
    dtype: type[np.float32] | type[np.float64] = np.float64,
) -> sparse.csr_matrix:
    """(V * rows * columns, N) line integrals per unit density of each Gaussian, pixel means; equals `project`.

    With `pixels` (P,), ascending flat indices in view, row, column order, only those rows: (P, N).
    A matrix times densities (1/mm) gives images; its transpose is the back-projection.
    Raises ValueError where the pixels do not ascend.
    """
    per_view = cameras.rows * cameras.columns
    chosen = None if pixels is None else np.asarray(pixels)
    if chosen is not None and (np.diff(chosen) <= 0).any():
        raise ValueError("projection_matrix: pixels must ascend.")
    unit = replace(Parameters.of(cloud), density=torch.ones(len(cloud), dtype=torch.float64))
    blocks = []
    with torch.no_grad():
        for v, view in enumerate(Views.of(cameras)):
            rows = np.arange(per_view)
            if chosen is not None:
                rows = chosen[(chosen >= v * per_view) & (chosen < (v + 1) * per_view)] - v * per_view
            blocks.append(_one_view(unit, view, cut, rows, dtype))
    return sparse.csr_matrix(sparse.vstack(blocks, format="csr"))


def _one_view(
    gaussians: Parameters,
    view: View,
    cut: float,
    pixels: NDArray[np.int_],
    dtype: type[np.float32] | type[np.float64],
) -> sparse.csr_matrix:
    """(P, N) for the flat pixels of one view."""
    work = torch.float32 if dtype is np.float32 else torch.float64
    seen = footprints(gaussians, view, cut, True)
    distances = view.pixel_distances().reshape(-1).to(work)
    row_of = torch.full((view.rows * view.columns,), -1, dtype=torch.int32)
    row_of[torch.as_tensor(pixels)] = torch.arange(len(pixels), dtype=torch.int32)
    rows, columns, values = [], [], []
    for patch in patches(seen.table, seen.spread, view.rows, view.columns, cut, work):
        value = patch.shape[:, 8, None, None] * unit_values(patch, distances)
        row = row_of[patch.pixel]
        taken = patch.inside & (row >= 0)
        which = seen.index[patch.chosen].to(torch.int32)[:, None, None].expand_as(taken)
        rows.append(row[taken].numpy())
        columns.append(which[taken].numpy())
        values.append(value[taken].numpy())
    shape = (len(pixels), len(gaussians))
    if not rows:
        return sparse.csr_matrix(shape, dtype=dtype)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(sparse.coo_matrix(entries, shape=shape, dtype=dtype))

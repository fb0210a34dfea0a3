"""Films of analytic lumens for tests: projected by a finer lattice than the one under test, with noise."""

from __future__ import annotations

import numpy as np
from analytic_lumens import bent_tube

from VesselFlowGSLib.acquisition.study import CArm, Run, RunRole
from VesselFlowGSLib.gaussians.matrix import projection_matrix
from VesselFlowGSLib.lumen.fit import FitSettings, start_cloud
from VesselFlowGSLib.lumen.wall import Lumen

FINE = FitSettings(smallest_spacing_mm=0.4, spacings_per_radius=5)
NOISE = 0.01


def carm(primary, secondary, pixels=128, pitch=0.8) -> CArm:
    middle = ((pixels - 1) / 2, (pixels - 1) / 2)
    return CArm(np.atleast_1d(np.array(primary, float)), np.atleast_1d(np.array(secondary, float)), 1200.0, 750.0,
                (pitch, pitch), middle)  # fmt: skip


def filmed(lumen: Lumen, isocentre, primary, secondary=0.0, gain=1.0, frames=6, seed=0, role=RunRole.DSA) -> Run:
    """A run in which the vessel fills along z and stays filled, or a rotational one (role FILL) filled throughout."""
    c = carm(primary, np.broadcast_to(secondary, np.shape(primary)))
    pixels = int(2 * c.principal_point_px[0] + 1)
    shape = (len(c.primary_deg), pixels, pixels)
    empty = Run(
        "film", role, np.zeros(shape, np.float32), np.full(shape[1:], NOISE, np.float32), np.arange(shape[0]) / 8, c
    )
    cloud = start_cloud(lumen, 0.25 * gain, FINE).cloud
    matrix = projection_matrix(cloud, empty.cameras(isocentre))
    if role is RunRole.FILL:
        clean = (matrix @ cloud.density).reshape(shape)
    else:
        height = np.linspace(cloud.mean[:, 2].min(), cloud.mean[:, 2].max() + 1, frames)
        clean = np.stack([(matrix @ (cloud.density * (cloud.mean[:, 2] <= z))).reshape(shape[1:]) for z in height])
    films = clean + np.random.default_rng(seed).normal(0, NOISE, clean.shape)
    return Run("film", role, films.astype(np.float32), empty.noise, np.arange(len(films)) / 8, c)


def middle(lumen: Lumen) -> np.ndarray:
    return np.asarray(lumen.tree.branches[0].points.mean(0))


TUBE = bent_tube(bend_radius_mm=10.0, straight_mm=8.0)

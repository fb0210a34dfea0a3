"""The true vessel of the sample study as triangles, made from its settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.description import Point, read_description
from VesselFlowGSLib.simulation.sample import sample_settings
from VesselFlowGSLib.simulation.vessels import build_vessel
from VesselFlowGSScene.projection import Vessel, vessel_of_mesh

SAMPLE = Path(__file__).parents[2] / "Resources" / "sample_study"
AROUND = 48


def sample_isocentre() -> Point:
    isocentre = read_description(SAMPLE).geometry.isocentre_lps_mm
    assert isocentre is not None
    return isocentre


def sample_mesh(along: int = 240) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Points (n, 3) of the open tube that was filmed, triangles (m, 3), and its centreline (k, 3), LPS mm."""
    whole = build_vessel(sample_settings().vessel)
    tube = whole.tubes[0]
    s = np.linspace(tube.start_mm, tube.end_mm, along)
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    at, turn = (a.ravel() for a in np.meshgrid(s, angle, indexing="ij"))
    radius = tube.radius(at)
    points = whole.lps(tube.point(at, radius * np.cos(turn), radius * np.sin(turn)))
    ring, step = (a.ravel() for a in np.meshgrid(np.arange(along - 1), np.arange(AROUND), indexing="ij"))
    one, two = ring * AROUND + step, ring * AROUND + (step + 1) % AROUND
    triangles = np.concatenate([np.stack([one, one + AROUND, two + AROUND], 1), np.stack([one, two + AROUND, two], 1)])
    return points, triangles, whole.lps(tube.point(s, 0 * s, 0 * s))


def sample_vessel() -> Vessel:
    points, triangles, line = sample_mesh()
    return vessel_of_mesh(points, triangles, line, np.array([0, len(line)]))

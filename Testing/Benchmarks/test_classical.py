"""The peer on a straight tube with plug flow, where its own suppositions hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from classical import read_by_hand
from score import Station, section

from VesselFlowGSLib.acquisition.description import GeometrySection, StudyDescription
from VesselFlowGSLib.acquisition.study import CArm, Run, RunRole, Study, Volume

RADIUS, FLOW, HALF_LENGTH, SPACING = 2.0, 2.0, 25.0, 0.5


def tube_study() -> Study:
    """A tube along z of 2 mm radius and 50 mm length; the dye moves downwards as a front at 2 ml/s."""
    axis = SPACING * np.arange(-40, 41)
    x, y, z = np.meshgrid(axis[20:61], axis[20:61], SPACING * np.arange(-60, 61), indexing="ij")
    depth = np.minimum(RADIUS - np.hypot(x - 0.13, y - 0.21), HALF_LENGTH - abs(z))
    affine = np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = x[0, 0, 0], y[0, 0, 0], z[0, 0, 0]
    volume = Volume((1000 * np.clip(0.5 + depth / SPACING, 0, 1)).astype(np.float32), affine)

    carm = CArm(np.array([0.0]), np.array([0.0]), 1200.0, 750.0, (0.4, 0.4), (127.5, 127.5))
    times = np.arange(30) / 15
    blank = np.zeros((30, 256, 256), np.float32)
    run = Run("dsa.dcm", RunRole.DSA, blank, blank[0], times, carm)
    height = -(np.arange(256) - 127.5) * 0.4 * 750 / 1200
    arrival = 0.4 + (HALF_LENGTH - height) * np.pi * RADIUS**2 / (1000 * FLOW)
    blank += 1 / (1 + np.exp(-(times[:, None, None] - arrival[:, None]) / 0.1))
    ends = GeometrySection((0.0, 0.0, 0.0), None, (0.0, 0.0, 20.0), ((0.0, 0.0, -20.0),))
    return Study(Path(), volume, (run,), StudyDescription(ends))


def test_flow_radius_and_pressure_of_a_plug_flow():
    field, wall, flow = read_by_hand(tube_study())
    assert flow == pytest.approx(FLOW, rel=0.03)
    up = np.array([0.0, 0.0, -1.0])
    drops = [section(field, Station("", np.array([0.0, 0.0, z]), up, RADIUS, 0, 0)) for z in (10, -10)]
    assert drops[0][0] == pytest.approx(FLOW, rel=0.04)
    poiseuille = 8 * 0.0035 * flow * 1e-6 * 20e-3 / (np.pi * (RADIUS * 1e-3) ** 4)
    assert drops[0][1] - drops[1][1] == pytest.approx(poiseuille, rel=0.1)
    low, high = np.array(wall.GetBounds()).reshape(3, 2).T
    assert high - low == pytest.approx([2 * RADIUS, 2 * RADIUS, 2 * HALF_LENGTH], abs=SPACING / 2)

"""The wall follows the Gaussians: by as much as their density has moved, and not at all where nothing changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic_lumens import bent_tube, straight_tube

from VesselFlowGSLib.lumen.fit import FitSettings, start_cloud
from VesselFlowGSLib.lumen.follow import FollowSettings, WallShift, followed, wall_shift
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance

SETTINGS = FollowSettings()
FINE = FitSettings(spacings_per_radius=5)
TUBES = {
    "straight": straight_tube(16.0, 2.0, spacing_mm=0.3),
    "bent": bent_tube(12.0, 60.0, straight_mm=6.0, spacing_mm=0.4),
}


def grown(lumen: Lumen, by_mm: float) -> Lumen:
    return replace(lumen, wall=WallDistance(lumen.wall.values + by_mm, lumen.wall.origin, lumen.wall.spacing_mm))


def clouds(lumen: Lumen, by_mm: float):
    """The lattice of a lumen, and the same lattice with the occupancies of the lumen grown by so much."""
    before = start_cloud(lumen, 1.0, FINE, shell=True)
    wanted = start_cloud(grown(lumen, by_mm), 1.0, replace(FINE, shell_spacings=3.0), shell=True)
    of = {tuple(np.round(m, 6)): o for m, o in zip(wanted.cloud.mean, wanted.cloud.occupancy, strict=True)}
    occupancy = np.array([of.get(tuple(np.round(m, 6)), 0.0) for m in before.cloud.mean])
    return before.cloud, replace(before.cloud, occupancy=occupancy)


@pytest.mark.parametrize("tube", TUBES)
@pytest.mark.parametrize("by", [0.1, -0.1])
def test_a_cloud_that_grew_moves_the_wall_by_as_much(tube, by):
    lumen = TUBES[tube]
    shift = wall_shift(lumen, *clouds(lumen, by), SETTINGS)
    inner = np.min([np.abs((shift.points - o.centre) @ o.normal) for o in lumen.openings], axis=0) > 2
    assert shift.shift_mm[inner].mean() == pytest.approx(by, rel=0.2)
    assert np.abs(shift.shift_mm[inner] - by).max() < 0.06
    moved = followed(lumen, shift, SETTINGS)
    axis = lumen.tree.branches[0].points
    wall = axis[len(axis) // 2] + 2.0 * np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    assert moved.wall(wall) - lumen.wall(wall) == pytest.approx(by, rel=0.25)
    assert moved.tree.branches[0].radius_mm.mean() == pytest.approx(2 + by, abs=0.3 * abs(by))
    assert moved.inlet.radius_mm == pytest.approx(2 + by, abs=0.5 * abs(by))


@pytest.mark.parametrize("tube", TUBES)
def test_a_cloud_that_did_not_change_moves_nothing(tube):
    lumen = TUBES[tube]
    cloud = start_cloud(lumen, 1.0, FINE, shell=True).cloud
    shift = wall_shift(lumen, cloud, cloud, SETTINGS)
    assert np.abs(shift.shift_mm).max() < 1e-12
    moved = followed(lumen, shift, SETTINGS)
    assert np.allclose(moved.wall.values, lumen.wall.values, atol=1e-12)
    assert moved.inlet.radius_mm == pytest.approx(lumen.inlet.radius_mm)


def test_another_attenuation_alone_moves_nothing():
    lumen = TUBES["straight"]
    cloud = start_cloud(lumen, 1.0, FINE, shell=True).cloud
    shift = wall_shift(lumen, cloud, replace(cloud, attenuation=0.3 * cloud.attenuation), SETTINGS)
    assert np.abs(shift.shift_mm).max() < 1e-6  # a nanometre: the density is in single precision


def test_the_wall_moves_only_where_the_cloud_did():
    lumen = TUBES["straight"]
    before, after = clouds(lumen, 0.2)
    half = replace(before, occupancy=np.where(before.mean[:, 2] > 8, after.occupancy, before.occupancy))
    shift = wall_shift(lumen, before, half, SETTINGS)
    z = shift.points[:, 2]
    assert np.abs(shift.shift_mm[z < 4]).max() < 0.01
    assert shift.shift_mm[(z > 12) & (z < 15)].mean() == pytest.approx(0.2, rel=0.2)


def test_a_shift_is_bounded():
    lumen = TUBES["straight"]
    before, after = clouds(lumen, 0.3)
    wild = replace(after, occupancy=20 * after.occupancy)
    assert np.abs(wall_shift(lumen, before, wild, SETTINGS).shift_mm).max() <= SETTINGS.largest_radii * 2.0 + 1e-9


def test_a_shift_leaves_the_far_field_and_the_openings_planes():
    lumen = TUBES["straight"]
    draw = np.random.default_rng(0)
    angle, z = draw.uniform(0, 6.3, 800), draw.uniform(0, 16, 800)
    points = np.stack([2 * np.cos(angle), 2 * np.sin(angle), z], 1)
    moved = followed(lumen, WallShift(points, np.full(800, 0.15)), SETTINGS)
    for ours, theirs in zip(moved.openings, lumen.openings, strict=True):
        assert np.array_equal(ours.centre, theirs.centre) and np.array_equal(ours.normal, theirs.normal)
        assert ours.radius_mm == pytest.approx(2.15)
    x = np.array([[2.15, 0.0, 8.0], [0.0, -2.15, 5.0]])
    assert np.abs(moved.wall(x)).max() < 0.01

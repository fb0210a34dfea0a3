"""Collocation points: in the lumen, drawn by the seed, dense at the wall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic_lumens import narrowed_tube, straight_tube
from scipy.spatial.transform import Rotation

from VesselFlowGSLib.flow.collocation import collocation_points, rotated
from VesselFlowGSLib.lumen.fit import start_cloud

TUBE = straight_tube(14.0, 2.0, (1.0, 2.0, 2.0), spacing_mm=0.4)
CLOUD = start_cloud(TUBE, 1.0).cloud
AXIS = np.array([1.0, 2.0, 2.0]) / 3


def radius_of(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x - (x @ AXIS)[:, None] * AXIS, axis=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_all_lie_in_the_lumen_and_the_seed_decides(seed):
    points = collocation_points(TUBE, CLOUD, 1000, 0.35, seed)
    assert points.shape == (1000, 3) and TUBE.inside(points).all()
    assert np.array_equal(points, collocation_points(TUBE, CLOUD, 1000, 0.35, seed))
    assert not np.array_equal(points, collocation_points(TUBE, CLOUD, 1000, 0.35, seed + 1))


def test_they_fill_the_lumen_evenly_but_for_the_wall():
    points = collocation_points(TUBE, CLOUD, 4000, 0.35, 0)
    along = np.histogram(points @ AXIS, 7, (0, 14))[0]
    assert along.min() > 0.8 * along.mean()
    core = radius_of(points)[radius_of(points) < 1.3]
    assert (core < 1.3 / np.sqrt(2)).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("part", [0.1, 0.35, 0.6])
def test_the_wall_has_its_part(part):
    depth = 2 - radius_of(collocation_points(TUBE, CLOUD, 2000, part, 0))
    assert (depth < 0.3 * 2.0).mean() == pytest.approx(part, abs=0.03)


def test_the_wall_has_its_part_in_narrow_places_too():
    lumen = narrowed_tube(lambda z: np.where(z < 10, 2.4, 1.2), 20.0, spacing_mm=0.4)
    points = collocation_points(lumen, start_cloud(lumen, 1.0).cloud, 4000, 0.35, 0)
    for radius, part in ((2.4, points[:, 2] < 8), (1.2, points[:, 2] > 12)):
        depth = radius - np.linalg.norm(points[part, :2], axis=1)
        assert (depth < 0.3 * radius).mean() == pytest.approx(0.35, abs=0.08)


def test_a_cloud_beside_the_lumen_is_refused():
    aside = replace(CLOUD, mean=CLOUD.mean + 50.0)
    with pytest.raises(ValueError, match="do not lie in the lumen"):
        collocation_points(TUBE, aside, 100, 0.35, 0)


def test_quaternions_turn_as_rotation_matrices_do():
    draw = np.random.default_rng(0)
    turn = Rotation.random(50, random_state=0)
    vectors = draw.standard_normal((50, 3))
    wxyz = np.roll(turn.as_quat(), 1, axis=1) * draw.uniform(0.5, 2, (50, 1))
    assert np.allclose(rotated(wxyz, vectors), turn.apply(vectors))

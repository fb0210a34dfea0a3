import numpy as np
import pytest
from analytic_lumens import bent_tube, straight_tube

from VesselFlowGSLib.lumen.wall import Lumen, WallDistance


def test_wall_distance_is_exact_for_a_linear_field() -> None:
    axes = [np.arange(n) * 0.5 for n in (12, 13, 14)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    wall = WallDistance(2 * x - y + 0.5 * z, np.array([1.0, 2.0, 3.0]), 0.5)
    p = np.random.default_rng(0).uniform([2.5, 3.5, 4.5], [5, 6, 7], (50, 3))
    q = p - wall.origin
    assert np.allclose(wall(p), 2 * q[:, 0] - q[:, 1] + 0.5 * q[:, 2], atol=2e-2)
    assert np.allclose(wall.gradient(p), [2, -1, 0.5], atol=2e-2)


def test_distance_and_normal_of_a_tube() -> None:
    lumen = straight_tube(radius_mm=2.0)
    x = np.array([[0.5, 0, 10], [0, -1.2, 8], [1.9, 0, 12]])
    assert np.allclose(lumen.wall(x), [1.5, 0.8, 0.1], atol=0.01)
    assert np.allclose(lumen.wall.gradient(x)[1:], [[0, 1, 0], [-1, 0, 0]], atol=0.02)


def test_inside_ends_at_the_openings() -> None:
    lumen = straight_tube(length_mm=20)
    x = np.array([[0, 0, 0.2], [0, 0, -0.2], [0, 0, 19.8], [0, 0, 20.2], [2.3, 0, 10]])
    assert lumen.inside(x).tolist() == [True, False, True, False, False]


def test_an_opening_cuts_its_own_tube_only() -> None:
    lumen = bent_tube(bend_radius_mm=8, angle_deg=170, radius_mm=1.5, straight_mm=12)
    middle = lumen.tree.branches[0].points
    assert lumen.inside(middle[3:-3]).all()


def test_confidence_is_full_unless_given() -> None:
    lumen = straight_tube()
    x = np.zeros((3, 3))
    assert lumen.confidence(x).tolist() == [1, 1, 1]
    at = np.array([[0.0, 0, 0], [0, 0, 20]])
    told = Lumen(lumen.wall, lumen.tree, lumen.openings, (at, np.array([0.2, 0.9])))
    assert told.confidence([[0, 0, 1], [1, 0, 18]]) == pytest.approx([0.2, 0.9])

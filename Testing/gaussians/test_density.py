"""Density: the sum of Gaussians at any point, with its gradient, on points and grids alike."""

from __future__ import annotations

import numpy as np
from gaussian_scenes import random_cloud
from scipy.spatial.transform import Rotation

from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.density import density, density_on_grid


def dense(cloud: GaussianCloud, points: np.ndarray) -> np.ndarray:
    turn = Rotation.from_quat(cloud.quaternion[:, [1, 2, 3, 0]]).as_matrix()
    y = np.einsum("nji,mnj->mni", turn, points[:, None] - cloud.mean) / cloud.sigma
    return np.exp(-(y**2).sum(-1) / 2) @ cloud.density


def test_density_is_the_sum_of_the_gaussians():
    cloud = random_cloud(60, seed=1)
    points = np.random.default_rng(2).uniform(-14, 14, (3000, 3))
    values, _ = density(cloud, points, cut=8.0)
    assert np.abs(values - dense(cloud, points)).max() <= 1e-10 * values.max()


def test_gradient_is_that_of_central_differences():
    cloud = random_cloud(60, seed=3)
    points = np.random.default_rng(4).uniform(-12, 12, (200, 3))
    _, gradient = density(cloud, points, cut=8.0)
    step = 1e-5
    up, down = ([dense(cloud, points + sign * step * e) for e in np.eye(3)] for sign in (1, -1))
    numeric = (np.stack(up, -1) - np.stack(down, -1)) / (2 * step)
    assert np.abs(gradient - numeric).max() <= 1e-7 * np.abs(numeric).max()


def test_grid_and_points_agree_on_any_spacing():
    cloud, shape = random_cloud(60, seed=5), (27, 19, 16)
    origin, spacing = np.array([-9.0, -7.0, -8.0]), np.array([0.7, 0.5, 0.9])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    values, _ = density(cloud, (origin + index * spacing).reshape(-1, 3))
    grid = density_on_grid(cloud, origin, spacing, shape)
    assert grid.shape == shape
    np.testing.assert_allclose(grid.ravel(), values, atol=1e-12)


def test_mass_on_a_fine_grid_is_that_of_the_gaussians():
    cloud = random_cloud(30, seed=6, box_mm=4)
    grid = density_on_grid(cloud, (-10, -10, -10), 0.25, (81, 81, 81), cut=6.0)
    mass = (cloud.density * cloud.sigma.prod(1) * (2 * np.pi) ** 1.5).sum()
    assert abs(grid.sum() * 0.25**3 / mass - 1) < 1e-6


def test_malformed_gaussians_and_points_give_nothing():
    cloud = random_cloud(12, seed=7)
    points = np.random.default_rng(0).uniform(-12, 12, (500, 3))
    expected, _ = density(GaussianCloud(*[getattr(cloud, n)[6:] for n in cloud.__dataclass_fields__]), points)
    cloud.mean[0] = np.nan
    cloud.sigma[1] = np.inf
    cloud.quaternion[2] = 0
    cloud.attenuation[3] = np.nan
    cloud.sigma[4] = 0
    cloud.sigma[5] = 1e-30
    points[3] = np.nan
    values, gradients = density(cloud, points)
    assert np.isfinite(values).all() and np.isfinite(gradients).all() and values[3] == 0
    np.testing.assert_allclose(np.delete(values, 3), np.delete(expected, 3), atol=1e-12)


def test_one_gaussian_that_covers_everything_is_felt_everywhere():
    wide = random_cloud(50, seed=8)
    wide.sigma[0] = 1e5
    wide.mean[0] = 0
    points = np.random.default_rng(1).uniform(-300, 300, (2000, 3))
    values, _ = density(wide, points)
    assert (values >= 0.999 * wide.density[0]).all()


def test_nothing_in_gives_nothing_out():
    cloud = random_cloud(0)
    assert density(cloud, np.zeros((4, 3)))[0].tolist() == [0, 0, 0, 0]
    assert density(random_cloud(3), np.zeros((0, 3)))[1].shape == (0, 3)
    assert density_on_grid(cloud, (0, 0, 0), 1.0, (3, 4, 5)).shape == (3, 4, 5)

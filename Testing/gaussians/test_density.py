"""Density: the sum of Gaussians at any point, with its gradient, on points and grids alike, in every backend."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from gaussian_scenes import random_cloud

from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.density import density, density_on_grid
from VesselFlowGSLib.gaussians.footprint import rotations

USABLE = [b.name for b in BACKENDS if "density" in b.operators and "cpu" in b.devices and b.available]
# What a backend may differ from the truth by, of the largest value: single precision, or double.
TOLERANCE = {b.name: 1e-10 if "float64" in b.precisions else 3e-6 for b in BACKENDS}


def joined(*clouds: GaussianCloud) -> GaussianCloud:
    return GaussianCloud(*(np.concatenate([getattr(c, f.name) for c in clouds]) for f in fields(GaussianCloud)))


def whitened(cloud: GaussianCloud, points: np.ndarray) -> np.ndarray:
    """(M, N, 3) points in the axes of each Gaussian, over its sizes."""
    axes = rotations(torch.as_tensor(cloud.quaternion)).numpy()
    return np.einsum("nji,mnj->mni", axes, points[:, None] - cloud.mean) / cloud.sigma


def dense(cloud: GaussianCloud, points: np.ndarray) -> np.ndarray:
    return np.exp(-(whitened(cloud, points) ** 2).sum(-1) / 2) @ cloud.density


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("far_mm", [0.0, 500.0])
def test_density_is_the_sum_of_the_gaussians(backend, far_mm):
    cloud = random_cloud(60, seed=1)
    points = np.random.default_rng(2).uniform(-14, 14, (3000, 3))
    expected = dense(cloud, points)
    moved = replace(cloud, mean=cloud.mean + far_mm)
    values, _ = density(moved, points + far_mm, cut=8.0, backend=backend)
    assert np.abs(values - expected).max() <= TOLERANCE[backend] * expected.max()


@pytest.mark.parametrize("backend", USABLE)
def test_gradient_is_that_of_central_differences(backend):
    cloud = random_cloud(60, seed=3)
    points = np.random.default_rng(4).uniform(-12, 12, (200, 3))
    _, gradient = density(cloud, points, cut=8.0, backend=backend)
    step = 1e-5
    up, down = ([dense(cloud, points + sign * step * e) for e in np.eye(3)] for sign in (1, -1))
    numeric = (np.stack(up, -1) - np.stack(down, -1)) / (2 * step)
    assert np.abs(gradient - numeric).max() <= max(1e-7, TOLERANCE[backend]) * np.abs(numeric).max()


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("cut", [2.5, 4.0])
def test_gaussians_end_at_the_cut(backend, cut):
    cloud = random_cloud(40, seed=11)
    points = np.random.default_rng(12).uniform(-13, 13, (2000, 3))
    squared = (whitened(cloud, points) ** 2).sum(-1)
    clear = (np.abs(squared - cut * cut) > 1e-3).all(1)  # not on an edge, where rounding decides
    expected = np.where(squared < cut * cut, np.exp(-squared / 2), 0) @ cloud.density
    values, _ = density(cloud, points, cut=cut, backend=backend)
    assert clear.sum() > 1900
    assert np.abs(values - expected)[clear].max() <= TOLERANCE[backend] * expected.max()


@pytest.mark.parametrize("backend", USABLE)
def test_needles_keep_their_digits(backend):
    """Sizes of 0.05 and 5 mm, whose inverse covariance has a condition of 10,000."""
    cloud = random_cloud(30, seed=21)
    cloud.sigma[:] = [5.0, 0.05, 0.3]
    rotation = rotations(torch.as_tensor(cloud.quaternion)).numpy()
    own = np.random.default_rng(22).normal(size=(20, 30, 3)) * cloud.sigma
    points = (np.einsum("nij,mnj->mni", rotation, own) + cloud.mean).reshape(-1, 3)
    values, _ = density(cloud, points, cut=6.0, backend=backend)
    expected = dense(cloud, points)
    assert np.abs(values - expected).max() <= 10 * max(TOLERANCE[backend], 1e-8) * expected.max()


@pytest.mark.parametrize("backend", USABLE)
def test_malformed_gaussians_and_points_give_nothing(backend):
    good, bad = random_cloud(12, seed=7), random_cloud(9, seed=8)
    points = np.random.default_rng(0).uniform(-12, 12, (500, 3))
    bad.mean[0] = np.nan
    bad.mean[1] = np.inf
    bad.mean[2] = 1e300
    bad.quaternion[3] = 0
    bad.attenuation[4] = np.nan
    bad.sigma[5] = 0
    bad.sigma[6] = -1
    bad.sigma[7] = 1e30
    bad.sigma[8] = 1e-30
    expected, slopes = density(good, points, backend=backend)
    strange = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [-1e300, 0, 0]])
    values, gradients = density(joined(bad, good), np.concatenate([strange, points]), backend=backend)
    assert not values[:3].any() and not gradients[:3].any()
    np.testing.assert_allclose(values[3:], expected, atol=TOLERANCE[backend] * expected.max())
    np.testing.assert_allclose(gradients[3:], slopes, atol=TOLERANCE[backend] * np.abs(slopes).max())


@pytest.mark.parametrize("backend", USABLE)
def test_one_gaussian_that_covers_everything_is_felt_everywhere(backend):
    wide = random_cloud(50, seed=8)
    wide.sigma[0] = 1e5
    wide.mean[0] = 0
    points = np.random.default_rng(1).uniform(-300, 300, (2000, 3))
    values, _ = density(wide, points, backend=backend)
    assert (values >= 0.999 * wide.density[0]).all()


@pytest.mark.parametrize("backend", USABLE)
def test_nothing_in_gives_nothing_out(backend):
    assert density(random_cloud(0), np.zeros((4, 3)), backend=backend)[0].tolist() == [0, 0, 0, 0]
    assert density(random_cloud(3), np.zeros((0, 3)), backend=backend)[1].shape == (0, 3)
    assert density(random_cloud(3), [[1e5, 0, 0]], backend=backend)[0].tolist() == [0]


@pytest.mark.parametrize("backend", USABLE)
def test_the_same_bits_for_any_number_of_threads(backend):
    cloud = random_cloud(300, seed=13)
    points = np.random.default_rng(14).normal(0, 9, (4000, 3))
    one = density(cloud, points, backend=backend, threads=1)
    for threads in (2, 3, 7):
        several = density(cloud, points, backend=backend, threads=threads)
        assert all(np.array_equal(a, b) for a, b in zip(one, several, strict=True))


@pytest.mark.parametrize("backend", USABLE)
def test_a_point_does_not_feel_its_neighbours(backend):
    """Neither the other points, which decide on the cells, nor their order."""
    cloud = random_cloud(200, seed=15)
    points = np.random.default_rng(16).normal(0, 6, (1000, 3))
    values, gradients = density(cloud, points, cut=8.0, backend=backend)
    alone, slopes = density(cloud, points[777:770:-1], cut=8.0, backend=backend)
    np.testing.assert_allclose(alone, values[777:770:-1], atol=TOLERANCE[backend] * values.max())
    np.testing.assert_allclose(slopes, gradients[777:770:-1], atol=TOLERANCE[backend] * np.abs(gradients).max())


def test_grid_and_points_agree_on_any_spacing():
    cloud, shape = random_cloud(60, seed=5), (27, 19, 16)
    origin, spacing = np.array([-9.0, -7.0, -8.0]), np.array([0.7, 0.5, 0.9])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    values, _ = density(cloud, (origin + index * spacing).reshape(-1, 3), backend="reference")
    grid = density_on_grid(cloud, origin, spacing, shape)
    assert grid.shape == shape
    np.testing.assert_allclose(grid.ravel(), values, atol=1e-12)


def test_mass_on_a_fine_grid_is_that_of_the_gaussians():
    cloud = random_cloud(30, seed=6, box_mm=4)
    grid = density_on_grid(cloud, (-10, -10, -10), 0.25, (81, 81, 81), cut=6.0)
    mass = (cloud.density * cloud.sigma.prod(1) * (2 * np.pi) ** 1.5).sum()
    assert abs(grid.sum() * 0.25**3 / mass - 1) < 1e-6


def test_a_grid_of_nothing_is_empty():
    assert not density_on_grid(random_cloud(0), (0, 0, 0), 1.0, (3, 4, 5)).any()
    assert density_on_grid(random_cloud(0), (0, 0, 0), 1.0, (3, 4, 5)).shape == (3, 4, 5)

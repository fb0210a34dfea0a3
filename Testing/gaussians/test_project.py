"""Projection: true to the line integral, the same in every backend, with exact gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gaussian_scenes import quadrature, random_cloud, skewed, views
from hypothesis import given, settings
from hypothesis import strategies as st

from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS, choose
from VesselFlowGSLib.gaussians.matrix import projection_matrix
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.project import project

ON_CPU = [b for b in BACKENDS if "project" in b.operators and "cpu" in b.devices and b.available]
USABLE = [b.name for b in ON_CPU]
DOUBLE = [b.name for b in ON_CPU if "float64" in b.precisions]
DIFFERENTIABLE = [b.name for b in ON_CPU if b.differentiable and "float64" in b.precisions]


def parameters(cloud, dtype=torch.float64):
    return [torch.tensor(x, dtype=dtype) for x in (cloud.mean, np.log(cloud.sigma), cloud.quaternion, cloud.density)]


def projected(values, cameras, **options):
    return project(Parameters(*values), cameras, **options)


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("aspect", [3.0, 30.0])
@pytest.mark.parametrize("steps", [views, lambda: skewed(views())], ids=["square", "skewed"])
def test_projection_is_the_line_integral(backend, aspect, steps):
    cameras, cloud = steps(), random_cloud(6, seed=1, aspect=aspect)
    image = projected(parameters(cloud), cameras, cut=9.0, aperture=False, backend=backend).numpy()
    draw = np.random.default_rng(2)
    for v in range(len(cameras)):
        pixels = draw.integers(0, cameras.rows, (15, 2))
        feet = np.round(cameras.pixels(cloud.mean)[v]).astype(int)
        pixels = np.concatenate([pixels, feet[((feet >= 0) & (feet < cameras.rows)).all(1)]])
        truth = quadrature(cloud, cameras[v], pixels)
        assert np.abs(image[v, pixels[:, 0], pixels[:, 1]] - truth).max() <= 1e-9 * image.max()


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("aperture", [False, True])
@pytest.mark.parametrize("frames", [None, 3])
def test_backends_agree_with_the_reference(backend, aperture, frames):
    cameras, cloud = skewed(views()), random_cloud(8, seed=3)
    weights = None if frames is None else np.random.default_rng(0).uniform(0, 1, (8, frames))
    options = dict(weights=weights, cut=5.0, aperture=aperture)
    expected = projected(parameters(cloud), cameras, backend="reference", **options)
    assert expected.shape == (2, 64, 64) if frames is None else (2, 64, 64, frames)
    double = projected(parameters(cloud), cameras, backend=backend, **options)
    single = projected(parameters(cloud, torch.float32), cameras, backend=backend, **options)
    assert torch.abs(double - expected).max() <= 1e-10 * expected.max()
    assert torch.abs(single - expected).max() <= 1e-5 * expected.max()


def test_a_pixel_holds_the_mean_over_its_area():
    cloud, fine, many = random_cloud(5, seed=4), views(48, 0.8), 9
    offset = (np.arange(many) + 0.5) / many - 0.5
    mean = 0
    for r in offset:
        for c in offset:
            moved = type(fine)(
                fine.source, fine.origin + r * fine.row_step + c * fine.column_step, fine.column_step, fine.row_step,
                fine.rows, fine.columns,
            )  # fmt: skip
            mean = mean + projected(parameters(cloud), moved, cut=8.0, aperture=False) / many**2
    aperture = projected(parameters(cloud), fine, cut=8.0, aperture=True)
    centre = projected(parameters(cloud), fine, cut=8.0, aperture=False)
    rms = lambda x: float(((x - mean) ** 2).mean().sqrt() / mean.max())  # noqa: E731
    assert rms(aperture) < 3e-4
    assert rms(aperture) < 0.1 * rms(centre)


@pytest.mark.parametrize("sigma", [0.02, 0.5, 1.5])
def test_projected_mass_is_the_mass_at_its_magnification(sigma):
    cameras = views(128, 0.4)
    mean = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    values = [mean, *(torch.tensor(x, dtype=torch.float64) for x in ([[np.log(sigma)] * 3], [[1.0, 0, 0, 0]], [0.1]))]
    image = projected(values, cameras, cut=6.0)
    mass = 0.1 * (2 * np.pi) ** 1.5 * sigma**3
    for v in range(2):
        depth = (mean.numpy()[0] - cameras.source[v]) @ cameras.normal[v]
        to_mean = np.linalg.norm(mean.numpy()[0] - cameras.source[v])
        # A small mass dm at a depth z shades dm (SID/z)^2 of detector area, stretched by the slant of its ray.
        area = 0.4**2 * (depth / 1200.0) ** 2 * depth / to_mean
        # Sampling at pixel centres with the pixel's variance added leaves a ripple for the smallest ones.
        assert float(image[v].sum()) * area == pytest.approx(mass, rel=0.4 if sigma < 0.1 else 1e-4)


@pytest.mark.parametrize("backend", DIFFERENTIABLE)
@pytest.mark.parametrize("aperture", [False, True])
def test_gradients_are_those_of_central_differences(backend, aperture):
    cameras, cloud = skewed(views(32, 1.6)), random_cloud(5, seed=5)
    draw = np.random.default_rng(6)
    inputs = [*parameters(cloud), torch.tensor(draw.uniform(0.2, 1, (5, 2)))]
    target = torch.tensor(draw.normal(size=(2, 32, 32, 2)))

    def loss(values):
        image = projected(values[:4], cameras, weights=values[4], cut=9.0, aperture=aperture, backend=backend)
        return (image * target).sum() + (image**2).sum()

    leaves = [x.clone().requires_grad_() for x in inputs]
    loss(leaves).backward()
    for k, leaf in enumerate(leaves):
        numeric = torch.zeros_like(leaf)
        for place in np.ndindex(*leaf.shape):
            step = torch.zeros_like(leaf)
            step[place] = 1e-5
            with torch.no_grad():
                up = loss([x + step if j == k else x for j, x in enumerate(inputs)])
                down = loss([x - step if j == k else x for j, x in enumerate(inputs)])
            numeric[place] = (up - down) / 2e-5
        assert torch.linalg.norm(leaf.grad - numeric) <= 1e-6 * torch.linalg.norm(numeric)


def test_matrix_is_the_projection_and_its_transpose_the_adjoint():
    cameras, cloud = views(), random_cloud(40, seed=7)
    matrix = projection_matrix(cloud, cameras, cut=4.0)
    image = projected(parameters(cloud), cameras, cut=4.0)
    assert np.abs(matrix @ cloud.density - image.numpy().ravel()).max() <= 1e-12 * float(image.max())
    mean, size, turn, amount = parameters(cloud)
    amount.requires_grad_()
    residual = np.random.default_rng(0).normal(size=matrix.shape[0])
    images = projected([mean, size, turn, amount], cameras, cut=4.0)
    (images * torch.tensor(residual).view_as(images)).sum().backward()
    np.testing.assert_allclose(matrix.T @ residual, amount.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_matrix_of_chosen_pixels_is_those_rows():
    cameras, cloud = views(), random_cloud(20, seed=8)
    pixels = np.sort(np.random.default_rng(0).choice(2 * 64 * 64, 500, replace=False))
    whole = projection_matrix(cloud, cameras)
    part = projection_matrix(cloud, cameras, pixels=pixels)
    assert part.shape == (500, 20)
    assert abs(whole[pixels] - part).max() == 0
    with pytest.raises(ValueError, match="ascend"):
        projection_matrix(cloud, cameras, pixels=pixels[::-1])


@pytest.mark.parametrize("backend", USABLE)
def test_malformed_gaussians_do_not_poison_the_others(backend):
    cameras, cloud = views(32, 1.6), random_cloud(4, seed=9)
    good = parameters(cloud)
    bad = [torch.cat([x, x[:1].repeat(7, *[1] * (x.ndim - 1))]) for x in good]
    bad[0][4] = np.nan
    bad[1][5] = np.inf
    bad[2][6] = 0
    bad[3][7] = np.nan
    bad[1][8] = 50.0  # huge: reaches behind the source
    bad[0][9] = torch.tensor(cameras.source[0] * 3)  # behind one source, beyond the other's detector
    bad[1][10] = -500.0  # no size
    plain = projected(good, cameras, cut=5.0, backend=backend)
    with_bad = projected(bad, cameras, cut=5.0, backend=backend)
    assert torch.isfinite(with_bad).all()
    assert torch.abs(with_bad - plain).max() <= 1e-12 * plain.max()
    if choose("project", backend).differentiable:
        leaves = [x.clone().requires_grad_() for x in bad]
        projected(leaves, cameras, cut=5.0, backend=backend).sum().backward()
        assert all(torch.isfinite(x.grad).all() for x in leaves)
        assert all((x.grad[4:10] == 0).all() for x in leaves)


def test_a_gaussian_wider_than_the_detector_is_seen_on_all_of_it():
    cameras = views(32, 1.6)
    values = [torch.tensor(x, dtype=torch.float64) for x in ([[0.0, 0, 0]], [[4.0] * 3], [[1.0, 0, 0, 0]], [0.01])]
    image = projected(values, cameras)
    assert (image > 0.85 * image.max()).all()
    assert torch.abs(image - projected(values, cameras, backend="reference")).max() < 1e-12


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-200, 200), min_size=3, max_size=3),
    st.lists(st.floats(-12, 6), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
)
def test_any_gaussian_gives_a_finite_image_that_is_nowhere_negative(mean, log_sigma, quaternion):
    values = [torch.tensor([x]) for x in (mean, log_sigma, quaternion)]
    image = projected([*values, torch.tensor([1.0])], views(16, 3.0))
    assert torch.isfinite(image).all() and (image >= 0).all()


def test_no_gaussians_give_a_black_image():
    empty = [torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0)]
    assert (projected(empty, views()) == 0).all()


def test_wrong_requests_say_so():
    cloud = parameters(random_cloud(3))
    with pytest.raises(InstallationError, match="auto"):
        projected(cloud, views(), backend="abacus")
    with pytest.raises(ValueError, match="weights"):
        projected(cloud, views(), weights=np.ones((2, 2)))
    with pytest.raises(ValueError, match="must fit"):
        projected([*cloud[:3], torch.ones(2, dtype=torch.float64)], views())
    cloud[0].requires_grad_()
    with pytest.raises(ValueError, match="no gradients"):
        projected(cloud, views(), backend="reference")

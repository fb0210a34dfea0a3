"""Projection: true to the line integral, the same in every backend, with exact gradients."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from gaussian_scenes import quadrature, random_cloud, skewed, views
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.matrix import projection_matrix
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.project import project
from VesselFlowGSLib.gaussians.views import Views

ON_CPU = [b for b in BACKENDS if "project" in b.operators and "cpu" in b.devices and b.available]
DTYPES = {"float32": torch.float32, "float64": torch.float64}
USABLE = [(b.name, precision) for b in ON_CPU for precision in b.precisions]
DIFFERENTIABLE = [(b.name, precision) for b in ON_CPU if b.differentiable for precision in b.precisions]
EXACTNESS = {"float32": 1e-5, "float64": 1e-10}  # of the maximum, against the reference
SLOPES = {"float32": 1e-4, "float64": 1e-6}  # of a gradient's norm, against central differences
of_every = pytest.mark.parametrize(("backend", "precision"), USABLE, ids=list(map("-".join, USABLE)))
of_every_differentiable = pytest.mark.parametrize(
    ("backend", "precision"), DIFFERENTIABLE, ids=["-".join(d) for d in DIFFERENTIABLE]
)


def parameters(cloud, dtype=torch.float64):
    return [torch.tensor(x, dtype=dtype) for x in (cloud.mean, np.log(cloud.sigma), cloud.quaternion, cloud.density)]


def projected(values, cameras, **options):
    return project(Parameters(*values), cameras, **options)


@of_every
@pytest.mark.parametrize("aspect", [3.0, 30.0])
@pytest.mark.parametrize("steps", [views, lambda: skewed(views())], ids=["square", "skewed"])
def test_projection_is_the_line_integral(backend, precision, aspect, steps):
    cameras, cloud = steps(), random_cloud(6, seed=1, aspect=aspect)
    values = parameters(cloud, DTYPES[precision])
    image = projected(values, cameras, cut=9.0, aperture=False, backend=backend).numpy()
    draw = np.random.default_rng(2)
    for v in range(len(cameras)):
        pixels = draw.integers(0, cameras.rows, (15, 2))
        feet = np.round(cameras.pixels(cloud.mean)[v]).astype(int)
        pixels = np.concatenate([pixels, feet[((feet >= 0) & (feet < cameras.rows)).all(1)]])
        truth = quadrature(cloud, cameras[v], pixels)
        wrong = np.abs(image[v, pixels[:, 0], pixels[:, 1]] - truth).max()
        assert wrong <= max(1e-9, EXACTNESS[precision]) * image.max()


@of_every
@pytest.mark.parametrize("aperture", [False, True])
@pytest.mark.parametrize("frames", [None, 1, 3, 16])
def test_backends_agree_with_the_reference(backend, precision, aperture, frames):
    cameras, cloud = skewed(views()), random_cloud(8, seed=3)
    weights = None if frames is None else np.random.default_rng(0).uniform(0, 1, (8, frames))
    options = dict(weights=weights, cut=5.0, aperture=aperture)
    expected = projected(parameters(cloud), cameras, backend="reference", **options)
    assert expected.shape == ((2, 64, 64) if frames is None else (2, 64, 64, frames))
    image = projected(parameters(cloud, DTYPES[precision]), cameras, backend=backend, **options)
    assert image.shape == expected.shape and image.dtype == DTYPES[precision]
    assert torch.abs(image - expected).max() <= EXACTNESS[precision] * expected.max()


@cache
def needles_far_from_the_first_pixel():
    """A fine, large detector, needles and others on it, and what the reference makes of them."""
    draw = np.random.default_rng(12)
    sigma = np.array([[0.02, 0.05, 4.0], [0.03, 0.02, 5.0], [0.3, 0.2, 0.3], [0.03, 0.04, 3.0]])
    cloud = GaussianCloud(
        draw.uniform(-14, 14, (4, 3)), sigma, draw.normal(size=(4, 4)), np.ones(4), np.ones(4), np.full(4, np.nan)
    )
    cameras = views(800, 0.1)[:1]
    return cloud, cameras, projected(parameters(cloud), cameras, cut=5.0, backend="reference")


@of_every
def test_backends_agree_on_needles_and_far_from_the_first_pixel(backend, precision):
    cloud, cameras, expected = needles_far_from_the_first_pixel()
    assert (expected[0, 500:] > 0).any() and (expected[0, :, 500:] > 0).any()
    image = projected(parameters(cloud, DTYPES[precision]), cameras, cut=5.0, backend=backend)
    assert torch.abs(image - expected).max() <= EXACTNESS[precision] * expected.max()


@of_every
def test_many_frames_are_that_many_images(backend, precision):
    cameras, cloud = views(32, 1.6), random_cloud(60, seed=13)
    values, weights = parameters(cloud, DTYPES[precision]), torch.rand(60, 20, generator=torch.manual_seed(0)).double()
    together = projected(values, cameras, weights=weights, backend=backend)
    for t in (0, 7, 19):
        filled = [*values[:3], values[3] * weights[:, t].to(values[3].dtype)]
        alone = projected(filled, cameras, backend=backend)
        assert torch.abs(together[..., t] - alone).max() <= EXACTNESS[precision] * alone.max()


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


def central_differences(loss, values, step=1e-5):
    slopes = []
    for k, value in enumerate(values):
        numeric = torch.zeros_like(value)
        for place in np.ndindex(*value.shape):
            change = torch.zeros_like(value)
            change[place] = step
            with torch.no_grad():
                up = loss([x + change if j == k else x for j, x in enumerate(values)])
                down = loss([x - change if j == k else x for j, x in enumerate(values)])
            numeric[place] = (up - down) / (2 * step)
        slopes.append(numeric)
    return slopes


@of_every_differentiable
@pytest.mark.parametrize("aperture", [False, True])
@pytest.mark.parametrize("frames", [1, 2])
def test_gradients_are_those_of_central_differences(backend, precision, aperture, frames):
    """In the Gaussians, the weights, and every number of the views."""
    cameras, cloud = skewed(views(32, 1.6)), random_cloud(5, seed=5)
    draw = np.random.default_rng(6)
    steady = Views.of(cameras)
    inputs = [
        *parameters(cloud), torch.tensor(draw.uniform(0.2, 1, (5, frames))),
        steady.source, steady.origin, steady.column_step, steady.row_step,
    ]  # fmt: skip
    target = torch.tensor(draw.normal(size=(2, 32, 32, frames)))

    def loss(values, backend="torch", dtype=torch.float64):
        gaussians = Parameters(*(x.to(dtype) for x in values[:4]))
        seen = Views(*values[5:], 32, 32)
        image = project(gaussians, seen, weights=values[4], cut=9.0, aperture=aperture, backend=backend)
        return (image * target).sum() + (image.double() ** 2).sum()

    leaves = [x.clone().requires_grad_() for x in inputs]
    loss(leaves, backend, DTYPES[precision]).backward()
    for leaf, numeric in zip(leaves, central_differences(loss, inputs), strict=True):
        assert torch.linalg.norm(leaf.grad - numeric) <= SLOPES[precision] * torch.linalg.norm(numeric)


@of_every_differentiable
def test_gradients_reach_the_pose_of_the_c_arm(backend, precision):
    """Six degrees of freedom of every view, about an isocentre."""
    cloud, about = random_cloud(5, seed=15), torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)
    still, target = Views.of(views(32, 1.6)), torch.tensor(np.random.default_rng(0).normal(size=(2, 32, 32)))
    pose = [torch.tensor(np.random.default_rng(k).normal(size=(2, 3)) * 0.01) for k in (1, 2)]

    def loss(values, backend="torch", dtype=torch.float64):
        gaussians = Parameters(*parameters(cloud, dtype))
        return (project(gaussians, still.moved(*values, about), cut=9.0, backend=backend) * target).sum()

    leaves = [x.clone().requires_grad_() for x in pose]
    loss(leaves, backend, DTYPES[precision]).backward()
    for leaf, numeric in zip(leaves, central_differences(loss, pose), strict=True):
        assert torch.linalg.norm(leaf.grad - numeric) <= SLOPES[precision] * torch.linalg.norm(numeric)


def test_a_moved_view_is_the_moved_camera():
    cameras, draw = views(32, 1.6), np.random.default_rng(3)
    turn, shift, about = draw.normal(size=3) * 0.3, draw.normal(size=3), draw.normal(size=3)
    expected = cameras.moved(Rotation.from_rotvec(turn).as_matrix(), shift, about)
    moved = Views.of(cameras).moved(*(torch.tensor(x) for x in (turn, shift, about)))
    for name in ("source", "origin", "column_step", "row_step"):
        np.testing.assert_allclose(getattr(moved, name).numpy(), getattr(expected, name), atol=1e-10)


@of_every_differentiable
def test_back_projection_is_the_adjoint(backend, precision):
    """<y, P w> = <P^T y, w> for the linear map from weights to images."""
    cameras, cloud = views(48, 1.2), random_cloud(200, seed=16)
    generator = torch.manual_seed(1)
    weights = torch.rand(200, 5, generator=generator).to(DTYPES[precision]).requires_grad_()
    image = projected(parameters(cloud, DTYPES[precision]), cameras, weights=weights, backend=backend)
    y = torch.randn(image.shape, generator=generator).to(image.dtype)
    image.backward(y)
    there, back = (y * image).double().sum(), (weights.grad * weights).double().sum()
    assert abs(there - back) <= EXACTNESS[precision] * (y * image).abs().double().sum()


@pytest.mark.parametrize("frames", [None, 24])
def test_the_number_of_threads_changes_no_bit(frames):
    if "numba" not in [name for name, _ in USABLE]:
        pytest.skip("numba is not installed")
    cameras, cloud = views(), random_cloud(3000, seed=17)
    results = []
    for threads in (1, 2, 5):
        leaves = [x.requires_grad_() for x in parameters(cloud, torch.float32)]
        seen = Views.of(cameras)
        seen.source.requires_grad_()
        weights = None if frames is None else torch.linspace(0, 1, 3000 * frames).view(3000, frames).requires_grad_()
        image = project(Parameters(*leaves), seen, weights=weights, backend="numba", threads=threads)
        image.backward(torch.cos(torch.arange(image.numel())).view_as(image))
        results.append([image, seen.source.grad, *(x.grad for x in leaves)])
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


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


@of_every
@pytest.mark.parametrize("frames", [None, 8])
def test_malformed_gaussians_do_not_poison_the_others(backend, precision, frames):
    cameras, cloud = views(32, 1.6), random_cloud(4, seed=9)
    good = parameters(cloud, DTYPES[precision])
    bad = [torch.cat([x, x[:1].repeat(7, *[1] * (x.ndim - 1))]) for x in good]
    bad[0][4] = np.nan
    bad[1][5] = np.inf
    bad[2][6] = 0
    bad[3][7] = np.nan
    bad[1][8] = 50.0  # huge: reaches behind the source
    bad[0][9] = torch.tensor(cameras.source[0] * 3)  # behind one source, beyond the other's detector
    bad[1][10] = -500.0  # no size
    weights = None if frames is None else np.ones((11, frames))
    plain = projected(good, cameras, cut=5.0, backend=backend)
    with_bad = projected(bad, cameras, weights=weights, cut=5.0, backend=backend)
    assert torch.isfinite(with_bad).all()
    with_bad = with_bad if frames is None else with_bad[..., 3]
    assert torch.abs(with_bad - plain).max() <= 0.1 * EXACTNESS[precision] * plain.max()
    if (backend, precision) in DIFFERENTIABLE:
        leaves = [x.clone().requires_grad_() for x in bad]
        projected(leaves, cameras, weights=weights, cut=5.0, backend=backend).sum().backward()
        assert all(torch.isfinite(x.grad).all() for x in leaves)
        assert all((x.grad[4:10] == 0).all() for x in leaves)


@of_every
def test_a_gaussian_wider_than_the_detector_is_seen_on_all_of_it(backend, precision):
    cameras = views(32, 1.6)
    shape = ([[0.0, 0, 0]], [[4.0] * 3], [[1.0, 0, 0, 0]], [0.01])
    values = [torch.tensor(x, dtype=torch.float64) for x in shape]
    image = projected([x.to(DTYPES[precision]) for x in values], cameras, backend=backend)
    assert (image > 0.85 * image.max()).all()
    expected = projected(values, cameras, backend="reference")
    assert torch.abs(image - expected).max() <= EXACTNESS[precision] * expected.max()


@of_every_differentiable
@settings(max_examples=25, deadline=None)
@given(
    mean=st.lists(st.floats(-200, 200), min_size=3, max_size=3),
    log_sigma=st.lists(st.floats(-12, 6), min_size=3, max_size=3),
    quaternion=st.lists(st.floats(-1, 1), min_size=4, max_size=4),
)
def test_any_gaussian_gives_a_finite_image_that_is_nowhere_negative(backend, precision, mean, log_sigma, quaternion):
    values = [torch.tensor([x], dtype=DTYPES[precision]) for x in (mean, log_sigma, quaternion)]
    leaves = [x.requires_grad_() for x in (*values, torch.ones(1, dtype=DTYPES[precision]))]
    image = projected(leaves, views(16, 3.0), backend=backend)
    assert torch.isfinite(image).all() and (image >= 0).all()
    image.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in leaves)


@of_every
@pytest.mark.parametrize("frames", [None, 2])
def test_no_gaussians_give_a_black_image(backend, precision, frames):
    empty = [torch.zeros(0, *shape, dtype=DTYPES[precision]) for shape in ((3,), (3,), (4,), ())]
    weights = None if frames is None else np.zeros((0, frames))
    image = projected(empty, views(), weights=weights, backend=backend)
    assert image.shape[:3] == (2, 64, 64) and (image == 0).all()


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

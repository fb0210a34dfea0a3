"""Compositing: what is in front hides what is behind, the same in every backend; a surface is as dense as asked for."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gaussian_scenes import random_cloud, skewed, views
from hypothesis import given, settings
from hypothesis import strategies as st

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.errors import InputError, InstallationError
from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS, choose
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.composite import Sheet, Splats, composite
from VesselFlowGSLib.gaussians.splats import splats_of_cloud, splats_of_sheet
from VesselFlowGSLib.gaussians.views import View, Views

ON_CPU = [b for b in BACKENDS if "composite" in b.operators and "cpu" in b.devices and b.available]
USABLE = [b.name for b in ON_CPU]
DOUBLE = [b.name for b in ON_CPU if "float64" in b.precisions]
RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def camera(pixels: int = 48, pitch_mm: float = 0.5, distance: float = 800.0) -> Cameras:
    """The eye on the y axis in front, columns along x, rows along -z; the plane goes through the origin."""
    middle = (pixels - 1) / 2
    step = np.array([[pitch_mm, 0, 0]]), np.array([[0, 0, -pitch_mm]])
    origin = -middle * (step[0] + step[1])
    return Cameras(np.array([[0.0, -distance, 0]]), origin, *step, pixels, pixels)


def balls(means, sigma=2.0) -> GaussianCloud:
    mean = np.asarray(means, float)
    n, one = len(mean), np.ones(len(mean))
    return GaussianCloud(mean, np.full((n, 3), sigma), np.tile([1.0, 0, 0, 0], (n, 1)), one, one, np.nan * one)


def drawn(splats: Splats, at: Cameras, backend: str, cut: float = 5.0, threads: int = 1) -> np.ndarray:
    chosen = choose("composite", backend, "cpu", str(splats.mean.dtype).removeprefix("torch."))
    view = next(iter(Views.of(at)))
    return chosen.operator("composite")(splats, view, cut, threads).double().numpy()


def random_splats(n: int, seed: int, dtype=torch.float64, aspect: float = 3.0, **options) -> Splats:
    draw = np.random.default_rng(seed)
    cloud = random_cloud(n, seed=seed, aspect=aspect, **options)
    return splats_of_cloud(cloud, draw.uniform(0, 1, (n, 3)), draw.uniform(0, 1, n), dtype, "cpu")


def changed(splats: Splats, **values) -> Splats:
    return dataclasses.replace(splats, **{k: torch.as_tensor(v, dtype=splats.mean.dtype) for k, v in values.items()})


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("aspect", [3.0, 30.0])
@pytest.mark.parametrize("steps", [views, lambda: skewed(views())], ids=["square", "skewed"])
def test_backends_agree_with_the_reference(backend, aspect, steps):
    at = steps()[1]
    expected = drawn(random_splats(40, 1, aspect=aspect), at, "reference")
    assert 0.5 < expected[..., 3].max() < 0.9999
    single = drawn(random_splats(40, 1, torch.float32, aspect), at, backend)
    assert np.abs(single - expected).max() <= 1e-5
    if backend in DOUBLE:
        assert np.abs(drawn(random_splats(40, 1, aspect=aspect), at, backend) - expected).max() <= 1e-11


@pytest.mark.parametrize("backend", USABLE)
def test_behind_what_is_opaque_nothing_is_seen(backend):
    splats = random_splats(400, 2, torch.float32, box_mm=6.0)
    expected, found = (drawn(splats, views(32, 0.8)[0], b) for b in ("reference", backend))
    assert expected[..., 3].max() > 0.9999
    assert np.abs(found - expected).max() <= 2e-4


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_one_ball_hides_what_its_falloff_says(backend, sigma):
    pitch, opacity = 0.5, 0.7
    far = camera(pitch_mm=pitch, distance=1e5)
    picture = composite(balls([[0.0, 0, 0]], sigma), RED, far, opacity=opacity, cut=8.0, backend=backend)
    at = (np.arange(48) - 23.5) * pitch
    seen, area = sigma**2, pitch**2 / 12
    squared = (at[:, None] ** 2 + at[None] ** 2) / (seen + area)
    # Nearly parallel rays: the footprint is round; the pixel's area widens and pales it.
    expected = opacity * seen / (seen + area) * np.exp(-squared / 2)
    assert np.abs(picture[..., 3] - expected).max() <= 2e-5
    assert np.abs(picture[..., 0] - picture[..., 3]).max() <= 1e-6
    assert (picture[..., 1:3] == 0).all()


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_ball_hides_the_farther_one(backend, order):
    means, colours, opacity = np.array([[0.0, -5, 0], [0.0, 5, 0]]), np.array([RED, GREEN]), np.array([0.6, 0.8])
    pick = list(order)
    picture = composite(
        balls(means[pick]), colours[pick], camera(pixels=49), opacity=opacity[pick], backend=backend
    )  # fmt: skip
    assert picture[24, 24] == pytest.approx([0.6, 0.4 * 0.8, 0, 1 - 0.4 * 0.2], abs=2e-2)
    assert picture[24, 24, 0] == pytest.approx(picture[24, 24, 3] - picture[24, 24, 1], abs=1e-6)


@pytest.mark.parametrize("backend", USABLE)
def test_of_two_at_one_depth_the_first_is_in_front(backend):
    picture = composite(balls(np.zeros((2, 3))), [RED, GREEN], camera(pixels=49), opacity=0.9, backend=backend)
    assert picture[24, 24, 0] > 8 * picture[24, 24, 1] > 0
    swapped = composite(balls(np.zeros((2, 3))), [GREEN, RED], camera(pixels=49), opacity=0.9, backend=backend)
    assert (swapped[..., [1, 0, 2, 3]] == picture).all()


@pytest.mark.parametrize("backend", USABLE)
def test_order_of_the_input_and_colours_leave_the_opacity_alone(backend):
    splats = random_splats(60, 3, torch.float32)
    order = np.random.default_rng(0).permutation(60)
    turned = Splats(*(getattr(splats, f.name)[order] for f in dataclasses.fields(splats)))
    plain, other = (drawn(x, views()[0], backend) for x in (splats, turned))
    assert np.abs(plain - other).max() <= 1e-6
    white = drawn(changed(splats, colour=torch.ones(60, 3)), views()[0], backend)
    assert np.abs(white[..., :3] - white[..., 3:]).max() <= 1e-5
    assert np.abs(white[..., 3] - plain[..., 3]).max() <= 1e-6


@pytest.mark.parametrize("backend", USABLE)
def test_thin_ones_fade_and_do_not_flicker(backend):
    hidden = []
    for shift in np.linspace(0, 0.5, 9):
        picture = composite(balls([[shift, 0, 0.3]], 0.1), RED, camera(), opacity=0.5, cut=5.0, backend=backend)
        hidden.append(picture[..., 3].sum())
    # What it hides in all, over its area in pixels; a pixel's variance alone leaves a ripple.
    assert np.mean(hidden) == pytest.approx(0.5 * 2 * np.pi * 0.1**2 / 0.5**2, rel=0.15)
    assert np.ptp(hidden) < 0.5 * np.mean(hidden)


@pytest.mark.parametrize("backend", USABLE)
def test_malformed_splats_do_not_poison_the_others(backend):
    good = random_splats(6, 4, torch.float32)
    at = views(32, 1.6)
    values = [getattr(good, f.name) for f in dataclasses.fields(good)]
    bad = Splats(*(torch.cat([x, x[:1].expand(9, *x.shape[1:])]) for x in values))
    bad.mean[6] = torch.nan
    bad.log_sigma[7] = torch.inf
    bad.quaternion[8] = 0
    bad.opacity[9] = torch.nan
    bad.log_sigma[10] = 50.0
    bad.mean[11] = torch.tensor(at.source[0] * 3)
    bad.log_sigma[12] = -500.0
    bad.colour[13] = torch.inf
    bad.opacity[14] = -3.0
    plain, with_bad = (drawn(x, at[0], backend) for x in (good, bad))
    assert np.isfinite(with_bad).all()
    assert np.abs(with_bad - plain).max() <= 1e-6


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(-200, 200), min_size=3, max_size=3),
    st.lists(st.floats(-12, 6), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
    st.floats(0, 1),
)
def test_any_splat_gives_values_from_0_to_1(mean, log_sigma, quaternion, opacity):
    values = [torch.tensor([x], dtype=torch.float32) for x in (mean, log_sigma, quaternion, [1.0, 0.5, 0.0], opacity)]
    for backend in USABLE:
        picture = drawn(Splats(*values), views(16, 3.0)[0], backend)
        assert np.isfinite(picture).all() and (picture >= 0).all() and (picture <= 1).all()


@pytest.mark.parametrize("backend", USABLE)
def test_far_from_the_origin_the_picture_is_the_same(backend):
    far = np.array([512.0, -1024.0, 256.0])  # exact in single precision
    splats = random_splats(40, 5, torch.float32)
    at = views()[0]
    moved = Cameras(at.source + far, at.origin + far, at.column_step, at.row_step, at.rows, at.columns)
    there = changed(splats, mean=splats.mean + torch.tensor(far, dtype=torch.float32))
    here = changed(splats, mean=there.mean - torch.tensor(far, dtype=torch.float32))
    assert np.abs(drawn(there, moved, backend) - drawn(here, at, backend)).max() <= 1e-5


@pytest.mark.parametrize("backend", USABLE)
def test_no_splats_leave_the_ground_free(backend):
    assert (composite(balls(np.zeros((0, 3))), RED, camera(), backend=backend) == 0).all()


@pytest.mark.skipif("numba" not in USABLE, reason="numba is not installed")
def test_any_number_of_threads_gives_the_same_bits():
    splats = random_splats(300, 6, torch.float32)
    one, three = (drawn(splats, views()[0], "numba", threads=n) for n in (1, 3))
    assert (one == three).all()


def test_torch_gives_the_same_picture_in_pieces(monkeypatch):
    from VesselFlowGSLib.gaussians.backends.torch import composite as module

    splats, at = random_splats(60, 8, torch.float32), views()[0]
    whole = drawn(splats, at, "torch")
    monkeypatch.setattr(module, "LAYERS_AT_A_TIME", 2000)
    bands = module._bands(*(torch.tensor(x) for x in ([[5.0, 30.0]] * 60, [[4.0, 4.0]] * 60)), 5.0, 64, 64)
    assert len(bands) > 5 and bands[0][0] == 0 and bands[-1][1] == 64
    assert all(a[1] == b[0] for a, b in zip(bands[:-1], bands[1:], strict=True))
    assert np.abs(drawn(splats, at, "torch") - whole).max() <= 1e-6


# The surface


def plane(size_mm: float, steps: int, tilt: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A square of triangles of unequal shapes, turned about z out of the picture's plane."""
    draw = np.random.default_rng(seed)
    side = np.linspace(-size_mm / 2, size_mm / 2, steps)
    x, z = (g.ravel() for g in np.meshgrid(side, side, indexing="ij"))
    inner = (np.abs(x) < size_mm / 2) & (np.abs(z) < size_mm / 2)
    x, z = (c + inner * draw.uniform(-0.15, 0.15, len(c)) * (side[1] - side[0]) for c in (x, z))
    i = (np.arange(steps - 1)[:, None] * steps + np.arange(steps - 1)).ravel()
    triangles = np.concatenate(
        [np.stack([i, i + 1, i + steps + 1], -1), np.stack([i, i + steps + 1, i + steps], -1)]
    )  # fmt: skip
    return np.stack([x * np.cos(tilt), x * np.sin(tilt), z], -1), triangles


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("opacity", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("tilt", [0.0, 1.1])
def test_a_sheet_is_as_dense_as_asked_for_and_denser_where_it_slants(backend, opacity, tilt):
    points, triangles = plane(40.0, 33, tilt)
    picture = composite(
        balls(np.zeros((0, 3))), RED, camera(24, 0.35), surface=Sheet(points, triangles, RED, opacity), backend=backend
    )  # fmt: skip
    depth = -np.log1p(-picture[..., 3].astype(float))
    wanted = -np.log1p(-opacity) / np.cos(tilt)
    # Near black the pixel's area takes the peaks off the splats.
    assert depth.mean() == pytest.approx(wanted, rel=0.02 if wanted < 2 else 0.1)
    assert depth.std() < 0.1 * depth.mean()
    shade = picture[..., 0].sum() / picture[..., 3].sum()
    assert shade == pytest.approx(0.35 + 0.65 * np.cos(tilt), rel=0.02)


def test_triangles_of_any_shape_fill_a_plane_alike():
    draw = np.random.default_rng(0)
    points, triangles = draw.normal(size=(30, 3)), np.arange(30).reshape(10, 3)
    splats = splats_of_sheet(Sheet(points, triangles, RED), np.array([0.0, -900, 0]), torch.float64, "cpu")
    corners = points[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    wide = splats.log_sigma.exp().numpy()
    np.testing.assert_allclose(2 * np.pi * wide[:, 0] * wide[:, 1] / area, 4 * np.pi / (3 * np.sqrt(3)), rtol=1e-9)
    # The covariance in the triangle's plane is four times that of a uniform triangle.
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_quat(splats.quaternion.numpy()[:, [1, 2, 3, 0]]).as_matrix()
    flat = np.einsum("nij,nj,nkj->nik", turn, wide**2 * [1, 1, 0], turn)
    arms = corners - corners.mean(1, keepdims=True)
    np.testing.assert_allclose(flat, 4 / 12 * np.einsum("nki,nkj->nij", arms, arms), atol=1e-9)


def test_a_glass_ball_has_a_rim_and_shows_what_is_inside():
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, 40), np.linspace(0, 2 * np.pi, 80), indexing="ij")
    points = 8 * np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    i = (np.arange(39)[:, None] * 80 + np.arange(79)).ravel()
    triangles = np.concatenate([np.stack([i, i + 1, i + 81], -1), np.stack([i, i + 81, i + 80], -1)])
    glass = Sheet(points.reshape(-1, 3), triangles, (0.5, 0.6, 0.7), 0.1)
    empty = composite(balls(np.zeros((0, 3))), RED, camera(), surface=glass)
    full = composite(balls([[0.0, 0, 0]], 1.0), RED, camera(), opacity=1.0, surface=glass)
    rim = empty[24, :, 3].max()
    assert empty[24, 24, 3] == pytest.approx(1 - 0.9**2, rel=0.1)
    assert rim > 2 * empty[24, 24, 3]
    assert (empty[:4, :4] < 1e-3).all()
    # Seen through the front wall, and before the back wall.
    assert full[24, 24, 0] > 0.85 and full[24, 24, 2] < 0.1
    assert np.abs(full[24, 10] - empty[24, 10]).max() < 1e-3


@pytest.mark.parametrize("backend", USABLE)
def test_degenerate_triangles_are_left_out(backend):
    points = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [np.nan, 0, 0]])
    sheet = Sheet(points, np.array([[0, 1, 2], [0, 0, 1], [0, 1, 3]]), np.ones((4, 3)))
    assert (composite(balls(np.zeros((0, 3))), RED, camera(), surface=sheet, backend=backend) == 0).all()


# The camera of gsplat, which runs on NVIDIA GPUs alone


def test_the_pinhole_of_gsplat_sees_points_where_the_camera_does():
    from VesselFlowGSLib.gaussians.backends.gsplat.composite import pinhole

    points = np.random.default_rng(0).uniform(-20, 20, (50, 3))
    for at in (views(), carried(views())):
        for v, view in enumerate(Views.of(at)):
            found = pinhole(view)
            seen = points @ found.to_camera[:3, :3].numpy().T + found.to_camera[:3, 3].numpy()
            assert (seen[:, 2] > 0).all()
            on_plane = seen @ found.intrinsics.numpy().T
            column_row = on_plane[:, :2] / on_plane[:, 2:] - 0.5
            np.testing.assert_allclose(column_row[:, ::-1], at.pixels(points)[v], atol=1e-8)
            assert float(torch.abs(torch.linalg.det(found.to_camera[:3, :3]))) == pytest.approx(1)


def carried(at: Cameras) -> Cameras:
    from scipy.spatial.transform import Rotation

    moved = at.moved(Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix(), [3.0, -40.0, 12.0])
    return dataclasses.replace(moved, row_step=-moved.row_step, origin=moved.origin + 63 * moved.row_step)


def test_gsplat_refuses_a_skewed_camera():
    from VesselFlowGSLib.gaussians.backends.gsplat.composite import pinhole

    with pytest.raises(InputError, match="right angles"):
        pinhole(next(iter(Views.of(skewed(views())))))


def with_gsplat(monkeypatch: pytest.MonkeyPatch, rasterization) -> tuple[Splats, View]:
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    return random_splats(12, 7, torch.float32), next(iter(Views.of(views()[0])))


def test_gsplat_is_given_sound_splats_and_its_own_shapes(monkeypatch):
    from VesselFlowGSLib.gaussians.backends.gsplat.composite import composite as by_gsplat

    given = {}

    def rasterization(**arguments):
        given.update(arguments)
        size = (1, arguments["height"], arguments["width"])
        return torch.full((*size, 3), 0.25), torch.full((*size, 1), 0.5), {}

    splats, view = with_gsplat(monkeypatch, rasterization)
    splats.mean[3] = torch.nan
    picture = by_gsplat(splats, view, 3.5, 1)
    assert picture.shape == (64, 64, 4) and (picture[0, 0] == torch.tensor([0.25, 0.25, 0.25, 0.5])).all()
    shapes = {k: tuple(given[k].shape) for k in ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")}
    assert shapes == {
        "means": (11, 3), "quats": (11, 4), "scales": (11, 3), "opacities": (11,), "colors": (11, 3),
        "viewmats": (1, 4, 4), "Ks": (1, 3, 3),
    }  # fmt: skip
    assert all(torch.isfinite(x).all() for x in given.values() if isinstance(x, torch.Tensor))


def test_gsplat_without_its_compiler_says_what_to_do(monkeypatch):
    from VesselFlowGSLib.gaussians.backends.gsplat.composite import composite as by_gsplat

    def rasterization(**arguments):
        raise AttributeError("'NoneType' object has no attribute 'projection'")

    splats, view = with_gsplat(monkeypatch, rasterization)
    with pytest.raises(InstallationError, match="nvcc.*VESSELFLOWGS_BACKEND"):
        by_gsplat(splats, view, 3.5, 1)


def test_wrong_requests_say_so():
    cloud = balls(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="one view"):
        composite(cloud, RED, views())
    with pytest.raises(ValueError, match=r"colours must be \(3, 3\)"):
        composite(cloud, np.ones((2, 3)), camera())
    with pytest.raises(ValueError, match="opacity"):
        composite(cloud, RED, camera(), opacity=[0.1, 0.2])
    with pytest.raises(InstallationError, match="auto"):
        composite(cloud, RED, camera(), backend="abacus")
    with pytest.raises(ValueError, match="must fit"):
        changed(random_splats(3, 0), opacity=torch.ones(2))

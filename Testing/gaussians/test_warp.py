"""Warp's kernels: the logic on the CPU, on a GPU too where there is one, against the reference and plain torch."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from gaussian_scenes import random_cloud, skewed, views
from hypothesis import given, settings
from hypothesis import strategies as st

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS, choose
from VesselFlowGSLib.gaussians.backends.reference.composite import composite as reference_composite
from VesselFlowGSLib.gaussians.backends.reference.density import density as reference_density
from VesselFlowGSLib.gaussians.backends.reference.project import project as reference_project
from VesselFlowGSLib.gaussians.backends.torch.project import project as torch_project
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.splats import splats_of_cloud
from VesselFlowGSLib.gaussians.views import Views

pytest.importorskip("warp")

from VesselFlowGSLib.gaussians.backends import warp as warp_backend  # noqa: E402
from VesselFlowGSLib.gaussians.backends.warp import tiles  # noqa: E402
from VesselFlowGSLib.gaussians.backends.warp.composite import composite  # noqa: E402
from VesselFlowGSLib.gaussians.backends.warp.density import density  # noqa: E402
from VesselFlowGSLib.gaussians.backends.warp.project import project  # noqa: E402

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
on_devices = pytest.mark.parametrize("device", DEVICES)

# One frame is scattered, many are gathered; a chunk is 16.
FRAMES = [1, 3, 7, 37]


def weights_of(cloud: GaussianCloud, frames: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(1).uniform(0.1, 1, (len(cloud), frames)))


def images(function, cloud, cameras, weights, dtype, device="cpu", cut=5.0, aperture=True):
    """The image on the CPU in double precision, and the gradients of everything that has one."""
    given = Parameters.of(cloud, dtype, device)
    seen = Views.of(cameras, device)
    leaves = [
        x.clone().requires_grad_()
        for x in (
            given.mean, given.log_sigma, given.quaternion, given.density, weights.to(device, dtype),
            seen.source, seen.origin, seen.column_step, seen.row_step,
        )
    ]  # fmt: skip
    image = function(Parameters(*leaves[:4]), Views(*leaves[5:], seen.rows, seen.columns), leaves[4], cut, aperture, 1)
    if image.requires_grad:
        target = np.random.default_rng(2).normal(size=tuple(image.shape))
        (image * torch.tensor(target, dtype=dtype, device=device)).sum().backward()
    return image.detach().cpu().double(), [None if x.grad is None else x.grad.cpu().double() for x in leaves]


@on_devices
@pytest.mark.parametrize("aspect", [3.0, 30.0])
@pytest.mark.parametrize("aperture", [False, True])
@pytest.mark.parametrize("frames", FRAMES)
def test_projection_is_that_of_the_reference(device, aspect, aperture, frames):
    cameras, cloud = skewed(views()), random_cloud(12, seed=3, aspect=aspect)
    options = dict(weights=weights_of(cloud, frames), aperture=aperture)
    expected, _ = images(reference_project, cloud, cameras, dtype=torch.float64, **options)
    found, _ = images(project, cloud, cameras, dtype=torch.float32, device=device, **options)
    assert found.shape == (2, 64, 64, frames)
    assert (found - expected).abs().max() <= 2e-6 * expected.max()


@on_devices
@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("aperture", [False, True])
def test_gradients_are_those_in_double_precision(device, frames, aperture):
    """Of Gaussians, weights and views, whose gradients in plain torch are those of central differences."""
    cameras, cloud = skewed(views()), random_cloud(30, seed=4)
    options = dict(weights=weights_of(cloud, frames), aperture=aperture)
    _, expected = images(torch_project, cloud, cameras, dtype=torch.float64, **options)
    _, found = images(project, cloud, cameras, dtype=torch.float32, device=device, **options)
    for single, double in zip(found, expected, strict=True):
        assert (single - double).norm() <= 5e-6 * double.norm()


@on_devices
@pytest.mark.parametrize("frames", [1, 21])
def test_transpose_in_the_weights_is_the_adjoint(device, frames):
    cloud = random_cloud(25, seed=5)
    weights = weights_of(cloud, frames)
    image, gradients = images(project, cloud, views(), weights, torch.float32, device)
    target = torch.tensor(np.random.default_rng(2).normal(size=tuple(image.shape)))
    assert float((image * target).sum()) == pytest.approx(float((gradients[4] * weights).sum()), rel=1e-4)


@on_devices
def test_only_what_is_asked_for_gets_a_gradient(device):
    cloud = random_cloud(9, seed=6)
    given, seen = Parameters.of(cloud, torch.float32, device), Views.of(views(), device)
    weights = weights_of(cloud, 2).to(device, torch.float32).requires_grad_()
    project(given, seen, weights, 4.0, True, 1).sum().backward()
    alone = weights.grad
    everything = images(project, cloud, views(), weights.detach().double(), torch.float32, device, cut=4.0)[1]
    assert alone is not None and everything[4] is not None
    assert given.mean.grad is None and torch.isfinite(alone).all()


@on_devices
def test_no_digits_are_lost_far_from_the_first_pixel(device):
    """A strip of 60,000 columns whose last ones are looked at: a whole pixel there is 2^-8 of single precision's."""
    columns = 60_000
    step, down = np.array([[0.01, 0, 0]]), np.array([[0, 0, -0.2]])
    source = np.array([[0.0, -800, 0]])
    at_end = Cameras(source, np.array([[0.0, 400, 1.6]]) - (columns - 24) * step, step, down, 16, columns)
    near = Cameras(source, np.array([[0.0, 400, 1.6]]) - 24 * step, step, down, 16, 48)
    cloud = random_cloud(3, seed=7, box_mm=0.05)
    cloud.sigma[:] = 0.03
    ones = torch.ones(3, 1, dtype=torch.float64)
    expected, _ = images(reference_project, cloud, near, ones, torch.float64)
    found, _ = images(project, cloud, at_end, ones, torch.float32, device)
    assert (found[:, :, columns - 48 :] - expected).abs().max() <= 2e-6 * expected.max()


def bad_ones(cloud: GaussianCloud, cameras: Cameras) -> GaussianCloud:
    """The cloud, followed by seven that are malformed or cannot be seen in the first view."""
    more = {f.name: np.concatenate([getattr(cloud, f.name)] + [getattr(cloud, f.name)[:1]] * 7) for f in
            dataclasses.fields(cloud)}  # fmt: skip
    n = len(cloud)
    more["mean"][n] = np.nan
    more["sigma"][n + 1] = np.inf
    more["quaternion"][n + 2] = 0
    more["attenuation"][n + 3] = np.nan
    more["sigma"][n + 4] = 1e9
    more["mean"][n + 5] = cameras.source[0] * 3
    more["sigma"][n + 6] = -1
    return GaussianCloud(**more)


@on_devices
@pytest.mark.parametrize("frames", [1, 20])
def test_malformed_gaussians_do_not_poison_the_others(device, frames):
    cameras, cloud = views(32, 1.6)[0], random_cloud(4, seed=9)
    bad = bad_ones(cloud, cameras)
    plain, _ = images(project, cloud, cameras, weights_of(bad, frames)[:4], torch.float32, device)
    found, gradients = images(project, bad, cameras, weights_of(bad, frames), torch.float32, device)
    assert (found - plain).abs().max() <= 1e-6 * plain.max()
    assert all(torch.isfinite(g).all() for g in gradients)
    assert all((g[4:] == 0).all() for g in gradients[:5])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-200, 200), min_size=3, max_size=3),
    st.lists(st.floats(-12, 6), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
)
def test_any_gaussian_gives_a_finite_image_and_finite_gradients(mean, log_sigma, quaternion):
    leaves = [torch.tensor([x]).requires_grad_() for x in (mean, log_sigma, quaternion)]
    image = project(Parameters(*leaves, torch.ones(1)), Views.of(views(16, 3.0)), torch.ones(1, 1), 4.0, True, 1)
    assert torch.isfinite(image).all() and (image >= 0).all()
    image.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in leaves)


@on_devices
def test_no_gaussians_give_a_black_image(device):
    none = GaussianCloud(*(x[:0] for x in dataclasses.astuple(random_cloud(2))))
    for frames in (1, 20):
        assert (images(project, none, views(), torch.ones(0, frames), torch.float32, device)[0] == 0).all()
    picture = composite(
        splats_of_cloud(none, np.zeros((0, 3)), np.zeros(0), torch.float32, device),
        next(iter(Views.of(views(), device))), 4.0, 1,
    )  # fmt: skip
    assert (picture == 0).all()
    assert (density(none, np.zeros((3, 3)), 4.0, device, 1)[0] == 0).all()


def picture_of(function, cloud, camera, dtype, device="cpu", opacity=None):
    draw = np.random.default_rng(10)
    opacities = draw.uniform(0.2, 1, len(cloud)) if opacity is None else np.full(len(cloud), opacity)
    splats = splats_of_cloud(cloud, draw.uniform(0, 1, (len(cloud), 3)), opacities, dtype, device)
    return function(splats, next(iter(Views.of(camera, device))), 4.0, 1).cpu().double()


@on_devices
@pytest.mark.parametrize("aspect", [3.0, 30.0])
def test_compositing_is_that_of_the_reference(device, aspect):
    camera, cloud = skewed(views(72))[0], random_cloud(60, seed=11, aspect=aspect)
    expected = picture_of(reference_composite, cloud, camera, torch.float64)
    found = picture_of(composite, cloud, camera, torch.float32, device)
    assert found.shape == (72, 72, 4)
    assert (found - expected).abs().max() <= 1e-5


@on_devices
def test_what_is_opaque_hides_what_lies_behind(device):
    camera, cloud = views(64)[1], random_cloud(400, seed=12, box_mm=6.0)
    expected = picture_of(reference_composite, cloud, camera, torch.float64, opacity=1.0)
    found = picture_of(composite, cloud, camera, torch.float32, device, opacity=1.0)
    assert expected[..., 3].max() > 0.9998
    assert (found - expected).abs().max() <= 2e-4


@on_devices
def test_malformed_splats_are_left_out(device):
    camera, cloud = views(32, 1.6)[0], random_cloud(4, seed=13)
    bad = bad_ones(cloud, camera)
    expected = picture_of(reference_composite, bad, camera, torch.float64, opacity=0.5)
    found = picture_of(composite, bad, camera, torch.float32, device, opacity=0.5)
    assert (found - expected).abs().max() <= 1e-5


@on_devices
def test_lists_that_do_not_fit_the_memory_are_made_band_by_band(device, monkeypatch):
    cloud = random_cloud(40, seed=14)
    weights = weights_of(cloud, 18)
    whole = images(project, cloud, views(), weights, torch.float32, device)[0]
    picture = picture_of(composite, cloud, views()[0], torch.float32, device)
    monkeypatch.setattr(tiles, "MOST_ENTRIES", 30)
    assert torch.equal(images(project, cloud, views(), weights, torch.float32, device)[0], whole)
    assert torch.equal(picture_of(composite, cloud, views()[0], torch.float32, device), picture)


@on_devices
def test_gathered_sums_are_the_same_every_time(device):
    cloud = random_cloud(40, seed=15)
    once, again = (images(project, cloud, views(), weights_of(cloud, 18), torch.float32, device) for _ in range(2))
    assert torch.equal(once[0], again[0])
    assert all(torch.equal(a, b) for a, b in zip(once[1], again[1], strict=True))


@on_devices
@pytest.mark.parametrize("far_mm", [0.0, 500.0])
@pytest.mark.parametrize("cut", [3.0, 7.0])
def test_density_is_that_of_the_reference(device, far_mm, cut):
    draw, cloud = np.random.default_rng(16), random_cloud(60, seed=16)
    cloud.mean[:] += far_mm
    points = far_mm + draw.uniform(-14, 14, (2000, 3))
    expected, slope = reference_density(cloud, points, cut, "cpu", 1)
    values, gradients = density(
        bad_ones(cloud, views()), np.append(points, [[np.nan] * 3, [1e300] * 3], 0), cut, device, 1
    )
    assert (values[-2:] == 0).all() and (gradients[-2:] == 0).all()
    values, gradients = values[:-2], gradients[:-2]
    # Where a point lies on the cut of a Gaussian, rounding decides.
    edge = np.exp(-(cut**2) / 2) * cloud.density.max()
    close = np.abs(values - expected) <= 2e-6 * expected.max()
    assert close.mean() > 0.998 and np.abs(values - expected).max() <= edge * 1.01 + 2e-6 * expected.max()
    assert np.abs(gradients - slope)[close].max() <= 5e-6 * np.abs(slope).max()


def test_it_is_not_chosen_without_a_gpu():
    declared = [b for b in BACKENDS if b.name == "warp"]
    assert declared and declared[0].devices == ("cuda",)
    with pytest.raises(InstallationError, match="auto"):
        choose("project", "warp", "cpu")


def test_nothing_is_written_to_standard_output():
    script = (
        "import torch\n"
        "from VesselFlowGSLib.gaussians.backends.warp.density import density\n"
        "from VesselFlowGSLib.gaussians.cloud import GaussianCloud\n"
        "import numpy as np\n"
        "one = np.ones(1)\n"
        "cloud = GaussianCloud(np.zeros((1, 3)), np.ones((1, 3)), np.ones((1, 4)), one, one, one)\n"
        "assert density(cloud, np.zeros((1, 3)), 4.0, 'cpu', 1)[0] == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_kernels_are_kept_even_where_the_users_folder_cannot_be_written(tmp_path, monkeypatch):
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert warp_backend._cache_folder().startswith(str(tmp_path))
    (tmp_path / "file").write_text("no folder")
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "file"))
    folder = warp_backend._cache_folder()
    assert os.path.isdir(folder) and not folder.startswith(str(tmp_path / "file"))
    os.rmdir(folder)

"""The lumen as Gaussians: flat inside, of the right mass, and led by images without trusting them too much."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_lumens import bent_tube, straight_tube
from lumen_films import NOISE, TUBE, carm, filmed, middle
from scipy.special import ndtr

from VesselFlowGSLib.acquisition.study import Run, RunRole
from VesselFlowGSLib.gaussians.density import density
from VesselFlowGSLib.gaussians.matrix import projection_matrix
from VesselFlowGSLib.lumen.fit import (
    FitSettings,
    ImageTerm,
    blurred_film,
    compared_pixels,
    peak_opacity,
    refine_occupancy,
    start_cloud,
)

MU = 0.25


def volume_mm3(cloud) -> float:
    return float((cloud.density * cloud.sigma.prod(1)).sum() * (2 * np.pi) ** 1.5 / MU)


@pytest.mark.parametrize("lumen", [straight_tube(16.0, 2.0, (1.0, 2.0, 3.0)), TUBE], ids=["straight", "bent"])
def test_the_lattice_is_flat_inside_and_falls_off_as_the_blurred_wall(lumen):
    lattice = start_cloud(lumen, MU)
    branch, draw = lumen.tree.branches[0], np.random.default_rng(0)
    k = draw.integers(40, len(branch.points) - 40, 3000)
    points = branch.points[k] + draw.uniform(-2.5, 2.5, (3000, 3))
    clear = np.min([np.abs((points - o.centre) @ o.normal) for o in lumen.openings], axis=0) > 1.5
    depth = lumen.wall(points)
    values, _ = density(lattice.cloud, points, cut=5.0)
    deep = clear & (depth > 3 * lattice.blur_mm[0])
    assert deep.sum() > 100
    assert np.abs(values[deep] / MU - 1).max() < 0.02
    expected = MU * ndtr(depth / lattice.blur_mm[0])
    assert np.sqrt(np.mean((values - expected)[clear] ** 2)) < 0.03 * MU


@pytest.mark.parametrize("radius", [1.0, 2.0, 4.0])
def test_the_mass_is_that_of_the_lumen_between_its_openings(radius):
    lumen = straight_tube(15.0, radius)
    assert volume_mm3(start_cloud(lumen, MU).cloud) == pytest.approx(np.pi * radius**2 * 15.0, rel=0.02)


def test_a_budget_is_kept_by_a_coarser_lattice():
    few = start_cloud(TUBE, MU, FitSettings(largest_count=800))
    assert len(few.cloud) <= 800
    assert few.spacing_mm > start_cloud(TUBE, MU).spacing_mm
    assert volume_mm3(few.cloud) == pytest.approx(volume_mm3(start_cloud(TUBE, MU).cloud), rel=0.03)


def test_nothing_lies_past_the_openings():
    lattice = start_cloud(TUBE, MU, shell=True)
    for opening in TUBE.openings:
        tube = np.linalg.norm(lattice.cloud.mean - opening.centre, axis=1) < 2.0
        past = ((lattice.cloud.mean - opening.centre) @ opening.normal)[tube]
        assert past.max() < 1.5 * lattice.spacing_mm


def views_of(cloud, lumen, run):
    cameras = run.cameras(middle(lumen))
    pixels = compared_pixels(cloud, cameras, lumen.openings)
    return cameras, pixels, projection_matrix(cloud, cameras, pixels=pixels)


def test_its_own_images_change_nothing_but_the_gain():
    cloud = start_cloud(TUBE, MU, shell=True).cloud
    images = []
    for angle, gain in ((-30.0, 0.7), (60.0, 1.4)):
        run = Run("film", RunRole.DSA, np.zeros((1, 128, 128)), np.zeros((128, 128)), np.zeros(1), carm(angle, 0.0))
        _, pixels, matrix = views_of(cloud, TUBE, run)
        images.append(ImageTerm(matrix, gain * (matrix @ cloud.density), np.full(len(pixels), NOISE)))
    refined = refine_occupancy(cloud, images)
    np.testing.assert_allclose(refined.gains, [0.7, 1.4], rtol=1e-6)
    np.testing.assert_allclose(refined.cloud.occupancy, cloud.occupancy, atol=1e-6)


@pytest.mark.parametrize("radius", [1.85, 2.15])
def test_the_wall_follows_the_images(radius):
    truth = bent_tube(bend_radius_mm=10.0, straight_mm=8.0, radius_mm=radius)
    lattice = start_cloud(TUBE, MU, shell=True)
    images = []
    for angle, tilt, gain in ((-30.0, 0.0, 0.9), (60.0, 0.0, 1.1), (10.0, 30.0, 1.0)):
        run = filmed(truth, middle(TUBE), angle, tilt, gain)
        cameras, pixels, matrix = views_of(lattice.cloud, TUBE, run)
        film = blurred_film(run.line_integrals[-1], cameras, 0.2, middle(TUBE))
        images.append(ImageTerm(matrix, film.ravel()[pixels].astype(float), np.full(len(pixels), NOISE)))
    refined = refine_occupancy(lattice.cloud, images)
    grown = np.sqrt(volume_mm3(refined.cloud) / volume_mm3(lattice.cloud)) - 1
    asked = radius / 2.0 - 1
    assert 0.4 * abs(asked) < grown * np.sign(asked) < 1.2 * abs(asked)
    np.testing.assert_allclose(refined.gains, [0.9, 1.1, 1.0], rtol=0.08)
    assert (refined.rms_after < 0.4 * refined.rms_before).all()
    assert (refined.cloud.occupancy >= 0).all()


def test_a_vessel_that_the_cloud_does_not_know_hardly_moves_the_wall():
    lattice = start_cloud(TUBE, MU, shell=True)
    images = []
    for angle in (-30.0, 60.0):
        run = filmed(TUBE, middle(TUBE), angle)
        cameras, pixels, matrix = views_of(lattice.cloud, TUBE, run)
        film = run.line_integrals[-1].copy()
        film[60:64] += 0.5  # another vessel across this one
        images.append(ImageTerm(matrix, film.ravel()[pixels].astype(float), np.full(len(pixels), NOISE)))
    refined = refine_occupancy(lattice.cloud, images)
    assert volume_mm3(refined.cloud) == pytest.approx(volume_mm3(lattice.cloud), rel=0.05)


def still_run(frames, noise):
    return Run("film", RunRole.DSA, frames.astype(np.float32), np.full(frames.shape[1:], noise, np.float32),
               np.arange(len(frames)) / 15, carm(0.0, 0.0))  # fmt: skip


def test_peak_opacity_of_noise_is_not_biased():
    frames = np.random.default_rng(0).normal(0, 0.05, (30, 128, 128))
    opacity, noise = peak_opacity(still_run(frames, 0.05))
    assert abs(opacity.mean()) < 0.1 * 0.05
    assert opacity.std() == pytest.approx(noise.mean(), rel=0.2)
    assert frames.max(0).mean() > 0.08


def test_peak_opacity_shows_all_of_a_vessel_that_a_short_bolus_never_fills_at_once():
    rows = np.arange(128)[None, :, None]
    columns = np.arange(128)[None, None, :]
    when = 10 + rows / 8
    t = np.arange(45)[:, None, None]
    vessel = np.clip(1.5 - np.abs(columns - 64) / 6, 0, 1)
    frames = vessel * np.exp(-0.5 * ((t - when) / 5) ** 2)
    noisy = frames + np.random.default_rng(1).normal(0, 0.02, frames.shape)
    opacity, _ = peak_opacity(still_run(noisy, 0.02))
    core = opacity[10:118, 62:67]
    assert core.mean() == pytest.approx(1.0, abs=0.05)
    assert core.std() < 0.03


def test_pixels_past_an_opening_are_not_compared():
    cloud = start_cloud(TUBE, MU).cloud
    run = Run("film", RunRole.DSA, np.zeros((1, 128, 128)), np.zeros((128, 128)), np.zeros(1), carm(0.0, 0.0))
    cameras = run.cameras(middle(TUBE))
    for opening in TUBE.openings:
        row, column = np.round(cameras.pixels((opening.centre + opening.normal)[None])[0, 0]).astype(int)
        flat = row * 128 + column
        assert flat in compared_pixels(cloud, cameras)
        assert flat not in compared_pixels(cloud, cameras, TUBE.openings)

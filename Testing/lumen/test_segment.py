import numpy as np
import pytest
from analytic_volumes import line, tube, union, volume_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from VesselFlowGSLib.acquisition.study import Volume
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.segment import (
    axis_value,
    blurred_disc,
    radius_from_contour,
    vessel_occupancy,
    wall_value,
)

LOW, HIGH = (-7.0, -7.0, -8.0), (7.0, 7.0, 8.0)
SLANTED = (0.3, 0.2, 0.933)


def blur_by_quadrature(r: float, radius: float) -> float:
    """A Gaussian of unit deviation at (r, 0), integrated over the disc."""

    def strip(x: float) -> float:
        half = np.sqrt(radius**2 - x**2)
        across = integrate.quad(lambda y: np.exp(-(y**2) / 2), -half, half)[0]
        return across * np.exp(-((x - r) ** 2) / 2) / (2 * np.pi)

    return integrate.quad(strip, -radius, radius)[0]


@pytest.mark.parametrize("radius", [0.7, 1.5, 3.0, 6.0])
def test_blurred_disc_agrees_with_quadrature(radius: float) -> None:
    for r in (0.0, 0.5 * radius, radius, 1.4 * radius):
        assert float(blurred_disc(r, radius, 1.0)) == pytest.approx(blur_by_quadrature(r, radius), abs=1e-6)
    assert float(wall_value(radius)) == pytest.approx(blur_by_quadrature(radius, radius), abs=1e-6)
    assert float(axis_value(radius)) == pytest.approx(blur_by_quadrature(0.0, radius), abs=1e-6)


def test_wall_lies_below_half_of_the_contrast() -> None:
    assert float(wall_value(3.0)) == pytest.approx(0.433, abs=5e-4)
    assert float(wall_value(200.0)) == pytest.approx(0.5, abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(radius=st.floats(0.5, 8.0), sigma=st.floats(0.1, 0.3), r=st.floats(0.6, 1.2))
def test_contour_tells_the_true_radius(radius: float, sigma: float, r: float) -> None:
    contour = r * radius
    level = round(float(blurred_disc(contour, radius, sigma)), 4)
    if 0.1 < level < 0.85 * float(axis_value(radius / sigma)):
        found = float(radius_from_contour(contour, sigma, level))
        assert found == pytest.approx(radius, abs=0.01 * radius + 0.01 * sigma)


def test_straight_tube_gives_plateau_background_blur_and_noise() -> None:
    curve = line(SLANTED)
    distance = tube(curve, np.full(len(curve), 1.4))
    occupancy = vessel_occupancy(volume_of(distance, LOW, HIGH))
    index = np.argwhere(np.ones(occupancy.values.shape, bool))
    d = distance(occupancy.lps(index))
    values = occupancy.values.ravel()
    assert values[d > 1.1].mean() == pytest.approx(1.0, abs=0.02)
    assert values[(d < -1.2) & (d > -3)].mean() == pytest.approx(0.0, abs=0.01)
    assert occupancy.sigma_mm == pytest.approx(0.32, rel=0.08)
    assert occupancy.noise == pytest.approx(0.05, rel=0.2)
    assert occupancy.piece.ravel()[d > 0.5].all()
    assert not occupancy.piece.ravel()[d < -1.0].any()


def test_oblique_and_flat_voxels_give_the_vessel_where_it_is() -> None:
    a = np.radians(25.0)
    turn = np.array([[-np.cos(a), 0, np.sin(a)], [0, -1, 0], [np.sin(a), 0, np.cos(a)]])
    curve = line((0.2, 0.9, 0.3)) + np.array([1.0, 2.0, -1.5])
    distance = tube(curve, np.full(len(curve), 1.5))
    occupancy = vessel_occupancy(volume_of(distance, LOW, HIGH, spacing_mm=(0.45, 0.45, 0.7), noise=0.02, turn=turn))
    d = distance(occupancy.lps(np.argwhere(occupancy.covered)))
    values = occupancy.values[occupancy.covered]
    assert occupancy.spacing_mm == pytest.approx(0.45)
    assert values[d > 1.2].mean() == pytest.approx(1.0, abs=0.03)
    assert abs(np.median(d[np.abs(values - 0.47) < 0.1])) < 0.08


def test_seeds_choose_the_vessel_and_other_vessels_are_background() -> None:
    thin = line((0, 0, 1)) + np.array([-3.5, 0, 0])
    wide = line((0, 0, 1)) + np.array([2.5, 0, 0])
    one, two = tube(thin, np.full(len(thin), 0.9)), tube(wide, np.full(len(wide), 1.8))
    volume = volume_of(union(one, two), LOW, HIGH)
    for seed, mine, other in (((-3.3, 0.2, 3.0), one, two), ((2.5, 0.0, 0.0), two, one)):
        occupancy = vessel_occupancy(volume, seeds_lps_mm=[seed])
        x = occupancy.lps(np.argwhere(np.ones(occupancy.values.shape, bool)))
        assert occupancy.piece.ravel()[mine(x) > 0.3].all()
        assert occupancy.values.ravel()[other(x) > 0].max() <= 0
    largest = vessel_occupancy(volume)
    assert largest.piece.ravel()[two(largest.lps(np.argwhere(np.ones(largest.values.shape, bool)))) > 0.5].all()


def tube_volume() -> Volume:
    curve = line((0, 0, 1))
    return volume_of(tube(curve, np.full(len(curve), 1.2)), LOW, HIGH)


def test_seed_off_the_vessel_says_which_key_and_how_far() -> None:
    with pytest.raises(InputError, match=r"geometry\.inlet_lps_mm.*nearest vessel is [34]\.\d mm away"):
        vessel_occupancy(tube_volume(), seeds_lps_mm=[(5.2, 0.0, 0.0)])
    with pytest.raises(InputError, match=r"geometry\.outlets_lps_mm\[1\].*outside"):
        vessel_occupancy(tube_volume(), seeds_lps_mm=[(0.0, 0.0, 0.0), (50.0, 0.0, 0.0)])


def test_seeds_on_two_vessels_are_refused() -> None:
    a, b = line((0, 0, 1)) + np.array([-4.0, 0, 0]), line((0, 0, 1)) + np.array([4.0, 0, 0])
    volume = volume_of(union(tube(a, np.full(len(a), 1.2)), tube(b, np.full(len(b), 1.2))), LOW, HIGH)
    with pytest.raises(InputError, match="not on one vessel"):
        vessel_occupancy(volume, seeds_lps_mm=[(-4.0, 0.0, 5.0), (4.0, 0.0, -5.0)])


@pytest.mark.parametrize("smooth", [0.0, 1.5])
def test_noise_alone_shows_no_vessel(smooth: float) -> None:
    from scipy import ndimage

    for seed in range(3):
        noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((40, 40, 40)), smooth)
        with pytest.raises(InputError, match="no vessel"):
            vessel_occupancy(Volume((50 * noise + 100).astype(np.float32), np.diag([0.5, 0.5, 0.5, 1]), "noise"))


def test_ball_is_no_vessel() -> None:
    ball = volume_of(lambda x: 2.5 - np.linalg.norm(x, axis=1), LOW, HIGH)
    with pytest.raises(InputError, match="no vessel"):
        vessel_occupancy(ball)


def test_constant_volume_shows_no_vessel() -> None:
    with pytest.raises(InputError, match="no vessel"):
        vessel_occupancy(Volume(np.full((20, 20, 20), 7, np.float32), np.eye(4), "flat"))


def test_unusable_volumes_and_regions_are_refused() -> None:
    volume = tube_volume()
    broken = volume.values.copy()
    broken[3, 4, 5] = np.nan
    with pytest.raises(InputError, match=r"1 voxels are NaN"):
        vessel_occupancy(Volume(broken, volume.affine, volume.name))
    with pytest.raises(InputError, match=r"geometry\.region_lps_mm.*outside"):
        vessel_occupancy(volume, region_lps_mm=((100, 100, 100), (120, 120, 120)))
    with pytest.raises(InputError, match=r"geometry\.region_lps_mm.*fewer"):
        vessel_occupancy(volume, region_lps_mm=((0, 0, 0), (1, 1, 1)))


def test_region_bounds_what_is_covered() -> None:
    occupancy = vessel_occupancy(tube_volume(), region_lps_mm=((-5, -5, 4), (5, 5, -3)))
    z = occupancy.lps(np.argwhere(occupancy.covered))[:, 2]
    assert z.min() == pytest.approx(-3, abs=0.45)
    assert z.max() == pytest.approx(4, abs=0.45)

"""The isocentre from films: found from far away, refined, and refused where the films show something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lumen_films import TUBE, filmed

from VesselFlowGSLib.acquisition.study import RunRole
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.lumen.fit import start_cloud
from VesselFlowGSLib.lumen.pose import align, cloud_from_occupancy

ISOCENTRE = np.array([6.0, -3.0, 12.0])


@pytest.fixture(scope="module")
def films():
    return [
        filmed(TUBE, ISOCENTRE, a, b, gain, seed=i) for i, (a, b, gain) in enumerate(((-30, 0, 0.9), (60, 10, 1.2)))
    ]


@pytest.mark.parametrize("offset", [(20.0, -10.0, 15.0), (-15.0, 15.0, -20.0)])
def test_the_isocentre_is_found_from_far_away(films, offset):
    found = align(TUBE, films, ISOCENTRE + offset)
    assert np.linalg.norm(found.isocentre_lps_mm - ISOCENTRE) < 0.15
    np.testing.assert_allclose(found.shift_mm, found.isocentre_lps_mm - ISOCENTRE - offset)
    assert found.known and min(found.overlap) > 0.95 and max(found.residual_px) < 0.3
    assert found.gains[1] / found.gains[0] == pytest.approx(1.2 / 0.9, rel=0.03)


def test_one_view_leaves_depth_where_it_was_and_says_so(films):
    start = ISOCENTRE + [3.0, 2.0, -4.0]
    found = align(TUBE, films[:1], start)
    assert not found.known and not np.isfinite(found.sd_mm).all()
    along = films[0].cameras(ISOCENTRE).normal[0]
    miss = found.isocentre_lps_mm - ISOCENTRE
    assert np.linalg.norm(miss - (miss @ along) * along) < 0.3
    assert abs((found.isocentre_lps_mm - start) @ along) < 2.0


def test_a_given_isocentre_is_refined_and_known(films):
    found = align(TUBE, films, ISOCENTRE + [0.4, -0.3, 0.3], given=True)
    assert found.known and np.linalg.norm(found.isocentre_lps_mm - ISOCENTRE) < 0.15


def test_a_vessel_that_leaves_the_detector_is_still_found(films):
    cut = [replace(f, line_integrals=f.line_integrals[:, :78].copy(), noise=f.noise[:78]) for f in films]
    found = align(TUBE, cut, ISOCENTRE + [5.0, 5.0, 5.0])
    assert np.linalg.norm(found.isocentre_lps_mm - ISOCENTRE) < 0.3


def test_a_film_of_something_else_has_little_overlap(films):
    noise = np.random.default_rng(5).normal(0, 0.01, films[1].line_integrals.shape).astype(np.float32)
    other = replace(films[1], line_integrals=films[1].line_integrals[:, :, ::-1].copy())
    for wrong in (replace(films[1], line_integrals=noise), other):
        found = align(TUBE, [films[0], wrong], ISOCENTRE, given=True)
        assert found.shows_vessel(0) and not found.shows_vessel(1)


def test_a_rotational_run_gives_the_isocentre_too():
    run = filmed(TUBE, ISOCENTRE, np.linspace(-100, 100, 10), role=RunRole.FILL)
    found = align(TUBE, [run], ISOCENTRE + [8.0, -6.0, 5.0])
    assert np.linalg.norm(found.isocentre_lps_mm - ISOCENTRE) < 0.15
    assert len(found.cameras[0]) == 10


def test_runs_may_move_by_themselves_within_their_prior(films):
    from VesselFlowGSLib.lumen.pose import PoseSettings

    tilted = [
        replace(f, carm=replace(f.carm, primary_deg=f.carm.primary_deg + d))
        for f, d in zip(films, (0.5, -0.5), strict=True)
    ]
    fixed = align(TUBE, tilted, ISOCENTRE, given=True)
    free = align(TUBE, tilted, ISOCENTRE, PoseSettings(correct_runs=True), given=True)
    assert sum(free.residual_px) <= sum(fixed.residual_px) + 0.05
    moved = np.abs(free.cameras[0].source - tilted[0].cameras(free.isocentre_lps_mm).source).max()
    assert 0 < moved < 40


def test_a_cloud_of_a_volume_has_its_mass():
    index = np.indices((40, 36, 30)).reshape(3, -1).T
    affine = np.array([[0, 0.5, 0, -9.0], [-0.6, 0, 0, 10.0], [0, 0, 0.7, -10.0], [0, 0, 0, 1]])
    points = index @ affine[:3, :3].T + affine[:3, 3]
    occupancy = (np.linalg.norm(points - points.mean(0), axis=1) < 5).astype(float).reshape(40, 36, 30)
    cloud = cloud_from_occupancy(occupancy, affine, 0.2, 0.8)
    mass = (cloud.density * cloud.sigma.prod(1)).sum() * (2 * np.pi) ** 1.5
    assert mass == pytest.approx(0.2 * occupancy.sum() * 0.5 * 0.6 * 0.7, rel=0.02)
    np.testing.assert_allclose(
        (cloud.density[:, None] * cloud.mean).sum(0) / cloud.density.sum(), points.mean(0), atol=0.05
    )


def test_nothing_to_align_is_no_crash(films):
    empty = GaussianCloud(*[np.zeros((0, *s)) for s in ((3,), (3,), (4,), (), (), ())])
    assert align(empty, films, ISOCENTRE).overlap == (0.0, 0.0)
    assert align(start_cloud(TUBE, 1.0).cloud, [], ISOCENTRE).cameras == ()

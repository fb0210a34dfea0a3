"""A volume from a rotational run alone: the vessel where it is, as wide as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lumen_films import TUBE, filmed, middle

from VesselFlowGSLib.acquisition.study import RunRole
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.hull import HullSettings, volume_from_rotation

ISOCENTRE = middle(TUBE) + [3.0, -2.0, 1.0]
SETTINGS = HullSettings(finest_pixel_mm=0.5, spacing_mm=0.5)


@pytest.fixture(scope="module")
def run():
    return filmed(TUBE, ISOCENTRE, np.linspace(-100, 100, 24), role=RunRole.FILL)


def dice_and_plateau(volume):
    points = volume.lps(np.moveaxis(np.indices(volume.values.shape), 0, -1)).reshape(-1, 3)
    inside = TUBE.inside(points)
    found = volume.values.ravel() > 0.125
    deep = inside & (TUBE.wall(points) > 1.0) & (np.abs(points - ISOCENTRE).max(1) < 10)
    return 2 * (found & inside).sum() / (found.sum() + inside.sum()), float(np.median(volume.values.ravel()[deep]))


def test_the_vessel_is_found_at_its_place_and_attenuation(run):
    dice, plateau = dice_and_plateau(volume_from_rotation(run, ISOCENTRE, SETTINGS))
    assert dice > 0.92
    assert plateau == pytest.approx(0.25, rel=0.1)


def test_dark_pixels_do_not_spoil_it(run):
    films = run.line_integrals.copy()
    films[3, 40:60, 40:60] = 9.0
    films[5, 10:20, 10:20] = np.nan
    volume = volume_from_rotation(replace(run, line_integrals=films), ISOCENTRE, SETTINGS)
    assert np.isfinite(volume.values).all() and dice_and_plateau(volume)[0] > 0.9


def test_a_budget_makes_it_coarser(run):
    volume = volume_from_rotation(run, ISOCENTRE, replace(SETTINGS, largest_count=2500, iterations=3))
    assert volume.spacing_mm[0] > SETTINGS.spacing_mm


def test_what_cannot_give_a_volume_is_refused(run):
    empty = replace(run, line_integrals=np.zeros_like(run.line_integrals))
    with pytest.raises(InputError, match="no place shows contrast"):
        volume_from_rotation(empty, ISOCENTRE, SETTINGS)
    still = replace(run, carm=replace(run.carm, primary_deg=np.zeros(1), secondary_deg=np.zeros(1)))
    with pytest.raises(InputError, match="too few"):
        volume_from_rotation(still, ISOCENTRE, SETTINGS)

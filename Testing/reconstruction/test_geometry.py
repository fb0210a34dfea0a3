"""The geometry stage on films whose vessel is known: which end fills first, where the wall is, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pyvista as pv
from analytic_lumens import bent_tube
from dyed_tube import ATTENUATION, ISOCENTRE, LENGTH, LUMEN, bolus, filmed, plateau
from studies import study_of

from VesselFlowGSLib.acquisition.study import Run
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.centreline import CentrelineTree
from VesselFlowGSLib.lumen.fit import start_cloud
from VesselFlowGSLib.lumen.wall import Lumen
from VesselFlowGSLib.reconstruction.checkpoint import Checkpoint
from VesselFlowGSLib.reconstruction.geometry import (
    Geometry,
    align_runs,
    first_lumen,
    first_opening_filled,
    reconstruct_geometry,
    refined,
)
from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings, overlaid

FAST = overlaid(ReconstructionSettings(), {"fit": {"largest_count": 4000, "rounds": 2, "iterations": 40}}, "test")
CLOUD = start_cloud(LUMEN, ATTENUATION).cloud


def geometry_of(*runs: Run) -> Geometry:
    return Geometry(LUMEN, CLOUD, runs, tuple(r.cameras(ISOCENTRE) for r in runs), {}, ())


@pytest.mark.parametrize(("downstream", "first"), [(True, "inlet"), (False, "outlet 1")])
@pytest.mark.parametrize("flow", [1.0, 4.0])
def test_the_end_that_fills_first_is_found(downstream, first, flow):
    runs = [filmed(flow, a, downstream=downstream, seed=i) for i, a in enumerate((-20.0, 60.0))]
    assert first_opening_filled(geometry_of(*runs)) == first
    assert first_opening_filled(geometry_of(runs[0])) == first


def test_films_that_show_no_dye_do_not_tell_the_inlet():
    assert first_opening_filled(geometry_of(filmed(2.0, dye=0.0))) is None
    assert first_opening_filled(geometry_of()) is None


def test_films_that_show_one_end_only_do_not_tell_the_inlet():
    run = filmed(2.0)
    row = float(run.cameras(ISOCENTRE).pixels(np.array([[0.0, 0.0, LENGTH]]))[0, 0, 0])
    hidden = run.line_integrals.copy()
    rows = np.abs(np.arange(run.line_integrals.shape[1]) - row) < 20
    hidden[:, rows] = 0.01 * np.random.default_rng(0).standard_normal(hidden[:, rows].shape)
    assert first_opening_filled(geometry_of(replace(run, line_integrals=hidden))) is None


def with_radius(radius_mm: float) -> Lumen:
    """The tube of 2 mm as a volume would have it that is wrong about its radius."""
    branch = LUMEN.tree.branches[0]
    wall = replace(LUMEN.wall, values=LUMEN.wall.values + (radius_mm - 2.0))
    tree = CentrelineTree((replace(branch, radius_mm=branch.radius_mm * radius_mm / 2),))
    return replace(LUMEN, wall=wall, tree=tree)


def led_by_films(radius_mm: float, injected) -> tuple[float, dict[str, Any]]:
    runs = [filmed(4.0, a, seed=i, injected=injected) for i, a in enumerate((-20.0, 60.0))]
    found = refined(with_radius(radius_mm), runs, [r.cameras(ISOCENTRE) for r in runs], ReconstructionSettings())
    return float(found.lumen.tree.branches[0].radius_mm[200:-200].mean()), found.words


@pytest.mark.parametrize("radius", [1.85, 2.15])
def test_films_lead_a_wall_that_the_volume_has_wrong(radius):
    """A little only: blood at the wall fills late, so that films are trusted less than the volume."""
    found, words = led_by_films(radius, plateau)
    assert min(radius, 2.0) + 0.005 < found < max(radius, 2.0) - 0.005
    assert words["residual_after"] < words["residual_before"]
    assert words["wall_moved_mm"]["mean"] * (2.0 - radius) > 0


@pytest.mark.parametrize("injected", [bolus, plateau])
def test_films_leave_a_wall_that_is_right(injected):
    found, words = led_by_films(2.0, injected)
    assert found == pytest.approx(2.0, abs=0.03)
    assert words["attenuation_per_mm"] == pytest.approx(ATTENUATION, rel=0.15)
    assert words["wall_moved_mm"]["rms"] < 0.03


def test_without_films_nothing_moves():
    """But for a roughness far below a voxel."""
    found = refined(LUMEN, [], [], FAST)
    assert found.words == {}
    still = overlaid(FAST, {"geometry": {"refine": False}}, "test")
    run = filmed(2.0)
    unmoved = refined(LUMEN, [run], [run.cameras(ISOCENTRE)], still).lumen
    draw = np.random.default_rng(0)
    angle = draw.uniform(0, 2 * np.pi, 400)
    wall = np.stack([2 * np.cos(angle), 2 * np.sin(angle), draw.uniform(1, LENGTH - 1, 400)], 1)
    for lumen in (found.lumen, unmoved):
        assert np.abs(lumen.wall(wall)).max() < 0.05 and abs(lumen.wall(wall).mean()) < 0.01
        assert lumen.tree.branches[0].radius_mm.mean() == pytest.approx(2.0, abs=0.01)


def test_a_study_without_any_vessel_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither an angiography volume nor a rotational run"):
        first_lumen(study_of(tmp_path), FAST)


def test_films_of_another_vessel_are_not_used_and_a_note_says_so(tmp_path):
    study = study_of(tmp_path, {"geometry": {"isocentre_lps_mm": ISOCENTRE.tolist()}}, (filmed(2.0, dye=0.0),))
    runs, alignment, notes = align_runs(study, LUMEN, FAST)
    assert runs == () and alignment is None
    assert "film_0.dcm" in notes[0] and "isocentre_lps_mm" in notes[-1]


def test_a_lumen_that_is_given_is_taken_and_not_moved(tmp_path):
    truth = bent_tube(radius_mm=1.5)
    tube = pv.Spline(truth.tree.branches[0].points, 300).tube(radius=1.5, n_sides=60, capping=False)
    tube.triangulate().save(tmp_path / "lumen.stl")
    study = study_of(tmp_path, {"geometry": {"lumen_file": "lumen.stl"}})
    found = reconstruct_geometry(study, FAST)
    assert found.runs == () and found.lumen.tree.branches[0].radius_mm.mean() == pytest.approx(1.5, rel=0.03)


def test_a_checkpoint_gives_the_same_geometry(tmp_path):
    runs = (filmed(2.0), filmed(2.0, 70.0, seed=1))
    words = {"isocentre_lps_mm": ISOCENTRE.tolist(), "runs": {"film_1.dcm": {"match": 0.9}}}
    start = Checkpoint("f", LUMEN, CLOUD, words, ("a warning",))
    found = Geometry.of_checkpoint(study_of(tmp_path, runs=runs), start, FAST)
    assert found.runs == (runs[1],) and found.lumen is LUMEN and found.warnings == ("a warning",)
    assert np.allclose(found.cameras[0].source, runs[1].cameras(ISOCENTRE).source)

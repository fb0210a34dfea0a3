"""The scorer against one written by others, and against errors that are known."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvista as pv
from score import load_truth, score, score_folder


def perturbed(case: Path, out: Path) -> None:
    """The truth with a velocity, a pressure and a wall that are wrong by a good deal."""
    mesh = pv.read(case / "truth" / "truth.vtu")
    x = mesh.points.astype(float)
    wave = np.stack([np.sin(x[:, 1]), np.cos(x[:, 2] / 2), np.sin(x[:, 0] / 3)], -1)
    speed = np.linalg.norm(mesh["velocity"], axis=1, keepdims=True)
    mesh["velocity"] = (1.12 * mesh["velocity"] + 0.15 * speed * wave).astype(np.float32)
    mesh["pressure"] = (1.3 * mesh["pressure"] + 2 * np.sin(x[:, 0])).astype(np.float32)
    mesh.save(out / "field.vtu")
    wall = pv.read(case / "truth" / "wall.vtp").extract_surface(algorithm="dataset_surface").triangulate()
    wall = wall.compute_normals(auto_orient_normals=True, cell_normals=False, split_vertices=False)
    swell = 0.15 + 0.05 * np.sin(wall.points[:, :1] / 2)
    wall.points = wall.points + swell * wall["Normals"]
    wall.save(out / "surface.vtp")


@pytest.fixture(scope="module")
def wrong(bend_case, tmp_path_factory):
    out = tmp_path_factory.mktemp("wrong")
    perturbed(bend_case, out)
    return out


def test_the_scorer_agrees_with_the_public_one(bend_case, data_folder, wrong):
    evaluate = data_folder / "tools" / "evaluate.py"
    if not evaluate.exists():
        pytest.skip("needs tools/evaluate.py below VESSELFLOWGS_DATA")
    done = subprocess.run(
        [sys.executable, evaluate, bend_case, wrong], capture_output=True, text=True, check=True, cwd=wrong
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = score_folder(load_truth(bend_case / "truth"), wrong)
    assert ours.velocity == pytest.approx(theirs["vel_relL2"], rel=0.01)
    assert ours.flow == pytest.approx(theirs["flow_err_mean_pct"] / 100, rel=0.01)
    assert ours.pressure_drop == pytest.approx(theirs["pressure_drop_err_mean_abs_pct"] / 100, rel=0.01)
    assert ours.dice == pytest.approx(theirs["surface"]["dice"], rel=0.01)
    assert ours.surface_mm == pytest.approx(theirs["surface"]["assd_mm"], rel=0.01)


def test_a_field_that_is_wrong_by_a_factor_is_wrong_by_that_much(bend_case):
    truth = load_truth(bend_case / "truth")

    def parabola(points):
        station = truth.stations[0]
        offset = points - station.centre
        along = offset @ station.normal
        across = np.linalg.norm(offset - along[:, None] * station.normal, axis=1)
        inside = across < station.radius_mm
        speed = 2 * station.flow_ml_s / (np.pi * station.radius_mm**2) * (1 - (across / station.radius_mm) ** 2)
        velocity = np.where(inside[:, None], speed[:, None] * station.normal, 0)
        return 1.2 * velocity, station.pressure_pa - along, inside

    first = replace(truth, stations=truth.stations[:1], drops=())
    found = score(first, parabola, None)
    assert found.flow == pytest.approx(0.2, abs=0.005)
    assert found.pressure_drop is None and found.dice is None and found.surface_mm is None


def test_the_true_wall_has_no_distance_from_itself(bend_case):
    truth = load_truth(bend_case / "truth")
    found = score(truth, None, truth.wall)
    assert found.dice == 1.0
    assert found.surface_mm == pytest.approx(0, abs=1e-3)
    assert found.velocity is None

"""What the benchmark of the operators stands on: its scene, its ways of measuring, and the page that it writes."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import numpy as np
import operators
import peer_densities
import peer_projectors
import pytest
import torch
from measuring import alone, cpu_ms
from operators_page import PAGE, figures, write_figures
from projections import forward, forward_backward, projector, scene, why_not
from scipy.spatial.transform import Rotation
from table import TABLES, Line
from vessel_clouds import carm_view, vessel_tree, voxels

from VesselFlowGSLib.gaussians.density import density
from VesselFlowGSLib.gaussians.project import project

TITLES = operators.titles()


def test_the_tree_is_of_well_formed_gaussians_along_connected_branches():
    cloud = vessel_tree(4000, seed=1)
    assert np.abs(cloud.mean).max() < 50
    assert cloud.sigma.min() >= 0.3 and cloud.sigma.max() <= 1.0
    np.testing.assert_allclose(np.linalg.norm(cloud.quaternion, axis=1), 1)
    # the long axis lies along the vessel: neighbours along it are nearer than across
    axis = Rotation.from_quat(cloud.quaternion[:, [1, 2, 3, 0]]).as_matrix()[:, :, 2]
    ahead, aside = (
        density(cloud, cloud.mean + 2.5 * d, backend="torch")[0].mean() for d in (axis, np.cross(axis, [0.6, 0.8, 0]))
    )  # fmt: skip
    assert ahead > 1.3 * aside
    assert np.array_equal(vessel_tree(4000, seed=1).mean, cloud.mean)


def test_every_backend_is_called_alike_and_gives_gradients():
    given = scene(40, 48, 2.4, frames=3)
    wanted = forward(projector("torch"), given, 4.0)
    assert wanted.shape == (1, 48, 48, 3) and wanted.max() > 0
    assert torch.equal(forward_backward(projector("torch"), given, 4.0), wanted)
    assert why_not("abacus") and why_not("torch") == ""


def test_a_peer_that_is_not_installed_is_said():
    assert "make peers" in peer_projectors.missing("no_such_projector")
    assert peer_projectors.missing("numpy") == ""


@pytest.mark.parametrize(
    ("module", "by_peer"),
    [
        ("diffdrr", peer_projectors.diffdrr_trilinear),
        ("diffdrr", peer_projectors.diffdrr_siddon),
        ("itk", peer_projectors.rtk_joseph),
    ],
)
def test_peers_see_what_we_see(module, by_peer):
    if why := peer_projectors.missing(module):
        pytest.skip(why)
    cloud, camera = vessel_tree(50, seed=3, box_mm=10.0), carm_view(31, 1.6)
    ours = project(cloud, camera, cut=5.0, backend="torch")[0].double().numpy()
    theirs = by_peer(voxels(cloud, 14.0, 0.5, 5.0), camera)
    assert np.sqrt(((theirs - ours) ** 2).mean()) < 0.02 * ours.max()


def test_peers_of_the_density_give_the_density():
    cloud = vessel_tree(300)
    points = cloud.mean[:200] + 0.3
    values, gradients = density(cloud, points, cut=4.0, backend="torch")
    np.testing.assert_allclose(peer_densities.by_tree(cloud, points, 4.0), values, atol=1e-5 * values.max())
    if find_spec("warp") is not None:
        found = peer_densities.by_hash_grid(cloud, points, 4.0)()
        np.testing.assert_allclose(found[0], values, atol=1e-5 * values.max())
        np.testing.assert_allclose(found[1], gradients, atol=1e-5 * np.abs(gradients).max())


def test_works_that_are_timed_take_turns():
    done = []
    first, second = cpu_ms(lambda: done.append(1), lambda: done.append(2), rounds=3)
    assert done == [1, 2] * 4 and first >= 0 and second >= 0


def test_memory_is_seen_in_a_process_of_its_own():
    pixels, held = 256, 256 * 256 * 4 / 1e6
    assert alone("memory", "torch", 2000, pixels)["mb"] >= held


def test_figures_that_fall_short_or_were_not_measured_say_so(tmp_path):
    lines = [
        Line("fast", "ms", 2.0, 1.0, 30.0, beside="another"),
        Line("slow", "×", 10.0, 3.0, more_is_better=True),
        Line("on a GPU", "ms", 2.0, None, unmeasured="no GPU"),
    ]
    table = {"rows": {"a": {"machine": "this one", "lines": [vars(line) for line in lines]}}}
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    for _ in range(2):  # written twice, it is the same
        write_figures(table, {"a": "First", "b": "Second"}, page)
    text = page.read_text(encoding="utf-8")
    assert "| fast | ≤ 2 | 1 ms | another 30 ms |" in text
    assert "| slow | ≥ 10 | 3 × (falls short) | |" in text.replace("|  |", "| |")
    assert "| on a GPU | ≤ 2 | not measured: no GPU |" in text
    assert re.search(r"\*\*Second\*\*.*\n\| \| \| not measured \| \|", text)
    assert text.count("First") == 1 and "this one" in text and "not run" in text


def test_the_page_holds_the_figures_of_the_table():
    table = json.loads((TABLES / "operators.json").read_text())
    assert figures(table, TITLES) in PAGE.read_text(encoding="utf-8")
    assert set(table["rows"]) == set(TITLES)

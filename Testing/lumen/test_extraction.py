from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import pyvista as pv
import SimpleITK
from analytic_volumes import line, tube, union, volume_of
from scipy.spatial import cKDTree

from VesselFlowGSLib.acquisition.study import Volume
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.extraction import lumen_from_occupancy, with_inlet
from VesselFlowGSLib.lumen.segment import vessel_occupancy
from VesselFlowGSLib.lumen.wall import Lumen

LOW, HIGH = (-5.5, -5.0, -9.0), (5.5, 5.0, 9.0)


def lumen_of(volume: Volume, inlet=None, outlets=()) -> Lumen:
    seeds = ([] if inlet is None else [inlet]) + list(outlets)
    return lumen_from_occupancy(vessel_occupancy(volume, seeds_lps_mm=seeds), inlet=inlet, outlets=outlets)


@lru_cache(maxsize=4)
def straight(radius: float, noise: float = 0.05) -> Lumen:
    curve = line((0.3, 0.2, 0.933))
    return lumen_of(volume_of(tube(curve, np.full(len(curve), radius)), LOW, HIGH, noise=noise))


@pytest.mark.parametrize("radius", [0.75, 1.2, 2.2])
def test_straight_tube_keeps_its_radius_axis_and_volume(radius: float) -> None:
    lumen = straight(radius)
    (branch,) = lumen.tree.branches
    axis = np.array([0.3, 0.2, 0.933]) / np.linalg.norm([0.3, 0.2, 0.933])
    away = np.linalg.norm(branch.points - (branch.points @ axis)[:, None] * axis, axis=1)
    assert away.mean() < 0.03
    assert abs(branch.radius_mm.mean() / radius - 1) < 0.025
    rng = np.random.default_rng(0)
    s = branch.points @ axis
    x = rng.uniform([-2 * radius, -2 * radius, s.min() + 1], [2 * radius, 2 * radius, s.max() - 1], (40_000, 3))
    across = np.linalg.svd(axis[None])[2][1:]
    x = x[:, :2] @ across + x[:, 2:] * axis
    true = np.linalg.norm(x - (x @ axis)[:, None] * axis, axis=1) < radius
    assert lumen.inside(x).sum() / true.sum() == pytest.approx(1, abs=0.045)


def test_wall_is_a_distance() -> None:
    lumen = straight(1.2)
    (branch,) = lumen.tree.branches
    across = np.cross(branch.tangent, [1.0, 0, 0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    middle = slice(4, -4)
    for r in (0.3, 0.7, 1.1):
        x = (branch.points + r * across)[middle]
        assert np.abs(lumen.wall(x) - (1.2 - r)).max() < 0.1
        inwards = -(lumen.wall.gradient(x) * across[middle]).sum(1)
        assert inwards.min() > 0.9


def test_wall_runs_on_smoothly_past_an_opening() -> None:
    lumen = straight(1.2)
    for o in lumen.openings:
        t = np.linspace(-1.5, 1.3, 29)
        across = np.cross(o.normal, [1.0, 0.2, 0])
        across /= np.linalg.norm(across)
        d = lumen.wall(o.centre + t[:, None] * o.normal + 0.7 * across)
        assert np.abs(d - 0.5).max() < 0.12
        assert np.abs(np.diff(d)).max() < 0.03


def test_ends_without_clicks_have_their_whole_disc_in_the_data() -> None:
    lumen = straight(2.2)
    assert [o.name for o in lumen.openings] == ["inlet", "outlet 1"]
    for o in lumen.openings:
        assert abs(o.radius_mm / 2.2 - 1) < 0.03
        assert abs(o.normal @ np.array([0.3, 0.2, 0.933])) > 0.995
        rise = 2.2 * np.sqrt(1 - o.normal[2] ** 2)
        assert abs(o.centre[2]) + rise < 9.2
        assert abs(o.centre[2]) > 9 - rise - 1.5


def test_bend_is_not_cut_short() -> None:
    angle = np.linspace(-1.9, 1.9, 400)
    curve = np.stack([7 * np.cos(angle) - 3, 0 * angle, 7 * np.sin(angle)], -1)
    lumen = lumen_of(volume_of(tube(curve, np.full(len(angle), 1.4)), (-6, -3, -10), (6.5, 3, 10)))
    (branch,) = lumen.tree.branches
    bend = np.linalg.norm(branch.points - np.array([-3.0, 0, 0]), axis=1)
    assert bend[3:-3].mean() == pytest.approx(7.0, abs=0.04)
    assert abs(branch.radius_mm[3:-3].mean() / 1.4 - 1) < 0.025


def test_narrowing_by_half_is_found() -> None:
    curve = line((0, 0, 1))
    z = curve[:, 2]
    radius = 1.6 * (1 - 0.25 * (1 + np.cos(np.pi * np.clip(z / 3.2, -1, 1))))
    lumen = lumen_of(volume_of(tube(curve, radius), LOW, HIGH))
    (branch,) = lumen.tree.branches
    true = np.interp(branch.points[:, 2], z, radius)
    assert np.abs(branch.radius_mm / true - 1).mean() < 0.025
    assert branch.radius_mm.min() == pytest.approx(0.8, rel=0.08)


STEM, LEFT, RIGHT = np.array([0, 0, -1.0]), np.array([0.55, 0, 0.835]), np.array([-0.6, 0.1, 0.79])
RADII = {"stem": 1.8, "left": 1.4, "right": 1.2}


@lru_cache(maxsize=1)
def fork() -> Volume:
    s = np.arange(0, 20, 0.08)[:, None]
    parts = [tube(s * d, np.full(len(s), r)) for d, r in zip((STEM, LEFT, RIGHT), RADII.values(), strict=True)]
    return volume_of(union(*parts), (-8, -5, -9), (8, 5, 9))


@lru_cache(maxsize=1)
def forked() -> Lumen:
    return lumen_of(fork())


def test_fork_has_three_branches_from_the_widest_end() -> None:
    lumen = forked()
    assert [b.parent for b in lumen.tree.branches] == [-1, 0, 0]
    assert lumen.inlet.centre[2] < -6
    assert len(lumen.outlets) == 2
    for index, b in enumerate(lumen.tree.branches):
        true = RADII["stem"] if index == 0 else RADII["left"] if b.points[-1, 0] > 0 else RADII["right"]
        away = np.linalg.norm(b.points, axis=1) > 4
        assert abs(np.median(b.radius_mm[away]) / true - 1) < 0.025
        assert np.allclose(b.points[0], lumen.tree.branches[b.parent].points[-1]) or b.parent < 0
    for o in lumen.outlets:
        assert o.normal[2] > 0.6
        assert np.allclose(o.centre, lumen.tree.branches[o.branch].points[-1])


def test_clicks_cut_the_vessel_and_order_the_outlets() -> None:
    clicks = [tuple(7 * RIGHT + 0.3), tuple(6 * LEFT)]
    lumen = lumen_of(fork(), inlet=(0.3, 0.2, -6.0), outlets=clicks)
    assert np.linalg.norm(lumen.inlet.centre - [0, 0, -6]) < 0.4
    for o, direction, s in zip(lumen.outlets, (RIGHT, LEFT), (7, 6), strict=True):
        unit = direction / np.linalg.norm(direction)
        assert np.linalg.norm(o.centre - s * direction) < 0.6
        assert o.normal @ unit > 0.98
        beyond = o.centre + 2.5 * o.radius_mm * o.normal
        assert lumen.wall(beyond[None])[0] < 0
    on_axis = np.concatenate([b.points for b in lumen.tree.branches])
    assert lumen.wall(on_axis).min() > 0.8
    # Beyond the stub nothing is left of what the images show.
    assert lumen.wall(np.array([[0, 0, -6 - 2.4 * 1.8]]))[0] < 0


def test_branch_without_outlet_is_left_out() -> None:
    lumen = lumen_of(fork(), inlet=(0, 0, -6.0), outlets=[tuple(7 * LEFT)])
    assert len(lumen.tree.branches) == 1
    assert lumen.wall(np.array([4.5 * RIGHT, 6 * RIGHT, 8 * RIGHT])).max() < 0
    assert lumen.wall(np.array([5 * LEFT]))[0] > 1.1


def test_another_inlet_turns_the_tree_round() -> None:
    lumen = forked()
    turned = with_inlet(lumen, "outlet 2")
    assert np.allclose(turned.inlet.centre, lumen.outlets[1].centre)
    assert np.allclose(turned.tree.branches[0].points[0], turned.inlet.centre)
    assert {o.name for o in turned.outlets} == {"outlet 1", "outlet 2"}
    for o in turned.outlets:
        assert np.allclose(turned.tree.branches[o.branch].points[-1], o.centre)
        assert o.branch in turned.tree.leaves
    back = with_inlet(turned, next(o.name for o in turned.openings if np.allclose(o.centre, lumen.inlet.centre)))
    assert np.allclose(back.tree.branches[0].points, lumen.tree.branches[0].points)
    with pytest.raises(ValueError, match="no opening"):
        with_inlet(lumen, "outlet 9")


def test_bulge_belongs_to_the_lumen() -> None:
    curve = line((0, 0, 1))
    ball = np.array([2.6, 0, 0])
    distance = union(tube(curve, np.full(len(curve), 1.3)), lambda x: 2.0 - np.linalg.norm(x - ball, axis=1))
    for ends in ({}, {"inlet": (0, 0, -7.0), "outlets": [(0, 0, 7.0)]}):
        lumen = lumen_of(volume_of(distance, LOW, HIGH), **ends)
        assert len(lumen.openings) == 2
        assert lumen.wall(ball[None])[0] > 1.5
        assert lumen.wall(ball[None] + np.array([[1.8, 0, 0]]))[0] > 0


def test_confidence_falls_with_noise() -> None:
    clear, poor = straight(1.2), straight(1.2, 0.12)
    x = np.array([[0.0, 0, 0], [0.6, 0, 1]])
    assert (clear.confidence(x) <= 1).all()
    assert (poor.confidence(x) > 0).all()
    assert (poor.confidence(x) < clear.confidence(x)).all()


def test_click_beside_the_vessel_is_refused() -> None:
    curve = line((0, 0, 1))
    occupancy = vessel_occupancy(volume_of(tube(curve, np.full(len(curve), 1.2)), LOW, HIGH))
    with pytest.raises(InputError, match=r"geometry\.outlets_lps_mm\[1\].*mm away"):
        lumen_from_occupancy(occupancy, inlet=(0, 0, -5), outlets=[(6, 0, 5)])


def test_wall_of_a_simulated_scan_agrees_with_its_truth(bend_case: Path) -> None:
    image = SimpleITK.ReadImage(str(bend_case / "input" / "volume.nrrd"))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    values = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32)
    lumen = lumen_of(Volume(values, affine, "volume.nrrd"), (-25.0, 17.0, -38.0), [(16.5, 14.5, -16.5)])
    wall = pv.read(bend_case / "truth" / "wall.vtp").points
    wall = wall[~lumen.beyond_openings(wall)]
    near_cut = cKDTree(np.array([o.centre for o in lumen.openings])).query(wall)[0] < 3
    d = lumen.wall(wall[~near_cut])
    assert np.abs(d).mean() < 0.03
    assert abs(d.mean()) < 0.02

"""Vessel coordinates: exact in a straight tube, smooth and untwisted elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_lumens import bent_tube, bifurcation, narrowed_tube, straight_tube

from VesselFlowGSLib.flow.coordinates import CoordinateSettings, VesselCoordinates, centreline_samples
from VesselFlowGSLib.flow.jets import sampled_jets

AXIS = np.array([1.0, 2.0, 2.0]) / 3
TUBE = straight_tube(16.0, 2.0, tuple(AXIS), spacing_mm=0.4)
FORK = bifurcation()


def across(r: np.ndarray, angle: np.ndarray) -> np.ndarray:
    e1 = np.cross(AXIS, [1.0, 0.0, 0.0])
    e1 /= np.linalg.norm(e1)
    return r[:, None] * (np.cos(angle)[:, None] * e1 + np.sin(angle)[:, None] * np.cross(AXIS, e1))


def test_a_straight_tube_has_its_own_cylinder_coordinates():
    draw = np.random.default_rng(0)
    z, r, angle = draw.uniform(0, 16, 500), draw.uniform(0, 2, 500), draw.uniform(0, 2 * np.pi, 500)
    at = VesselCoordinates(TUBE)(z[:, None] * AXIS + across(r, angle))
    assert np.allclose(at.path, z, atol=1e-6)
    assert np.allclose(np.linalg.norm(at.offset, axis=1), r / 2, atol=1e-6)
    assert np.allclose(at.radius, 2, atol=1e-9)
    assert np.allclose(at.frame[:, 0], AXIS, atol=1e-9)
    assert np.allclose(at.frame @ at.frame.transpose(0, 2, 1), np.eye(3), atol=1e-9)
    assert np.allclose(at.membership, 1)
    assert np.allclose(at.wall, np.tanh((2 - r) / (CoordinateSettings().wall_layer_radii * 2)), atol=0.02)


def test_turning_round_the_axis_turns_the_offset_alike():
    angle = np.linspace(0, 2 * np.pi, 9)[:-1]
    offset = VesselCoordinates(TUBE)(8 * AXIS + across(np.full(8, 1.0), angle)).offset
    turned = np.unwrap(np.arctan2(offset[:, 1], offset[:, 0]))
    assert np.allclose(np.abs(np.diff(turned)), np.pi / 4, atol=1e-6)


def test_the_wall_function_vanishes_on_the_wall_only():
    draw = np.random.default_rng(1)
    x = draw.uniform(0, 16, 300)[:, None] * AXIS + across(draw.uniform(0, 3, 300), draw.uniform(0, 6.3, 300))
    depth = TUBE.wall(x)
    wall = VesselCoordinates(TUBE)(x).wall
    assert (np.sign(wall) == np.sign(depth)).all()
    assert (np.diff(wall[np.argsort(depth)]) >= -1e-9).all()


@pytest.mark.parametrize("lumen", [bent_tube(8.0, 150.0, spacing_mm=0.5), FORK], ids=["bend", "fork"])
def test_frames_never_flip(lumen):
    samples = centreline_samples(lumen.tree, CoordinateSettings())
    for branch in range(len(lumen.tree.branches)):
        own = samples.branch == branch
        for side in (samples.normal[own], samples.binormal[own]):
            assert ((side[1:] * side[:-1]).sum(1) > 0.9).all()
            assert np.allclose(np.linalg.norm(side, axis=1), 1)
        assert np.allclose((samples.normal[own] * samples.tangent[own]).sum(1), 0, atol=1e-9)
        assert (np.diff(samples.path_mm[own]) > 0).all()


def test_a_child_goes_on_with_its_parents_frame_and_path():
    samples = centreline_samples(FORK.tree, CoordinateSettings())
    parent = np.flatnonzero(samples.branch == 0)[-1]
    for child in (1, 2):
        first = np.flatnonzero(samples.branch == child)[0]
        assert samples.path_mm[first] == pytest.approx(samples.path_mm[parent])
        assert samples.normal[first] @ samples.normal[parent] > np.cos(np.radians(45))


def test_coordinates_are_smooth_through_a_bifurcation():
    """Halving the step of a difference changes second derivatives little, even between the branches."""
    coordinates = VesselCoordinates(FORK)
    draw = np.random.default_rng(2)
    x = draw.uniform([-2, -1.5, -3], [2, 1.5, 4], (400, 3))
    x = x[FORK.wall(x) > 0.1]

    def channels(p: np.ndarray) -> np.ndarray:
        at = coordinates(p)
        return np.concatenate([at.path[:, None], at.offset, at.radius[:, None], at.membership, at.frame[:, 0]], 1)

    coarse, fine = (sampled_jets(channels, x, h) for h in (0.02, 0.01))
    assert np.isfinite(fine).all() and np.abs(fine).max() < 100
    assert np.abs(fine - coarse).max() < 0.02 * np.abs(fine[4]).max()
    members = coordinates(x).membership
    assert np.allclose(members.sum(1), 1) and (members >= 0).all()


def test_memberships_belong_to_their_branches():
    members = VesselCoordinates(FORK)(
        np.array([FORK.tree.branches[b].points[i] for b, i in ((0, 10), (1, -40), (2, -40))])
    )
    assert (members.membership.argmax(1) == [0, 1, 2]).all()
    assert (members.membership.max(1) > 0.95).all()


def test_the_local_radius_follows_a_narrowing():
    lumen = narrowed_tube(lambda z: 2 - 0.6 * np.exp(-(((z - 10) / 4) ** 2)), 20.0, spacing_mm=0.4)
    narrow = [
        VesselCoordinates(lumen, CoordinateSettings(kernel_radii=k))(np.array([[0, 0, 10.0], [0, 0, 1.0]])).radius
        for k in (0.25, 1.0)
    ]
    assert narrow[0] == pytest.approx([1.4, 2.0], abs=0.03)
    # a wider kernel sees more of the vessel beside the narrowing
    assert narrow[0][0] < narrow[1][0] < 1.6


def test_averages_of_the_path_and_of_nothing():
    coordinates = VesselCoordinates(TUBE)
    x = np.linspace(1, 15, 7)[:, None] * AXIS
    found = coordinates.average(x, coordinates.samples.path_mm[:, None])
    assert np.allclose(found[:, 0], np.linspace(1, 15, 7), atol=1e-6)
    assert coordinates(np.empty((0, 3))).path.shape == (0,)

"""The 1D network: Poiseuille, momentum balance, conservation of mass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.network1d import branch_shares, murray_shares, pressure_along
from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree

FLUID = Fluid(1060.0, 0.0035)


def straight(length_mm: float, radius: np.ndarray | float, parent: int = -1, at: float = 0.0) -> Branch:
    z = np.linspace(at, at + length_mm, 400)
    return Branch(z[:, None] * np.array([0.0, 0.0, 1.0]), np.broadcast_to(radius, z.shape).astype(float), parent)


def tree_of_five(radii: list[float]) -> CentrelineTree:
    """0 parts into 1 and 2; 2 parts into 3 and 4."""
    parents = [-1, 0, 0, 2, 2]
    return CentrelineTree(tuple(straight(10, r, p) for r, p in zip(radii, parents, strict=True)))


def test_the_drop_of_a_straight_tube_is_poiseuilles():
    pressure = pressure_along(CentrelineTree((straight(30, 1.5),)), np.array([2.0]), FLUID)[0]
    drop = 8 * 0.0035 * 2e-6 * 30e-3 / (np.pi * 1.5e-3**4)
    assert pressure[0] == pytest.approx(drop) and pressure[-1] == 0
    assert np.allclose(np.diff(pressure), -drop / 399)


@given(flow=st.floats(0.1, 10), narrow=st.floats(0.5, 0.95))
def test_a_taper_costs_the_change_of_momentum_flux(flow, narrow):
    """Momentum of a parabolic profile, 4/3 rho U^2 A: dp = -4/3 rho d(U^2 A) / A, without friction."""
    radius = np.linspace(2.0, 2.0 * narrow, 400)
    tree = CentrelineTree((straight(20, radius),))
    thin = Fluid(1060.0, 1e-12)
    pressure = pressure_along(tree, np.array([flow]), thin)[0]
    area = np.pi * (radius * 1e-3) ** 2
    momentum = 4 / 3 * 1060 * (flow * 1e-6) ** 2 / area
    expected = np.sum(np.diff(momentum) / ((area[1:] + area[:-1]) / 2))
    assert pressure[0] == pytest.approx(expected, rel=1e-3)


def test_less_comes_back_where_the_vessel_widens():
    tree = CentrelineTree((straight(20, np.linspace(1.0, 2.0, 400)),))
    thin = Fluid(1060.0, 1e-12)
    lost = pressure_along(CentrelineTree((straight(20, np.linspace(2.0, 1.0, 400)),)), np.array([1.0]), thin)[0][0]
    gained = -pressure_along(tree, np.array([1.0]), thin)[0][0]
    assert 0 < gained < lost


def test_pressure_is_continuous_in_the_tree_and_zero_at_the_first_outlet():
    tree = tree_of_five([2.0, 1.4, 1.6, 1.2, 1.1])
    shares = branch_shares(tree, murray_shares(tree))
    pressure = pressure_along(tree, 3 * shares, FLUID)
    assert pressure[tree.leaves[0]][-1] == 0
    for index, branch in enumerate(tree.branches):
        if branch.parent >= 0:
            assert pressure[index][0] == pytest.approx(pressure[branch.parent][-1])


@given(st.lists(st.floats(0.3, 4), min_size=5, max_size=5))
def test_murrays_shares_go_with_the_cube_of_the_radius(radii):
    tree = tree_of_five(radii)
    shares = murray_shares(tree)
    cubes = np.array([radii[leaf] for leaf in tree.leaves]) ** 3
    assert shares.sum() == pytest.approx(1)
    assert np.allclose(shares, cubes / cubes.sum())


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda s: sum(s) > 0.1))
def test_branches_conserve_mass(shares):
    tree = tree_of_five([2.0, 1.4, 1.6, 1.2, 1.1])
    found = branch_shares(tree, np.array(shares) / sum(shares))
    assert found[0] == pytest.approx(1)
    for index in range(5):
        children = tree.children(index)
        if children:
            assert found[index] == pytest.approx(sum(found[c] for c in children))
    assert np.allclose(found[list(tree.leaves)], np.array(shares) / sum(shares))


def test_shares_must_be_one_for_each_outlet():
    with pytest.raises(ValueError):
        branch_shares(tree_of_five([1.0] * 5), [0.5, 0.5])

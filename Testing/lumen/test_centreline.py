import numpy as np
import pytest

from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree, rerooted


def straight_branch(a: list[float], b: list[float], parent: int) -> Branch:
    return Branch(np.linspace(a, b, 11), np.linspace(2, 1, 11), parent)


def tree() -> CentrelineTree:
    return CentrelineTree(
        (
            straight_branch([0, 0, 0], [0, 0, 10], -1),
            straight_branch([0, 0, 10], [5, 0, 15], 0),
            straight_branch([0, 0, 10], [-5, 0, 15], 0),
            straight_branch([5, 0, 15], [5, 5, 20], 1),
            straight_branch([5, 0, 15], [9, 0, 20], 1),
        )
    )


def test_length_and_tangent() -> None:
    branch = tree().branches[1]
    assert branch.arc_length_mm[-1] == pytest.approx(np.sqrt(50))
    assert np.allclose(branch.tangent, np.array([1, 0, 1]) / np.sqrt(2))


def test_leaves_and_children() -> None:
    assert tree().leaves == (2, 3, 4)
    assert tree().children(1) == (3, 4)


@pytest.mark.parametrize("leaf", [2, 3, 4])
def test_rerooted_tree_is_whole_and_runs_away_from_its_root(leaf: int) -> None:
    old = tree()
    new, index = rerooted(old, leaf)
    assert sorted(index.values()) == list(range(5))
    assert np.allclose(new.branches[0].points[0], old.branches[leaf].points[-1])
    for i, b in enumerate(new.branches):
        assert b.parent < i
        if b.parent >= 0:
            assert np.allclose(b.points[0], new.branches[b.parent].points[-1])
    assert sum(b.parent == -1 for b in new.branches) == 1
    assert index[0] in new.leaves
    assert sum(b.arc_length_mm[-1] for b in new.branches) == pytest.approx(
        sum(b.arc_length_mm[-1] for b in old.branches)
    )
    back, _ = rerooted(new, index[0])
    assert np.allclose(back.branches[0].points, old.branches[0].points)

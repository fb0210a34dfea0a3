"""The centreline tree of a lumen: branches, radii, openings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Branch:
    """One unbranched piece of the centreline, ordered from the inlet downstream.

    points     (n, 3) LPS mm, evenly spaced along the curve
    radius_mm  (n,) radius of the circle with the area of the cross-section
    parent     index of the branch upstream, -1 for the one that begins at the inlet
    """

    points: Array
    radius_mm: Array
    parent: int = -1

    @property
    def arc_length_mm(self) -> Array:
        """(n,) distance along the branch from its first point."""
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def tangent(self) -> Array:
        """(n, 3) unit vectors downstream."""
        t = np.gradient(self.points, axis=0)
        return np.asarray(t / np.linalg.norm(t, axis=1, keepdims=True))


@dataclass(frozen=True)
class CentrelineTree:
    """Branches in an order where every parent comes before its children; branch 0 begins at the inlet."""

    branches: tuple[Branch, ...]

    def children(self, index: int) -> tuple[int, ...]:
        return tuple(i for i, b in enumerate(self.branches) if b.parent == index)

    @property
    def leaves(self) -> tuple[int, ...]:
        """Branches that end in an outlet."""
        return tuple(i for i in range(len(self.branches)) if not self.children(i))


@dataclass(frozen=True)
class Opening:
    """A flat end of the lumen.

    name    "inlet", "outlet 1", "outlet 2", …
    centre  (3,) LPS mm, on the centreline
    normal  (3,) unit, out of the lumen
    branch  index of the branch that it closes
    """

    name: str
    centre: Array
    normal: Array
    radius_mm: float
    branch: int


def rerooted(tree: CentrelineTree, leaf: int) -> tuple[CentrelineTree, dict[int, int]]:
    """The tree seen from the end of a leaf branch, and the new index of each old branch.

    Branches between that end and the old inlet are turned round; the old inlet becomes the end of a leaf.
    """
    way = [leaf]
    while tree.branches[way[-1]].parent >= 0:
        way.append(tree.branches[way[-1]].parent)
    up = {child: parent for child, parent in zip(way[1:], way[:-1], strict=True)}
    parent = {}
    for i, b in enumerate(tree.branches):
        if i in way:
            parent[i] = up.get(i, -1)
        else:
            # A sibling on the way now hangs from the turned branch that ends where it begins.
            sibling = next((w for w in way if tree.branches[w].parent == b.parent), None)
            parent[i] = b.parent if sibling is None else sibling
    new_index = {leaf: 0}
    order = [leaf]
    for i in order:
        for child in sorted(k for k, p in parent.items() if p == i):
            new_index[child] = len(order)
            order.append(child)
    branches = []
    for i in order:
        b = tree.branches[i]
        turn = -1 if i in way else 1
        branches.append(Branch(b.points[::turn], b.radius_mm[::turn], new_index.get(parent[i], -1)))
    return CentrelineTree(tuple(branches)), new_index

"""The wall: signed distance and normal at any point, and the lumen that it bounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from VesselFlowGSLib.lumen.centreline import CentrelineTree, Opening

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WallDistance:
    """Signed distance to the wall, mm, positive in the lumen: a cubic B-spline on a regular grid.

    values      (I, J, K) mm at the grid points
    origin      (3,) LPS mm of the point (0, 0, 0); the grid's axes are those of LPS
    spacing_mm  distance of neighbouring grid points

    Beyond the grid the value at its border is continued.
    """

    values: Array
    origin: Array
    spacing_mm: float

    @cached_property
    def _coefficients(self) -> Array:
        return np.asarray(ndimage.spline_filter(self.values, order=3, mode="nearest"))

    def __call__(self, points: ArrayLike) -> Array:
        """(M, 3) LPS mm to (M,) mm."""
        index = (np.asarray(points, float) - self.origin) / self.spacing_mm
        return np.asarray(
            ndimage.map_coordinates(self._coefficients, index.T, order=3, mode="nearest", prefilter=False)
        )

    def gradient(self, points: ArrayLike) -> Array:
        """(M, 3) LPS mm to (M, 3): points away from the wall, inwards; of length one where the distance is smooth."""
        x = np.asarray(points, float)
        step = 1e-3 * self.spacing_mm
        return np.stack([(self(x + step * e) - self(x - step * e)) / (2 * step) for e in np.eye(3)], -1)


@dataclass(frozen=True)
class Lumen:
    """The inside of the vessel: bounded by the wall, and cut flat at its openings.

    openings    the inlet first, then the outlets in the order of study.toml or of the tree's leaves
    trust       (n, 3) LPS mm and (n,) in [0, 1]: how sure the wall is near these points; none: fully
    The wall runs on a little past the openings, so that distance and normal are smooth there.
    """

    wall: WallDistance
    tree: CentrelineTree
    openings: tuple[Opening, ...]
    trust: tuple[Array, Array] | None = None

    @property
    def inlet(self) -> Opening:
        return self.openings[0]

    @property
    def outlets(self) -> tuple[Opening, ...]:
        return self.openings[1:]

    def beyond_openings(self, points: ArrayLike) -> NDArray[np.bool_]:
        """(M, 3) LPS mm to (M,): past the plane of an opening, in the tube that leads away from it."""
        x = np.asarray(points, float)
        beyond = np.zeros(len(x), bool)
        for opening in self.openings:
            offset = x - opening.centre
            along = offset @ opening.normal
            across = np.linalg.norm(offset - along[:, None] * opening.normal, axis=1)
            beyond |= (along > 0) & (across < 2.5 * opening.radius_mm)
        return beyond

    def inside(self, points: ArrayLike) -> NDArray[np.bool_]:
        """(M, 3) LPS mm to (M,): in the lumen, between its openings."""
        return (self.wall(points) > 0) & ~self.beyond_openings(points)

    def confidence(self, points: ArrayLike) -> Array:
        """(M, 3) LPS mm to (M,) in [0, 1]: how sharply the images show the wall there, against their noise."""
        x = np.asarray(points, float)
        if self.trust is None:
            return np.ones(len(x))
        at, value = self.trust
        return np.asarray(np.clip(value[cKDTree(at).query(x)[1]], 0.0, 1.0))

"""The wall follows the Gaussians: what the images changed in the cloud, as a shift of the wall."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import measure

from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.density import density
from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance

Array = NDArray[np.float64]

# This library brings no types.
surface_of: Any = measure.marching_cubes


@dataclass(frozen=True)
class FollowSettings:
    """patch_radii: standard deviation of the averaging along the wall, in radii; largest_radii: bound of a shift;
    fairing_radii: roughness of the wall distance below this length, in the smallest radii, is noise."""

    patch_radii: float = 0.7
    largest_radii: float = 0.5
    fairing_radii: float = 0.3
    patch_points: int = 200
    reach_radii: float = 2.0


@dataclass(frozen=True)
class WallShift:
    """shift_mm at (n, 3) LPS points of the old wall, outwards positive."""

    points: Array
    shift_mm: Array


def wall_shift(lumen: Lumen, before: GaussianCloud, after: GaussianCloud, settings: FollowSettings) -> WallShift:
    """How far the level surface of the density has moved at the wall, averaged over patches of the wall.

    To first order the density's change over its slope; before and after share means and shapes.
    """
    wall = lumen.wall
    vertices = surface_of(wall.values, 0.0)[0] * wall.spacing_mm + wall.origin
    vertices = vertices[~lumen.beyond_openings(vertices)]
    vertices = vertices[:: max(1, len(vertices) // 20000)]
    scale = float(np.max(after.attenuation) / np.max(before.attenuation))
    old, slope = density(before, vertices)
    new, _ = density(after, vertices)
    steep = np.linalg.norm(slope, axis=1)
    usable = steep > 0.3 * np.median(steep)
    vertices = vertices[usable]
    raw = (new[usable] / scale - old[usable]) / steep[usable]
    curve = np.concatenate([b.points for b in lumen.tree.branches])
    radius = np.concatenate([b.radius_mm for b in lumen.tree.branches])
    local = radius[cKDTree(curve).query(vertices)[1]]
    distance, neighbour = cKDTree(vertices).query(vertices, k=min(settings.patch_points, len(vertices)))
    weight = np.exp(-0.5 * (distance / (settings.patch_radii * local)[:, None]) ** 2)
    raw = np.clip(raw, -settings.largest_radii * local, settings.largest_radii * local)
    return WallShift(vertices, (weight * raw[neighbour]).sum(1) / weight.sum(1))


def followed(lumen: Lumen, shift: WallShift, settings: FollowSettings) -> Lumen:
    """The lumen with its wall moved, and the radii of its centreline with it."""
    wall = lumen.wall
    tree = cKDTree(shift.points)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in wall.values.shape], indexing="ij"), -1).reshape(-1, 3)
    x = wall.origin + grid * wall.spacing_mm
    widest = max(float(b.radius_mm.max()) for b in lumen.tree.branches)
    near = np.abs(wall.values.reshape(-1)) < settings.reach_radii * widest
    values = wall.values.reshape(-1).copy()
    values[near] += _spread(tree, shift.shift_mm, x[near])
    branches = tuple(
        Branch(b.points, b.radius_mm + _spread(tree, shift.shift_mm, b.points, 60), b.parent)
        for b in lumen.tree.branches
    )
    openings = tuple(
        replace(o, radius_mm=float(o.radius_mm + _spread(tree, shift.shift_mm, o.centre[None], 60)[0]))
        for o in lumen.openings
    )
    moved = WallDistance(values.reshape(wall.values.shape), wall.origin, wall.spacing_mm)
    return replace(lumen, wall=moved, tree=CentrelineTree(branches), openings=openings)


def faired(lumen: Lumen, settings: FollowSettings) -> Lumen:
    """The lumen with a smooth wall distance, whose second derivatives a flow can be solved on.

    A Gaussian filter would move the wall inwards by half its variance over the radius; applied to what it removed
    as well, it leaves the wall where it is to second order.
    """
    radii = np.concatenate([b.radius_mm for b in lumen.tree.branches])
    width = settings.fairing_radii * float(np.quantile(radii, 0.05)) / lumen.wall.spacing_mm
    once = ndimage.gaussian_filter(lumen.wall.values, width, mode="nearest")
    removed = ndimage.gaussian_filter(lumen.wall.values - once, width, mode="nearest")
    return replace(lumen, wall=replace(lumen.wall, values=once + removed))


def _spread(tree: cKDTree, shift: Array, points: Array, count: int = 8) -> Array:
    distance, index = tree.query(points, k=min(count, len(shift)))
    weight = 1 / (distance + 0.1) ** 2
    return np.asarray((weight * shift[index]).sum(1) / weight.sum(1))

"""Lumens whose wall is known in closed form, for tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree, Opening
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance


def lumen_along(
    curve: np.ndarray, radius: np.ndarray, spacing_mm: float = 0.25, margin_mm: float = 2.0, cut_mm: float = 0.0
) -> Lumen:
    """A tube around a finely sampled curve (n, 3) with radius (n,): distance = radius of the nearest sample - range.

    The openings lie cut_mm inside the curve's ends, so that the wall runs on past them.
    """
    low = curve.min(0) - radius.max() - margin_mm
    high = curve.max(0) + radius.max() + margin_mm
    shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
    axes = [low[k] + spacing_mm * np.arange(shape[k]) for k in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    reach, nearest = cKDTree(curve).query(grid)
    wall = WallDistance((radius[nearest] - reach).reshape(tuple(shape)), low, spacing_mm)
    branch = Branch(curve, radius)
    along = branch.arc_length_mm
    keep = (along >= cut_mm - 1e-6) & (along <= along[-1] - cut_mm + 1e-6)
    branch = Branch(curve[keep], radius[keep])
    tangent = branch.tangent
    openings = (
        Opening("inlet", branch.points[0], -tangent[0], float(branch.radius_mm[0]), 0),
        Opening("outlet 1", branch.points[-1], tangent[-1], float(branch.radius_mm[-1]), 0),
    )
    return Lumen(wall, CentrelineTree((branch,)), openings)


def straight_tube(
    length_mm: float = 20.0,
    radius_mm: float = 2.0,
    direction: tuple[float, float, float] = (0.0, 0.0, 1.0),
    **grid: float,
) -> Lumen:
    """A straight tube that begins at the origin."""
    d = np.asarray(direction, float) / np.linalg.norm(direction)
    extra = 3.0
    s = np.arange(-extra, length_mm + extra + 1e-9, 0.05)
    return lumen_along(s[:, None] * d, np.full(len(s), radius_mm), cut_mm=extra, **grid)


def narrowed_tube(profile: Callable[[np.ndarray], np.ndarray], length_mm: float, **grid: float) -> Lumen:
    """A tube along z with radius profile(z) mm."""
    extra = 3.0
    s = np.arange(-extra, length_mm + extra + 1e-9, 0.05)
    return lumen_along(s[:, None] * np.array([0.0, 0.0, 1.0]), profile(s), cut_mm=extra, **grid)


def bent_tube(
    bend_radius_mm: float = 15.0,
    angle_deg: float = 75.0,
    radius_mm: float = 2.0,
    straight_mm: float = 10.0,
    **grid: float,
) -> Lumen:
    """Straight, circular bend, straight, in the x-z plane."""
    extra, step = 3.0, 0.05
    arc = np.radians(angle_deg) * bend_radius_mm
    total = 2 * straight_mm + arc
    s = np.arange(-extra, total + extra + 1e-9, step)
    angle = np.clip((s - straight_mm) / bend_radius_mm, 0, np.radians(angle_deg))
    heading = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1)
    curve = np.concatenate([np.zeros((1, 3)), np.cumsum((heading[1:] + heading[:-1]) / 2 * step, axis=0)])
    return lumen_along(curve, np.full(len(s), radius_mm), cut_mm=extra, **grid)


def bifurcation(
    parent_mm: float = 8.0,
    child_mm: float = 9.0,
    radii_mm: tuple[float, float, float] = (2.0, 1.7, 1.4),
    angles_deg: tuple[float, float] = (35.0, -40.0),
    spacing_mm: float = 0.4,
) -> Lumen:
    """Straight tubes that meet at the origin, in the x-z plane: a parent that comes along z, and two children."""
    extra, step = 3.0, 0.05
    ways = [np.array([0.0, 0.0, 1.0])] + [np.array([np.sin(a), 0.0, np.cos(a)]) for a in np.radians(angles_deg)]
    spans = [(-parent_mm - extra, 0.0)] + [(0.0, child_mm + extra)] * 2
    curves = [np.arange(a, b + 1e-9, step)[:, None] * d for (a, b), d in zip(spans, ways, strict=True)]
    everywhere = np.concatenate(curves)
    low, high = everywhere.min(0) - radii_mm[0] - 2.0, everywhere.max(0) + radii_mm[0] + 2.0
    shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
    axes = [low[k] + spacing_mm * np.arange(shape[k]) for k in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    depth = np.max([r - cKDTree(c).query(grid)[0] for c, r in zip(curves, radii_mm, strict=True)], axis=0)
    parent = Branch(
        np.arange(-parent_mm, 1e-9, step)[:, None] * ways[0], np.full(round(parent_mm / step) + 1, radii_mm[0])
    )
    children = [
        Branch(np.arange(0, child_mm + 1e-9, step)[:, None] * d, np.full(round(child_mm / step) + 1, r), 0)
        for d, r in zip(ways[1:], radii_mm[1:], strict=True)
    ]
    openings = (
        Opening("inlet", parent.points[0], -ways[0], radii_mm[0], 0),
        Opening("outlet 1", children[0].points[-1], ways[1], radii_mm[1], 1),
        Opening("outlet 2", children[1].points[-1], ways[2], radii_mm[2], 2),
    )
    wall = WallDistance(depth.reshape(tuple(shape)), low, spacing_mm)
    return Lumen(wall, CentrelineTree((parent, *children)), openings)


def elliptic_tube(a_mm: float = 2.5, b_mm: float = 1.5, length_mm: float = 15.0, spacing_mm: float = 0.25) -> Lumen:
    """A tube along z whose cross-section is an ellipse; its wall function vanishes there, but is no true distance."""
    low = np.array([-a_mm - 2, -b_mm - 2, -3.0])
    high = np.array([a_mm + 2, b_mm + 2, length_mm + 3])
    shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
    x, y, _ = np.meshgrid(*[low[k] + spacing_mm * np.arange(shape[k]) for k in range(3)], indexing="ij")
    wall = WallDistance(b_mm * (1 - np.sqrt((x / a_mm) ** 2 + (y / b_mm) ** 2 + 1e-3)), low, spacing_mm)
    z = np.arange(0, length_mm + 1e-9, 0.05)
    radius = float(np.sqrt(a_mm * b_mm))
    branch = Branch(z[:, None] * np.array([0.0, 0.0, 1.0]), np.full(len(z), radius))
    end = np.array([0.0, 0.0, 1.0])
    openings = (
        Opening("inlet", branch.points[0], -end, radius, 0),
        Opening("outlet 1", branch.points[-1], end, radius, 0),
    )
    return Lumen(wall, CentrelineTree((branch,)), openings)

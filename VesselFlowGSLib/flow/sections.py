"""Cross-sections of the lumen with quadrature points: for fluxes, the inlet profile and the outlet conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """A plane cut across one branch.

    points    (n, 3) LPS mm, quadrature points
    weights   (n,) mm^2, sum to the area
    fraction  (n,) distance from the centre as part of the distance to the wall in that direction, 0..1
    normal    (3,) unit, downstream
    """

    points: Array
    weights: Array
    fraction: Array
    centre: Array
    normal: Array
    branch: int
    path_mm: float

    @property
    def area_mm2(self) -> float:
        return float(self.weights.sum())

    def developed_profile(self) -> Array:
        """(n,) velocity along the normal of a developed laminar profile with mean one.

        Parabolic along every ray from the centre to the wall: exact in circles and ellipses.
        """
        shape = 2 * (1 - self.fraction**2)
        return np.asarray(shape * self.weights.sum() / (shape * self.weights).sum())


@dataclass(frozen=True)
class SectionSettings:
    """Quadrature: angles times Gauss-Legendre radii. reach_radii: how far a ray looks for the wall."""

    angles: int = 16
    radii: int = 6
    reach_radii: float = 2.5
    spacing_radii: float = 1.0
    junction_radii: float = 1.3


def cross_section(
    lumen: Lumen,
    centre: Array,
    normal: Array,
    radius_mm: float,
    settings: SectionSettings,
    branch: int = 0,
    path_mm: float = 0.0,
) -> Section | None:
    """The piece of the plane around centre that lies in the lumen; None where the plane does not meet a wall.

    centre (3,) LPS mm, normal (3,) unit, radius_mm the expected radius.
    """
    axis = np.eye(3)[np.argmin(np.abs(normal))]
    e1 = np.cross(normal, axis)
    e1 /= np.linalg.norm(e1)
    e2 = np.cross(normal, e1)
    angle = 2 * np.pi * np.arange(settings.angles) / settings.angles
    rays = np.cos(angle)[:, None] * e1 + np.sin(angle)[:, None] * e2
    reach = np.linspace(0, settings.reach_radii * radius_mm, 51)
    depth = lumen.wall((centre + reach[:, None, None] * rays[None]).reshape(-1, 3)).reshape(len(reach), -1)
    outside = depth <= 0
    if outside[0].any() or not outside.any(0).all():
        return None
    high = reach[outside.argmax(0)]
    low = high - reach[1]
    for _ in range(20):
        middle = (low + high) / 2
        inner = lumen.wall(centre + middle[:, None] * rays) > 0
        low, high = np.where(inner, middle, low), np.where(inner, high, middle)
    edge = (low + high) / 2
    node, weight = np.polynomial.legendre.leggauss(settings.radii)
    node, weight = (node + 1) / 2, weight / 2
    radius = node[:, None] * edge
    points = centre + radius[..., None] * rays
    weights = weight[:, None] * node[:, None] * edge**2 * (2 * np.pi / settings.angles)
    fraction = np.repeat(node, settings.angles)
    return Section(points.reshape(-1, 3), weights.reshape(-1), fraction, centre, normal, branch, path_mm)


def flux_sections(lumen: Lumen, settings: SectionSettings) -> list[Section]:
    """Sections about one radius apart along every branch, the openings' among them, clear of bifurcations."""
    found: list[Section] = []
    ends: dict[int, float] = {-1: 0.0}
    tree = lumen.tree
    for index, branch in enumerate(tree.branches):
        along, tangent = branch.arc_length_mm, branch.tangent
        start = ends[branch.parent]
        ends[index] = start + along[-1]
        first = 0.0
        if branch.parent >= 0:
            first = settings.junction_radii * max(branch.radius_mm[0], tree.branches[branch.parent].radius_mm[-1])
        last = along[-1] - (settings.junction_radii * branch.radius_mm[-1] if tree.children(index) else 0.0)
        spacing = settings.spacing_radii * float(np.median(branch.radius_mm))
        if last <= first:
            continue
        for s in np.linspace(first, last, max(2, round((last - first) / spacing) + 1)):
            centre = np.array([np.interp(s, along, branch.points[:, k]) for k in range(3)])
            normal = np.array([np.interp(s, along, tangent[:, k]) for k in range(3)])
            normal /= np.linalg.norm(normal)
            radius = float(np.interp(s, along, branch.radius_mm))
            section = cross_section(lumen, centre, normal, radius, settings, index, start + s)
            if section is not None:
                found.append(section)
    return found


def opening_section(lumen: Lumen, index: int, settings: SectionSettings) -> Section | None:
    """The section at an opening, its normal turned downstream (into the lumen at the inlet, out of it elsewhere)."""
    opening = lumen.openings[index]
    normal = -opening.normal if index == 0 else opening.normal
    return cross_section(lumen, opening.centre, normal, opening.radius_mm, settings, opening.branch)

"""Vessel coordinates: smooth functions of position in which flow in a tube looks alike everywhere.

A position is described by how far along the tree it lies, by its offset from the centreline in a frame that
turns as little as possible, and by the local radius. Each is an average over nearby centreline points with
Gaussian weights, hence infinitely smooth, and defined through bifurcations as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.lumen.centreline import CentrelineTree
from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CoordinateSettings:
    """kernel_radii: reach of the averaging along the vessel, in local radii; wall_layer_radii: thickness of the
    layer in which the wall function rises, in local radii."""

    kernel_radii: float = 1.0
    samples_per_radius: float = 4.0
    wall_layer_radii: float = 0.6
    extension_radii: float = 6.0


def _transported_frames(tangents: Array, first: Array) -> Array:
    """(n, 3) normals that turn as little as possible along a curve."""
    normals = np.empty_like(tangents)
    current = first
    for i, t in enumerate(tangents):
        across = current - (current @ t) * t
        if np.linalg.norm(across) < 0.05:
            other = np.eye(3)[np.argmin(np.abs(t))]
            across = other - (other @ t) * t
        current = across / np.linalg.norm(across)
        normals[i] = current
    return normals


@dataclass(frozen=True)
class CentrelineSamples:
    """The tree as dense samples: position, tangent, two normals, radius, path length from the inlet, branch."""

    position: Array
    tangent: Array
    normal: Array
    binormal: Array
    radius_mm: Array
    path_mm: Array
    branch: NDArray[np.int64]


def _resampled(points: Array, radius: Array, spacing: float) -> tuple[Array, Array]:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    s = np.linspace(0, along[-1], max(3, round(along[-1] / spacing) + 1))
    return np.stack([np.interp(s, along, points[:, k]) for k in range(3)], -1), np.interp(s, along, radius)


def centreline_samples(tree: CentrelineTree, settings: CoordinateSettings) -> CentrelineSamples:
    """Sample the tree evenly, run straight on past its ends, and carry one frame through all branches."""
    parts: list[CentrelineSamples] = []
    end_path: dict[int, float] = {-1: 0.0}
    end_normal: dict[int, Array] = {}
    leaves = set(tree.leaves)
    for index, branch in enumerate(tree.branches):
        spacing = float(np.median(branch.radius_mm)) / settings.samples_per_radius
        points, radius = _resampled(branch.points, branch.radius_mm, spacing)
        # as it came out, so that the samples go on evenly past the ends
        spacing = float(np.linalg.norm(np.diff(points, axis=0), axis=1).mean())
        tangent = np.gradient(points, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        path = end_path[branch.parent] + np.concatenate(
            [[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        )
        end_path[index] = float(path[-1])
        if branch.parent == -1:
            reach = np.arange(1, round(settings.extension_radii * radius[0] / spacing) + 1)[::-1] * spacing
            points = np.concatenate([points[0] - reach[:, None] * tangent[0], points])
            path = np.concatenate([path[0] - reach, path])
            radius = np.concatenate([np.full(len(reach), radius[0]), radius])
            tangent = np.concatenate([np.repeat(tangent[:1], len(reach), 0), tangent])
        if index in leaves:
            reach = np.arange(1, round(settings.extension_radii * radius[-1] / spacing) + 1) * spacing
            points = np.concatenate([points, points[-1] + reach[:, None] * tangent[-1]])
            path = np.concatenate([path, path[-1] + reach])
            radius = np.concatenate([radius, np.full(len(reach), radius[-1])])
            tangent = np.concatenate([tangent, np.repeat(tangent[-1:], len(reach), 0)])
        start = end_normal.get(branch.parent, np.eye(3)[np.argmin(np.abs(tangent[0]))])
        normal = _transported_frames(tangent, start)
        end_normal[index] = normal[-1]
        parts.append(
            CentrelineSamples(
                points, tangent, normal, np.cross(tangent, normal), radius, path, np.full(len(points), index)
            )
        )
    return CentrelineSamples(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in CentrelineSamples.__dataclass_fields__)
    )


@dataclass(frozen=True)
class VesselPoint:
    """Vessel coordinates of M points, lengths in mm.

    path        (M,) along the tree from the inlet
    offset      (M, 2) from the centreline along normal and binormal, in local radii
    radius      (M,) local radius
    frame       (M, 3, 3) rows: tangent, normal, binormal (averages, so not exactly orthonormal)
    membership  (M, branches) weights that add to one
    wall        (M,) wall function: 0 on the wall, rises over a layer, 1 in the core; negative outside
    """

    path: Array
    offset: Array
    radius: Array
    frame: Array
    membership: Array
    wall: Array


@dataclass(frozen=True)
class VesselCoordinates:
    """Computes vessel coordinates of a lumen at any point."""

    lumen: Lumen
    settings: CoordinateSettings = CoordinateSettings()

    @cached_property
    def samples(self) -> CentrelineSamples:
        return centreline_samples(self.lumen.tree, self.settings)

    def __call__(self, points: Array, chunk: int = 20000) -> VesselPoint:
        """(M, 3) LPS mm to their coordinates."""
        parts = [self._at(points[i : i + chunk]) for i in range(0, max(len(points), 1), chunk)]
        return VesselPoint(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in VesselPoint.__dataclass_fields__)
        )

    def average(self, points: Array, values: Array, chunk: int = 20000) -> Array:
        """Values (samples, k) at the centreline samples, carried to (M, 3) LPS mm: (M, k)."""
        return np.concatenate(
            [self._weights(points[i : i + chunk]) @ values for i in range(0, max(len(points), 1), chunk)]
        )

    def _weights(self, x: Array) -> Array:
        c = self.samples
        squared = (x * x).sum(1)[:, None] - 2 * x @ c.position.T + (c.position * c.position).sum(1)[None]
        exponent = -0.5 * squared / (self.settings.kernel_radii * c.radius_mm) ** 2
        weight = np.exp(exponent - exponent.max(1, keepdims=True))
        return np.asarray(weight / weight.sum(1, keepdims=True))

    def _at(self, x: Array) -> VesselPoint:
        c = self.samples
        weight = self._weights(x)
        centre = weight @ c.position
        radius = weight @ c.radius_mm
        frame = np.stack([weight @ c.tangent, weight @ c.normal, weight @ c.binormal], 1)
        offset = (x - centre) / radius[:, None]
        members = np.stack([weight[:, c.branch == b].sum(1) for b in range(len(self.lumen.tree.branches))], 1)
        wall = np.tanh(self.lumen.wall(x) / (self.settings.wall_layer_radii * radius))
        return VesselPoint(
            weight @ c.path_mm,
            np.einsum("mi,mki->mk", offset, frame[:, 1:]),
            radius,
            frame,
            members,
            wall,
        )

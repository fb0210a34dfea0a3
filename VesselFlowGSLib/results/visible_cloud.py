"""The Gaussians as they would look to the eye: coloured, translucent, in the vessel's wall as in glass; no OpenGL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.results.rendering import Colour, DrawingSettings, Pixels, View
from VesselFlowGSLib.results.snapshot import CloudArrays, Surface

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VisibleCloud:
    """N Gaussians with colours (N, 3), 0..1, and the wall around them; strength (N,): how much of each is seen."""

    cloud: CloudArrays
    colour: Array
    strength: Array
    wall: Surface | None
    wall_colour: Colour

    @property
    def points(self) -> Array:
        """What a view must hold."""
        means = np.asarray(self.cloud.mean, float)
        return means if self.wall is None else np.concatenate([means, np.asarray(self.wall.points, float)])


@dataclass(frozen=True)
class CloudSettings:
    """Looks of the cloud.

    optical_depth  through the cloud on average, when the wall says how large it is seen; else opacity is that of one
    ambient        part of a Gaussian's light that stays where the nearest wall is seen along its edge
    wall_opacity   of one crossing of the wall at a right angle; wall_ambient: of the wall's own light
    eye_distance   in heights of the picture: nearly parallel rays, so that a ruler is true at any depth to 1 %
    """

    optical_depth: float = 3.0
    opacity: float = 0.3
    ambient: float = 0.7
    wall_opacity: float = 0.08
    wall_ambient: float = 0.9
    eye_distance: float = 50.0
    cut: float = 3.5


def camera_of(view: View, width: int, height: int, eye_distance: float) -> Cameras:
    """The view from an eye far in front; the plane through the view's centre is seen at its scale."""
    step = view.height_mm / height
    columns, rows = step * view.right, -step * view.up
    origin = view.centre - (width - 1) / 2 * columns - (height - 1) / 2 * rows
    eye = view.centre - eye_distance * view.height_mm * view.forward
    return Cameras(eye[None], origin[None], columns[None], rows[None], height, width)


def draw_cloud(
    scene: VisibleCloud, view: View, width: int, height: int, ground: Colour, settings: DrawingSettings,
    looks: CloudSettings = CloudSettings(),
) -> Pixels:  # fmt: skip
    """(height, width, 3) pixels."""
    # torch takes a second to import, which pictures without Gaussians need not wait for.
    from VesselFlowGSLib.gaussians.composite import Sheet, composite

    depth = scene.points @ view.forward
    near, reach = float(depth.min()), max(float(np.ptp(depth)), 1e-9)

    def faded(points: Array, colour: Array) -> Array:
        part = settings.fog * ((points @ view.forward - near) / reach)[:, None]
        return np.asarray((1 - part) * colour + part * np.asarray(ground))

    drawn = scene.cloud
    cloud = GaussianCloud(
        *(np.asarray(x, float) for x in (drawn.mean, drawn.sigma, drawn.quaternion)),
        *(np.asarray(x, float) for x in (drawn.attenuation, drawn.occupancy, drawn.arrival_s)),
    )
    colour, opacity, glass = scene.colour, looks.opacity * scene.strength / scene.strength.max(), None
    if scene.wall is not None and len(scene.wall.triangles):
        wall = np.asarray(scene.wall.points, float)
        normals, area = _normals(wall, scene.wall.triangles)
        facing = np.abs(normals[cKDTree(wall).query(cloud.mean)[1]] @ view.forward)
        colour = colour * (looks.ambient + (1 - looks.ambient) * facing)[:, None]
        opacity = _opacity(scene, area, looks)
        tint = faded(wall, np.tile(scene.wall_colour, (len(wall), 1)))
        glass = Sheet(wall, scene.wall.triangles, tint, looks.wall_opacity, looks.wall_ambient)
    seen = composite(
        cloud, faded(cloud.mean, colour), camera_of(view, width, height, looks.eye_distance),
        opacity=opacity, surface=glass, cut=looks.cut,
    )  # fmt: skip
    picture = seen[..., :3] + (1 - seen[..., 3:]) * np.asarray(ground, np.float32)
    return np.asarray((255 * picture.clip(0, 1) + 0.5).astype(np.uint8))


def _normals(points: Array, triangles: NDArray[np.integer]) -> tuple[Array, float]:
    """(n, 3) unit normals at the points of a surface, and its area in mm^2."""
    corners = points[triangles]
    twice = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(triangles.ravel(), np.repeat(x, 3), len(points)) for x in twice.T], -1)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(lengths, 1e-300), float(np.linalg.norm(twice, axis=1).sum() / 2)


def _opacity(scene: VisibleCloud, area: float, looks: CloudSettings) -> Array:
    """(N,) at the centres, so that the cloud looks alike whatever the number and the size of its Gaussians."""
    strength = scene.strength / scene.strength.max()
    # Of the area of a convex body's surface a quarter is seen, on average over all directions (Cauchy).
    covered = 2 * np.pi * np.prod(np.asarray(scene.cloud.sigma, float), axis=1) ** (2 / 3)
    depth = looks.optical_depth * area / 4 / (covered @ strength)
    return np.asarray(1 - np.exp(-depth * strength))

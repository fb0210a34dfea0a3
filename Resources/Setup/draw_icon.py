"""Draws the icon of the extension: python draw_icon.py ICON.png.

A vessel that forks, made of soft spots whose colour is their speed.
"""

from __future__ import annotations

import sys

import numpy as np
from matplotlib import colormaps
from PIL import Image

SIZE, OVERSAMPLING = 128, 4


def curve(points: list[tuple[float, float]], count: int) -> np.ndarray:
    """(count, 2) points of the Bézier curve of four control points."""
    t = np.linspace(0, 1, count)[:, None]
    a, b, c, d = (np.array(p) for p in points)
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d


def vessel(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (0 at the wall, 1 at the axis, negative outside) and speed (0..1) at every pixel."""
    branches = [
        (curve([(0.16, 1.12), (0.22, 0.82), (0.33, 0.70), (0.46, 0.55)], 60), (0.135, 0.125), (0.55, 0.62)),
        (curve([(0.46, 0.55), (0.58, 0.41), (0.57, 0.25), (0.60, -0.12)], 60), (0.110, 0.075), (0.62, 0.95)),
        (curve([(0.46, 0.55), (0.62, 0.50), (0.80, 0.52), (1.12, 0.38)], 60), (0.105, 0.060), (0.62, 0.85)),
    ]
    depth, speed = np.full(x.shape, -9.0), np.zeros(x.shape)
    for points, radii, speeds in branches:
        for (u, v), radius, top in zip(points, np.linspace(*radii, 60), np.linspace(*speeds, 60), strict=True):
            here = 1 - np.hypot(x - u, y - v) / radius
            nearer = here > depth
            depth[nearer] = here[nearer]
            speed[nearer] = (top * (1 - (1 - here) ** 2))[nearer]
    return depth, np.clip(speed, 0, 1)


def main(path: str) -> None:
    n = SIZE * OVERSAMPLING
    y, x = (np.mgrid[:n, :n] + 0.5) / n
    corner = 0.2
    reach = np.hypot(np.maximum(abs(x - 0.5) - 0.5 + corner, 0), np.maximum(abs(y - 0.5) - 0.5 + corner, 0))
    inside = np.clip((corner - reach) * n, 0, 1)
    glow = np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.18)
    picture = np.array([0.03, 0.05, 0.10]) + glow[..., None] * np.array([0.05, 0.10, 0.17])

    depth, speed = vessel(x, y)
    colour = colormaps["turbo"](0.12 + 0.78 * speed)[..., :3]
    shade = 0.45 + 0.75 * np.sqrt(np.clip(depth, 0, 1))
    halo = np.exp(-np.clip(-depth, 0, None) / 0.28)[..., None] * np.array([0.10, 0.45, 0.75]) * 0.55
    filled = np.clip(depth * 40, 0, 1)[..., None]
    picture = (1 - filled) * (picture + halo) + filled * colour * shade[..., None]

    random = np.random.default_rng(4)
    candidates = random.uniform(0, 1, (900, 2))
    spots = [c for c in candidates if depth[int(c[1] * n), int(c[0] * n)] > 0.18][:150]
    for u, v in spots:
        strength = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 0.0085**2))[..., None]
        picture = picture + 0.55 * strength * filled * (1 - picture)

    rgba = np.concatenate([np.clip(picture, 0, 1), inside[..., None]], -1)
    rgba[..., :3] *= rgba[..., 3:]
    small = rgba.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 4).mean((1, 3))
    small[..., :3] /= np.maximum(small[..., 3:], 1e-6)
    Image.fromarray((255 * small + 0.5).astype(np.uint8)).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])

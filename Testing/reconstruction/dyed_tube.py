"""Films of dye in Poiseuille flow through a straight tube, integrated along rays: nothing of the engine's projector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from analytic_lumens import straight_tube

from VesselFlowGSLib.acquisition.study import CArm, Run, RunRole

RADIUS, LENGTH = 2.0, 40.0
ATTENUATION = 0.25
AXIS = np.array([0.0, 0.0, 1.0])
ISOCENTRE = np.array([0.3, -0.2, 20.0])
LUMEN = straight_tube(LENGTH, RADIUS, spacing_mm=0.5)


def bolus(t: np.ndarray, arrival_s: float = 0.3, peak_s: float = 0.45) -> np.ndarray:
    """A gamma variate with peak one."""
    part = np.maximum(t - arrival_s, 0) / peak_s
    return part**3 * np.exp(3 * (1 - part))


def plateau(t: np.ndarray) -> np.ndarray:
    """An injection that goes on, so that the vessel fills up to near its wall."""
    return np.clip((t - 0.2) / 0.3, 0, 1)


def filmed(
    flow_ml_s: float,
    primary_deg: float = 0.0,
    noise: float = 0.01,
    frames: int = 30,
    injection: int = 0,
    downstream: bool = True,
    dye: float = 1.0,
    seed: int = 0,
    injected: Callable[[np.ndarray], np.ndarray] = bolus,
) -> Run:
    """A run at 15 frames a second. The dye enters evenly mixed at z = 0, or where flow is turned round, at the end."""
    pixels = 104
    middle = (pixels - 1) / 2
    carm = CArm(np.array([primary_deg]), np.array([0.0]), 1200.0, 750.0, (0.8, 0.8), (middle, middle))
    times = np.arange(frames) / 15
    run = Run(
        f"film_{seed}.dcm",
        RunRole.DSA,
        np.zeros((frames, pixels, pixels), np.float32),
        np.full((pixels, pixels), max(noise, 1e-3), np.float32),
        times,
        carm,
        injection=injection,
    )
    cameras = run.cameras(ISOCENTRE)
    centres = cameras.pixel_centres()[0].reshape(-1, 3)
    ray = centres - cameras.source[0]
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    # where the ray is nearest to the tube's axis, and a little to both sides
    across = ray - (ray @ AXIS)[:, None] * AXIS
    start = cameras.source[0] - (cameras.source[0] @ AXIS) * AXIS
    nearest = -(across @ start) / (across**2).sum(1)
    step = 0.1
    offsets = np.arange(-2.5 * RADIUS, 2.5 * RADIUS, step)
    speed_mm_s = 2 * flow_ml_s * 1e3 / (np.pi * RADIUS**2)
    films = np.zeros((frames, len(centres)))
    for offset in offsets:
        x = cameras.source[0] + (nearest + offset)[:, None] * ray
        r = np.linalg.norm(x[:, :2], axis=1)
        z = x[:, 2]
        inside = np.flatnonzero((r < RADIUS) & (z > -6) & (z < LENGTH + 6))
        way = z[inside] if downstream else LENGTH - z[inside]
        age = np.maximum(way, 0) / (speed_mm_s * (1 - (r[inside] / RADIUS) ** 2))
        films[:, inside] += ATTENUATION * dye * step * injected(times[:, None] - age)
    films += np.random.default_rng(seed).normal(0, noise, films.shape)
    values = films.reshape(frames, pixels, pixels).astype(np.float32)
    return Run(run.name, run.role, values, run.noise, times, carm, injection=injection)

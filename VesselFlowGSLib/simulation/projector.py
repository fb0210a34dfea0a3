"""X-ray images of the vessel and what surrounds it: rays marched through the analytic lumen, Beer-Lambert, noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.simulation.bolus import Bolus, Transit
from VesselFlowGSLib.simulation.settings import ImagingSpec, SamplingSpec
from VesselFlowGSLib.simulation.vessels import Vessel

Array = NDArray[np.float64]
_COARSE_MM = 1.0
_RAYS_AT_ONCE = 4000
FULL_SCALE = 4095
_BRIGHTEST = 3600.0


@dataclass(frozen=True)
class RayLengths:
    """How much of every pixel's ray (averaged over the pixel) lies in the lumen, mm.

    total  (rows, columns)
    bins   (rows * columns, B) the same by transit time, or None; bin b is at b * bin_s
    """

    total: Array
    bins: csr_matrix | None
    bin_s: float

    def filled(self, bolus: Bolus, time_s: float) -> Array:
        """(rows, columns) integral of concentration along the rays, mm."""
        if self.bins is None:
            raise ValueError("these ray lengths were computed without transit times")
        transit = np.arange(self.bins.shape[1]) * self.bin_s
        return np.asarray(self.bins @ bolus.at(transit, time_s)).reshape(self.total.shape)


def _candidates(vessel: Vessel, camera: Cameras) -> NDArray[np.int_]:
    """(n, 2) pixels whose ray can meet the lumen."""
    pitch = float(np.linalg.norm(camera.row_step[0]))
    marks = []
    for tube in vessel.tubes:
        s = np.arange(tube.start_mm, tube.end_mm, 0.3)
        axis = vessel.lps(tube.point(s, 0 * s, 0 * s))
        reach = float(tube.radius(s).max())
        nearest = np.min((axis - camera.source[0]) @ camera.normal[0])
        scale = float((camera.origin[0] - camera.source[0]) @ camera.normal[0]) / nearest
        marks.append((camera.pixels(axis)[0], (reach + 0.5) * scale / pitch + 2))
    rows, columns = np.meshgrid(np.arange(camera.rows), np.arange(camera.columns), indexing="ij")
    grid = np.stack([rows.ravel(), columns.ravel()], -1)
    hit = np.zeros(len(grid), bool)
    for at, reach_px in marks:
        hit |= np.isfinite(cKDTree(at).query(grid, distance_upper_bound=reach_px)[0])
    return grid[hit]


def _rays(camera: Cameras, pixels: NDArray[np.int_], supersampling: int) -> tuple[NDArray[np.int_], Array]:
    """Pixel index of each ray and its unit direction."""
    offset = (np.arange(supersampling) + 0.5) / supersampling - 0.5
    shift = np.stack(np.meshgrid(offset, offset, indexing="ij"), -1).reshape(-1, 2)
    at = (pixels[:, None] + shift).reshape(-1, 2)
    ends = camera.origin[0] + at[:, :1] * camera.row_step[0] + at[:, 1:] * camera.column_step[0]
    direction = ends - camera.source[0]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    flat = pixels[:, 0] * camera.columns + pixels[:, 1]
    return np.repeat(flat, len(shift)), direction


def _marched(
    vessel: Vessel, camera: Cameras, sampling: SamplingSpec
) -> Iterator[tuple[NDArray[np.int_], Array, Array]]:
    """Nodes inside the lumen: pixel, LPS position, length of ray that the node stands for (mm, per pixel average)."""
    low, high = vessel.bounds
    centre, reach = (low + high) / 2, float(np.linalg.norm(high - low)) / 2 + 2 * _COARSE_MM
    pixel, direction = _rays(camera, _candidates(vessel, camera), sampling.ray_supersampling)
    parts = int(np.ceil(_COARSE_MM / sampling.ray_step_mm))
    fraction = np.arange(parts + 1) / parts
    step = _COARSE_MM / parts
    cells = np.arange(int(np.ceil(2 * reach / _COARSE_MM))) * _COARSE_MM
    for i in range(0, len(pixel), _RAYS_AT_ONCE):
        d = direction[i : i + _RAYS_AT_ONCE]
        begin = (centre - camera.source[0]) @ d.T - reach
        depth = begin[:, None] + cells
        middle = camera.source[0] + (depth + _COARSE_MM / 2)[..., None] * d[:, None]
        close = vessel.near(middle.reshape(-1, 3), _COARSE_MM).reshape(depth.shape)
        ray, cell = np.nonzero(close)
        if not len(ray):
            continue
        t = depth[ray, cell][:, None] + fraction * _COARSE_MM
        x = camera.source[0] + t[..., None] * d[ray][:, None]
        wall = vessel.wall_distance(x.reshape(-1, 3)).reshape(t.shape)
        before, after = wall[:, :-1], wall[:, 1:]
        inside0, inside1 = before > 0, after > 0
        # Where the wall crosses a step, the part inside follows from the two distances.
        crossing = np.maximum(before, after) / np.maximum(np.abs(before - after), 1e-12)
        part = np.where(inside0 & inside1, 1.0, np.where(inside0 ^ inside1, np.minimum(crossing, 1.0), 0.0))
        length = np.zeros(t.shape)
        half = inside0 & inside1
        length[:, :-1] += step * part * np.where(half, 0.5, inside0)
        length[:, 1:] += step * part * np.where(half, 0.5, inside1)
        use = length > 0
        owner = np.broadcast_to(pixel[i : i + _RAYS_AT_ONCE][ray][:, None], t.shape)
        yield owner[use], x[use], length[use] / sampling.ray_supersampling**2


def ray_lengths(
    vessel: Vessel, camera: Cameras, sampling: SamplingSpec, transit: Transit | None = None, longest_s: float = 0.0
) -> RayLengths:
    """Lengths of all rays of one view (Cameras of length 1) in the lumen, by transit time up to longest_s if wanted."""
    shape = (camera.rows, camera.columns)
    total = np.zeros(shape[0] * shape[1])
    bins: csr_matrix | None = None
    count = int(np.ceil(longest_s / sampling.transit_bin_s)) + 2
    if transit is not None:
        bins = csr_matrix((len(total), count))
    for pixel, x, length in _marched(vessel, camera, sampling):
        np.add.at(total, pixel, length)
        if transit is None or bins is None:
            continue
        at = np.minimum(transit.times(x) / sampling.transit_bin_s, count - 1.001)
        first = at.astype(int)
        upper = at - first
        weight = np.concatenate([length * (1 - upper), length * upper])
        bins = bins + csr_matrix(
            (weight, (np.tile(pixel, 2), np.concatenate([first, first + 1]))), shape=(len(total), count)
        )
    return RayLengths(total.reshape(shape), bins, sampling.transit_bin_s)


@dataclass(frozen=True)
class Anatomy:
    """What lies around the vessel: soft blobs and a thin bony shell, all ellipsoids with known line integrals.

    centre (m, 3) LPS mm, semi_axes (m, 3), strength (m,) 1/mm in the middle; the last two are the shell's outside
    and inside, of even density, the others fade to their rim as 1 - rho².
    """

    centre: Array
    semi_axes: Array
    strength: Array

    def line_integrals(self, camera: Cameras) -> Array:
        """(rows, columns) attenuation along the rays of one view."""
        d = (camera.pixel_centres()[0] - camera.source[0]).reshape(-1, 3)
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        out = np.zeros(len(d))
        for i, (centre, axes, strength) in enumerate(zip(self.centre, self.semi_axes, self.strength, strict=True)):
            q, e = (camera.source[0] - centre) / axes, d / axes
            slope = np.linalg.norm(e, axis=1)
            nearest = q - ((e @ q) / slope**2)[:, None] * e
            half = np.sqrt(np.maximum(1 - np.sum(nearest**2, 1), 0))
            even = i >= len(self.centre) - 2
            out += strength * (2 * half if even else 4 / 3 * half**3) / slope
        return out.reshape(camera.rows, camera.columns)


def random_anatomy(isocentre: Array, field_mm: float, strength: float, seed: int) -> Anatomy:
    """Surroundings for a field of view of a given width; strength 1 varies the attenuation by about one."""
    rng = np.random.default_rng([seed, 1])
    blobs = 9
    centre = isocentre + rng.uniform(-0.5, 0.5, (blobs, 3)) * field_mm
    axes = rng.uniform(0.12, 0.4, (blobs, 3)) * field_mm
    amount = rng.uniform(-0.5, 1.0, blobs) * strength * 0.02
    shell = isocentre + np.array([0.32, 0.25, 0.3]) * field_mm
    outside = np.array([0.42, 0.5, 0.36]) * field_mm
    bone = 0.035 * strength
    return Anatomy(
        np.concatenate([centre, [shell, shell]]),
        np.concatenate([axes, [outside, outside - 0.035 * field_mm]]),
        np.concatenate([amount, [bone, -bone]]),
    )


@dataclass(frozen=True)
class Detector:
    """Photons to 12-bit counts, linear in exposure; one gain for a whole run."""

    photons: float
    electronic_photons: float
    focal_blur_px: float

    def expose(self, attenuation: Array, rng: np.random.Generator) -> Array:
        """Noisy photon counts (T, rows, columns) behind attenuation (T, rows, columns)."""
        expected = self.photons * np.exp(-attenuation)
        if self.focal_blur_px > 0:
            expected = gaussian_filter(expected, (0, self.focal_blur_px, self.focal_blur_px))
        seen = rng.poisson(expected).astype(float)
        return np.asarray(seen + rng.normal(0, self.electronic_photons, seen.shape))

    def digitise(self, photons: Array, brightest: float) -> NDArray[np.uint16]:
        """12-bit counts; `brightest` expected photons become 3600 of 4095."""
        return np.clip(np.rint(photons * _BRIGHTEST / brightest), 1, FULL_SCALE).astype(np.uint16)


def filmed(background: Array, contrast: Array, imaging: ImagingSpec, rng: np.random.Generator) -> NDArray[np.uint16]:
    """A run of 12-bit frames from the background (rows, columns) or (T, …) and contrast (T, …) line integrals."""
    detector = Detector(imaging.photons, imaging.electronic_photons, imaging.focal_blur_px)
    relative = background - np.median(background)
    brightest = imaging.photons * float(np.exp(-relative.min()))
    return detector.digitise(detector.expose(relative + contrast, rng), brightest)

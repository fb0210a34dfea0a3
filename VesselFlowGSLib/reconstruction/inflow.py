"""The inflow, read from the dye: which flow carries the filmed bolus through the lumen?

Every pixel sees blood of many ages. With geometry and the shape of the velocity field given, the ages along a
ray scale with 1 / flow, so a pixel's filling is the inlet's concentration blurred by a known distribution of
transit times. For any flow the inlet curve that fits best is a non-negative linear problem; the flow is then
found by a search in one variable (variable projection).

The vessel is read window by window: an unbranched vessel carries the same flow everywhere, so windows that
disagree (ends of the field, overlap, reflux) are left out, and the scatter of the others enters the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import BSpline
from scipy.optimize import nnls

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.acquisition.study import Run
from VesselFlowGSLib.flow.collocation import rotated
from VesselFlowGSLib.flow.contrast import TransitSettings, transit_times
from VesselFlowGSLib.flow.solve import NetworkField
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.gaussians.matrix import projection_matrix
from VesselFlowGSLib.lumen.centreline import CentrelineTree
from VesselFlowGSLib.lumen.fit import blurred_film
from VesselFlowGSLib.lumen.wall import Lumen

Array = NDArray[np.float64]

# standard deviation of the cloud's blur over that of its Gaussians: their lattice cells blur a little more
CLOUD_BLUR = 1.13


@dataclass(frozen=True)
class InflowSettings:
    """samples: points drawn per Gaussian; discrepancy: model error as part of the peak line integral;
    window_radii, window_step_radii: length and distance of the windows; agreement: largest deviation (natural log)
    of a window that still counts; model_sd: relative standard deviation of what the model leaves out;
    least_signal: peak contrast over noise below which a run is not read; grid, golden_steps: of the search in the
    logarithm of the flow; origin_gain: a later origin of the dye must lower the misfit by this factor;
    widest_log_sd: a window less sure of its flow tells nothing."""

    transit: TransitSettings = field(default_factory=TransitSettings)
    samples: int = 4
    discrepancy: float = 0.02
    window_radii: float = 12.0
    window_step_radii: float = 3.0
    origin_step_radii: float = 3.0
    origin_part: float = 0.5
    agreement: float = 0.25
    model_sd: float = 0.05
    smallest_ml_s: float = 0.02
    largest_ml_s: float = 200.0
    least_signal: float = 6.0
    grid: int = 28
    golden_steps: int = 11
    origin_gain: float = 0.75
    widest_log_sd: float = 1.0


@dataclass(frozen=True)
class InflowEstimate:
    """Flow in every branch, ml/s, and how it was found.

    mean_ml_s, sd_ml_s  inflow and its standard deviation
    branch_ml_s         (branches,) NaN where the dye does not tell
    arrival_s           (N,) arrival at every Gaussian on the clock of the first injection, NaN where unknown
    origin_mm           path length where the dye is taken to enter evenly mixed
    windows             (W, 4) branch, path length of the middle, flow, standard deviation of its logarithm
    curves              per injection: times (K,) s, inlet concentration (K,), 1 where blood is as dark as the cloud
    misfit              mean squared residual of the fitted pixels over their variance
    """

    mean_ml_s: float
    sd_ml_s: float
    branch_ml_s: Array
    arrival_s: Array
    origin_mm: float
    windows: Array
    curves: tuple[tuple[Array, Array], ...]
    misfit: float


class NoArrival(Exception):
    """The frames do not show the contrast arriving; its text says why."""


@dataclass(frozen=True)
class _Seen:
    """One run, reduced to pixels that see the vessel: line integrals (P, T) and their weights."""

    values: Array
    times: Array
    weight: float
    gaussians: sparse.csr_matrix
    path: Array
    branch: NDArray[np.int64]
    injection: int


def _look(
    run: Run, cameras: Cameras, cloud: GaussianCloud, path: Array, branch: NDArray[np.int64], settings: InflowSettings
) -> _Seen | None:
    """Pixels through the vessel, each with the path length it looks at; pixels that see two places are left out."""
    matrix = projection_matrix(cloud, cameras[0]).tocsr()
    matrix = matrix @ sparse.diags(cloud.density)
    thickness = np.asarray(matrix.sum(1))[:, 0]
    chosen = np.flatnonzero(thickness > 0.15 * np.quantile(thickness[thickness > 0], 0.98))
    matrix = matrix[chosen]
    thickness = thickness[chosen]
    mean_path = (matrix @ path) / thickness
    spread = np.sqrt(np.maximum((matrix @ path**2) / thickness - mean_path**2, 0))
    branches = int(branch.max()) + 1
    parts = np.stack([(matrix @ (branch == b).astype(float)) / thickness for b in range(branches)], 1)
    radius = float(np.median(np.cbrt(3 * cloud.sigma.prod(1)))) * 4
    clear = (parts.max(1) > 0.9) & (spread < max(3.0, 3 * radius))
    if clear.sum() < 30:
        return None
    chosen = chosen[clear]
    measured = np.isfinite(run.line_integrals).all(0) & (run.noise < 10 * np.median(run.noise))
    # the cloud is blurred by its Gaussians, so the frames must be too: else fast blood seems to reach the wall
    centre = cloud.mean.mean(0)
    blur_mm = CLOUD_BLUR * float(np.median(cloud.sigma.min(1)))
    covered = np.maximum(blurred_film(measured.astype(np.float32), cameras[0], blur_mm, centre), 1e-3)
    films = np.stack([blurred_film(np.where(measured, f, 0), cameras[0], blur_mm, centre) for f in run.line_integrals])
    films /= covered
    frames = films.reshape(len(films), -1)[:, chosen].T.astype(float)
    usable = measured.reshape(-1)[chosen]
    if usable.sum() < 30:
        return None
    noise = float(np.median(run.noise.reshape(-1)[chosen][usable]))
    # the mean over all pixels of the vessel, whose noise is small however dim the dye is
    course = frames[usable].mean(0)
    peak = float(np.quantile(frames[usable], 0.995))
    if np.ptp(course) < settings.least_signal * noise / np.sqrt(usable.sum()) or peak < 2 * noise:
        return None
    weight = 1 / (noise**2 + (settings.discrepancy * peak) ** 2)
    return _Seen(
        frames[usable],
        run.frame_times_s,
        weight,
        matrix[clear][usable],
        mean_path[clear][usable],
        parts.argmax(1)[clear][usable],
        run.injection,
    )


@dataclass(frozen=True)
class _Normal:
    """Normal equations of a set of pixels of one run, in ages: G = H'WH (B, B), g = H'WY (B, T), y2 = sum W Y^2."""

    squared: Array
    mixed: Array
    total: float
    times: Array
    count: int


def _normal(h: Array, seen: _Seen, rows: NDArray[np.bool_]) -> _Normal:
    own = h[rows]
    y = seen.values[rows]
    return _Normal(
        seen.weight * own.T @ own,
        seen.weight * own.T @ y,
        seen.weight * float((y * y).sum()),
        seen.times,
        int(rows.sum()) * len(seen.times),
    )


@dataclass(frozen=True)
class _InletBasis:
    """Cubic B-splines over time; the inlet curve is a non-negative combination of them."""

    knots: Array

    @staticmethod
    def over(times: Array) -> _InletBasis:
        step = float(np.median(np.diff(times)))
        count = max(8, min(60, round((times[-1] - times[0]) / step) + 4))
        inner = np.linspace(times[0] - step, times[-1] + step, count)
        gap = inner[1] - inner[0]
        return _InletBasis(
            np.concatenate([inner[0] - gap * np.arange(3, 0, -1), inner, inner[-1] + gap * np.arange(1, 4)])
        )

    def __call__(self, t: Array) -> Array:
        """(...,) s to (..., K); nothing before the first knot."""
        size = len(self.knots) - 4
        inside = np.clip(t, self.knots[3], self.knots[-4])
        values = BSpline.design_matrix(inside.ravel(), self.knots, 3).toarray().reshape(*t.shape, size)
        return np.asarray(values * (t >= self.knots[3])[..., None])


def _fit(parts: Sequence[_Normal], ages: Array, scale: float, basis: _InletBasis) -> tuple[float, Array]:
    """Best weighted sum of squares, and the inlet curve's coefficients, when all ages are multiplied by scale."""
    size = len(basis.knots) - 4
    a, b, total = np.zeros((size, size)), np.zeros(size), 0.0
    for part in parts:
        frames = len(part.times)
        design = basis(part.times[:, None] - scale * ages[None])
        # both products over all frames at once
        seen = (part.squared @ design.transpose(1, 0, 2).reshape(len(ages), -1)).reshape(len(ages), frames, size)
        a += np.tensordot(design, seen.transpose(1, 0, 2), axes=((0, 1), (0, 1)))
        b += np.tensordot(design, part.mixed.T, axes=((0, 1), (0, 1)))
        total += part.total
    level = np.trace(a) / size
    if not level > 0:
        return total, np.zeros(size)
    smooth = np.diff(np.eye(size), 2, axis=0)
    a = a + 1e-5 * level * (smooth.T @ smooth) + 1e-8 * level * np.eye(size)
    values, vectors = np.linalg.eigh((a + a.T) / 2)
    root = np.sqrt(np.maximum(values, 1e-9 * level))
    theta, _ = nnls(root[:, None] * vectors.T, (vectors.T @ b) / root, maxiter=50 * size)
    return total - 2 * float(b @ theta) + float(theta @ a @ theta), theta


@dataclass(frozen=True)
class _FlowFit:
    """Flow of a set of pixels, standard deviation of its logarithm, mean squared misfit, and the inlet's curve."""

    flow_ml_s: float
    log_sd: float
    misfit: float
    curve: tuple[Array, Array]


def _search(
    parts: Sequence[_Normal], ages: Array, reference: float, basis: _InletBasis, settings: InflowSettings
) -> _FlowFit:
    """The flow at which the pixels are explained best: a grid in its logarithm, then golden section."""
    low, high = np.log(settings.smallest_ml_s), np.log(settings.largest_ml_s)
    count = sum(p.count for p in parts)

    def misfit(log_flow: float) -> float:
        return _fit(parts, ages, reference / np.exp(log_flow), basis)[0]

    grid = np.linspace(low, high, settings.grid)
    values = np.array([misfit(q) for q in grid])
    best = int(values.argmin())
    left, right = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(settings.golden_steps):
        a, b = right - golden * (right - left), left + golden * (right - left)
        left, right = (left, b) if misfit(a) < misfit(b) else (a, right)
    centre = (left + right) / 2
    lowest = misfit(centre)
    step = 0.05
    curvature = (misfit(centre + step) + misfit(centre - step) - 2 * lowest) / step**2
    # neighbouring pixels err together, so the misfit per pixel stands for far fewer independent ones
    reduced = lowest / max(count, 1)
    independent = max(count / 200, 1) / max(count, 1)
    sd = np.sqrt(2 * max(reduced, 1e-3) / (max(curvature, 1e-12) * independent))
    at_edge = best in (0, len(grid) - 1)
    theta = _fit(parts, ages, reference / np.exp(centre), basis)[1]
    times = np.linspace(basis.knots[3], basis.knots[-4], 400)
    curve = basis(times) @ theta
    return _FlowFit(float(np.exp(centre)), np.inf if at_edge else float(sd), float(reduced), (times, curve))


@dataclass(frozen=True)
class _Reading:
    """The runs' pixels with the bins of age, ready to be fitted."""

    views: list[_Seen]
    basis: dict[int, _InletBasis]
    bins: Array
    reference_ml_s: float
    settings: InflowSettings

    @staticmethod
    def of(views: list[_Seen], reference_ml_s: float, settings: InflowSettings) -> _Reading:
        longest = 2.0 * max(float(s.times[-1] - s.times[0]) for s in views)
        # transit times scale with the flow, so bins are denser where the blood is young
        bins = np.concatenate([[0.0], np.geomspace(0.004, max(longest, 0.1), 90)])
        return _Reading(views, {s.injection: _InletBasis.over(s.times) for s in views}, bins, reference_ml_s, settings)

    def pixel_ages(self, ages: Array, inside: NDArray[np.bool_]) -> list[Array]:
        """Per run (P, B): line integral of the blood of every age; ages (samples, N) of the points in the Gaussians."""
        spread = _age_weights(ages, inside, self.bins)
        return [(s.gaussians @ spread).toarray() for s in self.views]

    def fits(self, pixel_ages: list[Array], keep: list[NDArray[np.bool_]]) -> list[_FlowFit]:
        """One fit per injection over the kept pixels of its runs; injections with too few pixels are left out."""
        found = []
        for injection, basis in self.basis.items():
            parts = [
                _normal(h, s, k)
                for h, s, k in zip(pixel_ages, self.views, keep, strict=True)
                if s.injection == injection and k.sum() >= 20
            ]
            if parts:
                found.append(_search(parts, self.bins, self.reference_ml_s, basis, self.settings))
        return found


def estimate_inflow(
    cloud: GaussianCloud,
    field_: NetworkField,
    runs: Sequence[Run],
    cameras: Sequence[Cameras],
    settings: InflowSettings,
    seed: int = 0,
) -> InflowEstimate:
    """Flow from the frames, with the velocity's shape from field_ (solved for any flow).

    cameras: one (1,) Cameras for every run. Raises NoArrival where the frames do not tell.
    """
    solver = field_.solver
    at = solver.coordinates(cloud.mean)
    seen = [_look(r, c, cloud, at.path, at.membership.argmax(1), settings) for r, c in zip(runs, cameras, strict=True)]
    views = [s for s in seen if s is not None]
    if not views:
        raise NoArrival("no run shows contrast in the vessel above its noise")
    reading = _Reading.of(views, field_.scales.flow_ml_s, settings)
    trunk = solver.lumen.tree.branches[0]
    radius, length = float(np.median(trunk.radius_mm)), float(trunk.arc_length_mm[-1])
    origins = np.arange(0.0, max(settings.origin_part * length, 1e-6), settings.origin_step_radii * radius)
    points, inside = _points_in(cloud, solver.lumen, settings.samples, 0.5 * radius, seed)
    ages = np.full((*inside.shape, len(origins)), np.inf)
    ages[inside] = transit_times(field_, points[inside], origins, settings.transit)
    chosen = _origin(reading, ages, inside, origins, radius)
    pixel_ages = reading.pixel_ages(ages[..., chosen], inside)
    windows = _windows(reading, pixel_ages, solver.lumen.tree, solver.shares, float(origins[chosen]))
    windows[windows[:, 3] > settings.widest_log_sd, 3] = np.inf
    if not np.isfinite(windows[:, 3]).any():
        raise NoArrival("the frames do not show the contrast moving along the vessel")
    flows = np.array([_agreed(windows[windows[:, 0] == b], settings)[0] for b in range(len(solver.shares))])
    return _settled(
        reading, pixel_ages, windows, flows, solver.shares, float(origins[chosen]), ages[..., chosen], inside
    )


def _points_in(
    cloud: GaussianCloud, lumen: Lumen, samples: int, widest_mm: float, seed: int
) -> tuple[Array, NDArray[np.bool_]]:
    """(samples, N, 3) points drawn from the Gaussians, and which of them lie in the lumen."""
    generator = np.random.default_rng(seed)
    local = generator.standard_normal((samples, len(cloud), 3)) * np.minimum(cloud.sigma, widest_mm)
    points = np.stack([cloud.mean + rotated(cloud.quaternion, offset) for offset in local])
    return points, lumen.wall(points.reshape(-1, 3)).reshape(samples, -1) > 0


def _origin(reading: _Reading, ages: Array, inside: NDArray[np.bool_], origins: Array, radius: float) -> int:
    """Index of the path length from which the dye travels as a mixed front.

    All candidates are judged on the same pixels, downstream of the last; a later one must be clearly better.
    """
    keep = [s.path > origins[-1] + radius for s in reading.views]
    best, lowest = 0, np.inf
    for j in range(len(origins)):
        fits = reading.fits(reading.pixel_ages(ages[..., j], inside), keep)
        misfit = float(np.mean([f.misfit for f in fits])) if fits else np.inf
        if misfit < reading.settings.origin_gain * lowest:
            best, lowest = j, misfit
    return best


def _windows(
    reading: _Reading, pixel_ages: list[Array], tree: CentrelineTree, shares: Array, origin_mm: float
) -> Array:
    """(W, 4): branch, path length of the middle, flow in the branch ml/s, standard deviation of its logarithm."""
    rows: list[tuple[float, float, float, float]] = []
    end = {-1: 0.0}
    for b, branch in enumerate(tree.branches):
        first = max(end[branch.parent], origin_mm)
        end[b] = end[branch.parent] + float(branch.arc_length_mm[-1])
        radius = float(np.median(branch.radius_mm))
        span = min(reading.settings.window_radii * radius, end[b] - first)
        step = reading.settings.window_step_radii * radius
        for middle in np.arange(first + span / 2, end[b] - span / 2 + 1e-6, step):
            keep = [(s.branch == b) & (np.abs(s.path - middle) < span / 2) for s in reading.views]
            rows += [(b, middle, f.flow_ml_s * shares[b], f.log_sd) for f in reading.fits(pixel_ages, keep)]
    return np.array(rows).reshape(-1, 4)


def _agreed(windows: Array, settings: InflowSettings) -> tuple[float, NDArray[np.bool_]]:
    """Flow that most windows of a branch agree on (NaN where none tells), and which of them do."""
    told = np.isfinite(windows[:, 3])
    if not told.any():
        return float("nan"), told
    log_flow = np.log(windows[:, 2])
    weight = np.where(told, 1 / (np.where(told, windows[:, 3], 1) ** 2 + settings.model_sd**2), 0)
    order = np.argsort(log_flow)
    middle = log_flow[order][np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)]
    near = told & (np.abs(log_flow - middle) < settings.agreement)
    return float(np.exp(np.average(log_flow[near], weights=weight[near]))), near


def _settled(
    reading: _Reading,
    pixel_ages: list[Array],
    windows: Array,
    flows: Array,
    shares: Array,
    origin_mm: float,
    ages: Array,
    inside: NDArray[np.bool_],
) -> InflowEstimate:
    """One joint fit over the windows of the trunk that agree; its interval holds their scatter too."""
    settings = reading.settings
    lead = 0 if np.isfinite(flows[0]) else int(np.nanargmax(np.where(np.isfinite(flows), shares, np.nan)))
    own = windows[windows[:, 0] == lead]
    _, near = _agreed(own, settings)
    step = float(np.diff(np.unique(own[:, 1])).min()) if len(np.unique(own[:, 1])) > 1 else np.inf
    reach = max(step, 1e-3)
    middles = own[near, 1]
    keep = [(s.branch == lead) & (np.abs(s.path[:, None] - middles[None]).min(1) <= reach) for s in reading.views]
    fits = reading.fits(pixel_ages, keep)
    if not fits:
        raise NoArrival("too few pixels see one part of the vessel alone")
    weight = np.array([1 / (min(f.log_sd, 10.0) ** 2 + settings.model_sd**2) for f in fits])
    log_flow = float(np.average([np.log(f.flow_ml_s) for f in fits], weights=weight))
    scatter = float(np.std(np.log(own[near, 2]))) if near.sum() > 1 else settings.agreement / 2
    sd = float(np.sqrt(1 / weight.sum() + scatter**2 / max(np.sqrt(near.sum()), 1)))
    inflow = float(np.exp(log_flow))
    branch = flows.copy()
    branch[lead] = inflow * shares[lead]
    curves = tuple(f.curve for f in fits)
    scale = reading.reference_ml_s / inflow
    typical = np.where(inside & np.isfinite(ages), ages, np.nan)
    some = np.asarray(np.isfinite(typical).any(axis=0))
    median = np.full(len(some), np.nan)
    median[some] = np.nanmedian(typical[:, some], axis=0)
    times, curve = curves[0]
    front = float(times[np.argmax(curve >= 0.5 * curve.max())])
    return InflowEstimate(
        inflow, inflow * sd, branch, front + scale * median, origin_mm, windows, curves, fits[0].misfit
    )


def _age_weights(ages: Array, inside: NDArray[np.bool_], bins: Array) -> sparse.csr_matrix:
    """(N, B): how a Gaussian's samples spread over the age bins (hat functions); older than the last bin is lost."""
    samples, count = ages.shape
    known = inside & np.isfinite(ages) & (ages < bins[-1])
    sample, gaussian = np.nonzero(known)
    age = ages[sample, gaussian]
    right = np.clip(np.searchsorted(bins, age), 1, len(bins) - 1)
    part = (age - bins[right - 1]) / (bins[right] - bins[right - 1])
    # samples beyond the wall say nothing of where the blood is; those inside share the Gaussian's mass
    each = 1 / np.maximum(inside.sum(0), 1)[gaussian]
    return sparse.csr_matrix(
        (np.concatenate([each * (1 - part), each * part]), (np.tile(gaussian, 2), np.concatenate([right - 1, right]))),
        shape=(count, len(bins)),
    )

"""What runs along the centreline: radius, area, pressure, flow, and how much narrower a place is than its vessel.

Needs numpy alone, since the panel plots it.

The reference that a narrowing is measured against is a stiff smooth curve through the radii that agree with it: radii
well below or above it, of a stenosis or an aneurysm, have no say (iteratively reweighted least squares of a line and
cosines, with a penalty on the second derivative as in P. Eilers, A perfect smoother, Anal. Chem. 75 (2003) 3631, and
Tukey's biweight).
So it follows a taper and runs straight across a lesion, as the interpolated reference of quantitative angiography does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Phase, Polylines, Snapshot

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceSettings:
    """How the radius of the healthy vessel is found. Lengths in mean radii of the branch, deviations in parts of it.

    stiffness         waves shorter than this are no part of the reference
    tolerance         a radius this far off has half its say left, twice as far none; noise widens it, up to the widest
    starts            parts of the radii that lie below the first guesses; the one that most radii agree with is kept
    passes            of reweighting, for each start
    most_points       a branch is looked at in no more places than this
    """

    stiffness: float = 30.0
    tolerance: float = 0.02
    widest: float = 0.08
    starts: tuple[float, ...] = (0.35, 0.6, 0.85)
    passes: int = 15
    most_points: int = 160


@dataclass(frozen=True)
class BranchCourse:
    """One branch of the centreline, from the inlet's side on; every array (n,), points (n, 3) LPS mm.

    arc_length_mm        from the branch's first point; from_inlet_mm: along the branches before it, too
    area_mm2             of the cross-section; radius_mm is that of a circle of this area
    reference_radius_mm  of the healthy vessel here
    stenosis_percent     of the diameter, against the reference; 0 where the vessel is not narrower
    pressure_pa, flow_ml_s, and pressure_low_pa, pressure_high_pa (90 %), or None where they are not known
    opens_at_start, opens_at_end  whether the branch ends there in an opening, and not in a fork
    """

    branch: int
    parent: int
    points: Array
    arc_length_mm: Array
    from_inlet_mm: Array
    radius_mm: Array
    area_mm2: Array
    reference_radius_mm: Array
    stenosis_percent: Array
    pressure_pa: Array | None
    flow_ml_s: Array | None
    pressure_low_pa: Array | None
    pressure_high_pa: Array | None
    opens_at_start: bool
    opens_at_end: bool


def course_of(
    snapshot: Snapshot, phase: Phase | None = None, settings: ReferenceSettings = ReferenceSettings()
) -> tuple[BranchCourse, ...]:
    """The branches in the order of the centreline; () where there is none. phase: of its instant, else the mean."""
    lines = snapshot.centreline
    if lines is None or len(lines.offsets) < 2 or "radius_mm" not in lines.arrays:
        return ()
    arrays: dict[str, NDArray[Any]] = {**lines.arrays, **(phase.centreline if phase is not None else {})}
    parents = parents_of(lines, snapshot.geometry)
    found: list[BranchCourse] = []
    lengths: list[float] = []
    for k, (first, last) in enumerate(zip(lines.offsets[:-1].tolist(), lines.offsets[1:].tolist(), strict=True)):
        points = np.asarray(lines.points[first:last], float)
        if len(points) < 2:
            lengths.append(lengths[parents[k]] if 0 <= parents[k] < k else 0.0)
            continue
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        radius = np.asarray(arrays["radius_mm"][first:last], float)
        before = lengths[parents[k]] if 0 <= parents[k] < k else 0.0
        lengths.append(before + float(along[-1]))
        reference = reference_radius(along, radius, settings)
        with np.errstate(invalid="ignore", divide="ignore"):
            percent = 100 * np.clip(1 - radius / reference, 0, 1)
        found.append(
            BranchCourse(
                branch=k,
                parent=parents[k],
                points=points,
                arc_length_mm=along,
                from_inlet_mm=before + along,
                radius_mm=radius,
                area_mm2=np.pi * radius**2,
                reference_radius_mm=reference,
                stenosis_percent=percent,
                pressure_pa=_part(arrays, "pressure_pa", first, last),
                flow_ml_s=_part(arrays, "flow_ml_s", first, last),
                pressure_low_pa=_part(arrays, "pressure_low_pa", first, last),
                pressure_high_pa=_part(arrays, "pressure_high_pa", first, last),
                opens_at_start=parents[k] < 0,
                opens_at_end=k not in parents,
            )
        )
    return tuple(found)


def reference_radius(along: Array, radius: Array, settings: ReferenceSettings = ReferenceSettings()) -> Array:
    """(n,) mm: the radius of the healthy vessel at along (n,) mm, from radius (n,) mm; NaN where no radius is known.

    along must not fall. A branch that is short, or whose radii agree nowhere, gets its straight line.
    """
    good = np.isfinite(radius) & (radius > 0) & np.isfinite(along)
    if good.sum() < 2 or along[good][-1] <= along[good][0]:
        return np.where(good, radius, np.nan)
    length = float(along[-1] - along[0])
    scale = float(np.median(radius[good]))
    count = int(np.clip(np.ceil(8 * length / scale) + 1, 8, settings.most_points))
    at = np.linspace(along[0], along[-1], count)
    seen = np.interp(at, along[good], radius[good]) / scale
    noise = 1.4826 * float(np.median(np.abs(np.diff(seen, 2)))) / np.sqrt(6)
    tolerance = float(np.clip(3 * noise, settings.tolerance, settings.widest))
    basis, penalty = _stiff_basis(at, length / scale, settings.stiffness)
    # All starts at once, one a row: the steps are small, and one call is quicker than several.
    guess = _quantile_lines(at, seen, np.array(settings.starts))
    weight = np.ones_like(guess)
    for turn in range(settings.passes):
        # Wide at first, so that a guess a little off still finds its radii.
        width = tolerance * (1 + 3 * max(0.0, 1 - turn / (0.6 * settings.passes)))
        weight = _biweight((seen - guess) / np.maximum(guess, 0.2), width) + 1e-9
        weighted = basis.T * weight[:, None, :]
        guess = np.linalg.solve(weighted @ basis + np.diag(penalty), (weighted @ seen)[..., None])[..., 0] @ basis.T
    agreed = np.where(guess.min(1) > 0, weight.sum(1), -np.inf)
    # Of starts that end alike the first is kept.
    chosen = int(np.argmax(agreed >= agreed.max() / 1.02))
    best = guess[chosen] if np.isfinite(agreed[chosen]) else np.full(count, np.median(seen))
    return np.asarray(np.interp(along, at, best) * scale)


def parents_of(lines: Polylines, geometry: Mapping[str, Any]) -> tuple[int, ...]:
    """The branch before each branch, -1 for the inlet's own: as said in geometry, else from the places of the ends."""
    count = len(lines.offsets) - 1
    told = geometry.get("branches")
    if isinstance(told, Sequence) and len(told) == count and all(isinstance(b, Mapping) for b in told):
        named = [b.get("parent") for b in told]
        if all(isinstance(p, int) and -1 <= p < count for p in named):
            return tuple(int(p) for p in named if p is not None)
    starts = np.asarray(lines.points, float)[np.minimum(lines.offsets[:-1], len(lines.points) - 1)]
    ends = np.asarray(lines.points, float)[np.maximum(lines.offsets[1:] - 1, 0)]
    found = [-1]
    for k in range(1, count):
        found.append(int(np.linalg.norm(ends[:k] - starts[k], axis=1).argmin()))
    return tuple(found[:count])


def _stiff_basis(at: Array, length: float, stiffness: float) -> tuple[Array, Array]:
    """Line and cosines (n, m) over at, and what each costs (m,): a wave of the stiffness' length keeps half its height.

    length, stiffness  in the same unit; the cost is a part of n, as the squares that it is set against.
    """
    x = (at - at[0]) / (at[-1] - at[0])
    waves = np.arange(1, int(np.ceil(4 * length / stiffness)) + 2)
    cosines = np.cos(np.pi * waves * x[:, None])
    # Half waves of this number have the length 2 length / number.
    penalty = 0.5 * len(at) * (waves * stiffness / (2 * length)) ** 4
    return np.column_stack([np.ones_like(x), x - 0.5, cosines]), np.concatenate([[1e-9, 1e-9], penalty])


def _part(arrays: Mapping[str, NDArray[Any]], name: str, first: int, last: int) -> Array | None:
    return np.asarray(arrays[name][first:last], float) if name in arrays else None


def _biweight(deviation: Array, width: float) -> Array:
    """1 at 0, a half at 1.1 widths, 0 from 2 widths on."""
    return np.asarray(np.clip(1 - (deviation / (2 * width)) ** 2, 0, 1) ** 2)


def _quantile_lines(at: Array, values: Array, parts: Array) -> Array:
    """(k, n): lines that about these parts (k,) of the values lie below: reweighted least squares."""
    x = (at - at[0]) / max(float(at[-1] - at[0]), 1e-12) - 0.5
    basis = np.stack([np.ones_like(x), x], -1)
    lines = np.repeat(np.quantile(values, parts)[:, None], len(values), axis=1)
    for _ in range(8):
        rest = values - lines
        weight = np.where(rest > 0, parts[:, None], 1 - parts[:, None]) / np.maximum(np.abs(rest), 1e-3)
        weighted = basis.T * weight[:, None, :]
        lines = np.linalg.solve(weighted @ basis + 1e-9 * np.eye(2), (weighted @ values)[..., None])[..., 0] @ basis.T
    return lines

"""Colour ranges that a person can compare: robust, round, one over the period, still while a solution sharpens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene.appearance import Appearance, CloudQuantity, Quantity
from VesselFlowGSScene.case import Case
from VesselFlowGSScene.over_time import over_time_of

ATTRIBUTE = "VesselFlowGS.Range."
Array = NDArray[Any]
Range = tuple[float, float]
Coloured = Quantity | CloudQuantity
# of quantities that lie between two numbers, the range is these
WHOLE: dict[Coloured, tuple[str, Range]] = {
    Quantity.CONFIDENCE: ("confidence", (0.0, 1.0)),
    Quantity.OSI: ("osi", (0.0, 0.5)),
}
# Widths between powers of ten whose quarters read well at the five labels of a legend.
WIDTHS = (1.0, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0, 4.8, 5.2, 6.0, 6.4, 7.2, 8.0, 9.2, 10.0, 12.0)


@dataclass(frozen=True)
class RangeSettings:
    """low, high percentile: what the colours resolve; the jets at openings lie outside and take the end's colour.

    margin       of the held width: how far the limits may leave a held range before it moves
    least_share  of the held width: a range that fills less of it is taken anew
    most_values  the percentiles are taken of so many values at most, evenly chosen
    steps        the lower end is round to the power of ten below the width, divided by this
    """

    low_percentile: float = 2.0
    high_percentile: float = 98.0
    margin: float = 0.15
    least_share: float = 0.4
    most_values: int = 8_000
    steps: float = 20.0


def automatic_range(
    snapshot: Snapshot, quantity: Coloured, phase: int | None, over_time: bool, settings: RangeSettings | None = None
) -> Range | None:
    """Round limits that hold nearly all values of the snapshot, in mmHg, Pa, m/s or s; None where it has none.

    over_time  all phases count, else the shown one alone
    """
    settings = settings or RangeSettings()
    limits = robust_limits(snapshot, quantity, phase, over_time, settings)
    return limits if limits is None or quantity in WHOLE else rounded(*limits, settings.steps)


def robust_limits(
    snapshot: Snapshot, quantity: Coloured, phase: int | None, over_time: bool, settings: RangeSettings
) -> Range | None:
    """The percentiles themselves; speed and stress begin at zero; confidence goes to 1, the shear index to 1/2."""
    if quantity in WHOLE:
        name, whole = WHOLE[quantity]
        known = name in over_time_of(snapshot) or _wall(snapshot, name) is not None
        return whole if known else None
    found = list(_values(snapshot, quantity, phase, over_time))
    total = sum(len(values) for values in found)
    if total == 0:
        return None
    step = max(1, total // settings.most_values)
    values = np.concatenate([_size(part[::step]) for part in found])
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    low, high = np.percentile(values, [settings.low_percentile, settings.high_percentile])
    if quantity in (Quantity.SPEED, Quantity.WSS, Quantity.TAWSS):
        low = 0.0
    factor = 1 / PASCAL_PER_MMHG if quantity is Quantity.PRESSURE else 1.0
    return float(low) * factor, float(high) * factor


def held_range(case: Case, quantity: Coloured, limits: Range, settings: RangeSettings | None = None) -> Range:
    """The range of a locked scale: the one that the case holds, unless the limits leave it or fill too little of it."""
    settings = settings or RangeSettings()
    name = ATTRIBUTE + quantity.value
    held = _read(case.node.GetAttribute(name))
    if held is not None and not _must_move(held, limits, settings):
        return held
    fresh = rounded(*limits, settings.steps)
    case.node.SetAttribute(name, f"{fresh[0]!r} {fresh[1]!r}")
    return fresh


def ranges_of(case: Case, snapshot: Snapshot, appearance: Appearance, phase: int | None) -> dict[Coloured, Range]:
    """The range of every quantity that is seen; a manual one holds for the lumen's quantity wherever that is seen."""
    settings = RangeSettings()
    ranges: dict[Coloured, Range] = {}
    coloured: tuple[Coloured, ...] = (*(q for q in Quantity if q is not Quantity.NONE), CloudQuantity.ARRIVAL)
    for quantity in coloured:
        if quantity is appearance.quantity and not appearance.automatic:
            ranges[quantity] = ordered(appearance.low, appearance.high)
            continue
        if not _is_seen(quantity, appearance):
            continue
        limits = robust_limits(snapshot, quantity, phase, appearance.locked, settings)
        if limits is not None and quantity in WHOLE:
            ranges[quantity] = limits
        elif limits is not None:
            fixed = appearance.locked
            ranges[quantity] = held_range(case, quantity, limits) if fixed else rounded(*limits, settings.steps)
    return ranges


def rounded(low: float, high: float, steps: float) -> Range:
    """A range that holds the limits, wastes little and reads well at the five labels of a legend."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-3):
        return ordered(low, high)
    step = 10.0 ** floor(log10(high - low)) / steps
    low = floor(low / step + 1e-6) * step
    power = 10.0 ** floor(log10(high - low))
    return low, low + power * next(width for width in WIDTHS if width * power * (1 + 1e-9) >= high - low)


def ordered(low: float, high: float) -> Range:
    """The two ends in order and not equal, so that a colour map exists."""
    low, high = min(low, high), max(low, high)
    return (low, high) if high > low else (low, low + max(abs(low) * 1e-3, 1e-6))


def decimals_of(low: float, high: float) -> int:
    """How many decimals give the steps of a legend with five labels two digits, or three where two are not exact."""
    step = max(high - low, 1e-9) / 4
    decimals = 1 - floor(log10(step))
    exact = abs(round(step, decimals) - step) < 1e-6 * step
    return int(np.clip(decimals if exact else decimals + 1, 0, 4))


def _is_seen(quantity: Coloured, appearance: Appearance) -> bool:
    if quantity is appearance.quantity:
        return True
    if quantity is CloudQuantity.ARRIVAL:
        return appearance.gaussians and appearance.gaussian_quantity is quantity
    if quantity is Quantity.SPEED:
        return appearance.glyphs or appearance.streamlines or appearance.particles or appearance.gaussians
    return quantity is Quantity.PRESSURE and appearance.gaussians


def _must_move(held: Range, limits: Range, settings: RangeSettings) -> bool:
    width = held[1] - held[0]
    margin = settings.margin * width
    leaves = limits[0] < held[0] - margin or limits[1] > held[1] + margin
    return leaves or limits[1] - limits[0] < settings.least_share * width


def _values(snapshot: Snapshot, quantity: Coloured, phase: int | None, over_time: bool) -> Iterator[Array]:
    if quantity is CloudQuantity.ARRIVAL:
        if snapshot.cloud is not None:
            yield np.asarray(snapshot.cloud.arrival_s)
        return
    if quantity is Quantity.TAWSS:
        if "tawss" in over_time_of(snapshot):
            yield over_time_of(snapshot)["tawss"]
        return
    parts: dict[Coloured, tuple[str, str]] = {
        Quantity.PRESSURE: ("surface", "pressure"),
        Quantity.WSS: ("surface", "wss"),
        Quantity.SPEED: ("field", "velocity"),
    }
    part, name = parts[quantity]
    whole = getattr(snapshot, part)
    steady: Mapping[str, Array] = {} if whole is None else whole.arrays
    of_phases = [getattr(moment, part) for moment in snapshot.phases]
    if over_time and any(name in arrays for arrays in of_phases):
        yield from (arrays[name] for arrays in of_phases if name in arrays)
    elif phase is not None and 0 <= phase < len(of_phases) and name in of_phases[phase]:
        yield of_phases[phase][name]
    elif name in steady:
        yield steady[name]


def _wall(snapshot: Snapshot, name: str) -> Array | None:
    return None if snapshot.surface is None else snapshot.surface.arrays.get(name)


def _size(values: Array) -> Array:
    return np.sqrt(np.einsum("ij,ij->i", values, values)) if values.ndim == 2 else np.asarray(values)


def _read(text: str | None) -> Range | None:
    try:
        low, high = (float(word) for word in (text or "").split())
    except ValueError:
        return None
    return (low, high) if high > low else None

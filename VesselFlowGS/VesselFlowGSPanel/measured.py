"""What the section Measure works out from a snapshot's centreline: drop, narrowing, split and balance. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Polylines, Snapshot

Array = NDArray[Any]


@dataclass(frozen=True)
class Drop:
    """What lies between two places of a branch; what is not known is None.

    pressure_pa       upstream minus downstream: positive where pressure is lost
    area_mm2          at the two places, upstream first
    least_area_mm2    between them
    stenosis_percent  the greatest loss of diameter between them, against the vessel's own taper
    """

    pressure_pa: float | None
    area_mm2: tuple[float, float]
    least_area_mm2: float
    stenosis_percent: float | None


@dataclass(frozen=True)
class OpeningFlow:
    """What flows through one opening. share: of the inflow, 0..1; None for the inlet."""

    name: str
    flow_ml_s: float
    share: float | None


@dataclass(frozen=True)
class Balance:
    """Inflow against the sum of the outflows, ml/s. part: of the inflow that is missing, signed."""

    openings: tuple[OpeningFlow, ...]
    inflow_ml_s: float
    outflow_ml_s: float

    @property
    def missing_ml_s(self) -> float:
        return self.inflow_ml_s - self.outflow_ml_s

    @property
    def part(self) -> float | None:
        return self.missing_ml_s / self.inflow_ml_s if self.inflow_ml_s else None


def drop_between(course: Any, one_mm: float, other_mm: float) -> Drop:
    """What lies between two places of a branch (a BranchCourse), in whichever order they are given."""
    arc = np.asarray(course.arc_length_mm, float)
    start, end = (float(np.clip(x, arc[0], arc[-1])) for x in sorted((one_mm, other_mm)))
    places = np.concatenate([[start], arc[(arc > start) & (arc < end)], [end]])

    def along(values: Any) -> Array:
        return np.asarray(np.interp(places, arc, np.asarray(values, float)))

    areas = along(course.area_mm2)
    pressure = None if course.pressure_pa is None else along(course.pressure_pa)
    narrowing = None if course.stenosis_percent is None else along(course.stenosis_percent)
    return Drop(
        pressure_pa=None if pressure is None else float(pressure[0] - pressure[-1]),
        area_mm2=(float(areas[0]), float(areas[-1])),
        least_area_mm2=float(areas.min()),
        stenosis_percent=None if narrowing is None else float(narrowing.max()),
    )


def balance_of(snapshot: Snapshot) -> Balance | None:
    """Flow through every opening, of a pulsatile flow the mean over the period; None where it is not known.

    An opening takes the flow of the end of the centreline that lies nearest to it.
    """
    line = snapshot.centreline
    openings: Sequence[Any] = snapshot.geometry.get("openings", ())
    if line is None or "flow_ml_s" not in line.arrays or len(openings) < 2 or len(line.offsets) < 2:
        return None
    flows = np.asarray(line.arrays["flow_ml_s"], float)
    inflow = float(flows[int(line.offsets[0])])
    ends = np.asarray(line.offsets[1:], int) - 1
    outlets = []
    for opening in openings[1:]:
        away = np.linalg.norm(np.asarray(line.points)[ends] - np.asarray(opening["centre_lps_mm"], float), axis=1)
        outlets.append((str(opening["name"]), float(flows[ends[int(np.argmin(away))]])))
    return Balance(
        openings=(
            OpeningFlow(str(openings[0]["name"]), inflow, None),
            *(OpeningFlow(name, flow, flow / inflow if inflow else None) for name, flow in outlets),
        ),
        inflow_ml_s=inflow,
        outflow_ml_s=float(sum(flow for _, flow in outlets)),
    )


def branch_lengths_mm(line: Polylines | None) -> tuple[float, ...]:
    """The length of every branch; () without a centreline."""
    if line is None:
        return ()
    lengths = []
    for start, end in zip(line.offsets[:-1], line.offsets[1:], strict=True):
        points = np.asarray(line.points[int(start) : int(end)], float)
        lengths.append(float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum()))
    return tuple(lengths)


def position_of(line: Polylines, branch: int, point: Array) -> float:
    """Arc length in mm of the place of a branch that is nearest to a point (3,), LPS."""
    points = np.asarray(line.points[int(line.offsets[branch]) : int(line.offsets[branch + 1])], float)
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    part = np.einsum("ij,ij->i", point - points[:-1], steps) / np.maximum(lengths, 1e-12) ** 2
    part = np.clip(part, 0.0, 1.0)
    away = np.linalg.norm(points[:-1] + part[:, None] * steps - point, axis=1)
    nearest = int(np.argmin(away))
    return float(arc[nearest] + part[nearest] * lengths[nearest])


def nearest_branch(line: Polylines, point: Array) -> int:
    """The branch that passes nearest to a point (3,), LPS."""
    away = np.linalg.norm(np.asarray(line.points, float) - point, axis=1)
    starts = np.asarray(line.offsets[:-1], int)
    return int(np.searchsorted(starts, int(np.argmin(away)), side="right") - 1)

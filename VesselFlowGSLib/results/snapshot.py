"""The Snapshot: one state of the reconstruction, as plain arrays. Needs numpy alone.

Panel, script, file writer and cohort read this type. Everything is LPS mm, m/s, Pa, ml/s, s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


class Stage(str, Enum):
    """What has been computed so far, in order."""

    GEOMETRY = "geometry"
    FIRST_FLOW = "first flow"
    FLOW = "flow"
    DONE = "done"


@dataclass(frozen=True)
class Figure:
    """One derived number. origin is "measured", "estimated" or "assumed"; the interval holds 90 %."""

    value: float
    unit: str
    origin: str
    interval_90: tuple[float, float] | None = None


@dataclass(frozen=True)
class Surface:
    """Triangles (m, 3) on points (n, 3), with point arrays (n,) or (n, 3)."""

    points: Floats
    triangles: Integers
    arrays: Mapping[str, Floats] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Polylines:
    """Curves: points (n, 3); offsets (k + 1,), curve i is points[offsets[i]:offsets[i + 1]]."""

    points: Floats
    offsets: Integers
    arrays: Mapping[str, Floats] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class VolumeMesh:
    """Cells that fill the lumen, for display and sampling: VTK cell types, connectivity, offsets (cells + 1,)."""

    points: Floats
    connectivity: Integers
    offsets: Integers
    cell_types: Integers
    arrays: Mapping[str, Floats] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class CloudArrays:
    """The Gaussians as arrays: see gaussians.cloud.GaussianCloud; velocity (N, 3) m/s, pressure (N,) Pa or None."""

    mean: Floats
    sigma: Floats
    quaternion: Floats
    attenuation: Floats
    occupancy: Floats
    arrival_s: Floats
    velocity: Floats | None = None
    pressure: Floats | None = None


@dataclass(frozen=True)
class Phase:
    """One instant of the period of a pulsatile flow: arrays by name on the points of the Snapshot's own parts.

    time_s       seconds after the first frame of the earliest run
    streamlines  of this instant, or None where the Snapshot's stand for all
    """

    time_s: float
    surface: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
    field: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
    centreline: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
    streamlines: Polylines | None = None


class FindingKind(str, Enum):
    """What can be pointed out in a result, for research."""

    STENOSIS = "stenosis"
    VORTEX = "vortex"
    JET = "jet"
    HIGH_WSS = "high wall shear stress"
    LOW_WSS = "low wall shear stress"
    PRESSURE_GRADIENT = "steep pressure gradient"


@dataclass(frozen=True)
class Finding:
    """One place worth a look: where, how much, and one sentence for a person.

    centre, radius_mm  a ball around it, LPS mm
    region             what of the wall or of the blood it is, as a surface; None where the ball says it all
    """

    kind: FindingKind
    text: str
    centre: Floats
    radius_mm: float
    value: float
    unit: str
    region: Surface | None = None


@dataclass(frozen=True)
class ViewMatch:
    """How well one run agrees with the result.

    match     correlation of the seen and the projected vessel, 1 at best
    shift_px  left between the two, pixels
    """

    run: str
    match: float | None = None
    shift_px: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """One state of the reconstruction. What is not known yet is None.

    progress     0..1 of the whole reconstruction
    message      one line for a person: what was just finished
    flow_status  {"status": "pending" | "unknown" | "solved", "why": …}
    geometry     numbers and words about the lumen for summary.json (openings, branches, volume, …)
    checkpoint   named arrays that a later run can go on from
    provenance   inputs, settings, versions, seed, backend for summary.json; no patient identifiers
    phases       of a pulsatile flow, equidistant over one period; then field and arrays are the mean over it
    views        how well each run agrees, in the study's order
    shape        same text, same points and cells: a view then changes arrays alone; "" where that is not known
    """

    stage: Stage
    progress: float
    message: str
    cloud: CloudArrays | None = None
    surface: Surface | None = None
    centreline: Polylines | None = None
    field: VolumeMesh | None = None
    streamlines: Polylines | None = None
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)
    geometry: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    flow_status: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"status": "pending"})
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoint: Mapping[str, NDArray[Any]] | None = None
    timings_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    phases: tuple[Phase, ...] = ()
    period_s: float | None = None
    findings: tuple[Finding, ...] = ()
    views: tuple[ViewMatch, ...] = ()
    shape: str = ""

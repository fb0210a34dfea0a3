"""How well each run agrees with the result, from the words about the geometry. Needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from VesselFlowGSLib.results.snapshot import ViewMatch


def views_of(geometry: Mapping[str, Any]) -> tuple[ViewMatch, ...]:
    """One for every run that was compared with the result, in the order of geometry["runs"]; () where there is none."""
    runs = geometry.get("runs")
    if not isinstance(runs, Mapping):
        return ()
    return tuple(
        ViewMatch(str(name), _number(run, "match"), _number(run, "shift_left_px"))
        for name, run in runs.items()
        if isinstance(run, Mapping) and (_number(run, "match"), _number(run, "shift_left_px")) != (None, None)
    )


def _number(run: Mapping[str, Any], name: str) -> float | None:
    value = run.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and value is not None else None

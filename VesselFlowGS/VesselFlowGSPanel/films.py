"""The DSA runs that the panel's table holds, on the clock of the study."""

from __future__ import annotations

from typing import Any

from VesselFlowGSLib.errors import VesselFlowError
from VesselFlowGSScene.runs import entries_of_json, sequence_of
from VesselFlowGSScene.timebase import Filmed

DSA = "dsa"


def filmed_runs(parameters: Any) -> tuple[Filmed, ...]:
    """The runs that lie in the scene as sequences and that know the times of their frames; others cannot be played."""
    try:
        entries = entries_of_json(parameters.runs)
    except VesselFlowError:
        # the table of runs says what is wrong with them
        return ()
    found = []
    for entry in entries:
        times = entry.frame_times_s
        if not entry.use or entry.role != DSA or not times:
            continue
        series = sequence_of(entry, parameters.parameterNode.GetScene())
        if series is not None and series.GetNumberOfDataNodes() == len(times):
            offset = entry.time_offset_s or 0.0
            found.append(Filmed(series, tuple(time + offset for time in times)))
    return tuple(found)

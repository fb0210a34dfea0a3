"""Studies made of what a test says, without files of a scanner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from VesselFlowGSLib.acquisition.description import parse_description
from VesselFlowGSLib.acquisition.study import Run, Study, Volume


def study_of(
    folder: Path, table: dict[str, Any] | None = None, runs: tuple[Run, ...] = (), volume: Volume | None = None
) -> Study:
    """A study with the tables of a study.toml."""
    return Study(folder, volume, runs, parse_description(table or {}, folder))

"""From files to velocity and pressure: accuracy and time, through the command line.

Rows: bend (a study simulated by others, as it is), bend-files (the same with only the volume and the two DSA runs),
sample (the bundled study). The peer is classical.py on the same files in the same run. Needs VESSELFLOWGS_DATA for
the bend. Run by: make bench-endtoend [ROW=bend] [QUICK=1], where QUICK asks for a preview.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from classical import read_by_hand
from score import Scores, Truth, load_truth, score, score_folder
from table import ROOT, Line, Skipped, run

from VesselFlowGSLib.acquisition.reader import read_study
from VesselFlowGSLib.simulation.sample import sample_settings
from VesselFlowGSLib.simulation.simulate import simulate

TIME_LIMIT_S = 1700.0


def bend(quick: bool) -> list[Line]:
    """The gentle bend as it is."""
    case = _case()
    return _row(case / "input", case / "truth", quick, seconds=600)


def bend_files(quick: bool) -> list[Line]:
    """The gentle bend without study.toml and without the rotational run."""
    case = _case()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("volume.nrrd", "dsa_1.dcm", "dsa_2.dcm"):
            shutil.copy(case / "input" / name, folder)
        return _row(Path(folder), case / "truth", quick, seconds=600)


def sample(quick: bool) -> list[Line]:
    """The study that make demo reconstructs; its true fields are simulated anew, as the bundle holds no fields."""
    with tempfile.TemporaryDirectory() as folder:
        simulated = Path(folder) / "study"
        simulate(replace(sample_settings(), fields_of_truth=True), simulated)
        return _row(ROOT / "Resources" / "sample_study", simulated / "truth", quick, seconds=300)


def _case() -> Path:
    case = Path(os.environ.get("VESSELFLOWGS_DATA", "")) / "cases" / "DEV_gentle_bend_steady"
    if not case.is_dir():
        raise Skipped("needs cases/DEV_gentle_bend_steady below VESSELFLOWGS_DATA")
    return case


def _row(study: Path, truth_folder: Path, quick: bool, seconds: float) -> list[Line]:
    truth = load_truth(truth_folder)
    peer, peer_seconds = _peer(study, truth)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result"
        now, taken = _product(study, out, quick)
        found = score_folder(truth, out) if now else Scores(None, None, None, None, None)
        stages: Mapping[str, float] = json.loads((out / "summary.json").read_text())["timings_s"] if now else {}
    return [
        Line("velocity, relative L2", "%", 25, _percent(found.velocity), _percent(peer.velocity)),
        Line("mean flow error", "%", 15, _percent(found.flow), _percent(peer.flow)),
        Line("pressure drop error", "%", 25, _percent(found.pressure_drop), _percent(peer.pressure_drop)),
        Line("surface Dice", "", 0.93, found.dice, peer.dice, more_is_better=True),
        Line("mean surface distance", "mm", None, found.surface_mm, peer.surface_mm),
        Line("time", "s", seconds, taken, peer_seconds),
        *(Line(f"  {stage.replace('_', ' ')}", "s", None, value) for stage, value in stages.items()),
    ]


def _product(study: Path, out: Path, quick: bool) -> tuple[bool, float | None]:
    """Whether the command line made a result, and the seconds it took."""
    quality = "preview" if quick else "standard"
    command = [sys.executable, "-m", "VesselFlowGSLib", "reconstruct", study, "-o", out, "--quality", quality]
    begin = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"stopped after {TIME_LIMIT_S:.0f} s")
        return False, None
    return done.returncode == 0, time.monotonic() - begin


def _peer(study: Path, truth: Truth) -> tuple[Scores, float]:
    begin = time.monotonic()
    try:
        field, wall, _ = read_by_hand(read_study(study))
    except ValueError as why:
        print(f"the classical reading finds nothing: {why}")
        return Scores(None, None, None, None, None), time.monotonic() - begin
    seconds = time.monotonic() - begin
    return score(truth, field, wall), seconds


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


if __name__ == "__main__":
    sys.exit(run("endtoend", {"bend": bend, "bend-files": bend_files, "sample": sample}))

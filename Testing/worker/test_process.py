"""Pieces of the worker: what it watches, what it tells and how often, the time left, frames kept, phantoms."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.reconstruction.live import Step
from VesselFlowGSLib.results.export import ResultFolder
from VesselFlowGSLib.results.snapshot import Snapshot, Stage, Surface
from VesselFlowGSLib.simulation.settings import settings_for
from VesselFlowGSLib.simulation.vessels import build_vessel
from VesselFlowGSLib.worker.job import BESIDE_THE_RESULT, CANCEL, HEARTBEAT, Phantom
from VesselFlowGSLib.worker.messages import Message, Progress
from VesselFlowGSLib.worker.phantom import given_lumen, wall_of, write_phantom
from VesselFlowGSLib.worker.process import Frames, Teller, WorkerSettings, keep_names_out_of_the_log
from VesselFlowGSLib.worker.time_left import TimeLeft
from VesselFlowGSLib.worker.watch import Watch, WatchSettings

OFTEN = WatchSettings(look_every_s=0.005, again_s=0.02)


class Clock:
    """Stands in for the system's clock: goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(folder: Path, heartbeat_s: float | None, until: int = 1) -> tuple[str, int]:
    interrupted: list[float] = []
    watch = Watch(folder, heartbeat_s, interrupt=lambda: interrupted.append(time.monotonic()), settings=OFTEN)
    watch.start()
    end = time.monotonic() + 5
    while len(interrupted) < until and time.monotonic() < end:
        time.sleep(0.005)
    watch.stop()
    return watch.reason, len(interrupted)


def test_a_cancel_interrupts_and_does_so_again(tmp_path):
    (tmp_path / CANCEL).touch()
    assert watched(tmp_path, None, until=2) == ("Cancelled.", 2)


def test_an_old_heartbeat_interrupts(tmp_path):
    (tmp_path / HEARTBEAT).touch()
    reason, count = watched(tmp_path, 0.05)
    assert count == 1 and "no sign of life for 0.05 s" in reason


def test_a_heart_that_beats_does_not_whatever_the_time_on_the_disk(tmp_path):
    interrupted: list[int] = []
    watch = Watch(tmp_path, 0.2, interrupt=lambda: interrupted.append(1), settings=OFTEN)
    watch.start()
    for beat in range(12):
        (tmp_path / HEARTBEAT).touch()
        os.utime(tmp_path / HEARTBEAT, (beat, beat))
        time.sleep(0.05)
    watch.stop()
    assert not interrupted and watch.reason == ""


def test_who_does_not_ask_to_be_watched_is_not(tmp_path):
    watch = Watch(tmp_path, None)
    watch.deaf()
    assert watch.reason == ""
    watch = Watch(tmp_path, 60.0)
    watch.deaf()
    assert "is gone" in watch.reason


def test_progress_is_told_no_more_often_than_promised():
    clock, said = Clock(), list[Message]()
    teller = Teller(said.append, WorkerSettings(progress_every_s=0.5, silent_s=2.0), clock)
    teller.step(Step(0.1, "finding", Stage.GEOMETRY))
    for number in range(1, 11):
        clock.now += 0.125
        teller.step(Step(0.2, f"step {number}", Stage.FLOW, number, 100, 1.0 / number))
    told = [m for m in said if isinstance(m, Progress)]
    assert [m.iteration for m in told] == [None, 1, 5, 9]
    assert told[-1].loss == 1 / 9 and told[-1].elapsed_s == pytest.approx(1.125, abs=0.01)
    teller.tick()
    assert len(said) == 4
    clock.now += 2.0
    teller.tick()
    assert said[-1].iteration == 10 and said[-1].elapsed_s == pytest.approx(3.25)


def test_the_time_left_is_unknown_then_follows_the_pace():
    clock = Clock()
    left = TimeLeft(clock=clock)
    left.told(0.0)
    clock.now += 1
    left.told(0.3)
    assert left.left_s() is None
    for second in range(10, 101, 10):
        clock.now = 100.0 + second
        left.told(second / 200)
        assert left.left_s() == pytest.approx(200 - second)


def test_the_time_left_rises_after_a_surprise_alone():
    clock, shown = Clock(), []
    left = TimeLeft(clock=clock)
    left.told(0.0)
    for part in (0.1, 0.2, 0.295, 0.4, 0.49, 0.6):
        clock.now += 10
        left.told(part)
        shown.append(left.left_s())
    assert shown == sorted(shown, reverse=True)
    clock.now += 200
    left.told(0.61)
    assert left.left_s() > 100


def test_frames_of_before_are_kept_for_a_run_that_goes_on(tmp_path):
    snapshot = Snapshot(Stage.GEOMETRY, 0.1, "")
    frames = Frames(tmp_path / "frames", 2, anew=True)
    names = [frames.write(snapshot) for _ in range(4)]
    assert sorted(os.listdir(tmp_path / "frames")) == names[2:]
    (tmp_path / "frames" / ".snapshot_000005.npz.part").write_bytes(b"half")
    assert Frames(tmp_path / "frames", 2, anew=False).write(snapshot) == "snapshot_000005.npz"
    assert len(os.listdir(tmp_path / "frames")) == 2
    Frames(tmp_path / "frames", 2, anew=True)
    assert os.listdir(tmp_path / "frames") == []


def test_a_result_lies_beside_the_files_of_a_job_and_of_nobody_else(tmp_path):
    for name in BESIDE_THE_RESULT:
        (tmp_path / name).touch()
    with ResultFolder(tmp_path, beside=BESIDE_THE_RESULT):
        pass
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match="holiday.jpg"), ResultFolder(tmp_path, beside=BESIDE_THE_RESULT):
        pass


def test_between_the_stages_only_the_checkpoint_is_written(tmp_path):
    snapshot = Snapshot(Stage.FLOW, 0.5, "", surface=Surface(np.eye(3), np.array([[0, 1, 2]])))
    with ResultFolder(tmp_path / "out") as result:
        result.keep(snapshot)
        result.keep(Snapshot(Stage.FLOW, 0.5, "", surface=snapshot.surface, checkpoint={"x": np.arange(3)}))
        assert [p.name for p in (tmp_path / "out").glob("[!.]*")] == ["checkpoint.npz"]
    with np.load(tmp_path / "out" / "checkpoint.npz") as stored:
        assert stored["x"].tolist() == [0, 1, 2]


def test_warnings_of_libraries_that_read_headers_are_not_printed():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keep_names_out_of_the_log()
        warnings.warn_explicit("value DOE^JANE", UserWarning, "valuerep.py", 1, "pydicom.valuerep")
        warnings.warn_explicit("ours", UserWarning, "ours.py", 1, "VesselFlowGSLib.ours")
    assert [str(w.message) for w in caught] == ["ours"]


@pytest.mark.parametrize("kind", ["stenosis", "aneurysm", "bend", "bifurcation"])
def test_a_given_vessel_is_the_simulated_one(kind):
    vessel = build_vessel(settings_for(kind, length_mm=40.0).vessel)
    lumen = given_lumen(vessel)
    rng = np.random.default_rng(0)
    for branch, opening in zip(lumen.tree.branches, lumen.openings, strict=False):
        assert np.linalg.norm(lumen.tree.branches[opening.branch].points - opening.centre, axis=1).min() < 1e-6
        at = branch.points[rng.integers(0, len(branch.points), 200)]
        points = at + rng.normal(0, 0.6 * branch.radius_mm.mean(), at.shape)
        near = np.abs(vessel.wall_distance(points)) < 0.5
        # beyond an opening the tube goes on, where the simulated vessel is closed
        near &= ~lumen.beyond_openings(points)
        assert near.sum() > 20
        assert np.abs(lumen.wall(points) - vessel.wall_distance(points))[near].max() < 0.05
    radii = [float(o.radius_mm) for o in lumen.openings]
    assert radii == pytest.approx([cap.radius_mm for cap in vessel.caps])


@pytest.mark.parametrize("kind", ["bend", "bifurcation"])
def test_the_surface_of_a_given_vessel_lies_on_its_wall(kind):
    vessel = build_vessel(settings_for(kind, length_mm=40.0).vessel)
    surface = wall_of(vessel)
    middle = surface.points[surface.triangles].mean(1)
    # a union of tubes is closed beyond its openings, and its edges are cut there
    away = np.abs(vessel.wall_distance(middle[~given_lumen(vessel).beyond_openings(middle)]))
    assert len(away) > 1000 and np.quantile(away, 0.99) < 0.03 and away.max() < 0.2
    assert surface.triangles.max() == len(surface.points) - 1


def test_a_phantom_is_written_once_and_replaces_only_a_phantom(tmp_path):
    study = tmp_path / "study"
    phantom = Phantom("bend", {"length_mm": 20.0})
    write_phantom(study, phantom, seed=0)
    begun = (study / "study.toml").stat().st_mtime_ns
    write_phantom(study, phantom, seed=0)
    assert (study / "study.toml").stat().st_mtime_ns == begun
    write_phantom(study, Phantom("bend", {"length_mm": 20.0, "mean_inflow_ml_s": 3.5}), seed=0)
    assert "mean_inflow_ml_s = 3.5" in (study / "study.toml").read_text()
    (study / ".phantom.json").unlink()
    with pytest.raises(InputError, match="holds a study already"):
        write_phantom(study, phantom, seed=0)


def test_an_end_that_did_not_come_is_not_told_any_more():
    clock = Clock()
    left = TimeLeft(clock=clock)
    left.told(0.0)
    clock.now += 10
    left.told(0.5)
    assert left.left_s() == pytest.approx(10.0)
    clock.now += 11
    assert left.left_s() is None
    left.told(0.6)
    assert left.left_s() == pytest.approx(14.0)

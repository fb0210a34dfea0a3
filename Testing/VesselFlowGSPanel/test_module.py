"""The whole module in the host: a person's clicks, a real worker process, and what may go wrong with it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.worker.client import State
from VesselFlowGSLib.worker.job import Job, Phantom

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0

# a flow that is solved badly, and within seconds
TINY = {
    "flow": {"points_per_radius": 15, "first_iterations": 40, "update_iterations": 10},
    "derived": {"volume": {"per_radius": 4.0}, "wall": {"per_radius": 4.0}},
}


@pytest.fixture
def walk(slicer_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module's panel, with jobs in a folder of the test, and simulated vessels that are solved in seconds."""
    from walk import Walk

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Walk.begin(slicer_host)
    from VesselFlowGSPanel import inputs

    monkeypatch.setattr(inputs, "phantom_job", tiny_job)
    made.widget.parameters.jobs_folder = tmp_path / "jobs with ümlaut"
    yield made
    made.close()


def tiny_job(parameters: Any, vessel: str, degree: float, flow_ml_s: float) -> Job:
    changes = {"severity": degree, "mean_inflow_ml_s": flow_ml_s, "length_mm": 30.0}
    return Job(phantom=Phantom(vessel, changes), quality="preview", settings=TINY, heartbeat_s=60.0)


def simulate(walk: Any) -> None:
    walk.click("Inputs", "simulateButton")


def has_flow(walk: Any) -> bool:
    return walk.running.snapshot is not None and walk.running.snapshot.flow_status["status"] == "solved"


def test_the_panel_opens_with_its_sections_in_the_order_of_the_work(walk: Any) -> None:
    names = [section.NAME for section in walk.widget.sections]
    assert names == [
        "Engine",
        "Inputs",
        "Align",
        "Physics",
        "Reconstruct",
        "Display",
        "Time",
        "Measure",
        "Quality",
    ]
    assert not walk.section("Reconstruct").ui.startButton.enabled


def test_a_simulated_vessel_is_solved_live_shown_kept_and_measured(walk: Any, scene: Any) -> None:
    import slicer

    from VesselFlowGSScene.case import Case, Role
    from VesselFlowGSScene.kept import kept_snapshot

    simulate(walk)
    seen = []
    walk.running.on_snapshot = lambda snapshot: seen.append(snapshot.stage.value)
    assert walk.until(walk.settled, LIMIT_S), walk.running.client.log
    assert walk.running.client.state is State.DONE, walk.running.client.failure
    assert seen[0] == "geometry" and seen[-1] == "done" and len(seen) >= 3
    snapshot = walk.running.snapshot
    assert snapshot.figures["mean_inflow"].value == pytest.approx(1.9, rel=0.02)
    case = Case.all_in(scene)[0]
    lumen = case.get(Role.LUMEN)
    pressure = slicer.util.arrayFromModelPointData(lumen, "Pressure_mmHg")
    assert pressure.max() > pressure.min()
    assert kept_snapshot(case).figures == dict(snapshot.figures)
    walk.until(lambda: not walk.widget._outdated, 5)
    assert walk.section("Quality").ui.figuresTable.rowCount >= 5
    walk.widget.parameters.cut_plane = True
    walk.host.process_events(0.5)
    assert case.get(Role.CUT_PLANE) is not None


def test_a_cancelled_run_keeps_what_it_has_and_goes_on(walk: Any) -> None:
    simulate(walk)
    assert walk.until(lambda: has_flow(walk), LIMIT_S)
    walk.click("Reconstruct", "cancelButton")
    if not walk.running.ended:
        with pytest.raises(InputError, match="still"):
            walk.widget.logic.resume(walk.widget.case)
    assert walk.until(walk.settled, 60)
    assert walk.running.client.state is State.CANCELLED
    assert walk.running.snapshot is not None
    walk.until(lambda: walk.section("Reconstruct").ui.resumeButton.enabled, 5)
    walk.click("Reconstruct", "resumeButton")
    assert walk.until(walk.settled, LIMIT_S)
    assert walk.running.client.state is State.DONE, walk.running.client.failure


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signal here")
def test_a_killed_worker_is_said_in_the_panel_and_loses_nothing(walk: Any) -> None:
    from VesselFlowGSLib.worker.messages import Hello

    simulate(walk)
    assert walk.until(lambda: has_flow(walk), LIMIT_S)
    hello = next(m for m in walk.running.client.messages if isinstance(m, Hello))
    os.kill(hello.pid, signal.SIGKILL)
    assert walk.until(walk.settled, 30)
    assert walk.running.client.state is State.FAILED
    label = walk.section("Reconstruct").ui.failureLabel
    assert walk.until(lambda: "unexpectedly" in label.text, 5)
    assert "Traceback" not in label.text
    assert walk.widget.snapshot is not None


def test_a_python_that_cannot_compute_is_said(walk: Any, tmp_path: Path) -> None:
    parameters = walk.widget.parameters
    parameters.where = type(parameters.where).OTHER
    parameters.python = tmp_path / "no python"
    walk.host.process_events()
    simulate(walk)
    walk.host.process_events(0.2)
    assert walk.running is None or walk.running.client.failure


def test_closing_the_scene_ends_the_worker(walk: Any, scene: Any) -> None:
    simulate(walk)
    assert walk.until(lambda: walk.running.snapshot is not None, LIMIT_S)
    running = walk.running
    scene.Clear(0)
    walk.host.process_events(0.5)
    assert running.client.state in (State.CANCELLED, State.FAILED, State.DONE)
    assert walk.widget.case is None
    assert walk.widget.snapshot is None


def test_two_runs_in_one_scene(walk: Any, scene: Any) -> None:
    from VesselFlowGSScene.case import Case, Role

    runs = [walk.widget.logic.simulate("stenosis", degree, 1.5) for degree in (0.3, 0.5)]
    # side by side, each as far as its vessel
    assert walk.until(lambda: all(run.snapshot is not None for run in runs), LIMIT_S)
    assert walk.until(lambda: all("min_radius" in run.snapshot.figures for run in runs), LIMIT_S)
    first, second = runs
    one, two = Case.all_in(scene)
    assert one.get(Role.LUMEN).GetID() != two.get(Role.LUMEN).GetID()
    assert first.snapshot.figures["min_radius"].value > second.snapshot.figures["min_radius"].value
    assert walk.widget.case.name == two.name


def test_a_script_reconstructs_a_study_and_waits(walk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from VesselFlowGSLib.worker.phantom import write_phantom
    from VesselFlowGSPanel import inputs

    study = tmp_path / "a study"
    write_phantom(study, tiny_job(None, "stenosis", 0.4, 1.9).phantom, 0)
    monkeypatch.setattr(inputs, "job_of", with_tiny(inputs.job_of))
    told = []
    logic = walk.widget.logic
    running = logic.reconstruct(
        study=study, name="Scripted", on_snapshot=told.append, jobs_folder=tmp_path / "scripted"
    )
    assert running.settled and running.client.state is State.DONE
    assert running.case.name == "Scripted"
    assert told[-1].figures["mean_inflow"].value == pytest.approx(1.9, rel=0.02)
    assert running.client.folder.parent == tmp_path / "scripted"
    assert (running.client.folder / "summary.json").is_file()


def with_tiny(job_of: Any) -> Any:
    from dataclasses import replace

    return lambda parameters: replace(job_of(parameters), settings=TINY)


def test_a_script_is_told_what_is_wrong(walk: Any, tmp_path: Path) -> None:
    logic = walk.widget.logic
    with pytest.raises(InputError, match="nothing to reconstruct|volume"):
        logic.reconstruct()
    with pytest.raises(InputError, match="mean_inflow_ml_s"):
        logic.reconstruct(study=ROOT / "Resources" / "sample_study", mean_inflow_ml=2.0)
    assert walk.widget.case is None


def test_the_self_test_passes(walk: Any) -> None:
    import VesselFlowGS

    test = VesselFlowGS.VesselFlowGSTest()
    test.messageDelay = 1
    test.runTest()


def test_the_examples_of_the_docs_name_what_exists() -> None:
    """Every import of docs/scripting.md works, and every call of the logic is one of its methods."""
    import ast

    import VesselFlowGS

    text = (ROOT / "docs" / "scripting.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 3
    for block in blocks:
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("VesselFlowGS"):
                module = __import__(node.module, fromlist=["_"])
                assert all(hasattr(module, name.name) for name in node.names), node.module
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "logic":
                assert hasattr(VesselFlowGS.VesselFlowGSLogic, node.attr), node.attr

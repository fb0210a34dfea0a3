"""Real worker processes on a small simulated vessel: streaming, ends of every kind, resuming, replaying."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from VesselFlowGSLib.results.export import read_result
from VesselFlowGSLib.results.snapshot import Stage
from VesselFlowGSLib.worker.client import Client, State, worker_environment
from VesselFlowGSLib.worker.frames import read_frame
from VesselFlowGSLib.worker.job import CANCEL, FRAMES, HEARTBEAT, LOG, MESSAGES, STUDY, Job, Phantom, write_job
from VesselFlowGSLib.worker.messages import (
    Cancelled,
    Done,
    Failed,
    Hello,
    Message,
    Progress,
    SnapshotReady,
    Warned,
    message_of,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")

PHANTOM = Phantom("bend", {"length_mm": 16.0, "radius_mm": 2.0, "bend_angle_deg": 30.0, "mean_inflow_ml_s": 2.0})
SMALL = {
    "flow": {"points_per_radius": 5, "first_iterations": 12, "network": {"width": 6, "layers": 2}},
    "fit": {"largest_count": 1000},
    "derived": {"volume": {"per_radius": 4.0}, "wall": {"per_radius": 4.0}},
    "schedule": {"streamlines": 6},
}
ENDLESS = {**SMALL, "flow": {**SMALL["flow"], "points_per_radius": 60, "first_iterations": 100_000}}
TIME_LIMIT_S = 120.0


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "VesselFlowGSLib.worker", str(folder)]


def run(folder: Path, environment: dict[str, str] | None = None) -> tuple[int, list[Message], str]:
    """Exit code, messages and everything else that was printed."""
    done = subprocess.run(
        command(folder),
        env={**worker_environment(), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIME_LIMIT_S,
    )
    lines = done.stdout.decode("utf-8").splitlines()
    heard = [(line, message_of(line)) for line in lines]
    messages = [m for _, m in heard if m is not None]
    return done.returncode, messages, "\n".join(line for line, m in heard if m is None)


def kept_messages(folder: Path) -> list[Message]:
    lines = (folder / MESSAGES).read_text(encoding="utf-8").splitlines()
    found = [message_of(line) for line in lines]
    assert None not in found
    return [m for m in found if m is not None]


def poll_until(client: Client, wanted: object) -> None:
    """Poll until wanted() is true."""
    assert callable(wanted)
    until = time.monotonic() + TIME_LIMIT_S
    while not wanted():
        assert time.monotonic() < until, (client.state, client.failure, client.log[-5:])
        client.poll()
        time.sleep(0.02)


def iterations(client: Client) -> int:
    return max((m.iteration or 0 for m in client.messages if isinstance(m, Progress)), default=0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Client]:
    """A job that was started and watched by a client, in a folder with a blank and an umlaut."""
    folder = tmp_path_factory.mktemp("jobs") / "Fall für später"
    write_job(folder, Job(quality="preview", settings=SMALL, heartbeat_s=600.0, phantom=PHANTOM))
    client = Client(folder)
    client.start()
    poll_until(client, lambda: client.state not in (State.STARTING, State.RUNNING))
    return folder, client


def test_a_job_is_computed_and_streamed(finished):
    folder, client = finished
    assert client.state is State.DONE and client.exit_code == 0, (client.failure, client.log[-20:])
    assert isinstance(client.messages[0], Hello) and isinstance(client.messages[-1], Done)
    stages = [m.stage for m in client.messages if isinstance(m, SnapshotReady)]
    assert stages[0] == "geometry" and stages[-1] == "done" and "first flow" in stages
    parts = [m.part for m in client.messages if isinstance(m, Progress)]
    assert parts == sorted(parts)
    losses = [m.loss for m in client.messages if isinstance(m, Progress) and m.loss is not None]
    assert losses[-1] <= losses[0]
    assert any(isinstance(m, Warned) for m in client.messages) == bool(client.snapshot().warnings)


def test_the_result_lies_in_the_folder_and_is_the_last_snapshot(finished):
    folder, client = finished
    snapshot, result = client.snapshot(), read_result(folder)
    assert snapshot.stage is Stage.DONE and result.stage is Stage.DONE
    np.testing.assert_array_equal(snapshot.surface.points, result.surface.points)
    np.testing.assert_array_equal(snapshot.field.arrays["velocity"], result.field.arrays["velocity"])
    assert result.figures["mean_inflow"].value == pytest.approx(2.0)
    assert {k: f.value for k, f in snapshot.figures.items()} == {k: f.value for k, f in result.figures.items()}
    assert (folder / STUDY / "study.toml").is_file() and (folder / "report.html").is_file()


def test_no_more_frames_are_kept_than_promised(finished):
    folder, _ = finished
    assert 1 <= len(list((folder / FRAMES).iterdir())) <= 2
    for path in (folder / FRAMES).iterdir():
        read_frame(path)


def test_what_is_said_is_also_kept(finished):
    folder, client = finished
    assert [m for m in kept_messages(folder) if isinstance(m, (Hello, Done, Warned))] == [
        m for m in client.messages if isinstance(m, (Hello, Done, Warned))
    ]


def test_a_finished_job_is_replayed_without_computing(finished):
    folder, _ = finished
    client = Client(folder)
    client.follow()
    poll_until(client, lambda: client.state is State.DONE)
    assert client.snapshot(("figures",)).figures["mean_inflow"].value == pytest.approx(2.0)


def test_a_killed_worker_is_told_and_its_job_goes_on_where_it_was(tmp_path):
    write_job(tmp_path, Job(quality="preview", settings=ENDLESS, phantom=PHANTOM))
    client, watcher = Client(tmp_path), Client(tmp_path)
    client.start()
    watcher.follow()
    poll_until(client, lambda: iterations(client) >= 5)
    poll_until(watcher, lambda: watcher.state is State.RUNNING and watcher.snapshot() is not None)
    pid = next(m.pid for m in client.messages if isinstance(m, Hello))
    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    poll_until(client, lambda: client.state is State.FAILED)
    assert client.exit_code != 0 and "ended unexpectedly" in client.failure
    torn = list((tmp_path / FRAMES).glob("snapshot_*.npz"))
    assert torn and all(read_frame(path) for path in torn)

    write_job(tmp_path, Job(quality="preview", settings=ENDLESS, phantom=PHANTOM, resume=True))
    client.start()
    poll_until(client, lambda: iterations(client) >= 5)
    assert not any("no usable checkpoint" in line for line in client.log)
    client.cancel()
    poll_until(client, lambda: client.state is State.CANCELLED)
    assert client.exit_code == 3
    assert isinstance(client.messages[-1], Cancelled) and "is kept" in client.messages[-1].text
    poll_until(watcher, lambda: watcher.state is State.CANCELLED)
    assert read_result(tmp_path).stage in (Stage.FIRST_FLOW, Stage.FLOW)
    assert not (tmp_path / CANCEL).exists()


def test_a_cancel_that_is_there_already_ends_the_worker_at_once(tmp_path):
    write_job(tmp_path, Job(settings=SMALL, phantom=PHANTOM))
    (tmp_path / CANCEL).touch()
    code, messages, _ = run(tmp_path)
    assert code == 3 and isinstance(messages[-1], Cancelled) and "nothing was computed" in messages[-1].text
    assert kept_messages(tmp_path)[-1] == messages[-1]


def test_a_heart_that_stands_still_ends_the_worker(tmp_path):
    write_job(tmp_path, Job(settings=ENDLESS, phantom=PHANTOM, heartbeat_s=0.5))
    (tmp_path / HEARTBEAT).touch()
    code, messages, _ = run(tmp_path)
    assert code == 3 and "no sign of life" in messages[-1].text


@posix
def test_a_parent_that_is_killed_ends_the_worker(tmp_path):
    write_job(tmp_path, Job(settings=ENDLESS, phantom=PHANTOM, heartbeat_s=1000.0))
    program = f"import subprocess, time; subprocess.Popen({command(tmp_path)!r}); time.sleep(100)"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    watcher = Client(tmp_path)
    watcher.follow()
    poll_until(watcher, lambda: watcher.state is State.RUNNING)
    parent.kill()
    parent.wait()
    poll_until(watcher, lambda: watcher.state is State.CANCELLED)
    assert "is gone" in watcher.messages[-1].text


@posix
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_worker_with_3(tmp_path, number):
    write_job(tmp_path, Job(settings=ENDLESS, phantom=PHANTOM))
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and '"hello"' in process.stdout.readline()
    process.send_signal(getattr(signal, number))
    output, _ = process.communicate(timeout=TIME_LIMIT_S)
    assert process.returncode == 3 and "Stopped from outside" in output.splitlines()[-1]


LIMITED = "import resource, runpy, sys; resource.setrlimit(resource.{0}, ({1}, {1})); sys.argv = ['worker', {2!r}]; "


@posix
def test_a_full_disk_ends_the_worker_with_4_and_leaves_nothing_half(tmp_path):
    """A limit on the size of files stands for the disk."""
    write_job(tmp_path, Job(settings=SMALL, phantom=PHANTOM))
    begin = LIMITED.format("RLIMIT_FSIZE", 30_000, str(tmp_path))
    program = begin + "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    done = subprocess.run(
        [sys.executable, "-c", program + "runpy.run_module('VesselFlowGSLib.worker', run_name='__main__')"],
        stdout=subprocess.PIPE,
        timeout=TIME_LIMIT_S,
    )
    last = message_of(done.stdout.decode().splitlines()[-1])
    assert isinstance(last, Failed) and (done.returncode, last.exit_code) == (4, 4), last
    assert "disk" in last.text
    for path in (tmp_path / FRAMES).iterdir():
        read_frame(path)


ENDS = {
    "memory": ("raise MemoryError", 4, "Out of memory"),
    "torch": ('raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', 4, "Out of memory"),
    "package": ("raise ModuleNotFoundError(\"No module named 'scipy'\", name='scipy')", 5, "package scipy is missing"),
    "surprise": ("raise ZeroDivisionError('division by zero')", 1, "ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", ENDS)
def test_every_failure_has_its_code_and_one_clear_message(tmp_path, kind):
    """A stand-in for one package of the engine fails when it is imported."""
    statement, code, text = ENDS[kind]
    stand_ins = tmp_path / "stand-ins" / "scipy"
    stand_ins.mkdir(parents=True)
    (stand_ins / "__init__.py").write_text(statement + "\n")
    folder = tmp_path / "job"
    write_job(folder, Job(settings=SMALL, phantom=PHANTOM))
    path = os.pathsep.join([str(stand_ins.parent), worker_environment()["PYTHONPATH"]])
    found, messages, printed = run(folder, {"PYTHONPATH": path})
    assert found == code and isinstance(messages[-1], Failed) and messages[-1].exit_code == code
    assert text in messages[-1].text and "Traceback" not in messages[-1].text
    assert kept_messages(folder)[-1] == messages[-1]
    assert ("Traceback" in printed) == (code == 1)


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({"schema": 1, "qualty": "fine"}, "did you mean quality"),
        ({"schema": 1, "settings": {"flow": {"iterations": 3}}}, "unknown setting flow.iterations"),
        ({"schema": 1, "phantom": {"vessel": "trumpet"}}, "Unknown vessel"),
    ],
)
def test_a_wrong_job_ends_with_2(tmp_path, job, text):
    (tmp_path / "job.json").write_text(json.dumps(job))
    code, messages, _ = run(tmp_path)
    assert code == 2 and text in messages[-1].text


def test_a_folder_that_is_no_job_ends_with_2(tmp_path):
    code, messages, _ = run(tmp_path / "nothing")
    assert code == 2 and "Give the folder of a job" in messages[-1].text
    assert not (tmp_path / "nothing").exists()


def test_the_log_of_a_run_names_what_computes(finished):
    folder, _ = finished
    used = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["backend"]
    text = (folder / LOG).read_text(encoding="utf-8")
    assert {"project", "density", "composite"} <= set(used)
    for operator in ("project", "density", "composite"):
        assert f"{operator}: {used[operator].split(',')[0]} on cpu" in text


def test_the_log_of_a_run_holds_no_message(finished):
    folder, client = finished
    assert '{"vesselflowgs"' not in (folder / LOG).read_text(encoding="utf-8")

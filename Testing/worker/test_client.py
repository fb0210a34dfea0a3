"""The client without a real worker: states, stale snapshots, silence, crashes, files that grow."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from VesselFlowGSLib.results.snapshot import Snapshot, Stage, Surface
from VesselFlowGSLib.worker.client import Client, ClientSettings, State, launch_process, worker_environment
from VesselFlowGSLib.worker.frames import write_frame
from VesselFlowGSLib.worker.job import CANCEL, FRAMES, HEARTBEAT, LOG, MESSAGES
from VesselFlowGSLib.worker.messages import Cancelled, Done, Failed, Hello, Message, Progress, SnapshotReady, line_of

HELLO = Hello("0.1.0", 1, "cpu", "python")
SURFACE = Surface(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32))


class StandIn:
    """Stands in for the launcher: the test says what the process prints and when it ends."""

    def __init__(self) -> None:
        self.killed = 0
        self.command: Sequence[str] = ()
        self.environment: Mapping[str, str] | None = None

    def __call__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None,
        on_line: Callable[[str], None],
        on_end: Callable[[int], None],
    ) -> StandIn:
        self.command, self.environment, self.print, self.end = command, environment, on_line, on_end
        return self

    def kill(self) -> None:
        self.killed += 1

    def say(self, *messages: Message) -> None:
        for message in messages:
            self.print(line_of(message))


def ready(number: int) -> SnapshotReady:
    return SnapshotReady(f"snapshot_{number:06d}.npz", "flow", 0.5, "text", 1.0)


def frame(folder: Path, number: int) -> None:
    (folder / FRAMES).mkdir(exist_ok=True)
    snapshot = Snapshot(Stage.FLOW, 0.5, str(number), surface=SURFACE)
    write_frame(folder / FRAMES / f"snapshot_{number:06d}.npz", snapshot)


@pytest.fixture
def process() -> StandIn:
    return StandIn()


@pytest.fixture
def client(tmp_path, process) -> Client:
    found = Client(tmp_path, process)
    found.start()
    return found


def test_a_job_runs_and_is_done(client, process, tmp_path):
    assert process.command[1:] == ["-u", "-m", "VesselFlowGSLib.worker", str(tmp_path)]
    assert client.state is State.STARTING and client.poll() == []
    process.say(HELLO)
    process.print("some text")
    assert client.poll() == [HELLO] and client.state is State.RUNNING and client.log == ["some text"]
    process.say(Progress("flow", 0.5, "solving", 1.0), Done(2.0))
    process.end(0)
    assert client.poll()[-1] == Done(2.0)
    assert client.state is State.DONE and client.exit_code == 0 and client.failure == ""
    assert client.poll() == [] and len(client.messages) == 3


def test_of_several_snapshots_the_newest_counts(client, process, tmp_path):
    for number in (3, 4):
        frame(tmp_path, number)
    process.say(HELLO, ready(1), ready(2), ready(3), Progress("flow", 0.5, "solving", 1.0), ready(4))
    assert [m for m in client.poll() if isinstance(m, SnapshotReady)] == [ready(4)]
    assert client.snapshot().message == "4" and client.snapshot(("cloud",)).surface is None


def test_a_snapshot_that_is_gone_is_followed_by_the_newest_there_is(client, process, tmp_path):
    assert client.snapshot() is None
    process.say(HELLO, ready(1))
    client.poll()
    assert client.snapshot() is None
    frame(tmp_path, 2)
    (tmp_path / FRAMES / ".snapshot_000003.npz.part").write_bytes(b"half")
    assert client.snapshot().message == "2"


def test_a_frame_is_looked_for_in_its_folder_alone(client, process, tmp_path):
    process.say(HELLO, SnapshotReady("../../else.npz", "flow", 0.5, "", 1.0))
    client.poll()
    assert client._newest == "else.npz"


def test_cancelling_is_a_file_then_a_kill(tmp_path, process):
    client = Client(tmp_path, process, ClientSettings(cancel_within_s=0.0))
    client.start()
    process.say(HELLO)
    client.poll()
    client.cancel()
    assert client.state is State.CANCELLING and (tmp_path / CANCEL).exists()
    time.sleep(0.01)
    client.poll()
    assert process.killed
    process.end(-9)
    client.poll()
    assert client.state is State.CANCELLED and client.failure == ""
    client.start()
    assert not (tmp_path / CANCEL).exists() and client.state is State.STARTING


@pytest.mark.parametrize("code", [-9, -11, 1, 134])
def test_a_crash_is_told_with_the_last_lines(client, process, code):
    process.say(HELLO)
    for line in range(30):
        process.print(f"line {line}")
    process.end(code)
    client.poll()
    assert client.state is State.FAILED and client.exit_code == code
    assert str(abs(code)) in client.failure and client.failure.endswith("line 29") and "line 2\n" not in client.failure


def test_a_failure_is_told_in_the_worker_s_words(client, process):
    process.say(HELLO, Failed(4, "The disk is full."))
    process.end(4)
    client.poll()
    assert (client.state, client.exit_code, client.failure) == (State.FAILED, 4, "The disk is full.")


def test_a_python_that_never_says_hello_has_failed(tmp_path, process):
    client = Client(tmp_path, process, ClientSettings(hello_within_s=0.0))
    client.start("/usr/bin/some-python")
    process.print("No module named VesselFlowGSLib")
    time.sleep(0.01)
    client.poll()
    assert client.state is State.FAILED and process.killed
    assert "/usr/bin/some-python" in client.failure and "No module named" in client.failure


def test_a_python_that_is_not_there_is_told(tmp_path):
    client = Client(tmp_path)
    with pytest.raises(OSError):
        client.start(str(tmp_path / "no python"))
    assert client.state is State.FAILED and "no python" in client.failure


def test_another_protocol_is_a_failure(client, process):
    process.print('{"vesselflowgs": 99, "message": "hello"}')
    client.poll()
    assert client.state is State.FAILED and "another version" in client.failure


def test_the_heart_beats_while_it_is_polled(client, tmp_path):
    (tmp_path / HEARTBEAT).unlink()
    client._beaten = -1e9
    client.poll()
    assert (tmp_path / HEARTBEAT).exists()


def test_a_poll_reads_no_more_than_it_may(client, process):
    process.say(HELLO)
    for number in range(1000):
        process.print(str(number))
    client.poll()
    assert len(client.log) == ClientSettings().lines_per_poll - 1
    for _ in range(11):
        client.poll()
    assert client.log == [str(n) for n in range(1000)]


def test_closing_ends_the_process(client, process, tmp_path):
    process.say(HELLO)
    client.poll()
    client.close()
    assert process.killed == 1 and client.state is State.CANCELLED and client.poll() == []


def append(path: Path, text: str) -> None:
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write(text)


def test_following_reads_what_another_machine_writes(tmp_path):
    client = Client(tmp_path)
    client.follow()
    assert client.poll() == [] and client.state is State.STARTING
    line = line_of(HELLO)
    append(tmp_path / MESSAGES, line[:20])
    assert client.poll() == []
    append(tmp_path / MESSAGES, line[20:] + "\n")
    append(tmp_path / LOG, "Größe\nhalf")
    assert client.poll() == [HELLO] and client.state is State.RUNNING and client.log == ["Größe"]
    frame(tmp_path, 2)
    append(tmp_path / MESSAGES, line_of(ready(1)) + "\n" + line_of(ready(2)) + "\n")
    assert client.poll() == [ready(2)] and client.snapshot().message == "2"
    append(tmp_path / MESSAGES, line_of(Cancelled("kept")) + "\n")
    client.poll()
    assert client.state is State.CANCELLED and client.exit_code == 3
    # the job is resumed, by whomever
    append(tmp_path / MESSAGES, line_of(HELLO) + "\n" + line_of(Done(3.0)) + "\n")
    client.poll()
    assert client.state is State.DONE
    assert not (tmp_path / HEARTBEAT).exists()


def test_following_notices_a_run_from_the_beginning(tmp_path):
    append(tmp_path / MESSAGES, "\n".join(line_of(m) for m in (HELLO, Failed(4, "full"))) + "\n")
    client = Client(tmp_path)
    client.follow()
    client.poll()
    assert client.state is State.FAILED and client.failure == "full" and client.exit_code == 4
    (tmp_path / MESSAGES).write_text(
        "\n".join(line_of(m) for m in (Hello("0.1.0", 2, "cpu", "p"), *[Progress("flow", 0.1, "x", 1.0)] * 9)) + "\n"
    )
    client.poll()
    assert client.state is State.RUNNING and client.failure == ""
    assert client.messages[0] == Hello("0.1.0", 2, "cpu", "p") and len(client.messages) == 10


def test_a_followed_worker_that_falls_silent_is_given_up_until_it_speaks(tmp_path):
    append(tmp_path / MESSAGES, line_of(HELLO) + "\n")
    client = Client(tmp_path, settings=ClientSettings(silent_s=0.02))
    client.follow()
    client.poll()
    time.sleep(0.05)
    client.poll()
    assert client.state is State.FAILED and "said nothing" in client.failure
    append(tmp_path / MESSAGES, line_of(Progress("flow", 0.1, "solving", 1.0)) + "\n")
    client.poll()
    assert client.state is State.RUNNING and client.failure == ""


def test_the_environment_of_another_python_holds_this_package_alone(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/slicer/python")
    monkeypatch.setenv("PYTHONPATH", "/slicer/lib")
    monkeypatch.setenv("KEPT", "yes")
    found = worker_environment()
    assert "PYTHONHOME" not in found and found["KEPT"] == "yes"
    assert (Path(found["PYTHONPATH"]) / "VesselFlowGSLib" / "worker").is_dir()
    assert worker_environment({"PYTHONHOME": "x"}).keys() == {"PYTHONPATH"}


def test_a_real_process_is_heard_line_by_line_and_to_its_end(tmp_path):
    heard: list[str] = []
    ended: list[int] = []
    program = (
        "import sys; sys.stdout.buffer.write('Größe \\u2192\\n'.encode()); sys.stdout.flush(); "
        "print('wrong', file=sys.stderr); sys.exit(7)"
    )
    launch_process([sys.executable, "-c", program], dict(os.environ), heard.append, ended.append)
    until = time.monotonic() + 30
    while not ended and time.monotonic() < until:
        time.sleep(0.01)
    assert ended == [7] and heard == ["Größe →", "wrong"]

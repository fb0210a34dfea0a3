"""The worker's other side: starts it or follows it, hears it, stops it. Knows no Qt; needs numpy and the standard
library alone.

One thread owns a Client and calls poll() from a timer; nothing here waits.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Protocol

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSLib.worker.frames import Held, read_frame
from VesselFlowGSLib.worker.job import CANCEL, FRAMES, HEARTBEAT, LOG, MESSAGES
from VesselFlowGSLib.worker.messages import (
    Cancelled,
    Done,
    Failed,
    Hello,
    Message,
    SnapshotReady,
    message_of,
)

CANCELLED_CODE = 3


class State(Enum):
    """Where a job is, as its client knows."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED = (State.DONE, State.CANCELLED, State.FAILED)


class Handle(Protocol):
    """A process that was started."""

    def kill(self) -> None:
        """End it at once, whatever it does; no error where it has ended already."""
        ...


OnLine = Callable[[str], None]
OnEnd = Callable[[int], None]
Launch = Callable[[Sequence[str], Mapping[str, str] | None, OnLine, OnEnd], Handle]


@dataclass(frozen=True)
class ClientSettings:
    """hello_within_s: a worker that has not said hello by then has failed; cancel_within_s: one that has not ended by
    then, after cancel(), is killed; silent_s: a followed worker that says nothing for so long is given up;
    beat_every_s: how often the heartbeat is touched; lines: of the log that a failure shows; lines_per_poll,
    bytes_per_poll: no more is read at once, so that poll() stays short."""

    hello_within_s: float = 60.0
    cancel_within_s: float = 10.0
    silent_s: float = 120.0
    beat_every_s: float = 1.0
    lines: int = 8
    lines_per_poll: int = 100
    bytes_per_poll: int = 30_000


class Client:
    """One job as a program with a window sees it.

    folder  of the job, with its job.json
    launch  starts the process; its callbacks may come from any thread
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        launch: Launch | None = None,
        settings: ClientSettings = ClientSettings(),
    ) -> None:
        self.folder = Path(folder)
        self.state = State.IDLE
        self.exit_code: int | None = None
        self.failure = ""
        self.log: list[str] = []
        self.messages: list[Message] = []
        self._launch = launch_process if launch is None else launch
        self._settings = settings
        self._heard: SimpleQueue[str | int] = SimpleQueue()
        self._handle: Handle | None = None
        self._python = ""
        self._done = False
        self._newest: str | None = None
        self._held: Held = {}
        self._said: _Tail | None = None
        self._logged: _Tail | None = None
        self._since = 0.0
        self._beaten = -1e9

    def start(self, python: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Start the worker. python: its interpreter, by default this one; environment: by default worker_environment().

        Raises OSError where it cannot be started.
        """
        if self.state not in (State.IDLE, *ENDED):
            raise RuntimeError("the job runs already")
        self._python = python or sys.executable
        self._reset()
        with contextlib.suppress(OSError):
            (self.folder / CANCEL).unlink(missing_ok=True)
        self._beat()
        command = [self._python, "-u", "-m", "VesselFlowGSLib.worker", os.fspath(self.folder.absolute())]
        self.state, self._since = State.STARTING, time.monotonic()
        try:
            self._handle = self._launch(
                command, worker_environment() if environment is None else environment, self._heard.put, self._heard.put
            )
        except OSError as error:
            self.state = State.FAILED
            self.failure = f"{self._python} cannot be started: {error.strerror or error}. Choose another Python."
            raise

    def follow(self) -> None:
        """Watch a job that another process or machine computes, or replay a finished one; starts nothing."""
        if self.state not in (State.IDLE, *ENDED):
            raise RuntimeError("the job runs already")
        self._reset()
        self.state, self._since = State.STARTING, time.monotonic()
        self._said, self._logged = _Tail(self.folder / MESSAGES), _Tail(self.folder / LOG)

    def poll(self) -> list[Message]:
        """What was said since the last call, of several snapshots the newest alone. Never waits; beats the heart."""
        if self.state is State.IDLE or (self.state in ENDED and self._said is None):
            return []
        found = self._read_files() if self._said is not None else self._read_process()
        newest = max((i for i, m in enumerate(found) if isinstance(m, SnapshotReady)), default=-1)
        found = [m for i, m in enumerate(found) if i == newest or not isinstance(m, SnapshotReady)]
        self.messages += found
        self._mind_the_clock()
        return found

    def snapshot(self, parts: Collection[str] | None = None) -> Snapshot | None:
        """The newest snapshot; None before the first. parts: the Snapshot's fields that are wanted, None for all."""
        if self._newest is None:
            return None
        # one may be replaced while it is read; then there is a newer one
        for name in (self._newest, *_frames(self.folder / FRAMES)):
            with contextlib.suppress(OSError, InputError):
                return read_frame(self.folder / FRAMES / name, parts, self._held if parts is None else None)
        return None

    def cancel(self) -> None:
        """Ask the worker to end; what was computed is kept. It is killed if it does not end in time."""
        if self.state in (State.STARTING, State.RUNNING):
            self.state, self._since = State.CANCELLING, time.monotonic()
            (self.folder / CANCEL).touch()

    def close(self) -> None:
        """Leave the job: a worker that was started here is ended, one that is followed goes on."""
        if self._handle is not None and self.state not in ENDED:
            with contextlib.suppress(OSError):
                (self.folder / CANCEL).touch()
            self._handle.kill()
            self.state = State.CANCELLED
        self._handle = self._said = self._logged = None
        if self.state not in ENDED:
            self.state = State.IDLE

    def _reset(self) -> None:
        self.exit_code, self.failure = None, ""
        self.log, self.messages = [], []
        self._heard = SimpleQueue()
        self._done = False
        self._handle = self._said = self._logged = self._newest = None

    def _read_process(self) -> list[Message]:
        found: list[Message] = []
        for _ in range(self._settings.lines_per_poll):
            try:
                item = self._heard.get_nowait()
            except Empty:
                break
            if isinstance(item, int):
                self._ended(item)
                break
            self._hear(item, found)
        return found

    def _read_files(self) -> list[Message]:
        assert self._said is not None and self._logged is not None
        found: list[Message] = []
        if self._said.is_another():
            self._newest = None
            self.log, self.messages, self.failure = [], [], ""
            self.state, self._since = State.STARTING, time.monotonic()
            self._said, self._logged = _Tail(self._said.path), _Tail(self._logged.path)
        self.log += self._logged.lines(self._settings.bytes_per_poll)
        for line in self._said.lines(self._settings.bytes_per_poll):
            self._since = time.monotonic()
            self._hear(line, found)
        return found

    def _hear(self, line: str, found: list[Message]) -> None:
        try:
            message = message_of(line)
        except ValueError as error:
            self._fail(str(error))
            return
        if message is None:
            self.log.append(line)
            return
        found.append(message)
        if isinstance(message, Hello) and self.state is not State.CANCELLING:
            self.state = State.RUNNING
        elif isinstance(message, SnapshotReady):
            self._newest = Path(message.file).name
        elif isinstance(message, Done):
            self._done = True
        elif isinstance(message, Failed):
            self.failure = message.text
        if self._said is not None:
            self._follow_state(message)

    def _follow_state(self, message: Message) -> None:
        if isinstance(message, Done):
            self.state, self.exit_code = State.DONE, 0
        elif isinstance(message, Cancelled):
            self.state, self.exit_code = State.CANCELLED, CANCELLED_CODE
        elif isinstance(message, Failed):
            self.state, self.exit_code = State.FAILED, message.exit_code
        elif self.state not in (State.CANCELLING, State.RUNNING):
            self.state, self.failure = State.RUNNING, ""

    def _ended(self, code: int) -> None:
        self.exit_code = code
        self._handle = None
        if code == 0 or self._done:  # what ends a process after its last word does not touch the result
            self.state = State.DONE
        elif code == CANCELLED_CODE or self.state is State.CANCELLING:
            self.state, self.failure = State.CANCELLED, ""
        elif self.failure:
            self.state = State.FAILED
        else:
            self._fail(f"The process that computes ended unexpectedly, {_code_in_words(code)}.")

    def _mind_the_clock(self) -> None:
        waited = time.monotonic() - self._since
        if self._handle is not None:
            self._beat()
            if self.state is State.STARTING and waited > self._settings.hello_within_s:
                self._handle.kill()
                self._handle = None
                self._fail(f"{self._python} did not begin to compute within {self._settings.hello_within_s:.0f} s.")
            elif self.state is State.CANCELLING and waited > self._settings.cancel_within_s:
                self._since = time.monotonic()
                self._handle.kill()
        elif self._said is not None and self.state not in ENDED and waited > self._settings.silent_s:
            self._fail(
                f"The process that computes in {self.folder} has said nothing for {waited:.0f} s: it may have been "
                "ended from outside. What it wrote is kept; resume the job to go on."
            )

    def _fail(self, text: str) -> None:
        self.state = State.FAILED
        last = self.log[-self._settings.lines :]
        self.failure = "\n".join([text, *(["Its last lines:", *last] if last else [])])

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= self._settings.beat_every_s:
            self._beaten = now
            with contextlib.suppress(OSError):
                (self.folder / HEARTBEAT).touch()


def worker_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which any Python finds this package, and nothing of the Python that runs here.

    base  what to begin with, by default this process's own
    """
    found = {k: v for k, v in (os.environ if base is None else base).items() if k not in _PYTHONS_OWN}
    found["PYTHONPATH"] = os.fspath(Path(__file__).resolve().parents[2])
    return found


_PYTHONS_OWN = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONNOUSERSITE", "__PYVENV_LAUNCHER__")


def launch_process(
    command: Sequence[str], environment: Mapping[str, str] | None, on_line: OnLine, on_end: OnEnd
) -> Handle:
    """Start a process without a window; a thread of its own reads its lines. Raises OSError where it cannot start."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=None if environment is None else dict(environment),
        encoding="utf-8",
        errors="replace",
        creationflags=flags,
    )
    assert process.stdout is not None
    threading.Thread(target=_listen, args=(process, process.stdout, on_line, on_end), daemon=True).start()
    return _Process(process)


def _listen(process: subprocess.Popen[str], lines: IO[str], on_line: OnLine, on_end: OnEnd) -> None:
    with lines:
        for line in lines:
            on_line(line.rstrip("\r\n"))
    on_end(process.wait())


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[str]

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self.process.kill()


class _Tail:
    """The lines that are added to a file of UTF-8, as they become whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        self._rest = b""
        self._first = b""

    def lines(self, most: int) -> list[str]:
        """Whole lines since the last call, from at most so many bytes."""
        with contextlib.suppress(OSError), open(self.path, "rb") as file:
            file.seek(self._at)
            read = file.read(most)
            self._at += len(read)
            *whole, self._rest = (self._rest + read).split(b"\n")
            if whole and not self._first:
                self._first = whole[0]
            return [line.decode("utf-8", "replace").rstrip("\r") for line in whole]
        return []

    def is_another(self) -> bool:
        """Whether the file was begun anew, by another run."""
        if not self._first:
            return False
        try:
            with open(self.path, "rb") as file:
                return file.read(len(self._first)) != self._first
        except OSError:
            return False


def _frames(folder: Path) -> list[str]:
    """Names of the frames, the newest first."""
    with contextlib.suppress(OSError):
        return sorted((n for n in os.listdir(folder) if n.endswith(".npz") and not n.startswith(".")), reverse=True)
    return []


def _code_in_words(code: int) -> str:
    if code < 0:
        return f"killed by signal {-code}" + (" (often: the system ran out of memory)" if code == -9 else "")
    return f"exit code {code}"

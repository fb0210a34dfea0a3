"""A job folder that a test fills as a worker would, and a real client and a real Running that follow it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSLib.worker.client import Client
from VesselFlowGSLib.worker.frames import write_frame
from VesselFlowGSLib.worker.job import FRAMES, LOG, MESSAGES, Job, write_job
from VesselFlowGSLib.worker.messages import Hello, Message, Progress, SnapshotReady, line_of
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case
from VesselFlowGSScene.running import Running


class ToldJob:
    """A job that says what a test wants it to say.

    running  the Running of its case, to be polled
    """

    def __init__(self, folder: Path, case: Case, appearance: Appearance | None = None) -> None:
        self.folder = folder
        write_job(folder, Job())
        (folder / FRAMES).mkdir()
        (folder / LOG).touch()
        (folder / MESSAGES).touch()
        self._frames = 0
        client = Client(folder)
        self.running = Running(case, client, appearance or Appearance(), client.follow)

    def say(self, *messages: Message) -> list[Message]:
        """The messages come, and are heard."""
        with (self.folder / MESSAGES).open("a", encoding="utf-8") as file:
            file.writelines(line_of(message) + "\n" for message in messages)
        return self.running.poll()

    def begin(self) -> None:
        self.say(Hello("0.1", 1, "cpu", "3.12"))

    def iterate(self, count: int, stage: str = "flow") -> None:
        """So many iterations, each with half the residual of the one before."""
        for k in range(count):
            self.say(Progress(stage, (k + 1) / count, f"iteration {k + 1}", 2.0 * k, 60.0, k, 0.5**k))

    def log(self, *lines: str) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
        self.running.poll()

    def send(self, snapshot: Snapshot) -> list[Message]:
        """A snapshot comes, as a file written whole."""
        self._frames += 1
        name = f"{self._frames:05d}.npz"
        write_frame(self.folder / FRAMES / name, snapshot)
        return self.say(SnapshotReady(name, snapshot.stage.value, snapshot.progress, snapshot.message, time.time()))


def logic_of(runs: dict[str, Running] | None = None) -> Any:
    """A stand-in for the module's logic that records what it is asked for in `asked`.

    runs  id of the case's node: its Running
    """
    known = runs if runs is not None else {}
    logic = SimpleNamespace(asked=[], runs=known)
    logic.running = lambda case: known.get(case.node.GetID()) if case is not None else None
    for name in ("start", "resume", "select", "open_result"):
        setattr(logic, name, lambda *arguments, name=name: logic.asked.append((name, arguments)))
    return logic

"""One job that runs, or ran, and the case of the scene that shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from VesselFlowGSLib.errors import VesselFlowError
from VesselFlowGSLib.results.snapshot import Snapshot, Stage
from VesselFlowGSLib.worker.client import Client, State
from VesselFlowGSLib.worker.messages import Message, Progress, SnapshotReady, Warned
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case
from VesselFlowGSScene.kept import keep_steps
from VesselFlowGSScene.show import show_steps

JOB = "VesselFlowGS.Job"
# of every poll, what a thread that writes or reads gets for sure: Qt may keep Python to its own thread in between
TURN_S = 0.02
# what is drawn at one poll, before the window gets its turn
STEP_S = 0.015
ENDED = frozenset({State.DONE, State.CANCELLED, State.FAILED})


class Running:
    """A job and its case: poll() brings the newest snapshot into the scene.

    prepare     what has to be written before the worker begins, in a thread; it must not touch the scene
    begin       starts the client, or lets it follow
    appearance  how the case is drawn; may be changed between polls
    on_snapshot called with every snapshot that was shown
    history     the progress messages that had a loss, for the convergence plot
    snapshot    the newest that was heard of; it is being drawn, or drawn
    settled     the job has ended, and its last snapshot is shown and kept
    """

    def __init__(
        self,
        case: Case,
        client: Client,
        appearance: Appearance,
        begin: Callable[[], None],
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.case, self.client, self.appearance = case, client, appearance
        self.snapshot: Snapshot | None = None
        self.progress: Progress | None = None
        self.history: list[Progress] = []
        self.warnings: list[str] = []
        self.on_snapshot: Callable[[Snapshot], None] | None = None
        self.settled = False
        self._keeping: Iterator[None] | None = None
        self._begin, self._prepare = begin, prepare
        self._error: Exception | None = None
        self._writing: threading.Thread | None = None
        self._reading: threading.Thread | None = None
        self._read_snapshot: Snapshot | None = None
        self._showing: Iterator[None] | None = None
        case.node.SetAttribute(JOB, str(client.folder))
        if prepare is None:
            begin()
        else:
            self._writing = threading.Thread(target=self._write, daemon=True)
            self._writing.start()

    @property
    def preparing(self) -> bool:
        """Whether the study is still being written."""
        return self._writing is not None

    @property
    def ended(self) -> bool:
        return self.client.state in ENDED

    def poll(self) -> list[Message]:
        """What the worker said since; the newest snapshot is shown. Cheap where nothing happened."""
        if self._writing is not None and not self._written():
            return []
        messages = self.client.poll()
        for message in messages:
            if isinstance(message, Progress):
                self.progress = message
                if message.loss is not None:
                    self.history.append(message)
            elif isinstance(message, Warned):
                self.warnings.append(message.text)
        for message in messages:
            if isinstance(message, SnapshotReady):
                self._take(message)
        if self._showing is not None:
            self._show_on()
        elif self._reading is not None:
            self._read_on()
        elif self.ended and not self.settled:
            self._keep_on()
        return messages

    def cancel(self) -> None:
        """Ask the worker to stop; what it computed stays."""
        if self._writing is not None:
            self._begin = self._do_not_begin
        self.client.cancel()

    def close(self) -> None:
        """Stop the worker without touching the scene, which may be closing."""
        self._begin = self._do_not_begin
        self._reading = self._showing = None
        self.client.close()

    def _keep_on(self) -> None:
        """One step of keeping the last snapshot in the scene; after the last step the run is settled."""
        if self._keeping is None:
            self._keeping = iter(()) if self.snapshot is None else keep_steps(self.case, self.snapshot)
        try:
            next(self._keeping)
        except StopIteration:
            self.settled = True

    def _do_not_begin(self) -> None:
        self.client.state = State.CANCELLED

    def _write(self) -> None:
        assert self._prepare is not None
        try:
            self._prepare()
        except Exception as error:
            self._error = error

    def _written(self) -> bool:
        """Whether the study has been written; then the worker is begun."""
        assert self._writing is not None
        self._writing.join(TURN_S)
        if self._writing.is_alive():
            return False
        self._writing = None
        try:
            if self._error is not None:
                raise self._error
            self._begin()
        except (VesselFlowError, OSError) as error:
            self.client.state, self.client.failure = State.FAILED, str(error)
        return True

    def _take(self, ready: SnapshotReady) -> None:
        if ready.stage == Stage.DONE.value:
            # the result's field is too large to be read between two pictures
            self._reading = threading.Thread(target=self._read, daemon=True)
            self._reading.start()
        elif self._reading is None:
            self._show(self.client.snapshot())

    def _read(self) -> None:
        self._read_snapshot = self.client.snapshot()

    def _read_on(self) -> None:
        assert self._reading is not None
        self._reading.join(TURN_S)
        if not self._reading.is_alive():
            self._reading = None
            self._show(self._read_snapshot)

    def _show(self, snapshot: Snapshot | None) -> None:
        """Begin to show a snapshot, in place of one that is still being drawn."""
        if snapshot is not None:
            self.snapshot = snapshot
            self._showing = show_steps(self.case, snapshot, self.appearance)
            self._show_on()

    def _show_on(self) -> None:
        """Draw for the time of one step; what is left is drawn at the next poll."""
        assert self._showing is not None and self.snapshot is not None
        begun = time.monotonic()
        while time.monotonic() - begun < STEP_S:
            try:
                next(self._showing)
            except StopIteration:
                self._showing = None
                if self.on_snapshot is not None:
                    self.on_snapshot(self.snapshot)
                return


def job_folder(case: Case) -> Path | None:
    """Where the case was computed, if that folder is still there."""
    text = case.node.GetAttribute(JOB)
    folder = Path(text) if text else None
    return folder if folder is not None and folder.is_dir() else None

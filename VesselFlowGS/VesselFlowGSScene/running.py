"""One job that runs, or ran, and the case of the scene that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSLib.worker.client import Client, State
from VesselFlowGSLib.worker.messages import Message, Progress, SnapshotReady, Warned
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case
from VesselFlowGSScene.kept import keep
from VesselFlowGSScene.show import show

JOB = "VesselFlowGS.Job"
ENDED = frozenset({State.DONE, State.CANCELLED, State.FAILED})


class Running:
    """A job and its case: poll() brings the newest snapshot into the scene.

    appearance  how the case is drawn; may be changed between polls
    on_snapshot called with every snapshot that was shown
    history     the progress messages that had a loss, for the convergence plot
    settled     the job has ended, and its last snapshot is shown and kept
    """

    def __init__(self, case: Case, client: Client, appearance: Appearance) -> None:
        self.case, self.client, self.appearance = case, client, appearance
        self.snapshot: Snapshot | None = None
        self.progress: Progress | None = None
        self.history: list[Progress] = []
        self.warnings: list[str] = []
        self.on_snapshot: Callable[[Snapshot], None] | None = None
        self.settled = False
        case.node.SetAttribute(JOB, str(client.folder))

    @property
    def ended(self) -> bool:
        return self.client.state in ENDED

    def poll(self) -> list[Message]:
        """What the worker said since; the newest snapshot is shown. Cheap where nothing happened."""
        messages = self.client.poll()
        for message in messages:
            if isinstance(message, Progress):
                self.progress = message
                if message.loss is not None:
                    self.history.append(message)
            elif isinstance(message, Warned):
                self.warnings.append(message.text)
        if any(isinstance(message, SnapshotReady) for message in messages):
            self._take()
        if self.ended and not self.settled:
            self.settled = True
            if self.snapshot is not None:
                keep(self.case, self.snapshot)
        return messages

    def cancel(self) -> None:
        """Ask the worker to stop; what it computed stays."""
        self.client.cancel()

    def close(self) -> None:
        """Stop the worker without touching the scene, which may be closing."""
        self.client.cancel()
        self.client.close()

    def _take(self) -> None:
        snapshot = self.client.snapshot()
        if snapshot is not None:
            self.snapshot = snapshot
            show(self.case, snapshot, self.appearance)
            if self.on_snapshot is not None:
                self.on_snapshot(snapshot)


def job_folder(case: Case) -> Path | None:
    """Where the case was computed, if that folder is still there."""
    text = case.node.GetAttribute(JOB)
    folder = Path(text) if text else None
    return folder if folder is not None and folder.is_dir() else None

"""The process that computes a job: what it does from beginning to end, and how it ends.

The engine is imported inside the functions, so that the first message comes at once, and so that a missing package can
be explained. Every end has its exit code and its message; what was computed is kept.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from VesselFlowGSLib import __version__
from VesselFlowGSLib.failures import ExitCode, explain
from VesselFlowGSLib.startup import let_threads_rest, stop_on_signals
from VesselFlowGSLib.worker.job import BESIDE_THE_RESULT, CANCEL, FRAMES, LOG, Job, read_job
from VesselFlowGSLib.worker.messages import (
    Cancelled,
    Done,
    Failed,
    Hello,
    Message,
    Progress,
    SnapshotReady,
    Warned,
)
from VesselFlowGSLib.worker.speaker import Speaker
from VesselFlowGSLib.worker.time_left import TimeLeft
from VesselFlowGSLib.worker.watch import Watch

if TYPE_CHECKING:
    from VesselFlowGSLib.reconstruction.live import Step
    from VesselFlowGSLib.results.export import ResultFolder
    from VesselFlowGSLib.results.snapshot import Snapshot


@dataclass(frozen=True)
class WorkerSettings:
    """frames_kept: the newest ones; checkpoint_every_s: of solving; progress_every_s: messages no denser than this;
    silent_s: after that the last progress is said again, with the clock gone on."""

    frames_kept: int = 2
    checkpoint_every_s: float = 10.0
    progress_every_s: float = 0.2
    silent_s: float = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute the job of the folder that is named; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m VesselFlowGSLib.worker JOB   (a folder with a job.json)", file=sys.stderr)
        return ExitCode.DONE if arguments in (["-h"], ["--help"]) else ExitCode.WRONG_INPUT
    stop_on_signals()
    let_threads_rest()
    return _Worker(Path(arguments[0]).absolute()).run()


@dataclass
class _Worker:
    """One job; what its steps share."""

    folder: Path
    settings: WorkerSettings = field(default_factory=WorkerSettings)

    def run(self) -> ExitCode:
        self.begun = time.monotonic()
        self.watch: Watch | None = None
        self.speaker = Speaker(self._nobody_listens)
        self.own_folder, self.anew = True, False
        code = ExitCode.DONE
        last: Message
        try:
            self._compute()
            last = Done(self._elapsed)
        except KeyboardInterrupt:
            code, last = self._cancelled()
        except Exception as error:
            code, last = self._failed(error)
        finally:
            # from here on a further wish to stop would only cut the last words off
            for name in ("SIGINT", "SIGTERM"):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
            if self.watch is not None:
                self.watch.stop()
        if self.own_folder and not self.speaker.is_open and self.folder.is_dir():
            with contextlib.suppress(OSError):
                self.speaker.open(self.folder, self.anew)
        self.speaker.close(last)
        return code

    @property
    def _elapsed(self) -> float:
        return round(time.monotonic() - self.begun, 3)

    def _nobody_listens(self) -> None:
        if self.watch is not None:
            self.watch.deaf()

    def _compute(self) -> None:
        job = read_job(self.folder)
        self.anew = not job.resume
        self.speaker.say(Hello(__version__, os.getpid(), job.device, f"{platform.python_version()} {sys.executable}"))
        self.teller = Teller(self.speaker.say, self.settings)
        self.teller.tell(0.0, "starting", "geometry")
        self.watch = Watch(self.folder, job.heartbeat_s, self.teller.tick)
        self.watch.start()
        keep_names_out_of_the_log()
        tell_the_log()
        from VesselFlowGSLib.results.export import ResultFolder

        # until it is locked, another worker may be writing there
        self.own_folder = False
        with ResultFolder(self.folder, beside=BESIDE_THE_RESULT) as result:
            self.own_folder = True
            self.speaker.open(self.folder, self.anew)
            frames = Frames(self.folder / FRAMES, self.settings.frames_kept, self.anew)
            self._reconstruct(job, result, frames)

    def _reconstruct(self, job: Job, result: ResultFolder, frames: Frames) -> None:
        study_folder = self.folder / job.study
        if job.phantom is not None:
            from VesselFlowGSLib.worker.phantom import first_sight, write_phantom

            seen = first_sight(job.phantom)
            if seen is not None:
                self._show(frames, seen)
            write_phantom(study_folder, job.phantom, job.seed, lambda what, _: self.teller.tell(0.0, what, "geometry"))
        self.teller.tell(0.0, "loading the engine", "geometry")
        from VesselFlowGSLib.acquisition.reader import read_study
        from VesselFlowGSLib.reconstruction.checkpoint import load_checkpoint
        from VesselFlowGSLib.reconstruction.live import Live
        from VesselFlowGSLib.reconstruction.reconstruct import reconstruct
        from VesselFlowGSLib.reconstruction.settings import load_settings, overlaid

        settings = load_settings(None, job.preset, job.quality, job.device, job.seed)
        if job.phantom is not None and not job.phantom.images and job.quality == "preview":
            from VesselFlowGSLib.worker.phantom import FOR_TEACHING

            settings = overlaid(settings, FOR_TEACHING, "phantom")
        settings = overlaid(settings, job.settings, "job.json: settings")
        self.teller.tell(0.0, "reading the study", "geometry")
        study = read_study(study_folder)
        for note in study.notes:
            print(note)
        start = load_checkpoint(self.folder) if job.resume else None
        if job.resume and start is None:
            print("There is no usable checkpoint: starting anew.")
        if start is None and job.phantom is not None and not job.phantom.images:
            from VesselFlowGSLib.worker.phantom import given_checkpoint

            start = given_checkpoint(study, settings, job.phantom)
        warned: set[str] = set()
        written_stage, written_at = None, time.monotonic()
        for snapshot in reconstruct(study, settings, start, self.teller.step, Live()):
            for text in snapshot.warnings:
                if text not in warned:
                    warned.add(text)
                    self.speaker.say(Warned(text))
            self._show(frames, snapshot)
            if snapshot.checkpoint is None:
                continue
            if snapshot.stage.value == "done":
                self.teller.tell(1.0, "writing the result", "done")
            if snapshot.stage is not written_stage:
                result.write(snapshot)
                written_stage, written_at = snapshot.stage, time.monotonic()
            elif time.monotonic() - written_at > self.settings.checkpoint_every_s:
                result.keep(snapshot)
                written_at = time.monotonic()

    def _show(self, frames: Frames, snapshot: Snapshot) -> None:
        name = frames.write(snapshot)
        text, part = snapshot.message, round(snapshot.progress, 4)
        self.speaker.say(SnapshotReady(name, snapshot.stage.value, part, text, time.time()))

    def _cancelled(self) -> tuple[ExitCode, Cancelled]:
        reason = self.watch.reason if self.watch is not None else ""
        with contextlib.suppress(OSError):
            # a wish that was fulfilled; else the folder could not be used again
            (self.folder / CANCEL).unlink(missing_ok=True)
        return ExitCode.CANCELLED, Cancelled(f"{reason or 'Stopped from outside.'} {self._kept()}")

    def _kept(self) -> str:
        if any((place / "checkpoint.npz").is_file() for place in (self.folder, self.folder / ".unfinished")):
            return "What was computed so far is kept; resume the job to go on from there."
        return "The vessel had not been found yet: nothing was computed that could be kept."

    def _failed(self, error: Exception) -> tuple[ExitCode, Failed]:
        code, text = explain(error, f"the log ({LOG} in the folder of the job)")
        if code is ExitCode.FAILED:
            traceback.print_exception(error)
        if code is ExitCode.OUT_OF_RESOURCES:
            text = f"{text} {self._kept()}"
        return code, Failed(int(code), text)


class Teller:
    """From the engine's steps to messages about progress, no denser than a person can use."""

    def __init__(
        self, say: Callable[[Message], None], settings: WorkerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._settings, self._clock = say, settings, clock
        self._begun, self._said = clock(), -1e9
        self._left = TimeLeft(clock=clock)
        self._last: Progress | None = None
        self._lock = threading.Lock()

    def step(self, step: Step) -> None:
        """Pass a step of the engine on."""
        self._left.told(step.part)
        self.tell(step.part, step.doing, step.stage.value, step.iteration, step.loss)

    def tell(
        self, part: float, doing: str, stage: str, iteration: int | None = None, loss: float | None = None
    ) -> None:
        with self._lock:
            other = self._last is None or iteration is None or self._last.iteration is None
            self._last = Progress(stage, round(part, 4), doing, 0.0, None, iteration, loss)
            if other or self._clock() - self._said >= self._settings.progress_every_s:
                self._say_last()

    def tick(self) -> None:
        """Say the last progress again where nothing has been said for a while."""
        with self._lock, contextlib.suppress(OSError):
            if self._last is not None and self._clock() - self._said >= self._settings.silent_s:
                self._say_last()

    def _say_last(self) -> None:
        assert self._last is not None
        now = self._clock()
        left = self._left.left_s()
        self._said = now
        p = self._last
        elapsed, rest = round(now - self._begun, 2), None if left is None else round(left, 1)
        self._say(Progress(p.stage, p.part, p.doing, elapsed, rest, p.iteration, p.loss))


class Frames:
    """The folder of the frames: the newest ones are kept.

    Raises OSError where the folder cannot be written.
    """

    def __init__(self, folder: Path, kept: int, anew: bool) -> None:
        self._folder, self._kept = folder, kept
        folder.mkdir(exist_ok=True)
        for torn in folder.glob(".*.part"):
            torn.unlink(missing_ok=True)
        self._names = sorted(path.name for path in folder.glob("snapshot_*.npz"))
        if anew:
            for name in self._names:
                (folder / name).unlink(missing_ok=True)
            self._names = []
        self._number = int(self._names[-1].split("_")[1].split(".")[0]) if self._names else 0

    def write(self, snapshot: Snapshot) -> str:
        """Write the snapshot; its file's name."""
        from VesselFlowGSLib.worker.frames import write_frame

        self._number += 1
        name = f"snapshot_{self._number:06d}.npz"
        write_frame(self._folder / name, snapshot)
        self._names.append(name)
        while len(self._names) > self._kept:
            # one that is being read, on a system that holds it then, goes with the next
            with contextlib.suppress(PermissionError):
                (self._folder / self._names[0]).unlink(missing_ok=True)
                del self._names[0]
                continue
            break
        return name


def tell_the_log() -> None:
    """What the engine notes on its way goes to the log: which backend computes what, and what it goes without."""
    engine = logging.getLogger("VesselFlowGSLib")
    if not engine.handlers:
        engine.setLevel(logging.INFO)
        engine.addHandler(logging.StreamHandler())


def keep_names_out_of_the_log() -> None:
    """Libraries that read DICOM quote values of the header in their warnings, and so, perhaps, a person's name."""
    warnings.filterwarnings("ignore", module=r"pydicom(\..*)?$")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)

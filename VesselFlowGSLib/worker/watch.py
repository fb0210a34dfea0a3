"""Looks, in a thread of its own, whether the job shall stop, and then interrupts the work as Ctrl-C would."""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from VesselFlowGSLib.worker.job import CANCEL, HEARTBEAT


@dataclass(frozen=True)
class WatchSettings:
    """look_every_s: how often it looks; again_s: an interruption that did not end the work is repeated after that."""

    look_every_s: float = 0.2
    again_s: float = 5.0


class Watch:
    """Watches the file cancel, the heartbeat and the parent process until stopped.

    heartbeat_s  as in the job; None: neither heartbeat nor parent matter
    tick         called at every look
    reason       why the work was interrupted; "" where it was not
    """

    def __init__(
        self,
        folder: Path,
        heartbeat_s: float | None,
        tick: Callable[[], None] = lambda: None,
        interrupt: Callable[[], None] = _thread.interrupt_main,
        settings: WatchSettings = WatchSettings(),
    ) -> None:
        self.reason = ""
        self._folder, self._heartbeat_s = folder, heartbeat_s
        self._tick, self._interrupt, self._settings = tick, interrupt, settings
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._parent = _parent()
        self._beat: int | None = None
        self._beaten = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No interruption comes after this returns."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def deaf(self) -> None:
        """Nobody reads the standard output any more."""
        if self._heartbeat_s is not None and not self.reason:
            self.reason = "The program that started this job is gone: the job ends."

    def _look_on(self) -> None:
        interrupted = -1e9
        while not self._end.wait(self._settings.look_every_s):
            self._tick()
            self.reason = self.reason or self._why_stop()
            now = time.monotonic()
            if self.reason and now - interrupted > self._settings.again_s:
                interrupted = now
                self._interrupt()

    def _why_stop(self) -> str:
        if (self._folder / CANCEL).exists():
            return "Cancelled."
        if self._heartbeat_s is None:
            return ""
        if _parent() != self._parent:
            return "The program that started this job is gone: the job ends."
        # its own clock alone, since a shared disk may keep another time
        beat = _modified(self._folder / HEARTBEAT)
        now = time.monotonic()
        if beat != self._beat:
            self._beat, self._beaten = beat, now
        if now - self._beaten > self._heartbeat_s:
            return (
                f"The program that watches this job has given no sign of life for {self._heartbeat_s:g} s "
                f"(the file {HEARTBEAT}): the job ends."
            )
        return ""


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _parent() -> int | None:
    """The parent process, where a change of it means that it is gone."""
    return None if sys.platform == "win32" else os.getppid()

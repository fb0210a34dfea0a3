"""The worker's voice: messages on its standard output and in the job's folder, log text in log.txt and beside them."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from VesselFlowGSLib.worker.job import LOG, MESSAGES
from VesselFlowGSLib.worker.messages import Message, line_of

ECHO_EVERY_S = 0.2
ECHO_BYTES = 1 << 16


class Speaker:
    """Says messages and passes log text on. May be used from several threads.

    deaf  called, once, when nobody reads the standard output any more
    """

    def __init__(self, deaf: Callable[[], None] = lambda: None) -> None:
        sys.stdout.flush()
        self._out: IO[bytes] | None = os.fdopen(os.dup(1), "wb", buffering=0)
        self._deaf = deaf
        self._lock = threading.Lock()
        self._early: list[str] = []
        self._messages: IO[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._end = threading.Event()
        self._echo: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        return self._messages is not None

    def open(self, folder: Path, anew: bool) -> None:
        """From now on messages are kept in the folder too, and all that this process prints goes to its log.

        anew  forget those of an earlier run
        Raises OSError where the folder cannot be written.
        """
        mode = "wb" if anew else "ab"
        with self._lock:
            kept = open(folder / MESSAGES, mode, buffering=0)  # noqa: SIM115
            for line in self._early:
                kept.write(f"{line}\n".encode())
            self._messages = kept
        log = open(folder / LOG, mode, buffering=0)  # noqa: SIM115
        begin = log.seek(0, os.SEEK_END)
        log.close()
        # a file, not a pipe: what a crash leaves behind is in it, and no library waits for a reader
        writing = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError):
                stream.flush()
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
        faulthandler.enable(file=2)
        self._log = open(folder / LOG, "rb", buffering=0)  # noqa: SIM115
        self._log.seek(begin)
        self._echo = threading.Thread(target=self._pass_on, daemon=True)
        self._echo.start()

    def say(self, message: Message) -> None:
        """Say it. Raises OSError where it cannot be kept in the folder."""
        line = line_of(message)
        with self._lock:
            self._print(f"{line}\n".encode())
            if self._messages is None:
                self._early.append(line)
            else:
                # one write, so that a reader never sees half of a line for long
                self._messages.write(f"{line}\n".encode())

    def close(self, last: Message | None = None) -> None:
        """Pass the rest of the log on, then say the last message; a full disk does not matter any more."""
        self._end.set()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()
        if self._echo is not None:
            self._echo.join()
        if last is not None:
            with contextlib.suppress(OSError):
                self.say(last)
        with self._lock:
            for file in (self._messages, self._log):
                if file is not None:
                    with contextlib.suppress(OSError):
                        file.close()
            self._messages = self._log = None

    def _pass_on(self) -> None:
        assert self._log is not None
        rest = b""
        ending = False
        while not ending:
            ending = self._end.wait(ECHO_EVERY_S)
            while read := self._log.read(ECHO_BYTES):
                *lines, rest = (rest + read).split(b"\n")
                if lines:
                    with self._lock:
                        self._print(b"\n".join(lines) + b"\n")
        if rest:
            with self._lock:
                self._print(rest + b"\n")

    def _print(self, content: bytes) -> None:
        if self._out is None:
            return
        try:
            while content:
                content = content[self._out.write(content) or len(content) :]
        except OSError:
            # whoever started this is gone, or does not want to hear any more; the folder still tells everything
            self._out = None
            self._deaf()

"""What a process that computes does first, before the numerical libraries are imported."""

from __future__ import annotations

import os
import signal


def let_threads_rest() -> None:
    """Idle threads of the numerical libraries sleep instead of spinning; must come before they are imported.

    Two libraries with a pool of threads each, spinning on the same cores, can be ten times slower than one.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def stop_on_signals() -> None:
    """Every wish to stop raises KeyboardInterrupt; from the main thread alone.

    Schedulers end a job with SIGTERM: the same to us as Ctrl-C, which a shell's background jobs would ignore.
    """
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.default_int_handler)

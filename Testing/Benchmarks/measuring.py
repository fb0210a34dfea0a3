"""How time and memory are taken, so that a busy machine spoils no figure."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from table import ROOT

ALONE = Path(__file__).parent / "operators_alone.py"
BUSY_BYTES = 48 << 20  # hashed by each of two threads to see whether two cores are free
TWO_CORES = 1.9


def cpu_ms(*works: Callable[[], Any], rounds: int = 5) -> list[float]:
    """Milliseconds of processor time of each, of all its threads together: the least of several.

    They take turns, so that a busy time hits all of them; the first turn does not count.
    """
    for work in works:
        work()
    taken = [[_cpu_s(work) for work in works] for _ in range(rounds)]
    return [1e3 * min(column) for column in zip(*taken, strict=True)]


def _cpu_s(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def wall_ms(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begun)


def gpu_ms(work: Callable[[], Any], repeats: int = 20) -> float:
    """Milliseconds on the GPU's clock: the median of several, after three that do not count."""
    import torch

    for _ in range(3):
        work()
    taken = []
    for _ in range(repeats):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        ended.synchronize()
        taken.append(begun.elapsed_time(ended))
    return statistics.median(taken)


def two_free_cores() -> bool:
    """Whether two threads get a core each, seen by trying."""
    if (os.cpu_count() or 1) < 2:
        return False
    block = bytes(BUSY_BYTES)
    threads = [threading.Thread(target=lambda: hashlib.sha256(block).digest()) for _ in range(2)]
    begun, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.process_time() - used > TWO_CORES * (time.perf_counter() - begun)


def alone(what: str, *arguments: object, **variables: str) -> dict[str, Any]:
    """The answer of operators_alone.py, run in a process of its own with these environment variables."""
    done = subprocess.run(
        [sys.executable, str(ALONE), what, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **variables},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{what} {arguments} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer

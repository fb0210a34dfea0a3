"""Kernels on several threads of our own: numba's own layers would load a second OpenMP or abort the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

# What every kernel is compiled with: it releases the interpreter's lock and is kept on disk.
COMPILED: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "boundscheck": False}


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="gaussians")


def run(threads: int, kernel: Callable[..., None], parts: Sequence[tuple[Any, ...]], *shared: Any) -> None:
    """kernel(*part, *shared) for every part, on so many threads. Parts must not write to the same place."""
    if threads <= 1 or len(parts) <= 1:
        for part in parts:
            kernel(*part, *shared)
        return
    for done in [_pool(threads).submit(kernel, *part, *shared) for part in parts]:
        done.result()


def ranges(count: int, parts: int, least: int = 1) -> list[tuple[int, int]]:
    """Half-open ranges that divide `count` into nearly equal parts of at least so many: handing one to a thread costs
    0.1 ms."""
    parts = max(1, min(parts, count // least))
    edges = [count * k // parts for k in range(parts + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))

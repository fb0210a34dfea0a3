"""Which operators and backends there are, and how one is chosen: tests and benchmarks run from this declaration.

An operator `project` of a backend `numba` is the function `project` in backends/numba/project.py. Nothing of a backend
is imported before it is chosen, and one whose library is missing or broken is passed over.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

from VesselFlowGSLib.errors import InstallationError

log = logging.getLogger(__name__)

BACKEND_VARIABLE, THREADS_VARIABLE = "VESSELFLOWGS_BACKEND", "VESSELFLOWGS_THREADS"
_preferred: ContextVar[tuple[str, int]] = ContextVar("preferred", default=("auto", 0))
_failed: set[str] = set()


@dataclass(frozen=True)
class Backend:
    """One implementation of some operators.

    operators       names of what it computes
    devices         device types that it runs on
    precisions      of the parameters that it takes
    rank            "auto" takes the available backend of the lowest rank; a negative one is taken by name alone
    library         what must be installed, None: nothing that the engine does not need anyway
    differentiable  gradients reach Gaussians, weights and views
    """

    name: str
    operators: tuple[str, ...]
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    rank: int
    library: str | None = None
    differentiable: bool = True

    @property
    def available(self) -> bool:
        """Whether its library is there and can be imported, and its kernels have not failed in this process."""
        return self.name not in _failed and (self.library is None or _importable(self.library))

    def operator(self, name: str) -> Callable[..., Any]:
        """The function, imported now."""
        module = importlib.import_module(f"VesselFlowGSLib.gaussians.backends.{self.name}.{name}")
        function: Callable[..., Any] = getattr(module, name)
        return function


BOTH = ("float32", "float64")
BACKENDS: tuple[Backend, ...] = (
    Backend("warp", ("project", "density", "composite"), ("cuda",), ("float32",), 10, library="warp"),
    Backend("gsplat", ("composite",), ("cuda",), ("float32",), 20, library="gsplat", differentiable=False),
    Backend("numba", ("project", "density", "composite"), ("cpu",), ("float32",), 30, library="numba"),
    Backend("torch", ("project", "density", "composite"), ("cpu", "cuda", "mps", "xpu"), BOTH, 40),
    Backend("reference", ("project", "density", "composite"), ("cpu",), BOTH, -1, differentiable=False),
)
OPERATORS = ("project", "density", "composite")


@cache
def _importable(library: str) -> bool:
    if importlib.util.find_spec(library) is None:
        return False
    try:
        importlib.import_module(library)
    except Exception as error:  # a half-installed library fails with anything
        log.warning("%s is installed but cannot be used (%s: %s)", library, type(error).__name__, error)
        return False
    return True


@contextlib.contextmanager
def preferring(backend: str = "auto", threads: int = 0) -> Iterator[None]:
    """Within it "auto" is that backend, where it has the operator and runs, and 0 threads are so many.

    Goes before the environment's variables. Raises InstallationError where the backend is unknown or not installed.
    """
    named = [b for b in BACKENDS if b.name == backend]
    if backend != "auto" and not any(b.available for b in named):
        known = ", ".join(b.name for b in BACKENDS if b.available)
        why = f"needs {named[0].library}, which cannot be imported" if named else "is unknown"
        raise InstallationError(f"The backend {backend!r} {why}; use auto or one of: {known}.")
    before = _preferred.set((backend, threads))
    try:
        yield
    finally:
        _preferred.reset(before)


def pass_over(backend: Backend, why: Exception) -> None:
    """From now on this process goes without a backend, since its kernels fail here."""
    log.warning("the backend %s does not work here (%s: %s)", backend.name, type(why).__name__, why)
    _failed.add(backend.name)


def choose(operator: str, name: str = "auto", device: str = "cpu", precision: str = "float32") -> Backend:
    """The backend of that name, or for "auto" the preferred one (`preferring`, VESSELFLOWGS_BACKEND), else the best.

    A preferred backend that lacks the operator or does not run here is passed over.
    Raises InstallationError where the name is unknown, or cannot be used here.
    """
    usable = [
        b
        for b in BACKENDS
        if operator in b.operators and device in b.devices and precision in b.precisions and b.available
    ]
    preferred = _preferred.get()[0]
    if preferred == "auto":
        preferred = os.environ.get(BACKEND_VARIABLE, "auto")
    if name == "auto" and any(b.name == preferred for b in usable):
        name = preferred
    for backend in usable:
        if backend.name == name:
            return _told(operator, backend, device)
    known = ", ".join(b.name for b in usable)
    if name != "auto":
        raise InstallationError(
            f"No backend {name!r} for {operator} on {device} in {precision}; use auto or one of: {known}."
        )
    ranked = [b for b in usable if b.rank >= 0]
    if not ranked:
        raise InstallationError(f"No backend for {operator} on {device} in {precision}; use the CPU.")
    return _told(operator, min(ranked, key=lambda b: b.rank), device)


def chosen(device: str = "cpu") -> dict[str, str]:
    """The name of the backend that "auto" is on a device, for each operator."""
    return {operator: choose(operator, device=device).name for operator in OPERATORS}


@cache
def _told(operator: str, backend: Backend, device: str) -> Backend:
    log.info("%s: %s on %s", operator, backend.name, device)
    return backend


def threads_to_use(asked: int = 0) -> int:
    """Threads of the CPU backends: what was asked for, else `preferring`, else VESSELFLOWGS_THREADS, else every core
    of this process."""
    asked = asked if asked > 0 else _preferred.get()[1]
    if asked > 0:
        return asked
    wanted = os.environ.get(THREADS_VARIABLE, "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""`kernel`: a function compiled by numba, whose machine code is kept on disk until a source changes.

numba's own cache looks at the file of the function alone, and would go on with stale code after a change in another
file that the function calls or takes a constant from. Here the folder is named by all the sources. What cannot be
kept, since nothing is writable or the disk is full, is compiled again in each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from VesselFlowGSLib.gaussians.backends.user_cache import user_cache

log = logging.getLogger(__name__)

Function = Callable[..., Any]

HERE = Path(__file__).resolve().parent
SOURCES = (HERE, HERE.parents[1])  # the kernels, and the mathematics that they take constants from
KEPT_FOLDERS = 3  # of earlier sources: other installations may use them


def kernel(**options: Any) -> Callable[[Function], Function]:
    """Decorates as `numba.njit` with these options does; the machine code is kept on disk and loaded from there."""
    options.pop("cache", None)

    def compiled(function: Function) -> Function:
        dispatcher: Any = numba.njit(**options)(function)
        folder = cache_folder()
        if folder is not None and hasattr(dispatcher, "enable_caching"):  # not so with NUMBA_DISABLE_JIT
            dispatcher._cache = _KeptOnDisk(function)
        kept: Function = dispatcher
        return kept

    return compiled


@cache
def cache_folder() -> Path | None:
    """Where the machine code of these sources is kept: NUMBA_CACHE_DIR, the user's cache, or beside the sources.

    None where none of them can be written, or the sources cannot be read.
    """
    name = fingerprint(*SOURCES)
    if name is None:
        return None
    for parent in _parents():
        folder = parent / name
        new = not folder.is_dir()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        if new:
            _remove_oldest(parent, KEPT_FOLDERS + 1)
        return folder
    log.info("kernels are compiled anew in each process: no cache folder can be written")
    return None


def fingerprint(*folders: Path) -> str | None:
    """A name for the contents of the Python sources in these folders, and the compiler; None where there are none."""
    digest, count = hashlib.sha256(numba.__version__.encode()), 0
    try:
        for folder in folders:
            for file in sorted(folder.glob("*.py")) or sorted(folder.glob("*.pyc")):
                content = file.read_bytes()
                digest.update(f"{file.name} {len(content)} ".encode() + content)
                count += 1
    except OSError:
        return None
    return digest.hexdigest()[:24] if count else None


def _parents() -> list[Path]:
    own = "vesselflowgs-kernels"
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    found = [Path(wanted) / own] if wanted else []
    with contextlib.suppress(RuntimeError):  # nobody's home is known
        found.append(user_cache() / own)
    return [*found, HERE / "__pycache__" / own]


def _remove_oldest(parent: Path, kept: int) -> None:
    """Leaves the folders that were made last."""
    with contextlib.suppress(OSError):
        folders = sorted((f for f in parent.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
        for folder in folders[kept:]:
            shutil.rmtree(folder, ignore_errors=True)


class _Place:
    """Where numba looks for the machine code of one function."""

    def __init__(self, function: Function, file: str, folder: Path) -> None:
        self._py_file, self._folder = file, folder  # numba's name, for its warnings
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Function, file: str) -> _Place | None:
        folder = cache_folder()
        return None if folder is None else cls(function, file, folder)

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._folder.name

    def get_disambiguator(self) -> str:
        return f"{Path(self._py_file).parent.name}{self._line}"


class _Contents(CompileResultCacheImpl):
    _locator_classes: list[Any] = [_Place]


class _KeptOnDisk(FunctionCache):
    """numba's cache of one function, where neither a full disk nor a damaged file is an error."""

    _impl_class = _Contents

    def load_overload(self, signature: Any, target: Any) -> Any:
        try:
            found = super().load_overload(signature, target)
        except Exception as error:  # a damaged file fails with anything
            log.info("%s is compiled anew: what was kept cannot be read (%s)", self._name, error)
            with contextlib.suppress(OSError):
                self.flush()
            return None
        # Two processes that begin together may have given one name to different code.
        arguments = getattr(signature, "args", signature)
        return found if found is not None and tuple(found.signature.args) == tuple(arguments) else None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            super().save_overload(signature, compiled)
        except OSError as error:
            log.info("%s is not kept for the next process: %s", self._name, error)
            self.disable()

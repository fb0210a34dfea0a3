"""Kernels for NVIDIA GPUs, compiled by Warp when they are first used. They run on the CPU as well, for tests.

Memory is torch's and the work is put on torch's current stream, so that neither waits for the other.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import warp as wp


def _cache_folder() -> str:
    """A folder for compiled kernels; one for this process alone where the user has none that can be written."""
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "vesselflowgs-warp"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return str(folder)
    except (OSError, RuntimeError):  # nothing can be written there, or nobody's home is known
        passing = tempfile.mkdtemp(prefix="vesselflowgs-warp-")
        atexit.register(shutil.rmtree, passing, ignore_errors=True)
        return passing


# Warp greets on standard output, which belongs to the command line's own messages.
wp.config.log_level = wp.LOG_WARNING
if "WARP_CACHE_PATH" not in os.environ and wp.config.kernel_cache_dir is None:
    wp.config.kernel_cache_dir = _cache_folder()
wp.init()

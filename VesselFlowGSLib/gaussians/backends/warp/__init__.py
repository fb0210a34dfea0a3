"""Kernels for NVIDIA GPUs, compiled by Warp when they are first used. They run on the CPU as well, for tests.

Memory is torch's and the work is put on torch's current stream, so that neither waits for the other.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import warp as wp

from VesselFlowGSLib.gaussians.backends.user_cache import user_cache


def _cache_folder() -> str:
    """A folder for compiled kernels; one for this process alone where the user has none that can be written."""
    try:
        folder = user_cache() / "vesselflowgs-warp"
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

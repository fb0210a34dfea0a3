"""What a failure means for the process that it ends: its exit code, and one or two lines for a person."""

from __future__ import annotations

import errno
import re
import sys
from enum import IntEnum

from VesselFlowGSLib.errors import VesselFlowError


class ExitCode(IntEnum):
    """What command line and worker end with."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    CANCELLED = 3
    OUT_OF_RESOURCES = 4
    WRONG_INSTALLATION = 5


# Where the package that pip installs has another name than the module.
PIP_NAMES = {"gdcm": "python-gdcm", "skimage": "scikit-image", "vtkmodules": "vtk"}


def explain(error: Exception, with_report: str) -> tuple[ExitCode, str]:
    """The exit code of an exception, and the one or two lines that say what is wrong and what to do.

    with_report  what to send along when an unexpected failure is reported
    """
    if isinstance(error, VesselFlowError):
        return ExitCode(error.exit_code), str(error)
    if isinstance(error, MemoryError) or _torch_ran_out_of_memory(error):
        return ExitCode.OUT_OF_RESOURCES, (
            "Out of memory. Close other programs, take quality preview, or give a smaller region_lps_mm in study.toml."
        )
    if isinstance(error, ImportError):
        return ExitCode.WRONG_INSTALLATION, _installation(error)
    if isinstance(error, OSError):
        return _file_system(error)
    return ExitCode.FAILED, (
        f"Failed unexpectedly: {type(error).__name__}: {_first_line(error)}\n"
        f"Please report it, with {with_report} (mind patient data)."
    )


def _torch_ran_out_of_memory(error: Exception) -> bool:
    # By name and text, since torch may not be imported, and its CPU allocator raises a plain RuntimeError.
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"can't allocate memory|not enough memory", str(error)))


def _installation(error: ImportError) -> str:
    library = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", str(error))
    if library:
        return (
            f"The system library {library[1]} is missing. "
            "On Debian or Ubuntu: apt-get install libegl1 libgl1 libgl1-mesa-dri"
        )
    module = (error.name or "").split(".")[0]
    if not module or module == "VesselFlowGSLib":
        return (
            f"The installation of VesselFlowGS is incomplete: {_first_line(error)}.\n"
            f"Install it again: {sys.executable} -m pip install --force-reinstall --no-deps vesselflowgs"
        )
    package = PIP_NAMES.get(module, module)
    return (
        f"The Python package {package} is missing or damaged: {_first_line(error)}.\n"
        f"Install it: {sys.executable} -m pip install --upgrade {package}"
    )


def _file_system(error: OSError) -> tuple[ExitCode, str]:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            ExitCode.OUT_OF_RESOURCES,
            f"{where}the disk is full. Free some space, then resume (on the command line: --resume).",
        )
    if error.errno == errno.ENOMEM:
        return ExitCode.OUT_OF_RESOURCES, f"{where}out of memory. Close other programs or take quality preview."
    if error.filename and error.errno in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    ):
        return ExitCode.WRONG_INPUT, f"{where}{error.strerror}. Check the path and its permissions."
    return ExitCode.FAILED, f"{where}{error.strerror or error}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".")

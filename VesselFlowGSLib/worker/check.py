"""Whether this Python has what the engine needs: python -m VesselFlowGSLib.worker.check

Needs the standard library alone and runs on a Python that is too old for the engine, so that it can say so. While it
looks it prints one line of text per subject, so that a crash can be told from its last line; a report is a line that
begins with MARK, and the last one counts.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable, Sequence  # noqa: UP035  (this file runs on a Python that is too old)

from VesselFlowGSLib import __version__

MARK = '{"vesselflowgs_check":'
SCHEMA = 1
EXIT_GOOD = 0
EXIT_WRONG_INSTALLATION = 5

ERROR = "error"  # a reconstruction would fail
WARNING = "warning"  # it works, but not as it could
NOTE = "note"

OLDEST_PYTHON = (3, 11)
FIRST_PYTHON_TOO_NEW = (3, 14)


@dataclass(frozen=True)
class Needed:
    """A package: its name for pip, the oldest version that serves, what is imported to see whether it works.

    version_at  where the version stands, as module:attribute; a method is called
    bundled     whether 3D Slicer brings it itself
    optional    whether the engine computes without it, only slower
    without     what is slower then
    for_cards   of use with an NVIDIA card alone
    """

    name: str
    floor: str
    imports: tuple[str, ...]
    version_at: str
    bundled: bool = False
    optional: bool = False
    without: str = ""
    for_cards: bool = False


# The floors are those of pyproject.toml. Compiled parts are imported, since it is they that break.
NEEDED = (
    Needed("numpy", "1.26", ("numpy", "numpy.linalg"), "numpy:__version__", bundled=True),
    Needed("scipy", "1.12", ("scipy.sparse", "scipy.ndimage", "scipy.spatial"), "scipy:__version__", bundled=True),
    Needed("SimpleITK", "2.3", ("SimpleITK",), "SimpleITK:Version_VersionString", bundled=True),
    Needed("pydicom", "3.0", ("pydicom",), "pydicom:__version__", bundled=True),
    Needed(
        "vtk",
        "9.4",
        ("vtkmodules.vtkCommonDataModel", "vtkmodules.util.numpy_support"),
        "vtkmodules.vtkCommonCore:vtkVersion.GetVTKVersion",
        bundled=True,
    ),
    Needed("python-gdcm", "3.0.24", ("gdcm",), "gdcm:Version.GetVersion"),
    Needed("scikit-image", "0.22", ("skimage.measure", "skimage.morphology"), "skimage:__version__"),
    Needed("matplotlib", "3.8", ("matplotlib.backends.backend_agg",), "matplotlib:__version__"),
    Needed("tqdm", "4.60", ("tqdm",), "tqdm:__version__"),
    Needed("torch", "2.4", ("torch",), "torch:__version__"),
    Needed(
        "numba",
        "0.59",
        ("numba",),
        "numba:__version__",
        optional=True,
        without="projecting and drawing Gaussians is slower on the processor",
    ),
    Needed(
        "warp-lang",
        "1.15",
        ("warp",),
        "warp:__version__",
        optional=True,
        without="projecting and drawing Gaussians is slower on the graphics card",
        for_cards=True,
    ),
)


@dataclass(frozen=True)
class CheckSettings:
    """Below low_* a reconstruction is likely to fail, below fair_* large studies may; in GiB. seconds: of a probe."""

    low_memory_gib: float = 4.0
    fair_memory_gib: float = 8.0
    low_disk_gib: float = 1.0
    fair_disk_gib: float = 5.0
    probe_seconds: float = 60.0


@dataclass(frozen=True)
class Package:
    """What was found of a package. state: good, missing, outdated, broken; version: empty where it is not known."""

    name: str
    needed: str
    version: str
    state: str
    optional: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Problem:
    """severity: error, warning or note; about: a word for the subject; what is the matter; what to do about it."""

    severity: str
    about: str
    what: str
    do: str = ""


@dataclass(frozen=True)
class Graphics:
    """What torch can compute on: its CUDA version (empty: none in this build), the cards that torch sees, the cards
    that the driver names, and why a first computation on the card failed (empty: it did not)."""

    cuda: str = ""
    usable: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True)
class Report:
    """All that was found. Sizes in GiB, None where they are not known; complete: whether the check came to its end."""

    version: str
    python: str
    program: str
    system: str
    packages: tuple[Package, ...] = ()
    graphics: Graphics = Graphics()
    memory_gib: float | None = None
    disk_gib: float | None = None
    folder: str = ""
    opengl: str = ""
    problems: tuple[Problem, ...] = ()
    complete: bool = False

    @property
    def usable(self) -> bool:
        """Whether a reconstruction can be computed."""
        return self.complete and not any(p.severity == ERROR for p in self.problems)

    def line(self) -> str:
        """The report as one line of JSON."""
        return json.dumps({"vesselflowgs_check": SCHEMA, **asdict(self)})


@dataclass(frozen=True)
class Wanted:
    """What is asked of the check: the folder to write to, the device, the version that the caller has.

    in_slicer  whether this is Slicer's own Python, where packages come by the Install button
    """

    folder: str = ""
    device: str = "auto"
    version: str = __version__
    in_slicer: bool = False


def report_of(text: str) -> Report | None:
    """The last report in what a check printed, or None. Raises ValueError for a report of another schema."""
    lines = [line for line in text.splitlines() if line.startswith(MARK)]
    if not lines:
        return None
    content = json.loads(lines[-1])
    if content.pop("vesselflowgs_check") != SCHEMA:
        raise ValueError("The check is of another version of VesselFlowGS. Update VesselFlowGS where it computes.")
    graphics = {name: _plain(value) for name, value in content["graphics"].items()}
    return Report(
        **{
            **content,
            "packages": tuple(Package(**entry) for entry in content["packages"]),
            "problems": tuple(Problem(**entry) for entry in content["problems"]),
            "graphics": Graphics(**graphics),
        }
    )


def describe(report: Report) -> str:
    """The report as text for a person."""
    lines = [
        f"VesselFlowGS {report.version}, Python {report.python}, {report.system}",
        f"Program: {_without_home(report.program)}",
        f"Folder: {_without_home(report.folder) or 'none given'}",
        f"Memory: {_gib(report.memory_gib)}; free disk: {_gib(report.disk_gib)}",
        f"OpenGL: {report.opengl or 'not tried'}",
        f"CUDA of torch: {report.graphics.cuda or 'none'}; "
        f"graphics cards: {', '.join(report.graphics.usable or report.graphics.installed) or 'none'}",
    ]
    lines += [
        f"  {p.name:<14}{p.version or '-':<16}needs {p.needed}  {p.state}{' (optional)' if p.optional else ''}"
        for p in report.packages
    ]
    if not report.problems:
        lines.append("Nothing is wrong." if report.complete else "The check did not come to its end.")
    for problem in report.problems:
        lines.append(f"{problem.severity.upper()}: {problem.what} {problem.do}".rstrip())
    return "\n".join(lines)


def check(wanted: Wanted, settings: CheckSettings | None = None, say: Callable[[str], None] | None = None) -> Report:
    """Look at everything. say: is told each subject before it is looked at, and each report as far as it goes."""
    settings = settings or CheckSettings()
    tell = say or (lambda text: None)
    report = Report(
        version=__version__,
        python=platform.python_version(),
        program=sys.executable,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        folder=wanted.folder,
        problems=(*python_problems(sys.version_info[:2]), *version_problems(__version__, wanted.version)),
    )
    for needed in NEEDED:
        tell(f"checking {needed.name}")
        package = found(needed)
        report = replace(
            report,
            packages=(*report.packages, package),
            problems=report.problems
            + (() if needed.for_cards else package_problems(needed, package, wanted.in_slicer)),
        )
    tell("checking the graphics card")
    graphics = graphics_of(report.packages, settings)
    for_cards = [
        problem
        for needed, package in zip(NEEDED, report.packages, strict=True)
        if needed.for_cards and graphics.usable
        for problem in package_problems(needed, package, wanted.in_slicer)
    ]
    tell("checking memory and disk")
    memory, disk = memory_gib(), disk_gib(wanted.folder)
    report = replace(
        report,
        graphics=graphics,
        memory_gib=memory,
        disk_gib=disk,
        problems=(
            *report.problems,
            *for_cards,
            *graphics_problems(graphics, wanted.device, wanted.in_slicer),
            *memory_problems(memory, settings),
            *disk_problems(disk, settings),
            *folder_problems(wanted.folder),
        ),
    )
    tell("checking OpenGL")
    opengl, problems = opengl_of(report.packages, settings)
    return replace(report, opengl=opengl, problems=report.problems + problems, complete=True)


def found(needed: Needed) -> Package:
    """What is there of a package, seen by importing it."""
    floor = f">={needed.floor}"
    try:
        for name in needed.imports:
            importlib.import_module(name)
        version = _version_of(needed)
    except ModuleNotFoundError as error:
        own = needed.imports[0].split(".")[0]
        if error.name is not None and error.name.split(".")[0] == own and not _is_there(own):
            return Package(needed.name, floor, "", "missing", needed.optional)
        return Package(needed.name, floor, "", "broken", needed.optional, _said_by(error))
    except Exception as error:  # a broken compiled part raises nearly anything
        return Package(needed.name, floor, "", "broken", needed.optional, _said_by(error))
    if needed.name == "torch":
        failure = _torch_without_numpy()
        if failure:
            return Package(needed.name, floor, version, "broken", needed.optional, failure)
    state = "outdated" if version and _numbers(version) < _numbers(needed.floor) else "good"
    return Package(needed.name, floor, version, state, needed.optional)


def python_problems(version: tuple[int, ...]) -> tuple[Problem, ...]:
    """Whether the engine runs on this version of Python (major, minor)."""
    if OLDEST_PYTHON <= version < FIRST_PYTHON_TOO_NEW:
        return ()
    newest = f"3.{FIRST_PYTHON_TOO_NEW[1] - 1}"
    return (
        Problem(
            ERROR,
            "python",
            f"Python {'.'.join(map(str, version))} is not supported: it must be 3.{OLDEST_PYTHON[1]} to {newest}.",
            f"Choose another Python, or make one: python{newest} -m venv FOLDER.",
        ),
    )


def version_problems(here: str, wanted: str) -> tuple[Problem, ...]:
    """Whether the engine that would compute is the one that the caller belongs to."""
    if here == wanted:
        return ()
    return (
        Problem(
            ERROR,
            "version",
            f"This Python holds VesselFlowGS {here}, but the module is VesselFlowGS {wanted}.",
            "Install the same version in both, or remove vesselflowgs from this Python: "
            f"{sys.executable} -m pip uninstall vesselflowgs",
        ),
    )


def package_problems(needed: Needed, package: Package, in_slicer: bool) -> tuple[Problem, ...]:
    """What is wrong with a package, and how to set it right."""
    if package.state == "good":
        return ()
    name, about = package.name, package.name
    if package.state == "missing":
        if package.optional:
            what = f"{name} is not installed: {needed.without}."
            return (Problem(NOTE, about, what, _get(needed, in_slicer)),)
        return (Problem(ERROR, about, f"{name} is not installed.", _get(needed, in_slicer)),)
    if package.state == "outdated":
        what = f"{name} {package.version} is too old: {needed.floor} or newer is needed."
        return (Problem(WARNING if package.optional else ERROR, about, what, _get(needed, in_slicer)),)
    severity = WARNING if package.optional else ERROR
    what = f"{name} is installed but broken: {package.detail}."
    if _is_clash_of_numpy(package.detail):
        what = f"{name} was built for another version of numpy than the one that is installed: {package.detail}."
    return (Problem(severity, about, what, _mend(needed, in_slicer)),)


def graphics_problems(graphics: Graphics, device: str, in_slicer: bool) -> tuple[Problem, ...]:
    """Whether torch can use the graphics card that is there, or that is asked for."""
    severity = ERROR if device == "cuda" else NOTE
    cards = ", ".join(graphics.installed)
    by = "PyTorch Utils module" if in_slicer else "instructions on pytorch.org"
    if graphics.failure:
        return (
            Problem(
                ERROR if device == "cuda" else WARNING,
                "cuda",
                f"torch (CUDA {graphics.cuda}) cannot compute on {', '.join(graphics.usable) or 'the card'}: "
                f"{graphics.failure}.",
                f"Install a torch that is built for this card (see the {by}), or set the device to cpu.",
            ),
        )
    if graphics.usable:
        return ()
    if not graphics.installed:
        if device != "cuda":
            return ()
        return (Problem(ERROR, "cuda", "The device is cuda, but there is no NVIDIA graphics card.", "Set it to auto."),)
    if not graphics.cuda:
        return (
            Problem(
                severity,
                "cuda",
                f"There is a graphics card ({cards}), but this torch computes on the processor only.",
                f"It works so. To use the card, install torch with CUDA (see the {by})."
                if device != "cuda"
                else f"Install torch with CUDA (see the {by}), or set the device to auto.",
            ),
        )
    return (
        Problem(
            severity,
            "cuda",
            f"There is a graphics card ({cards}), but torch (CUDA {graphics.cuda}) cannot use it: its driver is "
            "too old or not loaded.",
            "Update the NVIDIA driver, or set the device to cpu.",
        ),
    )


def memory_problems(gib: float | None, settings: CheckSettings) -> tuple[Problem, ...]:
    """Whether the machine has enough memory (GiB, None: not known)."""
    if gib is None or gib >= settings.fair_memory_gib:
        return ()
    low = gib < settings.low_memory_gib
    return (
        Problem(
            WARNING if low else NOTE,
            "memory",
            f"This machine has {gib:.1f} GiB of memory; {settings.fair_memory_gib:g} GiB are advised.",
            "Close other programs, use the quality 'preview', or compute on another machine."
            if low
            else "Give a region around the vessel, so that less of the volume is used.",
        ),
    )


def disk_problems(gib: float | None, settings: CheckSettings) -> tuple[Problem, ...]:
    """Whether the disk of the jobs folder has enough space (GiB, None: not known)."""
    if gib is None or gib >= settings.fair_disk_gib:
        return ()
    low = gib < settings.low_disk_gib
    return (
        Problem(
            ERROR if low else NOTE,
            "disk",
            f"{gib:.1f} GiB are free on the disk of the jobs folder; {settings.fair_disk_gib:g} GiB are advised.",
            "Free some space, or choose a jobs folder on another disk.",
        ),
    )


def folder_problems(folder: str) -> tuple[Problem, ...]:
    """Whether the jobs folder, or the nearest folder above it that exists, can be written to."""
    if not folder:
        return ()
    path = _nearest(Path(folder))
    if path is None or not path.is_dir():
        return (Problem(ERROR, "folder", f"{_without_home(folder)} is no folder.", "Choose another jobs folder."),)
    try:
        with tempfile.TemporaryFile(dir=str(path)):
            pass
    except OSError as error:
        return (
            Problem(
                ERROR,
                "folder",
                f"{_without_home(folder)} cannot be written to ({error.strerror}).",
                "Choose another jobs folder, or change its permissions.",
            ),
        )
    return ()


def memory_gib() -> float | None:
    """The memory of this machine in GiB, None where the system does not say."""
    if platform.system() == "Windows":
        return _windows_memory_gib()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def disk_gib(folder: str) -> float | None:
    """What is free on the disk of a folder, in GiB."""
    path = _nearest(Path(folder or tempfile.gettempdir()))
    try:
        return None if path is None else shutil.disk_usage(str(path)).free / 2**30
    except OSError:
        return None


def graphics_of(packages: Sequence[Package], settings: CheckSettings) -> Graphics:
    """What torch says of the graphics card, and what the driver says."""
    installed = _cards_of_driver(settings)
    if not any(p.name == "torch" and p.state == "good" for p in packages):
        return Graphics(installed=installed)
    torch: Any = importlib.import_module("torch")
    cuda = str(torch.version.cuda or "")
    try:
        if not torch.cuda.is_available():
            return Graphics(cuda=cuda, installed=installed)
        usable = tuple(str(torch.cuda.get_device_name(k)) for k in range(torch.cuda.device_count()))
    except Exception as error:
        return Graphics(cuda=cuda, installed=installed, failure=_said_by(error))
    try:
        torch.ones(8, device="cuda").sum().item()
    except Exception as error:  # no kernel for this card, or its memory is full
        return Graphics(cuda, usable, installed, _said_by(error))
    return Graphics(cuda, usable, installed)


def opengl_of(packages: Sequence[Package], settings: CheckSettings) -> tuple[str, tuple[Problem, ...]]:
    """Whether VTK can draw without a window; tried in a process of its own, since a wrong driver ends the process."""
    if not any(p.name == "vtk" and p.state in ("good", "outdated") for p in packages):
        return "", ()
    try:
        run = subprocess.run(
            [sys.executable, "-m", "VesselFlowGSLib.worker.check", "--draw"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=settings.probe_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        run = None
    drawn = [line for line in run.stdout.splitlines() if line.startswith("drawn by ")] if run is not None else []
    if drawn:
        return drawn[-1][len("drawn by ") :], ()
    return "none", (
        Problem(
            WARNING,
            "opengl",
            "VTK cannot draw without a window: the pictures of a result are left out.",
            "On Debian or Ubuntu: apt-get install libegl1 libgl1 libgl1-mesa-dri. Elsewhere update the driver of the "
            "graphics card.",
        ),
    )


def draw() -> str:
    """Draw one empty picture with VTK without a window; returns the class of the window. May end the process."""
    common: Any = importlib.import_module("vtkmodules.vtkCommonCore")
    common.vtkLogger.SetStderrVerbosity(common.vtkLogger.VERBOSITY_OFF)
    importlib.import_module("vtkmodules.vtkRenderingOpenGL2")
    core: Any = importlib.import_module("vtkmodules.vtkRenderingCore")
    window = core.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(8, 8)
    window.AddRenderer(core.vtkRenderer())
    window.Render()
    return str(window.GetClassName())


def _get(needed: Needed, in_slicer: bool) -> str:
    if not in_slicer:
        return f'{sys.executable} -m pip install "{needed.name}>={needed.floor}"'
    if needed.bundled:
        return "It comes with 3D Slicer: use Slicer 5.10 or newer, installed anew."
    if needed.name == "torch":
        return "Press Install: it is installed through the PyTorch extension."
    return f'Press Install, or in the Python console: slicer.util.pip_install("{needed.name}>={needed.floor}")'


def _mend(needed: Needed, in_slicer: bool) -> str:
    if not in_slicer:
        return f'{sys.executable} -m pip install --force-reinstall "{needed.name}>={needed.floor}"'
    if needed.bundled:
        return (
            "It came with 3D Slicer and was probably replaced by another package's installation: install Slicer anew, "
            "or compute in another Python."
        )
    if needed.name == "torch":
        return "Reinstall it in the PyTorch Utils module, then restart Slicer."
    return (
        "In the Python console: "
        f'slicer.util.pip_install("--force-reinstall --no-deps {needed.name}>={needed.floor}"), then restart Slicer.'
    )


def _version_of(needed: Needed) -> str:
    module, _, attribute = needed.version_at.partition(":")
    value: Any = importlib.import_module(module)
    for name in attribute.split("."):
        value = getattr(value, name, None)
        if value is None:
            return ""
    return str(value() if callable(value) else value)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _torch_without_numpy() -> str:
    """Why torch and numpy do not work together, or nothing: torch only warns of it while it is imported."""
    torch: Any = importlib.import_module("torch")
    try:
        torch.zeros(2).numpy()
    except Exception as error:
        return _said_by(error)
    return ""


def _is_clash_of_numpy(text: str) -> bool:
    return bool(re.search(r"multiarray|numpy\.dtype size changed|Numpy is not available|NumPy 1\.x|_ARRAY_API", text))


def _said_by(error: BaseException) -> str:
    """The first line that says something, short, without the user's name."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return _without_home(text[:240]).rstrip(".")


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, as (2, 4, 1) of 2.4.1+cpu."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def _cards_of_driver(settings: CheckSettings) -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        run = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=settings.probe_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in run.stdout.splitlines() if line.strip()) if run.returncode == 0 else ()


def _windows_memory_gib() -> float | None:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "page", "page_free", "own", "own_free", "ext")),
        ]

    status = Status()
    status.length = ctypes.sizeof(status)
    library: Any = getattr(ctypes, "windll", None)
    if library is None or not library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return float(status.total) / 2**30


def _nearest(path: Path) -> Path | None:
    """The path, or the nearest above it that exists."""
    absolute = path.absolute()
    return next((p for p in (absolute, *absolute.parents) if p.exists()), None)


def _without_home(text: str) -> str:
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _gib(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f} GiB"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is looked at, and the report; the exit code says whether a reconstruction can be computed."""
    parser = argparse.ArgumentParser(
        prog="python -m VesselFlowGSLib.worker.check",
        description="Look for everything that a reconstruction needs here. Changes nothing.",
    )
    parser.add_argument("--folder", default="", help="where jobs will be written")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--version", default=__version__, help="of the module that asks")
    parser.add_argument("--in-slicer", action="store_true", help="this is the Python of 3D Slicer")
    parser.add_argument("--text", action="store_true", help="print for a person instead of a program")
    parser.add_argument("--draw", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.draw:
        print(f"drawn by {draw()}", flush=True)
        return EXIT_GOOD
    wanted = Wanted(options.folder, options.device, options.version, options.in_slicer)
    report = check(wanted, say=lambda text: print(text, flush=True))
    print(describe(report) if options.text else report.line(), flush=True)
    return EXIT_GOOD if report.usable else EXIT_WRONG_INSTALLATION


if __name__ == "__main__":
    sys.exit(main())

"""Which Python computes, what it has, and how what it lacks is installed. Knows no widgets."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib import __version__
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.worker.check import ERROR, MARK, Problem, Report, report_of
from VesselFlowGSLib.worker.client import Client, Handle, Launch, OnEnd, OnLine, launch_process
from VesselFlowGSPanel.parameters import Where

TORCH = "torch>=2.4"


@dataclass(frozen=True)
class Environment:
    """A Python that computes.

    python     its program
    foreign    whether it is not Slicer's own, so that nothing of Slicer's environment may reach it
    variables  what is set besides the environment that it starts in
    """

    python: str
    foreign: bool
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a check ended. report: None where the Python did not come so far; problems: with what the module adds."""

    report: Report | None
    problems: tuple[Problem, ...]

    @property
    def usable(self) -> bool:
        return self.report is not None and self.report.complete and not any(p.severity == ERROR for p in self.problems)


def environment_of(where: Where, python: Path) -> Environment | None:
    """The Python that the panel names; None where another machine computes. Raises InputError where it is not there."""
    if where is Where.FOLDER:
        return None
    if where is Where.SLICER:
        kept = os.environ.get("PYTHONPATH", "")
        paths = os.pathsep.join([str(engine_folder()), *([kept] if kept else [])])
        return Environment(slicer_python(), foreign=False, variables={**_QUIET, "PYTHONPATH": paths})
    return Environment(str(program_of(python)), foreign=True, variables={**_QUIET, "PYTHONPATH": str(engine_folder())})


# What the working folder holds must not stand in for the engine; and lines must come as they are written, in UTF-8.
_QUIET = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def engine_folder() -> Path:
    """The folder that holds VesselFlowGSLib."""
    import VesselFlowGSLib

    return Path(VesselFlowGSLib.__file__).resolve().parents[1]


def slicer_python() -> str:
    """The program that runs Slicer's Python."""
    return shutil.which("PythonSlicer") or sys.executable


def program_of(path: Path) -> Path:
    """The python program that a person names, or that lies in the environment whose folder they name.

    Raises InputError where there is none.
    """
    if str(path) in ("", "."):
        raise InputError(_("No Python is chosen: give its program, or the folder of its environment."))
    if path.is_dir():
        for name in ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe"):
            if (path / name).is_file():
                return path / name
        raise InputError(_("{path} holds no Python. Choose the folder of an environment.").format(path=path))
    if not path.is_file():
        raise InputError(_("{path} is not there. Choose another Python.").format(path=path))
    return path


def check_command(environment: Environment, folder: Path | None, device: str) -> list[str]:
    """The command that checks a Python."""
    command = [environment.python, "-u", "-m", "VesselFlowGSLib.worker.check", "--version", __version__]
    command += ["--device", device]
    if folder is not None:
        command += ["--folder", str(folder)]
    return command if environment.foreign else [*command, "--in-slicer"]


def outcome_of(lines: Sequence[str], exit_code: int) -> Outcome:
    """What a check said, from its lines and its exit code; a crash or a silence is a problem like any other."""
    try:
        report = report_of("\n".join(lines))
    except (ValueError, TypeError, KeyError, AttributeError):
        problem = Problem(
            ERROR,
            "version",
            _("The Python that was asked holds another version of VesselFlowGS."),
            _("Install the same version there, or remove it: python -m pip uninstall vesselflowgs"),
        )
        return Outcome(None, (problem,))
    if report is not None:
        return Outcome(report, report.problems)
    begun = [line for line in lines if line.startswith("checking ")]
    said = [line.strip() for line in lines if line.strip() and not line.startswith((MARK, "checking "))]
    if begun:
        what = _("{subject} ends the Python that loads it (exit code {code}).").format(
            subject=begun[-1].removeprefix("checking "), code=exit_code
        )
        problem = Problem(ERROR, "crash", what, _("Install it anew, then check again."))
    elif any("No module named" in line and "VesselFlowGSLib" in line for line in said):
        what = _("This Python does not find VesselFlowGS (exit code {code}).").format(code=exit_code)
        problem = Problem(ERROR, "start", what, _("Reinstall the extension VesselFlowGS."))
    elif any("SyntaxError" in line for line in said):
        problem = Problem(
            ERROR,
            "python",
            _("This Python is too old: Python 3.11 or newer is needed."),
            _("Choose another Python."),
        )
    else:
        what = _("This Python did not start (exit code {code}). {said}").format(
            code=exit_code, said=said[-1] if said else ""
        )
        problem = Problem(ERROR, "start", what.strip(), _("Choose another Python, or repair it."))
    return Outcome(None, (problem,))


def could_not_start(error: OSError, environment: Environment) -> Outcome:
    """The outcome where the program itself cannot be started."""
    what = _("{python} cannot be started: {why}.").format(python=environment.python, why=error.strerror or error)
    return Outcome(None, (Problem(ERROR, "start", what, _("Choose another Python.")),))


def launcher(environment: Environment) -> Launch:
    """How a process of this Python is started: through Slicer, so that no console window appears.

    The mapping that the launch gets holds what is set besides. Slicer 5.10 cannot start a process without waiting
    for it: there the engine's own way serves.
    """

    def launch(command: Sequence[str], variables: Mapping[str, str] | None, on_line: OnLine, on_end: OnEnd) -> Handle:
        more = dict(environment.variables if variables is None else variables)
        start: Any = getattr(slicer.util, "launchConsoleProcess", None)
        if start is None or "blocking" not in inspect.signature(start).parameters:
            base = slicer.util.startupEnvironment() if environment.foreign else os.environ
            return launch_process(command, {**base, **more}, on_line, on_end)
        handle: Handle = start(
            list(command),
            useStartupEnvironment=environment.foreign,
            updateEnvironment=more,
            blocking=False,
            logCallback=on_line,
            completedCallback=on_end,
        )
        return handle

    return launch


def client_for(folder: Path, parameters: Any) -> tuple[Client, Callable[[], None]]:
    """The client of a job, and what lets it begin: a Python here is started, or another machine's work is followed.

    Raises InputError where the Python is not there; beginning raises it where the Python cannot be started.
    """
    environment = environment_of(parameters.where, Path(parameters.python))
    if environment is None:
        followed = Client(folder)
        return followed, followed.follow
    client = Client(folder, launcher(environment))

    def begin() -> None:
        try:
            client.start(environment.python, environment.variables)
        except OSError:
            raise InputError(client.failure) from None

    return client, begin


def requirements(file: Path) -> tuple[str, ...]:
    """The packages that requirements.txt names for this computer, as pip reads them."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # nothing of Slicer 5.10 needs it by itself; pip has its own
        from pip._vendor.packaging.requirements import Requirement

    lines = (line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    named = [Requirement(line) for line in lines if line]
    return tuple(f"{one.name}{one.specifier}" for one in named if one.marker is None or one.marker.evaluate())


def install_packages(file: Path) -> None:
    """Install what requirements.txt names into Slicer's Python; the person was asked before.

    Raises InputError with what pip said where it failed.
    """
    try:
        try:
            from slicer import packaging
        except ImportError:  # Slicer 5.10
            slicer.util.pip_install(list(requirements(file)))
            return
        packaging.pip_ensure(packaging.load_requirements(str(file)), prompt_install=False, requester="VesselFlowGS")
    except Exception as error:  # pip fails as CalledProcessError, RuntimeError or OSError
        raise InputError(
            _("The packages could not be installed: {why}. The application log says more.").format(why=error)
        ) from None


def install_torch() -> None:
    """Install torch into Slicer's Python through the PyTorch extension, which picks the build for the graphics card.

    Raises InputError where the extension is not there, or torch could not be installed.
    """
    try:
        import PyTorchUtils
    except ImportError:
        raise InputError(
            _(
                "torch is installed through the PyTorch extension, which is not there: open the Extensions Manager, "
                "install PyTorch, restart Slicer, and press Install again."
            )
        ) from None
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.torchInstalled():
        return
    try:
        installed = logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH.removeprefix("torch"))
    except Exception as error:
        raise InputError(
            _("torch could not be installed: {why}. The application log says more.").format(why=error)
        ) from None
    if installed is None:
        raise InputError(_("torch was not installed. It is needed; press Install when you want it."))


def command_to_install(environment: Environment, file: Path) -> str:
    """What to type to install the packages and torch into a Python that is not Slicer's."""
    names = " ".join(json.dumps(name) for name in (*requirements(file), TORCH))
    return f"{json.dumps(environment.python)} -m pip install {names}"


@dataclass
class Checking:
    """One check that runs. Its lines come in through line(); ended is told the outcome once."""

    environment: Environment
    ended: Callable[[Outcome], None]
    lines: list[str] = field(default_factory=list)
    handle: Handle | None = None
    over: bool = False

    def begin(self, folder: Path | None, device: str, launch: Launch | None = None) -> None:
        """Start the check; ended may be told at once, where it cannot be started."""
        start = launch or launcher(self.environment)
        try:
            self.handle = start(
                check_command(self.environment, folder, device), self.environment.variables, self.lines.append, self.end
            )
        except OSError as error:
            self._tell(could_not_start(error, self.environment))

    def end(self, exit_code: int) -> None:
        """The process ended."""
        self._tell(outcome_of(self.lines, exit_code))

    def stop(self) -> None:
        """Give up: nothing more is told."""
        self.over = True
        if self.handle is not None:
            self.handle.kill()

    @property
    def doing(self) -> str:
        """What is being looked at now."""
        begun = [line.removeprefix("checking ") for line in self.lines if line.startswith("checking ")]
        return begun[-1] if begun else ""

    def _tell(self, outcome: Outcome) -> None:
        if not self.over:
            self.over = True
            self.ended(outcome)

"""The command line: exit codes, messages, progress and summary, with a stand-in for the engine behind it."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from VesselFlowGSLib import cli
from VesselFlowGSLib.errors import Cancelled, InputError, InstallationError, ResourceError
from VesselFlowGSLib.reconstruction.live import Step
from VesselFlowGSLib.results.snapshot import Figure, Snapshot, Stage
from VesselFlowGSLib.terminal import Progress, quantity, summarise

DONE = Snapshot(
    Stage.DONE,
    1.0,
    "result written",
    figures={
        "mean_inflow": Figure(2.512, "ml/s", "estimated", (2.3, 2.7)),
        "pressure_drop": Figure(146.9, "Pa", "estimated"),
        "max_wss": Figure(5.42, "Pa", "estimated"),
        "reynolds": Figure(220.0, "1", "estimated"),
        "length": Figure(48.0, "mm", "estimated"),
    },
    geometry={
        "volume_mm3": 512.34,
        "openings": [
            {"name": "inlet", "centre_lps_mm": [-24.94, 17.0, -38.0], "normal": [0.0, 0.0, -1.0], "radius_mm": 2.2},
            {"name": "outlet 1", "centre_lps_mm": [16.5, 14.5, -16.5], "normal": [1.0, 0.0, 0.0], "radius_mm": 1.7},
        ],
        "branches": [
            {"parent": -1, "length_mm": 48.0, "min_radius_mm": 1.6},
            {"parent": 0, "length_mm": 12.0, "min_radius_mm": 1.1},
        ],
        "attenuation_per_mm": 0.2491,
        "wall_moved_mm": {"mean": -0.0062, "rms": 0.0077},
        "runs": {"dsa_1.dcm": {"match": 0.98297}, "dsa_2.dcm": {"match": 0.98329}},
    },
    flow_status={"status": "solved"},
    warnings=("the period is assumed", "All runs look from nearly one side, so that the depth is assumed. " * 3),
)
SNAPSHOTS = (
    Snapshot(Stage.GEOMETRY, 0.3, "lumen found"),
    Snapshot(Stage.FIRST_FLOW, 0.5, "inflow estimated"),
    Snapshot(Stage.FLOW, 0.9, "flow solved"),
    DONE,
)


class StandIn:
    """Stands in for the engine: yields SNAPSHOTS, writes their stages down, and fails where a test wants it to."""

    def __init__(self) -> None:
        self.fail_at: str = ""
        self.failure: BaseException = RuntimeError("unset")
        self.written: list[str] = []
        self.opened: list[Path] = []
        self.closed_with: list[type[BaseException] | None] = []
        self.started_from: list[object] = []
        self.called: dict[str, tuple[Any, ...]] = {}

    def reach(self, place: str) -> None:
        if place == self.fail_at:
            raise self.failure

    def modules(self) -> dict[str, ModuleType]:
        engine = self

        class ResultFolder:
            def __init__(self, out: Path) -> None:
                engine.opened.append(out)

            def __enter__(self) -> ResultFolder:
                engine.reach("open")
                return self

            def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
                engine.closed_with.append(kind)

            def write(self, snapshot: Snapshot) -> None:
                engine.reach("write")
                engine.written.append(snapshot.stage.value)

        def read_study(folder: Path) -> object:
            engine.reach("read")
            return SimpleNamespace(folder=folder, notes=("shot.dcm: a colour picture is not used.",))

        def reconstruct(
            study: object, settings: object, start: object = None, progress: Any = None
        ) -> Iterator[Snapshot]:
            engine.started_from.append(start)
            progress(Step(0.1, "working", Stage.GEOMETRY))
            for snapshot in SNAPSHOTS:
                engine.reach(snapshot.stage.value)
                yield snapshot

        def note(name: str, answer: object = None) -> Any:
            def called(*arguments: Any, **named: Any) -> object:
                engine.reach(name)
                engine.called[name] = (*arguments, *named.values())
                return answer

            return called

        contents = {
            "acquisition.reader": {"read_study": read_study},
            "acquisition.inspection": {"inspect_study": note("inspect", "found"), "describe": str},
            "reconstruction.reconstruct": {"reconstruct": reconstruct},
            "reconstruction.settings": {"load_settings": note("settings")},
            "reconstruction.checkpoint": {"load_checkpoint": note("checkpoint")},
            "results.export": {"ResultFolder": ResultFolder, "read_result": lambda out: ("result of", out)},
            "results.picture": {"render_result": note("render")},
            "simulation.settings": {"settings_for": note("simulated settings")},
            "simulation.simulate": {"simulate": note("simulate")},
        }
        modules = {}
        for name, members in contents.items():
            module = ModuleType(f"VesselFlowGSLib.{name}")
            vars(module).update(members)
            modules[module.__name__] = module
        return modules


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    for name, module in stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in


def run(*arguments: str | Path) -> int:
    return cli.main([str(a) for a in arguments])


def test_every_snapshot_is_written_and_the_summary_printed(engine, capsys, tmp_path):
    assert run("reconstruct", "study", "-o", tmp_path) == 0
    assert engine.written == ["geometry", "first flow", "flow", "done"]
    assert engine.closed_with == [None]
    found = capsys.readouterr()
    assert "2.51 ml/s (90 %: 2.30 to 2.70), estimated" in found.out
    assert "147 Pa = 1.10 mmHg" in found.out
    assert "512 mm³" in found.out
    assert found.out.index("48.0 mm") < found.out.index("Flow") < found.out.index("220, estimated")
    assert "  - the period is assumed\n" in found.out
    assert "shot.dcm: a colour picture is not used." in found.err
    assert len(found.err.splitlines()) == 1 + len(SNAPSHOTS)


def test_the_summary_tells_the_geometry_in_lines_that_a_person_reads():
    text = summarise(DONE, Path("study"), Path("out"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "inlet at (-24.9, 17.0, -38.0) mm, radius 2.20 mm",
        "outlet 1 at (16.5, 14.5, -16.5) mm, radius 1.70 mm",
        "branch 1 length 48.0 mm, min radius 1.60 mm",
        "branch 2 from branch 1, length 12.0 mm, min radius 1.10 mm",
        "attenuation 0.249 1/mm",
        "wall moved mean -0.00620 mm, rms 0.00770 mm",
        "runs dsa_1.dcm, dsa_2.dcm",
        "max wall shear stress 5.42 Pa, estimated",
        "Reynolds number 220, estimated",
    ):
        assert line in lines
    assert "{" not in text and "normal" not in text and "match" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_settings_have_the_defaults_of_the_contract(engine, tmp_path):
    run("reconstruct", "study", "-o", tmp_path)
    assert engine.called["settings"] == (None, None, "standard", "auto", 0)
    run(
        *("reconstruct", "study", "-o", tmp_path, "--settings", "s.toml", "--preset", "carotid"),
        *("--device", "cpu", "--quality", "fine", "--seed", "7"),
    )
    assert engine.called["settings"] == (Path("s.toml"), "carotid", "fine", "cpu", 7)


def test_resume_without_a_checkpoint_starts_anew_and_says_so(engine, capsys, tmp_path):
    assert run("reconstruct", "study", "-o", tmp_path, "--resume") == 0
    assert engine.started_from == [None]
    assert "starting anew" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["open", "settings", "read", "write", *(s.stage.value for s in SNAPSHOTS)])
@pytest.mark.parametrize("kept", ["", ".", ".unfinished"])
def test_ctrl_c_anywhere_ends_with_3_and_says_how_to_go_on(engine, capsys, tmp_path, place, kept):
    engine.fail_at, engine.failure = place, KeyboardInterrupt()
    if kept:
        (tmp_path / kept).mkdir(exist_ok=True)
        (tmp_path / kept / "checkpoint.npz").touch()
    assert run("reconstruct", "study", "-o", tmp_path) == 3
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("vesselflowgs: Cancelled") and message.endswith("--resume") is bool(kept)
    if place not in ("open", "settings"):
        assert engine.closed_with == [KeyboardInterrupt]


FAILURES = [
    (InputError("dsa.dcm: no DistanceSourceToDetector (0018,1110)"), 2, "DistanceSourceToDetector"),
    (PermissionError(errno.EACCES, "Permission denied", "/some/out"), 2, "/some/out: Permission denied"),
    (Cancelled("stopped"), 3, "stopped"),
    (MemoryError(), 4, "Out of memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 4, "Out of memory"),
    (OSError(errno.ENOSPC, "No space left on device", "/some/out/field.vtu"), 4, "the disk is full"),
    (ResourceError("the disk is full"), 4, "the disk is full"),
    (ModuleNotFoundError("No module named 'gdcm'", name="gdcm"), 5, "pip install --upgrade python-gdcm"),
    (ImportError("libGL.so.1: cannot open shared object file: No such file"), 5, "apt-get install libegl1"),
    (InstallationError("torch is too old"), 5, "torch is too old"),
    (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
    (OSError(errno.EIO, "Input/output error"), 1, "Input/output error"),
]


@pytest.mark.parametrize(("failure", "code", "text"), FAILURES, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("place", ["read", "first flow"])
def test_a_failure_gives_its_code_and_at_most_two_lines(engine, capsys, tmp_path, failure, code, text, place):
    engine.fail_at, engine.failure = place, failure
    assert run("reconstruct", "study", "-o", tmp_path) == code
    error = capsys.readouterr().err
    lines = error[error.index("vesselflowgs: ") :].splitlines()
    assert text in lines[0] + lines[-1] and len(lines) <= 2
    assert "Traceback" not in error
    assert engine.closed_with == [type(failure)]


@pytest.mark.parametrize("arguments", [("--debug", "inspect", "study"), ("inspect", "study", "--debug")])
def test_debug_adds_the_traceback(engine, capsys, arguments):
    engine.fail_at, engine.failure = "inspect", InputError("wrong")
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback") and error.endswith("vesselflowgs: wrong\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "COMMAND"),
        (("reconstruct", "study"), "-o"),
        (("reconstruct", "-o", "out"), "STUDY"),
        (("reconstruct", "study", "-o", "out", "--quality", "best"), "preview"),
        (("reconstruct", "study", "-o", "out", "--seed", "x"), "--seed"),
        (("simulate", "-o", "study", "--vessel", "trumpet"), "stenosis"),
        (("simulate", "-o", "study", "--vessel", "bend", "--set", "frames"), "severity=0.5"),
        (("render", "out", "-o", "p.png", "--as", "cloud"), "gaussians"),
        (("follow", "study"), "reconstruct"),
    ],
)
def test_a_wrong_argument_ends_with_2_and_one_line(capsys, arguments, text):
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and text in lines[0] and "--help" in lines[0]


def test_help_and_version_end_with_0(capsys):
    assert run("--help") == 0
    assert run("reconstruct", "--help") == 0
    assert run("--version") == 0
    assert "VesselFlowGS" in capsys.readouterr().out


def test_the_other_commands_call_the_engine(engine, capsys, tmp_path):
    assert run("inspect", "study") == 0
    assert capsys.readouterr().out == "found\n"
    assert run("simulate", "-o", tmp_path, "--vessel", "bend", "--set", "frames=9", "--set", "file_format='mha'") == 0
    assert engine.called["simulated settings"] == ("bend", 0, 9, "mha")
    assert tmp_path in engine.called["simulate"]
    for arguments, kind, colour in [
        ((), None, None),
        (("--as", "streamlines"), "streamlines", None),
        (("--as", "surface", "--colour", "wss"), "surface", "wss"),
    ]:
        assert run("render", "out", "-o", tmp_path / "p.png", *arguments) == 0
        assert engine.called["render"] == (("result of", Path("out")), tmp_path / "p.png", kind, colour)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_process_ends_it_with_3(tmp_path, number):
    """With a stand-in reader that waits; SIGINT ignored beforehand, as shells do for their background jobs."""
    program = (
        "import signal, sys, time, types\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "reader = types.ModuleType('inspection'); reader.describe = str\n"
        "def wait(study):\n    print('here', flush=True)\n    time.sleep(60)\n"
        "reader.inspect_study = wait\n"
        "sys.modules['VesselFlowGSLib.acquisition.inspection'] = reader\n"
        "sys.argv = ['vesselflowgs', 'inspect', 'study']\n"
        "from VesselFlowGSLib.cli import main\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 3 and error == "vesselflowgs: Cancelled.\n"


def test_progress_off_a_terminal_is_one_line_per_stage():
    stream = io.StringIO()
    with Progress("reading", stream) as progress:
        for snapshot in SNAPSHOTS:
            progress.show(snapshot.stage.value, snapshot.progress, snapshot.message)
            progress.show(snapshot.stage.value, snapshot.progress, snapshot.message)
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(SNAPSHOTS)
    assert lines[0].startswith(" 30%") and lines[0].endswith("geometry: lumen found")


def test_progress_on_a_terminal_tells_the_time_left():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Progress("reading", stream) as progress:
        progress.show("geometry", 0.3, "lumen found")
    assert "left" in stream.getvalue() and "30%" in stream.getvalue()


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(2.512, "ml/s", "2.51 ml/s"), (146.9, "Pa", "147 Pa"), (220.2, "1", "220"), (1234.5, "", "1234")],
)
def test_a_quantity_has_three_digits_and_its_unit(value, unit, shown):
    assert quantity(value, unit) == shown


def test_the_summary_of_an_unknown_flow_says_why(tmp_path):
    unknown = Snapshot(Stage.DONE, 1.0, "", flow_status={"status": "unknown", "why": "no contrast arrives"})
    text = summarise(unknown, Path("study"), tmp_path)
    assert "Flow: unknown. no contrast arrives" in text

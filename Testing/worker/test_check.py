"""The check of a Python: real child processes with packages that are missing, outdated, broken or crash."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from VesselFlowGSLib import __version__
from VesselFlowGSLib.worker import check
from VesselFlowGSLib.worker.check import (
    ERROR,
    NEEDED,
    NOTE,
    WARNING,
    CheckSettings,
    Graphics,
    Package,
    Problem,
    Report,
    describe,
    disk_problems,
    folder_problems,
    graphics_problems,
    memory_problems,
    package_problems,
    python_problems,
    report_of,
    version_problems,
)

ROOT = Path(__file__).parents[2]
NUMBA, TORCH, SKIMAGE, NUMPY = (
    next(n for n in NEEDED if n.name == name) for name in ("numba", "torch", "scikit-image", "numpy")
)


def run_check(*arguments: str, shadow: Path | None = None) -> tuple[subprocess.CompletedProcess[str], Report | None]:
    """The check as a child process; packages in the folder `shadow` come before those that are installed."""
    paths = [str(shadow)] if shadow is not None else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(ROOT)]), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "VesselFlowGSLib.worker.check", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        cwd=shadow or ROOT,
        check=False,
    )
    return run, report_of(run.stdout)


# stands in for torch where a test is not about it: the real one takes seconds to import
LIGHT_TORCH = """
__version__ = "2.9"
class version: cuda = None
class cuda: is_available = staticmethod(lambda: False)
def zeros(n): return type("Zeros", (), {"numpy": lambda self: None})()
"""
LIGHT = {name: "__version__ = '99'" for name in ("numba", "warp", "matplotlib", "skimage", "scipy")}
LIGHT_PARTS = ("matplotlib/backends/backend_agg", "skimage/measure", "skimage/morphology")
LIGHT_PARTS += ("scipy/sparse", "scipy/ndimage", "scipy/spatial")


def shadow_of(folder: Path, **modules: str) -> Path:
    """A folder of packages that do what the given source says when they are imported; slow ones are stood in for."""
    for part in LIGHT_PARTS:
        path = folder / f"{part}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    (folder / "matplotlib" / "backends" / "__init__.py").write_text("", encoding="utf-8")
    for name, source in {**LIGHT, "torch": LIGHT_TORCH, **modules}.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").write_text(source, encoding="utf-8")
    return folder


def package(report: Report, name: str) -> Package:
    return next(p for p in report.packages if p.name == name)


def test_a_whole_python_is_found_good(tmp_path):
    run, report = run_check("--folder", str(tmp_path))
    assert report is not None and report.complete and report.folder == str(tmp_path)
    assert report.version == __version__ and report.program
    assert [p.name for p in report.packages] == [n.name for n in NEEDED]
    assert package(report, "numpy").state == "good" and package(report, "torch").state == "good"
    assert report.memory_gib and report.disk_gib
    assert (run.returncode == 0) == report.usable


def test_floors_are_those_of_the_package():
    """What is checked is what pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = dict(entry.split(">=") for entry in project["dependencies"])
    optional = project["optional-dependencies"]
    entries = (entry.split(";")[0].split(">=") for entry in [*optional["fast"], *optional["cuda"]])
    fast = {name: floor for name, floor in entries if name != "llvmlite"}  # which numba brings
    assert {n.name: n.floor for n in NEEDED if not n.optional} == asked
    assert {n.name: n.floor for n in NEEDED if n.optional} == fast


def test_missing_outdated_and_broken_packages_are_told_apart(tmp_path):
    shadow = shadow_of(
        tmp_path,
        tqdm="raise ModuleNotFoundError(\"No module named 'colorama'\", name='colorama')",
        pydicom="__version__ = '2.4.4'",
        skimage="raise ImportError('numpy.core.multiarray failed to import\\n(may need a rebuild)')",
        SimpleITK="raise OSError('SimpleITK.so: undefined symbol')",
    )
    run, report = run_check(shadow=shadow)
    assert report is not None and run.returncode == check.EXIT_WRONG_INSTALLATION
    assert package(report, "tqdm").state == "broken"  # it is there, something that it needs is not
    assert (package(report, "pydicom").state, package(report, "pydicom").version) == ("outdated", "2.4.4")
    assert package(report, "scikit-image").state == "broken"
    assert package(report, "SimpleITK").state == "broken"
    told = {p.about: p for p in report.problems}
    assert "built for another version of numpy" in told["scikit-image"].what
    assert "--force-reinstall" in told["scikit-image"].do
    assert "3.0 or newer" in told["pydicom"].what and "pip install" in told["pydicom"].do
    assert package(report, "numpy").state == "good"


def test_a_package_that_is_not_there_is_missing():
    assert check.found(replace(SKIMAGE, imports=("package_that_nobody_has.part",))).state == "missing"


def test_torch_built_for_another_numpy_is_broken(tmp_path):
    """Such a torch can be imported; it fails at the first array."""
    source = (
        "__version__ = '2.4.0'\n"
        "class Zeros:\n"
        "    def numpy(self):\n"
        "        raise RuntimeError('Numpy is not available')\n"
        "def zeros(n):\n"
        "    return Zeros()\n"
    )
    _, report = run_check(shadow=shadow_of(tmp_path, torch=source))
    assert report is not None and package(report, "torch").state == "broken"
    assert "another version of numpy" in next(p for p in report.problems if p.about == "torch").what


def test_a_package_that_ends_the_process_can_be_named_from_the_last_line(tmp_path):
    run, report = run_check(shadow=shadow_of(tmp_path, skimage="import os; os._exit(134)"))
    assert report is None and run.returncode == 134
    assert run.stdout.splitlines()[-1] == "checking scikit-image"


def test_what_packages_print_does_not_disturb_the_report(tmp_path):
    noise = "print('{\"vesselflowgs\": noise'); __version__ = '99.0'"
    _, report = run_check(shadow=shadow_of(tmp_path, tqdm=noise))
    assert report is not None and package(report, "tqdm").version == "99.0"


def test_a_report_comes_back_as_it_was_sent():
    report = Report(
        "0.1.0",
        "3.12.1",
        "/opt/ü/python",
        "Linux",
        packages=(Package("torch", ">=2.4", "2.5", "good"),),
        graphics=Graphics("12.4", ("Card A",), ("Card A", "Card B")),
        memory_gib=15.5,
        problems=(Problem(NOTE, "memory", "what", "do"),),
        complete=True,
    )
    assert report_of("noise\n" + report.line() + "\nmore noise") == report
    assert "Card A" in describe(report) and "what do" in describe(report)
    assert report_of("no report") is None
    with pytest.raises(ValueError, match="another version"):
        report_of('{"vesselflowgs_check": 99}')


@pytest.mark.parametrize(("version", "good"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_the_supported_pythons_are_those_of_the_package(version, good):
    assert (python_problems(version) == ()) == good
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.14"


def test_another_version_of_the_engine_is_an_error(tmp_path):
    assert version_problems("0.1.0", "0.1.0") == ()
    (problem,) = version_problems("0.0.9", "0.1.0")
    assert problem.severity == ERROR and "0.0.9" in problem.what and "uninstall" in problem.do
    _, report = run_check("--version", "9.9", shadow=shadow_of(tmp_path))
    assert report is not None and [p.about for p in report.problems if p.severity == ERROR] == ["version"]


def test_an_optional_package_is_never_an_error():
    (missing,) = package_problems(NUMBA, Package("numba", ">=0.59", "", "missing", optional=True), in_slicer=False)
    (broken,) = package_problems(NUMBA, Package("numba", ">=0.59", "", "broken", True, "boom"), in_slicer=False)
    assert (missing.severity, broken.severity) == (NOTE, WARNING)
    assert "slower on the processor" in missing.what


def test_what_a_graphics_card_needs_is_told_where_there_is_one(monkeypatch):
    monkeypatch.setattr(check, "found", lambda needed: Package(needed.name, "", "", "missing", needed.optional))
    monkeypatch.setattr(check, "opengl_of", lambda *_: ("", ()))
    for cards in ((), ("a card",)):
        monkeypatch.setattr(check, "graphics_of", lambda *_, cards=cards: Graphics("13.0", cards, cards))
        told = [p for p in check.check(check.Wanted()).problems if p.about == "warp-lang"]
        assert [p.severity for p in told] == [NOTE] * len(cards)


def test_advice_in_slicer_is_for_slicer():
    """There torch comes by its extension, and what Slicer brings must not be replaced by pip."""

    def advice(needed, state, detail=""):
        (problem,) = package_problems(needed, Package(needed.name, "", "", state, False, detail), in_slicer=True)
        return problem.do

    assert "PyTorch extension" in advice(TORCH, "missing")
    assert "slicer.util.pip_install" in advice(SKIMAGE, "broken", "boom")
    assert "pip" not in advice(NUMPY, "broken", "boom") and "install Slicer anew" in advice(NUMPY, "broken", "boom")


@pytest.mark.parametrize(
    ("graphics", "device", "severity", "words"),
    [
        (Graphics(), "auto", None, ""),
        (Graphics(), "cuda", ERROR, "no NVIDIA graphics card"),
        (Graphics("", (), ("Card",)), "auto", NOTE, "processor only"),
        (Graphics("", (), ("Card",)), "cuda", ERROR, "processor only"),
        (Graphics("12.4", (), ("Card",)), "auto", NOTE, "driver"),
        (Graphics("12.4", ("Card",), ("Card",), "no kernel image"), "auto", WARNING, "no kernel image"),
        (Graphics("12.4", ("Card",), ("Card",), "no kernel image"), "cuda", ERROR, "no kernel image"),
        (Graphics("12.4", ("Card",), ("Card",)), "cuda", None, ""),
    ],
)
def test_what_torch_can_do_with_the_graphics_card_is_explained(graphics, device, severity, words):
    problems = graphics_problems(graphics, device, in_slicer=True)
    if severity is None:
        assert problems == ()
    else:
        assert problems[0].severity == severity and words in problems[0].what and problems[0].do


def test_little_memory_and_disk_are_said():
    settings = CheckSettings()
    assert memory_problems(None, settings) == () and memory_problems(64.0, settings) == ()
    assert memory_problems(2.0, settings)[0].severity == WARNING
    assert memory_problems(6.0, settings)[0].severity == NOTE
    assert disk_problems(None, settings) == () and disk_problems(100.0, settings) == ()
    assert disk_problems(0.2, settings)[0].severity == ERROR
    assert disk_problems(3.0, settings)[0].severity == NOTE


def test_a_jobs_folder_is_tried_and_left_as_it_was(tmp_path):
    assert folder_problems("") == ()
    assert folder_problems(str(tmp_path / "not yet" / "there ü")) == ()
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.write_text("x")
    assert "no folder" in folder_problems(str(file))[0].what


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path, monkeypatch):
    def refuse(**_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(check.tempfile, "TemporaryFile", refuse)
    (problem,) = folder_problems(str(tmp_path))
    assert problem.severity == ERROR and "Permission denied" in problem.what and problem.do


def test_the_user_is_not_named_in_the_text():
    home = str(Path.home())
    report = Report("0.1.0", "3.12", f"{home}/env/python", "Linux", folder=f"{home}/jobs")
    if len(home) > 1:
        assert home not in describe(report)


def test_it_needs_the_standard_library_alone():
    """It must run, and say so, where nothing else is installed: -S leaves out every installed package."""
    run = subprocess.run(
        [sys.executable, "-S", "-m", "VesselFlowGSLib.worker.check"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        cwd=ROOT,
        check=False,
    )
    report = report_of(run.stdout)
    assert report is not None and report.complete and not report.usable
    assert {p.state for p in report.packages} == {"missing"}
    assert sum(p.severity == ERROR for p in report.problems) >= len([n for n in NEEDED if not n.optional])

"""The extension is built and installed from its CMake files, against stand-ins of Slicer's macros."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).parent / "stub_slicer"
SAMPLE = ROOT / "Resources" / "sample_study"
MODULES = Path("lib") / "Slicer-5.12" / "qt-scripted-modules"


def load_lists():
    described = importlib.util.spec_from_file_location(
        "list_packaged_files", ROOT / "Resources" / "Setup" / "list_packaged_files.py"
    )
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


lists = load_lists()


def test_every_file_is_listed_and_every_listed_file_is_there():
    assert lists.differences() == [], "bring the lists up to date with: make packaged-files"


def test_lists_are_rewritten_and_read_again():
    text = "set(A\n  old.py\n  )\nset(B\n  )\nmacro(NAME x)\n"
    written = lists.with_list(lists.with_list(text, "A", ["new.py", "b/c.py"]), "B", ["d.ui"])
    assert lists.listed_in(written, "A") == ["new.py", "b/c.py"]
    assert lists.listed_in(written, "B") == ["d.ui"]
    assert written.endswith("macro(NAME x)\n")
    assert lists.listed_in(lists.with_list(written, "B", []), "B") == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("needs CMake")
    # A copy, so that what is written beside the sources while the tests run is not packaged; blanks in its path.
    source = tmp_path_factory.mktemp("a source ü")
    for folder in ("VesselFlowGS", "VesselFlowGSLib"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(SAMPLE, source / "Resources" / "sample_study")
    (source / "Testing").mkdir()
    for name in ("CMakeLists.txt", "Testing/CMakeLists.txt"):
        shutil.copy(ROOT / name, source / name)
    build, target = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("installed")
    for step in (
        [cmake, "-S", source, "-B", build, f"-DSlicer_DIR={STUB}", f"-DCMAKE_INSTALL_PREFIX={target}"],
        [cmake, "--build", build],
        [cmake, "--install", build],
    ):
        done = subprocess.run(list(map(str, step)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return target / MODULES


def test_what_is_installed_is_what_lies_on_disk(installed):
    there = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    module = {name for files in lists.files_of(ROOT / "VesselFlowGS") for name in files}
    engine = {f"VesselFlowGSLib/{name}" for files in lists.files_of(ROOT / "VesselFlowGSLib") for name in files}
    sample = {f"Resources/sample_study/{path.name}" for path in SAMPLE.iterdir() if path.is_file()}
    assert there == module | engine | sample


def test_the_installed_engine_runs_without_the_sources(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    program = "import VesselFlowGSLib, VesselFlowGSLib.worker.client; print(VesselFlowGSLib.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {program}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == installed / "VesselFlowGSLib"


def test_slicer_is_asked_to_install_what_it_does_not_bring():
    requirements = [
        line
        for line in (ROOT / "VesselFlowGS" / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = ("numpy", "scipy", "SimpleITK", "pydicom", "vtk")
    faster = [line for line in project["optional-dependencies"]["fast"] if line.startswith("numba")]
    needed = [line for line in project["dependencies"] if not line.startswith((*brought, "torch"))]
    assert requirements == needed + faster


def set_in_cmake(name: str) -> str:
    found = re.search(rf'^set\({name} "([^"\n]+)"\)$', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.M)
    assert found, f"{name} is not set on one line"
    return found[1]


def test_the_extension_says_what_it_is():
    assert "research use only" in set_in_cmake("EXTENSION_DESCRIPTION")
    assert set_in_cmake("EXTENSION_HOMEPAGE").startswith("https://")
    assert set_in_cmake("EXTENSION_CONTRIBUTORS")


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_of_the_extension_are_in_the_repository(name):
    for url in set_in_cmake(name).split():
        path = re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/SlicerVesselFlowGS/main/(.+\.(?:png|jpg))", url)
        assert path and (ROOT / path[1]).is_file(), url


def test_the_icon_has_the_size_that_the_extensions_manager_shows():
    from PIL import Image

    with Image.open(ROOT / "VesselFlowGS.png") as icon:
        assert icon.size == (128, 128)

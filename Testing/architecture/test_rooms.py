"""The rooms and what they may know of each other; what is promised of every file of the project."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import VesselFlowGSLib

ROOT = Path(__file__).parents[2]
ENGINE = sorted((ROOT / "VesselFlowGSLib").rglob("*.py"))
HEAVY = set("gdcm matplotlib numba pydicom pyvista scipy SimpleITK skimage torch tqdm vtk vtkmodules".split())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_room_imports_from_lower_rooms_only():
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def loaded_by(module: str) -> set[str]:
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_snapshot_loads_numpy_alone():
    assert loaded_by("VesselFlowGSLib.results.snapshot") & HEAVY == set()


def test_the_command_line_answers_before_the_engine_is_loaded():
    assert loaded_by("VesselFlowGSLib.cli") & (HEAVY | {"numpy"}) == set()


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_pickle_no_shell_and_no_hidden_draws(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & {"pickle", "dill", "joblib", "random"}
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in {"pickle", "dill", "joblib", "random"}
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            named = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if re.fullmatch(r"(subprocess\.)?(run|Popen|call|check_call|check_output|getoutput)", name):
                assert named.get("shell", "False") == "False"
            assert name not in {"os.system", "os.popen"}
            assert named.get("allow_pickle", "False") == "False"
            assert name != "torch.load" or named.get("weights_only") == "True"
            # The module-wide generators of numpy take no seed from the caller.
            assert not re.match(r"np\.random\.(?!default_rng$|Generator$|SeedSequence$)", name)
            assert name != "np.random.default_rng" or node.args or node.keywords


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_says_what_it_is(path):
    if path.read_text().strip():
        assert ast.get_docstring(ast.parse(path.read_text()))


def test_tests_mirror_the_rooms():
    rooms = {p.name for part in ("VesselFlowGSLib", "VesselFlowGS") for p in (ROOT / part).iterdir() if p.is_dir()}
    for path in (ROOT / "Testing").rglob("test_*.py"):
        assert path.relative_to(ROOT / "Testing").parts[0] in rooms | {
            "cli",
            "architecture",
            "packaging",
            "Host",
            "Benchmarks",
        }


def test_the_newest_version_of_the_changelog_is_the_package_s():
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == VesselFlowGSLib.__version__


def test_every_requirement_is_pinned_within_its_range():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, pinned = line.partition("==")
            pins[canonicalize_name(name)] = pinned
    wanted = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


def test_what_the_engine_imports_is_what_it_requires():
    extras = PROJECT["optional-dependencies"]
    wanted = {Requirement(r).name for r in [*PROJECT["dependencies"], *extras["fast"], *extras["cuda"]]}
    wanted = {canonicalize_name(name) for name in wanted} | {"gsplat"}  # taken where a user has built it
    providers = packages_distributions()
    imported = set().union(*map(imported_by, ENGINE)) - set(sys.stdlib_module_names) - {"VesselFlowGSLib", ""}
    for name in imported:
        assert wanted & {canonicalize_name(d) for d in providers.get(name, [name])}, f"{name} is not required"

"""What is loaded when Slicer starts with the module, and when the panel is opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "VesselFlowGS"
HEAVY = set("torch numba scipy SimpleITK matplotlib skimage gdcm pydicom tqdm pyvista".split())

# The folder of VesselFlowGSLib is not on the path: as in a Slicer that runs the module from its sources.
PROGRAM = """
import importlib, json, sys
sys.path[:0] = {paths!r}
import host
host.install()
before = set(sys.modules)
for name in {names!r}:
    importlib.import_module(name)
print(json.dumps(sorted({{name.split(".")[0] for name in set(sys.modules) - before}})))
"""


def loaded_with(names: list[str], *more: Path) -> set[str]:
    paths = [str(ROOT / "Testing" / "Host"), str(MODULE), *map(str, more)]
    program = PROGRAM.format(paths=paths, names=names)
    done = subprocess.run([sys.executable, "-c", program], cwd=MODULE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_below(package: str) -> list[str]:
    return [f"{package}.{path.stem}" for path in sorted((MODULE / package).glob("*.py")) if path.stem != "__init__"]


@pytest.mark.parametrize("package", ["VesselFlowGSScene", "VesselFlowGSPanel"])
def test_nothing_heavy_is_loaded_with_the_parts_of_the_module(package):
    assert loaded_with(modules_below(package), ROOT) & HEAVY == set()


def test_nothing_heavy_is_loaded_when_slicer_starts():
    if not (MODULE / "VesselFlowGS.py").is_file():
        pytest.skip("there is no module yet")
    assert loaded_with(["VesselFlowGS"]) & HEAVY == set()

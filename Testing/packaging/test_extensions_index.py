"""The entry for Slicer's Extensions Index follows its schema (v1.0.2) and the rules that are checked there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "Resources" / "ExtensionsIndex" / "VesselFlowGS.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)

# The index accepts these, of which the project fits the first four.
CATEGORIES = {"Simulation", "Cardiac", "Quantification", "Vascular Modeling Toolkit", "Sequences", "Analysis"}
KEYS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "tier": int,
}


@pytest.fixture
def entry():
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def test_it_has_the_keys_of_the_schema_and_no_others(entry):
    assert {"$schema", "category", "scm_url"} <= entry.keys() <= KEYS.keys()
    assert all(type(value) is KEYS[key] for key, value in entry.items())
    assert entry["$schema"] == SCHEMA
    assert 1 <= entry["tier"] <= 5


def test_lines_end_as_the_index_wants():
    assert b"\r" not in ENTRY.read_bytes()


def test_names_are_as_the_index_wants(entry):
    assert not ENTRY.stem.lower().startswith("slicer")
    address = urlsplit(entry["scm_url"])
    assert address.scheme == "https" and Path(address.path).stem.startswith("Slicer")
    project = re.search(r"^project\((\w+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M)
    assert project and project[1] == ENTRY.stem
    assert entry["category"] in CATEGORIES


def test_dependencies_are_those_of_the_build(entry):
    depends = re.search(r'^set\(EXTENSION_DEPENDS "([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text(), re.M)
    assert depends
    named = [] if depends[1] == "NA" else depends[1].split()
    assert named == entry["build_dependencies"]


def test_pictures_come_from_the_repository_of_the_entry(entry):
    owner = urlsplit(entry["scm_url"]).path.split("/")[1]
    assert f"github.com/{owner}/SlicerVesselFlowGS" in (ROOT / "CMakeLists.txt").read_text()
    others = set(re.findall(r"githubusercontent\.com/([^/]+)/", (ROOT / "CMakeLists.txt").read_text())) - {owner}
    assert others == set()


def test_there_is_a_licence():
    assert (ROOT / "LICENSE").read_text().strip()


def test_the_repository_is_small_enough():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if done.returncode:
        pytest.skip("not in a git repository")
    files = [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]
    # The index counts what it clones, history too: well below its limit of 100 MB.
    assert sum(path.stat().st_size for path in files if path.is_file()) < 40e6

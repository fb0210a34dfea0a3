"""What numba compiles is kept for the next process, until any source of the room changes; nothing hangs on the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from VesselFlowGSLib.gaussians.backends.numba.kernel import cache_folder  # noqa: E402

LIBRARY = Path(__file__).parents[2] / "VesselFlowGSLib"
BACKEND = Path("VesselFlowGSLib/gaussians/backends/numba")
CALLEE = """
from VesselFlowGSLib.gaussians.backends.numba.kernel import kernel

STEP = {step}

@kernel(nogil=True)
def next_to(x):
    return x + STEP
"""
CALLER = """
import json
from VesselFlowGSLib.gaussians.backends.numba.callee import next_to
from VesselFlowGSLib.gaussians.backends.numba.kernel import cache_folder, kernel

@kernel(nogil=True)
def doubled(x):
    return 2 * next_to(x)

if __name__ == "__main__":
    value = doubled(3), doubled(0.5)
    folder = cache_folder()
    stats = doubled.stats
    print(json.dumps({
        "value": value, "folder": folder and str(folder), "loaded": sum(stats.cache_hits.values()),
        "compiled": sum(stats.cache_misses.values()),
    }))
"""


class Installation:
    """The sources in a folder of their own, with a kernel that calls one of another file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        shutil.copytree(LIBRARY, folder / "VesselFlowGSLib", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / BACKEND / "caller.py").write_text(CALLER, encoding="utf-8")
        self.write_callee(1)

    def write_callee(self, step: int) -> None:
        (self.folder / BACKEND / "callee.py").write_text(CALLEE.format(step=step), encoding="utf-8")

    def run(self, before: str = "", **environment: str) -> dict:
        module = "VesselFlowGSLib.gaussians.backends.numba.caller"
        code = f"{before}\nimport runpy; runpy.run_module({module!r}, run_name='__main__')"
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(self.cache), "PYTHONPATH": str(self.folder), **environment},
        )  # fmt: skip
        return json.loads(found.stdout)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_a_second_process_starts_from_what_was_kept(installation):
    first, second = installation.run(), installation.run()
    assert (first["loaded"], first["compiled"]) == (0, 2)
    assert (second["loaded"], second["compiled"]) == (2, 0)
    assert first["value"] == second["value"] == [8, 3.0]
    assert Path(first["folder"]).is_relative_to(installation.cache)


def test_a_change_in_a_file_that_is_called_is_compiled(installation):
    before = installation.run()
    installation.write_callee(10)
    after = installation.run()
    assert before["value"] == [8, 3.0] and after["value"] == [26, 21.0]
    assert after["compiled"] == 2 and after["folder"] != before["folder"]


def test_the_folders_of_the_last_sources_are_kept_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    parent = tmp_path / "vesselflowgs-kernels"
    for age in range(6):
        (parent / str(age)).mkdir(parents=True)
        os.utime(parent / str(age), (1e9 - age, 1e9 - age))
    folder = cache_folder.__wrapped__()
    assert {f.name for f in parent.iterdir()} == {folder.name, "0", "1", "2"}


def test_without_a_folder_to_write_to_kernels_live_in_memory(installation):
    blocked = installation.folder / "blocked"
    blocked.write_text("no folder", encoding="utf-8")
    shutil.copy(blocked, installation.folder / BACKEND / "__pycache__")
    places = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE"), str(blocked))
    found = installation.run(PYTHONDONTWRITEBYTECODE="1", **places)
    assert found["folder"] is None and found["value"] == [8, 3.0]


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files is of Unix")
def test_a_full_disk_is_no_error(installation):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    found = installation.run(before=full, PYTHONDONTWRITEBYTECODE="1")
    assert found["folder"] is not None and found["value"] == [8, 3.0]


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_damaged_files_are_made_anew(installation, ending):
    folder = Path(installation.run()["folder"])
    for file in folder.glob(f"*.{ending}"):
        file.write_bytes(b"damaged")
    assert installation.run()["value"] == [8, 3.0]
    third = installation.run()
    assert third["value"] == [8, 3.0] and third["compiled"] == 0

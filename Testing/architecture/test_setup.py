"""What make does before anything is installed, in a copy of the project that has no .venv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the set-up is a shell script")


@pytest.fixture
def copy(tmp_path):
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "Resources" / "Setup", tmp_path / "Resources" / "Setup")
    return tmp_path


def set_up(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "Resources" / "Setup" / "setup-environment"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def command(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_another_version_of_python_gets_one_clear_message(copy):
    old = command(copy / "bin" / "old-python", "echo 3.9")
    done = set_up(copy, PYTHON=str(old))
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr == f"setup-environment: PYTHON={old} is 3.9; VesselFlowGS needs Python 3.11, 3.12 or 3.13.\n"
    assert not (copy / ".venv").exists()


def test_a_python_that_does_not_run_is_named(copy):
    broken = command(copy / "bin" / "broken", "echo 'pyenv: no such version' >&2; exit 127")
    done = set_up(copy, PYTHON=str(broken))
    assert done.returncode != 0
    assert "is no Python that runs" in done.stderr


def test_what_is_done_is_not_done_again(copy):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    log = copy / "called"
    answer = f'case "$*" in *pip*) exit 0;; *) echo {version};; esac'
    command(copy / ".venv" / "bin" / "python", f'echo "$*" >> {log}; {answer}')
    first = set_up(copy, PYTHON=sys.executable, SYSTEM_PACKAGES="skip")
    assert first.returncode == 0 and "Ready" in first.stdout
    assert "pip install" in log.read_text()
    log.unlink()
    second = set_up(copy)
    assert second.returncode == 0 and second.stdout == second.stderr == ""
    assert "pip" not in log.read_text()
    (copy / "constraints.txt").open("a").write("six==1.16.0\n")
    assert "pip" in (set_up(copy, PYTHON=sys.executable, SYSTEM_PACKAGES="skip") and log.read_text())


def test_nothing_sets_pip_s_index():
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "Resources/Setup").glob("*e*")]
    for path in filter(Path.is_file, files):
        assert "index-url" not in path.read_text() and "find-links" not in path.read_text()

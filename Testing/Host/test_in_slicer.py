"""The module's tests inside a real Slicer, where SLICER_EXECUTABLE names one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLICER = os.environ.get("SLICER_EXECUTABLE", "")


@pytest.mark.skipif(not SLICER, reason="needs a Slicer: set SLICER_EXECUTABLE to its program")
def test_the_module_s_tests_pass_inside_slicer(tmp_path):
    command = [SLICER, "--testing", "--no-splash", "--additional-module-paths", str(ROOT / "VesselFlowGS")]
    command += ["--python-script", str(ROOT / "Testing" / "run_in_slicer.py"), "-q", f"--junitxml={tmp_path / 'r.xml'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert (tmp_path / "r.xml").is_file(), "Slicer ended without running the tests"

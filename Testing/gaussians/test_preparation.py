"""Kernels are ready before they are needed, and the backend is the one that was asked for, or the best that works."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.gaussians import preparation
from VesselFlowGSLib.gaussians.backends import declaration
from VesselFlowGSLib.gaussians.backends.declaration import (
    BACKEND_VARIABLE,
    OPERATORS,
    THREADS_VARIABLE,
    chosen,
    preferring,
    threads_to_use,
)
from VesselFlowGSLib.gaussians.preparation import MESSAGE, prepare

ROOT = Path(__file__).parents[2]
PANEL = ROOT / "VesselFlowGS"


@pytest.fixture(autouse=True)
def nothing_is_asked_for(monkeypatch):
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    monkeypatch.setattr(declaration, "_failed", set())


def test_every_operator_is_run_and_its_backend_named():
    with preferring("torch"):
        assert prepare() == dict.fromkeys(OPERATORS, "torch")


def test_a_person_is_told_once_and_only_of_what_takes_long(monkeypatch):
    told = []
    monkeypatch.setattr(preparation, "_run_all", lambda device: None)
    prepare(on_step=told.append)
    assert told == []
    monkeypatch.setattr(preparation, "PATIENCE_S", 0.01)
    monkeypatch.setattr(preparation, "_run_all", lambda device: time.sleep(0.3))
    prepare(on_step=lambda text: told.append((text, threading.current_thread())))
    assert told == [(MESSAGE, threading.current_thread())]


def test_a_backend_whose_kernels_fail_is_passed_over(monkeypatch, caplog):
    pytest.importorskip("numba")

    def fails(*_):
        raise RuntimeError("no permission for machine code")

    monkeypatch.setattr("VesselFlowGSLib.gaussians.backends.numba.density.density", fails)
    assert prepare() == dict.fromkeys(OPERATORS, "torch")
    assert "numba does not work here" in caplog.text and "no permission" in caplog.text


def test_a_failure_of_torch_is_a_failure(monkeypatch):
    def fails(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("VesselFlowGSLib.gaussians.backends.torch.density.density", fails)
    with preferring("torch"), pytest.raises(RuntimeError, match="out of memory"):
        prepare()


def test_what_is_preferred_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv(BACKEND_VARIABLE, "reference")
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    assert chosen()["project"] == "reference" and threads_to_use() == 3
    with preferring("torch", 2):
        assert chosen()["project"] == "torch" and (threads_to_use(), threads_to_use(5)) == (2, 5)
    with preferring():
        assert chosen()["project"] == "reference" and threads_to_use() == 3
    assert chosen()["project"] == "reference"


def test_a_backend_that_cannot_run_here_is_passed_over_and_one_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(declaration, "_importable", lambda library: library != "numba")
    monkeypatch.setenv(BACKEND_VARIABLE, "warp")
    assert set(chosen("cpu").values()) == {"torch"}
    with pytest.raises(InstallationError, match="needs numba"), preferring("numba"):
        pass
    with pytest.raises(InstallationError, match="unknown"), preferring("abacus"):
        pass


def test_the_panel_never_computes_in_its_own_thread():
    """Whatever of the engine the Slicer module imports, by itself or in turn, no kernel and no compiler comes along."""
    wanted = set()
    for file in PANEL.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            wanted |= {name for name in names if name.startswith("VesselFlowGSLib")}
    assert wanted
    code = "\n".join(f"import {name}" for name in sorted(wanted)) + "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not [m for m in loaded if m.startswith("VesselFlowGSLib.gaussians")]
    assert not {"numba", "torch", "warp"} & set(loaded)

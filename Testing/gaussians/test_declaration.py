"""Which backend does the work: the best one that runs here, the one that is asked for, or a message."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.gaussians.backends import declaration
from VesselFlowGSLib.gaussians.backends.declaration import BACKENDS, OPERATORS, choose, threads_to_use


@pytest.fixture(autouse=True)
def no_preference(monkeypatch):
    monkeypatch.delenv(declaration.BACKEND_VARIABLE, raising=False)
    monkeypatch.delenv(declaration.THREADS_VARIABLE, raising=False)


def without(monkeypatch, *libraries):
    there = declaration._importable.__wrapped__
    monkeypatch.setattr(declaration, "_importable", lambda name: name not in libraries and there(name))


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_has_a_reference_and_a_backend_that_needs_nothing(operator):
    able = [b for b in BACKENDS if operator in b.operators]
    assert any(b.name == "reference" and b.rank < 0 for b in able)
    assert any(b.library is None and b.rank >= 0 and "cpu" in b.devices for b in able)
    for backend in able:
        if backend.available:
            assert callable(backend.operator(operator))


@pytest.mark.parametrize("operator", OPERATORS)
def test_without_libraries_the_torch_backend_does_it(operator, monkeypatch):
    without(monkeypatch, "numba", "warp", "gsplat")
    assert choose(operator).name == "torch"
    assert choose(operator, device="cuda").name == "torch"


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_reference_is_never_chosen_by_itself(operator, monkeypatch):
    monkeypatch.setattr(declaration, "BACKENDS", tuple(b for b in BACKENDS if b.rank < 0))
    with pytest.raises(InstallationError, match="CPU"):
        choose(operator)


def test_a_library_that_cannot_be_imported_is_passed_over_and_said(monkeypatch, tmp_path, caplog):
    (tmp_path / "broken_kernels.py").write_text("raise OSError('no driver')")
    monkeypatch.syspath_prepend(str(tmp_path))
    backend = declaration.Backend("broken", ("project",), ("cpu",), ("float32",), 0, library="broken_kernels")
    monkeypatch.setattr(declaration, "BACKENDS", (backend, *BACKENDS))
    with caplog.at_level(logging.WARNING):
        assert choose("project").name != "broken"
    assert "broken_kernels" in caplog.text and "no driver" in caplog.text


def test_a_name_counts_and_an_unknown_one_is_refused():
    assert choose("project", "torch").name == "torch"
    assert choose("project", "reference").name == "reference"
    for name in ("abacus", "warp"):
        with pytest.raises(InstallationError, match="auto or one of"):
            choose("project", name)


def test_double_precision_goes_where_it_is_known():
    assert choose("project", precision="float64").name == "torch"
    with pytest.raises(InstallationError, match="float64"):
        choose("project", "numba", precision="float64")


def test_a_preference_holds_where_it_can(monkeypatch):
    monkeypatch.setenv(declaration.BACKEND_VARIABLE, "torch")
    assert choose("project").name == "torch"
    assert choose("project", "reference").name == "reference"
    monkeypatch.setenv(declaration.BACKEND_VARIABLE, "abacus")
    assert choose("project").rank >= 0


def test_the_choice_is_logged(caplog):
    declaration._told.cache_clear()
    with caplog.at_level(logging.INFO):
        choose("project", "torch")
    assert "project: torch on cpu" in caplog.text


def test_threads_are_those_asked_for_or_those_there_are(monkeypatch):
    assert threads_to_use(3) == 3
    assert threads_to_use() >= 1
    monkeypatch.setenv(declaration.THREADS_VARIABLE, "2")
    assert threads_to_use() == 2 and threads_to_use(5) == 5
    monkeypatch.setenv(declaration.THREADS_VARIABLE, "many")
    assert threads_to_use() >= 1


def test_importing_the_operators_imports_no_backend():
    program = (
        "import sys, VesselFlowGSLib.gaussians.project, VesselFlowGSLib.gaussians.density;"
        "import VesselFlowGSLib.gaussians.composite;"
        "print(*sorted({'numba', 'llvmlite', 'warp', 'gsplat', 'vtk'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_reference_stays_in_its_room():
    """It shares nothing with the footprint that the other backends stand on."""
    program = "import sys, VesselFlowGSLib.gaussians.backends.reference.project; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "VesselFlowGSLib.gaussians.footprint" not in done.stdout.split()

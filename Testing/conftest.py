"""What every test may ask for: the data outside the repository, and property tests that never watch the clock."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("project")


# Inside Slicer itself (see run_in_slicer.py) there is nothing to be tested of what stands in for it.
collect_ignore = ["Host", "packaging"] if "PythonQt" in sys.modules else []


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder that VESSELFLOWGS_DATA names; a test that asks for it is skipped where there is none."""
    name = os.environ.get("VESSELFLOWGS_DATA", "")
    if not name or not Path(name).is_dir():
        pytest.skip("needs data outside the repository: set VESSELFLOWGS_DATA to their folder")
    return Path(name)


@pytest.fixture(scope="session")
def bend_case(data_folder: Path) -> Path:
    """The simulated study of a gentle bend, with its truth beside it."""
    case = data_folder / "cases" / "DEV_gentle_bend_steady"
    if not case.is_dir():
        pytest.skip("needs cases/DEV_gentle_bend_steady below VESSELFLOWGS_DATA")
    return case


@pytest.fixture
def opened_scene() -> Iterator[Any]:
    """A fresh real scene with its application logic and module logics: see Testing/Host/mrml_scene.py."""
    pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
    import mrml_scene

    opened = mrml_scene.open_scene()
    yield opened
    opened.close()


@pytest.fixture
def scene(opened_scene: Any) -> Any:
    """A fresh real MRML scene, which is slicer.mrmlScene until the test ends."""
    return opened_scene.scene


@pytest.fixture
def slicer_host(opened_scene: Any) -> Iterator[Any]:
    """The test host around a fresh scene (see Testing/Host/host.py); errors in slots fail the test at its end."""
    import mrml_scene

    if not mrml_scene.inside_slicer():
        pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")
    import host

    host.install(opened_scene)
    host.ERRORS.clear()
    yield host
    errors = host.ERRORS[:]
    host.ERRORS.clear()
    assert not errors, f"raised in a slot or observer: {errors!r}"

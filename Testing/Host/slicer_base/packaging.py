"""Which Python packages are there. The host never installs: it keeps what it was asked for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ASKED: list[list[str]] = []
"""What pip_ensure was asked to install, in the order of the calls; a test looks here."""

DECLINED = False
"""A test sets it: then the person says no."""


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a requirements.txt, without comments and options."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def _requirements(asked: Any) -> list[Requirement]:
    if isinstance(asked, str):
        asked = asked.split()
    elif isinstance(asked, Requirement):
        asked = [asked]
    return [Requirement(one) if isinstance(one, str) else one for one in asked]


def pip_check(req: Any) -> bool:
    """Whether all requirements are met here."""
    for wanted in _requirements(req):
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            return False
        if not wanted.specifier.contains(there, prereleases=True):
            return False
    return True


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Keep what is missing in ASKED; RuntimeError where the person declines."""
    missing = [str(wanted) for wanted in _requirements(requirements) if not pip_check(wanted)]
    if missing and DECLINED:
        raise RuntimeError("the installation was declined")
    if missing:
        ASKED.append(missing)
    return [] if skip_packages else None


def pip_install(requirements: Any, **_: Any) -> None:
    """Keep what was asked for in ASKED."""
    ASKED.append([str(wanted) for wanted in _requirements(requirements)])

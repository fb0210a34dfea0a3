"""Runs the tests of the module inside Slicer itself, in its own Python, on its real widgets and views.

    PythonSlicer -m pip install pytest hypothesis                # once
    Slicer --testing --no-splash --additional-module-paths VesselFlowGS \
           --python-script Testing/run_in_slicer.py [pytest's arguments]

Or: SLICER_EXECUTABLE=/path/to/Slicer make test TESTS=Testing/Host/test_in_slicer.py. Slicer exits with pytest's code.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["Testing/VesselFlowGSScene", "Testing/VesselFlowGSPanel", "Testing/VesselFlowGS"]


def run(arguments: list[str]) -> int:
    """pytest's exit code; 5 where pytest itself is missing."""
    # Loaded before pytest puts the stand-ins of the same names on the path.
    import ctk  # noqa: F401
    import qt  # noqa: F401

    try:
        import hypothesis  # noqa: F401
        import pytest
    except ImportError as missing:
        print(
            f"run_in_slicer: {missing}. Install it into Slicer's Python: PythonSlicer -m pip install pytest hypothesis"
        )
        return 5
    named = [a for a in arguments if not a.startswith("-")]
    tests = [] if named else [str(ROOT / name) for name in TESTS if (ROOT / name).is_dir()]
    return int(pytest.main(["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), *arguments, *tests]))


if __name__ == "__main__":
    import slicer

    slicer.util.exit(run(sys.argv[1:]))

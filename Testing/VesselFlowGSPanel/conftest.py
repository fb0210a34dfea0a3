"""A panel around a fresh scene, for the tests of its sections."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# scenes with films and volumes are made there
sys.path.append(str(Path(__file__).parents[1] / "VesselFlowGSScene"))


@pytest.fixture
def panel(slicer_host: Any, scene: Any) -> Iterator[Any]:
    """A PanelStandIn in the test host; add(SectionClass) puts a section into it."""
    # what it imports needs the host
    from panel_stand_in import PanelStandIn

    made = PanelStandIn(scene)
    yield made
    made.close()

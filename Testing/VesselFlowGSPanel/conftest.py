"""A panel around a fresh scene, for the tests of its sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def panel(slicer_host: Any, scene: Any) -> Iterator[Any]:
    """A PanelStandIn in the test host; add(SectionClass) puts a section into it."""
    # what it imports needs the host
    from panel_stand_in import PanelStandIn

    made = PanelStandIn(scene)
    yield made
    made.close()

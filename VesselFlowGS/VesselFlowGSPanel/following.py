"""Listen to one node at a time, and let go of it in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from VesselFlowGSPanel.section import Panel


class Following:
    """follow(node) listens to an event of it and no longer to the one before; follow(None) lets go.

    told  called without arguments; not for events of a node that is not followed any more
    """

    def __init__(self, panel: Panel, event: Any, told: Callable[[], None]) -> None:
        self._panel, self._event, self._told = panel, event, told
        self._node: Any = None

    def follow(self, node: Any | None) -> None:
        if node is self._node:
            return
        if self._node is not None:
            self._panel.unobserve(self._node, self._event, self._heard)
        self._node = node
        if node is not None:
            self._panel.observe(node, self._event, self._heard)

    def _heard(self, *_event: Any) -> None:
        self._told()

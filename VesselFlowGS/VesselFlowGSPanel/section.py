"""What every section of the panel is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import slicer

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSLib.worker.messages import Message
from VesselFlowGSScene.case import Case


class Panel(Protocol):
    """What a section may ask of the module's widget."""

    logic: Any
    parameters: Any

    def resource(self, name: str) -> str:
        """Path of a file below the module's Resources."""

    def observe(self, node: Any, event: Any, told: Callable[..., None]) -> None:
        """Be told of an event of a node until the panel is closed."""

    def unobserve(self, node: Any, event: Any, told: Callable[..., None]) -> None: ...

    @property
    def case(self) -> Case | None:
        """The case that is shown now."""

    @property
    def snapshot(self) -> Snapshot | None:
        """Its newest snapshot."""

    def refresh(self) -> None:
        """Bring all sections up to what is known now."""

    def report(self, text: str) -> None:
        """One message to the person, in the panel and not over it."""


class Section:
    """One collapsible section, made from Resources/UI/NAME.ui; widgets with a SlicerParameterName follow the node.

    Subclasses set NAME and may override connect, update, told and close.
    """

    NAME = ""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.widget = slicer.util.loadUI(panel.resource(f"UI/{self.NAME}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._link: Any = None
        self.connect()

    def connect(self) -> None:
        """Connect the buttons; called once."""

    def collapse(self, collapsed: bool) -> None:
        """Close or open the section."""
        name = f"{self.NAME[0].lower()}{self.NAME[1:]}CollapsibleButton"
        getattr(self.ui, name).collapsed = collapsed

    def set_parameters(self, parameters: Any | None) -> None:
        """Let the widgets follow another parameter node, or none (the scene is being closed)."""
        if self._link is not None and self.panel.parameters is not None:
            self.panel.parameters.disconnectGui(self._link)
        self._link = parameters.connectGui(self.ui) if parameters is not None else None

    def update(self) -> None:
        """Show what is known now; called after parameters, the case or a snapshot changed."""

    def told(self, message: Message) -> None:
        """A message of the worker of the case that is shown."""

    def close(self) -> None:
        """Stop timers; the widgets go."""

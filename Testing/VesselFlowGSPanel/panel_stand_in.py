"""A stand-in for the module's widget: the few things that a section asks of its panel, and what was reported to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSLib.worker.messages import Message
from VesselFlowGSPanel.parameters import VesselFlowGSParameterNode
from VesselFlowGSPanel.section import Panel, Section
from VesselFlowGSScene.case import Case

RESOURCES = Path(__file__).parents[2] / "VesselFlowGS" / "Resources"


class PanelStandIn:
    """A Panel with sections of a test's choice on a parameter node of its own in the given scene.

    logic     what the sections call; a test puts recording functions on it
    reported  every text of report(), oldest first
    shown     the Case that `case` gives; newest: the Snapshot that `snapshot` gives
    """

    def __init__(self, scene: Any, logic: Any = None) -> None:
        self.scene = scene
        self.logic = logic if logic is not None else SimpleNamespace()
        self.reported: list[str] = []
        self.sections: list[Section] = []
        self.shown: Case | None = None
        self.newest: Snapshot | None = None
        self.refreshed = 0
        self.parameters: Any = None
        self._refreshing = False
        self._observed: list[tuple[Any, Any, Callable[..., None], int]] = []
        self.follow(self.new_parameters())

    def new_parameters(self) -> Any:
        """A fresh parameter node in the scene, with all defaults."""
        return VesselFlowGSParameterNode(self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    def add(self, kind: Callable[[Panel], Section]) -> Any:
        """A section of the given class, connected to the parameter node."""
        section = kind(self)
        section.widget.setMRMLScene(self.scene)
        self.sections.append(section)
        section.set_parameters(self.parameters)
        section.update()
        return section

    def follow(self, parameters: Any | None) -> None:
        """Let all sections follow another parameter node, or none, as when the scene closes."""
        for section in self.sections:
            section.set_parameters(None)
        if self.parameters is not None:
            self.unobserve(self.parameters.parameterNode, _MODIFIED, self._parameters_changed)
        self.parameters = parameters
        if parameters is not None:
            self.observe(parameters.parameterNode, _MODIFIED, self._parameters_changed)
        for section in self.sections:
            section.set_parameters(parameters)
        self.refresh()

    def close_scene(self) -> None:
        """What the widget does when the user closes the scene: let go, close, begin anew."""
        self.shown = None
        self.newest = None
        self.follow(None)
        self.scene.Clear()
        self.follow(self.new_parameters())

    def tell(self, message: Message) -> None:
        """A message of the worker, to every section."""
        for section in self.sections:
            section.told(message)

    def close(self) -> None:
        """Close the sections and let go of all nodes."""
        self.follow(None)
        for section in self.sections:
            section.close()
        for node, event, told, _tag in list(self._observed):
            self.unobserve(node, event, told)

    # What Panel asks for

    def resource(self, name: str) -> str:
        path = RESOURCES / name
        assert path.exists(), f"{path} is not there"
        return str(path)

    def observe(self, node: Any, event: Any, told: Callable[..., None]) -> None:
        self._observed.append((node, event, told, node.AddObserver(event, told)))

    def unobserve(self, node: Any, event: Any, told: Callable[..., None]) -> None:
        for entry in list(self._observed):
            if entry[0] is node and entry[1] == event and entry[2] == told:
                node.RemoveObserver(entry[3])
                self._observed.remove(entry)

    @property
    def case(self) -> Case | None:
        return self.shown

    @property
    def snapshot(self) -> Snapshot | None:
        return self.newest

    def refresh(self) -> None:
        # a section that writes a parameter while it updates would come back here
        if self._refreshing:
            return
        self._refreshing = True
        try:
            self.refreshed += 1
            for section in self.sections:
                section.update()
        finally:
            self._refreshing = False

    def report(self, text: str) -> None:
        self.reported.append(text)

    def _parameters_changed(self, *_told: Any) -> None:
        self.refresh()


_MODIFIED = "ModifiedEvent"


# seen, and not used: texts and what holds other widgets
_UNUSED = ("QLabel", "QWidget", "QGroupBox", "QFrame", "qMRMLWidget", "ctkCollapsibleButton", "QHeaderView")


def tooltips_missing(section: Section) -> list[str]:
    """Names of a section's widgets that a person can use and that have no tooltip."""
    return [
        name
        for name, widget in vars(section.ui).items()
        if widget.isWidgetType()
        and widget.className() not in _UNUSED
        and not name.startswith("qt_")
        and not widget.toolTip
    ]

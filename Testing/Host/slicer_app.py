"""A stand-in for slicer.app: it answers what it can, and refuses names that it does not know."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

import qt
from mrml_scene import OpenedScene
from PySide6 import QtCore, QtWidgets


def qt_application() -> Any:
    """The one QApplication of the process."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([sys.argv[0]])


class Recorder:
    """Keeps what it is asked to do. A name that it does not know raises: check it in Slicer's source, then add it.

    asked  (name, arguments) in the order in which they came
    """

    KNOWN: frozenset[str] = frozenset()
    ANSWERS: dict[str, Any] = {}

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.KNOWN:
            raise AttributeError(f"{type(self).__name__} of the test host has no '{name}'")

        def ask(*arguments: Any) -> Any:
            self.asked.append((name, arguments))
            return self.ANSWERS.get(name)

        return ask


class ModuleManager(Recorder):
    KNOWN = frozenset({"connect", "disconnect", "modulesNames", "isLoaded", "module"})
    ANSWERS = {"modulesNames": (), "isLoaded": False, "connect": True, "disconnect": True}


class ThreeDView(Recorder):
    KNOWN = frozenset(
        {"resetFocalPoint", "resetCamera", "forceRender", "scheduleRender", "renderWindow", "lookFromViewAxis"}
    )


class ThreeDWidget(Recorder):
    KNOWN = frozenset({"mrmlViewNode", "threeDController"})

    def __init__(self) -> None:
        super().__init__()
        self._view = ThreeDView()

    def threeDView(self) -> ThreeDView:
        return self._view


class LayoutManager(Recorder):
    """Knows of layouts by their numbers alone: there are no views."""

    KNOWN = frozenset({"connect", "disconnect", "resetSliceViews", "setMRMLScene", "addMaximizedViewNode"})
    threeDViewCount = 1
    tableViewCount = 0
    plotViewCount = 0

    def __init__(self) -> None:
        super().__init__()
        self.layout = 3
        self._widget = ThreeDWidget()

    def setLayout(self, layout: int) -> None:
        self.layout = int(layout)
        self.asked.append(("setLayout", (layout,)))

    def resetThreeDViews(self) -> None:
        self.asked.append(("resetThreeDViews", ()))

    def threeDWidget(self, index: int) -> Any:
        return self._widget if index == 0 else None

    def sliceWidget(self, name: str) -> None:
        """None: the host has no slice views."""

    def sliceViewNames(self) -> tuple[str, ...]:
        return ()

    def plotWidget(self, index: int) -> None:
        """None: the host has no plot views."""


@dataclass
class DicomDatabase:
    """slicer.dicomDatabase: which file an instance lies in.

    files  instance UID: path; a test fills it
    """

    files: dict[str, str] = field(default_factory=dict)
    isOpen: bool = True

    def fileForInstance(self, uid: str) -> str:
        return self.files.get(uid, "")


class Application(Recorder):
    """slicer.app with a real scene, real settings (of the test alone) and a real event loop."""

    KNOWN = frozenset(
        {
            "connect",
            "disconnect",
            "restart",
            "pauseRender",
            "resumeRender",
            "setRenderPaused",
            "logUsageEvent",
            "openSettingsDialog",
            "openExtensionsManagerDialog",
            "commandOptions",
        }
    )
    applicationName = "Slicer"
    applicationVersion = "5.12.4"
    mainApplicationName = "Slicer"
    mainApplicationDisplayName = "3D Slicer"
    majorVersion, minorVersion = 5, 12
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, opened: OpenedScene, folder: str) -> None:
        super().__init__()
        self._opened = opened
        self._modules = ModuleManager()
        self._layouts = LayoutManager()
        self._settings = QtCore.QSettings(os.path.join(folder, "settings.ini"), QtCore.QSettings.Format.IniFormat)
        self.temporaryPath = folder
        self.cachePath = folder
        self.slicerHome = folder
        self.testing = True

    def applicationLogic(self) -> Any:
        return self._opened.application

    def moduleLogic(self, name: str) -> Any:
        return self._opened.application.GetModuleLogic(name)

    def mrmlScene(self) -> Any:
        return self._opened.scene

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def layoutManager(self) -> LayoutManager:
        return self._layouts

    def processEvents(self, *_: Any) -> None:
        qt_application().processEvents()

    def settings(self) -> Any:
        return self._settings

    userSettings = revisionUserSettings = settings

    def testingEnabled(self) -> bool:
        return self.testing

    def translate(self, context: str, text: str) -> str:
        return text

    def thread(self) -> Any:
        return qt_application().thread()

    def clipboard(self) -> Any:
        return qt_application().clipboard()

    def setOverrideCursor(self, cursor: Any) -> None:
        qt_application().setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        qt_application().restoreOverrideCursor()

    def topLevelWidgets(self) -> list[Any]:
        return []

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def startupEnvironment(self) -> Any:
        return qt.QProcessEnvironment.systemEnvironment()

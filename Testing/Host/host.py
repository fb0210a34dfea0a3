"""The test host: opens a scripted module outside the application, on real MRML and on stand-ins of its Qt side.

    host.install()                                    # once a scene; the fixture slicer_host does it
    module, instance, widget = host.load_module("VesselFlowGS/VesselFlowGS.py")
    host.process_events()
    host.picture_of(widget.parent, "panel.png")

SLICER_SOURCE in the environment names a folder of Slicer's sources: then its own Base/Python takes the place of
slicer_base. Inside the application nothing is imitated, and the same calls use what is there.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from mrml_scene import OpenedScene, inside_slicer, open_scene

HERE = Path(__file__).parent
PASSES = 3
ERRORS: list[BaseException] = []
"""What was raised in slots and observers, where nobody else would see it; the fixture slicer_host looks here."""

_folder: Any = None


def base_folder() -> Path:
    """Where the modules slicer.ScriptedLoadableModule, slicer.parameterNodeWrapper … are taken from."""
    source = os.environ.get("SLICER_SOURCE", "")
    return Path(source) / "Base" / "Python" / "slicer" if source else HERE / "slicer_base"


def install(opened: OpenedScene | None = None) -> Any:
    """Make slicer.app, slicer.modules and the widgets of Slicer there for a scene; returns the scene.

    opened  the scene to use; a fresh one where None
    """
    global _folder
    if inside_slicer():
        return slicer.mrmlScene
    import mrml_widgets
    import slicer_app

    slicer_app.qt_application()
    opened = opened or open_scene()
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(prefix="slicer-host-", ignore_cleanup_errors=True)
        sys.excepthook = _keep(sys.excepthook)
        slicer.__path__.append(str(base_folder()))
        core = importlib.import_module("slicer_core.MRMLCore")
        sys.modules["MRMLCorePython"] = core  # the application's name of the same library
    mrml_widgets.publish()
    slicer.app = slicer_app.Application(opened, _folder.name)
    slicer.dicomDatabase = slicer_app.DicomDatabase()
    slicer.moduleNames = types.SimpleNamespace()
    slicer.util = importlib.import_module("slicer.util")
    for name in ("i18n", "packaging", "parameterNodeWrapper", "ScriptedLoadableModule"):
        setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
    return opened.scene


def _keep(tell: Callable[..., None]) -> Callable[..., None]:
    def kept(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        ERRORS.append(error)
        tell(kind, error, trace)

    return kept


def load_module(path: str | Path, name: str = "") -> tuple[Any, Any, Any]:
    """Import a scripted module, make its module object and its widget, as the application does.

    Returns the Python module, the module object (NAME) and the widget (NAMEWidget, set up and in a qMRMLWidget).
    """
    path = Path(path).resolve()
    name = name or path.stem
    if inside_slicer():
        widget = slicer.util.getModuleWidget(name)
        return sys.modules[name], getattr(slicer.modules, f"{name}Instance", None), widget
    import mrml_widgets
    import qt

    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    described = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(described)
    sys.modules[name] = module
    described.loader.exec_module(module)
    instance = getattr(module, name)(types.SimpleNamespace(path=str(path)))
    panel = mrml_widgets.qSlicerScriptedLoadableModuleWidget()
    panel.setLayout(qt.QVBoxLayout())
    panel.setMRMLScene(slicer.mrmlScene)
    setattr(slicer.modules, name.lower(), types.SimpleNamespace(path=str(path), widgetRepresentation=lambda: panel))
    setattr(slicer.modules, f"{name}Instance", instance)
    widget = getattr(module, f"{name}Widget")(panel)
    setattr(slicer.modules, f"{name}Widget", widget)
    widget.setup()
    return module, instance, widget


def process_events(seconds: float = 0.0) -> None:
    """Let Qt work off what waits; for so many seconds, timers included."""
    end = time.monotonic() + seconds
    slicer.app.processEvents()
    while time.monotonic() < end:
        time.sleep(0.005)
        slicer.app.processEvents()


def wait_until(come: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Let Qt work until something has come; False where it has not come in time."""
    end = time.monotonic() + seconds
    while not come():
        if time.monotonic() > end:
            return False
        process_events(0.01)
    return True


def picture_of(widget: Any, path: str | Path, width: int = 480) -> None:
    """Write a picture of a widget as the host draws it, as high as its contents are."""
    # The offscreen platform has no style sheet of the application: what is seen is Qt's own style.
    # A widget in a panel has the room that the panel's window gives it.
    window = widget.window()
    window.show()
    # lists and lines that wrap ask for their height only when they have been laid out in their width
    for _ in range(PASSES):
        window.resize(width, max(window.sizeHint.height(), window.layout().totalHeightForWidth(width)))
        process_events()
    if not widget.grab().save(str(path)):
        raise OSError(f"{path} could not be written")

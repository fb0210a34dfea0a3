"""Real MRML scenes outside the application: scene, application logic and module logics of the slicer-core wheel."""

from __future__ import annotations

import sys
import tempfile
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
import vtk

# Name of the module in the application, its logic's class. Making the logic registers the module's node classes.
MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Units": "vtkSlicerUnitsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}


class Module:
    """What slicer.modules.NAME answers: a module with its logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class ApplicationWithoutQt:
    """What slicer.app answers where no host is installed: the scene and the application's logic, no Qt."""

    def __init__(self, opened: OpenedScene) -> None:
        self._opened = opened

    def applicationLogic(self) -> Any:
        return self._opened.application

    def mrmlScene(self) -> Any:
        return self._opened.scene


@dataclass
class OpenedScene:
    """A scene that behaves as the application's: files are read and written, node classes are known.

    application  vtkSlicerApplicationLogic
    logics       name of the module in the application: its logic
    """

    scene: Any
    application: Any
    _cache: tempfile.TemporaryDirectory[str] | None = None
    logics: dict[str, Any] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """Empty the scene; its nodes go, and its observers are told so as when a person closes it."""
        self.scene.Clear(0)
        if self._cache is None:
            return  # the application's own scene
        if getattr(slicer, "mrmlScene", None) is self.scene:
            slicer.mrmlScene = None
        self._cache.cleanup()


def inside_slicer() -> bool:
    """Whether these tests run in the application itself, where nothing has to be imitated."""
    return "PythonQt" in sys.modules


def _scene_of_the_application() -> OpenedScene:
    slicer.mrmlScene.Clear(0)
    opened = OpenedScene(slicer.mrmlScene, slicer.app.applicationLogic())
    for name in MODULE_LOGICS:
        module = getattr(slicer.modules, name.lower(), None)
        if module is not None:
            opened.logics[name] = module.logic()
    return opened


def open_scene(colour_files: Path | None = None) -> OpenedScene:
    """A fresh scene, made the one that slicer.mrmlScene, slicer.modules and slicer.util use.

    Inside the application it is the application's own scene, emptied.

    colour_files  a folder ColorFiles of Slicer's sources; else its colours that come from files are not there
    """
    if inside_slicer():
        return _scene_of_the_application()
    application = slicer.vtkSlicerApplicationLogic()
    scene = slicer.vtkMRMLScene()
    cache = tempfile.TemporaryDirectory(prefix="slicer-cache-", ignore_cleanup_errors=True)
    share = colour_files.parent if colour_files is not None else Path(cache.name) / "share"
    (Path(cache.name) / "share" / "ColorFiles").mkdir(parents=True)
    (Path(cache.name) / ".slicer-cache").touch()  # without it Slicer warns that the folder is no cache
    application.SetHomeDirectory(str(share.parent))
    application.SetShareDirectory(share.name)
    application.SetMRMLScene(scene)
    application.SetViewLogics(vtk.vtkCollection())
    application.SetSliceLogics(vtk.vtkCollection())
    opened = OpenedScene(scene, application, cache)
    slicer.mrmlScene = scene
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    modules = slicer.__dict__.setdefault("modules", types.ModuleType("slicer.modules"))
    sys.modules["slicer.modules"] = modules
    for name, logic_class in MODULE_LOGICS.items():
        logic = getattr(slicer, logic_class)()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        opened.logics[name] = logic
        setattr(modules, name.lower(), Module(name, logic))
    _let_bundles_be_read(opened)
    slicer.app = ApplicationWithoutQt(opened)
    return opened


def _let_bundles_be_read(opened: OpenedScene) -> None:
    # ReadFromMRB answers False without a cache folder and a data manager, which the application always has.
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.GetCacheManager().SetRemoteCacheDirectory(opened._cache.name)
    data = slicer.vtkDataIOManagerLogic()
    data.SetMRMLApplicationLogic(opened.application)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    opened.application.SetMRMLSceneDataIO(opened.scene, remote, data)
    opened._kept += [remote, data]

"""Real Slicer views outside the application: the displayable managers of the slicer-core wheel, drawn off screen.

The 3D view draws all that the application's draws. In the slice view the application puts the image there by Qt code:
here a mapper is fed by the same slice logic, and everything else is Slicer's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

Pixels = NDArray[np.uint8]

THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)


class View:
    """A window of Slicer's displayable managers. node: the view's MRML node."""

    def __init__(self, size: tuple[int, int]) -> None:
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.node: Any = None

    def pixels(self) -> Pixels:
        """(height, width, 3), the first row on top."""
        self.window.Render()
        shot = vtk.vtkWindowToImageFilter()
        shot.SetInput(self.window)
        shot.ReadFrontBufferOff()
        shot.Update()
        image = shot.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def save(self, path: Path | str) -> Pixels:
        """Write the view as PNG and give its pixels."""
        pixels = self.pixels()
        image = vtk.vtkImageData()
        image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
        flat = np.ascontiguousarray(pixels[::-1]).reshape(-1, 3)
        image.GetPointData().SetScalars(vtk.util.numpy_support.numpy_to_vtk(flat, deep=True))
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(str(path))
        writer.SetInputData(image)
        writer.Write()
        return pixels

    def close(self) -> None:
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class ThreeDView(View):
    """A 3D view of the scene, with a dark even ground so that what is drawn can be told from it.

    Make it before what it shall show, as the application does: its manager draws the colour legends it saw coming.
    """

    GROUND = (0.08, 0.08, 0.1)

    def __init__(self, opened: Any, name: str = "1", size: tuple[int, int] = (900, 650)) -> None:
        super().__init__(size)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        _register(factory, THREE_D_MANAGERS, opened.application)
        self.renderer.SetUseDepthPeeling(True)
        self.renderer.SetUseDepthPeelingForVolumes(True)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(factory, self.renderer)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(opened.application)
        opened.application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(opened.scene)
        self.node = self.logic.AddViewNode(name)
        self.group.SetMRMLDisplayableNode(self.node)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.node.SetBackgroundColor(*self.GROUND)
        self.node.SetBackgroundColor2(*self.GROUND)

    def look(self, along: tuple[float, float, float] = (0, -1, 0), up: tuple[float, float, float] = (0, 0, 1)) -> None:
        """See everything along a direction in RAS; the default looks from the front with the head up."""
        self.window.Render()
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(*(-np.asarray(along, float)))
        camera.SetViewUp(*up)
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()

    def on_screen(self, ras: Any) -> NDArray[np.int64]:
        """(2,) row and column in pixels of a point in RAS."""
        self.renderer.SetWorldPoint(*map(float, ras), 1.0)
        self.renderer.WorldToDisplay()
        column, row, _ = self.renderer.GetDisplayPoint()
        return np.array([self.window.GetSize()[1] - 1 - round(row), round(column)])


class SliceView(View):
    """A slice view of the scene; orientation "Axial", "Sagittal" or "Coronal"."""

    def __init__(
        self, opened: Any, name: str = "Red", orientation: str = "Axial", size: tuple[int, int] = (500, 500)
    ) -> None:
        super().__init__(size)
        scene = opened.scene
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        _register(factory, SLICE_MANAGERS, opened.application)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(opened.application)
        opened.application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(size[0], size[1], 1)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        camera = self.renderer.GetActiveCamera()
        camera.ParallelProjectionOn()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(factory, self.renderer)
        self.group.SetMRMLDisplayableNode(self.node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()

    def show_volume(self, volume: Any) -> None:
        """Let a volume be the background and fit the view to it."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.logic.FitSliceToAll()
        self.renderer.AddViewProp(self._image)

    def cut(self, ras: Any, field_of_view_mm: float) -> None:
        """Lead the slice through a point and show so much around it."""
        self.node.JumpSliceByCentering(*map(float, ras))
        width, height, _ = self.node.GetDimensions()
        self.node.SetFieldOfView(field_of_view_mm, field_of_view_mm * height / width, 1.0)

    def pixels(self) -> Pixels:
        if self.logic.GetSliceCompositeNode().GetBackgroundVolumeID():
            self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return super().pixels()


def colour_share(pixels: Pixels, colour: tuple[float, float, float], near: float = 0.12) -> float:
    """The share of the pixels whose colour (0..1) is near the given one in every channel."""
    off = np.abs(pixels.astype(float) / 255 - np.asarray(colour))
    return float((off.max(-1) < near).mean())


@contextmanager
def three_d_view(opened: Any, size: tuple[int, int] = (900, 650)) -> Iterator[ThreeDView]:
    """A 3D view that is closed in the end."""
    view = ThreeDView(opened, size=size)
    try:
        yield view
    finally:
        view.close()


@contextmanager
def slice_view(opened: Any, orientation: str = "Axial", size: tuple[int, int] = (500, 500)) -> Iterator[SliceView]:
    """A slice view that is closed in the end."""
    view = SliceView(opened, orientation=orientation, size=size)
    try:
        yield view
    finally:
        view.close()


def _register(factory: Any, managers: tuple[str, ...], application: Any) -> None:
    factory.SetMRMLApplicationLogic(application)
    for name in managers:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)

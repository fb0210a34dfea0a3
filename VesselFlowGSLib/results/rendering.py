"""Off-screen drawing of coloured triangles with VTK: scene in, pixels out. Text and scales are added elsewhere."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.results.snapshot import Surface

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]

PROBE = """
import sys
from vtkmodules.vtkCommonCore import vtkLogger
vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
import vtkmodules.vtkRenderingOpenGL2 as gl
from vtkmodules.vtkRenderingCore import vtkRenderWindow, vtkRenderer
window = getattr(gl, sys.argv[1])() if sys.argv[1] else vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.AddRenderer(vtkRenderer())
window.Render()
print("drawn")
"""


@dataclass(frozen=True)
class DrawingSettings:
    """oversampling: pixels drawn for one shown, along each axis; fog: how far the depth fades into the ground."""

    oversampling: int = 2
    fog: float = 0.45
    margin: float = 0.06


@dataclass(frozen=True)
class Body:
    """Triangles with a colour (n, 3) 0..1 at each point.

    glass  0: solid; above it the body is translucent where it faces the viewer and shows as a rim where it turns away
    side   "both", "near" or "far": the sides that are drawn, as seen by the viewer
    """

    surface: Surface
    colour: Array
    glass: float = 0.0
    shine: float = 0.25
    side: str = "both"


@dataclass(frozen=True)
class View:
    """A parallel projection.

    right, up  (3,) unit, in the picture
    centre     (3,) mm, shown in the middle
    height_mm  what the picture's height shows
    """

    right: Array
    up: Array
    centre: Array
    height_mm: float

    @property
    def forward(self) -> Array:
        return np.cross(self.up, self.right)


def view_of(points: NDArray[Any], aspect: float, margin: float = DrawingSettings().margin) -> View:
    """The view along the thinnest axis of the points, turned so that they fill a picture of width / height = aspect.

    The viewer stands in front of the patient, or at the patient's left where the vessel is seen better from there, and
    the head is up as far as the filling allows.
    """
    x = np.asarray(points, float)
    middle = x.mean(0)
    _, _, axes = np.linalg.svd(x - middle, full_matrices=False)
    forward = axes[2]
    # LPS: the front is -y, so one looks along +y; then from the left along -x; then from above along -z.
    main = int(np.abs(forward).argmax())
    forward = forward * (np.sign(forward[main]) * (1.0 if main == 1 else -1.0))
    first, second = axes[0], np.cross(forward, axes[0])
    head = np.array([0.0, 0.0, 1.0])
    rights = [np.cos(a) * first + np.sin(a) * second for a in np.radians(np.arange(0, 360, 5))]
    views = [fitted(x, right, np.cross(right, forward), aspect, margin) for right in rights]
    return min(views, key=lambda view: view.height_mm * (1.0 - 0.08 * float(view.up @ head)))


def fitted(points: NDArray[Any], right: Array, up: Array, aspect: float, margin: float) -> View:
    """The view of given directions that just holds the points in a picture of width / height = aspect."""
    x = np.asarray(points, float)
    u, v, depth = x @ right, x @ up, x @ np.cross(up, right)
    height = float(max(np.ptp(v), np.ptp(u) / aspect)) * (1 + 2 * margin)
    middles = [(float(w.max()) + float(w.min())) / 2 for w in (u, v, depth)]
    return View(right, up, np.asarray(np.array(middles) @ np.array([right, up, np.cross(up, right)])), height)


def draw(bodies: list[Body], view: View, width: int, height: int, ground: Colour, settings: DrawingSettings) -> Pixels:
    """(height, width, 3) pixels. Raises InstallationError where no OpenGL library can draw off screen."""
    window_class = _usable_window()
    from vtkmodules.vtkCommonCore import vtkLogger
    from vtkmodules.vtkRenderingCore import vtkLight, vtkRenderer, vtkRenderWindow

    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    renderer = vtkRenderer()
    renderer.SetBackground(*ground)
    renderer.SetAutomaticLightCreation(False)
    for position, strength in (((-0.6, 0.8, 1.0), 0.75), ((0.9, 0.2, 0.8), 0.3), ((0.0, -0.6, 0.5), 0.15)):
        light = vtkLight()
        light.SetLightTypeToCameraLight()
        light.SetPosition(*position)
        light.SetFocalPoint(0, 0, 0)
        light.SetIntensity(strength)
        renderer.AddLight(light)
    depth = _depth_range(bodies, view)
    for body in bodies:
        renderer.AddActor(_actor(body, view, depth, ground, settings))
    camera = renderer.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetParallelScale(view.height_mm / 2)
    camera.SetFocalPoint(*view.centre)
    camera.SetPosition(*(view.centre - 4 * view.height_mm * view.forward))
    camera.SetViewUp(*view.up)
    renderer.ResetCameraClippingRange()
    renderer.SetUseDepthPeeling(any(body.glass > 0 for body in bodies))
    renderer.SetMaximumNumberOfPeels(8)
    renderer.SetOcclusionRatio(0.01)
    window: Any = window_class() if window_class else vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(settings.oversampling * width, settings.oversampling * height)
    window.AddRenderer(renderer)
    window.Render()
    pixels = _pixels(window)
    window.Finalize()
    k = settings.oversampling
    fine = pixels.reshape(height, k, width, k, 3).astype(np.float32) / 255
    # Light adds up linearly, the pixels' values do not.
    mean = (fine**2.2).mean((1, 3)) ** (1 / 2.2)
    return np.asarray((255 * mean + 0.5).astype(np.uint8))


def tubes(points: Array, offsets: NDArray[Any], radius: float, sides: int = 10) -> tuple[Surface, NDArray[np.int64]]:
    """Tubes around curves, and the curve's point that each of their points belongs to."""
    from vtkmodules.vtkFiltersCore import vtkTriangleFilter, vtkTubeFilter

    from VesselFlowGSLib.results import vtk_data
    from VesselFlowGSLib.results.snapshot import Polylines

    number = {"number": np.arange(len(points), dtype=np.float64)}
    tube = vtkTubeFilter()
    tube.SetInputData(vtk_data.polyline_data(Polylines(points, offsets, number)))
    tube.SetRadius(radius)
    tube.SetNumberOfSides(sides)
    tube.CappingOn()
    whole = vtkTriangleFilter()
    whole.SetInputConnection(tube.GetOutputPort())
    whole.PassLinesOff()
    whole.PassVertsOff()
    whole.Update()
    drawn = vtk_data.surface(whole.GetOutput())
    return Surface(drawn.points, drawn.triangles), np.rint(drawn.arrays["number"]).astype(np.int64)


def _depth_range(bodies: list[Body], view: View) -> tuple[float, float]:
    reach = [np.asarray(b.surface.points, float) @ view.forward for b in bodies if len(b.surface.points)]
    return (min(float(r.min()) for r in reach), max(float(r.max()) for r in reach)) if reach else (0.0, 1.0)


def _actor(body: Body, view: View, depth: tuple[float, float], ground: Colour, settings: DrawingSettings) -> Any:
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    from VesselFlowGSLib.results import vtk_data

    shaded = vtkPolyDataNormals()
    shaded.SetInputData(vtk_data.surface_data(Surface(body.surface.points, body.surface.triangles)))
    shaded.SplittingOff()
    shaded.ConsistencyOff()
    shaded.Update()
    data = shaded.GetOutput()
    far = (np.asarray(body.surface.points, float) @ view.forward - depth[0]) / max(depth[1] - depth[0], 1e-9)
    fade = settings.fog * far[:, None]
    colour = (1 - fade) * body.colour + fade * np.asarray(ground)
    if body.glass > 0:
        facing = np.abs(vtk_data.to_numpy(data.GetPointData().GetNormals()).astype(float) @ view.forward)
        opacity = body.glass + (0.9 - body.glass) * (1 - facing.clip(0, 1)) ** 2.5
        colour = np.column_stack([colour, opacity])
    held = vtk_data.to_vtk((255 * colour.clip(0, 1) + 0.5).astype(np.uint8))
    data.GetPointData().SetScalars(held)
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(data)
    actor = vtkActor()
    actor.SetMapper(mapper)
    surface = actor.GetProperty()
    surface.SetInterpolationToPhong()
    surface.SetAmbient(0.22)
    surface.SetDiffuse(0.85)
    surface.SetSpecular(body.shine)
    surface.SetSpecularPower(40)
    surface.SetFrontfaceCulling(body.side == "far")
    surface.SetBackfaceCulling(body.side == "near")
    if body.glass > 0:
        actor.ForceTranslucentOn()
    return actor


def _pixels(window: Any) -> Pixels:
    from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

    from VesselFlowGSLib.results import vtk_data

    width, height = window.GetSize()
    held = vtkUnsignedCharArray()
    window.GetPixelData(0, 0, width - 1, height - 1, 1, held, 0)
    return np.asarray(vtk_data.to_numpy(held).reshape(height, width, 3)[::-1])


@cache
def _usable_window() -> Any:
    """The class of window that draws off screen here; None where VTK's own choice does.

    Tried in a process of its own, since VTK ends the process that draws without an OpenGL library.
    """
    candidates = ("vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow") if sys.platform.startswith("linux") else ("",)
    for name in candidates:
        if _draws(name):
            from vtkmodules import vtkRenderingOpenGL2

            return getattr(vtkRenderingOpenGL2, name) if name else None
    raise InstallationError(
        "No OpenGL library can draw pictures on this machine (libEGL.so.1 with Mesa is missing). "
        "On Debian and Ubuntu: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri."
    )


def _draws(window: str) -> bool:
    try:
        tried = subprocess.run([sys.executable, "-c", PROBE, window], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0 and b"drawn" in tried.stdout

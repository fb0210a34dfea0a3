"""The picture of a cloud by VTK's point Gaussians, in software GL: the peer of compositing on the CPU."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.camera import Cameras
from VesselFlowGSLib.gaussians.cloud import GaussianCloud


class VtkPicture:
    """A window that draws the cloud from a camera whose detector is square-on; colours (N, 4) 0..255."""

    def __init__(self, cloud: GaussianCloud, colours: NDArray[np.uint8], camera: Cameras, cut: float) -> None:
        import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - the window's implementation
        from vtkmodules.util.numpy_support import numpy_to_vtk
        from vtkmodules.vtkCommonCore import vtkPoints
        from vtkmodules.vtkCommonDataModel import vtkPolyData
        from vtkmodules.vtkRenderingCore import vtkActor, vtkPointGaussianMapper, vtkRenderer, vtkRenderWindow

        points, solid = vtkPoints(), vtkPolyData()
        points.SetData(numpy_to_vtk(cloud.mean.astype(np.float32), deep=True))
        solid.SetPoints(points)
        for name, values in (("sigma", cloud.sigma), ("turn", cloud.quaternion)):
            array = numpy_to_vtk(np.ascontiguousarray(values, np.float32), deep=True)
            array.SetName(name)
            solid.GetPointData().AddArray(array)
        solid.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(colours), deep=True))
        mapper = vtkPointGaussianMapper()
        mapper.SetInputData(solid)
        mapper.AnisotropicOn()
        mapper.SetScaleArray("sigma")
        mapper.SetScaleFactor(1.0)
        mapper.SetRotationArray("turn")
        mapper.SetBoundScale(cut)
        mapper.EmissiveOff()
        actor = vtkActor()
        actor.SetMapper(mapper)
        actor.ForceTranslucentOn()
        self._renderer, self._window = vtkRenderer(), vtkRenderWindow()
        self._renderer.AddActor(actor)
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(camera.columns, camera.rows)
        self._window.AddRenderer(self._renderer)
        eye, middle = camera.source[0], camera.pixel_centres()[0].mean((0, 1))
        seen = self._renderer.GetActiveCamera()
        seen.SetPosition(*eye)
        seen.SetFocalPoint(*middle)
        seen.SetViewUp(*-camera.row_step[0])
        height = camera.rows * np.linalg.norm(camera.row_step[0])
        seen.SetViewAngle(2 * np.degrees(np.arctan(height / 2 / np.linalg.norm(middle - eye))))
        self._renderer.ResetCameraClippingRange()

    def draw(self) -> None:
        self._renderer.GetActiveCamera().Modified()
        self._window.Render()
        self._window.WaitForCompletion()

    def image(self) -> NDArray[np.uint8]:
        """(rows, columns, 3) of what was drawn last."""
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

        taken = vtkWindowToImageFilter()
        taken.SetInput(self._window)
        taken.ReadFrontBufferOff()
        taken.Update()
        found = taken.GetOutput()
        columns, rows, _ = found.GetDimensions()
        return np.asarray(vtk_to_numpy(found.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1])

    def frame_ms(self, repeats: int = 6) -> float:
        """Milliseconds of processor time of a frame, of all of GL's threads together; the least of several."""
        self.draw()
        taken = []
        for _ in range(repeats):
            begun = time.process_time()
            self.draw()
            taken.append(time.process_time() - begun)
        return 1e3 * min(taken)

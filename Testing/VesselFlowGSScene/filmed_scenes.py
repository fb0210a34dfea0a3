"""X-ray runs in a real scene, as Slicer's DICOM import leaves them there: sequences, a browser, and instance UIDs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from VesselFlowGSScene.film_frames import itk_reader


def stored_image(path: Path) -> Any:
    """All frames as one vtkImageData, read by ITK and GDCM as Slicer does; its third spacing is the frame time."""
    reader = itk_reader()
    reader.SetArchetype(str(path))
    reader.AddFileName(str(path))
    reader.SetSingleFile(True)
    reader.SetOutputScalarTypeToNative()
    reader.SetDesiredCoordinateOrientationToNative()
    reader.SetUseNativeOriginOn()
    reader.SetDICOMImageIOApproachToGDCM()
    reader.Update()
    return reader.GetOutput()


def load_run(scene: Any, *paths: Path, name: str = "3: XA") -> Any:
    """A browser of one sequence for each file; two files are the planes of a biplane run."""
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    for path in paths:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        plane = name
        if len(paths) > 1:
            plane += f" ({header.PositionerPrimaryAngle}/{header.PositionerSecondaryAngle})"
        image = stored_image(path)
        step_ms = image.GetSpacing()[2]
        known = step_ms != 1.0
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", plane)
        sequence.SetIndexName("time" if known else "frame")
        sequence.SetIndexUnit("s" if known else "")
        for k in range(image.GetDimensions()[2]):
            frame = _frame(_pixels(image)[k], image.GetSpacing()[:2])
            frame.SetAttribute("DICOM.instanceUIDs", str(header.SOPInstanceUID))
            sequence.SetDataNodeAtValue(frame, f"{k * step_ms / 1000:.3f}" if known else str(k))
        browser.AddSynchronizedSequenceNode(sequence)
    return browser


def add_sequence(
    scene: Any, frames: NDArray[Any], spacing: tuple[float, float] = (0.4, 0.5), times: Sequence[float] | None = None
) -> Any:
    """A sequence of (T, rows, columns) frames without DICOM; spacing is (row, column)."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    sequence.SetIndexName("frame" if times is None else "time")
    sequence.SetIndexUnit("" if times is None else "s")
    for k, frame in enumerate(frames):
        at = str(k) if times is None else repr(float(times[k]))
        sequence.SetDataNodeAtValue(_frame(frame, (spacing[1], spacing[0])), at)
    return sequence


def add_volume(scene: Any, values: NDArray[Any], ijk_to_ras: NDArray[np.float64], name: str = "CTA") -> Any:
    """A scalar volume node of (K, J, I) values."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(_image(values))
    node.SetIJKToRASMatrix(matrix_of(ijk_to_ras))
    return node


def matrix_of(array: NDArray[np.float64]) -> Any:
    matrix = vtk.vtkMatrix4x4()
    for i in range(4):
        for j in range(4):
            matrix.SetElement(i, j, array[i][j])
    return matrix


def _frame(pixels: NDArray[Any], spacing: Sequence[float]) -> Any:
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetIJKToRASMatrix(matrix_of(np.diag([-1.0, -1.0, 1.0, 1.0])))
    node.SetSpacing(spacing[0], spacing[1], 1.0)
    node.SetAndObserveImageData(_image(pixels[None]))
    return node


def _pixels(image: Any) -> NDArray[Any]:
    columns, rows, frames = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(frames, rows, columns)


def _image(values: NDArray[Any]) -> Any:
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image

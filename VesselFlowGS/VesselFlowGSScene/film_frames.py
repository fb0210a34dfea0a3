"""Single frames of a run for looking at: from its sequence or its DICOM file, subtracted where there is a mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.errors import InputError
from VesselFlowGSScene.runs import INTENSITY, Intensity, RunEntry, sequence_of, value

Image = NDArray[np.float32]

# without mask frames said anywhere, this frame (from 1) is taken for one: contrast does not come at once
MASK_WHERE_NONE_IS_SAID = (1,)


# a normal distribution has so many standard deviations in its median deviation
SD_PER_MAD = 1.4826


@dataclass(frozen=True)
class PeakSettings:
    """contrast_sd: robust standard deviations of the unfilled frames that a peak must reach to be one.

    Of a million pixels over a hundred frames, noise alone comes to 5.6.

    most_pixels  of a frame that the noise is taken from, evenly chosen
    """

    contrast_sd: float = 6.0
    most_pixels: int = 100_000


def itk_reader() -> Any:
    """Slicer's reader of image files: the application has it in a module of its own, slicer-core has not."""
    try:
        from vtkITK import vtkITKArchetypeImageSeriesScalarReader
    except ImportError:
        from slicer import vtkITKArchetypeImageSeriesScalarReader
    return vtkITKArchetypeImageSeriesScalarReader()


class FilmFrames:
    """The frames of one run, one at a time. Nothing of the scene is held.

    Frames are shown as the reconstruction sees them: rows and columns flipped as entered.
    """

    def __init__(self, entry: RunEntry, scene: Any = None) -> None:
        self.entry = entry
        self._scene = scene
        self._decoded: NDArray[Any] | None = None
        self._mask: Image | None = None

    def __len__(self) -> int:
        return self.entry.frames

    def stored(self, frame: int) -> NDArray[Any]:
        """(rows, columns) values of a frame, counted from 0. Raises InputError where they cannot be read."""
        pixels = self._of_sequence(frame)
        if pixels is None:
            pixels = self._of_file(frame)
        if pixels.shape != (self.entry.rows, self.entry.columns):
            raise InputError(f"{self.entry.name}: frame {frame + 1} differs in size from its run. Load the run again.")
        if value(self.entry, "flip_rows"):
            pixels = pixels[::-1]
        return pixels[:, ::-1] if value(self.entry, "flip_columns") else pixels

    def contrast(self, frame: int) -> Image:
        """(rows, columns) float32: how much more is absorbed than in the mask; vessels are bright.

        Line integrals where gray levels are linear in the intensity; for looking at, without noise or exposure drift.
        """
        if self.entry.subtracted:
            return -self._log(frame)
        for _ in self._mask_steps():
            pass
        assert self._mask is not None
        return self._mask - self._log(frame)

    def fullest(self) -> Iterator[Image]:
        """The largest contrast of every pixel so far, frame by frame; the last one shows the whole filled vessel."""
        most = self.contrast(0)
        yield most
        for frame in range(1, len(self)):
            most = np.maximum(most, self.contrast(frame))
            yield most

    def peak_times(self, settings: PeakSettings = PeakSettings()) -> Iterator[Image]:
        """The time of every pixel's greatest contrast so far, s on the run's clock, frame by frame.

        NaN where the contrast stays within the noise, which is that of the unfilled frames: the mask's, or the first
        two. Times are those of frames; where the last one is the fullest, the peak may come later.
        Raises InputError for a C-arm that turns, whose pixels see another place in each frame, and without times.
        """
        times = self.entry.frame_times_s
        if self.entry.turning:
            raise InputError(
                f"{self.entry.name}: the C-arm turns, so a pixel sees another place in each frame and has no time to "
                "peak. Choose a run from a fixed direction."
            )
        if times is None:
            raise InputError(f"{self.entry.name}: its frames have no times. Enter frame_times_s in the table of runs.")
        nothing = np.full((self.entry.rows, self.entry.columns), np.nan, np.float32)
        for _ in self._mask_steps():
            yield nothing
        spread = 0.0
        for number in self._unfilled():
            spread = max(spread, _robust_sd(self.contrast(number - 1), settings.most_pixels))
            yield nothing
        least = settings.contrast_sd * spread * self._beside_mask()
        most = self.contrast(0)
        peak = np.full(most.shape, times[0], np.float32)
        for frame in range(len(self)):
            contrast = self.contrast(frame)
            higher = contrast > most
            most[higher] = contrast[higher]
            peak[higher] = times[frame]
            yield np.where(most > least, peak, np.float32(np.nan))

    def _mask_steps(self) -> Iterator[None]:
        """Make the mask that is subtracted, where there is one to be made, a frame a step."""
        if self.entry.subtracted or self._mask is not None:
            return
        chosen = self.entry.mask_frames or MASK_WHERE_NONE_IS_SAID
        total = np.zeros((self.entry.rows, self.entry.columns), np.float32)
        for number in chosen:
            total += self._log(number - 1)
            yield
        self._mask = total / np.float32(len(chosen))

    def _unfilled(self) -> tuple[int, ...]:
        """Frames, from 1, whose contrast is noise alone."""
        said = self.entry.mask_frames or MASK_WHERE_NONE_IS_SAID
        if len(said) > 1:
            return said
        # a frame that is the mask by itself shows no noise: the one beside it does
        beside = said[0] + 1 if said[0] < len(self) else said[0] - 1
        return (said[0], max(beside, 1))

    def _beside_mask(self) -> float:
        """The noise of any frame for that of a frame which the mask was made of: it lies nearer to their mean."""
        count = len(self.entry.mask_frames or ())
        if self.entry.subtracted or count < 2:
            return 1.0
        return float(np.sqrt((count + 1) / (count - 1)))

    def _log(self, frame: int) -> Image:
        """Log intensity up to scale and offset."""
        pixels = self.stored(frame).astype(np.float32)
        held = value(self.entry, INTENSITY)
        if held is Intensity.LOG:
            return pixels
        if held is Intensity.LOG_BRIGHT:
            return -pixels
        return np.log(np.maximum(pixels, np.float32(0.5)))

    def _of_sequence(self, frame: int) -> NDArray[Any] | None:
        sequence = sequence_of(self.entry, self._scene)
        node = None if sequence is None else sequence.GetNthDataNode(frame)
        image = None if node is None else node.GetImageData()
        if image is None or image.GetPointData().GetScalars() is None:
            return None
        columns, rows, _ = image.GetDimensions()
        return np.array(vtk_to_numpy(image.GetPointData().GetScalars())).reshape(rows, columns)

    def _of_file(self, frame: int) -> NDArray[Any]:
        path = self.entry.source.file
        if not path:
            raise InputError(f"{self.entry.name}: neither its sequence nor its file is there. Load the run again.")
        if self._decoded is not None:
            return np.asarray(self._decoded[frame])
        from pydicom import pixels

        from VesselFlowGSLib.acquisition.xa import quiet_dicom

        with quiet_dicom():
            try:
                return np.asarray(pixels.pixel_array(path, index=frame))
            except Exception:  # no decoder of this kind of compression in this Python, or a damaged file
                pass
        self._decoded = self._all_by_itk(path)
        return np.asarray(self._decoded[frame])

    def _all_by_itk(self, path: str) -> NDArray[Any]:
        """Every frame at once by Slicer's own reader, which knows all compressions."""
        reader = itk_reader()
        reader.SetArchetype(path)
        reader.AddFileName(path)
        reader.SetSingleFile(True)
        reader.SetOutputScalarTypeToNative()
        reader.SetDesiredCoordinateOrientationToNative()
        reader.SetUseNativeOriginOn()
        reader.SetDICOMImageIOApproachToGDCM()
        reader.Update()
        image = reader.GetOutput()
        expected = (self.entry.columns, self.entry.rows, self.entry.frames)
        if reader.GetErrorCode() or image.GetDimensions() != expected:
            raise InputError(f"{self.entry.name}: its frames cannot be decoded. Export the run again, uncompressed.")
        return np.array(vtk_to_numpy(image.GetPointData().GetScalars())).reshape(expected[::-1])


def _robust_sd(values: Image, most_pixels: int) -> float:
    chosen = values.ravel()[:: max(1, values.size // most_pixels)]
    return SD_PER_MAD * float(np.median(np.abs(chosen - np.median(chosen))))

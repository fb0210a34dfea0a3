"""The study: everything that was measured, in patient LPS millimetres and seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from VesselFlowGSLib.acquisition.camera import Cameras, carm_cameras
from VesselFlowGSLib.acquisition.description import StudyDescription


class RunRole(str, Enum):
    """What a run of frames is for."""

    DSA = "dsa"
    MASK = "mask"
    FILL = "fill"
    IGNORE = "ignore"


class Origin(str, Enum):
    """Where a figure comes from."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class CArm:
    """Nominal C-arm geometry of a run, as DICOM has it: degrees, millimetres, (row, column).

    primary_deg, secondary_deg: (1,) for a run with the C-arm at rest, (T,) for a rotational one.
    """

    primary_deg: NDArray[np.float64]
    secondary_deg: NDArray[np.float64]
    source_to_detector_mm: float
    source_to_isocentre_mm: float
    pixel_spacing_mm: tuple[float, float]
    principal_point_px: tuple[float, float]


@dataclass(frozen=True)
class Run:
    """One filmed run as line integrals of contrast (a rotational mask and fill pair is one run, role FILL).

    name            file name relative to the study, forward slashes
    line_integrals  (T, rows, columns) float32, natural log, contrast positive, never clipped
    noise           (rows, columns) float32, one standard deviation of a line integral
    frame_times_s   (T,) on the study's clock (zero: first frame of the earliest run of the same injection)
    mask_frames     0-based frames that show no contrast (may be empty)
    injection       runs with equal numbers show the same bolus (biplane)
    r_wave_frames   0-based frames at which the header marks an R wave (may be empty)
    heart_rate_bpm  as the header has it, or None

    The mask's noise is part of `noise` and is the same in every frame. Pixels that carry no measurement
    (collimated or saturated) have a `noise` of AcquisitionSettings.unmeasured_noise, so that their weight is nil.
    """

    name: str
    role: RunRole
    line_integrals: NDArray[np.float32]
    noise: NDArray[np.float32]
    frame_times_s: NDArray[np.float64]
    carm: CArm
    mask_frames: tuple[int, ...] = ()
    injection: int = 0
    r_wave_frames: tuple[int, ...] = ()
    heart_rate_bpm: float | None = None

    def cameras(self, isocentre_lps_mm: ArrayLike) -> Cameras:
        """One camera for a run at rest, T cameras for a rotational one."""
        return carm_cameras(
            np.radians(self.carm.primary_deg),
            np.radians(self.carm.secondary_deg),
            self.carm.source_to_isocentre_mm,
            self.carm.source_to_detector_mm,
            self.carm.pixel_spacing_mm,
            (self.line_integrals.shape[1], self.line_integrals.shape[2]),
            self.carm.principal_point_px,
            isocentre_lps_mm,
        )


@dataclass(frozen=True)
class Volume:
    """A 3D angiography volume.

    values  (I, J, K) float32, brighter is vessel
    affine  (4, 4) from (i, j, k, 1) to LPS mm (centres of voxels)
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]
    name: str = ""

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) distance of neighbouring voxels along i, j, k."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def lps(self, index: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) voxel indices to LPS mm."""
        return np.asarray(np.asarray(index, float) @ self.affine[:3, :3].T + self.affine[:3, 3])

    def index(self, points: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) LPS mm to fractional voxel indices."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(np.asarray(points, float) @ inverse[:3, :3].T + inverse[:3, 3])


@dataclass(frozen=True)
class Study:
    """What was measured and what the user said about it."""

    folder: Path
    volume: Volume | None
    runs: tuple[Run, ...]
    description: StudyDescription
    notes: tuple[str, ...] = field(default=())

    @property
    def dsa(self) -> tuple[Run, ...]:
        return tuple(r for r in self.runs if r.role is RunRole.DSA)

    @property
    def rotational(self) -> tuple[Run, ...]:
        return tuple(r for r in self.runs if r.role is RunRole.FILL)

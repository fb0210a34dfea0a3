"""What the reading of a study may use up, and the thresholds it decides by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AcquisitionSettings:
    """Bounds and thresholds of reading.

    memory_limit_bytes     a run or volume that would need more is refused before it is decoded
    largest_matrix         rows or columns beyond this are a broken header, not a detector
    largest_volume_side    voxels along one axis beyond this are a broken header
    most_frames            frames of one run beyond this are a broken header
    most_files             files in a study folder beyond this mean that it is no study folder
    rotational_sweep_deg   a C-arm that turns less than this during a run is at rest
    pair_angle_deg         mask and fill frames of a rotational pair may differ by this much
    simultaneous_frames    runs that start within this many frame intervals show the same injection
    settled_exposure       the exposure has settled when the median intensity changes by less than this in 4 frames
    arrival_tails          the dark tail over the bright tail of a difference image that betrays contrast
    arrival_fraction       share of the picture's blocks that make up a tail
    arrival_lasts          frames for which the dark tail must stay
    most_mask_frames       no more leading frames than this are averaged into a mask
    exposure_drift         smallest change of the exposure (natural log) that is removed frame by frame
    unmeasured_noise       standard deviation given to pixels that carry no measurement
    """

    memory_limit_bytes: int = 8 * 2**30
    largest_matrix: int = 8192
    largest_volume_side: int = 4096
    most_frames: int = 20_000
    most_files: int = 20_000
    rotational_sweep_deg: float = 5.0
    pair_angle_deg: float = 2.0
    simultaneous_frames: float = 1.0
    settled_exposure: float = 0.05
    arrival_tails: float = 1.5
    arrival_fraction: float = 0.005
    arrival_lasts: int = 3
    most_mask_frames: int = 15
    exposure_drift: float = 0.01
    unmeasured_noise: float = 1e3

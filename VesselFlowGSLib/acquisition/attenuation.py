"""From stored gray levels to line integrals of contrast and their noise.

By Beer-Lambert the logarithm of the intensity falls by the line integral of attenuation, so log(mask) - log(frame)
is the line integral of the contrast alone. Nothing is clipped; gray levels at or below zero count as half a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.xa import IntensityRelationship, MaskOperation, XAHeader, named, refused_intensity
from VesselFlowGSLib.errors import InputError

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# the mean of z² over the middle 80 % of a standard normal: 1 - 2 c φ(c) / 0.8 at c = 1.28155
TRIMMED_SHARE = 0.8
TRIMMED_SECOND_MOMENT = 0.43770

# the noise is followed this far (in log intensity) below the darkest level that it was seen at
EXTRAPOLATED = 2.0


@dataclass(frozen=True)
class LogFrames:
    """Frames of a run as natural logarithms of the X-ray intensity, up to a constant.

    values       (T, rows, columns) float32
    measured     (rows, columns) False where a pixel is at an end of its scale in half of the frames or more
    in_log       the intensity itself is known (up to a factor), so that photon noise can be modelled
    """

    values: Floats
    measured: NDArray[np.bool_]
    in_log: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class LineIntegrals:
    """values (T, rows, columns), noise (rows, columns): see acquisition.study.Run; mask_frames from 0."""

    values: Floats
    noise: Floats
    mask_frames: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class NoiseLevel:
    """Variance of a log intensity as a function of the log intensity: a/I + b/I² + c, or a table of it.

    The three terms are photon noise, noise of the readout and of rounding, and noise proportional to the signal;
    their sizes are fitted to the frames, no photon count is assumed.
    """

    levels: Array
    variances: Array
    coefficients: Array | None

    def variance(self, log_intensity: NDArray[Any]) -> Array:
        """Variance of one frame's log intensity at these levels."""
        if self.coefficients is None:
            return np.asarray(np.interp(log_intensity, self.levels, self.variances))
        darkest = self.levels.min() - EXTRAPOLATED
        x = np.maximum(np.asarray(log_intensity, float), darkest) - self.levels.mean()
        photon, readout, relative = self.coefficients
        return np.asarray(photon * np.exp(-x) + readout * np.exp(-2 * x) + relative)


def log_frames(stored: NDArray[Any], header: XAHeader, settings: AcquisitionSettings) -> LogFrames:
    """Natural logarithms of the X-ray intensity from stored values (T, rows, columns), by the header's relationship.

    LIN: the logarithm. LOG: its table to linear intensity and the logarithm of that; without a table the rescale
    slope, taken as natural logarithm; without either the full range of stored values is taken to span the logarithm of
    the same range of intensities, so that amounts of contrast are relative (noted). A sign of -1, or MONOCHROME1
    without a sign, means that high values are low intensities. InputError where the relationship does not allow it.
    """
    refusal = refused_intensity(header)
    if refusal is not None:
        raise refusal
    (table, at_end, notes), low = _response(header)
    values = np.empty(stored.shape, np.float32)
    ends = np.zeros(stored.shape[1:], int)
    mask = (1 << header.bits_stored) - 1
    for frame, target in zip(stored, values, strict=True):
        index = frame.astype(np.intp) - low if header.signed else frame.astype(np.intp) & mask
        if index.min() < 0 or index.max() >= len(table):
            raise InputError(
                f"{header.name}: stored values exceed {named('BitsStored')} = {header.bits_stored}. Export the run "
                "again."
            )
        np.take(table, index, out=target)
        ends += at_end[index]
    _refuse_negative_intensity(stored, header)
    measured = ends < 0.5 * len(stored)
    if np.any(ends):
        notes.append(
            f"{header.name}: {ends.sum()} of {stored.size} gray levels are at an end of their scale (black counts as "
            f"half a level, saturated as it is); {(~measured).sum()} of {measured.size} pixels carry no measurement."
        )
    if not measured.any():
        raise InputError(f"{header.name}: every pixel is black or saturated. Export the run as acquired.")
    known = header.relationship is IntensityRelationship.LINEAR or header.to_linear is not None
    return LogFrames(values, measured, known, tuple(notes))


def _refuse_negative_intensity(stored: NDArray[Any], header: XAHeader) -> None:
    linear = header.relationship is IntensityRelationship.LINEAR and header.to_linear is None
    if header.signed and linear and stored.min() < 0:
        raise InputError(
            f"{header.name}: {named('PixelIntensityRelationship')} is LIN, but values are negative, as of frames "
            "already "
            "subtracted.\nExport the run as acquired, unsubtracted, or subtracted with the relationship LOG."
        )


def _response(header: XAHeader) -> tuple[tuple[Floats, NDArray[np.bool_], list[str]], int]:
    """Log intensity and whether the scale ends, for each value that the header's bits can store, and the lowest one."""
    low = -(1 << (header.bits_stored - 1)) if header.signed else 0
    stored = low + np.arange(1 << header.bits_stored)
    top = stored[-1]
    notes: list[str] = []
    sign = header.sign or (-1 if header.inverted else 1)
    if header.inverted and header.sign is None:
        notes.append(
            f"{header.name}: {named('PhotometricInterpretation')} is MONOCHROME1: high values are taken as dark."
        )
    if header.to_linear is not None:
        knots = header.to_linear.first + np.arange(len(header.to_linear.values))
        intensity = np.interp(stored, knots, header.to_linear.values)
        smallest = header.to_linear.values[header.to_linear.values > 0].min()
        logs = np.log(np.maximum(intensity, 0.5 * smallest))
        at_end = (intensity <= 0) | (stored == stored[-1])
    elif header.relationship is IntensityRelationship.LINEAR:
        intensity = np.asarray(stored if sign > 0 else top - stored, float)
        logs = np.log(np.maximum(intensity, 0.5))
        at_end = (intensity <= 0) | (intensity >= top)
    else:
        slope = header.log_scale[0] if header.log_scale else np.log(len(stored)) / (len(stored) - 1)
        logs = sign * abs(slope) * stored
        at_end = (stored == stored[0]) | (stored == top)
        scale = (
            f"its {named('RescaleSlope')} is taken as natural logarithm"
            if header.log_scale
            else "without a table the stored range is taken to span the logarithm of itself: "
            "amounts of contrast are relative"
        )
        notes.append(f"{header.name}: {named('PixelIntensityRelationship')} is LOG; {scale}.")
    return (logs.astype(np.float32), np.asarray(at_end), notes), low


def unfilled_frames(logs: LogFrames, settings: AcquisitionSettings) -> tuple[range, bool]:
    """The leading frames without contrast, and whether contrast arrives at all.

    Contrast only darkens, whereas noise and motion darken and brighten alike: it has arrived when the darkest part of
    the difference to the first frames outweighs the brightest, and stays so. Leading frames in which the exposure
    still settles are left out, and the last quarter before the arrival, in which faint contrast may hide.
    """
    blocks = block_means(logs, settings)
    total = len(blocks)
    start = _settled(np.median(blocks, axis=1), settings)
    dark = np.zeros(total, bool)
    count = max(8, int(settings.arrival_fraction * blocks.shape[1]))
    for t in range(start + 1, total):
        base = blocks[start : min(start + 8, max(t - 1, start + 1))].mean(0)
        change = base - blocks[t]
        change = np.sort(change - np.median(change))
        dark[t] = change[-count:].mean() > settings.arrival_tails * -change[:count].mean()
    arrival = next((t for t in range(start + 1, total) if dark[t : t + settings.arrival_lasts].all()), None)
    stop = total if arrival is None else arrival - (arrival - start) // 4
    return range(start, stop), arrival is not None


def block_means(logs: LogFrames, settings: AcquisitionSettings) -> Array:
    """(T, blocks) means over square blocks, about 64 along the shorter side; blocks mostly unmeasured left out."""
    total, rows, columns = logs.values.shape
    side = max(1, min(rows, columns) // 64)
    r, c = rows // side, columns // side
    cut = logs.values[:, : r * side, : c * side].reshape(total, r, side, c, side)
    measured = logs.measured[: r * side, : c * side].reshape(r, side, c, side).mean((1, 3)) > 0.5
    means = np.asarray(cut.mean((2, 4), dtype=np.float64)).reshape(total, -1)
    kept = means[:, measured.ravel()]
    return kept if kept.shape[1] >= 16 else means


def _settled(level: Array, settings: AcquisitionSettings) -> int:
    for t in range(len(level) // 4):
        if np.abs(level[t] - level[t + 1 : t + 5]).max() < settings.settled_exposure:
            return t
    return 0


def subtract(logs: LogFrames, header: XAHeader, settings: AcquisitionSettings) -> LineIntegrals:
    """Line integrals of a run with the C-arm at rest.

    The mask is, in this order: mask_frames of study.toml, MaskSubtractionSequence, the leading unfilled frames. Frames
    already subtracted lose the level of their unfilled frames, else of their background. InputError without a mask.
    """
    unfilled, arrives = unfilled_frames(logs, settings)
    leading = tuple(unfilled)[-settings.most_mask_frames :]
    notes = list(logs.notes)
    if not arrives:
        notes.append(f"{header.name}: no contrast is seen to arrive.")
    # in subtracted frames without an arrival the leading ones may be filled
    known = leading if arrives or not header.subtracted else ()
    plan, source = _mask_plan(header, known, notes)
    if header.subtracted and not plan:
        notes.append(f"{header.name}: taken as already subtracted ({header.subtracted}).")
        background = np.float32(np.median(logs.values[:, logs.measured]))
        integrals, mask_count = background - logs.values, np.inf
    else:
        if not plan:
            raise InputError(
                f"{header.name}: no frames without contrast are found before it arrives, and there is no "
                f"{named('MaskSubtractionSequence')}.\nGive mask_frames in study.toml: the numbers, from 1, of frames "
                "without contrast."
            )
        notes.append(f"{header.name}: mask frames {_numbers(plan[0].frames)}, {source}.")
        integrals = _log_mask_minus(logs, plan)
        mask_count = float(np.mean([len(operation.frames) for operation in plan]))
    _remove_exposure_drift(integrals, logs, header, settings, notes)
    _doubt_sign(integrals, logs, header, notes)
    quiet = leading if len(leading) >= 3 else plan[0].frames if plan and len(plan[0].frames) >= 3 else ()
    noise = _noise_at_rest(logs, quiet, header, mask_count)
    noise[~logs.measured] = settings.unmeasured_noise
    used = plan[0].frames if plan else ()
    return LineIntegrals(integrals, noise, tuple(sorted(used)), tuple(notes))


def subtract_pair(
    fill: LogFrames, mask: LogFrames, mask_of_frame: Sequence[int], header: XAHeader, settings: AcquisitionSettings
) -> LineIntegrals:
    """Line integrals of a rotational run: frame t of the fill from frame mask_of_frame[t] of the mask."""
    notes = [*fill.notes, *mask.notes]
    matched = mask.values[list(mask_of_frame)]
    integrals = matched - fill.values
    measured = fill.measured & mask.measured
    both = replace(fill, measured=measured)
    _remove_exposure_drift(integrals, both, header, settings, notes)
    _doubt_sign(integrals, both, header, notes)
    level = _noise_between(fill.values, matched, integrals, measured, fill.in_log)
    variance = np.mean(
        [level.variance(f) + level.variance(m) for f, m in zip(fill.values, matched, strict=True)], axis=0
    )
    noise = np.sqrt(variance).astype(np.float32)
    noise[~measured] = settings.unmeasured_noise
    return LineIntegrals(integrals, noise, (), tuple(notes))


def subtracted_rotation(logs: LogFrames, header: XAHeader, settings: AcquisitionSettings) -> LineIntegrals:
    """Line integrals of a rotational run that is already subtracted: each frame loses the level of its background."""
    background = np.median(logs.values[:, logs.measured], axis=1)
    integrals = background[:, None, None] - logs.values
    notes = [*logs.notes, f"{header.name}: taken as already subtracted ({header.subtracted})."]
    level = _noise_between(logs.values, logs.values, integrals, logs.measured, False)
    # the frames hold both noises; the level found is half of their variance
    noise = np.full(logs.measured.shape, np.sqrt(2 * level.variances.mean()), np.float32)
    noise[~logs.measured] = settings.unmeasured_noise
    return LineIntegrals(integrals, noise, (), tuple(notes))


def mean_attenuation(logs: LogFrames) -> float:
    """Mean of minus the log intensity over measured pixels: of two runs alike, the larger one holds contrast."""
    return -float(logs.values[:, logs.measured].mean(dtype=np.float64))


def looks_subtracted(logs: LogFrames) -> bool:
    """Whether most of the picture is as flat as its noise, which no anatomy is."""
    frame = logs.values[len(logs.values) // 2]
    side = max(4, min(frame.shape) // 64)
    r, c = frame.shape[0] // side, frame.shape[1] // side
    if r * c < 64:
        return False
    means = frame[: r * side, : c * side].reshape(r, side, c, side).mean((1, 3))
    spread = 1.4826 * float(np.median(np.abs(means - np.median(means))))
    rough = frame[:, 2:] - 2 * frame[:, 1:-1] + frame[:, :-2]
    noise = 1.4826 * float(np.median(np.abs(rough))) / np.sqrt(6)
    return bool(spread < 3 * noise / side)


def _mask_plan(header: XAHeader, leading: tuple[int, ...], notes: list[str]) -> tuple[tuple[MaskOperation, ...], str]:
    if header.mask_frames is not None:
        return (MaskOperation(header.mask_frames, ()),), "from study.toml"
    averaged = tuple(m for m in header.masks if m.frames)
    if averaged:
        return averaged, f"from {named('MaskSubtractionSequence')}"
    differencing = next((m for m in header.masks if m.time_interval is not None), None)
    if differencing is not None:
        notes.append(
            f"{header.name}: {named('MaskOperation')} is TID, the difference of frames in time; "
            "for line integrals one mask is used for all frames instead."
        )
    if len(leading) >= 2:
        return (MaskOperation(leading, ()),), "the leading frames without contrast"
    if differencing is not None and differencing.time_interval is not None:
        first = differencing.ranges[0][0] if differencing.ranges else max(differencing.time_interval, 0)
        mask = first - differencing.time_interval
        if 0 <= mask < header.frames:
            return (MaskOperation((mask,), ()),), f"the first that {named('TIDOffset')} leads to"
    return (), ""


def _numbers(frames: tuple[int, ...]) -> str:
    """Frame numbers from 1, as DICOM counts."""
    first, last = min(frames) + 1, max(frames) + 1
    return (
        f"{first} to {last}" if len(frames) == last - first + 1 > 2 else ", ".join(str(f + 1) for f in sorted(frames))
    )


def _log_mask_minus(logs: LogFrames, plan: tuple[MaskOperation, ...]) -> Floats:
    """log(mask) - log(frame). Averaging logarithms, as the frames are, keeps the small bias of their noise equal."""
    masks = [_shifted(logs.values[list(m.frames)].mean(0, dtype=np.float64), m, logs) for m in plan]
    integrals = np.empty_like(logs.values)
    for t, frame in enumerate(logs.values):
        np.subtract(masks[_operation_of(t, plan)], frame, out=integrals[t], casting="same_kind")
    return integrals


def _operation_of(frame: int, plan: tuple[MaskOperation, ...]) -> int:
    """The item that applies to a frame, else the one whose range is nearest."""

    def away(operation: MaskOperation) -> int:
        return min((max(low - frame, frame - high, 0) for low, high in operation.ranges), default=0)

    return min(range(len(plan)), key=lambda i: away(plan[i]))


def _shifted(mask: Array, operation: MaskOperation, logs: LogFrames) -> Array:
    """The mask moved by its sub-pixel shift, in the direction in which it fits its frames better."""
    if operation.shift_px == (0.0, 0.0):
        return mask
    low = operation.ranges[0][0] if operation.ranges else 0
    frame = logs.values[low]
    vertical, horizontal = operation.shift_px
    choices = [ndimage.shift(mask, (s * vertical, s * horizontal), order=3, mode="nearest") for s in (1, -1)]
    spread = [float(np.median(np.abs(d - np.median(d)))) for d in (c - frame for c in choices)]
    return np.asarray(choices[int(np.argmin(spread))])


def _remove_exposure_drift(
    integrals: Floats, logs: LogFrames, header: XAHeader, settings: AcquisitionSettings, notes: list[str]
) -> None:
    """Takes a change of the whole picture's exposure out of each frame, in place, where it is no mere noise."""
    blocks = block_means(LogFrames(integrals, logs.measured, logs.in_log, ()), settings)
    offsets = np.median(blocks, axis=1)
    spread = np.median(np.abs(blocks - offsets[:, None]), axis=1).mean()
    if np.ptp(offsets) <= settings.exposure_drift + spread:
        return
    integrals -= offsets.astype(np.float32)[:, None, None]
    notes.append(f"{header.name}: the exposure changes by up to {np.expm1(np.abs(offsets).max()):.1%}; removed.")


def _doubt_sign(integrals: Floats, logs: LogFrames, header: XAHeader, notes: list[str]) -> None:
    if not logs.measured.any():
        return
    high = np.quantile(integrals.max(0)[logs.measured], 0.99)
    low = np.quantile(-integrals.min(0)[logs.measured], 0.99)
    if low > 3 * high:
        notes.append(
            f"{header.name}: the run brightens where contrast should darken: check "
            f"{named('PixelIntensityRelationshipSign')} and {named('PhotometricInterpretation')}."
        )


def _noise_at_rest(logs: LogFrames, quiet: tuple[int, ...], header: XAHeader, mask_count: float) -> Floats:
    """(rows, columns) standard deviation of a line integral from second differences in time.

    quiet: frames without contrast; all frames where there are fewer than three in a row.
    """
    in_row = [t for t in quiet if t + 1 in quiet and t + 2 in quiet] or list(range(max(len(logs.values) - 2, 0)))
    if not in_row:
        level = _noise_between(logs.values, logs.values, logs.values, logs.measured, False)
        return np.full(logs.measured.shape, np.sqrt(level.variances.mean()), np.float32)
    chosen = [in_row[i] for i in np.unique(np.linspace(0, len(in_row) - 1, 16).astype(int))]
    if header.subtracted:
        squares = np.stack([_second_difference(logs.values, t) ** 2 for t in chosen]) / 6
        kept = np.sort(squares, axis=0)[: max(1, int(np.ceil(TRIMMED_SHARE * len(chosen))))]
        share = TRIMMED_SECOND_MOMENT if len(chosen) >= 5 else 1.0
        return np.asarray(np.sqrt(ndimage.uniform_filter(kept.mean(0) / share, 9)), np.float32)
    step = max(1, logs.measured.sum() * len(chosen) // 400_000)
    levels = np.concatenate([logs.values[t + 1][logs.measured][::step] for t in chosen])
    squares = np.concatenate([_second_difference(logs.values, t)[logs.measured][::step] ** 2 for t in chosen]) / 6
    level = _noise_level(levels, squares, logs.in_log)
    variance = np.mean([level.variance(frame) for frame in logs.values], axis=0)
    mask = level.variance(logs.values[list(quiet)].mean(0)) if quiet else variance
    return np.asarray(np.sqrt(variance + mask / mask_count), np.float32)


def _second_difference(values: Floats, t: int) -> Floats:
    change = values[t] - 2 * values[t + 1] + values[t + 2]
    return np.asarray(change - np.median(change), np.float32)


def _noise_between(
    fill: Floats, mask: Floats, integrals: Floats, measured: NDArray[np.bool_], in_log: bool, reach: int = 3
) -> NoiseLevel:
    """Noise of one frame from the roughness of differences in which the anatomy cancels (second differences in space).

    `reach` pixels lie between the samples, so that noise blurred by the detector is not taken for less than it is.
    """
    a, b, c = slice(None, -2 * reach), slice(reach, -reach), slice(2 * reach, None)
    inner = measured[:, a] & measured[:, b] & measured[:, c]
    if integrals.shape[2] <= 2 * reach or not inner.any():
        return NoiseLevel(np.zeros(1), np.full(1, float(np.var(integrals)) + 1e-12), None)
    step = max(1, int(inner.sum()) * len(integrals) // 400_000)
    levels, squares = [], []
    for f, m, d in zip(fill, mask, integrals, strict=True):
        rough = (d[:, a] - 2 * d[:, b] + d[:, c])[inner][::step]
        squares.append(rough.astype(float) ** 2 / 12)
        levels.append(-np.log(0.5 * (np.exp(-f[:, b][inner][::step]) + np.exp(-m[:, b][inner][::step]))))
    return _noise_level(np.concatenate(levels), np.concatenate(squares), in_log)


def _noise_level(levels: NDArray[Any], squares: NDArray[Any], in_log: bool, bins: int = 24) -> NoiseLevel:
    """Fits the noise to squares, each an unbiased sample of the variance at its level but for a tail of outliers."""
    order = np.argsort(levels, kind="stable")
    groups = [g for g in np.array_split(order, max(1, min(bins, len(order) // 50))) if len(g)]
    centres = np.array([levels[g].mean(dtype=np.float64) for g in groups])
    variances = np.empty(len(groups))
    for i, group in enumerate(groups):
        inner = np.sort(squares[group])[: max(1, int(TRIMMED_SHARE * len(group)))]
        variances[i] = inner.mean(dtype=np.float64) / TRIMMED_SECOND_MOMENT
    variances = np.maximum(variances, max(1e-12, 1e-6 * variances.max()))
    if not in_log or len(groups) < 4:
        return NoiseLevel(centres, variances, None)
    x = centres - centres.mean()
    design = np.stack([np.exp(-x), np.exp(-2 * x), np.ones_like(x)], 1)
    coefficients, _ = optimize.nnls(design / variances[:, None], np.ones_like(x))
    return NoiseLevel(centres, variances, coefficients)

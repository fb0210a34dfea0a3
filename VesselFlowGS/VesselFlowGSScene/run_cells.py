"""Cells of the table of runs: what a person types becomes plain values, and values become what is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from VesselFlowGSLib.errors import InputError

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_BETWEEN = re.compile(r"[\s,;×()\[\]]*")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")

# times that differ from even ones by less than this, in seconds, are shown as one interval
EVEN_S = 1e-6


def read(column: str, typed: str, frames: int) -> Any:
    """A typed text, not empty, as the plain value of a column; frames of the run. Raises InputError."""
    if column in ("role", "intensity"):
        return typed.lower()
    if column in ("flip_rows", "flip_columns"):
        if typed.lower() not in (*_YES, *_NO):
            raise InputError(f"{column} = {typed!r}: enter yes or no.")
        return typed.lower() in _YES
    if column == "mask_frames":
        return _ranges(typed)
    numbers = _numbers(column, typed)
    if column == "frame_times_s":
        return [numbers[0] * n for n in range(frames)] if len(numbers) == 1 and frames > 1 else numbers
    if column in ("pixel_spacing_mm", "principal_point_px"):
        return numbers * 2 if len(numbers) == 1 and column == "pixel_spacing_mm" else numbers
    if len(numbers) != 1:
        raise InputError(f"{column} = {typed!r}: enter one number, with a point before its decimals.")
    return numbers[0]


def shown(column: str, held: Any) -> str:
    """A value as the table shows it; empty for None."""
    if held is None:
        return ""
    if column == "frame_times_s":
        return _times_text(held)
    if column == "mask_frames":
        return _ranges_text(held)
    if isinstance(held, bool):
        return "yes" if held else "no"
    if isinstance(held, tuple):
        return ", ".join(f"{x:.6g}" for x in held)
    return f"{held:.6g}" if isinstance(held, float) else str(held)


def _numbers(column: str, typed: str) -> list[float]:
    numbers = [float(number) for number in _NUMBER.findall(typed)]
    if not numbers or not _BETWEEN.fullmatch(_NUMBER.sub("", typed)):
        raise InputError(f"{column} = {typed!r}: enter numbers alone, without units.")
    return numbers


def _ranges(typed: str) -> list[int]:
    frames: list[int] = []
    for part in re.split(r"[\s,;]+", re.sub(r"\s*[-–]\s*", "-", typed)):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if match is None:
            raise InputError(f"mask_frames = {typed!r}: enter frame numbers counted from 1, as in 1-3, 5.")
        first = int(match[1])
        frames += range(first, int(match[2] or first) + 1)
    return frames


def _ranges_text(frames: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for frame in sorted(frames):
        if parts and frame == parts[-1][-1] + 1:
            parts[-1].append(frame)
        else:
            parts.append([frame])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _times_text(times: Sequence[float]) -> str:
    """One interval where all are alike, else every time."""
    steps = np.diff(times)
    even = len(times) > 1 and times[0] == 0 and np.allclose(steps, steps.mean(), rtol=0, atol=EVEN_S)
    return f"{steps.mean():.9g}" if even else ", ".join(f"{t:.9g}" for t in times)

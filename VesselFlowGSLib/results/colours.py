"""Colour tables: perceptually even, dark for low and light for high values; data in presets/colour_tables.json."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@cache
def colour_table(name: str) -> Array:
    """(n, 3) sRGB 0..1 for "speed", "pressure", "wss", "radius" or "arrival". Raises KeyError for another name."""
    text = files("VesselFlowGSLib.presets").joinpath("colour_tables.json").read_text(encoding="utf-8")
    table = json.loads(text)["tables"][name]
    return np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in table])


def colours(name: str, values: NDArray[Any], low: float, high: float) -> Array:
    """(n,) values to (n, 3) sRGB 0..1; what is outside low..high takes the end's colour."""
    table = colour_table(name)
    held = np.clip(np.asarray(values, float), low, high)
    at = (held - low) / max(high - low, 1e-30) * (len(table) - 1)
    at = np.nan_to_num(at).clip(0, len(table) - 1)
    return np.stack([np.interp(at, np.arange(len(table)), table[:, k]) for k in range(3)], -1)

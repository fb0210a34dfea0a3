"""What a person at a terminal sees: progress with the time left, and a summary of the result."""

from __future__ import annotations

import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Self, TextIO

from tqdm import tqdm

from VesselFlowGSLib.results.snapshot import Figure, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG

# Figures of the lumen alone, which are known without any flow.
GEOMETRY_FIGURES = ("lumen_volume", "min_radius", "length")

# The end of a key in Snapshot.geometry that names its unit.
UNITS = {
    "_per_mm": "1/mm",
    "_mm3": "mm³",
    "_mm2": "mm²",
    "_mm": "mm",
    "_ml_s": "ml/s",
    "_pa": "Pa",
    "_deg": "°",
    "_s": "s",
}

LABELS = {"reynolds": "Reynolds number", "max_wss": "max wall shear stress", "mean_wss": "mean wall shear stress"}

# Warnings are broken into lines of this length.
LINE_LENGTH = 100


class Progress:
    """Progress on a stream: a bar with the time left on a terminal, else one line per stage.

    The time left supposes that the rest goes at the pace so far.
    """

    def __init__(self, first: str, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._first = first
        self._begin = time.monotonic()
        self._due: float | None = None
        self._stop = threading.Event()
        self._last = ""

    def __enter__(self) -> Self:
        self._bar = tqdm(
            total=1.0,
            file=self._stream,
            disable=not self._live,
            leave=False,
            bar_format="{percentage:3.0f}% |{bar:20}| {postfix} · {desc}",
        )
        self._describe(self._first)
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._ticker.join()
        self._bar.close()

    def show(self, stage: str, progress: float, message: str) -> None:
        """A stage has come so far: progress is 0..1 of the whole."""
        elapsed = time.monotonic() - self._begin
        if progress > 0:
            self._due = time.monotonic() + elapsed * (1 - progress) / progress
        if message != self._last:
            self.note(f"{100 * progress:3.0f}%  {clock(elapsed)}  {stage}: {message}")
            self._last = message
        self._bar.n = min(progress, 1.0)
        self._describe(stage)

    def between(self, progress: float, doing: str) -> None:
        """Work goes on within a stage: moves the bar, leaves no line."""
        elapsed = time.monotonic() - self._begin
        if progress > 0:
            self._due = time.monotonic() + elapsed * (1 - progress) / progress
        self._bar.n = min(progress, 1.0)
        self._describe(doing)

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._live:
            tqdm.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def _describe(self, text: str) -> None:
        self._bar.set_description_str(text, refresh=False)
        self._refresh()

    def _refresh(self) -> None:
        now = time.monotonic()
        left = "" if self._due is None else f", about {clock(max(self._due - now, 0))} left"
        self._bar.set_postfix_str(clock(now - self._begin) + left)

    def _tick(self) -> None:
        while self._live and not self._stop.wait(1.0):
            self._refresh()


def clock(seconds: float) -> str:
    """Minutes and seconds, as 2:05."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def summarise(snapshot: Snapshot, study: Path, out: Path) -> str:
    """What was found, as text for a person: geometry, flow and pressure with units, intervals and warnings."""
    lumen = {name: snapshot.figures[name] for name in GEOMETRY_FIGURES if name in snapshot.figures}
    flow = {name: figure for name, figure in snapshot.figures.items() if name not in lumen}
    lines = [f"{study} → {out}", "", "Geometry"]
    lines += _indent(_figure(name, figure) for name, figure in lumen.items())
    lines += _indent(_geometry(snapshot.geometry))
    status = snapshot.flow_status.get("status", "pending")
    why = snapshot.flow_status.get("why", "")
    lines += ["", "Flow" if status == "solved" else f"Flow: {status}. {why}".rstrip()]
    lines += _indent(_figure(name, figure) for name, figure in flow.items())
    if snapshot.warnings:
        lines += ["", "Warnings", *_indent(_broken(snapshot.warnings))]
    lines += ["", f"Look at {out / 'report.html'} first. For research use only."]
    return "\n".join(lines)


def _indent(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _broken(warnings: Sequence[str]) -> Iterator[str]:
    for warning in warnings:
        yield from textwrap.wrap(
            warning, LINE_LENGTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False
        )


def _figure(name: str, figure: Figure) -> str:
    value = quantity(figure.value, figure.unit)
    if figure.interval_90 is not None:
        low, high = figure.interval_90
        value += f" (90 %: {_digits(low)} to {_digits(high)})"
    if figure.unit == "Pa" and "wss" not in name:
        value += f" = {_digits(figure.value / PASCAL_PER_MMHG)} mmHg"
    label = LABELS.get(name, name.replace("_", " "))
    return f"{label:<28} {value}, {figure.origin}"


def quantity(value: float, unit: str) -> str:
    """A value with its unit ("1" where it has none), to three significant digits."""
    return _digits(value) if unit == "1" else f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def _geometry(entries: Mapping[str, Any]) -> Iterator[str]:
    for key, value in entries.items():
        label, unit = _label(key)
        if key == "openings":
            for opening in value:
                yield _opening(opening)
        elif key == "branches" and not isinstance(value, Real):
            for number, branch in enumerate(value, 1):
                yield f"{f'branch {number}':<28} {_branch(branch)}"
        elif isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values()):
            # what is known of each is in summary.json
            yield f"{label:<28} {', '.join(map(str, value))}"
        elif isinstance(value, Mapping):
            yield f"{label:<28} {_words(value, unit)}"
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            for entry in value:
                yield f"{label:<28} {_words(entry)}"
        else:
            yield f"{label:<28} {_value(value, unit)}"


def _opening(opening: Mapping[str, Any]) -> str:
    parts = [f"at {_value(opening['centre_lps_mm'], 'mm')}"] if "centre_lps_mm" in opening else []
    parts += [f"radius {_value(opening['radius_mm'], 'mm')}"] if "radius_mm" in opening else []
    return f"{opening.get('name', 'opening'):<28} {', '.join(parts)}"


def _branch(branch: Mapping[str, Any]) -> str:
    parent = branch.get("parent")
    origin = f"from branch {parent + 1}, " if isinstance(parent, int) and parent >= 0 else ""
    return origin + _words({key: value for key, value in branch.items() if key != "parent"})


def _words(entry: Mapping[str, Any], unit: str = "") -> str:
    parts = []
    for key, value in entry.items():
        label, own = _label(key)
        parts.append(f"{label} {_value(value, own or unit)}")
    return ", ".join(parts)


def _label(key: str) -> tuple[str, str]:
    for ending, unit in UNITS.items():
        if key.endswith(ending):
            return key.removesuffix(ending).removesuffix("_lps").replace("_", " "), unit
    return key.replace("_", " "), ""


def _value(value: object, unit: str) -> str:
    if isinstance(value, Real) and not isinstance(value, (bool, int)):
        return quantity(float(value), unit)
    if isinstance(value, (list, tuple)):
        return f"({', '.join(_value(v, '') for v in value)}) {unit}".rstrip()
    return f"{value} {unit}".rstrip()

"""Puts the figures of the operators into docs/operators.md, between two marks; what was not measured is said too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from table import ROOT, Line, reach_of

NO_GPU = "no GPU"

PAGE = ROOT / "docs" / "operators.md"
NOT_RUN = "No GPU was at hand: the kernels for it were compiled for sm_75 to sm_120, and not run."
BEGIN, END = "<!-- figures, written by make bench-operators -->", "<!-- end of the figures -->"


def write_figures(table: Mapping[str, Any], titles: Mapping[str, str], page: Path = PAGE) -> None:
    """Brings the page up to the table; titles: of its rows, in their order."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{figures(table, titles)}\n{END}{after}", encoding="utf-8")


def figures(table: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """The figures as a table of Markdown, row by row, and what they were measured on."""
    shown, machines = ["| what | reach | now | beside |", "|---|---|---|---|"], []
    for row, title in titles.items():
        shown.append(f"| **{title}** | | | |")
        done = table["rows"].get(row)
        if done is None:
            shown.append("| | | not measured | |")
            continue
        shown += [_line(Line(**line)) for line in done["lines"]]
        if done["machine"] not in machines:
            machines.append(done["machine"])
    shown += ["", f"Measured on: {'; '.join(machines)}.", ""]
    if any(line.get("unmeasured") == NO_GPU for done in table["rows"].values() for line in done["lines"]):
        shown += [NOT_RUN, ""]
    return "\n".join(shown)


def _line(line: Line) -> str:
    now = f"not measured: {line.unmeasured}" if line.unmeasured else _value(line.now, line.unit)
    short = " (falls short)" if line.short else ""
    beside = f"{line.beside} {_value(line.peer, line.unit)}".strip() if line.peer is not None else line.beside
    return f"| {line.what} | {reach_of(line)} | {now}{short} | {beside} |"


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    shown = f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return f"{shown} {unit}".strip()

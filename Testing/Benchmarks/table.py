"""The table of a benchmark: what, reach, now, peer; row by row on the screen and as JSON.

A benchmark goes on where it stopped: a row that was done with the same engine is not done again, unless ROW names it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Line:
    """One figure: what is within reach (None: only told), what was reached now, what the peer reaches.

    beside      who the peer is
    unmeasured  why nothing could be measured here: said instead of a figure, and no shortfall
    """

    what: str
    unit: str
    reach: float | None
    now: float | None
    peer: float | None = None
    more_is_better: bool = False
    beside: str = ""
    unmeasured: str = ""

    @property
    def short(self) -> bool:
        """Whether it falls short of its reach."""
        if self.reach is None or self.unmeasured:
            return False
        if self.now is None:
            return True
        return self.now < self.reach if self.more_is_better else not self.now <= self.reach


class Skipped(Exception):
    """A row that cannot be done here; its text says why."""


def run(
    name: str, rows: Mapping[str, Callable[[bool], list[Line]]], folders: Sequence[str] = ("VesselFlowGSLib",)
) -> int:
    """Do the rows of a benchmark, each told whether QUICK is set; returns 1 where a figure falls short, else 0.

    folders  whose source the figures hang on

    A row of which a figure could not be measured is tried again.
    """
    quick, chosen = is_quick(), os.environ.get("ROW")
    if chosen and chosen not in rows:
        print(f"ROW={chosen} is none of: {', '.join(rows)}")
        return 1
    path = path_of(name)
    table = json.loads(path.read_text()) if path.exists() else {"benchmark": name, "rows": {}}
    engine = source_hash(*folders)
    fell_short = False
    for row, work in rows.items():
        done = table["rows"].get(row)
        if chosen and row != chosen:
            continue
        if chosen or done is None or done["engine"] != engine or any(x.get("unmeasured") for x in done["lines"]):
            try:
                lines = work(quick)
            except Skipped as why:
                print(f"{row}: skipped, {why}\n")
                continue
            done = {"engine": engine, "machine": machine(), "lines": [asdict(line) for line in lines]}
            table["rows"][row] = done
            write(path, table)
        lines = [Line(**line) for line in done["lines"]]
        print(text(row, lines), flush=True)
        fell_short |= any(line.short for line in lines)
    return int(fell_short)


def is_quick() -> bool:
    return bool(os.environ.get("QUICK"))


def path_of(name: str) -> Path:
    """Where the table of a benchmark is kept."""
    return TABLES / f"{name}{'-quick' if is_quick() else ''}.json"


def text(row: str, lines: list[Line]) -> str:
    """The lines of a row as a person reads them."""
    labels = [f"  {line.what}, {line.unit}" if line.unit else f"  {line.what}" for line in lines]
    width = max(34, *(len(label) for label in labels)) if labels else 34
    shown = [f"{row:<{width}} {'reach':>10} {'now':>10} {'peer':>10}"]
    for label, line in zip(labels, lines, strict=True):
        now, peer = ("–" if v is None else f"{v:.3g}" for v in (line.now, line.peer))
        said = f"  not measured: {line.unmeasured}" if line.unmeasured else "  falls short" * line.short
        beside = f" {line.beside}" if line.beside else ""
        shown.append(f"{label:<{width}} {reach_of(line):>10} {now:>10} {peer:>10}{beside}{said}")
    return "\n".join(shown) + "\n"


def reach_of(line: Line) -> str:
    return "" if line.reach is None else f"{'≥' if line.more_is_better else '≤'} {line.reach:g}"


def write(path: Path, table: dict[str, object]) -> None:
    """The table as JSON: whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial.json")
    partial.write_text(json.dumps(table, indent=1) + "\n")
    partial.replace(path)


def source_hash(*folders: str) -> str:
    """Stands for the Python source below these folders of the repository."""
    digest = hashlib.sha256()
    for folder in folders:
        for source in sorted((ROOT / folder).rglob("*.py")):
            digest.update(source.relative_to(ROOT).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"

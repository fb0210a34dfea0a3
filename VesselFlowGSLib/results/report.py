"""The page that goes with a result: one HTML file that needs no other."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape
from typing import Any

from VesselFlowGSLib.results.picture import figure_rows
from VesselFlowGSLib.results.snapshot import Snapshot

HEAD = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>VesselFlowGS: vessel and blood flow</title>"""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --faint: #66717e; --rule: #d5dbe2; --ground: #fff; --note: #fdf5ec; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf2; --faint: #9aa5b1; --rule: #333d49; --ground: #12161c; --note: #2b241b; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 2rem auto;
       max-width: 68rem; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.status, td.origin, footer { color: var(--faint); }
img { width: 100%; height: auto; border: 1px solid var(--rule); border-radius: 4px; background: #fff; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
td, th { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td.value { font-variant-numeric: tabular-nums; font-weight: 600; }
ul.warnings { background: var(--note); padding: .75rem 1rem .75rem 2rem; border-radius: 4px; }
pre { overflow-x: auto; font-size: .85rem; } details { border-bottom: 1px solid var(--rule); padding: .4rem 0; }
footer { margin-top: 2.5rem; font-size: .9rem; }
"""

RESEARCH_USE = "For research use only. Not a medical device; not for diagnosis or treatment."


def report_page(snapshot: Snapshot, picture: bytes | None) -> str:
    """The page's HTML; picture: the bytes of a PNG, or None. Every text of the snapshot is escaped."""
    image = ""
    if picture is not None:
        data = base64.b64encode(picture).decode("ascii")
        image = (
            f'<p><img src="data:image/png;base64,{data}" alt="Views of the vessel and its flow, and key figures"></p>'
        )
    parts = [
        f"<h1>Vessel and blood flow</h1><p class='status'>{escape(_status(snapshot))}</p>",
        image,
        _figures(snapshot),
        _warnings(snapshot),
        _details("Geometry", snapshot.geometry),
        *(_details(name.capitalize(), snapshot.provenance.get(name)) for name in ("inputs", "settings", "versions")),
        _details("Time by stage, s", snapshot.timings_s),
        f"<footer>{escape(RESEARCH_USE)}{_seed(snapshot)}<br>Coordinates in the files: LPS, millimetres.</footer>",
    ]
    body = "\n".join(part for part in parts if part)
    return f"{HEAD}<style>{STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"


def _status(snapshot: Snapshot) -> str:
    status = snapshot.flow_status.get("status", "pending")
    why = snapshot.flow_status.get("why")
    return f"Flow: {status}" + (f" ({why})" if why else "")


def _figures(snapshot: Snapshot) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="value">{escape(value)}</td>'
        f'<td class="origin">{escape(origin)}</td></tr>'
        for name, value, origin in figure_rows(snapshot.figures)
    )
    if not rows:
        return ""
    head = "<tr><th>figure</th><th>value (interval that holds 90 %)</th><th>origin</th></tr>"
    return f"<h2>Key figures</h2><table>{head}{rows}</table>"


def _warnings(snapshot: Snapshot) -> str:
    if not snapshot.warnings:
        return ""
    return (
        "<h2>Warnings</h2><ul class='warnings'>" + "".join(f"<li>{escape(w)}</li>" for w in snapshot.warnings) + "</ul>"
    )


def _details(title: str, content: Any) -> str:
    if not content:
        return ""
    if isinstance(content, Mapping) and all(isinstance(v, (str, int, float)) for v in content.values()):
        rows = "".join(f"<tr><td>{escape(str(k))}</td><td>{escape(_short(v))}</td></tr>" for k, v in content.items())
        inner = f"<table>{rows}</table>"
    else:
        inner = f"<pre>{escape(json.dumps(content, indent=2, default=str, ensure_ascii=False))}</pre>"
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def _short(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _seed(snapshot: Snapshot) -> str:
    seed = snapshot.provenance.get("seed")
    return "" if seed is None else f" Seed {escape(str(seed))}."

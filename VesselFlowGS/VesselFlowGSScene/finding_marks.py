"""What stands out in a result, pointed out in the view: regions, and labelled points with a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.vtkCommonDataModel import vtkPolyData

from VesselFlowGSLib.results.snapshot import Finding, FindingKind, Snapshot
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import FINDING_COLOURS, FINDINGS_TABLE, Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.poly_data import fingerprint, mark, mark_of, poly_data
from VesselFlowGSScene.streamlines import hidden, with_display

Array = NDArray[Any]
KINDS = tuple(FINDING_COLOURS)
KIND = "Finding_kind"
DIGITS = {FindingKind.STENOSIS: 0}


@dataclass(frozen=True)
class FindingSettings:
    """opacity of the regions; label and mark sizes in percent of the view."""

    opacity: float = 0.55
    text_scale: float = 2.6
    glyph_scale: float = 1.6


def finding_data(findings: tuple[Finding, ...]) -> vtkPolyData:
    """The regions in RAS, a ball where a finding has none; Finding_kind is the row of the colour table."""
    points, triangles, kinds, count = [], [], [], 0
    for finding in findings:
        x, corners = _region(finding)
        points.append(x)
        triangles.append(corners + count)
        kinds.append(np.full(len(x), KINDS.index(finding.kind), np.float32))
        count += len(x)
    if not points:
        return vtkPolyData()
    arrays = {KIND: np.concatenate(kinds)}
    return poly_data(ras_of(np.concatenate(points)), arrays, triangles=np.concatenate(triangles))


def label_of(finding: Finding) -> str:
    """A few words for the view, as "stenosis 48 %"."""
    return f"{finding.kind.value} {finding.value:.{DIGITS.get(finding.kind, 2)}f} {finding.unit}".strip()


def finding_steps(case: Case, snapshot: Snapshot, appearance: Appearance) -> Iterator[None]:
    """Show the findings of the chosen kinds and no others, in short steps."""
    shown = tuple(f for f in snapshot.findings if f.kind in appearance.findings)
    if not shown:
        hidden(case.get(Role.FINDINGS))
        hidden(case.get(Role.FINDING_LABELS))
        return
    made_of = fingerprint(*(part for f in shown for part in _parts(f)))
    _show_regions(case, shown, made_of)
    yield
    _show_labels(case, shown, made_of)


def _show_regions(case: Case, shown: tuple[Finding, ...], made_of: str) -> None:
    node = case.put(Role.FINDINGS, "vtkMRMLModelNode")
    if mark_of(node.GetPolyData()) != made_of:
        node.SetAndObserveMesh(mark(finding_data(shown), made_of))
    display = with_display(node)
    display.SetOpacity(FindingSettings().opacity)
    display.SetVisibility(True)
    paint(display, Scale(KIND, "", FINDINGS_TABLE, 0, len(KINDS) - 1))


def _show_labels(case: Case, shown: tuple[Finding, ...], made_of: str) -> None:
    node = case.put(Role.FINDING_LABELS, "vtkMRMLMarkupsFiducialNode")
    settings = FindingSettings()
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetTextScale(settings.text_scale)
        display.SetGlyphScale(settings.glyph_scale)
        display.SetOccludedVisibility(True)
    node.GetDisplayNode().SetVisibility(True)
    if node.GetAttribute("VesselFlowGS.MadeOf") == made_of and node.GetNumberOfControlPoints() == len(shown):
        return
    modifying = node.StartModify()
    node.SetLocked(False)
    node.RemoveAllControlPoints()
    for finding in shown:
        number = node.AddControlPoint(*map(float, ras_of(finding.centre)), label_of(finding))
        node.SetNthControlPointDescription(number, finding.text)
    # they point something out; a person who drags one would move the place and not the finding
    node.SetLocked(True)
    node.SetAttribute("VesselFlowGS.MadeOf", made_of)
    node.EndModify(modifying)


def _parts(finding: Finding) -> tuple[Any, ...]:
    region = finding.region
    shape = (np.asarray(region.points), np.asarray(region.triangles)) if region is not None else ()
    return (finding.kind, finding.text, np.asarray(finding.centre), finding.radius_mm, finding.value, *shape)


def _region(finding: Finding) -> tuple[Array, Array]:
    if finding.region is not None and len(finding.region.triangles):
        return np.asarray(finding.region.points, np.float32), np.asarray(finding.region.triangles)
    points, triangles = _ball()
    return (np.asarray(finding.centre) + finding.radius_mm * points).astype(np.float32), triangles


@cache
def _ball(rows: int = 9, columns: int = 16) -> tuple[Array, Array]:
    """A unit ball by latitude and longitude; triangles outwards."""
    polar, turn = np.linspace(0, np.pi, rows), 2 * np.pi * np.arange(columns) / columns
    ring = np.stack([np.cos(turn), np.sin(turn)], -1)
    points = np.concatenate([np.column_stack([np.sin(a) * ring, np.full(columns, np.cos(a))]) for a in polar])
    i, j = np.arange(columns), (np.arange(columns) + 1) % columns
    quads = [(r * columns, (r + 1) * columns) for r in range(rows - 1)]
    triangles = [np.stack([a + i, b + i, b + j], -1) for a, b in quads]
    triangles += [np.stack([a + i, b + j, a + j], -1) for a, b in quads]
    return points, np.concatenate(triangles)

"""Colour tables shared by all cases of a scene, how a display node is painted with them, and the legends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from VesselFlowGSLib.results.colours import colour_table
from VesselFlowGSLib.results.snapshot import FindingKind
from VesselFlowGSScene.appearance import CloudQuantity, Quantity
from VesselFlowGSScene.ranges import Coloured, Range, decimals_of

TABLE = "VesselFlowGS.ColourTable"
COLOURS = 256
FINDINGS_TABLE = "findings"
# Apart for all usual colour vision, and from the tables' own ends.
FINDING_COLOURS = {
    FindingKind.STENOSIS: (0.90, 0.10, 0.29),
    FindingKind.VORTEX: (0.26, 0.83, 0.96),
    FindingKind.JET: (0.94, 0.90, 0.26),
    FindingKind.HIGH_WSS: (0.96, 0.51, 0.19),
    FindingKind.LOW_WSS: (0.47, 0.60, 1.00),
    FindingKind.PRESSURE_GRADIENT: (0.84, 0.37, 0.93),
}


@dataclass(frozen=True)
class Scale:
    """What colours a model: its point array, the table, the range; title is what the legend says."""

    array: str
    title: str
    table: str
    low: float
    high: float


NAMES: dict[Coloured, tuple[str, str, str]] = {
    Quantity.PRESSURE: ("Pressure_mmHg", "Pressure (mmHg)", "pressure"),
    Quantity.WSS: ("WSS_Pa", "Wall shear stress (Pa)", "wss"),
    Quantity.TAWSS: ("TAWSS_Pa", "TAWSS (Pa)", "wss"),
    Quantity.OSI: ("OSI", "OSI", "radius"),
    Quantity.SPEED: ("Speed_m_s", "Speed (m/s)", "speed"),
    Quantity.CONFIDENCE: ("Confidence", "Confidence", "radius"),
    CloudQuantity.ARRIVAL: ("Arrival_s", "Arrival (s)", "arrival"),
}
# At the right, at the left, and below these; a legend sits at its position times what its size leaves free.
SLOTS = ((0.97, 0.86), (0.03, 0.86), (0.97, 0.05), (0.03, 0.05))
LEGEND_SIZE = (0.1, 0.42)
# Of an image, in a slice view: none of the places above, which stay free for the 3D views.
IMAGE_SLOT = (0.97, 0.5)
LABELS = 5
# Slicer fits the font to the labels: labels of one length give all legends one font.
LABEL_LENGTH = 6


def scale_of(quantity: Coloured, ranges: dict[Coloured, Range]) -> Scale | None:
    """The scale of a quantity, or None for a plain colour and where the snapshot has no such values."""
    if quantity not in NAMES or quantity not in ranges:
        return None
    array, title, table = NAMES[quantity]
    return Scale(array, title, table, *ranges[quantity])


def table_node(scene: Any, name: str) -> Any:
    """The scene's colour table "pressure", "wss", "speed", "radius", "arrival" or "findings", made if need be."""
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetAttribute(TABLE) == name:
            return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(f"VesselFlowGS {name}")
    node.SetAttribute(TABLE, name)
    node.SetAttribute("Category", "VesselFlowGS")
    node.SetTypeToUser()
    rows = _finding_rows() if name == FINDINGS_TABLE else _even_rows(name)
    node.SetNumberOfColors(len(rows))
    node.GetLookupTable().SetRange(0, len(rows) - 1)
    for k, (label, red, green, blue) in enumerate(rows):
        node.SetColor(k, label, red, green, blue, 1.0)
    return scene.AddNode(node)


def paint(display: Any, scale: Scale | None) -> None:
    """Let the display node show the scale's array in its table and range; plain where there is none."""
    if scale is None:
        display.SetScalarVisibility(False)
        return
    display.SetActiveScalar(scale.array, vtk.vtkAssignAttribute.POINT_DATA)
    display.SetAndObserveColorNodeID(table_node(display.GetScene(), scale.table).GetID())
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    display.SetScalarRange(scale.low, scale.high)
    display.SetScalarVisibility(True)


def show_legends(shown: list[tuple[Any, Scale]], wanted: bool, all_displays: list[Any]) -> None:
    """One legend for every scale that is seen, in its own place; the first display node with it bears it.

    Legends of other cases keep their places, and what one of them says is not said again.

    shown         display nodes that are visible, each with its scale
    all_displays  display nodes of the case that may bear a legend from before
    """
    if not all_displays:
        return
    others = _legends_of_others(all_displays)
    said = {_words(legend) for legend in others}
    bearers: dict[Scale, Any] = {}
    for display, scale in shown if wanted else []:
        if (scale.title, scale.low, scale.high) not in said:
            bearers.setdefault(scale, display)
    taken = {legend.GetPosition() for legend in others}
    places = dict(zip(bearers, [place for place in SLOTS if place not in taken], strict=False))
    of_display = {display.GetID(): scale for scale, display in bearers.items() if scale in places}
    for display in all_displays:
        scale = of_display.get(display.GetID())
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(display)
        if scale is None:
            if legend is not None:
                legend.SetVisibility(False)
            continue
        if legend is None:
            legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(display)
        views = slicer.util.getNodesByClass("vtkMRMLViewNode", legend.GetScene())
        # In the slice views the contour needs none, and the image needs the room.
        _write_legend(legend, scale, places[scale], views)


def show_image_legend(display: Any, scale: Scale | None) -> None:
    """The legend of a volume's colours, in the slice views that show it alone; None takes it away."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(display)
    if scale is None:
        if legend is not None:
            legend.SetVisibility(False)
        return
    if legend is None:
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(display)
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode", legend.GetScene())
    _write_legend(legend, scale, IMAGE_SLOT, views)
    # a slice view that has begun to show the volume since then draws the legend when that changes
    legend.Modified()


def _legends_of_others(displays: list[Any]) -> list[Any]:
    own = {display.GetID() for display in displays}
    legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", displays[0].GetScene())
    explained = [(legend, legend.GetPrimaryDisplayNode()) for legend in legends if legend.GetVisibility()]
    return [legend for legend, of in explained if of is not None and of.GetID() not in own and of.GetVisibility()]


def _words(legend: Any) -> tuple[str, float, float]:
    return (legend.GetTitleText(), *legend.GetPrimaryDisplayNode().GetScalarRange())


def _write_legend(legend: Any, scale: Scale, place: tuple[float, float], views: list[Any]) -> None:
    modifying = legend.StartModify()
    legend.SetTitleText(scale.title)
    towards_bar = "" if place[0] > 0.5 else "-"
    legend.SetLabelFormat(f"%{towards_bar}{LABEL_LENGTH}.{decimals_of(scale.low, scale.high)}f")
    legend.SetNumberOfLabels(LABELS)
    legend.SetMaxNumberOfColors(COLOURS)
    legend.SetOrientation(slicer.vtkMRMLColorLegendDisplayNode.Vertical)
    legend.SetPosition(*place)
    legend.SetSize(*LEGEND_SIZE)
    legend.SetViewNodeIDs([view.GetID() for view in views])
    legend.SetVisibility(True)
    legend.EndModify(modifying)


def _even_rows(name: str) -> list[tuple[str, float, float, float]]:
    table = colour_table(name)
    at = np.linspace(0, len(table) - 1, COLOURS)
    channels = [np.interp(at, np.arange(len(table)), table[:, k]) for k in range(3)]
    return [(f"{k / (COLOURS - 1):.3f}", *map(float, row)) for k, row in enumerate(zip(*channels, strict=True))]


def _finding_rows() -> list[tuple[str, float, float, float]]:
    return [(kind.value, *colour) for kind, colour in FINDING_COLOURS.items()]

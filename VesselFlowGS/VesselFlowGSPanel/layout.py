"""Bring charts, tables and places into the person's views."""

from __future__ import annotations

from typing import Any

import slicer


def show_chart(chart: Any) -> None:
    """Show a chart node; the layout changes to one with a chart where it has none."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def show_table(table: Any) -> None:
    """Show a table node; the layout changes to one with a table where it has none."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveTableID(table.GetID())
    slicer.app.applicationLogic().PropagateTableSelection()
    layout = slicer.app.layoutManager()
    wanted = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    if layout is not None and layout.layout != wanted:
        layout.setLayout(wanted)


def jump_to(ras: Any) -> None:
    """Bring all slice views to a place."""
    x, y, z = (float(v) for v in ras)
    slicer.modules.markups.logic().JumpSlicesToLocation(x, y, z, True)

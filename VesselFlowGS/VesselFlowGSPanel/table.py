"""Tables of the panel: cells with a colour and a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


def show_rows(table: Any, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Fill a QTableWidget with text that cannot be edited."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.setRowCount(len(rows))
    for r, row in enumerate(rows):
        for c, text in enumerate(row):
            fill_cell(table, r, c, text)
    table.resizeColumnsToContents()


def fill_cell(
    table: Any, row: int, column: int, text: str, colour: str = "", tooltip: str = "", editable: bool = False
) -> None:
    """One cell anew; colour: of its ground, as #rrggbb."""
    item = qt.QTableWidgetItem(text)
    flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
    item.setFlags(flags | qt.Qt.ItemIsEditable if editable else flags)
    if colour:
        item.setBackground(qt.QBrush(qt.QColor(colour)))
        item.setForeground(qt.QBrush(qt.QColor("#202020")))
    item.setToolTip(tooltip or text)
    table.setItem(row, column, item)

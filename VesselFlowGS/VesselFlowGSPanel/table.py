"""Tables of the panel: cells with a colour and a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

RED = "#f4b8b8"
YELLOW = "#f6e6b0"
GREEN = "#cfe8cf"
_INK = "#202020"


def show_rows(table: Any, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Fill a QTableWidget with text that cannot be edited."""
    set_columns(table, titles)
    table.setRowCount(len(rows))
    for r, row in enumerate(rows):
        for c, text in enumerate(row):
            fill_cell(table, r, c, text)
    table.resizeColumnsToContents()


def set_columns(table: Any, titles: Sequence[str]) -> None:
    """Name the columns; rows have no numbers, the last column takes what room is left."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().setVisible(False)
    table.horizontalHeader().setStretchLastSection(True)


def fill_cell(
    table: Any, row: int, column: int, text: str, colour: str = "", tooltip: str = "", editable: bool = False
) -> Any:
    """The item of a cell with this text; colour: of its ground, as #rrggbb. Keeps the item that is there.

    An item must not be replaced while Qt tells of its change.
    """
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
    item.setFlags(flags | qt.Qt.ItemIsEditable if editable else flags)
    if item.text() != text:
        item.setText(text)
    item.setToolTip(tooltip or text)
    item.setBackground(qt.QBrush(qt.QColor(colour)) if colour else qt.QBrush())
    item.setForeground(qt.QBrush(qt.QColor(_INK)) if colour else qt.QBrush())
    return item

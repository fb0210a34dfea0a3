"""The table of X-ray runs: values with where they come from, missing ones red with the reason, each checked on edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import qt
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import InputError
from VesselFlowGSPanel.table import RED, YELLOW, fill_cell, set_columns
from VesselFlowGSScene.runs import (
    INTENSITY,
    Intensity,
    Known,
    RunEntry,
    known_from,
    missing,
    text_of,
    with_text,
)

USE, NAME, FRAMES = "use", "name", "frames"
LAYOUT = (
    USE,
    NAME,
    "role",
    FRAMES,
    "primary_angle_deg",
    "secondary_angle_deg",
    "source_to_detector_mm",
    "source_to_isocentre_mm",
    "pixel_spacing_mm",
    "frame_times_s",
    "mask_frames",
    INTENSITY,
)
ROLES = ("dsa", "mask", "fill", "ignore")
INTENSITIES = tuple(i.value for i in Intensity)


class RunsTable:
    """Shows entries in a QTableWidget and tells of what a person changes.

    edited   told (row, the entry as changed)
    refused  told why a typed text was not taken; the old value stays, and the cell is red until the next change
    """

    def __init__(self, widget: Any, edited: Callable[[int, RunEntry], None], refused: Callable[[str], None]) -> None:
        self.widget = widget
        self._edited, self._refused = edited, refused
        self._entries: tuple[RunEntry, ...] = ()
        self._wrong: dict[tuple[int, str], str] = {}
        self._filling = False
        set_columns(widget, [_title(column) for column in LAYOUT])
        widget.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        widget.connect("cellChanged(int,int)", self._cell_changed)

    def show(self, entries: Sequence[RunEntry]) -> None:
        """Show these entries; a cell that did not change is left alone."""
        self._filling = True
        try:
            if len(entries) != len(self._entries):
                self._wrong = {}
            new_rows = len(entries) != self.widget.rowCount
            if new_rows:
                self.widget.setRowCount(0)
                self.widget.setRowCount(len(entries))
            self._entries = tuple(entries)
            for row, entry in enumerate(entries):
                self._show_row(row, entry)
            hidden = all(known_from(entry, INTENSITY) in (None, Known.HEADER) for entry in entries)
            self.widget.setColumnHidden(LAYOUT.index(INTENSITY), hidden)
            if new_rows:
                self.widget.resizeColumnsToContents()
        finally:
            self._filling = False

    def selected(self) -> set[int]:
        """The rows in which something is selected."""
        return {index.row() for index in self.widget.selectionModel().selectedIndexes()}

    def _show_row(self, row: int, entry: RunEntry) -> None:
        lacks = missing(entry)
        for column, key in enumerate(LAYOUT):
            if key == USE:
                self._show_use(row, column, entry)
            elif key == NAME:
                reasons = "\n".join((*entry.problems, *entry.notes))
                colour = RED if entry.problems else YELLOW if entry.notes else ""
                fill_cell(self.widget, row, column, entry.name, colour, reasons or _("The run's name in the scene"))
            elif key == FRAMES:
                size = _("{rows} × {columns} pixels").format(rows=entry.rows, columns=entry.columns)
                fill_cell(self.widget, row, column, str(entry.frames), "", size)
            else:
                wrong = self._wrong.get((row, key), "") or lacks.get(key, "")
                fill_cell(
                    self.widget,
                    row,
                    column,
                    text_of(entry, key),
                    RED if wrong else "",
                    wrong or _origin(entry, key),
                    editable=True,
                )

    def _show_use(self, row: int, column: int, entry: RunEntry) -> None:
        item = fill_cell(self.widget, row, column, "", "", _("Whether the run takes part in the reconstruction"))
        if entry.problems:
            item.setToolTip(entry.problems[0])
        else:
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
        item.setCheckState(qt.Qt.Checked if entry.use else qt.Qt.Unchecked)

    def _cell_changed(self, row: int, column: int) -> None:
        if self._filling or not 0 <= row < len(self._entries):
            return
        key, item = LAYOUT[column], self.widget.item(row, column)
        if key == USE:
            self._edited(row, replace(self._entries[row], use=item.checkState() == qt.Qt.Checked))
        elif key not in (NAME, FRAMES):
            self.enter(row, key, item.text())

    def enter(self, row: int, key: str, text: str) -> None:
        """Take a text for a cell, or refuse it."""
        if text.strip() == text_of(self._entries[row], key) and (row, key) not in self._wrong:
            return
        try:
            changed = with_text(self._entries[row], key, text)
        except InputError as error:
            self._wrong[(row, key)] = str(error)
            self._refused(_("{run}: {error} The old value stays.").format(run=self._entries[row].name, error=error))
            self.show(self._entries)
            return
        self._wrong.pop((row, key), None)
        self._edited(row, changed)
        self.show(self._entries)


def _origin(entry: RunEntry, column: str) -> str:
    texts = {
        Known.HEADER: _("from the DICOM header"),
        Known.SEQUENCE: _("from the loaded sequence"),
        Known.ENTERED: _("entered; empty the cell to take the header's value again"),
        Known.ASSUMED: _("assumed"),
    }
    known = known_from(entry, column)
    return texts.get(known, _("not given: found by itself")) if known is not None else _("not given: found by itself")


def _title(column: str) -> str:
    titles = {
        USE: _("use"),
        NAME: _("run"),
        "role": _("role"),
        FRAMES: _("frames"),
        "primary_angle_deg": _("primary [°]"),
        "secondary_angle_deg": _("secondary [°]"),
        "source_to_detector_mm": _("SID [mm]"),
        "source_to_isocentre_mm": _("SOD [mm]"),
        "pixel_spacing_mm": _("pixel [mm]"),
        "frame_times_s": _("times [s]"),
        "mask_frames": _("mask frames"),
        INTENSITY: _("gray levels"),
    }
    return titles[column]

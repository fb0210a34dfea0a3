"""The blood, its flow, and what is known at the openings; beside each value whether it is given, read or assumed."""

from __future__ import annotations

import json
from typing import Any

import qt
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import InputError
from VesselFlowGSPanel import inputs
from VesselFlowGSPanel.parameters import Viscosity, Waveform
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.table import RED, fill_cell, set_columns

CONDITIONS = ("", "share", "pressure_pa", "resistance_pa_s_ml")
UNITS = {"": "", "share": "", "pressure_pa": "Pa", "resistance_pa_s_ml": "Pa·s/ml"}
SHARE_TOLERANCE = 0.01
OUTLET, CONDITION, VALUE, UNIT = range(4)


class PhysicsSection(Section):
    """Everything lies in the parameter node; what the engine does not solve yet is said beside its control."""

    NAME = "Physics"

    def connect(self) -> None:
        self._filling = False
        self._shown: tuple[Any, ...] = ()
        self._wrong: dict[int, str] = {}
        self._presets = ("", *inputs.preset_names())
        ui = self.ui
        for preset in self._presets:
            ui.presetComboBox.addItem(_preset_name(preset), preset)
        ui.presetComboBox.connect("currentIndexChanged(int)", self._preset_chosen)
        set_columns(ui.outletsTable, (_("outlet"), _("what is known"), _("value"), _("unit")))
        ui.outletsTable.connect("cellChanged(int,int)", self._cell_changed)
        ui.outletsTable.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        ui.conditionComboBox.addItem(_("set what is known of the selected outlets…"))
        for condition in CONDITIONS:
            ui.conditionComboBox.addItem(_condition_name(condition), condition)
        ui.conditionComboBox.connect("currentIndexChanged(int)", self._condition_chosen)
        ui.addOutletButton.connect("clicked()", self.add_outlet)
        ui.removeOutletButton.connect("clicked()", self.remove_outlet)

    def update(self) -> None:
        parameters = self.panel.parameters
        if parameters is None:
            return
        index = self._presets.index(parameters.preset) if parameters.preset in self._presets else 0
        if self.ui.presetComboBox.currentIndex != index:
            self.ui.presetComboBox.currentIndex = index
        self._show_hints(parameters)
        self._show_origins(parameters)
        self._show_outlets(parameters)

    def add_outlet(self) -> None:
        """One more outlet of which something is to be said."""
        self._write([*self._held(), {}])

    def remove_outlet(self) -> None:
        """Say nothing more of the selected outlets, or of the last one."""
        held = self._held()
        rows = self._selected() or {len(held) - 1}
        self._wrong = {}
        self._write([entry for row, entry in enumerate(held) if row not in rows])

    # what is shown

    def _show_hints(self, parameters: Any) -> None:
        ui = self.ui
        other = parameters.model is not Viscosity.newtonian
        ui.modelHintLabel.visible = other
        ui.modelHintLabel.text = _(
            "Not solved yet: the blood is taken as Newtonian with the viscosity below, and the result says so."
        )
        pulsatile = parameters.waveform is not Waveform.steady
        ui.waveformHintLabel.visible = pulsatile
        ui.waveformHintLabel.text = _(
            "Where the flow pulsates, its mean over the cycle is solved; pulsation itself is not solved yet."
        )
        ui.inflowSpinBox.enabled = parameters.inflow_given

    def _show_origins(self, parameters: Any) -> None:
        ui = self.ui
        for name, shown in (
            ("density_kg_m3", ui.densityOriginLabel),
            ("viscosity_pa_s", ui.viscosityOriginLabel),
        ):
            usual = getattr(parameters, name) == inputs.USUAL[name]
            shown.text = _("assumed (usual)") if usual else _("given")
        ui.hematocritOriginLabel.text = _("not used yet")
        ui.heartRateOriginLabel.text = _("given") if parameters.heart_rate_bpm else _("read or estimated")
        for name, shown in (
            ("systolic_mmhg", ui.systolicOriginLabel),
            ("diastolic_mmhg", ui.diastolicOriginLabel),
        ):
            shown.text = _("given; not used yet") if getattr(parameters, name) else ""
        ui.inflowOriginLabel.text = self._inflow_origin(parameters)
        low, high = parameters.diastolic_mmhg, parameters.systolic_mmhg
        wrong = bool(low and high and low >= high)
        ui.physicsMessageLabel.visible = wrong
        ui.physicsMessageLabel.text = _("The diastolic pressure must be below the systolic one: correct one of them.")

    def _inflow_origin(self, parameters: Any) -> str:
        if parameters.inflow_given:
            return _("given")
        figure = self.panel.snapshot.figures.get("mean_inflow") if self.panel.snapshot is not None else None
        if figure is None:
            return _("estimated from the frames")
        words = {"estimated": _("estimated: {value} ml/s"), "assumed": _("assumed: {value} ml/s")}
        return words.get(figure.origin, _("measured: {value} ml/s")).format(value=f"{figure.value:.3g}")

    def _show_outlets(self, parameters: Any) -> None:
        held = self._held()
        names = _outlet_names(parameters.outlets)
        rows = max(len(held), len(names))
        held += [{}] * (rows - len(held))
        now = (tuple(tuple(entry.items()) for entry in held), tuple(names), tuple(self._wrong.items()))
        table = self.ui.outletsTable
        if now != self._shown:
            self._shown = now
            self._filling = True
            try:
                table.setRowCount(rows)
                for row, entry in enumerate(held):
                    self._show_outlet(row, entry, names)
                table.resizeColumnsToContents()
            finally:
                self._filling = False
        self.ui.outletsHintLabel.text = _outlets_hint(held, len(names))

    def _show_outlet(self, row: int, entry: dict[str, float], names: list[str]) -> None:
        table = self.ui.outletsTable
        condition = next(iter(entry), "")
        name = names[row] if row < len(names) else _("outlet {number}").format(number=row + 1)
        wrong = self._wrong.get(row, "")
        fill_cell(table, row, OUTLET, name, "", _("In the order of the outlet points"))
        fill_cell(table, row, CONDITION, _condition_name(condition), "", _condition_tip(condition))
        text = f"{entry[condition]:.6g}" if condition else ""
        fill_cell(table, row, VALUE, text, RED if wrong else "", wrong or _condition_tip(condition), bool(condition))
        fill_cell(table, row, UNIT, UNITS[condition])

    # what a person changes

    def _preset_chosen(self, index: int) -> None:
        parameters = self.panel.parameters
        if parameters is not None and 0 <= index < len(self._presets) and parameters.preset != self._presets[index]:
            parameters.preset = self._presets[index]

    def _condition_chosen(self, index: int) -> None:
        """The first item is the title."""
        if index < 1 or self.panel.parameters is None:
            return
        condition = CONDITIONS[index - 1]
        held = self._rows()
        rows = self._selected() or ({0} if len(held) == 1 else set())
        if not rows:
            self.panel.report(_("Select outlets in the table first."))
        for row in rows:
            usual = {"share": 1.0 / max(len(held), 1)}.get(condition, 0.0)
            held[row] = {condition: usual} if condition else {}
            self._wrong.pop(row, None)
        self.ui.conditionComboBox.setCurrentIndex(0)
        self._write(held)

    def _cell_changed(self, row: int, column: int) -> None:
        if self._filling or column != VALUE or self.panel.parameters is None:
            return
        held = self._rows()
        condition = next(iter(held[row]), "") if row < len(held) else ""
        if not condition:
            return
        from VesselFlowGSLib.acquisition.description import checked

        text = self.ui.outletsTable.item(row, column).text()
        try:
            held[row] = {condition: checked("outlet", condition, _number(text))}
        except InputError as error:
            self._wrong[row] = str(error)
            self.panel.report(_("{error} The old value stays.").format(error=error))
            self.update()
            return
        self._wrong.pop(row, None)
        self._write(held)

    def _held(self) -> list[dict[str, float]]:
        try:
            return inputs.outlet_list(self.panel.parameters)
        except InputError as error:
            self.panel.report(str(error))
            return []

    def _rows(self) -> list[dict[str, float]]:
        """One entry for each row that is shown."""
        held = self._held()
        return held + [{}] * (self.ui.outletsTable.rowCount - len(held))

    def _write(self, held: list[dict[str, float]]) -> None:
        self.panel.parameters.outlet_conditions = json.dumps(held) if held else ""
        self.update()

    def _selected(self) -> set[int]:
        return {index.row() for index in self.ui.outletsTable.selectionModel().selectedIndexes()}


def _number(text: str) -> float:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise InputError(_("{text} is no number.").format(text=repr(text))) from None


def _outlet_names(markups: Any) -> list[str]:
    if markups is None:
        return []
    return [markups.GetNthControlPointLabel(k) for k in range(markups.GetNumberOfControlPoints())]


def _outlets_hint(held: list[dict[str, float]], points: int) -> str:
    said = []
    kinds = {key for entry in held for key in entry}
    if kinds - {"share"}:
        said.append(_("Pressures and resistances are written into the study, but not solved yet."))
    shares = [entry["share"] for entry in held if "share" in entry]
    total = sum(shares)
    if total > 1 + SHARE_TOLERANCE or (shares and len(shares) == len(held) and total < 1 - SHARE_TOLERANCE):
        said.append(_("The shares sum to {total}; they must sum to 1.").format(total=f"{total:.3g}"))
    if len([entry for entry in held if entry]) > 1 and points != len(held):
        said.append(
            _("Place one outlet point for each outlet (section Inputs): there are {count}.").format(count=points)
        )
    if not any(held):
        said.append(_("Nothing is said: how the flow parts is found by the reconstruction."))
    return " ".join(said)


def _condition_name(condition: str) -> str:
    names = {
        "": _("to be found"),
        "share": _("share of the flow"),
        "pressure_pa": _("pressure (not solved yet)"),
        "resistance_pa_s_ml": _("resistance (not solved yet)"),
    }
    return names[condition]


def _condition_tip(condition: str) -> str:
    tips = {
        "": _("The reconstruction finds it"),
        "share": _("The part of the inflow that leaves here, from 0 to 1; all shares sum to 1"),
        "pressure_pa": _("Mean pressure at the outlet, in pascal; 1 mmHg is 133.3 Pa"),
        "resistance_pa_s_ml": _("Resistance of what lies beyond the outlet, in pascal seconds per millilitre"),
    }
    return tips[condition]


def _preset_name(preset: str) -> str:
    names = {
        "": _("usual settings"),
        "aorta": _("aorta and other wide vessels"),
        "cerebral": _("arteries of the head and neck"),
        "coronary": _("coronary and other small arteries"),
    }
    return names.get(preset, preset)

"""The projected vessel over a frame of a run, and what moves it: shifts, isocentre, time offset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import InputError, VesselFlowError
from VesselFlowGSPanel import inputs
from VesselFlowGSPanel.section import Section
from VesselFlowGSScene import overlay
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.film_frames import FilmFrames, PeakSettings
from VesselFlowGSScene.frames import lps_of, ras_of
from VesselFlowGSScene.projection import Drag, Vessel, fitted_isocentre, shifted, vessel_of_snapshot
from VesselFlowGSScene.runs import RunEntry, entries_to_json, with_value, without

SLICE_VIEW = "Red"
# the isocentre takes shifts below this, in mm, as none
NO_SHIFT_MM = 1e-6


class Shown(Enum):
    """What of a run is seen in the slice view."""

    FRAME = "one frame"
    FILLED = "all frames together"
    PEAK = "time to peak"


class AlignSection(Section):
    """Shifts are kept here until they become an isocentre or a run's own; nothing else is held but the parameters.

    shifts_mm  (u, v) at the detector, by the run's name
    """

    NAME = "Align"

    def connect(self) -> None:
        self.shifts_mm: dict[str, tuple[float, float]] = {}
        self.entries: tuple[RunEntry, ...] = ()
        self._text: str | None = None
        self._filling = False
        self._film: FilmFrames | None = None
        self._vessel: Vessel | None = None
        self._vessel_of: Any = None
        self._images: Iterator[Any] | None = None
        ui = self.ui
        for shown in Shown:
            ui.shownComboBox.addItem(shown_name(shown))
        ui.runComboBox.connect("currentIndexChanged(int)", self._run_chosen)
        ui.frameSlider.connect("valueChanged(double)", self._frame_chosen)
        ui.shownComboBox.connect("currentIndexChanged(int)", self._shown_chosen)
        ui.overlayButton.connect("toggled(bool)", self._overlay_toggled)
        ui.shiftUSpinBox.connect("valueChanged(double)", self._shifted)
        ui.shiftVSpinBox.connect("valueChanged(double)", self._shifted)
        ui.isocentreButton.connect("clicked()", self.isocentre_from_shifts)
        ui.keepShiftButton.connect("clicked()", self.keep_shift)
        ui.undoShiftButton.connect("clicked()", self.undo_shift)
        ui.timeGivenCheckBox.connect("toggled(bool)", self._time_changed)
        ui.timeOffsetSpinBox.connect("valueChanged(double)", self._time_changed)
        ui.takeFoundButton.connect("clicked()", self.take_found_isocentre)
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._fill_on)

    def set_parameters(self, parameters: Any | None) -> None:
        super().set_parameters(parameters)
        self._forget()
        if parameters is not None:
            # the frame stays in its view while a person is in another module
            self._show_as_pressed(any(case.get(Role.FILMED) for case in _cases()))

    def update(self) -> None:
        parameters = self.panel.parameters
        if parameters is None:
            return
        changed = parameters.runs != self._text
        if changed:
            self._text = parameters.runs
            self._take_entries(parameters)
        ui = self.ui
        self._show_run()
        given = parameters.isocentre_given
        for box in (ui.isocentreRSpinBox, ui.isocentreASpinBox, ui.isocentreSSpinBox):
            box.enabled = given
        found = self._found_isocentre()
        ui.foundRow.visible = found is not None
        if found is not None:
            r, a, s = (f"{value:.1f}" for value in ras_of(found))
            ui.isocentreFoundLabel.text = _("Found by the reconstruction: {r}, {a}, {s} mm (R, A, S).").format(
                r=r, a=a, s=s
            )
        if ui.overlayButton.checked:
            if changed:
                self._film = None
                self._show_frame()
            self._show_outline()

    def isocentre_from_shifts(self) -> None:
        """Find the isocentre that moves the projections as they were shifted, and give it."""
        drags = [
            Drag(entry, _in_pixels(entry, self.shifts_mm[entry.name]))
            for entry in self.entries
            if np.abs(self.shifts_mm.get(entry.name, (0.0, 0.0))).max() > NO_SHIFT_MM
        ]
        vessel = self._current_vessel()
        if vessel is None:
            self._say(_("There is no vessel yet: choose a lumen in the section Inputs, or reconstruct once."))
            return
        try:
            fit = fitted_isocentre(drags, self._isocentre(vessel), vessel.centre)
        except InputError as error:
            self._say(str(error))
            return
        self._give_isocentre(fit.isocentre_lps_mm)
        self.shifts_mm = {}
        said = _("Isocentre from {count} runs; of the shifts {left} px are left at most.")
        if len(drags) == 1:
            said = _("Isocentre from {count} run, which leaves it open along its rays: shift a second run too.")
        self._say(said.format(count=len(drags), left=f"{max(fit.left_px):.1f}"))
        self.update()

    def keep_shift(self) -> None:
        """Make the shift the run's own."""
        entry = self.entry
        if entry is None:
            self._say(_("Choose a run first."))
            return
        moved = shifted(entry, _in_pixels(entry, self._shift(entry)))
        self.shifts_mm.pop(entry.name, None)
        self._write(moved)
        self._say(_("The shift is kept for this run."))

    def undo_shift(self) -> None:
        """Take the run's shift away, kept or not."""
        entry = self.entry
        if entry is None:
            self._say(_("Choose a run first."))
            return
        self.shifts_mm.pop(entry.name, None)
        self._write(without(entry, "principal_point_px"))
        self._say(_("This run is not shifted."))

    def take_found_isocentre(self) -> None:
        """Give the isocentre that the shown result has found."""
        found = self._found_isocentre()
        if found is not None:
            self._give_isocentre(found)

    @property
    def entry(self) -> RunEntry | None:
        """The run that is chosen."""
        index = self.ui.runComboBox.currentIndex
        return self.entries[index] if 0 <= index < len(self.entries) else None

    @property
    def filling(self) -> bool:
        """Whether a picture of all frames is still being put together."""
        return self._images is not None

    @property
    def shown(self) -> Shown:
        """What of the run is chosen to be seen."""
        return list(Shown)[max(self.ui.shownComboBox.currentIndex, 0)]

    def close(self) -> None:
        self._timer.stop()
        self._forget()

    # the run and its controls

    def _take_entries(self, parameters: Any) -> None:
        before = self.entry.name if self.entry is not None else ""
        try:
            self.entries = inputs.run_entries(parameters)
        except InputError as error:
            self.entries = ()
            self._say(str(error))
        chooser = self.ui.runComboBox
        self._filling = True
        try:
            chooser.clear()
            for entry in self.entries:
                chooser.addItem(entry.name)
            names = [entry.name for entry in self.entries]
            self.shifts_mm = {name: shift for name, shift in self.shifts_mm.items() if name in names}
            if before in names:
                chooser.setCurrentIndex(names.index(before))
        finally:
            self._filling = False

    def _show_run(self) -> None:
        """The chosen run's values in the controls."""
        entry, ui = self.entry, self.ui
        self._filling = True
        try:
            for widget in (
                ui.frameSlider,
                ui.shownComboBox,
                ui.overlayButton,
                ui.shiftUSpinBox,
                ui.shiftVSpinBox,
                ui.keepShiftButton,
                ui.undoShiftButton,
                ui.timeGivenCheckBox,
                ui.timeOffsetSpinBox,
            ):
                widget.enabled = entry is not None
            ui.isocentreButton.enabled = bool(self.entries)
            if entry is None:
                return
            ui.frameSlider.maximum = max(entry.frames, 1)
            u, v = self._shift(entry)
            ui.shiftUSpinBox.value, ui.shiftVSpinBox.value = u, v
            offset = entry.entered.time_offset_s
            ui.timeGivenCheckBox.checked = offset is not None
            ui.timeOffsetSpinBox.enabled = offset is not None
            if offset is not None:
                ui.timeOffsetSpinBox.value = offset
        finally:
            self._filling = False

    def _run_chosen(self, _index: int) -> None:
        if self._filling:
            return
        self._film = None
        self._stop_filling()
        self._show_run()
        if self.ui.overlayButton.checked:
            self._show_frame()
            self._show_outline()

    def _frame_chosen(self, _value: float) -> None:
        if not self._filling and self.ui.overlayButton.checked:
            if self.shown is Shown.FRAME:
                self._show_frame()
            if self.entry is not None and self.entry.turning:
                self._show_outline()

    def _shown_chosen(self, _index: int) -> None:
        if not self._filling and self.ui.overlayButton.checked:
            self._say("")
            self._show_frame()

    def _shifted(self, _value: float) -> None:
        entry = self.entry
        if self._filling or entry is None:
            return
        self.shifts_mm[entry.name] = (self.ui.shiftUSpinBox.value, self.ui.shiftVSpinBox.value)
        if self.ui.overlayButton.checked:
            self._show_outline()

    def _time_changed(self, _value: Any) -> None:
        entry, ui = self.entry, self.ui
        if self._filling or entry is None:
            return
        if ui.timeGivenCheckBox.checked:
            self._write(with_value(entry, "time_offset_s", float(ui.timeOffsetSpinBox.value)))
        else:
            self._write(without(entry, "time_offset_s"))

    def _shift(self, entry: RunEntry) -> tuple[float, float]:
        return self.shifts_mm.get(entry.name, (0.0, 0.0))

    def _write(self, changed: RunEntry) -> None:
        index = self.ui.runComboBox.currentIndex
        entries = [changed if k == index else entry for k, entry in enumerate(self.entries)]
        self.panel.parameters.runs = entries_to_json(entries)
        self.update()

    # the isocentre

    def _give_isocentre(self, lps: Sequence[float]) -> None:
        parameters = self.panel.parameters
        r, a, s = (float(value) for value in ras_of(lps))
        parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm = r, a, s
        parameters.isocentre_given = True
        self.update()

    def _found_isocentre(self) -> Sequence[float] | None:
        snapshot = self.panel.snapshot
        found = snapshot.geometry.get("isocentre_lps_mm") if snapshot is not None else None
        return found if found is not None and len(found) == 3 else None

    def _isocentre(self, vessel: Vessel) -> Sequence[float]:
        """Where the C-arm stands: as given, else as found, else the middle of the vessel."""
        parameters = self.panel.parameters
        if parameters.isocentre_given:
            ras = (parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm)
            return [float(value) for value in lps_of(ras)]
        found = self._found_isocentre()
        return found if found is not None else [float(value) for value in vessel.centre]

    # the overlay

    def _overlay_toggled(self, on: bool) -> None:
        if self._filling:
            return
        if not on:
            self._hide()
            return
        self._say("")
        self._show_frame()
        self._show_outline()

    def _show_frame(self) -> None:
        entry, case = self.entry, self._case()
        if entry is None or case is None:
            return
        self._stop_filling()
        try:
            if self._film is None:
                self._film = FilmFrames(entry, slicer.mrmlScene)
            if self.shown is not Shown.FRAME:
                peak = self.shown is Shown.PEAK
                self._images = self._film.peak_times() if peak else self._film.fullest()
                self._timer.start()
                return
            number = min(int(self.ui.frameSlider.value), entry.frames) - 1
            node = overlay.show_frame(case, entry, self._film.contrast(number))
        except VesselFlowError as error:
            self._say(str(error))
            return
        _into_view(node)

    def _fill_on(self) -> None:
        """One frame more of a picture of all."""
        entry, case = self.entry, self._case()
        if self._images is None or entry is None or case is None:
            self._stop_filling()
            return
        try:
            image = next(self._images)
            show = overlay.show_peak_times if self.shown is Shown.PEAK else overlay.show_frame
            _into_view(show(case, entry, image))
        except StopIteration:
            self._stop_filling()
            if self.shown is Shown.PEAK:
                self._say(peak_text())
        except VesselFlowError as error:
            self._stop_filling()
            self._say(str(error))

    def _stop_filling(self) -> None:
        self._timer.stop()
        self._images = None

    def _show_outline(self) -> None:
        entry, case = self.entry, self._case()
        if entry is None or case is None:
            return
        try:
            vessel = self._current_vessel()
            if vessel is None:
                self._say(_("No vessel to project yet: choose a lumen in the section Inputs, or reconstruct once."))
                return
            overlay.show_outline(
                case,
                entry,
                vessel,
                self._isocentre(vessel),
                frame=int(self.ui.frameSlider.value) - 1,
                shift_px=_in_pixels(entry, self._shift(entry)),
            )
        except VesselFlowError as error:
            self._say(str(error))

    def _current_vessel(self) -> Vessel | None:
        """The vessel of the result, else of the lumen that is chosen; prepared once."""
        parameters, snapshot = self.panel.parameters, self.panel.snapshot
        surface = snapshot.surface if snapshot is not None else None
        node = parameters.lumen_segmentation or parameters.lumen_model
        source = surface if surface is not None else node
        if source is None:
            return None
        mark = id(surface) if surface is not None else (node.GetID(), node.GetMTime())
        if self._vessel is None or self._vessel_of != mark:
            if surface is not None and snapshot is not None:
                self._vessel = vessel_of_snapshot(snapshot)
            else:
                self._vessel = overlay.vessel_of_node(node)
            self._vessel_of = mark
        return self._vessel

    def _case(self) -> Case | None:
        """The case whose nodes show the frame; before the first result one is made for it."""
        if self.panel.parameters is None:
            return None
        for case in Case.all_in(slicer.mrmlScene, aside=True):
            return case
        return self.panel.case or Case.create(slicer.mrmlScene, _("Alignment"), aside=True)

    def _hide(self) -> None:
        self._stop_filling()
        for case in _cases():
            overlay.hide(case)
        for case in Case.all_in(slicer.mrmlScene, aside=True):
            case.remove()

    def _forget(self) -> None:
        """Let go of the scene and of all that came from it."""
        self._stop_filling()
        self._film = self._vessel = self._vessel_of = None
        self.entries, self._text = (), None
        self._show_as_pressed(False)

    def _show_as_pressed(self, on: bool) -> None:
        self._filling = True
        self.ui.overlayButton.checked = on
        self._filling = False

    def _say(self, text: str) -> None:
        self.ui.alignMessageLabel.text = text


def shown_name(shown: Shown) -> str:
    """As the panel calls it."""
    return {
        Shown.FRAME: _("One frame"),
        Shown.FILLED: _("All frames together (filled vessel)"),
        Shown.PEAK: _("Time to peak (s)"),
    }[shown]


def peak_text() -> str:
    """What the colours of the times to peak say, and what is left out."""
    said = _(
        "Colours: the time of the greatest contrast, in seconds on the run's clock. Left out: where the contrast stays "
        "below {count} standard deviations of the noise in the unfilled frames."
    )
    return said.format(count=f"{PeakSettings().contrast_sd:g}")


def _in_pixels(entry: RunEntry, shift_mm: tuple[float, float]) -> tuple[float, float]:
    """(u, v) mm at the detector as (row, column) pixels; 0 where the spacing is not known."""
    spacing = entry.pixel_spacing_mm
    if spacing is None:
        return (0.0, 0.0)
    return (shift_mm[1] / spacing[0], shift_mm[0] / spacing[1])


def _into_view(volume: Any | None) -> None:
    """Show the frame alone in the slice view, upright and whole."""
    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(SLICE_VIEW)
    if logic is None or volume is None:
        return
    composite, view = logic.GetSliceCompositeNode(), logic.GetSliceNode()
    if composite.GetBackgroundVolumeID() == volume.GetID() and view.GetOrientation() == "Axial":
        return  # a person may have zoomed in
    composite.SetBackgroundVolumeID(volume.GetID())
    composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(None)
    view.SetOrientationToAxial()
    logic.FitSliceToBackground()
    logic.SnapSliceOffsetToIJK()


def _cases() -> list[Case]:
    """All that may show a frame: results, and what is looked at before there is one."""
    return [*Case.all_in(slicer.mrmlScene), *Case.all_in(slicer.mrmlScene, aside=True)]

"""Time: scrub and play; DSA, vessel and plots follow one clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import qt
import vtk
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import VesselFlowError
from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSPanel.display import appearance_of
from VesselFlowGSPanel.following import Following
from VesselFlowGSPanel.layout import show_chart
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.throttle import Throttle
from VesselFlowGSPanel.wording import UNKNOWN, digits
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role

# a slider that is dragged shall not begin the preparation at every step
BEGIN_MS = 300


class TimeSection(Section):
    """The players of the case's sequence browser, and the preparation of what they play."""

    NAME = "Time"

    def connect(self) -> None:
        self._made: tuple[Any, ...] | None = None
        self._walk: Iterator[float] | None = None
        self._browser = Following(self.panel, vtk.vtkCommand.ModifiedEvent, self._show_instant)
        self._begin = Throttle(BEGIN_MS, self.prepare)
        self._steps = qt.QTimer()
        self._steps.setInterval(0)
        self._steps.connect("timeout()", self.step)
        self.ui.frameRate.connect("valueChanged(double)", self._set_rate)
        self.ui.flowChartButton.connect("clicked(bool)", lambda *_checked: self.show_flow())

    def set_parameters(self, parameters: Any | None) -> None:
        super().set_parameters(parameters)
        if parameters is None:
            self._let_go()

    def update(self) -> None:
        if self.panel.parameters is None:
            return
        case, snapshot = self.panel.case, self.panel.snapshot
        browser = case.get(Role.BROWSER) if case is not None else None
        self._browser.follow(browser)
        for widget in (self.ui.playWidget, self.ui.seekWidget):
            widget.setMRMLSequenceBrowserNode(browser)
            widget.enabled = browser is not None
        self.ui.frameRate.enabled = browser is not None
        if browser is not None:
            self.ui.frameRate.value = browser.GetPlaybackRateFps()
        self.ui.flowChartButton.enabled = snapshot is not None and bool(snapshot.phases)
        self._show_instant()
        if case is not None and snapshot is not None and self._is_stale(case, snapshot):
            self._begin.ask()

    def close(self) -> None:
        self._let_go()

    def prepare(self) -> None:
        """Begin to prepare what the players play, in steps between which the window lives."""
        case, snapshot = self.panel.case, self.panel.snapshot
        if self.panel.parameters is None or case is None or snapshot is None:
            return
        from VesselFlowGSPanel.films import filmed_runs
        from VesselFlowGSScene.timebase import time_base_steps

        appearance = appearance_of(self.panel.parameters)
        self._made = _key(case, snapshot, appearance, self.panel.parameters)
        films = filmed_runs(self.panel.parameters) if self.panel.parameters.films else ()
        self._walk = time_base_steps(case, snapshot, appearance, films)
        self._steps.start()

    def step(self) -> None:
        """One step of the preparation."""
        if self._walk is None:
            self._steps.stop()
            return
        try:
            done = next(self._walk)
        except StopIteration:
            self._end_walk()
            self.panel.refresh()
        except VesselFlowError as error:
            self._end_walk()
            self.panel.report(str(error))
        else:
            self.ui.timeStatus.text = _("The instants are being prepared: {part} %").format(part=round(100 * done))

    def show_flow(self) -> None:
        """The flow over the period as a chart of the scene, beside the views."""
        case, snapshot = self.panel.case, self.panel.snapshot
        if case is None or snapshot is None:
            return
        from VesselFlowGSScene.plots import flow_chart

        chart = flow_chart(case, snapshot)
        if chart is not None:
            show_chart(chart)

    def _is_stale(self, case: Case, snapshot: Snapshot) -> bool:
        wanted = _key(case, snapshot, appearance_of(self.panel.parameters), self.panel.parameters)
        if self._made is None and case.get(Role.BROWSER) is not None:
            # of a scene that was reopened: it is there already
            self._made = wanted
        return not _same(wanted, self._made)

    def _show_instant(self) -> None:
        if self._walk is not None:
            return
        from VesselFlowGSScene.timebase import phase_at, time_at

        case, snapshot = self.panel.case, self.panel.snapshot
        self.ui.timeStatus.text = time_status(snapshot, case is not None and case.get(Role.BROWSER) is not None)
        time = time_at(case) if case is not None else None
        phase = phase_at(case) if case is not None else None
        self.ui.instantLabel.text = UNKNOWN if time is None else _("{time} s").format(time=f"{time:.3f}")
        count = len(snapshot.phases) if snapshot is not None else 0
        if phase is None or count == 0:
            self.ui.phaseLabel.text = UNKNOWN
        else:
            self.ui.phaseLabel.text = _("{number} of {count} ({part} % of the period)").format(
                number=phase + 1, count=count, part=round(100 * phase / count)
            )

    def _set_rate(self, rate: float) -> None:
        case = self.panel.case
        browser = case.get(Role.BROWSER) if case is not None else None
        if browser is not None and browser.GetPlaybackRateFps() != rate:
            browser.SetPlaybackRateFps(rate)

    def _end_walk(self) -> None:
        self._walk = None
        self._steps.stop()

    def _let_go(self) -> None:
        self._begin.stop()
        self._end_walk()
        self._made = None
        self._browser.follow(None)
        for widget in (self.ui.playWidget, self.ui.seekWidget):
            widget.setMRMLSequenceBrowserNode(None)


def time_status(snapshot: Snapshot | None, plays: bool) -> str:
    """Whether the flow changes with time, in one sentence."""
    if snapshot is None:
        return _("No result yet.")
    status = snapshot.flow_status.get("status", "pending")
    films = " " + _("The DSA frames can be played.") if plays and not snapshot.phases else ""
    if status == "pending":
        return _("The flow is still to be solved.") + films
    if status == "unknown":
        return _("The flow could not be found.") + films
    if not snapshot.phases:
        return _("The flow is steady: it does not change with time.") + films
    if snapshot.period_s is None:
        return _("The flow is pulsatile: {count} instants.").format(count=len(snapshot.phases))
    return _("The flow is pulsatile: {count} instants of a period of {period} s ({rate} beats a minute).").format(
        count=len(snapshot.phases), period=digits(snapshot.period_s), rate=round(60 / snapshot.period_s)
    )


def _key(case: Case, snapshot: Snapshot, appearance: Appearance, parameters: Any) -> tuple[Any, ...]:
    shown = (
        appearance.lumen,
        appearance.glyphs,
        appearance.glyph_count,
        appearance.glyph_scale,
        appearance.streamlines,
        appearance.streamline_width_mm,
    )
    films = parameters.runs if parameters.films else ""
    # a steady flow changes nothing over time, however it is drawn
    return (case.node.GetID(), snapshot.phases, shown if snapshot.phases else (), parameters.films, films)


def _same(one: tuple[Any, ...], other: tuple[Any, ...] | None) -> bool:
    if other is None or len(one) != len(other):
        return False
    # phases hold arrays, and are new ones whenever they changed
    return all(a is b if k == 1 and a else a == b for k, (a, b) in enumerate(zip(one, other, strict=True)))

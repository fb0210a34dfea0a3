"""Reconstruct: start, cancel and resume a job, and watch how it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import VesselFlowError
from VesselFlowGSLib.results.snapshot import Stage
from VesselFlowGSLib.worker.client import State
from VesselFlowGSLib.worker.job import JOB_FILE
from VesselFlowGSLib.worker.messages import Message, Progress
from VesselFlowGSPanel.convergence import curves_of, picture_of
from VesselFlowGSPanel.parameters import Where
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.throttle import Throttle

CHECKPOINT = "checkpoint.npz"
REDRAW_MS = 250
LOG_LINES = 2000
CURVE_COLUMNS = 300
PARTS = 1000
# two views fix the shape of a vessel where no volume does
FEWEST_RUNS_ALONE = 2


class ReconstructSection(Section):
    """Buttons of the job, its stage, progress, time left, convergence, warnings and log."""

    NAME = "Reconstruct"

    def connect(self) -> None:
        self._refused = ""
        self._log: list[str] | None = None
        self._log_lines = 0
        self._charted = 0
        self._redraw = Throttle(REDRAW_MS, self.redraw)
        self.ui.startButton.connect("clicked(bool)", lambda *_checked: self.start())
        self.ui.cancelButton.connect("clicked(bool)", lambda *_checked: self.cancel())
        self.ui.resumeButton.connect("clicked(bool)", lambda *_checked: self.resume())
        self.ui.convergenceButton.connect("clicked(bool)", lambda *_checked: self.show_chart())
        self.ui.copyLogButton.connect("clicked(bool)", lambda *_checked: self.copy_log())
        self.ui.failureLabel.visible = False
        self.ui.warningsBox.visible = False
        self.ui.convergenceBox.visible = False

    def set_parameters(self, parameters: Any | None) -> None:
        super().set_parameters(parameters)
        if parameters is None:
            self._redraw.stop()
            self._log = None

    def update(self) -> None:
        running = self.panel.logic.running(self.panel.case)
        self._show_buttons(running)
        self._show_progress(running)
        self._redraw.ask()

    def told(self, message: Message) -> None:
        if isinstance(message, Progress):
            self._show_progress(self.panel.logic.running(self.panel.case))
        self._redraw.ask()

    def close(self) -> None:
        self._redraw.stop()
        self._log = None

    def start(self) -> None:
        """Start what the panel describes."""
        self._attempt(lambda: self.panel.logic.start(self.panel.parameters))

    def resume(self) -> None:
        """Go on with the case that is shown."""
        self._attempt(lambda: self.panel.logic.resume(self.panel.case))

    def cancel(self) -> None:
        """Ask the worker of the case that is shown to stop."""
        running = self.panel.logic.running(self.panel.case)
        if running is not None:
            running.cancel()
        self.panel.refresh()

    def copy_log(self) -> None:
        """The whole log, with the failure, into the clipboard."""
        running = self.panel.logic.running(self.panel.case)
        lines = [] if running is None else [*running.client.log, running.client.failure]
        slicer.app.clipboard().setText("\n".join(line for line in lines if line))

    def show_chart(self) -> None:
        """The convergence as a chart of the scene, beside the views."""
        running = self.panel.logic.running(self.panel.case)
        if running is None or not running.history:
            return
        from VesselFlowGSPanel.layout import show_chart
        from VesselFlowGSScene.plots import convergence_chart

        show_chart(convergence_chart(running.case, running.history))
        self._charted = len(running.history)

    def redraw(self) -> None:
        """What is too much for every message: convergence, warnings, log."""
        if self.panel.parameters is None:
            return
        running = self.panel.logic.running(self.panel.case)
        self._show_convergence(running)
        self._show_warnings([] if running is None else running.warnings)
        self._show_log([] if running is None else running.client.log)

    def _attempt(self, begin: Any) -> None:
        self._refused = ""
        try:
            begin()
        except VesselFlowError as error:
            self._refused = str(error)
        except OSError as error:
            self._refused = _(
                "The worker could not be started: {why}. Press Check in the section Engine to see what is missing."
            ).format(why=error.strerror or error)
        self.panel.refresh()

    def _show_buttons(self, running: Any | None) -> None:
        parameters = self.panel.parameters
        busy = running is not None and not running.ended
        missing = _("The module is being loaded.") if parameters is None else what_is_missing(parameters)
        if busy:
            why_not = _("This case is being computed: cancel it first, or wait for its end.")
        else:
            why_not = missing
        _enable(self.ui.startButton, why_not, _("Start the reconstruction with what the sections above say"))
        self.ui.missingLabel.text = "" if busy else missing
        self.ui.missingLabel.visible = bool(self.ui.missingLabel.text)
        _enable(self.ui.cancelButton, _why_no_cancel(running), _("Stop the worker; what was computed so far is kept"))
        _enable(self.ui.resumeButton, self._why_no_resume(running), _("Go on from this case's last checkpoint"))

    def _why_no_resume(self, running: Any | None) -> str:
        case = self.panel.case
        if case is None:
            return _("There is no case to go on with.")
        if running is not None and not running.ended:
            return _("This case is being computed.")
        snapshot = self.panel.snapshot
        if snapshot is not None and snapshot.stage is Stage.DONE:
            return _("This case is finished.")
        from VesselFlowGSScene.running import job_folder

        folder = job_folder(case)
        if folder is None or not (folder / JOB_FILE).is_file():
            return _("The folder that this case was computed in is gone; start it anew.")
        if not (folder / CHECKPOINT).is_file():
            return _("This case stopped before its first checkpoint; start it anew.")
        return ""

    def _show_progress(self, running: Any | None) -> None:
        progress = None if running is None else running.progress
        self.ui.progressBar.value = 0 if progress is None else round(PARTS * min(max(progress.part, 0.0), 1.0))
        self.ui.stageLabel.text = stage_text(running)
        ended = running is not None and running.ended
        self.ui.timeLabel.text = "" if progress is None else time_text(progress, ended)
        failure = self._refused or ("" if running is None else running.client.failure)
        self.ui.failureLabel.text = failure
        self.ui.failureLabel.visible = bool(failure)

    def _show_convergence(self, running: Any | None) -> None:
        history = [] if running is None else running.history
        curves = curves_of(history, CURVE_COLUMNS)
        self.ui.convergenceBox.visible = curves is not None
        self.ui.convergenceButton.enabled = curves is not None
        if curves is None or running is None:
            self._charted = 0
            return
        label = self.ui.convergencePicture
        label.setPixmap(picture_of(curves, label.width, label.palette.color(label.foregroundRole())))
        self._follow_chart(running)

    def _follow_chart(self, running: Any) -> None:
        from VesselFlowGSScene.case import Role

        if running.case.get(Role.CONVERGENCE_CHART) is None or len(running.history) == self._charted:
            return
        from VesselFlowGSScene.plots import convergence_chart

        convergence_chart(running.case, running.history)
        self._charted = len(running.history)

    def _show_warnings(self, warnings: list[str]) -> None:
        box = self.ui.warningsList
        self.ui.warningsBox.visible = bool(warnings)
        if [box.item(k).text() for k in range(box.count)] != warnings:
            box.clear()
            box.addItems(warnings)

    def _show_log(self, log: list[str]) -> None:
        if log is not self._log or len(log) < self._log_lines:
            self._log, self._log_lines = log, 0
            self.ui.logText.clear()
        fresh = log[self._log_lines :][-LOG_LINES:]
        if fresh:
            self.ui.logText.appendPlainText("\n".join(fresh))
        self._log_lines = len(log)


def what_is_missing(parameters: Any) -> str:
    """What a person still has to give before a reconstruction can start, in one sentence; "" for nothing."""
    if parameters.where is Where.OTHER and _is_unset(parameters.python):
        return _("Choose the Python that computes, in the section Engine.")
    if parameters.where is Where.FOLDER and _is_unset(parameters.jobs_folder):
        return _("Choose the shared folder for jobs, in the section Engine.")
    if not _is_unset(parameters.study_folder):
        return ""
    from VesselFlowGSScene.runs import entries_of_json, missing

    try:
        entries = entries_of_json(parameters.runs) if parameters.runs else ()
    except VesselFlowError as error:
        return str(error)
    used = [entry for entry in entries if entry.use and not entry.problems]
    for entry in used:
        gaps = missing(entry)
        if gaps:
            return _("Run {run}: {what}. Fill the red cells in the section Inputs, or untick the run.").format(
                run=entry.name, what="; ".join(gaps.values())
            )
    has_vessel = parameters.volume or parameters.lumen_segmentation or parameters.lumen_model
    if not has_vessel and len(used) < FEWEST_RUNS_ALONE and not any(entry.turning for entry in used):
        return _("Choose a volume, a lumen, or at least two DSA runs in the section Inputs.")
    return ""


def stage_text(running: Any | None) -> str:
    """One line: what the worker does, or how it ended."""
    if running is None:
        return _("Nothing is running.")
    state = running.client.state
    if state is State.DONE:
        return _("Finished.")
    if state is State.CANCELLED:
        return _("Cancelled. What was computed so far is kept.")
    if state is State.FAILED:
        return _("Stopped by an error.")
    if state is State.CANCELLING:
        return _("Stopping…")
    if running.preparing:
        return _("The study is being written for the worker…")
    if running.progress is None:
        return _("The worker starts…")
    return _("{stage}: {doing}").format(stage=running.progress.stage, doing=running.progress.doing)


def time_text(progress: Progress, ended: bool = False) -> str:
    """Time since the start and, while it runs, the estimated time to the end."""
    since = _minutes(progress.elapsed_s)
    if ended:
        return _("Took {time}").format(time=since)
    if progress.left_s is None:
        return _("{time} since the start").format(time=since)
    return _("{time} since the start, about {left} left").format(time=since, left=_minutes(progress.left_s))


def _minutes(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _why_no_cancel(running: Any | None) -> str:
    if running is None or running.ended:
        return _("Nothing is running.")
    if running.client.state is State.CANCELLING:
        return _("The worker is stopping already.")
    return ""


def _enable(button: Any, why_not: str, tip: str) -> None:
    button.enabled = not why_not
    button.toolTip = why_not or tip


def _is_unset(path: Path) -> bool:
    # an empty Path reads back as "."
    return str(path) in ("", ".")

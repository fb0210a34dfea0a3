"""Where to compute, what is installed there, and what to do about what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.worker.check import ERROR, NEEDED, NOTE, WARNING, Package, describe
from VesselFlowGSPanel import installation
from VesselFlowGSPanel.installation import Checking, Environment, Outcome
from VesselFlowGSPanel.parameters import Where
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.table import GREEN, RED, YELLOW, fill_cell, show_rows

POLL_MS = 200
GIVE_UP_AFTER_MS = 240_000


class EngineSection(Section):
    """Folds itself up once a check found nothing wrong.

    outcome  of the last check, None before it
    """

    NAME = "Engine"

    def connect(self) -> None:
        self.outcome: Outcome | None = None
        self._checking: Checking | None = None
        self._waited_ms = 0
        self._shown: tuple[Any, ...] = ()
        ui = self.ui
        ui.pythonPathLineEdit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Dirs
        ui.jobsFolderPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.pythonPathLineEdit.connect("currentPathChanged(QString)", self._python_chosen)
        ui.jobsFolderPathLineEdit.connect("currentPathChanged(QString)", self._folder_chosen)
        ui.checkButton.connect("clicked()", self.check)
        ui.installButton.connect("clicked()", self.install)
        ui.copyReportButton.connect("clicked()", self.copy_report)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._look)
        self._show_packages(())

    def update(self) -> None:
        parameters = self.panel.parameters
        if parameters is None:
            return
        where, python, folder = parameters.where, _text(parameters.python), _text(parameters.jobs_folder)
        if (where, python, folder) == self._shown:
            return
        if self._shown and (where, python) != self._shown[:2]:
            self._forget()
        self._shown = (where, python, folder)
        ui = self.ui
        if ui.pythonPathLineEdit.currentPath != python:
            ui.pythonPathLineEdit.currentPath = python
        if ui.jobsFolderPathLineEdit.currentPath != folder:
            ui.jobsFolderPathLineEdit.currentPath = folder
        for widget in (ui.pythonPathLineEdit, ui.pythonLabel):
            widget.visible = where is Where.OTHER
        for widget in (ui.packagesTable, ui.checkButton, ui.installButton, ui.copyReportButton):
            widget.visible = where is not Where.FOLDER
        ui.folderHintLabel.visible = where is Where.FOLDER
        ui.folderHintLabel.text = _(
            "Jobs are written to the jobs folder, and shown as they are computed. Choose a folder that the other "
            "machine sees, and start there, for each job: python -m VesselFlowGSLib.worker FOLDER"
        )
        ui.installButton.toolTip = (
            _("Install the missing packages into Slicer's Python. Asks first, and says what will be downloaded.")
            if where is Where.SLICER
            else _("Copy the command that installs the packages into this Python, for you to run.")
        )
        if where is Where.FOLDER:
            ui.problemsTextEdit.visible = False

    def check(self) -> None:
        """Check the Python that is chosen, in a process of its own."""
        if self._checking is not None:
            return
        environment = self._environment()
        if environment is None:
            return
        self.outcome = None
        self._waited_ms = 0
        self._checking = Checking(environment, self._checked)
        self.ui.checkButton.enabled = False
        self._say(_("Checking…"))
        folder = _text(self.panel.parameters.jobs_folder)
        self._checking.begin(Path(folder) if folder else None, self.panel.parameters.device.value)
        if self._checking is not None:
            self._timer.start()

    def install(self) -> None:
        """Ask, then install what is missing into Slicer's Python; for another Python copy the command."""
        environment = self._environment()
        if environment is None:
            return
        file = Path(self.panel.resource("requirements.txt"))
        if environment.foreign:
            _to_clipboard(installation.command_to_install(environment, file))
            self._say(_("The command was copied. Run it in a terminal, then press Check."))
            return
        wanted = ", ".join(installation.requirements(file))
        question = _(
            "These packages will be downloaded from the Python Package Index and installed into Slicer's Python, "
            "where they are missing:\n\n{packages}\n\nThen torch, through the PyTorch extension, which asks by itself "
            "(some hundred MB for the processor, several GB for a graphics card).\n\nGo on?"
        ).format(packages=wanted)
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("VesselFlowGS: install packages")):
            self._say(_("Nothing was installed."))
            return
        try:
            installation.install_packages(file)
            installation.install_torch()
        except InputError as error:
            self._say(str(error))
            self.panel.report(str(error))
            return
        self.check()

    def copy_report(self) -> None:
        """Copy the report of the last check."""
        if self.outcome is not None:
            _to_clipboard(self.report_text())
            self._say(_("The report was copied."))

    def report_text(self) -> str:
        """The last check for a person to read and to send."""
        if self.outcome is None:
            return ""
        if self.outcome.report is not None:
            return describe(self.outcome.report)
        return "\n".join(_in_words(problem) for problem in self.outcome.problems)

    def close(self) -> None:
        self._timer.stop()
        if self._checking is not None:
            self._checking.stop()
            self._checking = None

    def _environment(self) -> Environment | None:
        parameters = self.panel.parameters
        if parameters is None:
            return None
        try:
            return installation.environment_of(parameters.where, Path(parameters.python))
        except InputError as error:
            self._say(str(error))
            return None

    def _look(self) -> None:
        if self._checking is None:
            self._timer.stop()
            return
        self._waited_ms += POLL_MS
        if self._checking.doing:
            self._say(_("Checking {subject}…").format(subject=self._checking.doing))
        if self._waited_ms > GIVE_UP_AFTER_MS:
            doing = self._checking
            self.close()
            self._checked(installation.outcome_of([*doing.lines], -1))

    def _checked(self, outcome: Outcome) -> None:
        self._timer.stop()
        self._checking = None
        self.outcome = outcome
        ui = self.ui
        ui.checkButton.enabled = True
        ui.copyReportButton.enabled = True
        self._show_packages(outcome.report.packages if outcome.report is not None else ())
        ui.problemsTextEdit.setPlainText("\n\n".join(_in_words(problem) for problem in outcome.problems))
        ui.problemsTextEdit.visible = bool(outcome.problems)
        errors = sum(problem.severity == ERROR for problem in outcome.problems)
        if outcome.usable:
            warned = any(problem.severity == WARNING for problem in outcome.problems)
            self._say(_("Ready, with remarks.") if warned else _("Ready: everything is there."))
        elif errors == 1:
            self._say(_("One thing must be set right before this Python can compute."))
        else:
            self._say(_("{count} things must be set right before this Python can compute.").format(count=errors))
        ui.engineCollapsibleButton.collapsed = outcome.usable

    def _forget(self) -> None:
        self.close()
        self.outcome = None
        self.ui.checkButton.enabled = True
        self.ui.copyReportButton.enabled = False
        self.ui.problemsTextEdit.visible = False
        self._show_packages(())
        self._say(_("Not checked yet."))

    def _show_packages(self, packages: tuple[Package, ...]) -> None:
        found = {package.name: package for package in packages}
        # what is not good stands first
        order = sorted(NEEDED, key=lambda n: n.name in found and found[n.name].state == "good")
        rows = []
        for needed in order:
            package = found.get(needed.name)
            version = package.version if package is not None else ""
            need = f"≥ {needed.floor}" + (" " + _("(optional)") if needed.optional else "")
            rows.append((needed.name, version or "–", need, _state(package)))
        table = self.ui.packagesTable
        show_rows(table, (_("package"), _("version"), _("needed"), _("state")), rows)
        for row, needed in enumerate(order):
            package = found.get(needed.name)
            if package is not None:
                fill_cell(table, row, 3, _state(package), colour=_colour(package), tooltip=package.detail)

    def _python_chosen(self, path: str) -> None:
        _set_path(self.panel.parameters, "python", path)

    def _folder_chosen(self, path: str) -> None:
        _set_path(self.panel.parameters, "jobs_folder", path)

    def _say(self, text: str) -> None:
        self.ui.engineStatusLabel.text = text


def _state(package: Package | None) -> str:
    if package is None:
        return _("not checked")
    states = {"good": _("good"), "missing": _("missing"), "outdated": _("too old"), "broken": _("broken")}
    return states.get(package.state, package.state)


def _colour(package: Package) -> str:
    if package.state == "good":
        return GREEN
    return YELLOW if package.optional else RED


def _in_words(problem: Any) -> str:
    marks = {ERROR: _("Must be set right:"), WARNING: _("Remark:"), NOTE: _("Note:")}
    return " ".join(part for part in (marks.get(problem.severity, ""), problem.what, problem.do) if part)


def _text(path: Path) -> str:
    """A path parameter as a person reads it: an empty one is kept as '.' in the scene."""
    return "" if str(path) == "." else str(path)


def _set_path(parameters: Any, name: str, text: str) -> None:
    if parameters is not None and _text(getattr(parameters, name)) != text:
        setattr(parameters, name, Path(text))


def _to_clipboard(text: str) -> None:
    qt.QApplication.clipboard().setText(text)

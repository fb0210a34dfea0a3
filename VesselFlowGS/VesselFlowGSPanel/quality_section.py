"""Quality and export: how sure the result is, and how to take it along."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import VesselFlowError
from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.table import show_rows
from VesselFlowGSPanel.wording import certainty_text, confidence_sentence, figure_rows, view_rows
from VesselFlowGSScene.exports import Kind

REPORT = "report.html"
EXPORT_FOLDER = "VesselFlowGS export"
# check box: what it exports, and what of a snapshot that needs
EXPORTS: dict[str, Kind] = {
    "exportSurface": Kind.SURFACE,
    "exportField": Kind.FIELD,
    "exportStreamlines": Kind.STREAMLINES,
    "exportCentreline": Kind.CENTRELINE,
    "exportFigures": Kind.FIGURES,
    "exportSummary": Kind.FIGURES_JSON,
    "exportVelocityGrid": Kind.VELOCITY_GRID,
    "exportGaussians": Kind.GAUSSIANS,
}
FIRST_CHOICE = ("exportSurface", "exportField", "exportCentreline", "exportFigures")


class QualitySection(Section):
    """Figures with intervals and origins, agreement with the images, warnings, exports."""

    NAME = "Quality"

    def connect(self) -> None:
        self._seen: Snapshot | None = None
        self._writing: Iterator[Path | None] | None = None
        self._written: list[str] = []
        self._target = Path()
        self._steps = qt.QTimer()
        self._steps.setInterval(0)
        self._steps.connect("timeout()", self.step)
        for table in (self.ui.figuresTable, self.ui.viewsTable):
            table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
        self.ui.exportFolder.directory = documents or str(Path.home())
        for name in FIRST_CHOICE:
            getattr(self.ui, name).checked = True
        for name in EXPORTS:
            getattr(self.ui, name).connect("toggled(bool)", lambda *_checked: self._enable())
        self.ui.exportFolder.connect("directoryChanged(QString)", lambda *_folder: self._enable())
        self.ui.exportButton.connect("clicked(bool)", lambda *_checked: self.export())
        self.ui.saveSceneButton.connect("clicked(bool)", lambda *_checked: self.save_scene())
        self.ui.reportButton.connect("clicked(bool)", lambda *_checked: self.open_report())
        self.ui.openResultButton.connect("clicked(bool)", lambda *_checked: self.choose_result())

    def set_parameters(self, parameters: Any | None) -> None:
        super().set_parameters(parameters)
        if parameters is None:
            self._let_go()

    def update(self) -> None:
        snapshot = self.panel.snapshot
        if snapshot is not self._seen or snapshot is None:
            self._seen = snapshot
            self._show_figures(snapshot)
            self._show_views(snapshot)
            self._show_warnings(snapshot)
            self.ui.confidenceLabel.text = confidence_sentence(snapshot)
            self.ui.certaintyLabel.text = certainty_text(snapshot)
            self.ui.certaintyLabel.visible = bool(self.ui.certaintyLabel.text)
        self._enable()

    def close(self) -> None:
        self._let_go()

    def export(self) -> None:
        """Write what is ticked, one file a step."""
        self._begin([kind for name, kind in EXPORTS.items() if getattr(self.ui, name).checked])

    def save_scene(self) -> None:
        """Write the whole scene as one file."""
        self._begin([Kind.SCENE])

    def step(self) -> None:
        """Write the next file."""
        if self._writing is None:
            self._steps.stop()
            return
        try:
            path = next(self._writing)
        except StopIteration:
            self._end(_("Written to {folder}: {files}").format(folder=self._target, files=", ".join(self._written)))
        except VesselFlowError as error:
            self._end(str(error))
        else:
            if path is not None:
                self._written.append(path.name)
            self.ui.exportLabel.text = _("Writing… {files}").format(files=", ".join(self._written))

    def open_report(self) -> None:
        """Show the report of the case's folder in the web browser."""
        report = self._report()
        if report is None:
            return
        if not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(report))):
            self.panel.report(_("No program opened the report. It lies at {path}.").format(path=report))

    def choose_result(self) -> None:
        """Ask for a finished result folder, and show it."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("A finished result folder"))
        if folder:
            self.open_result(folder)

    def open_result(self, folder: str) -> None:
        """Show a finished result folder as a new case."""
        try:
            self.panel.logic.open_result(folder)
        except VesselFlowError as error:
            self.panel.report(str(error))
        self.panel.refresh()

    def _begin(self, kinds: list[Kind]) -> None:
        case, snapshot = self.panel.case, self.panel.snapshot
        if case is None or snapshot is None or not kinds:
            return
        from VesselFlowGSScene.exports import export_steps
        from VesselFlowGSScene.timebase import phase_at

        phase = phase_at(case) if self.ui.exportInstant.checked else None
        self._written = []
        self._target = fresh_folder(Path(self.ui.exportFolder.directory))
        self._writing = export_steps(case, snapshot, self._target, kinds, phase)
        self.ui.exportLabel.text = _("Writing…")
        self._steps.start()
        self._enable()

    def _end(self, text: str) -> None:
        self._writing = None
        self._steps.stop()
        self.ui.exportLabel.text = text
        self._enable()

    def _enable(self) -> None:
        snapshot = self.panel.snapshot
        for name, kind in EXPORTS.items():
            getattr(self.ui, name).enabled = snapshot is not None and has_content(snapshot, kind)
        ready = [name for name in EXPORTS if getattr(self.ui, name).checked and getattr(self.ui, name).enabled]
        self.ui.exportInstant.enabled = snapshot is not None and bool(snapshot.phases)
        why_not = ""
        if snapshot is None:
            why_not = _("There is no result yet.")
        elif self._writing is not None:
            why_not = _("Files are being written.")
        elif not self.ui.exportFolder.directory:
            why_not = _("Choose a folder first.")
        for button, wanting, tip in (
            (self.ui.exportButton, "" if ready else _("Tick what to write."), _("Write the ticked files")),
            (self.ui.saveSceneButton, "", _("Save the whole scene, also what else was loaded, as one .mrb file")),
        ):
            button.enabled = not (why_not or wanting)
            button.toolTip = why_not or wanting or tip
        report = self._report()
        self.ui.reportButton.enabled = report is not None
        self.ui.reportButton.toolTip = (
            _("This case has no report: one is written when a reconstruction is finished.")
            if report is None
            else _("Open {path} in the web browser").format(path=report)
        )

    def _report(self) -> Path | None:
        case = self.panel.case
        if case is None:
            return None
        from VesselFlowGSScene.running import job_folder

        folder = job_folder(case)
        report = None if folder is None else folder / REPORT
        return report if report is not None and report.is_file() else None

    def _show_figures(self, snapshot: Snapshot | None) -> None:
        rows = [] if snapshot is None else figure_rows(snapshot)
        titles = (_("Figure"), _("Value"), _("Interval (90 %)"), _("Origin"))
        show_rows(self.ui.figuresTable, titles, [(row.name, row.value, row.interval, row.origin) for row in rows])
        # the name takes what room is left
        self.ui.figuresTable.horizontalHeader().setStretchLastSection(False)

    def _show_views(self, snapshot: Snapshot | None) -> None:
        rows = view_rows(snapshot)
        self.ui.viewsBox.visible = bool(rows)
        show_rows(self.ui.viewsTable, (_("Run"), _("Match"), _("Shift left")), rows)
        self.ui.viewsTable.horizontalHeader().setStretchLastSection(False)

    def _show_warnings(self, snapshot: Snapshot | None) -> None:
        warnings = [] if snapshot is None else list(snapshot.warnings)
        self.ui.qualityWarningsBox.visible = bool(warnings)
        self.ui.qualityWarnings.clear()
        self.ui.qualityWarnings.addItems(warnings)

    def _let_go(self) -> None:
        self._writing = None
        self._steps.stop()
        self._seen = None


def fresh_folder(base: Path) -> Path:
    """A folder below base that is not there yet: no export overwrites another. Its name tells nothing of the case."""
    names = (EXPORT_FOLDER if k == 1 else f"{EXPORT_FOLDER} {k}" for k in itertools.count(1))
    return next(base / name for name in names if not (base / name).exists())


def has_content(snapshot: Snapshot, kind: Kind) -> bool:
    """Whether a snapshot holds what a kind of export writes."""
    flows = snapshot.field is not None and "velocity" in snapshot.field.arrays
    return {
        Kind.SURFACE: snapshot.surface is not None,
        Kind.FIELD: snapshot.field is not None,
        Kind.STREAMLINES: snapshot.streamlines is not None,
        Kind.CENTRELINE: snapshot.centreline is not None,
        Kind.FIGURES: bool(snapshot.figures),
        Kind.FIGURES_JSON: bool(snapshot.figures),
        Kind.VELOCITY_GRID: flows,
        Kind.GAUSSIANS: snapshot.cloud is not None,
        Kind.SCENE: True,
    }[kind]

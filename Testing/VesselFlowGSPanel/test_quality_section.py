"""Quality and export, by its widgets: figures, agreement, words of certainty, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import simulated_snapshots as simulated
from told_job import logic_of

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Figure, Snapshot, Stage, ViewMatch

WRITTEN_S = 30.0


@pytest.fixture(scope="module")
def narrowed():
    return simulated.stenosed_tube(triangles=900)


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.quality_section import QualitySection

    panel.logic = logic_of()
    return panel.add(QualitySection)


@pytest.fixture
def shown(panel, section, scene, narrowed):
    from VesselFlowGSScene.case import Case

    panel.shown, panel.newest = Case.create(scene, "Vessel"), narrowed
    panel.refresh()
    return panel.shown


def rows_of(table):
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def test_figures_come_with_units_intervals_and_origins(panel, section, shown, narrowed):
    rows = {row[0]: row[1:] for row in rows_of(section.ui.figuresTable)}
    drop = narrowed.figures["pressure_drop"]
    assert rows["Pressure drop"][0] == f"{drop.value / 133.322:.2f} mmHg"
    assert rows["Pressure drop"][2] == "estimated"
    assert rows["Mean inflow"][1].count(" to ") == 1 and rows["Mean inflow"][0].endswith("ml/s")
    assert rows["Smallest radius"][1:] == ["–", "measured"]
    assert rows["Viscosity"][2] == "assumed"
    assert rows["Reynolds number"][0].replace(".", "").isdigit()


def test_every_view_is_judged(panel, section, shown):
    assert rows_of(section.ui.viewsTable) == [
        ["dsa_1.dcm", "0.98 (good)", "0.02 px"],
        ["dsa_2.dcm", "0.71 (poor)", "1.40 px"],
    ]
    assert "poor" in section.ui.confidenceLabel.text and "dsa_2.dcm" in section.ui.confidenceLabel.text
    assert section.ui.qualityWarnings.count == 1


def test_what_is_certain_is_said_by_origin(panel, section, shown):
    text = section.ui.certaintyLabel.text
    measured, estimated, assumed = text.split("\n")[:3]
    assert measured.startswith("Measured") and "smallest radius" in measured
    assert estimated.startswith("Estimated") and "mean inflow" in estimated and "Reynolds number" in estimated
    assert assumed.startswith("Assumed") and assumed.endswith("viscosity.")


def test_an_assumed_inflow_is_not_sold_as_found(slicer_host):
    from VesselFlowGSPanel.wording import confidence_sentence

    whole = simulated.steady_tube(triangles=600)
    changed = {**whole.figures, "mean_inflow": Figure(2.0, "ml/s", "assumed")}
    assumed = Snapshot(Stage.DONE, 1.0, "", figures=changed, flow_status={"status": "solved"})
    assert "was assumed" in confidence_sentence(assumed)
    given = {"mean_inflow": Figure(2.0, "ml/s", "measured")}
    assert "was given" in confidence_sentence(
        Snapshot(Stage.DONE, 1.0, "", figures=given, flow_status={"status": "solved"})
    )


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (None, "No result yet"),
        (Snapshot(Stage.GEOMETRY, 0.3, ""), "Only the shape"),
        (Snapshot(Stage.DONE, 1.0, "", flow_status={"status": "unknown", "why": "no dye."}), "no dye. The shape"),
        (Snapshot(Stage.DONE, 1.0, "", flow_status={"status": "unknown"}), "no reason was given"),
        (Snapshot(Stage.FLOW, 0.6, "", flow_status={"status": "solved"}), "Preliminary"),
    ],
)
def test_the_confidence_sentence_knows_every_state(slicer_host, snapshot, words):
    from VesselFlowGSPanel.wording import confidence_sentence

    assert words in confidence_sentence(snapshot)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.964, "0.964"), (12.345, "12.3"), (143.2, "143"), (-2.5, "-2.50"), (12345.6, "12346"),
     (1e-7, "1.00e-07"), (float("nan"), "–"), (9.999, "10.0")],
)  # fmt: skip
def test_digits(slicer_host, value, text):
    from VesselFlowGSPanel.wording import digits

    assert digits(value) == text


def test_unknown_figures_are_readable(slicer_host):
    from VesselFlowGSPanel.wording import figure_name

    assert figure_name("some_new_figure") == "Some new figure"
    assert figure_name("pressure_drop_outlet_2") == "Pressure drop, outlet 2"


def test_a_view_without_numbers_shows_dashes(slicer_host):
    from VesselFlowGSPanel.wording import view_rows

    assert view_rows(Snapshot(Stage.DONE, 1.0, "", views=(ViewMatch("a"),))) == [("a", "–", "–")]


def test_the_ticked_files_are_written(panel, section, shown, tmp_path, slicer_host):
    assert section.ui.exportButton.enabled, "there is a folder to begin with"
    section.ui.exportFolder.directory = str(tmp_path / "Ergebnis für Knie")
    folder = tmp_path / "Ergebnis für Knie" / "VesselFlowGS export"
    for name in ("exportSurface", "exportField", "exportCentreline"):
        getattr(section.ui, name).checked = False
    section.ui.exportSummary.checked = True
    assert section.ui.exportButton.enabled
    section.ui.exportButton.click()
    assert not section.ui.exportButton.enabled
    assert slicer_host.wait_until(lambda: section.ui.exportButton.enabled, WRITTEN_S)
    assert sorted(path.name for path in folder.iterdir()) == ["figures.csv", "figures.json"]
    assert "figures.csv" in section.ui.exportLabel.text and str(folder) in section.ui.exportLabel.text
    assert json.loads((folder / "figures.json").read_text("utf-8"))["figures"]["mean_inflow"]["unit"] == "ml/s"


def test_no_export_overwrites_another(slicer_host, tmp_path):
    from VesselFlowGSPanel.quality_section import fresh_folder

    names = []
    for _ in range(3):
        folder = fresh_folder(tmp_path)
        folder.mkdir()
        names.append(folder.name)
    assert names == ["VesselFlowGS export", "VesselFlowGS export 2", "VesselFlowGS export 3"]


def test_nothing_ticked_is_told(panel, section, shown, tmp_path):
    from VesselFlowGSPanel.quality_section import EXPORTS

    section.ui.exportFolder.directory = str(tmp_path)
    for name in EXPORTS:
        getattr(section.ui, name).checked = False
    assert not section.ui.exportButton.enabled and "Tick" in section.ui.exportButton.toolTip


def test_a_folder_that_cannot_be_written_is_told(panel, section, shown, tmp_path, slicer_host):
    (tmp_path / "file").write_text("x")
    section.ui.exportFolder.directory = str(tmp_path / "file")
    section.ui.exportButton.click()
    assert slicer_host.wait_until(lambda: section.ui.exportButton.enabled, WRITTEN_S)
    assert "another folder" in section.ui.exportLabel.text


def test_what_is_not_known_cannot_be_ticked(panel, section, shown):
    panel.newest = simulated.without_flow(panel.newest)
    panel.refresh()
    assert section.ui.exportSurface.enabled
    assert not section.ui.exportVelocityGrid.enabled
    assert not section.ui.exportInstant.enabled
    panel.newest = None
    panel.refresh()
    assert not section.ui.exportSurface.enabled and not section.ui.exportButton.enabled
    assert section.ui.figuresTable.rowCount == 0 and section.ui.qualityWarnings.count == 0


def test_the_scene_is_saved_as_one_file(panel, section, shown, tmp_path, slicer_host):
    section.ui.exportFolder.directory = str(tmp_path)
    section.ui.saveSceneButton.click()
    assert slicer_host.wait_until(lambda: section.ui.saveSceneButton.enabled, WRITTEN_S)
    assert (tmp_path / "VesselFlowGS export" / "scene.mrb").stat().st_size > 0


def test_the_report_of_the_job_is_opened(panel, section, shown, tmp_path, monkeypatch):
    import qt

    from VesselFlowGSScene.running import JOB

    assert not section.ui.reportButton.enabled and "no report" in section.ui.reportButton.toolTip
    shown.node.SetAttribute(JOB, str(tmp_path))
    (tmp_path / "report.html").write_text("<html></html>")
    panel.refresh()
    opened = []
    monkeypatch.setattr(qt, "QDesktopServices", Opener(opened))
    assert section.ui.reportButton.enabled
    section.ui.reportButton.click()
    assert opened == [tmp_path / "report.html"]


class Opener:
    """A stand-in for the system's web browser."""

    def __init__(self, opened):
        self.opened = opened

    def openUrl(self, url):  # noqa: N802
        self.opened.append(Path(url.toLocalFile()))
        return True


def test_a_finished_result_is_opened_or_refused_in_words(panel, section, monkeypatch):
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_arguments: "/some/result")
    section.ui.openResultButton.click()
    assert panel.logic.asked == [("open_result", ("/some/result",))]

    def refuse(_folder):
        raise InputError("/some/result holds no result. Choose another folder.")

    panel.logic.open_result = refuse
    section.ui.openResultButton.click()
    assert panel.reported == ["/some/result holds no result. Choose another folder."]
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_arguments: "")
    section.ui.openResultButton.click()
    assert len(panel.reported) == 1


def test_the_scene_closes_while_files_are_written(panel, section, shown, tmp_path, slicer_host):
    section.ui.exportFolder.directory = str(tmp_path)
    section.ui.exportButton.click()
    section.step()
    panel.close_scene()
    slicer_host.process_events(0.2)
    assert section.ui.confidenceLabel.text == "No result yet."


def test_it_says_what_it_is_for(section):
    assert "research use only" in section.ui.researchLabel.text


def test_every_widget_has_a_tooltip(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []


def test_runs_that_all_agree_are_said_to(slicer_host):
    from VesselFlowGSPanel.wording import confidence_sentence

    views = (ViewMatch("a", 0.98, 0.1), ViewMatch("b", 0.95, 0.2))
    text = confidence_sentence(Snapshot(Stage.DONE, 1.0, "", flow_status={"status": "solved"}, views=views))
    assert text == "All 2 runs agree well with the result (least: 0.95 in b)."

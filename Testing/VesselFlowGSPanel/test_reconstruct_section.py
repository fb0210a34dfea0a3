"""Reconstruct, by its widgets: enabled states and their reasons, progress, convergence, warnings, log, failures."""

from __future__ import annotations

from pathlib import Path

import pytest
from told_job import ToldJob, logic_of

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Snapshot, Stage
from VesselFlowGSLib.worker.messages import Cancelled, Done, Failed, Progress, Warned


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.reconstruct_section import ReconstructSection

    panel.logic = logic_of()
    return panel.add(ReconstructSection)


@pytest.fixture
def job(panel, section, scene, tmp_path):
    """A case that is being computed and shown."""
    from VesselFlowGSScene.case import Case

    panel.shown = Case.create(scene, "Vessel")
    made = ToldJob(tmp_path / "job ä", panel.shown)
    panel.logic.runs[panel.shown.node.GetID()] = made.running
    made.begin()
    panel.refresh()
    return made


def give_a_volume(panel, scene):
    panel.parameters.volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CTA")


def test_start_says_what_is_missing(panel, section, scene):
    assert not section.ui.startButton.enabled
    assert "volume" in section.ui.startButton.toolTip
    assert section.ui.missingLabel.text == section.ui.startButton.toolTip
    give_a_volume(panel, scene)
    assert section.ui.startButton.enabled
    assert section.ui.missingLabel.text == ""


def test_another_python_or_a_shared_folder_must_be_chosen(panel, section, scene):
    from VesselFlowGSPanel.parameters import Where

    give_a_volume(panel, scene)
    panel.parameters.where = Where.OTHER
    assert "Python" in section.ui.startButton.toolTip and not section.ui.startButton.enabled
    panel.parameters.python = Path("/somewhere/python")
    assert section.ui.startButton.enabled
    panel.parameters.where = Where.FOLDER
    assert "shared folder" in section.ui.startButton.toolTip and not section.ui.startButton.enabled
    panel.parameters.jobs_folder = Path("/somewhere")
    assert section.ui.startButton.enabled


def test_a_run_with_a_gap_is_named(panel, section, scene):
    from VesselFlowGSLib.acquisition.description import RunSection
    from VesselFlowGSScene.runs import Known, RunEntry, RunSource, entries_to_json

    give_a_volume(panel, scene)
    found = RunSection(file="", source_to_detector_mm=1200.0, frame_times_s=(0.0, 0.1))
    entry = RunEntry("DSA left", RunSource(file="/a.dcm"), 2, 64, 64, found, Known.HEADER)
    panel.parameters.runs = entries_to_json((entry,))
    assert not section.ui.startButton.enabled
    assert "DSA left" in section.ui.startButton.toolTip


def test_a_table_of_runs_that_cannot_be_read_is_told(panel, section):
    panel.parameters.runs = "{broken"
    assert not section.ui.startButton.enabled
    assert section.ui.startButton.toolTip


def test_start_asks_the_logic_with_the_parameters(panel, section, scene):
    give_a_volume(panel, scene)
    section.ui.startButton.click()
    assert panel.logic.asked == [("start", (panel.parameters,))]


def test_a_refusal_is_shown_in_place(panel, section, scene):
    give_a_volume(panel, scene)

    def refuse(_parameters):
        raise InputError("CTA: holds no image. Choose another volume.")

    panel.logic.start = refuse
    section.ui.startButton.click()
    assert section.ui.failureLabel.text == "CTA: holds no image. Choose another volume."
    assert not section.ui.failureLabel.isHidden()
    panel.logic.start = lambda _parameters: None
    section.ui.startButton.click()
    assert section.ui.failureLabel.text == "" and section.ui.failureLabel.isHidden()


def test_a_worker_that_cannot_be_started_is_no_traceback(panel, section, scene):
    give_a_volume(panel, scene)

    def refuse(_parameters):
        raise OSError(2, "No such file or directory")

    panel.logic.start = refuse
    section.ui.startButton.click()
    assert "No such file" in section.ui.failureLabel.text and "Check" in section.ui.failureLabel.text


def test_widgets_follow_the_parameters_and_back(panel, section):
    from VesselFlowGSPanel.parameters import Quality

    panel.parameters.quality = Quality.fine
    panel.parameters.seed = 7
    panel.parameters.case_name = "Knie ä"
    assert "Fine" in section.ui.quality.currentText
    assert section.ui.seed.value == 7 and section.ui.caseName.text == "Knie ä"
    section.ui.quality.setCurrentIndex(0)
    section.ui.seed.setValue(3)
    section.ui.caseName.text = "Other"
    assert panel.parameters.quality is Quality.preview
    assert panel.parameters.seed == 3 and panel.parameters.case_name == "Other"


def test_while_it_runs_only_cancel_can_be_pressed(panel, section, scene, job):
    give_a_volume(panel, scene)
    assert not section.ui.startButton.enabled and "cancel" in section.ui.startButton.toolTip
    assert section.ui.cancelButton.enabled
    assert not section.ui.resumeButton.enabled and section.ui.resumeButton.toolTip
    section.ui.cancelButton.click()
    assert (job.folder / "cancel").exists()
    assert not section.ui.cancelButton.enabled
    assert section.ui.stageLabel.text == "Stopping…"
    job.say(Cancelled("The geometry is kept."))
    panel.refresh()
    assert section.ui.startButton.enabled and not section.ui.cancelButton.enabled


def test_resume_needs_a_checkpoint_and_an_unfinished_case(panel, section, job):
    job.say(Cancelled("stopped"))
    panel.refresh()
    assert "checkpoint" in section.ui.resumeButton.toolTip
    (job.folder / "checkpoint.npz").write_bytes(b"x")
    panel.refresh()
    assert section.ui.resumeButton.enabled
    section.ui.resumeButton.click()
    assert panel.logic.asked == [("resume", (panel.shown,))]
    panel.newest = Snapshot(Stage.DONE, 1.0, "finished")
    panel.refresh()
    assert not section.ui.resumeButton.enabled and "finished" in section.ui.resumeButton.toolTip


def test_resume_says_that_the_folder_is_gone(panel, section, scene):
    from VesselFlowGSScene.case import Case

    panel.shown = Case.create(scene, "Vessel")
    panel.refresh()
    assert not section.ui.resumeButton.enabled
    assert "gone" in section.ui.resumeButton.toolTip


def test_progress_shows_stage_part_and_time(panel, section, job):
    progress = Progress("geometry", 0.25, "fitting the Gaussians", 65.0, 130.0)
    for message in job.say(progress):
        panel.tell(message)
    assert section.ui.progressBar.value == 250
    assert section.ui.stageLabel.text == "geometry: fitting the Gaussians"
    assert section.ui.timeLabel.text == "1:05 since the start, about 2:10 left"
    job.say(Done(200.0))
    panel.refresh()
    assert section.ui.stageLabel.text == "Finished."


def test_a_part_beyond_its_bounds_does_no_harm(panel, section, job):
    for message in job.say(Progress("flow", 1.7, "x", 4000.0, None)):
        panel.tell(message)
    assert section.ui.progressBar.value == 1000
    assert section.ui.timeLabel.text == "1:06:40 since the start"


def test_convergence_is_drawn_and_charted(panel, section, scene, job):
    from VesselFlowGSScene.case import Role

    assert not section.ui.convergenceButton.enabled
    job.iterate(40)
    section.redraw()
    assert section.ui.convergenceButton.enabled
    assert drawn_columns(section.ui.convergencePicture) > 50
    section.ui.convergenceButton.click()
    chart = panel.shown.get(Role.CONVERGENCE_CHART)
    assert chart is not None
    assert panel.shown.get(Role.CONVERGENCE_TABLE).GetNumberOfRows() == 40
    job.iterate(5)
    section.redraw()
    assert panel.shown.get(Role.CONVERGENCE_TABLE).GetNumberOfRows() == 45


def drawn_columns(label):
    """Columns of the picture that hold anything."""
    image = label.pixmap.toImage()
    columns = range(image.width())
    return sum(any(image.pixelColor(x, y).alpha() > 0 for y in range(image.height())) for x in columns)


def test_curves_keep_the_newest_point_fall_and_are_apart_by_stage(slicer_host):
    from VesselFlowGSPanel.convergence import curves_of

    first = [Progress("geometry", 0.1, "", k, iteration=k, loss=10.0 / (k + 1)) for k in range(500)]
    second = [Progress("flow", 0.5, "", k, iteration=k, loss=1e-3 / (k + 1)) for k in range(301)]
    curves = curves_of([*first, *second], 100)
    assert [curve.stage for curve in curves.curves] == ["geometry", "flow"]
    assert curves.curves[-1].points[-1][0] == 1.0
    heights = [y for _, y in curves.curves[0].points]
    assert heights == sorted(heights, reverse=True)
    assert all(0 <= x <= 1 and 0 <= y <= 1 for curve in curves.curves for x, y in curve.points)
    assert sum(len(curve.points) for curve in curves.curves) <= 110
    assert (curves.low, curves.high) == (-6, 1)


@pytest.mark.parametrize("loss", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_losses_without_a_logarithm_are_left_out(slicer_host, loss):
    from VesselFlowGSPanel.convergence import curves_of

    assert curves_of([Progress("flow", 0.1, "", 1.0, iteration=1, loss=loss)], 100) is None
    whole = curves_of([Progress("flow", 0.1, "", 1.0, loss=loss), Progress("flow", 0.1, "", 1.0, loss=0.5)], 100)
    assert whole.iterations == 1


def test_warnings_and_log_come_in_order_and_the_log_can_be_copied(panel, section, job, slicer_host):
    import slicer

    job.say(Warned("The second run agrees less well."), Warned("The inflow is assumed."))
    job.log("loading", "fitting")
    section.redraw()
    assert section.ui.warningsList.count == 2
    assert section.ui.logText.plainText == "loading\nfitting"
    job.log("solving")
    section.redraw()
    assert section.ui.logText.plainText == "loading\nfitting\nsolving"
    section.ui.copyLogButton.click()
    assert slicer.app.clipboard().text() == "loading\nfitting\nsolving"


def test_a_failure_stands_in_the_panel_and_in_the_copied_log(panel, section, job):
    import slicer

    text = "Not enough memory for this study. Choose the quality preview, or cut the volume."
    job.say(Failed(4, text))
    panel.refresh()
    assert section.ui.failureLabel.text == text
    assert section.ui.stageLabel.text == "Stopped by an error."
    section.ui.copyLogButton.click()
    assert text in slicer.app.clipboard().text()


def test_another_case_shows_its_own_log(panel, section, scene, job, tmp_path):
    from VesselFlowGSScene.case import Case

    job.log("one")
    section.redraw()
    panel.shown = Case.create(scene, "Second")
    other = ToldJob(tmp_path / "other", panel.shown)
    panel.logic.runs[panel.shown.node.GetID()] = other.running
    other.begin()
    other.log("two")
    panel.refresh()
    section.redraw()
    assert section.ui.logText.plainText == "two"
    panel.shown = None
    panel.refresh()
    section.redraw()
    assert section.ui.logText.plainText == "" and section.ui.stageLabel.text == "Nothing is running."


def test_the_scene_closes_while_a_redraw_waits(panel, section, job, slicer_host):
    job.iterate(3)
    panel.refresh()
    panel.logic.runs.clear()
    panel.close_scene()
    slicer_host.process_events(0.4)
    assert section.ui.stageLabel.text == "Nothing is running."


def test_every_widget_has_a_tooltip(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []

"""The section Align: the projected vessel over a frame, and shifts that become an isocentre or a run's own."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.align_section import AlignSection

    return panel.add(AlignSection)


@pytest.fixture
def sample(panel, scene, section):
    """The sample study's runs, and its true vessel as a model in the scene; the isocentre is given as it is."""
    import vtk
    from sample_vessel import SAMPLE, sample_isocentre, sample_mesh

    from VesselFlowGSScene.frames import ras_of
    from VesselFlowGSScene.poly_data import poly_data
    from VesselFlowGSScene.runs import entries_to_json, entry_of_file

    points, triangles, _line = sample_mesh(60)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "wall")
    surface = poly_data(ras_of(points), {}, triangles=triangles)
    assert isinstance(surface, vtk.vtkPolyData)
    model.SetAndObservePolyData(surface)
    parameters = panel.parameters
    parameters.runs = entries_to_json([entry_of_file(SAMPLE / f"dsa_{k}.dcm") for k in (1, 2)])
    parameters.lumen_model = model
    give_isocentre(parameters, sample_isocentre())
    return parameters


def give_isocentre(parameters, lps):
    from VesselFlowGSScene.frames import ras_of

    r, a, s = (float(value) for value in ras_of(lps))
    parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm = r, a, s
    parameters.isocentre_given = True


def given_lps(parameters):
    from VesselFlowGSScene.frames import lps_of

    return lps_of([parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm])


def nodes(scene):
    from VesselFlowGSScene.case import Case, Role

    cases = [*Case.all_in(scene), *Case.all_in(scene, aside=True)]
    return (cases[0].get(Role.FILMED), cases[0].get(Role.OVERLAY)) if cases else (None, None)


def outline(scene):
    return np.array(slicer.util.arrayFromModelPoints(nodes(scene)[1]))


def test_every_widget_says_what_it_is_for(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []


def test_without_runs_there_is_nothing_to_show(section):
    assert not section.ui.overlayButton.enabled and not section.ui.isocentreButton.enabled
    assert section.entry is None
    section.keep_shift()
    assert "first" in section.ui.alignMessageLabel.text


def test_frame_and_projected_vessel_are_shown_and_hidden(section, sample, scene):
    section.ui.overlayButton.click()
    filmed, drawn = nodes(scene)
    assert filmed.GetImageData().GetDimensions() == (160, 160, 1)
    assert drawn.GetPolyData().GetNumberOfLines() > 20
    frame = np.array(slicer.util.arrayFromVolume(filmed))
    section.ui.frameSlider.value = 20
    assert section.ui.frameSlider.maximum == section.entry.frames
    assert not np.array_equal(frame, slicer.util.arrayFromVolume(nodes(scene)[0]))
    section.ui.overlayButton.click()
    assert nodes(scene) == (None, None)


def test_the_frame_fills_the_red_slice_view_upright(section, sample, scene):
    """A slice logic as the application has it for its red view; another frame leaves zoom and pan alone."""
    import vtk

    application = slicer.app.applicationLogic()
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    view = logic.AddSliceNode("Red")
    view.SetDimensions(300, 300, 1)
    logics = vtk.vtkCollection()
    logics.AddItem(logic)
    application.SetSliceLogics(logics)
    section.ui.overlayButton.click()
    assert logic.GetSliceCompositeNode().GetBackgroundVolumeID() == nodes(scene)[0].GetID()
    assert view.GetOrientation() == "Axial" and abs(logic.GetSliceOffset()) < 1e-6
    height = section.entry.rows * section.entry.pixel_spacing_mm[0]
    assert height * 0.9 < view.GetFieldOfView()[1] < height * 1.3
    view.SetFieldOfView(20, 20, 1)
    section.ui.frameSlider.value = 12
    assert view.GetFieldOfView()[0] == 20
    application.SetSliceLogics(None)


def test_another_run_shows_another_projection(section, sample, scene):
    section.ui.overlayButton.click()
    first = outline(scene)
    section.ui.runComboBox.currentIndex = 1
    second = outline(scene)
    assert first.shape != second.shape or not np.allclose(first, second)


def test_a_shift_moves_the_projection_by_so_many_millimetres(section, sample, scene):
    """u to the right, v down; the frame lies with its columns to the left and its rows to the back (RAS)."""
    section.ui.overlayButton.click()
    before = outline(scene)
    section.ui.shiftUSpinBox.value = 4.0
    section.ui.shiftVSpinBox.value = -2.5
    moved = outline(scene) - before
    assert np.allclose(moved, [-4.0, 2.5, 0.0], atol=1e-3)
    section.ui.runComboBox.currentIndex = 1
    assert section.ui.shiftUSpinBox.value == 0.0
    section.ui.runComboBox.currentIndex = 0
    assert section.ui.shiftUSpinBox.value == 4.0


def test_the_filled_vessel_is_put_together_frame_by_frame(section, sample, scene, slicer_host):
    section.ui.overlayButton.click()
    one = -np.array(slicer.util.arrayFromVolume(nodes(scene)[0]))
    section.ui.shownComboBox.currentIndex = 1
    assert section.filling
    assert slicer_host.wait_until(lambda: not section.filling, 30)
    filled = -np.array(slicer.util.arrayFromVolume(nodes(scene)[0]))
    assert (filled >= one - 1e-5).all() and filled.max() > one.max()


def test_the_time_to_peak_is_put_together_and_explained(section, sample, scene, slicer_host):
    """From a frame to colours and back: the gray levels are those of a frame again."""
    from VesselFlowGSScene.overlay import GREY, PEAK_TABLE

    section.ui.overlayButton.click()
    frame = np.array(slicer.util.arrayFromVolume(nodes(scene)[0]))
    section.ui.shownComboBox.currentIndex = 2
    assert slicer_host.wait_until(lambda: not section.filling, 30)
    times = section.entry.frame_times_s
    shown = np.array(slicer.util.arrayFromVolume(nodes(scene)[0]))
    found = shown[shown >= times[0]]
    assert 200 < len(found) < shown.size / 4 and np.isin(found, np.float32(times)).all()
    assert PEAK_TABLE in nodes(scene)[0].GetDisplayNode().GetColorNode().GetName()
    assert "6 standard deviations" in section.ui.alignMessageLabel.text
    section.ui.frameSlider.value = 3
    assert not section.filling
    section.ui.frameSlider.value = 1
    section.ui.shownComboBox.currentIndex = 0
    assert nodes(scene)[0].GetDisplayNode().GetColorNodeID() == GREY
    assert np.array_equal(slicer.util.arrayFromVolume(nodes(scene)[0]), frame)
    assert section.ui.alignMessageLabel.text == ""


def test_without_times_the_time_to_peak_says_what_to_enter(section, sample, slicer_host):
    from dataclasses import replace

    from VesselFlowGSScene.runs import entries_to_json

    entry = section.entries[0]
    sample.runs = entries_to_json([replace(entry, found=replace(entry.found, frame_times_s=None))])
    section.ui.shownComboBox.currentIndex = 2
    section.ui.overlayButton.click()
    assert slicer_host.wait_until(lambda: not section.filling, 30)
    assert "frame_times_s" in section.ui.alignMessageLabel.text


def test_shifts_of_two_runs_give_the_isocentre_back(section, sample, scene):
    """The given isocentre is wrong by some millimetres; shifts that lay the projections right tell the truth."""
    from sample_vessel import sample_isocentre

    from VesselFlowGSScene.projection import cameras_of

    true = np.array(sample_isocentre())
    give_isocentre(sample, true + [3.0, -4.0, 2.0])
    vessel = section._current_vessel()
    for index, entry in enumerate(section.entries):
        seen, right = (
            cameras_of(entry, isocentre)[0].pixels(vessel.centre[None])[0, 0] for isocentre in (given_lps(sample), true)
        )
        section.ui.runComboBox.currentIndex = index
        section.ui.shiftUSpinBox.decimals = section.ui.shiftVSpinBox.decimals = 6
        v, u = (float(value) for value in (right - seen) * entry.pixel_spacing_mm)
        section.ui.shiftVSpinBox.value, section.ui.shiftUSpinBox.value = v, u
    section.ui.isocentreButton.click()
    assert np.allclose(given_lps(sample), true, atol=0.05)
    assert section.ui.shiftUSpinBox.value == 0.0 and section.shifts_mm == {}
    assert "2 runs" in section.ui.alignMessageLabel.text


def test_one_shift_says_that_a_second_is_needed(section, sample):
    section.ui.shiftUSpinBox.value = 3.0
    section.ui.isocentreButton.click()
    assert "second run" in section.ui.alignMessageLabel.text


def test_no_shift_gives_no_isocentre(section, sample):
    before = given_lps(sample)
    section.ui.isocentreButton.click()
    assert np.array_equal(given_lps(sample), before) and section.ui.alignMessageLabel.text


def test_a_kept_shift_stays_with_the_run_and_can_be_undone(section, sample, scene):
    section.ui.overlayButton.click()
    section.ui.shiftUSpinBox.value = 4.0
    shown = outline(scene)
    section.ui.keepShiftButton.click()
    assert section.ui.shiftUSpinBox.value == 0.0
    assert np.allclose(outline(scene), shown, atol=0.02)
    assert section.entry.entered.principal_point_px is not None and "principal_point_px" in sample.runs
    section.ui.undoShiftButton.click()
    assert section.entry.entered.principal_point_px is None
    assert not np.allclose(outline(scene), shown, atol=0.02)


def test_a_time_offset_is_written_into_the_run(section, sample):
    assert not section.ui.timeOffsetSpinBox.enabled
    section.ui.timeGivenCheckBox.checked = True
    section.ui.timeOffsetSpinBox.value = 1.25
    assert section.entries[0].time_offset_s == 1.25 and section.entries[1].time_offset_s is None
    section.ui.timeGivenCheckBox.checked = False
    assert section.entries[0].time_offset_s is None


def test_the_isocentre_is_given_by_hand_or_taken_from_the_result(section, sample, panel, scene):
    from dataclasses import replace

    from simulated_snapshots import steady_tube

    section.ui.overlayButton.click()
    before = outline(scene)
    section.ui.isocentreSSpinBox.value = section.ui.isocentreSSpinBox.value + 10
    assert not np.allclose(before, outline(scene))
    section.ui.isocentreGivenCheckBox.checked = False
    assert not section.ui.isocentreRSpinBox.enabled and section.ui.foundRow.isHidden()
    panel.newest = replace(steady_tube(), geometry={"isocentre_lps_mm": [1.0, -2.0, 3.0]})
    panel.refresh()
    assert not section.ui.foundRow.isHidden()
    section.ui.takeFoundButton.click()
    assert sample.isocentre_given and np.allclose(given_lps(sample), [1.0, -2.0, 3.0])


def test_what_is_missing_of_the_run_is_said(section, sample):
    from dataclasses import replace

    from VesselFlowGSScene.runs import entries_to_json

    entry = section.entries[0]
    sample.runs = entries_to_json([replace(entry, found=replace(entry.found, source_to_isocentre_mm=None))])
    section.ui.overlayButton.click()
    assert "source_to_isocentre_mm" in section.ui.alignMessageLabel.text


def test_without_a_vessel_the_frame_alone_is_shown(section, sample, scene):
    sample.lumen_model = None
    section.ui.overlayButton.click()
    filmed, drawn = nodes(scene)
    assert filmed is not None and drawn is None
    assert "No vessel" in section.ui.alignMessageLabel.text


def test_a_closed_scene_lets_go_of_everything(section, sample, panel, scene):
    section.ui.overlayButton.click()
    panel.close_scene()
    assert not section.ui.overlayButton.checked and section.entries == ()
    assert scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0


def test_a_visit_to_another_module_changes_nothing(section, sample, panel, scene):
    """The widget lets go of the parameters then; frame, button and shifts are as before when it comes back."""
    section.ui.overlayButton.click()
    section.ui.shiftUSpinBox.value = 4.0
    shown = outline(scene)
    panel.follow(None)
    panel.follow(sample)
    assert section.ui.overlayButton.checked and section.ui.shiftUSpinBox.value == 4.0
    assert np.allclose(outline(scene), shown)
    section.ui.overlayButton.click()
    assert nodes(scene) == (None, None)

"""The section Inputs: loaded data is proposed, runs are read and edited, openings placed, vessels simulated."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")

from acquisition import written_xa  # noqa: E402

from VesselFlowGSLib.errors import InputError  # noqa: E402

SAMPLE = Path(__file__).parents[2] / "Resources" / "sample_study"
FRAMES = written_xa.stored(written_xa.intensities(written_xa.bolus()))


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.inputs_section import InputsSection

    return panel.add(InputsSection)


@pytest.fixture
def run_file(tmp_path):
    """A writer of DICOM runs into a folder whose name has a blank and an umlaut."""
    folder = tmp_path / "Läufe neu"
    folder.mkdir()

    def write(name="lauf.dcm", **changes):
        return written_xa.write(written_xa.xa(FRAMES, **changes), folder / name)

    return write


@pytest.fixture
def loaded(scene, slicer_host):
    """Put runs into the scene as Slicer's DICOM import does, known to its database."""
    import pydicom
    from filmed_scenes import load_run

    def load(*paths, name="3: XA"):
        for path in paths:
            uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            slicer.dicomDatabase.files[uid] = str(path)
        return load_run(scene, *paths, name=name)

    return load


@pytest.fixture
def volume(scene):
    from filmed_scenes import add_volume

    return lambda name="CTA", size=16: add_volume(scene, np.zeros((size, size, size), np.int16), np.eye(4), name)


def settle(section, slicer_host):
    """Let the section look at what is loaded."""
    slicer_host.process_events(0.4)
    assert slicer_host.wait_until(lambda: not section.proposing, 20)
    slicer_host.process_events()


def cell(section, row, key):
    from VesselFlowGSPanel.runs_table import LAYOUT

    return section.ui.runsTable.item(row, LAYOUT.index(key))


def is_red(item):
    colour = item.background().color()
    return item.background().style().value != 0 and colour.red() > colour.green() + 30


def type_into(section, row, key, text):
    """What Qt does at the end of an edit: the model's data changes."""
    cell(section, row, key).setText(text)


def message(section):
    return section.ui.runsMessageLabel.text


def test_every_widget_says_what_it_is_for(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []


def test_volume_and_runs_that_are_loaded_are_proposed(panel, loaded, run_file, volume, slicer_host):
    """No click is needed from loaded data to a filled table."""
    from VesselFlowGSPanel.inputs_section import InputsSection

    volume("scout", 9)
    cta = volume("CTA", 20)
    loaded(run_file("a.dcm", PositionerPrimaryAngle=-30.0), run_file("b.dcm", PositionerPrimaryAngle=60.0))
    section = panel.add(InputsSection)
    settle(section, slicer_host)
    assert panel.parameters.volume is cta
    assert [entry.primary_angle_deg for entry in section.entries] == [-30.0, 60.0]
    assert section.ui.runsTable.rowCount == 2
    assert cell(section, 0, "source_to_detector_mm").text() == "1100"
    assert "2 of 2 runs are ready" in message(section)


def test_what_is_loaded_later_is_proposed_too(section, panel, loaded, run_file, volume, slicer_host):
    settle(section, slicer_host)
    assert section.entries == ()
    loaded(run_file())
    cta = volume()
    settle(section, slicer_host)
    assert len(section.entries) == 1 and panel.parameters.volume is cta


def test_a_proposal_is_not_forced_on_a_person(section, panel, loaded, run_file, volume, slicer_host):
    """What was taken out by hand stays out when more is loaded."""
    loaded(run_file())
    volume()
    settle(section, slicer_host)
    section.ui.runsTable.selectRow(0)
    section.ui.removeButton.click()
    panel.parameters.volume = None
    volume("another")
    settle(section, slicer_host)
    assert section.entries == () and panel.parameters.volume is None
    section.ui.proposeButton.click()
    settle(section, slicer_host)
    assert len(section.entries) == 1 and panel.parameters.volume is not None


def test_runs_with_a_header_are_preferred_to_other_sequences(panel, loaded, run_file, scene, slicer_host):
    from filmed_scenes import add_sequence

    from VesselFlowGSPanel.inputs_section import InputsSection

    add_sequence(scene, FRAMES)
    loaded(run_file())
    section = panel.add(InputsSection)
    settle(section, slicer_host)
    assert [entry.name for entry in section.entries] == ["3: XA"]


def test_missing_values_are_red_with_the_reason_and_can_be_entered(section, panel, run_file):
    path = run_file(DistanceSourceToPatient=None)
    section.ui.filePathLineEdit.currentPath = str(path)
    section.ui.addFileButton.click()
    red = cell(section, 0, "source_to_isocentre_mm")
    assert is_red(red) and "DistanceSourceToPatient" in red.toolTip()
    assert not is_red(cell(section, 0, "source_to_detector_mm"))
    assert "Red cells" in message(section)
    type_into(section, 0, "source_to_isocentre_mm", "745")
    assert section.entries[0].source_to_isocentre_mm == 745.0
    assert not is_red(cell(section, 0, "source_to_isocentre_mm"))
    assert "1 of 1 runs are ready" in message(section)
    assert "745" in panel.parameters.runs


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("primary_angle_deg", "left"),
        ("source_to_detector_mm", "-5"),
        ("pixel_spacing_mm", "0.4, 0.4, 0.4"),
        ("frame_times_s", "0, 1"),
        ("mask_frames", "99"),
    ],
)
def test_a_bad_entry_is_refused_and_the_old_value_stays(section, run_file, key, text):
    section.ui.filePathLineEdit.currentPath = str(run_file())
    section.ui.addFileButton.click()
    before, shown = section.entries, cell(section, 0, key).text()
    type_into(section, 0, key, text)
    assert section.entries == before
    assert cell(section, 0, key).text() == shown
    assert is_red(cell(section, 0, key)) and cell(section, 0, key).toolTip()
    assert "The old value stays." in message(section)
    type_into(section, 0, key, shown + " ")
    assert not is_red(cell(section, 0, key))


def test_an_emptied_cell_takes_the_headers_value_again(section, run_file):
    section.ui.filePathLineEdit.currentPath = str(run_file())
    section.ui.addFileButton.click()
    type_into(section, 0, "source_to_detector_mm", "1200")
    assert section.entries[0].source_to_detector_mm == 1200.0
    type_into(section, 0, "source_to_detector_mm", "")
    assert section.entries[0].source_to_detector_mm == 1100.0
    assert cell(section, 0, "source_to_detector_mm").text() == "1100"


def test_use_and_role_are_chosen_in_the_table(section, run_file):
    import qt

    section.ui.filePathLineEdit.currentPath = str(run_file())
    section.ui.addFileButton.click()
    cell(section, 0, "use").setCheckState(qt.Qt.Unchecked)
    assert not section.entries[0].use
    cell(section, 0, "use").setCheckState(qt.Qt.Checked)
    chooser = section.ui.roleComboBox
    chooser.setCurrentIndex(chooser.findData("ignore"))
    assert section.entries[0].role == "ignore" and cell(section, 0, "role").text() == "ignore"
    section.ui.runsTable.selectRow(0)
    chooser.setCurrentIndex(chooser.findData("mask"))
    assert section.entries[0].role == "ignore" and "The old value stays." in message(section)
    assert is_red(cell(section, 0, "role")) and chooser.currentIndex == 0
    type_into(section, 0, "role", "dsa")
    assert section.entries[0].role == "dsa" and not is_red(cell(section, 0, "role"))


def test_a_sequence_without_dicom_asks_for_everything(section, scene):
    from filmed_scenes import add_sequence

    from VesselFlowGSPanel.runs_table import LAYOUT

    section.ui.sequenceSelector.setCurrentNode(add_sequence(scene, FRAMES, times=np.arange(len(FRAMES)) * 0.1))
    section.ui.addSequenceButton.click()
    for key in ("primary_angle_deg", "secondary_angle_deg", "source_to_detector_mm", "pixel_spacing_mm"):
        assert is_red(cell(section, 0, key)), key
    assert cell(section, 0, "frame_times_s").text() == "0.1"
    intensity = LAYOUT.index("intensity")
    assert not section.ui.runsTable.isColumnHidden(intensity)
    assert is_red(cell(section, 0, "intensity"))
    section.ui.intensityComboBox.setCurrentIndex(section.ui.intensityComboBox.findData("log"))
    assert section.entries[0].intensity_entered.value == "log"


def test_read_from_dicom_keeps_what_was_entered(section, loaded, run_file, slicer_host, panel):
    """The file is not known at first; once it is imported, its header fills the table."""
    path = run_file()
    section.ui.sequenceSelector.setCurrentNode(loaded(path))
    slicer.dicomDatabase.files.clear()
    section.ui.addSequenceButton.click()
    assert is_red(cell(section, 0, "source_to_isocentre_mm"))
    type_into(section, 0, "primary_angle_deg", "12")
    section.ui.readButton.click()
    assert "DICOM" in message(section)
    import pydicom

    uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
    slicer.dicomDatabase.files[uid] = str(path)
    section.ui.readButton.click()
    assert section.entries[0].source_to_isocentre_mm == 700.0
    assert section.entries[0].primary_angle_deg == 12.0
    section.ui.runsTable.selectRow(0)
    section.ui.forgetButton.click()
    assert section.entries[0].primary_angle_deg != 12.0


def test_the_same_run_is_not_added_twice(section, run_file):
    section.ui.filePathLineEdit.currentPath = str(run_file())
    section.ui.addFileButton.click()
    section.ui.addFileButton.click()
    assert len(section.entries) == 1 and "already" in message(section)


def test_buttons_without_a_choice_say_what_to_choose(section):
    for button in (
        section.ui.addSequenceButton,
        section.ui.addFileButton,
        section.ui.removeButton,
        section.ui.forgetButton,
    ):
        section.ui.runsMessageLabel.text = ""
        button.click()
        assert "first" in message(section), button.name


def test_a_file_that_is_no_run_is_refused(section, tmp_path):
    bad = tmp_path / "text.dcm"
    bad.write_text("no DICOM")
    section.ui.filePathLineEdit.currentPath = str(bad)
    section.ui.addFileButton.click()
    assert section.entries == () and "text.dcm" in message(section)


def test_a_study_folder_fills_table_and_parameters(section, panel):
    section.ui.filePathLineEdit.currentPath = str(SAMPLE)
    section.ui.addFileButton.click()
    parameters = panel.parameters
    assert parameters.study_folder == SAMPLE
    assert [entry.name for entry in section.entries] == ["dsa_1.dcm", "dsa_2.dcm"]
    assert parameters.isocentre_given
    assert (parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm) == (2.9, -11.2, -19.4)
    assert not section.ui.studyFolderRow.isHidden() and "sample_study" in section.ui.studyFolderLabel.text
    section.ui.leaveFolderButton.click()
    assert section.entries == () and section.ui.studyFolderRow.isHidden()


def test_the_sample_is_one_click(section, panel, slicer_host):
    section.ui.sampleButton.click()
    assert slicer_host.wait_until(lambda: not section.proposing)
    assert panel.parameters.volume is not None, message(section)
    assert len(section.entries) == 2 and "2 of 2 runs are ready" in message(section)
    assert panel.parameters.inlet.GetNumberOfControlPoints() == 1


def test_openings_are_placed_in_nodes_of_their_own(section, panel, scene, slicer_host):
    for button, name in (
        (section.ui.placeInletButton, "inlet"),
        (section.ui.placeOutletsButton, "outlets"),
        (section.ui.placeRegionButton, "region"),
    ):
        button.click()
        node = getattr(panel.parameters, name)
        assert node is not None
        selected = slicer.app.applicationLogic().GetSelectionNode()
        assert selected.GetActivePlaceNodeID() == node.GetID()
        button.click()
        assert getattr(panel.parameters, name) is node
    assert section.ui.inletSelector.currentNode() is panel.parameters.inlet


def test_nodes_are_chosen_by_their_selectors(section, panel, scene, volume):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "vessel")
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "wall")
    section.ui.volumeSelector.setCurrentNode(volume())
    section.ui.segmentationSelector.setCurrentNode(segmentation)
    assert panel.parameters.lumen_segmentation is segmentation
    section.ui.modelSelector.setCurrentNode(model)
    from VesselFlowGSPanel.inputs import study_inputs

    with pytest.raises(InputError, match="twice"):
        study_inputs(panel.parameters)
    section.ui.segmentationSelector.setCurrentNode(None)
    assert study_inputs(panel.parameters).lumen is model


def test_a_simulated_vessel_by_three_controls(section, panel):
    asked = []
    panel.logic = SimpleNamespace(simulate=lambda *told: asked.append(told))
    section.ui.phantomVesselComboBox.setCurrentIndex(2)
    section.ui.phantomDegreeSlider.value = 0.5
    section.ui.phantomFlowSlider.value = 2.5
    section.ui.simulateButton.click()
    assert asked == [("aneurysm", 0.5, 2.5)]
    assert "Widening" in section.ui.phantomDegreeLabel.text


def test_a_simulation_that_cannot_start_is_one_message(section, panel):
    def refuse(*_told):
        raise InputError("No Python is chosen.")

    panel.logic = SimpleNamespace(simulate=refuse)
    section.ui.simulateButton.click()
    assert panel.reported == ["No Python is chosen."]


def test_the_table_comes_back_with_its_parameters_and_goes_with_the_scene(section, panel, run_file, slicer_host):
    section.ui.filePathLineEdit.currentPath = str(run_file())
    section.ui.addFileButton.click()
    type_into(section, 0, "secondary_angle_deg", "7.5")
    kept = panel.parameters
    panel.follow(panel.new_parameters())
    assert section.entries == () and section.ui.runsTable.rowCount == 0
    panel.follow(kept)
    assert section.entries[0].secondary_angle_deg == 7.5
    panel.close_scene()
    slicer_host.process_events(0.5)
    assert section.entries == () and section.ui.runsTable.rowCount == 0


def test_no_patient_name_is_kept_in_the_scene(section, panel, run_file):
    section.ui.filePathLineEdit.currentPath = str(run_file())
    section.ui.addFileButton.click()
    assert "Secret" not in panel.parameters.runs and "SECRET" not in panel.parameters.runs

"""The section Physics: every control moves its parameter, and what is not solved yet is said beside it."""

import json
from dataclasses import replace

import pytest

slicer = pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.physics_section import PhysicsSection

    return panel.add(PhysicsSection)


@pytest.fixture
def outlets(panel, scene):
    """Two outlet points."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Outlets")
    node.AddControlPoint(0, 0, 0)
    node.AddControlPoint(10, 0, 0)
    panel.parameters.outlets = node
    return node


def shown(section, row, column):
    return section.ui.outletsTable.item(row, column).text()


def choose(section, condition, *rows):
    section.ui.outletsTable.clearSelection()
    for row in rows:
        section.ui.outletsTable.selectRow(row)
    chooser = section.ui.conditionComboBox
    chooser.setCurrentIndex(chooser.findData(condition) if condition else 1)


def test_every_widget_says_what_it_is_for(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []


@pytest.mark.parametrize(
    ("widget", "parameter", "value"),
    [
        ("densitySpinBox", "density_kg_m3", 1050.0),
        ("viscositySpinBox", "viscosity_pa_s", 0.0041),
        ("hematocritSpinBox", "hematocrit", 0.38),
        ("heartRateSpinBox", "heart_rate_bpm", 72.0),
        ("systolicSpinBox", "systolic_mmhg", 130.0),
        ("diastolicSpinBox", "diastolic_mmhg", 85.0),
        ("inflowSpinBox", "mean_inflow_ml_s", 3.25),
    ],
)
def test_every_number_goes_both_ways(section, panel, widget, parameter, value):
    control = getattr(section.ui, widget)
    control.value = value
    assert getattr(panel.parameters, parameter) == pytest.approx(value)
    kept = panel.parameters
    panel.follow(panel.new_parameters())
    assert control.value != pytest.approx(value)
    panel.follow(kept)
    assert control.value == pytest.approx(value)


def test_choices_go_both_ways(section, panel):
    from VesselFlowGSPanel.parameters import Viscosity, Waveform

    section.ui.modelComboBox.currentIndex = 2
    section.ui.waveformComboBox.currentIndex = 1
    chooser = section.ui.presetComboBox
    chooser.currentIndex = chooser.findData("coronary")
    assert panel.parameters.model is Viscosity.casson
    assert panel.parameters.waveform is Waveform.steady
    assert panel.parameters.preset == "coronary"
    panel.parameters.preset = "aorta"
    assert chooser.currentIndex == chooser.findData("aorta")
    section.ui.inflowGivenCheckBox.checked = True
    assert panel.parameters.inflow_given and section.ui.inflowSpinBox.enabled


def test_presets_are_those_of_the_engine(section):
    from VesselFlowGSLib.reconstruction.settings import preset_names as known
    from VesselFlowGSPanel.inputs import preset_names

    assert preset_names() == known()
    assert section.ui.presetComboBox.count == len(known()) + 1


def test_what_is_not_solved_is_said_beside_its_control(section, panel, outlets):
    from VesselFlowGSPanel.parameters import Viscosity, Waveform

    assert section.ui.modelHintLabel.isHidden()
    panel.parameters.model = Viscosity.carreau_yasuda
    assert not section.ui.modelHintLabel.isHidden() and "Newtonian" in section.ui.modelHintLabel.text
    panel.parameters.waveform = Waveform.pulsatile
    assert not section.ui.waveformHintLabel.isHidden()
    panel.parameters.waveform = Waveform.steady
    assert section.ui.waveformHintLabel.isHidden()
    choose(section, "pressure_pa", 0)
    assert "not solved yet" in section.ui.outletsHintLabel.text


def test_it_says_what_is_given_read_estimated_or_assumed(section, panel):
    from simulated_snapshots import steady_tube

    ui = section.ui
    assert "assumed" in ui.densityOriginLabel.text
    panel.parameters.density_kg_m3 = 1050.0
    assert ui.densityOriginLabel.text == "given"
    assert "estimated" in ui.inflowOriginLabel.text
    snapshot = steady_tube()
    figure = replace(snapshot.figures["mean_inflow"], value=2.345, origin="assumed")
    panel.newest = replace(snapshot, figures={**snapshot.figures, "mean_inflow": figure})
    panel.refresh()
    assert ui.inflowOriginLabel.text.startswith("assumed: 2.3")
    panel.parameters.inflow_given = True
    assert ui.inflowOriginLabel.text == "given"


def test_cuff_pressures_must_fit_together(section, panel):
    section.ui.systolicSpinBox.value = 80
    section.ui.diastolicSpinBox.value = 90
    assert not section.ui.physicsMessageLabel.isHidden()
    section.ui.diastolicSpinBox.value = 60
    assert section.ui.physicsMessageLabel.isHidden()


def test_outlets_follow_their_points(section, panel, outlets):
    assert section.ui.outletsTable.rowCount == 2
    assert shown(section, 0, 0) == outlets.GetNthControlPointLabel(0)
    choose(section, "share", 0, 1)
    choose(section, "share", 0)
    section.ui.outletsTable.item(0, 2).setText("0.7")
    choose(section, "share", 1)
    section.ui.outletsTable.item(1, 2).setText("0,3")
    assert json.loads(panel.parameters.outlet_conditions) == [{"share": 0.7}, {"share": 0.3}]
    assert "sum" not in section.ui.outletsHintLabel.text
    section.ui.outletsTable.item(1, 2).setText("0.6")
    assert "sum to 1.3" in section.ui.outletsHintLabel.text
    choose(section, "", 1)
    assert json.loads(panel.parameters.outlet_conditions) == [{"share": 0.7}, {}]


@pytest.mark.parametrize("text", ["much", "-0.5", "7", ""])
def test_a_bad_outlet_value_is_refused_and_the_old_one_stays(section, panel, outlets, text):
    choose(section, "share", 0)
    before = panel.parameters.outlet_conditions
    section.ui.outletsTable.item(0, 2).setText(text)
    assert panel.parameters.outlet_conditions == before
    assert shown(section, 0, 2) == "0.5" and section.ui.outletsTable.item(0, 2).background().color().red() > 200
    assert "The old value stays." in panel.reported[-1]
    section.ui.outletsTable.item(0, 2).setText("0.25")
    assert json.loads(panel.parameters.outlet_conditions)[0] == {"share": 0.25}


def test_outlets_can_be_added_and_removed_without_points(section, panel):
    section.ui.addOutletButton.click()
    section.ui.addOutletButton.click()
    assert section.ui.outletsTable.rowCount == 2
    choose(section, "resistance_pa_s_ml", 1)
    assert shown(section, 1, 3) == "Pa·s/ml"
    section.ui.removeOutletButton.click()
    assert section.ui.outletsTable.rowCount == 1


def test_a_condition_needs_a_chosen_outlet(section, panel, outlets):
    section.ui.outletsTable.clearSelection()
    section.ui.conditionComboBox.setCurrentIndex(2)
    assert "first" in panel.reported[-1] and panel.parameters.outlet_conditions in ("", "[{}, {}]")


def test_a_closed_scene_begins_anew(section, panel, outlets):
    choose(section, "share", 0)
    section.ui.densitySpinBox.value = 1030
    panel.close_scene()
    assert section.ui.densitySpinBox.value == 1060 and section.ui.outletsTable.rowCount == 0

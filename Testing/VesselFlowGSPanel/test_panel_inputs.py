"""From the parameter node to study, job and folder: what is said, what is left unsaid, what a script may name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")

from VesselFlowGSLib.acquisition.description import FlowSection, FluidSection, OutletSection, PatientSection  # noqa: E402
from VesselFlowGSLib.errors import InputError  # noqa: E402

SAMPLE = Path(__file__).parents[2] / "Resources" / "sample_study"


@pytest.fixture
def parameters(panel):
    return panel.parameters


@pytest.fixture
def inputs(panel):
    from VesselFlowGSPanel import inputs

    return inputs


@pytest.fixture
def told_study(tmp_path):
    """A copy of the sample study whose study.toml says more."""
    import shutil

    folder = tmp_path / "Studie ü"
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("truth"))
    with open(folder / "study.toml", "a", encoding="utf-8") as file:
        file.write('\n[flow]\nmean_inflow_ml_s = 2.25\nwaveform = "steady"\n[patient]\nheart_rate_bpm = 66\n')
        file.write("[[outlet]]\nshare = 1.0\n")
    text = (folder / "study.toml").read_text(encoding="utf-8").replace("1060.0", "1050.0")
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder


def test_nothing_is_said_that_nobody_said(inputs, parameters, scene):
    said = inputs.study_inputs(parameters)
    assert said.scene is scene
    assert (said.fluid, said.flow, said.patient, said.outlet) == (FluidSection(), FlowSection(), PatientSection(), ())
    assert said.volume is None and said.runs == () and said.isocentre_lps_mm is None


def test_what_was_changed_is_said_in_the_engines_frame(inputs, parameters):
    from VesselFlowGSPanel.parameters import Viscosity, Waveform

    parameters.density_kg_m3, parameters.viscosity_pa_s = 1050.0, 0.004
    parameters.model, parameters.waveform = Viscosity.carreau_yasuda, Waveform.steady
    parameters.inflow_given, parameters.mean_inflow_ml_s = True, 3.5
    parameters.heart_rate_bpm, parameters.systolic_mmhg = 72.0, 120.0
    parameters.isocentre_given = True
    parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm = 1.0, 2.0, 3.0
    said = inputs.study_inputs(parameters)
    assert said.fluid == FluidSection(density_kg_m3=1050.0, model="carreau-yasuda", viscosity_pa_s=0.004)
    assert said.flow == FlowSection(waveform="steady", mean_inflow_ml_s=3.5)
    assert said.patient == PatientSection(heart_rate_bpm=72.0, systolic_mmhg=120.0)
    assert said.isocentre_lps_mm == (-1.0, -2.0, 3.0)
    parameters.inflow_given = False
    assert inputs.study_inputs(parameters).flow.mean_inflow_ml_s is None


def test_outlets_are_as_many_as_their_points(inputs, parameters, scene):
    parameters.outlet_conditions = json.dumps([{"share": 0.4}, {}, {"share": 0.6}])
    assert inputs.outlet_sections(parameters) == (OutletSection(0.4), OutletSection(), OutletSection(0.6))
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for k in range(2):
        node.AddControlPoint(k, 0, 0)
    parameters.outlets = node
    assert inputs.outlet_sections(parameters) == (OutletSection(0.4), OutletSection())
    parameters.outlet_conditions = "[{}, {}]"
    assert inputs.outlet_sections(parameters) == ()
    parameters.outlet_conditions = "{"
    with pytest.raises(InputError, match="damaged"):
        inputs.outlet_sections(parameters)


def test_a_study_folder_is_shown_in_the_parameters_and_used_as_it_is(inputs, parameters, told_study):
    from VesselFlowGSPanel.parameters import Waveform

    assert inputs.open_study(parameters, told_study) == ""
    assert parameters.density_kg_m3 == 1050.0 and parameters.heart_rate_bpm == 66.0
    assert parameters.inflow_given and parameters.mean_inflow_ml_s == 2.25
    assert parameters.waveform is Waveform.steady
    assert json.loads(parameters.outlet_conditions) == [{"share": 1.0}]
    assert Path(inputs.job_of(parameters).study) == told_study


def test_what_is_changed_over_a_study_folder_counts(inputs, parameters, told_study):
    """Also where the change leads back to the usual value, which elsewhere goes unsaid."""
    from VesselFlowGSPanel.parameters import Waveform

    inputs.open_study(parameters, told_study)
    parameters.density_kg_m3 = 1060.0
    assert inputs.study_inputs(parameters).fluid.density_kg_m3 == 1060.0
    assert inputs.job_of(parameters).study == "study"
    parameters.waveform = Waveform.pulsatile
    assert inputs.study_inputs(parameters).flow.waveform == "pulsatile"


def test_the_written_study_is_what_the_engine_reads(inputs, parameters, told_study, tmp_path, scene):
    """Panel, files, engine: the numbers of the panel arrive, positions in LPS."""
    from VesselFlowGSLib.acquisition.description import read_description
    from VesselFlowGSScene.study_files import write_study

    inputs.open_study(parameters, told_study)
    parameters.viscosity_pa_s = 0.0042
    inlet = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    inlet.AddControlPoint(11.0, -13.5, -40.5)
    parameters.inlet = inlet
    write_study(tmp_path / "out" / "study", inputs.study_inputs(parameters))
    said = read_description(tmp_path / "out" / "study")
    assert said.fluid.viscosity_pa_s == 0.0042 and said.fluid.density_kg_m3 == 1050.0
    assert said.geometry.inlet_lps_mm == (-11.0, 13.5, -40.5)
    assert said.flow.mean_inflow_ml_s == 2.25 and said.outlet == (OutletSection(1.0),)


def test_the_job_has_the_panels_choices_and_a_heartbeat_where_it_is_watched(inputs, parameters):
    from VesselFlowGSPanel.parameters import Device, Quality, Where

    parameters.quality, parameters.device, parameters.seed = Quality.preview, Device.cpu, 7
    parameters.preset = "coronary"
    job = inputs.job_of(parameters)
    assert (job.quality, job.device, job.seed, job.preset, job.study) == ("preview", "cpu", 7, "coronary", "study")
    assert job.heartbeat_s and not job.resume and job.phantom is None
    parameters.where = Where.FOLDER
    assert inputs.job_of(parameters).heartbeat_s is None
    parameters.where = Where.OTHER
    with pytest.raises(InputError, match="No Python"):
        inputs.job_of(parameters)


@pytest.mark.parametrize("vessel", ["stenosis", "bend", "aneurysm", "bifurcation"])
@pytest.mark.parametrize("degree", [0.0, 0.35, 0.7, 2.0])
def test_every_simulated_vessel_of_the_sliders_can_be_made(inputs, parameters, vessel, degree):
    from VesselFlowGSLib.simulation.settings import settings_for
    from VesselFlowGSLib.simulation.vessels import build_vessel

    job = inputs.phantom_job(parameters, vessel, degree, 2.5)
    assert job.phantom is not None and not job.phantom.images
    settings = settings_for(job.phantom.vessel, **job.phantom.changes)
    assert settings.flow.mean_inflow_ml_s == 2.5
    build_vessel(settings.vessel)


def test_an_unknown_vessel_is_refused(inputs, parameters):
    with pytest.raises(InputError, match="stenosis"):
        inputs.phantom_job(parameters, "teapot", 0.5, 1.0)


def test_job_folders_are_new_and_named_only_as_a_person_typed(inputs, parameters, tmp_path):
    parameters.jobs_folder = tmp_path / "jobs ä"
    one, two = (inputs.new_job_folder(parameters, "Mustermann CTA") for _ in range(2))
    assert one != two and one.is_dir() and one.parent == tmp_path / "jobs ä"
    assert "Mustermann" not in one.name
    parameters.case_name = "Fall 7: links/rechts"
    named = inputs.new_job_folder(parameters, "Fall 7: links/rechts")
    assert named.name.startswith("Fall_7_links_rechts")


def test_a_jobs_folder_that_cannot_be_made_is_one_message(inputs, parameters, tmp_path):
    (tmp_path / "file").write_text("x")
    parameters.jobs_folder = tmp_path / "file" / "below"
    with pytest.raises(InputError, match="choose another one"):
        inputs.new_job_folder(parameters, "")


def test_a_script_names_nodes_files_and_settings(inputs, parameters, scene):
    from filmed_scenes import add_volume

    from VesselFlowGSPanel.parameters import Quality

    volume = add_volume(scene, np.zeros((9, 9, 9), np.int16), np.eye(4))
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "wall")
    inputs.fill_parameters(
        parameters,
        volume,
        [SAMPLE / "dsa_1.dcm", str(SAMPLE / "dsa_2.dcm")],
        model,
        settings={"quality": "preview", "mean_inflow_ml_s": 2, "seed": 3, "jobs_folder": "some jobs"},
    )
    assert parameters.volume is volume and parameters.lumen_model is model
    assert len(inputs.run_entries(parameters)) == 2
    assert parameters.quality is Quality.preview and parameters.seed == 3
    assert parameters.inflow_given and parameters.mean_inflow_ml_s == 2.0
    assert parameters.jobs_folder == Path("some jobs")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"qualty": "fine"}, "quality"),
        ({"quality": "best"}, "best"),
        ({"density_kg_m3": 5.0}, "density_kg_m3"),
        ({"viscosity_pa_s": "thick"}, "thick"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_a_wrong_setting_of_a_script_is_explained(inputs, parameters, settings, words):
    with pytest.raises(InputError, match=words):
        inputs.fill_parameters(parameters, settings=settings)


def test_a_script_that_names_a_wrong_node_or_file_is_told(inputs, parameters, scene, tmp_path):
    with pytest.raises(InputError, match="no lumen"):
        inputs.fill_parameters(parameters, lumen=scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CTA"))
    with pytest.raises(InputError, match="not there|no such file"):
        inputs.fill_parameters(parameters, runs=[tmp_path / "no.dcm"])

"""What is chosen in the scene becomes a study that the engine reads as if it had been prepared by hand."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from acquisition import written_xa
from filmed_scenes import add_sequence, add_volume, load_run, matrix_of

from VesselFlowGSLib.acquisition.description import (
    FlowSection,
    FluidSection,
    OutletSection,
    PatientSection,
    read_description,
)
from VesselFlowGSLib.acquisition.reader import read_study
from VesselFlowGSLib.acquisition.xa import read_frames, read_header
from VesselFlowGSLib.errors import InputError, ResourceError
from VesselFlowGSScene.runs import (
    entries_of_json,
    entries_of_sequence,
    entries_to_json,
    entry_of_file,
    sequence_of,
    with_kept,
    with_text,
)
from VesselFlowGSScene.study_files import (
    StudyInputs,
    prepare_study,
    study_of_folder,
    used_as_it_is,
    write_study,
)

SAMPLE = Path(__file__).parents[2] / "Resources" / "sample_study"
FRAMES = written_xa.stored(written_xa.intensities(written_xa.bolus()))
VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the study goes: a path with blanks and umlauts that does not exist yet."""
    return tmp_path / "Aufträge Müller" / "study"


def run_file(folder: Path, name: str = "Secret lauf.dcm", **changes) -> Path:
    return written_xa.write(written_xa.xa(FRAMES, **changes), folder / name)


def database(*paths: Path):
    found = {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID): str(p) for p in paths}
    return lambda uid: found.get(uid, "")


def points(scene, *lps, name="Einstrom"):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for x, y, z in lps:
        node.AddControlPoint(-x, -y, z)
    return node


def volume(scene, name="Secret^Name CTA"):
    return add_volume(scene, VALUES, np.diag([-0.5, -0.6, 0.7, 1]), name)


def same_runs(a, b):
    assert [run.name for run in a.runs] != [] and len(a.runs) == len(b.runs)
    for one, other in zip(a.runs, b.runs, strict=True):
        assert one.role is other.role and one.injection == other.injection
        assert np.array_equal(one.line_integrals, other.line_integrals)
        assert np.array_equal(one.noise, other.noise)
        assert np.allclose(one.frame_times_s, other.frame_times_s, atol=1e-9)
        assert one.mask_frames == other.mask_frames
        first, second = one.cameras((1.0, 2.0, 3.0)), other.cameras((1.0, 2.0, 3.0))
        for part in ("source", "origin", "column_step", "row_step"):
            assert np.allclose(getattr(first, part), getattr(second, part), atol=1e-9)


def test_the_sample_loaded_in_slicer_gives_the_same_study(scene, folder):
    """From Slicer's own reading of the files, through table and scene, to what the engine reads."""
    files = [SAMPLE / "dsa_1.dcm", SAMPLE / "dsa_2.dcm"]
    browser = load_run(scene, *files)
    cta = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CTA")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(SAMPLE / "volume.nrrd"))
    assert storage.ReadData(cta)
    said = read_description(SAMPLE)
    write_study(
        folder,
        StudyInputs(
            scene=scene,
            volume=cta,
            runs=entries_of_sequence(browser, database(*files)),
            inlet=points(scene, said.geometry.inlet_lps_mm),
            outlets=points(scene, *said.geometry.outlets_lps_mm),
            isocentre_lps_mm=said.geometry.isocentre_lps_mm,
            fluid=said.fluid,
        ),
    )
    wanted, found = read_study(SAMPLE), read_study(folder)
    same_runs(found, wanted)
    assert np.array_equal(found.volume.values, wanted.volume.values)
    assert np.allclose(found.volume.affine, wanted.volume.affine, atol=1e-5)
    assert found.description == said


def test_the_sample_without_its_files_is_written_from_the_frames(scene, folder):
    """A scene that was handed on without its DICOM files: header values from the table, pixels from the sequence."""
    files = [SAMPLE / "dsa_1.dcm", SAMPLE / "dsa_2.dcm"]
    browser = load_run(scene, *files)
    entries = entries_of_json(entries_to_json(entries_of_sequence(browser, database(*files))))
    assert not any(entry.source.file for entry in entries)
    # what joins the two runs to one injection stands in the files alone
    entries = tuple(with_text(entry, "time_offset_s", "0") for entry in entries)
    write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=entries))
    same_runs(read_study(folder), read_study(SAMPLE))


def test_nothing_that_is_written_names_the_patient(scene, tmp_path, folder):
    path = run_file(tmp_path)
    browser = load_run(scene, path, name="Secret^Name lateral")
    loaded = entries_of_sequence(browser, database(path))
    film = with_text(entries_of_sequence(browser)[0], "intensity", "linear")
    for column, text in {
        "primary_angle_deg": "3",
        "secondary_angle_deg": "4",
        "source_to_detector_mm": "1100",
        "source_to_isocentre_mm": "700",
    }.items():
        film = with_text(film, column, text)
    inlet = points(scene, (1, 2, 3), name="Secret inlet")
    write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(*loaded, film), inlet=inlet))
    for written in folder.rglob("*"):
        assert "ecret" not in written.name
        if written.name != "run_1.dcm":  # the user's own file
            assert b"ecret" not in written.read_bytes().lower()
    header = pydicom.dcmread(folder / "run_2.dcm", stop_before_pixels=True)
    assert header.PatientName == "" and header.PatientID == "" and header.StudyDate == ""


def test_files_are_linked_and_copied_where_that_is_not_possible(scene, tmp_path, folder, monkeypatch):
    path = run_file(tmp_path)
    inputs = StudyInputs(runs=(entry_of_file(path),), volume=volume(scene))
    write_study(folder, inputs)
    assert (folder / "run_1.dcm").samefile(path)

    def refuse(*_args):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    write_study(folder.with_name("again"), inputs)
    copy = folder.with_name("again") / "run_1.dcm"
    assert not copy.samefile(path) and copy.read_bytes() == path.read_bytes()


def test_only_what_differs_from_the_header_is_said(scene, tmp_path, folder):
    entry = entry_of_file(run_file(tmp_path))
    same = with_text(entry, "primary_angle_deg", "-30")
    other = with_text(with_text(entry, "primary_angle_deg", "-28"), "mask_frames", "1-2")
    write_study(folder, StudyInputs(runs=(same, other), volume=volume(scene)))
    said = read_description(folder)
    assert [run.file for run in said.run] == ["run_2.dcm"]
    assert (said.run[0].primary_angle_deg, said.run[0].mask_frames) == (-28.0, (1, 2))
    assert said.run[0].source_to_detector_mm is None
    assert read_study(folder).runs[1].carm.primary_deg[0] == -28.0


def test_rows_that_are_not_used_keep_their_number_and_no_file(scene, tmp_path, folder):
    entry = entry_of_file(run_file(tmp_path))
    unused = replace(entry, use=False)
    ignored = with_text(entry, "role", "ignore")
    write_study(folder, StudyInputs(runs=(unused, ignored, entry), volume=volume(scene)))
    assert [path.name for path in folder.glob("*.dcm")] == ["run_3.dcm"]
    assert len(read_study(folder).runs) == 1


def test_points_and_regions_are_turned_and_moved(scene, folder):
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = np.eye(4)
    matrix[:3, 3] = (10, 20, 30)  # RAS
    moved.SetMatrixTransformToParent(matrix_of(matrix))
    inlet, outlets = points(scene, (1, 2, 3)), points(scene, (4, 5, 6), (7, 8, 9), name="aus")
    inlet.SetAndObserveTransformNodeID(moved.GetID())
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Bereich")
    region.SetCenter(-1.0, -2.0, 3.0)
    region.SetSize(10.0, 20.0, 30.0)
    notes = write_study(
        folder, StudyInputs(scene=scene, volume=volume(scene), inlet=inlet, outlets=outlets, region=region)
    )
    said = read_description(folder).geometry
    assert np.allclose(said.inlet_lps_mm, (1 - 10, 2 - 20, 3 + 30))
    assert np.allclose(said.outlets_lps_mm, [(4, 5, 6), (7, 8, 9)])
    assert np.allclose(said.region_lps_mm, [(-4, -8, -12), (6, 12, 18)])
    assert notes == ()


def test_a_turned_region_is_the_box_around_it_and_that_is_said(scene, folder):
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Bereich")
    region.SetSize(10.0, 10.0, 4.0)
    turn = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    c = np.sqrt(0.5)
    turn.SetMatrixTransformToParent(matrix_of(np.array([[c, -c, 0, 0], [c, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])))
    region.SetAndObserveTransformNodeID(turn.GetID())
    notes = write_study(folder, StudyInputs(scene=scene, volume=volume(scene), region=region))
    low, high = read_description(folder).geometry.region_lps_mm
    half = 10 * c
    assert np.allclose(low, (-half, -half, -2)) and np.allclose(high, (half, half, 2))
    assert len(notes) == 1 and "Bereich is turned" in notes[0]


def test_points_that_are_not_placed_count_as_not_given(scene, folder):
    empty = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "leer")
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "leer")
    write_study(folder, StudyInputs(volume=volume(scene), inlet=empty, outlets=empty, region=region))
    assert read_description(folder).geometry == type(read_description(folder).geometry)()


def test_two_inlets_are_refused(scene, folder):
    with pytest.raises(InputError, match="Einstrom: 2 points"):
        write_study(folder, StudyInputs(volume=volume(scene), inlet=points(scene, (0, 0, 0), (1, 1, 1))))
    assert not folder.exists()


def test_physics_is_written_as_the_contract_has_it(scene, tmp_path, folder):
    csv = tmp_path / "Secret inflow.csv"
    csv.write_text("time_s,flow_ml_s\n0,1\n1,2\n")
    write_study(
        folder,
        StudyInputs(
            volume=volume(scene),
            outlets=points(scene, (0, 0, 0), (1, 1, 1)),
            fluid=FluidSection(1050.0, "carreau-yasuda", hematocrit=0.4),
            flow=FlowSection("pulsatile", 0.8),
            outlet=(OutletSection(share=0.4), OutletSection(share=0.6)),
            patient=PatientSection(72.0, 120.0, 80.0),
            inflow_csv=csv,
        ),
    )
    said = read_description(folder)
    assert said.fluid == FluidSection(1050.0, "carreau-yasuda", hematocrit=0.4)
    assert said.flow == FlowSection("pulsatile", 0.8, inflow_csv="inflow.csv")
    assert [outlet.share for outlet in said.outlet] == [0.4, 0.6]
    assert said.patient == PatientSection(72.0, 120.0, 80.0)


# runs that lie in the scene alone


def complete(entry):
    for column, text in {
        "primary_angle_deg": "-30.25",
        "secondary_angle_deg": "12.125",
        "source_to_detector_mm": "1100.5",
        "source_to_isocentre_mm": "700.125",
        "pixel_spacing_mm": "0.4, 0.5",
        "frame_times_s": "0 0.25 0.5 0.75 1 1.25 1.5 2.5 3.5 4.5 5.5 6.5",
        "mask_frames": "1-3",
        "intensity": "linear",
    }.items():
        entry = with_text(entry, column, text)
    return entry


def test_a_sequence_becomes_a_file_that_says_what_the_table_says(scene, folder):
    (entry,) = entries_of_sequence(add_sequence(scene, FRAMES))
    entry = with_text(with_text(complete(entry), "principal_point_px", "30, 40"), "time_offset_s", "0.5")
    write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(entry,)))
    again = entry_of_file(folder / "run_1.dcm")
    for column in ("primary_angle_deg", "secondary_angle_deg", "source_to_detector_mm", "source_to_isocentre_mm"):
        assert getattr(again, column) == getattr(entry, column)
    assert again.pixel_spacing_mm == (0.4, 0.5) and again.mask_frames == (1, 2, 3)
    assert np.allclose(again.frame_times_s, entry.frame_times_s, atol=1e-12)
    header = read_header(folder / "run_1.dcm", "run_1.dcm", _settings())
    assert np.array_equal(read_frames(header), FRAMES)
    run = read_study(folder).runs[0]
    assert run.carm.principal_point_px == (30.0, 40.0) and run.frame_times_s[0] == 0.5


def _settings():
    from VesselFlowGSLib.acquisition.settings import AcquisitionSettings

    return AcquisitionSettings()


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "uint16", "uint8"])
def test_gray_levels_of_every_kind_give_the_same_line_integrals(scene, folder, kind):
    top = 255 if kind == "uint8" else 3000
    pixels = (FRAMES * (top / FRAMES.max())).astype(kind)
    (entry,) = entries_of_sequence(add_sequence(scene, pixels))
    write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(complete(entry),)))
    integrals = read_study(folder).runs[0].line_integrals
    truth = np.log(pixels[:3].astype(float)).mean(0) - np.log(pixels.astype(float))
    assert np.abs(integrals - truth).max() < 1e-4


def test_subtracted_logarithms_stay_logarithms(scene, folder):
    integrals = written_xa.bolus() + np.random.default_rng(0).normal(0, 0.02, FRAMES.shape)
    (entry,) = entries_of_sequence(add_sequence(scene, -integrals.astype(np.float32)))
    entry = with_text(with_text(complete(entry), "intensity", "log"), "mask_frames", "")
    write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(entry,)))
    found = read_study(folder).runs[0].line_integrals
    assert np.corrcoef(found[-1].ravel(), integrals[-1].ravel())[0, 1] > 0.99
    assert np.isclose(np.polyfit(integrals[-1].ravel(), found[-1].ravel(), 1)[0], 1, atol=0.02)


def test_bright_vessels_are_turned(scene, folder):
    (entry,) = entries_of_sequence(add_sequence(scene, written_xa.bolus().astype(np.float32)))
    entry = with_text(with_text(complete(entry), "intensity", "log, vessels bright"), "mask_frames", "1-3")
    write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(entry,)))
    found = read_study(folder).runs[0].line_integrals
    assert np.allclose(found[-1], written_xa.bolus()[-1], atol=1e-3)


def test_a_run_that_is_not_complete_says_what_to_enter(scene, folder):
    (entry,) = entries_of_sequence(add_sequence(scene, FRAMES))
    with pytest.raises(InputError, match="film: primary_angle_deg.*enter.*intensity"):
        write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(entry,)))


def test_negative_values_are_not_linear_in_the_intensity(scene, folder):
    (entry,) = entries_of_sequence(add_sequence(scene, FRAMES.astype(np.int16) - 500))
    with pytest.raises(InputError, match="negative.*log"):
        write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(complete(entry),)))
    assert list(folder.parent.iterdir()) == []


def test_a_run_that_went_away_says_so(scene, tmp_path, folder):
    sequence = add_sequence(scene, FRAMES)
    entry = complete(entries_of_sequence(sequence)[0])
    scene.RemoveNode(sequence)
    with pytest.raises(InputError, match="Load the run again"):
        write_study(folder, StudyInputs(scene=scene, volume=volume(scene), runs=(entry,)))
    path = run_file(tmp_path)
    entry = entry_of_file(path)
    path.unlink()
    with pytest.raises(InputError, match="no longer there"):
        write_study(folder, StudyInputs(volume=volume(scene), runs=(entry,)))


def test_a_scene_that_was_saved_and_opened_again_gives_the_same_study(opened_scene, tmp_path, folder):
    scene = opened_scene.scene
    files = [SAMPLE / "dsa_1.dcm", SAMPLE / "dsa_2.dcm"]
    table = entries_to_json(entries_of_sequence(load_run(scene, *files), database(*files)))
    bundle = tmp_path / "Fall Müller.mrb"
    assert scene.WriteToMRB(str(bundle))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(bundle), True)
    here = entries_of_json(table, database(*files))
    elsewhere = tuple(with_text(entry, "time_offset_s", "0") for entry in entries_of_json(table))
    for n, entries in enumerate((here, elsewhere)):
        assert all(sequence_of(entry, scene) is not None for entry in entries)
        study = folder.with_name(f"study {n}")
        write_study(study, StudyInputs(scene=scene, volume=volume(scene), runs=entries))
        same_runs(read_study(study), read_study(SAMPLE))


# the folder


def test_nothing_chosen_says_what_to_choose(folder):
    with pytest.raises(InputError, match="choose a volume"):
        write_study(folder, StudyInputs())


def test_a_folder_with_files_is_not_written_into(scene, folder):
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_study(folder, StudyInputs(volume=volume(scene)))
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken(scene, folder):
    folder.mkdir(parents=True)
    write_study(folder, StudyInputs(volume=volume(scene)))
    assert sorted(path.name for path in folder.iterdir()) == ["study.toml", "volume.nrrd"]


def test_a_full_disk_leaves_nothing_behind(scene, folder, monkeypatch):
    study = prepare_study(StudyInputs(volume=volume(scene)))

    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ResourceError, match="No space left"):
        study.write(folder)
    assert list(folder.parent.iterdir()) == []


def test_a_prepared_study_needs_the_scene_no_more(scene, folder):
    (entry,) = entries_of_sequence(add_sequence(scene, FRAMES))
    study = prepare_study(StudyInputs(scene=scene, volume=volume(scene), runs=(complete(entry),)))
    scene.Clear(0)
    study.write(folder)
    assert len(read_study(folder).runs) == 1


# a study folder instead of nodes


def test_a_study_folder_shows_its_runs_and_what_it_says(tmp_path):
    study = tmp_path / "Studie"
    run_file(study, "b/lauf.dcm", PositionerPrimaryAngle=None)
    run_file(study, "a.dcm")
    run_file(study, "c.dcm")
    (study / "study.toml").write_text(
        '[[run]]\nfile = "b/lauf.dcm"\nprimary_angle_deg = 5\n[[run]]\nfile = "c.dcm"\nrole = "ignore"\n'
        "[fluid]\nviscosity_pa_s = 0.004\n"
    )
    found = study_of_folder(study)
    assert [entry.name for entry in found.runs] == ["a.dcm", "b/lauf.dcm", "c.dcm"]
    assert found.runs[1].primary_angle_deg == 5.0 and found.runs[2].role == "ignore"
    assert found.description.fluid.viscosity_pa_s == 0.004
    assert used_as_it_is(StudyInputs(folder=study, runs=found.runs, fluid=found.description.fluid))
    changed = (with_text(found.runs[0], "primary_angle_deg", "7"), *found.runs[1:])
    assert not used_as_it_is(StudyInputs(folder=study, runs=changed))
    assert not used_as_it_is(StudyInputs(folder=study, runs=(replace(found.runs[0], use=False), *found.runs[1:])))
    assert not used_as_it_is(StudyInputs(folder=study, runs=found.runs, flow=FlowSection(mean_inflow_ml_s=2.0)))
    assert not used_as_it_is(StudyInputs(folder=study, runs=found.runs[:-1]))
    assert not used_as_it_is(StudyInputs(folder=study))
    again = with_kept([entry_of_file(entry.source.file) for entry in found.runs], found.runs)
    assert again == found.runs and used_as_it_is(StudyInputs(folder=study, runs=again))
    told = entries_of_json(entries_to_json(found.runs))
    assert used_as_it_is(StudyInputs(folder=study, runs=told))


def test_a_run_of_the_folder_that_cannot_be_used_is_left_out(tmp_path, folder):
    study = tmp_path / "Studie"
    shutil.copytree(SAMPLE, study)
    run_file(study, "show.dcm", PixelIntensityRelationship="DISP")
    with pytest.raises(InputError, match="DISP"):
        read_study(study)
    inputs = StudyInputs(folder=study, runs=study_of_folder(study).runs)
    assert not used_as_it_is(inputs)
    write_study(folder, inputs)
    assert len(read_study(folder).runs) == 2


def test_a_folder_with_a_volume_alone_is_used_as_it_is(tmp_path):
    (tmp_path / "a").mkdir()
    shutil.copy(SAMPLE / "volume.nrrd", tmp_path / "a" / "v.nrrd")
    assert used_as_it_is(StudyInputs(folder=tmp_path / "a"))


def test_a_changed_study_folder_is_written_anew_with_the_changes(tmp_path, folder):
    study = tmp_path / "Studie"
    shutil.copytree(SAMPLE, study)
    found = study_of_folder(study)
    runs = (with_text(found.runs[0], "time_offset_s", "0.1"), found.runs[1])
    write_study(folder, StudyInputs(folder=study, runs=runs, fluid=FluidSection(viscosity_pa_s=0.004)))
    said, before = read_description(folder), read_description(study)
    assert said.geometry == before.geometry
    assert said.fluid == replace(before.fluid, viscosity_pa_s=0.004)
    again = read_study(folder)
    assert np.array_equal(again.volume.values, read_study(study).volume.values)
    assert [run.file for run in said.run] == ["run_1.dcm"]


def test_the_lumen_of_a_study_folder_goes_along(scene, tmp_path, folder):
    study = tmp_path / "Studie"
    study.mkdir()
    (study / "Secret lumen.STL").write_bytes(b"solid")
    (study / "study.toml").write_text('[geometry]\nlumen_file = "Secret lumen.STL"\n')
    write_study(folder, StudyInputs(folder=study))
    assert read_description(folder).geometry.lumen_file == "lumen.stl"

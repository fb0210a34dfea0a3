"""The product's one verb, end to end on a small simulated study: stages, files, resuming, stopping, what is unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from VesselFlowGSLib.acquisition.reader import read_study
from VesselFlowGSLib.acquisition.study import Study
from VesselFlowGSLib.errors import InputError, InstallationError
from VesselFlowGSLib.gaussians import preparation
from VesselFlowGSLib.reconstruction import reconstruct as schedule
from VesselFlowGSLib.reconstruction.checkpoint import load_checkpoint
from VesselFlowGSLib.reconstruction.reconstruct import fingerprint, reconstruct
from VesselFlowGSLib.reconstruction.settings import load_settings, overlaid
from VesselFlowGSLib.results.export import OUR_FILES, ResultFolder, read_result
from VesselFlowGSLib.results.snapshot import Snapshot, Stage
from VesselFlowGSLib.simulation import settings_for, simulate

FLOW_ML_S = 1.8
PERSON = {"PatientName": "DOE^JANE", "PatientID": "MRN4711X", "PatientBirthDate": "19510203"}
VESSEL = {
    **{"radius_mm": 2.0, "length_mm": 32.0, "bend_angle_deg": 40.0, "bend_length_mm": 20.0, "taper": 0.95},
    **{"mean_inflow_ml_s": FLOW_ML_S, "time_to_peak_s": 0.4, "seed": 3, "fields_of_truth": False},
    **{"matrix": 112, "pitch_mm": 0.8, "frames": 16, "frames_per_s": 12.5, "photons": 20000.0},
    **{"voxels": 80, "spacing_mm": 0.55, "noise": 15.0},
}
COARSE = {
    **{"knot_spacing_radii": 0.8, "radial": 5, "harmonics": 2, "transit_radial": 12, "transit_angular": 9},
    **{"transit_step_mm": 2.0, "trace_step_mm": 2.0, "transit_bin_s": 0.02, "ray_step_mm": 0.3, "ray_supersampling": 2},
    **{"truth_angular": 16, "truth_radial": 6, "truth_step_mm": 1.0, "truth_samples": 500},
}
SETTINGS = overlaid(
    load_settings(quality="preview"),
    {
        "flow": {"points_per_radius": 20, "first_iterations": 8, "update_iterations": 4},
        "schedule": {"rounds": 1, "streamlines": 8},
        "fit": {"largest_count": 2000, "rounds": 2, "iterations": 30},
        "derived": {"volume": {"per_radius": 4.0}, "wall": {"per_radius": 4.0}},
    },
    "test",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A simulated study whose films name a person."""
    out = tmp_path_factory.mktemp("study") / "small"
    simulate(settings_for("bend", **VESSEL, **COARSE), out)
    for file in out.glob("*.dcm"):
        header = pydicom.dcmread(file)
        for keyword, value in PERSON.items():
            setattr(header, keyword, value)
        header.save_as(file)
    return out


@pytest.fixture(scope="module")
def study(folder) -> Study:
    return read_study(folder)


@dataclass(frozen=True)
class Finished:
    out: Path
    snapshots: tuple[Snapshot, ...]
    files: tuple[set[str], ...]
    told: tuple[float, ...]


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory) -> Finished:
    out = tmp_path_factory.mktemp("result") / "out"
    snapshots, files, told = [], [], []
    with ResultFolder(out) as result:
        for snapshot in reconstruct(study, SETTINGS, progress=lambda step: told.append(step.part)):
            result.write(snapshot)
            snapshots.append(snapshot)
            told.append(snapshot.progress)
            files.append({p.name for p in out.iterdir()} - {".vesselflowgs.lock"})
    return Finished(out, tuple(snapshots), tuple(files), tuple(told))


def test_stages_come_in_order(finished):
    assert [s.stage for s in finished.snapshots] == [Stage.GEOMETRY, Stage.FIRST_FLOW, Stage.FLOW, Stage.DONE]
    assert [s.flow_status["status"] for s in finished.snapshots] == ["pending", "solved", "solved", "solved"]
    assert (np.diff([s.progress for s in finished.snapshots]) > 0).all() and finished.snapshots[-1].progress == 1
    assert (np.diff(finished.told) >= 0).all()
    assert set(finished.snapshots[-1].timings_s) >= {"geometry", "flow", "inflow"}


def test_a_person_is_told_while_kernels_are_prepared(study, monkeypatch):
    told = []
    monkeypatch.setattr(preparation, "PATIENCE_S", 0.0)
    stages = reconstruct(study, SETTINGS, progress=told.append)
    next(stages)
    stages.close()
    doing = [step.doing for step in told]
    assert doing.index("finding the vessel") < doing.index(preparation.MESSAGE) < len(doing) - 1
    assert (np.diff([step.part for step in told]) >= 0).all()


def test_a_backend_that_is_not_there_is_said_at_once(study):
    with pytest.raises(InstallationError, match="abacus"):
        next(reconstruct(study, replace(SETTINGS, backend="abacus")))


def test_backend_and_threads_leave_a_checkpoint_of_use(study):
    assert fingerprint(study, replace(SETTINGS, backend="torch", threads=2)) == fingerprint(study, SETTINGS)
    assert fingerprint(study, replace(SETTINGS, seed=9)) != fingerprint(study, SETTINGS)


def test_files_are_whole_after_every_stage(finished):
    assert finished.files[0] == {"gaussians.ply", "surface.vtp", "centerline.vtp", "checkpoint.npz", "summary.json"}
    for earlier, later in zip(finished.files, finished.files[1:], strict=False):
        assert earlier <= later
    assert finished.files[-1] == set(OUR_FILES) - {"field.vti", "field_series.json", "field_series.pvd"}
    result = read_result(finished.out)
    assert result.stage is Stage.DONE
    mesh = result.field
    assert mesh is not None and set(mesh.arrays) >= {"velocity", "pressure"}
    assert all(np.isfinite(a).all() for a in mesh.arrays.values())
    assert set(result.surface.arrays) >= {"pressure", "wss", "confidence"}
    assert len(result.streamlines.offsets) > 1


def test_figures_say_what_they_are(finished):
    figures = finished.snapshots[-1].figures
    for name in ("mean_inflow", "pressure_drop", "max_speed", "mean_wss", "length", "min_radius"):
        assert np.isfinite(figures[name].value) and figures[name].unit
    inflow = figures["mean_inflow"]
    assert inflow.origin == "estimated" and inflow.value == pytest.approx(FLOW_ML_S, rel=0.25)
    assert inflow.interval_90[0] < FLOW_ML_S < inflow.interval_90[1]
    assert figures["length"].value == pytest.approx(32.0, rel=0.05)
    assert 0 < figures["pressure_drop"].value < 200


def test_the_summary_says_how_and_with_what(finished):
    found = json.loads((finished.out / "summary.json").read_text())
    assert found["schema"] == 1 and found["seed"] == 0 and found["stage"] == "done"
    assert found["flow"]["status"] == "solved" and found["flow"]["dye"]["windows"]
    assert found["inputs"]["runs"] == {"dsa_1.dcm": "dsa", "dsa_2.dcm": "dsa"}
    assert found["settings"]["flow"]["first_iterations"] == 8
    assert [o["name"] for o in found["geometry"]["openings"]] == ["inlet", "outlet 1"]


def test_no_file_names_the_person(finished):
    for file in finished.out.iterdir():
        content = file.read_bytes().lower()
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                content = bytes(arrays["header"]).lower()
        for value in ("doe^jane", "mrn4711x", "19510203"):
            assert value.encode() not in content, file.name


def test_resuming_skips_the_geometry_and_goes_on_with_the_flow(finished, study, monkeypatch, tmp_path):
    start = load_checkpoint(finished.out)
    assert start is not None and start.fingerprint == fingerprint(study, SETTINGS) and start.parameters is not None

    def never(*_: object) -> None:
        raise AssertionError("the geometry is computed again")

    monkeypatch.setattr(schedule, "first_lumen", never)
    monkeypatch.setattr(schedule, "reconstruct_geometry", never)
    stages = reconstruct(study, SETTINGS, start)
    first = next(stages)
    assert first.stage is Stage.GEOMETRY and not any("anew" in w for w in first.warnings)
    # a stop right here loses nothing of the flow
    assert np.array_equal(first.checkpoint["parameters"], start.parameters)
    second = next(stages)
    stages.close()
    # read again, with a field that was trained on after the stored inflow had been read
    assert second.figures["mean_inflow"].value == pytest.approx(start.inflow_ml_s, rel=0.15)
    assert second.figures["mean_inflow"].origin == "estimated"


def test_a_checkpoint_of_other_settings_is_not_used_and_said(finished, study, monkeypatch):
    start = load_checkpoint(finished.out)
    monkeypatch.setattr(schedule, "first_lumen", lambda *_: (_ for _ in ()).throw(InterruptedError))
    with pytest.raises(InterruptedError):
        next(reconstruct(study, replace(SETTINGS, seed=1), start))


def test_a_stop_keeps_what_was_written(study, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), ResultFolder(out) as result:
        for snapshot in reconstruct(study, SETTINGS):
            result.write(snapshot)
            raise KeyboardInterrupt
    assert {p.name for p in out.iterdir()} == {
        *("gaussians.ply", "surface.vtp", "centerline.vtp", "checkpoint.npz", "summary.json")
    }
    assert read_result(out).stage is Stage.GEOMETRY
    kept = load_checkpoint(out)
    assert kept is not None and kept.parameters is None
    # and without films or a prescribed inflow, the same geometry ends with what cannot be known
    blind = replace(study, runs=())
    again = replace(kept, fingerprint=fingerprint(blind, SETTINGS))
    last = list(reconstruct(blind, SETTINGS, again))[-1]
    assert last.stage is Stage.DONE and last.field is None
    assert last.flow_status["status"] == "unknown" and "no DSA run" in last.flow_status["why"]


def test_a_prescribed_inflow_is_solved_without_films(finished, study):
    """The inflow is the user's, so it is assumed, has no interval, and one solve is enough."""
    described = replace(study.description, flow=replace(study.description.flow, mean_inflow_ml_s=2.5))
    given = replace(study, runs=(), description=described)
    start = load_checkpoint(finished.out)
    start = replace(start, fingerprint=fingerprint(given, SETTINGS), parameters=None, shares=None, inflow_ml_s=None)

    def all_but_first(stages: Iterator[Snapshot]) -> list[Snapshot]:
        return list(stages)[1:]

    found = all_but_first(reconstruct(given, SETTINGS, start))
    assert [s.stage for s in found] == [Stage.FIRST_FLOW, Stage.DONE]
    inflow = found[-1].figures["mean_inflow"]
    assert inflow.value == pytest.approx(2.5, rel=0.02) and inflow.origin == "assumed" and inflow.interval_90 is None


def test_nothing_to_see_is_an_error(tmp_path, study):
    with pytest.raises(InputError, match="neither an angiography volume nor a rotational run"):
        next(reconstruct(replace(study, volume=None), SETTINGS))

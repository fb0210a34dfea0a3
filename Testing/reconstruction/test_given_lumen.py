"""The vessel as study.toml gives it: taken as it is, from the study folder, with or without a volume."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import pyvista as pv

from VesselFlowGSLib.acquisition.inspection import describe, inspect_study
from VesselFlowGSLib.acquisition.reader import read_study
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.reconstruction.geometry import first_lumen
from VesselFlowGSLib.reconstruction.reconstruct import reconstruct
from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings, overlaid
from VesselFlowGSLib.results.snapshot import Stage

DATA = os.environ.get("VESSELFLOWGS_DATA", "")
CASE = Path(DATA) / "cases/DEV_gentle_bend_steady"
needs_case = pytest.mark.skipif(not (DATA and CASE.exists()), reason="VESSELFLOWGS_DATA does not hold the open case")

INFLOW = 2.51
SAID = '[geometry]\nlumen_file = "{file}"\n[fluid]\ndensity_kg_m3 = 1060\nviscosity_pa_s = 0.0035\n'
COARSE = overlaid(
    ReconstructionSettings(), {"derived": {"volume": {"per_radius": 5}, "wall": {"per_radius": 4}}}, "test"
)


def given(folder: Path, file: str = "lumen/wall.vtp", more: str = "") -> Path:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(CASE / "truth/wall.vtp", folder / file)
    (folder / "study.toml").write_text(SAID.format(file=file) + more)
    return folder


@needs_case
@pytest.mark.parametrize("file", ["lumen/wall.vtp", "truth/wall.vtp"])
def test_the_lumen_is_read_from_the_study_folder_without_any_volume(tmp_path, file):
    study = read_study(given(tmp_path, file))
    assert study.volume is None and study.runs == ()
    lumen, _ = first_lumen(study, ReconstructionSettings())
    planes = json.loads((CASE / "truth/truth.json").read_text())["planes"]
    centres, radii = np.array([p["center"] for p in planes]), np.array([p["radius"] for p in planes])
    branch = lumen.tree.branches[0]
    nearest = [int(np.linalg.norm(branch.points - c, axis=1).argmin()) for c in centres]
    assert np.linalg.norm(branch.points[nearest] - centres, axis=1).max() < 0.3
    assert np.allclose(branch.radius_mm[nearest], radii, rtol=0.03)
    assert lumen.inlet.radius_mm == pytest.approx(2.2, rel=0.03)
    wall = np.asarray(pv.read(CASE / "truth/wall.vtp").points)
    ends = np.array([o.centre for o in lumen.openings])
    wall = wall[np.linalg.norm(wall[:, None] - ends, axis=2).min(1) > 4]
    assert np.sqrt(np.mean(lumen.wall(wall) ** 2)) < 0.03


@needs_case
def test_flow_is_found_in_a_given_lumen_with_a_given_inflow(tmp_path):
    study = read_study(given(tmp_path, more=f"[flow]\nmean_inflow_ml_s = {INFLOW}\n"))
    snapshots = reconstruct(study, COARSE)
    first = next(s for s in snapshots if s.stage is Stage.FIRST_FLOW)
    assert first.flow_status["status"] == "solved" and first.field is not None
    assert first.figures["mean_inflow"].value == pytest.approx(INFLOW, rel=1e-6)
    assert first.figures["mean_inflow"].interval_90 is None


def test_a_lumen_that_cannot_be_read_is_refused_by_its_key(tmp_path):
    (tmp_path / "lumen.stl").write_text("no surface")
    (tmp_path / "study.toml").write_text(SAID.format(file="lumen.stl"))
    with pytest.raises(InputError, match="geometry.lumen_file = lumen.stl"):
        first_lumen(read_study(tmp_path), ReconstructionSettings())


def test_inspection_tells_that_the_lumen_is_given(tmp_path):
    (tmp_path / "lumen.stl").write_text("not looked into")
    (tmp_path / "study.toml").write_text(SAID.format(file="lumen.stl"))
    found = inspect_study(tmp_path)
    assert "Vessel as given: lumen.stl" in describe(found) and not found.problems

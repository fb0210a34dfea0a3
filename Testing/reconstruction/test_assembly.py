"""Snapshots: intervals that hold their figure, and a provenance that a summary can hold."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from analytic_lumens import bifurcation
from dyed_tube import filmed
from hypothesis import given
from hypothesis import strategies as st
from simulated_snapshots import stenosed_tube
from studies import study_of

from VesselFlowGSLib.acquisition.study import Volume
from VesselFlowGSLib.errors import InstallationError
from VesselFlowGSLib.gaussians.backends.declaration import OPERATORS
from VesselFlowGSLib.lumen.fit import start_cloud
from VesselFlowGSLib.reconstruction.assembly import (
    Display,
    cloud_arrays,
    geometry_snapshot,
    geometry_words,
    looked_over,
    provenance,
    split_figures,
    with_intervals,
)
from VesselFlowGSLib.reconstruction.settings import load_settings
from VesselFlowGSLib.results.export import summary
from VesselFlowGSLib.results.snapshot import Figure, FindingKind, Stage

FORK = bifurcation(spacing_mm=0.8)
SETTINGS = load_settings(quality="preview", seed=5)


@given(value=st.floats(-1e3, 1e3).filter(lambda v: abs(v) > 1e-3), sd=st.floats(0.0, 1.0))
def test_an_interval_holds_its_figure_and_grows_with_the_inflows(value, sd):
    names = ("mean_inflow", "pressure_drop", "max_speed", "mean_wss", "lumen_volume")
    found = with_intervals({n: Figure(value, "u", "estimated") for n in names}, sd)
    assert found["lumen_volume"].interval_90 is None
    widths = {}
    for name in names[:4]:
        low, high = found[name].interval_90
        assert low <= high and (low - 1e-9 <= value <= high + 1e-9)
        widths[name] = high - low
    assert widths["max_speed"] == pytest.approx(widths["mean_inflow"])
    assert widths["pressure_drop"] >= widths["mean_wss"] >= widths["mean_inflow"] - 1e-9


def test_ninety_percent_of_a_log_normal_inflow():
    low, high = with_intervals({"mean_inflow": Figure(2.0, "ml/s", "estimated")}, 0.1)["mean_inflow"].interval_90
    draws = 2.0 * np.exp(0.1 * np.random.default_rng(0).standard_normal(20000))
    assert ((draws > low) & (draws < high)).mean() == pytest.approx(0.9, abs=0.01)


def test_provenance_says_what_the_result_is_made_of(tmp_path):
    volume = Volume(np.zeros((2, 2, 2), np.float32), np.eye(4), "head.nrrd")
    table = {"fluid": {"viscosity_pa_s": 0.004}, "geometry": {"inlet_lps_mm": [1.0, 2.0, 3.0]}}
    found = provenance(study_of(tmp_path, table, (filmed(1.0, frames=2),), volume), SETTINGS)
    assert set(found) == {"inputs", "settings", "versions", "seed", "backend"}
    assert found["inputs"]["volume"] == "head.nrrd" and found["inputs"]["runs"] == {"film_0.dcm": "dsa"}
    assert found["inputs"]["study.toml"]["fluid"]["viscosity_pa_s"] == 0.004
    assert found["settings"]["quality"] == "preview" and found["seed"] == 5
    assert {"vesselflowgs", "python", "numpy", "torch"} <= set(found["versions"])


def test_provenance_names_the_backend_of_each_operator(tmp_path):
    study = study_of(tmp_path, {}, (filmed(1.0, frames=2),))
    found = provenance(study, dataclasses.replace(SETTINGS, backend="torch"))["backend"]
    assert [found[operator] for operator in OPERATORS] == ["torch, cpu"] * len(OPERATORS) and "flow" in found
    with pytest.raises(InstallationError, match="abacus"):
        provenance(study, dataclasses.replace(SETTINGS, backend="abacus"))


def test_provenance_names_no_person_and_no_place(tmp_path):
    """File names relative to the study, and nothing of where it lies; no key for who was filmed."""
    folder = tmp_path / "DOE^JANE_19510203"
    folder.mkdir()
    text = json.dumps(provenance(study_of(folder, {}, (filmed(1.0, frames=2),)), SETTINGS), default=str)
    assert "DOE" not in text and str(tmp_path) not in text
    assert not re.search(r"patient(?!\b\"?: ?\{\"heart)(_?name|_?id|_?birth)", text, re.IGNORECASE)


def test_the_geometry_snapshot_holds_the_vessel_and_no_flow(tmp_path):
    cloud = start_cloud(FORK, 0.2).cloud
    snapshot = geometry_snapshot(
        FORK, cloud, Display.of(FORK, SETTINGS), SETTINGS, stage=Stage.GEOMETRY, progress=0.1, message="found",
        provenance=provenance(study_of(tmp_path), SETTINGS), geometry=geometry_words(FORK, {"more": 1}),
    )  # fmt: skip
    assert snapshot.field is None and snapshot.streamlines is None and snapshot.cloud.velocity is None
    assert snapshot.surface is not None and len(snapshot.surface.triangles) > 100
    text = json.dumps(summary(snapshot))
    assert "NaN" not in text and json.loads(text)["seed"] == 5


def test_geometry_in_words():
    words = geometry_words(FORK, {"attenuation_per_mm": 0.3})
    assert [o["name"] for o in words["openings"]] == ["inlet", "outlet 1", "outlet 2"]
    assert [b["parent"] for b in words["branches"]] == [-1, 0, 0]
    assert words["branches"][0]["length_mm"] == pytest.approx(8.0, abs=0.1)
    assert words["branches"][2]["mean_radius_mm"] == 1.4 and words["attenuation_per_mm"] == 0.3
    json.dumps(words)


def test_the_cloud_goes_out_as_it_is():
    cloud = start_cloud(FORK, 0.2).cloud
    arrays = cloud_arrays(cloud)
    assert np.array_equal(arrays.mean, cloud.mean) and np.array_equal(arrays.occupancy, cloud.occupancy)
    assert arrays.pressure is None


def test_a_snapshot_says_how_the_flow_splits_and_how_the_runs_agree():
    class Halves:
        def flow_ml_s(self):
            return np.array([4.0, 3.0, 1.0])

    found = split_figures(FORK, Halves(), "assumed")
    assert {name: (f.value, f.unit, f.origin) for name, f in found.items()} == {
        "flow_split_outlet_1": (0.75, "1", "assumed"),
        "flow_split_outlet_2": (0.25, "1", "assumed"),
    }
    words = {"runs": {"dsa_1.dcm": {"match": 0.98, "shift_left_px": 0.1}}}
    seen = looked_over(dataclasses.replace(stenosed_tube(), findings=(), views=(), geometry=words))
    assert [v.run for v in seen.views] == ["dsa_1.dcm"]
    assert seen.findings[0].kind is FindingKind.STENOSIS

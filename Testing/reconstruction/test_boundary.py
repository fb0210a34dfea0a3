"""What is known of the flow beforehand: the fluid, the inflow, the split; each assumption is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic_lumens import bifurcation, straight_tube
from studies import study_of

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.flow.network1d import murray_shares
from VesselFlowGSLib.reconstruction.boundary import (
    fluid_of,
    mean_arterial_pressure_pa,
    outlet_split,
    prescribed_inflow,
    split_of_branches,
)

FORK = bifurcation(spacing_mm=0.8)
ENDS = [[0.0, 0.0, 9.0], [1.0, 0.0, 9.0]]


def test_a_fluid_that_is_not_given_is_assumed_and_said(tmp_path):
    fluid, notes = fluid_of(study_of(tmp_path).description)
    assert (fluid.density_kg_m3, fluid.viscosity_pa_s) == (1060.0, 0.0035)
    assert any("fluid.viscosity_pa_s" in n for n in notes) and any("fluid.density_kg_m3" in n for n in notes)


def test_a_fluid_that_is_given_is_taken_without_a_word(tmp_path):
    given = {"fluid": {"density_kg_m3": 1040.0, "viscosity_pa_s": 0.004, "model": "newtonian"}}
    fluid, notes = fluid_of(study_of(tmp_path, given).description)
    assert (fluid.density_kg_m3, fluid.viscosity_pa_s, notes) == (1040.0, 0.004, [])


@pytest.mark.parametrize(("key", "value"), [("model", "casson"), ("hematocrit", 0.4)])
def test_what_is_not_solved_yet_is_said(tmp_path, key, value):
    given = {"fluid": {"density_kg_m3": 1040.0, "viscosity_pa_s": 0.004, key: value}}
    _, notes = fluid_of(study_of(tmp_path, given).description)
    assert len(notes) == 1 and key in notes[0]


def test_no_inflow_is_given(tmp_path):
    assert prescribed_inflow(study_of(tmp_path)) == (None, [])


def test_a_number_as_inflow(tmp_path):
    assert prescribed_inflow(study_of(tmp_path, {"flow": {"mean_inflow_ml_s": 2.5}})) == (2.5, [])
    mean, notes = prescribed_inflow(study_of(tmp_path, {"flow": {"mean_inflow_ml_s": 2.5, "waveform": "pulsatile"}}))
    assert mean == 2.5 and len(notes) == 1


def inflow(folder, text: str):
    (folder / "inflow.csv").write_text(text, encoding="utf-8")
    return prescribed_inflow(study_of(folder, {"flow": {"inflow_csv": "inflow.csv"}}))


def test_a_table_is_averaged_over_time(tmp_path):
    # linear pieces: 2 over 0.3 s, then down to 0 over 0.1 s
    mean, notes = inflow(tmp_path, "time_s,flow_ml_s\n0,2\n0.3,2\n0.4,0\n")
    assert mean == pytest.approx((0.6 + 0.1) / 0.4) and "steady" in notes[0]
    assert inflow(tmp_path, "\ufefftime_s, flow_ml_s\n0,2\n\n0.3,2\n") == (pytest.approx(2.0), [])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("t,q\n0,1\n1,1\n", "time_s,flow_ml_s"),
        ("time_s,flow_ml_s\n0,1\n", "at least two rows"),
        ("", "time_s,flow_ml_s"),
        ("time_s,flow_ml_s\n0,1\n1,two\n", "line 3: not two numbers"),
        ("time_s,flow_ml_s\n0,1\n\n\n1,\n", "line 5: not two numbers"),
        ("time_s,flow_ml_s\n0,1\n1\n", "line 3: not two numbers"),
        ("time_s,flow_ml_s\n0,1\n1,nan\n", "line 3: not finite"),
        ("time_s,flow_ml_s\n0,1\n1,2\n1,3\n", "line 4: time_s must increase"),
        ("time_s,flow_ml_s\n0,-1\n1,-1\n", "must be positive"),
    ],
)
def test_a_wrong_table_is_an_error_with_its_line(tmp_path, text, wanted):
    with pytest.raises(InputError) as caught:
        inflow(tmp_path, text)
    assert wanted in str(caught.value) and "inflow.csv" in str(caught.value)


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "inflow.csv").write_bytes(b"\xff\xfe\x00time")
    with pytest.raises(InputError, match="cannot be read"):
        prescribed_inflow(study_of(tmp_path, {"flow": {"inflow_csv": "inflow.csv"}}))


def test_one_outlet_takes_all(tmp_path):
    split, notes = outlet_split(study_of(tmp_path), straight_tube(10.0, 2.0, spacing_mm=0.8))
    assert np.array_equal(split.shares, [1.0]) and split.given and notes == []


def test_without_a_word_murray_parts_the_flow(tmp_path):
    split, notes = outlet_split(study_of(tmp_path), FORK)
    assert np.allclose(split.shares, murray_shares(FORK.tree)) and not split.given and notes == []


@pytest.mark.parametrize(
    "outlets", [[{"share": 0.7}, {"share": 0.3}], [{"share": 0.7}, {}], [{"share": 0.7}]], ids=["both", "one", "first"]
)
def test_shares_that_are_given_are_used_and_the_last_one_follows(tmp_path, outlets):
    study = study_of(tmp_path, {"outlet": outlets, "geometry": {"outlets_lps_mm": ENDS}})
    split, notes = outlet_split(study, FORK)
    assert np.allclose(split.shares, [0.7, 0.3]) and split.given and notes == []


def test_shares_belong_to_the_outlets_of_the_study_not_to_the_order_of_the_tree(tmp_path):
    inlet, first, second = FORK.openings
    study = study_of(tmp_path, {"outlet": [{"share": 0.7}, {"share": 0.3}], "geometry": {"outlets_lps_mm": ENDS}})
    split, _ = outlet_split(study, replace(FORK, openings=(inlet, second, first)))
    assert np.allclose(split.shares, [0.3, 0.7])


def test_pressures_at_outlets_are_said_not_to_be_solved(tmp_path):
    table = {"outlet": [{"pressure_pa": 100.0}, {"pressure_pa": 0.0}], "geometry": {"outlets_lps_mm": ENDS}}
    split, notes = outlet_split(study_of(tmp_path, table), FORK)
    assert not split.given and len(notes) == 1 and "not solved yet" in notes[0]


def test_the_dye_tells_the_split_where_it_tells_every_outlet():
    fallback = np.array([0.5, 0.5])
    assert np.allclose(split_of_branches(np.array([3.0, 1.8, 0.9]), FORK, fallback), [2 / 3, 1 / 3])
    assert split_of_branches(np.array([3.0, 1.8, np.nan]), FORK, fallback) is fallback


def test_the_mean_arterial_pressure_needs_both_of_the_cuffs_values(tmp_path):
    both = study_of(tmp_path / "a", {"patient": {"systolic_mmhg": 120.0, "diastolic_mmhg": 75.0}})
    one = study_of(tmp_path / "b", {"patient": {"systolic_mmhg": 120.0}})
    assert mean_arterial_pressure_pa(both.description) == pytest.approx(90 * 133.322)
    assert mean_arterial_pressure_pa(one.description) is None

"""A study.toml that is written says what is read again."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.acquisition.description import (
    SECTIONS,
    FlowSection,
    FluidSection,
    GeometrySection,
    OutletSection,
    PatientSection,
    RunSection,
    StudyDescription,
    parse_description,
)
from VesselFlowGSScene.study_toml import study_toml


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, exclude_min=True)


def maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


POINT = st.tuples(*[numbers(-9e4, 9e4)] * 3)
CORNERS = st.tuples(POINT, POINT).filter(lambda ab: all(a < b for a, b in zip(*ab, strict=True)))
NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name.strip() and name not in (".", "..") and name[1:2] != ":"
)
RUN = st.fixed_dictionaries(
    {
        "role": maybe(st.sampled_from(["dsa", "mask", "fill", "ignore"])),
        "mask_frames": maybe(st.sets(st.integers(1, 999), min_size=1).map(lambda s: tuple(sorted(s)))),
        "primary_angle_deg": maybe(numbers(-360, 360)),
        "source_to_detector_mm": maybe(numbers(2000, 9000)),
        "source_to_isocentre_mm": maybe(numbers(0, 1999)),
        "pixel_spacing_mm": maybe(st.tuples(numbers(0, 10), numbers(0, 10))),
        "principal_point_px": maybe(st.tuples(numbers(-9e4, 9e4), numbers(-9e4, 9e4))),
        "flip_rows": st.booleans(),
        "frame_times_s": maybe(
            st.lists(st.floats(0, 1e5), min_size=1, unique=True).map(lambda times: tuple(sorted(times)))
        ),
        "time_offset_s": maybe(numbers(0, 1e6)),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("Stüdie eins")


@given(
    names=st.sets(NAMES.map(str.casefold), max_size=3),
    runs=st.lists(RUN, min_size=3, max_size=3),
    centre=maybe(POINT),
    region=maybe(CORNERS),
    outlets=st.lists(POINT, max_size=2),
    viscosity=maybe(numbers(1e-4, 0.1)),
    inflow=maybe(numbers(0, 1000)),
    rate=maybe(numbers(20, 300)),
)
def test_what_is_written_is_read(folder, names, runs, centre, region, outlets, viscosity, inflow, rate):
    kept = []
    for name, told in zip(sorted(names), runs, strict=False):
        try:
            (folder / name).touch()
        except OSError:  # this system allows no such name
            continue
        kept.append(RunSection(file=name, **told))
    said = StudyDescription(
        geometry=GeometrySection(isocentre_lps_mm=centre, region_lps_mm=region, outlets_lps_mm=tuple(outlets)),
        run=tuple(kept),
        fluid=FluidSection(viscosity_pa_s=viscosity, model="casson"),
        flow=FlowSection(mean_inflow_ml_s=inflow, waveform="steady"),
        outlet=tuple(OutletSection(pressure_pa=float(n)) for n, _ in enumerate(outlets)),
        patient=PatientSection(heart_rate_bpm=rate),
    )
    assert parse_description(tomllib.loads(study_toml(said)), folder) == said


def test_nothing_said_is_an_empty_file():
    assert study_toml(StudyDescription()) == ""


def test_a_path_with_quotes_and_control_characters_stays_one_string():
    said = StudyDescription(run=(RunSection(file='a "b" \\ \n \x7f \x01 ü 𝛼.dcm', role="dsa"),))
    assert tomllib.loads(study_toml(said))["run"][0]["file"] == said.run[0].file


def test_every_key_of_the_contract_has_its_place():
    """No key needs a kind of value that the writer does not know."""
    known = {"str", "float", "bool", "Point", "tuple"}
    for section in SECTIONS.values():
        for one in fields(section):
            words = str(one.type).replace("|", " ").replace("[", " ").replace("]", " ").replace(",", " ").split()
            assert set(words) <= known | {"None", "int", "..."}, one
            assert one.default is not MISSING or one.name == "file"

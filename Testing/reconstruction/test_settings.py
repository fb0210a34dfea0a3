"""Settings: qualities, presets and files lay over the defaults; what is wrong is named."""

from __future__ import annotations

import dataclasses

import pytest

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.reconstruction.settings import (
    QUALITIES,
    ReconstructionSettings,
    load_settings,
    overlaid,
    preset_names,
)


def written(tmp_path, text: str):
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_standard_is_the_default():
    assert load_settings() == ReconstructionSettings()
    assert load_settings(device="cpu", seed=4) == ReconstructionSettings(device="cpu", seed=4)


def test_qualities_differ_in_effort():
    effort = [load_settings(quality=q).flow for q in QUALITIES]
    assert effort[0].first_iterations < effort[1].first_iterations < effort[2].first_iterations
    assert effort[0].points_per_radius < effort[1].points_per_radius < effort[2].points_per_radius
    assert [load_settings(quality=q).quality for q in QUALITIES] == list(QUALITIES)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name):
    found = load_settings(preset=name)
    assert found.flow == ReconstructionSettings().flow and found.fit.smallest_spacing_mm > 0


def test_presets_fit_the_size_of_their_vessels():
    aorta, cerebral, coronary = (load_settings(preset=n).fit for n in ("aorta", "cerebral", "coronary"))
    assert aorta.smallest_spacing_mm > cerebral.smallest_spacing_mm > coronary.smallest_spacing_mm


def test_a_file_has_the_last_word_and_touches_nothing_else(tmp_path):
    file = written(
        tmp_path, "[flow]\nfirst_iterations = 7\n[flow.network]\nwidth = 12\n[inflow.transit]\nlongest_s = 3\n"
    )
    found = load_settings(file, "coronary", "fine")
    plain = load_settings(None, "coronary", "fine")
    assert (found.flow.first_iterations, found.flow.network.width, found.inflow.transit.longest_s) == (7, 12, 3.0)
    assert isinstance(found.inflow.transit.longest_s, float)
    back = dataclasses.replace(
        found,
        flow=dataclasses.replace(found.flow, first_iterations=plain.flow.first_iterations, network=plain.flow.network),
        inflow=plain.inflow,
    )
    assert back == plain


def test_a_list_becomes_a_tuple(tmp_path):
    assert load_settings(written(tmp_path, "[pose]\nfine_px = [64, 128]\n")).pose.fine_px == (64, 128)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[flow]\nfirst_iteration = 3\n", "flow.first_iteration; did you mean flow.first_iterations"),
        ("[flow.network]\nwitdh = 3\n", "did you mean flow.network.width"),
        ("[flwo]\nwall_part = 0.5\n", "did you mean flow"),
        ("[schedule]\nzzz = 1\n", "known are rounds, enough_change, streamlines"),
        ("flow = 3\n", "flow must be a table"),
        ("[flow]\nfirst_iterations = 3.5\n", "flow.first_iterations must be int, not 3.5"),
        ("[flow]\nfirst_iterations = true\n", "flow.first_iterations must be int"),
        ("[flow]\nwall_part = '0.5'\n", "flow.wall_part must be float"),
        ("[flow]\nwall_part = true\n", "flow.wall_part must be float"),
        ("[geometry]\nrefine = 1\n", "geometry.refine must be bool"),
        ("[pose]\nfine_px = 64\n", "pose.fine_px must be"),
        ("[pose]\nfine_px = [64, '128']\n", "pose.fine_px must be int"),
        ("[segment]\nshell_mm = [1.0]\n", "segment.shell_mm must be"),
        ("[flow\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, text, wanted):
    with pytest.raises(InputError) as caught:
        load_settings(written(tmp_path, text))
    assert wanted in str(caught.value) and "mine.toml" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_what_cannot_be_read_or_chosen(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_settings(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff\n")
    with pytest.raises(InputError, match="not valid TOML"):
        load_settings(tmp_path / "latin.toml")
    with pytest.raises(InputError, match="preview, standard, fine"):
        load_settings(quality="best")
    with pytest.raises(InputError, match="aorta"):
        load_settings(preset="carotis")


def test_what_concerns_the_whole_in_the_file(tmp_path):
    found = load_settings(written(tmp_path, 'quality = "preview"\n[flow]\nfirst_iterations = 3\n'))
    assert found == dataclasses.replace(
        load_settings(quality="preview"),
        flow=dataclasses.replace(load_settings(quality="preview").flow, first_iterations=3),
    )
    assert load_settings(written(tmp_path, 'backend = "torch"\nthreads = 2\n')).threads == 2
    for text, wanted in (
        ('quality = "best"', "preview, standard, fine"),
        ('device = "gpu"', "auto, cpu, cuda"),
        ('backend = "abacus"', "auto, .*numba, torch"),
        ("threads = -1", "0 .all cores. or more"),
    ):
        with pytest.raises(InputError, match=wanted):
            load_settings(written(tmp_path, text))


def test_laying_over_leaves_the_base_alone():
    base = ReconstructionSettings()
    overlaid(base, {"schedule": {"rounds": 9}}, "here")
    assert base == ReconstructionSettings()

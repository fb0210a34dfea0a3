"""study.toml: everything known is read, everything else is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.acquisition.description import (
    SECTIONS,
    StudyDescription,
    checked,
    parse_description,
    read_description,
)
from VesselFlowGSLib.errors import InputError

EVERYTHING = """
[geometry]
isocentre_lps_mm = [1, 2.5, -3]
region_lps_mm = [[10, 0, 0], [0, 5, 5]]
inlet_lps_mm = [0.0, 0.0, 0.0]
outlets_lps_mm = [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
lumen_file = "sub/lumen.stl"
[[run]]
file = "dsa_1.dcm"
role = "dsa"
mask_frames = [3, 1, 2]
primary_angle_deg = 0.0
secondary_angle_deg = -20
source_to_detector_mm = 1200.0
source_to_isocentre_mm = 750.0
pixel_spacing_mm = [0.4, 0.4]
principal_point_px = [127.5, 127.5]
flip_rows = true
flip_columns = false
frame_times_s = [0.0, 0.066]
time_offset_s = 0.0
[[run]]
file = "other.dcm"
[fluid]
density_kg_m3 = 1060.0
model = "carreau-yasuda"
viscosity_pa_s = 0.0035
hematocrit = 0.45
[flow]
waveform = "pulsatile"
period_s = 0.8
inflow_csv = "inflow.csv"
[[outlet]]
share = 0.28
[[outlet]]
share = 0.72
[patient]
heart_rate_bpm = 72
systolic_mmhg = 120
diastolic_mmhg = 80
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("dsa_1.dcm", "other.dcm", "inflow.csv", "sub/lumen.stl"):
        (tmp_path / name).write_text("")
    return tmp_path


def said(folder, text):
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return read_description(folder)


def refusal(folder, text):
    with pytest.raises(InputError) as caught:
        said(folder, text)
    message = str(caught.value)
    assert message.count("\n") <= 1 and "study.toml" in message
    return message


def test_no_file_says_nothing(tmp_path):
    assert read_description(tmp_path) == StudyDescription()


def test_every_key_of_the_contract_is_read(folder):
    d = said(folder, EVERYTHING)
    assert d.geometry.isocentre_lps_mm == (1.0, 2.5, -3.0)
    assert d.geometry.region_lps_mm == ((0.0, 0.0, 0.0), (10.0, 5.0, 5.0))
    assert d.geometry.outlets_lps_mm == ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    assert d.geometry.lumen_file == "sub/lumen.stl"
    run = d.of_run("dsa_1.dcm")
    assert run.mask_frames == (1, 2, 3) and run.flip_rows and not run.flip_columns and run.time_offset_s == 0.0
    assert run.pixel_spacing_mm == (0.4, 0.4) and run.frame_times_s == (0.0, 0.066)
    assert d.of_run("unsaid.dcm").role is None
    assert d.fluid.model == "carreau-yasuda" and d.flow.inflow_csv == "inflow.csv"
    assert [o.share for o in d.outlet] == [0.28, 0.72] and d.patient.heart_rate_bpm == 72.0


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[geometri]\n", "geometry"),
        ("[geometry]\nisocenter_lps_mm = [0, 0, 0]\n", "isocentre_lps_mm"),
        ('[[run]]\nfile = "dsa_1.dcm"\nsource_to_detektor_mm = 1000\n', "source_to_detector_mm"),
        ("[fluid]\nviscosity = 0.0035\n", "viscosity_pa_s"),
        ("[flow]\nheart_rate_bpm = 70\n", "[patient]"),
        ("period_s = 0.8\n", "[flow]"),
    ],
)
def test_an_unknown_key_names_the_nearest(folder, text, nearest):
    assert nearest in refusal(folder, text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[[run]]\nfile = "dsa_1.dcm"\nframe_times_s = [-0.1, 0.2]\n', "frame_times_s"),
        ('[[run]]\nfile = "dsa_1.dcm"\nframe_times_s = [0.0, 0.0]\n', "frame_times_s"),
        ('[[run]]\nfile = "dsa_1.dcm"\ntime_offset_s = -1\n', "time_offset_s"),
        ('[[run]]\nfile = "dsa_1.dcm"\nsource_to_detector_mm = 0\n', "source_to_detector_mm"),
        ('[[run]]\nfile = "dsa_1.dcm"\npixel_spacing_mm = [0.4, -0.4]\n', "pixel_spacing_mm"),
        ('[[run]]\nfile = "dsa_1.dcm"\npixel_spacing_mm = 0.4\n', "pixel_spacing_mm"),
        ('[[run]]\nfile = "dsa_1.dcm"\nmask_frames = [0, 1]\n', "mask_frames"),
        ('[[run]]\nfile = "dsa_1.dcm"\nmask_frames = []\n', "mask_frames"),
        ('[[run]]\nfile = "dsa_1.dcm"\nrole = "msk"\n', "'mask'"),
        ('[[run]]\nfile = "dsa_1.dcm"\nflip_rows = 1\n', "flip_rows"),
        ('[[run]]\nfile = "dsa_1.dcm"\nsource_to_detector_mm = 7\nsource_to_isocentre_mm = 8\n', "source_to_isocentre"),
        ('[[run]]\nfile = "dsa_1.dcm"\n[[run]]\nfile = "dsa_1.dcm"\n', "dsa_1.dcm"),
        ('[[run]]\nrole = "dsa"\n', "file"),
        ('[run]\nfile = "dsa_1.dcm"\n', "[[run]]"),
        ("geometry = 3\n", "[geometry]"),
        ("[geometry]\nisocentre_lps_mm = [0, 0]\n", "isocentre_lps_mm"),
        ("[geometry]\nisocentre_lps_mm = [0, nan, 0]\n", "isocentre_lps_mm"),
        ("[geometry]\nregion_lps_mm = [[0, 0, 0], [1, 0, 1]]\n", "region_lps_mm"),
        ("[fluid]\nhematocrit = 45\n", "hematocrit"),
        ("[fluid]\ndensity_kg_m3 = 1.06\n", "density_kg_m3"),
        ('[fluid]\nviscosity_pa_s = "0.0035"\n', "viscosity_pa_s"),
        ('[fluid]\nmodel = "cason"\n', "'casson'"),
        ('[flow]\nwaveform = "steedy"\n', "'steady'"),
        ("[flow]\nmean_inflow_ml_s = true\n", "mean_inflow_ml_s"),
        ('[flow]\nmean_inflow_ml_s = 2.5\ninflow_csv = "inflow.csv"\n', "inflow_csv"),
        ("[[outlet]]\nshare = 0.5\npressure_pa = 0.0\n", "pressure_pa"),
        ("[[outlet]]\nshare = 1.2\n", "share"),
        ("[geometry]\noutlets_lps_mm = [[0,0,0],[1,1,1]]\n[[outlet]]\nshare = 0.5\n[[outlet]]\nshare = 0.6\n", "1.1"),
        ("[geometry]\noutlets_lps_mm = [[0,0,0],[1,1,1]]\n[[outlet]]\nshare = 0.5\n[[outlet]]\nshare = 0.3\n", "0.8"),
        ("[[outlet]]\nshare = 0.5\n[[outlet]]\nshare = 0.5\n", "outlets_lps_mm"),
        ("[patient]\nsystolic_mmhg = 80\ndiastolic_mmhg = 120\n", "diastolic_mmhg"),
        ("[geometry\n", "TOML"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(folder, text, named):
    assert named in refusal(folder, text)


BAD_PATHS = ["../x.dcm", "/etc/passwd", "sub/../dsa_1.dcm", "C:\\x.dcm", "..\\x.dcm", "gone.dcm", "", "sub"]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_stay_inside_and_name_a_file(folder, path):
    assert "file" in refusal(folder, f"[[run]]\nfile = '{path}'\n")


def test_links_that_leave_the_folder_are_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.dcm"
    outside.write_text("")
    (folder / "link.dcm").symlink_to(outside)
    assert "link" in refusal(folder, '[[run]]\nfile = "link.dcm"\n')
    toml = outside.parent / "study.toml"
    toml.write_text("")
    (folder / "study.toml").unlink()
    (folder / "study.toml").symlink_to(toml)
    with pytest.raises(InputError, match="link"):
        read_description(folder)


def test_text_that_is_no_utf8_is_refused(folder):
    (folder / "study.toml").write_bytes(b"# \xff\xfe\n")
    with pytest.raises(InputError, match="TOML"):
        read_description(folder)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=6,
)
keys = sorted({f for section in SECTIONS.values() for f in section.__dataclass_fields__})
tables = st.dictionaries(st.sampled_from(keys) | st.text(max_size=4), junk, max_size=3)


contents = tables | st.lists(tables, max_size=2) | junk


@given(st.dictionaries(st.sampled_from(sorted(SECTIONS)) | st.text(max_size=4), contents))
def test_whatever_it_says_the_answer_is_a_description_or_a_clear_refusal(tmp_path_factory, table):
    folder = tmp_path_factory.getbasetemp()
    try:
        assert isinstance(parse_description(table, folder), StudyDescription)
    except InputError as error:
        assert str(error).startswith("study.toml")


def test_one_value_is_checked_as_in_a_file():
    assert checked("run", "mask_frames", [3, 1]) == (1, 3)
    assert checked("fluid", "hematocrit", 0) == 0.0
    with pytest.raises(InputError, match=r"\[run\] primary_angle_deg = 400: give an angle"):
        checked("run", "primary_angle_deg", 400)

"""Runs of the table: what is known, from where, what is missing, what a person types; sequences of Slicer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from acquisition import written_xa
from filmed_scenes import add_sequence, load_run
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.errors import InputError
from VesselFlowGSScene.film_frames import FilmFrames
from VesselFlowGSScene.runs import (
    COLUMNS,
    Intensity,
    Known,
    entries_of_json,
    entries_of_sequence,
    entries_to_json,
    entry_of_file,
    known_from,
    missing,
    ready,
    sequence_of,
    text_of,
    value,
    with_kept,
    with_text,
    with_value,
    without,
)

SAMPLE = Path(__file__).parents[2] / "Resources" / "sample_study"
FRAMES = written_xa.stored(written_xa.intensities(written_xa.bolus()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name has a blank and an umlaut."""
    path = tmp_path / "Prüfung eins"
    path.mkdir()
    return path


def run_file(folder: Path, name: str = "lauf ä.dcm", **changes) -> Path:
    return written_xa.write(written_xa.xa(FRAMES, **changes), folder / name)


def database(*paths: Path):
    """What slicer.dicomDatabase.fileForInstance answers for these files."""
    import pydicom

    found = {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID): str(p) for p in paths}
    return lambda uid: found.get(uid, "")


def test_a_file_fills_the_table(folder):
    entry = entry_of_file(run_file(folder, MaskSubtractionSequence=written_xa.average_mask(1, 2, 3)))
    assert (entry.frames, entry.rows, entry.columns) == FRAMES.shape
    assert (entry.primary_angle_deg, entry.secondary_angle_deg) == (-30.0, 10.0)
    assert (entry.source_to_detector_mm, entry.source_to_isocentre_mm) == (1100.0, 700.0)
    assert entry.pixel_spacing_mm == (0.4, 0.5)
    assert np.allclose(entry.frame_times_s, 0.1 * np.arange(12))
    assert entry.mask_frames == (1, 2, 3)
    assert entry.principal_point_px == (31.5, 39.5)
    assert missing(entry) == {} and ready(entry)
    assert known_from(entry, "primary_angle_deg") is Known.HEADER
    assert known_from(entry, "principal_point_px") is Known.ASSUMED
    assert known_from(entry, "time_offset_s") is None


def test_what_a_header_lacks_is_named_with_what_to_enter(folder):
    entry = entry_of_file(run_file(folder, PositionerPrimaryAngle=None, DistanceSourceToPatient=None, FrameTime=None))
    lacks = missing(entry)
    assert set(lacks) == {"primary_angle_deg", "source_to_isocentre_mm", "frame_times_s"}
    assert "PositionerPrimaryAngle (0018,1510)" in lacks["primary_angle_deg"]
    assert "enter" in lacks["frame_times_s"]
    assert known_from(entry, "primary_angle_deg") is Known.MISSING
    assert not ready(entry)
    for column, text in {"primary_angle_deg": "-30", "source_to_isocentre_mm": "700", "frame_times_s": "0.1"}.items():
        entry = with_text(entry, column, text)
        assert known_from(entry, column) is Known.ENTERED
    assert ready(entry)
    assert without(entry, "primary_angle_deg").primary_angle_deg is None


def test_a_run_that_is_not_used_lacks_nothing(folder):
    entry = entry_of_file(run_file(folder, PositionerPrimaryAngle=None))
    assert missing(replace(entry, use=False)) == {}
    assert missing(with_text(entry, "role", "ignore")) == {}


def test_gray_levels_for_display_are_a_problem_and_the_run_is_not_used(folder):
    entry = entry_of_file(run_file(folder, PixelIntensityRelationship="DISP"))
    assert not entry.use
    assert "PixelIntensityRelationship" in entry.problems[0] and "Export" in entry.problems[0]


def test_one_frame_is_no_run(folder):
    entry = entry_of_file(written_xa.write(written_xa.xa(FRAMES[:1]), folder / "a.dcm"))
    assert not entry.use and "one frame" in entry.problems[0]


def test_a_file_that_is_no_run_is_refused_by_its_name_alone(folder):
    path = folder / "a.dcm"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="a.dcm") as refusal:
        entry_of_file(path)
    assert str(folder) not in str(refusal.value)
    with pytest.raises(InputError, match="no such file"):
        entry_of_file(folder / "b.dcm")


def test_a_turning_run_keeps_its_angles_and_needs_no_times(folder):
    angles = np.linspace(-90, 90, 12)
    entry = entry_of_file(
        run_file(
            folder,
            FrameTime=None,
            PositionerMotion="DYNAMIC",
            PositionerPrimaryAngleIncrement=list(angles - angles[0]),
            PositionerPrimaryAngle=-90.0,
        )
    )
    assert entry.turning and entry.role == "mask or fill"
    assert np.allclose(np.array(entry.primary_turn_deg) + entry.primary_angle_deg, angles)
    assert entry.secondary_turn_deg == (0.0,) * 12
    assert missing(entry) == {}
    with pytest.raises(InputError, match="turns"):
        with_text(entry, "role", "dsa")
    assert with_text(entry, "role", "fill").role == "fill"


def test_enhanced_xa_is_read_though_slicer_does_not_load_it(folder):
    path = written_xa.write(written_xa.enhanced(FRAMES, np.tile([20.0, -5.0], (12, 1))), folder / "e.dcm")
    entry = entry_of_file(path)
    assert (entry.primary_angle_deg, entry.secondary_angle_deg) == (20.0, -5.0)
    assert missing(entry) == {}


def test_a_sequence_finds_its_header_by_its_instance_uid(scene, folder):
    path = run_file(folder)
    browser = load_run(scene, path)
    (entry,) = entries_of_sequence(browser, database(path))
    told = entry_of_file(path)
    assert entry.found == told.found and entry.found_in is Known.HEADER
    assert entry.source.file == told.source.file and entry.name == "3: XA"
    assert sequence_of(entry, scene) is browser.GetMasterSequenceNode()
    (alone,) = entries_of_sequence(browser.GetMasterSequenceNode(), database(path))
    assert alone == entry


def test_a_biplane_run_is_two_entries(scene, folder):
    a = run_file(folder, "a.dcm")
    b = run_file(folder, "b.dcm", PositionerPrimaryAngle=60.0)
    entries = entries_of_sequence(load_run(scene, a, b), database(a, b))
    assert [entry.primary_angle_deg for entry in entries] == [-30.0, 60.0]
    assert len({entry.name for entry in entries}) == 2


def test_a_sequence_without_its_file_says_what_it_lacks(scene, folder):
    (entry,) = entries_of_sequence(load_run(scene, run_file(folder)), lambda uid: "")
    assert entry.found_in is Known.SEQUENCE
    assert entry.pixel_spacing_mm == (0.4, 0.5)
    assert np.allclose(entry.frame_times_s, 0.1 * np.arange(12))
    assert set(missing(entry)) == {
        "primary_angle_deg",
        "secondary_angle_deg",
        "source_to_detector_mm",
        "source_to_isocentre_mm",
        "intensity",
    }
    assert "DICOM database" in entry.notes[0]
    assert with_text(entry, "intensity", "linear").intensity_entered is Intensity.LINEAR


def test_frame_times_of_a_varying_rate_come_from_the_header(scene, folder):
    """Slicer counts the frames of such a run, without times."""
    steps = [0.0, *[250.0] * 6, *[1000.0] * 5]
    path = run_file(folder, FrameTime=None, FrameTimeVector=steps, FrameIncrementPointer=0x00181065)
    browser = load_run(scene, path)
    assert browser.GetMasterSequenceNode().GetIndexUnit() == ""
    (entry,) = entries_of_sequence(browser, database(path))
    assert np.allclose(entry.frame_times_s, np.cumsum(steps) / 1000)
    (lost,) = entries_of_sequence(browser)
    assert "frame_times_s" in missing(lost)


def test_a_file_of_another_size_is_not_taken_for_the_sequence(scene, folder):
    path = run_file(folder)
    browser = load_run(scene, path)
    browser.GetMasterSequenceNode().RemoveDataNodeAtValue("0.000")
    (entry,) = entries_of_sequence(browser, database(path))
    assert entry.source.file == "" and "differs" in entry.notes[0]


def test_a_sequence_without_dicom_gives_no_spacing(scene):
    (entry,) = entries_of_sequence(add_sequence(scene, FRAMES))
    assert entry.pixel_spacing_mm is None and "pixel_spacing_mm" in missing(entry)
    assert "frame_times_s" in missing(entry)


def test_two_sequences_of_one_browser_are_taken_as_simultaneous(scene):
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "films")
    browser.AddSynchronizedSequenceNode(add_sequence(scene, FRAMES))
    browser.AddSynchronizedSequenceNode(add_sequence(scene, FRAMES))
    for entry in entries_of_sequence(browser):
        assert entry.time_offset_s == 0 and "same time" in entry.notes[-1]


def test_what_is_no_film_is_refused(scene):
    empty = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "leer")
    with pytest.raises(InputError, match="leer"):
        entries_of_sequence(empty)
    with pytest.raises(InputError, match="no two-dimensional"):
        entries_of_sequence(scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "leer"))
    with pytest.raises(InputError, match="is no sequence"):
        entries_of_sequence(scene.AddNewNodeByClass("vtkMRMLModelNode", "ein Modell"))


def test_entered_values_survive_reading_anew(scene, folder):
    path = run_file(folder)
    browser = load_run(scene, path)
    (entry,) = entries_of_sequence(browser, database(path))
    told = with_text(entry, "principal_point_px", "30, 41")
    (again,) = with_kept(entries_of_sequence(browser, database(path)), [replace(told, use=False)])
    assert again.principal_point_px == (30.0, 41.0) and not again.use


def test_the_table_survives_as_text(scene, folder):
    path = run_file(folder, MaskSubtractionSequence=written_xa.average_mask(2, 4), PositionerSecondaryAngle=0.0)
    (loaded,) = entries_of_sequence(load_run(scene, path), database(path))
    loaded = with_text(with_text(loaded, "flip_rows", "yes"), "time_offset_s", "0")
    (film,) = entries_of_sequence(add_sequence(scene, FRAMES))
    film = with_text(film, "intensity", "log, vessels bright")
    entries = (loaded, film, entry_of_file(path))
    text = entries_to_json(entries)
    assert entries_of_json(text, database(path)) == entries
    assert entries_of_json("") == ()
    assert "Secret" not in text and "SECRET" not in text


def test_no_path_is_kept_for_a_run_that_lies_in_the_scene(scene, folder):
    path = run_file(folder)
    (entry,) = entries_of_sequence(load_run(scene, path), database(path))
    assert "lauf" not in entries_to_json([entry])
    (moved,) = entries_of_json(entries_to_json([entry]))
    # elsewhere, the file is not there: what was read of it stands, and the frames are those of the sequence
    assert moved.source.file == "" and moved.primary_angle_deg == -30.0
    assert value(moved, "intensity") is Intensity.LINEAR and ready(moved)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99, "runs": []}', '{"schema": 1, "runs": [{"name": 1}]}'])
def test_a_damaged_table_says_so(text):
    with pytest.raises(InputError, match="again"):
        entries_of_json(text)


@pytest.mark.parametrize(
    ("column", "text", "told"),
    [
        ("primary_angle_deg", "-12.5", -12.5),
        ("pixel_spacing_mm", "0.3", (0.3, 0.3)),
        ("pixel_spacing_mm", "0.3 × 0.4", (0.3, 0.4)),
        ("principal_point_px", "[12, 13.5]", (12.0, 13.5)),
        ("mask_frames", "1 - 3, 5", (1, 2, 3, 5)),
        ("frame_times_s", "0.25", tuple(0.25 * n for n in range(12))),
        ("frame_times_s", " ".join(str(n * n) for n in range(12)), tuple(float(n * n) for n in range(12))),
        ("flip_columns", "yes", True),
        ("role", "IGNORE", "ignore"),
        ("time_offset_s", "0", 0.0),
    ],
)
def test_cells_are_read_as_typed(folder, column, text, told):
    assert value(with_text(entry_of_file(run_file(folder)), column, text), column) == told


@pytest.mark.parametrize(
    ("column", "text", "why"),
    [
        ("primary_angle_deg", "400", "between"),
        ("primary_angle_deg", "thirty", "numbers"),
        ("primary_angle_deg", "12,5", "one number"),
        ("primary_angle_deg", ",", "numbers"),
        ("source_to_detector_mm", "1200 mm", "without units"),
        ("source_to_detector_mm", "-1", "positive"),
        ("pixel_spacing_mm", "1 2 3", "two positive"),
        ("mask_frames", "0", "counted from 1"),
        ("mask_frames", "13", "12 frames"),
        ("mask_frames", "a", "counted from 1"),
        ("frame_times_s", "0, 1", "12 frames"),
        ("frame_times_s", "-1", "rising"),
        ("flip_rows", "perhaps", "yes or no"),
        ("role", "film", "nearest"),
        ("role", "fill", "at rest"),
        ("intensity", "nice", "one of"),
        ("time_offset_s", "-1", "not negative"),
    ],
)
def test_a_wrong_cell_says_what_to_enter(folder, column, text, why):
    with pytest.raises(InputError, match=why) as refusal:
        with_text(entry_of_file(run_file(folder)), column, text)
    assert column in str(refusal.value) and "study.toml" not in str(refusal.value)


def test_the_isocentre_lies_before_the_detector(folder):
    entry = with_text(entry_of_file(run_file(folder)), "source_to_isocentre_mm", "1100")
    assert "nearer" in missing(entry)["source_to_isocentre_mm"]
    assert known_from(entry, "source_to_isocentre_mm") is Known.ENTERED


NUMBER = st.floats(-300, 300).map(lambda x: float(f"{x:.6g}"))
TIMES = st.lists(st.floats(1e-3, 5.0), min_size=12, max_size=12).map(
    lambda steps: [float(f"{t:.9g}") for t in np.cumsum(steps)]
)


@given(angle=NUMBER, times=TIMES, masks=st.sets(st.integers(1, 12), min_size=1))
def test_what_a_cell_shows_it_reads_again(tmp_path_factory, angle, times, masks):
    entry = _sample_of_twelve()
    entry = with_value(entry, "primary_angle_deg", angle)
    entry = with_value(entry, "frame_times_s", times)
    entry = with_value(entry, "mask_frames", sorted(masks))
    for column in ("primary_angle_deg", "frame_times_s", "mask_frames"):
        assert np.allclose(
            value(with_text(without(entry, column), column, text_of(entry, column)), column),
            value(entry, column),
            rtol=1e-6,
            atol=2e-6,
        )


def _sample_of_twelve():
    entry = entry_of_file(SAMPLE / "dsa_1.dcm")
    return replace(entry, frames=12, found=replace(entry.found, frame_times_s=None, mask_frames=None))


def test_every_column_has_a_text(folder):
    entry = entry_of_file(run_file(folder))
    assert all(isinstance(text_of(entry, column), str) for column in COLUMNS)
    assert json.loads(entries_to_json([entry]))["schema"] == 1


def test_a_real_run_says_what_its_header_lacks_and_is_the_same_loaded_or_not(scene, data_folder):
    path = data_folder / "data" / "xa" / "rubo_xa_rca_96frames.dcm"
    if not path.is_file():
        pytest.skip("needs data/xa/rubo_xa_rca_96frames.dcm below VESSELFLOWGS_DATA")
    entry = entry_of_file(path)
    assert (entry.frames, entry.rows, entry.columns) == (96, 512, 512)
    assert set(missing(entry)) == {"source_to_detector_mm", "source_to_isocentre_mm", "pixel_spacing_mm"}
    (loaded,) = entries_of_sequence(load_run(scene, path), database(path))
    assert loaded.found == entry.found
    for frame in (0, 95):
        assert np.array_equal(FilmFrames(loaded, scene).stored(frame), FilmFrames(entry).stored(frame))

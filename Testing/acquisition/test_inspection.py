"""An inspection says what is there and what is missing, and never fails for what is missing."""

import numpy as np
import pytest
import SimpleITK
from written_xa import average_mask, bolus, intensities, stored, write, xa

from VesselFlowGSLib.acquisition.inspection import describe, inspect_study
from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.errors import InputError

PIXELS = stored(intensities(bolus()))


def run(folder, name, **changes):
    write(xa(PIXELS, **changes), folder / name)


def test_what_was_found_is_told_run_by_run(tmp_path):
    run(tmp_path, "a.dcm", MaskSubtractionSequence=average_mask(1, 2))
    run(tmp_path, "b.dcm", AcquisitionTime="110000")
    turn = {"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngleIncrement": [float(v) for v in range(0, 120, 10)]}
    run(tmp_path, "c.dcm", **turn)
    run(tmp_path, "d.dcm", **turn)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((4, 5, 6), np.float32)), str(tmp_path / "v.nrrd"))
    found = inspect_study(tmp_path)
    assert [r.role.split(" ")[0] for r in found.runs] == ["dsa", "dsa", "mask", "mask"]
    assert found.runs[0].injection != found.runs[1].injection
    assert "c.dcm" in found.runs[3].role and found.missing == () and found.problems == ()
    text = describe(found)
    for words in ("6 × 5 × 4", "frames 1, 2, from MaskSubtractionSequence (0028,6100)", "primary -30°", "1100 mm",
                  "700 mm", "0.4 × 0.5 mm", "100 ms apart", "leading frames", "turning to primary 80°"):  # fmt: skip
        assert words in text
    assert "secret" not in text.lower()


def test_everything_missing_is_listed_at_once(tmp_path):
    run(tmp_path, "a.dcm", DistanceSourceToDetector=None, DistanceSourceToPatient=None, ImagerPixelSpacing=None)
    run(tmp_path, "b.dcm", FrameTime=None, PixelIntensityRelationship="DISP")
    found = inspect_study(tmp_path)
    keys = {line.rsplit(" ", 1)[1] for line in found.missing}
    assert keys == {"source_to_detector_mm", "source_to_isocentre_mm", "pixel_spacing_mm", "frame_times_s"}
    assert any("DISP" in p for p in found.problems)
    assert "missing" in describe(found)


def test_what_is_given_is_not_missing(tmp_path):
    run(tmp_path, "a.dcm", DistanceSourceToDetector=None)
    (tmp_path / "study.toml").write_text('[[run]]\nfile = "a.dcm"\nsource_to_detector_mm = 1000\n')
    found = inspect_study(tmp_path)
    assert found.missing == () and found.runs[0].source_to_detector_mm == 1000.0


def test_broken_files_are_told_and_the_rest_is_shown(tmp_path):
    run(tmp_path, "a.dcm")
    run(tmp_path, "b.dcm")
    (tmp_path / "b.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[:3000])
    for name in ("v.nrrd", "w.nrrd"):
        (tmp_path / name).write_bytes(b"NRRD0004\nnonsense")
    found = inspect_study(tmp_path)
    assert [r.name for r in found.runs] == ["a.dcm"]
    for name in ("b.dcm", "v.nrrd", "w.nrrd"):
        assert any(name in p for p in found.problems)


def test_an_empty_folder_is_told_as_such(tmp_path):
    found = inspect_study(tmp_path)
    assert found.runs == () and found.volumes == () and found.problems
    assert "No volume" in describe(found)


def test_only_a_broken_study_toml_or_folder_fails(tmp_path):
    with pytest.raises(InputError):
        inspect_study(tmp_path / "gone")
    (tmp_path / "study.toml").write_text("[geometri]\n")
    with pytest.raises(InputError, match="geometry"):
        inspect_study(tmp_path)


def test_no_frame_is_decoded(tmp_path, monkeypatch):
    run(tmp_path, "a.dcm")
    monkeypatch.setattr("VesselFlowGSLib.acquisition.xa.read_frames", lambda header: pytest.fail("decoded"))
    inspect_study(tmp_path)


def test_a_run_too_large_for_the_memory_is_told(tmp_path):
    run(tmp_path, "a.dcm")
    found = inspect_study(tmp_path, settings=AcquisitionSettings(memory_limit_bytes=1000))
    assert any("GiB" in p for p in found.problems)

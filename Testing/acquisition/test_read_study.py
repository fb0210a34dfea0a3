"""A folder of files becomes a Study: roles, pairs, clock, and a clear word where it cannot."""

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import SecondaryCaptureImageStorage
from written_xa import average_mask, bolus, intensities, stored, write, write_rle, xa

from VesselFlowGSLib.acquisition.reader import read_study
from VesselFlowGSLib.acquisition.study import RunRole
from VesselFlowGSLib.errors import InputError, ResourceError

DATA = os.environ.get("VESSELFLOWGS_DATA", "")
CASE = Path(DATA) / "cases/DEV_gentle_bend_steady/input"
RUBO = Path(DATA) / "data/xa/rubo_xa_rca_96frames.dcm"
needs_case = pytest.mark.skipif(not (DATA and CASE.exists()), reason="VESSELFLOWGS_DATA does not hold the open case")
needs_rubo = pytest.mark.skipif(not (DATA and RUBO.exists()), reason="VESSELFLOWGS_DATA does not hold the coronary run")

PIXELS = stored(intensities(bolus()))
VIEWS = np.linspace(0.0, 110.0, 12)


def dsa(folder, name="dsa.dcm", pixels=PIXELS, **changes):
    return write(xa(pixels, **{"MaskSubtractionSequence": average_mask(1, 2, 3), **changes}), folder / name)


def rotation(folder, name, filled, angles=VIEWS, seed=0, **changes):
    truth = np.repeat(bolus()[-1:], len(angles), axis=0) * filled
    turning = {"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngle": -50.0, "AcquisitionTime": "102000"}
    ds = xa(stored(intensities(truth, seed)), PositionerPrimaryAngleIncrement=list(angles), **{**turning, **changes})
    return write_rle(ds, folder / name), truth


def volume(folder, name="volume.nrrd", seed=0):
    values = np.random.default_rng(seed).normal(size=(6, 7, 8)).astype(np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(folder / name))


def say(folder, text):
    (folder / "study.toml").write_text(text)


def refusal(folder, error=InputError, **settings):
    with pytest.raises(error) as caught:
        read_study(folder, **settings)
    message = str(caught.value)
    assert message.count("\n") <= 1 and "secret" not in message.lower()
    return message


def test_volume_and_runs_are_found_under_any_names_and_subfolders(tmp_path):
    (tmp_path / "sub/deep").mkdir(parents=True)
    volume(tmp_path, "sub/deep/anything.nrrd")
    dsa(tmp_path, "sub/run_without_ending")
    dsa(tmp_path, "x.dcm")
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / ".hidden").write_text("x")
    study = read_study(tmp_path)
    assert study.volume is not None and study.volume.values.shape == (8, 7, 6)
    assert sorted(r.name for r in study.dsa) == ["sub/run_without_ending", "x.dcm"]
    assert any(n.startswith("readme.txt") for n in study.notes) and not any(".hidden" in n for n in study.notes)


def test_a_run_carries_what_the_header_says(tmp_path):
    dsa(tmp_path, RWavePointer=[1, 9], HeartRate=75)
    (run,) = read_study(tmp_path).runs
    assert run.role is RunRole.DSA and run.mask_frames == (0, 1, 2)
    assert run.carm.source_to_detector_mm == 1100.0 and run.carm.source_to_isocentre_mm == 700.0
    assert run.carm.pixel_spacing_mm == (0.4, 0.5) and run.carm.principal_point_px == (31.5, 39.5)
    assert run.carm.primary_deg == pytest.approx([-30.0]) and run.frame_times_s == pytest.approx(np.arange(12) * 0.1)
    assert run.r_wave_frames == (0, 8) and run.heart_rate_bpm == 75.0
    cameras = run.cameras((0.0, 0.0, 0.0))
    assert len(cameras) == 1 and (cameras.rows, cameras.columns) == (64, 80)


def test_study_toml_outweighs_the_header(tmp_path):
    dsa(tmp_path, DistanceSourceToPatient=None)
    say(
        tmp_path,
        '[[run]]\nfile = "dsa.dcm"\nmask_frames = [2, 3]\nprimary_angle_deg = 5\nsecondary_angle_deg = 6\n'
        "source_to_detector_mm = 1000\nsource_to_isocentre_mm = 650\npixel_spacing_mm = [0.2, 0.3]\n"
        "principal_point_px = [10, 20]\nframe_times_s = [" + ", ".join(f"{0.5 * t}" for t in range(12)) + "]\n",
    )
    (run,) = read_study(tmp_path).runs
    assert run.mask_frames == (1, 2)
    c = run.carm
    assert (c.source_to_detector_mm, c.source_to_isocentre_mm, c.pixel_spacing_mm) == (1000.0, 650.0, (0.2, 0.3))
    assert (c.primary_deg[0], c.secondary_deg[0], c.principal_point_px) == (5.0, 6.0, (10.0, 20.0))
    assert run.frame_times_s == pytest.approx(np.arange(12) * 0.5)


@pytest.mark.parametrize("line", ["frame_times_s = [0.0, 0.1]", "mask_frames = [13]"])
def test_study_toml_that_does_not_fit_the_run_is_refused(tmp_path, line):
    dsa(tmp_path)
    say(tmp_path, f'[[run]]\nfile = "dsa.dcm"\n{line}\n')
    assert line.split(" ")[0] in refusal(tmp_path)


def test_flips_turn_the_frames_and_the_principal_point(tmp_path):
    dsa(tmp_path)
    upright = read_study(tmp_path).runs[0]
    say(tmp_path, '[[run]]\nfile = "dsa.dcm"\nflip_rows = true\nflip_columns = true\nprincipal_point_px = [10, 20]\n')
    turned = read_study(tmp_path).runs[0]
    assert np.array_equal(turned.line_integrals, upright.line_integrals[:, ::-1, ::-1])
    assert turned.carm.principal_point_px == (53.0, 59.0)


def test_all_that_is_missing_is_asked_for_at_once(tmp_path):
    dsa(tmp_path, DistanceSourceToDetector=None, ImagerPixelSpacing=None)
    message = refusal(tmp_path)
    for word in ("dsa.dcm", "(0018,1110)", "(0018,1164)", "source_to_detector_mm", "pixel_spacing_mm"):
        assert word in message


def test_an_ignored_run_is_not_read(tmp_path):
    volume(tmp_path)
    dsa(tmp_path, DistanceSourceToDetector=None)
    say(tmp_path, '[[run]]\nfile = "dsa.dcm"\nrole = "ignore"\n')
    assert read_study(tmp_path).runs == ()


# clock


def test_runs_of_one_moment_are_one_injection_and_others_their_own(tmp_path):
    dsa(tmp_path, "a.dcm")
    dsa(tmp_path, "b.dcm", AcquisitionDate=None, AcquisitionTime=None, AcquisitionDateTime="20260105101500.000")
    dsa(tmp_path, "c.dcm", AcquisitionTime="101700")
    a, b, c = read_study(tmp_path).runs
    assert a.injection == b.injection != c.injection
    assert a.frame_times_s[0] == b.frame_times_s[0] == c.frame_times_s[0] == 0.0


def test_planes_that_fire_in_turn_keep_their_offset(tmp_path):
    dsa(tmp_path, "a.dcm", AcquisitionTime="101500.050")
    dsa(tmp_path, "b.dcm")
    a, b = read_study(tmp_path).runs
    assert a.injection == b.injection and a.frame_times_s[0] == pytest.approx(0.05) and b.frame_times_s[0] == 0.0


def test_a_time_offset_outweighs_the_clock(tmp_path):
    dsa(tmp_path, "a.dcm")
    dsa(tmp_path, "b.dcm", AcquisitionTime="101700")
    say(tmp_path, '[[run]]\nfile = "a.dcm"\ntime_offset_s = 0\n[[run]]\nfile = "b.dcm"\ntime_offset_s = 0.25\n')
    a, b = read_study(tmp_path).runs
    assert a.injection == b.injection and b.frame_times_s == pytest.approx(a.frame_times_s + 0.25)


def test_runs_without_a_time_are_injections_of_their_own(tmp_path):
    for name in ("a.dcm", "b.dcm"):
        dsa(tmp_path, name, AcquisitionTime=None)
    a, b = read_study(tmp_path).runs
    assert a.injection != b.injection


# rotational runs


def test_of_a_pair_the_less_attenuating_is_the_mask(tmp_path):
    _, truth = rotation(tmp_path, "a.dcm", True, seed=1)
    rotation(tmp_path, "b.dcm", False, seed=2)
    (run,) = read_study(tmp_path).runs
    assert run.role is RunRole.FILL and run.name == "a.dcm"
    assert run.carm.primary_deg == pytest.approx(VIEWS - 50) and len(run.cameras((0, 0, 0))) == 12
    found = run.line_integrals
    assert (found * truth).sum() / (truth**2).sum() == pytest.approx(1.0, abs=0.01)
    z = ((found - truth) / run.noise)[:, :20]
    assert abs(z.mean()) < 0.05 and z.std() == pytest.approx(1.0, abs=0.15)


def test_roles_outweigh_attenuation(tmp_path):
    rotation(tmp_path, "a.dcm", True)
    rotation(tmp_path, "b.dcm", False)
    say(tmp_path, '[[run]]\nfile = "a.dcm"\nrole = "mask"\n')
    (run,) = read_study(tmp_path).runs
    assert run.name == "b.dcm" and run.line_integrals.min() < -0.5


def test_frames_are_paired_by_the_nearest_angle(tmp_path):
    _, truth = rotation(tmp_path, "a.dcm", True, seed=1)
    rotation(tmp_path, "b.dcm", False, np.linspace(110.5, 0.5, 12), seed=2)
    study = read_study(tmp_path)
    assert any("0.50°" in n for n in study.notes)
    assert np.abs(study.runs[0].line_integrals - truth).mean() < 0.05


def test_a_rotational_run_without_its_pair_is_noted_and_the_rest_is_used(tmp_path):
    volume(tmp_path)
    rotation(tmp_path, "a.dcm", True)
    rotation(tmp_path, "b.dcm", False, VIEWS + 40)
    study = read_study(tmp_path)
    assert study.runs == () and sum("mask" in n for n in study.notes) == 2


def test_only_a_rotational_run_without_its_pair_is_refused(tmp_path):
    rotation(tmp_path, "a.dcm", True)
    assert "mask" in refusal(tmp_path)


def test_dsa_and_rotation_live_together(tmp_path):
    rotation(tmp_path, "a.dcm", True)
    rotation(tmp_path, "b.dcm", False)
    dsa(tmp_path, "c.dcm")
    study = read_study(tmp_path)
    assert len(study.dsa) == len(study.rotational) == 1
    assert study.dsa[0].injection != study.rotational[0].injection


@pytest.mark.parametrize("role", ["mask", "fill"])
def test_roles_of_rotation_are_refused_for_a_run_at_rest(tmp_path, role):
    dsa(tmp_path)
    say(tmp_path, f'[[run]]\nfile = "dsa.dcm"\nrole = "{role}"\n')
    assert "PositionerPrimaryAngleIncrement (0018,1520)" in refusal(tmp_path)


# what cannot be read


def test_an_empty_or_absent_folder_is_refused(tmp_path):
    assert "no angiography volume" in refusal(tmp_path)
    assert "no such folder" in refusal(tmp_path / "gone")


def test_two_volumes_are_refused_by_name(tmp_path):
    volume(tmp_path, "a.nrrd")
    volume(tmp_path, "b.nii.gz")
    message = refusal(tmp_path)
    assert "a.nrrd" in message and "b.nii.gz" in message


def test_a_given_lumen_is_not_taken_for_the_volume(tmp_path):
    volume(tmp_path, "a.nrrd")
    volume(tmp_path, "lumen.nrrd", seed=1)
    say(tmp_path, '[geometry]\nlumen_file = "lumen.nrrd"\n')
    study = read_study(tmp_path)
    assert study.volume is not None and study.volume.name == "a.nrrd"


@pytest.mark.parametrize("place", ["truth", "export/truth"])
def test_a_folder_of_truth_is_not_looked_into(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    volume(tmp_path, f"{place}/volume.nrrd")
    dsa(tmp_path, f"{place}/clean.dcm")
    assert place in refusal(tmp_path)
    volume(tmp_path)
    dsa(tmp_path)
    study = read_study(tmp_path)
    assert study.volume.name == "volume.nrrd" and [r.name for r in study.runs] == ["dsa.dcm"]
    assert f"{place}: a folder of this name is not looked into." in study.notes


def test_a_secondary_capture_is_left_out_with_a_note_or_refused_alone(tmp_path):
    colour = np.zeros((2, 8, 8, 3), np.uint8)
    write(
        xa(colour, bits=8, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", SamplesPerPixel=3,
           PhotometricInterpretation="RGB", PlanarConfiguration=0),
        tmp_path / "capture.dcm",
    )  # fmt: skip
    assert "Secondary Capture" in refusal(tmp_path)
    volume(tmp_path)
    assert any("Secondary Capture" in n for n in read_study(tmp_path).notes)


def test_one_frame_is_no_run(tmp_path):
    dsa(tmp_path, pixels=PIXELS[:1])
    assert "NumberOfFrames (0028,0008)" in refusal(tmp_path)
    volume(tmp_path)
    study = read_study(tmp_path)
    assert study.runs == () and any("dsa.dcm is not used: NumberOfFrames (0028,0008)" in n for n in study.notes)
    say(tmp_path, '[[run]]\nfile = "dsa.dcm"\nrole = "dsa"\n')
    assert "one frame" in refusal(tmp_path)


def test_a_truncated_run_is_an_error_even_beside_good_files(tmp_path):
    volume(tmp_path)
    path = dsa(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    assert "dsa.dcm" in refusal(tmp_path)
    path.write_bytes(b"")
    assert "dsa.dcm" in refusal(tmp_path)


def test_a_run_of_another_kind_named_in_study_toml_is_refused(tmp_path):
    volume(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    say(tmp_path, '[[run]]\nfile = "x.txt"\n')
    assert "x.txt" in refusal(tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    volume(outside)
    dsa(tmp_path)
    (tmp_path / "volume.nrrd").symlink_to(outside / "volume.nrrd")
    (tmp_path / "more").symlink_to(outside)
    study = read_study(tmp_path)
    assert study.volume is None
    assert any("volume.nrrd" in n and "copy" in n for n in study.notes) and any(
        n.startswith("more") for n in study.notes
    )


def test_a_linked_study_folder_is_the_study(tmp_path):
    dsa(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(read_study(tmp_path / "link").runs) == 1


def test_memory_is_bounded(tmp_path):
    dsa(tmp_path)
    assert "GiB" in refusal(tmp_path, ResourceError, memory_limit_bytes=10_000)


# real files


@needs_case
def test_the_open_case_as_it_is():
    study = read_study(CASE)
    assert study.volume is not None and study.volume.affine[:3, 3] == pytest.approx([-33.88, -16.32, -58.27])
    assert [r.name for r in study.dsa] == ["dsa_1.dcm", "dsa_2.dcm"] and study.dsa[0].injection == study.dsa[
        1
    ].injection
    (turning,) = study.rotational
    assert turning.name == "rot_fill.dcm" and len(turning.carm.primary_deg) == 32
    assert turning.injection != study.dsa[0].injection
    # the strongest line integrals that the case was made with
    for run, peak in zip(study.dsa, (1.1133, 1.6179), strict=True):
        assert np.quantile(run.line_integrals.max(0), 0.9995) == pytest.approx(peak, rel=0.05)
        quiet = run.line_integrals[:3] / run.noise
        assert quiet.std() == pytest.approx(np.sqrt(2 / 3) / np.sqrt(4 / 3), rel=0.05)


@needs_case
def test_the_open_case_without_study_toml_and_masks_in_the_header(tmp_path):
    shutil.copy(CASE / "volume.nrrd", tmp_path)
    for name in ("dsa_1.dcm", "dsa_2.dcm"):
        ds = pydicom.dcmread(CASE / name)
        del ds.MaskSubtractionSequence
        ds.save_as(tmp_path / name)
    with_mask = read_study(CASE).dsa
    for run, other in zip(read_study(tmp_path).dsa, with_mask, strict=True):
        assert 3 <= len(run.mask_frames) <= 5
        assert np.abs((run.line_integrals - other.line_integrals).mean(0)).mean() < 0.5 * other.noise.mean()


@needs_rubo
def test_a_real_coronary_run_shows_its_bolus_once_its_geometry_is_given(tmp_path):
    shutil.copy(RUBO, tmp_path)
    message = refusal(tmp_path)
    for word in ("(0018,1110)", "(0018,1111)", "(0018,1164)"):
        assert word in message
    say(
        tmp_path,
        f'[[run]]\nfile = "{RUBO.name}"\nsource_to_detector_mm = 1000\nsource_to_isocentre_mm = 750\n'
        "pixel_spacing_mm = [0.28, 0.28]\n",
    )
    (run,) = read_study(tmp_path).runs
    assert run.mask_frames[0] >= 4 and run.mask_frames[-1] <= 15
    proximal = np.quantile(run.line_integrals[:, 110:180, 120:260], 0.95, axis=(1, 2))
    distal = np.quantile(run.line_integrals[:, 340:400, 150:250], 0.95, axis=(1, 2))
    early, late = slice(5, 14), slice(45, 60)
    assert proximal[late].mean() > proximal[early].mean() + 0.3 and distal[late].mean() > distal[early].mean() + 0.2
    arrival = [int(np.argmax(curve > 0.5 * (curve[early].mean() + curve[late].mean()))) for curve in (proximal, distal)]
    assert arrival[0] < arrival[1]

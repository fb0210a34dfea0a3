"""Headers and frames of X-ray runs: what is said is read, what is missing is asked for, what is broken is refused."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from written_xa import average_mask, bolus, enhanced, intensities, item_of, stored, write, write_jpeg, write_rle, xa

from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.xa import IntensityRelationship, missing, moment_of, read_frames, read_header
from VesselFlowGSLib.errors import InputError, ResourceError

SETTINGS = AcquisitionSettings()
PIXELS = stored(intensities(bolus(frames=6)))
TURN = np.linspace(0, 100, 6)


def header_of(path, settings=SETTINGS):
    return read_header(path, path.name, settings)


def reads(tmp_path, **changes):
    return header_of(write(xa(PIXELS, **changes), tmp_path / "run.dcm"))


def refuses(tmp_path, error=InputError, **changes):
    path = write(xa(PIXELS, **changes), tmp_path / "run.dcm")
    with pytest.raises(error) as caught:
        header_of(path)
    message = str(caught.value)
    assert message.startswith("run.dcm") and "SECRET" not in message.upper() and message.count("\n") <= 1
    return message


def test_a_complete_header_is_read(tmp_path):
    h = reads(tmp_path)
    assert (h.rows, h.columns, h.frames, h.bits_stored) == (64, 80, 6, 12)
    assert (h.source_to_detector_mm, h.source_to_isocentre_mm, h.spacing_mm) == (1100.0, 700.0, (0.4, 0.5))
    assert h.primary_deg == pytest.approx([-30.0]) and h.secondary_deg == pytest.approx([10.0])
    assert h.frame_times_s == pytest.approx(np.arange(6) * 0.1)
    assert h.relationship is IntensityRelationship.LINEAR and h.sign == 1 and not h.subtracted
    assert missing(h) == ()


@pytest.mark.parametrize("writer", [write, write_rle, write_jpeg])
def test_frames_are_read_exactly_however_they_are_packed(tmp_path, writer):
    h = header_of(writer(xa(PIXELS), tmp_path / "run.dcm"))
    assert np.array_equal(read_frames(h), PIXELS)


def test_jpeg_baseline_is_read_and_its_loss_noted(tmp_path):
    pixels = (PIXELS // 16).astype(np.uint8)
    h = header_of(write_jpeg(xa(pixels, bits=8), tmp_path / "run.dcm", lossless=False))
    assert np.abs(read_frames(h).astype(int) - pixels).mean() < 3
    assert "loss" in h.notes[0]


def test_all_that_is_missing_is_named_with_tag_and_key(tmp_path):
    absent = dict.fromkeys(
        ("DistanceSourceToDetector", "DistanceSourceToPatient", "ImagerPixelSpacing", "PositionerPrimaryAngle",
         "PositionerSecondaryAngle", "FrameTime")
    )  # fmt: skip
    lacks = dict(missing(reads(tmp_path, **absent)))
    assert lacks["DistanceSourceToDetector (0018,1110)"] == "source_to_detector_mm"
    assert lacks["DistanceSourceToPatient (0018,1111)"] == "source_to_isocentre_mm"
    assert lacks["ImagerPixelSpacing (0018,1164)"] == "pixel_spacing_mm"
    assert set(lacks.values()) >= {"primary_angle_deg", "secondary_angle_deg", "frame_times_s"}


def test_pixel_spacing_at_the_patient_is_not_taken_for_that_at_the_detector(tmp_path):
    assert reads(tmp_path, ImagerPixelSpacing=None, PixelSpacing=[0.2, 0.2]).spacing_mm is None


def test_the_isocentre_follows_from_the_magnification_and_is_noted(tmp_path):
    h = reads(tmp_path, DistanceSourceToPatient=None, EstimatedRadiographicMagnificationFactor=1.6)
    assert h.source_to_isocentre_mm == pytest.approx(1100 / 1.6)
    assert "EstimatedRadiographicMagnificationFactor (0018,1114)" in h.notes[0]


def test_a_frame_time_vector_holds_differences(tmp_path):
    h = reads(tmp_path, FrameTime=None, FrameTimeVector=[0, 100, 100, 200, 200, 500], FrameIncrementPointer=0x00181065)
    assert h.frame_times_s == pytest.approx([0, 0.1, 0.2, 0.4, 0.6, 1.1])


@pytest.mark.parametrize("vector", [[0, 100], [0, 100, -100, 100, 100, 100]])
def test_a_frame_time_vector_that_does_not_fit_is_refused(tmp_path, vector):
    message = refuses(tmp_path, FrameTime=None, FrameTimeVector=vector, FrameIncrementPointer=0x00181065)
    assert "FrameTimeVector (0018,1065)" in message and "frame_times_s" in message


def test_negative_frame_times_are_refused(tmp_path):
    assert "FrameTime (0018,1063)" in refuses(tmp_path, FrameTime=-33.0)


@pytest.mark.parametrize(
    ("increments", "expected"),
    [
        (list(TURN), TURN - 50),
        ([20.0], np.arange(6) * 20.0 - 50),
        ([0.0] + [20.0] * 5, np.arange(6) * 20.0 - 50),
        ([20.0] * 6, np.arange(6) * 20.0 - 50),
        ([0, 1, 5, 20, 60, 100], np.array([0, 1, 5, 20, 60, 100]) - 50.0),
    ],
)
def test_increments_are_offsets_or_steps_as_their_number_and_course_tell(tmp_path, increments, expected):
    h = reads(
        tmp_path, PositionerMotion="DYNAMIC", PositionerPrimaryAngle=-50.0, PositionerPrimaryAngleIncrement=increments
    )
    assert h.primary_deg == pytest.approx(expected)
    assert h.rotational(SETTINGS)


def test_absolute_angles_as_increments_of_zero(tmp_path):
    absolute = {"PositionerPrimaryAngle": 0.0, "PositionerPrimaryAngleIncrement": list(TURN - 40)}
    h = reads(tmp_path, PositionerMotion="DYNAMIC", **absolute)
    assert h.primary_deg == pytest.approx(TURN - 40)


def test_a_c_arm_that_trembles_is_at_rest(tmp_path):
    h = reads(tmp_path, PositionerPrimaryAngleIncrement=[0, 0.1, 0.2, 0.1, 0, 0.1])
    assert not h.rotational(SETTINGS) and h.primary_deg == pytest.approx([-30.0]) and "rest" in h.notes[0]


def test_masks_are_read_from_zero(tmp_path):
    mask = average_mask(1, 2, ApplicableFrameRange=[3, 6], MaskSubPixelShift=[1.5, -2])
    h = reads(tmp_path, MaskSubtractionSequence=mask)
    assert h.masks[0].frames == (0, 1) and h.masks[0].ranges == ((2, 5),) and h.masks[0].shift_px == (1.5, -2.0)
    none = item_of(MaskOperation="NONE", MaskFrameNumbers=0)
    assert reads(tmp_path, MaskSubtractionSequence=none).masks == ()
    interval = item_of(MaskOperation="TID", TIDOffset=2)
    assert reads(tmp_path, MaskSubtractionSequence=interval).masks[0].time_interval == 2


def test_a_mask_frame_that_is_not_there_is_refused(tmp_path):
    message = refuses(tmp_path, MaskSubtractionSequence=average_mask(1, 7))
    assert "MaskFrameNumbers (0028,6110)" in message and "mask_frames" in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"Modality": "US"}, "Modality (0008,0060)"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "SOPClassUID (0008,0016)"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "PhotometricInterpretation (0028,0004)"),
        ({"Rows": 65535}, "Rows (0028,0010)"),
        ({"Rows": None}, "Rows (0028,0010)"),
        ({"NumberOfFrames": 0}, "NumberOfFrames (0028,0008)"),
        ({"NumberOfFrames": 10**8}, "NumberOfFrames (0028,0008)"),
        ({"NumberOfFrames": 500}, "truncated"),
        ({"BitsAllocated": 32}, "BitsAllocated (0028,0100)"),
        ({"ImagerPixelSpacing": [0.0, 0.4]}, "ImagerPixelSpacing (0018,1164)"),
        ({"DistanceSourceToDetector": -1100.0}, "DistanceSourceToDetector (0018,1110)"),
        ({"PositionerPrimaryAngleIncrement": [1.0, 2.0, 3.0]}, "PositionerPrimaryAngleIncrement (0018,1520)"),
    ],
)
def test_broken_headers_are_refused_by_name(tmp_path, changes, named):
    assert named in refuses(tmp_path, **changes)


def test_a_matrix_of_200000_is_refused_before_anything_is_decoded(tmp_path):
    ds = xa(PIXELS)
    for keyword in ("Rows", "Columns"):
        ds[keyword].VR = "UL"
        ds[keyword].value = 200_000
    with pytest.raises(InputError, match="200000"):
        header_of(write(ds, tmp_path / "run.dcm"))


def test_a_run_beyond_the_memory_limit_is_refused(tmp_path):
    path = write(xa(PIXELS), tmp_path / "run.dcm")
    with pytest.raises(ResourceError, match="GiB"):
        header_of(path, AcquisitionSettings(memory_limit_bytes=100_000))


@pytest.mark.parametrize("writer", [write, write_rle, write_jpeg])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_truncated_files_are_refused_wherever_they_end(tmp_path, writer, share):
    path = writer(xa(PIXELS), tmp_path / "run.dcm")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="run.dcm"):
        read_frames(header_of(path))


def test_enhanced_xa_is_read_from_its_functional_groups(tmp_path):
    angles = np.stack([TURN - 50, np.full(6, 3.0)], 1)
    h = header_of(write(enhanced(PIXELS, angles, step_s=0.125), tmp_path / "run.dcm"))
    assert h.enhanced and h.primary_deg == pytest.approx(TURN - 50) and h.secondary_deg == pytest.approx([3.0] * 6)
    assert (h.source_to_detector_mm, h.source_to_isocentre_mm, h.spacing_mm) == (1100.0, 700.0, (0.4, 0.5))
    assert h.frame_times_s == pytest.approx(np.arange(6) * 0.125)
    assert h.relationship is IntensityRelationship.LINEAR and not missing(h)


def test_enhanced_xa_at_rest_with_durations_only(tmp_path):
    ds = enhanced(PIXELS, np.tile([-30.0, 10.0], (6, 1)))
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.FrameContentSequence = item_of(FrameAcquisitionDuration=66.0)
    h = header_of(write(ds, tmp_path / "run.dcm"))
    assert h.primary_deg == pytest.approx([-30.0]) and h.frame_times_s == pytest.approx(np.arange(6) * 0.066)
    assert "FrameAcquisitionDuration (0018,9220)" in h.notes[0]


def test_enhanced_xa_tells_that_it_is_subtracted(tmp_path):
    ds = enhanced(PIXELS, np.tile([-30.0, 10.0], (6, 1)))
    properties: Dataset = ds.SharedFunctionalGroupsSequence[0].FramePixelDataPropertiesSequence[0]
    properties.ImageProcessingApplied = "DIGITAL_SUBTR"
    assert "DIGITAL_SUBTR" in header_of(write(ds, tmp_path / "run.dcm")).subtracted


def test_a_file_that_is_no_dicom_is_refused(tmp_path):
    path = tmp_path / "run.dcm"
    path.write_bytes(b"nothing of the kind" * 40)
    with pytest.raises(InputError, match="not readable"):
        header_of(path)


def test_moments_are_read_with_fractions_and_zones():
    assert moment_of("20260105101500.25") == moment_of("20260105 101500.250000".replace(" ", ""))
    assert moment_of("20260105121500+0200") == moment_of("20260105101500")
    assert moment_of("202601051015") == moment_of("20260105101500.0")
    assert moment_of("nonsense") is None and moment_of("20269905101500") is None


def test_r_waves_and_heart_rate_are_kept(tmp_path):
    h = reads(tmp_path, RWavePointer=[1, 5, 99], HeartRate=72)
    assert h.r_wave_frames == (0, 4) and h.heart_rate_bpm == 72.0


def test_a_damaged_header_does_not_show_the_patient(tmp_path):
    """A length that swallows the attributes after it must not carry the patient's name into a message."""
    path = write(xa(PIXELS), tmp_path / "run.dcm")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x08\x00\x60\x00CS") + 6
    data[at : at + 2] = (80).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        header_of(path)
    assert "SECRET" not in str(caught.value).upper()

"""Damaged headers and files end in a Study or in a clear refusal, never in another exception."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid
from written_xa import average_mask, bolus, change, enhanced, intensities, stored, write, write_rle, xa

from VesselFlowGSLib.acquisition.inspection import describe, inspect_study
from VesselFlowGSLib.acquisition.reader import read_study
from VesselFlowGSLib.errors import VesselFlowError

SMALL = stored(intensities(bolus(frames=6, rows=16, columns=20, arrives=3)))
BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

number = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1e-30, 1e30])
numbers = st.lists(number, max_size=8)
whole = st.integers(-2, 70_000)
word = st.sampled_from(["", "LIN", "LOG", "DISP", "DYNAMIC", "MONOCHROME1", "SUBTRACTED", "XA", "CT", "ÄÖ", "x" * 16])

CHANGES = {
    "Rows": st.integers(0, 65535), "Columns": st.integers(0, 65535), "NumberOfFrames": whole,
    "BitsAllocated": st.sampled_from([0, 1, 8, 12, 16, 32]), "BitsStored": st.integers(0, 33),
    "PixelRepresentation": st.integers(0, 2), "SamplesPerPixel": st.integers(0, 4),
    "PhotometricInterpretation": word, "PixelIntensityRelationship": word,
    "PixelIntensityRelationshipSign": st.integers(-3, 3), "Modality": word, "ImageType": st.lists(word, max_size=4),
    "FrameTime": number, "FrameTimeVector": numbers, "DistanceSourceToDetector": number,
    "DistanceSourceToPatient": number, "ImagerPixelSpacing": numbers, "PositionerMotion": word,
    "PositionerPrimaryAngle": number, "PositionerPrimaryAngleIncrement": numbers,
    "EstimatedRadiographicMagnificationFactor": number, "AcquisitionTime": st.sampled_from(["", "99", "noon"]),
    "AcquisitionDateTime": st.sampled_from(["", "2026", "20261399999999", "20260101101010.5"]),
    "RescaleSlope": number, "RescaleIntercept": number, "RWavePointer": st.lists(st.integers(0, 65535), max_size=3),
}  # fmt: skip
any_changes = st.dictionaries(st.sampled_from(sorted(CHANGES)), st.none(), min_size=1, max_size=4).flatmap(
    lambda chosen: st.fixed_dictionaries({k: st.none() | CHANGES[k] for k in chosen})
)


def survives(folder):
    try:
        study = read_study(folder, memory_limit_bytes=1 << 28)
    except VesselFlowError as error:
        assert str(error).count("\n") <= 1 and "secret" not in str(error).lower()
    else:
        for run in study.runs:
            assert np.all(np.isfinite(run.line_integrals)) and np.all(run.noise >= 0) and np.all(np.isfinite(run.noise))
            assert np.all(np.isfinite(run.frame_times_s))
    assert "secret" not in describe(inspect_study(folder)).lower()


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@BOUNDED
@given(any_changes, st.sampled_from([write, write_rle]))
def test_changed_headers(tmp_path, changes, writer):
    folder = tmp_path / generate_uid()[-12:]
    ds = xa(SMALL, MaskSubtractionSequence=average_mask(1, 2))
    if writer is write_rle:
        ds.compress("1.2.840.10008.1.2.5")
    try:
        change(ds, changes)
        write(ds, folder / "run.dcm")
    except (ValueError, TypeError, OverflowError, AttributeError):
        return  # no DICOM writer would write this
    survives(folder)


@BOUNDED
@given(st.integers(132, 3000), st.integers(0, 255), st.integers(1, 6), st.booleans())
def test_changed_bytes(tmp_path, at, byte, count, functional_groups):
    folder = tmp_path / generate_uid()[-12:]
    ds = enhanced(SMALL, np.tile([1.0, 2.0], (6, 1))) if functional_groups else xa(SMALL)
    path = write(ds, folder / "run.dcm")
    data = bytearray(path.read_bytes())
    at = min(at, len(data) - count)
    data[at : at + count] = bytes([byte]) * count
    path.write_bytes(data)
    survives(folder)


@BOUNDED
@given(st.floats(0, 1), st.booleans())
def test_cut_files(tmp_path, share, packed):
    folder = tmp_path / generate_uid()[-12:]
    path = (write_rle if packed else write)(xa(SMALL), folder / "run.dcm")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    survives(folder)

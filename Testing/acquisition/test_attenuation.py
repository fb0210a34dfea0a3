"""Gray levels become line integrals by Beer-Lambert, with the noise that the frames really have."""

from dataclasses import replace

import numpy as np
import pytest
from written_xa import PHOTONS, average_mask, bolus, enhanced, intensities, item_of, stored, write, xa

from VesselFlowGSLib.acquisition.attenuation import log_frames, looks_subtracted, subtract, unfilled_frames
from VesselFlowGSLib.acquisition.settings import AcquisitionSettings
from VesselFlowGSLib.acquisition.xa import read_frames, read_header
from VesselFlowGSLib.errors import InputError

SETTINGS = AcquisitionSettings()
TRUTH = bolus()
LEVELS = intensities(TRUTH)


def logs_of(path):
    header = read_header(path, path.name, SETTINGS)
    return log_frames(read_frames(header), header, SETTINGS), header


def integrals_of(tmp_path, pixels, bits=12, **changes):
    logs, header = logs_of(write(xa(pixels, bits=bits, **changes), tmp_path / "run.dcm"))
    return subtract(logs, header, SETTINGS)


def slope(found, truth=TRUTH):
    """The factor from true to found line integrals, by least squares."""
    return float((found * truth).sum() / (truth * truth).sum())


def test_line_integrals_are_unbiased_and_as_noisy_as_said(tmp_path):
    got = integrals_of(tmp_path, stored(LEVELS), MaskSubtractionSequence=average_mask(1, 2, 3, 4))
    error = got.values - TRUTH
    assert got.values.dtype == np.float32 and got.noise.dtype == np.float32
    assert got.mask_frames == (0, 1, 2, 3)
    assert slope(got.values) == pytest.approx(1.0, abs=0.01)
    unfilled_rows = np.r_[0:20, 45:64]
    z = (error / got.noise)[5:, unfilled_rows]
    assert abs(z.mean()) < 0.1 and z.std() == pytest.approx(1.0, abs=0.12)


def test_nothing_is_clipped(tmp_path):
    got = integrals_of(tmp_path, stored(LEVELS))
    background = got.values[:, :20]
    assert 0.4 < (background < 0).mean() < 0.6


def test_the_unfilled_frames_are_found_without_a_mask_in_the_header(tmp_path):
    got = integrals_of(tmp_path, stored(LEVELS))
    assert got.mask_frames and max(got.mask_frames) < 5 and len(got.mask_frames) >= 3
    assert slope(got.values) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("arrives", [3, 8, 20])
def test_arrival_is_found_when_it_is(tmp_path, arrives):
    logs, _ = logs_of(write(xa(stored(intensities(bolus(30, arrives=arrives), seed=arrives))), tmp_path / "run.dcm"))
    unfilled, arrived = unfilled_frames(logs, SETTINGS)
    assert arrived and unfilled.stop <= arrives and unfilled.stop >= 0.7 * arrives


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_motion_alone_are_no_contrast(tmp_path, seed):
    still = intensities(np.zeros((20, 64, 64)), seed)
    shaken = np.stack([np.roll(f, int(round(2 * np.sin(t))), axis=1) for t, f in enumerate(still)])
    for levels in (still, shaken):
        logs, _ = logs_of(write(xa(stored(levels)), tmp_path / "run.dcm"))
        assert not unfilled_frames(logs, SETTINGS)[1]


def test_an_exposure_that_settles_is_not_used_as_mask_and_taken_out(tmp_path):
    gains = np.concatenate([[1.4, 1.25, 1.1], np.ones(17)])
    levels = intensities(bolus(20, arrives=12), top=2000.0) * gains[:, None, None]
    got = integrals_of(tmp_path, stored(levels))
    assert min(got.mask_frames) >= 2 and any("exposure" in n for n in got.notes)
    assert slope(got.values, bolus(20, arrives=12)) == pytest.approx(1.0, abs=0.02)
    assert np.abs(np.median(got.values, axis=(1, 2))).max() < 0.01


def test_a_steady_exposure_is_left_alone(tmp_path):
    assert not any("exposure" in n for n in integrals_of(tmp_path, stored(LEVELS)).notes)


def test_without_unfilled_frames_the_mask_is_asked_for(tmp_path):
    filling = np.linspace(0.1, 1.0, 10)[:, None, None] * bolus(10, arrives=-20)
    with pytest.raises(InputError, match="mask_frames"):
        integrals_of(tmp_path, stored(intensities(filling)))


def test_a_run_without_contrast_is_flat_and_noted(tmp_path):
    got = integrals_of(tmp_path, stored(intensities(np.zeros((12, 64, 64)))))
    assert any("no contrast" in n for n in got.notes) and abs(got.values.mean()) < 1e-3


def test_masks_of_several_ranges_each_hold_for_their_frames(tmp_path):
    gains = np.where(np.arange(12) < 6, 1.0, 0.8)[:, None, None]
    masks = [
        *average_mask(1, 2, ApplicableFrameRange=[1, 6]),
        *average_mask(11, 12, ApplicableFrameRange=[7, 12]),
    ]
    flat = intensities(np.zeros((12, 64, 64))) * gains
    got = integrals_of(tmp_path, stored(flat), MaskSubtractionSequence=masks)
    assert np.abs(got.values.mean((1, 2))).max() < 2e-3


@pytest.mark.parametrize("sign", [1, -1])
def test_a_shifted_mask_is_moved_onto_its_frames(tmp_path, sign):
    levels = intensities(TRUTH)
    levels[3:] = np.roll(levels[3:], 2, axis=2)
    shifted = average_mask(1, 2, 3, ApplicableFrameRange=[4, 12], MaskSubPixelShift=[0.0, 2.0 * sign])
    got = integrals_of(tmp_path, stored(levels), MaskSubtractionSequence=shifted)
    assert np.abs(got.values[4:, :20, 6:-6]).mean() < 2 * got.noise.mean()


def test_time_interval_differences_are_replaced_by_one_mask(tmp_path):
    interval = item_of(MaskOperation="TID", TIDOffset=1)
    got = integrals_of(tmp_path, stored(LEVELS), MaskSubtractionSequence=interval)
    assert slope(got.values) == pytest.approx(1.0, abs=0.01) and any("TID" in n for n in got.notes)


def test_inverted_gray_levels_give_the_same_line_integrals(tmp_path):
    upright, inverted = stored(LEVELS), 4095 - stored(LEVELS)
    expected = integrals_of(tmp_path, upright).values
    by_sign = integrals_of(tmp_path, inverted, PixelIntensityRelationshipSign=-1)
    by_display = integrals_of(
        tmp_path, inverted, PixelIntensityRelationshipSign=None, PhotometricInterpretation="MONOCHROME1"
    )
    assert np.array_equal(by_sign.values, expected) and np.array_equal(by_display.values, expected)
    assert any("MONOCHROME1" in n for n in by_display.notes)


def test_a_stated_sign_outweighs_the_display(tmp_path):
    got = integrals_of(tmp_path, stored(LEVELS), PhotometricInterpretation="MONOCHROME1")
    assert slope(got.values) == pytest.approx(1.0, abs=0.01)


def test_a_run_that_brightens_is_doubted(tmp_path):
    mask = average_mask(1, 2)
    got = integrals_of(tmp_path, stored(LEVELS), PixelIntensityRelationshipSign=-1, MaskSubtractionSequence=mask)
    assert any("PixelIntensityRelationshipSign (0028,1041)" in n for n in got.notes)


def test_logarithmic_values_with_their_table_give_true_line_integrals(tmp_path):
    codes = np.arange(4096)
    linear = np.rint(np.exp(codes / 4095 * np.log(60000)))
    pixels = stored(np.log(np.maximum(LEVELS * 10, 1)) / np.log(60000) * 4095)
    table = item_of(LUTDescriptor=[4096, 0, 16], LUTData=linear.astype("<u2").tobytes(), ModalityLUTType="US")
    table[0]["LUTData"].VR = "OW"
    got = integrals_of(tmp_path, pixels, PixelIntensityRelationship="LOG", ModalityLUTSequence=table)
    assert slope(got.values) == pytest.approx(1.0, abs=0.02)


def test_enhanced_logarithmic_values_use_the_table_to_linear(tmp_path):
    linear = np.rint(np.exp(np.arange(4096) / 4095 * np.log(60000)))
    pixels = stored(np.log(np.maximum(LEVELS * 10, 1)) / np.log(60000) * 4095)
    ds = enhanced(pixels, np.tile([-30.0, 10.0], (12, 1)))
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.FramePixelDataPropertiesSequence[0].PixelIntensityRelationship = "LOG"
    shared.PixelIntensityRelationshipLUTSequence = item_of(
        LUTFunction="TO_LINEAR", LUTDescriptor=[4096, 0, 16], LUTData=linear.astype("<u2").tobytes()
    )
    shared.PixelIntensityRelationshipLUTSequence[0]["LUTData"].VR = "OW"
    logs, header = logs_of(write(ds, tmp_path / "run.dcm"))
    assert slope(subtract(logs, header, SETTINGS).values) == pytest.approx(1.0, abs=0.02)


def test_logarithmic_values_with_a_rescale_slope(tmp_path):
    pixels = stored(np.log(LEVELS + 1) * 400)
    got = integrals_of(tmp_path, pixels, PixelIntensityRelationship="LOG", RescaleSlope=1 / 400, RescaleIntercept=0)
    assert slope(got.values) == pytest.approx(1.0, abs=0.01)


def test_logarithmic_values_without_a_scale_are_proportional_and_say_so(tmp_path):
    pixels = stored(np.log(LEVELS + 1) * 400)
    got = integrals_of(tmp_path, pixels, PixelIntensityRelationship="LOG")
    assert np.corrcoef(got.values.ravel(), TRUTH.ravel())[0, 1] > 0.98
    assert any("relative" in n for n in got.notes)


@pytest.mark.parametrize(("relationship", "word"), [("DISP", "DISP"), (None, "absent"), ("SQRT", "OTHER")])
def test_values_that_do_not_give_attenuation_are_refused_with_what_to_export(tmp_path, relationship, word):
    with pytest.raises(InputError, match=r"PixelIntensityRelationship \(0028,1040\).*" + word) as caught:
        integrals_of(tmp_path, stored(LEVELS), PixelIntensityRelationship=relationship)
    assert "Export" in str(caught.value)


def subtracted_pixels(truth=TRUTH):
    """Already subtracted frames, signed and 1000 per unit, brighter where the intensity is higher."""
    rng = np.random.default_rng(1)
    return np.rint(-1000 * (truth + rng.normal(0, 0.02, truth.shape))).astype(np.int16)


@pytest.mark.parametrize("told_by", ["sign of the pixels", "image type", "flat picture"])
def test_subtracted_frames_are_recognised_and_used(tmp_path, told_by):
    pixels, changes = subtracted_pixels(), {"PixelRepresentation": 1}
    if told_by != "sign of the pixels":
        pixels, changes = (pixels.astype(np.int32) + 2048).astype(np.uint16), {}
    if told_by == "image type":
        changes["ImageType"] = ["DERIVED", "PRIMARY", "SINGLE PLANE", "SUBTRACTED"]
    logs, header = logs_of(
        write(
            xa(pixels, bits=12 if not changes or "ImageType" in changes else 16, RescaleSlope=0.001,
               PixelIntensityRelationship="LOG", **changes), tmp_path / "run.dcm",
        )
    )  # fmt: skip
    assert looks_subtracted(logs)
    if told_by == "flat picture":
        header = replace(header, subtracted="flat")
    assert header.subtracted
    got = subtract(logs, header, SETTINGS)
    assert slope(got.values) == pytest.approx(1.0, abs=0.02)
    assert np.median(got.noise) == pytest.approx(0.02, rel=0.3)


def test_subtracted_frames_filled_from_the_first_one_keep_their_contrast(tmp_path):
    truth = bolus(arrives=-20)
    logs, header = logs_of(
        write(
            xa(subtracted_pixels(truth), bits=16, PixelRepresentation=1, RescaleSlope=0.001,
               PixelIntensityRelationship="LOG"), tmp_path / "run.dcm",
        )
    )  # fmt: skip
    assert slope(subtract(logs, header, SETTINGS).values, truth) == pytest.approx(1.0, abs=0.05)


def test_a_subtraction_of_intensities_is_refused(tmp_path):
    with pytest.raises(InputError, match="already subtracted"):
        integrals_of(tmp_path, stored(LEVELS), ImageType=["DERIVED", "PRIMARY", "SINGLE PLANE", "SUBTRACTED"])
    with pytest.raises(InputError, match="negative"):
        integrals_of(tmp_path, subtracted_pixels(), bits=16, PixelRepresentation=1)


def test_anatomy_is_not_mistaken_for_a_subtraction(tmp_path):
    logs, _ = logs_of(write(xa(stored(LEVELS)), tmp_path / "run.dcm"))
    assert not looks_subtracted(logs)


def test_black_and_saturated_pixels_have_no_weight_and_leave_the_others_alone(tmp_path):
    pixels = stored(LEVELS)
    clean = integrals_of(tmp_path, pixels)
    pixels[:, :, :4], pixels[:, :, -3:] = 0, 4095
    got = integrals_of(tmp_path, pixels)
    for edge in (got.noise[:, :4], got.noise[:, -3:]):
        assert np.all(edge == SETTINGS.unmeasured_noise)
    assert np.all(np.isfinite(got.values)) and any("gray levels" in n for n in got.notes)
    assert np.allclose(got.values[:, :, 6:-6], clean.values[:, :, 6:-6], atol=0.02)


def test_a_single_black_pixel_counts_as_half_a_gray_level(tmp_path):
    pixels = stored(LEVELS)
    pixels[9, 10, 10] = 0
    got = integrals_of(tmp_path, pixels, MaskSubtractionSequence=average_mask(1, 2))
    mask = np.log(pixels[:2, 10, 10].astype(float)).mean()
    assert got.values[9, 10, 10] == pytest.approx(mask - np.log(0.5), abs=1e-4)
    assert got.noise[10, 10] < 1


def test_noise_follows_the_photons_where_nothing_tells_their_number(tmp_path):
    """One standard deviation is sqrt(1/N + 1/(4 N)) with N photons in a frame and a mask of four frames."""
    still = np.zeros((12, 96, 96))
    still[6:, 40:50, :40] = 0.5
    mask = average_mask(1, 2, 3, 4)
    got = integrals_of(tmp_path, stored(intensities(still), 16), bits=16, MaskSubtractionSequence=mask)
    r, c = np.mgrid[:96, :96]
    photons = PHOTONS * np.exp(-0.9 - 0.5 * np.sin(c / 9.0) * np.cos(r / 13.0))
    expected = np.sqrt(1.25 / photons)
    assert np.median(got.noise / expected) == pytest.approx(1.0, abs=0.1)
    assert np.corrcoef(got.noise[60:].ravel(), expected[60:].ravel())[0, 1] > 0.95

"""Simulated films and files: line integrals, mass in the image, noise, DICOM, determinism."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.simulation.bolus import Bolus, entering, find_transit, lumen_quadrature
from VesselFlowGSLib.simulation.fields import solve_flow
from VesselFlowGSLib.simulation.projector import Detector, filmed, random_anatomy, ray_lengths
from VesselFlowGSLib.simulation.settings import SimulationSettings, settings_for
from VesselFlowGSLib.simulation.simulate import simulate, view_camera
from VesselFlowGSLib.simulation.vessels import build_vessel
from VesselFlowGSLib.simulation.volume import imaged_volume

STRAIGHT = {"severity": 0.0, "taper": 1.0, "bend_angle_deg": 0.0}


def small(**changes: object) -> SimulationSettings:
    """A straight tube, small images."""
    defaults = {
        **STRAIGHT,
        "length_mm": 24.0,
        "matrix": 64,
        "pitch_mm": 1.0,
        "frames": 12,
        "axisymmetric_radial": 6,
        "knot_spacing_radii": 0.8,
        "voxels": 40,
        "spacing_mm": 1.0,
        "ray_supersampling": 2,
        "truth_samples": 2000,
        "truth_step_mm": 2.0,
    }
    return settings_for("stenosis", **{**defaults, **changes})


@functools.cache
def study(folder: Path, **changes: object) -> Path:
    simulate(small(**changes), folder)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("simulated") / "study", rotational_views=4)


def test_rays_cross_a_tube_along_its_chords() -> None:
    s = small(orientation_deg=(0.0, 0.0, 0.0), ray_supersampling=1)
    vessel = build_vessel(s.vessel)
    centre = np.asarray(s.vessel.centre_lps_mm)
    camera = view_camera(s.imaging, (20.0, 0.0), centre)
    lengths = ray_lengths(vessel, camera, s.sampling).total
    source = camera.source[0] - centre
    rays = (camera.pixel_centres()[0] - camera.source[0]).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    flat = rays[:, :2]  # the tube stands upright: cylinder x² + y² = r²
    a, b = np.sum(flat**2, 1), flat @ source[:2]
    root = b**2 - a * (source[:2] @ source[:2] - s.vessel.radius_mm**2)
    chord = 2 * np.sqrt(np.maximum(root, 0)) / a
    height = np.abs(source[2] - b / a * rays[:, 2])
    clear = (height < s.vessel.length_mm / 2 - 2).reshape(lengths.shape)
    chord = chord.reshape(lengths.shape)
    assert (chord[clear] > 3).sum() > 100
    assert lengths[clear] == pytest.approx(chord[clear], abs=0.03)
    assert lengths[clear].sum() == pytest.approx(chord[clear].sum(), rel=2e-3)


@pytest.mark.parametrize("vessel", ["stenosis", "aneurysm"])
def test_dye_in_the_image_is_what_was_injected(vessel: str) -> None:
    """Sum of line integrals = integral of concentration x magnification² / cosine over the lumen = inflow so far."""
    s = settings_for(vessel, bend_angle_deg=0.0, length_mm=40.0, matrix=96, pitch_mm=0.9, axisymmetric_radial=7)
    v = build_vessel(s.vessel)
    flow = solve_flow(v, s.flow, s.solver)
    bolus = Bolus(s.bolus, find_transit(flow, s.sampling))
    camera = view_camera(s.imaging, s.imaging.views_deg[0], np.asarray(s.vessel.centre_lps_mm))
    time = s.bolus.arrival_s + 0.2
    rays = ray_lengths(v, camera, s.sampling, bolus.transit, time)
    seen = rays.filled(bolus, time).sum() * s.imaging.pitch_mm**2
    points, volume = lumen_quadrature(flow, 0.5)
    x = v.lps(points) - camera.source[0]
    depth = x @ camera.normal[0]
    scale = (s.imaging.source_to_detector_mm / depth) ** 2 * np.linalg.norm(x, axis=1) / depth
    held = bolus.at(bolus.transit.local_times(points), time)
    assert seen == pytest.approx(float(np.sum(volume * held * scale)), rel=0.01)
    t = np.linspace(0, time, 500)
    injected = s.flow.mean_inflow_ml_s * 1e3 * np.trapezoid(entering(s.bolus, t), t)
    left = (
        0.0
        if held.max() == 0
        else s.flow.mean_inflow_ml_s * 1e3 * np.trapezoid(bolus.over_section(0, v.tubes[0].end_mm, t[::10]), t[::10])
    )
    mean_scale = float(np.sum(volume * held * scale) / np.sum(volume * held))
    assert seen / mean_scale + left == pytest.approx(injected, rel=0.01)


def test_noise_has_the_variance_of_counted_photons() -> None:
    rng = np.random.default_rng(3)
    detector = Detector(photons=4000.0, electronic_photons=15.0, focal_blur_px=0.0)
    counts = detector.expose(np.full((8, 100, 100), 0.7), rng)
    expected = 4000 * np.exp(-0.7)
    assert counts.mean() == pytest.approx(expected, rel=2e-3)
    assert counts.var() == pytest.approx(expected + 15.0**2, rel=0.02)


def test_twelve_bits_hold_the_whole_image() -> None:
    s = small()
    centre = np.zeros(3)
    background = random_anatomy(centre, 40.0, 1.0, 0).line_integrals(view_camera(s.imaging, (0.0, 0.0), centre))
    assert background.std() > 0.05
    frames = filmed(background, np.zeros((2, *background.shape)), s.imaging, np.random.default_rng(0))
    assert frames.dtype == np.uint16 and 1 <= frames.min() and 3000 < frames.max() < 4095


def test_films_say_what_a_c_arm_says(written: Path) -> None:
    s = small(rotational_views=4)
    for n, (primary, secondary) in enumerate(s.imaging.views_deg, 1):
        d = pydicom.dcmread(written / f"dsa_{n}.dcm")
        assert d.file_meta.MediaStorageSOPClassUID.name == "X-Ray Angiographic Image Storage"
        assert (float(d.PositionerPrimaryAngle), float(d.PositionerSecondaryAngle)) == (primary, secondary)
        assert (float(d.DistanceSourceToDetector), float(d.DistanceSourceToPatient)) == (1200, 750)
        assert [float(p) for p in d.ImagerPixelSpacing] == [1.0, 1.0]
        assert float(d.FrameTime) == pytest.approx(1000 / 15, rel=1e-5)
        assert list(d.MaskSubtractionSequence[0].MaskFrameNumbers) == [1, 2, 3]
        assert d.pixel_array.shape == (12, 64, 64) and d.BitsStored == 12 and d.PixelIntensityRelationship == "LIN"
    a, b = (pydicom.dcmread(written / f"dsa_{n}.dcm") for n in (1, 2))
    assert a.AcquisitionTime == b.AcquisitionTime and a.StudyInstanceUID == b.StudyInstanceUID
    assert a.SOPInstanceUID != b.SOPInstanceUID
    mask, fill = (pydicom.dcmread(written / f"rot_{n}.dcm") for n in ("mask", "fill"))
    turned = [float(x) for x in mask.PositionerPrimaryAngleIncrement]
    assert turned == pytest.approx([0, 200 / 3, 400 / 3, 200], abs=1e-3)
    assert float(mask.PositionerPrimaryAngle) == -100
    assert fill.pixel_array.mean() < mask.pixel_array.mean()


def test_subtraction_shows_the_bolus_of_the_stated_strength(written: Path) -> None:
    imaging = json.loads((written / "truth" / "imaging.json").read_text())
    for n in (1, 2):
        frames = pydicom.dcmread(written / f"dsa_{n}.dcm").pixel_array.astype(float)
        integrals = -np.log(frames / frames[:3].mean(0))
        assert np.abs(integrals[:3].mean((1, 2))).max() < 2e-3
        assert integrals.max() == pytest.approx(imaging["peak_line_integral"][n - 1], abs=0.08)


@pytest.mark.parametrize("compression", ["rle", "jpeg"])
def test_compression_loses_nothing(written: Path, tmp_path: Path, compression: str) -> None:
    simulate(small(rotational_views=4, compression=compression), tmp_path / "s")
    for file in sorted(p.name for p in written.glob("*.dcm")):
        packed = pydicom.dcmread(tmp_path / "s" / file)
        assert packed.file_meta.TransferSyntaxUID.is_compressed
        assert np.array_equal(packed.pixel_array, pydicom.dcmread(written / file).pixel_array)


def test_same_seed_same_bytes_other_seed_other_noise(written: Path, tmp_path: Path) -> None:
    simulate(small(rotational_views=4), tmp_path / "again")
    names = sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for name in names:
        assert (written / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    simulate(dataclasses.replace(small(rotational_views=4), seed=1), tmp_path / "other")
    assert (written / "dsa_1.dcm").read_bytes() != (tmp_path / "other" / "dsa_1.dcm").read_bytes()


def test_volume_holds_the_vessel_where_it_is(written: Path) -> None:
    s = small()
    image = SimpleITK.ReadImage(str(written / "volume.nrrd"))
    values = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0).astype(float)
    assert image.GetPixelID() == SimpleITK.sitkInt16
    index = np.stack(np.meshgrid(*[np.arange(n) for n in values.shape], indexing="ij"), -1).reshape(-1, 3)
    x = np.asarray(image.GetOrigin()) + index * image.GetSpacing()
    distance = build_vessel(s.vessel).wall_distance(x)
    assert values.ravel()[distance > 1].mean() == pytest.approx(s.volume.vessel_value, rel=0.1)
    assert abs(values.ravel()[distance < -2].mean()) < 0.05 * s.volume.vessel_value
    clean = dataclasses.replace(s.volume, noise=0.0, tissue=0.0)
    volume = imaged_volume(build_vessel(s.vessel), clean, 0)[0].sum() / s.volume.vessel_value
    length = s.vessel.length_mm + 2 * s.vessel.extension_mm
    assert volume == pytest.approx(np.pi * s.vessel.radius_mm**2 * length, rel=0.01)


def test_truth_scores_itself(written: Path) -> None:
    pyvista = pytest.importorskip("pyvista")
    mesh = pyvista.read(written / "truth" / "truth.vtu")
    samples = np.load(written / "truth" / "samples.npz")
    found = pyvista.PolyData(samples["points"].astype(float)).sample(mesh)
    ok = found["vtkValidPointMask"] > 0
    assert ok.mean() > 0.97
    error = np.linalg.norm(found["velocity"][ok] - samples["velocity"][ok], axis=1)
    assert np.sqrt((error**2).mean() / (samples["velocity"] ** 2).sum(1).mean()) < 0.02
    s = small()
    assert samples["volume"].sum() == pytest.approx(np.pi * s.vessel.radius_mm**2 * 30.0, rel=1e-3)
    truth = json.loads((written / "truth" / "truth.json").read_text())
    assert all(p["Q_ml_s"] == pytest.approx(s.flow.mean_inflow_ml_s, rel=1e-6) for p in truth["planes"])
    wall = pyvista.read(written / "truth" / "wall.vtp")
    q, r = s.flow.mean_inflow_ml_s * 1e-6, s.vessel.radius_mm * 1e-3
    shear = np.linalg.norm(wall.cell_data["wss"], axis=1)
    assert np.median(shear) == pytest.approx(4 * s.flow.viscosity_pa_s * q / (np.pi * r**3), rel=0.01)


def test_a_folder_with_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        simulate(small(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(what: str, part: float) -> None:
        if what == "volume":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small(), tmp_path / "study", stop)
    assert not list(tmp_path.iterdir())

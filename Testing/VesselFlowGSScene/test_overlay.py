"""The projected vessel lies on the filmed one: in pixels, in a real slice view, and after a person moved it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer_view
from acquisition import written_xa
from filmed_scenes import load_run
from sample_vessel import SAMPLE, sample_isocentre, sample_mesh, sample_vessel
from scipy import ndimage

from VesselFlowGSLib.acquisition.reader import read_study
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Polylines, Snapshot, Stage, Surface
from VesselFlowGSScene import overlay
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.film_frames import FilmFrames
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.projection import (
    Drag,
    cameras_of,
    drawing_of,
    fitted_isocentre,
    shift_of,
    shifted,
    vessel_of_mesh,
    vessel_of_snapshot,
)
from VesselFlowGSScene.runs import entries_of_sequence, entry_of_file, with_text, without

FRAMES = written_xa.stored(written_xa.intensities(written_xa.bolus()))


@pytest.fixture(params=[1, 2])
def entry(request):
    """Both runs of the sample study."""
    return entry_of_file(SAMPLE / f"dsa_{request.param}.dcm")


@pytest.fixture(scope="module")
def vessel():
    return sample_vessel()


def filled(entry) -> np.ndarray:
    """(rows, columns) the largest contrast of every pixel."""
    *_, most = FilmFrames(entry).fullest()
    return most


def edges_across(image, along, reach_px=12.0, step_px=0.05):
    """Per point of a curve (n, 2) in pixels, how far from it the image falls to a tenth, on both sides.

    The X-ray that passes so much of a round tube passes it at 0.995 of its radius.
    """
    tangent = np.gradient(along, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = tangent[:, ::-1] * (1, -1)
    far = np.arange(-reach_px, reach_px + step_px, step_px)
    at = along[:, None] + far[None, :, None] * normal[:, None]
    profile = ndimage.map_coordinates(image, at.transpose(2, 0, 1), order=1)
    above = profile > 0.1 * profile.max(1, keepdims=True)
    left = far[above.argmax(1)]
    right = far[len(far) - 1 - above[:, ::-1].argmax(1)]
    return normal, left, right


def test_the_projected_vessel_lies_on_the_filmed_one_within_a_pixel(entry, vessel):
    camera = cameras_of(entry, sample_isocentre())
    line = camera.pixels(vessel.centreline)[0]
    inside = ((line > 8) & (line < np.array([entry.rows, entry.columns]) - 9)).all(1)
    line = line[inside][
        6 : 2 * inside.sum() // 3
    ]  # flat ends have no edge, and far down the dye is not at the wall yet
    normal, left, right = edges_across(filled(entry), line)
    outline = drawing_of(vessel, camera, centreline=False).pixels
    for seen in (left, right):
        edge = line + seen[:, None] * normal
        away = np.linalg.norm(outline[None] - edge[:, None], axis=2).min(1)
        assert away.max() < 1.0 and away.mean() < 0.3
    assert np.abs(left + right).max() / 2 < 0.7  # the centreline runs in the middle


def test_a_wrong_isocentre_shows_as_an_offset(entry, vessel):
    """What the test above measures is not met by chance: 2 mm off are seen."""
    away = np.asarray(sample_isocentre()) + (0, 0, 2)
    line = cameras_of(entry, away).pixels(vessel.centreline)[0][40:-40]
    _, left, right = edges_across(filled(entry), line)
    assert np.abs(left + right).max() / 2 > 1.5


def test_cameras_are_those_of_the_engine(entry):
    run = next(r for r in read_study(SAMPLE).runs if r.name == entry.name)
    wanted, found = run.cameras(sample_isocentre()), cameras_of(entry, sample_isocentre())
    for part in ("source", "origin", "column_step", "row_step"):
        assert np.allclose(getattr(found, part), getattr(wanted, part), atol=1e-9)


def test_the_drawing_lies_on_the_dark_vessel_in_a_slice_view(opened_scene, entry, vessel):
    case = Case.create(opened_scene.scene, "Vessel")
    node = overlay.show_frame(case, entry, filled(entry))
    overlay.show_outline(case, entry, vessel, sample_isocentre(), centreline=False)
    with slicer_view.slice_view(opened_scene, size=(640, 640)) as view:
        view.show_volume(node)
        pixels = view.pixels().astype(int)
    drawn = np.abs(pixels - 255 * np.array(overlay.COLOUR)).max(-1) < 60
    dark = pixels.max(-1) < 225  # the ground is at 250, the noise at a few
    assert 1000 < drawn.sum() < 20_000 and dark.sum() > 5000
    film_pixel = 640 / entry.rows
    assert np.quantile(ndimage.distance_transform_edt(~dark)[drawn], 0.95) < 1.5 * film_pixel
    within = ndimage.binary_fill_holes(ndimage.binary_dilation(drawn, iterations=2))
    assert ndimage.distance_transform_edt(~within)[dark].max() < film_pixel


def peaks(entry) -> np.ndarray:
    *_, times = FilmFrames(entry).peak_times()
    return times


def test_the_time_to_peak_grows_from_the_inlet_to_the_outlet(entry, vessel):
    """Means over stretches of the vessel, since the times are those of frames; the bolus spreads as it travels."""
    line = cameras_of(entry, sample_isocentre()).pixels(vessel.centreline)[0].round().astype(int)
    seen = ((line >= 0) & (line < (entry.rows, entry.columns))).all(1)
    along = peaks(entry)[tuple(line[seen].T)]
    assert np.isfinite(along).all()
    stretches = np.array([part.mean() for part in np.array_split(along, 4)])
    assert (np.diff(stretches) > 0).all()
    assert 0.1 < stretches[-1] - stretches[0] < 0.5
    times = FilmFrames(entry)
    curves = np.stack([times.contrast(k) for k in range(entry.frames)])[:, line[seen][:, 0], line[seen][:, 1]]
    assert np.allclose(along, np.array(entry.frame_times_s)[curves.argmax(0)])


def test_the_time_to_peak_is_left_open_where_there_is_noise_alone(entry, vessel):
    known = np.isfinite(peaks(entry))
    assert not (known & (filled(entry) < 0.05)).any() and known[filled(entry) > 0.2].all()
    outline = drawing_of(vessel, cameras_of(entry, sample_isocentre()), centreline=False).pixels.round().astype(int)
    edge = np.zeros(known.shape, bool)
    inside = ((outline >= 0) & (outline < known.shape)).all(1)
    edge[tuple(outline[inside].T)] = True
    near = ndimage.binary_dilation(ndimage.binary_fill_holes(ndimage.binary_dilation(edge, iterations=3)))
    assert not (known & ~near).any()


def test_a_mask_of_one_frame_gives_a_noise_all_the_same(entry):
    """The mask itself has no contrast at all."""
    several = np.isfinite(peaks(entry))
    single = np.isfinite(peaks(with_text(entry, "mask_frames", "2")))
    assert 0.8 * several.sum() < single.sum() < 1.2 * several.sum()


def test_the_time_to_peak_needs_times_and_a_still_view(entry):
    with pytest.raises(InputError, match="frame_times_s"):
        next(FilmFrames(replace(entry, found=replace(entry.found, frame_times_s=None))).peak_times())
    with pytest.raises(InputError, match="turns"):
        next(FilmFrames(replace(entry, primary_turn_deg=tuple(range(entry.frames)))).peak_times())


def test_the_times_to_peak_are_coloured_in_a_slice_view_and_nothing_else_is(opened_scene, entry):
    case = Case.create(opened_scene.scene, "Vessel")
    times = peaks(entry)
    with slicer_view.slice_view(opened_scene, size=(640, 640)) as view:
        node = overlay.show_peak_times(case, entry, times)
        view.show_volume(node)
        overlay.show_peak_times(case, entry, times)
        pixels = view.pixels().astype(int)
        overlay.show_frame(case, entry, filled(entry))
        gray = view.pixels().astype(int)
    bar = np.zeros(pixels.shape[:2], bool)
    bar[:, 460:] = True  # the legend
    scale = 640 / entry.rows
    row, column = (np.indices((640, 640)) / scale).astype(int)
    known = np.isfinite(times)[row, column]
    middle = ndimage.binary_erosion(known, iterations=3) & ~bar
    away = ~ndimage.binary_dilation(known, iterations=3) & ~bar
    assert pixels[away].max() < 30
    assert (pixels[bar].max(-1) > 120).sum() > 2000
    colour = pixels[middle]
    assert (np.ptp(colour, axis=1) > 30).mean() > 0.95
    light = colour.sum(1)
    assert np.corrcoef(light, times[row, column][middle])[0, 1] > 0.8  # late is light
    assert np.ptp(gray, axis=-1).max() == 0 and gray[away].mean() > 200


def test_the_colours_of_a_person_stay_while_the_times_come_in(scene, entry):
    case = Case.create(scene, "Vessel")
    *_, times = FilmFrames(entry).peak_times()
    node = overlay.show_peak_times(case, entry, np.full_like(times, np.nan))
    assert (slicer.util.arrayFromVolume(node) < entry.frame_times_s[0]).all()
    display = overlay.show_peak_times(case, entry, times).GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    assert entry.frame_times_s[0] <= low < np.nanmedian(times) < high <= entry.frame_times_s[-1] + 0.2
    display.SetWindowLevelMinMax(0.5, 0.7)
    overlay.show_peak_times(case, entry, times)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((0.5, 0.7))


def test_the_drawing_is_seen_in_slice_views_alone(opened_scene, entry, vessel):
    case = Case.create(opened_scene.scene, "Vessel")
    model = overlay.show_outline(case, entry, vessel, sample_isocentre())
    assert model.GetDisplayNode().GetVisibility2D() and not model.GetDisplayNode().GetVisibility3D()
    assert case.get(Role.OVERLAY).GetID() == model.GetID()
    overlay.show_frame(case, entry, filled(entry))
    overlay.hide(case)
    assert case.get(Role.OVERLAY) is None and case.get(Role.FILMED) is None


def test_the_frame_lies_as_slicer_lays_the_run(scene, tmp_path, vessel):
    path = written_xa.write(written_xa.xa(FRAMES), tmp_path / "a.dcm")
    browser = load_run(scene, path)
    (entry,) = entries_of_sequence(browser, lambda uid: str(path))
    node = overlay.show_frame(Case.create(scene, "Vessel"), entry, FilmFrames(entry, scene).contrast(11))
    theirs, ours = np.zeros((4, 4)), np.zeros((4, 4))
    for volume, array in ((browser.GetMasterSequenceNode().GetNthDataNode(0), theirs), (node, ours)):
        matrix = slicer.vtkMRMLSliceNode().GetSliceToRAS()
        volume.GetIJKToRASMatrix(matrix)
        array[:] = [[matrix.GetElement(i, j) for j in range(4)] for i in range(4)]
    assert np.array_equal(theirs, ours)


def test_the_window_stays_while_frames_of_one_run_follow(scene, entry):
    case = Case.create(scene, "Vessel")
    node = overlay.show_frame(case, entry, filled(entry))
    node.GetDisplayNode().SetWindowLevel(0.7, -0.2)
    again = overlay.show_frame(case, entry, FilmFrames(entry).contrast(3))
    assert again.GetID() == node.GetID() and node.GetDisplayNode().GetWindow() == pytest.approx(0.7)
    assert np.allclose(slicer.util.arrayFromVolume(node)[0], -FilmFrames(entry).contrast(3))
    overlay.show_frame(case, replace(entry, name="another"), filled(entry))
    assert node.GetDisplayNode().GetWindow() != pytest.approx(0.7)


def test_the_window_grows_with_the_dye(scene, entry):
    """The first frame shows noise alone: what follows must not drown in black."""
    case, frames = Case.create(scene, "Vessel"), FilmFrames(entry)
    windows = []
    for image in frames.fullest():
        node = overlay.show_frame(case, entry, image)
        windows.append(node.GetDisplayNode().GetWindow())
    assert (np.diff(windows) >= -1e-9).all() and windows[-1] > 0.9 * filled(entry).max()


# moving it


def test_a_shift_is_where_the_central_ray_meets_the_detector(entry, vessel):
    before = drawing_of(vessel, cameras_of(entry, sample_isocentre())).pixels
    moved = shifted(entry, (3.5, -2.0))
    assert np.allclose(drawing_of(vessel, cameras_of(moved, sample_isocentre())).pixels - before, (3.5, -2.0))
    assert np.allclose(shift_of(moved), (3.5, -2.0)) and np.allclose(shift_of(shifted(moved, (1, 1))), (4.5, -1.0))


@pytest.mark.parametrize("flips", [("flip_rows",), ("flip_columns",), ("flip_rows", "flip_columns")])
def test_flipped_frames_and_shifts_go_together(entry, vessel, flips):
    for column in flips:
        entry = with_text(entry, column, "yes")
    before = drawing_of(vessel, cameras_of(entry, sample_isocentre())).pixels
    moved = shifted(entry, (3.0, 5.0))
    assert np.allclose(drawing_of(vessel, cameras_of(moved, sample_isocentre())).pixels - before, (3.0, 5.0))
    assert np.allclose(shift_of(moved), (3.0, 5.0))
    stored = FilmFrames(entry_of_file(SAMPLE / entry.name)).stored(9)
    turned = stored[:: -1 if "flip_rows" in flips else 1, :: -1 if "flip_columns" in flips else 1]
    assert np.array_equal(FilmFrames(entry).stored(9), turned)


def test_a_drag_in_the_view_is_a_shift_in_pixels(scene, entry, vessel):
    case = Case.create(scene, "Vessel")
    model = overlay.show_outline(case, entry, vessel, sample_isocentre())
    before = slicer.util.arrayFromModelPoints(model).copy()
    model = overlay.show_outline(case, entry, vessel, sample_isocentre(), shift_px=(4.0, -6.0))
    after = slicer.util.arrayFromModelPoints(model)
    assert np.allclose(overlay.dragged_px(entry, before[7], after[7]), (4.0, -6.0), atol=1e-4)
    pixels = overlay.pixels_of_ras(entry, before)
    assert np.allclose(pixels, drawing_of(vessel, cameras_of(entry, sample_isocentre())).pixels, atol=1e-3)


def both_runs():
    return [entry_of_file(SAMPLE / f"dsa_{n}.dcm") for n in (1, 2)]


def test_two_drags_find_the_isocentre(vessel):
    truth = np.asarray(sample_isocentre())
    wrong = truth + (2.0, -3.0, 1.5)
    drags = []
    for entry in both_runs():
        there, here = (cameras_of(entry, at).pixels(vessel.centre[None])[0, 0] for at in (truth, wrong))
        drags.append(Drag(entry, tuple(there - here)))
    fit = fitted_isocentre(drags, wrong, vessel.centre)
    assert np.allclose(fit.isocentre_lps_mm, truth, atol=0.05) and max(fit.left_px) < 0.05


def test_one_drag_moves_the_isocentre_across_its_rays_alone(vessel):
    entry = both_runs()[0]
    start = np.asarray(sample_isocentre())
    fit = fitted_isocentre([Drag(entry, (5.0, -3.0))], start, vessel.centre)
    moved = np.asarray(fit.isocentre_lps_mm) - start
    ray = vessel.centre - cameras_of(entry, start).source[0]
    assert abs(moved @ ray) / np.linalg.norm(ray) < 0.1 * np.linalg.norm(moved)
    assert fit.left_px[0] < 0.05
    with pytest.raises(InputError, match="two"):
        fitted_isocentre([], start, vessel.centre)


def test_drags_that_contradict_each_other_leave_a_rest(vessel):
    entry = both_runs()[0]
    fit = fitted_isocentre([Drag(entry, (6.0, 0.0)), Drag(entry, (0.0, 0.0))], sample_isocentre(), vessel.centre)
    assert np.allclose(fit.left_px, 3.0, atol=0.1)


def test_the_time_chooses_the_frame(entry):
    assert overlay.frame_at(entry, -1.0) == 0
    assert overlay.frame_at(entry, entry.frame_times_s[5] + 0.01) == 5
    later = with_text(entry, "time_offset_s", "0.2")
    assert overlay.frame_at(later, entry.frame_times_s[5] + 0.2) == 5
    assert overlay.frame_at(entry, 99.0) == entry.frames - 1


# what is drawn


def sphere(radius=5.0, centre=(0.0, 0.0, 0.0)):
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    source = vtk.vtkSphereSource()
    source.SetRadius(radius)
    source.SetCenter(*centre)
    source.SetThetaResolution(90)
    source.SetPhiResolution(90)
    source.Update()
    data = source.GetOutput()
    return (
        vtk_to_numpy(data.GetPoints().GetData()),
        vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3),
    )


def test_the_outline_of_a_ball_is_a_circle_of_the_right_size(entry):
    points, triangles = sphere(centre=sample_isocentre())
    drawing = drawing_of(vessel_of_mesh(points, triangles), cameras_of(entry, sample_isocentre()))
    near, far = entry.source_to_isocentre_mm, entry.source_to_detector_mm
    radius = far * np.tan(np.arcsin(5.0 / near)) / entry.pixel_spacing_mm[0]
    distance = np.linalg.norm(drawing.pixels - (79.5, 79.5), axis=1)
    assert np.allclose(distance, radius, rtol=0.01)
    assert len(drawing.offsets) - 1 == len(drawing.pixels) // 2  # every line is one edge


def test_triangles_may_be_turned_either_way(entry, vessel):
    points, triangles, line = sample_mesh(60)
    camera = cameras_of(entry, sample_isocentre())
    one = drawing_of(vessel_of_mesh(points, triangles), camera).pixels
    other = drawing_of(vessel_of_mesh(points, triangles[:, ::-1]), camera).pixels
    assert np.array_equal(np.unique(one, axis=0), np.unique(other, axis=0))


def test_what_lies_behind_the_source_is_left_out(entry):
    points, triangles = sphere(centre=tuple(2 * cameras_of(entry, (0, 0, 0)).source[0]))
    drawing = drawing_of(vessel_of_mesh(points, triangles), cameras_of(entry, (0, 0, 0)))
    assert len(drawing.pixels) == 0 and list(drawing.offsets) == [0]


def test_a_turning_run_has_a_camera_for_every_frame(scene, tmp_path, vessel):
    angles = np.linspace(0, 90, 12)
    path = written_xa.write(
        written_xa.xa(
            FRAMES,
            PositionerMotion="DYNAMIC",
            PositionerPrimaryAngle=0.0,
            PositionerSecondaryAngle=0.0,
            PositionerPrimaryAngleIncrement=list(angles),
        ),
        tmp_path / "r.dcm",
    )
    entry = entry_of_file(path)
    cameras = cameras_of(entry, (0.0, 0.0, 0.0))
    assert len(cameras) == 12
    assert np.allclose(cameras.source[0], (0, 700, 0)) and np.allclose(cameras.source[-1], (-700, 0, 0), atol=1e-9)
    case = Case.create(scene, "Vessel")
    first = slicer.util.arrayFromModelPoints(overlay.show_outline(case, entry, vessel, (0, 0, 0), frame=0)).copy()
    last = slicer.util.arrayFromModelPoints(overlay.show_outline(case, entry, vessel, (0, 0, 0), frame=11))
    assert first.shape != last.shape or not np.allclose(first, last)


def test_a_run_without_geometry_says_what_to_enter(scene, tmp_path, vessel):
    path = written_xa.write(written_xa.xa(FRAMES, DistanceSourceToDetector=None), tmp_path / "a.dcm")
    with pytest.raises(InputError, match="source_to_detector_mm.*enter"):
        overlay.show_outline(Case.create(scene, "Vessel"), entry_of_file(path), vessel, (0, 0, 0))


def test_the_vessel_of_a_snapshot_and_of_a_model_is_drawn_alike(scene, entry):
    points, triangles, line = sample_mesh(60)
    snapshot = Snapshot(
        stage=Stage.GEOMETRY,
        progress=0.1,
        message="",
        surface=Surface(points, triangles),
        centreline=Polylines(line, np.array([0, len(line)])),
    )
    camera = cameras_of(entry, sample_isocentre())
    wanted = drawing_of(vessel_of_snapshot(snapshot), camera, centreline=False).pixels
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "Lumen")
    from VesselFlowGSScene.poly_data import poly_data

    model.SetAndObservePolyData(poly_data(ras_of(points), {}, triangles=triangles))
    found = drawing_of(overlay.vessel_of_node(model), camera).pixels
    assert np.abs(np.linalg.norm(found[:, None] - wanted[None], axis=2).min(1)).max() < 0.05
    assert vessel_of_snapshot(replace(snapshot, surface=None)) is None


def test_a_segmented_vessel_is_drawn_without_touching_the_segmentation(scene, entry, vessel):
    from test_scene_geometry import segmentation

    low, high = vessel.points.min(0) - 3, vessel.points.max(0) + 3
    spacing = 0.4
    shape = np.ceil((high - low) / spacing).astype(int)
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    from VesselFlowGSLib.simulation.sample import sample_settings
    from VesselFlowGSLib.simulation.vessels import build_vessel

    inside = build_vessel(sample_settings().vessel).wall_distance(low + spacing * ijk) > 0
    labels = inside.reshape(shape).transpose(2, 1, 0).astype(np.uint8)
    ijk_to_ras = np.diag([-spacing, -spacing, spacing, 1.0])
    ijk_to_ras[:3, 3] = ras_of(low)
    node = segmentation(scene, labels, ijk_to_ras)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    found = drawing_of(overlay.vessel_of_node(node), cameras_of(entry, sample_isocentre())).pixels
    wanted = drawing_of(vessel, cameras_of(entry, sample_isocentre()), centreline=False).pixels
    assert np.quantile(np.linalg.norm(found[:, None] - wanted[None], axis=2).min(1), 0.9) < 1.5
    # a closed vessel has no rims
    assert np.quantile(np.linalg.norm(found[:, None] - wanted[None], axis=2).min(0), 0.9) < 1.5
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    with pytest.raises(InputError, match="no vessel"):
        overlay.vessel_of_node(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CTA"))


# frames


def test_frames_of_a_sequence_are_those_of_its_file(scene):
    path = SAMPLE / "dsa_1.dcm"
    browser = load_run(scene, path)
    (loaded,) = entries_of_sequence(browser, lambda uid: str(path))
    for frame in (0, 7, 17):
        assert np.array_equal(FilmFrames(loaded, scene).stored(frame), FilmFrames(loaded).stored(frame))


def test_slicers_reader_serves_where_no_decoder_is_installed(monkeypatch):
    from pydicom import pixels

    entry = entry_of_file(SAMPLE / "dsa_1.dcm")
    wanted = FilmFrames(entry).stored(9)

    def none(*_args, **_keywords):
        raise RuntimeError("no decoder")

    monkeypatch.setattr(pixels, "pixel_array", none)
    frames = FilmFrames(entry)
    assert np.array_equal(frames.stored(9), wanted)
    assert frames.contrast(9).shape == (160, 160)


def test_the_contrast_is_that_of_the_engine():
    entry = entry_of_file(SAMPLE / "dsa_1.dcm")
    run = read_study(SAMPLE).runs[0]
    for frame in (2, 12):
        off = FilmFrames(entry).contrast(frame) - run.line_integrals[frame]
        assert np.abs(off).max() < 1e-3


def test_logarithms_and_bright_vessels_are_shown_alike(scene, tmp_path):
    path = written_xa.write(written_xa.xa(FRAMES), tmp_path / "a.dcm")
    linear = entry_of_file(path)
    dark = with_text(linear, "intensity", "log")
    bright = with_text(linear, "intensity", "log, vessels bright")
    assert np.array_equal(FilmFrames(dark).contrast(11), -FilmFrames(bright).contrast(11))
    masked = with_text(linear, "mask_frames", "1-3")
    logs = np.log(FRAMES.astype(float))
    assert np.allclose(FilmFrames(masked).contrast(11), logs[:3].mean(0) - logs[11], atol=1e-5)
    assert np.allclose(FilmFrames(without(masked, "mask_frames")).contrast(11), logs[0] - logs[11], atol=1e-5)


def test_the_fullest_image_grows(entry):
    before = None
    for image in FilmFrames(entry).fullest():
        assert before is None or (image >= before).all()
        before = image
    assert before.max() > 0.8


def test_a_run_that_is_gone_says_so(scene, tmp_path):
    path = written_xa.write(written_xa.xa(FRAMES), tmp_path / "a.dcm")
    entry = entry_of_file(path)
    with pytest.raises(InputError, match="Load the run again"):
        FilmFrames(replace(entry, source=replace(entry.source, file=""))).stored(0)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="decoded"):
        FilmFrames(entry).stored(0)

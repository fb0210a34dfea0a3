"""Colour tables, views and pictures."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from analytic_lumens import straight_tube
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from results.poiseuille import Poiseuille
from scipy.spatial import cKDTree

from VesselFlowGSLib.errors import InputError, InstallationError
from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.results import rendering
from VesselFlowGSLib.results.cells import CellSettings
from VesselFlowGSLib.results.colours import colour_table, colours
from VesselFlowGSLib.results.derived import (
    DerivedSettings,
    centreline_arrays,
    figures,
    lumen_surface,
    sample_flow,
    streamlines,
    volume_mesh,
    wall_arrays,
)
from VesselFlowGSLib.results.picture import PictureSettings, _visible_cloud, figure_text, render_result, report_picture
from VesselFlowGSLib.results.rendering import Body, DrawingSettings, View, draw, tubes, view_of
from VesselFlowGSLib.results.snapshot import CloudArrays, Figure, Snapshot, Stage, Surface
from VesselFlowGSLib.results.visible_cloud import VisibleCloud, draw_cloud

SMALL = PictureSettings(width=360, height=240)
TABLES = ("speed", "pressure", "wss", "radius", "arrival")


def can_draw() -> bool:
    try:
        rendering._usable_window()
    except InstallationError:
        return False
    return True


needs_library = pytest.mark.usefixtures("library")


@pytest.fixture
def library() -> None:
    if not can_draw():
        pytest.skip("no OpenGL library can draw on this machine")


@cache
def solved() -> Snapshot:
    lumen, flow, coarse = straight_tube(direction=(1.0, 0.3, 0.2)), Poiseuille((1.0, 0.3, 0.2)), CellSettings(5.0)
    settings = DerivedSettings(volume=coarse, wall=coarse)
    mesh = sample_flow(volume_mesh(lumen, settings)[0], lumen, flow)
    wall = wall_arrays(lumen_surface(lumen, settings=settings), lumen, flow, Fluid())
    rng = np.random.default_rng(0)
    mean = lumen.tree.branches[0].points[::4]
    n = len(mean)
    cloud = CloudArrays(
        mean, np.full((n, 3), 0.6), np.tile([1.0, 0, 0, 0], (n, 1)),
        np.full(n, 0.03), rng.random(n), np.full(n, np.nan),
        flow.velocity(mean), flow.pressure(mean),
    )  # fmt: skip
    return Snapshot(
        Stage.DONE, 1.0, "done", cloud, wall, centreline_arrays(lumen, flow), mesh, streamlines(lumen, flow, 12),
        figures(lumen, flow, Fluid(), mesh, wall), flow_status={"status": "solved"},
    )  # fmt: skip


def unsolved() -> Snapshot:
    whole = solved()
    bare = dataclasses.replace(whole.surface, arrays={})
    line = dataclasses.replace(whole.centreline, arrays={k: whole.centreline.arrays[k] for k in ("radius_mm",)})
    cloud = dataclasses.replace(whole.cloud, velocity=None, pressure=None)
    status = {"status": "unknown", "why": "no contrast arrives"}
    return dataclasses.replace(
        whole, surface=bare, centreline=line, cloud=cloud, field=None, streamlines=None, figures={}, flow_status=status
    )


def lightness(rgb: np.ndarray) -> np.ndarray:
    """Oklab of sRGB, (n, 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lms = linear @ np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]).T
    mixed = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.cbrt(lms) @ np.array(mixed).T


@pytest.mark.parametrize("name", TABLES)
def test_colour_tables_grow_lighter_in_even_steps(name: str) -> None:
    lab = lightness(colour_table(name))
    assert (np.diff(lab[:, 0]) > 0).all()
    coarse = np.linalg.norm(np.diff(lab[::7], axis=0), axis=1)
    assert coarse.max() < 1.25 * coarse.min()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_any_value_has_a_colour(values: list[float], low: float, width: float) -> None:
    found = colours("speed", np.array(values), low, low + width)
    assert ((found >= 0) & (found <= 1)).all()


@given(st.integers(0, 10_000), st.floats(0.3, 3.0))
def test_a_view_holds_every_point_the_right_way_round(seed: int, aspect: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=3) * 100
    view = view_of(points, aspect)
    frame = np.array([view.right, view.up, -view.forward])
    assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame) == pytest.approx(1)
    offset = points - view.centre
    assert np.abs(offset @ view.up).max() <= view.height_mm / 2
    assert np.abs(offset @ view.right).max() <= aspect * view.height_mm / 2


def test_a_long_vessel_lies_along_the_picture() -> None:
    points = np.linspace(0, 1, 50)[:, None] * [0.0, 5.0, 60.0] + np.sin(np.arange(50))[:, None] * [3.0, 0.0, 0.0]
    wide, tall = view_of(points, 2.5), view_of(points, 0.4)
    assert abs(wide.right[2]) > 0.9
    assert tall.up[2] > 0.9


def ball(radius: float, centre: list[float]) -> Surface:
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, 40), np.linspace(0, 2 * np.pi, 80), indexing="ij")
    points = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    i = (np.arange(39)[:, None] * 80 + np.arange(79)).ravel()
    triangles = np.concatenate([np.stack([i, i + 1, i + 81], -1), np.stack([i, i + 81, i + 80], -1)])
    return Surface(radius * points.reshape(-1, 3) + centre, triangles)


@needs_library
def test_a_ball_is_drawn_where_and_as_large_as_it_is() -> None:
    surface = ball(2.0, [5.0, 0.0, 0.0])
    red = Body(surface, np.tile([1.0, 0.0, 0.0], (len(surface.points), 1)))
    view = View(np.array([1.0, 0, 0]), np.array([0.0, 0, 1]), np.zeros(3), 20.0)
    pixels = draw([red], view, 300, 200, (1.0, 1.0, 1.0), DrawingSettings(fog=0.0))
    rows, columns = np.nonzero(pixels[..., 1] < 128)
    assert columns.mean() == pytest.approx(150 + 5 * 10, abs=1)
    assert rows.mean() == pytest.approx(100, abs=1)
    assert len(rows) == pytest.approx(np.pi * 20**2, rel=0.05)
    assert (pixels[0, 0] == 255).all()


@needs_library
@pytest.mark.parametrize(
    ("kind", "colour"),
    [("surface", "pressure"), ("surface", "wss"), ("streamlines", "speed"), ("streamlines", "pressure"), (None, None)],
)
def test_every_kind_of_picture_shows_the_vessel(tmp_path: Path, kind: str | None, colour: str | None) -> None:
    render_result(solved(), tmp_path / "a.png", kind, colour, SMALL)
    assert_shows_the_vessel(tmp_path / "a.png")


@pytest.mark.parametrize("colour", ["speed", "pressure", "wss", None])
def test_the_gaussians_are_shown_without_an_opengl_library(
    tmp_path: Path, colour: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "_usable_window", lambda: pytest.fail("nothing is drawn with OpenGL"))
    render_result(solved(), tmp_path / "a.png", "gaussians", colour, SMALL)
    assert_shows_the_vessel(tmp_path / "a.png")


def assert_shows_the_vessel(picture: Path) -> None:
    pixels = imread(picture)
    assert pixels.shape[:2] == (240, 360)
    upper = pixels[: int(0.75 * 240), :, :3]
    assert (np.abs(upper - 1).max(-1) > 0.1).mean() > 0.05
    assert np.ptp(upper, axis=-1).max() > 0.2


def test_gaussians_without_a_wall_or_a_flow_are_shown(tmp_path: Path) -> None:
    for kind in (unsolved(), dataclasses.replace(unsolved(), surface=None)):
        render_result(kind, tmp_path / "a.png", "gaussians", None, SMALL)
        assert_shows_the_vessel(tmp_path / "a.png")


def test_gaussians_have_the_shear_stress_of_the_nearest_wall() -> None:
    snapshot = solved()
    falling = np.asarray(snapshot.surface.points @ [1.0, 0.3, 0.2])
    wall = dataclasses.replace(snapshot.surface, arrays={"wss": falling})
    scene, scale = _visible_cloud(dataclasses.replace(snapshot, surface=wall), "wss", SMALL)
    along = scene.cloud.mean @ [1.0, 0.3, 0.2]
    assert scene.colour == pytest.approx(scale.of(along), abs=0.05)


def dots(points: list[list[float]], sigma: float) -> VisibleCloud:
    n = len(points)
    one = np.ones(n)
    arrays = CloudArrays(np.array(points), np.full((n, 3), sigma), np.tile([1.0, 0, 0, 0], (n, 1)), one, one, one)
    return VisibleCloud(arrays, np.tile([1.0, 0.0, 0.0], (n, 1)), one, None, (0.5, 0.5, 0.5))


@pytest.mark.parametrize("depth", [-8.0, 0.0, 8.0])
def test_gaussians_are_drawn_where_they_are_at_any_depth_of_the_view(depth: float) -> None:
    view = View(np.array([1.0, 0, 0]), np.array([0.0, 0, 1]), np.array([2.0, -3.0, 7.0]), 20.0)
    scene = dots([[2.0 + 5.0, -3.0 + depth, 7.0 + 4.0]], 0.8)
    pixels = draw_cloud(scene, view, 300, 200, (1.0, 1.0, 1.0), DrawingSettings(fog=0.0))
    hidden = 255.0 - pixels[..., 1]
    rows, columns = np.indices(hidden.shape)
    # A picture's middle lies between pixels, and so the ruler's length is that at the vessel to 1 %.
    assert (columns * hidden).sum() / hidden.sum() == pytest.approx(149.5 + 50, abs=0.6)
    assert (rows * hidden).sum() / hidden.sum() == pytest.approx(99.5 - 40, abs=0.6)


def test_more_and_smaller_gaussians_look_alike_in_their_wall() -> None:
    view = View(np.array([1.0, 0, 0]), np.array([0.0, 0, 1]), np.zeros(3), 20.0)
    rng = np.random.default_rng(0)
    inside = rng.normal(size=(6000, 3))
    inside *= 6.0 * rng.uniform(size=(6000, 1)) ** (1 / 3) / np.linalg.norm(inside, axis=1, keepdims=True)
    shades = []
    for n, sigma in ((1500, 0.8), (6000, 0.5)):
        scene = dataclasses.replace(dots(inside[:n].tolist(), sigma), wall=ball(6.5, [0.0, 0.0, 0.0]))
        pixels = draw_cloud(scene, view, 120, 120, (1.0, 1.0, 1.0), DrawingSettings(fog=0.0))
        shades.append(pixels[45:75, 45:75].mean((0, 1)))
    assert shades[0] == pytest.approx(shades[1], abs=12)


@needs_library
def test_a_dark_picture_has_a_dark_ground(tmp_path: Path) -> None:
    render_result(solved(), tmp_path / "a.png", "surface", "wss", dataclasses.replace(SMALL, dark=True))
    assert imread(tmp_path / "a.png")[2, 2, :3].max() < 0.15


@needs_library
@pytest.mark.parametrize("whole", [True, False])
def test_the_report_is_drawn_with_and_without_a_flow(tmp_path: Path, whole: bool) -> None:
    settings = PictureSettings(width=800, height=544)
    report_picture(solved() if whole else unsolved(), tmp_path / "a.png", settings)
    pixels = imread(tmp_path / "a.png")
    assert pixels.shape[:2] == (544, 800)
    views = pixels[60:300, :, :3]
    assert (np.ptp(views[:, :480], axis=-1) > 0.1).mean() > 0.03
    assert (np.ptp(views[:, 520:], axis=-1) > 0.1).mean() > 0.03


@pytest.mark.parametrize(
    ("kind", "colour", "named"),
    [("surface", "speed", "streamlines"), ("streamlines", "wss", "surface"),
     ("mesh", None, "surface, streamlines, gaussians"), ("surface", "heat", "speed, pressure, wss")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_what_does(tmp_path: Path, kind: str, colour: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        render_result(solved(), tmp_path / "a.png", kind, colour, SMALL)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("kind", "colour"), [("streamlines", None), ("surface", "wss"), ("gaussians", "speed"), ("gaussians", "wss")]
)
def test_what_an_unknown_flow_lacks_is_refused_with_the_reason(tmp_path: Path, kind: str, colour: str | None) -> None:
    with pytest.raises(InputError, match="no contrast arrives"):
        render_result(unsolved(), tmp_path / "a.png", kind, colour, SMALL)


@needs_library
def test_a_picture_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot write"):
        render_result(solved(), tmp_path / "none" / "a.png", "surface", "wss", SMALL)


def test_without_an_opengl_library_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rendering._usable_window.cache_clear()
    monkeypatch.setattr(rendering, "_draws", lambda window: False)
    with pytest.raises(InstallationError, match="libEGL"):
        rendering._usable_window()
    rendering._usable_window.cache_clear()


def test_tubes_surround_their_curves() -> None:
    points = np.stack([np.linspace(0, 10, 40), np.zeros(40), np.zeros(40)], -1)
    both = np.concatenate([points, points + [0.0, 5.0, 0.0]])
    surface, of = tubes(both, np.array([0, 40, 80]), 0.3)
    assert cKDTree(both).query(surface.points)[0].max() < 0.5
    assert np.linalg.norm(surface.points - both[of], axis=1) == pytest.approx(0.3, rel=0.3)


def test_figures_read_well() -> None:
    assert figure_text(Figure(2.513274, "ml/s", "estimated", (2.31, 2.74))) == "2.51 (2.31 to 2.74) ml/s"
    assert figure_text(Figure(1234.4, "Pa", "estimated")) == "1234 Pa"
    assert figure_text(Figure(241.7, "1", "assumed")) == "242"

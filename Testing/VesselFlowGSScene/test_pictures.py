"""What a person sees: Slicer's own 3D and slice views, drawn off screen and looked at by their pixels."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
from slicer_view import colour_share, slice_view, three_d_view

from VesselFlowGSLib.results.colours import colour_table
from VesselFlowGSLib.results.snapshot import FindingKind
from VesselFlowGSScene.appearance import Appearance, CloudQuantity, Quantity
from VesselFlowGSScene.case import Case
from VesselFlowGSScene.colours import FINDING_COLOURS
from VesselFlowGSScene.particles import Particles
from VesselFlowGSScene.show import show

GROUND = np.array([0.08, 0.08, 0.1])
BARE = Appearance(opacity=1.0, streamlines=False, legend=False)


@pytest.fixture
def view(opened_scene):
    with three_d_view(opened_scene, size=(600, 450)) as made:
        yield made


@pytest.fixture
def case(view, opened_scene):
    return Case.create(opened_scene.scene, "case")


@pytest.fixture(scope="module")
def stenosed():
    return simulated.stenosed_tube(part=0.5, triangles=6000)


def look(view, name):
    """The pixels 0..1; kept as a file where the variable names a folder, for a person to look at."""
    folder = os.environ.get("VESSELFLOWGS_PICTURES", "")
    if folder:
        view.save(Path(folder) / f"{name}.png")
    return view.pixels() / 255


def lit(pixels):
    """(rows, columns) of what is not the ground."""
    return np.abs(pixels - GROUND).max(-1) > 0.08


def chroma(rgb):
    """Colours with their brightness taken out, which the light in the view changes."""
    rgb = np.asarray(rgb, float)
    return rgb / np.maximum(rgb.sum(-1, keepdims=True), 1e-9)


def mean_colour(view, pixels, lps, near=3):
    """The mean colour of what is drawn around a point in LPS."""
    row, column = view.on_screen(np.asarray(lps) * [-1, -1, 1])
    patch = pixels[max(row - near, 0) : row + near + 1, max(column - near, 0) : column + near + 1].reshape(-1, 3)
    seen = patch[np.abs(patch - GROUND).max(-1) > 0.08]
    assert len(seen)
    return seen.mean(0)


@pytest.mark.parametrize(
    ("quantity", "table"), [(Quantity.PRESSURE, "pressure"), (Quantity.WSS, "wss"), (Quantity.SPEED, "speed")]
)
def test_the_wall_has_the_colours_of_its_values(view, case, stenosed, quantity, table):
    show(case, stenosed, dataclasses.replace(BARE, quantity=quantity))
    view.look(along=tuple(simulated.BESIDE * [-1, -1, 1]), up=tuple(simulated.AXIS * [-1, -1, 1]))
    pixels = look(view, f"wall_{table}")
    low, high = (chroma(colour_table(table)[k]) for k in (2, -3))
    inlet, outlet = (simulated.START + s * simulated.AXIS for s in (2.0, 30.0))
    throat = simulated.START + 12.8 * simulated.AXIS
    where = {
        "pressure": (inlet, throat),  # high before the narrowing, lowest in it
        "wss": (throat, outlet),
        "speed": (throat, outlet),
    }[table]
    bright, dark = (chroma(mean_colour(view, pixels, place)) for place in where)
    assert np.abs(bright - high).sum() < np.abs(bright - low).sum()
    assert np.abs(dark - low).sum() < np.abs(dark - high).sum()


def test_the_legend_is_there_and_goes(view, case, stenosed):
    show(case, stenosed, dataclasses.replace(BARE, lumen=True))
    view.look()
    without = look(view, "without_legend")
    show(case, stenosed, dataclasses.replace(BARE, legend=True))
    with_legend = look(view, "legend")
    changed = np.abs(with_legend - without).max(-1) > 0.1
    columns = np.flatnonzero(changed.any(0))
    assert columns.min() > 0.5 * changed.shape[1]
    bar = with_legend[:, columns.max() - 8]
    # coloured, as neither the ground nor the words are
    lit_bar = bar[np.ptp(bar, axis=-1) > 0.15]
    # the bar goes from the table's top to its bottom
    table = colour_table("pressure")
    assert lit_bar[2] == pytest.approx(table[-1], abs=0.1)
    assert lit_bar[-3] == pytest.approx(table[0], abs=0.1)
    white = (with_legend[changed] > 0.8).all(-1)
    assert white.sum() > 100  # the words and numbers


def test_two_scales_have_two_legends_on_both_sides(view, case, stenosed):
    show(case, stenosed, BARE)
    view.look()
    before = look(view, "one_scale")
    show(case, stenosed, dataclasses.replace(BARE, legend=True, glyphs=True, lumen=True))
    after = look(view, "two_legends")
    changed = np.abs(after - before).max(-1) > 0.1
    width = changed.shape[1]
    assert changed[:, : width // 6].sum() > 300
    assert changed[:, -width // 6 :].sum() > 300


def test_arrows_are_where_the_blood_is_and_brightest_in_the_throat(view, case, stenosed):
    appearance = dataclasses.replace(BARE, lumen=False, glyphs=True, glyph_count=1200)
    show(case, stenosed, appearance)
    view.look(along=tuple(simulated.BESIDE * [-1, -1, 1]), up=tuple(simulated.AXIS * [-1, -1, 1]))
    pixels = look(view, "arrows")
    assert 0.003 < lit(pixels).mean() < 0.5
    table = colour_table("speed")
    throat = chroma(mean_colour(view, pixels, simulated.START + 13.5 * simulated.AXIS, near=4))
    slow = chroma(mean_colour(view, pixels, simulated.START + 3.0 * simulated.AXIS, near=4))
    fast_colour, slow_colour = chroma(table[-6]), chroma(table[16])
    assert np.abs(throat - fast_colour).sum() < np.abs(slow - fast_colour).sum()
    assert np.abs(slow - slow_colour).sum() < np.abs(throat - slow_colour).sum()


def test_streamlines_are_seen_through_the_wall(view, case, stenosed):
    plain = dataclasses.replace(BARE, quantity=Quantity.NONE, opacity=0.25)
    show(case, stenosed, plain)
    view.look()
    before = look(view, "translucent")
    show(case, stenosed, dataclasses.replace(plain, streamlines=True))
    after = look(view, "streamlines")
    changed = np.abs(after - before).max(-1) > 0.1
    assert changed.sum() > 0.1 * lit(before).sum()
    assert not (changed & ~lit(before)).mean() > 0.002


def test_particles_are_seen_and_move(view, case, stenosed):
    appearance = dataclasses.replace(BARE, lumen=False, particles=True)
    particles = Particles(case, stenosed, appearance)
    show(case, stenosed, appearance)
    view.look()
    before = look(view, "particles")
    particles.advance(0.05)
    after = look(view, "particles_later")
    assert lit(before).mean() > 0.005
    assert (np.abs(after - before).max(-1) > 0.1).sum() > 0.2 * lit(before).sum()


def test_gaussians_are_points_in_the_colours_of_the_pressure(view, case, stenosed):
    appearance = dataclasses.replace(
        BARE, lumen=False, gaussians=True, gaussian_quantity=CloudQuantity.PRESSURE, gaussian_size=6.0
    )
    show(case, stenosed, appearance)
    view.look()
    pixels = look(view, "gaussians")
    table = colour_table("pressure")
    # no light falls on them: the very colours of the table
    assert colour_share(np.uint8(255 * pixels), tuple(table[2]), near=0.1) > 0.0005
    assert colour_share(np.uint8(255 * pixels), tuple(table[50]), near=0.1) > 0.0005


def test_a_finding_is_marked_in_its_colour_and_in_words(view, case, stenosed):
    plain = dataclasses.replace(BARE, quantity=Quantity.NONE, opacity=0.3)
    show(case, stenosed, plain)
    view.look()
    before = look(view, "no_findings")
    show(case, stenosed, dataclasses.replace(plain, findings=frozenset({FindingKind.STENOSIS})))
    after = look(view, "findings")
    changed = np.abs(after - before).max(-1) > 0.1
    stenosis = next(f for f in stenosed.findings if f.kind is FindingKind.STENOSIS)
    row, column = view.on_screen(stenosis.centre * [-1, -1, 1])
    assert changed[row - 25 : row + 25, column - 25 : column + 25].sum() > 200
    red = chroma(FINDING_COLOURS[FindingKind.STENOSIS])
    marked = chroma(after[row - 12 : row + 12, column - 12 : column + 12].reshape(-1, 3))
    assert np.abs(marked - red).sum(-1).min() < 0.25
    # the label is drawn beside the place
    assert changed[row - 40 : row + 40, column + 8 : column + 200].sum() > 60


def test_the_wall_is_a_contour_in_a_slice_view(opened_scene, stenosed):
    opened_scene.scene.AddNewNodeByClass("vtkMRMLViewNode")
    with slice_view(opened_scene, orientation="Axial") as view:
        case = Case.create(opened_scene.scene, "case")
        show(case, stenosed, dataclasses.replace(BARE, legend=True))
        middle = (simulated.START + 16 * simulated.AXIS) * [-1, -1, 1]
        view.cut(middle, field_of_view_mm=12.0)
        pixels = look(view, "slice")
        drawn = pixels.max(-1) > 0.15
        assert 0.002 < drawn.mean() < 0.2
        # a ring around the axis, and nothing of the legend
        height, width = drawn.shape
        assert not drawn[height // 2 - 20 : height // 2 + 20, width // 2 - 20 : width // 2 + 20].any()
        rows, columns = np.nonzero(drawn)
        assert abs(rows.mean() - height / 2) < 25
        assert abs(columns.mean() - width / 2) < 25
        show(case, stenosed, dataclasses.replace(BARE, lumen=False))
        assert not (look(view, "slice_hidden").max(-1) > 0.15).any()

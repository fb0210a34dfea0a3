"""Colour tables of a scene, display nodes painted with them, and one legend for each scale."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
import slicer

from VesselFlowGSLib.results.colours import colour_table
from VesselFlowGSScene.appearance import Appearance, CloudQuantity, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import SLOTS, table_node
from VesselFlowGSScene.show import show


def legends(scene):
    return slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", scene)


def seen(scene):
    return [legend for legend in legends(scene) if legend.GetVisibility()]


def colour(node, k):
    held = [0.0] * 4
    node.GetColor(k, held)
    return np.array(held)


@pytest.mark.parametrize("name", ["pressure", "wss", "speed", "radius", "arrival"])
def test_a_table_goes_from_the_first_colour_to_the_last(scene, name):
    node = table_node(scene, name)
    assert node.GetNumberOfColors() == 256
    wanted = colour_table(name)
    assert colour(node, 0)[:3] == pytest.approx(wanted[0], abs=1e-6)
    assert colour(node, 255)[:3] == pytest.approx(wanted[-1], abs=1e-6)
    assert colour(node, 128)[3] == 1.0


def test_all_cases_of_a_scene_share_the_tables(scene):
    snapshot = simulated.steady_tube(1500)
    before = scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")
    for name in ("one", "two"):
        show(Case.create(scene, name), snapshot, Appearance())
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") == before + 2  # pressure and speed
    assert table_node(scene, "speed") is table_node(scene, "speed")


@pytest.mark.parametrize(
    ("quantity", "array", "unit"),
    [
        (Quantity.PRESSURE, "Pressure_mmHg", "mmHg"),
        (Quantity.WSS, "WSS_Pa", "Pa"),
        (Quantity.SPEED, "Speed_m_s", "m/s"),
        (Quantity.CONFIDENCE, "Confidence", ""),
    ],
)
def test_the_legend_says_what_colours_the_wall_and_its_unit(scene, quantity, array, unit):
    case = Case.create(scene, "case")
    show(case, simulated.steady_tube(1500), Appearance(quantity=quantity, streamlines=False))
    display = case.get(Role.LUMEN).GetDisplayNode()
    assert display.GetActiveScalarName() == array
    assert display.GetScalarVisibility()
    (legend,) = seen(scene)
    assert unit in legend.GetTitleText()
    assert legend.GetPrimaryDisplayNode() is display


def test_what_shows_the_same_scale_has_one_legend_and_others_sit_elsewhere(scene):
    case = Case.create(scene, "case")
    everything = Appearance(glyphs=True, streamlines=True, gaussians=True, centreline=True)
    show(case, simulated.stenosed_tube(triangles=1500), everything)
    assert sorted(legend.GetTitleText() for legend in seen(scene)) == ["Pressure (mmHg)", "Radius (mm)", "Speed (m/s)"]
    places = [legend.GetPosition() for legend in seen(scene)]
    assert len(set(places)) == 3
    assert set(places) <= set(SLOTS)


def test_gaussians_by_pressure_share_the_walls_legend(scene):
    case = Case.create(scene, "case")
    appearance = Appearance(streamlines=False, gaussians=True, gaussian_quantity=CloudQuantity.PRESSURE)
    show(case, simulated.steady_tube(1500), appearance)
    assert [legend.GetTitleText() for legend in seen(scene)] == ["Pressure (mmHg)"]
    displays = [case.get(role).GetDisplayNode() for role in (Role.LUMEN, Role.GAUSSIANS)]
    assert displays[0].GetScalarRange() == displays[1].GetScalarRange()


def test_a_legend_goes_with_what_it_explains(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(1500)
    show(case, snapshot, Appearance(glyphs=True))
    assert len(seen(scene)) == 2
    show(case, snapshot, Appearance(glyphs=True, lumen=False))
    assert [legend.GetTitleText() for legend in seen(scene)] == ["Speed (m/s)"]
    show(case, snapshot, Appearance(glyphs=True, streamlines=False))
    assert len(seen(scene)) == 2
    show(case, snapshot, Appearance(glyphs=True, legend=False))
    assert seen(scene) == []
    show(case, snapshot, Appearance(quantity=Quantity.NONE, streamlines=False))
    assert seen(scene) == []


def test_legends_of_two_cases_do_not_lie_on_each_other(scene):
    steady, stenosed = simulated.steady_tube(1500), simulated.stenosed_tube(triangles=1500)
    one, two = Case.create(scene, "one"), Case.create(scene, "two")
    for _ in range(2):
        show(one, steady, Appearance())
        show(two, stenosed, Appearance())
    places = [legend.GetPosition() for legend in seen(scene)]
    assert len(places) == len(set(places)) == 4
    # one scale in both is explained once
    show(two, steady, Appearance())
    ranges = {legend.GetPrimaryDisplayNode().GetScalarRange() for legend in seen(scene)}
    assert len(seen(scene)) == len(ranges)


def test_showing_again_makes_no_more_legends(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(1500)
    for _ in range(3):
        show(case, snapshot, Appearance(glyphs=True))
        show(case, snapshot, Appearance(quantity=Quantity.WSS))
    assert len(legends(scene)) <= 3


def test_label_formats_are_those_that_the_legend_takes(scene):
    case = Case.create(scene, "case")
    appearance = Appearance(streamlines=False, automatic=False, low=0.0, high=100.0)
    show(case, simulated.steady_tube(1500), appearance)
    (legend,) = seen(scene)
    assert legend.GetLabelFormat() % 62.5 == "    62" or legend.GetLabelFormat() % 62.5 == "    63"

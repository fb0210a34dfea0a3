"""The centreline as a model of lines, a branch each."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.centreline import centreline_data
from VesselFlowGSScene.show import show


def test_branches_are_lines_in_ras_with_radius_flow_and_pressure():
    snapshot = simulated.pulsatile_bifurcation(phases=2, triangles=1500, lines=4)
    line = snapshot.centreline
    data = centreline_data(snapshot)
    assert data.GetNumberOfLines() == len(line.offsets) - 1 == 3
    assert vtk_to_numpy(data.GetPoints().GetData()) == pytest.approx(line.points * [-1, -1, 1], abs=1e-4)
    held = data.GetPointData()
    assert vtk_to_numpy(held.GetArray("Radius_mm")) == pytest.approx(line.arrays["radius_mm"], rel=1e-5)
    assert vtk_to_numpy(held.GetArray("Flow_ml_s")) == pytest.approx(line.arrays["flow_ml_s"], rel=1e-5)
    pressure = np.asarray(line.arrays["pressure_pa"]) / 133.322
    assert vtk_to_numpy(held.GetArray("Pressure_mmHg")) == pytest.approx(pressure, rel=1e-4, abs=1e-6)


def test_the_radius_colours_it_from_the_narrowest_to_the_widest_place(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.stenosed_tube(part=0.5, triangles=1500)
    show(case, snapshot, Appearance(centreline=True))
    display = case.get(Role.CENTRELINE).GetDisplayNode()
    assert display.GetActiveScalarName() == "Radius_mm"
    assert display.GetScalarRange() == pytest.approx((0.8, 1.6), rel=0.02)
    show(case, snapshot, Appearance(centreline=False))
    assert not display.GetVisibility()

"""The Gaussians as points, in the colours of speed or pressure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSScene.appearance import Appearance, CloudQuantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.gaussians import gaussian_data
from VesselFlowGSScene.show import show


def test_points_are_the_centres_in_ras_with_their_values():
    snapshot = simulated.steady_tube(2000)
    cloud = snapshot.cloud
    data = gaussian_data(snapshot)
    strength = cloud.attenuation * cloud.occupancy
    seen = strength > 0.1 * strength.max()
    assert vtk_to_numpy(data.GetPoints().GetData()) == pytest.approx(cloud.mean[seen] * [-1, -1, 1], abs=1e-4)
    held = data.GetPointData()
    assert vtk_to_numpy(held.GetArray("Pressure_mmHg")) == pytest.approx(cloud.pressure[seen] / 133.322, rel=1e-4)
    assert vtk_to_numpy(held.GetVectors()) == pytest.approx(cloud.velocity[seen] * [-1, -1, 1], abs=1e-5)
    speed = np.linalg.norm(cloud.velocity[seen], axis=1)
    assert vtk_to_numpy(held.GetArray("Speed_m_s")) == pytest.approx(speed, rel=1e-4)


def test_gaussians_that_are_not_seen_in_the_xray_are_left_out():
    snapshot = simulated.steady_tube(2000)
    occupancy = np.array(snapshot.cloud.occupancy)
    occupancy[: len(occupancy) // 2] = 1e-4
    faint = dataclasses.replace(snapshot, cloud=dataclasses.replace(snapshot.cloud, occupancy=occupancy))
    assert gaussian_data(faint).GetNumberOfPoints() <= len(occupancy) - len(occupancy) // 2


def test_speed_or_pressure_colours_them(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(2000)
    show(case, snapshot, Appearance(gaussians=True, gaussian_size=7.0))
    display = case.get(Role.GAUSSIANS).GetDisplayNode()
    mesh = case.get(Role.GAUSSIANS).GetPolyData()
    assert display.GetRepresentation() == slicer.vtkMRMLDisplayNode.PointsRepresentation
    assert display.GetPointSize() == 7.0
    assert display.GetActiveScalarName() == "Speed_m_s"
    show(case, snapshot, Appearance(gaussians=True, gaussian_quantity=CloudQuantity.PRESSURE))
    assert display.GetActiveScalarName() == "Pressure_mmHg"
    assert case.get(Role.GAUSSIANS).GetPolyData() is mesh


def test_before_the_flow_is_known_they_are_plain(scene):
    snapshot = simulated.steady_tube(2000)
    early = dataclasses.replace(snapshot, cloud=dataclasses.replace(snapshot.cloud, velocity=None, pressure=None))
    case = Case.create(scene, "case")
    show(case, early, Appearance(gaussians=True))
    display = case.get(Role.GAUSSIANS).GetDisplayNode()
    assert display.GetVisibility()
    assert not display.GetScalarVisibility()
    show(case, snapshot, Appearance(gaussians=True))
    assert display.GetScalarVisibility()


def with_arrival(snapshot, arrival):
    return dataclasses.replace(snapshot, cloud=dataclasses.replace(snapshot.cloud, arrival_s=arrival))


def test_arrival_colours_those_that_the_contrast_is_known_to_reach(scene):
    snapshot = simulated.steady_tube(2000)
    arrival = np.array(snapshot.cloud.arrival_s)
    arrival[::3] = np.nan
    snapshot, case = with_arrival(snapshot, arrival), Case.create(scene, "case")
    show(case, snapshot, Appearance(gaussians=True, streamlines=False, gaussian_quantity=CloudQuantity.ARRIVAL))
    node = case.get(Role.GAUSSIANS)
    known = np.isfinite(arrival)
    assert node.GetDisplayNode().GetActiveScalarName() == "Arrival_s"
    held = vtk_to_numpy(node.GetPolyData().GetPointData().GetArray("Arrival_s"))
    assert held == pytest.approx(arrival[known], rel=1e-5)
    low, high = node.GetDisplayNode().GetScalarRange()
    assert low <= np.quantile(arrival[known], 0.03) and high >= np.quantile(arrival[known], 0.97)
    titles = [legend.GetTitleText() for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", scene)]
    assert "Arrival (s)" in titles
    show(case, snapshot, Appearance(gaussians=True))
    assert node.GetPolyData().GetNumberOfPoints() == len(arrival)
    assert node.GetDisplayNode().GetActiveScalarName() == "Speed_m_s"


def test_without_any_arrival_they_are_plain(scene):
    snapshot = simulated.steady_tube(2000)
    snapshot, case = with_arrival(snapshot, np.full(len(snapshot.cloud.mean), np.nan)), Case.create(scene, "case")
    show(case, snapshot, Appearance(gaussians=True, gaussian_quantity=CloudQuantity.ARRIVAL))
    node = case.get(Role.GAUSSIANS)
    assert node.GetPolyData().GetNumberOfPoints() == len(snapshot.cloud.mean)
    assert not node.GetDisplayNode().GetScalarVisibility()


def test_no_cloud_no_node(scene):
    case = Case.create(scene, "case")
    show(case, dataclasses.replace(simulated.steady_tube(2000), cloud=None), Appearance(gaussians=True))
    assert case.get(Role.GAUSSIANS) is None

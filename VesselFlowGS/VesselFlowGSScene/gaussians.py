"""The Gaussians of the reconstruction as points, coloured by speed, pressure or the arrival of the contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from vtkmodules.vtkCommonDataModel import vtkPolyData

from VesselFlowGSLib.results.snapshot import CloudArrays, Snapshot
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene.appearance import Appearance, CloudQuantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.colours import Scale, paint
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.poly_data import VELOCITY, fingerprint, mark, mark_of, poly_data
from VesselFlowGSScene.streamlines import hidden, with_display


@dataclass(frozen=True)
class GaussianSettings:
    """least_strength: of the strongest Gaussian's attenuation times occupancy; weaker ones are not shown."""

    least_strength: float = 0.1


def gaussian_data(snapshot: Snapshot, reached: bool = False) -> vtkPolyData:
    """The centres in RAS with what is known of Speed_m_s, Pressure_mmHg, Velocity_m_s and Arrival_s; Attenuation_1_mm.

    Arrival_s is on the clock of the earliest run, NaN where it is not known.

    reached  only the Gaussians whose arrival is known: as they are drawn in its colours, the others being left out;
             where none is known, all of them
    """
    cloud = snapshot.cloud
    if cloud is None or len(cloud.mean) == 0:
        return vtkPolyData()
    strength = np.asarray(cloud.attenuation) * np.asarray(cloud.occupancy)
    seen = strength > GaussianSettings().least_strength * strength.max()
    arrival = np.asarray(cloud.arrival_s)
    known = np.isfinite(arrival)
    if reached and known.any():
        seen &= known
    arrays = {"Attenuation_1_mm": strength[seen]}
    if known.any():
        arrays["Arrival_s"] = arrival[seen]
    if cloud.pressure is not None:
        arrays["Pressure_mmHg"] = np.asarray(cloud.pressure)[seen] / PASCAL_PER_MMHG
    if cloud.velocity is not None:
        velocity = np.asarray(cloud.velocity)[seen]
        arrays["Speed_m_s"] = np.linalg.norm(velocity, axis=1)
        arrays[VELOCITY] = ras_of(velocity)
    return mark(poly_data(ras_of(np.asarray(cloud.mean)[seen]), arrays, vectors=VELOCITY), _made_of(cloud, reached))


def show_gaussians(case: Case, snapshot: Snapshot, appearance: Appearance, scale: Scale | None) -> Any:
    """Bring the Gaussians' model up to date; its display node, or None where there is none."""
    node = case.get(Role.GAUSSIANS)
    if not appearance.gaussians or snapshot.cloud is None or len(snapshot.cloud.mean) == 0:
        return hidden(node)
    node = case.put(Role.GAUSSIANS, "vtkMRMLModelNode")
    reached = appearance.gaussian_quantity is CloudQuantity.ARRIVAL
    if mark_of(node.GetPolyData()) != _made_of(snapshot.cloud, reached):
        node.SetAndObserveMesh(gaussian_data(snapshot, reached))
    display = with_display(node)
    display.SetRepresentation(slicer.vtkMRMLDisplayNode.PointsRepresentation)
    display.SetLighting(False)
    display.SetPointSize(appearance.gaussian_size)
    display.SetVisibility(True)
    paint(display, scale if scale and node.GetPolyData().GetPointData().HasArray(scale.array) else None)
    return display


def _made_of(cloud: CloudArrays, reached: bool) -> str:
    parts = (cloud.mean, cloud.attenuation, cloud.occupancy, cloud.arrival_s, cloud.velocity, cloud.pressure)
    return fingerprint(*(None if part is None else np.asarray(part) for part in parts), reached)

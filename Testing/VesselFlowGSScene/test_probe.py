"""The point that a person drags through a vessel whose flow is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import simulated_snapshots

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.results.snapshot import Snapshot, Surface
from VesselFlowGSLib.units import PASCAL_PER_MMHG
from VesselFlowGSScene import probe
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.cutplane import sampler_of
from VesselFlowGSScene.frames import ras_of

TUBE = simulated_snapshots.Tube(bend_deg=30.0)


@pytest.fixture(scope="module")
def tube() -> Snapshot:
    return simulated_snapshots.tube_snapshot(TUBE, triangles=8000)


@pytest.fixture
def case(scene: Any) -> Case:
    return Case.create(scene, "Vessel")


def put(case: Case, snapshot: Snapshot, s_mm: float, x: float, y: float = 0.0) -> np.ndarray:
    """The probe at an arc length, x and y across in radii; its place in LPS."""
    place = TUBE.point(np.array([s_mm]), np.array([x]), np.array([y]))[0]
    node = probe.place_probe(case, snapshot)
    node.SetNthControlPointPositionWorld(0, *ras_of(place))
    return place


@pytest.mark.parametrize(("s_mm", "x", "y"), [(16.0, 0.0, 0.0), (10.0, 0.5, 0.0), (22.0, -0.3, 0.6)])
def test_inside_it_reads_the_flow(case: Case, tube: Snapshot, s_mm: float, x: float, y: float) -> None:
    put(case, tube, s_mm, x, y)
    reading = probe.read_probe(case, tube, sampler_of(tube))
    assert reading is not None and reading.inside
    s = np.array([s_mm])
    truth = TUBE.velocity(s, np.array([x]), np.array([y]))[0]
    assert np.allclose(reading.velocity_m_s, truth, atol=0.02 * np.linalg.norm(TUBE.mean_speed(s)))
    assert reading.pressure_pa == pytest.approx(TUBE.pressure(s)[0], rel=0.02)
    assert reading.wss_pa == pytest.approx(TUBE.wall_shear(s)[0], rel=0.02)
    assert reading.wall_distance_mm == pytest.approx(TUBE.radius(s)[0] * (1 - np.hypot(x, y)), abs=0.03)


def test_outside_is_said_with_the_way_to_the_wall(case: Case, tube: Snapshot) -> None:
    put(case, tube, 16.0, 1.5)
    reading = probe.read_probe(case, tube, sampler_of(tube))
    assert reading is not None and not reading.inside
    assert reading.speed_m_s is None and reading.pressure_pa is None and reading.wss_pa is None
    assert reading.wall_distance_mm == pytest.approx(0.5 * 1.6, abs=0.03)
    assert case.get(Role.PROBE).GetNthControlPointLabel(0).split("\n") == reading.text.split(" · ")
    assert reading.text == f"outside the vessel · {reading.wall_distance_mm:.2f} mm from its wall"


def test_the_label_says_all_with_units(case: Case, tube: Snapshot) -> None:
    put(case, tube, 12.0, 0.2)
    reading = probe.read_probe(case, tube, sampler_of(tube))
    assert reading is not None and reading.speed_m_s is not None and reading.pressure_pa is not None
    label = case.get(Role.PROBE).GetNthControlPointLabel(0)
    for part in (
        f"speed {reading.speed_m_s:.3f} m/s",
        f"pressure {reading.pressure_pa / PASCAL_PER_MMHG:.2f} mmHg",
        f"wall shear stress nearby {reading.wss_pa:.2f} Pa",
        f"wall {reading.wall_distance_mm:.2f} mm away",
    ):
        assert part in label


def test_of_a_phase_it_reads_that_instant(case: Case) -> None:
    beating = simulated_snapshots.pulsatile_bifurcation(phases=3, triangles=2000, lines=4)
    probe.place_probe(case, beating)
    readings = [probe.read_probe(case, beating, sampler_of(beating, k), k) for k in range(3)]
    assert all(reading is not None and reading.inside for reading in readings)
    assert len({round(reading.speed_m_s, 4) for reading in readings}) == 3  # type: ignore[union-attr, arg-type]
    assert len({round(reading.wss_pa, 4) for reading in readings}) == 3  # type: ignore[union-attr, arg-type]


def test_a_new_probe_lies_in_the_vessel_and_stays_where_it_was_dragged(case: Case, tube: Snapshot) -> None:
    node = probe.place_probe(case, tube)
    reading = probe.read_probe(case, tube, sampler_of(tube))
    assert reading is not None and reading.inside
    node.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    assert probe.place_probe(case, tube) is node
    assert node.GetNthControlPointPosition(0) == (1.0, 2.0, 3.0)
    probe.remove_probe(case)
    assert probe.read_probe(case, tube, sampler_of(tube)) is None


def test_before_the_flow_only_the_wall_is_known(case: Case, tube: Snapshot) -> None:
    early = simulated_snapshots.without_flow(tube)
    put(case, tube, 16.0, 0.0)
    reading = probe.read_probe(case, early, sampler_of(early))
    assert reading is not None and reading.speed_m_s is None
    assert reading.wall_distance_mm == pytest.approx(1.6, abs=0.03)


@given(st.tuples(*[st.floats(-3, 3)] * 3))
def test_the_way_to_a_triangle_is_the_shortest(place: tuple[float, float, float]) -> None:
    corners = np.array([[0.0, 0, 0], [2, 0, 0], [0.5, 1.5, 0]])
    wall = Surface(corners, np.array([[0, 1, 2]]))
    found, nearest = probe.distance_to_wall(np.array(place), wall)
    u, v = np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 1, 201))
    kept = u + v <= 1
    sampled = corners[0] + u[kept, None] * (corners[1] - corners[0]) + v[kept, None] * (corners[2] - corners[0])
    assert found == pytest.approx(np.linalg.norm(sampled - place, axis=1).min(), abs=0.02)
    assert nearest == np.argmin(np.linalg.norm(corners - place, axis=1))

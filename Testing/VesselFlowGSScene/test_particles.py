"""Particles: carried by the blood, in place, in the lumen, the same each time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import Phase, Snapshot, Stage, VolumeMesh
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.particles import Particles, ParticleSettings
from VesselFlowGSScene.show import show

APPEARANCE = Appearance(particles=True, particle_count=500, particle_pace=0.1)


def box(speed: float = 0.3, count: int = 40_000, phases: tuple[float, ...] = ()) -> Snapshot:
    """Blood that flows to the patient's left (+x in LPS) through a box, 40 by 4 by 4 mm."""
    points = np.random.default_rng(3).random((count, 3)) * [40, 4, 4]
    empty = np.zeros(0, np.int64)

    def arrays(v):
        return {"velocity": np.tile(np.array([v, 0.0, 0.0], np.float32), (count, 1))}

    field = VolumeMesh(points, empty, np.zeros(1, np.int64), empty, arrays(speed))
    told = tuple(Phase(float(k), field=arrays(v)) for k, v in enumerate(phases))
    return Snapshot(Stage.FLOW, 0.5, "", field=field, phases=told, shape="box")


def shown(case):
    return vtk_to_numpy(case.get(Role.PARTICLES).GetPolyData().GetPoints().GetData())


def test_blood_to_the_patients_left_carries_particles_to_the_left_at_its_speed(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, box(0.3), APPEARANCE)
    before = shown(case).copy()
    particles.advance(0.05)
    moved = shown(case) - before
    # 0.3 m/s for 0.05 s of watching at a tenth of the pace
    carried = np.abs(moved[:, 0] + 1.5) < 0.01
    assert carried.mean() > 0.9
    assert moved[carried][:, 1:] == pytest.approx(0, abs=1e-5)


def test_they_move_in_the_memory_that_is_shown(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, simulated.steady_tube(3000), APPEARANCE)
    mesh, address = case.get(Role.PARTICLES).GetPolyData(), shown(case).__array_interface__["data"][0]
    time = mesh.GetMTime()
    particles.advance(0.05)
    assert case.get(Role.PARTICLES).GetPolyData() is mesh
    assert shown(case).__array_interface__["data"][0] == address
    assert mesh.GetMTime() > time


def test_they_stay_in_the_lumen_and_spread_through_it_for_good(scene):
    snapshot = simulated.stenosed_tube(triangles=6000)
    case = Case.create(scene, "case")
    particles = Particles(case, snapshot, dataclasses.replace(APPEARANCE, particle_count=2000))
    for _ in range(120):
        particles.advance(0.04)
    off = shown(case) * [-1, -1, 1] - simulated.START
    along = off @ simulated.AXIS
    across = np.linalg.norm(off - along[:, None] * simulated.AXIS, axis=1)
    assert across.max() < 1.6 + 0.35
    assert along.min() > -1.0
    assert along.max() < 33.0
    in_parts = np.histogram(along, bins=8, range=(0, 32))[0]
    assert in_parts.min() > 0.04 * len(along)


def test_their_speed_is_that_of_the_blood_around_them(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, box(0.25), APPEARANCE)
    particles.advance(0.03)
    data = case.get(Role.PARTICLES).GetPolyData()
    assert vtk_to_numpy(data.GetPointData().GetArray("Speed_m_s")) == pytest.approx(0.25, rel=1e-3)
    assert data.GetPointData().GetVectors().GetName() == "Velocity_m_s"
    assert vtk_to_numpy(data.GetPointData().GetVectors())[0] == pytest.approx([-0.25, 0, 0], rel=1e-3)


def test_two_runs_are_the_same(scene):
    ends = []
    for name in ("one", "two"):
        case = Case.create(scene, name)
        particles = Particles(case, simulated.steady_tube(3000), APPEARANCE)
        for _ in range(30):
            particles.advance(0.04)
        ends.append(shown(case).copy())
    assert np.array_equal(ends[0], ends[1])


def test_a_phase_carries_them_by_its_own_flow(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, box(0.2, phases=(0.2, -0.1)), APPEARANCE, phase=0)
    for phase, expected in ((0, -1.0), (1, 0.5), (None, -1.0)):
        particles.set_phase(phase)
        particles.advance(0.001)
        before = shown(case).copy()
        particles.advance(0.05)
        moved = (shown(case) - before)[:, 0]
        assert np.median(moved) == pytest.approx(expected, abs=0.02)


def test_a_long_pause_does_not_throw_them_out(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, simulated.steady_tube(3000), dataclasses.replace(APPEARANCE, particle_pace=2.0))
    for _ in range(5):
        particles.advance(30.0)
    off = shown(case) * [-1, -1, 1] - simulated.START
    assert np.isfinite(off).all()
    assert np.abs(off @ simulated.AXIS - 16).max() < 17


def test_slow_blood_at_the_wall_carries_none(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, simulated.steady_tube(6000), APPEARANCE)
    for _ in range(20):
        particles.advance(0.04)
    speed = vtk_to_numpy(case.get(Role.PARTICLES).GetPolyData().GetPointData().GetArray("Speed_m_s"))
    assert speed.min() > 0.5 * ParticleSettings().least_speed * speed.max()


def test_still_blood_and_no_blood(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, box(0.0), APPEARANCE)
    particles.advance(0.05)
    assert np.isfinite(shown(case)).all()
    other = Case.create(scene, "other")
    nothing = Particles(other, Snapshot(Stage.GEOMETRY, 0.1, ""), APPEARANCE)
    nothing.advance(0.05)
    nothing.set_phase(0)
    assert not nothing.alive
    assert other.get(Role.PARTICLES) is None


def test_a_closed_scene_stops_them(scene):
    case = Case.create(scene, "case")
    particles = Particles(case, box(), APPEARANCE)
    assert particles.alive
    scene.Clear(0)
    assert not particles.alive
    particles.advance(0.05)


def test_show_colours_and_hides_them(scene):
    case = Case.create(scene, "case")
    snapshot = simulated.steady_tube(2000)
    show(case, snapshot, APPEARANCE)
    assert case.get(Role.PARTICLES) is None
    Particles(case, snapshot, APPEARANCE)
    show(case, snapshot, APPEARANCE)
    display = case.get(Role.PARTICLES).GetDisplayNode()
    assert display.GetVisibility()
    assert display.GetActiveScalarName() == "Speed_m_s"
    assert display.GetRepresentation() == slicer.vtkMRMLDisplayNode.PointsRepresentation
    show(case, snapshot, dataclasses.replace(APPEARANCE, particles=False))
    assert not display.GetVisibility()

"""The flow solve against closed forms: Poiseuille, conservation of mass, no slip, its own derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic_lumens import bifurcation
from solved_tube import AXIS, FLOW_ML_S, FLUID, LENGTH, MEAN_M_S, RADIUS, SMALL, at, inner_points

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.flow.sections import SectionSettings, cross_section
from VesselFlowGSLib.flow.solve import FlowSolver, NetworkField, PointMemory
from VesselFlowGSLib.lumen.fit import start_cloud


def relative(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def flux_ml_s(field: NetworkField, section) -> float:
    return float(((field.velocity(section.points) @ section.normal) * section.weights).sum())


def test_a_straight_tube_is_poiseuille_flow(solved):
    x, z, r = inner_points(2000, 1)
    assert relative(solved.velocity(x), 2 * MEAN_M_S * (1 - (r / RADIUS) ** 2)[:, None] * AXIS) < 0.02
    slope = 8 * FLUID.viscosity_pa_s * MEAN_M_S / (RADIUS * 1e-3) ** 2 * 1e-3
    assert relative(solved.pressure(x), slope * (LENGTH - z)) < 0.03


def test_pressure_is_zero_on_average_at_the_outlet(solved):
    lumen = solved.solver.lumen
    section = cross_section(lumen, LENGTH * AXIS, AXIS, RADIUS, SectionSettings())
    level = np.average(solved.pressure(section.points), weights=section.weights)
    assert abs(level) < 1e-3 * float(solved.pressure(at(np.zeros(1), np.zeros(1)))[0])


def test_no_slip_on_the_wall_and_nothing_beyond_it(solved):
    lumen = solved.solver.lumen
    angle = np.linspace(0, 6, 40)
    low, high = np.full(40, 1.5), np.full(40, 2.5)
    for _ in range(40):
        middle = (low + high) / 2
        inside = lumen.wall(at(np.full(40, 8.0), middle, angle)) > 0
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    wall = at(np.full(40, 8.0), low, angle)
    assert np.abs(solved.velocity(wall)).max() < 1e-8 * MEAN_M_S
    assert (solved.velocity(at(np.full(40, 8.0), high + 0.05, angle)) == 0).all()


def test_every_section_carries_the_inflow(solved):
    assert solved.flow_ml_s() == pytest.approx([FLOW_ML_S])
    for z in np.linspace(0.5, LENGTH - 0.5, 12):
        section = cross_section(solved.solver.lumen, z * AXIS, AXIS, RADIUS, SectionSettings(angles=24, radii=10))
        assert flux_ml_s(solved, section) == pytest.approx(FLOW_ML_S, rel=0.01)


def test_the_gradient_is_the_velocitys_derivative(solved):
    x, _, r = inner_points(300, 2)
    x = x[r < 0.95 * RADIUS]
    step = 1e-3
    differences = np.stack(
        [(solved.velocity(x + step * e) - solved.velocity(x - step * e)) / (2e-3 * step) for e in np.eye(3)], -1
    )
    found = solved.velocity_gradient(x)
    assert found.shape == (len(x), 3, 3) and relative(found, differences) < 2e-3
    # its trace is the divergence, which Poiseuille flow has not
    shear = 4 * MEAN_M_S / (RADIUS * 1e-3)
    assert np.abs(np.trace(found, axis1=1, axis2=2)).mean() < 0.02 * shear


def test_the_core_velocity_times_the_wall_function_is_the_velocity(solved):
    x, _, _ = inner_points(200, 3)
    core, wall = solved.core_velocity(x)
    assert np.allclose(core * wall[:, None], solved.velocity(x), atol=1e-12)


def test_the_untrained_flow_conserves_mass(straight):
    solver = straight.solver()
    solver.set_inflow(FLOW_ML_S)
    field = NetworkField.of(solver)
    for section in solver.sections:
        assert flux_ml_s(field, section) == pytest.approx(FLOW_ML_S, rel=0.01)


def test_the_untrained_flow_in_a_straight_tube_is_poiseuilles(straight):
    solver = straight.solver()
    solver.set_inflow(FLOW_ML_S)
    field = NetworkField.of(solver)
    x, z, r = inner_points(500, 5)
    assert relative(field.velocity(x), 2 * MEAN_M_S * (1 - (r / RADIUS) ** 2)[:, None] * AXIS) < 0.01
    slope = 8 * FLUID.viscosity_pa_s * MEAN_M_S / (RADIUS * 1e-3) ** 2 * 1e-3
    assert relative(field.pressure(x), slope * (LENGTH - z)) < 1e-3


def test_the_velocity_scales_with_the_inflow_and_a_field_keeps_its_own(straight):
    solver = straight.solver()
    solver.set_inflow(1.0)
    slow = NetworkField.of(solver)
    x, _, _ = inner_points(50, 4)
    velocity, pressure = slow.velocity(x), slow.pressure(x)
    solver.set_inflow(2.0)
    fast = NetworkField.of(solver)
    assert np.allclose(fast.velocity(x), 2 * velocity)
    assert fast.flow_ml_s() == pytest.approx([2.0]) and slow.flow_ml_s() == pytest.approx([1.0])
    assert np.array_equal(slow.velocity(x), velocity) and np.array_equal(slow.pressure(x), pressure)


def test_a_seed_gives_the_same_result(straight):
    found = []
    for seed in (3, 3, 4):
        solver = straight.solver(seed)
        solver.solve(FLOW_ML_S, 4)
        found.append(solver.state.x)
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_steps_tell_iterations_and_a_falling_loss(straight):
    told = list(straight.solver().steps(FLOW_ML_S, 5))
    assert [t[0] for t in told] == [1, 2, 3, 4, 5]
    assert (np.diff([t[1] for t in told]) < 0).all()


def test_looking_on_does_not_change_the_solution(straight):
    alone, watched = straight.solver(), straight.solver()
    alone.solve(FLOW_ML_S, 4)
    x, _, _ = inner_points(600, 5)
    memory = PointMemory()
    for _ in watched.steps(FLOW_ML_S, 4):
        NetworkField.of(watched, memory).velocity(x)
    assert np.array_equal(alone.state.x, watched.state.x)


def test_a_field_with_a_memory_says_the_same(straight):
    solver, memory = straight.solver(), PointMemory(fewest=10)
    x, _, _ = inner_points(300, 6)
    for flow in (1.0, 2.0, 2.0):
        solver.solve(flow, 2)
        plain, kept = NetworkField.of(solver), NetworkField.of(solver, memory)
        for quantity in ("velocity", "pressure", "velocity_gradient"):
            assert np.array_equal(getattr(plain, quantity)(x), getattr(kept, quantity)(x))


def test_a_memory_holds_no_more_than_it_may():
    memory, computed = PointMemory(fewest=2, most=10), []
    sets = [np.full((4, 3), float(k)) for k in range(3)]

    def value(points):
        return memory.recall("value", points, lambda: computed.append(points[0, 0]) or points[0, 0])

    assert [value(s) for s in (*sets, sets[2], sets[1], sets[0], sets[0][:1], sets[0][:1])] == [0, 1, 2, 2, 1, 0, 0, 0]
    assert computed == [0, 1, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("shares", "tolerance"), [((0.65, 0.35), 0.03), ((1.0, 0.0), 0.15)], ids=["both", "one occluded"]
)
def test_a_bifurcation_parts_the_flow_as_asked(shares, tolerance):
    lumen = bifurcation()
    solver = FlowSolver(lumen, start_cloud(lumen, 1.0).cloud, FLUID, shares, SMALL)
    solver.solve(1.0, 100)
    field = NetworkField.of(solver)
    assert field.flow_ml_s() == pytest.approx([1.0, *shares])
    assert np.isfinite(solver.state.loss)
    for section in solver.sections:
        wanted = field.flow_ml_s()[section.branch]
        assert flux_ml_s(field, section) == pytest.approx(wanted, abs=tolerance)
    # downhill along both ways; the branch points' values are finite
    pressure = [float(field.pressure(o.centre[None])[0]) for o in lumen.openings]
    assert pressure[0] > max(abs(p) for p in pressure[1:])
    assert np.isfinite(field.velocity_gradient(np.zeros((1, 3)))).all()


def test_an_opening_that_is_not_one_closed_section_is_refused(straight):
    lumen = straight.lumen
    beside = replace(lumen.outlets[0], centre=lumen.outlets[0].centre + 10.0)
    with pytest.raises(InputError, match="outlets_lps_mm"):
        FlowSolver(replace(lumen, openings=(lumen.inlet, beside)), straight.cloud, FLUID, [1.0], SMALL)

"""The truth of simulated studies: mass, no slip, momentum, the dye."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.simulation.bolus import Bolus, entering, find_transit
from VesselFlowGSLib.simulation.fields import Flow, section_figures, solve_flow
from VesselFlowGSLib.simulation.settings import SimulationSettings, settings_for
from VesselFlowGSLib.simulation.vessels import build_vessel


def coarse(vessel: str, **changes: object) -> SimulationSettings:
    """Small enough for a test; slower flow, so that few modes resolve it."""
    defaults = {
        "length_mm": 30.0,
        "bend_length_mm": 18.0,
        "mean_inflow_ml_s": 0.6,
        "radial": 4,
        "harmonics": 2,
        "axisymmetric_radial": 7,
        "knot_spacing_radii": 0.7,
        "sweeps": 4,
        "transit_radial": 16,
        "transit_angular": 13,
    }
    return settings_for(vessel, **{**defaults, **changes})


@functools.cache
def flow_in(vessel: str, **changes: object) -> tuple[SimulationSettings, Flow]:
    s = coarse(vessel, **changes)
    return s, solve_flow(build_vessel(s.vessel), s.flow, s.solver)


CASES = ("stenosis", "bend", "aneurysm", "bifurcation")


def points_inside(flow: Flow, count: int, depth_mm: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    low, high = flow.vessel.bounds
    x = rng.uniform(low, high, (count, 3))
    return x[flow.vessel.wall_distance(x) > depth_mm]


@pytest.mark.parametrize("vessel", CASES)
def test_velocity_has_no_divergence(vessel: str) -> None:
    _, flow = flow_in(vessel)
    gradient = flow.gradient(points_inside(flow, 30000, 0.05))
    divergence = np.trace(gradient, axis1=1, axis2=2)
    assert np.abs(divergence).max() < 1e-8 * np.linalg.norm(gradient, axis=(1, 2)).max()


@pytest.mark.parametrize("vessel", CASES)
def test_gradient_is_that_of_the_velocity(vessel: str) -> None:
    _, flow = flow_in(vessel)
    x = points_inside(flow, 8000, 0.2)
    if vessel == "bifurcation":  # the gradient jumps where one tube's field ends inside the other
        s, a, b, _ = flow.tubes[0].unit(flow.vessel.local(x))
        x = x[s < flow.vessel.spec.lesion_at * flow.vessel.spec.length_mm - 6]
    h = 1e-3
    measured = np.stack([(flow.velocity(x + h * e) - flow.velocity(x - h * e)) / (2 * h * 1e-3) for e in np.eye(3)], -1)
    exact = flow.gradient(x)
    assert np.abs(measured - exact).max() < 1e-4 * np.abs(exact).max()


@pytest.mark.parametrize("vessel", CASES)
def test_velocity_vanishes_on_the_wall(vessel: str) -> None:
    s, flow = flow_in(vessel)
    for tube_flow in flow.tubes:
        tube = tube_flow.tube
        at, angle = np.linspace(0, s.vessel.length_mm, 150), np.linspace(0, 25, 150)
        r = tube.radius(at) * (1 - 1e-7)
        wall = tube.point(at, r * np.cos(angle), r * np.sin(angle))
        others = sum(f.unit(wall)[3].astype(int) for f in flow.tubes)
        speed = np.linalg.norm(flow.local_velocity(wall[others == 1]), axis=1)
        assert speed.max() < 1e-5 * np.linalg.norm(flow.local_velocity(tube.point(at, 0 * r, 0 * r)), axis=1).max()


@pytest.mark.parametrize("vessel", CASES)
def test_flow_is_equal_through_all_sections(vessel: str) -> None:
    s, flow = flow_in(vessel)
    for k, share in enumerate(flow.vessel.shares):
        begin = flow.vessel.parting_mm if len(flow.tubes) > 1 else 0.0
        for at in np.linspace(begin, s.vessel.length_mm, 6):
            assert section_figures(flow, k, float(at))["Q_ml_s"] == pytest.approx(share * 0.6, rel=1e-6)
    assert section_figures(flow, 0, 0.0)["Q_ml_s"] == pytest.approx(0.6, rel=1e-6)


def test_pressure_in_a_straight_tube_is_poiseuille() -> None:
    s, flow = flow_in("stenosis", severity=0.0, taper=1.0, bend_angle_deg=0.0)
    q, r = 0.6e-6, s.vessel.radius_mm * 1e-3
    drop = 8 * s.flow.viscosity_pa_s * q * s.vessel.length_mm * 1e-3 / (np.pi * r**4)
    assert section_figures(flow, 0, 0.0)["p_Pa"] == pytest.approx(drop, rel=1e-4)
    assert section_figures(flow, 0, s.vessel.length_mm)["p_Pa"] == pytest.approx(0, abs=1e-6 * drop)


def test_wall_shear_in_a_straight_tube_is_poiseuille() -> None:
    s, flow = flow_in("stenosis", severity=0.0, taper=1.0, bend_angle_deg=0.0)
    angle = np.linspace(0, 6, 20)
    tube, at = flow.tubes[0].tube, np.full(20, 12.0)
    r = s.vessel.radius_mm * 0.9999
    x = flow.vessel.lps(tube.point(at, r * np.cos(angle), r * np.sin(angle)))
    outward = (x - flow.vessel.lps(tube.point(at, 0 * angle, 0 * angle))) / r
    shear = flow.wall_shear(x, outward)
    expected = 4 * s.flow.viscosity_pa_s * 0.6e-6 / (np.pi * (s.vessel.radius_mm * 1e-3) ** 3)
    assert np.linalg.norm(shear, axis=1) == pytest.approx(expected, rel=1e-3)
    assert np.all(shear @ (flow.vessel.rotation @ tube.frame(at)[0][0]) > 0), "the fluid drags the wall downstream"


def test_bernoulli_and_friction_in_a_slow_stenosis() -> None:
    """At vanishing Reynolds number and slope the drop is the integral of Poiseuille's gradient."""
    s, flow = flow_in(
        "stenosis",
        mean_inflow_ml_s=0.005,
        severity=0.3,
        lesion_length_mm=24.0,
        bend_angle_deg=0.0,
        taper=1.0,
        length_mm=50.0,
    )
    at = np.linspace(0, s.vessel.length_mm, 2000)
    r = flow.tubes[0].tube.radius(at) * 1e-3
    friction = 8 * s.flow.viscosity_pa_s * 0.005e-6 / np.pi * np.trapezoid(r**-4.0, at * 1e-3)
    assert section_figures(flow, 0, 0.0)["p_Pa"] == pytest.approx(friction, rel=0.01)


def test_finer_functions_change_the_flow_little() -> None:
    _, flow = flow_in("bend")
    _, finer = flow_in("bend", radial=6, harmonics=4, knot_spacing_radii=0.45)
    x = points_inside(flow, 20000, 0.0)
    a, b = flow.velocity(x), finer.velocity(x)
    assert np.sqrt(np.sum((a - b) ** 2) / np.sum(b**2)) < 0.01
    drop, finer_drop = (section_figures(f, 0, 0.0)["p_Pa"] for f in (flow, finer))
    assert drop == pytest.approx(finer_drop, rel=0.01)


def test_a_bend_throws_the_flow_outwards() -> None:
    _, flow = flow_in("bend")
    at = np.full(2, 20.0)
    inner, outer = flow.tubes[0].velocity_at(at, np.array([0.5, -0.5]), np.zeros(2))[:, 0]
    assert outer > 1.05 * inner


@pytest.mark.parametrize("vessel", CASES)
def test_dye_in_the_vessel_is_what_came_in_less_what_left(vessel: str) -> None:
    s, flow = flow_in(vessel)
    bolus = Bolus(s.bolus, find_transit(flow, s.sampling))
    total = 0.6 * np.trapezoid(entering(s.bolus, np.linspace(0, 6, 6000)), np.linspace(0, 6, 6000))
    for time in (0.5, 0.8, 1.2, 2.0):
        t = np.linspace(0, time, 120)
        came = 0.6 * np.trapezoid(entering(s.bolus, t), t)
        left = sum(
            0.6 * share * np.trapezoid(bolus.over_section(k, flow.tubes[k].tube.end_mm, t), t)
            for k, share in enumerate(flow.vessel.shares)
        )
        assert abs(bolus.dye_ml(time) + left - came) < 0.01 * came + 0.001 * total


def test_transit_times_of_a_straight_tube() -> None:
    s, flow = flow_in("stenosis", severity=0.0, taper=1.0, bend_angle_deg=0.0)
    transit = find_transit(flow, s.sampling)
    eta, at = np.linspace(0, 0.995, 40), np.linspace(1, 30, 40)
    tube = flow.tubes[0].tube
    r = s.vessel.radius_mm
    x = flow.vessel.lps(tube.point(at, r * eta, 0 * eta))
    speed = 2 * 600 / (np.pi * r**2) * (1 - eta**2)
    assert transit.times(x) == pytest.approx((at - tube.start_mm) / speed, rel=2e-3)
    assert np.all(np.isinf(transit.times(x + 3 * r * (flow.vessel.rotation @ [0, 0, 1]))))


def test_pulsatile_clock_counts_what_has_flowed() -> None:
    s, flow = flow_in("stenosis", severity=0.0, taper=1.0, bend_angle_deg=0.0, pulsatile_amplitude=0.5)
    bolus = Bolus(s.bolus, find_transit(flow, s.sampling))
    assert bolus.passed(s.flow.period_s) == pytest.approx(s.flow.period_s)
    t, h = np.linspace(0, 1, 50), 1e-5
    pace = (bolus.passed(t + h) - bolus.passed(t - h)) / (2 * h)
    assert pace == pytest.approx(1 + 0.5 * np.cos(2 * np.pi * t / s.flow.period_s), rel=1e-6)


def test_impossible_settings_are_named() -> None:
    for wrong in ({"severity": 1.2}, {"radius_mm": -1.0}, {"no_such_setting": 1}, {"compression": "zip"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            settings_for("stenosis", **wrong)
    with pytest.raises(InputError, match="Unknown vessel"):
        settings_for("aorta")
    with pytest.raises(InputError, match="bends"):
        build_vessel(settings_for("bend", bend_angle_deg=300.0, bend_length_mm=8.0).vessel)

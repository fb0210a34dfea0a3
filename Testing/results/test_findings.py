"""What is pointed out: known narrowings, vortices, jets and patches are found where they are, and nothing else is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import simulated_snapshots as simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_snapshots import AXIS, BESIDE, START, Stenosis, Tube, tube_snapshot

from VesselFlowGSLib.results.findings import FindingSettings, find
from VesselFlowGSLib.results.snapshot import Finding, FindingKind, Phase, Snapshot


def of_kind(snapshot: Snapshot, kind: FindingKind) -> list[Finding]:
    return [f for f in find(snapshot) if f.kind is kind]


def with_wss(snapshot: Snapshot, wss: np.ndarray) -> Snapshot:
    surface = dataclasses.replace(snapshot.surface, arrays={**snapshot.surface.arrays, "wss": wss})
    return dataclasses.replace(snapshot, surface=surface)


def with_velocity(snapshot: Snapshot, velocity: np.ndarray) -> Snapshot:
    field = dataclasses.replace(snapshot.field, arrays={**snapshot.field.arrays, "velocity": velocity})
    return dataclasses.replace(snapshot, field=field)


@given(
    bend=st.floats(0, 120),
    taper=st.floats(0, 0.3),
    flow=st.floats(1.0, 4.0),
    secondary=st.floats(0, 0.15),
    part=st.floats(0, 0.2),
)
@settings(max_examples=15)
def test_nothing_is_said_of_a_healthy_vessel(
    bend: float, taper: float, flow: float, secondary: float, part: float
) -> None:
    tube = Tube(bend_deg=bend, taper=taper, flow_ml_s=flow, secondary=secondary, stenoses=(Stenosis(part, 15.0, 8.0),))
    found = find(tube_snapshot(tube, triangles=2000))
    assert {f.kind for f in found} <= {FindingKind.HIGH_WSS}


def test_nothing_is_said_of_a_fork() -> None:
    assert find(simulated.pulsatile_bifurcation(phases=0, triangles=4000)) == ()


@given(part=st.floats(0.3, 0.7), taper=st.floats(0, 0.3), at=st.floats(9, 22), flow=st.booleans())
@settings(max_examples=15)
def test_a_narrowing_is_found_in_its_place_with_its_degree(part: float, taper: float, at: float, flow: bool) -> None:
    tube = Tube(taper=taper, stenoses=(Stenosis(part, at, 8.0),), bend_deg=30.0)
    snapshot = tube_snapshot(tube, triangles=2000)
    (found,) = of_kind(snapshot if flow else simulated.without_flow(snapshot), FindingKind.STENOSIS)
    assert found.value == pytest.approx(100 * part, abs=2.0)
    assert found.unit == "%"
    assert f"Narrowing of {found.value:.0f} % (diameter)" in found.text
    middle = tube.frame(np.array([at]))[0][0]
    assert np.linalg.norm(found.centre - middle) < 1.0
    # The patch of wall is around it, and the ball holds it.
    assert np.linalg.norm(found.region.points - middle, axis=1).max() < 6.5
    assert found.radius_mm < 6.5


@pytest.mark.parametrize("at", [1.0, 31.0])
def test_at_an_opening_nobody_can_say(at: float) -> None:
    assert of_kind(tube_snapshot(Tube(stenoses=(Stenosis(0.5, at, 6.0),))), FindingKind.STENOSIS) == []


def test_a_narrowing_at_the_beginning_of_a_branch_is_found_and_the_fork_itself_is_none() -> None:
    snapshot = simulated.pulsatile_bifurcation(phases=0, triangles=3000)
    line = snapshot.centreline
    first, last = line.offsets[1:3]
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line.points[first:last], axis=0), axis=1))])
    radius = line.arrays["radius_mm"].copy()
    radius[first:last] = 1.7 * (1 - 0.5 * np.exp(-(((along - 4.0) / 1.5) ** 2)))
    narrowed = dataclasses.replace(
        snapshot, centreline=dataclasses.replace(line, arrays={**line.arrays, "radius_mm": radius})
    )
    (found,) = of_kind(simulated.without_flow(narrowed), FindingKind.STENOSIS)
    assert found.value == pytest.approx(50, abs=3)


def test_a_jet_and_the_blood_that_turns_behind_a_narrowing_are_found() -> None:
    snapshot = simulated.stenosed_tube(part=0.5, jet=1.6, triangles=8000)
    jet = of_kind(snapshot, FindingKind.JET)[0]
    before = 2.0 / (np.pi * 1.6**2)
    # Behind the narrowing the core runs at up to 2 (1 + 1.6) mean speeds.
    assert 4.0 < jet.value / before < 5.3
    behind = (jet.centre - START) @ AXIS - 0.4 * 32
    assert 1.0 < behind < 8.0
    vortices = of_kind(snapshot, FindingKind.VORTEX)
    backward = next(f for f in vortices if "run back" in f.text)
    speed = snapshot.field.arrays["velocity"] @ AXIS
    assert backward.value == pytest.approx(-speed.min(), rel=0.15)
    assert of_kind(simulated.stenosed_tube(part=0.5, jet=0.0), FindingKind.JET) == []
    assert of_kind(simulated.stenosed_tube(part=0.5, jet=0.0), FindingKind.VORTEX) == []


def test_strong_vortices_across_a_bend_are_a_pair() -> None:
    snapshot = simulated.steady_tube(bend_deg=80.0, secondary=0.6, triangles=5000)
    one, other = of_kind(snapshot, FindingKind.VORTEX)
    # mirror images of each other in the plane of the bend
    assert (one.centre - START) @ BESIDE == pytest.approx(-(other.centre - START) @ BESIDE, abs=0.05)
    assert abs((one.centre - START) @ BESIDE) > 0.3
    assert one.region is not None and len(one.region.triangles) > 100


@pytest.mark.parametrize("stretch_per_s", [0.0, 20.0])
def test_a_lamb_oseen_and_a_burgers_vortex_are_found_where_they_are(stretch_per_s: float) -> None:
    snapshot = simulated.steady_tube(radius_mm=2.0, length_mm=24.0, triangles=16000)
    place, core_mm, rate = START + 11.0 * AXIS, 0.5, 900.0
    offset = snapshot.field.points - place
    height = offset @ BESIDE
    flat = offset - height[:, None] * BESIDE
    r = np.linalg.norm(flat, axis=1)
    # rate is half of the vorticity on the axis: v = rate r_c^2 / r (1 - exp(-r^2 / r_c^2))
    turn = rate * core_mm**2 * -np.expm1(-((r / core_mm) ** 2)) / np.maximum(r, 1e-9) ** 2
    velocity = 1e-3 * turn[:, None] * np.cross(BESIDE, flat)
    velocity += 1e-3 * stretch_per_s * (height[:, None] * BESIDE - 0.5 * flat)
    found = of_kind(with_velocity(snapshot, velocity), FindingKind.VORTEX)
    vortex = next(f for f in found if f.text.startswith("Vortex"))
    assert np.linalg.norm(vortex.centre - place) < 0.1
    assert vortex.value == pytest.approx(rate / (2 * np.pi), rel=0.1)
    near = vortex.region.points - place
    across = np.linalg.norm(near - (near @ BESIDE)[:, None] * BESIDE, axis=1)
    # Q falls to zero at 1.12 core radii.
    assert across.max() < 1.5 * core_mm


@pytest.mark.parametrize(("kind", "value"), [(FindingKind.HIGH_WSS, 12.0), (FindingKind.LOW_WSS, 0.2)])
def test_a_patch_of_wall_has_its_area_and_place(kind: FindingKind, value: float) -> None:
    snapshot = simulated.steady_tube(triangles=20000)
    offset = snapshot.surface.points - START
    along = offset @ AXIS
    side = offset @ BESIDE > 0
    wss = np.where((along > 10) & (along < 14) & side, value, 2.0)
    (found,) = of_kind(with_wss(snapshot, wss), kind)
    # The triangles that the edge of the patch crosses may fall to either side.
    area = float(found.text.split(" on ")[1].split(" mm²")[0])
    assert area == pytest.approx(np.pi * 1.6 * 4.0, rel=0.12)
    assert found.value == pytest.approx(value, rel=0.1 if kind is FindingKind.HIGH_WSS else 0.5)
    centre = found.centre - START
    assert centre @ AXIS == pytest.approx(12.0, abs=0.15)
    # of half a circle's arc
    assert centre @ BESIDE == pytest.approx(2 * 1.6 / np.pi, abs=0.1)
    small = np.where((along > 10) & (along < 10.3) & side, value, 2.0)
    assert of_kind(with_wss(snapshot, small), kind) == []
    at_the_end = np.where(along < 0.7, value, 2.0)
    assert of_kind(with_wss(snapshot, at_the_end), kind) == []


def test_a_steep_loss_of_pressure_is_found_behind_a_narrowing_only() -> None:
    (found,) = of_kind(simulated.stenosed_tube(part=0.6), FindingKind.PRESSURE_GRADIENT)
    assert found.unit == "mmHg"
    assert 1.0 < found.value
    assert abs((found.centre - START) @ AXIS - 0.4 * 32) < 4.0
    slow = simulated.stenosed_tube(part=0.6, flow_ml_s=0.2)
    assert of_kind(slow, FindingKind.PRESSURE_GRADIENT) == []


def test_of_a_pulsatile_flow_the_mean_is_spoken_of() -> None:
    steady = simulated.stenosed_tube(part=0.6)
    pulsatile = dataclasses.replace(steady, phases=(Phase(0.0), Phase(0.4)), period_s=0.8)
    for now, mean in zip(find(steady), find(pulsatile), strict=True):
        assert ("mean over the period" in mean.text) == (now.kind is not FindingKind.STENOSIS)
        assert now.value == mean.value


def test_thresholds_are_settings() -> None:
    snapshot = simulated.stenosed_tube(part=0.3, jet=0.0)
    assert of_kind(snapshot, FindingKind.STENOSIS)
    strict = FindingSettings(least_stenosis_percent=50.0)
    assert not [f for f in find(snapshot, strict) if f.kind is FindingKind.STENOSIS]


def damaged(part: str, name: str) -> Callable[[Snapshot], Snapshot]:
    def change(snapshot: Snapshot) -> Snapshot:
        held = getattr(snapshot, part)
        values = np.full(np.shape(held.arrays[name]), np.nan)
        return dataclasses.replace(snapshot, **{part: dataclasses.replace(held, arrays={**held.arrays, name: values})})

    return change


BROKEN: dict[str, Callable[[Snapshot], Snapshot]] = {
    "no centreline": lambda s: dataclasses.replace(s, centreline=None),
    "no surface": lambda s: dataclasses.replace(s, surface=None),
    "no field": lambda s: dataclasses.replace(s, field=None),
    "no words": lambda s: dataclasses.replace(s, geometry={}),
    "odd words": lambda s: dataclasses.replace(s, geometry={"openings": [{"name": "inlet"}], "branches": 3}),
    "no velocity": damaged("field", "velocity"),
    "no stress": damaged("surface", "wss"),
    "no pressure": damaged("centreline", "pressure_pa"),
    "no radius": damaged("centreline", "radius_mm"),
    "no flow": damaged("centreline", "flow_ml_s"),
    "still": lambda s: simulated.with_flow_scaled(s, 0.0),
    "backwards": lambda s: simulated.with_flow_scaled(s, -1.0),
    "single precision": simulated.in_single,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_snapshot_that_lacks_a_part_gives_what_the_rest_says(name: str) -> None:
    whole = simulated.stenosed_tube(triangles=2500)
    found = find(BROKEN[name](whole))
    kinds = {f.kind for f in found}
    assert (FindingKind.STENOSIS in kinds) == (name not in ("no centreline", "no radius"))
    if name in ("no flow", "still"):
        assert kinds == {FindingKind.STENOSIS}
    for finding in found:
        assert np.isfinite(finding.centre).all()
        assert np.isfinite([finding.value, finding.radius_mm]).all()
        assert "nan" not in finding.text


def test_blood_that_runs_the_other_way_has_its_jet_on_the_other_side() -> None:
    whole = simulated.stenosed_tube(triangles=4000)
    turned = simulated.with_flow_scaled(whole, -1.0)
    # The fast core now lies before the narrowing, and is no jet behind it.
    assert of_kind(whole, FindingKind.JET)
    assert of_kind(turned, FindingKind.JET) == []


def test_a_sentence_is_worded_as_research_and_no_kind_is_said_too_often() -> None:
    found = find(simulated.stenosed_tube(part=0.5, triangles=16000))
    assert {f.kind for f in found} == set(FindingKind)
    for finding in found:
        assert finding.text.endswith(".")
        assert not any(word in finding.text.lower() for word in ("diagnos", "patient", "disease", "treat"))
    snapshot = simulated.steady_tube(triangles=8000)
    along = (snapshot.surface.points - START) @ AXIS
    striped = with_wss(snapshot, np.where(np.sin(2 * np.pi * along / 3) > 0, 20.0, 2.0))
    assert len(of_kind(striped, FindingKind.HIGH_WSS)) == FindingSettings().most

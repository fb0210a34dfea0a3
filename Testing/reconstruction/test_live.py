"""What a person sees meanwhile: when a snapshot is due, which part is done, and that looking on changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from analytic_lumens import straight_tube
from studies import study_of

from VesselFlowGSLib.lumen.fit import start_cloud
from VesselFlowGSLib.reconstruction.checkpoint import Checkpoint
from VesselFlowGSLib.reconstruction.live import Live, Pace, Plan, PreviewSettings, Step
from VesselFlowGSLib.reconstruction.reconstruct import fingerprint, reconstruct
from VesselFlowGSLib.reconstruction.settings import load_settings, overlaid
from VesselFlowGSLib.results.snapshot import Snapshot, Stage

SMALL = overlaid(
    load_settings(quality="preview"),
    {
        "flow": {"points_per_radius": 20, "first_iterations": 15},
        "schedule": {"streamlines": 6},
        "derived": {"volume": {"per_radius": 5.0}, "wall": {"per_radius": 5.0}},
    },
    "test",
)


class Clock:
    """Stands in for the system's clock: goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_snapshots_come_every_few_seconds_and_never_cost_more_than_their_share():
    clock = Clock()
    pace = Pace(Live(every_s=2.0, share=0.2), clock)
    assert not pace.due()
    clock.now = 2.0
    assert pace.due()
    with pace:
        clock.now = 5.0
    clock.now = 16.9
    assert not pace.due()
    clock.now = 17.1
    assert pace.due()
    assert not Pace(None, clock).due()


@pytest.mark.parametrize("quality", ["preview", "standard", "fine"])
@pytest.mark.parametrize("given", [False, True])
def test_the_parts_of_a_plan_follow_one_another(quality, given):
    plan = Plan.of(load_settings(quality=quality), given, given)
    parts = [0.0, plan.geometry(0.5), plan.geometry()]
    for number, steps in enumerate(plan.rounds):
        parts += [plan.solved(number, 0), plan.solved(number, steps // 2), plan.solved(number, steps)]
        assert plan.solved(number, 10 * steps) == plan.solved(number, steps)
    assert plan.finishing(0.0) == pytest.approx(parts[-1]) and plan.finishing(1.0) == 1.0
    parts += [plan.finishing(0.5), 1.0]
    assert parts == sorted(parts)


def test_a_preview_is_never_finer_than_the_result():
    coarse = PreviewSettings().of(SMALL.derived)
    assert coarse.volume.per_radius == 3.0 and coarse.wall.per_radius == 3.0
    least = overlaid(SMALL, {"derived": {"volume": {"per_radius": 2.0}}}, "test").derived
    assert PreviewSettings().of(least).volume.per_radius == 2.0


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> tuple[list[Snapshot], list[Step], list[Snapshot]]:
    """Snapshots and steps of a tube of known inflow that is watched without pause; and those of one that is not."""
    study = study_of(tmp_path_factory.mktemp("study"), {"flow": {"mean_inflow_ml_s": 1.5}})
    lumen = straight_tube(12.0, 2.0, spacing_mm=0.5)
    start = Checkpoint(fingerprint(study, SMALL), lumen, start_cloud(lumen, 1.0).cloud, {}, ())
    steps: list[Step] = []
    watched = list(reconstruct(study, SMALL, start, steps.append, Live(every_s=0.0, share=0.999)))
    return watched, steps, list(reconstruct(study, SMALL, start))


def test_a_flow_that_is_watched_is_shown_step_by_step(seen):
    watched, steps, alone = seen
    assert [s.stage for s in alone] == [Stage.GEOMETRY, Stage.FIRST_FLOW, Stage.DONE]
    assert [s.stage for s in watched[:2]] == [Stage.GEOMETRY, Stage.FIRST_FLOW] and watched[-1].stage is Stage.DONE
    between = watched[2:-1]
    assert len(between) > 3 and all(s.stage is Stage.FLOW for s in between)
    for snapshot in between:
        assert snapshot.checkpoint is not None and snapshot.streamlines is not None
        assert {"velocity", "pressure"} <= set(snapshot.field.arrays) and "wss" in snapshot.surface.arrays
        assert len(snapshot.streamlines.offsets) > 2
    parts = [s.part for s in steps]
    assert parts == sorted(parts) and [s.progress for s in watched] == sorted(s.progress for s in watched)
    solving = [s for s in steps if s.iteration is not None]
    assert [s.iteration for s in solving] == list(range(1, len(solving) + 1))
    assert solving[-1].loss < solving[0].loss


def test_points_stay_while_the_flow_is_solved_and_their_shape_says_so(seen):
    watched, _, _ = seen
    first = watched[0]
    assert first.shape and {s.shape for s in watched[:-1]} == {first.shape} and watched[-1].shape != first.shape
    for snapshot in watched[1:-1]:
        assert np.array_equal(snapshot.surface.points, first.surface.points)


def test_the_result_is_the_same_watched_or_not(seen):
    watched, _, alone = seen
    one, other = watched[-1], alone[-1]
    for part in ("surface", "field", "streamlines", "centreline"):
        held = [getattr(s, part) for s in (one, other)]
        assert np.array_equal(held[0].points, held[1].points)
        for name, values in held[0].arrays.items():
            assert np.array_equal(values, held[1].arrays[name])
    assert one.figures == other.figures and one.shape == other.shape


def test_a_run_that_was_stopped_on_the_way_takes_the_steps_that_are_left(seen, tmp_path):
    watched, _, _ = seen
    study = study_of(tmp_path, {"flow": {"mean_inflow_ml_s": 1.5}})
    settings = overlaid(SMALL, {"flow": {"update_iterations": 2}}, "test")
    lumen = straight_tube(12.0, 2.0, spacing_mm=0.5)
    known = watched[5].checkpoint["parameters"]
    start = Checkpoint(fingerprint(study, settings), lumen, start_cloud(lumen, 1.0).cloud, {}, ())
    start = dataclasses.replace(start, inflow_ml_s=1.5, shares=np.ones(1), parameters=known, iterations=9)
    steps: list[Step] = []
    list(reconstruct(study, settings, start, steps.append))
    assert [s.iteration for s in steps if s.iteration is not None] == list(range(10, 16))

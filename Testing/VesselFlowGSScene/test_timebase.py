"""One clock for phases, films and the plots' cursor, moved by Slicer's own sequences."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import simulated_snapshots

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Phase, Snapshot
from VesselFlowGSScene import timebase
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.lumen import lumen_data
from VesselFlowGSScene.show import show
from VesselFlowGSScene.tables import TIME
from VesselFlowGSScene.timebase import Filmed, TimeBaseSettings, clock_of

EVERYTHING = Appearance(glyphs=True, glyph_count=100)
PHASES = 6


@pytest.fixture(scope="module")
def beating() -> Snapshot:
    return simulated_snapshots.pulsatile_bifurcation(phases=PHASES, triangles=1500, lines=8)


@pytest.fixture(scope="module")
def steady() -> Snapshot:
    return simulated_snapshots.steady_tube(triangles=1000)


def shown_case(scene: Any, snapshot: Snapshot, appearance: Appearance = EVERYTHING, name: str = "Vessel") -> Case:
    case = Case.create(scene, name)
    show(case, snapshot, appearance)
    return case


def film(scene: Any, times: list[float], name: str = "DSA", unit: str = "s") -> Any:
    """A run as Slicer loads it: a sequence of images, each of them filled with its own number."""
    series = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    series.SetIndexName("time" if unit else "frame")
    series.SetIndexUnit(unit)
    for number, time in enumerate(times):
        image = slicer.vtkMRMLScalarVolumeNode()
        image.SetName(f"{name} {number}")
        image.SetAttribute("DICOM.instanceUIDs", f"1.2.3.{number}")
        slicer.util.updateVolumeFromArray(image, np.full((1, 4, 5), number, np.int16))
        image.SetSpacing(0.3, 0.4, 1.0)
        series.SetDataNodeAtValue(image, f"{time if unit else number}")
    return series


def step(opened: Any, case: Case, seconds: float) -> None:
    timebase.select_time(case, seconds)
    opened.logics["Sequences"].UpdateProxyNodesFromSequences(case.get(Role.BROWSER))


def wall(case: Case, name: str) -> np.ndarray:
    return np.array(slicer.util.arrayFromModelPointData(case.get(Role.LUMEN), name))


def pressure_of(snapshot: Snapshot, phase: int | None) -> np.ndarray:
    return vtk_to_numpy(lumen_data(snapshot, phase).GetPointData().GetArray("Pressure_mmHg"))


def test_every_phase_is_shown_at_its_time(opened_scene: Any, scene: Any, beating: Snapshot) -> None:
    case = shown_case(scene, beating)
    lumen, glyphs, lines = (case.get(role) for role in (Role.LUMEN, Role.GLYPHS, Role.STREAMLINES))
    browser = timebase.put_on_time_base(case, beating, EVERYTHING)
    assert browser.GetNumberOfItems() == PHASES
    assert timebase.times(case) == pytest.approx([phase.time_s for phase in beating.phases])
    for number in (4, 1, 5, 0):
        step(opened_scene, case, beating.phases[number].time_s)
        assert timebase.phase_at(case) == number
        assert timebase.time_at(case) == pytest.approx(beating.phases[number].time_s)
        assert np.array_equal(wall(case, "Pressure_mmHg"), pressure_of(beating, number))
        # what show would draw is what the series shows: nothing is left for it to do
        before = [node.GetPolyData().GetMTime() for node in (lumen, glyphs, lines)]
        show(case, beating, EVERYTHING, number)
        assert [node.GetPolyData().GetMTime() for node in (lumen, glyphs, lines)] == before
    assert [case.get(role) for role in (Role.LUMEN, Role.GLYPHS, Role.STREAMLINES)] == [lumen, glyphs, lines]


def test_display_stays_while_time_runs(opened_scene: Any, scene: Any, beating: Snapshot) -> None:
    case = shown_case(scene, beating)
    display = case.get(Role.LUMEN).GetDisplayNode()
    display.SetOpacity(0.35)
    timebase.put_on_time_base(case, beating, EVERYTHING)
    looks = (display.GetScalarRange(), display.GetColorNodeID(), display.GetActiveScalarName())
    for time in timebase.times(case):
        step(opened_scene, case, time)
    assert case.get(Role.LUMEN).GetDisplayNode() is display
    assert display.GetOpacity() == 0.35
    assert (display.GetScalarRange(), display.GetColorNodeID(), display.GetActiveScalarName()) == looks


def test_phases_share_the_mesh_and_do_not_share_with_what_is_shown(
    opened_scene: Any, scene: Any, beating: Snapshot
) -> None:
    case = shown_case(scene, beating)
    timebase.put_on_time_base(case, beating, EVERYTHING)
    series = case.get(Role.LUMEN_SERIES)
    held = [series.GetNthDataNode(k).GetPolyData() for k in range(PHASES)]
    assert all(data.GetPoints() is held[0].GetPoints() and data.GetPolys() is held[0].GetPolys() for data in held)
    step(opened_scene, case, beating.phases[2].time_s)
    slicer.util.arrayFromModelPointData(case.get(Role.LUMEN), "Pressure_mmHg")[:] = -1
    slicer.util.arrayFromModelPoints(case.get(Role.LUMEN))[:] = 0
    step(opened_scene, case, beating.phases[3].time_s)
    step(opened_scene, case, beating.phases[2].time_s)
    assert np.array_equal(wall(case, "Pressure_mmHg"), pressure_of(beating, 2))
    points = slicer.util.arrayFromModelPoints(case.get(Role.LUMEN))
    assert np.allclose(points, vtk_to_numpy(lumen_data(beating).GetPoints().GetData()))


def test_a_time_beyond_the_period_is_one_within_it(opened_scene: Any, scene: Any, beating: Snapshot) -> None:
    case = shown_case(scene, beating)
    timebase.put_on_time_base(case, beating, EVERYTHING)
    assert beating.period_s is not None
    step(opened_scene, case, beating.phases[2].time_s + 3 * beating.period_s)
    assert timebase.phase_at(case) == 2
    step(opened_scene, case, 0.98 * beating.period_s)
    assert timebase.phase_at(case) == 0


def test_what_is_not_shown_has_no_series_and_stays_in_the_scene(scene: Any, beating: Snapshot) -> None:
    case = shown_case(scene, beating)
    timebase.put_on_time_base(case, beating, EVERYTHING)
    plain = dataclasses.replace(EVERYTHING, glyphs=False)
    timebase.put_on_time_base(case, beating, plain)
    assert case.get(Role.GLYPH_SERIES) is None
    assert case.get(Role.GLYPHS) is not None
    timebase.put_on_time_base(case, beating, EVERYTHING)
    assert case.get(Role.GLYPH_SERIES).GetNumberOfDataNodes() == PHASES


def test_once_more_with_another_snapshot_keeps_nodes_and_time(opened_scene: Any, scene: Any, beating: Snapshot) -> None:
    case = shown_case(scene, beating)
    browser = timebase.put_on_time_base(case, beating, EVERYTHING)
    browser.SetPlaybackRateFps(5)
    step(opened_scene, case, beating.phases[3].time_s)
    count = scene.GetNumberOfNodes()
    stronger = dataclasses.replace(
        beating,
        phases=tuple(
            dataclasses.replace(p, surface={**p.surface, "pressure": 2 * p.surface["pressure"]}) for p in beating.phases
        ),
    )
    assert timebase.put_on_time_base(case, stronger, EVERYTHING) is browser
    assert browser.GetPlaybackRateFps() == 5
    assert scene.GetNumberOfNodes() == count
    assert timebase.phase_at(case) == 3
    assert np.allclose(wall(case, "Pressure_mmHg"), 2 * pressure_of(beating, 3), rtol=1e-6), "shown without a step"


def test_a_steady_flow_without_films_has_no_time_base(scene: Any, beating: Snapshot, steady: Snapshot) -> None:
    case = shown_case(scene, steady)
    assert timebase.put_on_time_base(case, steady, EVERYTHING) is None
    assert timebase.times(case) == ()
    assert timebase.phase_at(case) is None and timebase.time_at(case) is None
    timebase.select_time(case, 1.0)
    timebase.put_on_time_base(case, beating, EVERYTHING)
    assert timebase.put_on_time_base(case, steady, EVERYTHING) is None
    assert case.get(Role.BROWSER) is None and case.get(Role.LUMEN_SERIES) is None
    assert case.get(Role.LUMEN) is not None


def test_one_slider_moves_film_and_phases(opened_scene: Any, scene: Any, beating: Snapshot) -> None:
    case = shown_case(scene, beating)
    moments = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    series = film(scene, list(range(len(moments))), unit="")
    browser = timebase.put_on_time_base(case, beating, EVERYTHING, [Filmed(series, tuple(moments))])
    assert set(np.round(moments, 4)) <= set(np.round(timebase.times(case), 4))
    image = case.get(Role.FILM_VOLUMES)
    assert beating.period_s is not None
    for number, moment in enumerate(moments):
        step(opened_scene, case, moment)
        assert np.all(slicer.util.arrayFromVolume(image) == number)
        assert image.GetSpacing() == (0.3, 0.4, 1.0)
        within = moment % beating.period_s
        nearest = round(within / beating.period_s * PHASES) % PHASES
        assert timebase.phase_at(case) == nearest
        assert np.array_equal(wall(case, "Pressure_mmHg"), pressure_of(beating, nearest))
        cursor = slicer.util.arrayFromTableColumn(case.get(Role.CURSOR_TABLE), TIME)
        assert cursor == pytest.approx([within, within], abs=1e-9)
    # between two frames the earlier one stands
    step(opened_scene, case, beating.phases[1].time_s)
    assert np.all(slicer.util.arrayFromVolume(image) == 0)
    assert browser.GetNumberOfItems() == len(timebase.times(case))


def test_a_steady_flow_with_a_film_runs_with_its_frames(opened_scene: Any, scene: Any, steady: Snapshot) -> None:
    case = shown_case(scene, steady)
    moments = (0.1, 0.35, 0.6)
    series = film(scene, list(moments))
    timebase.put_on_time_base(case, steady, EVERYTHING, [Filmed(series, moments)])
    assert timebase.times(case) == pytest.approx(moments)
    assert case.get(Role.FILM_SERIES) is None, "the run tells the study's time itself and is used as it is"
    step(opened_scene, case, 0.6)
    assert np.all(slicer.util.arrayFromVolume(case.get(Role.FILM_VOLUMES)) == 2)
    assert timebase.phase_at(case) is None


def test_two_runs_have_their_own_offsets(opened_scene: Any, scene: Any, steady: Snapshot) -> None:
    case = shown_case(scene, steady)
    first, second = film(scene, [0.0, 0.5, 1.0], "first"), film(scene, [0.0, 0.5], "second")
    runs = [Filmed(first, (0.0, 0.5, 1.0)), Filmed(second, (0.6, 1.1))]
    timebase.put_on_time_base(case, steady, EVERYTHING, runs)
    assert timebase.times(case) == pytest.approx([0.0, 0.5, 0.6, 1.0, 1.1])
    images = {node.GetName().split(": ")[-1]: node for node in case.all(Role.FILM_VOLUMES)}
    for moment, of_first, of_second in ((0.5, 1, 0), (1.0, 2, 0), (1.1, 2, 1)):
        step(opened_scene, case, moment)
        assert np.all(slicer.util.arrayFromVolume(images["first"]) == of_first)
        assert np.all(slicer.util.arrayFromVolume(images["second"]) == of_second)


def test_the_image_that_a_person_sees_follows_and_the_run_stays_as_it_is(
    opened_scene: Any, scene: Any, steady: Snapshot
) -> None:
    series = film(scene, [0, 1, 2, 3], unit="")
    own = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "own")
    own.SetAndObserveMasterSequenceNodeID(series.GetID())
    opened_scene.logics["Sequences"].UpdateProxyNodesFromSequences(own)
    image = own.GetProxyNode(series)
    case = shown_case(scene, steady)
    timebase.put_on_time_base(case, steady, EVERYTHING, [Filmed(series, (0.2, 0.4, 0.6, 0.8))])
    assert case.get(Role.FILM_VOLUMES) is None
    ours = case.get(Role.FILM_SERIES)
    assert ours.GetNthDataNode(2).GetImageData() is series.GetNthDataNode(2).GetImageData(), "pixels lie there once"
    assert ours.GetNthDataNode(2).GetAttribute("DICOM.instanceUIDs") == "1.2.3.2"
    step(opened_scene, case, 0.6)
    assert np.all(slicer.util.arrayFromVolume(image) == 2)
    for number in range(4):
        held = series.GetNthDataNode(number)
        assert held.GetImageData().GetScalarRange() == (number, number)
    timebase.remove_time_base(case)
    assert image.GetScene() is scene and series.GetScene() is scene
    own.SetSelectedItemNumber(3)
    opened_scene.logics["Sequences"].UpdateProxyNodesFromSequences(own)
    assert np.all(slicer.util.arrayFromVolume(image) == 3)


@pytest.mark.parametrize("moments", [(0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 2.0, 1.0)])
def test_wrong_frame_times_are_told(scene: Any, steady: Snapshot, moments: tuple[float, ...]) -> None:
    case = shown_case(scene, steady)
    count = scene.GetNumberOfNodes()
    series = film(scene, [0.0, 0.5, 1.0])
    with pytest.raises(InputError, match="DSA: .*frame times"):
        timebase.put_on_time_base(case, steady, EVERYTHING, [Filmed(series, moments)])
    assert scene.GetNumberOfNodes() == count + 1


def test_a_walk_left_early_changes_nothing(scene: Any, beating: Snapshot) -> None:
    case = shown_case(scene, beating)
    count = scene.GetNumberOfNodes()
    walk = timebase.time_base_steps(case, beating, EVERYTHING)
    parts = [next(walk) for _ in range(5)]
    walk.close()
    assert parts == sorted(parts) and 0 < parts[0] and parts[-1] < 1
    assert scene.GetNumberOfNodes() == count and case.get(Role.BROWSER) is None


def test_series_whose_shape_changes_are_thinned_out_beyond_the_limit(
    opened_scene: Any, scene: Any, beating: Snapshot
) -> None:
    case = shown_case(scene, beating)
    item = case.get(Role.GLYPHS).GetPolyData().GetActualMemorySize() * 1024
    settings = TimeBaseSettings(series_bytes=int(item * PHASES * 0.6))
    for _ in timebase.time_base_steps(case, beating, EVERYTHING, settings=settings):
        pass
    assert case.get(Role.GLYPH_SERIES).GetNumberOfDataNodes() == PHASES // 2
    assert case.get(Role.LUMEN_SERIES).GetNumberOfDataNodes() == PHASES
    step(opened_scene, case, beating.phases[3].time_s)
    assert timebase.phase_at(case) == 3


def test_two_cases_run_apart(opened_scene: Any, scene: Any, beating: Snapshot) -> None:
    one, two = shown_case(scene, beating, name="one"), shown_case(scene, beating, name="two")
    for case in (one, two):
        timebase.put_on_time_base(case, beating, EVERYTHING)
    step(opened_scene, one, beating.phases[4].time_s)
    step(opened_scene, two, beating.phases[1].time_s)
    assert (timebase.phase_at(one), timebase.phase_at(two)) == (4, 1)
    assert np.array_equal(wall(one, "Pressure_mmHg"), pressure_of(beating, 4))
    one.remove()
    assert timebase.phase_at(two) == 1
    step(opened_scene, two, beating.phases[2].time_s)
    assert np.array_equal(wall(two, "Pressure_mmHg"), pressure_of(beating, 2))


def test_the_clock_repeats_the_phases_beyond_the_period() -> None:
    phases = tuple(Phase(0.3 + 0.2 * k) for k in range(4))
    run = Filmed(None, (0.0, 0.3, 1.15, 1.3, 1.9))
    clock = clock_of(phases, 0.8, [run])
    of = dict(zip(np.round(clock.times_s, 3), clock.phases, strict=True))
    # 0.0 is 0.8 in the period that began at 0.3; 1.15 is 0.35
    assert (of[0.0], of[0.3], of[1.15], of[1.3], of[1.9]) == (2, 0, 0, 1, 0)
    assert clock.within_period(1.15) == pytest.approx(0.35)
    assert clock_of(phases, None).period_s == pytest.approx(0.8)
    assert clock_of((), None, [run]).phases == (None,) * 5

"""One time base per case: a sequence browser that moves lumen, arrows, streamlines, DSA runs and the plots' cursor.

The clock counts seconds after the first frame of the earliest run. It holds the phases of one period and, where runs
are filmed, the time of every frame; beyond the first period the phases repeat. All of it lies in sequences, so that
Slicer's own slider and player move everything, also where this module is not loaded.

Memory: items share what does not change. Slicer copies what is put into a sequence; here the items receive the shared
data afterwards, so that the mesh of the lumen and the pixels of a run lie in memory once, and a phase costs its arrays
alone. Arrows and streamlines change their shape, so these are thinned out in time beyond a limit.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Phase, Snapshot
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.tables import CURSOR, course_columns, courses_at, cursor_rows, rows

CLOCK = "VesselFlowGS.Clock"
CURSOR_RANGE = "VesselFlowGS.CursorRange"
RUN = "VesselFlowGS.Run"


@dataclass(frozen=True)
class Filmed:
    """A DSA run on the study's clock. series: a vtkMRMLSequenceNode of volumes; times_s: of its items, rising."""

    series: Any
    times_s: tuple[float, ...]


@dataclass(frozen=True)
class TimeBaseSettings:
    """same_s: times closer than this are one; series_bytes: what the items of one series may take; pace in frames/s."""

    same_s: float = 5e-4
    series_bytes: int = 400_000_000
    frames_per_second: float = 12.0


@dataclass(frozen=True)
class Clock:
    """The instants of a time base.

    times_s   rising
    phases    the phase shown at each, or None where the flow is steady
    period_s  of the flow, or None
    start_s   of the first phase
    """

    times_s: tuple[float, ...]
    phases: tuple[int | None, ...]
    period_s: float | None
    start_s: float = 0.0

    def within_period(self, seconds: float) -> float:
        """The time in the period that the phases show, at which the flow is the same."""
        return self.start_s + (seconds - self.start_s) % self.period_s if self.period_s else seconds


PHASE_SERIES = (Role.LUMEN_SERIES, Role.GLYPH_SERIES, Role.STREAMLINE_SERIES, Role.COURSE_SERIES)


def put_on_time_base(
    case: Case, snapshot: Snapshot, appearance: Appearance, filmed: Sequence[Filmed] = ()
) -> Any | None:
    """The case's sequence browser, made or brought up to the snapshot; None where nothing changes over time.

    Raises InputError where a run has another number of times than frames.
    """
    for _ in time_base_steps(case, snapshot, appearance, filmed):
        pass
    return case.get(Role.BROWSER)


def time_base_steps(
    case: Case,
    snapshot: Snapshot,
    appearance: Appearance,
    filmed: Sequence[Filmed] = (),
    settings: TimeBaseSettings = TimeBaseSettings(),
) -> Iterator[float]:
    """put_on_time_base in steps that a window can live between; yields the part that is done, 0..1.

    The scene changes in the last step alone: a walk that is left early changes nothing.
    """
    _check(filmed)
    clock = clock_of(snapshot.phases, snapshot.period_s, filmed, settings)
    if len(clock.times_s) < 2:
        remove_time_base(case)
        return
    series = _moving(case, snapshot, appearance)
    total = len(series) * len(snapshot.phases) + 1
    done = 0
    for moving in series:
        for number in range(len(snapshot.phases)):
            moving.take(number)
            done += 1
            yield done / total
    _install(case, clock, series, filmed, settings)
    yield 1.0


def remove_time_base(case: Case) -> None:
    """Remove the browser and its sequences; what they moved stays, and so do the person's own runs."""
    for role in (
        Role.BROWSER,
        Role.CURSOR_SERIES,
        *PHASE_SERIES,
        Role.FILM_SERIES,
        Role.FILM_VOLUMES,
    ):
        case.drop(role)


def clock_of(
    phases: Sequence[Phase],
    period_s: float | None,
    filmed: Sequence[Filmed] = (),
    settings: TimeBaseSettings = TimeBaseSettings(),
) -> Clock:
    """The phases of one period and the times of all frames, rising, each with the phase that is nearest to it."""
    own = [phase.time_s for phase in phases]
    if period_s is None and len(own) > 1:
        period_s = (own[-1] - own[0]) * len(own) / (len(own) - 1)
    every = sorted([*own, *(time for run in filmed for time in run.times_s)])
    times: list[float] = []
    for time in every:
        if not times or time - times[-1] > settings.same_s:
            times.append(time)
    phase_of = tuple(_phase_near(time, own, period_s) for time in times)
    return Clock(tuple(times), phase_of, period_s if own else None, own[0] if own else 0.0)


def select_time(case: Case, seconds: float) -> None:
    """Show the instant nearest to a time; of a periodic flow without filmed runs, any time is of the period."""
    browser, clock = case.get(Role.BROWSER), _clock(case)
    if browser is None or clock is None:
        return
    times = np.asarray(clock.times_s)
    away = np.abs(times - seconds)
    if clock.period_s and len(set(clock.phases)) == len(times):
        away = np.abs(times - clock.within_period(seconds))
        # the end of the period is its beginning
        away = np.minimum(away, clock.period_s - away)
    number = int(np.argmin(away))
    if number != browser.GetSelectedItemNumber():
        browser.SetSelectedItemNumber(number)


def times(case: Case) -> tuple[float, ...]:
    """The instants of the case's time base, seconds; () where there is none."""
    clock = _clock(case)
    return clock.times_s if clock is not None else ()


def time_at(case: Case) -> float | None:
    """The instant that is shown, seconds."""
    clock, number = _clock(case), _selected(case)
    return clock.times_s[number] if clock is not None and number is not None else None


def phase_at(case: Case) -> int | None:
    """The number of the phase that is shown, from 0; None where the flow is steady or there is no time base."""
    clock, number = _clock(case), _selected(case)
    return clock.phases[number] if clock is not None and number is not None else None


class _Moving:
    """What a series is made of: the data of each phase, as far as they have been taken.

    put  gives an item of the series its data
    """

    def __init__(self, role: Role, node: Any, build: Callable[[int], Any], put: Callable[[Any, Any], None]) -> None:
        self.role, self.node, self.put = role, node, put
        self._build = build
        self.items: list[Any] = []

    def take(self, number: int) -> None:
        data = self._build(number)
        if self.items and data.IsA("vtkPolyData"):
            _share_mesh(data, self.items[0])
        self.items.append(data)


def _moving(case: Case, snapshot: Snapshot, appearance: Appearance) -> list[_Moving]:
    """The series of what is shown and changes with the phases."""
    # imported here: drawing is not needed for reading the clock of a scene that was reopened
    from VesselFlowGSScene.glyphs import glyph_data
    from VesselFlowGSScene.lumen import lumen_data
    from VesselFlowGSScene.streamlines import streamline_data

    if not snapshot.phases:
        return []
    candidates = (
        (Role.LUMEN, Role.LUMEN_SERIES, appearance.lumen, lambda k: lumen_data(snapshot, k)),
        (Role.GLYPHS, Role.GLYPH_SERIES, appearance.glyphs, lambda k: glyph_data(snapshot, appearance, k)),
        (
            Role.STREAMLINES,
            Role.STREAMLINE_SERIES,
            appearance.streamlines and any(phase.streamlines is not None for phase in snapshot.phases),
            lambda k: streamline_data(snapshot, appearance, k),
        ),
    )
    found = [
        _Moving(series, case.get(shown), build, lambda item, data: item.SetAndObservePolyData(data))
        for shown, series, wanted, build in candidates
        if wanted and case.get(shown) is not None
    ]
    if any(phase.centreline for phase in snapshot.phases):
        # its plots may be asked for later: the table is there for them
        found.append(
            _Moving(
                Role.COURSE_SERIES,
                None,
                lambda k: rows(course_columns(courses_at(snapshot, k))),
                lambda item, data: item.SetAndObserveTable(data),
            )
        )
    return found


def _share_mesh(data: vtkPolyData, first: vtkPolyData) -> None:
    """Let data use the points and cells of first, where they are equal."""
    if data.GetNumberOfPoints() != first.GetNumberOfPoints() or data.GetNumberOfCells() != first.GetNumberOfCells():
        return
    if not np.array_equal(_points(data), _points(first)):
        return
    data.SetPoints(first.GetPoints())
    for kind in ("Verts", "Lines", "Polys", "Strips"):
        mine, other = getattr(data, f"Get{kind}")(), getattr(first, f"Get{kind}")()
        if mine.GetNumberOfCells() and mine.GetNumberOfConnectivityIds() == other.GetNumberOfConnectivityIds():
            getattr(data, f"Set{kind}")(other)


def _points(data: vtkPolyData) -> Any:
    return vtk_to_numpy(data.GetPoints().GetData()) if data.GetNumberOfPoints() else np.zeros((0, 3))


def _install(
    case: Case,
    clock: Clock,
    series: Sequence[_Moving],
    filmed: Sequence[Filmed],
    settings: TimeBaseSettings,
) -> None:
    shown, known = time_at(case), case.get(Role.BROWSER) is not None
    browser = case.put(Role.BROWSER, "vtkMRMLSequenceBrowserNode")
    before = browser.StartModify()
    try:
        if not known:
            browser.SetPlaybackRateFps(settings.frames_per_second)
            browser.SetPlaybackLooped(True)
            browser.SetPlaybackItemSkippingEnabled(True)
        browser.SetPlaybackActive(False)
        browser.RemoveAllSequenceNodes()
        _install_cursor(case, browser, clock)
        present = {moving.role for moving in series}
        for role in PHASE_SERIES:
            if role not in present:
                case.drop(role)
        for moving in series:
            if moving.node is None:
                moving.node = case.put(Role.COURSE_TABLE, "vtkMRMLTableNode")
            sequence = _fill(case.put(moving.role, "vtkMRMLSequenceNode", hidden=True), clock, moving, settings)
            browser.AddProxyNode(moving.node, sequence, False)
        _install_films(case, browser, filmed, settings)
        browser.SetAttribute(CLOCK, json.dumps(dataclasses.asdict(clock)))
        number = 0 if shown is None else int(np.argmin(np.abs(np.asarray(clock.times_s) - shown)))
        browser.SetSelectedItemNumber(number)
    finally:
        browser.EndModify(before)


def _fill(sequence: Any, clock: Clock, moving: _Moving, settings: TimeBaseSettings) -> Any:
    """Put the phases at every instant at which another one begins to be shown."""
    before = sequence.StartModify()
    sequence.RemoveAllDataNodes()
    _set_index(sequence)
    for time, number in _changes(clock, _stride(moving.items, settings)):
        empty = getattr(slicer, moving.node.GetClassName())()
        # a step replaces the attributes of what is shown by those of the item
        _copy_attributes(moving.node, empty)
        held = sequence.SetDataNodeAtValue(empty, index_value(time))
        moving.put(held, moving.items[number])
    sequence.EndModify(before)
    return sequence


def _stride(items: Sequence[Any], settings: TimeBaseSettings) -> int:
    """Every how many phases are kept, so that a series stays below the limit."""
    if not items[0].IsA("vtkPolyData") or all(item.GetPoints() is items[0].GetPoints() for item in items):
        return 1
    taken = sum(item.GetActualMemorySize() * 1024 for item in items)
    return max(1, -(-taken // settings.series_bytes))


def _install_cursor(case: Case, browser: Any, clock: Clock) -> None:
    """The first sequence of the browser, that has an item at every instant: the cursor of the plots over time."""
    sequence = case.put(Role.CURSOR_SERIES, "vtkMRMLSequenceNode", hidden=True)
    table = case.put(Role.CURSOR_TABLE, "vtkMRMLTableNode", hidden=True)
    low, high = cursor_range(case)
    before = sequence.StartModify()
    sequence.RemoveAllDataNodes()
    _set_index(sequence)
    for time in clock.times_s:
        held = sequence.SetDataNodeAtValue(slicer.vtkMRMLTableNode(), index_value(time))
        held.SetAndObserveTable(cursor_rows(clock.within_period(time), low, high))
    sequence.EndModify(before)
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(table, sequence, False)


def _changes(clock: Clock, stride: int = 1) -> Iterator[tuple[float, int]]:
    """The instants at which another phase begins to be shown, and its number; of every so many phases one is taken."""
    last = None
    for time, phase in zip(clock.times_s, clock.phases, strict=True):
        assert phase is not None
        taken = phase - phase % stride
        if taken != last:
            yield time, taken
            last = taken


def cursor_range(case: Case) -> tuple[float, float]:
    """From where to where the cursor reaches: the values of the flow chart."""
    text = case.node.GetAttribute(CURSOR_RANGE)
    low, high = json.loads(text) if text else (0.0, 1.0)
    return float(low), float(high)


def set_cursor_range(case: Case, low: float, high: float) -> None:
    """Let the cursor reach across other values, at every instant."""
    if cursor_range(case) == (low, high):
        return
    case.node.SetAttribute(CURSOR_RANGE, json.dumps([low, high]))
    tables = [case.get(Role.CURSOR_TABLE)]
    sequence = case.get(Role.CURSOR_SERIES)
    if sequence is not None:
        tables += [sequence.GetNthDataNode(k) for k in range(sequence.GetNumberOfDataNodes())]
    for table in tables:
        if table is not None and table.GetNumberOfColumns() == 2:
            column = table.GetTable().GetColumnByName(CURSOR)
            column.SetValue(0, low)
            column.SetValue(1, high)
            table.GetTable().Modified()


def _install_films(case: Case, browser: Any, filmed: Sequence[Filmed], settings: TimeBaseSettings) -> None:
    used = []
    for run in filmed:
        proxy = _proxy_of(run.series, browser)
        sequence = run.series
        if not _has_clock(run, settings):
            sequence = _of_run(case, Role.FILM_SERIES, "vtkMRMLSequenceNode", run)
            _fill_film(sequence, run)
            used.append(sequence)
        if proxy is None:
            first = run.series.GetNthDataNode(0)
            proxy = _of_run(case, Role.FILM_VOLUMES, first.GetClassName(), run)
            used.append(proxy)
            if proxy.GetDisplayNode() is None:
                proxy.CopyContent(first)
                proxy.CreateDefaultDisplayNodes()
        browser.AddProxyNode(proxy, sequence, False)
    for role in (Role.FILM_SERIES, Role.FILM_VOLUMES):
        for node in case.all(role):
            if node not in used:
                case.take_out(role, node)


def _of_run(case: Case, role: Role, class_name: str, run: Filmed) -> Any:
    """The case's own node of a role for a run, the same one again, so that views which show it go on."""
    for node in case.all(role):
        if node.GetNodeReference(RUN) is run.series:
            return node
    name = run.series.GetName() if role is Role.FILM_VOLUMES else f"{run.series.GetName()} over time"
    node = case.add(role, class_name, name, hidden=role is Role.FILM_SERIES)
    node.SetNodeReferenceID(RUN, run.series.GetID())
    return node


def _proxy_of(series: Any, but: Any) -> Any | None:
    """The node by which the person sees a run already."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", series.GetScene()):
        if browser.GetID() != but.GetID() and browser.IsSynchronizedSequenceNode(series, True):
            found = browser.GetProxyNode(series)
            if found is not None:
                return found
    return None


def _has_clock(run: Filmed, settings: TimeBaseSettings) -> bool:
    """Whether a run's own sequence tells the study's time already."""
    if run.series.GetIndexUnit() != "s" or run.series.GetIndexType() != slicer.vtkMRMLSequenceNode.NumericIndex:
        return False
    try:
        own = [float(run.series.GetNthIndexValue(k)) for k in range(run.series.GetNumberOfDataNodes())]
    except ValueError:
        return False
    return bool(np.all(np.abs(np.subtract(own, run.times_s)) < settings.same_s))


def _fill_film(sequence: Any, run: Filmed) -> None:
    """The frames of a run with the study's times; the pixels are shared with the run."""
    before = sequence.StartModify()
    sequence.RemoveAllDataNodes()
    _set_index(sequence)
    for number, time in enumerate(run.times_s):
        frame = run.series.GetNthDataNode(number)
        empty = getattr(slicer, frame.GetClassName())()
        empty.SetName(frame.GetName())
        _copy_attributes(frame, empty)
        empty.CopyOrientation(frame)
        held = sequence.SetDataNodeAtValue(empty, index_value(time))
        held.SetAndObserveImageData(frame.GetImageData())
    sequence.EndModify(before)


def _copy_attributes(source: Any, target: Any) -> None:
    for name in source.GetAttributeNames():
        target.SetAttribute(name, source.GetAttribute(name))


def _set_index(sequence: Any) -> None:
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)


def index_value(time_s: float) -> str:
    """A time as sequences hold it: to the tenth of a millisecond."""
    return f"{time_s:.4f}"


def _check(filmed: Sequence[Filmed]) -> None:
    for run in filmed:
        frames, given = run.series.GetNumberOfDataNodes(), len(run.times_s)
        if frames != given:
            raise InputError(
                f"{run.series.GetName()}: {given} frame times were given for {frames} frames. Correct the frame times "
                "in the table of runs."
            )
        if any(b <= a for a, b in zip(run.times_s, run.times_s[1:], strict=False)):
            raise InputError(f"{run.series.GetName()}: its frame times do not rise. Correct them in the table of runs.")


def _phase_near(time: float, own: Sequence[float], period_s: float | None) -> int | None:
    if not own:
        return None
    if not period_s:
        return min(range(len(own)), key=lambda k: abs(own[k] - time))
    within = own[0] + (time - own[0]) % period_s
    following = bisect.bisect_left(own, within)
    around = {max(following - 1, 0), min(following, len(own) - 1), 0}
    return min(around, key=lambda k: min(abs(own[k] - within), abs(own[k] + period_s - within)))


def _clock(case: Case) -> Clock | None:
    browser = case.get(Role.BROWSER)
    text = browser.GetAttribute(CLOCK) if browser is not None else None
    if not text:
        return None
    held = json.loads(text)
    return Clock(tuple(held["times_s"]), tuple(held["phases"]), held["period_s"], held["start_s"])


def _selected(case: Case) -> int | None:
    browser, clock = case.get(Role.BROWSER), _clock(case)
    if browser is None or clock is None:
        return None
    number = browser.GetSelectedItemNumber()
    return number if 0 <= number < len(clock.times_s) else None

"""What a person sees while a reconstruction goes on: steps, the part that is done, snapshots between the stages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings
from VesselFlowGSLib.results.derived import DerivedSettings
from VesselFlowGSLib.results.snapshot import Stage


@dataclass(frozen=True)
class Step:
    """One step of the work.

    part        0..1 of the whole, in expected time; never less than before
    doing       one line for a person
    stage       that is being worked for
    iteration   of the flow solve, of about so many iterations; loss after it
    """

    part: float
    doing: str
    stage: Stage
    iteration: int | None = None
    iterations: int | None = None
    loss: float | None = None


Progress = Callable[[Step], None]


@dataclass(frozen=True)
class Live:
    """Snapshots between the stages, for a person who watches.

    every_s  at least so long from one to the next
    share    part of the time that making them may take
    They do not change the result.
    """

    every_s: float = 2.0
    share: float = 0.2


class Pace:
    """Says when the next snapshot between the stages is due; never without Live."""

    def __init__(self, live: Live | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._live, self._clock = live, clock
        self._begun = self._ended = clock()

    def due(self) -> bool:
        """Whether enough time has gone by since the last one, measured by what that one cost."""
        if self._live is None:
            return False
        cost = self._ended - self._begun
        return self._clock() - self._ended >= max(self._live.every_s, cost * (1 / self._live.share - 1))

    def __enter__(self) -> None:
        self._begun = self._clock()

    def __exit__(self, *_: object) -> None:
        self._ended = self._clock()


@dataclass(frozen=True)
class PreviewSettings:
    """How coarse wall and cells are drawn until the result is finished; they are made finer for nothing."""

    per_radius: float = 3.0
    most_points: int = 60_000
    smoothing: int = 2
    streamlines: int = 30

    def of(self, settings: DerivedSettings) -> DerivedSettings:
        """The settings, no finer than this."""
        volume, wall = (
            replace(
                cells,
                per_radius=min(cells.per_radius, self.per_radius),
                max_points=min(cells.max_points, self.most_points),
            )
            for cells in (settings.volume, settings.wall)
        )
        return replace(settings, volume=volume, wall=wall, smoothing=min(settings.smoothing, self.smoothing))


@dataclass(frozen=True)
class ExpectedSeconds:
    """What the parts of a reconstruction take on two cores, for the order of magnitude: only their shares are used."""

    geometry: float = 11.0
    given_geometry: float = 4.0
    reading: float = 11.0
    step: float = 0.05
    points_per_radius: float = 70.0
    drawing: float = 6.0
    cells: float = 36.0
    per_radius: float = 14.0


@dataclass(frozen=True)
class Plan:
    """The expected time of each part of a reconstruction.

    rounds  (first, later, …) steps of the flow solve, each round but that of a given inflow begun by a reading
    """

    geometry_s: float
    reading_s: float
    step_s: float
    finish_s: float
    rounds: tuple[int, ...]

    @staticmethod
    def of(
        settings: ReconstructionSettings,
        lumen_given: bool,
        inflow_given: bool,
        expected: ExpectedSeconds = ExpectedSeconds(),
    ) -> Plan:
        """What these settings let expect."""
        flow = settings.flow
        cells = (settings.derived.volume.per_radius / expected.per_radius) ** 3
        later = 0 if inflow_given else settings.schedule.rounds
        return Plan(
            expected.given_geometry if lumen_given else expected.geometry,
            0.0 if inflow_given else expected.reading,
            expected.step * flow.points_per_radius / expected.points_per_radius,
            expected.drawing + expected.cells * cells,
            (flow.first_iterations, *[flow.update_iterations] * later),
        )

    @property
    def whole_s(self) -> float:
        return self.solved_s(len(self.rounds) - 1, self.rounds[-1]) + self.finish_s

    @property
    def steps(self) -> int:
        return sum(self.rounds)

    def solved_s(self, number: int, steps: int) -> float:
        """Seconds until so many steps of a round have been taken."""
        before = sum(self.rounds[:number]) + min(steps, self.rounds[number])
        return self.geometry_s + self.reading_s * (number + 1) + self.step_s * before

    def geometry(self, share: float = 1.0) -> float:
        """Part of the whole when a share of the geometry stage is done."""
        return self.geometry_s * share / self.whole_s

    def solved(self, number: int, steps: int) -> float:
        """Part of the whole when so many steps of a round have been taken."""
        return self.solved_s(number, steps) / self.whole_s

    def finishing(self, share: float) -> float:
        """Part of the whole when all is solved, and a share of the drawing done."""
        return 1 - (1 - share) * self.finish_s / self.whole_s

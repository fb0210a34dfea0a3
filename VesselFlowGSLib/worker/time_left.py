"""How long a job will still take, from the part that is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class TimeLeftSettings:
    """known_after_s, known_after_part: nothing is said before; smoothing: weight of a new, lower estimate; surprise: a
    higher one is believed when it is so many times what was said."""

    known_after_s: float = 4.0
    known_after_part: float = 0.04
    smoothing: float = 0.3
    surprise: float = 1.3


class TimeLeft:
    """The rest goes at the pace so far. What is said runs back with the clock and rises only after a surprise."""

    def __init__(
        self, settings: TimeLeftSettings = TimeLeftSettings(), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._clock = settings, clock
        self._begun: tuple[float, float] | None = None
        self._end: float | None = None

    def told(self, part: float) -> None:
        """So much of the whole is done now."""
        now = self._clock()
        if self._begun is None:
            self._begun = now, part
            return
        took, done = now - self._begun[0], part - self._begun[1]
        if took < self._settings.known_after_s or done < self._settings.known_after_part:
            return
        left = (1 - part) * took / done
        said = self.left_s()
        if said is None or left > self._settings.surprise * said:
            self._end = now + left
        elif left < said:
            self._end = now + said + self._settings.smoothing * (left - said)

    def left_s(self) -> float | None:
        """Seconds to the end as they are known now; None before they are, and when it took longer than was known."""
        left = None if self._end is None else self._end - self._clock()
        return left if left is not None and left > 0 else None

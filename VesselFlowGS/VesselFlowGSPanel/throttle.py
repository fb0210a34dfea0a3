"""Do something soon, once, however often it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import qt


class Throttle:
    """ask() leads to one call of do at the latest milliseconds later; further asks until then are merged.

    stop() forgets what was asked for: call it before what do needs goes away.
    """

    def __init__(self, milliseconds: int, do: Callable[[], None]) -> None:
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(milliseconds)
        self._timer.connect("timeout()", do)

    def ask(self) -> None:
        if not self.asked:
            self._timer.start()

    @property
    def asked(self) -> bool:
        return bool(self._timer.active)

    def stop(self) -> None:
        self._timer.stop()

"""The tutorial of the README as a person clicks it: for the test, the benchmark and the pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 5.0
MODULE = ROOT / "VesselFlowGS" / "VesselFlowGS.py"


@dataclass
class Walk:
    """The module's panel in the host, and what is clicked in it.

    clicks      what a person had to click so far
    longest_ms  the longest that the GUI thread worked at a stretch, by what held it; its own time, since the worker
                leaves it little of a small machine
    """

    host: Any
    widget: Any
    clicks: list[str] = field(default_factory=list)
    longest_ms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, host: Any) -> Walk:
        """Open the module's panel."""
        _module, _instance, widget = host.load_module(MODULE)
        widget.complete()
        return cls(host, widget)

    def section(self, name: str) -> Any:
        """The section of a name, as its .ui has it."""
        return next(section for section in self.widget.sections if section.NAME == name)

    def click(self, section: str, button: str) -> None:
        """Click a button, if a person could."""
        target = getattr(self.section(section).ui, button)
        self.until(lambda: target.enabled, PATIENCE_S)
        assert target.enabled, f"{button} of {section} cannot be clicked: {target.toolTip}"
        self.clicks.append(f"{section}.{button}")
        with self.timed(f"{section}.{button}"):
            target.click()
        self.host.process_events()

    def until(self, come: Callable[[], bool], seconds: float) -> bool:
        """Let the panel live until something has come; every step of the event loop is timed."""
        end = time.monotonic() + seconds
        while not come():
            if time.monotonic() > end:
                return False
            with self.timed("event loop"):
                self.host.process_events()
            time.sleep(0.005)
        return True

    @property
    def running(self) -> Any:
        """The run of the case that is shown."""
        return self.widget.logic.running(self.widget.case)

    def settled(self) -> bool:
        return self.running is not None and self.running.settled

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        begun = time.thread_time()
        yield
        took = 1e3 * (time.thread_time() - begun)
        self.longest_ms[what] = max(took, self.longest_ms.get(what, 0.0))

    def close(self) -> None:
        self.widget.cleanup()

"""How well runs agree, read from the words about the geometry."""

from __future__ import annotations

import numpy as np

from VesselFlowGSLib.results.snapshot import ViewMatch
from VesselFlowGSLib.results.views import views_of


def test_every_compared_run_is_a_view_in_its_order() -> None:
    words = {"runs": {"b.dcm": {"match": 0.9, "shift_left_px": 0.25}, "a.dcm": {"match": np.float64(0.5)}}}
    assert views_of(words) == (ViewMatch("b.dcm", 0.9, 0.25), ViewMatch("a.dcm", 0.5, None))


def test_what_is_no_comparison_is_no_view() -> None:
    assert views_of({}) == ()
    assert views_of({"runs": ["a.dcm"]}) == ()
    assert views_of({"runs": {"a.dcm": {"note": "not used"}, "b.dcm": 3, "c.dcm": {"match": float("nan")}}}) == ()

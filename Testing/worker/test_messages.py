"""Messages: what is said is what is heard; log text and newer messages are passed over."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.worker.messages import NAMES, PROTOCOL, Progress, line_of, message_of

KINDS = {
    "str": st.text(),
    "int": st.integers(0, 2**31),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "float | None": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "int | None": st.none() | st.integers(0, 2**31),
}
MESSAGES = st.one_of(
    *(st.builds(kind, **{f.name: KINDS[str(f.type)] for f in fields(kind)}) for kind in NAMES.values())
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_was_said(message):
    line = line_of(message)
    assert message_of(line) == message
    assert line.isascii() and "\n" not in line


@given(st.text())
def test_any_other_line_is_log_text(line):
    assert message_of(line) is None


def test_half_a_message_is_log_text():
    line = line_of(Progress("flow", 0.5, "solving", 3.0))
    assert message_of(line[:-5]) is None


def test_what_a_newer_worker_adds_is_passed_over():
    content = json.loads(line_of(Progress("flow", 0.5, "solving", 3.0)))
    assert message_of(json.dumps({**content, "new": 1})) == Progress("flow", 0.5, "solving", 3.0)
    assert message_of(json.dumps({**content, "message": "new"})) is None


def test_another_protocol_is_told():
    content = json.loads(line_of(Progress("flow", 0.5, "solving", 3.0)))
    with pytest.raises(ValueError, match="another version"):
        message_of(json.dumps({**content, "vesselflowgs": PROTOCOL + 1}))

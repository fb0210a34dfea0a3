"""What the worker says: one JSON object per line of its standard output. Needs the standard library alone.

Every message begins with {"vesselflowgs": PROTOCOL, "message": NAME, …}; any other line is plain log text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

PROTOCOL = 1
MARK = '{"vesselflowgs":'


@dataclass(frozen=True)
class Hello:
    """The first message: who computes, and where."""

    version: str
    pid: int
    device: str
    python: str


@dataclass(frozen=True)
class Progress:
    """How far it is. part: 0..1 of the whole; left_s: estimated seconds to the end; loss: at this iteration."""

    stage: str
    part: float
    doing: str
    elapsed_s: float
    left_s: float | None = None
    iteration: int | None = None
    loss: float | None = None


@dataclass(frozen=True)
class SnapshotReady:
    """A snapshot lies whole under frames/FILE. Only the newest matters: an older file may be gone already."""

    file: str
    stage: str
    part: float
    text: str
    said_at_s: float


@dataclass(frozen=True)
class Warned:
    """One warning of the result, once."""

    text: str


@dataclass(frozen=True)
class Done:
    """The result is finished and lies in the job folder."""

    elapsed_s: float


@dataclass(frozen=True)
class Cancelled:
    """Stopped on wish; text says what is kept."""

    text: str


@dataclass(frozen=True)
class Failed:
    """Stopped by an error. exit_code is the process's; text: what, where, what to do."""

    exit_code: int
    text: str


Message = Hello | Progress | SnapshotReady | Warned | Done | Cancelled | Failed

NAMES: dict[str, type[Any]] = {
    "hello": Hello,
    "progress": Progress,
    "snapshot": SnapshotReady,
    "warning": Warned,
    "done": Done,
    "cancelled": Cancelled,
    "failed": Failed,
}
_NAME_OF = {kind: name for name, kind in NAMES.items()}


def line_of(message: Message) -> str:
    """The message as one line, without its end."""
    return json.dumps({"vesselflowgs": PROTOCOL, "message": _NAME_OF[type(message)], **asdict(message)})


def message_of(line: str) -> Message | None:
    """The message that a line holds; None for log text.

    Keys and messages that a newer worker may add are passed over. Raises ValueError for another protocol.
    """
    if not line.startswith(MARK):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    if content.pop("vesselflowgs") != PROTOCOL:
        raise ValueError(
            "The worker speaks another version of the protocol: the Python that computes holds another version of "
            "VesselFlowGS. Update it there."
        )
    kind = NAMES.get(content.pop("message", ""))
    if kind is None:
        return None
    known = {field.name for field in fields(kind)}
    try:
        message: Message = kind(**{name: value for name, value in content.items() if name in known})
    except TypeError:
        return None
    return message

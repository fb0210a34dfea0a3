"""A study.toml as text."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from VesselFlowGSLib.acquisition.description import SECTIONS, StudyDescription


def study_toml(description: StudyDescription) -> str:
    """The text of a study.toml that says what the description says, and nothing else."""
    blocks = []
    for name in SECTIONS:
        section = getattr(description, name)
        if isinstance(section, tuple):
            blocks += [f"[[{name}]]\n{_keys(one)}" for one in section]
        elif _keys(section):
            blocks.append(f"[{name}]\n{_keys(section)}")
    return "\n".join(blocks)


def _keys(section: Any) -> str:
    defaults = {f.name: f.default for f in fields(section)}
    said = {key: getattr(section, key) for key in defaults if getattr(section, key) != defaults[key]}
    return "".join(f"{key} = {_toml(held)}\n" for key, held in said.items())


def _toml(held: Any) -> str:
    if isinstance(held, bool):
        return "true" if held else "false"
    if isinstance(held, str):
        return _quoted(held)
    if isinstance(held, tuple):
        return "[" + ", ".join(map(_toml, held)) + "]"
    return repr(int(held)) if isinstance(held, int) else repr(float(held))


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _quoted(text: str) -> str:
    """A TOML basic string: control characters may not stand in it as they are."""
    plain = (_ESCAPES.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text)
    return f'"{"".join(plain)}"'

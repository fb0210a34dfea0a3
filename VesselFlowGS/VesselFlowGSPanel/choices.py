"""Combo boxes of enums with names that are translated: the parameter node's own link shows the bare names."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

Choice = TypeVar("Choice", bound=Enum)


def name_choices(box: Any, choices: type[Choice], name_of: Callable[[Choice], str]) -> None:
    """Name the entries of a box that the parameter node filled, which has them in the enum's order."""
    for number, choice in enumerate(choices):
        box.setItemText(number, name_of(choice))

"""How a value of each kind lies in the node: text under its name, and for nodes a node reference."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import slicer


class Serializer:
    """Writes a value of one kind into the node's parameters, and reads it again."""

    def accepts(self, value: Any) -> bool:
        raise NotImplementedError

    def first(self) -> Any:
        """The value where neither default nor node has one."""
        raise NotImplementedError

    def text(self, value: Any) -> str:
        return str(value)

    def value(self, text: str) -> Any:
        raise NotImplementedError

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, self.text(value))

    def read(self, node: Any, name: str) -> Any:
        return self.value(node.GetParameter(name))


class OfBool(Serializer):
    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def first(self) -> bool:
        return False

    def value(self, text: str) -> bool:
        return text == "True"


@dataclass(frozen=True)
class OfNumber(Serializer):
    kind: type

    def accepts(self, value: Any) -> bool:
        return isinstance(value, (int, float) if self.kind is float else int)

    def first(self) -> int:
        return 0

    def value(self, text: str) -> Any:
        return self.kind(text)


class OfText(Serializer):
    def accepts(self, value: Any) -> bool:
        return isinstance(value, str)

    def first(self) -> str:
        return ""

    def value(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class OfPath(Serializer):
    kind: type

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self.kind)

    def first(self) -> Any:
        return self.kind()

    def value(self, text: str) -> Any:
        return self.kind(text)


@dataclass(frozen=True)
class OfEnum(Serializer):
    """By the member's name."""

    kind: type[Enum]

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self.kind)

    def first(self) -> Any:
        return next(iter(self.kind))

    def text(self, value: Any) -> str:
        return str(value.name)

    def value(self, text: str) -> Any:
        if text not in self.kind.__members__:
            raise ValueError(f"{text!r} is no member of {self.kind.__name__}")
        return self.kind[text]


@dataclass(frozen=True)
class OfNode(Serializer):
    """As a node reference; an empty parameter of the same name tells that it was written."""

    kind: type

    def accepts(self, value: Any) -> bool:
        return value is None or isinstance(value, self.kind)

    def first(self) -> None:
        return None

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)


def serializer_of(kind: Any) -> Serializer:
    """TypeError for kinds of parameters that the host does not know."""
    if kind is bool:
        return OfBool()
    if kind in (int, float):
        return OfNumber(kind)
    if kind is str:
        return OfText()
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return OfPath(Path if kind is Path else kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return OfEnum(kind)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return OfNode(kind)
    raise TypeError(f"the test host knows no parameters of the kind {kind!r}")

"""Which widget can show which kind of parameter, and how: the pairs that the application knows too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import ctk
import qt
import slicer

from .validators import Choice, Maximum, Minimum, WithinRange


@dataclass(frozen=True)
class Decimals:
    """How many decimals a box of numbers shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """How far one step of a slider or box goes."""

    value: float


@dataclass
class Connector:
    """A widget that shows a parameter. `read` and `write` handle the widget's value; `signal` tells of changes."""

    signal: Any
    read: Callable[[], Any]
    write: Callable[[Any], None]
    told: Callable[[], None] | None = None

    def connect(self, told: Callable[[], None]) -> None:
        self.told = told
        if self.signal is not None:
            self.signal.connect(self._changed)

    def disconnect(self) -> None:
        if self.signal is not None and self.told is not None:
            self.signal.disconnect(self._changed)
        self.told = None

    def _changed(self, *_: Any) -> None:
        if self.told is not None:
            self.told()


def connector_of(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector:
    """TypeError where the application too has no way to show this kind in this widget."""
    widget_class = type(widget)
    if kind is bool and widget_class in (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton, ctk.ctkCheckablePushButton):
        return _of_check(widget)
    if kind is int and widget_class in (qt.QSlider, qt.QSpinBox):
        _limit(widget, annotations, least=-(2**31), most=2**31 - 1)
        return Connector(widget.valueChanged, lambda: widget.value, lambda value: _put(widget, "value", value))
    if kind in (int, float) and widget_class in _boxes_of_numbers():
        return _of_number(widget, kind, annotations)
    if isinstance(kind, type) and issubclass(kind, Enum) and widget_class in (qt.QComboBox, ctk.ctkComboBox):
        label = getattr(kind, "label", lambda member: member.name)
        return _of_choice(widget, list(kind), [label(member) for member in kind])
    if kind in (int, float, str, bool) and widget_class in (qt.QComboBox, ctk.ctkComboBox):
        choices = [list(a.choices) for a in annotations if isinstance(a, Choice)]
        if not choices:
            raise TypeError("a combo box shows plain values only where they are annotated with Choice")
        return _of_choice(widget, choices[0], [str(choice) for choice in choices[0]])
    if kind is str and widget_class is qt.QLineEdit:
        return Connector(widget.textChanged, lambda: widget.text, lambda text: _write_text(widget, text))
    if kind is str and widget_class is qt.QLabel:
        return Connector(None, lambda: widget.text, widget.setText)
    if kind is str and widget_class is qt.QTextEdit:
        return Connector(widget.textChanged, widget.toPlainText, widget.setPlainText)
    if isinstance(kind, type) and issubclass(kind, PurePath):
        if widget_class is ctk.ctkPathLineEdit:
            return Connector(
                widget.currentPathChanged,
                lambda: kind(widget.currentPath),
                lambda path: _put(widget, "currentPath", str(path)),
            )
        if widget_class is ctk.ctkDirectoryButton:
            return Connector(
                widget.directoryChanged,
                lambda: kind(widget.directory),
                lambda path: _put(widget, "directory", str(path)),
            )
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode) and widget_class is slicer.qMRMLNodeComboBox:
        widget.nodeTypes = [kind.__name__]
        return Connector(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)
    raise TypeError(f"a {widget_class.__name__} cannot show a parameter of the kind {kind!r}")


def _put(widget: Any, name: str, value: Any) -> None:
    setattr(widget, name, value)


def _boxes_of_numbers() -> tuple[type, ...]:
    return (
        qt.QDoubleSpinBox,
        ctk.ctkSliderWidget,
        ctk.ctkDoubleSlider,
        ctk.ctkDoubleSpinBox,
        slicer.qMRMLSliderWidget,
        slicer.qMRMLSpinBox,
    )


def _of_check(widget: Any) -> Connector:
    if isinstance(widget, qt.QPushButton) and not widget.checkable:
        widget.setCheckable(True)
    return Connector(widget.toggled, lambda: widget.checked, widget.setChecked)


def _of_number(widget: Any, kind: type, annotations: tuple[Any, ...]) -> Connector:
    slides = type(widget) in (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
    if slides and not _is_bounded(annotations):
        raise TypeError("a slider shows only numbers that are annotated with WithinRange")
    if type(widget) is not ctk.ctkDoubleSlider:
        for decimals in (a.value for a in annotations if isinstance(a, Decimals)):
            widget.decimals = decimals
        if kind is int:
            widget.decimals = 0
    _limit(widget, annotations, least=float("-inf"), most=float("inf"))
    return Connector(widget.valueChanged, lambda: kind(widget.value), lambda value: _put(widget, "value", value))


def _is_bounded(annotations: tuple[Any, ...]) -> bool:
    kinds = {type(a) for a in annotations}
    return WithinRange in kinds or {Minimum, Maximum} <= kinds


def _limit(widget: Any, annotations: tuple[Any, ...], least: float, most: float) -> None:
    if isinstance(widget, qt.QSlider) and not _is_bounded(annotations):
        raise TypeError("a slider shows only numbers that are annotated with WithinRange")
    for annotation in annotations:
        if isinstance(annotation, SingleStep):
            widget.singleStep = annotation.value
        if isinstance(annotation, (WithinRange, Minimum)):
            least = annotation.minimum
        if isinstance(annotation, (WithinRange, Maximum)):
            most = annotation.maximum
    widget.minimum = least
    widget.maximum = most


def _of_choice(widget: Any, values: list[Any], labels: list[str]) -> Connector:
    # As in the application, the items of the .ui file are replaced.
    widget.clear()
    for label in labels:
        widget.addItem(label)
    return Connector(
        widget.currentIndexChanged,
        lambda: values[widget.currentIndex],
        lambda value: widget.setCurrentIndex(values.index(value)),
    )


def _write_text(widget: Any, text: str) -> None:
    # Writing moves the cursor to the end, which would disturb somebody who is typing.
    if widget.text != text:
        widget.setText(text)

"""A stand-in for the application's module qt, on PySide6: one flat module that behaves as PythonQt does.

What differs from PySide6 and is imitated: Qt properties are attributes (label.text, button.enabled = False), a getter
of the same name cannot be called, signals are also connected by their signature and the signature is checked,
C++ objects take no new attributes, and .ui files may contain the widgets of CTK and Slicer.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets  # noqa: E402

WIDGETS: dict[str, Any] = {}
"""Class name as .ui files have it: the class that is made of it."""

UNKNOWN_CLASSES: set[str] = set()
"""Asked for by a .ui file, and not there: a plain QWidget stands in their place."""

_ADDED = {"name", "className", "connect", "disconnect", "delete", "findChild", "findChildren"}
_LOADING: list[bool] = []  # not empty while a .ui file is read
_READING: set[tuple[int, str]] = set()  # while C++ reads a property, it asks Python whether its getter is overridden
_KEPT: list[Any] = []  # Python's side of widgets that C++ owns; without it their attributes would be lost
_TYPES = {"int": int, "double": float, "bool": bool, "QString": str}


class PythonQtObject:
    """Mixed into every QObject class: attributes as PythonQt gives them."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        if (id(self), name) not in _READING and QtCore.QObject.metaObject(self).indexOfProperty(name) >= 0:
            _READING.add((id(self), name))
            try:
                value = QtCore.QObject.property(self, name)
            finally:
                _READING.discard((id(self), name))
            return tuple(value) if isinstance(value, list) else value
        if name in _ADDED:
            return getattr(PythonQtObject, f"_{name}").__get__(self)()
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        if _LOADING and isinstance(value, QtCore.QObject):
            return  # PySide6 makes the children attributes of what it loads, PythonQt does not
        described = QtCore.QObject.metaObject(self)
        index = described.indexOfProperty("objectName" if name == "name" else name)
        if index >= 0:
            held = described.property(index)
            if not held.isWritable():
                raise AttributeError(f"{described.className()}.{name} cannot be written")
            if held.isEnumType() and not isinstance(value, (int, str)):
                value = getattr(value, "value", value)
            if isinstance(value, tuple):
                value = list(value)
            if not held.write(self, value):
                raise TypeError(f"{described.className()}.{name} takes no {type(value).__name__}: {value!r}")
        elif type(self).__dict__.get("_stand_in"):
            raise AttributeError(f"{described.className()} has no '{name}', and C++ objects take no new attributes")
        else:
            super().__setattr__(name, value)

    def _name(self) -> str:
        return str(QtCore.QObject.objectName(self))

    def _className(self) -> Any:
        return lambda: QtCore.QObject.metaObject(self).className()

    def _delete(self) -> Any:
        return lambda: QtCore.QObject.deleteLater(self)

    def _findChild(self) -> Any:
        return lambda kind, *name: next(iter(self._children_of(kind, *name)), None)

    def _findChildren(self) -> Any:
        return self._children_of

    def _children_of(self, kind: Any, *name: str) -> list[Any]:
        found = QtCore.QObject.findChildren(self, _original_of(kind), *name)
        return [child for child in found if not _is_inside_a_stand_in(child)]

    def _connect(self) -> Any:
        return lambda *where: self._attach(True, *where)

    def _disconnect(self) -> Any:
        return lambda *where: self._attach(False, *where)

    def _attach(self, connect: bool, signature: str, receiver: Any, slot: str | None = None) -> bool:
        told = receiver if slot is None else getattr(receiver, slot.split("(")[0])
        signal = self._signal(signature)
        if connect:
            signal.connect(told)
            return True
        try:
            return signal.disconnect(told) is not False
        except (RuntimeError, TypeError):
            return False

    def _signal(self, signature: str) -> Any:
        """The signal of a signature as connect() takes it; ValueError where the class has none."""
        described = QtCore.QObject.metaObject(self)
        plain = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
        alias = getattr(type(self), "_SIGNALS", {}).get(plain)
        if alias is not None:
            return object.__getattribute__(self, alias)
        there = _signals_of(described)
        if plain not in there:
            raise ValueError(f"{described.className()} has no signal {signature!r}; it has {', '.join(sorted(there))}")
        name, arguments = re.match(r"(\w+)\((.*)\)", plain).groups()
        signal = object.__getattribute__(self, name)
        overloads = sum(other.startswith(f"{name}(") for other in there)
        if overloads > 1 and arguments in _TYPES:
            try:
                return signal[_TYPES[arguments]]
            except (KeyError, IndexError):
                return signal
        return signal


class _Kind(type(QtCore.QObject)):
    """Every widget is a QWidget, although the classes here do not derive from each other."""

    def __instancecheck__(cls, asked: Any) -> bool:
        return isinstance(asked, cls.__dict__.get("_ORIGINAL", ())) or super().__instancecheck__(asked)

    def __subclasscheck__(cls, asked: type) -> bool:
        return issubclass(asked, cls.__dict__.get("_ORIGINAL", ())) or super().__subclasscheck__(asked)


def _original_of(kind: Any) -> Any:
    """The class of PySide6 behind a class of this module; other classes as they are."""
    return kind.__dict__.get("_ORIGINAL", kind)


def _is_inside_a_stand_in(child: Any) -> bool:
    # What a stand-in is drawn with is not what the real widget is made of.
    parent = QtCore.QObject.parent(child)
    while parent is not None:
        if getattr(type(parent), "_DRAWN_WITH_OTHERS", False):
            return True
        parent = QtCore.QObject.parent(parent)
    return False


def _signals_of(described: Any) -> set[str]:
    methods = (described.method(k) for k in range(described.methodCount()))
    kind = QtCore.QMetaMethod.MethodType.Signal
    # Names with an underscore are the stand-ins' own helpers.
    found = {bytes(m.methodSignature()).decode() for m in methods if m.methodType() == kind}
    return {signature for signature in found if not signature.startswith("_")}


def stand_in(original: type) -> type:
    """Class decorator: a class of the application's C++ side, which takes no new attributes and may stand in .ui."""
    original._stand_in = True
    WIDGETS[original.__name__] = original
    return original


def _publish(module: Any) -> None:
    """Put the classes of a PySide6 module here, those that people handle as PythonQt objects."""
    handled = (QtWidgets.QWidget, QtWidgets.QLayout, QtCore.QTimer, QtCore.QItemSelectionModel, QtGui.QAction)
    here = globals()
    for name in dir(module):
        value = getattr(module, name)
        if not name.startswith("Q") or name in here:
            continue
        if inspect.isclass(value) and issubclass(value, handled):
            body = {"__module__": "qt", "__doc__": value.__doc__, "_stand_in": True, "_ORIGINAL": value}
            value = WIDGETS[name] = _Kind(name, (PythonQtObject, value), body)
        here[name] = value


for _module in (QtCore, QtGui, QtWidgets):
    _publish(_module)
Qt = QtCore.Qt


class QUiLoader(QtUiTools.QUiLoader):
    """Reads .ui files with the widgets of Qt, CTK and Slicer."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if class_name not in WIDGETS:
            UNKNOWN_CLASSES.add(class_name)
        widget = WIDGETS.get(class_name, WIDGETS["QWidget"])(parent)
        QtCore.QObject.setObjectName(widget, name)
        _KEPT.append(widget)
        return widget

    def createLayout(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        free = isinstance(parent, QtWidgets.QWidget) and QtWidgets.QWidget.layout(parent) is None
        layout = WIDGETS[class_name](parent) if free else WIDGETS[class_name]()
        QtCore.QObject.setObjectName(layout, name)
        _KEPT.append(layout)
        return layout

    def load(self, device: Any, parent: Any = None) -> Any:
        tree = ElementTree.fromstring(bytes(device.readAll()))
        by_name = _take_mrml_connections(tree)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree, encoding="utf-8"))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        _LOADING.append(True)
        try:
            widget = super().load(buffer, parent)
        finally:
            _LOADING.pop()
        for sender, signal, receiver, slot in by_name:
            told = getattr(_child(widget, receiver), slot.split("(")[0])
            _child(widget, sender)._signal(signal).connect(told)
        return widget


def _take_mrml_connections(tree: Any) -> list[tuple[str, ...]]:
    # PySide6 cannot connect signals that carry MRML pointers by their signature; they are connected by name.
    taken = []
    for connections in tree.iter("connections"):
        for connection in list(connections):
            ends = tuple(connection.findtext(end, "") for end in ("sender", "signal", "receiver", "slot"))
            if "vtkMRML" in ends[1]:
                connections.remove(connection)
                taken.append(ends)
    return taken


def _child(widget: Any, name: str) -> Any:
    if QtCore.QObject.objectName(widget) == name:
        return widget
    child = QtCore.QObject.findChild(widget, QtWidgets.QWidget, name)
    if child is None:
        raise ValueError(f"the .ui file connects {name!r}, which it does not contain")
    return child


sys.modules.setdefault("qt", sys.modules[__name__])

"""The class decorator: annotated fields become properties that live in a vtkMRMLScriptedModuleNode."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import qt
import slicer
import vtk

from .connectors import Connector, connector_of
from .serializers import Serializer, serializer_of
from .validators import Validator

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass(frozen=True)
class Default:
    """A default said in the annotation."""

    value: Any = None


@dataclass(frozen=True)
class _Parameter:
    name: str
    kind: Any
    annotations: tuple[Any, ...]
    serializer: Serializer
    default: Any

    def write(self, node: Any, value: Any) -> None:
        if not self.serializer.accepts(value):
            raise TypeError(f"{self.name} is a {self.kind}, and no {type(value).__name__}: {value!r}")
        if value is not None:
            for validator in self.annotations:
                if isinstance(validator, Validator):
                    validator.validate(value)
        self.serializer.write(node, self.name, value)

    def read(self, node: Any) -> Any:
        # A node that was saved by an older version, or emptied by closing the scene, gets the default.
        if not node.HasParameter(self.name):
            self.serializer.write(node, self.name, self.default)
        return self.serializer.read(node, self.name)


class _Wrapped:
    """What a decorated class can do beside its parameters; the names are those of the application."""

    allParameters: dict[str, _Parameter]
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._shown: dict[int, dict[str, Connector]] = {}
        self._observed: dict[int, int] = {}
        self._next = 0
        self._showing = False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name: str) -> Default:
        return Default(self._parameter(name).default)

    def isCached(self, name: str) -> bool:
        return False

    @classmethod
    def dataType(cls, name: str) -> Any:
        parameter = cls._parameter(name)
        return Annotated[(parameter.kind, *parameter.annotations)] if parameter.annotations else parameter.kind

    def connectGui(self, gui: Any) -> int:
        """Let the widgets that name a parameter follow it. gui: a widget, or an object that holds widgets.

        Raises ValueError for a name that is no parameter.
        """
        if hasattr(gui, "isWidgetType"):
            widgets = gui.findChildren(qt.QWidget)
        else:
            widgets = list(vars(gui).values())
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        parameters = {name: self._parameter(name) for name in mapping}
        tag, self._next = self._next, self._next + 1
        self._shown[tag] = {
            name: connector_of(mapping[name], parameter.kind, parameter.annotations)
            for name, parameter in parameters.items()
        }
        for name, connector in self._shown[tag].items():
            connector.write(self.getValue(name))
            connector.connect(self._taken_from(name, connector))
        self._observed[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, self._show)
        return tag

    def disconnectGui(self, tag: int) -> None:
        for connector in self._shown.pop(tag, {}).values():
            connector.disconnect()
        if tag in self._observed:
            self.RemoveObserver(self._observed.pop(tag))

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, was: Any) -> Any:
        return self.parameterNode.EndModify(was)

    def AddObserver(self, event: Any, told: Callable[..., None], priority: float = 0.0) -> int:
        return int(self.parameterNode.AddObserver(event, told, priority))

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    @classmethod
    def _parameter(cls, name: str) -> _Parameter:
        if name not in cls.allParameters:
            raise ValueError(f"{name!r} is no parameter; there are {', '.join(cls.allParameters)}")
        return cls.allParameters[name]

    def _taken_from(self, name: str, connector: Connector) -> Callable[[], None]:
        def take() -> None:
            if not self._showing:
                self.setValue(name, connector.read())

        return take

    def _show(self, *_: Any) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for shown in list(self._shown.values()):
                    for name, connector in shown.items():
                        connector.write(self.getValue(name))
        finally:
            self._showing = False


def parameterNodeWrapper(described: type | None = None) -> Any:
    """Turn a class of annotated fields into a wrapper of a vtkMRMLScriptedModuleNode."""
    if described is None:
        return parameterNodeWrapper
    parameters = {}
    body = {name: value for name, value in vars(described).items() if name not in ("__dict__", "__weakref__")}
    for name, annotated in typing.get_type_hints(described, include_extras=True).items():
        parameters[name] = _parameter_of(described, name, annotated)
        body[name] = _property_of(name)
    reserved = [name for name in parameters if hasattr(_Wrapped, name)]
    if reserved:
        raise ValueError(f"these names are reserved and cannot be parameters: {reserved}")
    body["allParameters"] = parameters
    return types.new_class(described.__name__, (_Wrapped,), exec_body=lambda namespace: namespace.update(body))


def _parameter_of(described: type, name: str, annotated: Any) -> _Parameter:
    kind, annotations = annotated, ()
    if typing.get_origin(annotated) is Annotated:
        kind, *rest = typing.get_args(annotated)
        annotations = tuple(rest)
    serializer = serializer_of(kind)
    default = next((a.value for a in annotations if isinstance(a, Default)), serializer.first())
    return _Parameter(name, kind, annotations, serializer, getattr(described, name, default))


def _property_of(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def isParameterNodeWrapper(asked: Any) -> bool:
    return bool(getattr(asked, "_is_parameter_node_wrapper", False))

"""Typed parameters in a vtkMRMLScriptedModuleNode, saved as the application saves them, and followed by widgets."""

from .connectors import Decimals, SingleStep
from .validators import Choice, Exclude, Maximum, Minimum, WithinRange
from .wrapper import Default, SlicerParameterNamePropertyName, isParameterNodeWrapper, parameterNodeWrapper

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

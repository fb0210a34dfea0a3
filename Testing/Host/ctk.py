"""Stand-ins for the widgets of CTK that panels use: the names, signals and limits of the real ones, plainly drawn."""

from __future__ import annotations

import sys
from typing import Any

import qt
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


def kept(kind: Any, name: str, default: Any, changed: str = "", applied: str = "") -> Any:
    """A property that a stand-in merely keeps. Its setter is a method only where the real one is a slot: slot_of.

    changed  the signal that carries the new value
    applied  the method that makes it visible
    """
    held = f"_{name}"

    def read(self: Any) -> Any:
        return self.__dict__.get(held, default)

    def write(self: Any, value: Any) -> None:
        if read(self) == value:
            return
        self.__dict__[held] = value
        if applied:
            object.__getattribute__(self, applied)()
        if changed:
            object.__getattribute__(self, changed).emit(value)

    return Property(kind, read, write)


def slot_of(name: str) -> Any:
    """The slot that sets a property."""
    return lambda self, value: setattr(self, name, value)


@qt.stand_in
class ctkCollapsibleButton(qt.PythonQtObject, QtWidgets.QAbstractButton):
    """A headline that folds its contents away."""

    contentsCollapsed = Signal(bool)
    collapsedHeight = kept(int, "collapsedHeight", 10)
    flat = kept(bool, "flat", False)
    contentsLineWidth = kept(int, "contentsLineWidth", 1)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._folded = False
        self._hidden_by_folding: list[Any] = []
        self.setCheckable(True)
        self.setChecked(True)
        QtWidgets.QAbstractButton.setSizePolicy(
            self, QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred
        )
        self.setContentsMargins(0, self._headline(), 0, 0)
        object.__getattribute__(self, "toggled").connect(lambda checked: self._collapse(not checked))

    def _headline(self) -> int:
        return QtWidgets.QWidget.fontMetrics(self).height() + 10

    def _is_collapsed(self) -> bool:
        return self._folded

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._folded:
            return
        self._folded = collapsed
        self.setChecked(not collapsed)
        if collapsed:
            children = QtCore.QObject.children(self)
            self._hidden_by_folding = [c for c in children if isinstance(c, QtWidgets.QWidget) and not c.isHidden()]
        for child in self._hidden_by_folding:
            child.setVisible(not collapsed)
        self.updateGeometry()
        self.update()
        object.__getattribute__(self, "contentsCollapsed").emit(collapsed)

    collapsed = Property(bool, _is_collapsed, _collapse)

    def sizeHint(self) -> Any:
        layout = QtWidgets.QWidget.layout(self)
        inner = layout.totalSizeHint() if layout is not None and not self._folded else QtCore.QSize(0, 0)
        return QtCore.QSize(max(inner.width(), 160), max(inner.height(), self._headline()))

    minimumSizeHint = sizeHint

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        width = QtWidgets.QWidget.width(self)
        box = QtCore.QRect(0, 0, width, self._headline() - 2)
        painter.fillRect(box, QtGui.QColor(222, 226, 230))
        arrow = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}" if self._folded else "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        text = QtWidgets.QAbstractButton.text(self)
        painter.drawText(box.adjusted(6, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, f"{arrow} {text}")
        painter.end()


class _OneNumber(qt.PythonQtObject, QtWidgets.QWidget):
    """What sliders and boxes of one number share."""

    _DRAWN_WITH_OTHERS = True

    valueChanged = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._number = 0.0
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal) if self._HAS_SLIDER else None
        self._box = QtWidgets.QDoubleSpinBox() if self._HAS_BOX else None
        for part in (self._slider, self._box):
            if part is not None:
                line.addWidget(part)
        if self._slider is not None:
            self._slider.setRange(0, 1000)
            self._slider.valueChanged.connect(self._slid)
        if self._box is not None:
            self._box.valueChanged.connect(self.setValue)
        self._show()

    _HAS_SLIDER = _HAS_BOX = True

    def _slid(self, step: int) -> None:
        self.setValue(self.minimum + (self.maximum - self.minimum) * step / 1000)

    def _show(self) -> None:
        low, high = self.minimum, self.maximum
        if self._box is not None:
            self._box.blockSignals(True)
            self._box.setDecimals(int(self.decimals))
            self._box.setRange(low, high)
            self._box.setSingleStep(self.singleStep)
            self._box.setPrefix(getattr(self, "prefix", ""))
            self._box.setSuffix(getattr(self, "suffix", ""))
            self._box.setValue(self._number)
            self._box.blockSignals(False)
        if self._slider is not None and high > low and abs(high) != float("inf") != abs(low):
            self._slider.blockSignals(True)
            self._slider.setValue(round(1000 * (self._number - low) / (high - low)))
            self._slider.blockSignals(False)

    def _limit(self) -> None:
        self._show()
        self.setValue(self._number)

    minimum = kept(float, "minimum", 0.0, applied="_limit")
    maximum = kept(float, "maximum", 99.99, applied="_limit")
    singleStep = kept(float, "singleStep", 1.0, applied="_show")

    def _read(self) -> float:
        return self._number

    def setValue(self, value: float) -> None:
        value = min(max(float(value), self.minimum), self.maximum)
        if value == self._number:
            return
        self._number = value
        self._show()
        object.__getattribute__(self, "valueChanged").emit(value)

    value = Property(float, _read, setValue)


@qt.stand_in
class ctkSliderWidget(_OneNumber):
    """A slider with a number beside it."""

    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    maximum = kept(float, "maximum", 99.0, applied="_limit")
    decimals = kept(int, "decimals", 2, changed="decimalsChanged", applied="_show")
    setDecimals = slot_of("decimals")
    pageStep = kept(float, "pageStep", 10.0)
    prefix = kept(str, "prefix", "", applied="_show")
    suffix = kept(str, "suffix", "", applied="_show")
    tracking = kept(bool, "tracking", True)
    tickInterval = kept(float, "tickInterval", 0.0)
    spinBoxVisible = kept(bool, "spinBoxVisible", True, applied="_show_box")
    setSpinBoxVisible = slot_of("spinBoxVisible")
    popupSlider = kept(bool, "popupSlider", False)
    invertedAppearance = kept(bool, "invertedAppearance", False)
    invertedControls = kept(bool, "invertedControls", False)

    def _show_box(self) -> None:
        self._box.setVisible(self.spinBoxVisible)

    def reset(self) -> None:
        self.setValue(self.minimum)


@qt.stand_in
class ctkDoubleSlider(_OneNumber):
    """A slider of floating numbers."""

    _HAS_BOX = False
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)
    maximum = kept(float, "maximum", 99.0, applied="_limit")
    pageStep = kept(float, "pageStep", 10.0)
    tracking = kept(bool, "tracking", True)


@qt.stand_in
class ctkDoubleSpinBox(_OneNumber):
    """A box of one floating number."""

    _HAS_SLIDER = False
    _SIGNALS = {"valueChanged(QString)": "_textChanged"}
    _textChanged = Signal(str)
    editingFinished = Signal()
    decimalsChanged = Signal(int)
    decimals = kept(int, "decimals", 2, changed="decimalsChanged", applied="_show")
    setDecimals = slot_of("decimals")
    prefix = kept(str, "prefix", "", applied="_show")
    suffix = kept(str, "suffix", "", applied="_show")
    frame = kept(bool, "frame", True)
    readOnly = kept(bool, "readOnly", False, applied="_lock")
    setReadOnly = slot_of("readOnly")
    invertedControls = kept(bool, "invertedControls", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        object.__getattribute__(self, "valueChanged").connect(lambda value: self._textChanged.emit(str(value)))
        self._box.editingFinished.connect(object.__getattribute__(self, "editingFinished").emit)

    def _lock(self) -> None:
        self._box.setReadOnly(self.readOnly)

    def setValueIfDifferent(self, value: float) -> None:
        self.setValue(value)

    def setValueAlways(self, value: float) -> None:
        self.setValue(value)

    def stepUp(self) -> None:
        self.setValue(self.value + self.singleStep)

    def stepDown(self) -> None:
        self.setValue(self.value - self.singleStep)


class _TwoNumbers(qt.PythonQtObject, QtWidgets.QWidget):
    """What sliders of a range share."""

    _DRAWN_WITH_OTHERS = True

    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)
    singleStep = kept(float, "singleStep", 1.0, applied="_show")
    tracking = kept(bool, "tracking", True)
    symmetricMoves = kept(bool, "symmetricMoves", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._limits = (0.0, 99.0)
        self._values = (0.0, 99.0)
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._boxes = (QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox())
        self._boxes[0].valueChanged.connect(self.setMinimumValue)
        self._boxes[1].valueChanged.connect(self.setMaximumValue)
        for box in self._boxes:
            line.addWidget(box)
        self._show()

    def _show(self) -> None:
        for box, value in zip(self._boxes, self._values, strict=True):
            box.blockSignals(True)
            box.setDecimals(int(getattr(self, "decimals", 2)))
            box.setRange(*self._limits)
            box.setSingleStep(self.singleStep)
            box.setValue(value)
            box.blockSignals(False)

    def setRange(self, low: float, high: float) -> None:
        low, high = float(low), max(float(low), float(high))
        if (low, high) == self._limits:
            return
        self._limits = (low, high)
        object.__getattribute__(self, "rangeChanged").emit(low, high)
        self.setValues(*self._values)
        self._show()

    def setValues(self, low: float, high: float) -> None:
        least, most = self._limits
        new = tuple(sorted(min(max(float(value), least), most) for value in (low, high)))
        old, self._values = self._values, new
        self._show()
        if new[0] != old[0]:
            object.__getattribute__(self, "minimumValueChanged").emit(new[0])
        if new[1] != old[1]:
            object.__getattribute__(self, "maximumValueChanged").emit(new[1])
        if new != old:
            object.__getattribute__(self, "valuesChanged").emit(*new)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(min(value, self._values[1]), self._values[1])

    def setMaximumValue(self, value: float) -> None:
        self.setValues(self._values[0], max(value, self._values[0]))

    def _set_least(self, value: float) -> None:
        self.setRange(value, max(self._limits[1], value))

    def _set_most(self, value: float) -> None:
        self.setRange(min(self._limits[0], value), value)

    minimum = Property(float, lambda self: self._limits[0], _set_least)
    maximum = Property(float, lambda self: self._limits[1], _set_most)
    minimumValue = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._values[1], setMaximumValue)


@qt.stand_in
class ctkRangeWidget(_TwoNumbers):
    """A range with its two numbers."""

    minimumValueIsChanging = Signal(float)
    maximumValueIsChanging = Signal(float)
    decimals = kept(int, "decimals", 2, applied="_show")
    setDecimals = slot_of("decimals")
    prefix = kept(str, "prefix", "")
    suffix = kept(str, "suffix", "")
    autoSpinBoxWidth = kept(bool, "autoSpinBoxWidth", True)

    def reset(self) -> None:
        self.setValues(*self._limits)


@qt.stand_in
class ctkDoubleRangeSlider(_TwoNumbers):
    """A slider of a range."""


@qt.stand_in
class ctkPathLineEdit(qt.PythonQtObject, QtWidgets.QWidget):
    """A path that can be typed or looked for."""

    _DRAWN_WITH_OTHERS = True

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    # QDir.Filter values, as in the real class
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
    label = kept(str, "label", "")
    filters = kept(int, "filters", 0x6003)
    settingKey = kept(str, "settingKey", "")
    nameFilters = kept("QStringList", "nameFilters", [])
    showBrowseButton = kept(bool, "showBrowseButton", True)
    showHistoryButton = kept(bool, "showHistoryButton", True)
    minimumContentsLength = kept(int, "minimumContentsLength", 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._line = QtWidgets.QLineEdit()
        line.addWidget(self._line)
        line.addWidget(QtWidgets.QToolButton())
        self._line.textChanged.connect(object.__getattribute__(self, "currentPathChanged").emit)

    def _path(self) -> str:
        return self._line.text()

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        pass

    def browse(self) -> None:
        raise RuntimeError("no one can browse in the test host: set currentPath")

    currentPath = Property(str, _path, setCurrentPath)


@qt.stand_in
class ctkDirectoryButton(qt.PythonQtObject, QtWidgets.QWidget):
    """A button that shows a folder and asks for another. As in the real one, it starts as "." and becomes absolute."""

    _DRAWN_WITH_OTHERS = True

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._directory = QtCore.QDir().path()
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton(self._directory)
        line.addWidget(self._button)

    def _set_directory(self, path: str) -> None:
        if QtCore.QDir(path) != QtCore.QDir(self._directory):
            self._directory = QtCore.QDir(path).absolutePath()
            self._button.setText(self._directory)
            object.__getattribute__(self, "directoryChanged").emit(self._directory)
        object.__getattribute__(self, "directorySelected").emit(self._directory)

    directory = Property(str, lambda self: self._directory, _set_directory)
    caption = kept(str, "caption", "")
    text = kept(str, "text", "")

    def browse(self) -> None:
        raise RuntimeError("no one can browse in the test host: set directory")


@qt.stand_in
class ctkColorPickerButton(qt.PythonQtObject, QtWidgets.QPushButton):
    """A button that shows a colour and asks for another."""

    colorChanged = Signal(QtGui.QColor)
    color = kept(QtGui.QColor, "color", QtGui.QColor(), changed="colorChanged")
    setColor = slot_of("color")
    displayColorName = kept(bool, "displayColorName", True)
    setDisplayColorName = slot_of("displayColorName")


@qt.stand_in
class ctkComboBox(qt.PythonQtObject, QtWidgets.QComboBox):
    """A combo box with a text for nothing chosen."""

    defaultText = kept(str, "defaultText", "")
    forceDefault = kept(bool, "forceDefault", False)


@qt.stand_in
class ctkCheckBox(qt.PythonQtObject, QtWidgets.QCheckBox):
    """A check box that can show an icon."""


@qt.stand_in
class ctkPushButton(qt.PythonQtObject, QtWidgets.QPushButton):
    """A push button whose text can be aligned."""


@qt.stand_in
class ctkCheckablePushButton(qt.PythonQtObject, QtWidgets.QPushButton):
    """A push button with a check box."""

    checkBoxToggled = Signal(bool)
    checkBoxControlsButton = kept(bool, "checkBoxControlsButton", True)
    checkBoxControlsButtonToggleState = kept(bool, "checkBoxControlsButtonToggleState", True)


@qt.stand_in
class ctkMenuButton(qt.PythonQtObject, QtWidgets.QPushButton):
    """A push button with a menu at its side."""


@qt.stand_in
class ctkExpandButton(qt.PythonQtObject, QtWidgets.QToolButton):
    """A button with an arrow that turns."""


@qt.stand_in
class ctkCollapsibleGroupBox(qt.PythonQtObject, QtWidgets.QGroupBox):
    """A group box that folds its contents away."""

    collapsed = kept(bool, "collapsed", False, applied="_fold")
    collapsedHeight = kept(int, "collapsedHeight", 10)

    def _fold(self) -> None:
        for child in QtCore.QObject.children(self):
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not self.collapsed)


@qt.stand_in
class ctkFittedTextBrowser(qt.PythonQtObject, QtWidgets.QTextBrowser):
    """A text as high as it needs."""

    collapsed = kept(bool, "collapsed", False)


@qt.stand_in
class ctkMessageBox(qt.PythonQtObject, QtWidgets.QMessageBox):
    """A message with "do not show again"."""

    dontShowAgain = kept(bool, "dontShowAgain", False)
    setDontShowAgain = slot_of("dontShowAgain")
    dontShowAgainVisible = kept(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey = kept(str, "dontShowAgainSettingsKey", "")


sys.modules.setdefault("ctk", sys.modules[__name__])

"""Stand-ins for the MRML widgets that panels use, on a real scene: the choices and signals of the real ones."""

from __future__ import annotations

from typing import Any

import ctk
import qt
import shiboken6
import slicer
from ctk import kept, slot_of
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


@qt.stand_in
class qMRMLWidget(qt.PythonQtObject, QtWidgets.QWidget):
    """A widget that knows the scene and tells it on."""

    mrmlSceneChanged = Signal(object)
    _SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        object.__getattribute__(self, "mrmlSceneChanged").emit(scene)


@qt.stand_in
class qSlicerWidget(qMRMLWidget):
    """The same, of another family; the real one does not say its scene."""

    mrmlScene = None


@qt.stand_in
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """What a module's widget is put into; in the host the person is in the module from the start."""

    isEntered = Property(bool, lambda self: True)


@qt.stand_in
class qMRMLCollapsibleButton(ctk.ctkCollapsibleButton):
    """A headline that folds its contents away and tells the scene on."""

    mrmlSceneChanged = Signal(object)
    _SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def setMRMLScene(self, scene: Any) -> None:
        object.__getattribute__(self, "mrmlSceneChanged").emit(scene)


@qt.stand_in
class qMRMLNodeComboBox(qt.PythonQtObject, QtWidgets.QWidget):
    """Chooses one node of the scene. It follows nodes that come, go and change their names.

    As in the application, nothing is chosen by itself when nodes come.
    """

    _DRAWN_WITH_OTHERS = True

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    currentNodeRenamed = Signal(str)
    _validChanged = Signal(bool)
    _SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_validChanged",
        **{
            f"{name}(vtkMRMLNode*)": name
            for name in ("nodeActivated", "nodeAdded", "nodeAddedByUser", "nodeAboutToBeRemoved", "nodeAboutToBeEdited")
        },
    }
    nodeTypes = kept("QStringList", "nodeTypes", [], applied="_refresh")
    showHidden = kept(bool, "showHidden", False, applied="_refresh")
    showChildNodeTypes = kept(bool, "showChildNodeTypes", True, applied="_refresh")
    hideChildNodeTypes = kept("QStringList", "hideChildNodeTypes", [], applied="_refresh")
    noneEnabled = kept(bool, "noneEnabled", False, applied="_refresh")
    noneDisplay = kept(str, "noneDisplay", "Select a node", applied="_refresh")
    addEnabled = kept(bool, "addEnabled", True)
    removeEnabled = kept(bool, "removeEnabled", True)
    editEnabled = kept(bool, "editEnabled", False)
    renameEnabled = kept(bool, "renameEnabled", False)
    selectNodeUponCreation = kept(bool, "selectNodeUponCreation", True)
    baseName = kept(str, "baseName", "")
    interactionNodeSingletonTag = kept(str, "interactionNodeSingletonTag", "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node_id = ""
        self._watched: list[Any] = []
        self._attributes: list[tuple[str, str, Any]] = []
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._list = QtWidgets.QComboBox()
        line.addWidget(self._list)
        self._list.activated.connect(self._activated)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        for watched, tag in self._watched:
            watched.RemoveObserver(tag)
        self._watched = []
        self._scene = scene
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                self._watched.append((scene, scene.AddObserver(event, self._refresh)))
        self._refresh()

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes.append((node_type, name, value))
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes = [a for a in self._attributes if a[:2] != (node_type, name)]
        self._refresh()

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
            return False
        if not any(node.IsA(k) if self.showChildNodeTypes else node.GetClassName() == k for k in self.nodeTypes):
            return False
        for kind, name, value in self._attributes:
            held = node.GetAttribute(name)
            if node.IsA(kind) and (held is None if value is None else held != str(value)):
                return False
        return True

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        every = (self._scene.GetNthNode(k) for k in range(self._scene.GetNumberOfNodes()))
        return [node for node in every if self._fits(node)]

    def _refresh(self, *_: Any) -> None:
        # A scene may outlive the widget, and tells of its nodes while it is emptied.
        if not shiboken6.isValid(self) or (self._scene is not None and self._scene.IsBatchProcessing()):
            return
        nodes = self._nodes()
        self._list.clear()
        if self.noneEnabled or not nodes:
            self._list.addItem(self.noneDisplay, "")
        for node in nodes:
            self._list.addItem(node.GetName() or "", node.GetID())
        if self._node_id and self._node_id not in [node.GetID() for node in nodes]:
            self._choose("")
        self._list.setCurrentIndex(max(0, self._list.findData(self._node_id)))

    def _activated(self, index: int) -> None:
        self._choose(self._list.itemData(index))
        object.__getattribute__(self, "nodeActivated").emit(self.currentNode())

    def _choose(self, node_id: str) -> None:
        if node_id == self._node_id:
            return
        self._node_id = node_id
        self._list.setCurrentIndex(max(0, self._list.findData(node_id)))
        node = self.currentNode()
        object.__getattribute__(self, "currentNodeChanged").emit(node)
        self._validChanged.emit(node is not None)
        object.__getattribute__(self, "currentNodeIDChanged").emit(node_id)

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._node_id) if self._scene is not None and self._node_id else None

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
        else:
            self._choose(node.GetID() if node is not None and self._fits(node) else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if self._scene is not None and node_id else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        nodes = self._nodes()
        self.setCurrentNode(nodes[index] if 0 <= index < len(nodes) else None)

    currentNodeID = Property(str, lambda self: self._node_id, setCurrentNodeID)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addNode(self, node_type: str = "") -> Any:
        """What the entry "Create new" does."""
        kind = node_type or self.nodeTypes[0]
        base = self.baseName or kind.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(base))
        for name in ("nodeAdded", "nodeAddedByUser"):
            object.__getattribute__(self, name).emit(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        """What the entry "Delete current" does."""
        node = self.currentNode()
        if node is not None:
            object.__getattribute__(self, "nodeAboutToBeRemoved").emit(node)
            self._scene.RemoveNode(node)


@qt.stand_in
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Chooses several nodes of the scene."""

    checkedNodesChanged = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._checked: set[str] = set()
        self.noneEnabled = True

    def checkedNodes(self) -> list[Any]:
        return [node for node in self._nodes() if node.GetID() in self._checked]

    def uncheckedNodes(self) -> list[Any]:
        return [node for node in self._nodes() if node.GetID() not in self._checked]

    def allChecked(self) -> bool:
        return not self.uncheckedNodes()

    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    def checkState(self, node: Any) -> Any:
        checked = node.GetID() in self._checked
        return QtCore.Qt.CheckState.Checked if checked else QtCore.Qt.CheckState.Unchecked

    def setCheckState(self, node: Any, state: Any) -> None:
        before = set(self._checked)
        if QtCore.Qt.CheckState(state) == QtCore.Qt.CheckState.Checked:
            self._checked.add(node.GetID())
        else:
            self._checked.discard(node.GetID())
        if self._checked != before:
            object.__getattribute__(self, "checkedNodesChanged").emit()

    def check(self, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.CheckState.Checked)

    def uncheck(self, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.CheckState.Unchecked)

    def _refresh(self, *told: Any) -> None:
        super()._refresh(*told)
        gone = self.__dict__.get("_checked", set()) - {node.GetID() for node in self._nodes()}
        if gone:
            self._checked -= gone
            object.__getattribute__(self, "checkedNodesChanged").emit()


@qt.stand_in
class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """Chooses one colour table."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.showHidden = True
        self.nodeTypes = ["vtkMRMLColorNode"]
        self.addEnabled = False


@qt.stand_in
class qMRMLSliderWidget(ctk.ctkSliderWidget):
    """A slider that shows the unit of its quantity."""

    quantity = kept(str, "quantity", "")
    setQuantity = slot_of("quantity")
    unitAwareProperties = kept(int, "unitAwareProperties", 0)
    setUnitAwareProperties = slot_of("unitAwareProperties")

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


@qt.stand_in
class qMRMLSpinBox(ctk.ctkDoubleSpinBox):
    """A box of a number that shows the unit of its quantity."""

    quantity = kept(str, "quantity", "")
    setQuantity = slot_of("quantity")
    unitAwareProperties = kept(int, "unitAwareProperties", 0)
    setUnitAwareProperties = slot_of("unitAwareProperties")

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


@qt.stand_in
class qMRMLRangeWidget(ctk.ctkRangeWidget):
    """A range that shows the unit of its quantity."""

    quantity = kept(str, "quantity", "")
    setQuantity = slot_of("quantity")

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


@qt.stand_in
class qMRMLSubjectHierarchyComboBox(qt.PythonQtObject, QtWidgets.QWidget):
    """Chooses one item of the subject hierarchy by its number; it shows no tree."""

    currentItemChanged = Signal(object)
    _SIGNALS = {"currentItemChanged(vtkIdType)": "currentItemChanged"}
    defaultText = kept(str, "defaultText", "")

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def currentItem(self) -> int:
        return int(self.__dict__.get("_item", 0))

    def setCurrentItem(self, item: int) -> None:
        if item != self.currentItem():
            self._item = item
            object.__getattribute__(self, "currentItemChanged").emit(item)


@qt.stand_in
class qMRMLSubjectHierarchyTreeView(qt.PythonQtObject, QtWidgets.QTreeView):
    """The tree of the subject hierarchy; here it shows nothing."""

    currentItemChanged = Signal(object)
    _SIGNALS = {"currentItemChanged(vtkIdType)": "currentItemChanged"}

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")


class _OfSequenceBrowser(qMRMLWidget):
    """What the two widgets of a sequence browser share."""

    _DRAWN_WITH_OTHERS = True

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._browser: Any = None
        self._tag: Any = None

    def setMRMLSequenceBrowserNode(self, browser: Any) -> None:
        if self._browser is not None:
            self._browser.RemoveObserver(self._tag)
        self._browser = browser
        if browser is not None:
            self._tag = browser.AddObserver("ModifiedEvent", lambda *_: shiboken6.isValid(self) and self._show())
        self._show()

    def _show(self) -> None:
        self.setEnabled(self._browser is not None)

    def _go_to(self, item: int) -> None:
        if self._browser is not None and self._browser.GetNumberOfItems():
            self._browser.SetSelectedItemNumber(min(max(item, 0), self._browser.GetNumberOfItems() - 1))


@qt.stand_in
class qMRMLSequenceBrowserPlayWidget(_OfSequenceBrowser):
    """Play, pause and single steps. In the application a timer of the Sequences module moves the items."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        style = QtWidgets.QApplication.style()
        icons = QtWidgets.QStyle.StandardPixmap
        for icon, done in (
            (icons.SP_MediaSkipBackward, self.onVcrFirst),
            (icons.SP_MediaSeekBackward, self.onVcrPrevious),
            (icons.SP_MediaPlay, self.onVcrPlayPause),
            (icons.SP_MediaSeekForward, self.onVcrNext),
            (icons.SP_MediaSkipForward, self.onVcrLast),
        ):
            button = QtWidgets.QToolButton()
            button.setIcon(style.standardIcon(icon))
            button.clicked.connect(done)
            line.addWidget(button)
        line.addStretch()
        self._show()

    def setPlaybackEnabled(self, play: bool) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackActive(play)

    def setPlaybackRateFps(self, rate: float) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackRateFps(rate)

    def setPlaybackLoopEnabled(self, loop: bool) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackLooped(loop)

    def onVcrFirst(self) -> None:
        self._go_to(0)

    def onVcrPrevious(self) -> None:
        if self._browser is not None:
            self._browser.SelectNextItem(-1)

    def onVcrNext(self) -> None:
        if self._browser is not None:
            self._browser.SelectNextItem(1)

    def onVcrLast(self) -> None:
        if self._browser is not None:
            self._go_to(self._browser.GetNumberOfItems() - 1)

    def onVcrPlayPause(self) -> None:
        if self._browser is not None:
            self._browser.SetPlaybackActive(not self._browser.GetPlaybackActive())


@qt.stand_in
class qMRMLSequenceBrowserSeekWidget(_OfSequenceBrowser):
    """A slider over the items."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._slider = qt.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._text = QtWidgets.QLabel()
        line.addWidget(self._slider)
        line.addWidget(self._text)
        object.__getattribute__(self._slider, "valueChanged").connect(self.setSelectedItemNumber)
        self._show()

    def slider(self) -> Any:
        return self._slider

    def setSelectedItemNumber(self, item: int) -> None:
        self._go_to(item)

    def _show(self) -> None:
        super()._show()
        browser = self._browser
        count = browser.GetNumberOfItems() if browser is not None else 0
        self._slider.blockSignals(True)
        self._slider.setRange(0, max(0, count - 1))
        self._slider.setValue(browser.GetSelectedItemNumber() if count else 0)
        self._slider.blockSignals(False)
        self._text.setText(browser.GetFormattedIndexValue(browser.GetSelectedItemNumber()) if count else "")


@qt.stand_in
class qMRMLTableView(qt.PythonQtObject, QtWidgets.QTableView):
    """Shows a table node."""

    mrmlSceneChanged = Signal(object)
    selectionChanged = Signal()
    _SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    transposed = kept(bool, "transposed", False)
    setTransposed = slot_of("transposed")
    firstRowLocked = kept(bool, "firstRowLocked", False)
    setFirstRowLocked = slot_of("firstRowLocked")
    firstColumnLocked = kept(bool, "firstColumnLocked", False)
    setFirstColumnLocked = slot_of("firstColumnLocked")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._table: Any = None
        self._tag: Any = None
        self._items = QtGui.QStandardItemModel()
        self.setModel(self._items)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        object.__getattribute__(self, "mrmlSceneChanged").emit(scene)

    def mrmlTableNode(self) -> Any:
        return self._table

    def setMRMLTableNode(self, table: Any) -> None:
        if self._table is not None:
            self._table.RemoveObserver(self._tag)
        self._table = table
        if table is not None:
            self._tag = table.AddObserver("ModifiedEvent", lambda *_: shiboken6.isValid(self) and self._show())
        self._show()

    def _show(self) -> None:
        self._items.clear()
        if self._table is None or self._table.GetTable() is None:
            return
        columns, rows = self._table.GetNumberOfColumns(), self._table.GetNumberOfRows()
        self._items.setHorizontalHeaderLabels([self._table.GetColumnName(k) for k in range(columns)])
        for row in range(rows):
            for column in range(columns):
                self._items.setItem(row, column, QtGui.QStandardItem(self._table.GetCellText(row, column)))


@qt.stand_in
class qMRMLPlotView(qt.PythonQtObject, QtWidgets.QWidget):
    """Where the application draws a chart; here it draws nothing."""

    mrmlSceneChanged = Signal(object)
    _SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def setMRMLScene(self, scene: Any) -> None:
        object.__getattribute__(self, "mrmlSceneChanged").emit(scene)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view_node = node

    def fitToContent(self) -> None:
        pass


@qt.stand_in
class qMRMLPlotWidget(qMRMLWidget):
    """A plot view with its bar."""

    _DRAWN_WITH_OTHERS = True

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._view = qMRMLPlotView(self)
        object.__getattribute__(self, "mrmlSceneChanged").connect(self._view.setMRMLScene)

    def plotView(self) -> Any:
        return self._view

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view.setMRMLPlotViewNode(node)

    def mrmlPlotViewNode(self) -> Any:
        return self._view.__dict__.get("_view_node")


@qt.stand_in
class qSlicerMarkupsPlaceWidget(qSlicerWidget):
    """Switches the placing of points in the views on and off; a test places points in the node itself."""

    _DRAWN_WITH_OTHERS = True

    (
        ForcePlaceSingleMarkup,
        ForcePlaceMultipleMarkups,
        ShowPlaceMultipleMarkupsOption,
        HidePlaceMultipleMarkupsOption,
    ) = range(4)
    activeMarkupsPlaceModeChanged = Signal(bool)
    activeMarkupsFiducialPlaceModeChanged = Signal(bool)
    buttonsVisible = kept(bool, "buttonsVisible", True)
    setButtonsVisible = slot_of("buttonsVisible")
    deleteAllControlPointsOptionVisible = kept(bool, "deleteAllControlPointsOptionVisible", False)
    setDeleteAllControlPointsOptionVisible = slot_of("deleteAllControlPointsOptionVisible")
    unsetLastControlPointOptionVisible = kept(bool, "unsetLastControlPointOptionVisible", False)
    setUnsetLastControlPointOptionVisible = slot_of("unsetLastControlPointOptionVisible")
    unsetAllControlPointsOptionVisible = kept(bool, "unsetAllControlPointsOptionVisible", False)
    setUnsetAllControlPointsOptionVisible = slot_of("unsetAllControlPointsOptionVisible")
    placeMultipleMarkups = kept(int, "placeMultipleMarkups", 2)
    setPlaceMultipleMarkups = slot_of("placeMultipleMarkups")
    placeModePersistency = kept(bool, "placeModePersistency", False)
    setPlaceModePersistency = slot_of("placeModePersistency")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._placing = False
        line = QtWidgets.QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        self._place, self._delete = qt.QToolButton(), qt.QToolButton()
        self._place.setText("+")
        self._place.setCheckable(True)
        object.__getattribute__(self._place, "toggled").connect(self.setPlaceModeEnabled)
        self._delete.setText("\N{MULTIPLICATION SIGN}")
        object.__getattribute__(self._delete, "clicked").connect(self.deleteLastPoint)
        line.addWidget(self._place)
        line.addWidget(self._delete)

    def currentNode(self) -> Any:
        return self._node

    currentMarkupsNode = currentNode

    def setCurrentNode(self, node: Any) -> None:
        self._node = node
        if node is None:
            self.setPlaceModeEnabled(False)

    def _is_placing(self) -> bool:
        return self._placing

    def setPlaceModeEnabled(self, enabled: bool) -> None:
        enabled = bool(enabled) and self._node is not None
        self._place.setChecked(enabled)
        if enabled != self._placing:
            self._placing = enabled
            object.__getattribute__(self, "activeMarkupsPlaceModeChanged").emit(enabled)

    placeModeEnabled = Property(bool, _is_placing, setPlaceModeEnabled)

    def placeButton(self) -> Any:
        return self._place

    def deleteButton(self) -> Any:
        return self._delete

    def deleteLastPoint(self) -> None:
        if self._node is not None and self._node.GetNumberOfControlPoints():
            self._node.RemoveNthControlPoint(self._node.GetNumberOfControlPoints() - 1)

    def deleteAllPoints(self) -> None:
        if self._node is not None:
            self._node.RemoveAllControlPoints()


@qt.stand_in
class qSlicerSimpleMarkupsWidget(qSlicerWidget):
    """Chooses a list of points and places points in it."""

    _DRAWN_WITH_OTHERS = True

    markupsNodeChanged = Signal()
    markupsFiducialNodeChanged = Signal()
    activeMarkupsPlaceModeChanged = Signal(bool)
    updateFinished = Signal()
    enterPlaceModeOnNodeChange = kept(bool, "enterPlaceModeOnNodeChange", True)
    setEnterPlaceModeOnNodeChange = slot_of("enterPlaceModeOnNodeChange")
    jumpToSliceEnabled = kept(bool, "jumpToSliceEnabled", False)
    setJumpToSliceEnabled = slot_of("jumpToSliceEnabled")
    nodeSelectorVisible = kept(bool, "nodeSelectorVisible", True)
    setNodeSelectorVisible = slot_of("nodeSelectorVisible")
    optionsVisible = kept(bool, "optionsVisible", True)
    setOptionsVisible = slot_of("optionsVisible")
    positionStatusColumnVisible = kept(bool, "positionStatusColumnVisible", True)
    setPositionStatusColumnVisible = slot_of("positionStatusColumnVisible")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._selector = qMRMLNodeComboBox()
        self._selector.nodeTypes = ["vtkMRMLMarkupsFiducialNode"]
        self._selector.noneEnabled = True
        self._placer = qSlicerMarkupsPlaceWidget()
        self._table = qt.QTableWidget()
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self._selector, self._placer):
            column.addWidget(part)
        object.__getattribute__(self, "mrmlSceneChanged").connect(self._selector.setMRMLScene)
        object.__getattribute__(self._selector, "currentNodeChanged").connect(self._chosen)
        object.__getattribute__(self._placer, "activeMarkupsPlaceModeChanged").connect(
            object.__getattribute__(self, "activeMarkupsPlaceModeChanged").emit
        )

    def _chosen(self, node: Any) -> None:
        self._placer.setCurrentNode(node)
        object.__getattribute__(self, "markupsNodeChanged").emit()

    def currentNode(self) -> Any:
        return self._selector.currentNode()

    def setCurrentNode(self, node: Any) -> None:
        self._selector.setCurrentNode(node)

    def setNodeBaseName(self, name: str) -> None:
        self._selector.baseName = name

    def markupsPlaceWidget(self) -> Any:
        return self._placer

    def markupsSelectorComboBox(self) -> Any:
        return self._selector

    def tableWidget(self) -> Any:
        return self._table


def publish() -> None:
    """Put the stand-ins into the namespace slicer, where the application has the real ones."""
    for name, widget in qt.WIDGETS.items():
        if name.startswith(("qMRML", "qSlicer")):
            setattr(slicer, name, widget)

"""The host behaves as the application does where a panel relies on it."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest

slicer = pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Small</class>
<widget class="qMRMLWidget" name="Small"><layout class="QVBoxLayout" name="column">
<item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Section</string></property>
<layout class="QFormLayout" name="form">
<item row="0" column="1"><widget class="qMRMLNodeComboBox" name="model">
<property name="nodeTypes"><stringlist><string>vtkMRMLModelNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>model</string></property></widget></item>
<item row="1" column="1"><widget class="ctkSliderWidget" name="level">
<property name="SlicerParameterName" stdset="0"><string>level</string></property></widget></item>
<item row="2" column="1"><widget class="QComboBox" name="shade">
<property name="SlicerParameterName" stdset="0"><string>shade</string></property></widget></item>
<item row="3" column="1"><widget class="QCheckBox" name="on">
<property name="SlicerParameterName" stdset="0"><string>on</string></property></widget></item>
<item row="4" column="1"><widget class="ctkPathLineEdit" name="folder">
<property name="SlicerParameterName" stdset="0"><string>folder</string></property></widget></item>
<item row="5" column="1"><widget class="QSpinBox" name="count">
<property name="SlicerParameterName" stdset="0"><string>count</string></property></widget></item>
<item row="6" column="1"><widget class="QLineEdit" name="label">
<property name="SlicerParameterName" stdset="0"><string>label</string></property></widget></item>
<item row="7" column="1"><widget class="QPushButton" name="apply"/></item>
</layout></widget></item></layout></widget>
<connections><connection><sender>Small</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>model</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""


class Shade(Enum):
    light = "light"
    dark = "dark"


@pytest.fixture
def panel(slicer_host, scene, tmp_path):
    path = tmp_path / "Small ä.ui"
    path.write_text(UI, encoding="utf-8")
    widget = slicer.util.loadUI(str(path))
    widget.setMRMLScene(scene)
    return widget


@pytest.fixture
def ui(panel):
    return slicer.util.childWidgetVariables(panel)


@pytest.fixture
def parameters(slicer_host, scene):
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        model: slicer.vtkMRMLModelNode
        level: Annotated[float, WithinRange(0, 10)] = 3.5
        shade: Shade = Shade.dark
        on: bool = True
        folder: Path
        count: Annotated[int, WithinRange(0, 7)] = 2
        label: str = "vessel"

    return Parameters(scene.AddNode(slicer.vtkMRMLScriptedModuleNode()))


def test_widgets_show_the_parameters(parameters, ui):
    parameters.connectGui(ui)
    assert ui.level.value == 3.5 and ui.level.maximum == 10
    assert ui.shade.currentText == "dark" and ui.on.checked and ui.count.value == 2 and ui.label.text == "vessel"
    parameters.level = 7.25
    parameters.shade = Shade.light
    parameters.on = False
    parameters.folder = Path("a") / "b"
    assert (ui.level.value, ui.shade.currentText, ui.on.checked) == (7.25, "light", False)
    assert Path(ui.folder.currentPath) == Path("a") / "b"


def test_parameters_follow_the_widgets(parameters, ui, scene):
    parameters.connectGui(ui)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    ui.model.setCurrentNode(model)
    ui.level.value = 4
    ui.shade.currentIndex = 0
    ui.on.click()
    ui.folder.currentPath = "here"
    ui.count.value = 5
    ui.label.text = "aorta"
    assert parameters.model is model and parameters.level == 4 and parameters.shade is Shade.light
    assert not parameters.on and parameters.folder == Path("here")
    assert parameters.count == 5 and parameters.label == "aorta"


def test_widgets_that_are_disconnected_are_left_alone(parameters, ui):
    link = parameters.connectGui(ui)
    parameters.disconnectGui(link)
    parameters.level = 9
    ui.count.value = 6
    assert ui.level.value == 3.5 and parameters.count == 2


def test_values_outside_their_range_are_refused(parameters):
    with pytest.raises(ValueError):
        parameters.level = 11
    with pytest.raises(TypeError):
        parameters.level = "much"
    with pytest.raises(TypeError):
        parameters.folder = "text"
    assert parameters.level == 3.5


def test_parameters_are_saved_with_the_scene(parameters, scene, tmp_path):
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "lumen")
    parameters.model, parameters.shade, parameters.level = model, Shade.light, 1.5
    written = tmp_path / "scene.mrml"
    assert scene.Commit(str(written))
    kind = type(parameters)
    scene.Clear(0)
    scene.SetURL(str(written))
    scene.Import()
    found = kind(slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode", scene)[0])
    assert found.shade is Shade.light and found.level == 1.5 and found.model.GetName() == "lumen"


def test_a_node_selector_follows_the_scene(ui, scene):
    assert ui.model.currentNode() is None
    told = []
    ui.model.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    assert ui.model.nodeCount() == 1
    ui.model.setCurrentNode(model)
    assert told == [model]
    scene.RemoveNode(model)
    assert ui.model.currentNode() is None and told == [model, None]
    ui.model.noneEnabled = False
    scene.AddNewNodeByClass("vtkMRMLModelNode", "first")
    assert ui.model.currentNode() is None and ui.model.nodeTypes == ("vtkMRMLModelNode",)


def test_misspelt_names_are_found(ui):
    with pytest.raises(AttributeError):
        ui.apply.enabledd = False
    with pytest.raises(AttributeError):
        _ = ui.apply.textt
    with pytest.raises(ValueError, match="klicked"):
        ui.apply.connect("klicked(bool)", print)
    with pytest.raises(TypeError):
        ui.label.text()


def test_properties_and_signals_are_python_s(ui):
    import qt

    told = []
    ui.apply.connect("clicked(bool)", lambda checked: told.append("signature"))
    ui.apply.clicked.connect(lambda: told.append("signal"))
    ui.apply.click()
    assert told == ["signature", "signal"]
    ui.apply.enabled = False
    assert not ui.apply.isEnabled() and ui.apply.name == "apply" and ui.apply.className() == "QPushButton"
    label = qt.QLabel("text")
    label.alignment = qt.Qt.AlignRight
    assert label.text == "text" and label.alignment & qt.Qt.AlignRight


def test_children_are_found_by_their_kind(panel, ui):
    import ctk
    import qt

    assert {widget.name for widget in panel.findChildren(qt.QPushButton)} == {"apply"}
    assert {"level", "apply", "model"} <= {widget.objectName for widget in panel.findChildren(qt.QWidget)}
    assert panel.findChild(ctk.ctkSliderWidget, "level") is ui.level
    assert isinstance(ui.apply, qt.QWidget) and not isinstance(ui.apply, qt.QLabel)


def test_sections_fold(panel, ui):
    panel.show()
    ui.section.collapsed = True
    assert not ui.level.isVisible()
    ui.section.collapsed = False
    assert ui.level.isVisible()
    panel.hide()


def test_errors_in_slots_do_not_stay_hidden(slicer_host, ui, capsys):
    def fail():
        raise RuntimeError("in a slot")

    ui.apply.clicked.connect(fail)
    ui.apply.click()
    assert [str(error) for error in slicer_host.ERRORS] == ["in a slot"]
    slicer_host.ERRORS.clear()


def test_names_that_the_application_has_not_are_refused(slicer_host):
    with pytest.raises(AttributeError):
        slicer.app.procesEvents()
    slicer.app.pauseRender()
    assert slicer.app.asked == [("pauseRender", ())]


def test_a_process_is_launched_without_waiting(slicer_host):
    import sys

    lines, ended = [], []
    slicer.util.launchConsoleProcess(
        [sys.executable, "-c", "print('hello')"],
        blocking=False,
        logCallback=lines.append,
        completedCallback=ended.append,
    )
    assert slicer_host.wait_until(lambda: bool(ended))
    assert lines == ["hello"] and ended == [0]


def test_a_picture_shows_the_panel(slicer_host, panel, tmp_path):
    path = tmp_path / "panel.png"
    slicer_host.picture_of(panel, path)
    assert path.read_bytes().startswith(b"\x89PNG")

"""The .ui files of the panel: known classes and properties, the scene told on, parameters that exist, tooltips."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")

import api_guard  # noqa: E402

FORMS = sorted((api_guard.MODULE / "Resources" / "UI").glob("*.ui"))
PARAMETERS = api_guard.MODULE / "VesselFlowGSPanel" / "parameters.py"
WITHOUT_TOOLTIP = set("QWidget QLabel QFrame Line QGroupBox QScrollArea QStackedWidget QTabWidget qMRMLWidget".split())
OF_EVERY_ITEM = {"leftMargin", "topMargin", "rightMargin", "bottomMargin", "margin", "title", "icon"}


def fields_of_parameters() -> set[str]:
    classes = [
        node for node in ast.parse(PARAMETERS.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)
    ]
    described = next(node for node in classes if node.name == "VesselFlowGSParameterNode")
    return {node.target.id for node in described.body if isinstance(node, ast.AnnAssign)}


def property_of(widget: ElementTree.Element, name: str) -> str:
    found = widget.find(f"property[@name='{name}']/string")
    return (found.text or "").strip() if found is not None else ""


def problems_of(path: Path, fields: set[str]) -> list[str]:
    """Everything that is wrong with one .ui file, as a person would say it."""
    tree = ElementTree.parse(path)
    root = tree.getroot().find("widget")
    assert root is not None
    widgets = list(tree.iter("widget"))
    names = [widget.get("name", "") for widget in widgets]
    found = [f"two widgets have the name {name}" for name in sorted(set(names)) if names.count(name) > 1]
    if root.get("class") != "qMRMLWidget":
        found.append("the outermost widget is no qMRMLWidget")
    if len(root.findall("layout/item/widget[@class='ctkCollapsibleButton']")) != 1:
        found.append("it does not hold one ctkCollapsibleButton")
    told = {
        (connection.findtext("sender"), connection.findtext("receiver"))
        for connection in tree.iter("connection")
        if connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    for connection in tree.iter("connection"):
        ends = {connection.findtext("sender", ""), connection.findtext("receiver", "")}
        found += [f"a connection names {end}, which is not there" for end in sorted(ends - set(names))]
    for widget in widgets:
        name, kind = widget.get("name", ""), widget.get("class", "")
        if kind != "Line" and not api_guard.is_widget(kind):
            found.append(f"{name}: no class {kind} in Qt, CTK or Slicer")
            continue
        known = api_guard.names_of("QFrame" if kind == "Line" else kind)
        takes_scene = kind.startswith(("qMRML", "qSlicer")) and "setMRMLScene" in known
        if widget is not root and takes_scene and (root.get("name"), name) not in told:
            found.append(f"{name}: is not told the scene")
        if kind not in WITHOUT_TOOLTIP and not property_of(widget, "toolTip"):
            found.append(f"{name}: has no tooltip")
        parameter = property_of(widget, "SlicerParameterName")
        if parameter and parameter not in fields:
            found.append(f"{name}: no parameter {parameter}")
        for described in widget.findall("property"):
            if described.get("stdset") != "0" and described.get("name") not in known:
                found.append(f"{name}: {kind} has no property {described.get('name')}")
    return found


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_the_form_is_sound(path):
    assert problems_of(path, fields_of_parameters()) == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_widgets_can_show_the_parameters_that_they_name(path, slicer_host, scene):
    import qt
    import slicer

    from VesselFlowGSPanel.parameters import VesselFlowGSParameterNode

    qt.UNKNOWN_CLASSES.clear()
    widget = slicer.util.loadUI(str(path))
    widget.setMRMLScene(scene)
    ui = slicer.util.childWidgetVariables(widget)
    parameters = VesselFlowGSParameterNode(scene.AddNode(slicer.vtkMRMLScriptedModuleNode()))
    parameters.disconnectGui(parameters.connectGui(ui))
    assert qt.UNKNOWN_CLASSES == set()


FORM = """<ui version="4.0"><widget class="qMRMLWidget" name="Root"><layout class="QVBoxLayout" name="l"><item>
<widget class="ctkCollapsibleButton" name="section"><property name="toolTip"><string>It folds.</string></property>
<widget class="qMRMLNodeComboBox" name="volume"><property name="toolTip"><string>The volume.</string></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget>
</widget></item></layout></widget><connections><connection><sender>Root</sender>
<signal>mrmlSceneChanged(vtkMRMLScene*)</signal><receiver>volume</receiver>
<slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("<string>The volume.</string>", "<string/>", "has no tooltip"),
        ("<receiver>volume</receiver>", "<receiver>volum</receiver>", "not there"),
        ("mrmlSceneChanged(", "mrmlSceneChange(", "is not told the scene"),
        ("<string>volume</string>", "<string>volum</string>", "no parameter volum"),
        ("qMRMLNodeComboBox", "qMRMLNodeCombobox", "no class qMRMLNodeCombobox"),
        ("noneEnabled", "noneEnable", "has no property noneEnable"),
        ('name="section"', 'name="volume"', "two widgets"),
        ('class="qMRMLWidget"', 'class="QWidget"', "no qMRMLWidget"),
    ],
)
def test_seeded_mistakes_are_found(tmp_path, right, wrong, said):
    path = tmp_path / "Small.ui"
    path.write_text(FORM)
    assert problems_of(path, {"volume"}) == []
    assert right in FORM
    path.write_text(FORM.replace(right, wrong))
    assert any(said in problem for problem in problems_of(path, {"volume"}))

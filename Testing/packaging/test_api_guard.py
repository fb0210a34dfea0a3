"""The names of Slicer, Qt and CTK that the module uses are there in the application."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")

import api_guard  # noqa: E402

# What Slicer 5.10 lacks, and what is done there instead.
TOLERATED_IN_5_10 = {
    "slicer.packaging": "slicer.util.pip_install takes its place",
    "slicer.util.executePythonModule": "launchConsoleProcess takes its place",
}

FORM = """<ui version="4.0"><widget class="qMRMLWidget" name="Small">
<widget class="QPushButton" name="apply"/><widget class="ctkSliderWidget" name="level"/></widget></ui>"""

GOOD = """
import ctk, qt, slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

class SmallSection:
    NAME = "Small"
    def connect(self):
        ui = self.ui
        ui.apply.clicked.connect(print)
        self.ui.apply.connect("clicked(bool)", print)
        self.ui.level.value = ui.level.maximum
        self.ui.apply.enabled = slicer.app.layoutManager() is not None
        slicer.util.errorDisplay(slicer.mrmlScene.GetNumberOfNodes())
        slicer.modules.sequences.logic()
        item = qt.QTableWidgetItem("text")
        item.setFlags(qt.Qt.ItemIsEditable | qt.Qt.ItemIsEnabled)
        return ctk.ctkPathLineEdit.Dirs, slicer.vtkMRMLModelNode, slicer.qMRMLNodeComboBox
"""

TYPOS = {
    "slicer.util.errorDisplay(": "slicer.util.errorDisplayy(",
    "slicer.app.layoutManager()": "slicer.app.layoutManagr()",
    "qt.QTableWidgetItem(": "qt.QTabelWidgetItem(",
    "qt.Qt.ItemIsEditable": "qt.Qt.ItemIsEditabel",
    "qt.Qt.ItemIsEnabled": "qt.Qt.ItemFlag.ItemIsEnabled",
    "ctk.ctkPathLineEdit.Dirs": "ctk.ctkPathLineEditt",
    "ctkPathLineEdit.Dirs": "ctkPathLineEdit.Dirss",
    "slicer.vtkMRMLModelNode": "slicer.vtkMRMLModelNod",
    "slicer.qMRMLNodeComboBox": "slicer.qMRMLNodeCombobox",
    "slicer.modules.sequences": "slicer.modules.sequence",
    "slicer.mrmlScene.GetNumberOfNodes": "slicer.mrmlScene.GetNumberOfNode",
    "WithinRange,": "WithinRang,",
    "self.ui.apply.enabled": "self.ui.apply.enabledd",
    "self.ui.level.value": "self.ui.level.vale",
    "ui.level.maximum": "ui.level.setMaximum",
    "ui.apply.clicked": "ui.aply.clicked",
    '"clicked(bool)"': '"klicked(bool)"',
    "import tr as": "import ttr as",
    "item.setFlags(": "qt.QProcess(",
}


@pytest.fixture
def problems(tmp_path):
    def of(text: str) -> list[str]:
        (tmp_path / "Small.ui").write_text(FORM)
        path = tmp_path / "small.py"
        path.write_text(text)
        return [use.problem for use in api_guard.uses_in(path, tmp_path) if use.problem]

    return of


def test_good_code_passes(problems):
    assert problems(GOOD) == []


@pytest.mark.parametrize("right", TYPOS)
def test_seeded_typos_are_found(problems, right):
    assert right in GOOD
    assert len(problems(GOOD.replace(right, TYPOS[right], 1))) == 1


def test_the_module_uses_names_that_are_there():
    wrong = [(path.name, use.line, use.problem) for path, use in api_guard.all_uses() if use.problem]
    assert wrong == []


def test_what_the_version_before_lacks_has_something_in_its_place():
    lacking = {use.name for _, use in api_guard.all_uses() if api_guard.absent_in("5.10", use.name)}
    handled = {name for name in lacking for known in TOLERATED_IN_5_10 if (name + ".").startswith(known + ".")}
    assert lacking == handled


def test_older_versions_are_told_apart():
    assert api_guard.absent_in("5.10", "slicer.packaging.pip_check")
    assert not api_guard.absent_in("5.10", "slicer.util.launchConsoleProcess")


def test_stand_ins_have_no_name_that_the_real_widgets_have_not():
    import ctk
    import mrml_widgets
    import qt

    for name, widget in qt.WIDGETS.items():
        if not name.startswith("Q"):
            kinds = [kind for kind in widget.__mro__ if kind.__module__ in (ctk.__name__, mrml_widgets.__name__)]
            own = {key for kind in kinds for key in vars(kind) if getattr(widget, key, None) is not None}
            own = {key for key in own if not key.startswith("_")} - {"staticMetaObject"}
            assert name in api_guard.NAMES["classes"]
            assert own <= api_guard.names_of(name) | set(dir(qt.QWidget)), name


def test_the_list_says_where_it_is_from():
    for version in api_guard.NAMES["sources"].values():
        assert all(len(commit) == 40 for commit in version.values())
    assert Path(api_guard.ROOT / "Testing/packaging/list_api_names.py").is_file()

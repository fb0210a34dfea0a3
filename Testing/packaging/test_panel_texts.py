"""What a person reads in the panel can be translated: texts go through _(), and whole."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PANEL = [*sorted((ROOT / "VesselFlowGS" / "VesselFlowGSPanel").glob("*.py")), ROOT / "VesselFlowGS" / "VesselFlowGS.py"]

SHOWN_PROPERTIES = {"text", "toolTip", "title", "windowTitle", "placeholderText", "statusTip", "helpText"}
SHOWN_BY = {
    "setText",
    "setToolTip",
    "setWindowTitle",
    "setPlaceholderText",
    "setTitle",
    "addItem",
    "addItems",
    "addTab",
    "addRow",
    "addAction",
    "setHorizontalHeaderLabels",
    "setVerticalHeaderLabels",
    "appendPlainText",
    "showStatusMessage",
    "report",
    "errorDisplay",
    "warningDisplay",
    "infoDisplay",
    "confirmOkCancelDisplay",
    "confirmYesNoDisplay",
    "messageBox",
    "tryWithErrorDisplay",
    "QLabel",
    "QPushButton",
    "QToolButton",
    "QCheckBox",
    "QRadioButton",
    "QGroupBox",
    "QAction",
    "QTableWidgetItem",
}


def is_translated(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "translate")


def words_in(node: ast.AST) -> Iterator[ast.AST]:
    """Literals with words in an expression whose value is shown, less those that are translated."""
    if is_translated(node):
        return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and re.search(r"[A-Za-z]{3}", node.value):
            yield node
    elif isinstance(node, ast.JoinedStr):
        if any(list(words_in(part)) for part in node.values if isinstance(part, ast.Constant)):
            yield node
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from words_in(part.value)
    elif isinstance(node, ast.Call):
        # "…".format(…) and ", ".join(…): what they are made of; other calls answer for themselves
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join"):
            for part in (node.func.value, *node.args, *(k.value for k in node.keywords)):
                yield from words_in(part)
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.IfExp, ast.List, ast.Tuple)):
        parts = {
            ast.BinOp: lambda n: (n.left, n.right),
            ast.BoolOp: lambda n: n.values,
            ast.IfExp: lambda n: (n.body, n.orelse),
            ast.List: lambda n: n.elts,
            ast.Tuple: lambda n: n.elts,
        }[type(node)](node)
        for part in parts:
            yield from words_in(part)


def untranslated(text: str) -> list[str]:
    """Lines with a text that is shown and not translated, or translated in pieces."""
    found = []
    for node in ast.walk(ast.parse(text)):
        shown: list[ast.AST] = []
        if isinstance(node, ast.Assign):
            if any(isinstance(t, ast.Attribute) and t.attr in SHOWN_PROPERTIES for t in node.targets):
                shown = [node.value]
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in SHOWN_BY:
                shown = [*node.args, *(k.value for k in node.keywords if k.arg in ("windowTitle", "detailedText"))]
            elif is_translated(node):
                whole = all(isinstance(a, ast.Constant) and isinstance(a.value, str) for a in node.args)
                if not whole:
                    found.append(f"{node.lineno}: _() takes one whole text, and format comes after it")
        found += [f"{node.lineno}: {ast.unparse(word)}" for value in shown for word in words_in(value)]
    return found


@pytest.mark.parametrize("path", PANEL, ids=lambda path: path.stem)
def test_texts_can_be_translated(path):
    assert untranslated(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        'label.text = "Ready"',
        'self.ui.apply.toolTip = f"Start {name} again"',
        'self.panel.report("No volume: " + name)',
        'slicer.util.errorDisplay("Failed: {}".format(error))',
        '_(f"Stage {stage}")',
        '_("Stage {}".format(stage))',
        'qt.QLabel("Speed") if wide else None',
        'table.setHorizontalHeaderLabels(["Name", _("Frames")])',
    ],
)
def test_seeded_mistakes_are_found(line):
    assert len(untranslated(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        'label.text = _("Ready")',
        'label.text = _("Stage {stage}").format(stage=stage)',
        'label.text = f"{value:.1f} mm"',
        "self.panel.report(str(error))",
        'label.text = _("On") if on else ""',
        'node.SetName("lumen")',
    ],
)
def test_good_lines_pass(line):
    assert untranslated(line) == []

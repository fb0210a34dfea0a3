"""Checks the names that Python code and .ui files use of Slicer, Qt and CTK against Testing/Host/api-names.json.

    python Testing/packaging/api_guard.py          # all of VesselFlowGS/, with what Slicer 5.10 lacks

It does not see attributes of local variables (real MRML and the test host raise there), nor a property that is called
(the host raises).
"""

from __future__ import annotations

import ast
import enum
import functools
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "VesselFlowGS"
NAMES: dict[str, Any] = json.loads((ROOT / "Testing" / "Host" / "api-names.json").read_text(encoding="utf-8"))

ON_EVERY_OBJECT = {"name", "className", "connect", "disconnect", "delete", "help"}
OF_SLICER = {"app", "modules", "moduleNames", "mrmlScene", "dicomDatabase", "selfTests", "util", "cli", "logic"}
NOT_IN_BOTH_QT = {"QRegExp", "QTextCodec", "QProcess", "QDesktopWidget", "Signal", "Slot", "Property"}


@dataclass(frozen=True)
class Use:
    """One use of a name that is not the project's own. problem: what is wrong with it, or empty."""

    line: int
    name: str
    problem: str


def qt_class(name: str) -> Any | None:
    from PySide6 import QtCore, QtGui, QtWidgets

    return next((getattr(m, name) for m in (QtWidgets, QtGui, QtCore) if hasattr(m, name)), None)


@functools.cache
def names_of(class_name: str) -> frozenset[str]:
    """What an object of a class of Qt, CTK or Slicer answers to in the application."""
    if class_name in NAMES["classes"]:
        described = NAMES["classes"][class_name]
        return frozenset(described["names"]).union(*map(names_of, described["bases"]))
    found = qt_class(class_name)
    if found is None:
        return frozenset()
    described = getattr(found, "staticMetaObject", None)
    properties = [described.property(k).name() for k in range(described.propertyCount())] if described else []
    enums = (getattr(found, name) for name in dir(found))
    enums = (kind for kind in enums if isinstance(kind, enum.EnumMeta))
    return frozenset(dir(found)).union(properties, *(kind.__members__ for kind in enums))


def is_widget(class_name: str) -> bool:
    return class_name in NAMES["classes"] or qt_class(class_name) is not None


def problem_of(chain: list[str]) -> str:
    """What is wrong with slicer.a.b, qt.a.b or ctk.a.b; empty where nothing is."""
    check = {"slicer": _of_slicer, "qt": _of_qt, "ctk": _of_ctk}[chain[0]]
    return check(chain[1:])


def _of_slicer(chain: list[str]) -> str:
    first, *rest = chain
    inside = NAMES["python"].get(f"slicer.{first}")
    if inside is not None:
        return f"slicer.{first} has no {rest[0]}" if rest and rest[0] not in inside else ""
    if first in NAMES["classes"]:
        return _member(first, rest)
    if first in NAMES["vtk"]:
        return _of_mrml(first, rest)
    if first not in OF_SLICER:
        return f"slicer has no {first}"
    if not rest:
        return ""
    if first == "app":
        known = names_of("qSlicerApplication") | names_of("QApplication") | ON_EVERY_OBJECT
        return "" if rest[0] in known else f"slicer.app has no {rest[0]}"
    if first == "modules":
        own = rest[0].lower().startswith("vesselflowgs")
        return "" if own or rest[0] in NAMES["modules"] else f"slicer.modules has no {rest[0]}"
    if first == "mrmlScene":
        return _of_mrml("vtkMRMLScene", rest)
    if first == "dicomDatabase":
        return _member("ctkDICOMDatabase", rest)
    return ""


def _of_mrml(class_name: str, rest: list[str]) -> str:
    import slicer

    kind = getattr(slicer, class_name, None)
    return f"{class_name} has no {rest[0]}" if kind is not None and rest and not hasattr(kind, rest[0]) else ""


def _of_qt(chain: list[str]) -> str:
    first, *rest = chain
    if first in NOT_IN_BOTH_QT:
        return f"qt.{first} is not there, or fails, in one of Slicer's versions of Qt"
    kind = qt_class(first)
    if kind is None:
        return f"qt has no {first}"
    if rest and rest[0] not in names_of(first) | ON_EVERY_OBJECT:
        return f"qt.{first} has no {rest[0]}"
    if len(rest) > 1 and isinstance(getattr(kind, rest[0], None), type):
        return f"PythonQt has no scoped enumerators: write qt.{first}.{rest[1]}"
    return ""


def _of_ctk(chain: list[str]) -> str:
    first, *rest = chain
    return _member(first, rest) if first in NAMES["classes"] else f"ctk has no {first}"


def _member(class_name: str, rest: list[str]) -> str:
    known = names_of(class_name) | ON_EVERY_OBJECT
    return f"{class_name} has no {rest[0]}" if rest and rest[0] not in known else ""


def uses_in(path: Path, forms: Path) -> Iterator[Use]:
    """All uses in a Python file. forms: the folder of the .ui files, for classes that name theirs by NAME."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from _imports(tree)
    for line, chain in _chains(tree):
        if chain[0] in ("slicer", "qt", "ctk") and len(chain) > 1:
            yield Use(line, ".".join(chain), problem_of(chain))
    for described in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        form = forms / f"{_name_of_form(described)}.ui"
        if form.is_file():
            yield from _uses_of_form(described, form)


def _imports(tree: ast.AST) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("slicer", "qt", "ctk"):
            for alias in node.names:
                if alias.name != "*":
                    chain = [*(node.module or "").split("."), alias.name]
                    yield Use(node.lineno, ".".join(chain), problem_of(chain))


def _chains(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """The dotted names of a tree, each at its full length: (line, parts)."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            parts, value = [node.attr], node.value
            while isinstance(value, ast.Attribute):
                parts.insert(0, value.attr)
                value = value.value
            if isinstance(value, ast.Name):
                yield node.lineno, [value.id, *parts]


def _name_of_form(described: ast.ClassDef) -> str:
    for node in described.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "NAME" for t in node.targets):
            return str(ast.literal_eval(node.value))
    return ""


def _uses_of_form(described: ast.ClassDef, form: Path) -> Iterator[Use]:
    widgets = {w.get("name", ""): w.get("class", "") for w in ElementTree.parse(form).iter("widget")}
    aliases = {
        target.id
        for node in ast.walk(described)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "self.ui"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for line, chain in _chains(described):
        at = 1 if chain[0] in aliases else 2 if chain[:2] == ["self", "ui"] else 0
        if not at or len(chain) <= at:
            continue
        name, rest = chain[at], chain[at + 1 :]
        if name not in widgets:
            yield Use(line, ".".join(chain), f"{form.name} has no widget {name}")
        else:
            yield Use(line, ".".join(chain), _member(widgets[name], rest))
    for node in ast.walk(described):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect":
            found = re.fullmatch(r"(?:self\.)?\w+\.(\w+)\.connect", ast.unparse(node.func))
            signal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if found and found[1] in widgets and isinstance(signal, str):
                yield Use(node.lineno, ast.unparse(node.func), _member(widgets[found[1]], [signal.split("(")[0]]))


def all_uses() -> Iterator[tuple[Path, Use]]:
    for path in sorted(MODULE.rglob("*.py")):
        for use in uses_in(path, MODULE / "Resources" / "UI"):
            yield path, use


def absent_in(version: str, name: str) -> bool:
    """Whether an older version lacks a name of slicer or ctk, or the module or class that it belongs to."""
    absent = set(NAMES["absent"].get(version, ()))
    parts = name.split(".")
    tails = {".".join(parts[:k]) for k in range(1, len(parts) + 1)}
    if parts[0] in ("slicer", "ctk"):
        tails |= {".".join(parts[1:k]) for k in range(2, len(parts) + 1)}
    return bool(tails & absent)


def main() -> int:
    uses = list(all_uses())
    for path, use in uses:
        if use.problem:
            print(f"{path.relative_to(ROOT)}:{use.line}: {use.name}: {use.problem}")
    for version in NAMES["absent"]:
        lacking = sorted({use.name for _, use in uses if absent_in(version, use.name)})
        print(f"Slicer {version} lacks of what is used: {', '.join(lacking) or 'nothing'}")
    print(f"{len(uses)} uses, {sum(bool(use.problem) for _, use in uses)} unknown")
    return int(any(use.problem for _, use in uses))


if __name__ == "__main__":
    raise SystemExit(main())

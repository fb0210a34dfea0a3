"""Writes Testing/Host/api-names.json: the names that a panel may use, taken from the sources of Slicer and CTK.

    git -C SLICER archive 5.12 Base Libs Modules | tar x -C new/slicer      # and the CTK that it is built with
    python Testing/packaging/list_api_names.py 5.12:COMMIT:new/slicer:CTK_COMMIT:new/ctk \
                                               5.10:COMMIT:old/slicer:CTK_COMMIT:old/ctk

The first version is the one that the names are of; every further, older one tells which of them it lacks. Names alone
are kept: classes with their bases, and what PythonQt shows of them (properties, slots, signals, invokable methods,
enumerators), no text of the sources.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITTEN = Path(__file__).parents[1] / "Host" / "api-names.json"
CLASS = re.compile(r"class\s+(?:\w+_EXPORT\s+)?((?:qMRML|qSlicer|ctk)\w+)\s*(?:final\s*)?(?::\s*([^{;]+))?\{")
VTK_CLASS = re.compile(r"class\s+\w*_EXPORT\s+(vtk\w+)\s*(?:final\s*)?(?::[^{;]+)?\{")
PROPERTY = re.compile(r"Q_PROPERTY\(\s*[\w:<>*\s,&]+?[\s*&]+(\w+)\s+READ")
SECTION = re.compile(r"((?:public|protected|private)\s*(?:slots|Q_SLOTS)?\s*:(?!:)|signals\s*:|Q_SIGNALS\s*:)")
METHOD = re.compile(r"[\s*&](\w+)\s*\([^;{}]*\)\s*(?:const)?\s*(?:override)?\s*(?:;|\{|=)")
INVOKABLE = re.compile(r"Q_INVOKABLE[^;{(]*?(\w+)\s*\(")
ENUM = re.compile(r"enum\s*(?:class\s*)?\w*\s*(?::\s*\w+\s*)?\{([^}]*)\}")


@dataclass
class Names:
    """The names of one version.

    classes  class of Qt's side: its bases and its own names
    vtk      classes of MRML and of the modules' logics
    python   module below slicer: its public names
    modules  as slicer.modules has them
    """

    classes: dict[str, tuple[list[str], set[str]]] = field(default_factory=dict)
    vtk: set[str] = field(default_factory=set)
    python: dict[str, set[str]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", text), flags=re.DOTALL)


def body_from(text: str, start: int) -> str:
    depth, end = 1, start
    while depth and end < len(text):
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
    return text[start:end]


def names_in(body: str) -> set[str]:
    """What PythonQt shows of a class."""
    names = set(PROPERTY.findall(body))
    section = "private:"
    for part in SECTION.split(body):
        if SECTION.fullmatch(part):
            section = part
        elif section.startswith(("public", "signals", "Q_SIGNALS")):
            callable_at_once = "lots" in section or "SLOTS" in section or "ignals" in section or "SIGNALS" in section
            names |= set((METHOD if callable_at_once else INVOKABLE).findall(part))
            for enumerators in ENUM.findall(part):
                names |= set(re.findall(r"(?:^|,)\s*(\w+)", enumerators))
    return names


def read_headers(folders: list[Path], names: Names) -> None:
    for folder in folders:
        for path in sorted(folder.rglob("*.h")):
            parts = set(path.relative_to(folder).parts)
            if parts & {"Testing", "Plugins"} or parts >= {"DICOM", "Widgets"}:
                continue
            text = without_comments(path.read_text(encoding="utf-8", errors="replace"))
            for found in CLASS.finditer(text):
                name, bases = found[1], re.findall(r"public\s+(?:virtual\s+)?([\w:]+)", found[2] or "")
                own = names_in(body_from(text, found.end()))
                if name not in names.classes or len(own) > len(names.classes[name][1]):
                    names.classes[name] = (bases, own)
            names.vtk |= set(VTK_CLASS.findall(text))


def public_names_of(path: Path) -> set[str]:
    """What a Python module defines or imports at its top, and what it says it exports."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for inner in ast.walk(node) if isinstance(node, (ast.If, ast.Try)) else [node]:
            if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                found.add(inner.name)
            elif isinstance(inner, ast.Assign):
                found |= {target.id for target in inner.targets if isinstance(target, ast.Name)}
            elif isinstance(inner, (ast.Import, ast.ImportFrom)):
                found |= {(alias.asname or alias.name).split(".")[0] for alias in inner.names}
    return {name for name in found if not name.startswith("_")}


def read_python(base: Path, names: Names) -> None:
    for path in base.glob("*.py"):
        if path.stem != "__init__":
            names.python[f"slicer.{path.stem}"] = public_names_of(path)
    for package in base.iterdir():
        if (package / "__init__.py").is_file() and package.name != "tests":
            inside = set().union(*(public_names_of(path) for path in package.glob("*.py")))
            names.python[f"slicer.{package.name}"] = inside


def read_version(slicer: Path, ctk: Path) -> Names:
    names = Names()
    read_headers([slicer / "Base", slicer / "Libs", slicer / "Modules", ctk / "Libs"], names)
    read_python(slicer / "Base" / "Python" / "slicer", names)
    for kind in ("Loadable", "Scripted", "CLI"):
        folder = slicer / "Modules" / kind
        if folder.is_dir():
            names.modules |= {path.name.lower() for path in folder.iterdir() if path.is_dir()}
    return names


def flat(names: Names) -> Iterator[str]:
    """Every name with its place, to compare versions."""
    for name, (_, own) in names.classes.items():
        yield name
        yield from (f"{name}.{inner}" for inner in own)
    yield from names.vtk
    for module, inside in names.python.items():
        yield module
        yield from (f"{module}.{name}" for name in inside)


def main(arguments: list[str]) -> None:
    versions, sources = [], {}
    for argument in arguments:
        version, slicer_commit, slicer, ctk_commit, ctk = argument.split(":")
        versions.append((version, read_version(Path(slicer), Path(ctk))))
        sources[version] = {"Slicer": slicer_commit, "CTK": ctk_commit}
    newest = versions[0][1]
    described: dict[str, Any] = {
        "sources": sources,
        "classes": {name: {"bases": b, "names": sorted(own)} for name, (b, own) in sorted(newest.classes.items())},
        "vtk": sorted(newest.vtk),
        "python": {name: sorted(inside) for name, inside in sorted(newest.python.items())},
        "modules": sorted(newest.modules),
        "absent": {version: sorted(set(flat(newest)) - set(flat(names))) for version, names in versions[1:]},
    }
    WRITTEN.write_text(one_line_each(described), encoding="utf-8")
    print(f"{WRITTEN}: {len(newest.classes)} classes, {len(newest.vtk)} of VTK's kind")


def one_line_each(described: dict[str, Any]) -> str:
    """JSON with one class or list a line, so that a new version is a readable change."""
    parts = []
    for key, value in described.items():
        if isinstance(value, dict):
            lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main(sys.argv[1:])

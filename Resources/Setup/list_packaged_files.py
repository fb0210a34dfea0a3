"""Brings the file lists of the CMakeLists.txt up to what lies on disk: only what is listed gets into the extension.

python Resources/Setup/list_packaged_files.py            # writes them
python Resources/Setup/list_packaged_files.py --check    # tells what differs, and exits 1
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = {
    "VesselFlowGS": ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"),
    "VesselFlowGSLib": ("ENGINE_PYTHON_SCRIPTS", "ENGINE_PYTHON_RESOURCES"),
}
NOT_PACKAGED = {"CMakeLists.txt"}


def files_of(folder: Path) -> tuple[list[str], list[str]]:
    """Scripts and resources below a folder, as CMake's lists have them."""
    scripts, resources = [], []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and path.suffix != ".pyc" and path.name not in NOT_PACKAGED:
            (scripts if path.suffix == ".py" else resources).append("/".join(parts))
    return scripts, resources


def listed_in(text: str, name: str) -> list[str]:
    """The entries of one list of a CMakeLists.txt."""
    found = re.search(rf"set\({name}\n(.*?)\s*\)", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"list_packaged_files: there is no list {name}")
    return found[1].split()


def with_list(text: str, name: str, entries: list[str]) -> str:
    """The text with one list replaced."""
    lines = "".join(f"  {entry}\n" for entry in entries)
    return re.sub(rf"set\({name}\n.*?\)", lambda _: f"set({name}\n{lines}  )", text, count=1, flags=re.DOTALL)


def differences() -> list[str]:
    """What is on disk and not listed, or listed and not on disk, one line each."""
    told = []
    for folder, names in LISTS.items():
        text = (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")
        for name, files in zip(names, files_of(ROOT / folder), strict=True):
            listed = listed_in(text, name)
            told += [f"{folder}/{file} is not listed" for file in sorted(set(files) - set(listed))]
            told += [f"{folder}/{file} is listed and not there" for file in sorted(set(listed) - set(files))]
            told += [f"{folder}/{file} is listed twice" for file in sorted(set(listed)) if listed.count(file) > 1]
    return told


def write() -> None:
    for folder, names in LISTS.items():
        path = ROOT / folder / "CMakeLists.txt"
        text = path.read_text(encoding="utf-8")
        for name, files in zip(names, files_of(ROOT / folder), strict=True):
            text = with_list(text, name, files)
        path.write_text(text, encoding="utf-8", newline="\n")


def main(arguments: list[str]) -> int:
    told = differences()
    print("\n".join(told) or "The lists of packaged files are complete.")
    if "--check" in arguments:
        return int(bool(told))
    write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""What the panel asks pip for, on this computer."""

from __future__ import annotations

import sys
from pathlib import Path

import host

host.install()

from VesselFlowGSPanel.installation import requirements  # noqa: E402

FILE = Path(__file__).parents[2] / "VesselFlowGS" / "Resources" / "requirements.txt"


def test_only_what_is_made_for_this_computer_is_asked_for(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(f"# words\n\none>=1\ntwo; sys_platform == '{sys.platform}'\nthree; sys_platform == 'elsewhere'\n")
    assert requirements(file) == ("one>=1", "two")


def test_pip_reads_them_where_packaging_is_not_installed(monkeypatch):
    wanted = requirements(FILE)
    for name in [name for name in sys.modules if name.split(".")[0] == "packaging"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "packaging", None)
    assert requirements(FILE) == wanted

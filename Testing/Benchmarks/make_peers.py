"""Makes .venv-peers: the engine's environment with the benchmarks' peers (peers.txt) on top; nothing where it is done.

The peers are development tools under licences of their own: nothing of the engine imports them.
"""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from pathlib import Path

from table import ROOT

FOLDER = ROOT / ".venv-peers"
WANTED = Path(__file__).parent / "peers.txt"


def main() -> None:
    done = FOLDER / "peers.txt"
    if done.exists() and done.read_text() == WANTED.read_text():
        return
    venv.create(FOLDER, clear=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(FOLDER)}))
    # pip in here finds the engine's packages too, and puts new ones into this folder alone
    (site / "engine.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    python = Path(sysconfig.get_path("scripts", vars={"base": str(FOLDER)})) / "python"
    print("Installing the benchmarks' peers (400 MB) …", flush=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", WANTED], check=True)
    done.write_text(WANTED.read_text())


if __name__ == "__main__":
    main()

"""What the Slicer module costs the person: opening, a streamed snapshot, its delay, the whole tutorial.

Rows: opening, snapshot, tutorial. The module runs in the test host on real MRML, Qt and a real worker process; what is
drawn is not counted. Peers in the same run: an empty scripted module (opening), and a result that is read as a .vtp
file by Slicer's own reader, as programs do that do not stream (snapshot). Run by: make bench-slicer [ROW=snapshot].
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from table import ROOT, Line, run

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
for folder in ("VesselFlowGS", "Testing/Host", "Testing", "."):
    sys.path.insert(0, str(ROOT / folder))

MODULE = ROOT / "VesselFlowGS" / "VesselFlowGS.py"
HEAVY = ("torch", "numba", "scipy")
TRIANGLES, COARSE = 50_000, 3_000
SNAPSHOTS = 40
TUTORIAL_LIMIT_S = 1200.0

EMPTY_MODULE = """
import slicer
from slicer.ScriptedLoadableModule import *
class Empty(ScriptedLoadableModule):
    pass
class EmptyWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
class EmptyLogic(ScriptedLoadableModuleLogic):
    pass
"""

OPENING = """
import sys, time
import host, importlib.util
host.install()
import slicer, qt, vtk, numpy
from slicer import ScriptedLoadableModule, i18n, parameterNodeWrapper
path = sys.argv[1]
described = importlib.util.spec_from_file_location("Probe", path)
module = importlib.util.module_from_spec(described)
begun = time.perf_counter()
described.loader.exec_module(module)
imported = time.perf_counter() - begun
begun = time.perf_counter()
host.load_module(path)
opened = time.perf_counter() - begun
heavy = [name for name in ("torch", "numba", "scipy") if name in sys.modules]
print("FIGURES", imported * 1e3, opened * 1e3, len(heavy))
"""


def opening(quick: bool) -> list[Line]:
    """Import of the module's file, and opening its panel, in a fresh process each time."""
    repeats = 3 if quick else 9
    ours = _best([_opened(MODULE) for _ in range(repeats)])
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "Empty.py"
        empty.write_text(EMPTY_MODULE, encoding="utf-8")
        peer = _best([_opened(empty) for _ in range(repeats)])
    return [
        Line("module import", "ms", 50, ours[0], peer[0]),
        Line("opening the panel in the host", "ms", 300, ours[1], peer[1]),
        Line("of torch, numba and scipy imported", "", 0, ours[2], peer[2]),
    ]


def snapshot(quick: bool) -> list[Line]:
    """A snapshot of 50k triangles from the worker's pipe into the scene: cost on the GUI thread, and delay."""
    import host

    host.install()
    import slicer
    from simulated_snapshots import stenosed_tube

    from VesselFlowGSLib.worker.frames import read_frame, write_frame
    from VesselFlowGSScene.appearance import Appearance
    from VesselFlowGSScene.case import Case
    from VesselFlowGSScene.show import show

    whole = stenosed_tube(triangles=TRIANGLES)
    # what is streamed while the flow converges holds a coarse field; the fine one comes with the result, in a thread
    given = replace(whole, field=stenosed_tube(triangles=COARSE).field)
    case = Case.create(slicer.mrmlScene, "Benchmark")
    appearance = Appearance()
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.npz"
        write_frame(frame, given)
        held: dict[Any, Any] = {}
        first = _timed(lambda: show(case, read_frame(frame, held=held), appearance))
        costs = []
        for k in range(SNAPSHOTS):
            write_frame(frame, _sharpened(given, 1 + 0.01 * k))
            costs.append(_timed(lambda: show(case, read_frame(frame, held=held), appearance)))
        peer = _read_as_file(slicer, case, Path(folder))
        fine = []
        for k in range(SNAPSHOTS // 4):
            write_frame(frame, _sharpened(whole, 1 + 0.01 * k))
            fine.append(_timed(lambda: show(case, read_frame(frame, held=held), appearance)))
    return [
        Line("triangles", "", None, float(len(given.surface.triangles))),
        Line("GUI thread, first snapshot", "ms", None, first * 1e3),
        Line("GUI thread, updated snapshot (median)", "ms", 5, statistics.median(costs) * 1e3, peer * 1e3),
        Line("the same with 320k cells of the result", "ms", None, statistics.median(fine) * 1e3),
        Line("message latency (median)", "ms", 100, *_latency(quick)),
    ]


def tutorial(quick: bool) -> list[Line]:
    """The README's tutorial with the sample, clicked in the host: clicks, time, longest step without drawing."""
    import host
    import pydicom  # noqa: F401 - Slicer's DICOM modules import it when Slicer starts

    sys.path.insert(0, str(ROOT / "Testing" / "VesselFlowGSPanel"))
    from walk import Walk

    host.install()
    walk = Walk.begin(host)
    walk.click("Inputs", "sampleButton")
    walk.until(lambda: len(walk.section("Inputs").entries) == 2, 60)
    loaded = len(walk.clicks)
    walk.widget.parameters.quality = type(walk.widget.parameters.quality)["preview"]
    begun = time.perf_counter()
    walk.click("Reconstruct", "startButton")
    first: list[float] = []

    def come() -> bool:
        if not first and walk.running.snapshot is not None:
            first.append(time.perf_counter() - begun)
        return walk.settled()

    done = walk.until(come, TUTORIAL_LIMIT_S)
    seconds = time.perf_counter() - begun
    longest = max(walk.longest_ms.values())
    print({what: round(took, 1) for what, took in walk.longest_ms.items()})
    walk.close()
    return [
        Line("clicks from loaded data to running", "", 3, float(len(walk.clicks) - loaded)),
        Line("the vessel is seen after", "s", None, first[0] if first else None),
        Line("from the click to the result", "s", 300, seconds if done else None),
        Line("longest step of the GUI thread", "ms", 50, longest),
    ]


def _opened(path: Path) -> tuple[float, ...]:
    places = [str(ROOT / p) for p in ("VesselFlowGS", "Testing/Host", "Testing", ".")]
    done = subprocess.run(
        [sys.executable, "-c", OPENING, str(path)],
        # as Slicer runs: with compiled modules kept
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("FIGURES"))
    return tuple(float(word) for word in line.split()[1:])


def _best(rows: list[tuple[float, ...]]) -> list[float]:
    return [min(column) for column in zip(*rows, strict=True)]


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _sharpened(given: Any, factor: float) -> Any:
    arrays = {name: values * factor for name, values in given.surface.arrays.items()}
    return replace(given, surface=replace(given.surface, arrays=arrays))


def _read_as_file(slicer: Any, case: Any, folder: Path) -> float:
    """Seconds to take the same wall from a .vtp file with Slicer's own reader; the median."""
    from VesselFlowGSScene.case import Role

    path = str(folder / "wall.vtp")
    storage = slicer.vtkMRMLModelStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(path)
    node = case.get(Role.LUMEN)
    storage.WriteData(node)
    return statistics.median(_timed(lambda: storage.ReadData(node)) for _ in range(SNAPSHOTS // 4))


def _latency(quick: bool) -> tuple[float, float]:
    """Milliseconds from a message to the panel's ears, through a real process; and through a bare pipe."""
    import host
    import qt

    from VesselFlowGSLib.worker.client import Client
    from VesselFlowGSLib.worker.job import Job, write_job
    from VesselFlowGSLib.worker.messages import SnapshotReady

    count = 20 if quick else 60
    with tempfile.TemporaryDirectory() as folder:
        write_job(folder, Job())
        script = Path(folder) / "speak.py"
        script.write_text(SPEAKER.format(root=str(ROOT), count=count), encoding="utf-8")
        delays: list[float] = []
        from VesselFlowGSPanel.installation import environment_of, launcher
        from VesselFlowGSPanel.parameters import Where

        environment = environment_of(Where.SLICER, Path())
        launch = launcher(environment)
        client = Client(folder, lambda _command, *rest: launch([sys.executable, "-u", str(script)], *rest))

        def listen() -> None:
            delays.extend(time.time() - m.said_at_s for m in client.poll() if isinstance(m, SnapshotReady))

        timer = qt.QTimer()
        timer.setInterval(50)
        timer.connect("timeout()", listen)
        timer.start()
        client.start(environment.python, environment.variables)
        host.wait_until(lambda: client.exit_code is not None, 120)
        timer.stop()
        lines = subprocess.Popen([sys.executable, "-u", str(script)], stdout=subprocess.PIPE, text=True)
        assert lines.stdout is not None
        bare = [
            time.time() - float(line.split('"said_at_s": ')[1].rstrip("}\n"))
            for line in lines.stdout
            if "said_at_s" in line
        ]
    return 1e3 * statistics.median(delays), 1e3 * statistics.median(bare)


SPEAKER = """
import sys, time
sys.path.insert(0, {root!r})
from VesselFlowGSLib.worker.messages import Hello, SnapshotReady, line_of
print(line_of(Hello("0", 1, "cpu", "3")), flush=True)
for k in range({count}):
    time.sleep(0.173)
    print(line_of(SnapshotReady(str(k) + ".npz", "flow", 0.5, "", time.time())), flush=True)
"""


if __name__ == "__main__":
    rows = {"opening": opening, "snapshot": snapshot, "tutorial": tutorial}
    raise SystemExit(run("slicer", rows, ("VesselFlowGSLib", "VesselFlowGS")))

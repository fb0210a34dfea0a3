"""How true the host is: runs Slicer's own unit tests of its Python side inside it, from a folder of Slicer's sources.

    make host-fidelity SLICER_SOURCE=…
    python Testing/Host/fidelity.py SLICER_SOURCE [TEST …]

Each test file runs in a process of its own. Prints a table of passed and run tests, and why the others failed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

TESTS = (
    "test_slicer_parameter_node_wrapper",
    "test_slicer_parameter_node_wrapper_guis",
    "test_slicer_parameter_node_wrapper_gui_creation",
    "test_slicer_parameter_pack",
    "test_slicer_packaging",
    "test_slicer_util_VTKObservationMixin",
    "test_slicer_util_childWidgetVariables",
    "test_slicer_util_getNodes",
    "test_slicer_util_chdir",
)


def run_one(source: Path, name: str) -> None:
    """Run one test file in this process; its result is the last line of the output, as JSON."""
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ["SLICER_SOURCE"] = str(source)
    import host

    host.install()
    path = source / "Base" / "Python" / "slicer" / "tests" / f"{name}.py"
    described = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(described)
    sys.modules[name] = module
    described.loader.exec_module(module)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    failed = [(str(test).split()[0], trace.strip().splitlines()[-1]) for test, trace in result.errors + result.failures]
    print(json.dumps({"run": result.testsRun - len(result.skipped), "failed": failed}), flush=True)
    os._exit(0)  # what Qt and VTK do at the end of the process is no part of the figure


def main(arguments: list[str]) -> int:
    if not arguments:
        print("fidelity: name a folder of Slicer's sources: make host-fidelity SLICER_SOURCE=…", file=sys.stderr)
        return 2
    source, names = Path(arguments[0]).resolve(), arguments[1:] or TESTS
    if arguments[1:2] == ["--one"]:
        run_one(source, arguments[2])
    passed_in_all = run_in_all = 0
    for name in names:
        command = [sys.executable, __file__, str(source), "--one", name]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"run"')]
        if not lines:
            print(f"{name}: did not run: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
            continue
        result = json.loads(lines[-1])
        passed = result["run"] - len(result["failed"])
        passed_in_all, run_in_all = passed_in_all + passed, run_in_all + result["run"]
        print(f"{name}: {passed} of {result['run']}")
        for test, why in result["failed"]:
            print(f"    {test}: {why[:160]}")
    print(f"in all: {passed_in_all} of {run_in_all}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

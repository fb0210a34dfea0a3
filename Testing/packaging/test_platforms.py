"""Windows and macOS are served: no call that POSIX systems alone have, outside a check of the platform."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [path for part in ("VesselFlowGS", "VesselFlowGSLib") for path in sorted((ROOT / part).rglob("*.py"))]

CALLS = set(
    "os.fork os.forkpty os.kill os.killpg os.setsid os.setpgid os.getpgid os.geteuid os.getuid os.getgid os.uname "
    "os.mkfifo os.chown os.nice os.getloadavg os.sysconf os.sched_getaffinity os.waitpid os.statvfs "
    "signal.SIGKILL signal.SIGALRM signal.SIGHUP signal.SIGUSR1 signal.SIGUSR2 signal.SIGPIPE signal.alarm "
    "signal.pause".split()
)
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
PLATFORM = re.compile(r"os\.name|sys\.platform|platform\.system|hasattr\(|getattr\(|except \(?[\w, ]*AttributeError")
STARTS_A_PROCESS = re.compile(r"(subprocess\.)?(run|Popen|call|check_call|check_output)")
HARD_PATH = re.compile(r"^/(tmp|usr|dev|proc|home|var|etc|opt|bin|mnt|root)(/|$)")


def problems_of(text: str) -> list[str]:
    """Lines that would fail on Windows or macOS."""
    tree = ast.parse(text)
    parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    documented = {id(node.body[0].value) for node in ast.walk(tree) if _has_docstring(node)}
    found = []
    for node in ast.walk(tree):
        said = ""
        if isinstance(node, ast.Attribute) and ast.unparse(node) in CALLS:
            said = ast.unparse(node)
        elif isinstance(node, ast.Import) and MODULES & {alias.name.split(".")[0] for alias in node.names}:
            said = ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            said = ast.unparse(node)
        elif isinstance(node, ast.Call) and STARTS_A_PROCESS.fullmatch(ast.unparse(node.func)):
            if any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in node.keywords):
                found.append(f"{node.lineno}: shell=True")
        elif isinstance(node, ast.keyword) and node.arg in ("preexec_fn", "start_new_session"):
            said = f"{node.arg}"
        elif isinstance(node, ast.Call) and ast.unparse(node).endswith("get_context('fork')"):
            found.append(f"{node.lineno}: fork")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            if HARD_PATH.match(node.value):
                said = repr(node.value)
        if said and not _is_checked(node, parent):
            found.append(f"{getattr(node, 'lineno', getattr(getattr(node, 'value', None), 'lineno', 0))}: {said}")
    return found


def _has_docstring(node: ast.AST) -> bool:
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def _is_checked(node: ast.AST, parent: dict[ast.AST, ast.AST]) -> bool:
    """Whether the platform is looked at around a node: in an if, a try, or its function."""
    while node in parent:
        node = parent[node]
        if isinstance(node, (ast.If, ast.IfExp, ast.Try, ast.FunctionDef)) and PLATFORM.search(ast.unparse(node)):
            return True
    return False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_file_serves_every_platform(path):
    assert problems_of(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.kill(pid, 9)",
        "import signal\nsignal.SIGKILL",
        "import fcntl",
        "from resource import getrusage",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "folder = '/usr/jobs'",
        "import multiprocessing\nmultiprocessing.get_context('fork')",
        "import subprocess\nsubprocess.Popen(['a'], start_new_session=True)",
    ],
)
def test_seeded_mistakes_are_found(text):
    assert len(problems_of(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import os\nif os.name == 'posix':\n    os.kill(pid, 9)",
        "def stop():\n    if sys.platform == 'win32':\n        return\n    import resource\n    resource.getrusage(1)",
        '"""/tmp is named here."""\nimport os\nos.path.join("a", "b")',
    ],
)
def test_good_code_passes(text):
    assert problems_of(text) == []

"""The section Engine: the choice of a Python, its check as a real child process, and its installation."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
pytest.importorskip("PySide6", reason="needs Qt: pip install PySide6-Essentials")

from VesselFlowGSLib.worker import check  # noqa: E402

GOOD = check.Report(
    version=check.__version__,
    python="3.12.10",
    program="PythonSlicer",
    system="Linux",
    packages=tuple(check.Package(n.name, f">={n.floor}", n.floor, "good", n.optional) for n in check.NEEDED),
    memory_gib=32.0,
    disk_gib=100.0,
    opengl="vtkEGLRenderWindow",
    complete=True,
)


@pytest.fixture
def section(panel):
    from VesselFlowGSPanel.engine_section import EngineSection

    return panel.add(EngineSection)


@pytest.fixture
def answered(monkeypatch):
    """Let the next checks print these lines and end, instead of starting a process; returns what was started."""
    from VesselFlowGSPanel import installation

    started = []

    def answer(lines, code=0):
        def launch(command, variables, on_line, on_end):
            started.append((list(command), dict(variables)))
            for line in lines:
                on_line(line)
            on_end(code)
            return SimpleNamespace(kill=lambda: None)

        monkeypatch.setattr(installation, "launcher", lambda environment: launch)
        return started

    return answer


def told(section):
    return section.ui.problemsTextEdit.plainText


def state_of(section, package):
    table = section.ui.packagesTable
    rows = [table.item(r, 0).text() for r in range(table.rowCount)]
    return table.item(rows.index(package), 3)


def test_nothing_is_checked_or_installed_before_a_person_asks(section, panel):
    assert section.outcome is None and "torch" not in section.__dict__
    assert state_of(section, "torch").text() == "not checked"
    assert not section.ui.copyReportButton.enabled
    assert not panel.reported


def test_every_widget_says_what_it_is_for(section):
    from panel_stand_in import tooltips_missing

    assert tooltips_missing(section) == []


def test_check_runs_the_python_in_a_process_of_its_own(section, slicer_host, panel, tmp_path):
    """The real check in the Python of these tests, which has everything; the folder name has blanks and umlauts."""
    section.ui.jobsFolderPathLineEdit.currentPath = str(tmp_path / "Aufträge neu")
    assert panel.parameters.jobs_folder == tmp_path / "Aufträge neu"
    section.ui.checkButton.click()
    assert section.outcome is None and not section.ui.checkButton.enabled
    assert slicer_host.wait_until(lambda: section.outcome is not None, 120)
    assert section.outcome.report.complete
    assert section.outcome.report.folder == str(tmp_path / "Aufträge neu")
    assert state_of(section, "numpy").text() == "good"
    assert section.ui.checkButton.enabled and section.ui.copyReportButton.enabled
    assert section.ui.engineCollapsibleButton.collapsed == section.outcome.usable
    assert not (tmp_path / "Aufträge neu").exists()


def test_a_good_check_folds_the_section(section, answered):
    answered([GOOD.line()])
    section.ui.checkButton.click()
    assert section.ui.engineCollapsibleButton.collapsed
    assert section.ui.engineStatusLabel.text.startswith("Ready")
    assert state_of(section, "torch").text() == "good"


def test_every_problem_is_listed_with_what_to_do(section, answered):
    problems = (
        check.Problem(check.ERROR, "torch", "torch is not installed.", "Press Install."),
        check.Problem(check.WARNING, "memory", "This machine has 3 GiB of memory.", "Close other programs."),
    )
    missing = check.Package("torch", ">=2.4", "", "missing")
    packages = tuple(missing if p.name == "torch" else p for p in GOOD.packages)
    answered([replace(GOOD, problems=problems, packages=packages).line()], 5)
    section.ui.checkButton.click()
    assert not section.ui.engineCollapsibleButton.collapsed
    assert "Must be set right: torch is not installed. Press Install." in told(section)
    assert "Remark: This machine has 3 GiB of memory. Close other programs." in told(section)
    assert state_of(section, "torch").text() == "missing"
    assert state_of(section, "torch").background().color().red() > 200
    assert "One thing" in section.ui.engineStatusLabel.text


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["checking numpy", "checking torch"], "torch ends the Python that loads it"),
        (["/usr/bin/python: No module named 'VesselFlowGSLib'"], "does not find VesselFlowGS"),
        (["  from __future__ import annotations", "SyntaxError: future feature"], "too old"),
        (['{"vesselflowgs_check": 99, "graphics": {}}'], "another version of VesselFlowGS"),
        ([], "did not start"),
    ],
)
def test_a_python_that_does_not_answer_is_explained(section, answered, lines, expected):
    answered(lines, 1)
    section.ui.checkButton.click()
    assert expected in told(section)
    assert not section.outcome.usable
    assert expected in section.report_text()


def test_another_python_must_be_named(section, panel):
    from VesselFlowGSPanel.parameters import Where

    section.ui.whereComboBox.currentIndex = 1
    assert panel.parameters.where is Where.OTHER
    section.ui.checkButton.click()
    assert "No Python is chosen" in section.ui.engineStatusLabel.text
    section.ui.pythonPathLineEdit.currentPath = "/nowhere/python"
    section.ui.checkButton.click()
    assert "is not there" in section.ui.engineStatusLabel.text
    assert section.outcome is None


def test_another_python_is_kept_apart_from_slicers(section, panel, answered, tmp_path):
    """The folder of an environment is enough, the engine is found there, and nothing of Slicer's reaches it."""
    from VesselFlowGSPanel.installation import engine_folder

    folder = tmp_path / "my env" / ("Scripts" if sys.platform == "win32" else "bin")
    folder.mkdir(parents=True)
    program = folder / ("python.exe" if sys.platform == "win32" else "python")
    program.write_text("")
    started = answered([GOOD.line()])
    section.ui.whereComboBox.currentIndex = 1
    section.ui.pythonPathLineEdit.currentPath = str(tmp_path / "my env")
    section.ui.checkButton.click()
    command, variables = started[0]
    assert command[0] == str(program) and "--in-slicer" not in command
    assert variables["PYTHONPATH"] == str(engine_folder())


def test_the_result_of_a_check_does_not_outlive_the_choice(section, answered):
    answered([GOOD.line()])
    section.ui.checkButton.click()
    section.ui.whereComboBox.currentIndex = 1
    assert section.outcome is None
    assert state_of(section, "torch").text() == "not checked"


def test_a_shared_folder_needs_no_python_here(section):
    section.ui.whereComboBox.currentIndex = 2
    assert section.ui.checkButton.isHidden() and section.ui.packagesTable.isHidden()
    assert not section.ui.folderHintLabel.isHidden()
    section.ui.whereComboBox.currentIndex = 0
    assert not section.ui.checkButton.isHidden()


def test_the_report_can_be_copied_and_names_no_user(section, answered, slicer_host):
    import qt

    answered([replace(GOOD, folder=str(Path.home() / "jobs")).line()])
    section.ui.checkButton.click()
    section.ui.copyReportButton.click()
    text = qt.QApplication.clipboard().text()
    assert "scikit-image" in text and "3.12.10" in text
    assert str(Path.home()) not in text


class Installer:
    """A stand-in for pip and the PyTorch extension that records what it was asked."""

    def __init__(self, monkeypatch, agreed=True, torch_installed=False, torch="2.9"):
        self.asked, self.pip, self.torch = [], [], []

        def confirm(text, **options):
            self.asked.append(text)
            return agreed

        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
        monkeypatch.setattr(
            slicer.packaging, "pip_ensure", lambda wanted, **options: self.pip.append((list(map(str, wanted)), options))
        )
        logic = SimpleNamespace(
            torchInstalled=lambda: torch_installed,
            installTorch=lambda **options: self.torch.append(options) or torch,
        )
        module = ModuleType("PyTorchUtils")
        module.PyTorchUtilsLogic = lambda: logic
        monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


@pytest.fixture
def wanted(panel, tmp_path):
    """A requirements.txt of the panel's own."""
    file = tmp_path / "requirements.txt"
    file.write_text("# what is not part of Slicer\nscikit-image>=0.22\ntqdm>=4.60\n")
    resource = panel.resource
    panel.resource = lambda name: str(file) if name == "requirements.txt" else resource(name)
    return file


def test_install_asks_first_and_names_every_package(section, wanted, monkeypatch):
    installer = Installer(monkeypatch, agreed=False)
    section.ui.installButton.click()
    assert "scikit-image>=0.22" in installer.asked[0] and "torch" in installer.asked[0]
    assert installer.pip == [] and installer.torch == []
    assert "Nothing was installed" in section.ui.engineStatusLabel.text


def test_install_takes_pip_for_packages_and_the_extension_for_torch(section, wanted, monkeypatch, answered):
    installer = Installer(monkeypatch)
    started = answered([GOOD.line()])
    section.ui.installButton.click()
    (packages, options) = installer.pip[0]
    assert packages == ["scikit-image>=0.22", "tqdm>=4.60"] and options["requester"] == "VesselFlowGS"
    assert installer.torch == [{"askConfirmation": True, "torchVersionRequirement": ">=2.4"}]
    assert len(started) == 1 and section.outcome.usable  # checked anew


def test_install_says_how_to_get_the_pytorch_extension(section, wanted, panel, monkeypatch):
    Installer(monkeypatch)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    section.ui.installButton.click()
    assert "Extensions Manager" in panel.reported[-1]


def test_a_declined_torch_is_said(section, wanted, panel, monkeypatch):
    Installer(monkeypatch, torch=None)
    section.ui.installButton.click()
    assert "torch was not installed" in panel.reported[-1]


def test_a_failed_pip_is_one_message(section, wanted, panel, monkeypatch):
    Installer(monkeypatch)

    def fail(*_wanted, **_options):
        raise RuntimeError("status 1: no space left")

    monkeypatch.setattr(slicer.packaging, "pip_ensure", fail)
    section.ui.installButton.click()
    assert "no space left" in panel.reported[-1] and len(panel.reported) == 1


def test_slicer_5_10_installs_through_its_util(section, wanted, monkeypatch, answered):
    """Before 5.12 there is no slicer.packaging."""
    installer = Installer(monkeypatch, torch_installed=True)
    answered([GOOD.line()])
    pip = []
    monkeypatch.setattr(slicer.util, "pip_install", lambda wanted: pip.append(wanted))
    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    section.ui.installButton.click()
    assert pip == [["scikit-image>=0.22", "tqdm>=4.60"]]
    assert installer.torch == []


def test_for_another_python_the_command_is_copied(section, wanted, monkeypatch):
    import qt

    installer = Installer(monkeypatch)
    section.ui.whereComboBox.currentIndex = 1
    section.ui.pythonPathLineEdit.currentPath = sys.executable
    section.ui.installButton.click()
    command = qt.QApplication.clipboard().text()
    assert "-m pip install" in command and '"scikit-image>=0.22"' in command and '"torch>=2.4"' in command
    assert installer.asked == [] and installer.pip == []


def test_paths_come_back_with_the_scene_and_a_closed_scene_begins_anew(section, panel, tmp_path):
    section.ui.whereComboBox.currentIndex = 1
    section.ui.pythonPathLineEdit.currentPath = str(tmp_path / "ö python")
    kept = panel.parameters
    panel.follow(panel.new_parameters())
    assert section.ui.pythonPathLineEdit.currentPath == "" and section.ui.whereComboBox.currentIndex == 0
    panel.follow(kept)
    assert section.ui.pythonPathLineEdit.currentPath == str(tmp_path / "ö python")
    panel.close_scene()
    assert section.ui.whereComboBox.currentIndex == 0 and section.ui.pythonPathLineEdit.currentPath == ""


def test_closing_the_panel_stops_a_check(section, monkeypatch):
    from VesselFlowGSPanel import installation

    killed = []
    monkeypatch.setattr(
        installation,
        "launcher",
        lambda environment: lambda *told: SimpleNamespace(kill=lambda: killed.append(True)),
    )
    section.ui.checkButton.click()
    section.close()
    assert killed == [True] and section.outcome is None


def test_a_job_is_followed_where_another_machine_computes(section, panel, tmp_path):
    from VesselFlowGSLib.worker.client import State
    from VesselFlowGSPanel.installation import client_for
    from VesselFlowGSPanel.parameters import Where

    panel.parameters.where = Where.FOLDER
    client, begin = client_for(tmp_path, panel.parameters)
    begin()
    assert client.state is State.STARTING and client.poll() == []
    client.close()


def test_slicers_launcher_starts_the_worker_and_hears_it(section, slicer_host, tmp_path):
    """Through slicer.util.launchConsoleProcess: lines come to the event loop, and the exit code at the end."""
    from VesselFlowGSPanel.installation import environment_of, launcher
    from VesselFlowGSPanel.parameters import Where

    script = tmp_path / "say ü.py"
    script.write_text("import os, sys\nprint('hello', os.environ['PYTHONSAFEPATH'])\nsys.exit(3)\n")
    environment = environment_of(Where.SLICER, Path())
    lines, codes = [], []
    launcher(environment)([environment.python, str(script)], environment.variables, lines.append, codes.append)
    assert slicer_host.wait_until(lambda: bool(codes), 30)
    assert lines == ["hello 1"] and codes == [3]


def test_without_slicers_launcher_the_engines_own_serves(section, slicer_host, monkeypatch, tmp_path):
    """Slicer 5.10 knows no non-blocking launch."""
    from VesselFlowGSPanel.installation import environment_of, launcher
    from VesselFlowGSPanel.parameters import Where

    monkeypatch.setattr(slicer.util, "launchConsoleProcess", lambda args, cwd=None: None)
    script = tmp_path / "say.py"
    script.write_text("print('hello')\n")
    environment = environment_of(Where.SLICER, Path())
    lines, codes = [], []
    launcher(environment)([environment.python, str(script)], None, lines.append, codes.append)
    assert slicer_host.wait_until(lambda: bool(codes), 30)
    assert lines == ["hello"] and codes == [0]

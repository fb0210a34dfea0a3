"""The Slicer module VesselFlowGS: blood velocity and pressure from X-ray angiography. For research use only."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if TYPE_CHECKING:
    from VesselFlowGSLib.results.snapshot import Snapshot
    from VesselFlowGSScene.case import Case
    from VesselFlowGSScene.running import Running

# how often the worker is listened to; a message waits half of it on average
POLL_MS = 50


def _find_engine() -> None:
    """In a source tree the engine lies beside this folder, and Slicer knows this folder alone."""
    try:
        import VesselFlowGSLib
    except ImportError:
        sys.path.append(str(Path(__file__).resolve().parent.parent))
        import VesselFlowGSLib
    beside = Path(__file__).resolve().parent.parent / "VesselFlowGSLib"
    if beside.is_dir() and Path(VesselFlowGSLib.__file__).resolve().parent != beside:
        logging.warning("VesselFlowGS: the engine is taken from %s, not from %s", VesselFlowGSLib.__file__, beside)


class VesselFlowGS(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Vessel Flow GS")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Cardiac")]
        parent.dependencies = ["Sequences", "Markups", "Models", "Colors", "Plots", "Tables"]
        parent.contributors = ["The VesselFlowGS contributors"]
        parent.helpText = _(
            "Blood velocity and pressure in a vessel, from X-ray angiography (DSA) and an angiography volume, without "
            "a mesh. Load the volume and the DSA runs, press Reconstruct, and watch the flow appear. "
            "For research use only: no medical device, not for diagnosis or treatment."
        )
        parent.acknowledgementText = _("Licensed under Apache 2.0. Results are for research use only.")
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data() -> None:
    """Offer the sample study in the module Sample Data; nothing is downloaded, it is bundled."""
    import SampleData

    _find_engine()
    from VesselFlowGSPanel.samples import load_sample, register

    thumbnail = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Resources", "Icons", "SampleArtery.png")
    register(SampleData.SampleDataLogic, thumbnail, lambda: load_sample(VesselFlowGSLogic().getParameterNode()))


class VesselFlowGSWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: sections in the order of the work, one parameter node, one timer that listens to the workers."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: VesselFlowGSLogic | None = None
        self.parameters: Any = None
        self.sections: list[Any] = []
        self._to_come: list[str] = []
        self._outdated: list[Any] = []
        self._turn = qt.QTimer()
        self._turn.setInterval(0)
        self._turn.connect("timeout()", self._update_next)

    def setup(self) -> None:
        """Make the sections; nothing heavy is imported."""
        ScriptedLoadableModuleWidget.setup(self)
        _find_engine()
        from VesselFlowGSPanel.sections import FIRST, ORDER

        self.logic = VesselFlowGSLogic()
        self.logic.told = self._told
        self._message = qt.QLabel()
        self._message.wordWrap = True
        self._message.visible = False
        self._message.toolTip = _("The last message of the module")
        self.layout.addWidget(self._message)
        self._column = qt.QVBoxLayout()
        self.layout.addLayout(self._column)
        self.layout.addStretch(1)
        for name in FIRST:
            self._add_section(name)
        self._to_come = [name for name in ORDER if name not in FIRST]
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._scene_closes)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._scene_is_closed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._scene_is_read)
        slicer.app.connect("aboutToQuit()", self.cleanup)
        self._take_parameters()
        self._turn.start()

    def _add_section(self, name: str) -> None:
        """Make a section and put it into its place."""
        from VesselFlowGSPanel.sections import OPEN, ORDER, section_class

        section = section_class(name)(self)
        section.widget.setMRMLScene(slicer.mrmlScene)
        section.collapse(name not in OPEN)
        place = sum(ORDER.index(other.NAME) < ORDER.index(name) for other in self.sections)
        self._column.insertWidget(place, section.widget)
        self.sections.insert(place, section)
        if self.parameters is not None:
            section.set_parameters(self.parameters)
            section.update()

    def complete(self) -> None:
        """Make at once what would be made in the next turns of the event loop."""
        while self._to_come:
            self._add_section(self._to_come.pop(0))

    def cleanup(self) -> None:
        """Stop workers and timers; called when the module is unloaded and when Slicer ends."""
        self._turn.stop()
        self._to_come = []
        self._set_parameters(None)
        for section in self.sections:
            section.close()
        self.sections = []
        if self.logic is not None:
            self.logic.close()
        self.removeObservers()

    def enter(self) -> None:
        """The person comes to the module."""
        self._take_parameters()

    def exit(self) -> None:
        """The person goes to another module: the widgets need not follow; the workers go on."""
        self._set_parameters(None)

    # what sections ask for

    def resource(self, name: str) -> str:
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), "Resources", *name.split("/"))

    def observe(self, node: Any, event: Any, told: Callable[..., None]) -> None:
        if not self.hasObserver(node, event, told):
            self.addObserver(node, event, told)

    def unobserve(self, node: Any, event: Any, told: Callable[..., None]) -> None:
        if self.hasObserver(node, event, told):
            self.removeObserver(node, event, told)

    @property
    def case(self) -> Case | None:
        return self.logic.case if self.logic is not None else None

    @property
    def snapshot(self) -> Snapshot | None:
        return self.logic.snapshot_of(self.case) if self.logic is not None and self.case is not None else None

    def refresh(self, *_event: Any) -> None:
        """Bring all sections up to date, one in each turn of the event loop, so that nothing freezes."""
        self._outdated = list(self.sections)
        self._turn.start()

    def _update_next(self) -> None:
        if self._to_come:
            self._add_section(self._to_come.pop(0))
        elif self._outdated and self.parameters is not None:
            self._outdated.pop(0).update()
        else:
            self._outdated = []
            self._turn.stop()

    def report(self, text: str) -> None:
        self._message.text = text
        self._message.visible = bool(text)

    # the scene comes and goes

    def _take_parameters(self) -> None:
        if self.parameters is None and self.logic is not None:
            self._set_parameters(self.logic.getParameterNode())

    def _set_parameters(self, parameters: Any) -> None:
        # each section disconnects from the old node, that is still there
        for section in self.sections:
            section.set_parameters(parameters)
        if self.parameters is not None:
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.refresh)
        self.parameters = parameters
        if parameters is not None:
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.refresh)
            self.refresh()

    def _scene_closes(self, *_event: Any) -> None:
        self._set_parameters(None)
        if self.logic is not None:
            self.logic.close()

    def _scene_is_closed(self, *_event: Any) -> None:
        if self.parent.isEntered:
            self._take_parameters()

    def _scene_is_read(self, *_event: Any) -> None:
        if self.logic is not None:
            self.logic.scene_was_read()
        self.refresh()

    def _told(self, running: Running, messages: Sequence[Any]) -> None:
        """The logic's timer heard something of a worker."""
        case = self.case
        if case is None or running.case.node is not case.node:
            return
        for message in messages:
            for section in self.sections:
                section.told(message)
        self.refresh()


class VesselFlowGSLogic(ScriptedLoadableModuleLogic):
    """Everything the panel does, from Python: names are those of the command line and of study.toml.

    told  called with a Running and its new messages, by the timer that listens
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        _find_engine()
        self.told: Callable[[Running, Sequence[Any]], None] = lambda *_: None
        self._running: dict[str, Running] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._shown = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._listen)

    def getParameterNode(self) -> Any:
        """The scene's parameters."""
        from VesselFlowGSPanel.parameters import VesselFlowGSParameterNode

        return VesselFlowGSParameterNode(super().getParameterNode())

    # from the panel

    def start(self, parameters: Any) -> Running:
        """Start the reconstruction that the parameters describe. Raises InputError for what is missing."""
        from VesselFlowGSPanel.display import appearance_of
        from VesselFlowGSPanel.inputs import job_of, study_inputs

        name = parameters.case_name or (parameters.volume.GetName() if parameters.volume else _("Vessel"))
        return self._begin(name, study_inputs(parameters), job_of(parameters), appearance_of(parameters), parameters)

    def resume(self, case: Case) -> Running:
        """Go on with a case from its last checkpoint. Raises InputError where it still runs, or its folder is gone."""
        import dataclasses

        from VesselFlowGSLib.errors import InputError
        from VesselFlowGSLib.worker.job import read_job, write_job
        from VesselFlowGSPanel.display import appearance_of
        from VesselFlowGSScene.running import job_folder

        before = self.running(case)
        if before is not None and not before.ended:
            raise InputError(
                _("{case}: is still being computed, or stopping. Wait for its end, then resume.").format(case=case.name)
            )
        folder = job_folder(case)
        if folder is None:
            raise InputError(
                _("{case}: the folder it was computed in is gone, so it cannot go on. Start it anew.").format(
                    case=case.name
                )
            )
        write_job(folder, dataclasses.replace(read_job(folder), resume=True))
        parameters = self.getParameterNode()
        return self._run(case, folder, appearance_of(parameters), parameters)

    def simulate(self, vessel: str, degree: float, flow_ml_s: float) -> Running:
        """Teaching: simulate a vessel and solve its flow.

        vessel  "stenosis", "bend", "aneurysm" or "bifurcation"
        degree  0..0.7: how narrow, bent, wide, or unlike the branches
        """
        from VesselFlowGSPanel.display import appearance_of
        from VesselFlowGSPanel.inputs import phantom_job

        parameters = self.getParameterNode()
        job = phantom_job(parameters, vessel, degree, flow_ml_s)
        return self._begin(
            _("Simulated {vessel}").format(vessel=vessel), None, job, appearance_of(parameters), parameters
        )

    def open_result(self, folder: str | os.PathLike[str]) -> Case:
        """Show a finished result folder as a new case. Raises InputError where it holds none."""
        from VesselFlowGSPanel.display import appearance_of
        from VesselFlowGSScene.case import Case
        from VesselFlowGSScene.exports import snapshot_of_result
        from VesselFlowGSScene.kept import keep
        from VesselFlowGSScene.running import JOB
        from VesselFlowGSScene.show import show

        snapshot = snapshot_of_result(Path(folder))
        case = Case.create(slicer.mrmlScene, Path(folder).resolve().name)
        case.node.SetAttribute(JOB, str(Path(folder).resolve()))
        show(case, snapshot, appearance_of(self.getParameterNode()))
        keep(case, snapshot)
        self._snapshots[case.node.GetID()] = snapshot
        self.select(case)
        return case

    # from a script

    def reconstruct(
        self,
        volume: Any = None,
        runs: Sequence[Any] = (),
        lumen: Any = None,
        *,
        study: str | os.PathLike[str] | None = None,
        name: str = "",
        wait: bool = True,
        on_snapshot: Callable[[Snapshot], None] | None = None,
        **settings: Any,
    ) -> Running:
        """Reconstruct from nodes or files.

        volume    scalar volume node of the angiography
        runs      DSA: sequence or sequence browser nodes, or paths of DICOM files
        lumen     segmentation or model node, where the vessel is known
        study     a study folder, instead of the three
        wait      return when it is finished (the window goes on living); else at once
        settings  any name of the parameter node: quality="preview", mean_inflow_ml_s=2.1, seed=1, …
        Raises InputError for wrong input, and RuntimeError with the worker's message where a waited run failed.
        """
        from VesselFlowGSPanel.display import appearance_of
        from VesselFlowGSPanel.inputs import fill_parameters, job_of, study_inputs
        from VesselFlowGSPanel.parameters import VesselFlowGSParameterNode

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "VesselFlowGS script")
        node.SetHideFromEditors(True)
        try:
            parameters = VesselFlowGSParameterNode(node)
            fill_parameters(parameters, volume, runs, lumen, study, settings)
            name = name or parameters.case_name or (volume.GetName() if volume is not None else _("Vessel"))
            running = self._begin(
                name, study_inputs(parameters), job_of(parameters), appearance_of(parameters), parameters, on_snapshot
            )
        finally:
            slicer.mrmlScene.RemoveNode(node)
        if wait:
            self.wait(running)
        return running

    def wait(self, running: Running) -> None:
        """Wait for the end of a run while the window goes on living. Raises RuntimeError where it failed."""
        loop = qt.QEventLoop()
        watch = qt.QTimer()
        watch.setInterval(POLL_MS)
        watch.connect("timeout()", lambda: loop.quit() if running.settled else None)
        watch.start()
        if not running.settled:
            loop.exec() if hasattr(loop, "exec") else loop.exec_()
        watch.stop()
        if running.client.failure:
            raise RuntimeError(running.client.failure)

    # cases

    @property
    def case(self) -> Case | None:
        """The case that is shown: the one selected, else the newest."""
        from VesselFlowGSScene.case import Case

        cases = Case.all_in(slicer.mrmlScene)
        chosen = [case for case in cases if case.node.GetID() == self._shown]
        return (chosen or cases[-1:] or [None])[0]

    def select(self, case: Case) -> None:
        """Show this case in the panel."""
        self._shown = case.node.GetID()

    def running(self, case: Case | None) -> Running | None:
        """The run of a case, finished or not, of this session."""
        return self._running.get(case.node.GetID()) if case is not None else None

    def snapshot_of(self, case: Case | None) -> Snapshot | None:
        """The newest snapshot of a case: of its run, else as the scene keeps it."""
        if case is None:
            return None
        running = self.running(case)
        if running is not None and running.snapshot is not None:
            return running.snapshot
        key = case.node.GetID()
        if key not in self._snapshots:
            from VesselFlowGSScene.kept import kept_snapshot

            found = kept_snapshot(case)
            if found is None:
                return None
            self._snapshots[key] = found
        return self._snapshots[key]

    def scene_was_read(self) -> None:
        """Nodes may have other ids now."""
        self._snapshots.clear()

    def close(self) -> None:
        """Stop all workers, and forget the scene."""
        self._timer.stop()
        for running in self._running.values():
            running.close()
        self._running.clear()
        self._snapshots.clear()
        self._shown = ""

    def _begin(
        self,
        name: str,
        inputs: Any,
        job: Any,
        appearance: Any,
        parameters: Any,
        on_snapshot: Callable[[Snapshot], None] | None = None,
    ) -> Running:
        from VesselFlowGSLib.worker.job import STUDY, write_job
        from VesselFlowGSPanel.inputs import new_job_folder
        from VesselFlowGSScene.case import Case
        from VesselFlowGSScene.study_files import prepare_study

        # what is wrong with the inputs is said before anything is made
        study = prepare_study(inputs) if inputs is not None and job.study == STUDY else None
        folder = new_job_folder(parameters, name)
        write_job(folder, job)
        case = Case.create(slicer.mrmlScene, name)
        prepare = None if study is None else lambda: study.write(folder / STUDY)
        return self._run(case, folder, appearance, parameters, prepare, on_snapshot)

    def _run(
        self,
        case: Case,
        folder: Path,
        appearance: Any,
        parameters: Any,
        prepare: Callable[[], object] | None = None,
        on_snapshot: Callable[[Snapshot], None] | None = None,
    ) -> Running:
        from VesselFlowGSPanel.installation import client_for
        from VesselFlowGSScene.running import Running

        client, begin = client_for(folder, parameters)
        running = Running(case, client, appearance, begin, prepare)
        running.on_snapshot = on_snapshot
        self._running[case.node.GetID()] = running
        self._snapshots.pop(case.node.GetID(), None)
        self.select(case)
        self._timer.start()
        return running

    def _listen(self) -> None:
        busy = False
        for running in list(self._running.values()):
            if running.settled:
                continue
            messages = running.poll()
            busy = busy or not running.settled
            # a worker may end without a word
            if messages or running.ended:
                self.told(running, messages)
        if not busy:
            self._timer.stop()


class VesselFlowGSTest(ScriptedLoadableModuleTest):
    """The self test: as a user would click, on a simulated vessel."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_simulated_vessel()

    def test_simulated_vessel(self) -> None:
        """A narrowed vessel is simulated, reconstructed with its inflow given, shown and measured."""
        from VesselFlowGSScene.case import Role

        self.delayDisplay("Simulating a narrowed vessel and solving its flow")
        logic = VesselFlowGSLogic()
        running = logic.simulate("stenosis", 0.4, 1.9)
        logic.wait(running)
        self.assertIsNotNone(running.snapshot)
        self.assertEqual(running.snapshot.flow_status["status"], "solved")
        self.assertAlmostEqual(running.snapshot.figures["mean_inflow"].value, 1.9, delta=0.1)
        lumen = running.case.get(Role.LUMEN)
        self.assertIsNotNone(lumen)
        self.assertGreater(lumen.GetPolyData().GetNumberOfPoints(), 1000)
        logic.close()
        self.delayDisplay("The flow was solved and shown")

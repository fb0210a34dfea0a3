"""What is reconstructed: volume, lumen, X-ray runs with a table of what is known of each, openings, region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import InputError, VesselFlowError
from VesselFlowGSPanel import inputs
from VesselFlowGSPanel.runs_table import INTENSITIES, ROLES, RunsTable
from VesselFlowGSPanel.section import Section
from VesselFlowGSScene.runs import (
    Known,
    RunEntry,
    entries_of_sequence,
    entries_to_json,
    entry_of_file,
    missing,
    ready,
    with_kept,
    without,
)

VESSELS = ("stenosis", "bend", "aneurysm", "bifurcation")
# nodes come in bursts while DICOM is loaded
SETTLED_MS = 300
# a stack of so few slices is no angiography volume
LEAST_SLICES = 8


class InputsSection(Section):
    """Proposes what is loaded while nothing is chosen; everything it shows lies in the parameter node.

    entries  the table of runs, as the parameters hold it
    """

    NAME = "Inputs"

    def connect(self) -> None:
        self.entries: tuple[RunEntry, ...] = ()
        self._text: str | None = None
        self._told = ""
        self._looks_at: Any = None
        self._declined = False
        self._volume_proposed = False
        self._waiting: list[str] = []
        self._proposed: list[RunEntry] = []
        ui = self.ui
        self.table = RunsTable(ui.runsTable, self._edited, self._refused)
        ui.filePathLineEdit.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Dirs
        for vessel in VESSELS:
            ui.phantomVesselComboBox.addItem(_vessel_name(vessel), vessel)
        ui.roleComboBox.addItem(_("set the role…"))
        for role in ROLES:
            ui.roleComboBox.addItem(_role_name(role), role)
        ui.intensityComboBox.addItem(_("set the gray levels…"))
        for intensity in INTENSITIES:
            ui.intensityComboBox.addItem(intensity, intensity)
        ui.roleComboBox.connect("currentIndexChanged(int)", self._role_chosen)
        ui.intensityComboBox.connect("currentIndexChanged(int)", self._intensity_chosen)
        ui.proposeButton.connect("clicked()", self.propose)
        ui.sampleButton.connect("clicked()", self.load_sample)
        ui.addSequenceButton.connect("clicked()", self.add_sequence)
        ui.addFileButton.connect("clicked()", self.add_file)
        ui.leaveFolderButton.connect("clicked()", self.leave_folder)
        ui.readButton.connect("clicked()", self.read_again)
        ui.removeButton.connect("clicked()", self.remove)
        ui.forgetButton.connect("clicked()", self.forget)
        ui.placeInletButton.connect("clicked()", self.place_inlet)
        ui.placeOutletsButton.connect("clicked()", self.place_outlets)
        ui.placeRegionButton.connect("clicked()", self.place_region)
        ui.phantomVesselComboBox.connect("currentIndexChanged(int)", self._vessel_chosen)
        ui.simulateButton.connect("clicked()", self.simulate)
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLED_MS)
        self._settle.connect("timeout()", self._propose_if_empty)
        self._step = qt.QTimer()
        self._step.setInterval(0)
        self._step.connect("timeout()", self._read_one)
        self._sample: Iterator[None] = iter(())
        self._sample_step = qt.QTimer()
        self._sample_step.setInterval(0)
        self._sample_step.connect("timeout()", self._load_on)

    def set_parameters(self, parameters: Any | None) -> None:
        super().set_parameters(parameters)
        self._declined = self._volume_proposed = False
        self._step.stop()
        self._sample_step.stop()
        self._waiting = []
        self._watch(slicer.mrmlScene if parameters is not None else None)
        if parameters is not None:
            self._settle.start()

    def update(self) -> None:
        parameters = self.panel.parameters
        if parameters is None:
            return
        if parameters.runs != self._text:
            self._text = parameters.runs
            try:
                self.entries = inputs.run_entries(parameters)
            except InputError as error:
                self.entries = ()
                self._refused(str(error))
        self.table.show(self.entries)
        folder = inputs.study_folder(parameters)
        self.ui.studyFolderRow.visible = folder is not None
        self.ui.studyFolderLabel.text = (
            _("Study folder {folder}: its volume and its study.toml are used where nothing is chosen here.").format(
                folder=folder.name
            )
            if folder is not None
            else ""
        )
        self.ui.phantomDegreeLabel.text = _degree_name(parameters.phantom_vessel)
        index = VESSELS.index(parameters.phantom_vessel) if parameters.phantom_vessel in VESSELS else 0
        if self.ui.phantomVesselComboBox.currentIndex != index:
            self.ui.phantomVesselComboBox.currentIndex = index
        self._say_state()

    # what is loaded

    def propose(self) -> None:
        """Take the volume and all X-ray runs of the scene; runs are read one by one, so that nothing freezes."""
        parameters = self.panel.parameters
        if parameters is None:
            return
        if parameters.volume is None:
            parameters.volume = _best_volume(slicer.mrmlScene)
        self._read_sequences()
        if not self._waiting and parameters.volume is None:
            self._refused(_("Nothing is loaded that could be used. Load a volume and X-ray runs, or the sample study."))

    @property
    def proposing(self) -> bool:
        """Whether loaded runs are still to be read, or to be looked for."""
        return bool(self._waiting) or self._settle.isActive() or self._sample_step.isActive()

    def load_sample(self) -> None:
        """Load the sample study into the scene and choose it, step by step, so that nothing freezes."""
        from VesselFlowGSPanel.samples import load_sample_steps

        self._declined = True
        self._sample = load_sample_steps(self.panel.parameters)
        self._sample_step.start()

    def _load_on(self) -> None:
        """One step of loading the sample."""
        try:
            next(self._sample)
        except StopIteration:
            self._sample_step.stop()
        except VesselFlowError as error:
            self._sample_step.stop()
            self._refused(str(error))

    def add_sequence(self) -> None:
        """Add the sequence that is chosen in the list."""
        node = self.ui.sequenceSelector.currentNode()
        if node is None:
            self._refused(_("Choose a loaded sequence first."))
            return
        try:
            self._add(entries_of_sequence(node, inputs.file_for_instance()))
        except VesselFlowError as error:
            self._refused(str(error))

    def add_file(self) -> None:
        """Add a run's file, or take a folder as the study."""
        text = self.ui.filePathLineEdit.currentPath.strip()
        if not text:
            self._refused(_("Name a file or a folder first."))
            return
        path = Path(text)
        try:
            if path.is_dir():
                self._declined = True
                self._refused(inputs.open_study(self.panel.parameters, path))
            else:
                self._add((entry_of_file(path),))
        except VesselFlowError as error:
            self._refused(str(error))

    def leave_folder(self) -> None:
        """Do not use the study folder any more."""
        parameters = self.panel.parameters
        folder = inputs.study_folder(parameters)
        if folder is None:
            return
        kept = [e for e in self.entries if not e.source.file or folder not in Path(e.source.file).parents]
        parameters.study_folder = Path()
        self._set(kept)

    # the table

    def read_again(self) -> None:
        """Read the headers of all runs anew; what was entered stays."""
        read: list[RunEntry] = []
        lost = []
        for entry in self.entries:
            try:
                read += self._again(entry)
            except VesselFlowError as error:
                read.append(entry)
                lost.append(str(error))
        without_file = [entry.name for entry in read if entry.found_in is Known.SEQUENCE]
        if without_file:
            lost.append(
                _(
                    "{runs}: Slicer knows no DICOM file of it. Import it in the DICOM module, or enter the values."
                ).format(runs=", ".join(without_file))
            )
        self._set(with_kept(read, self.entries))
        self._refused("\n".join(lost) or _("{count} headers were read.").format(count=len(read)))

    def remove(self) -> None:
        """Take the selected runs out of the table."""
        rows = self.table.selected()
        if not rows:
            self._refused(_("Select runs in the table first."))
            return
        self._declined = True
        self._set([entry for row, entry in enumerate(self.entries) if row not in rows])

    def forget(self) -> None:
        """Let the headers of the selected runs count again."""
        rows = self.table.selected()
        if not rows:
            self._refused(_("Select runs in the table first."))
            return
        self._set([_as_found(entry) if row in rows else entry for row, entry in enumerate(self.entries)])

    def _role_chosen(self, index: int) -> None:
        self._set_selected(self.ui.roleComboBox, index, "role", ROLES)

    def _intensity_chosen(self, index: int) -> None:
        self._set_selected(self.ui.intensityComboBox, index, "intensity", INTENSITIES)

    def _set_selected(self, chooser: Any, index: int, column: str, choices: Sequence[str]) -> None:
        """The first item of a chooser is its title."""
        if index < 1:
            return
        rows = self.table.selected()
        if not rows and len(self.entries) == 1:
            rows = {0}
        if not rows:
            self._refused(_("Select runs in the table first."))
        for row in sorted(rows):
            self.table.enter(row, column, choices[index - 1])
        chooser.setCurrentIndex(0)

    # openings and region

    def place_inlet(self) -> None:
        """Let the person click the inlet."""
        self._place("inlet", "vtkMRMLMarkupsFiducialNode", _("Inlet"), several=False)

    def place_outlets(self) -> None:
        """Let the person click the outlets."""
        self._place("outlets", "vtkMRMLMarkupsFiducialNode", _("Outlets"), several=True)

    def place_region(self) -> None:
        """Let the person draw the region."""
        self._place("region", "vtkMRMLMarkupsROINode", _("Region"), several=False)

    # teaching

    def simulate(self) -> None:
        """Simulate the vessel of the sliders and solve its flow."""
        parameters = self.panel.parameters
        try:
            self.panel.logic.simulate(
                parameters.phantom_vessel, parameters.phantom_degree, parameters.phantom_flow_ml_s
            )
        except VesselFlowError as error:
            self.panel.report(str(error))
            return
        self.panel.refresh()

    def close(self) -> None:
        self._settle.stop()
        self._step.stop()
        self._sample_step.stop()
        self._waiting = []
        self._watch(None)

    # inside

    def _watch(self, scene: Any | None) -> None:
        if self._looks_at is not None:
            self.panel.unobserve(self._looks_at, slicer.vtkMRMLScene.NodeAddedEvent, self._node_added)
        self._looks_at = scene
        if scene is not None:
            self.panel.observe(scene, slicer.vtkMRMLScene.NodeAddedEvent, self._node_added)

    def _node_added(self, *_event: Any) -> None:
        # restarted by every node: nothing is read while a load goes on
        if not self._declined:
            self._settle.start()

    def _propose_if_empty(self) -> None:
        parameters = self.panel.parameters
        if parameters is None or self._declined or self._waiting:
            return
        if parameters.runs or inputs.study_folder(parameters) is not None:
            return
        # a person who cleared the volume does not want it again
        if parameters.volume is None and not self._volume_proposed:
            volume = _best_volume(slicer.mrmlScene)
            if volume is not None:
                self._volume_proposed = True
                parameters.volume = volume
        self._read_sequences()

    def _read_sequences(self) -> None:
        self._proposed = []
        self._waiting = [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode")]
        if self._waiting:
            self._step.start()

    def _read_one(self) -> None:
        """One sequence a step: a header takes some milliseconds."""
        if not self._waiting or self.panel.parameters is None:
            self._step.stop()
            return
        node = slicer.mrmlScene.GetNodeByID(self._waiting.pop(0))
        try:
            if node is not None:
                self._proposed += entries_of_sequence(node, inputs.file_for_instance())
        except VesselFlowError:
            pass  # a sequence of something else
        if not self._waiting:
            self._step.stop()
            self._take_proposed()

    def _take_proposed(self) -> None:
        """Runs with a DICOM header, if there are any: other sequences are likely something else."""
        known = [entry for entry in self._proposed if entry.found_in is Known.HEADER]
        chosen = known or self._proposed
        self._proposed = []
        if chosen:
            self._add(chosen)

    def _add(self, entries: Sequence[RunEntry]) -> None:
        here = {_key(entry) for entry in self.entries}
        new = [entry for entry in entries if _key(entry) not in here]
        if not new:
            self._refused(_("It is in the table already."))
            return
        self._told = ""
        self._set([*self.entries, *new])

    def _again(self, entry: RunEntry) -> list[RunEntry]:
        from VesselFlowGSScene.runs import sequence_of

        sequence = sequence_of(entry, slicer.mrmlScene)
        if sequence is not None:
            return list(entries_of_sequence(sequence, inputs.file_for_instance()))
        if not entry.source.file:
            raise InputError(
                _("{run}: neither its file nor its sequence is there any more. Remove it.").format(run=entry.name)
            )
        return [entry_of_file(Path(entry.source.file))]

    def _edited(self, row: int, entry: RunEntry) -> None:
        self._told = ""
        self._set([entry if k == row else old for k, old in enumerate(self.entries)])

    def _set(self, entries: Sequence[RunEntry]) -> None:
        self.panel.parameters.runs = entries_to_json(entries) if entries else ""
        # the node tells of it; a panel that waits with that must not let the table stand as it was
        self.update()

    def _refused(self, text: str) -> None:
        self._told = text
        self._say_state()

    def _say_state(self) -> None:
        self.ui.runsMessageLabel.text = "\n".join(part for part in (self._told, _summary(self.entries)) if part)

    def _place(self, name: str, class_name: str, title: str, several: bool) -> None:
        parameters = self.panel.parameters
        if parameters is None:
            return
        if getattr(parameters, name) is None:
            setattr(parameters, name, slicer.mrmlScene.AddNewNodeByClass(class_name, title))
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(getattr(parameters, name))
        logic.StartPlaceMode(several)

    def _vessel_chosen(self, index: int) -> None:
        parameters = self.panel.parameters
        if parameters is not None and 0 <= index < len(VESSELS) and parameters.phantom_vessel != VESSELS[index]:
            parameters.phantom_vessel = VESSELS[index]


def _best_volume(scene: Any) -> Any | None:
    """The scalar volume with the most voxels that is a stack of slices, or None."""
    best, most = None, 0
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
        image = node.GetImageData() if node.GetClassName() == "vtkMRMLScalarVolumeNode" else None
        if image is None or min(image.GetDimensions()) < LEAST_SLICES or node.GetHideFromEditors():
            continue
        if image.GetNumberOfPoints() > most:
            best, most = node, image.GetNumberOfPoints()
    return best


def _summary(entries: Sequence[RunEntry]) -> str:
    if not entries:
        return _("No X-ray run is chosen.")
    parts = []
    good = sum(ready(entry) for entry in entries)
    lacking = [entry.name for entry in entries if missing(entry)]
    wrong = [entry.name for entry in entries if entry.problems]
    unused = sum(not entry.use and not entry.problems for entry in entries)
    if good:
        parts.append(_("{count} of {all} runs are ready.").format(count=good, all=len(entries)))
    if lacking:
        parts.append(_("Red cells are missing or wrong: {runs}.").format(runs=", ".join(lacking)))
    if wrong:
        parts.append(_("Cannot be used: {runs} (the reason is at the name).").format(runs=", ".join(wrong)))
    if unused:
        parts.append(_("{count} not used.").format(count=unused))
    return " ".join(parts)


def _as_found(entry: RunEntry) -> RunEntry:
    from VesselFlowGSScene.runs import COLUMNS

    for column in COLUMNS:
        entry = without(entry, column)
    return entry


def _key(entry: RunEntry) -> tuple[str, str]:
    """The same run by its instance, else by its file or its sequence."""
    if entry.source.instance_uid:
        return ("uid", entry.source.instance_uid)
    return ("source", entry.source.file or entry.source.sequence)


def _vessel_name(vessel: str) -> str:
    names = {
        "stenosis": _("narrowed artery (stenosis)"),
        "bend": _("bent artery"),
        "aneurysm": _("widened artery (aneurysm)"),
        "bifurcation": _("branching artery (bifurcation)"),
    }
    return names[vessel]


def _role_name(role: str) -> str:
    names = {
        "dsa": _("dsa: the C-arm at rest, contrast agent flows in"),
        "mask": _("mask: rotational, without contrast agent"),
        "fill": _("fill: rotational, with contrast agent"),
        "ignore": _("ignore"),
    }
    return names[role]


def _degree_name(vessel: str) -> str:
    names = {
        "stenosis": _("Narrowing of the diameter:"),
        "bend": _("Bend:"),
        "aneurysm": _("Widening:"),
        "bifurcation": _("Unlike branches:"),
    }
    return names.get(vessel, _("Degree:"))

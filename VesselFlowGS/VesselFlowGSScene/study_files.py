"""From what is chosen in the scene to a study folder that the engine reads: volume, lumen, runs and study.toml."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.description import (
    FILE_NAME,
    FlowSection,
    FluidSection,
    GeometrySection,
    OutletSection,
    PatientSection,
    Point,
    RunSection,
    StudyDescription,
    read_description,
)
from VesselFlowGSLib.errors import InputError, ResourceError
from VesselFlowGSScene.frames import lps_of
from VesselFlowGSScene.runs import RunEntry, entry_of_file, missing, value
from VesselFlowGSScene.scene_geometry import (
    array_of,
    grid_of_volume,
    has_labelmap,
    segments_of,
    surface_of_model,
    surface_of_segments,
    write_nrrd,
    write_surface,
)
from VesselFlowGSScene.study_toml import study_toml
from VesselFlowGSScene.xa_film import film_of_sequence

VOLUME_FILE = "volume.nrrd"
VOLUME_FOLDER = "volume"
INFLOW_FILE = "inflow.csv"

# directions that are turned by less than this (as a cosine of the rest) lie along the axes
AXIS_TOLERANCE = 1e-6


@dataclass(frozen=True)
class StudyInputs:
    """What a person chose. Nodes may be None, and markups empty: what is not given is found or assumed.

    scene     where the sequences of the runs lie
    volume    vtkMRMLScalarVolumeNode
    lumen     vtkMRMLSegmentationNode or vtkMRMLModelNode: the vessel as given
    segments  ids of the segments that make up the lumen; none: all that are visible
    inlet     vtkMRMLMarkupsFiducialNode of one point; outlets of any number
    region    vtkMRMLMarkupsROINode
    folder    a study folder: its volume, lumen and inflow are used where no node is given, and its study.toml where
              nothing is said here
    """

    scene: Any = None
    volume: Any = None
    lumen: Any = None
    segments: tuple[str, ...] = ()
    runs: tuple[RunEntry, ...] = ()
    inlet: Any = None
    outlets: Any = None
    region: Any = None
    isocentre_lps_mm: Point | None = None
    fluid: FluidSection = FluidSection()
    flow: FlowSection = FlowSection()
    outlet: tuple[OutletSection, ...] = ()
    patient: PatientSection = PatientSection()
    inflow_csv: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class FolderStudy:
    """A study folder as a person chose it: its runs for the table, and the rest in words.

    description  what its study.toml says, to be shown in the panel
    """

    folder: Path
    runs: tuple[RunEntry, ...]
    volumes: tuple[str, ...]
    description: StudyDescription
    missing: tuple[str, ...]
    assumed: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


Write = Callable[[Path], None]


@dataclass(frozen=True)
class PreparedStudy:
    """A study ready to be written, by any thread: of the scene only the memory of its voxels is read.

    Those voxels are not to be changed before; nodes may go.

    files  name in the study and what writes it
    notes  what a person should know, such as a turned region that was replaced by the box around it
    """

    files: tuple[tuple[str, Write], ...]
    description: StudyDescription
    notes: tuple[str, ...]

    def write(self, folder: Path | str) -> None:
        """Write the study folder, whole or not at all. Raises InputError where it exists, ResourceError on a full disk.

        Nothing that is written names the patient; DICOM files of the user are linked, or copied, as they are.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder.name}: the folder for the study is not empty. Choose another jobs folder.")
        part = folder.with_name(f"{folder.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name, write in self.files:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                write(part / name)
            (part / FILE_NAME).write_text(study_toml(self.description), encoding="utf-8")
            read_description(part)
            if folder.exists():
                folder.rmdir()
            part.replace(folder)
        except OSError as error:
            raise ResourceError(f"The study cannot be written to {folder.parent}: {error.strerror}.") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_study(folder: Path | str, inputs: StudyInputs) -> tuple[str, ...]:
    """Write the study that a reconstruction of the inputs needs; returns notes for the person.

    Raises InputError for inputs that are missing, empty or do not fit, naming the node and what to do.
    """
    study = prepare_study(inputs)
    study.write(folder)
    return study.notes


def prepare_study(inputs: StudyInputs) -> PreparedStudy:
    """Everything that is to be written, taken out of the scene (in its thread). Raises as write_study."""
    files: list[tuple[str, Write]] = []
    notes: list[str] = []
    base = read_description(inputs.folder) if inputs.folder is not None else StudyDescription()
    geometry = _geometry(inputs, base.geometry, notes)
    files += _volume_files(inputs)
    lumen = _lumen_file(inputs, base)
    if lumen is not None:
        files.append(lumen)
        geometry = replace(geometry, lumen_file=lumen[0])
    runs, run_files = _runs(inputs)
    files += run_files
    flow = _given(inputs.flow, base.flow)
    csv = inputs.inflow_csv or _path_in(inputs.folder, base.flow.inflow_csv)
    if csv is not None and flow.mean_inflow_ml_s is None:
        if not csv.is_file():
            raise InputError(f"{csv.name}: there is no such file. Choose the inflow table again.")
        files.append((INFLOW_FILE, _copy_of(csv)))
        flow = replace(flow, inflow_csv=INFLOW_FILE)
    else:
        flow = replace(flow, inflow_csv=None)
    if not files or all(name == INFLOW_FILE for name, _ in files):
        raise InputError("There is nothing to reconstruct: choose a volume, a lumen or an X-ray run.")
    description = StudyDescription(
        geometry=geometry,
        run=runs,
        fluid=_given(inputs.fluid, base.fluid),
        flow=flow,
        outlet=inputs.outlet or base.outlet,
        patient=_given(inputs.patient, base.patient),
    )
    return PreparedStudy(tuple(files), description, tuple(notes))


def study_of_folder(folder: Path | str) -> FolderStudy:
    """What a study folder holds, by headers alone; its runs carry what its study.toml says as entered.

    Raises InputError where the folder or its study.toml cannot be read at all.
    """
    from VesselFlowGSLib.acquisition.inspection import inspect_study

    found = inspect_study(folder)
    description = read_description(found.folder)
    refused = {run.name: run.refused for run in found.runs}
    runs = []
    for name in refused:
        entry = entry_of_file(found.folder / name)
        said = replace(description.of_run(name), file="")
        runs.append(replace(entry, name=name, entered=said))
    for said in description.run:
        if said.role == "ignore":
            entry = entry_of_file(found.folder / said.file)
            runs.append(replace(entry, name=said.file, entered=replace(said, file="")))
    held = [replace(entry, source=replace(entry.source, companions=len(runs))) for entry in runs]
    return FolderStudy(
        folder=found.folder,
        runs=tuple(sorted(held, key=lambda entry: entry.name)),
        volumes=tuple(v.name for v in found.volumes),
        description=description,
        missing=found.missing,
        assumed=found.assumed,
        problems=found.problems,
        notes=found.notes,
    )


def used_as_it_is(inputs: StudyInputs) -> bool:
    """Whether the inputs are a study folder and nothing else, so that the engine can read that folder itself."""
    if inputs.folder is None or any((inputs.volume, inputs.lumen, inputs.inflow_csv)):
        return False
    if any(map(_points, (inputs.inlet, inputs.outlets))) or inputs.region is not None:
        return False
    said = read_description(inputs.folder)
    if not _all_runs_as_said(inputs, said):
        return False
    sections = ("fluid", "flow", "patient")
    same = all(_given(getattr(inputs, name), getattr(said, name)) == getattr(said, name) for name in sections)
    isocentre = inputs.isocentre_lps_mm in (None, said.geometry.isocentre_lps_mm)
    return same and isocentre and inputs.outlet in ((), said.outlet)


def _all_runs_as_said(inputs: StudyInputs, said: StudyDescription) -> bool:
    """Whether the table holds every run of the folder, each as its study.toml says, and none that is left out."""
    if not inputs.runs:
        return not study_of_folder(inputs.folder).runs if inputs.folder is not None else True
    for entry in inputs.runs:
        if entry.source.companions != len(inputs.runs) or replace(entry.entered, file=entry.name) != said.of_run(
            entry.name
        ):
            return False
        # the engine refuses a study with a run that it cannot use, unless that is to be ignored
        if value(entry, "role") != "ignore" and (entry.problems or not entry.use):
            return False
    return True


# what is said, and by whom


def _given(section: Any, base: Any) -> Any:
    """The section, with what another one says where it says nothing."""
    defaults = {f.name: f.default for f in fields(section)}
    return replace(section, **{k: getattr(base, k) for k in defaults if getattr(section, k) == defaults[k]})


# points and regions


def _geometry(inputs: StudyInputs, base: GeometrySection, notes: list[str]) -> GeometrySection:
    inlets = _points(inputs.inlet)
    if len(inlets) > 1:
        raise InputError(f"{inputs.inlet.GetName()}: {len(inlets)} points, but a vessel has one inlet. Keep one point.")
    region = None if inputs.region is None else _region(inputs.region, notes)
    said = GeometrySection(
        isocentre_lps_mm=inputs.isocentre_lps_mm,
        region_lps_mm=region,
        inlet_lps_mm=inlets[0] if inlets else None,
        outlets_lps_mm=tuple(_points(inputs.outlets)),
    )
    return replace(_given(said, base), lumen_file=None)


def _points(markups: Any) -> list[Point]:
    """The placed points of a markups node, LPS mm, with all transforms above it applied."""
    if markups is None:
        return []
    placed = []
    for n in range(markups.GetNumberOfControlPoints()):
        if markups.GetNthControlPointPositionStatus(n) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            ras = [0.0, 0.0, 0.0]
            markups.GetNthControlPointPositionWorld(n, ras)
            placed.append(_point(lps_of(ras)))
    return placed


def _point(values: NDArray[Any]) -> Point:
    # the turn makes negative zeros, which read oddly in a file
    x, y, z = (float(v) + 0.0 for v in values)
    return x, y, z


def _region(roi: Any, notes: list[str]) -> tuple[Point, Point] | None:
    size = np.array(roi.GetSize())
    if min(size) <= 0:  # not drawn yet
        return None
    matrix = array_of(roi.GetObjectToWorldMatrix())
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) / 2
    corners = lps_of((signs * size) @ matrix[:3, :3].T + matrix[:3, 3])
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    if np.abs(axes).max(0).min() < 1 - AXIS_TOLERANCE:
        notes.append(f"{roi.GetName()} is turned: the box around it, along the patient's axes, is used.")
    return _point(corners.min(0)), _point(corners.max(0))


def _volume_files(inputs: StudyInputs) -> list[tuple[str, Write]]:
    if inputs.volume is not None:
        grid = grid_of_volume(inputs.volume)
        return [(VOLUME_FILE, lambda path: write_nrrd(path, grid))]
    if inputs.folder is None:
        return []
    folder = inputs.folder
    return [(VOLUME_FOLDER, lambda path: _link_volumes(folder, path))]


def _link_volumes(folder: Path, target: Path) -> None:
    """The volume of a study folder, under names that tell nothing. Slow for a series of many slices."""
    from VesselFlowGSLib.acquisition import reader
    from VesselFlowGSLib.acquisition.settings import AcquisitionSettings

    for n, source in enumerate(reader.find(folder, AcquisitionSettings()).volumes, 1):
        place = target / str(n)
        place.mkdir(parents=True)
        for m, path in enumerate(source.paths, 1):
            packed = path.name.lower().endswith(".nii.gz")
            ending = ".dcm" if source.dicom else ".nii.gz" if packed else path.suffix.lower()
            _link_to(path)(place / f"{m:05d}{ending}")


# lumen


def _lumen_file(inputs: StudyInputs, base: StudyDescription) -> tuple[str, Write] | None:
    node = inputs.lumen
    if node is None:
        given = _path_in(inputs.folder, base.geometry.lumen_file)
        if given is None:
            return None
        ending = ".nii.gz" if given.name.lower().endswith(".nii.gz") else given.suffix.lower()
        return f"lumen{ending}", _link_to(given)
    if node.IsA("vtkMRMLModelNode"):
        surface = surface_of_model(node)
        return "lumen.vtp", lambda path: write_surface(path, surface)
    if node.IsA("vtkMRMLSegmentationNode"):
        if has_labelmap(node):
            chosen = segments_of(node, inputs.segments)
            return "lumen.nrrd", lambda path: write_nrrd(path, chosen.grid())
        surface = surface_of_segments(node, inputs.segments)
        return "lumen.vtp", lambda path: write_surface(path, surface)
    raise InputError(f"{node.GetName()}: is no vessel. Choose a segmentation or a model.")


# runs


def _runs(inputs: StudyInputs) -> tuple[tuple[RunSection, ...], list[tuple[str, Write]]]:
    """What study.toml says of the runs, and their files. The number in a file's name is the row of the table."""
    digits = len(str(len(inputs.runs)))
    sections, files = [], []
    for row, entry in enumerate(inputs.runs, 1):
        if not entry.use or value(entry, "role") == "ignore":
            continue
        _refuse_incomplete(entry)
        name = f"run_{row:0{digits}d}.dcm"
        if entry.source.file:
            path = Path(entry.source.file)
            if not path.is_file():
                raise InputError(f"{entry.name}: its DICOM file is no longer there. Choose the run again.")
            files.append((name, _link_to(path)))
            section = _differing(entry)
        else:
            film = film_of_sequence(entry, inputs.scene, row)
            files.append((name, film.write))
            section = film.said
        if section != RunSection(file=""):
            sections.append(replace(section, file=name))
    return tuple(sections), files


def _refuse_incomplete(entry: RunEntry) -> None:
    if entry.problems:
        raise InputError(f"{entry.name}: {entry.problems[0]}")
    lacks = missing(entry)
    if lacks:
        listed = "; ".join(f"{column}: {reason}" for column, reason in lacks.items())
        raise InputError(f"{entry.name}: {listed} (or do not use the run).")


def _differing(entry: RunEntry) -> RunSection:
    """What was entered and is not what the header says anyway."""
    same = {
        f.name: f.default
        for f in fields(RunSection)
        if f.name != "file" and getattr(entry.entered, f.name) == getattr(entry.found, f.name)
    }
    return replace(entry.entered, file="", **same)


# files of the user


def _path_in(folder: Path | None, name: str | None) -> Path | None:
    return folder / name if folder is not None and name is not None else None


def _link_to(path: Path) -> Write:
    """Writes a second name of the file, or a copy where the disk does not allow that."""

    def write(target: Path) -> None:
        try:
            os.link(path.resolve(), target)
        except OSError:
            shutil.copyfile(path, target)

    return write


def _copy_of(path: Path) -> Write:
    def write(target: Path) -> None:
        shutil.copyfile(path, target)

    return write

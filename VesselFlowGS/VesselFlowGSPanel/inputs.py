"""From the parameter node to what is written and computed: the study's inputs, the job, its folder; and back."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import json
import os
import re
import tempfile
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib.acquisition.description import (
    FlowSection,
    FluidSection,
    GeometrySection,
    OutletSection,
    PatientSection,
    StudyDescription,
    read_description,
)
from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.worker.job import STUDY, Job, Phantom
from VesselFlowGSPanel.installation import environment_of
from VesselFlowGSPanel.parameters import VesselFlowGSParameterNode, Viscosity, Waveform, Where
from VesselFlowGSScene.frames import lps_of, ras_of
from VesselFlowGSScene.runs import (
    RunEntry,
    entries_of_json,
    entries_of_sequence,
    entries_to_json,
    entry_of_file,
)
from VesselFlowGSScene.study_files import StudyInputs, study_of_folder, used_as_it_is

# a worker whose window has been gone, or frozen, for so long ends
HEARTBEAT_S = 180.0

# what the engine takes where nothing is said
USUAL = {"density_kg_m3": 1060.0, "viscosity_pa_s": 0.0035, "hematocrit": 0.45}

OUTLET_KEYS = ("share", "pressure_pa", "resistance_pa_s_ml")


def study_inputs(parameters: Any) -> StudyInputs:
    """What the panel has chosen, as a study. Raises InputError for a choice that contradicts itself."""
    if parameters.lumen_segmentation is not None and parameters.lumen_model is not None:
        raise InputError(_("The lumen is given twice, as a segmentation and as a model: clear one of them."))
    folder = study_folder(parameters)
    base = read_description(folder) if folder is not None else StudyDescription()
    return StudyInputs(
        scene=slicer.mrmlScene,
        volume=parameters.volume,
        lumen=parameters.lumen_segmentation or parameters.lumen_model,
        runs=run_entries(parameters),
        inlet=parameters.inlet,
        outlets=parameters.outlets,
        region=parameters.region,
        isocentre_lps_mm=_isocentre(parameters),
        fluid=_fluid(parameters, base.fluid),
        flow=_flow(parameters, base.flow),
        outlet=outlet_sections(parameters),
        patient=_patient(parameters),
        folder=folder,
    )


def job_of(parameters: Any) -> Job:
    """What shall be computed of the inputs. Raises InputError as study_inputs, and where the Python is not there."""
    inputs = study_inputs(parameters)
    study = str(inputs.folder) if used_as_it_is(inputs) else STUDY
    return Job(study=study, **_settings_of(parameters))


def phantom_job(parameters: Any, vessel: str, degree: float, flow_ml_s: float) -> Job:
    """The job of a simulated vessel: its flow is given, so that it is solved at once.

    degree  0..0.7: the narrowing of the diameter (stenosis), its widening (aneurysm), how sharply it bends (bend), how
            unlike the branches are (bifurcation)
    """
    degree = min(max(float(degree), 0.0), 0.7)
    shapes: dict[str, dict[str, Any]] = {
        "stenosis": {"severity": degree},
        "bend": {"bend_angle_deg": 15.0 + 105.0 * degree / 0.7},
        "aneurysm": {"dilation": 1.0 + 1.4 * degree},
        "bifurcation": {"asymmetry": 1.0 - 0.6 * degree / 0.7},
    }
    if vessel not in shapes:
        raise InputError(
            _("There is no vessel {vessel}; choose one of {known}.").format(vessel=vessel, known=", ".join(shapes))
        )
    changes = {**shapes[vessel], "mean_inflow_ml_s": float(flow_ml_s)}
    # a lesson does not wait for the last digit
    return Job(phantom=Phantom(vessel, changes), **{**_settings_of(parameters), "quality": "preview", "preset": None})


def new_job_folder(parameters: Any, name: str) -> Path:
    """A folder for one job, made anew. Raises InputError where it cannot be made.

    Only a name that a person typed for the case becomes part of the folder's: nodes may be called after a patient.
    """
    chosen = path_of(parameters.jobs_folder)
    base = chosen or Path(slicer.app.temporaryPath or tempfile.gettempdir()) / "VesselFlowGS"
    typed = name if name and name == parameters.case_name else "case"
    label = re.sub(r"[^\w-]+", "_", typed).strip("_")[:40] or "case"
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        base.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{label}-{stamp}-", dir=base))
    except OSError as error:
        raise InputError(
            _(
                "The jobs folder {folder} cannot be written to ({why}): choose another one in the section Engine."
            ).format(folder=base, why=error.strerror or error)
        ) from None


def fill_parameters(
    parameters: Any,
    volume: Any = None,
    runs: Sequence[Any] = (),
    lumen: Any = None,
    study: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Put into the parameters what a script names. Raises InputError for what does not exist or does not fit.

    runs      nodes of sequences or browsers, or paths of files
    lumen     a segmentation or a model
    study     a study folder
    settings  names of the parameter node; enums also by their text, such as quality="preview"
    """
    if study is not None:
        open_study(parameters, Path(study))
    if volume is not None:
        parameters.volume = volume
    if lumen is not None:
        is_segmentation = lumen.IsA("vtkMRMLSegmentationNode")
        if not is_segmentation and not lumen.IsA("vtkMRMLModelNode"):
            raise InputError(
                _("{name}: is no lumen. Give a segmentation or a model node.").format(name=lumen.GetName())
            )
        parameters.lumen_segmentation = lumen if is_segmentation else None
        parameters.lumen_model = None if is_segmentation else lumen
    if runs:
        parameters.runs = entries_to_json([entry for run in runs for entry in _entries_of(run)])
    for name, told in (settings or {}).items():
        _set(parameters, name, told)


def open_study(parameters: Any, folder: Path) -> str:
    """Take a study folder as the inputs; what its study.toml says is shown in the panel. Returns notes for the person.

    Raises InputError where the folder cannot be read.
    """
    found = study_of_folder(folder)
    parameters.study_folder = folder.absolute()
    parameters.volume = parameters.lumen_segmentation = parameters.lumen_model = None
    parameters.inlet = parameters.outlets = parameters.region = None
    parameters.runs = entries_to_json(found.runs)
    said = found.description
    for section in (said.fluid, said.flow, said.patient):
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            if value is not None and hasattr(type(parameters), field.name):
                _set(parameters, field.name, value)
    if said.flow.mean_inflow_ml_s is not None:
        parameters.inflow_given = True
    parameters.outlet_conditions = json.dumps([_said(outlet) for outlet in said.outlet]) if said.outlet else ""
    _take_isocentre(parameters, said.geometry)
    notes = [*found.problems, *found.missing]
    if not found.volumes and said.geometry.lumen_file is None and not any(run.turning for run in found.runs):
        notes.append(_("The folder holds no volume: the vessel's shape must come from a rotational run or a lumen."))
    return "\n".join(notes)


def study_folder(parameters: Any) -> Path | None:
    """The study folder that is chosen, or None."""
    return path_of(parameters.study_folder)


def path_of(path: Path) -> Path | None:
    """A path parameter; an empty one is kept in the scene as '.'."""
    return None if str(path) in ("", ".") else Path(path)


def run_entries(parameters: Any) -> tuple[RunEntry, ...]:
    """The table of runs, as the parameters hold it. Raises InputError where it is damaged."""
    return entries_of_json(parameters.runs or "", file_for_instance())


def file_for_instance() -> Any:
    """How the file of a DICOM instance is found, where there is a DICOM database; else None."""
    database = getattr(slicer, "dicomDatabase", None)
    return None if database is None or not database.isOpen else database.fileForInstance


def outlet_list(parameters: Any) -> list[dict[str, float]]:
    """The conditions of the outlets, as the parameters hold them; an empty entry: to be found."""
    try:
        held = json.loads(parameters.outlet_conditions or "[]")
        return [{key: float(entry[key]) for key in OUTLET_KEYS if key in entry} for entry in held]
    except (ValueError, TypeError):
        raise InputError(_("The saved outlet conditions are damaged: enter them again.")) from None


def outlet_sections(parameters: Any) -> tuple[OutletSection, ...]:
    """One section an outlet, in the order of its points; none where nothing is said of any."""
    held = outlet_list(parameters)
    if not any(held):
        return ()
    count = parameters.outlets.GetNumberOfControlPoints() if parameters.outlets is not None else 0
    if count:
        held = (held + [{}] * count)[:count]
    return tuple(OutletSection(**entry) for entry in held)


def preset_names() -> tuple[str, ...]:
    """The presets that come with the engine; looked up as files, since the engine's own list would import torch."""
    import VesselFlowGSLib.presets

    folder = Path(VesselFlowGSLib.presets.__file__).parent
    return tuple(sorted(file.stem for file in folder.glob("*.toml")))


def _settings_of(parameters: Any) -> dict[str, Any]:
    # a Python that is not there is said before anything is made
    environment_of(parameters.where, Path(parameters.python))
    return {
        "quality": parameters.quality.value,
        "preset": parameters.preset or None,
        "device": parameters.device.value,
        "seed": parameters.seed,
        "heartbeat_s": None if parameters.where is Where.FOLDER else HEARTBEAT_S,
    }


def _isocentre(parameters: Any) -> tuple[float, float, float] | None:
    if not parameters.isocentre_given:
        return None
    ras = (parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm)
    x, y, z = (float(value) + 0.0 for value in lps_of(ras))
    return x, y, z


def _take_isocentre(parameters: Any, geometry: GeometrySection) -> None:
    parameters.isocentre_given = geometry.isocentre_lps_mm is not None
    if geometry.isocentre_lps_mm is not None:
        r, a, s = (float(value) + 0.0 for value in ras_of(geometry.isocentre_lps_mm))
        parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm = r, a, s


def _fluid(parameters: Any, base: FluidSection) -> FluidSection:
    """What differs from the usual is said; and what a study.toml says is said again, so that the panel counts."""
    told: dict[str, Any] = {
        name: getattr(parameters, name)
        for name, usual in USUAL.items()
        if getattr(parameters, name) != usual or getattr(base, name) is not None
    }
    if parameters.model is not Viscosity.newtonian or base.model is not None:
        told["model"] = parameters.model.value
    return FluidSection(**told)


def _flow(parameters: Any, base: FlowSection) -> FlowSection:
    inflow = parameters.mean_inflow_ml_s if parameters.inflow_given else None
    waveform = parameters.waveform.value if parameters.waveform is not Waveform.auto else base.waveform
    return FlowSection(waveform=waveform, mean_inflow_ml_s=inflow)


def _patient(parameters: Any) -> PatientSection:
    """Zero stands for not known."""
    return PatientSection(
        **{name: getattr(parameters, name) or None for name in ("heart_rate_bpm", "systolic_mmhg", "diastolic_mmhg")}
    )


def _entries_of(run: Any) -> tuple[RunEntry, ...]:
    if isinstance(run, (str, os.PathLike)):
        return (entry_of_file(Path(run)),)
    return entries_of_sequence(run, file_for_instance())


def _said(outlet: OutletSection) -> dict[str, float]:
    return {key: getattr(outlet, key) for key in OUTLET_KEYS if getattr(outlet, key) is not None}


def _set(parameters: Any, name: str, told: Any) -> None:
    kinds = typing.get_type_hints(VesselFlowGSParameterNode)
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, 1)
        hint = _("did you mean {name}?").format(name=near[0]) if near else ""
        raise InputError(_("There is no setting {name}. {hint}").format(name=name, hint=hint).strip())
    kind = kinds[name]
    try:
        if isinstance(kind, type) and issubclass(kind, Enum) and not isinstance(told, Enum):
            told = kind(told)
        elif kind is Path:
            told = Path(told)
        elif kind is float and not isinstance(told, bool):
            told = float(told)
        setattr(parameters, name, told)
    except (ValueError, TypeError) as error:
        raise InputError(_("{name} = {value}: {why}").format(name=name, value=told, why=error)) from None
    if name == "mean_inflow_ml_s":
        parameters.inflow_given = True

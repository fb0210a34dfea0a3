"""The sample study, bundled with the extension: in Slicer's Sample Data module, and one click away in the panel."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from VesselFlowGSLib.errors import InputError
from VesselFlowGSScene.frames import ras_of
from VesselFlowGSScene.runs import entries_to_json, entry_of_file

CATEGORY = "VesselFlowGS"
SAMPLE = "Narrowed artery, simulated"
VOLUME = "volume.nrrd"
RUNS = ("dsa_1.dcm", "dsa_2.dcm")


def sample_folder() -> Path:
    """The folder of the sample study. Raises InputError where the installation lacks it."""
    module = Path(__file__).resolve().parent.parent
    for folder in (module / "Resources" / "sample_study", module.parent / "Resources" / "sample_study"):
        if (folder / VOLUME).is_file():
            return folder
    raise InputError(
        _("The sample study is not part of this installation. Simulate a vessel instead (section Inputs, Simulate).")
    )


def load_sample(parameters: Any) -> Any:
    """Load the sample's volume, and put its runs, openings and isocentre into the parameters; returns the volume."""
    for _step in load_sample_steps(parameters):
        pass
    return parameters.volume


def load_sample_steps(parameters: Any) -> Iterator[None]:
    """The same in short steps, at the end of each a yield. Raises InputError at the first where there is no sample."""
    folder = sample_folder()
    geometry = tomllib.loads((folder / "study.toml").read_text(encoding="utf-8"))["geometry"]
    volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(folder / VOLUME), "SampleArtery")
    yield
    entries = []
    for name in RUNS:
        entries.append(entry_of_file(folder / name))
        yield
    parameters.study_folder = Path()
    parameters.volume = volume
    yield
    parameters.inlet = _points("SampleArtery inlet", [geometry["inlet_lps_mm"]])
    yield
    parameters.outlets = _points("SampleArtery outlets", geometry["outlets_lps_mm"])
    yield
    parameters.isocentre_given = True
    r, a, s = ras_of(geometry["isocentre_lps_mm"])
    parameters.isocentre_r_mm, parameters.isocentre_a_mm, parameters.isocentre_s_mm = float(r), float(a), float(s)
    yield
    parameters.case_name = "SampleArtery"
    parameters.runs = entries_to_json(entries)


def register(sample_data_logic: Any, thumbnail: str, load: Any) -> None:
    """Enter the sample into Slicer's Sample Data; load is called when a person asks for it."""
    if hasattr(sample_data_logic, "registerCustomSampleDataCategory"):
        sample_data_logic.registerCustomSampleDataCategory(CATEGORY, title=_("Vessel Flow GS"))
    sample_data_logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        thumbnailFileName=thumbnail,
        uris=[""],
        fileNames=[VOLUME],
        nodeNames=["SampleArtery"],
        customDownloader=lambda _source: load(),
    )


def _points(name: str, lps: list[list[float]]) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for point in ras_of(lps):
        node.AddControlPoint(*(float(value) for value in point))
    return node

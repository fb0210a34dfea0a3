"""The job: what a worker shall compute, as job.json in the folder that it computes in.

Needs the standard library alone. The folder is a result folder that also holds the names listed here.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from VesselFlowGSLib.errors import InputError

SCHEMA = 1
JOB_FILE = "job.json"
STUDY = "study"
FRAMES = "frames"
MESSAGES = "messages.jsonl"
LOG = "log.txt"
CANCEL = "cancel"
HEARTBEAT = "heartbeat"
BESIDE_THE_RESULT = (JOB_FILE, STUDY, FRAMES, MESSAGES, LOG, CANCEL, HEARTBEAT)


@dataclass(frozen=True)
class Phantom:
    """A simulated vessel as the study.

    vessel   "stenosis", "bend", "aneurysm" or "bifurcation"
    changes  settings of the simulation by name, as severity, dilation, mean_inflow_ml_s
    images   False: the vessel and its inflow are given, for a flow within seconds; True: as a scanner would see it,
             films and volume, which takes minutes, and the inflow is to be found
    """

    vessel: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    images: bool = False


@dataclass(frozen=True)
class Job:
    """What to compute.

    study        folder of the study, from the job's folder on, or absolute
    quality, preset, device, seed   as on the command line
    settings     tables as in a settings file; they count over quality and preset
    resume       go on from what the folder holds of a stopped run
    heartbeat_s  the worker ends when the file heartbeat is not touched for so long; None: nobody needs to watch
    phantom      simulate the study first
    """

    study: str = STUDY
    quality: str = "standard"
    preset: str | None = None
    device: str = "auto"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    heartbeat_s: float | None = None
    phantom: Phantom | None = None


def write_job(folder: str | os.PathLike[str], job: Job) -> None:
    """Make the folder, if need be, and write its job.json whole. Raises OSError where that cannot be done."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    part = place / f".{JOB_FILE}.part"
    part.write_text(json.dumps({"schema": SCHEMA, **asdict(job)}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    os.replace(part, place / JOB_FILE)


def read_job(folder: str | os.PathLike[str]) -> Job:
    """The job of a folder. Raises InputError: no job.json, another schema, an unknown key, a value of a wrong type."""
    path = Path(folder) / JOB_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give the folder of a job.") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a JSON object.")
    if content.pop("schema", None) != SCHEMA:
        raise InputError(f"{path}: schema must be {SCHEMA}. It was written for another version of VesselFlowGS.")
    phantom = content.pop("phantom", None)
    if phantom is not None:
        phantom = Phantom(**_checked(phantom, Phantom, _PHANTOM_KINDS, f"{path}: phantom"))
        if not phantom.vessel:
            raise InputError(f"{path}: phantom needs a vessel.")
    job = Job(**_checked(content, Job, _JOB_KINDS, str(path)), phantom=phantom)
    if job.heartbeat_s is not None and not job.heartbeat_s > 0:
        raise InputError(f"{path}: heartbeat_s must be above 0, or null.")
    if job.seed < 0:
        raise InputError(f"{path}: seed must be a whole number from 0 up.")
    return job


_Kinds = Mapping[str, tuple[type, ...]]
_JOB_KINDS: _Kinds = {
    "study": (str,),
    "quality": (str,),
    "preset": (str, type(None)),
    "device": (str,),
    "seed": (int,),
    "settings": (dict,),
    "resume": (bool,),
    "heartbeat_s": (int, float, type(None)),
}
_PHANTOM_KINDS: _Kinds = {"vessel": (str,), "changes": (dict,), "images": (bool,)}


def _checked(content: Any, kind: type[Any], kinds: _Kinds, where: str) -> dict[str, Any]:
    """The content, if its keys and the types of its values are those of the dataclass."""
    if not isinstance(content, dict):
        raise InputError(f"{where}: must be a JSON object.")
    for key, value in content.items():
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(kinds)}."
            raise InputError(f"{where}: unknown key {key}; {hint}")
        if not isinstance(value, kinds[key]) or (isinstance(value, bool) and bool not in kinds[key]):
            wanted = " or ".join("null" if k is type(None) else k.__name__ for k in kinds[key])
            raise InputError(f"{where}: {key} must be {wanted}, not {value!r}.")
    missing = [f.name for f in fields(kind) if f.name in kinds and f.name == "vessel" and f.name not in content]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing.")
    return content

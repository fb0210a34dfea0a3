"""The table of X-ray runs: what is known of each run, where it is known from, what a person enters, what is missing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from VesselFlowGSLib.acquisition.description import FILE_NAME, RunSection, checked
from VesselFlowGSLib.errors import InputError, VesselFlowError
from VesselFlowGSScene import run_cells as cells

if TYPE_CHECKING:
    from VesselFlowGSLib.acquisition.xa import XAHeader

FileForInstance = Callable[[str], str]

# A sequence loaded from DICOM carries this attribute on each of its frames.
INSTANCE_UIDS = "DICOM.instanceUIDs"
SCHEMA = 1


class Known(str, Enum):
    """Where a value of the table comes from."""

    HEADER = "header"
    SEQUENCE = "sequence"
    ENTERED = "entered"
    ASSUMED = "assumed"
    MISSING = "missing"


class Intensity(str, Enum):
    """How gray levels without a DICOM header follow the X-ray intensity; only a person can know."""

    LINEAR = "linear"
    LOG = "log"
    LOG_BRIGHT = "log, vessels bright"


INTENSITY = "intensity"

# The columns of the table, in order: keys of [[run]] in study.toml, and the intensity of a run without a DICOM file.
COLUMNS = (
    "role",
    "primary_angle_deg",
    "secondary_angle_deg",
    "source_to_detector_mm",
    "source_to_isocentre_mm",
    "pixel_spacing_mm",
    "frame_times_s",
    "mask_frames",
    "time_offset_s",
    "principal_point_px",
    "flip_rows",
    "flip_columns",
    INTENSITY,
)

_HOW = {
    "primary_angle_deg": "enter the degrees, positive towards the patient's left (LAO)",
    "secondary_angle_deg": "enter the degrees, positive towards the head (CRA)",
    "source_to_detector_mm": "enter the millimetres from the X-ray source to the detector (SID)",
    "source_to_isocentre_mm": "enter the millimetres from the X-ray source to the isocentre (SOD)",
    "pixel_spacing_mm": "enter the millimetres between pixels at the detector: row, column",
    "frame_times_s": "enter the seconds from frame to frame, or the time of every frame",
    INTENSITY: "choose whether gray levels are linear in the X-ray intensity or its logarithm",
}


@dataclass(frozen=True)
class RunSource:
    """Where the frames are: a DICOM file, a sequence of the scene, or both.

    file          absolute path, empty where there is no file
    sequence      id of the vtkMRMLSequenceNode, empty for a file that is not loaded
    instance_uid  SOPInstanceUID of the file that the sequence was loaded from
    companions    how many runs the study folder held that the file was found in, itself counted; 0: it came alone
    """

    file: str = ""
    sequence: str = ""
    instance_uid: str = ""
    companions: int = 0


@dataclass(frozen=True)
class RunEntry:
    """One run of the table. Angles in degrees, distances in mm, times in s, pixels as (row, column).

    name            for the person at the screen; never written into a study
    found           what header or sequence say; mask_frames count from 1
    found_in        HEADER or SEQUENCE
    entered         what a person put in its place; None and False: nothing
    primary_turn_deg, secondary_turn_deg   offsets of every frame from the first, of a C-arm that turns; else empty
    intensity, intensity_entered           see Intensity; needed only where there is no DICOM file
    subtracted      why the frames are taken as already subtracted; empty where they are not
    use             whether the run takes part in the reconstruction
    problems        why it cannot; a run with problems is not used
    """

    name: str
    source: RunSource
    frames: int
    rows: int
    columns: int
    found: RunSection
    found_in: Known
    entered: RunSection = RunSection(file="")
    primary_turn_deg: tuple[float, ...] = ()
    secondary_turn_deg: tuple[float, ...] = ()
    intensity: Intensity | None = None
    intensity_entered: Intensity | None = None
    subtracted: str = ""
    use: bool = True
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def turning(self) -> bool:
        """Whether the C-arm turns during the run."""
        return bool(self.primary_turn_deg)

    @property
    def role(self) -> str:
        return str(value(self, "role"))

    @property
    def primary_angle_deg(self) -> float | None:
        return value(self, "primary_angle_deg")

    @property
    def secondary_angle_deg(self) -> float | None:
        return value(self, "secondary_angle_deg")

    @property
    def source_to_detector_mm(self) -> float | None:
        return value(self, "source_to_detector_mm")

    @property
    def source_to_isocentre_mm(self) -> float | None:
        return value(self, "source_to_isocentre_mm")

    @property
    def pixel_spacing_mm(self) -> tuple[float, float] | None:
        return value(self, "pixel_spacing_mm")

    @property
    def principal_point_px(self) -> tuple[float, float]:
        return value(self, "principal_point_px")

    @property
    def frame_times_s(self) -> tuple[float, ...] | None:
        return value(self, "frame_times_s")

    @property
    def mask_frames(self) -> tuple[int, ...] | None:
        return value(self, "mask_frames")

    @property
    def time_offset_s(self) -> float | None:
        return value(self, "time_offset_s")


# what is known


def value(entry: RunEntry, column: str) -> Any:
    """What a column holds: as entered, else as found, else as assumed, else None."""
    for held in (_entered(entry, column), _found(entry, column)):
        if held is not None:
            return held
    if column == "role" and not entry.turning:
        return "dsa"
    if column == "role":
        return "mask or fill"
    if column == "principal_point_px":
        return ((entry.rows - 1) / 2, (entry.columns - 1) / 2)
    return False if column in ("flip_rows", "flip_columns") else None


def known_from(entry: RunEntry, column: str) -> Known | None:
    """Where the value of a column comes from; None for one that may stay empty."""
    if _entered(entry, column) is not None:
        return Known.ENTERED
    if _found(entry, column) is not None:
        return entry.found_in
    if column in missing(entry):
        return Known.MISSING
    return Known.ASSUMED if value(entry, column) is not None else None


def missing(entry: RunEntry) -> dict[str, str]:
    """Columns that a reconstruction needs and that are empty, each with the reason and what to enter."""
    if not entry.use or value(entry, "role") == "ignore":
        return {}
    needed = ["primary_angle_deg", "secondary_angle_deg", "source_to_detector_mm", "source_to_isocentre_mm"]
    needed.append("pixel_spacing_mm")
    if not entry.turning:
        needed.append("frame_times_s")
    if not entry.source.file:
        needed.append(INTENSITY)
    lacks = {column: _reason(entry, column) for column in needed if value(entry, column) is None}
    near, far = entry.source_to_isocentre_mm, entry.source_to_detector_mm
    if near is not None and far is not None and near >= far:
        text = f"the isocentre ({near:g} mm) must be nearer to the source than the detector ({far:g} mm): correct one"
        lacks["source_to_isocentre_mm"] = text
    return lacks


def ready(entry: RunEntry) -> bool:
    """Whether the run is used and lacks nothing."""
    return entry.use and not entry.problems and not missing(entry)


# what a person enters


def with_text(entry: RunEntry, column: str, text: str) -> RunEntry:
    """The entry with one cell as a person typed it; an empty text takes the entered value away again.

    frame_times_s takes one number (the seconds between frames) or one for every frame; mask_frames takes ranges
    ("1-3, 5"); pixel_spacing_mm one number or two. Raises InputError with what is wrong and what to enter.
    """
    if not text.strip():
        return without(entry, column)
    try:
        return with_value(entry, column, cells.read(column, text.strip(), entry.frames))
    except InputError as error:
        raise InputError(str(error).removeprefix(f"{FILE_NAME}: [run] ")) from None


def with_value(entry: RunEntry, column: str, told: Any) -> RunEntry:
    """The entry with a value entered, checked as study.toml would be. Raises InputError."""
    if column == INTENSITY:
        if told not in tuple(Intensity):
            raise InputError(f"{INTENSITY} = {told!r}: enter one of {', '.join(i.value for i in Intensity)}.")
        return replace(entry, intensity_entered=Intensity(told))
    plain = list(told) if isinstance(told, tuple) else told
    read = checked("run", column, plain)
    if column == "frame_times_s" and len(read) != entry.frames:
        raise InputError(f"frame_times_s: {len(read)} values for {entry.frames} frames. Enter one for every frame.")
    if column == "mask_frames" and max(read) > entry.frames:
        raise InputError(f"mask_frames: there is no frame {max(read)}, the run has {entry.frames} frames.")
    if column == "role" and read != "ignore" and (read == "dsa") == entry.turning:
        raise InputError(
            'role: "dsa" is for a C-arm at rest, "mask" and "fill" are for one that turns: '
            f"this one {'turns' if entry.turning else 'is at rest'}."
        )
    return replace(entry, entered=replace(entry.entered, **{column: read}))


def without(entry: RunEntry, column: str) -> RunEntry:
    """The entry as it was found, for this column."""
    if column == INTENSITY:
        return replace(entry, intensity_entered=None)
    empty = False if column in ("flip_rows", "flip_columns") else None
    return replace(entry, entered=replace(entry.entered, **{column: empty}))


def text_of(entry: RunEntry, column: str) -> str:
    """A column as the table shows it, and as with_text reads it again."""
    held = value(entry, column)
    return cells.shown(column, held.value if isinstance(held, Intensity) else held)


# where runs come from


def entry_of_file(path: Path | str) -> RunEntry:
    """The run of an XA DICOM file (Enhanced XA too), by its header alone. Raises InputError where it is none."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path.name}: there is no such file. Choose an X-ray angiographic DICOM file.")
    from VesselFlowGSLib.acquisition import xa
    from VesselFlowGSLib.acquisition.settings import AcquisitionSettings

    header = xa.read_header(path, path.name, AcquisitionSettings())
    return _entry_of_header(header, path.name, RunSource(file=str(path.resolve())))


def entries_of_sequence(node: Any, file_for_instance: FileForInstance | None = None) -> tuple[RunEntry, ...]:
    """The runs of a sequence, or of every image sequence of a browser (two of a biplane run).

    file_for_instance  path of the DICOM file with this SOPInstanceUID, empty where it is not known:
                       slicer.dicomDatabase.fileForInstance. Angles, distances and times are read there, because a
                       sequence does not keep them.
    Raises InputError where the node holds no two-dimensional images.
    """
    sequences = [node] if node.IsA("vtkMRMLSequenceNode") else _sequences_of(node)
    filmed = [sequence for sequence in sequences if _is_film(sequence)]
    if not filmed:
        raise InputError(f"{node.GetName()}: holds no two-dimensional gray images. Choose an X-ray run.")
    entries = tuple(_entry_of_sequence(sequence, file_for_instance) for sequence in filmed)
    if len(entries) > 1 and not any(entry.source.file for entry in entries):
        return tuple(_simultaneous(entry) for entry in entries)
    return entries


def with_kept(entries: Iterable[RunEntry], before: Iterable[RunEntry]) -> tuple[RunEntry, ...]:
    """Entries read anew, with what a person had entered for the same runs before."""
    old = {_identity(entry): entry for entry in before}
    kept = []
    for entry in entries:
        same = old.get(_identity(entry))
        if same is not None and same.frames == entry.frames:
            entry = replace(
                entry,
                name=same.name,
                source=replace(entry.source, companions=same.source.companions),
                entered=same.entered,
                intensity_entered=same.intensity_entered,
                use=same.use and not entry.problems,
            )
        kept.append(entry)
    return tuple(kept)


def sequence_of(entry: RunEntry, scene: Any) -> Any | None:
    """The entry's sequence in the scene, by id and, in a scene that was read anew, by name."""
    if not entry.source.sequence or scene is None:
        return None
    node = scene.GetNodeByID(entry.source.sequence)
    if node is not None and node.IsA("vtkMRMLSequenceNode") and node.GetName() == entry.name:
        return node
    named = [n for n in slicer.util.getNodesByClass("vtkMRMLSequenceNode", scene) if n.GetName() == entry.name]
    return named[0] if len(named) == 1 else None


# as text in the parameter node


def entries_to_json(entries: Sequence[RunEntry]) -> str:
    """The table as text. Of runs that lie in the scene no path is kept, for a scene may be handed on."""
    return json.dumps({"schema": SCHEMA, "runs": [_plain(entry) for entry in entries]})


def entries_of_json(text: str, file_for_instance: FileForInstance | None = None) -> tuple[RunEntry, ...]:
    """The inverse of entries_to_json; an empty text holds no runs. Raises InputError for a text of another kind."""
    if not text.strip():
        return ()
    try:
        table = json.loads(text)
        if table["schema"] != SCHEMA:
            raise InputError("The table of runs was saved by another version of VesselFlowGS: read the runs again.")
        return tuple(_entry_of_plain(row, file_for_instance) for row in table["runs"])
    except (ValueError, KeyError, TypeError):
        raise InputError("The saved table of runs is damaged: read the runs again.") from None


# headers


def _entry_of_header(header: XAHeader, name: str, source: RunSource) -> RunEntry:
    from VesselFlowGSLib.acquisition import xa
    from VesselFlowGSLib.acquisition.settings import AcquisitionSettings

    turning = header.rotational(AcquisitionSettings())
    refusal = xa.refused_intensity(header)
    problems = [_of_this_run(str(refusal), header.name)] if refusal is not None else []
    if header.frames < 2:
        problems.append(f"{xa.named('NumberOfFrames')} is 1: one frame is no run and shows no flow.")
    mask = next((m.frames for m in header.masks if m.frames), ())
    found = RunSection(
        file="",
        mask_frames=tuple(n + 1 for n in mask) or None,
        primary_angle_deg=_first(header.primary_deg),
        secondary_angle_deg=_first(header.secondary_deg),
        source_to_detector_mm=header.source_to_detector_mm,
        source_to_isocentre_mm=header.source_to_isocentre_mm,
        pixel_spacing_mm=header.spacing_mm,
        frame_times_s=None if header.frame_times_s is None else tuple(float(t) for t in header.frame_times_s),
    )
    return RunEntry(
        name=name,
        source=source,
        frames=header.frames,
        rows=header.rows,
        columns=header.columns,
        found=found,
        found_in=Known.HEADER,
        primary_turn_deg=_turn(header.primary_deg, header.frames) if turning else (),
        secondary_turn_deg=_turn(header.secondary_deg, header.frames) if turning else (),
        intensity=_intensity_of(header),
        subtracted=header.subtracted,
        use=not problems,
        problems=tuple(problems),
        notes=tuple(_of_this_run(note, header.name) for note in header.notes),
    )


def _of_this_run(text: str, name: str) -> str:
    return text.removeprefix(f"{name}: ")


def _first(angles: NDArray[np.float64] | None) -> float | None:
    return None if angles is None else float(angles[0])


def _turn(angles: NDArray[np.float64] | None, frames: int) -> tuple[float, ...]:
    if angles is None:
        return (0.0,) * frames
    return tuple(float(a) for a in np.broadcast_to(angles - angles[0], frames))


def _intensity_of(header: XAHeader) -> Intensity | None:
    """What the gray levels of the frames alone tell; None where they need a table or a scale of the header."""
    from VesselFlowGSLib.acquisition.xa import IntensityRelationship

    if header.to_linear is not None or header.log_scale is not None:
        return None
    dark = (header.sign or (-1 if header.inverted else 1)) > 0
    if header.relationship is IntensityRelationship.LINEAR and not header.subtracted:
        return Intensity.LINEAR if dark else None
    if header.relationship is IntensityRelationship.LOG:
        return Intensity.LOG if dark else Intensity.LOG_BRIGHT
    return None


# sequences


def _sequences_of(browser: Any) -> list[Any]:
    if not browser.IsA("vtkMRMLSequenceBrowserNode"):
        raise InputError(f"{browser.GetName()}: is no sequence. Choose an X-ray run as Slicer loads it.")
    found = vtk.vtkCollection()
    browser.GetSynchronizedSequenceNodes(found, True)
    return [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]


def _is_film(sequence: Any) -> bool:
    if sequence.GetNumberOfDataNodes() < 1:
        return False
    frame = sequence.GetNthDataNode(0)
    image = frame.GetImageData() if frame.IsA("vtkMRMLScalarVolumeNode") else None
    return image is not None and image.GetDimensions()[2] == 1 and image.GetNumberOfScalarComponents() == 1


def _entry_of_sequence(sequence: Any, file_for_instance: FileForInstance | None) -> RunEntry:
    frame = sequence.GetNthDataNode(0)
    uid = _instance_of(sequence)
    source = RunSource(sequence=sequence.GetID(), instance_uid=uid)
    columns, rows, _ = frame.GetImageData().GetDimensions()
    frames = sequence.GetNumberOfDataNodes()
    notes: list[str] = []
    path = _file_of(uid, file_for_instance)
    if path:
        try:
            header_entry = entry_of_file(path)
            if (header_entry.frames, header_entry.rows, header_entry.columns) == (frames, rows, columns):
                return replace(
                    header_entry, name=sequence.GetName(), source=replace(source, file=header_entry.source.file)
                )
            notes.append("the sequence differs in size from its DICOM file, which is not used")
        except VesselFlowError as error:
            notes.append(f"its DICOM file is not used: {_of_this_run(str(error), Path(path).name)}")
    elif uid:
        notes.append("its DICOM file is not in Slicer's DICOM database: angles, distances and times are to be entered")
    spacing = frame.GetSpacing()
    found = RunSection(file="", frame_times_s=_index_times(sequence))
    if uid:  # Slicer gives such a frame the spacing of ImagerPixelSpacing
        found = replace(found, pixel_spacing_mm=(float(spacing[1]), float(spacing[0])))
    few = ("one frame is no run and shows no flow.",) if frames < 2 else ()
    return RunEntry(
        name=sequence.GetName(),
        source=source,
        frames=frames,
        rows=rows,
        columns=columns,
        found=found,
        found_in=Known.SEQUENCE,
        use=not few,
        problems=few,
        notes=tuple(notes),
    )


def _simultaneous(entry: RunEntry) -> RunEntry:
    note = "taken as filmed at the same time as the other run of its sequence browser"
    return replace(entry, found=replace(entry.found, time_offset_s=0.0), notes=(*entry.notes, note))


def _instance_of(sequence: Any) -> str:
    """The SOPInstanceUID that all frames share, else empty."""
    uids = {
        sequence.GetNthDataNode(n).GetAttribute(INSTANCE_UIDS) or "" for n in range(sequence.GetNumberOfDataNodes())
    }
    only = uids.pop() if len(uids) == 1 else ""
    return only if re.fullmatch(r"[0-9.]{1,64}", only) else ""


def _file_of(uid: str, file_for_instance: FileForInstance | None) -> str:
    if not uid or file_for_instance is None:
        return ""
    path = file_for_instance(uid) or ""
    return path if path and Path(path).is_file() else ""


def _index_times(sequence: Any) -> tuple[float, ...] | None:
    """Seconds after the first frame, where the sequence counts in seconds."""
    if sequence.GetIndexUnit() != "s" or sequence.GetNumberOfDataNodes() < 2:
        return None
    try:
        times = np.array([float(sequence.GetNthIndexValue(n)) for n in range(sequence.GetNumberOfDataNodes())])
    except ValueError:
        return None
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        return None
    return tuple(float(t) for t in times - times[0])


# plain values


def _entered(entry: RunEntry, column: str) -> Any:
    if column == INTENSITY:
        return entry.intensity_entered
    return getattr(entry.entered, column) or None if column.startswith("flip_") else getattr(entry.entered, column)


def _found(entry: RunEntry, column: str) -> Any:
    if column == INTENSITY:
        return entry.intensity
    return getattr(entry.found, column) or None if column.startswith("flip_") else getattr(entry.found, column)


def _reason(entry: RunEntry, column: str) -> str:
    if column == INTENSITY:
        return f"there is no DICOM file that says it: {_HOW[column]}"
    if entry.found_in is Known.SEQUENCE:
        return f"the sequence does not hold it: {_HOW[column]}"
    from VesselFlowGSLib.acquisition.xa import named

    attribute = {
        "primary_angle_deg": "PositionerPrimaryAngle",
        "secondary_angle_deg": "PositionerSecondaryAngle",
        "source_to_detector_mm": "DistanceSourceToDetector",
        "source_to_isocentre_mm": "DistanceSourceToPatient",
        "pixel_spacing_mm": "ImagerPixelSpacing",
        "frame_times_s": "FrameTime",
    }[column]
    return f"the header has no {named(attribute)}: {_HOW[column]}"


def _identity(entry: RunEntry) -> str:
    return entry.source.instance_uid or entry.source.file or entry.source.sequence


def _plain(entry: RunEntry) -> dict[str, Any]:
    row = asdict(entry)
    if entry.source.sequence:
        row["source"]["file"] = ""
    for section in ("found", "entered"):
        # zero is a value, though it equals False
        row[section] = {k: v for k, v in row[section].items() if v is not None and v is not False and v != ""}
    return row


def _entry_of_plain(row: dict[str, Any], file_for_instance: FileForInstance | None) -> RunEntry:
    told = {f.name: row[f.name] for f in fields(RunEntry) if f.name in row}
    source = RunSource(**told["source"])
    if source.sequence:
        source = replace(source, file=_file_of(source.instance_uid, file_for_instance))
    for turn in ("primary_turn_deg", "secondary_turn_deg", "problems", "notes"):
        told[turn] = tuple(told.get(turn, ()))
    for key in ("intensity", "intensity_entered"):
        told[key] = Intensity(told[key]) if told.get(key) else None
    told |= {
        "source": source,
        "found": _section(told["found"]),
        "entered": _section(told["entered"]),
        "found_in": Known(told["found_in"]),
    }
    return RunEntry(**told)


def _section(row: dict[str, Any]) -> RunSection:
    return RunSection(**{"file": "", **{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}})


def seconds_between_frames(entry: RunEntry) -> float | None:
    """The usual interval of the run's frames, or None where times are not known."""
    times = entry.frame_times_s
    if times is None or len(times) < 2:
        return None
    step = float(np.median(np.diff(times)))
    return step if math.isfinite(step) else None

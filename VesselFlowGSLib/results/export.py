"""The results folder: every file whole or not at all, and an older result kept until a finished one replaces it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from vtkmodules.vtkCommonCore import vtkCommand
from vtkmodules.vtkIOXML import (
    vtkXMLPolyDataReader,
    vtkXMLPolyDataWriter,
    vtkXMLUnstructuredGridReader,
    vtkXMLUnstructuredGridWriter,
    vtkXMLWriter,
)

from VesselFlowGSLib.errors import InputError, InstallationError, ResourceError
from VesselFlowGSLib.results import vtk_data
from VesselFlowGSLib.results.snapshot import (
    CloudArrays,
    Figure,
    Finding,
    FindingKind,
    Polylines,
    Snapshot,
    Stage,
    Surface,
    VolumeMesh,
)
from VesselFlowGSLib.results.views import views_of

PROGRAM = "VesselFlowGS"
SCHEMA = 1
SUMMARY = "summary.json"
UNFINISHED = ".unfinished"
LOCK = ".vesselflowgs.lock"
CHECKPOINT = "checkpoint.npz"

OUR_FILES = (
    "field.vtu", "field.vti", "field_series.json", "field_series.pvd", "surface.vtp", "centerline.vtp",
    "streamlines.vtp", "gaussians.ply", "report.png", "report.html", CHECKPOINT, SUMMARY,
)  # fmt: skip

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class ResultFolder:
    """Context manager over OUT; write(snapshot) brings its files up to the snapshot.

    Raises, on entering, InputError where OUT is a file, holds files of others, cannot be written, or is in use.
    Raises ResourceError from write where the disk is full; what was written before stays.
    Without an older finished result the files appear in OUT as stages finish. With one they gather in OUT/.unfinished,
    which stays after an interruption, and take its place when a snapshot is DONE.

    beside  names of other files that may lie in OUT
    """

    def __init__(self, out: str | os.PathLike[str], beside: Collection[str] = ()) -> None:
        self.out = Path(out)
        self._beside = frozenset(beside)
        self._lock: IO[str] | None = None
        self._target = self.out
        self._made = False

    @property
    def target(self) -> Path:
        """Where files are written now: OUT, or OUT/.unfinished while an older result is kept."""
        return self._target

    def __enter__(self) -> ResultFolder:
        _refuse_foreign(self.out, self._beside)
        with _explained(self.out):
            self._made = not self.out.exists()
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(self.out)
        try:
            with _explained(self.out):
                self._target = self.out / UNFINISHED if holds_finished_result(self.out) else self.out
                self._target.mkdir(exist_ok=True)
                _remove_parts(self.out)
                _remove_parts(self._target)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        with contextlib.suppress(OSError):
            _remove_parts(self._target)
            if self._target != self.out and not any(self._target.iterdir()):
                self._target.rmdir()
        self._release()
        if self._made:
            # A folder that received nothing, since the study was refused, is not left behind.
            with contextlib.suppress(OSError):
                self.out.rmdir()
        return False

    def write(self, snapshot: Snapshot) -> None:
        """Write what the snapshot holds; remove what an earlier run left and this snapshot does not hold."""
        snapshot = _without_nan(snapshot)
        with _explained(self._target):
            written = _write_data(snapshot, self._target)
            if snapshot.stage is Stage.DONE:
                snapshot, pictures = _write_reports(snapshot, self._target)
                written |= pictures
            _put(self._target / SUMMARY, lambda part: _write_text(part, _json(summary(snapshot))))
            _remove_others(self._target, written | {SUMMARY})
            if snapshot.stage is Stage.DONE:
                self._promote(written | {SUMMARY})

    def keep(self, snapshot: Snapshot) -> None:
        """Write only what a later run can go on from, between two snapshots that are written whole."""
        checkpoint = _checkpoint_writer(snapshot)
        if checkpoint is not None:
            with _explained(self._target):
                _put(self._target / CHECKPOINT, checkpoint)

    def _promote(self, written: set[str]) -> None:
        """Put a finished result in the place of the older one; the summary, that vouches for it, comes last."""
        if self._target != self.out:
            for name in sorted(written, key=lambda n: n == SUMMARY):
                os.replace(self._target / name, self.out / name)
            shutil.rmtree(self._target, ignore_errors=True)
            self._target = self.out
        elif (self.out / UNFINISHED).is_dir():
            shutil.rmtree(self.out / UNFINISHED, ignore_errors=True)
        _remove_others(self.out, written)

    def _release(self) -> None:
        if self._lock is not None:
            # Unlinked while still held: who waits for it finds that the file is no longer the one in the folder.
            # It stays beside the first files of a run that was stopped before its summary: else they were foreign.
            with contextlib.suppress(OSError):
                if _our_summary(self.out) is not None or set(os.listdir(self.out)) - self._beside == {LOCK}:
                    os.unlink(self.out / LOCK)
            self._lock.close()
            self._lock = None


def holds_finished_result(out: Path) -> bool:
    """Whether OUT holds a result of ours that was finished."""
    found = _our_summary(out)
    return found is not None and found.get("stage") == Stage.DONE.value


def summary(snapshot: Snapshot) -> dict[str, Any]:
    """The content of summary.json, schema 1; plain types, no NaN."""
    provenance = dict(snapshot.provenance)
    parts = {name: provenance.pop(name, None) for name in ("inputs", "settings", "versions", "seed", "backend")}
    content = {
        "schema": SCHEMA,
        "program": PROGRAM,
        "stage": snapshot.stage.value,
        "figures": {name: _figure(figure) for name, figure in snapshot.figures.items()},
        "geometry": dict(snapshot.geometry),
        "flow": dict(snapshot.flow_status),
        "findings": [_finding(finding) for finding in snapshot.findings],
        "warnings": list(snapshot.warnings),
        **parts,
        **provenance,
        "timings_s": dict(snapshot.timings_s),
    }
    plain = _plain(content)
    assert isinstance(plain, dict)
    return plain


def read_result(out: str | os.PathLike[str]) -> Snapshot:
    """The Snapshot that a results folder holds; what has no file is None, and findings have no regions.

    Raises InputError where OUT holds no result, or a file of it cannot be read.
    """
    folder = Path(out)
    found = _our_summary(folder)
    if found is None:
        raise InputError(
            f"{folder} holds no result ({SUMMARY} is missing or not ours). Give the folder of a reconstruction."
        )
    surface = _read(vtkXMLPolyDataReader(), folder / "surface.vtp", vtk_data.surface)
    mesh = _read(vtkXMLUnstructuredGridReader(), folder / "field.vtu", vtk_data.volume_mesh)
    lines = [
        _read(vtkXMLPolyDataReader(), folder / f"{n}.vtp", vtk_data.polylines) for n in ("centerline", "streamlines")
    ]
    cloud = read_gaussians(folder / "gaussians.ply") if (folder / "gaussians.ply").exists() else None
    figures = {
        name: Figure(f["value"], f["unit"], f["origin"], tuple(f["interval_90"]) if f.get("interval_90") else None)
        for name, f in found.get("figures", {}).items()
        if f.get("value") is not None
    }
    known = {"schema", "program", "stage", "figures", "geometry", "flow", "findings", "warnings", "timings_s"}
    return Snapshot(
        stage=Stage(found.get("stage", Stage.DONE.value)),
        progress=1.0,
        message="read from files",
        cloud=cloud,
        surface=surface,
        centreline=lines[0],
        field=mesh,
        streamlines=lines[1],
        figures=figures,
        geometry=found.get("geometry", {}),
        flow_status=found.get("flow", {}),
        warnings=tuple(found.get("warnings", ())),
        provenance={k: v for k, v in found.items() if k not in known},
        timings_s=found.get("timings_s", {}),
        findings=_findings(found.get("findings", ())),
        views=views_of(found.get("geometry", {})),
    )


@dataclass(frozen=True)
class _Column:
    """One property of gaussians.ply."""

    name: str
    meaning: str


GAUSSIAN_COLUMNS = (
    *(_Column(n, "mean, LPS mm") for n in "xyz"),
    *(_Column(f"sigma_{n}", "standard deviation along own axis, mm") for n in "xyz"),
    *(_Column(f"quaternion_{n}", "turns own axes into LPS") for n in "wxyz"),
    _Column("attenuation", "1/mm at full filling"),
    _Column("occupancy", "part of it that is lumen"),
    _Column("arrival_s", "arrival of contrast, s; NaN where unknown"),
    *(_Column(f"velocity_{n}", "m/s, LPS; NaN where unknown") for n in "xyz"),
    _Column("pressure", "Pa; NaN where unknown"),
)


def write_gaussians(path: Path, cloud: CloudArrays) -> None:
    """A binary little-endian PLY with one float32 property per column of GAUSSIAN_COLUMNS."""
    count = len(cloud.mean)
    velocity = cloud.velocity if cloud.velocity is not None else np.full((count, 3), np.nan)
    pressure = cloud.pressure if cloud.pressure is not None else np.full(count, np.nan)
    table = np.column_stack(
        [
            cloud.mean,
            cloud.sigma,
            cloud.quaternion,
            cloud.attenuation,
            cloud.occupancy,
            cloud.arrival_s,
            velocity,
            pressure,
        ]
    )
    lines = ["ply", "format binary_little_endian 1.0", f"comment {PROGRAM} X-ray Gaussians; SPACE=LPS"]
    lines += [f"comment {c.name}: {c.meaning}" for c in GAUSSIAN_COLUMNS]
    lines += [f"element vertex {count}", *(f"property float {c.name}" for c in GAUSSIAN_COLUMNS), "end_header", ""]
    with open(path, "wb") as file:
        file.write("\n".join(lines).encode("ascii"))
        file.write(table.astype("<f4").tobytes())


def read_gaussians(path: Path) -> CloudArrays:
    """The inverse of write_gaussians. Raises InputError for a file of another layout."""
    content = path.read_bytes()
    head, found, body = content.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    properties = [line for line in lines if line.startswith("property")]
    counts = [int(line.split()[2]) for line in lines if line.startswith("element vertex ")]
    if not found or properties != [f"property float {c.name}" for c in GAUSSIAN_COLUMNS] or len(counts) != 1:
        raise InputError(f"{path.name} is not a cloud of Gaussians of ours. Run the reconstruction again.")
    width = len(GAUSSIAN_COLUMNS)
    if len(body) != 4 * width * counts[0]:
        raise InputError(f"{path.name} is cut short. Run the reconstruction again.")
    t = np.frombuffer(body, "<f4").reshape(counts[0], width).astype(float)
    known = bool(np.isfinite(t[:, 13:17]).any())
    return CloudArrays(
        t[:, 0:3],
        t[:, 3:6],
        t[:, 6:10],
        t[:, 10],
        t[:, 11],
        t[:, 12],
        t[:, 13:16] if known else None,
        t[:, 16] if known else None,
    )


def write_volume(path: Path, mesh: VolumeMesh) -> None:
    """A .vtu: appended, compressed; points and arrays float32."""
    _write_xml(vtkXMLUnstructuredGridWriter(), path, vtk_data.unstructured_grid(_single(mesh)))


def write_surface(path: Path, surface: Surface) -> None:
    """A .vtp of triangles: appended, compressed; points and arrays float32."""
    _write_xml(vtkXMLPolyDataWriter(), path, vtk_data.surface_data(_single(surface)))


def write_polylines(path: Path, lines: Polylines) -> None:
    """A .vtp of poly-lines: appended, compressed; points and arrays float32."""
    _write_xml(vtkXMLPolyDataWriter(), path, vtk_data.polyline_data(_single(lines)))


def _write_data(snapshot: Snapshot, folder: Path) -> set[str]:
    """Write the files that the snapshot has the content of; their names."""
    jobs: dict[str, Callable[[Path], None]] = {}
    # first, so that a run that is stopped here goes on from this stage
    checkpoint = _checkpoint_writer(snapshot)
    if checkpoint is not None:
        jobs[CHECKPOINT] = checkpoint
    if snapshot.cloud is not None:
        cloud = snapshot.cloud
        jobs["gaussians.ply"] = lambda part: write_gaussians(part, cloud)
    if snapshot.surface is not None:
        surface = snapshot.surface
        jobs["surface.vtp"] = lambda part: write_surface(part, surface)
    if snapshot.centreline is not None:
        centreline = snapshot.centreline
        jobs["centerline.vtp"] = lambda part: write_polylines(part, centreline)
    if snapshot.streamlines is not None:
        streams = snapshot.streamlines
        jobs["streamlines.vtp"] = lambda part: write_polylines(part, streams)
    if snapshot.field is not None and snapshot.flow_status.get("status") != "unknown":
        mesh = snapshot.field
        jobs["field.vtu"] = lambda part: write_volume(part, mesh)
    for name, job in jobs.items():
        _put(folder / name, job)
    return set(jobs)


def _checkpoint_writer(snapshot: Snapshot) -> Callable[[Path], None] | None:
    if snapshot.checkpoint is None:
        return None
    arrays: dict[str, Any] = dict(snapshot.checkpoint)
    return lambda part: np.savez(part, allow_pickle=False, **arrays)


def _write_reports(snapshot: Snapshot, folder: Path) -> tuple[Snapshot, set[str]]:
    """Picture and page. A machine that cannot draw still gets its numbers; the snapshot returned says why."""
    from VesselFlowGSLib.results.picture import report_picture
    from VesselFlowGSLib.results.report import report_page

    written = {"report.html"}
    picture: Path | None = folder / "report.png"
    try:
        _put(folder / "report.png", lambda part: report_picture(snapshot, part))
        written.add("report.png")
    except InstallationError as error:
        snapshot = _replaced(snapshot, warnings=(*snapshot.warnings, f"No picture: {error}"))
        picture = None
    page = report_page(snapshot, picture.read_bytes() if picture else None)
    _put(folder / "report.html", lambda part: _write_text(part, page))
    return snapshot, written


def _put(path: Path, write: Callable[[Path], None]) -> None:
    """Write under a temporary name in the same folder, then give the file its name."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_xml(writer: vtkXMLWriter, path: Path, data: Any) -> None:
    vtk_data.say_frame(data)
    complaints: list[str] = []
    # With an observer VTK tells it, instead of printing.
    writer.AddObserver(vtkCommand.ErrorEvent, lambda *_: complaints.append("error"))
    writer.SetFileName(os.fspath(path))
    writer.SetInputData(data)
    writer.SetDataModeToAppended()
    writer.EncodeAppendedDataOff()
    writer.SetCompressorTypeToZLib()
    writer.SetCompressionLevel(1)
    done = writer.Write()
    if not path.exists():
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    if not done or complaints or not _is_whole(path):
        raise OSError(errno.ENOSPC, "the file could not be written whole", os.fspath(path))


def _is_whole(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 32))
        return file.read().rstrip().endswith(b"</VTKFile>")


def _read(reader: Any, path: Path, convert: Callable[[Any], Any]) -> Any:
    if not path.exists():
        return None
    complaints: list[str] = []
    reader.AddObserver(vtkCommand.ErrorEvent, lambda *_: complaints.append("error"))
    reader.SetFileName(os.fspath(path))
    reader.Update()
    if complaints or reader.GetErrorCode():
        raise InputError(f"{path.name} cannot be read: it is damaged or cut short. Run the reconstruction again.")
    return convert(reader.GetOutput())


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ResourceError(
                f"The disk that holds {folder} is full. Free some space and run again with --resume."
            ) from error
        reason = error.strerror or str(error)
        raise InputError(
            f"Cannot write to {folder}: {reason}. Give another folder with -o, or change its permissions."
        ) from error


def _refuse_foreign(out: Path, beside: Collection[str]) -> None:
    """Raise InputError where OUT is not a folder, or holds files and no sign of a result of ours."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file. Give a folder for the results with -o.")
    try:
        names = sorted(p.name for p in out.iterdir())
    except OSError as error:
        raise InputError(f"Cannot read {out}: {error.strerror}. Give another folder with -o.") from error
    ours = _our_summary(out) is not None or (out / LOCK).exists() or (out / UNFINISHED).is_dir()
    others = [n for n in names if not n.startswith((".", "checkpoint")) and n not in beside]
    if others and not ours:
        listed = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        raise InputError(f"{out} holds other files ({listed}). Give an empty or a new folder with -o.")


def _our_summary(out: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("program") == PROGRAM and "schema" in found else None


def _take_lock(out: Path) -> IO[str]:
    """An open file that no other process can hold too; the system frees it when the process ends, however it ends."""
    path = out / LOCK
    for _ in range(10):
        file = open(path, "a+", encoding="ascii")  # noqa: SIM115
        if not _locked(file):
            file.close()
            raise InputError(f"Another run is writing to {out}. Wait until it ends, or give another folder with -o.")
        with contextlib.suppress(OSError):
            if os.fstat(file.fileno()).st_ino == os.stat(path).st_ino:
                return file
        file.close()
    raise InputError(f"Another run is writing to {out}. Wait until it ends, or give another folder with -o.")


def _locked(file: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        # A file system without locks: better to work than to refuse.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    return True


def _remove_parts(folder: Path) -> None:
    for part in folder.glob(".*.part*"):
        part.unlink(missing_ok=True)


def _remove_others(folder: Path, written: set[str]) -> None:
    """Remove our files that belong to another run. Files of other names, the user's, stay."""
    stale = [folder / n for n in OUR_FILES if n not in written]
    stale += list(folder.glob("field_[0-9]*.vtu"))
    for path in stale:
        path.unlink(missing_ok=True)


def _without_nan(snapshot: Snapshot) -> Snapshot:
    """The snapshot with finite wall and field arrays; a warning where a value had to be taken from its neighbour."""
    warnings = list(snapshot.warnings)
    changes: dict[str, Any] = {}
    for part in ("surface", "field"):
        held = getattr(snapshot, part)
        if held is None:
            continue
        arrays, repaired = _finite(held.points, held.arrays)
        if repaired:
            warnings.append(f"{repaired} values of the {part} were not finite; the nearest finite ones stand for them.")
            changes[part] = _replaced(held, arrays=arrays)
    return _replaced(snapshot, **changes, warnings=tuple(warnings)) if changes else snapshot


def _finite(points: NDArray[Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], int]:
    whole: dict[str, NDArray[Any]] = {}
    repaired = 0
    for name, values in arrays.items():
        good = np.isfinite(values).reshape(len(values), -1).all(1)
        if good.all() or not good.any():
            # Nothing to take a value from: zero, and the warning says so.
            whole[name] = np.asarray(values) if good.all() else np.zeros_like(values)
        else:
            whole[name] = np.array(values)
            whole[name][~good] = values[np.flatnonzero(good)[cKDTree(points[good]).query(points[~good])[1]]]
        repaired += int((~good).sum())
    return whole, repaired


def _replaced(held: Any, **changes: Any) -> Any:
    return dataclasses.replace(held, **changes)


def _single(held: Any) -> Any:
    """The same with points and arrays in float32."""
    arrays = {name: np.asarray(values, np.float32) for name, values in held.arrays.items()}
    return _replaced(held, points=np.asarray(held.points, np.float32), arrays=arrays)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "text": finding.text,
        "centre_lps_mm": [round(float(v), 3) for v in finding.centre],
        "radius_mm": round(float(finding.radius_mm), 3),
        "value": finding.value,
        "unit": finding.unit,
    }


def _findings(told: Any) -> tuple[Finding, ...]:
    """The inverse of _finding for a list of them; kinds that a newer version may add are passed over."""
    kinds = {kind.value: kind for kind in FindingKind}
    return tuple(
        Finding(kinds[f["kind"]], f["text"], np.array(f["centre_lps_mm"], float), f["radius_mm"], f["value"], f["unit"])
        for f in told
        if f.get("kind") in kinds and f.get("value") is not None
    )


def _figure(figure: Figure) -> dict[str, Any]:
    interval = list(figure.interval_90) if figure.interval_90 is not None else None
    return {"value": figure.value, "unit": figure.unit, "interval_90": interval, "origin": figure.origin}


def _plain(value: Any) -> Any:
    """JSON's types alone: numbers of numpy become Python's, what is not finite becomes null."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

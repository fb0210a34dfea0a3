"""A case as files for other programs, and results folders read back. Files are LPS mm and say so.

Every array of vectors is in the frame of the points beside it. In poly data "velocity" is the active array: Slicer,
reading such a file, turns the points and of poly data the active vectors alone.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import math
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData
from vtkmodules.vtkFiltersCore import vtkProbeFilter
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import Phase, Polylines, Snapshot, VolumeMesh
from VesselFlowGSScene.case import Case

Array = NDArray[Any]
SERIES = "field_series.json"
UNFINISHED = ".unfinished-export"
# writes a file; returns steps where it has some
Job = Callable[[Path], Iterator[None] | None]


class Kind(str, Enum):
    """What can be exported."""

    SURFACE = "surface"
    FIELD = "field"
    STREAMLINES = "streamlines"
    CENTRELINE = "centreline"
    FIGURES = "figures"
    FIGURES_JSON = "figures for programs"
    VELOCITY_GRID = "velocity grid"
    GAUSSIANS = "Gaussians"
    SCENE = "scene"


FILES = {
    Kind.SURFACE: "surface.vtp",
    Kind.FIELD: "field.vtu",
    Kind.STREAMLINES: "streamlines.vtp",
    Kind.CENTRELINE: "centreline.csv",
    Kind.FIGURES: "figures.csv",
    Kind.FIGURES_JSON: "figures.json",
    Kind.VELOCITY_GRID: "velocity.nrrd",
    Kind.GAUSSIANS: "gaussians.ply",
    Kind.SCENE: "scene.mrb",
}


@dataclass(frozen=True)
class GridSettings:
    """The velocity grid: points across the narrowest diameter, bounds of the spacing, and how many points at most.

    cells_per_step  that are looked at before the window lives again
    """

    across: float = 12.0
    finest_mm: float = 0.1
    coarsest_mm: float = 1.0
    most_points: int = 8_000_000
    cells_per_step: int = 6000


def export(
    case: Case, snapshot: Snapshot, folder: str | os.PathLike[str], kinds: Iterable[Kind], phase: int | None = None
) -> list[Path]:
    """Write the kinds that the snapshot has the content of; the files, in the order of Kind.

    phase  of a pulsatile flow: the instant that surface, field, streamlines, centreline and grid hold; None: the mean
    Raises InputError where nothing can be written, or the folder refuses. A scene is written with all that it holds,
    also what a person loaded: names in it are not taken out.
    """
    return [path for path in export_steps(case, snapshot, folder, kinds, phase) if path is not None]


def export_steps(
    case: Case, snapshot: Snapshot, folder: str | os.PathLike[str], kinds: Iterable[Kind], phase: int | None = None
) -> Iterator[Path | None]:
    """export in steps that a window can live between; None: a file is not finished yet."""
    wanted = set(kinds)
    there = at_phase(snapshot, phase)
    jobs = [(kind, job) for kind, job in _jobs(case, there).items() if kind in wanted]
    if not jobs:
        raise InputError("Nothing of what was chosen is known yet. Choose something else, or wait for the flow.")
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {target}: {error.strerror or error}. Choose another folder.") from error
    for kind, job in jobs:
        path = target / FILES[kind]
        yield from _whole(path, job)
        yield path


def at_phase(snapshot: Snapshot, phase: int | None) -> Snapshot:
    """The snapshot with the arrays of one of its phases in place of its own."""
    if phase is None or not 0 <= phase < len(snapshot.phases):
        return snapshot
    moment = snapshot.phases[phase]
    return dataclasses.replace(
        snapshot,
        surface=_with(snapshot.surface, moment.surface),
        field=_with(snapshot.field, moment.field),
        centreline=_with(snapshot.centreline, moment.centreline),
        streamlines=moment.streamlines or snapshot.streamlines,
    )


def snapshot_of_result(folder: str | os.PathLike[str]) -> Snapshot:
    """The Snapshot of a finished results folder, with its phases where it has some, and what can be pointed out in it.

    Raises InputError where the folder holds no result, or a file of it is damaged.
    """
    from VesselFlowGSLib.results.export import read_result
    from VesselFlowGSLib.results.findings import find

    snapshot = _with_phases(read_result(folder), Path(folder))
    # findings are in no file: they follow from what is
    return dataclasses.replace(snapshot, findings=find(snapshot))


def _with_phases(snapshot: Snapshot, folder: Path) -> Snapshot:
    if snapshot.phases or snapshot.field is None or not (folder / SERIES).exists():
        return snapshot
    try:
        held = json.loads((folder / SERIES).read_text(encoding="utf-8"))
        times = [float(time) for time in held["times_s"]]
        files = [str(name) for name in held["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{SERIES} cannot be read: it is damaged. Run the reconstruction again.") from error
    if len(times) != len(files):
        raise InputError(f"{SERIES} names {len(files)} files for {len(times)} times. Run the reconstruction again.")
    phases = tuple(_read_phase(folder, name, time, snapshot) for name, time in zip(files, times, strict=True))
    period = held.get("period_s")
    return dataclasses.replace(snapshot, phases=phases, period_s=None if period is None else float(period))


def velocity_grid(mesh: VolumeMesh, spacing_mm: float, settings: GridSettings = GridSettings()) -> tuple[Array, Array]:
    """Velocity (k, j, i, 3) m/s, LPS, on a grid along the axes, 0 outside; and the place (3,) of its first point."""
    steps = _grid_steps(mesh, spacing_mm, settings)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            values, first = end.value
            return values, first


def _grid_steps(
    mesh: VolumeMesh, spacing_mm: float, settings: GridSettings
) -> Generator[None, None, tuple[Array, Array]]:
    """velocity_grid, some cells a step."""

    from VesselFlowGSLib.results import vtk_data

    points, offsets = np.asarray(mesh.points), np.asarray(mesh.offsets)
    low, high = points.min(axis=0), points.max(axis=0)
    counts = np.ceil((high - low) / spacing_mm).astype(int) + 1
    first = np.asarray(0.5 * (low + high) - 0.5 * spacing_mm * (counts - 1), float)
    values = np.zeros((*counts[::-1], 3), np.float32)
    # points and velocities are handed to VTK once; a step changes the cells alone
    source = vtk_data.unstructured_grid(dataclasses.replace(mesh, arrays={"velocity": mesh.arrays["velocity"]}))
    kinds = np.asarray(mesh.cell_types, np.uint8)
    for start in range(0, len(offsets) - 1, settings.cells_per_step):
        end = min(start + settings.cells_per_step, len(offsets) - 1)
        corners = np.asarray(mesh.connectivity)[offsets[start] : offsets[end]]
        source.SetCells(
            numpy_to_vtk(kinds[start:end].copy(), deep=1), _cells(offsets[start : end + 1] - offsets[start], corners)
        )
        reached = points[corners]
        lowest = np.floor((reached.min(axis=0) - first) / spacing_mm).astype(int).clip(0, counts - 1)
        highest = np.ceil((reached.max(axis=0) - first) / spacing_mm).astype(int).clip(0, counts - 1)
        size = highest - lowest + 1
        image = vtkImageData()
        image.SetDimensions(*size.tolist())
        image.SetOrigin(*(first + spacing_mm * lowest).tolist())
        image.SetSpacing(spacing_mm, spacing_mm, spacing_mm)
        probe = vtkProbeFilter()
        probe.SetInputData(image)
        probe.SetSourceData(source)
        probe.Update()
        found = vtk_data.arrays_of(probe.GetOutput())
        inside = found["vtkValidPointMask"].reshape(size[::-1]).astype(bool)
        block = tuple(slice(a, a + n) for a, n in zip(lowest[::-1], size[::-1], strict=True))
        values[block][inside] = found["velocity"].reshape(*size[::-1], 3)[inside]
        yield None
    return values, first


def write_nrrd_vectors(path: Path, values: Array, first: Array, spacing_mm: float) -> None:
    """An NRRD of vectors (k, j, i, 3), LPS both in place and in direction; kinds say that the vectors turn with space.

    Slicer takes such a file for a vector volume whose vectors it turns into RAS itself.
    """
    k, j, i, _ = values.shape
    head = [
        "NRRD0005",
        "# velocity in m/s, LPS",
        "type: float",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: 3 {i} {j} {k}",
        f"space directions: none ({spacing_mm!r},0,0) (0,{spacing_mm!r},0) (0,0,{spacing_mm!r})",
        "kinds: vector domain domain domain",
        "endian: little",
        "encoding: gzip",
        'space units: "mm" "mm" "mm"',
        f"space origin: ({float(first[0])!r},{float(first[1])!r},{float(first[2])!r})",
        "measurement frame: (1,0,0) (0,1,0) (0,0,1)",
        "",
        "",
    ]
    with open(path, "wb") as file:
        file.write("\n".join(head).encode("ascii"))
        file.write(gzip.compress(np.ascontiguousarray(values, "<f4").tobytes(), compresslevel=3, mtime=0))


def grid_spacing_mm(snapshot: Snapshot, settings: GridSettings = GridSettings()) -> float:
    """The spacing of the velocity grid: fine for the narrowest place, unless the grid became too large."""
    assert snapshot.field is not None
    narrowest = settings.coarsest_mm * settings.across
    if snapshot.centreline is not None and "radius_mm" in snapshot.centreline.arrays:
        narrowest = 2 * float(np.min(snapshot.centreline.arrays["radius_mm"]))
    spacing = float(np.clip(narrowest / settings.across, settings.finest_mm, settings.coarsest_mm))
    extent = np.ptp(np.asarray(snapshot.field.points, float), axis=0)
    least = float((np.prod(extent + spacing) / settings.most_points) ** (1 / 3))
    return max(spacing, least)


def _jobs(case: Case, snapshot: Snapshot) -> dict[Kind, Job]:
    """How each kind is written, for those that the snapshot has the content of."""
    from VesselFlowGSLib.results import export as files

    jobs: dict[Kind, Job] = {}
    surface, mesh, streams, line = snapshot.surface, snapshot.field, snapshot.streamlines, snapshot.centreline
    if surface is not None:
        jobs[Kind.SURFACE] = lambda part: files.write_surface(part, surface)
    if mesh is not None:
        jobs[Kind.FIELD] = lambda part: files.write_volume(part, mesh)
    if streams is not None:
        jobs[Kind.STREAMLINES] = lambda part: files.write_polylines(part, streams)
    if line is not None:
        jobs[Kind.CENTRELINE] = lambda part: _write_centreline(part, line)
    if snapshot.figures:
        jobs[Kind.FIGURES] = lambda part: _write_figures(part, snapshot)
        jobs[Kind.FIGURES_JSON] = lambda part: _write_json(part, files.summary(snapshot))
    if mesh is not None and "velocity" in mesh.arrays:
        jobs[Kind.VELOCITY_GRID] = lambda part: _write_grid(part, snapshot)
    cloud = snapshot.cloud
    if cloud is not None:
        jobs[Kind.GAUSSIANS] = lambda part: files.write_gaussians(part, cloud)
    jobs[Kind.SCENE] = lambda part: _write_scene(part, case)
    return jobs


def _whole(path: Path, write: Job) -> Iterator[None]:
    """Write in a folder beside the file, then put it in its place, so that it is there whole or not at all."""
    folder = path.parent / UNFINISHED
    try:
        folder.mkdir(exist_ok=True)
        yield from write(folder / path.name) or ()
        os.replace(folder / path.name, path)
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_scene(part: Path, case: Case) -> None:
    if not case.scene.WriteToMRB(os.fspath(part)):
        raise OSError("the scene could not be written whole")


def _write_grid(part: Path, snapshot: Snapshot, settings: GridSettings = GridSettings()) -> Iterator[None]:
    assert snapshot.field is not None
    spacing = grid_spacing_mm(snapshot, settings)
    values, first = yield from _grid_steps(snapshot.field, spacing, settings)
    write_nrrd_vectors(part, values, first, spacing)


def _write_centreline(part: Path, line: Polylines) -> None:
    names = [name for name in line.arrays if name != "branch_id" and np.ndim(line.arrays[name]) == 1]
    with open(part, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["branch", "arc_length_mm", "x_lps_mm", "y_lps_mm", "z_lps_mm", *names])
        for branch in range(len(line.offsets) - 1):
            part_of = slice(int(line.offsets[branch]), int(line.offsets[branch + 1]))
            points = np.asarray(line.points[part_of], float)
            steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
            arc = np.concatenate([[0.0], np.cumsum(steps)]) if len(points) else np.zeros(0)
            columns = [np.asarray(line.arrays[name], float)[part_of] for name in names]
            for k, point in enumerate(points):
                values = (arc[k], *point, *(column[k] for column in columns))
                rows.writerow([branch + 1, *(f"{value:.7g}" for value in values)])


def _cells(offsets: Array, connectivity: Array) -> Any:

    cells = vtkCellArray()
    cells.SetData(
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(offsets, np.int64), deep=1),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(connectivity, np.int64), deep=1),
    )
    return cells


def _write_json(part: Path, content: dict[str, Any]) -> None:
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _write_figures(part: Path, snapshot: Snapshot) -> None:
    with open(part, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["figure", "value", "unit", "from_90", "to_90", "origin"])
        for name, figure in snapshot.figures.items():
            if math.isfinite(figure.value):
                low, high = figure.interval_90 or ("", "")
                rows.writerow([name, repr(float(figure.value)), figure.unit, low, high, figure.origin])


def _with(part: Any, arrays: Any) -> Any:
    return part if part is None else dataclasses.replace(part, arrays={**part.arrays, **arrays})


def _read_phase(folder: Path, name: str, time_s: float, snapshot: Snapshot) -> Phase:

    from VesselFlowGSLib.results import vtk_data

    path = (folder / name).resolve()
    if folder.resolve() not in path.parents or not path.is_file():
        raise InputError(f"{SERIES} names {name}, which is not in the folder. Run the reconstruction again.")
    reader = vtkXMLUnstructuredGridReader()
    reader.SetFileName(os.fspath(path))
    reader.Update()
    arrays = vtk_data.arrays_of(reader.GetOutput())
    assert snapshot.field is not None
    if any(len(values) != len(snapshot.field.points) for values in arrays.values()) or "velocity" not in arrays:
        raise InputError(f"{name} has other points than field.vtu. Run the reconstruction again.")
    return Phase(time_s, field=arrays)

"""What is derived from a lumen and a flow field: wall, cells, wall shear stress, streamlines, key figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from vtkmodules.vtkCommonDataModel import vtkDataObject, vtkPolyData, vtkUnstructuredGrid
from vtkmodules.vtkFiltersCore import vtkContour3DLinearGrid
from vtkmodules.vtkFiltersFlowPaths import vtkStreamTracer
from vtkmodules.vtkFiltersGeneral import vtkTableBasedClipDataSet
from vtkmodules.vtkFiltersVerdict import vtkCellSizeFilter

from VesselFlowGSLib.errors import ResourceError
from VesselFlowGSLib.flow.field import FlowField
from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.lumen.centreline import Opening
from VesselFlowGSLib.lumen.wall import Lumen
from VesselFlowGSLib.results import vtk_data
from VesselFlowGSLib.results.cells import CellSettings, away_from_zero, lumen_cells
from VesselFlowGSLib.results.snapshot import Figure, Polylines, Surface, VolumeMesh

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

PLANE_TOLERANCE = 0.02  # radii


@dataclass(frozen=True)
class DerivedSettings:
    """Everything that derived quantities can be set by.

    volume, wall     cells of the volume mesh, and cells that the wall is drawn from
    smoothing        passes that even out the wall's triangles, along the wall
    wss_depth        depth at which the wall's stress is first evaluated, in radii; a second depth is twice that
    line_step        step of a streamline, in radii
    line_clearance   distance that a streamline keeps from the wall, in radii
    line_length      greatest length of a streamline, in lengths of the tree
    disc_points      points across an opening, where a mean over it is taken
    """

    volume: CellSettings = CellSettings()
    wall: CellSettings = CellSettings(per_radius=7.0)
    smoothing: int = 4
    wss_depth: float = 0.02
    line_step: float = 0.15
    line_clearance: float = 0.01
    line_length: float = 4.0
    disc_points: int = 1000


def lumen_surface(
    lumen: Lumen, spacing_mm: float | None = None, settings: DerivedSettings = DerivedSettings()
) -> Surface:
    """The wall between the openings as triangles, LPS mm: flat and open at the openings, normals outwards.

    Array "confidence" (n,): how sure the wall is there, 0..1.

    spacing_mm  edge of the cells that it is drawn from; by default the local radius / settings.wall.per_radius
    Raises ResourceError where the lumen is too narrow to be drawn.
    """
    cells = lumen_cells(lumen, _with_spacing(lumen, settings.wall, spacing_mm))
    grid = _mark_wall(lumen, _cut(vtk_data.unstructured_grid(cells.mesh), "opening"), settings.wall)
    points, triangles = _largest(*_contour(grid))
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(len(points), bool)
    rim[edges[uses == 1]] = True
    nearby = _neighbours(len(points), edges, uses == 1, rim)
    planes = _planes(lumen, points, rim)
    for passes_left in range(settings.smoothing, -1, -1):
        points = _onto_wall(lumen, points, planes)
        if passes_left:
            points = 0.5 * (points + nearby @ points)
    outward = -lumen.wall.gradient(points[triangles].mean(1))
    sides = points[triangles]
    facing = np.einsum("ij,ij->i", np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]), outward)
    if facing.sum() < 0:
        triangles = triangles[:, ::-1]
    return Surface(points, np.ascontiguousarray(triangles), {"confidence": lumen.confidence(points).astype(np.float32)})


@dataclass(frozen=True)
class _Planes:
    """The opening that each point lies on, -1 for none; and the openings."""

    which: NDArray[np.int64]
    openings: tuple[Opening, ...]


def volume_mesh(lumen: Lumen, settings: DerivedSettings = DerivedSettings()) -> tuple[VolumeMesh, tuple[str, ...]]:
    """Cells that fill the lumen up to the wall and its openings, and warnings for the user.

    Array "wall" (n,) mm: the distance to the wall, exactly 0 at the points on it.
    Raises ResourceError where the lumen is too narrow for its cells.
    """
    cells = lumen_cells(lumen, settings.volume)
    warnings: tuple[str, ...] = ()
    if cells.per_radius < settings.volume.per_radius:
        warnings = (
            f"The volume mesh was made coarser, {cells.per_radius:.1f} cells along the local radius instead of "
            f"{settings.volume.per_radius:.1f}, to stay below {settings.volume.max_points} points.",
        )
    grid = _mark_wall(lumen, _cut(vtk_data.unstructured_grid(cells.mesh), "opening"), settings.volume)
    clipped = vtk_data.volume_mesh(_cut(grid, "wall"))
    # All corners keep their clearance, so what is closer was put there by a cut.
    rounding = 1e-3 * settings.volume.clearance * clipped.arrays["edge"]
    on_wall = np.abs(clipped.arrays["wall"]) < rounding
    points = np.array(clipped.points, np.float64)
    planes = _planes(lumen, points, np.abs(clipped.arrays["opening"]) < rounding)
    subset = _Planes(planes.which[on_wall], planes.openings)
    points[on_wall] = _onto_wall(lumen, points[on_wall], subset)
    points = _onto_planes(points, planes)
    distance = np.where(on_wall, 0.0, np.maximum(lumen.wall(points), 0.0))
    return VolumeMesh(points, clipped.connectivity, clipped.offsets, clipped.cell_types, {"wall": distance}), warnings


def sample_flow(mesh: VolumeMesh, lumen: Lumen, flow: FlowField) -> VolumeMesh:
    """The mesh with "velocity" (n, 3) m/s, exactly 0 on the wall, and "pressure" (n,) Pa, both float32."""
    points = np.asarray(mesh.points, np.float64)
    wall = mesh.arrays["wall"] if "wall" in mesh.arrays else lumen.wall(points)
    velocity = np.where(wall[:, None] > 0, flow.velocity(points), 0.0)
    arrays = {"velocity": velocity.astype(np.float32), "pressure": flow.pressure(points).astype(np.float32)}
    return VolumeMesh(mesh.points, mesh.connectivity, mesh.offsets, mesh.cell_types, arrays)


def wall_arrays(
    surface: Surface, lumen: Lumen, flow: FlowField, fluid: Fluid, settings: DerivedSettings = DerivedSettings()
) -> Surface:
    """The wall with "pressure" (n,) Pa, "wss" (n,) Pa and "confidence" (n,), float32.

    wss is the magnitude of the part along the wall of mu (grad u + grad u^T) n. It is evaluated at two small depths
    and continued to the wall, since the gradient of a field that vanishes on and beyond the wall jumps there.
    """
    points = np.asarray(surface.points, np.float64)
    normal = lumen.wall.gradient(points)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    depth = settings.wss_depth * _local_radius(lumen, points)[:, None]
    near, far = points + depth * normal, points + 2 * depth * normal
    traction = 2 * _traction(flow, fluid, near, normal) - _traction(flow, fluid, far, normal)
    arrays = {
        "pressure": flow.pressure(near).astype(np.float32),
        "wss": np.linalg.norm(traction, axis=1).astype(np.float32),
        "confidence": lumen.confidence(points).astype(np.float32),
    }
    return Surface(surface.points, surface.triangles, {**surface.arrays, **arrays})


def centreline_arrays(lumen: Lumen, flow: FlowField | None) -> Polylines:
    """One curve per branch with "radius_mm" and "branch_id"; with a flow also "flow_ml_s" and "pressure_pa"."""
    branches = lumen.tree.branches
    counts = [len(b.points) for b in branches]
    points = np.concatenate([b.points for b in branches])
    arrays: dict[str, NDArray[Any]] = {
        "radius_mm": np.concatenate([b.radius_mm for b in branches]).astype(np.float32),
        "branch_id": np.repeat(np.arange(len(branches)), counts).astype(np.float32),
    }
    if flow is not None:
        arrays["flow_ml_s"] = np.repeat(flow.flow_ml_s(), counts).astype(np.float32)
        arrays["pressure_pa"] = flow.pressure(points).astype(np.float32)
    return Polylines(points, np.concatenate([[0], np.cumsum(counts)]), arrays)


def streamlines(
    lumen: Lumen, flow: FlowField, count: int = 80, seed: int = 0, settings: DerivedSettings = DerivedSettings()
) -> Polylines:
    """Curves along the flow from inlet to outlet with "velocity" (n, 3) m/s and "speed" (n,) m/s, float32.

    The seeds share the inlet's flux evenly. Classical Runge-Kutta of order four along the arc. Curves that do not reach
    an outlet are left out, so there may be fewer than asked for; without inflow there are none.
    """
    x = _inlet_seeds(lumen, flow, count, np.random.default_rng(seed))
    reach = settings.line_length * _path_lengths(lumen).max()
    step = settings.line_step * _local_radius(lumen, x)
    slowest = 1e-9
    alive = np.arange(len(x))
    steps = (
        int(np.ceil(reach / (settings.line_step * min(float(b.radius_mm.min()) for b in lumen.tree.branches))))
        if len(x)
        else 0
    )
    trail: list[list[Array]] = [[p.copy()] for p in x]
    arrived = np.zeros(len(x), bool)
    for _ in range(min(steps, 20_000)):
        if not len(alive):
            break
        old = x[alive]
        step = settings.line_step * _local_radius(lumen, old)
        new, speed = _runge_kutta(flow, old, step[:, None])
        new = _off_the_wall(lumen, new, settings.line_clearance * step / settings.line_step)
        passed, at = _passage(lumen.outlets, old, new)
        moving = (speed > slowest) & (np.linalg.norm(new - old, axis=1) > 0.05 * step)
        for i, p in zip(alive.tolist(), np.where(passed[:, None], at, new), strict=True):
            trail[i].append(p)
        x[alive] = new
        arrived[alive[passed]] = True
        alive = alive[moving & ~passed]
    kept = [np.array(trail[i]) for i in np.flatnonzero(arrived)]
    if not kept:
        return _no_lines()
    points = np.concatenate(kept)
    velocity = flow.velocity(points)
    arrays = {"velocity": velocity.astype(np.float32), "speed": np.linalg.norm(velocity, axis=1).astype(np.float32)}
    return Polylines(points, np.concatenate([[0], np.cumsum([len(k) for k in kept])]), arrays)


def quick_streamlines(
    lumen: Lumen,
    flow: FlowField,
    mesh: VolumeMesh,
    count: int = 40,
    seed: int = 0,
    settings: DerivedSettings = DerivedSettings(),
) -> Polylines:
    """As streamlines, but through the mesh's own "velocity", for a display that is soon replaced by a better one."""
    seeds = _inlet_seeds(lumen, flow, count, np.random.default_rng(seed))
    tracer = vtkStreamTracer()
    tracer.SetInputData(vtk_data.unstructured_grid(mesh))
    tracer.SetSourceData(vtk_data.point_data(seeds, {}))
    tracer.SetInputArrayToProcess(0, 0, 0, vtkDataObject.FIELD_ASSOCIATION_POINTS, "velocity")
    tracer.SetIntegratorTypeToRungeKutta4()
    tracer.SetIntegrationDirectionToForward()
    tracer.SetComputeVorticity(False)
    narrow = min(float(b.radius_mm.min()) for b in lumen.tree.branches)
    reach = settings.line_length * float(_path_lengths(lumen).max())
    tracer.SetIntegrationStepUnit(vtkStreamTracer.LENGTH_UNIT)
    tracer.SetInitialIntegrationStep(settings.line_step * narrow)
    tracer.SetMaximumPropagation(reach)
    tracer.SetMaximumNumberOfSteps(int(2 * reach / (settings.line_step * narrow)))
    tracer.SetTerminalSpeed(1e-9)
    tracer.Update()
    traced: vtkPolyData = tracer.GetOutput()
    if not traced.GetNumberOfLines():
        return _no_lines()
    found = vtk_data.polylines(traced)
    order = vtk_data.to_numpy(traced.GetLines().GetConnectivityArray())
    velocity = np.asarray(found.arrays["velocity"][order], np.float32)
    arrays = {"velocity": velocity, "speed": np.linalg.norm(velocity, axis=1)}
    return Polylines(found.points[order], found.offsets, arrays)


def _no_lines() -> Polylines:
    nothing = {"velocity": np.zeros((0, 3), np.float32), "speed": np.zeros(0, np.float32)}
    return Polylines(np.zeros((0, 3)), np.zeros(1, np.int64), nothing)


@dataclass(frozen=True)
class FigureOrigins:
    """Where the figures of a flow come from: "measured", "estimated" or "assumed"; by_name overrides."""

    geometry: str = "estimated"
    flow: str = "estimated"
    by_name: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str, flow: bool) -> str:
        return self.by_name.get(name, self.flow if flow else self.geometry)


def geometry_figures(lumen: Lumen, mesh: VolumeMesh, origins: FigureOrigins = FigureOrigins()) -> dict[str, Figure]:
    """Volume, smallest radius and length of the lumen."""
    values = {
        "lumen_volume": (float(cell_volumes(mesh).sum()) / 1000, "ml"),
        "min_radius": (min(float(b.radius_mm.min()) for b in lumen.tree.branches), "mm"),
        "length": (float(_path_lengths(lumen).max()), "mm"),
    }
    return {name: Figure(value, unit, origins.of(name, flow=False)) for name, (value, unit) in values.items()}


def figures(
    lumen: Lumen,
    flow: FlowField,
    fluid: Fluid,
    mesh: VolumeMesh,
    surface: Surface,
    origins: FigureOrigins = FigureOrigins(),
    settings: DerivedSettings = DerivedSettings(),
) -> dict[str, Figure]:
    """The key figures of a solved flow, those of the geometry among them.

    mesh     with "velocity", from sample_flow
    surface  with "wss", from wall_arrays
    pressure_drop is from the inlet to outlet 1, pressure_drop_outlet_2, … to the others, each the difference of means
    over the openings. reynolds is 4 rho Q / (pi mu D) at the inlet. mean_wss is weighted by area.
    """
    inflow = float(flow.flow_ml_s()[0])
    speed = np.linalg.norm(mesh.arrays["velocity"], axis=1)
    wss = np.asarray(surface.arrays["wss"], float)
    share = _areas_of_points(surface)
    diameter_m = 2e-3 * lumen.inlet.radius_mm
    values: dict[str, tuple[float, str]] = {"mean_inflow": (inflow, "ml/s")}
    pressures = [opening_mean(lumen, opening, flow.pressure, settings.disc_points) for opening in lumen.openings]
    for k, outlet_pressure in enumerate(pressures[1:], start=1):
        values["pressure_drop" if k == 1 else f"pressure_drop_outlet_{k}"] = (pressures[0] - outlet_pressure, "Pa")
    values["max_speed"] = (float(speed.max()), "m/s")
    values["mean_wss"] = (float((wss * share).sum() / share.sum()), "Pa")
    values["max_wss"] = (float(wss.max()), "Pa")
    values["reynolds"] = (4 * fluid.density_kg_m3 * inflow * 1e-6 / (np.pi * fluid.viscosity_pa_s * diameter_m), "1")
    found = {name: Figure(float(value), unit, origins.of(name, flow=True)) for name, (value, unit) in values.items()}
    return {**found, **geometry_figures(lumen, mesh, origins)}


def pressure_ratios(figures: Mapping[str, Figure], mean_pressure_pa: float) -> dict[str, Figure]:
    """Pressure behind the vessel over that before it, for every outlet; for research only.

    mean_pressure_pa  mean arterial pressure, taken as the pressure at the inlet
    Named after what it is: the patient is at rest and breathes no drug that widens the vessels, as the fractional
    flow reserve (Pijls et al., N Engl J Med 334, 1996) asks for.
    """
    found = {}
    for name, drop in figures.items():
        if name.startswith("pressure_drop"):
            at_rest = name.replace("pressure_drop", "resting_pressure_ratio", 1)
            low_high = drop.interval_90
            interval = (
                None if low_high is None else (1 - low_high[1] / mean_pressure_pa, 1 - low_high[0] / mean_pressure_pa)
            )
            found[at_rest] = Figure(1 - drop.value / mean_pressure_pa, "1", drop.origin, interval)
    return found


def opening_mean(lumen: Lumen, opening: Opening, quantity: Any, count: int = 1000) -> float:
    """Mean over the lumen's cross-section in an opening of quantity: (M, 3) LPS mm to (M,)."""
    points = _disc(lumen, opening, count)
    return float(np.mean(quantity(points))) if len(points) else float(quantity(opening.centre[None])[0])


def cell_volumes(mesh: VolumeMesh) -> Array:
    """(cells,) mm^3."""
    sizes = vtkCellSizeFilter()
    sizes.SetInputData(
        vtk_data.unstructured_grid(VolumeMesh(mesh.points, mesh.connectivity, mesh.offsets, mesh.cell_types))
    )
    sizes.ComputeVertexCountOff()
    sizes.ComputeLengthOff()
    sizes.ComputeAreaOff()
    sizes.Update()
    return np.abs(np.asarray(vtk_data.to_numpy(sizes.GetOutput().GetCellData().GetArray("Volume")), np.float64))


def _with_spacing(lumen: Lumen, settings: CellSettings, spacing_mm: float | None) -> CellSettings:
    if spacing_mm is None:
        return settings
    widest = max(float(b.radius_mm.max()) for b in lumen.tree.branches)
    return dataclasses.replace(settings, per_radius=widest / spacing_mm)


def _cut(grid: vtkUnstructuredGrid, array: str) -> vtkUnstructuredGrid:
    """The part of the cells where the point array is positive."""
    clip = vtkTableBasedClipDataSet()
    clip.SetInputData(grid)
    clip.SetInputArrayToProcess(0, 0, 0, vtkDataObject.FIELD_ASSOCIATION_POINTS, array)
    clip.SetValue(0.0)
    clip.Update()
    cut: vtkUnstructuredGrid = clip.GetOutput()
    return cut


def _mark_wall(lumen: Lumen, grid: vtkUnstructuredGrid, settings: CellSettings) -> vtkUnstructuredGrid:
    """The cells with the distance to the wall computed anew, after a cut has added points."""
    mesh = vtk_data.volume_mesh(grid)
    edge = np.asarray(mesh.arrays["edge"], np.float64)
    wall = away_from_zero(lumen.wall(mesh.points), settings.clearance * edge)
    return vtk_data.unstructured_grid(
        VolumeMesh(mesh.points, mesh.connectivity, mesh.offsets, mesh.cell_types, {**mesh.arrays, "wall": wall})
    )


def _contour(grid: vtkUnstructuredGrid) -> tuple[Array, NDArray[np.int64]]:
    contour = vtkContour3DLinearGrid()
    contour.SetInputData(grid)
    contour.SetInputArrayToProcess(0, 0, 0, vtkDataObject.FIELD_ASSOCIATION_POINTS, "wall")
    contour.SetValue(0, 0.0)
    contour.SetMergePoints(True)
    contour.SetInterpolateAttributes(False)
    contour.SetOutputPointsPrecision(1)
    contour.Update()
    data: vtkPolyData = contour.GetOutput()
    if data is None or data.GetNumberOfCells() == 0:
        raise ResourceError("The lumen is too narrow for its grid: no wall was found.")
    drawn = vtk_data.surface(data)
    triangles = np.asarray(drawn.triangles, np.int64)
    whole = (
        (triangles[:, 0] != triangles[:, 1])
        & (triangles[:, 1] != triangles[:, 2])
        & (triangles[:, 2] != triangles[:, 0])
    )
    return np.asarray(drawn.points, float), triangles[whole]


def _largest(points: Array, triangles: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """The connected piece with the most triangles: specks that float in the lumen are no wall."""
    one, other = triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel()
    graph = coo_matrix((np.ones(len(one), np.int8), (one, other)), shape=(len(points), len(points)))
    label = connected_components(graph, directed=False)[1][triangles[:, 0]]
    triangles = triangles[label == np.bincount(label).argmax()]
    used, triangles = np.unique(triangles, return_inverse=True)
    return points[used], triangles.reshape(-1, 3)


def _neighbours(count: int, edges: NDArray[np.int64], at_rim: Mask, rim: Mask) -> csr_matrix:
    """(n, n) matrix that takes the mean over a point's neighbours; on the rim over those along it."""
    usable = np.concatenate([edges, edges[:, ::-1]])
    along_rim = np.concatenate([at_rim, at_rim])
    usable = usable[along_rim | ~rim[usable[:, 0]]]
    degree = np.bincount(usable[:, 0], minlength=count)
    return csr_matrix((1 / degree[usable[:, 0]], (usable[:, 0], usable[:, 1])), shape=(count, count))


def _planes(lumen: Lumen, points: Array, on_any: Mask) -> _Planes:
    """The opening whose plane each marked point lies on: the one whose plane is closest, near its disc."""
    # The cut follows distances that keep their clearance, so it strays from the plane by a part of a cell.
    gap = np.full((len(lumen.openings), len(points)), np.inf)
    for k, opening in enumerate(lumen.openings):
        offset = points[on_any] - opening.centre
        along = np.abs(offset @ opening.normal)
        near = np.linalg.norm(offset, axis=1) < CellSettings().disc_radii * 1.5 * opening.radius_mm
        gap[k, on_any] = np.where(near & (along < PLANE_TOLERANCE * opening.radius_mm), along, np.inf)
    which = gap.argmin(0)
    return _Planes(np.where(np.isfinite(gap.min(0)), which, -1), lumen.openings)


def _onto_planes(points: Array, planes: _Planes) -> Array:
    moved = points.copy()
    for k, opening in enumerate(planes.openings):
        on = planes.which == k
        moved[on] -= ((moved[on] - opening.centre) @ opening.normal)[:, None] * opening.normal
    return moved


def _onto_wall(lumen: Lumen, points: Array, planes: _Planes) -> Array:
    """Newton's steps onto the wall; points on an opening stay in its plane."""
    x = _onto_planes(points, planes)
    normals = np.array([o.normal for o in planes.openings] + [np.zeros(3)])[planes.which]
    longest = 0.5 * lumen.wall.spacing_mm
    for _ in range(4):
        distance = lumen.wall(x)
        slope = lumen.wall.gradient(x)
        slope -= np.einsum("ij,ij->i", slope, normals)[:, None] * normals
        step = -(distance / np.maximum(np.einsum("ij,ij->i", slope, slope), 1e-2))[:, None] * slope
        x = x + step * np.minimum(1.0, longest / np.maximum(np.linalg.norm(step, axis=1), 1e-12))[:, None]
    return _onto_planes(x, planes)


def _traction(flow: FlowField, fluid: Fluid, points: Array, normal: Array) -> Array:
    """(n, 3) Pa: the part along the wall of mu (grad u + grad u^T) n."""
    gradient = flow.velocity_gradient(points)
    stress = fluid.viscosity_pa_s * np.einsum("mij,mj->mi", gradient + gradient.transpose(0, 2, 1), normal)
    return np.asarray(stress - np.einsum("mi,mi->m", stress, normal)[:, None] * normal)


def _local_radius(lumen: Lumen, points: Array) -> Array:
    """(M,) mm: the radius at the nearest point of the centreline."""
    centres = np.concatenate([b.points for b in lumen.tree.branches])
    radii = np.concatenate([b.radius_mm for b in lumen.tree.branches])
    return np.asarray(radii[cKDTree(centres).query(points)[1]])


def _path_lengths(lumen: Lumen) -> Array:
    """(leaves,) mm: the way along the centreline from the inlet to every outlet."""
    branches = lumen.tree.branches
    total = np.zeros(len(branches))
    for i, branch in enumerate(branches):
        total[i] = branch.arc_length_mm[-1] + (total[branch.parent] if branch.parent >= 0 else 0.0)
    return total[list(lumen.tree.leaves)]


def _disc(lumen: Lumen, opening: Opening, count: int) -> Array:
    """Points spread evenly over the lumen in an opening's plane, a hair inside it: a sunflower's spiral."""
    first = np.cross(opening.normal, np.eye(3)[np.abs(opening.normal).argmin()])
    first /= np.linalg.norm(first)
    second = np.cross(opening.normal, first)
    k = np.arange(4 * count) + 0.5
    radius = 2 * opening.radius_mm * np.sqrt(k / (4 * count))
    angle = np.pi * (3 - np.sqrt(5)) * k
    points = (
        opening.centre
        - 1e-3 * opening.radius_mm * opening.normal
        + ((radius * np.cos(angle))[:, None] * first + (radius * np.sin(angle))[:, None] * second)
    )
    return np.asarray(points[lumen.wall(points) > 0])


def _inlet_seeds(lumen: Lumen, flow: FlowField, count: int, rng: np.random.Generator) -> Array:
    """(m, 3) LPS mm: at most count points on the inlet, one from each equal share of its flux."""
    points = _disc(lumen, lumen.inlet, 4000)
    if not len(points):
        return np.zeros((0, 3))
    flux = np.maximum(-flow.velocity(points) @ lumen.inlet.normal, 0.0)
    if flux.sum() <= 0:
        return np.zeros((0, 3))
    heap = np.cumsum(flux) / flux.sum()
    level = (np.arange(count) + rng.random(count)) / count
    return np.asarray(points[np.unique(np.searchsorted(heap, level).clip(0, len(points) - 1))])


def _runge_kutta(flow: FlowField, x: Array, step: Array) -> tuple[Array, Array]:
    """One step of length step along the direction of the velocity, and the speed at the start."""

    def heading(at: Array) -> tuple[Array, Array]:
        u = flow.velocity(at)
        speed = np.linalg.norm(u, axis=1)
        return u / np.maximum(speed, 1e-12)[:, None], speed

    k1, speed = heading(x)
    k2, _ = heading(x + 0.5 * step * k1)
    k3, _ = heading(x + 0.5 * step * k2)
    k4, _ = heading(x + step * k3)
    return x + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4), speed


def _off_the_wall(lumen: Lumen, x: Array, clearance: Array) -> Array:
    """Points too close to the wall, or past it by an error of the integration, moved in to the clearance."""
    short = clearance - lumen.wall(x)
    low = short > 0
    if low.any():
        slope = lumen.wall.gradient(x[low])
        x = x.copy()
        x[low] += (short[low] / np.maximum(np.einsum("ij,ij->i", slope, slope), 1e-2))[:, None] * slope
    return x


def _passage(outlets: tuple[Opening, ...], old: Array, new: Array) -> tuple[Mask, Array]:
    """Which steps pass an outlet's disc outwards, and where."""
    passed = np.zeros(len(old), bool)
    at = new.copy()
    for outlet in outlets:
        before, after = (old - outlet.centre) @ outlet.normal, (new - outlet.centre) @ outlet.normal
        part = (-before / np.where(after - before == 0, 1.0, after - before)).clip(0, 1)
        cross = old + part[:, None] * (new - old)
        hit = (
            (before <= 0)
            & (after > 0)
            & (np.linalg.norm(cross - outlet.centre, axis=1) < 2 * outlet.radius_mm)
            & ~passed
        )
        at[hit] = cross[hit]
        passed |= hit
    return passed, at


def _areas_of_points(surface: Surface) -> Array:
    """(n,) mm^2: a third of the triangles around each point."""
    corners = np.asarray(surface.points, float)[surface.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    corner = np.asarray(surface.triangles).ravel()
    return np.bincount(corner, np.repeat(area / 3, 3), len(surface.points)).astype(np.float64)

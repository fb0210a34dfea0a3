"""A simulated vessel as the study of a job: given at once for teaching, or as a scanner would see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree, Opening
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance
from VesselFlowGSLib.results.export import write_surface
from VesselFlowGSLib.results.snapshot import Snapshot, Stage, Surface
from VesselFlowGSLib.simulation.settings import SimulationSettings, settings_for
from VesselFlowGSLib.simulation.simulate import simulate
from VesselFlowGSLib.simulation.vessels import Vessel, build_vessel
from VesselFlowGSLib.worker.job import Phantom

if TYPE_CHECKING:
    from VesselFlowGSLib.acquisition.study import Study
    from VesselFlowGSLib.reconstruction.checkpoint import Checkpoint
    from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings

MARK = ".phantom.json"
LUMEN = "lumen.vtp"
# fineness of the wall that is given
AROUND, RINGS_PER_RADIUS, CELLS_PER_RADIUS = 48, 6, 5
CENTRELINE_STEP_MM = 0.3
FORK_PART = 0.8  # the trunk ends where the tubes' middles are so many radii apart
# the grid of the wall distance: its cells along the narrowest radius, its blocks of so many cells, and how far outside
# the wall it is exact
GRID_PER_RADIUS, BLOCK, BAND_RADII = 4, 6, 0.8
Array = NDArray[np.float64]
# a preview of a given vessel is drawn coarsely to its end, so that it comes within seconds
FOR_TEACHING = {"derived": {"volume": {"per_radius": 6.0}, "wall": {"per_radius": 5.0}}}
Told = Callable[[str, float], None]


def write_phantom(folder: Path, phantom: Phantom, seed: int, told: Told = lambda *_: None) -> None:
    """Write the study of a simulated vessel into the folder; nothing is done where it is there already.

    A phantom of before is replaced. Raises InputError: an unknown vessel or setting, or a folder with another study.
    """
    settings = settings_for(phantom.vessel, **{"seed": seed, **phantom.changes})
    said = json.dumps({**asdict(phantom), "seed": seed}, indent=2, sort_keys=True)
    mark = folder / MARK
    if mark.is_file():
        if mark.read_text(encoding="utf-8") == said:
            return
        shutil.rmtree(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds a study already: a simulated vessel needs an empty folder.")
    told(f"simulating the vessel ({phantom.vessel})", 0.0)
    if phantom.images:
        simulate(settings, folder, told)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_given(folder, settings)
    mark.write_text(said, encoding="utf-8")


def write_given(folder: Path, settings: SimulationSettings) -> None:
    """The vessel as a surface, and a study.toml that gives it with its openings, blood and mean inflow."""
    vessel = build_vessel(settings.vessel)
    write_surface(folder / LUMEN, wall_of(vessel))
    inlet, *outlets = [_listed(cap.centre) for cap in vessel.caps]
    flow = settings.flow
    lines = [
        "[geometry]",
        f'lumen_file = "{LUMEN}"',
        f"inlet_lps_mm = {inlet}",
        f"outlets_lps_mm = [{', '.join(outlets)}]",
        "",
        "[fluid]",
        f"density_kg_m3 = {flow.density_kg_m3}",
        f"viscosity_pa_s = {flow.viscosity_pa_s}",
        "",
        "[flow]",
        f"mean_inflow_ml_s = {flow.mean_inflow_ml_s}",
    ]
    if len(outlets) > 1:
        for share in vessel.shares:
            lines += ["", "[[outlet]]", f"share = {share:.6f}"]
    (folder / "study.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def wall_of(vessel: Vessel) -> Surface:
    """The wall as triangles, LPS mm: a single tube open at inlet and outlet, a union of tubes closed beyond them."""
    return _swept(vessel) if len(vessel.tubes) == 1 else _joined(vessel)


def first_sight(phantom: Phantom) -> Snapshot | None:
    """The vessel that will be given, before the engine is loaded; None where it is to be found from images."""
    if phantom.images:
        return None
    surface = wall_of(build_vessel(settings_for(phantom.vessel, **phantom.changes).vessel))
    return Snapshot(Stage.GEOMETRY, 0.0, "the simulated vessel", surface=surface)


def given_checkpoint(study: Study, settings: ReconstructionSettings, phantom: Phantom) -> Checkpoint:
    """The vessel as the geometry that a reconstruction goes on from: exact, and without reading its surface."""
    from VesselFlowGSLib.lumen.fit import start_cloud
    from VesselFlowGSLib.reconstruction.checkpoint import Checkpoint
    from VesselFlowGSLib.reconstruction.reconstruct import fingerprint

    lumen = given_lumen(build_vessel(settings_for(phantom.vessel, **phantom.changes).vessel))
    cloud = start_cloud(lumen, 1.0, settings.fit).cloud
    return Checkpoint(fingerprint(study, settings), lumen, cloud, {}, ())


def given_lumen(vessel: Vessel) -> Lumen:
    """Wall, centreline tree and openings of a simulated vessel, from its own formulas."""
    centres, radii, parents = _tree(vessel)
    tree = CentrelineTree(tuple(Branch(c, r, p) for c, r, p in zip(centres, radii, parents, strict=True)))
    branch_of = [len(tree.branches) - len(vessel.tubes) + cap.tube for cap in vessel.caps]
    branch_of[0] = 0
    names = ["inlet", *(f"outlet {k}" for k in range(1, len(vessel.caps)))]
    openings = tuple(
        Opening(name, cap.centre, cap.normal, cap.radius_mm, branch)
        for name, cap, branch in zip(names, vessel.caps, branch_of, strict=True)
    )
    return Lumen(_wall_distance(vessel, min(float(r.min()) for r in radii)), tree, openings)


def _tree(vessel: Vessel) -> tuple[list[Array], list[Array], list[int]]:
    """Points and radii of the branches and their parents; tubes share the trunk that lies midway between them."""
    length, tubes = vessel.spec.length_mm, vessel.tubes
    s = np.linspace(0, length, int(np.ceil(length / CENTRELINE_STEP_MM)) + 1)
    lines = [t.point(s, 0 * s, 0 * s) for t in tubes]
    radii = [t.radius(s) for t in tubes]
    if len(tubes) == 1:
        return [vessel.lps(lines[0])], [radii[0]], [-1]
    apart = np.linalg.norm(lines[0] - lines[1], axis=1)
    fork = int(np.flatnonzero(apart > FORK_PART * radii[0])[0])
    trunk = (lines[0] + lines[1]) / 2
    branches, widths = [vessel.lps(trunk[: fork + 1])], [np.maximum(*radii)[: fork + 1]]
    # from the end of the trunk over to the tube's own middle, within a radius
    over = np.clip((s - s[fork]) / vessel.spec.radius_mm, 0, 1)[:, None]
    for line, radius in zip(lines, radii, strict=True):
        branches.append(vessel.lps((over * line + (1 - over) * trunk)[fork:]))
        widths.append(radius[fork:])
    return branches, widths, [-1] + [0] * len(lines)


def _wall_distance(vessel: Vessel, narrowest_mm: float) -> WallDistance:
    """Sampled on a grid, exact near the wall; it goes on past the openings as far as the tubes do."""
    step = narrowest_mm / GRID_PER_RADIUS
    low, high = vessel.bounds
    low = low - vessel.spec.radius_mm
    blocks = np.ceil((high + vessel.spec.radius_mm - low) / (BLOCK * step)).astype(int)
    corner = np.stack(np.meshgrid(*[np.arange(n) for n in blocks], indexing="ij"), -1).reshape(-1, 3)
    # far from the wall one rough value for a block is enough
    rough = _rough_distance(vessel, low + step * (BLOCK * corner + (BLOCK - 1) / 2))
    values = np.repeat(np.repeat(np.repeat(rough.reshape(tuple(blocks)), BLOCK, 0), BLOCK, 1), BLOCK, 2)
    corner = corner[rough > -BAND_RADII * vessel.spec.radius_mm - step * BLOCK]
    within = np.stack(np.meshgrid(*[np.arange(BLOCK)] * 3, indexing="ij"), -1).reshape(-1, 3)
    index = (BLOCK * corner[:, None] + within).reshape(-1, 3)
    values[tuple(index.T)] = _side_distance(vessel, low + step * index)
    return WallDistance(values, low, step)


def _rough_distance(vessel: Vessel, points: Array) -> Array:
    """(n,) mm: the radius at the nearest point of the centrelines, less the way there."""
    x = vessel.local(points)
    found = []
    for tube in vessel.tubes:
        s = np.arange(tube.start_mm, tube.end_mm, CENTRELINE_STEP_MM)
        away, nearest = cKDTree(tube.point(s, 0 * s, 0 * s)).query(x)
        found.append(tube.radius(s[nearest]) - away)
    return np.asarray(np.max(found, axis=0))


def _side_distance(vessel: Vessel, points: Array) -> Array:
    """(n,) mm as Vessel.wall_distance, but the tubes are not closed at their ends."""
    x = vessel.local(points)
    found = []
    for tube in vessel.tubes:
        s, across, binormal, _ = tube.coordinates(x)
        slope = tube.radius.derivative()(s)
        found.append((tube.radius(s) - np.hypot(across, binormal)) / np.sqrt(1 + slope**2))
    return np.asarray(np.max(found, axis=0))


def _swept(vessel: Vessel) -> Surface:
    tube = vessel.tubes[0]
    rings = int(np.ceil(RINGS_PER_RADIUS * vessel.spec.length_mm / vessel.spec.radius_mm)) + 1
    s = np.repeat(np.linspace(0, vessel.spec.length_mm, rings), AROUND)
    angle = np.tile(2 * np.pi * np.arange(AROUND) / AROUND, rings)
    radius = tube.radius(s)
    points = vessel.lps(tube.point(s, radius * np.cos(angle), radius * np.sin(angle)))
    j = np.arange(AROUND)
    after = (j + 1) % AROUND
    corners = np.stack([j, after, AROUND + after, AROUND + j], -1)
    quads = (AROUND * np.arange(rings - 1)[:, None, None] + corners).reshape(-1, 4)
    return Surface(points, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def _joined(vessel: Vessel) -> Surface:
    """The zero of the wall distance on a grid, in which a tube's radius is CELLS_PER_RADIUS cells or more."""
    at = np.linspace(0, vessel.spec.length_mm, 100)
    step = min(float(t.radius(at).min()) for t in vessel.tubes) / CELLS_PER_RADIUS
    low, high = vessel.bounds
    size = np.ceil((high - low) / step).astype(int) + 5
    origin = low - 2 * step
    grid = np.stack(np.meshgrid(*[origin[k] + step * np.arange(size[k]) for k in range(3)], indexing="ij"), -1)
    points = grid.reshape(-1, 3)
    distance = np.full(len(points), -2 * step)
    near = np.flatnonzero(vessel.near(points, 2 * step))
    distance[near] = vessel.wall_distance(points[near])
    from skimage.measure import marching_cubes

    cubes: Any = marching_cubes
    corners, triangles, _, _ = cubes(distance.reshape(tuple(size)), 0.0)
    return Surface(origin + step * corners, triangles)


def _listed(point: Array) -> str:
    return "[" + ", ".join(f"{float(v):.4f}" for v in point) + "]"

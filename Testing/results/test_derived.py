"""Wall, cells, stress, streamlines and figures against closed forms."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import pyvista as pv
from analytic_lumens import bent_tube, lumen_along, narrowed_tube, straight_tube
from results.poiseuille import Poiseuille
from scipy.spatial import cKDTree

from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.lumen.centreline import Branch, CentrelineTree, Opening
from VesselFlowGSLib.lumen.wall import Lumen, WallDistance
from VesselFlowGSLib.results import vtk_data
from VesselFlowGSLib.results.cells import CellSettings
from VesselFlowGSLib.results.derived import (
    DerivedSettings,
    FigureOrigins,
    cell_volumes,
    centreline_arrays,
    figures,
    lumen_surface,
    pressure_ratios,
    sample_flow,
    streamlines,
    volume_mesh,
    wall_arrays,
)
from VesselFlowGSLib.results.snapshot import Figure, Surface

OBLIQUE = (1.0, 2.0, 3.0)
COARSE = DerivedSettings(volume=CellSettings(per_radius=6.0))


def bifurcation(trunk_mm: float = 1.6, branch_mm: float = 0.5) -> Lumen:
    """A straight trunk with a thin branch."""
    step, tilt, spacing = 0.05, 1.0, 0.2
    axis, heading = np.array([0.0, 0.0, 1.0]), np.array([np.sin(tilt), 0.0, np.cos(tilt)])
    trunk = np.arange(-3, 15, step)[:, None] * axis
    branch = 6 * axis + np.arange(0, 9, step)[:, None] * heading
    low, high = np.array([-3.0, -3.0, -4.0]), np.array([10.0, 3.0, 16.0])
    count = np.ceil((high - low) / spacing).astype(int) + 1
    grid = np.stack(np.meshgrid(*[low[k] + spacing * np.arange(count[k]) for k in range(3)], indexing="ij"), -1)
    flat = grid.reshape(-1, 3)
    inside = np.maximum(trunk_mm - cKDTree(trunk).query(flat)[0], branch_mm - cKDTree(branch).query(flat)[0])
    z = trunk[:, 2]
    pieces = (trunk[(z >= 0) & (z <= 6)], trunk[(z >= 6) & (z <= 12)], branch[:140])
    radii = (trunk_mm, trunk_mm, branch_mm)
    tree = CentrelineTree(
        tuple(Branch(p, np.full(len(p), r), parent) for p, r, parent in zip(pieces, radii, (-1, 0, 0), strict=True))
    )
    openings = (
        Opening("inlet", pieces[0][0], -axis, trunk_mm, 0),
        Opening("outlet 1", pieces[1][-1], axis, trunk_mm, 1),
        Opening("outlet 2", pieces[2][-1], heading, branch_mm, 2),
    )
    return Lumen(WallDistance(inside.reshape(tuple(count)), low, spacing), tree, openings)


def hairpin() -> Lumen:
    """A tube that turns back, so that each opening's plane cuts the other leg too."""
    radius, turn, leg, step = 1.0, 2.6, 9.0, 0.05
    s = np.arange(0, 2 * leg + np.pi * turn, step)
    angle = np.clip((s - leg) / turn, 0, np.pi)
    curve = np.cumsum(np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1) * step, axis=0)
    curve = np.concatenate([curve, curve[-1] - np.arange(1, 80)[:, None] * step * np.array([0.0, 0.0, 1.0])])
    return lumen_along(curve, np.full(len(curve), radius), cut_mm=2.0)


LUMENS = {
    "straight": straight_tube,
    "oblique": lambda: straight_tube(direction=OBLIQUE),
    "bent": bent_tube,
    "narrowed": lambda: narrowed_tube(lambda z: 2 - 1.3 * np.exp(-(((z - 8) / 2) ** 2)), 16),
    "bifurcation": bifurcation,
    "hairpin": hairpin,
}


@cache
def lumen_named(name: str) -> Lumen:
    return LUMENS[name]()


@cache
def surface_named(name: str) -> Surface:
    return lumen_surface(lumen_named(name))


@cache
def poiseuille_mesh(direction: tuple[float, float, float]) -> pv.UnstructuredGrid:
    lumen = straight_tube(direction=direction)
    mesh, warnings = volume_mesh(lumen)
    assert not warnings
    return pv.wrap(vtk_data.unstructured_grid(sample_flow(mesh, lumen, Poiseuille(direction))))


@pytest.mark.parametrize("name", LUMENS)
def test_the_wall_is_a_manifold_with_one_flat_rim_per_opening(name: str) -> None:
    lumen, wall = lumen_named(name), surface_named(name)
    data = pv.wrap(vtk_data.surface_data(wall))
    edges = np.sort(wall.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    assert uses.max() == 2
    # A sphere with k holes has Euler number 2 - k.
    assert len(wall.points) - len(edges) + len(wall.triangles) == 2 - len(lumen.openings)
    rims = data.extract_feature_edges(feature_edges=False, manifold_edges=False).split_bodies()
    assert len(rims) == len(lumen.openings)
    closest = set()
    for rim in rims:
        gaps = [np.abs((rim.points - o.centre) @ o.normal).max() for o in lumen.openings]
        assert min(gaps) < 1e-5
        closest.add(int(np.argmin(gaps)))
    assert closest == set(range(len(lumen.openings)))


@pytest.mark.parametrize("name", LUMENS)
def test_the_wall_lies_on_the_zero_level_with_its_normals_outwards(name: str) -> None:
    lumen, wall = lumen_named(name), surface_named(name)
    assert np.isfinite(wall.points).all()
    assert np.abs(lumen.wall(wall.points)).max() < 1e-4
    corners = wall.points[wall.triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=1)
    facing = -np.einsum("ij,ij->i", normal, lumen.wall.gradient(corners.mean(1)))
    assert (area[facing <= 0]).sum() < 1e-4 * area.sum()


def test_the_wall_of_a_tube_has_its_area() -> None:
    lumen, wall = lumen_named("oblique"), surface_named("oblique")
    corners = wall.points[wall.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    between = np.linalg.norm(lumen.outlets[0].centre - lumen.inlet.centre)
    assert area == pytest.approx(2 * np.pi * 2.0 * between, rel=0.005)


def test_only_the_vessel_of_the_tree_is_drawn() -> None:
    """A second tube in the same distance field is no part of the result."""
    alone = lumen_named("straight")
    grid = alone.wall
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.values.shape], indexing="ij"), -1)
    x = grid.origin + grid.spacing_mm * index
    other = 0.5 - np.linalg.norm(x[..., :2] - np.array([3.4, 0.0]), axis=-1)
    both = dataclasses.replace(alone, wall=dataclasses.replace(grid, values=np.maximum(grid.values, other)))
    assert lumen_surface(both).points[:, 0].max() < 2.2
    assert volume_mesh(both, COARSE)[0].points[:, 0].max() < 2.2


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), OBLIQUE])
def test_poiseuille_keeps_its_velocity_in_the_cells(direction: tuple[float, float, float]) -> None:
    flow = Poiseuille(direction)
    rng = np.random.default_rng(0)
    e1, e2 = np.linalg.svd(flow.axis[None])[2][1:]
    r, a, z = 2 * np.sqrt(rng.random(20_000)), 2 * np.pi * rng.random(20_000), rng.uniform(0.5, 19.5, 20_000)
    points = (r * np.cos(a))[:, None] * e1 + (r * np.sin(a))[:, None] * e2 + z[:, None] * flow.axis
    found = pv.PolyData(points).sample(poiseuille_mesh(direction))
    truth = flow.velocity(points)
    # Points that no cell holds count with velocity zero.
    error = np.linalg.norm(found["velocity"] - truth) / np.linalg.norm(truth)
    assert error < 0.005
    assert np.abs(found["pressure"] - flow.pressure(points))[found["vtkValidPointMask"] == 1].max() < 0.01


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), OBLIQUE])
@pytest.mark.parametrize("tilt_deg", [0.0, 25.0])
def test_poiseuille_keeps_its_flow_through_slices(direction: tuple[float, float, float], tilt_deg: float) -> None:
    flow = Poiseuille(direction)
    aside = np.linalg.svd(flow.axis[None])[2][1]
    normal = np.cos(np.radians(tilt_deg)) * flow.axis + np.sin(np.radians(tilt_deg)) * aside
    for at in (3.0, 7.7, 15.1):
        cut = poiseuille_mesh(direction).slice(normal=normal, origin=at * flow.axis).point_data_to_cell_data()
        area = cut.compute_cell_sizes(length=False, volume=False)["Area"]
        assert ((cut["velocity"] @ normal) * area).sum() == pytest.approx(flow.flow_ml_s()[0], rel=0.01)


@pytest.mark.parametrize("name", ["narrowed", "bifurcation", "bent", "hairpin"])
def test_the_cells_fill_what_the_wall_encloses(name: str) -> None:
    lumen = lumen_named(name)
    mesh, _ = volume_mesh(lumen, COARSE)
    wall = surface_named(name)
    # Divergence theorem: an opening's disc adds its distance from the origin times its area.
    corners = wall.points[wall.triangles]
    enclosed = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    for opening in lumen.openings:
        edges = np.sort(wall.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        edges, uses = np.unique(edges, axis=0, return_counts=True)
        rim = wall.points[edges[uses == 1]] - opening.centre
        rim = rim[np.abs(rim @ opening.normal).max(1) < 1e-4]
        rim = rim[np.linalg.norm(rim, axis=2).max(1) < 2.5 * opening.radius_mm]
        disc = np.linalg.norm(np.cross(rim[:, 0], rim[:, 1]), axis=1).sum() / 2
        enclosed += disc * float(opening.centre @ opening.normal) / 3
    assert cell_volumes(mesh).sum() == pytest.approx(enclosed, rel=0.01)


def test_cells_of_two_sizes_fit_face_to_face() -> None:
    mesh, _ = volume_mesh(lumen_named("bifurcation"), COARSE)
    assert {10, 12, 14} <= set(np.unique(mesh.cell_types).tolist())
    skin = pv.wrap(vtk_data.unstructured_grid(mesh)).extract_surface(algorithm="dataset_surface")
    # What no neighbour covers lies on the wall or in an opening: there is no crack inside.
    at = skin.cell_centers().points
    lumen = lumen_named("bifurcation")
    at_opening = np.min([np.abs((at - o.centre) @ o.normal) for o in lumen.openings], axis=0) < 1e-3
    area = skin.compute_cell_sizes(length=False, volume=False)["Area"]
    assert area[(np.abs(lumen.wall(at)) > 0.05) & ~at_opening].sum() < 2e-3 * area.sum()


def test_cells_are_as_fine_as_the_vessel_is_narrow() -> None:
    lumen = lumen_named("narrowed")
    mesh, _ = volume_mesh(lumen, COARSE)
    whole = np.flatnonzero(np.diff(mesh.offsets) == 8)
    whole = whole[mesh.cell_types[whole] == 12]
    corner = mesh.points[mesh.connectivity[mesh.offsets[whole][:, None] + np.arange(8)]]
    size = np.ptp(corner, axis=1).max(1)
    radius = np.interp(corner.mean(1)[:, 2], lumen.tree.branches[0].points[:, 2], lumen.tree.branches[0].radius_mm)
    assert (size <= 1.02 * radius / 6).mean() > 0.999


def test_too_many_points_make_the_cells_coarser_and_are_said() -> None:
    lumen = lumen_named("straight")
    free, none = volume_mesh(lumen, COARSE)
    few, warnings = volume_mesh(lumen, DerivedSettings(volume=CellSettings(per_radius=6.0, max_points=3000)))
    assert not none
    assert len(few.points) < len(free.points)
    assert len(warnings) == 1 and "3000" in warnings[0]


def test_velocity_is_exactly_zero_on_the_wall_only() -> None:
    lumen = straight_tube()
    mesh, _ = volume_mesh(lumen, COARSE)
    sampled = sample_flow(mesh, lumen, Poiseuille())
    still = ~sampled.arrays["velocity"].any(1)
    assert np.abs(np.hypot(*mesh.points[still, :2].T) - 2.0).max() < 1e-3
    assert still.sum() > 500
    assert sampled.arrays["velocity"].dtype == np.float32 and sampled.arrays["pressure"].dtype == np.float32


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), OBLIQUE])
def test_wall_shear_stress_of_poiseuille(direction: tuple[float, float, float]) -> None:
    lumen, flow = straight_tube(direction=direction), Poiseuille(direction)
    wall = wall_arrays(lumen_surface(lumen), lumen, flow, Fluid())
    assert wall.arrays["wss"] == pytest.approx(flow.wss_pa, rel=2e-3)
    assert wall.arrays["pressure"] == pytest.approx(flow.pressure(np.asarray(wall.points)), abs=0.02)
    assert (wall.arrays["confidence"] == 1).all()


def test_streamlines_run_from_inlet_to_outlet_along_the_axis() -> None:
    lumen, flow = straight_tube(direction=OBLIQUE), Poiseuille(OBLIQUE)
    lines = streamlines(lumen, flow, count=40, seed=1)
    first, last = lines.points[lines.offsets[:-1]], lines.points[lines.offsets[1:] - 1]
    assert len(first) >= 36
    assert np.abs((first - lumen.inlet.centre) @ lumen.inlet.normal).max() < 0.01
    assert np.abs((last - lumen.outlets[0].centre) @ lumen.outlets[0].normal).max() < 1e-9
    assert np.abs(flow.across(first) - flow.across(last)).max() < 1e-6
    assert lines.arrays["speed"] == pytest.approx(np.linalg.norm(flow.velocity(lines.points), axis=1), rel=1e-5)
    # Each seed stands for the same flux: half of the flow of a parabola runs within 0.541 radii.
    inner = np.linalg.norm(flow.across(first), axis=1) < 2 * np.sqrt(1 - np.sqrt(0.5))
    assert inner.mean() == pytest.approx(0.5, abs=0.08)


def test_streamlines_repeat_with_their_seed() -> None:
    lumen, flow = straight_tube(), Poiseuille()
    one, same, other = (streamlines(lumen, flow, 10, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.points, same.points)
    assert not np.array_equal(one.points, other.points)


def test_without_inflow_there_are_no_streamlines() -> None:
    lines = streamlines(straight_tube(), Poiseuille(mean_m_s=0.0), count=10)
    assert len(lines.points) == 0 and lines.offsets.tolist() == [0]


def test_centreline_has_one_curve_per_branch() -> None:
    lumen = lumen_named("bifurcation")
    lines = centreline_arrays(lumen, None)
    assert len(lines.offsets) == 4
    assert set(lines.arrays) == {"radius_mm", "branch_id"}
    assert lines.arrays["branch_id"][lines.offsets[:-1]].tolist() == [0, 1, 2]


def test_figures_of_poiseuille() -> None:
    lumen, flow, fluid = straight_tube(), Poiseuille(), Fluid()
    mesh, _ = volume_mesh(lumen)
    mesh = sample_flow(mesh, lumen, flow)
    wall = wall_arrays(lumen_surface(lumen), lumen, flow, fluid)
    found = figures(lumen, flow, fluid, mesh, wall, FigureOrigins(flow="assumed", by_name={"reynolds": "measured"}))
    between = float(np.linalg.norm(lumen.outlets[0].centre - lumen.inlet.centre))
    expected = {
        "mean_inflow": (flow.flow_ml_s()[0], "ml/s"),
        "pressure_drop": (flow.slope_pa_mm * between, "Pa"),
        "max_speed": (0.4, "m/s"),
        "mean_wss": (flow.wss_pa, "Pa"),
        "max_wss": (flow.wss_pa, "Pa"),
        "reynolds": (1060 * 0.2 * 4e-3 / 0.0035, "1"),
        "lumen_volume": (np.pi * 4 * between * 1e-3, "ml"),
        "min_radius": (2.0, "mm"),
        "length": (between, "mm"),
    }
    assert set(found) == set(expected)
    for name, (value, unit) in expected.items():
        assert found[name].value == pytest.approx(value, rel=5e-3), name
        assert found[name].unit == unit
    assert found["reynolds"].origin == "measured"
    assert found["max_wss"].origin == "assumed"
    assert found["length"].origin == "estimated"


def test_the_pressure_ratio_is_what_is_left_of_the_arterial_pressure() -> None:
    drops = {
        "pressure_drop": Figure(2000.0, "Pa", "estimated", (1000.0, 3000.0)),
        "pressure_drop_outlet_2": Figure(500.0, "Pa", "estimated"),
        "max_speed": Figure(1.0, "m/s", "estimated"),
    }
    ratios = pressure_ratios(drops, 10000.0)
    assert ratios == {
        "resting_pressure_ratio": Figure(0.8, "1", "estimated", (0.7, 0.9)),
        "resting_pressure_ratio_outlet_2": Figure(0.95, "1", "estimated"),
    }

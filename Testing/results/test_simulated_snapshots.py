"""The analytic snapshots that other tests rely on: whole walls, no divergence, flow to where it is said to go."""

from __future__ import annotations

import numpy as np
import pytest
import pyvista as pv
import simulated_snapshots as simulated

from VesselFlowGSLib.results import vtk_data
from VesselFlowGSLib.results.snapshot import Snapshot, Stage

CASES = {
    "straight": lambda: simulated.steady_tube(),
    "bent": lambda: simulated.steady_tube(bend_deg=80.0, secondary=0.1),
    "stenosed": lambda: simulated.stenosed_tube(taper=0.2, bend_deg=30.0),
    "forked": lambda: simulated.pulsatile_bifurcation(triangles=3000),
}


@pytest.fixture(params=CASES, scope="module")
def snapshot(request: pytest.FixtureRequest) -> Snapshot:
    return CASES[request.param]()


def test_the_wall_is_one_manifold_open_at_its_flat_openings(snapshot: Snapshot) -> None:
    wall = pv.wrap(vtk_data.surface_data(snapshot.surface))
    edges = dict(manifold_edges=False, feature_edges=False)
    rims = wall.extract_feature_edges(boundary_edges=True, non_manifold_edges=False, **edges)
    assert wall.extract_feature_edges(boundary_edges=False, non_manifold_edges=True, **edges).n_cells == 0
    rims = rims.connectivity()
    openings = snapshot.geometry["openings"]
    assert rims.cell_data["RegionId"].max() + 1 == len(openings)
    for opening in openings:
        offset = rims.points - np.array(opening["centre_lps_mm"])
        near = np.linalg.norm(offset, axis=1) < 1.5 * opening["radius_mm"]
        assert near.any()
        assert np.abs(offset[near] @ np.array(opening["normal"])).max() < 1e-6


def test_normals_look_outwards_and_cells_are_not_inside_out(snapshot: Snapshot) -> None:
    closed = pv.wrap(vtk_data.surface_data(snapshot.surface)).fill_holes(100.0)
    sizes = pv.wrap(vtk_data.unstructured_grid(snapshot.field)).compute_cell_sizes(length=False, area=False)
    volumes = sizes.cell_data["Volume"]
    assert volumes.min() > 0
    assert volumes.sum() == pytest.approx(1000 * snapshot.figures["lumen_volume"].value, rel=0.05)
    first = snapshot.surface.points[snapshot.surface.triangles[:, 0]]
    sides = snapshot.surface.points[snapshot.surface.triangles]
    normal = np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0])
    assert (first * normal).sum() / 6 > 0.2 * closed.volume  # the open ends are missing in the sum


def test_the_flow_has_no_divergence_and_stands_still_on_the_wall() -> None:
    snapshot = simulated.stenosed_tube(bend_deg=40.0, triangles=20000)
    grid = pv.wrap(vtk_data.unstructured_grid(snapshot.field))
    gradient = grid.compute_derivative(scalars="velocity", gradient="G")["G"]
    divergence = gradient[:, [0, 4, 8]].sum(1)
    assert np.sqrt(np.mean(divergence**2) / np.mean((gradient**2).sum(1))) < 0.02
    on_wall = np.isin(snapshot.field.points.view("V24").ravel(), snapshot.surface.points.view("V24").ravel())
    assert on_wall.sum() == len(snapshot.surface.points)
    assert not snapshot.field.arrays["velocity"][on_wall].any()


def test_blood_turns_behind_the_narrowing_and_nowhere_without() -> None:
    along = simulated.AXIS
    assert (simulated.stenosed_tube(jet=1.6).field.arrays["velocity"] @ along).min() < -0.02
    assert (simulated.stenosed_tube(jet=0.0).field.arrays["velocity"] @ along).min() > -1e-9


def test_signs_tell_a_turned_frame(snapshot: Snapshot) -> None:
    near = np.linalg.norm(snapshot.field.points - simulated.START, axis=1) < 3.0
    mean = snapshot.field.arrays["velocity"][near].mean(0)
    assert np.allclose(mean / np.linalg.norm(mean), simulated.AXIS, atol=0.1)
    assert np.abs(simulated.AXIS).tolist() == [0.48, 0.36, 0.8]
    first, last = snapshot.streamlines.points[[0, snapshot.streamlines.offsets[1] - 1]]
    assert (last - first) @ snapshot.streamlines.arrays["velocity"][0] > 0


def test_phases_average_to_the_mean_and_share_its_points() -> None:
    snapshot = simulated.pulsatile_bifurcation(phases=12, triangles=2000)
    assert len(snapshot.phases) == 12
    assert snapshot.period_s == 0.8
    assert np.allclose(np.diff([p.time_s for p in snapshot.phases]), 0.8 / 12)
    for name, mean in snapshot.field.arrays.items():
        assert np.allclose(
            np.mean([p.field[name] for p in snapshot.phases], axis=0), mean, atol=2e-3 * np.abs(mean).max()
        )
    for phase in snapshot.phases:
        assert set(phase.surface) == {"pressure", "wss"}
        assert len(phase.surface["wss"]) == len(snapshot.surface.points)
        flow = phase.centreline["flow_ml_s"][snapshot.centreline.offsets[:-1]]
        assert flow[0] == pytest.approx(flow[1] + flow[2])
    assert np.ptp([p.centreline["flow_ml_s"][0] for p in snapshot.phases]) > 1.0


def test_a_result_grows_to_the_finished_one() -> None:
    states = simulated.growing(simulated.steady_tube(triangles=1000))
    assert [s.stage for s in states] == [Stage.GEOMETRY, Stage.FIRST_FLOW, Stage.FLOW, Stage.FLOW, Stage.DONE]
    assert states[0].field is None and states[-1].field is not None
    assert len({s.shape for s in states}) == 1

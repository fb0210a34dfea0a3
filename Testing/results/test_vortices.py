"""Gradients on cells are exact for linear fields, and the vortex criteria for the flows that they are about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.results import vortices
from VesselFlowGSLib.results.snapshot import VolumeMesh

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], float)
SPLITS = {
    12: [range(8)],
    13: [(0, 1, 2, 4, 5, 6), (0, 2, 3, 4, 6, 7)],
    14: [(0, 1, 2, 3, 6), (0, 4, 5, 1, 6), (0, 3, 7, 4, 6)],
    10: [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)],
}


def mesh_of(kind: int, points: np.ndarray, velocity: np.ndarray) -> VolumeMesh:
    cells = SPLITS[kind]
    flat = np.array([i for cell in cells for i in cell])
    offsets = np.cumsum([0] + [len(cell) for cell in cells])
    return VolumeMesh(points, flat, offsets, np.full(len(cells), kind, np.uint8), {"velocity": velocity})


def lattice(count: int, spacing_mm: float) -> VolumeMesh:
    """(count - 1)^3 cubes around the origin."""
    line = spacing_mm * (np.arange(count) - (count - 1) / 2)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    low = np.stack(np.meshgrid(*[np.arange(count - 1)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    corners = (low + CORNERS.astype(int)) @ [count * count, count, 1]
    return VolumeMesh(points, corners.ravel(), 8 * np.arange(len(corners) + 1), np.full(len(corners), 12, np.uint8), {})


@pytest.mark.parametrize("kind", SPLITS)
def test_a_linear_field_has_its_gradient_in_every_kind_of_cell(kind: int) -> None:
    rng = np.random.default_rng(4)
    frame = np.eye(3) + 0.3 * rng.normal(size=(3, 3))
    gradient = rng.normal(size=(3, 3))
    points = CORNERS @ frame.T + 7.0
    found = vortices.cell_gradients(mesh_of(kind, points, points @ gradient.T))
    assert len(found.cells) == len(SPLITS[kind])
    assert np.allclose(found.gradient, 1e3 * gradient)
    assert found.volume.sum() == pytest.approx(np.linalg.det(frame))


@given(omega=st.floats(0.1, 500))
def test_blood_that_turns_as_a_solid_has_q_and_lambda2_of_its_rate(omega: float) -> None:
    turning = omega * np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 0]]])
    assert vortices.q_criterion(turning)[0] == pytest.approx(omega**2)
    assert vortices.lambda2(turning)[0] == pytest.approx(-(omega**2))
    assert vortices.strain_squared(turning)[0] == pytest.approx(0.0)


def test_shear_and_strain_are_no_vortices() -> None:
    shear = np.array([[[0, 3.0, 0], [0, 0, 0], [0, 0, 0]]])
    strain = np.array([[[1.0, 0, 0], [0, 1.0, 0], [0, 0, -2.0]]])
    assert vortices.q_criterion(shear)[0] == vortices.lambda2(shear)[0] == 0.0
    assert vortices.q_criterion(strain)[0] < 0 < vortices.lambda2(strain)[0]


def test_slivers_at_the_wall_are_left_out_and_bad_cells_too() -> None:
    mixed = VolumeMesh(
        CORNERS,
        np.array([*range(8), 0, 1, 2, 6]),
        np.array([0, 8, 12]),
        np.array([12, 10], np.uint8),
        {"velocity": CORNERS.copy()},
    )
    assert vortices.cell_gradients(mixed).cells.tolist() == [0]
    unknown = np.where(np.arange(8)[:, None] == 3, np.nan, CORNERS)
    assert len(vortices.cell_gradients(mesh_of(12, CORNERS, unknown)).cells) == 0
    flat = CORNERS * [1, 1, 0]
    assert len(vortices.cell_gradients(mesh_of(12, flat, CORNERS)).cells) == 0


def test_the_boundary_of_a_ball_of_cells_is_closed_and_in_its_place() -> None:
    mesh = lattice(31, 0.1)
    middle = mesh.points[mesh.connectivity.reshape(-1, 8)].mean(1)
    centre = np.array([0.2, -0.3, 0.1])
    inside = np.flatnonzero(np.linalg.norm(middle - centre, axis=1) < 0.8)
    surface = vortices.boundary(mesh, inside)
    edges = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    assert np.linalg.norm(surface.points - centre, axis=1).mean() == pytest.approx(0.8, abs=0.05)


def test_two_balls_of_cells_are_two_pieces() -> None:
    mesh = lattice(21, 0.1)
    middle = mesh.points[mesh.connectivity.reshape(-1, 8)].mean(1)
    cells = np.flatnonzero(np.abs(middle[:, 0]) > 0.3)
    label = vortices.pieces(mesh, cells)
    assert len(np.unique(label)) == 2
    assert len(np.unique(label[middle[cells, 0] > 0])) == 1

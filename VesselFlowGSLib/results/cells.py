"""Cells over the lumen, as fine as the vessel is narrow: the frame of the volume mesh and of the wall surface.

Cubes of edge h, 2h, 4h, … on one lattice. Where two sizes meet, the larger cube is cut into pyramids and tetrahedra
around its centre, so that the cells fit face to face. The edge wanted at x is

    min_i (R_i + g max(0, |x - c_i| - R_i)) / per_radius

over the centreline's points c_i with radius R_i. It changes so slowly (g < per_radius / 4.4) that neighbours differ by
a factor two at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from VesselFlowGSLib.errors import ResourceError
from VesselFlowGSLib.lumen.wall import Lumen
from VesselFlowGSLib.results.snapshot import VolumeMesh

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

TETRAHEDRON, HEXAHEDRON, PYRAMID = 10, 12, 14

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
FACES = np.array(
    [[0, 1, 2, 3], [4, 7, 6, 5], [0, 4, 5, 1], [1, 5, 6, 2], [2, 6, 7, 3], [3, 7, 4, 0]]
)  # seen from inside


@dataclass(frozen=True)
class CellSettings:
    """How fine the cells are, and how an opening is found among them.

    per_radius    cells along the local radius
    max_points    beyond it the cells are made coarser, and the caller is told
    grading       g: how fast the edge may grow away from a narrow vessel
    clearance     smallest |distance| of a cell's corner to the wall or an opening, in edges: no slivers
    disc_radii    an opening's disc reaches this many radii across its normal
    slab_radii    half the thickness of the slab in which an opening cuts, in radii
    """

    per_radius: float = 14.0
    max_points: int = 1_500_000
    grading: float = 1.5
    clearance: float = 0.02
    disc_radii: float = 2.5
    slab_radii: float = 0.75


@dataclass(frozen=True)
class LumenCells:
    """Whole cells that cover the lumen between its openings, not yet cut.

    mesh        points LPS mm; arrays "wall" (mm, positive inside), "opening" (mm, positive before the openings) and
                "edge" (mm, of the smallest cube at the point)
    per_radius  as used
    """

    mesh: VolumeMesh
    per_radius: float


def lumen_cells(lumen: Lumen, settings: CellSettings) -> LumenCells:
    """Cells that cover the part of the lumen that holds the tree, between the openings.

    Raises ResourceError where no cell of the lattice lies in the lumen.
    """
    sizes = _Sizes(lumen, settings)
    corner, level = _cubes(lumen, sizes)
    span = (1 << level)[:, None, None]
    nodes, cubes = np.unique(_code(corner[:, None, :] + span * CORNERS), return_inverse=True)
    cubes = cubes.reshape(-1, 8)
    points = sizes.low + sizes.finest * _decode(nodes)
    edge = np.full(len(nodes), np.inf)
    for k in np.unique(level):
        touched = np.unique(cubes[level == k])
        edge[touched] = np.minimum(edge[touched], sizes.finest * (1 << k))
    wall = away_from_zero(lumen.wall(points), settings.clearance * edge)
    opening = away_from_zero(_before_openings(lumen, points, cubes, wall, settings), settings.clearance * edge)
    kept = _of_the_vessel(lumen, points, cubes, (wall > 0) & (opening > 0))
    if not kept.any():
        raise ResourceError("The lumen is too narrow for its grid: no cell lies inside the wall.")
    mesh = _fitting(nodes, points, edge, cubes[kept], corner[kept], level[kept], sizes)
    edges = np.asarray(mesh.arrays["edge"], np.float64)
    if len(mesh.points) > len(nodes):
        added = lumen.wall(mesh.points[len(nodes) :])
        wall = np.concatenate([wall, away_from_zero(added, settings.clearance * edges[len(nodes) :])])
        opening = np.concatenate([opening, _centre_values(mesh, opening)])
    arrays = {"wall": wall, "opening": opening, "edge": edges}
    return LumenCells(_compact(mesh, arrays), sizes.per_radius)


def away_from_zero(values: Array, least: Array) -> Array:
    """The values, none of them closer to zero than asked."""
    return np.where(np.abs(values) < least, np.where(values < 0, -least, least), values)


class _Sizes:
    """Edges of the cubes: finest * 2^level, and the edge wanted at a point."""

    def __init__(self, lumen: Lumen, settings: CellSettings) -> None:
        centres, radii, steps = _tree_samples(lumen)
        self.low = lumen.wall.origin
        self.extent = (np.asarray(lumen.wall.values.shape) - 1) * lumen.wall.spacing_mm
        self.per_radius = settings.per_radius
        self.finest, points = _best_finest(radii, steps, self.per_radius)
        while points > settings.max_points:
            self.per_radius *= max(0.5, 0.97 * (settings.max_points / points) ** (1 / 3))
            self.finest, points = _best_finest(radii, steps, self.per_radius)
        self.top = max(1, int(np.ceil(np.log2(max(radii.max(), 2 * lumen.wall.spacing_mm) / self.finest))))
        # Radii that differ by less than a tenth share a search tree: the nearest point of each class decides.
        kind = np.floor(np.log(radii / radii.min()) / np.log(1.1)).astype(int)
        self._grading = settings.grading
        self._classes = [(radii[kind == k].min(), cKDTree(centres[kind == k])) for k in np.unique(kind)]

    def wanted(self, points: Array) -> Array:
        """(M, 3) LPS mm to (M,) mm."""
        found = (r + self._grading * np.maximum(0, tree.query(points)[0] - r) for r, tree in self._classes)
        return np.asarray(np.minimum.reduce(list(found)) / self.per_radius)


def _tree_samples(lumen: Lumen) -> tuple[Array, Array, Array]:
    """Centreline points a third of a radius apart: (n, 3) mm, radius (n,) mm, length that each stands for (n,) mm."""
    centres, radii, steps, owner = [], [], [], []
    # Nothing narrower than the wall's own grid is resolved by it.
    least = lumen.wall.spacing_mm
    for number, branch in enumerate(lumen.tree.branches):
        along = branch.arc_length_mm
        radius = np.maximum(np.nan_to_num(branch.radius_mm, nan=least), least)
        count = max(2, int(np.ceil(3 * along[-1] / radius.min())) + 1)
        at = np.linspace(0, along[-1], count)
        centres.append(np.stack([np.interp(at, along, branch.points[:, k]) for k in range(3)], -1))
        radii.append(np.interp(at, along, radius))
        steps.append(np.full(count, along[-1] / count))
        owner.append(np.full(count, number))
    c, r, of = np.concatenate(centres), np.concatenate(radii), np.concatenate(owner)
    # Where a branch begins inside its trunk, the vessel is as wide as the trunk.
    wide = [np.max(np.where(of != of[i], r - np.linalg.norm(c - c[i], axis=1), 0.0)) for i in range(len(c))]
    return c, np.maximum(r, wide), np.concatenate(steps)


def _best_finest(radii: Array, steps: Array, per_radius: float) -> tuple[float, float]:
    """The finest edge, of those that suit the narrowest place, that needs the fewest cubes; and how many these are."""
    choices = radii.min() / per_radius / 2 ** np.linspace(0, 1, 16, endpoint=False)
    level = np.floor(np.log2(radii / per_radius / choices[:, None]) + 1e-9)
    edges = choices[:, None] * 2**level
    count = (steps * np.pi * radii**2 / edges**3).sum(1)
    best = int(count.argmin())
    return float(choices[best]) * (1 - 1e-9), float(count[best])


def _cubes(lumen: Lumen, sizes: _Sizes) -> tuple[Integers, NDArray[np.int64]]:
    """First corners (m, 3) in finest edges, and levels (m,), of the cubes that may hold lumen."""
    edge = sizes.finest * (1 << sizes.top)
    count = np.maximum(1, np.ceil(sizes.extent / edge)).astype(int)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in count], indexing="ij"), -1).reshape(-1, 3)
    corners, levels = [], []
    for level in range(sizes.top, -1, -1):
        edge = sizes.finest * (1 << level)
        centre = sizes.low + edge * (index + 0.5)
        # Half the diagonal is 0.87 edges; the rest forgives a distance that is not quite one.
        held = lumen.wall(centre) > -1.2 * edge
        index, centre = index[held], centre[held]
        split = (sizes.wanted(centre) < edge) if level else np.zeros(len(index), bool)
        corners.append(index[~split] << level)
        levels.append(np.full(int((~split).sum()), level))
        index = (2 * index[split][:, None, :] + CORNERS).reshape(-1, 3)
    return np.concatenate(corners), np.concatenate(levels)


def _before_openings(lumen: Lumen, points: Array, cubes: Integers, wall: Array, settings: CellSettings) -> Array:
    """(n,) mm: distance before the plane of an opening near its disc, far inside elsewhere.

    Only the piece of lumen that the opening's centre lies in is cut, so a neighbour that passes by stays whole.
    What lies beyond the slab is left without a link to the vessel.
    """
    before = np.full(len(points), np.inf)
    wet = wall > 0
    for opening in lumen.openings:
        offset = points - opening.centre
        along = offset @ opening.normal
        across = np.linalg.norm(offset - along[:, None] * opening.normal, axis=1)
        near = (np.abs(along) < settings.slab_radii * opening.radius_mm) & (
            across < settings.disc_radii * opening.radius_mm
        )
        in_slab = np.flatnonzero((near & wet)[cubes].any(1))
        if not len(in_slab):
            continue
        label = _pieces(cubes[in_slab], wet & near)
        candidates = np.unique(cubes[in_slab])
        candidates = candidates[(wet & near)[candidates]]
        central = candidates[np.linalg.norm(offset[candidates], axis=1).argmin()]
        piece = label[(cubes[in_slab] == central).any(1)][0]
        local = np.unique(cubes[in_slab[label == piece]])
        before[local] = np.minimum(before[local], -along[local])
    # Finite and far: a cut between such a point and one at an opening falls beside the latter.
    reach = max(opening.radius_mm for opening in lumen.openings) if lumen.openings else 1.0
    return np.where(np.isfinite(before), before, reach)


def _pieces(cubes: Integers, links: Mask) -> NDArray[np.int32]:
    """(m,) number of the connected piece of each cube; cubes touch through the corners marked as links."""
    cube, which = np.nonzero(links[cubes])
    node = cubes[cube, which]
    _, node = np.unique(node, return_inverse=True)
    total = len(cubes) + (int(node.max()) + 1 if len(node) else 0)
    graph = coo_matrix((np.ones(len(cube), np.int8), (cube, len(cubes) + node)), shape=(total, total))
    return np.asarray(connected_components(graph, directed=False)[1][: len(cubes)])


def _of_the_vessel(lumen: Lumen, points: Array, cubes: Integers, wet: Mask) -> Mask:
    """(m,) the cubes of the piece of lumen that holds most of the tree."""
    holding = np.flatnonzero(wet[cubes].any(1))
    kept = np.zeros(len(cubes), bool)
    if not len(holding):
        return kept
    label = _pieces(cubes[holding], wet)
    of_node = np.zeros(len(points), np.int64)
    of_node[cubes[holding].ravel()] = np.repeat(label, 8)
    wet_nodes = np.flatnonzero(wet)
    tree_points = np.concatenate([b.points for b in lumen.tree.branches])
    nearest = wet_nodes[cKDTree(points[wet_nodes]).query(tree_points)[1]]
    # A dry corner may be shared by two pieces, a wet one never is.
    of_node[cubes[holding].ravel()[wet[cubes[holding]].ravel()]] = np.repeat(label, 8)[wet[cubes[holding]].ravel()]
    kept[holding[label == np.bincount(of_node[nearest]).argmax()]] = True
    # The wall may bulge into a large cube between its corners, where smaller neighbours show it: keep the dry rim.
    touched = np.zeros(len(points), bool)
    touched[cubes[kept]] = True
    kept |= touched[cubes].any(1) & ~wet[cubes].any(1)
    return kept


def _fitting(
    nodes: Integers,
    points: Array,
    edge: Array,
    cubes: Integers,
    corner: Integers,
    level: NDArray[np.int64],
    sizes: _Sizes,
) -> VolumeMesh:
    """Hexahedra, and pyramids and tetrahedra where a cube has smaller neighbours."""
    used = np.zeros(len(nodes), bool)
    used[cubes] = True
    present = nodes[used]

    def find(lattice: Integers) -> Integers:
        code = _code(lattice)
        at = np.searchsorted(present, code).clip(0, len(present) - 1)
        return np.where(present[at] == code, np.flatnonzero(used)[at], -1)

    half = (1 << level) // 2
    coarse = np.flatnonzero(level > level.min())
    loop = CORNERS[FACES]
    middles = (loop + np.roll(loop, -1, axis=1)).reshape(-1, 3)
    hearts = (loop.sum(1) // 2).reshape(-1, 3)
    marks = np.concatenate([middles, hearts])
    hanging = find(corner[coarse][:, None, :] + half[coarse][:, None, None] * marks)
    mixed = (hanging >= 0).any(1)
    is_mixed = np.zeros(len(cubes), bool)
    is_mixed[coarse[mixed]] = True
    plain = cubes[~is_mixed]
    cut = list(_around_centres(cubes[coarse[mixed]], hanging[mixed], len(nodes)))
    centres = sizes.low + sizes.finest * (corner[coarse[mixed]] + half[coarse[mixed]][:, None])
    flat = np.concatenate([plain.ravel(), np.array([i for cell in cut for i in cell], np.int64)])
    lengths = np.concatenate([np.full(len(plain), 8), np.array([len(cell) for cell in cut], np.int64)])
    kinds = np.where(lengths == 8, HEXAHEDRON, np.where(lengths == 5, PYRAMID, TETRAHEDRON))
    edges = np.concatenate([edge, sizes.finest * (1 << level[coarse[mixed]])])
    return VolumeMesh(
        np.concatenate([points, centres]),
        flat,
        np.concatenate([[0], np.cumsum(lengths)]),
        kinds.astype(np.uint8),
        {"edge": edges},
    )


def _around_centres(cubes: Integers, hanging: Integers, first_centre: int) -> Iterator[tuple[int, ...]]:
    """Cells that join every face of a cube, as its neighbours divide it, to the cube's centre."""
    for number, (cube, marks) in enumerate(zip(cubes.tolist(), hanging.tolist(), strict=True)):
        apex = first_centre + number
        for f, face in enumerate(FACES.tolist()):
            corner = [cube[i] for i in face]
            middle = marks[4 * f : 4 * f + 4]
            heart = marks[24 + f]
            if heart >= 0:
                yield from _quarters(corner, middle, heart, apex)
            elif max(middle) < 0:
                yield (*corner, apex)
            else:
                loop = [i for pair in zip(corner, middle, strict=True) for i in pair if i >= 0]
                # Both neighbours begin the fan at the same point; from a middle no three points are in a line.
                start = loop.index(min(i for i in middle if i >= 0))
                loop = loop[start:] + loop[:start]
                yield from ((loop[0], a, b, apex) for a, b in zip(loop[1:-1], loop[2:], strict=True))


def _quarters(corner: list[int], middle: list[int], heart: int, apex: int) -> Iterator[tuple[int, ...]]:
    for i in range(4):
        before, after = middle[i - 1], middle[i]
        if before >= 0 and after >= 0:
            yield (corner[i], after, heart, before, apex)
        else:
            if after >= 0:
                yield (corner[i], after, heart, apex)
            else:
                yield (corner[i], corner[(i + 1) % 4], heart, apex)
            if before >= 0:
                yield (before, corner[i], heart, apex)


def _centre_values(mesh: VolumeMesh, values: Array) -> Array:
    """Mean of the values at the points that each added centre is joined to."""
    first = len(values)
    total = np.zeros(len(mesh.points) - first)
    weight = np.zeros_like(total)
    lengths = np.diff(mesh.offsets)
    ends = mesh.offsets[1:][lengths < 8] - 1
    for end, length in zip(ends.tolist(), lengths[lengths < 8].tolist(), strict=True):
        centre = int(mesh.connectivity[end]) - first
        total[centre] += float(values[mesh.connectivity[end - length + 1 : end]].sum())
        weight[centre] += length - 1
    return np.asarray(total / np.maximum(weight, 1))


def _compact(mesh: VolumeMesh, arrays: dict[str, Array]) -> VolumeMesh:
    """Without the points that no cell uses."""
    used, connectivity = np.unique(mesh.connectivity, return_inverse=True)
    return VolumeMesh(
        mesh.points[used], connectivity.ravel(), mesh.offsets, mesh.cell_types, {k: v[used] for k, v in arrays.items()}
    )


def _code(lattice: NDArray[Any]) -> Integers:
    """One number for three lattice coordinates below 2^20."""
    x = lattice.astype(np.int64)
    return np.asarray((x[..., 0] << 40) | (x[..., 1] << 20) | x[..., 2])


def _decode(code: Integers) -> Integers:
    low = (1 << 20) - 1
    return np.stack([code >> 40, (code >> 20) & low, code & low], -1)

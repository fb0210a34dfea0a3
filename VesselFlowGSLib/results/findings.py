"""What is worth a look in a result, for research: narrowings, vortices, jets, wall shear stress, pressure gradients.

Everything is found from the Snapshot's own arrays, so that a result read back from its files gets the same. Where there
is no flow, narrowings are all that is looked for. Of a pulsatile flow the mean over the period is looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from VesselFlowGSLib.results import vortices
from VesselFlowGSLib.results.course import BranchCourse, ReferenceSettings, course_of
from VesselFlowGSLib.results.snapshot import Finding, FindingKind, Snapshot, Surface, VolumeMesh
from VesselFlowGSLib.units import PASCAL_PER_MMHG

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class FindingSettings:
    """From where on something is pointed out. Lengths in radii are in the local radius of the vessel.

    least_stenosis_percent  of the diameter. 25 %: the least degree that is more than minimal in CAD-RADS 2.0
                            (R. Cury et al., J. Cardiovasc. Comput. Tomogr. 16 (2022) 536)
    edge_percent            a narrowing reaches as far as it is narrower than this
    shoulder_radii          this much of the vessel is to be healthy on either side; at an opening nobody can say
    fork_radii              nearer to a fork a section lies partly in the other vessel
    low_wss_pa              0.4 Pa: below it the wall is prone to atherosclerosis
                            (A. Malek, S. Alper, S. Izumo, JAMA 282 (1999) 2035)
    high_wss_pa             7 Pa: above it the stress counts as elevated (Malek et al. 1999;
                            F. Gijsen et al., Eur. Heart J. 40 (2019) 3421)
    patch_radii2            least area of wall, in squares of the local radius
    turning                 sqrt(-lambda-2) and sqrt(Q) of a vortex, in parts of the shear rate 4 U / R of Poiseuille's
                            flow with the same mean speed U at the wall; a pair of vortices across the axis of a bend
                            (Dean) passes 0.2 where it runs at more than some 0.3 U
    region_radii3           least volume of a vortex or of blood that runs back, in cubes of the local radius
    backward                blood counts as running back from this part of the mean speed on
    jet_core                speed of a jet's core, in mean speeds of the healthy section before the narrowing;
                            Poiseuille's flow has 2
    jet_recovered           a jet is looked for where the vessel is again as wide as this part of the healthy one
    steep_times             loss of total pressure along the vessel, in those that Poiseuille's law gives for the
                            healthy radius. Of the total pressure, since what a narrower vessel turns into speed is not
                            lost
    least_drop_pa           1 mmHg: what is less is below what a pressure wire can tell
    kinetic_factor          kinetic energy of the blood over that of its mean speed: 1 flat, 2 Poiseuille
    viscosity_pa_s, density_kg_m3  of blood, where the result does not say them
    opening_radii           what lies nearer to an opening is left out
    most                    findings of one kind: the most severe
    """

    least_stenosis_percent: float = 25.0
    edge_percent: float = 8.0
    shoulder_radii: float = 1.0
    fork_radii: float = 1.0
    low_wss_pa: float = 0.4
    high_wss_pa: float = 7.0
    patch_radii2: float = 1.0
    turning: float = 0.2
    region_radii3: float = 0.15
    backward: float = 0.05
    jet_core: float = 3.0
    jet_recovered: float = 0.85
    steep_times: float = 3.0
    least_drop_pa: float = PASCAL_PER_MMHG
    kinetic_factor: float = 1.5
    viscosity_pa_s: float = 0.0035
    density_kg_m3: float = 1060.0
    opening_radii: float = 0.5
    most: int = 5
    reference: ReferenceSettings = ReferenceSettings()


def find(snapshot: Snapshot, settings: FindingSettings = FindingSettings()) -> tuple[Finding, ...]:
    """The findings, by kind in the order of FindingKind, the most severe of a kind first; () where there are none."""
    course = course_of(snapshot, settings=settings.reference)
    if not course:
        return ()
    vessel = _Vessel.of(course, snapshot)
    narrowings = _narrowings(course, settings)
    found = [_stenosis(n, vessel, snapshot.surface) for n in narrowings]
    if vessel.flows:
        flowing = _pressure_gradients(course, vessel, snapshot, settings)
        flowing += _wall_stress(snapshot.surface, vessel, settings)
        flowing += _in_the_blood(snapshot.field, narrowings, vessel, settings)
        when = ", in the mean over the period." if snapshot.phases else "."
        found += [dataclasses.replace(f, text=f.text.removesuffix(".") + when) for f in flowing]
    return tuple(f for kind in FindingKind for f in [g for g in found if g.kind is kind][: settings.most])


@dataclass(frozen=True)
class _Narrowing:
    """A stretch of a branch, from start_mm to end_mm along it, with the narrowest at the point least."""

    branch: BranchCourse
    start_mm: float
    least: int
    end_mm: float

    @property
    def percent(self) -> float:
        return float(self.branch.stenosis_percent[self.least])

    @property
    def length_mm(self) -> float:
        return self.end_mm - self.start_mm


@dataclass(frozen=True)
class _Vessel:
    """Every point of the centreline (n, ...), to find the section that a place belongs to.

    onwards   (n, 3) along the branch; tangent: along the flow
    speed     (n,) m/s, mean over the section
    openings  centre (k, 3) mm, normal (k, 3) and radius (k,) mm
    """

    tree: cKDTree
    points: Array
    onwards: Array
    branch: Integers
    along_mm: Array
    radius_mm: Array
    speed: Array
    tangent: Array
    flows: bool
    openings: tuple[Array, Array, Array]

    @staticmethod
    def of(course: tuple[BranchCourse, ...], snapshot: Snapshot) -> _Vessel:
        points = np.concatenate([b.points for b in course])
        flow = np.concatenate([np.zeros(len(b.points)) if b.flow_ml_s is None else b.flow_ml_s for b in course])
        radius = np.concatenate([b.radius_mm for b in course])
        onwards = np.concatenate([np.gradient(b.points, axis=0) for b in course])
        onwards /= np.maximum(np.linalg.norm(onwards, axis=1, keepdims=True), 1e-12)
        usable = np.isfinite(radius) & (radius > 0) & np.isfinite(points).all(1)
        # A section that is not known is given far away, where nothing is next to it.
        places = np.where(usable[:, None], points, 1e9)
        return _Vessel(
            cKDTree(places),
            points,
            onwards,
            np.concatenate([np.full(len(b.points), b.branch) for b in course]),
            np.concatenate([b.arc_length_mm for b in course]),
            np.where(usable, radius, 1.0),
            np.where(usable & np.isfinite(flow), np.abs(flow) / (np.pi * np.where(usable, radius, 1.0) ** 2), 0.0),
            np.where(flow[:, None] < 0, -onwards, onwards),
            bool(np.nanmax(np.abs(flow), initial=0.0) > 1e-9),
            _openings(snapshot.geometry),
        )

    def at(self, points: NDArray[Any]) -> Integers:
        """(m,) the section nearest to each point."""
        return np.asarray(self.tree.query(np.nan_to_num(np.asarray(points, float), nan=1e9))[1])

    def along(self, points: Array, section: Integers) -> Array:
        """(m,) mm along its branch, of points in these sections; between two of them, too."""
        ahead = np.einsum("ij,ij->i", points - self.points[section], self.onwards[section])
        return np.asarray(self.along_mm[section] + ahead)

    def near_opening(self, points: Array, radii: float) -> Mask:
        """(m,) whether a point lies within so many radii of an opening's plane, in its vessel."""
        found = np.zeros(len(points), bool)
        for centre, normal, radius in zip(*self.openings, strict=True):
            offset = points - centre
            close = np.abs(offset @ normal) < radii * radius
            found |= close & (np.einsum("ij,ij->i", offset, offset) < (2.0 * radius) ** 2)
        return found


def _openings(geometry: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    told = geometry.get("openings", ())
    whole = [o for o in told if isinstance(o, Mapping) and {"centre_lps_mm", "normal", "radius_mm"} <= set(o)]
    return (
        np.array([o["centre_lps_mm"] for o in whole], float).reshape(-1, 3),
        np.array([o["normal"] for o in whole], float).reshape(-1, 3),
        np.array([o["radius_mm"] for o in whole], float),
    )


def _narrowings(course: tuple[BranchCourse, ...], settings: FindingSettings) -> list[_Narrowing]:
    """The most severe first."""
    radius_before = {
        b.branch: float(np.nanmedian(b.radius_mm)) if np.isfinite(b.radius_mm).any() else 0.0 for b in course
    }
    found: list[_Narrowing] = []
    for branch in course:
        percent = np.where(np.isfinite(branch.stenosis_percent), branch.stenosis_percent, 0.0)
        along, reference = branch.arc_length_mm, np.nan_to_num(branch.reference_radius_mm)
        # In a fork the section of a branch lies in the vessel that it comes from.
        start = 0.0 if branch.opens_at_start else settings.fork_radii * radius_before.get(branch.parent, 0.0)
        end = along[-1] if branch.opens_at_end else along[-1] - settings.fork_radii * reference[-1]
        free = (along >= start) & (along <= end)
        for first, last in _runs((percent >= settings.edge_percent) & free):
            least = first + int(percent[first : last + 1].argmax())
            if percent[least] < settings.least_stenosis_percent:
                continue
            start_mm = _crossing(along, percent, settings.edge_percent, first, first - 1)
            end_mm = _crossing(along, percent, settings.edge_percent, last, last + 1)
            before = start_mm - (0.0 if branch.opens_at_start else start)
            after = (along[-1] if branch.opens_at_end else end) - end_mm
            shoulder = settings.shoulder_radii * reference[least]
            whole_before, whole_after = before >= shoulder, after >= shoulder
            # An opening cuts the vessel anywhere: without a shoulder before it the narrowing may be the vessel's end.
            # At a fork the other side alone has to be healthy.
            if (not whole_before and (branch.opens_at_start or not whole_after)) or (
                not whole_after and (branch.opens_at_end or not whole_before)
            ):
                continue
            found.append(_Narrowing(branch, start_mm, least, end_mm))
    return sorted(found, key=lambda n: -n.percent)


def _stenosis(narrowing: _Narrowing, vessel: _Vessel, surface: Surface | None) -> Finding:
    branch, least = narrowing.branch, narrowing.least
    diameter, healthy = 2 * branch.radius_mm[least], 2 * branch.reference_radius_mm[least]
    text = (
        f"Narrowing of {narrowing.percent:.0f} % (diameter): {diameter:.1f} mm instead of {healthy:.1f} mm, "
        f"{narrowing.length_mm:.0f} mm long, {branch.from_inlet_mm[least]:.0f} mm from the inlet."
    )
    region = None
    if surface is not None and len(surface.triangles):
        middle = np.asarray(surface.points, float)[surface.triangles].mean(1)
        section = vessel.at(middle)
        along = vessel.along(middle, section)
        there = (along >= narrowing.start_mm) & (along <= narrowing.end_mm)
        region = _part(surface, there & (vessel.branch[section] == branch.branch))
    return Finding(
        FindingKind.STENOSIS,
        text,
        branch.points[least].copy(),
        max(0.5 * narrowing.length_mm, float(healthy)),
        narrowing.percent,
        "%",
        region,
    )


def _pressure_gradients(
    course: tuple[BranchCourse, ...], vessel: _Vessel, snapshot: Snapshot, settings: FindingSettings
) -> list[Finding]:
    viscosity = _fluid(snapshot, "viscosity_pa_s", settings.viscosity_pa_s)
    density = _fluid(snapshot, "density_kg_m3", settings.density_kg_m3)
    found: list[Finding] = []
    for branch in course:
        if branch.pressure_pa is None or branch.flow_ml_s is None:
            continue
        along = branch.arc_length_mm
        radius = branch.reference_radius_mm
        total = branch.pressure_pa + settings.kinetic_factor * 0.5 * density * (branch.flow_ml_s / branch.area_mm2) ** 2
        good = np.isfinite(total) & np.isfinite(radius) & (radius > 0)
        if good.sum() < 4 or along[-1] <= 0:
            continue
        sign = 1.0 if float(np.mean(branch.flow_ml_s[good])) >= 0 else -1.0
        pressure = np.interp(along, along[good], sign * total[good])
        healthy = np.interp(along, along[good], radius[good])
        flow = np.interp(along, along[good], np.abs(branch.flow_ml_s[good]))
        # Over a radius each way: what is shorter is noise of the field.
        ahead, behind = np.minimum(along + healthy, along[-1]), np.maximum(along - healthy, along[0])
        slope = -(np.interp(ahead, along, pressure) - np.interp(behind, along, pressure)) / (ahead - behind)
        # Poiseuille's law, Pa/mm
        expected = 8 * viscosity * 1e-6 * flow / (np.pi * (1e-3 * healthy) ** 4) * 1e-3
        for first, last in _runs((slope >= settings.steep_times * expected) & (flow > 0)):
            low, high = behind[first], ahead[last]
            drop = float(np.interp(low, along, pressure) - np.interp(high, along, pressure))
            if drop < settings.least_drop_pa:
                continue
            steepest = first + int((slope[first : last + 1] / expected[first : last + 1]).argmax())
            times = float(slope[steepest] / expected[steepest])
            text = (
                f"Steep loss of pressure: {drop / PASCAL_PER_MMHG:.1f} mmHg within {high - low:.0f} mm, at most "
                f"{times:.0f} times the gradient expected of a healthy vessel (Poiseuille)."
            )
            found.append(
                Finding(
                    FindingKind.PRESSURE_GRADIENT,
                    text,
                    branch.points[steepest].copy(),
                    max(0.5 * float(high - low), float(healthy[steepest])),
                    drop / PASCAL_PER_MMHG,
                    "mmHg",
                )
            )
    return sorted(found, key=lambda f: -f.value)


def _wall_stress(surface: Surface | None, vessel: _Vessel, settings: FindingSettings) -> list[Finding]:
    if surface is None or "wss" not in surface.arrays or not len(surface.triangles):
        return []
    corners = np.asarray(surface.points, float)[surface.triangles]
    middle = corners.mean(1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    stress = np.asarray(surface.arrays["wss"], float)[surface.triangles].mean(1)
    usable = np.isfinite(stress) & ~vessel.near_opening(middle, settings.opening_radii)
    local = vessel.radius_mm[vessel.at(middle)]
    whole = float(area[usable].sum())
    found: list[Finding] = []
    for kind, beyond in (
        (FindingKind.HIGH_WSS, stress > settings.high_wss_pa),
        (FindingKind.LOW_WSS, stress < settings.low_wss_pa),
    ):
        chosen = np.flatnonzero(usable & beyond)
        patches: list[tuple[float, Finding]] = []
        label = _joined(surface.triangles[chosen])
        order = np.argsort(label, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else ():
            own = chosen[part]
            size = float(area[own].sum())
            if size < settings.patch_radii2 * float(np.median(local[own])) ** 2:
                continue
            value = float(stress[own].max() if kind is FindingKind.HIGH_WSS else area[own] @ stress[own] / size)
            share = f" ({100 * size / whole:.0f} % of the wall)" if size > 0.25 * whole else ""
            text = (
                f"High wall shear stress, above {settings.high_wss_pa:g} Pa, on {size:.1f} mm²{share}: "
                f"up to {value:.1f} Pa."
                if kind is FindingKind.HIGH_WSS
                else f"Low wall shear stress, below {settings.low_wss_pa:g} Pa, on {size:.1f} mm²{share}: "
                f"{value:.2f} Pa in the mean."
            )
            keep = np.zeros(len(surface.triangles), bool)
            keep[own] = True
            centre, reach = _ball(corners[own].reshape(-1, 3), middle[own], area[own])
            severity = value if kind is FindingKind.HIGH_WSS else size
            patches.append((severity, Finding(kind, text, centre, reach, value, "Pa", _part(surface, keep))))
        found += [f for _, f in sorted(patches, key=lambda p: -p[0])]
    return found


def _in_the_blood(
    field: VolumeMesh | None, narrowings: list[_Narrowing], vessel: _Vessel, settings: FindingSettings
) -> list[Finding]:
    """Jets, vortices and blood that runs back: one pass over the cells serves all three."""
    if field is None or "velocity" not in field.arrays or not len(field.cell_types):
        return []
    cells = vortices.cell_gradients(field)
    if not len(cells.cells):
        return []
    section = vessel.at(cells.middle)
    found = _jets(field, cells, section, narrowings, vessel, settings)
    away = ~vessel.near_opening(cells.middle, settings.opening_radii) & (vessel.speed[section] > 0)
    radius, mean = vessel.radius_mm[section], vessel.speed[section]
    least = (settings.turning * 4e3 * mean / radius) ** 2
    # Q is cheap; the eigenvalues are needed only where it is large.
    turning = np.flatnonzero(away & (vortices.q_criterion(cells.gradient) > least))
    strength = -vortices.lambda2(cells.gradient[turning])
    inside = strength > least[turning]
    found += _vortices(field, cells, turning[inside], strength[inside], radius, settings)
    backward = -np.einsum("ij,ij->i", cells.velocity, vessel.tangent[section])
    ring = np.flatnonzero(away & (backward > settings.backward * mean))
    found += _backflow(field, cells, ring, section, vessel, settings)
    return found


def _vortices(
    field: VolumeMesh,
    cells: vortices.CellGradients,
    chosen: Integers,
    strength: Array,
    radius: Array,
    settings: FindingSettings,
) -> list[Finding]:
    found: list[tuple[float, Finding]] = []
    for own in _regions(field, cells, chosen, radius, settings):
        rows = chosen[own]
        volume = float(cells.volume[rows].sum())
        turns = float(np.sqrt(strength[own].max()) / (2 * np.pi))
        centre, reach = _ball(cells.middle[rows], cells.middle[rows], cells.volume[rows])
        region = vortices.boundary(field, cells.cells[rows])
        text = f"Vortex of {volume:.1f} mm³, where the blood turns up to {turns:.0f} times a second."
        found.append((volume, Finding(FindingKind.VORTEX, text, centre, reach, turns, "1/s", region)))
    return [f for _, f in sorted(found, key=lambda p: -p[0])]


def _backflow(
    field: VolumeMesh,
    cells: vortices.CellGradients,
    chosen: Integers,
    section: Integers,
    vessel: _Vessel,
    settings: FindingSettings,
) -> list[Finding]:
    found: list[tuple[float, Finding]] = []
    for own in _regions(field, cells, chosen, vessel.radius_mm[section], settings):
        rows = chosen[own]
        volume = float(cells.volume[rows].sum())
        corner, row = vortices.corners_of(field, cells.cells[rows])
        velocity = np.asarray(field.arrays["velocity"], float)[corner]
        fastest = float(-np.einsum("ij,ij->i", velocity, vessel.tangent[section[rows]][row]).min())
        centre, reach = _ball(cells.middle[rows], cells.middle[rows], cells.volume[rows])
        region = vortices.boundary(field, cells.cells[rows])
        text = f"Recirculation: {volume:.1f} mm³ of blood run back against the flow, at up to {fastest:.2f} m/s."
        found.append((volume, Finding(FindingKind.VORTEX, text, centre, reach, fastest, "m/s", region)))
    return [f for _, f in sorted(found, key=lambda p: -p[0])]


def _jets(
    field: VolumeMesh,
    cells: vortices.CellGradients,
    section: Integers,
    narrowings: list[_Narrowing],
    vessel: _Vessel,
    settings: FindingSettings,
) -> list[Finding]:
    """A core that stays fast where the vessel is wide again behind a narrowing."""
    found: list[tuple[float, Finding]] = []
    speed = np.linalg.norm(cells.velocity, axis=1)
    for narrowing in narrowings:
        branch = narrowing.branch
        if branch.flow_ml_s is None:
            continue
        flow = float(np.nanmean(branch.flow_ml_s))
        # Seen along the flow, so that a vessel that is run through the other way has its jet on the other side.
        sign = 1.0 if flow >= 0 else -1.0
        order = slice(None) if flow >= 0 else slice(None, None, -1)
        along, healthy = sign * branch.arc_length_mm[order], branch.reference_radius_mm[order]
        relative = branch.radius_mm[order] / healthy
        least = narrowing.least if flow >= 0 else len(along) - 1 - narrowing.least
        recovered = least + int((relative[least:] >= settings.jet_recovered).argmax())
        before = narrowing.start_mm if flow >= 0 else -narrowing.end_mm
        mean = abs(flow) / (np.pi * float(np.interp(before, along, healthy)) ** 2)
        if recovered == least or not mean > 0:
            continue
        wide_from = _crossing(along, relative, settings.jet_recovered, recovered, recovered - 1)
        own = np.flatnonzero((vessel.branch[section] == branch.branch) & (speed >= settings.jet_core * mean))
        place = sign * vessel.along(cells.middle[own], section[own])
        rows = own[place > along[least]]
        wide = own[place > wide_from]
        if not len(wide):
            continue
        core, reach_mm = float(speed[wide].max()), float(place.max() - along[least])
        centre, reach = _ball(cells.middle[wide], cells.middle[wide], cells.volume[wide])
        region = vortices.boundary(field, cells.cells[rows])
        text = (
            f"Jet behind a narrowing of {narrowing.percent:.0f} %: {core:.2f} m/s where the vessel is wide again, "
            f"{core / mean:.1f} times the mean speed before it; it reaches {reach_mm:.0f} mm."
        )
        found.append((core, Finding(FindingKind.JET, text, centre, reach, core, "m/s", region)))
    return [f for _, f in sorted(found, key=lambda p: -p[0])]


def _regions(
    field: VolumeMesh, cells: vortices.CellGradients, chosen: Integers, radius: Array, settings: FindingSettings
) -> list[Integers]:
    """The connected pieces of the chosen rows that are large enough, as positions in chosen."""
    if not len(chosen):
        return []
    label = vortices.pieces(field, cells.cells[chosen])
    order = np.argsort(label, kind="stable")
    found = []
    for own in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        rows = chosen[own]
        if float(cells.volume[rows].sum()) >= settings.region_radii3 * float(np.median(radius[rows])) ** 3:
            found.append(own)
    return found


def _runs(chosen: Mask) -> list[tuple[int, int]]:
    """First and last position of each unbroken run."""
    edge = np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edge == 1).tolist(), (np.flatnonzero(edge == -1) - 1).tolist(), strict=True))


def _crossing(along: Array, values: Array, level: float, inside: int, outside: int) -> float:
    """mm along, where the values pass the level between two neighbours; that of the inner where there is no outer."""
    if not 0 <= outside < len(along) or values[outside] == values[inside]:
        return float(along[inside])
    part = float(np.clip((values[inside] - level) / (values[inside] - values[outside]), 0, 1))
    return float(along[inside] + part * (along[outside] - along[inside]))


def _joined(triangles: NDArray[Any]) -> Integers:
    """(m,) the number of the connected patch of each triangle; those of a patch share points."""
    if not len(triangles):
        return np.zeros(0, np.int64)
    _, corner = np.unique(triangles, return_inverse=True)
    corner = corner.reshape(-1, 3)
    count = int(corner.max()) + 1
    ones = np.ones(2 * len(corner), np.int8)
    graph = coo_matrix((ones, (corner[:, [0, 1]].ravel(), corner[:, [1, 2]].ravel())), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1][corner[:, 0]], np.int64)


def _part(surface: Surface, keep: Mask) -> Surface | None:
    if not keep.any():
        return None
    used, triangles = np.unique(surface.triangles[keep], return_inverse=True)
    arrays = {name: np.asarray(values)[used] for name, values in surface.arrays.items()}
    return Surface(np.asarray(surface.points)[used], triangles.reshape(-1, 3), arrays)


def _ball(points: Array, middle: Array, weight: Array) -> tuple[Array, float]:
    centre = np.average(middle, axis=0, weights=np.maximum(weight, 1e-12))
    return centre, float(np.linalg.norm(points - centre, axis=1).max())


def _fluid(snapshot: Snapshot, name: str, otherwise: float) -> float:
    """What the study gave of the blood."""
    held: Any = snapshot.provenance
    for key in ("inputs", "study.toml", "fluid", name):
        held = held.get(key) if isinstance(held, Mapping) else None
    return float(held) if isinstance(held, (int, float)) and held > 0 else otherwise

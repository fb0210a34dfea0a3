"""From the state of a reconstruction to the Snapshot that a person sees."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib import __version__
from VesselFlowGSLib.acquisition.study import Study
from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.solve import NetworkField, PointMemory
from VesselFlowGSLib.gaussians.backends.declaration import chosen, preferring
from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.lumen.wall import Lumen
from VesselFlowGSLib.reconstruction.live import PreviewSettings
from VesselFlowGSLib.reconstruction.settings import ReconstructionSettings
from VesselFlowGSLib.results import derived
from VesselFlowGSLib.results.findings import find
from VesselFlowGSLib.results.snapshot import CloudArrays, Figure, Snapshot, Stage, Surface, VolumeMesh
from VesselFlowGSLib.results.views import views_of

Array = NDArray[np.float64]
NORMAL_90 = 1.645
PREVIEW = PreviewSettings()
OPERATORS_RUN_ON = "cpu"


@dataclasses.dataclass(frozen=True)
class Display:
    """What of the geometry is drawn; computed once.

    settings  that it was drawn by
    lines     streamlines through it; quick: along the mesh instead of the field itself
    memory    of its points, for the fields of one solver
    shape     same text, same points and cells
    """

    surface: Surface
    mesh: VolumeMesh
    warnings: tuple[str, ...]
    settings: derived.DerivedSettings
    lines: int
    quick: bool
    memory: PointMemory
    shape: str

    @staticmethod
    def of(lumen: Lumen, settings: ReconstructionSettings) -> Display:
        """As fine as the settings say: of a finished result."""
        memory = PointMemory(most=3 * settings.derived.volume.max_points)
        return _display(lumen, settings.derived, settings.schedule.streamlines, False, memory)

    @staticmethod
    def preview(lumen: Lumen, settings: ReconstructionSettings, coarse: PreviewSettings = PREVIEW) -> Display:
        """Coarse, for what is soon replaced by something better."""
        lines = min(settings.schedule.streamlines, coarse.streamlines)
        return _display(lumen, coarse.of(settings.derived), lines, True, PointMemory())


def _display(lumen: Lumen, settings: derived.DerivedSettings, lines: int, quick: bool, memory: PointMemory) -> Display:
    mesh, warnings = derived.volume_mesh(lumen, settings)
    surface = derived.lumen_surface(lumen, settings=settings)
    said = () if quick else tuple(warnings)
    return Display(surface, mesh, said, settings, lines, quick, memory, shape_of(surface, mesh))


def shape_of(surface: Surface, mesh: VolumeMesh | None = None) -> str:
    """A text that is the same where points and cells are the same."""
    digest = hashlib.blake2b(digest_size=12)
    held = [surface.points, surface.triangles]
    if mesh is not None:
        held += [mesh.points, mesh.connectivity]
    for array in held:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def cloud_arrays(cloud: GaussianCloud, flow: NetworkField | None = None) -> CloudArrays:
    """The Gaussians, with the flow at their means where it is known."""
    velocity = None if flow is None else flow.velocity(cloud.mean)
    pressure = None if flow is None else flow.pressure(cloud.mean)
    return CloudArrays(
        cloud.mean,
        cloud.sigma,
        cloud.quaternion,
        cloud.attenuation,
        cloud.occupancy,
        cloud.arrival_s,
        velocity,
        pressure,
    )


def geometry_words(lumen: Lumen, words: Mapping[str, Any]) -> dict[str, Any]:
    """Openings and branches for summary.json, LPS mm."""
    return {
        "openings": [
            {
                "name": o.name,
                "centre_lps_mm": [round(float(v), 3) for v in o.centre],
                "normal": [round(float(v), 5) for v in o.normal],
                "radius_mm": round(o.radius_mm, 4),
            }
            for o in lumen.openings
        ],
        "branches": [
            {
                "parent": b.parent,
                "length_mm": round(float(b.arc_length_mm[-1]), 3),
                "mean_radius_mm": round(float(b.radius_mm.mean()), 4),
                "min_radius_mm": round(float(b.radius_mm.min()), 4),
            }
            for b in lumen.tree.branches
        ],
        **words,
    }


def provenance(study: Study, settings: ReconstructionSettings) -> dict[str, Any]:
    """Inputs, settings, versions, seed and backend of a result; no patient identifiers."""
    packages = ("numpy", "scipy", "torch", "numba", "vtk", "SimpleITK", "pydicom", "scikit-image")
    versions = {"vesselflowgs": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "inputs": {
            "volume": None if study.volume is None else study.volume.name,
            "runs": {run.name: run.role.value for run in study.runs},
            "study.toml": dataclasses.asdict(study.description),
            "notes": list(study.notes),
        },
        "settings": dataclasses.asdict(settings),
        "versions": versions,
        "seed": settings.seed,
        "backend": {**backends(settings), "flow": "torch, float64, cpu"},
    }


def backends(settings: ReconstructionSettings) -> dict[str, str]:
    """The backend and the device of each operator on Gaussians. Raises InstallationError where one is not there."""
    with preferring(settings.backend):
        return {operator: f"{name}, {OPERATORS_RUN_ON}" for operator, name in chosen(OPERATORS_RUN_ON).items()}


def geometry_snapshot(
    lumen: Lumen, cloud: GaussianCloud, display: Display, settings: ReconstructionSettings, **rest: Any
) -> Snapshot:
    """The vessel, before or without its flow."""
    origins = derived.FigureOrigins(geometry="measured", flow="estimated")
    snapshot = Snapshot(
        cloud=cloud_arrays(cloud),
        surface=display.surface,
        centreline=derived.centreline_arrays(lumen, None),
        figures=derived.geometry_figures(lumen, display.mesh, origins),
        shape=display.shape,
        **rest,
    )
    return looked_over(snapshot)


def looked_over(snapshot: Snapshot) -> Snapshot:
    """The snapshot with what is worth a look in it, and with how well each run agrees."""
    return dataclasses.replace(snapshot, findings=find(snapshot), views=views_of(snapshot.geometry))


def first_look(lumen: Lumen, settings: ReconstructionSettings, **rest: Any) -> Snapshot:
    """The vessel alone, drawn coarsely, before the frames have had their say."""
    surface = derived.lumen_surface(lumen, settings=PREVIEW.of(settings.derived))
    centreline = derived.centreline_arrays(lumen, None)
    return Snapshot(surface=surface, centreline=centreline, shape=shape_of(surface), **rest)


def flow_snapshot(
    lumen: Lumen,
    cloud: GaussianCloud,
    display: Display,
    flow: NetworkField,
    fluid: Fluid,
    relative_sd: float | None,
    inflow_origin: str,
    settings: ReconstructionSettings,
    stage: Stage,
    arterial_pa: float | None = None,
    **rest: Any,
) -> Snapshot:
    """The vessel with its flow.

    relative_sd  of an estimated inflow; it widens the figures that hang on it
    arterial_pa  mean arterial pressure, where the cuff's is known
    """
    drawn = display.settings
    mesh = derived.sample_flow(display.mesh, lumen, flow)
    surface = derived.wall_arrays(display.surface, lumen, flow, fluid, drawn)
    origins = derived.FigureOrigins(geometry="measured", flow="estimated", by_name={"mean_inflow": inflow_origin})
    figures = derived.figures(lumen, flow, fluid, mesh, surface, origins, drawn)
    figures |= split_figures(lumen, flow, inflow_origin)
    if relative_sd is not None:
        figures = with_intervals(figures, relative_sd)
    if arterial_pa is not None:
        figures |= derived.pressure_ratios(figures, arterial_pa)
    if display.quick:
        lines = derived.quick_streamlines(lumen, flow, mesh, display.lines, settings.seed, drawn)
    else:
        lines = derived.streamlines(lumen, flow, display.lines, settings.seed, drawn)
    snapshot = Snapshot(
        stage=stage,
        cloud=cloud_arrays(cloud, flow),
        surface=surface,
        centreline=derived.centreline_arrays(lumen, flow),
        field=mesh,
        streamlines=lines,
        figures=figures,
        shape=display.shape,
        **rest,
    )
    return looked_over(snapshot)


def split_figures(lumen: Lumen, flow: NetworkField, origin: str) -> dict[str, Figure]:
    """The part of the inflow that leaves through each outlet, where there are several."""
    per_branch = flow.flow_ml_s()
    if len(lumen.outlets) < 2 or not per_branch[0]:
        return {}
    shares = [float(per_branch[outlet.branch] / per_branch[0]) for outlet in lumen.outlets]
    return {f"flow_split_outlet_{k}": Figure(share, "1", origin) for k, share in enumerate(shares, start=1)}


def with_intervals(figures: Mapping[str, Figure], relative_sd: float) -> dict[str, Figure]:
    """90 % intervals from the inflow's: speed grows with flow, pressure and wall stress between flow and its square."""
    power = {"mean_inflow": 1.0, "max_speed": 1.0, "reynolds": 1.0, "mean_wss": 1.3, "max_wss": 1.3}
    found = dict(figures)
    for name, figure in figures.items():
        exponent = power.get(name, 1.5 if name.startswith("pressure_drop") else None)
        if exponent is None:
            continue
        factor = float(np.exp(NORMAL_90 * exponent * relative_sd))
        low, high = sorted((figure.value / factor, figure.value * factor))
        found[name] = dataclasses.replace(figure, interval_90=(low, high))
    return found

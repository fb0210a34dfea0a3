"""What to simulate: the vessel, the blood, the injection, the X-ray system, the numerics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from VesselFlowGSLib.errors import InputError


class VesselKind(str, Enum):
    """The vessels that can be simulated."""

    STENOSIS = "stenosis"
    BEND = "bend"
    ANEURYSM = "aneurysm"
    BIFURCATION = "bifurcation"


@dataclass(frozen=True)
class VesselSpec:
    """A parametric vessel. Millimetres and degrees; the inlet is at arc length 0, the outlet at length_mm.

    severity       loss of diameter in the throat of a stenosis, 0 to 0.7
    dilation       greatest radius of an aneurysm over that of the vessel
    taper          outlet radius over inlet radius (of the children over the parent in a bifurcation)
    bend_angle_deg turn of the whole vessel, in its plane; of each child, to either side, in a bifurcation
    asymmetry      second child over first in radius and in angle (bifurcation)
    lesion_at      middle of the lesion (stenosis, aneurysm) or start of the parting (bifurcation), part of the length
    extension_mm   the vessel runs on past inlet and outlets in the images by this much
    orientation_deg turns about x, y, z (in this order) of the vessel's plane from the patient's coronal plane
    """

    kind: VesselKind = VesselKind.STENOSIS
    radius_mm: float = 2.0
    length_mm: float = 50.0
    severity: float = 0.4
    dilation: float = 1.7
    taper: float = 0.9
    lesion_at: float = 0.5
    lesion_length_mm: float = 12.0
    bend_angle_deg: float = 30.0
    bend_length_mm: float = 30.0
    asymmetry: float = 0.85
    extension_mm: float = 3.0
    orientation_deg: tuple[float, float, float] = (20.0, 25.0, 35.0)
    centre_lps_mm: tuple[float, float, float] = (-4.0, 12.0, -20.0)


@dataclass(frozen=True)
class FlowSpec:
    """The blood and its inflow; pulsatility is quasi-steady: Q(t) = mean (1 + amplitude cos(2 pi t / period))."""

    mean_inflow_ml_s: float = 1.9
    density_kg_m3: float = 1060.0
    viscosity_pa_s: float = 0.0035
    pulsatile_amplitude: float = 0.0
    period_s: float = 0.85


@dataclass(frozen=True)
class BolusSpec:
    """Concentration at the upstream end of the vessel, a gamma variate with peak 1 (times in seconds)."""

    arrival_s: float = 0.22
    time_to_peak_s: float = 0.55
    shape: float = 3.0


@dataclass(frozen=True)
class ImagingSpec:
    """The X-ray system; views are (primary, secondary) degrees, photons are per pixel behind the background."""

    views_deg: tuple[tuple[float, float], ...] = ((-30.0, 0.0), (60.0, 0.0))
    matrix: int = 256
    pitch_mm: float = 0.4
    source_to_isocentre_mm: float = 750.0
    source_to_detector_mm: float = 1200.0
    frames: int = 32
    frames_per_s: float = 15.0
    mask_frames: int = 3
    photons: float = 11000.0
    electronic_photons: float = 12.0
    focal_blur_px: float = 0.0
    peak_line_integral: float = 1.2
    background: float = 1.0
    rotational_views: int = 0
    rotational_range_deg: float = 200.0
    compression: str = "none"
    biplane: bool = True


@dataclass(frozen=True)
class VolumeSpec:
    """The angiography volume: a cube around the vessel."""

    voxels: int = 128
    spacing_mm: float = 0.45
    blur_fwhm_mm: float = 0.7
    vessel_value: float = 1200.0
    noise: float = 25.0
    tissue: float = 0.04
    file_format: str = "nrrd"


@dataclass(frozen=True)
class SolverSpec:
    """Resolution of the flow: lengths in vessel radii, polynomial and harmonic orders over the cross-section."""

    knot_spacing_radii: float = 0.4
    radial: int = 7
    harmonics: int = 4
    axisymmetric_radial: int = 10
    tolerance: float = 1e-5
    max_newton: int = 12
    sweeps: int = 16


@dataclass(frozen=True)
class SamplingSpec:
    """Resolution of what is computed from the flow: transit times, rays, truth meshes."""

    transit_step_mm: float = 1.0
    transit_radial: int = 20
    transit_angular: int = 17
    trace_step_mm: float = 1.2
    transit_bin_s: float = 0.01
    longest_transit_s: float = 1000.0
    ray_step_mm: float = 0.15
    ray_supersampling: int = 3
    truth_angular: int = 48
    truth_radial: int = 14
    truth_step_mm: float = 0.5
    truth_samples: int = 20000


@dataclass(frozen=True)
class SimulationSettings:
    """Everything that `simulate` needs; the same settings give the same files."""

    vessel: VesselSpec = field(default_factory=VesselSpec)
    flow: FlowSpec = field(default_factory=FlowSpec)
    bolus: BolusSpec = field(default_factory=BolusSpec)
    imaging: ImagingSpec = field(default_factory=ImagingSpec)
    volume: VolumeSpec = field(default_factory=VolumeSpec)
    solver: SolverSpec = field(default_factory=SolverSpec)
    sampling: SamplingSpec = field(default_factory=SamplingSpec)
    seed: int = 0
    fields_of_truth: bool = True


_BY_KIND: Mapping[VesselKind, Mapping[str, Any]] = {
    VesselKind.STENOSIS: {},
    VesselKind.BEND: {"bend_angle_deg": 75.0, "bend_length_mm": 26.0, "taper": 0.8},
    VesselKind.ANEURYSM: {"bend_angle_deg": 20.0, "taper": 0.95, "lesion_length_mm": 14.0},
    VesselKind.BIFURCATION: {"bend_angle_deg": 32.0, "bend_length_mm": 14.0, "taper": 0.8, "lesion_at": 0.4},
}


def settings_for(vessel: str, **overrides: Any) -> SimulationSettings:
    """Settings of one of the vessels ("stenosis", "bend", "aneurysm", "bifurcation") with named changes.

    An override is the name of any setting, in whichever section it stands, or a whole section: `severity=0.5`,
    `photons=4000`, `seed=3`. InputError for an unknown vessel, setting or an impossible value.
    """
    try:
        kind = VesselKind(vessel)
    except ValueError:
        known = ", ".join(k.value for k in VesselKind)
        raise InputError(f"Unknown vessel '{vessel}'. Choose one of: {known}.") from None
    settings = SimulationSettings(vessel=VesselSpec(kind=kind, **_BY_KIND[kind]))
    if kind is VesselKind.BIFURCATION:  # two tubes, solved in turn: somewhat coarser, to take minutes
        settings = replace(
            settings,
            solver=replace(settings.solver, radial=6, harmonics=3),
            sampling=replace(settings.sampling, transit_radial=16, transit_angular=13),
        )
    for name, value in overrides.items():
        settings = _changed(settings, name, value)
    check(settings)
    return settings


def _changed(settings: SimulationSettings, name: str, value: Any) -> SimulationSettings:
    if name in {f.name for f in fields(settings)}:
        return replace(settings, **{name: value})
    for section in fields(settings):
        part: Any = getattr(settings, section.name)
        if is_dataclass(part) and name in {f.name for f in fields(part)}:
            changed: dict[str, Any] = {section.name: part.__class__(**{**vars(part), name: value})}
            return replace(settings, **changed)
    raise InputError(f"Unknown simulation setting '{name}'.")


def check(settings: SimulationSettings) -> None:
    """InputError where the settings describe no vessel, no flow or no image."""
    v, f, i = settings.vessel, settings.flow, settings.imaging
    limits = (
        ("radius_mm", v.radius_mm, 0.3, 20.0),
        ("length_mm", v.length_mm, 6 * v.radius_mm, 400.0),
        ("severity", v.severity, 0.0, 0.7),
        ("dilation", v.dilation, 1.0, 3.0),
        ("taper", v.taper, 0.4, 1.5),
        ("asymmetry", v.asymmetry, 0.4, 1.0),
        ("mean_inflow_ml_s", f.mean_inflow_ml_s, 1e-3, 100.0),
        ("viscosity_pa_s", f.viscosity_pa_s, 1e-4, 1.0),
        ("density_kg_m3", f.density_kg_m3, 100.0, 5000.0),
        ("pulsatile_amplitude", f.pulsatile_amplitude, 0.0, 0.9),
        ("time_to_peak_s", settings.bolus.time_to_peak_s, 0.02, 30.0),
        ("shape", settings.bolus.shape, 1.0, 20.0),
        ("matrix", i.matrix, 16, 4096),
        ("frames", i.frames, 2, 1000),
        ("photons", i.photons, 10, 1e8),
        ("peak_line_integral", i.peak_line_integral, 0.05, 5.0),
    )
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise InputError(f"{name} = {value:g} is out of range: it must lie between {low:g} and {high:g}.")
    if i.compression not in ("none", "rle", "jpeg"):
        raise InputError(f"compression = '{i.compression}' is unknown: choose none, rle or jpeg (lossless).")
    if settings.volume.file_format not in ("nrrd", "nifti"):
        raise InputError(f"file_format = '{settings.volume.file_format}' is unknown: choose nrrd or nifti.")

"""study.toml: what the user says about the study; everything in it is optional."""

from __future__ import annotations

from dataclasses import dataclass, field

Point = tuple[float, float, float]


@dataclass(frozen=True)
class GeometrySection:
    isocentre_lps_mm: Point | None = None
    region_lps_mm: tuple[Point, Point] | None = None
    inlet_lps_mm: Point | None = None
    outlets_lps_mm: tuple[Point, ...] = ()
    lumen_file: str | None = None


@dataclass(frozen=True)
class RunSection:
    file: str
    role: str | None = None
    mask_frames: tuple[int, ...] | None = None
    primary_angle_deg: float | None = None
    secondary_angle_deg: float | None = None
    source_to_detector_mm: float | None = None
    source_to_isocentre_mm: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    principal_point_px: tuple[float, float] | None = None
    flip_rows: bool = False
    flip_columns: bool = False
    frame_times_s: tuple[float, ...] | None = None
    time_offset_s: float | None = None


@dataclass(frozen=True)
class FluidSection:
    density_kg_m3: float | None = None
    model: str | None = None
    viscosity_pa_s: float | None = None
    hematocrit: float | None = None


@dataclass(frozen=True)
class FlowSection:
    waveform: str = "auto"
    period_s: float | None = None
    mean_inflow_ml_s: float | None = None
    inflow_csv: str | None = None


@dataclass(frozen=True)
class OutletSection:
    share: float | None = None
    pressure_pa: float | None = None
    resistance_pa_s_ml: float | None = None


@dataclass(frozen=True)
class PatientSection:
    heart_rate_bpm: float | None = None
    systolic_mmhg: float | None = None
    diastolic_mmhg: float | None = None


@dataclass(frozen=True)
class StudyDescription:
    geometry: GeometrySection = field(default_factory=GeometrySection)
    run: tuple[RunSection, ...] = ()
    fluid: FluidSection = field(default_factory=FluidSection)
    flow: FlowSection = field(default_factory=FlowSection)
    outlet: tuple[OutletSection, ...] = ()
    patient: PatientSection = field(default_factory=PatientSection)

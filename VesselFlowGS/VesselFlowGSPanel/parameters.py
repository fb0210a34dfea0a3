"""What the panel holds, saved with the scene. Names and units are those of study.toml and of the command line."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from VesselFlowGSScene.appearance import CloudQuantity, Quantity


class Where(Enum):
    """Where the worker computes."""

    SLICER = "Slicer's Python"
    OTHER = "another Python"
    FOLDER = "a shared folder"

    def label(self) -> str:
        """As the panel calls it."""
        names = {
            Where.SLICER: _("Slicer's Python"),
            Where.OTHER: _("another Python on this computer"),
            Where.FOLDER: _("a shared folder, on another machine"),
        }
        return names[self]


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Quality(Enum):
    preview = "preview"
    standard = "standard"
    fine = "fine"

    def label(self) -> str:
        """As the panel calls it."""
        names = {
            Quality.preview: _("Preview (a first look)"),
            Quality.standard: _("Standard"),
            Quality.fine: _("Fine (takes long)"),
        }
        return names[self]


class Viscosity(Enum):
    newtonian = "newtonian"
    carreau_yasuda = "carreau-yasuda"
    casson = "casson"

    def label(self) -> str:
        """As the panel calls it."""
        names = {
            Viscosity.newtonian: _("Newtonian"),
            Viscosity.carreau_yasuda: _("Carreau–Yasuda (not solved yet)"),
            Viscosity.casson: _("Casson (not solved yet)"),
        }
        return names[self]


class Waveform(Enum):
    auto = "auto"
    steady = "steady"
    pulsatile = "pulsatile"

    def label(self) -> str:
        """As the panel calls it."""
        names = {
            Waveform.auto: _("as the frames show"),
            Waveform.steady: _("steady"),
            Waveform.pulsatile: _("pulsatile (not solved yet)"),
        }
        return names[self]


@parameterNodeWrapper
class VesselFlowGSParameterNode:
    # Engine
    where: Where = Where.SLICER
    python: Path
    jobs_folder: Path
    device: Device = Device.auto
    # Inputs
    volume: slicer.vtkMRMLScalarVolumeNode
    lumen_segmentation: slicer.vtkMRMLSegmentationNode
    lumen_model: slicer.vtkMRMLModelNode
    study_folder: Path
    runs: str  # JSON, see VesselFlowGSScene.runs
    inlet: slicer.vtkMRMLMarkupsFiducialNode
    outlets: slicer.vtkMRMLMarkupsFiducialNode
    region: slicer.vtkMRMLMarkupsROINode
    # Align
    isocentre_given: bool = False
    isocentre_r_mm: float = 0.0
    isocentre_a_mm: float = 0.0
    isocentre_s_mm: float = 0.0
    # Physics
    preset: str
    density_kg_m3: Annotated[float, WithinRange(900, 1200)] = 1060.0
    model: Viscosity = Viscosity.newtonian
    viscosity_pa_s: Annotated[float, WithinRange(0.001, 0.02)] = 0.0035
    hematocrit: Annotated[float, WithinRange(0.0, 0.7)] = 0.45
    waveform: Waveform = Waveform.auto
    heart_rate_bpm: Annotated[float, WithinRange(0, 250)] = 0.0  # 0: as the header has it
    systolic_mmhg: Annotated[float, WithinRange(0, 300)] = 0.0  # 0: not known
    diastolic_mmhg: Annotated[float, WithinRange(0, 200)] = 0.0
    inflow_given: bool = False
    mean_inflow_ml_s: Annotated[float, WithinRange(0.01, 500)] = 2.0
    outlet_conditions: str  # JSON: a list of {"share"|"pressure_pa"|"resistance_pa_s_ml": number}
    # Reconstruct
    quality: Quality = Quality.standard
    seed: Annotated[int, WithinRange(0, 1_000_000)] = 0
    case_name: str
    # Teaching
    phantom_vessel: str = "stenosis"
    phantom_degree: Annotated[float, WithinRange(0.0, 0.7)] = 0.4
    phantom_flow_ml_s: Annotated[float, WithinRange(0.2, 5.0)] = 1.9
    # Display
    lumen: bool = True
    quantity: Quantity = Quantity.PRESSURE
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    automatic: bool = True
    low: float = 0.0
    high: float = 1.0
    locked: bool = True
    legend: bool = True
    glyphs: bool = False
    glyph_count: Annotated[int, WithinRange(50, 5000)] = 1500
    glyph_scale: Annotated[float, WithinRange(0.1, 10)] = 1.0
    streamlines: bool = True
    streamline_width_mm: Annotated[float, WithinRange(0.02, 1)] = 0.15
    particles: bool = False
    particle_count: Annotated[int, WithinRange(100, 20000)] = 2000
    particle_pace: Annotated[float, WithinRange(0.01, 2)] = 0.25
    gaussians: bool = False
    gaussian_quantity: CloudQuantity = CloudQuantity.SPEED
    gaussian_size: Annotated[float, WithinRange(1, 15)] = 4.0
    centreline: bool = False
    stenosis: bool = True
    vortex: bool = False
    jet: bool = False
    high_wss: bool = False
    low_wss: bool = False
    pressure_gradient: bool = False
    # Time
    films: bool = True
    # Measure; positions along the branch in mm, -1: not chosen yet
    branch: int = 0
    cut_plane: bool = False
    cut_mm: float = -1.0
    probe: bool = False
    course_from_mm: float = 0.0
    course_to_mm: float = -1.0

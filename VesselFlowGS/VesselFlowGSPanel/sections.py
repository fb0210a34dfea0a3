"""The sections in the order of the work: the one list that the panel is made from."""

from __future__ import annotations

from VesselFlowGSPanel.align_section import AlignSection
from VesselFlowGSPanel.display_section import DisplaySection
from VesselFlowGSPanel.engine_section import EngineSection
from VesselFlowGSPanel.inputs_section import InputsSection
from VesselFlowGSPanel.measure_section import MeasureSection
from VesselFlowGSPanel.physics_section import PhysicsSection
from VesselFlowGSPanel.quality_section import QualitySection
from VesselFlowGSPanel.reconstruct_section import ReconstructSection
from VesselFlowGSPanel.section import Section
from VesselFlowGSPanel.time_section import TimeSection

SECTIONS: tuple[type[Section], ...] = (
    EngineSection,
    InputsSection,
    AlignSection,
    PhysicsSection,
    ReconstructSection,
    DisplaySection,
    TimeSection,
    MeasureSection,
    QualitySection,
)

"""Studies with known truth: a vessel, the flow in it, dye carried by the flow, and the files that a C-arm would write.

Shares no code with the reconstruction but the C-arm's geometry.
"""

from VesselFlowGSLib.simulation.sample import sample_settings
from VesselFlowGSLib.simulation.settings import SimulationSettings, VesselKind, VesselSpec, settings_for
from VesselFlowGSLib.simulation.simulate import simulate

__all__ = ["SimulationSettings", "VesselKind", "VesselSpec", "sample_settings", "settings_for", "simulate"]

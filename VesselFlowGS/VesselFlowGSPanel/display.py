"""From what the panel holds to how a result looks."""

from __future__ import annotations

from typing import Any

from VesselFlowGSLib.results.snapshot import FindingKind
from VesselFlowGSScene.appearance import Appearance

# which parameter switches which kind of finding
PARAMETER_OF: dict[FindingKind, str] = {
    FindingKind.STENOSIS: "stenosis",
    FindingKind.VORTEX: "vortex",
    FindingKind.JET: "jet",
    FindingKind.HIGH_WSS: "high_wss",
    FindingKind.LOW_WSS: "low_wss",
    FindingKind.PRESSURE_GRADIENT: "pressure_gradient",
}


def appearance_of(parameters: Any) -> Appearance:
    """The Appearance that the parameter node describes."""
    return Appearance(
        lumen=parameters.lumen,
        quantity=parameters.quantity,
        opacity=parameters.opacity,
        automatic=parameters.automatic,
        low=parameters.low,
        high=parameters.high,
        locked=parameters.locked,
        legend=parameters.legend,
        glyphs=parameters.glyphs,
        glyph_count=parameters.glyph_count,
        glyph_scale=parameters.glyph_scale,
        streamlines=parameters.streamlines,
        streamline_width_mm=parameters.streamline_width_mm,
        particles=parameters.particles,
        particle_count=parameters.particle_count,
        particle_pace=parameters.particle_pace,
        gaussians=parameters.gaussians,
        gaussian_quantity=parameters.gaussian_quantity,
        gaussian_size=parameters.gaussian_size,
        centreline=parameters.centreline,
        findings=frozenset(kind for kind, name in PARAMETER_OF.items() if getattr(parameters, name)),
    )

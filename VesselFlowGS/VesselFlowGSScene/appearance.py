"""How a person wants a result to look: plain values, as the panel holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from VesselFlowGSLib.results.snapshot import FindingKind


class Quantity(str, Enum):
    """What colours the lumen."""

    PRESSURE = "pressure"
    WSS = "wall shear stress"
    TAWSS = "time-averaged wall shear stress"
    OSI = "oscillatory shear index"
    SPEED = "speed"
    CONFIDENCE = "confidence"
    NONE = "plain"


class CloudQuantity(str, Enum):
    """What colours the Gaussians."""

    SPEED = "speed"
    PRESSURE = "pressure"
    ARRIVAL = "arrival time"


@dataclass(frozen=True)
class Appearance:
    """Pressure in mmHg, wall shear stress in Pa, speed in m/s, as a person reads them.

    low, high      the colour range of the lumen where it is not automatic
    locked         an automatic range spans all phases and does not move while the solution sharpens, unless it must
    particle_pace  seconds of flow per second of watching
    findings       the kinds that are pointed out
    """

    lumen: bool = True
    quantity: Quantity = Quantity.PRESSURE
    opacity: float = 0.6
    automatic: bool = True
    low: float = 0.0
    high: float = 1.0
    locked: bool = True
    legend: bool = True
    glyphs: bool = False
    glyph_count: int = 1500
    glyph_scale: float = 1.0
    streamlines: bool = True
    streamline_width_mm: float = 0.15
    particles: bool = False
    particle_count: int = 2000
    particle_pace: float = 0.25
    gaussians: bool = False
    gaussian_quantity: CloudQuantity = CloudQuantity.SPEED
    gaussian_size: float = 4.0
    centreline: bool = False
    findings: frozenset[FindingKind] = field(default_factory=frozenset)

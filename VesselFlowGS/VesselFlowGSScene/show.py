"""A snapshot in the scene: one call makes and updates every node that a person sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from VesselFlowGSLib.results.snapshot import Snapshot
from VesselFlowGSScene.appearance import Appearance, CloudQuantity, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.centreline import radius_scale, show_centreline
from VesselFlowGSScene.colours import Scale, scale_of, show_legends
from VesselFlowGSScene.finding_marks import finding_steps
from VesselFlowGSScene.gaussians import show_gaussians
from VesselFlowGSScene.glyphs import show_glyphs
from VesselFlowGSScene.lumen import show_lumen
from VesselFlowGSScene.particles import paint_particles
from VesselFlowGSScene.ranges import Coloured, ranges_of
from VesselFlowGSScene.streamlines import show_streamlines

COLOURED = (Role.LUMEN, Role.STREAMLINES, Role.GLYPHS, Role.PARTICLES, Role.GAUSSIANS, Role.CENTRELINE)
# speed and pressure are coloured alike wherever they are seen
OF_CLOUD: dict[CloudQuantity, Coloured] = {
    CloudQuantity.SPEED: Quantity.SPEED,
    CloudQuantity.PRESSURE: Quantity.PRESSURE,
    CloudQuantity.ARRIVAL: CloudQuantity.ARRIVAL,
}


def show(case: Case, snapshot: Snapshot, appearance: Appearance, phase: int | None = None) -> None:
    """Bring the case's nodes up to the snapshot and the appearance. Idempotent: what has not changed is left alone.

    Where the snapshot has the shape that is shown, the wall's arrays alone change; what is switched off is not made.

    phase  number of one of the snapshot's phases; None: the snapshot itself, of a pulsatile flow its mean
    """
    for _ in show_steps(case, snapshot, appearance, phase):
        pass


def show_steps(case: Case, snapshot: Snapshot, appearance: Appearance, phase: int | None = None) -> Iterator[None]:
    """The same in short steps, at the end of each a yield: the first time makes many nodes."""
    ranges = ranges_of(case, snapshot, appearance, phase)
    speed = scale_of(Quantity.SPEED, ranges)
    wall = scale_of(appearance.quantity, ranges)
    cloud = scale_of(OF_CLOUD[appearance.gaussian_quantity], ranges)
    radius = radius_scale(snapshot)
    parts: list[tuple[Callable[[], Any], Scale | None]] = [
        (lambda: show_lumen(case, snapshot, appearance, wall, phase), wall),
        (lambda: show_streamlines(case, snapshot, appearance, speed, phase), speed),
        (lambda: show_glyphs(case, snapshot, appearance, speed, phase), speed),
        (lambda: paint_particles(case, appearance, speed), speed),
        (lambda: show_gaussians(case, snapshot, appearance, cloud), cloud),
        (lambda: show_centreline(case, snapshot, appearance, radius), radius),
    ]
    made: list[tuple[Any, Scale | None]] = []
    for draw, scale in parts:
        display = draw()
        if display is not None:
            made.append((display, scale))
        yield
    yield from finding_steps(case, snapshot, appearance)
    yield
    seen = [
        (display, scale)
        for display, scale in made
        if scale is not None and display.GetVisibility() and display.GetScalarVisibility()
    ]
    show_legends(seen, appearance.legend, [display for display, _ in made])

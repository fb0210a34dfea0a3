"""Draw the README's pictures anew: the panel in the test host, and real Slicer views, along the README's tutorial.

Run by: make screenshots. QUALITY=preview is quick and enough for pictures.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for place in ("VesselFlowGS", "Testing/Host", "Testing/VesselFlowGSPanel", "Testing", "."):
    sys.path.insert(0, str(ROOT / place))

import host  # noqa: E402
from mrml_scene import open_scene  # noqa: E402
from slicer_view import slice_view, three_d_view  # noqa: E402
from walk import Walk  # noqa: E402

PICTURES = ROOT / "Resources" / "screenshots"
PANEL_WIDTH = 560
VIEW = (1000, 700)
LIMIT_S = 1200.0
ZOOM = 1.12
# a look at the sample artery from the left and a little from the front, head up
ALONG, UP = (0.45, -0.85, -0.25), (0.0, 0.0, 1.0)


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    opened = open_scene()
    host.install(opened)
    walk = Walk.begin(host)
    with three_d_view(opened, size=VIEW) as view:
        in_three_d(walk, view)
    align(walk, opened)
    walk.close()
    thumbnail()


def in_three_d(walk: Walk, view: Any) -> None:
    """Everything up to the result, with the view open, as a person has it."""
    parameters = walk.widget.parameters
    walk.click("Engine", "checkButton")
    walk.until(lambda: walk.section("Engine").outcome is not None, 120)
    panel(walk, "Engine")
    walk.click("Inputs", "sampleButton")
    walk.until(lambda: len(walk.section("Inputs").entries) == 2, 30)
    panel(walk, "Inputs")
    quality = type(parameters.quality)
    parameters.quality = quality[os.environ.get("QUALITY", "preview")]
    walk.click("Reconstruct", "startButton")
    walk.until(lambda: walk.settled() or len(walk.running.history) > 12, LIMIT_S)
    panel(walk, "Reconstruct")
    walk.until(walk.settled, LIMIT_S)
    if walk.running.client.failure:
        raise SystemExit(walk.running.client.failure)
    show(walk, quantity="PRESSURE", streamlines=True, opacity=0.35, stenosis=True)
    panel(walk, "Display")
    picture(view, "view-streamlines")
    show(walk, quantity="WSS", streamlines=False, glyphs=True, opacity=0.5)
    picture(view, "view-wss")
    show(walk, quantity="NONE", glyphs=False, gaussians=True, opacity=0.1, stenosis=False)
    picture(view, "view-gaussians")
    show(walk, quantity="PRESSURE", gaussians=False, streamlines=True, opacity=0.35, stenosis=True)
    parameters.cut_plane = True
    walk.host.process_events(0.5)
    panel(walk, "Measure")
    picture(view, "view-cut")
    walk.section("Quality").ui.exportFolder.directory = "Documents"
    panel(walk, "Quality")
    parameters.cut_plane = False


def align(walk: Walk, opened: Any) -> None:
    """The projected lumen over a frame, in a slice view."""
    with slice_view(opened, size=(600, 600)) as view:
        section = walk.section("Align")
        section.ui.overlayButton.checked = True
        from VesselFlowGSScene.case import Role

        for shown, name in ((1, "view-align"), (2, "view-peak")):
            section.ui.shownComboBox.currentIndex = shown
            walk.host.process_events(2.0)
            view.show_volume(walk.widget.case.get(Role.FILMED))
            picture(view, name)
        panel(walk, "Align")
        section.ui.overlayButton.checked = False


def show(walk: Walk, **appearance: Any) -> None:
    """Change what the panel's section Display holds."""
    parameters = walk.widget.parameters
    for name, value in appearance.items():
        held = getattr(parameters, name)
        setattr(parameters, name, type(held)[value] if name == "quantity" else value)
    walk.host.process_events(0.3)


def panel(walk: Walk, name: str) -> None:
    walk.section(name).collapse(False)
    walk.host.picture_of(walk.section(name).widget, PICTURES / f"panel-{name.lower()}.png", PANEL_WIDTH)


def picture(view: Any, name: str) -> None:
    if hasattr(view, "look"):
        view.look(along=ALONG, up=UP)
        view.renderer.GetActiveCamera().Zoom(ZOOM)
    view.save(PICTURES / f"{name}.png")


def thumbnail() -> None:
    """The picture of the sample in Slicer's Sample Data, about 260 by 280 pixels."""
    from PIL import Image

    image = Image.open(PICTURES / "view-streamlines.png").convert("RGB")
    height = image.height
    width = round(height * 260 / 280)
    left = (image.width - width) // 2
    small = image.crop((left, 0, left + width, height)).resize((260, 280), Image.Resampling.LANCZOS)
    small.save(ROOT / "VesselFlowGS" / "Resources" / "Icons" / "SampleArtery.png", optimize=True)


if __name__ == "__main__":
    main()

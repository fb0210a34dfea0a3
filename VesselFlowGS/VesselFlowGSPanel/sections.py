"""The sections in the order of the work: the one list that the panel is made from."""

from __future__ import annotations

from importlib import import_module

from VesselFlowGSPanel.section import Section

ORDER = ("Engine", "Inputs", "Align", "Physics", "Reconstruct", "Display", "Time", "Measure", "Quality")

# what a person needs first; the others are made when these are on the screen
FIRST = ("Engine", "Inputs", "Reconstruct")
# the others open by a click
OPEN = (*FIRST, "Display")


def section_class(name: str) -> type[Section]:
    """The class of a section: NAMESection in NAME_section.py."""
    found: type[Section] = getattr(import_module(f"VesselFlowGSPanel.{name.lower()}_section"), f"{name}Section")
    return found

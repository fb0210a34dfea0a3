"""Cross-sections: areas, profiles and where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_lumens import bent_tube, bifurcation, elliptic_tube, narrowed_tube, straight_tube

from VesselFlowGSLib.flow.sections import SectionSettings, cross_section, flux_sections, opening_section

SETTINGS = SectionSettings()
ELLIPSE = elliptic_tube(2.5, 1.5, spacing_mm=0.2)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (1.0, 2.0, 2.0)])
def test_the_area_of_a_circle(direction):
    lumen = straight_tube(14.0, 2.0, direction, spacing_mm=0.3)
    normal = np.array(direction) / np.linalg.norm(direction)
    section = cross_section(lumen, 7 * normal, normal, 2.0, SETTINGS)
    assert section is not None
    assert section.area_mm2 == pytest.approx(4 * np.pi, rel=2e-3)
    assert np.allclose((section.points - section.centre) @ normal, 0, atol=1e-9)
    assert np.average(section.points, axis=0, weights=section.weights) == pytest.approx(7 * normal, abs=1e-2)


def test_the_area_does_not_depend_on_the_centre():
    lumen = straight_tube(14.0, 2.0, spacing_mm=0.3)
    section = cross_section(lumen, np.array([0.6, 0.3, 7.0]), np.array([0, 0, 1.0]), 2.0, SETTINGS)
    assert section is not None and section.area_mm2 == pytest.approx(4 * np.pi, rel=5e-3)


def test_an_ellipse_and_its_developed_profile():
    section = cross_section(ELLIPSE, np.array([0, 0, 7.0]), np.array([0, 0, 1.0]), 2.0, SETTINGS)
    assert section is not None
    assert section.area_mm2 == pytest.approx(np.pi * 2.5 * 1.5, rel=5e-3)
    profile = section.developed_profile()
    exact = 2 * (1 - (section.points[:, 0] / 2.5) ** 2 - (section.points[:, 1] / 1.5) ** 2)
    assert (profile * section.weights).sum() == pytest.approx(section.area_mm2)
    assert np.abs(profile - exact).max() < 0.02


def test_a_plane_without_a_closed_edge_is_no_section():
    lumen = straight_tube(14.0, 2.0, spacing_mm=0.4)
    assert cross_section(lumen, np.array([0, 0, 7.0]), np.array([1.0, 0, 0]), 2.0, SETTINGS) is None
    assert cross_section(lumen, np.array([5.0, 0, 7.0]), np.array([0, 0, 1.0]), 2.0, SETTINGS) is None


def test_opening_sections_look_downstream():
    lumen = bent_tube(spacing_mm=0.4)
    inlet, outlet = (opening_section(lumen, i, SETTINGS) for i in (0, 1))
    assert inlet is not None and outlet is not None
    assert inlet.normal @ lumen.tree.branches[0].tangent[0] == pytest.approx(1, abs=1e-6)
    assert outlet.normal @ lumen.tree.branches[0].tangent[-1] == pytest.approx(1, abs=1e-6)
    assert inlet.area_mm2 == pytest.approx(4 * np.pi, rel=0.01)


def test_flux_sections_keep_off_junctions_and_within_the_openings():
    lumen = bifurcation()
    sections = flux_sections(lumen, SETTINGS)
    for section in sections:
        branch = lumen.tree.branches[section.branch]
        toward = section.centre / max(float(np.linalg.norm(section.centre)), 1e-9)
        if np.linalg.norm(section.centre) > 1e-6:
            assert abs(section.normal @ toward) == pytest.approx(1, abs=0.02)
        wanted = SETTINGS.junction_radii * float(branch.radius_mm[0])
        assert np.linalg.norm(section.centre) >= wanted - 1e-6
        assert not any(
            (section.centre - o.centre) @ o.normal > 1e-6 for o in lumen.openings if o.branch == section.branch
        )
    for index, branch in enumerate(lumen.tree.branches):
        path = [s.path_mm for s in sections if s.branch == index]
        assert len(path) >= 3 and (np.diff(path) > 0).all()
        assert np.diff(path).max() < 1.5 * float(np.median(branch.radius_mm))


def test_sections_clear_of_the_junction_have_the_area_of_their_tube():
    lumen = bifurcation()
    for section in flux_sections(lumen, SETTINGS):
        if np.linalg.norm(section.centre) > 6.5:
            radius = float(lumen.tree.branches[section.branch].radius_mm[0])
            assert section.area_mm2 == pytest.approx(np.pi * radius**2, rel=0.01)


def test_areas_follow_a_narrowing():
    lumen = narrowed_tube(lambda z: 2 - 0.5 * np.exp(-(((z - 10) / 5) ** 2)), 20.0, spacing_mm=0.3)
    for section in flux_sections(lumen, SETTINGS):
        radius = 2 - 0.5 * np.exp(-(((section.path_mm - 10) / 5) ** 2))
        assert section.area_mm2 == pytest.approx(np.pi * radius**2, rel=0.02)

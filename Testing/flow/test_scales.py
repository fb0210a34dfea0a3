"""The network's units: round trips, and the numbers of Poiseuille flow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.flow.fluid import Fluid
from VesselFlowGSLib.flow.scales import Scales

positive = st.floats(0.05, 50.0)


@given(flow=positive, radius=positive, viscosity=st.floats(1e-3, 1e-2))
def test_round_trips(flow, radius, viscosity):
    scales = Scales.of_inflow(flow, radius, Fluid(1060.0, viscosity))
    assert scales.flow_ml_s == pytest.approx(flow)
    assert scales.length(3 * radius) == pytest.approx(3)
    assert scales.velocity_m_s(1.0) * np.pi * (radius * 1e-3) ** 2 * 1e6 == pytest.approx(flow)
    assert scales.pressure(1.0) == pytest.approx(1060 * scales.speed_m_s**2)


@given(flow=positive, radius=positive)
def test_poiseuille_in_the_units_of_the_network(flow, radius):
    """u = 2 (1 - r^2) and p = -8 z / Re in network units are Poiseuille flow in SI units."""
    fluid = Fluid()
    scales = Scales.of_inflow(flow, radius, fluid)
    slope = 8 * fluid.viscosity_pa_s * flow * 1e-6 / (np.pi * (radius * 1e-3) ** 4)
    assert scales.pressure(8 / scales.reynolds) / (radius * 1e-3) == pytest.approx(slope)
    shear = 4 * flow * 1e-6 / (np.pi * (radius * 1e-3) ** 3)
    assert scales.velocity_gradient_per_s(4.0) == pytest.approx(shear)


def test_reynolds_is_of_the_radius():
    # 0.0035 / 1060 m2/s, 2 mm, 0.165 m/s: 100 by the radius, 200 by the diameter
    scales = Scales(2.0, 100 * (0.0035 / 1060) / 2e-3, Fluid())
    assert scales.reynolds == pytest.approx(100)

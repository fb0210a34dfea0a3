"""What several flow tests share, computed once."""

from __future__ import annotations

import pytest
from solved_tube import FLOW_ML_S, Tube, tube

from VesselFlowGSLib.flow.solve import NetworkField


@pytest.fixture(scope="session")
def straight() -> Tube:
    return tube()


@pytest.fixture(scope="session")
def solved(straight: Tube) -> NetworkField:
    solver = straight.solver()
    solver.solve(FLOW_ML_S, 60)
    return NetworkField.of(solver)

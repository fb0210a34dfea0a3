"""Time-averaged wall shear stress and oscillatory shear index: analytic truths, and where they are not known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")

import simulated_snapshots as simulated
from vtk.util.numpy_support import vtk_to_numpy

from VesselFlowGSLib.results.snapshot import Phase, Snapshot, Stage, Surface
from VesselFlowGSScene.appearance import Appearance, Quantity
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.lumen import lumen_data
from VesselFlowGSScene.over_time import Lack, lack_of, over_time_of
from VesselFlowGSScene.ranges import automatic_range
from VesselFlowGSScene.show import show

POINTS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])


def wall(phases=(), **arrays) -> Snapshot:
    """One triangle; phases are dicts of its arrays."""
    count = max(len(phases), 1)
    return Snapshot(
        Stage.DONE,
        1.0,
        "",
        surface=Surface(POINTS, np.array([[0, 1, 2]]), {name: np.asarray(a) for name, a in arrays.items()}),
        phases=tuple(Phase(k / count, {name: np.asarray(a) for name, a in of.items()}) for k, of in enumerate(phases)),
        period_s=1.0 if phases else None,
    )


def swinging(mean: float, swing: float, count: int = 64):
    """mean + swing cos(2πt) along a direction that is another one at each point."""
    along = np.array([[1.0, 0, 0], [0, -0.6, 0.8], [-(2**-0.5), 0, 2**-0.5]])
    return [{"wss_vector": (mean + swing * np.cos(2 * np.pi * k / count)) * along} for k in range(count)]


def test_a_stress_that_swings_to_and_fro_has_an_index_of_a_half():
    found = over_time_of(wall(swinging(0.0, 3.0)))
    assert found["osi"] == pytest.approx([0.5] * 3, abs=1e-6)
    assert found["tawss"] == pytest.approx([6 / np.pi] * 3, rel=1e-3)


def test_a_stress_that_never_turns_has_an_index_of_zero():
    found = over_time_of(wall(swinging(2.0, 1.5)))
    assert found["osi"] == pytest.approx([0.0] * 3, abs=1e-6)
    assert found["tawss"] == pytest.approx([2.0] * 3, rel=1e-6)


def test_between_the_two_it_is_that_of_the_integrals():
    """1 + 2 cos: the stress turns round for a third of the period."""
    found = over_time_of(wall(swinging(1.0, 2.0, 720)))
    size = 1 / 3 + 2 * 3**0.5 / np.pi
    assert found["tawss"] == pytest.approx([size] * 3, rel=1e-4)
    assert found["osi"] == pytest.approx([(1 - 1 / size) / 2] * 3, rel=1e-3)


def test_a_stress_that_turns_round_once_evenly_cancels():
    turned = [{"wss_vector": [[np.cos(a), np.sin(a), 0]] * 3} for a in 2 * np.pi * np.arange(12) / 12]
    assert over_time_of(wall(turned))["osi"] == pytest.approx([0.5] * 3, abs=1e-6)


def test_no_stress_at_all_gives_zeros():
    found = over_time_of(wall([{"wss_vector": np.zeros((3, 3))}] * 4))
    assert not found["tawss"].any() and not found["osi"].any()


def test_sizes_alone_give_the_mean_and_no_index():
    snapshot = wall([{"wss": [1.0, 2, 3]}, {"wss": [3.0, 2, 1]}, {"wss": [2.0, 5, 2]}], wss=[2.0, 3, 2])
    assert over_time_of(snapshot)["tawss"] == pytest.approx([2.0, 3.0, 2.0])
    assert lack_of(snapshot, "tawss") is None and lack_of(snapshot, "osi") is Lack.DIRECTION


def test_the_engines_own_arrays_come_first():
    snapshot = wall([{"wss": [1.0, 2, 3]}] * 4, wss=[1.0, 2, 3], tawss=[7.0, 8, 9], osi=[0.1, 0.2, 0.3])
    found = over_time_of(snapshot)
    assert found["tawss"] == pytest.approx([7.0, 8, 9]) and found["osi"] == pytest.approx([0.1, 0.2, 0.3])


def test_what_is_lacking_is_told():
    assert lack_of(wall(wss=[1.0, 2, 3]), "tawss") is Lack.PERIOD
    assert lack_of(wall(wss=[1.0, 2, 3]), "osi") is Lack.PERIOD
    assert lack_of(wall(confidence=[1.0, 1, 1]), "osi") is Lack.STRESS
    gap = wall([{"wss": [1.0, 2, 3]}, {"pressure": [1.0, 2, 3]}], wss=[1.0, 2, 3])
    assert over_time_of(gap) == {} and lack_of(gap, "tawss") is Lack.STRESS
    assert lack_of(Snapshot(Stage.GEOMETRY, 0.1, ""), "tawss") is Lack.STRESS


def test_another_snapshot_has_its_own():
    first, second = (wall([{"wss": np.full(3, size)}] * 2, wss=np.full(3, size)) for size in (1.0, 2.0))
    for _ in range(2):
        assert over_time_of(first)["tawss"][0] == 1.0
        assert over_time_of(second)["tawss"][0] == 2.0


def test_ranges_begin_at_zero_and_the_index_has_its_whole_one():
    snapshot = wall(swinging(0.0, 3.0))
    low, high = automatic_range(snapshot, Quantity.TAWSS, 5, over_time=False)
    assert low == 0.0 and 1.9 < high < 2.5
    assert automatic_range(snapshot, Quantity.OSI, None, True) == (0.0, 0.5)
    assert automatic_range(wall(wss=[1.0, 2, 3]), Quantity.OSI, None, True) is None


def test_the_wall_bears_both_at_every_phase(scene):
    snapshot = simulated.pulsatile_bifurcation(phases=6, triangles=2000)
    along = np.array([0.0, 0.0, 1.0])
    phases = tuple(
        dataclasses.replace(phase, surface={**phase.surface, "wss_vector": phase.surface["wss"][:, None] * along})
        for phase in snapshot.phases
    )
    snapshot = dataclasses.replace(snapshot, phases=phases)
    wanted = np.mean([phase.surface["wss"] for phase in phases], axis=0)
    case = Case.create(scene, "case")
    for quantity, name in ((Quantity.TAWSS, "TAWSS_Pa"), (Quantity.OSI, "OSI")):
        for phase in (None, 0, 4):
            show(case, snapshot, Appearance(quantity=quantity, streamlines=False), phase)
            node = case.get(Role.LUMEN)
            assert node.GetDisplayNode().GetActiveScalarName() == name
            held = node.GetPolyData().GetPointData()
            assert vtk_to_numpy(held.GetArray("TAWSS_Pa")) == pytest.approx(wanted, rel=1e-4)
            assert vtk_to_numpy(held.GetArray("OSI")) == pytest.approx(0, abs=1e-6)


def test_of_a_steady_flow_the_wall_is_plain(scene):
    case = Case.create(scene, "case")
    show(case, simulated.steady_tube(1500), Appearance(quantity=Quantity.TAWSS))
    assert not case.get(Role.LUMEN).GetDisplayNode().GetScalarVisibility()
    assert not lumen_data(simulated.steady_tube(1500)).GetPointData().HasArray("TAWSS_Pa")

"""A snapshot kept in a scene comes back the same, also through files that Slicer turns into LPS and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_snapshots import pulsatile_bifurcation, stenosed_tube

from VesselFlowGSLib.results.snapshot import Snapshot, Stage
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.kept import keep, kept_snapshot

MODELS = (Role.KEPT_SURFACE, Role.KEPT_FIELD, Role.KEPT_CENTRELINE, Role.KEPT_STREAMLINES, Role.KEPT_CLOUD)


def through_files(case: Case, folder: Path) -> None:
    """Save each kept model as Slicer does, empty the node, and read it back."""
    import slicer

    for role in MODELS:
        node = case.get(role)
        if node is None:
            continue
        grid = node.GetMesh().IsA("vtkUnstructuredGrid")
        storage = slicer.vtkMRMLModelStorageNode()
        case.scene.AddNode(storage)
        storage.SetFileName(str(folder / f"{role.value}{'.vtu' if grid else '.vtp'}"))
        assert storage.WriteData(node) == 1
        node.SetAndObserveMesh(None)
        assert storage.ReadData(node) == 1


def same(a: Any, b: Any) -> None:
    assert (a is None) == (b is None)
    if a is None:
        return
    np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-6, atol=1e-5)


def assert_same(kept: Snapshot, given: Snapshot) -> None:
    for part in ("surface", "centreline", "field", "streamlines"):
        mine, theirs = getattr(kept, part), getattr(given, part)
        assert (mine is None) == (theirs is None)
        if mine is None:
            continue
        same(mine.points, theirs.points)
        assert set(mine.arrays) == set(theirs.arrays)
        for name in mine.arrays:
            same(mine.arrays[name], theirs.arrays[name])
    if given.cloud is not None:
        for name in ("mean", "sigma", "quaternion", "attenuation", "occupancy", "velocity", "pressure"):
            same(getattr(kept.cloud, name), getattr(given.cloud, name))
    np.testing.assert_array_equal(kept.surface.triangles, given.surface.triangles)
    assert kept.figures == dict(given.figures)
    assert kept.stage is given.stage
    assert kept.warnings == given.warnings
    assert kept.views == given.views
    assert [(f.kind, f.text, f.value) for f in kept.findings] == [(f.kind, f.text, f.value) for f in given.findings]
    assert [phase.time_s for phase in kept.phases] == [phase.time_s for phase in given.phases]
    for mine, theirs in zip(kept.phases, given.phases, strict=True):
        for part in ("surface", "field", "centreline"):
            assert set(getattr(mine, part)) == set(getattr(theirs, part))
            for name, values in getattr(theirs, part).items():
                same(getattr(mine, part)[name], values)


@pytest.mark.parametrize("files", [False, True], ids=["in memory", "through files"])
@pytest.mark.parametrize("made", [stenosed_tube, pulsatile_bifurcation])
def test_a_kept_snapshot_comes_back(scene: Any, tmp_path: Path, made: Any, files: bool) -> None:
    given = made()
    case = Case.create(scene, "Vessel")
    keep(case, given)
    if files:
        through_files(case, tmp_path)
    assert_same(kept_snapshot(Case.all_in(scene)[0]), given)


def test_what_is_not_known_yet_is_not_kept(scene: Any) -> None:
    given = stenosed_tube()
    case = Case.create(scene, "Vessel")
    keep(case, given)
    keep(case, replace(given, stage=Stage.GEOMETRY, field=None, streamlines=None))
    kept = kept_snapshot(case)
    assert kept is not None and kept.field is None and kept.streamlines is None
    assert kept.stage is Stage.GEOMETRY
    assert case.get(Role.KEPT_FIELD) is None


def test_nothing_kept_is_nothing(scene: Any) -> None:
    assert kept_snapshot(Case.create(scene, "Empty")) is None

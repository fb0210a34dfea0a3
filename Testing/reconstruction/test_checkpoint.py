"""Checkpoints: everything comes back through an .npz without pickle; what cannot be used gives None."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from analytic_lumens import bifurcation
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.gaussians.cloud import GaussianCloud
from VesselFlowGSLib.lumen.fit import FitSettings, start_cloud
from VesselFlowGSLib.reconstruction import checkpoint
from VesselFlowGSLib.reconstruction.checkpoint import FILE, Checkpoint, load_checkpoint

PLAIN = bifurcation(spacing_mm=0.8)
LUMEN = replace(PLAIN, trust=(PLAIN.tree.branches[0].points[:5], np.linspace(0, 1, 5)))
CLOUD = start_cloud(LUMEN, 0.2, FitSettings(largest_count=400)).cloud
BEGUN = Checkpoint(
    "a fingerprint",
    LUMEN,
    CLOUD,
    {"isocentre_lps_mm": [1.0, 2.0, 3.0], "runs": {"a.dcm": {"match": 0.9}}},
    ("one", "zwei, µ"),
    2.5,
    np.array([1.0, 0.6, 0.4]),
    np.linspace(-1, 1, 30),
)


def stored(state: Checkpoint) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **state.arrays())
    return file.getvalue()


BYTES = stored(BEGUN)


def test_everything_comes_back(tmp_path):
    (tmp_path / FILE).write_bytes(BYTES)
    with np.load(tmp_path / FILE, allow_pickle=False) as arrays:
        assert all(a.dtype != object for a in arrays.values())
    found = load_checkpoint(tmp_path)
    assert found is not None
    for name in ("fingerprint", "words", "warnings", "inflow_ml_s"):
        assert getattr(found, name) == getattr(BEGUN, name)
    for name in ("shares", "parameters"):
        assert np.array_equal(getattr(found, name), getattr(BEGUN, name))
    for name in GaussianCloud.__dataclass_fields__:
        assert np.array_equal(getattr(found.cloud, name), getattr(CLOUD, name), equal_nan=True)
    x = np.random.default_rng(0).uniform(-4, 6, (200, 3))
    assert np.array_equal(found.lumen.wall(x), LUMEN.wall(x))
    assert np.array_equal(found.lumen.confidence(x), LUMEN.confidence(x))
    for ours, theirs in zip(found.lumen.tree.branches, LUMEN.tree.branches, strict=True):
        assert np.array_equal(ours.points, theirs.points) and np.array_equal(ours.radius_mm, theirs.radius_mm)
        assert ours.parent == theirs.parent
    for ours, theirs in zip(found.lumen.openings, LUMEN.openings, strict=True):
        assert (ours.name, ours.radius_mm, ours.branch) == (theirs.name, theirs.radius_mm, theirs.branch)
        assert np.array_equal(ours.centre, theirs.centre) and np.array_equal(ours.normal, theirs.normal)


def test_what_has_not_begun_stays_none(tmp_path):
    first = replace(BEGUN, inflow_ml_s=None, shares=None, parameters=None, lumen=PLAIN)
    (tmp_path / FILE).write_bytes(stored(first))
    found = load_checkpoint(tmp_path)
    assert found is not None and found.lumen.trust is None
    assert found.inflow_ml_s is None and found.shares is None and found.parameters is None


def test_the_unfinished_one_is_newer(tmp_path):
    (tmp_path / FILE).write_bytes(stored(replace(BEGUN, fingerprint="old")))
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / FILE).write_bytes(BYTES)
    found = load_checkpoint(tmp_path)
    assert found is not None and found.fingerprint == "a fingerprint"
    (tmp_path / ".unfinished" / FILE).write_bytes(BYTES[:100])
    found = load_checkpoint(tmp_path)
    assert found is not None and found.fingerprint == "old"


def test_none_where_there_is_nothing(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "absent") is None


def test_another_version_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    (tmp_path / FILE).write_bytes(stored(BEGUN))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", BYTES[: len(BYTES) // 2]], ids=range(4))
def test_a_damaged_file_is_not_used(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    assert load_checkpoint(tmp_path) is None


@given(at=st.integers(0, len(BYTES) - 1), value=st.integers(0, 255))
def test_a_changed_byte_never_raises(tmp_path_factory, at, value):
    folder = tmp_path_factory.mktemp("damaged")
    (folder / FILE).write_bytes(BYTES[:at] + bytes([value]) + BYTES[at + 1 :])
    found = load_checkpoint(folder)
    assert found is None or found.fingerprint == "a fingerprint"


@pytest.mark.parametrize("lost", ["header", "wall", "branch_1", "cloud_mean", "opening_centres"])
def test_a_file_that_lacks_an_array_is_not_used(tmp_path, lost):
    arrays = BEGUN.arrays()
    del arrays[lost]
    np.savez(tmp_path / FILE, **arrays)
    assert load_checkpoint(tmp_path) is None


def test_a_pickle_is_not_opened(tmp_path):
    arrays = {**BEGUN.arrays(), "wall": np.array([{"a": 1}], object)}
    np.savez(tmp_path / FILE, **arrays)
    assert load_checkpoint(tmp_path) is None

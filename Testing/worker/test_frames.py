"""Frames: a snapshot comes back as it was, part by part, whole or not at all."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.snapshot import (
    CloudArrays,
    Figure,
    Finding,
    FindingKind,
    Phase,
    Polylines,
    Snapshot,
    Stage,
    Surface,
    ViewMatch,
    VolumeMesh,
)
from VesselFlowGSLib.worker.frames import read_frame, write_frame


def floats(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 7


SURFACE = Surface(floats(4, 3), np.array([[0, 1, 2], [1, 2, 3]], np.int32), {"wss": floats(4), "normal": floats(4, 3)})
LINES = Polylines(floats(5, 3), np.array([0, 2, 5], np.int32), {"speed": floats(5)})
FULL = Snapshot(
    Stage.FLOW,
    0.4,
    "Fluß 2,5 ml/s",
    cloud=CloudArrays(floats(3, 3), floats(3, 3), floats(3, 4), floats(3), floats(3), np.full(3, np.nan, np.float32)),
    surface=SURFACE,
    centreline=LINES,
    field=VolumeMesh(floats(4, 3), np.arange(4, dtype=np.int32), np.array([0, 4], np.int32), np.array([10], np.uint8)),
    streamlines=LINES,
    figures={"inflow": Figure(2.5, "ml/s", "estimated", (2.0, 3.0)), "length": Figure(40.0, "mm", "measured")},
    geometry={"openings": [{"name": "inlet", "centre_lps_mm": [1.0, 2.0, 3.0]}], "is": "array", "array": "no array"},
    flow_status={"status": "solved"},
    warnings=("one", "two"),
    provenance={"settings": {"layers": (3, 4)}, "seed": 0},
    timings_s={"flow": 1.5},
    phases=(Phase(0.1, {"wss": floats(4)}, {}, {}, LINES), Phase(0.2)),
    period_s=0.8,
    findings=(Finding(FindingKind.STENOSIS, "narrow", floats(3), 2.0, 40.0, "%", SURFACE),),
    views=(ViewMatch("dsa_1.dcm", 0.98, 0.1), ViewMatch("dsa_2.dcm")),
    shape="abc",
)


def assert_same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    elif dataclasses.is_dataclass(wanted):
        assert type(found) is type(wanted)
        for field in dataclasses.fields(wanted):
            assert_same(getattr(found, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            assert_same(found[key], value)
    elif isinstance(wanted, (list, tuple)):
        assert type(found) is type(wanted) and len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted and type(found) is type(wanted)


def test_every_part_comes_back(tmp_path):
    path = tmp_path / "ä b.npz"
    write_frame(path, FULL)
    assert_same(read_frame(path), FULL)


def test_what_a_run_goes_on_from_stays_out(tmp_path):
    write_frame(tmp_path / "f.npz", dataclasses.replace(FULL, checkpoint={"wall": np.zeros(9)}))
    assert read_frame(tmp_path / "f.npz").checkpoint is None


def test_only_the_wanted_parts_are_read(tmp_path):
    write_frame(tmp_path / "f.npz", FULL)
    found = read_frame(tmp_path / "f.npz", ("surface", "views"))
    assert_same(found.surface, FULL.surface)
    assert found.views == FULL.views and found.field is None and found.figures == {}
    assert (found.stage, found.progress, found.shape) == (FULL.stage, FULL.progress, FULL.shape)
    with pytest.raises(ValueError, match="no part wall"):
        read_frame(tmp_path / "f.npz", ("wall",))


@settings(max_examples=40, deadline=None)
@given(
    values=arrays_of.arrays(np.float64, arrays_of.array_shapes(max_dims=2, max_side=6)),
    counts=arrays_of.arrays(np.int64, arrays_of.array_shapes(max_dims=1)),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    text=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_arrays_and_names_come_back_in_single_precision(tmp_path_factory, values, counts, name, text):
    path = tmp_path_factory.mktemp("frame") / "f.npz"
    surface = Surface(values, counts, {name: values})
    with np.errstate(over="ignore"):
        write_frame(path, Snapshot(Stage.DONE, 1.0, text, surface=surface, geometry={name: text}))
        wanted = values.astype(np.float32)
    found = read_frame(path)
    assert found.message == text and found.geometry == {name: text} and found.surface is not None
    np.testing.assert_array_equal(found.surface.arrays[name], wanted)
    np.testing.assert_array_equal(found.surface.triangles, counts)


def test_what_has_not_changed_is_not_read_again(tmp_path):
    path = tmp_path / "f.npz"
    held: dict = {}
    write_frame(path, FULL)
    first = read_frame(path, held=held)
    changed = dataclasses.replace(SURFACE, arrays={**SURFACE.arrays, "wss": floats(4) + 1})
    write_frame(path, dataclasses.replace(FULL, surface=changed))
    second = read_frame(path, held=held)
    assert_same(second, dataclasses.replace(FULL, surface=changed))
    assert second.surface.points is first.surface.points
    assert second.surface.arrays["wss"] is not first.surface.arrays["wss"]
    write_frame(path, Snapshot(Stage.DONE, 1.0, "nothing"))
    read_frame(path, held=held)
    assert held == {}


def test_a_frame_that_could_not_be_written_leaves_nothing_and_the_old_one_whole(tmp_path, monkeypatch):
    path = tmp_path / "f.npz"
    write_frame(path, FULL)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_frame(path, dataclasses.replace(FULL, message="later"))
    assert os.listdir(tmp_path) == ["f.npz"] and read_frame(path).message == FULL.message


@pytest.mark.parametrize("size", [0, 1, 100, 2000, -1, -30])
def test_a_torn_frame_is_refused(tmp_path, size):
    path = tmp_path / "f.npz"
    write_frame(path, FULL)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="damaged"):
        read_frame(path)


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    np.save(tmp_path / "b.npz", np.zeros(3))
    for name in ("a.npz", "b.npz.npy"):
        with pytest.raises(InputError, match="no frame"):
            read_frame(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_frame(tmp_path / "c.npz")

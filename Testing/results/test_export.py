"""The results folder: whole files, older results kept, clear refusals."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import pyvista as pv
import simulated_snapshots as simulated
from hypothesis import given
from hypothesis import strategies as st

from VesselFlowGSLib.errors import InputError, InstallationError, ResourceError
from VesselFlowGSLib.results import export, picture
from VesselFlowGSLib.results.export import (
    LOCK,
    SUMMARY,
    UNFINISHED,
    ResultFolder,
    read_gaussians,
    read_result,
    summary,
    write_gaussians,
    write_surface,
)
from VesselFlowGSLib.results.findings import find
from VesselFlowGSLib.results.report import report_page
from VesselFlowGSLib.results.snapshot import (
    CloudArrays,
    Figure,
    Finding,
    FindingKind,
    Polylines,
    Snapshot,
    Stage,
    Surface,
    ViewMatch,
    VolumeMesh,
)

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float) + 100.0


@pytest.fixture(autouse=True)
def quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested elsewhere."""
    monkeypatch.setattr(picture, "report_picture", lambda snapshot, path: Path(path).write_bytes(b"\x89PNG"))


def snapshot(stage: Stage = Stage.DONE, speed: float = 0.5, solved: bool = True) -> Snapshot:
    rng = np.random.default_rng(0)
    quaternion = rng.normal(size=(5, 4))
    cloud = CloudArrays(
        rng.normal(size=(5, 3)), rng.random((5, 3)) + 0.1, quaternion / np.linalg.norm(quaternion, axis=1)[:, None],
        rng.random(5), rng.random(5), np.array([0.1, np.nan, 0.2, 0.3, np.nan]),
    )  # fmt: skip
    arrays = {"pressure": np.arange(4.0), "wss": np.arange(4.0), "confidence": np.ones(4)}
    wall = Surface(CORNERS, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2]]), arrays if solved else {})
    line = Polylines(CORNERS, np.array([0, 2, 4]), {"radius_mm": np.ones(4), "branch_id": np.array([0.0, 0, 1, 1])})
    flow = {"velocity": np.full((4, 3), speed), "pressure": np.arange(4.0)}
    mesh = VolumeMesh(CORNERS, np.arange(4), np.array([0, 4]), np.array([10], np.uint8), flow)
    lines = Polylines(CORNERS, np.array([0, 4]), {"velocity": np.full((4, 3), speed), "speed": np.full(4, speed)})
    return Snapshot(
        stage, 1.0, "x", cloud, wall, line, mesh if solved else None, lines if solved else None,
        {"mean_inflow": Figure(speed, "ml/s", "estimated", (0.4, 0.6))},
        {"branches": np.int64(2), "volume_ml": float("nan")},
        {"status": "solved"} if solved else {"status": "unknown", "why": "no contrast arrives"},
        ("a warning",), {"seed": 0, "inputs": {"runs": ["a.dcm"]}, "backend": "reference"}, timings_s={"geometry": 1.5},
    )  # fmt: skip


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


WHOLE = {
    "field.vtu", "surface.vtp", "centerline.vtp", "streamlines.vtp", "gaussians.ply", SUMMARY,
    "report.png", "report.html",
}  # fmt: skip


def test_a_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    with ResultFolder(tmp_path / "out") as folder:
        folder.write(snapshot())
    assert names(tmp_path / "out") == WHOLE
    back, there = read_result(tmp_path / "out"), snapshot()
    for part in ("surface", "field", "centreline", "streamlines"):
        read, written = getattr(back, part), getattr(there, part)
        assert np.allclose(read.points, written.points, atol=1e-5)
        assert set(read.arrays) == set(written.arrays)
        for name, values in written.arrays.items():
            assert read.arrays[name].dtype == np.float32
            assert np.allclose(read.arrays[name], values)
    assert np.array_equal(back.surface.triangles, there.surface.triangles)
    assert np.array_equal(back.field.connectivity, there.field.connectivity)
    assert back.centreline.offsets.tolist() == [0, 2, 4]
    assert np.allclose(back.cloud.mean, there.cloud.mean, atol=1e-6)
    assert np.array_equal(np.isnan(back.cloud.arrival_s), np.isnan(there.cloud.arrival_s))
    assert back.cloud.velocity is None
    assert back.figures == there.figures
    assert back.flow_status == there.flow_status
    assert back.warnings == there.warnings


def test_findings_and_views_read_back_without_their_regions(tmp_path: Path) -> None:
    finding = Finding(FindingKind.JET, "A jet.", np.array([1.0, -2.5, 3.125]), 2.0, 0.61, "m/s", snapshot().surface)
    words = {"runs": {"dsa_1.dcm": {"match": 0.98, "shift_left_px": 0.01}, "dsa_2.dcm": {"match": None}}}
    with ResultFolder(tmp_path) as folder:
        folder.write(dataclasses.replace(snapshot(), findings=(finding,), geometry=words))
    back = read_result(tmp_path)
    (found,) = back.findings
    assert (found.kind, found.text, found.radius_mm, found.value, found.unit, found.region) == (
        FindingKind.JET, "A jet.", 2.0, 0.61, "m/s", None,
    )  # fmt: skip
    assert found.centre.tolist() == [1.0, -2.5, 3.125]
    assert back.views == (ViewMatch("dsa_1.dcm", 0.98, 0.01),)
    assert "findings" not in back.provenance
    # Of an older result, or of a newer one with a kind that is not known here.
    told = json.loads((tmp_path / SUMMARY).read_text())
    told["findings"][0]["kind"] = "something new"
    (tmp_path / SUMMARY).write_text(json.dumps(told))
    assert read_result(tmp_path).findings == ()
    del told["findings"]
    (tmp_path / SUMMARY).write_text(json.dumps(told))
    assert read_result(tmp_path).findings == ()


def test_what_is_found_in_the_files_is_what_was_found_before(tmp_path: Path) -> None:
    there = simulated.stenosed_tube(triangles=3000)
    there = dataclasses.replace(there, findings=find(there), warnings=())
    with ResultFolder(tmp_path) as folder:
        folder.write(there)
    back = read_result(tmp_path)
    assert [f.text for f in back.findings] == [f.text for f in there.findings]
    # The files hold single precision.
    assert [(f.kind, f.unit) for f in find(back)] == [(f.kind, f.unit) for f in there.findings]
    assert [f.value for f in find(back)] == pytest.approx([f.value for f in there.findings], rel=1e-3)


def test_files_say_their_frame_and_hold_single_precision(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    for name in ("field.vtu", "surface.vtp", "centerline.vtp", "streamlines.vtp"):
        data = pv.read(tmp_path / name)
        assert str(data.field_data["SPACE"][0]) == "LPS"
        assert data.points.dtype == np.float32
        assert all(data.point_data[a].dtype == np.float32 for a in data.array_names if a != "SPACE")


def test_the_summary_follows_its_schema(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads((tmp_path / SUMMARY).read_text(), parse_constant=refuse)
    assert found["schema"] == 1
    assert found["figures"]["mean_inflow"] == {
        "value": 0.5, "unit": "ml/s", "interval_90": [0.4, 0.6], "origin": "estimated",
    }  # fmt: skip
    assert found["geometry"] == {"branches": 2, "volume_ml": None}
    assert found["flow"] == {"status": "solved"}
    assert {"inputs", "settings", "versions", "seed", "backend", "timings_s", "warnings"} <= set(found)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
))  # fmt: skip
def test_any_provenance_becomes_json(content: object) -> None:
    whole = summary(Snapshot(Stage.GEOMETRY, 0.1, "x", provenance={"settings": content}))
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole


def test_unknown_flow_leaves_no_field_behind(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot(solved=False))
    assert names(tmp_path) == WHOLE - {"field.vtu", "streamlines.vtp"}
    assert json.loads((tmp_path / SUMMARY).read_text())["flow"] == {"status": "unknown", "why": "no contrast arrives"}


def test_without_an_older_result_stages_appear_at_once(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot(Stage.GEOMETRY, solved=False))
        assert "surface.vtp" in names(tmp_path)
        assert not {"report.png", UNFINISHED} & names(tmp_path)
        folder.write(snapshot())
    assert names(tmp_path) == WHOLE


def test_an_older_result_stays_until_a_finished_one_comes(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot(speed=0.5))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), ResultFolder(tmp_path) as folder:
        folder.write(snapshot(Stage.FIRST_FLOW, speed=0.9))
        raise KeyboardInterrupt
    assert names(tmp_path) == WHOLE | {UNFINISHED}
    assert {n: (tmp_path / n).read_bytes() for n in WHOLE} == before
    assert read_result(tmp_path / UNFINISHED).figures["mean_inflow"].value == 0.9
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot(Stage.GEOMETRY, speed=0.7))
        assert read_result(tmp_path).figures["mean_inflow"].value == 0.5
        folder.write(snapshot(speed=0.7))
        assert folder.target == tmp_path
    assert names(tmp_path) == WHOLE
    assert read_result(tmp_path).figures["mean_inflow"].value == 0.7


def test_an_interrupted_first_run_keeps_what_it_computed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ResultFolder(tmp_path) as folder:
        folder.write(snapshot(Stage.GEOMETRY, solved=False))
        raise KeyboardInterrupt
    assert names(tmp_path) == {"surface.vtp", "centerline.vtp", "gaussians.ply", SUMMARY}
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    assert names(tmp_path) == WHOLE


def test_a_run_stopped_at_its_first_files_can_go_on_in_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = dataclasses.replace(snapshot(Stage.GEOMETRY), checkpoint={"seed": np.arange(3)})

    def stopped(path: Path, surface: Surface) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(export, "write_surface", stopped)
        with pytest.raises(KeyboardInterrupt), ResultFolder(out) as result:
            result.write(first)
    left = names(out)
    assert "checkpoint.npz" in left and "surface.vtp" not in left and "summary.json" not in left
    assert not any("part" in name for name in os.listdir(out))
    with ResultFolder(out) as result:
        result.write(snapshot())
    assert "surface.vtp" in names(out) and not (out / export.LOCK).exists()


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, cloud: CloudArrays) -> None:
        path.write_bytes(b"ply\n")
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_gaussians", interrupted)
    with pytest.raises(KeyboardInterrupt), ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    assert names(tmp_path) == set()


def test_files_of_others_are_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt.*-o"), ResultFolder(tmp_path):
        pass
    assert names(tmp_path) == {"thesis.txt"}


def test_notes_beside_our_result_stay(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    (tmp_path / "notes.txt").write_text("mine")
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot(solved=False))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_summary_of_another_program_is_no_result_of_ours(tmp_path: Path) -> None:
    (tmp_path / SUMMARY).write_text('{"schema": 1}')
    with pytest.raises(InputError), ResultFolder(tmp_path):
        pass
    with pytest.raises(InputError, match="no result"):
        read_result(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"), ResultFolder(tmp_path / "out"):
        pass
    with pytest.raises(InputError, match="Cannot write"), ResultFolder(tmp_path / "out" / "deeper"):
        pass


def test_an_unwritable_folder_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(export, "_take_lock", denied)
    with pytest.raises(InputError, match="Permission denied.*-o"), ResultFolder(tmp_path):
        pass


def test_a_refused_study_leaves_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError), ResultFolder(tmp_path / "out"):
        raise InputError("the study is wrong")
    assert not (tmp_path / "out").exists()


def _hold(out: str, ready: multiprocessing.synchronize.Event, go: multiprocessing.synchronize.Event) -> None:
    with ResultFolder(out):
        ready.set()
        go.wait(60)


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    other.start()
    assert ready.wait(60)
    with pytest.raises(InputError, match="Another run"), ResultFolder(tmp_path):
        pass
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    # The lock of a process that was killed holds nobody up.
    assert LOCK in names(tmp_path)
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    assert names(tmp_path) == WHOLE


@pytest.mark.parametrize("limit", [100, 1500, 60_000])
def test_a_full_disk_leaves_no_partial_file(tmp_path: Path, limit: int) -> None:
    big = np.random.default_rng(0).normal(size=(20_000, 3))
    whole = dataclasses.replace(snapshot(), streamlines=Polylines(big, np.array([0, len(big)]), {"speed": big[:, 0]}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # A write past the limit fails as one on a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(ResourceError, match="full"), ResultFolder(tmp_path) as folder:
            folder.write(whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not any(".part" in n for n in names(tmp_path))
    assert "streamlines.vtp" not in names(tmp_path)
    for name in names(tmp_path):
        if name.endswith(".vtp"):
            assert (tmp_path / name).read_bytes().rstrip().endswith(b"</VTKFile>")


def test_no_value_in_surface_and_field_is_nan(tmp_path: Path) -> None:
    whole = snapshot()
    wss = np.array([1.0, np.nan, np.inf, 2.0])
    velocity = np.full((4, 3), 0.5)
    velocity[2, 1] = np.nan
    broken = dataclasses.replace(
        whole,
        surface=dataclasses.replace(whole.surface, arrays={"wss": wss}),
        field=dataclasses.replace(whole.field, arrays={"velocity": velocity}),
    )
    with ResultFolder(tmp_path) as folder:
        folder.write(broken)
    back = read_result(tmp_path)
    assert np.isfinite(back.surface.arrays["wss"]).all()
    assert np.isfinite(back.field.arrays["velocity"]).all()
    assert sum("not finite" in w for w in back.warnings) == 2


def test_gaussians_round_trip_with_flow(tmp_path: Path) -> None:
    cloud = dataclasses.replace(snapshot().cloud, velocity=np.ones((5, 3)), pressure=np.arange(5.0))
    write_gaussians(tmp_path / "gaussians.ply", cloud)
    back = read_gaussians(tmp_path / "gaussians.ply")
    for name in ("mean", "sigma", "quaternion", "attenuation", "occupancy", "velocity", "pressure"):
        assert np.allclose(getattr(back, name), getattr(cloud, name), atol=1e-6), name
    # Any reader of PLY sees the points.
    assert np.allclose(pv.read(tmp_path / "gaussians.ply").points, cloud.mean, atol=1e-6)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    for name in ("surface.vtp", "field.vtu", "gaussians.ply"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match=name):
            read_result(tmp_path)
        (tmp_path / name).write_bytes(content)


def test_a_machine_that_cannot_draw_still_gets_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(*_: object) -> None:
        raise InstallationError("libEGL.so.1 is missing")

    monkeypatch.setattr(picture, "report_picture", no_library)
    with ResultFolder(tmp_path) as folder:
        folder.write(snapshot())
    assert names(tmp_path) == WHOLE - {"report.png"}
    assert any("libEGL" in w for w in json.loads((tmp_path / SUMMARY).read_text())["warnings"])


def test_surfaces_keep_their_precision_in_patient_coordinates(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-300, 300, (50, 3))
    write_surface(tmp_path / "s.vtp", Surface(points, np.arange(48).reshape(-1, 3)))
    assert np.abs(pv.read(tmp_path / "s.vtp").points - points).max() < 2e-5


@given(st.text(min_size=1, max_size=40))
def test_the_page_escapes_every_text(text: str) -> None:
    shown = dataclasses.replace(
        snapshot(), warnings=(f"<script>{text}</script>",),
        provenance={"settings": {"<b>": f"<i>{text}"}, "seed": "<s>"},
        flow_status={"status": "unknown", "why": f"<u>{text}"}, figures={"<em>": Figure(1.0, "<q>", "<a>")},
    )  # fmt: skip
    page = report_page(shown, b"\x89PNG")
    body = page.partition("<body>")[2]
    assert not any(tag in body for tag in ("<script", "<b>", "<i>", "<s>", "<u>", "<em>", "<q>", "<a>"))
    assert "research use" in page
    assert "data:image/png;base64," in page

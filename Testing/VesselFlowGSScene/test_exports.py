"""Exported files, each read by a reader that is not ours: the places, the signs of the velocities, the numbers."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated_snapshots

pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLUnstructuredGridReader

from VesselFlowGSLib.errors import InputError
from VesselFlowGSLib.results.export import ResultFolder, read_gaussians
from VesselFlowGSLib.results.snapshot import FindingKind, Snapshot
from VesselFlowGSScene import exports
from VesselFlowGSScene.appearance import Appearance
from VesselFlowGSScene.case import Case, Role
from VesselFlowGSScene.exports import FILES, Kind
from VesselFlowGSScene.frames import lps_of, ras_of
from VesselFlowGSScene.show import show

FILES_ONLY = [kind for kind in Kind if kind is not Kind.SCENE]


@pytest.fixture(scope="module")
def tube() -> Snapshot:
    return simulated_snapshots.steady_tube(triangles=1500, bend_deg=40.0)


@pytest.fixture(scope="module")
def beating() -> Snapshot:
    return simulated_snapshots.pulsatile_bifurcation(phases=4, triangles=1500, lines=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Ergebnisse für später"


@pytest.fixture
def case(scene: Any) -> Case:
    return Case.create(scene, "Vessel")


def read_xml(reader: Any, path: Path) -> Any:
    reader.SetFileName(str(path))
    reader.Update()
    assert reader.GetErrorCode() == 0
    return reader.GetOutput()


def points_of(data: Any) -> np.ndarray:
    return vtk_to_numpy(data.GetPoints().GetData())


def array_of(data: Any, name: str) -> np.ndarray:
    return vtk_to_numpy(data.GetPointData().GetArray(name))


def loaded_model(scene: Any, path: Path) -> Any:
    """A file as Slicer itself loads it."""
    node = scene.AddNewNodeByClass("vtkMRMLModelNode")
    storage = scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node.GetMesh()


def test_models_are_lps_in_the_file_and_ras_in_slicer(case: Case, folder: Path, tube: Snapshot) -> None:
    kinds = [Kind.SURFACE, Kind.FIELD, Kind.STREAMLINES]
    written = exports.export(case, tube, folder, kinds)
    assert written == [folder / FILES[kind] for kind in kinds]
    parts = (tube.surface, tube.field, tube.streamlines)
    for path, part in zip(written, parts, strict=True):
        reader = vtkXMLUnstructuredGridReader() if path.suffix == ".vtu" else vtkXMLPolyDataReader()
        data = read_xml(reader, path)
        assert data.GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"
        assert np.allclose(points_of(data), part.points, atol=1e-4)
        model = loaded_model(case.scene, path)
        assert np.allclose(points_of(model), ras_of(part.points), atol=1e-4)
        for name, values in part.arrays.items():
            assert np.allclose(array_of(data, name), values, rtol=1e-5, atol=1e-6)
            expected = ras_of(values) if np.ndim(values) == 2 else values
            assert np.allclose(array_of(model, name), expected, rtol=1e-5, atol=1e-6), f"{path.name}: {name}"


def test_models_saved_by_slicer_itself_hold_lps(case: Case, tmp_path: Path, tube: Snapshot) -> None:
    """What a person saves from the scene by hand: the file agrees with the engine, and comes back as it was."""
    show(case, tube, Appearance(glyphs=True, glyph_count=50, gaussians=True, centreline=True))
    for role in (Role.GLYPHS, Role.STREAMLINES, Role.GAUSSIANS, Role.LUMEN):
        node = case.get(role)
        path = tmp_path / f"{role.name}.vtp"
        storage = case.scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
        storage.SetFileName(str(path))
        assert storage.WriteData(node)
        data = read_xml(vtkXMLPolyDataReader(), path)
        held = node.GetPolyData()
        assert np.allclose(points_of(data), lps_of(points_of(held)), atol=1e-4)
        back = loaded_model(case.scene, path)
        assert np.allclose(points_of(back), points_of(held), atol=1e-4)
        for k in range(held.GetPointData().GetNumberOfArrays()):
            name, values = held.GetPointData().GetArrayName(k), vtk_to_numpy(held.GetPointData().GetArray(k))
            if values.ndim == 2 and name.startswith("Velocity"):
                assert np.allclose(array_of(data, name), lps_of(values), atol=1e-6), f"{role}: {name} in the file"
                assert np.allclose(array_of(back, name), values, atol=1e-6), f"{role}: {name} read back"


def test_the_velocity_grid_agrees_with_the_field_in_other_programs(case: Case, folder: Path, tube: Snapshot) -> None:
    sitk = pytest.importorskip("SimpleITK")
    (path,) = exports.export(case, tube, folder, [Kind.VELOCITY_GRID])
    image = sitk.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == 3
    assert tube.centreline is not None and tube.streamlines is not None
    middle = np.asarray(tube.centreline.points[len(tube.centreline.points) // 2], float)
    tangent = np.gradient(np.asarray(tube.centreline.points, float), axis=0)[len(tube.centreline.points) // 2]
    there = np.array(image.GetPixel(image.TransformPhysicalPointToIndex([float(x) for x in middle])))
    assert tube.field is not None
    nearest = np.argmin(np.linalg.norm(tube.field.points - middle, axis=1))
    assert np.allclose(there, tube.field.arrays["velocity"][nearest], rtol=0.1, atol=0.02)
    assert there @ tangent > 0.95 * np.linalg.norm(there) * np.linalg.norm(tangent)
    outside = np.min(tube.field.points, axis=0) + 0.01
    corner = image.GetPixel(image.TransformPhysicalPointToIndex([float(x) for x in outside]))
    assert corner == (0.0, 0.0, 0.0)


def test_the_velocity_grid_agrees_with_the_field_in_slicer(case: Case, folder: Path, tube: Snapshot) -> None:
    (path,) = exports.export(case, tube, folder, [Kind.VELOCITY_GRID])
    node = case.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode")
    storage = case.scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    assert tube.centreline is not None and tube.field is not None
    middle = np.asarray(tube.centreline.points[len(tube.centreline.points) // 2], float)
    to_index = np.linalg.inv(slicer.util.arrayFromVTKMatrix(_ijk_to_ras(node)))
    i, j, k = np.round(to_index @ [*ras_of(middle), 1.0])[:3].astype(int)
    nearest = np.argmin(np.linalg.norm(tube.field.points - middle, axis=1))
    expected = ras_of(tube.field.arrays["velocity"][nearest])
    assert np.allclose(slicer.util.arrayFromVolume(node)[k, j, i], expected, rtol=0.1, atol=0.02)


def _ijk_to_ras(node: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_the_flow_through_the_grid_is_the_tubes(case: Case, folder: Path) -> None:
    """A straight vessel: the grid's values summed over a section across the vessel give its flow."""
    sitk = pytest.importorskip("SimpleITK")
    straight = simulated_snapshots.steady_tube(triangles=3000)
    (path,) = exports.export(case, straight, folder, [Kind.VELOCITY_GRID])
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image)
    # the flux through all planes z = const in the vessel's middle third
    middle = slice(len(values) * 2 // 5, len(values) * 3 // 5)
    flow = values[middle, :, :, 2].sum(axis=(1, 2)) * image.GetSpacing()[0] * image.GetSpacing()[1]
    assert np.mean(flow) == pytest.approx(2.0, rel=0.03)


def test_tables_hold_the_numbers(case: Case, folder: Path, beating: Snapshot) -> None:
    exports.export(case, beating, folder, [Kind.CENTRELINE, Kind.FIGURES, Kind.FIGURES_JSON])
    with open(folder / FILES[Kind.CENTRELINE], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    line = beating.centreline
    assert line is not None and len(rows) == len(line.points)
    places = np.array([[float(row[f"{axis}_lps_mm"]) for axis in "xyz"] for row in rows])
    assert np.allclose(places, line.points, atol=1e-4)
    for name in ("radius_mm", "pressure_pa", "flow_ml_s"):
        assert np.allclose([float(row[name]) for row in rows], line.arrays[name], rtol=1e-5)
    starts = [int(x) for x in line.offsets[:-1]]
    assert [rows[k]["branch"] for k in starts] == [str(k + 1) for k in range(len(starts))]
    assert all(float(rows[k]["arc_length_mm"]) == 0 for k in starts)
    with open(folder / FILES[Kind.FIGURES], encoding="utf-8", newline="") as file:
        figures = {row["figure"]: row for row in csv.DictReader(file)}
    held = json.loads((folder / FILES[Kind.FIGURES_JSON]).read_text(encoding="utf-8"))
    for name, figure in beating.figures.items():
        assert float(figures[name]["value"]) == figure.value == held["figures"][name]["value"]
        assert figures[name]["unit"] == figure.unit and figures[name]["origin"] == figure.origin
        if figure.interval_90 is not None:
            assert (float(figures[name]["from_90"]), float(figures[name]["to_90"])) == figure.interval_90


def test_gaussians_keep_place_and_velocity(case: Case, folder: Path, tube: Snapshot) -> None:
    (path,) = exports.export(case, tube, folder, [Kind.GAUSSIANS])
    cloud = read_gaussians(path)
    assert tube.cloud is not None and tube.cloud.velocity is not None
    assert np.allclose(cloud.mean, tube.cloud.mean, atol=1e-4)
    assert np.allclose(cloud.velocity, tube.cloud.velocity, atol=1e-6)
    assert b"SPACE=LPS" in path.read_bytes()[:200]


def test_a_phase_is_exported_as_that_instant(case: Case, folder: Path, beating: Snapshot) -> None:
    exports.export(case, beating, folder, [Kind.SURFACE, Kind.FIELD], phase=2)
    data = read_xml(vtkXMLPolyDataReader(), folder / FILES[Kind.SURFACE])
    assert np.allclose(array_of(data, "pressure"), beating.phases[2].surface["pressure"], rtol=1e-5, atol=1e-4)
    assert np.allclose(array_of(data, "confidence"), beating.surface.arrays["confidence"], rtol=1e-5)  # type: ignore[union-attr]
    data = read_xml(vtkXMLUnstructuredGridReader(), folder / FILES[Kind.FIELD])
    assert np.allclose(array_of(data, "velocity"), beating.phases[2].field["velocity"], rtol=1e-4, atol=1e-6)


def test_what_is_not_known_yet_is_left_out(case: Case, folder: Path, tube: Snapshot) -> None:
    early = simulated_snapshots.without_flow(tube)
    written = exports.export(case, early, folder, FILES_ONLY)
    assert {path.name for path in written} == {
        FILES[kind] for kind in (Kind.SURFACE, Kind.CENTRELINE, Kind.FIGURES, Kind.FIGURES_JSON, Kind.GAUSSIANS)
    }
    with pytest.raises(InputError, match="Choose something else"):
        exports.export(case, early, folder, [Kind.FIELD])


def test_a_second_export_replaces_the_first_and_leaves_no_parts(case: Case, folder: Path, tube: Snapshot) -> None:
    exports.export(case, tube, folder, FILES_ONLY)
    before = {path.name for path in folder.iterdir()}
    exports.export(case, tube, folder, FILES_ONLY)
    assert {path.name for path in folder.iterdir()} == before == {FILES[kind] for kind in FILES_ONLY}


def test_a_folder_that_is_a_file_is_told(case: Case, tmp_path: Path, tube: Snapshot) -> None:
    place = tmp_path / "file"
    place.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="Choose another folder"):
        exports.export(case, tube, place, [Kind.SURFACE])


def test_the_grid_stays_below_its_limit(tube: Snapshot) -> None:
    settings = exports.GridSettings(most_points=2000)
    spacing = exports.grid_spacing_mm(tube, settings)
    assert tube.field is not None
    values, _ = exports.velocity_grid(tube.field, spacing)
    assert values[..., 0].size < 4000
    in_parts, _ = exports.velocity_grid(tube.field, spacing, dataclasses.replace(settings, cells_per_step=500))
    assert np.allclose(in_parts, values, atol=1e-6)
    assert exports.grid_spacing_mm(tube) == pytest.approx(2 * 1.6 / 12, rel=0.01)


def test_a_result_is_read_with_its_phases(tmp_path: Path, beating: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    from VesselFlowGSLib.results import export as files

    monkeypatch.setattr(files, "_write_reports", lambda snapshot, folder: (snapshot, set()))
    with ResultFolder(tmp_path / "out") as out:
        out.write(beating)
    assert len(exports.snapshot_of_result(tmp_path / "out").phases) in (0, len(beating.phases))
    assert beating.field is not None
    names = []
    for k, phase in enumerate(beating.phases):
        mesh = dataclasses.replace(beating.field, arrays={**beating.field.arrays, **phase.field})
        files.write_volume(tmp_path / "out" / f"field_{k}.vtu", mesh)
        names.append(f"field_{k}.vtu")
    series = {"times_s": [phase.time_s for phase in beating.phases], "files": names}
    (tmp_path / "out" / exports.SERIES).write_text(json.dumps(series), encoding="utf-8")
    back = exports.snapshot_of_result(tmp_path / "out")
    assert [phase.time_s for phase in back.phases] == pytest.approx([phase.time_s for phase in beating.phases])
    for read, written in zip(back.phases, beating.phases, strict=True):
        assert np.allclose(read.field["velocity"], written.field["velocity"], atol=1e-6)
    for bad in ({"times_s": [0.0], "files": names}, {"times_s": [0.0], "files": ["../other.vtu"]}, {"files": []}):
        (tmp_path / "out" / exports.SERIES).write_text(json.dumps(bad), encoding="utf-8")
        with pytest.raises(InputError, match="Run the reconstruction again"):
            exports.snapshot_of_result(tmp_path / "out")


def test_in_a_result_is_pointed_out_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from VesselFlowGSLib.results import export as files

    monkeypatch.setattr(files, "_write_reports", lambda snapshot, folder: (snapshot, set()))
    with ResultFolder(tmp_path) as out:
        out.write(simulated_snapshots.stenosed_tube(part=0.5, triangles=1500))
    found = [f for f in exports.snapshot_of_result(tmp_path).findings if f.kind is FindingKind.STENOSIS]
    assert len(found) == 1 and found[0].value == pytest.approx(50, abs=4)


def test_a_folder_without_a_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no result"):
        exports.snapshot_of_result(tmp_path)

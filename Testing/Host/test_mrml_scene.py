"""The scene that other tests are given behaves as the application's."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs MRML: pip install slicer-core")


def test_nodes_of_all_modules_are_known(scene):
    for name in "Model SegmentationNode SequenceBrowserNode MarkupsPlaneNode TableNode PlotChartNode".split():
        name = name if name.endswith("Node") else f"{name}Node"
        assert scene.AddNewNodeByClass(f"vtkMRML{name}") is not None


def test_utilities_of_slicer_use_this_scene(scene):
    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.float32), name="volume")
    assert volume.GetScene() is scene is slicer.mrmlScene
    assert slicer.util.getNode("volume") is volume
    assert slicer.modules.sequences.logic().GetMRMLScene() is scene


def test_a_scene_starts_empty(scene):
    assert slicer.util.getNodesByClass("vtkMRMLModelNode", scene) == []
    scene.AddNewNodeByClass("vtkMRMLModelNode")


def test_another_scene_starts_empty_too(scene):
    assert slicer.util.getNodesByClass("vtkMRMLModelNode", scene) == []


def test_a_bundle_is_written_and_read(scene, tmp_path):
    slicer.util.addVolumeFromArray(np.arange(24, dtype=np.float32).reshape(2, 3, 4), name="volume")
    bundle = str(tmp_path / "Fall ä.mrb")
    assert scene.WriteToMRB(bundle)
    scene.Clear(0)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene) == []
    assert scene.ReadFromMRB(bundle, True)
    assert slicer.util.arrayFromVolume(slicer.util.getNode("volume"))[1, 2, 3] == 23

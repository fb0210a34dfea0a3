"""A case finds its nodes and its folder again, and goes without a trace."""

from __future__ import annotations

from typing import Any

import slicer

from VesselFlowGSScene.case import Case, Role


def test_nodes_are_found_by_role(scene: Any) -> None:
    case = Case.create(scene, "Vessel")
    lumen = case.put(Role.LUMEN, "vtkMRMLModelNode")
    again = Case.all_in(scene)[0]
    assert again.get(Role.LUMEN).GetID() == lumen.GetID()
    assert again.put(Role.LUMEN, "vtkMRMLModelNode").GetID() == lumen.GetID()


def test_cases_are_independent(scene: Any) -> None:
    first, second = Case.create(scene, "Vessel"), Case.create(scene, "Vessel")
    assert first.name != second.name
    assert first.folder != second.folder
    kept = second.put(Role.LUMEN, "vtkMRMLModelNode")
    first.put(Role.LUMEN, "vtkMRMLModelNode")
    first.remove()
    assert [case.name for case in Case.all_in(scene)] == [second.name]
    assert second.get(Role.LUMEN).GetID() == kept.GetID()


def test_a_removed_case_leaves_the_inputs(scene: Any) -> None:
    before = scene.GetNumberOfNodes()
    case = Case.create(scene, "Vessel")
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CTA")
    case.set(Role.VOLUME, volume)
    case.put(Role.GLYPHS, "vtkMRMLModelNode")
    case.remove()
    assert scene.GetFirstNodeByName("CTA") is not None
    # the subject hierarchy node itself is made with the first case
    assert scene.GetNumberOfNodes() <= before + 2


def test_nodes_lie_in_the_folder_of_their_case(scene: Any) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    case = Case.create(scene, "Vessel")
    lumen = case.put(Role.LUMEN, "vtkMRMLModelNode")
    helper = case.put(Role.KEPT_FIELD, "vtkMRMLModelNode", hidden=True)
    assert tree.GetItemParent(tree.GetItemByDataNode(lumen)) == case.folder
    assert tree.GetItemName(case.folder) == case.name
    assert helper.GetHideFromEditors()


def test_a_folder_that_was_removed_is_made_anew(scene: Any) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    case = Case.create(scene, "Vessel")
    tree.RemoveItem(case.folder)
    lumen = case.put(Role.LUMEN, "vtkMRMLModelNode")
    assert tree.GetItemParent(tree.GetItemByDataNode(lumen)) == case.folder

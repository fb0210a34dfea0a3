"""One case in the scene: its subject-hierarchy folder and its nodes, found again by their roles after a reload."""

from __future__ import annotations

from enum import Enum
from typing import Any

import slicer
import vtk

MARK = "VesselFlowGS.Case"
RESULT, ASIDE = "result", "aside"


class Role(str, Enum):
    """What a node is for in its case."""

    VOLUME = "volume"
    LUMEN = "lumen"
    CENTRELINE = "centreline"
    GLYPHS = "velocity arrows"
    STREAMLINES = "streamlines"
    PARTICLES = "particles"
    GAUSSIANS = "Gaussians"
    FINDINGS = "findings"
    FINDING_LABELS = "finding labels"
    CUT_PLANE = "cut plane"
    CUT_SECTION = "cut section"
    PROBE = "probe"
    BROWSER = "time"
    LUMEN_SERIES = "lumen over time"
    GLYPH_SERIES = "velocity arrows over time"
    STREAMLINE_SERIES = "streamlines over time"
    COURSE_SERIES = "course along the centreline over time"
    CURSOR_TABLE = "time cursor"
    CURSOR_SERIES = "time cursor over time"
    FILM_SERIES = "DSA over time"
    FILM_VOLUMES = "DSA of the time"
    COURSE_TABLE = "course along the centreline"
    FLOW_TABLE = "flow over time"
    FIGURES_TABLE = "figures"
    PRESSURE_CHART = "pressure along the centreline"
    AREA_CHART = "area along the centreline"
    FLOW_CHART = "flow over time (chart)"
    CONVERGENCE_TABLE = "convergence"
    CONVERGENCE_CHART = "convergence (chart)"
    CURVES = "curve of a chart"
    FILMED = "DSA frame"
    OVERLAY = "projected lumen"
    KEPT_FIELD = "field"
    KEPT_SURFACE = "wall data"
    KEPT_CENTRELINE = "centreline data"
    KEPT_STREAMLINES = "streamline data"
    KEPT_CLOUD = "Gaussian data"
    KEPT_SUMMARY = "summary"


class Case:
    """The nodes of one reconstruction. Everything it knows lies in the scene: make it anew whenever it is needed.

    node  a hidden vtkMRMLScriptedModuleNode whose references hold the roles; saved with the scene
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    @classmethod
    def create(cls, scene: Any, name: str, aside: bool = False) -> Case:
        """A new case with its folder, named so that no other case of the scene has the name.

        aside  it holds no result, but what is looked at before there is one
        """
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetName(scene.GenerateUniqueName(name))
        node.SetModuleName("VesselFlowGS")
        node.SetAttribute(MARK, ASIDE if aside else RESULT)
        node.SetHideFromEditors(True)
        node = scene.AddNode(node)
        case = cls(node)
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        folder = tree.CreateFolderItem(tree.GetSceneItemID(), node.GetName())
        tree.SetItemAttribute(folder, MARK, node.GetID())
        return case

    @classmethod
    def all_in(cls, scene: Any, aside: bool = False) -> list[Case]:
        """The cases of a scene, oldest first; aside: those that hold no result instead."""
        return [
            cls(node)
            for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode", scene)
            if node.GetAttribute(MARK) == (ASIDE if aside else RESULT)
        ]

    @property
    def scene(self) -> Any:
        return self.node.GetScene()

    @property
    def name(self) -> str:
        return str(self.node.GetName())

    @property
    def folder(self) -> int:
        """The case's item in the subject hierarchy; made anew where somebody removed it."""
        tree = self._tree
        # where the case's nodes lie: ids and names may be another case's after a scene was read into this one
        for role in Role:
            for node in self.all(role) if role is not Role.VOLUME else ():
                parent = tree.GetItemParent(tree.GetItemByDataNode(node)) if tree.GetItemByDataNode(node) else 0
                if parent and tree.GetItemAttribute(parent, MARK):
                    tree.SetItemAttribute(parent, MARK, self.node.GetID())
                    return int(parent)
        for item in _items_below(tree, tree.GetSceneItemID()):
            if tree.GetItemAttribute(item, MARK) == self.node.GetID():
                return item
        item = int(tree.CreateFolderItem(tree.GetSceneItemID(), self.name))
        tree.SetItemAttribute(item, MARK, self.node.GetID())
        return item

    def get(self, role: Role) -> Any | None:
        """The node of a role, or None."""
        return self.node.GetNodeReference(role.value)

    def all(self, role: Role) -> list[Any]:
        """The nodes of a role that may have several."""
        found = (
            self.node.GetNthNodeReference(role.value, k) for k in range(self.node.GetNumberOfNodeReferences(role.value))
        )
        return [node for node in found if node is not None]

    def add(self, role: Role, class_name: str, name: str, hidden: bool = False) -> Any:
        """One more node of a role that may have several."""
        node = self.scene.AddNewNodeByClass(class_name, self.scene.GenerateUniqueName(f"{self.name}: {name}"))
        node.SetHideFromEditors(hidden)
        self.node.AddNodeReferenceID(role.value, node.GetID())
        if not hidden:
            self.file(node)
        return node

    def set(self, role: Role, node: Any | None) -> None:
        """Give a node a role, and the case's folder as its place."""
        self.node.SetNodeReferenceID(role.value, node.GetID() if node is not None else None)
        if node is not None:
            self.file(node)

    def put(self, role: Role, class_name: str, hidden: bool = False) -> Any:
        """The node of a role, made where there is none. hidden: from lists and from the folder."""
        node = self.get(role)
        if node is not None and node.IsA(class_name):
            return node
        node = self.scene.AddNewNodeByClass(class_name, self.scene.GenerateUniqueName(f"{self.name}: {role.value}"))
        node.SetHideFromEditors(hidden)
        self.node.SetNodeReferenceID(role.value, node.GetID())
        if not hidden:
            self.file(node)
        return node

    def drop(self, role: Role) -> None:
        """Remove the nodes of a role from the scene, where there are any."""
        nodes = self.all(role)
        self.node.RemoveNodeReferenceIDs(role.value)
        for node in nodes:
            _remove_whole(node)

    def take_out(self, role: Role, node: Any) -> None:
        """Remove one node of a role that may have several."""
        for k in range(self.node.GetNumberOfNodeReferences(role.value)):
            if self.node.GetNthNodeReferenceID(role.value, k) == node.GetID():
                self.node.RemoveNthNodeReferenceID(role.value, k)
                break
        _remove_whole(node)

    def file(self, node: Any) -> None:
        """Put a node into the case's folder."""
        tree = self._tree
        item = tree.GetItemByDataNode(node)
        if not item:
            tree.CreateItem(self.folder, node)
        elif tree.GetItemParent(item) != self.folder:
            tree.SetItemParent(item, self.folder)

    def remove(self) -> None:
        """Remove the case with all nodes that it made; inputs of the user stay."""
        # a browser whose nodes are gone would make new ones
        self.drop(Role.BROWSER)
        for role in Role:
            if role is not Role.VOLUME:
                self.drop(role)
        tree, folder = self._tree, self.folder
        # what is still in the folder is the user's: a folder takes what it holds with it
        for item in _items_below(tree, folder):
            tree.SetItemParent(item, tree.GetItemParent(folder))
        tree.RemoveItem(folder)
        self.scene.RemoveNode(self.node)

    @property
    def _tree(self) -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)


def _remove_whole(node: Any) -> None:
    """Remove a node with the nodes that show and store it, which the scene would keep."""
    scene = node.GetScene()
    helpers = []
    if node.IsA("vtkMRMLStorableNode"):
        helpers += [node.GetNthStorageNode(k) for k in range(node.GetNumberOfStorageNodes())]
    if node.IsA("vtkMRMLDisplayableNode"):
        helpers += [node.GetNthDisplayNode(k) for k in range(node.GetNumberOfDisplayNodes())]
    scene.RemoveNode(node)
    for helper in helpers:
        if helper is not None and helper.GetScene() is scene:
            scene.RemoveNode(helper)


def _items_below(tree: Any, parent: int) -> list[int]:
    items = vtk.vtkIdList()
    tree.GetItemChildren(parent, items, True)
    return [items.GetId(k) for k in range(items.GetNumberOfIds())]

"""The scene of a running 3D Slicer. As thin as can be: this file is not reached by the tests outside Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import vtk

import slicer
from MICSLib.job import JobError, Node, Segment


class SlicerScene:
    """See :class:`MICSLib.job.Scene`."""

    def name(self, node: Node) -> str:
        """The node's name."""
        return node.GetName()

    def is_under_transform(self, node: Node) -> bool:
        """Whether the node has a parent transform."""
        return node.GetParentTransformNode() is not None

    def save_volume(self, node: Node, path: Path) -> None:
        """Write a volume, uncompressed: it is read at once and thrown away."""
        _save(node, path)

    def save_points(self, node: Node, path: Path) -> None:
        """Write a point list."""
        _save(node, path)

    def save_segments(self, node: Node, volume: Node, folder: Path) -> list[Segment]:
        """Write a mask for each segment."""
        segmentation, segments = node.GetSegmentation(), []
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        for index, key in enumerate(segmentation.GetSegmentIDs()):
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, key, volume)
            label_map = slicer.util.addVolumeFromArray(
                (mask > 0).astype("uint8"), ijkToRAS=matrix, nodeClassName="vtkMRMLLabelMapVolumeNode"
            )
            path = folder / f"segment_{index}.nrrd"
            _save(label_map, path)
            slicer.mrmlScene.RemoveNode(label_map)
            segment = segmentation.GetSegment(key)
            segments.append(Segment(path, segment.GetName(), tuple(segment.GetColor())))
        return segments

    def load_volume(self, path: Path, name: str) -> Node:
        """Load a volume without showing it."""
        return _named(slicer.util.loadVolume(str(path), {"show": False}), name)

    def load_points(self, path: Path, name: str) -> Node:
        """Load a point list."""
        return _named(slicer.util.loadMarkups(str(path)), name)

    def load_transform(self, path: Path, name: str) -> Node:
        """Load a displacement field: Slicer takes it as the transform from parent."""
        return _named(slicer.util.loadTransform(str(path)), name)

    def load_segments(self, segments: Sequence[Segment], volume: Node, name: str) -> Node:
        """Make a segmentation of masks."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for segment in segments:
            key = node.GetSegmentation().AddEmptySegment("", segment.name, segment.colour)
            label_map = slicer.util.loadLabelVolume(str(segment.path), {"show": False})
            mask = slicer.util.arrayFromVolume(label_map).copy()
            slicer.mrmlScene.RemoveNode(label_map)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, key, volume)
        return node


def _save(node: Node, path: Path) -> None:
    # An export leaves the user's node with the file that it came from.
    slicer.util.exportNode(node, str(path), {"useCompression": False})
    if not path.is_file():
        raise JobError(f"Slicer could not write {node.GetName()} into {path.parent}: is the disk full?")


def _named(node: Node, name: str) -> Node:
    node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    # The files go when the module is left: Slicer is to ask where to save the node.
    storage = node.GetStorageNode()
    if storage is not None:
        slicer.mrmlScene.RemoveNode(storage)
    return node

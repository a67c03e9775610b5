"""Three anatomical planes of a volume of any orientation: where they lie and which way up they are shown."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.image.grid import Grid

# world axes: 0 towards Left, 1 towards Posterior, 2 towards Superior (LPS)
_NAMES = {2: "axial", 1: "coronal", 0: "sagittal"}
# normal -> (horizontal, vertical axis): the patient's right on the left of the picture, anterior and superior on top
_AXES = {2: (0, 1), 1: (0, 2), 0: (1, 2)}
_EDGES = {2: ("R", "L", "A", "P"), 1: ("R", "L", "S", "I"), 0: ("A", "P", "S", "I")}


@dataclass(frozen=True)
class Plane:
    """One slice of a grid along the array axis nearest to an anatomical one, and how to turn it for display.

    ``name``: axial, coronal or sagittal. ``edges``: letters at the left, right, top and bottom of the picture.
    ``axis``, ``index``: the slice, ``array.take(index, axis)``. ``horizontal``, ``vertical``: world axes (0 L, 1 P,
    2 S). ``width_mm``, ``height_mm``: of the picture.
    """

    name: str
    edges: tuple[str, str, str, str]
    axis: int
    index: int
    horizontal: int
    vertical: int
    width_mm: float
    height_mm: float
    _transpose: bool
    _flips: tuple[bool, bool]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the picture in mm."""
        return (0.0, self.width_mm, self.height_mm, 0.0)

    def picture(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Rows and columns of this plane from a volume (X, Y, Z, ...), first row on top."""
        # np.take would first copy a volume whose memory is in ITK's order.
        return self.turn(volume[(slice(None),) * self.axis + (self.index,)])

    def turn(self, sheet: NDArray[Any]) -> NDArray[Any]:
        """Rows and columns of this plane from its own slice, whose axes are in the array's order."""
        rows = sheet.swapaxes(0, 1) if self._transpose else sheet
        return rows[:: -1 if self._flips[0] else 1, :: -1 if self._flips[1] else 1]

    def slab(self, grid: Grid, margin: int = 0) -> tuple[Grid, slice]:
        """The grid of this slice and of ``margin`` slices on both sides (as far as there are), and their range."""
        first, last = max(self.index - margin, 0), min(self.index + margin, grid.size[self.axis] - 1)
        size, corner = list(grid.size), np.zeros(3)
        size[self.axis], corner[self.axis] = last - first + 1, first
        (i, j, k), (x, y, z) = size, grid.voxel_to_world(corner).tolist()
        return dataclasses.replace(grid, size=(i, j, k), origin=(x, y, z)), slice(first, last + 1)


def world_axes(grid: Grid) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """The array axes of ``grid`` nearest to L, P and S, and whether each rises towards it."""
    letters = grid.orientation
    x, y, z = (next(c for c in range(3) if letters[c] in pair) for pair in ("LR", "PA", "SI"))
    return (x, y, z), (letters[x] == "L", letters[y] == "P", letters[z] == "S")


def three_planes(grid: Grid, voxel: NDArray[Any]) -> tuple[Plane, Plane, Plane]:
    """The axial, coronal and sagittal plane of ``grid`` nearest to a position (3,) in voxels."""
    axes, rising = world_axes(grid)
    extent = [grid.size[axes[world]] * grid.spacing[axes[world]] for world in range(3)]
    voxel = np.clip(np.rint(voxel), 0, np.array(grid.size) - 1).astype(int)
    planes = []
    for normal, (horizontal, vertical) in _AXES.items():
        down = vertical == 1  # posterior is at the bottom, superior on top
        planes.append(
            Plane(
                name=_NAMES[normal],
                edges=_EDGES[normal],
                axis=axes[normal],
                index=int(voxel[axes[normal]]),
                horizontal=horizontal,
                vertical=vertical,
                width_mm=extent[horizontal],
                height_mm=extent[vertical],
                _transpose=axes[vertical] > axes[horizontal],
                _flips=(rising[vertical] != down, not rising[horizontal]),
            )
        )
    return planes[0], planes[1], planes[2]

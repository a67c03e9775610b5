"""Structures, as radiotherapy calls organs and targets: a name and a mask each, which may overlap."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.resample import resample


@dataclass(frozen=True, eq=False)
class Structure:
    """What a structure is called, and its voxels, (X, Y, Z) bool on the grid of its set."""

    name: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class StructureSet:
    """Structures on one grid. Raises InputError if there is none or a mask is not of the grid's size."""

    grid: Grid
    structures: tuple[Structure, ...]

    def __post_init__(self) -> None:
        if not self.structures:
            raise InputError("A set of structures holds at least one, and this one has none.")
        for structure in self.structures:
            if structure.mask.shape != self.grid.size:
                raise InputError(
                    f"The mask of {structure.name} has the shape {structure.mask.shape}, not {self.grid.size}."
                )

    @classmethod
    def of_labels(cls, labels: Image, names: Mapping[int, str]) -> "StructureSet":
        """A structure for each label above 0 of a label map; one without a name is called by its number."""
        numbers = [int(number) for number in np.unique(labels.array) if number > 0]
        masks = ((names.get(number, f"label {number}"), labels.array == number) for number in numbers)
        return cls(labels.grid, tuple(Structure(name, mask) for name, mask in masks))

    def label_map(self) -> tuple[Image, dict[int, str]]:
        """One label map, in which the structures are numbered from 1 in their order, and their names by number.

        Warns where structures overlap, as a label map holds one label a voxel: the later one has it.
        """
        labels = np.zeros(self.grid.size, dtype=np.uint16)
        hidden: set[int] = set()
        for number, structure in enumerate(self.structures, 1):
            hidden.update(np.unique(labels[structure.mask]).tolist())
            labels[structure.mask] = number
        names = {number: structure.name for number, structure in enumerate(self.structures, 1)}
        if covered := [names[number] for number in sorted(hidden - {0})]:
            warnings.warn(
                f"A label map has one label a voxel: where {', '.join(covered[:5])} overlap later structures, the later one "
                "is kept.",
                stacklevel=2,
            )
        return Image(labels, self.grid), names

    def on(self, grid: Grid) -> "StructureSet":
        """The structures on another grid, each by nearest neighbour."""
        if grid.is_close(self.grid):
            return StructureSet(grid, self.structures)
        images = (Image(one.mask.astype(np.uint8), self.grid) for one in self.structures)
        masks = (resample(image, grid, nearest=True, outside=0).array > 0 for image in images)
        names = (one.name for one in self.structures)
        return StructureSet(grid, tuple(map(Structure, names, masks)))

    def warped(self, transform: Transform) -> "StructureSet":
        """The structures brought onto the grid of ``transform``, each by nearest neighbour; those out of view are left out.

        Warns of those left out; raises InputError if none comes into view.
        """
        moved = [
            Structure(one.name, transform.transform_labels(Image(one.mask.astype(np.uint8), self.grid)).array > 0)
            for one in self.structures
        ]
        if gone := [one.name for one in moved if not one.mask.any()]:
            warnings.warn(f"Nothing of {', '.join(gone)} comes into view: left out.", stacklevel=2)
        return StructureSet(transform.grid, tuple(one for one in moved if one.mask.any()))

"""Every way in which a displacement on a grid can fold, one determinant each, in millimetres of the world.

A determinant is that of three differences between neighbours. They are taken in millimetres, where those of a stored field are
exact in float32 (positions and voxels are not), and where an oblique or left-handed grid needs no case of its own: in voxels the
determinant is the same, divided by that of a step along each axis.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mics.deformation.jacobian import triple_product
from mics.deformation.slabs import Box
from mics.threads import side_by_side

Corner = tuple[int, ...]

# Three edges of each tetrahedron of a cell, from corner to corner: four at corners and one in the middle, in two ways (Liu et al.
# 2024, see `mics.deformation.jacobian`). The one in the middle is twice the volume of the others.
TETRAHEDRA: list[tuple[tuple[Corner, Corner], ...]] = [
    *(
        (((0, j, k), (1, j, k)), ((i, 0, k), (i, 1, k)), ((i, j, 0), (i, j, 1)))
        for i, j, k in product((0, 1), repeat=3)
    ),
    (((0, 0, 0), (1, 1, 0)), ((0, 0, 0), (0, 1, 1)), ((0, 0, 0), (1, 0, 1))),
    (((0, 0, 1), (1, 1, 1)), ((1, 0, 0), (1, 1, 1)), ((0, 1, 0), (1, 1, 1))),
]
VOLUMES = [1.0] * 8 + [2.0] * 2
CENTRAL = len(TETRAHEDRA)
"""The number of the determinant by central differences, after those of the tetrahedra."""

# What fits into the processor's cache is looked at five times as fast.
_PIECE_VOXELS = 100_000


@dataclass(frozen=True, eq=False)
class Field:
    """A displacement (X, Y, Z, 3) in world mm; ``axes_mm`` (3, 3): column c goes from a voxel to the next along axis c."""

    displacement_mm: NDArray[np.float32]
    axes_mm: NDArray[np.float64]

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along the array axes."""
        x, y, z = self.displacement_mm.shape[:3]
        return x, y, z

    @property
    def everywhere(self) -> list[Box]:
        """The grid as one box."""
        return [tuple(slice(0, n) for n in self.size)]


@dataclass(frozen=True, eq=False)
class FoldIndex:
    """Which determinants of a field: the kind of each, (N,) int8, and its voxel's flat index, (N,) int64; sorted, none twice.

    Kinds 0 to 9 are the tetrahedra of the cell whose first corner is the voxel, :data:`CENTRAL` is by central differences.
    """

    kind: NDArray[np.int8]
    voxel: NDArray[np.int64]

    @classmethod
    def by_kind(cls, voxels: Sequence[NDArray[np.int64]]) -> "FoldIndex":
        """An index of the voxels of each kind in turn, sorted."""
        kind = np.repeat(np.arange(len(voxels), dtype=np.int8), [one.size for one in voxels])
        return cls(kind, np.concatenate(voxels))

    def __len__(self) -> int:
        return self.voxel.size


@dataclass(frozen=True)
class FoldReport:
    """What was found: the smallest determinants, and which ones are below a limit."""

    tetrahedron: float
    central: float
    folded: FoldIndex


@dataclass(frozen=True)
class FoldSurvey:
    """What was found everywhere in a field, piece by piece, so that after a change only pieces around it are looked at again."""

    pieces: list[Box]
    found: list[FoldReport]

    @classmethod
    def of(cls, field: Field, limit: float) -> "FoldSurvey":
        """All determinants, and which are below ``limit``."""
        pieces = list(_pieces(field.everywhere[0]))
        return cls(pieces, _find_folds_in(field, limit, pieces))

    @property
    def report(self) -> FoldReport:
        """The report of all pieces."""
        return _joined(self.found)

    def after(self, field: Field, limit: float, changed: NDArray[np.int64]) -> "FoldSurvey":
        """The survey of a ``field`` that differs in the voxels ``changed`` (flat indices) from the one that was looked at."""
        around = boxes_around(changed, field.size, (1, 1, 1))
        again = [n for n, piece in enumerate(self.pieces) if any(_overlap(piece, box) for box in around)]
        found = list(self.found)
        for n, one in zip(again, _find_folds_in(field, limit, [self.pieces[n] for n in again]), strict=True):
            found[n] = one
        return FoldSurvey(self.pieces, found)


def find_folds(field: Field, limit: float, boxes: Iterable[Box]) -> FoldReport:
    """All determinants in voxels of ``boxes`` and of the cells around them, and which are below ``limit``."""
    return _joined(_find_folds_in(field, limit, [piece for box in boxes for piece in _pieces(box)]))


def _find_folds_in(field: Field, limit: float, pieces: Sequence[Box]) -> list[FoldReport]:
    return side_by_side(lambda piece: _find_folds(field, limit, piece), pieces)


def _joined(found: Sequence[FoldReport]) -> FoldReport:
    kind = np.concatenate([np.empty(0, np.int8), *(one.folded.kind for one in found)])
    voxel = np.concatenate([np.empty(0, np.int64), *(one.folded.voxel for one in found)])
    return FoldReport(
        min((one.tetrahedron for one in found), default=np.inf),
        min((one.central for one in found), default=np.inf),
        FoldIndex.by_kind([np.unique(voxel[kind == number]) for number in range(CENTRAL + 1)]),
    )


def _overlap(one: Box, other: Box) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def boxes_around(voxels: NDArray[np.int64], size: tuple[int, ...], pad: Sequence[int]) -> list[Box]:
    """Boxes of a grid of ``size`` that hold all ``voxels`` (flat indices) and ``pad`` voxels around each, and do not overlap."""
    if not voxels.size:
        return []
    places = np.unravel_index(voxels, size)
    first = [max(int(place.min()) - p, 0) for place, p in zip(places, pad, strict=True)]
    stop = [min(int(place.max()) + p + 1, n) for place, p, n in zip(places, pad, size, strict=True)]
    within = np.zeros([b - a for a, b in zip(first, stop, strict=True)], dtype=np.bool_)
    within[tuple(place - a for place, a in zip(places, first, strict=True))] = True
    within = ndimage.maximum_filter(within, [2 * p + 1 for p in pad])
    boxes: list[Box] = []
    while len(boxes) != len(found := ndimage.find_objects(ndimage.label(within)[0])):
        boxes = found
        for box in boxes:
            within[box] = True
    return [tuple(slice(part.start + a, part.stop + a) for part, a in zip(box, first, strict=True)) for box in boxes]


def _pieces(box: Box) -> Iterator[Box]:
    (start, stop), *rest = ((part.start, part.stop) for part in box)
    depth = max(1, _PIECE_VOXELS // max(1, int(np.prod([b - a for a, b in rest]))))
    for first in range(start, stop, depth):
        yield (slice(first, min(first + depth, stop)), *box[1:])


def _find_folds(field: Field, limit: float, box: Box) -> FoldReport:
    around = tuple(
        slice(max(part.start - 1, 0), min(part.stop + 1, n)) for part, n in zip(box, field.size, strict=True)
    )
    origin = [part.start for part in around]
    displacement = torch.from_numpy(np.ascontiguousarray(np.moveaxis(field.displacement_mm[around], -1, 0)))
    axes = torch.from_numpy(field.axes_mm).float()

    def below(determinant: Tensor, first: list[int]) -> NDArray[np.int64]:
        if not determinant.min() < limit:
            return np.empty(0, np.int64)
        place = np.nonzero((determinant < limit).numpy())
        return np.ravel_multi_index([p + f for p, f in zip(place, first, strict=True)], field.size)

    tetrahedron, folded = np.inf, []
    for determinant in _tetrahedra(displacement, axes):
        tetrahedron = min(tetrahedron, float(determinant.min()))
        folded.append(below(determinant, origin))
    inner = tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(around, box, strict=True))
    central = _central(displacement, axes)[inner]
    folded.append(below(central, [part.start for part in box]))
    return FoldReport(tetrahedron, float(central.min()), FoldIndex.by_kind(folded))


def _tetrahedra(displacement: Tensor, axes: Tensor) -> Iterator[Tensor]:
    """Determinants of the ten tetrahedra of each cell of (3, X, Y, Z), ten times (X-1, Y-1, Z-1)."""
    volume, halves = torch.linalg.det(axes), (slice(None, -1), slice(1, None))
    known: dict[tuple[Corner, Corner], Tensor] = {}

    def edge(tail: Corner, head: Corner) -> Tensor:
        if (tail, head) not in known:
            at_head, at_tail = (displacement[(slice(None), *(halves[c] for c in corner))] for corner in (head, tail))
            rest_edge = axes @ torch.tensor([h - t for h, t in zip(head, tail, strict=True)], dtype=axes.dtype)
            known[tail, head] = at_head - at_tail + rest_edge.view(3, 1, 1, 1)
        return known[tail, head]

    for edges, size in zip(TETRAHEDRA, VOLUMES, strict=True):
        yield triple_product(*(edge(*ends) for ends in edges)) / (size * volume)


def _central(displacement: Tensor, axes: Tensor) -> Tensor:
    """As `mics.deformation.jacobian.jacobian_determinant`: central differences, one-sided at the border, (X, Y, Z)."""
    derivatives = torch.gradient(displacement, dim=(1, 2, 3))
    x, y, z = (derivative + axes[:, axis].view(3, 1, 1, 1) for axis, derivative in enumerate(derivatives))
    determinant: Tensor = triple_product(x, y, z) / torch.linalg.det(axes)
    return determinant

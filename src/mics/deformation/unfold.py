"""Folds opened by the smallest change of a displacement, at no voxel but those around them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from mics.deformation.folds import CENTRAL, TETRAHEDRA, VOLUMES, Field, FoldIndex, boxes_around, find_folds
from mics.deformation.stored import as_stored

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# In multiples of what is called folded: what is aimed at, above it for the rounding of the file, and up to where determinants
# near a fold are constrained, as they may be the next to fold.
_TARGET, _CONSTRAINED_BELOW = 3, 30
_MARGIN = 5
_ROUNDS = 12
_WEIGHT, _ITERATIONS = 1000.0, 100
# Determinants minimised over, of all rounds together: a million takes half a minute.
_MAX_DETERMINANTS = 2_500_000
# Where more than this share of the constrained determinants folds, the nearest way out is beyond a minimiser.
_MAX_FOLDED = 0.25


@dataclass(frozen=True, eq=False)
class Determinants:
    """Chosen determinants as functions of the voxels that take part in them.

    ``voxels`` (V,) are flat indices; ``differences`` (3N, V) takes their displacements in mm to the first, the second and the
    third edge of every determinant, ``rest_edges`` (3N, 3) are these edges at rest, and ``scale`` (N,) makes it one in voxels.
    """

    voxels: Indices
    differences: sparse.csr_matrix
    rest_edges: Array
    scale: Array

    @classmethod
    def of(cls, field: Field, chosen: FoldIndex) -> "Determinants":
        """The determinants of ``field`` that are ``chosen``."""
        tails, heads, rest_edges, scale = _edges(field, chosen)
        voxels, places = np.unique(np.concatenate([tails.ravel(), heads.ravel()]), return_inverse=True)
        rows = np.tile(np.arange(tails.size), 2)
        signs = np.repeat([-1.0, 1.0], tails.size)
        differences = sparse.csr_matrix((signs, (rows, places.ravel())), shape=(tails.size, len(voxels)))
        return cls(voxels, differences, rest_edges, scale)

    def penalty(self, displacement_mm: Array, least: float) -> tuple[float, Array]:
        """Half the sum of squares by which determinants fall short of ``least``, and its gradient; (V, 3) in mm."""
        a, b, c = (self.differences @ displacement_mm + self.rest_edges).reshape(3, -1, 3)
        short = np.maximum(least - self.scale * _triple(a, b, c), 0)
        below = short > 0
        a, b, c = a[below], b[below], c[below]
        by_edge = np.zeros((3, len(short), 3))
        pull = -(short * self.scale)[below, None]
        by_edge[:, below] = pull * _cross(b, c), pull * _cross(c, a), pull * _cross(a, b)
        return 0.5 * float(short @ short), self.differences.T @ by_edge.reshape(-1, 3)


def unfold(field: Field, original_mm: NDArray[np.float32], folded: FoldIndex, least: float) -> FoldIndex:
    """Change ``field`` in place, little and near the determinants ``folded`` only, until all reach ``least``.

    First by the shortest way from ``original_mm`` (X, Y, Z, 3); what folds then, by the shortest way from where it is, or else
    each round would undo some of the last. Stops after a few rounds, or at once where too much folds for it.
    Returns what is still folded.
    """
    values, originals = field.displacement_mm.reshape(-1, 3), original_mm.reshape(-1, 3)
    minimised = 0
    for turn in range(_ROUNDS):
        near = boxes_around(voxels_of(field, folded), field.size, (_MARGIN,) * 3)
        constrained = find_folds(field, _CONSTRAINED_BELOW * least, near).folded
        minimised += len(constrained)
        if not folded or minimised > _MAX_DETERMINANTS or len(folded) > _MAX_FOLDED * len(constrained):
            break
        determinants = Determinants.of(field, constrained)
        moved = determinants.voxels
        target = originals[moved] if turn == 0 else values[moved]
        values[moved] = as_stored(_nearest(determinants, values[moved], target, _TARGET * least))
        folded = find_folds(field, least, boxes_around(moved, field.size, (1, 1, 1))).folded
    return folded


def _nearest(
    determinants: Determinants, start_mm: NDArray[np.float32], target_mm: NDArray[np.float32], least: float
) -> Array:
    """Displacements (V, 3) in mm close to ``target_mm`` whose ``determinants`` reach ``least``, nearly.

    Minimises half the squared change in mm² and a penalty on what is missing, by L-BFGS.
    """
    target = target_mm.astype(np.float64)

    def objective(flat: Array) -> tuple[float, Array]:
        displacement = flat.reshape(-1, 3)
        change = displacement - target
        penalty, gradient = determinants.penalty(displacement, least)
        return 0.5 * float((change**2).sum()) + _WEIGHT * penalty, (change + _WEIGHT * gradient).ravel()

    start = start_mm.astype(np.float64).ravel()
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    return np.asarray(found.x, dtype=np.float64).reshape(-1, 3)


def voxels_of(field: Field, chosen: FoldIndex) -> Indices:
    """Flat indices of all voxels that take part in the ``chosen`` determinants."""
    tails, heads, *_ = _edges(field, chosen)
    return np.unique(np.concatenate([tails.ravel(), heads.ravel()]))


def _edges(field: Field, chosen: FoldIndex) -> tuple[Indices, Indices, Array, Array]:
    """Flat indices of where the three edges begin and end, (3, N) each, the edges at rest (3N, 3), and the scale (N,)."""
    base = np.stack(np.unravel_index(chosen.voxel, field.size), axis=-1)
    unit = np.eye(3, dtype=np.int64)
    ends = np.array([*TETRAHEDRA, [(-unit[axis], unit[axis]) for axis in range(3)]], dtype=np.int64)[chosen.kind]
    # The central differences become one-sided at the border.
    corners = np.clip(base[:, None, None] + ends, 0, np.array(field.size) - 1)
    spans = corners[:, :, 1] - corners[:, :, 0]
    central = chosen.kind == CENTRAL
    volume = np.where(central, spans.sum(axis=-1).prod(axis=-1), np.array([*VOLUMES, 1.0])[chosen.kind])
    tails, heads = (np.ravel_multi_index(list(np.moveaxis(corners[:, :, end], -1, 0)), field.size).T for end in (0, 1))
    rest_edges = (spans.transpose(1, 0, 2) @ field.axes_mm.T).reshape(-1, 3)
    return tails, heads, rest_edges, 1 / (volume * np.linalg.det(field.axes_mm))


def _cross(a: Array, b: Array) -> Array:
    x, y, z = (a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1)))
    return np.stack([x, y, z], axis=-1)


def _triple(a: Array, b: Array, c: Array) -> Array:
    triple: Array = (a * _cross(b, c)).sum(axis=-1)
    return triple

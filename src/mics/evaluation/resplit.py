"""The measures of the public re-split of AbdomenCTCT, in which many networks are published: at 4 mm, absent organs counted as 0.

Its test are the last seven of the thirty annotated subjects, every pair in both directions (tinymilky/VoxelOpt, test_abdomen.py).
Labels are taken at every other voxel, Dice is the mean of all thirteen organs, and one that either scan lacks counts as 0;
distances are of the organs that both have.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mics.evaluation.learn2reg import halved_grid
from mics.evaluation.pair_score import PairScore
from mics.image.io import Image
from mics.organs import ORGAN_NAMES

PAIRS = 42
"""Of the whole test."""


def halved(labels: Image) -> Image:
    """A label map at every other voxel."""
    return Image(labels.array[::2, ::2, ::2].copy(), halved_grid(labels.grid))


def halved_displacement(displacement: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """The displacement ``(3, X, Y, Z)`` of the :func:`halved` grid, in its voxels; one that is of that ``size`` stays."""
    if displacement.shape[1:] == size:
        return displacement
    return (displacement[:, ::2, ::2, ::2] / 2).astype(np.float32)


def absent_as_zero(score: PairScore) -> PairScore:
    """The score with a Dice of every organ: 0, before and after, where either scan lacks it."""
    absent = dict.fromkeys(ORGAN_NAMES, 0.0)
    return replace(score, dice=absent | score.dice, initial_dice=absent | score.initial_dice)

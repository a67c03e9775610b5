"""From what a network predicts to labels to train with: the annotators' where there are any, one part an organ."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mics.organs import LEFT_ADRENAL, ORGAN_NAMES, RIGHT_ADRENAL

Labels = NDArray[np.uint8]

PSEUDO_ORGANS = tuple(organ for organ in ORGAN_NAMES if organ not in (RIGHT_ADRENAL, LEFT_ADRENAL))
"""The eleven organs of the paper; adrenal glands are too small to be predicted well."""


def largest_parts(predicted: Labels, organs: Iterable[int]) -> tuple[Labels, dict[int, float]]:
    """The largest connected part (26 neighbours) of each organ of ``predicted`` (X, Y, Z), all else background.

    Beside it, the share of each organ's voxels that this part has, ``{organ: share}``; organs that are not there are not.
    """
    cleaned, shares = np.zeros_like(predicted), {}
    for organ, box in enumerate(ndimage.find_objects(predicted, max(ORGAN_NAMES)), start=1):
        if box is None or organ not in organs:
            continue
        parts, _ = ndimage.label(predicted[box] == organ, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        cleaned[box][parts == 1 + int(sizes.argmax())] = organ
        shares[organ] = float(sizes.max() / sizes.sum())
    return cleaned, shares


def completed(annotated: Labels | None, organs: Iterable[int], cleaned: Labels, wanted: Iterable[int]) -> Labels:
    """Labels (X, Y, Z) with what the annotators drew, and around it the ``wanted`` organs of ``cleaned``.

    ``organs`` are those that the annotators looked for: of these nothing is taken from ``cleaned``.
    """
    added = np.where(np.isin(cleaned, sorted(set(wanted) - set(organs))), cleaned, 0).astype(np.uint8)
    return added if annotated is None else np.where(annotated > 0, annotated, added).astype(np.uint8)

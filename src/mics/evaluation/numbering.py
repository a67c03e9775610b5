"""Do two label maps, laid upon each other, use the same numbers for the same organs?"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

# Voxels looked at: what lies plainly upon something else shows in a few.
_MAX_VOXELS = 500_000
_LIES_UPON = 0.4
_APART = 0.1
_MIN_LABELS = 2
_SHOWN = 5


def other_numbering(fixed: NDArray[np.integer], warped: NDArray[np.integer]) -> list[tuple[int, int]]:
    """(fixed, moving) labels, two pairs at least, that lie upon each other although their numbers differ; mostly none.

    ``warped`` is the moving map on the fixed one's grid. Among all ways to give each label one partner, that of the largest
    sum of Dice is looked at. A pair counts if its Dice is at least 0.4, and that of each of its numbers with the same
    number below 0.1.
    """
    seen = np.flatnonzero((fixed > 0) | (warped > 0))
    seen = seen[:: seen.size // _MAX_VOXELS + 1]
    if not seen.size:
        return []
    rows, row = np.unique(fixed.ravel()[seen], return_inverse=True)
    columns, column = np.unique(warped.ravel()[seen], return_inverse=True)
    both = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns)).reshape(len(rows), -1)
    dice = 2 * both / (both.sum(1, keepdims=True) + both.sum(0, keepdims=True))
    dice[rows == 0] = dice[:, columns == 0] = 0
    same = {int(label): float(dice[i, columns == label].sum()) for i, label in enumerate(rows)}
    found = [
        (int(rows[i]), int(columns[j]))
        for i, j in zip(*linear_sum_assignment(dice, maximize=True), strict=True)
        if rows[i] != columns[j]
        and dice[i, j] >= _LIES_UPON
        and max(same[int(rows[i])], same.get(int(columns[j]), 0)) < _APART
    ]
    return found if len(found) >= _MIN_LABELS else []


def numbering_warning(fixed: NDArray[np.integer], warped: NDArray[np.integer]) -> list[str]:
    """A sentence if :func:`other_numbering` finds something."""
    found = other_numbering(fixed, warped)
    if not found:
        return []
    shown = ", ".join(f"{moving} on {fixed}" for fixed, moving in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [
        f"Labels of the moving map lie on other numbers of the fixed map ({shown}{more}), and not on their own: do both "
        "maps use the same numbering?"
    ]


def unlike_numbering(name: str, labels: NDArray[np.integer], common: NDArray[np.integer]) -> list[str]:
    """A sentence if labels of the scan called ``name`` lie on other numbers of the map that was made of several scans."""
    found = other_numbering(common, labels)
    if not found:
        return []
    mine = ", ".join(f"{own} on {shared}" for shared, own in found[:_SHOWN])
    return [f"Labels of {name} lie on other numbers of the common map ({mine}): does it use the same numbering?"]

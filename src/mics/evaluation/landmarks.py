"""Target registration error (TRE): how far moved landmarks are from where they belong."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mics.errors import InputError, counted, some_of
from mics.image.grid import Grid
from mics.image.points import Points, read_points


def read_landmarks(fixed: str | Path | None, moving: str | Path | None) -> tuple[Points, Points] | None:
    """Landmarks of both scans, matched by their order; None without files.

    Raises InputError for a file that cannot be read, for landmarks of one scan only, and as :func:`refuse_unlike_lists` does.
    """
    if fixed is None and moving is None:
        return None
    if fixed is None or moving is None:
        raise InputError("There are landmarks of one scan only; give those of both or of none.")
    pairs = read_points(fixed), read_points(moving)
    refuse_unlike_lists(*pairs)
    return pairs


def refuse_unlike_lists(fixed: Points, moving: Points) -> None:
    """Raise InputError for two lists that cannot be matched by their order: of unlike length, or of the same names elsewhere."""
    count, other = len(fixed.coordinates), len(moving.coordinates)
    if count != other:
        raise InputError(
            f"The fixed scan has {counted(count, 'landmark')}, the moving one {other}; give them in pairs, in one order."
        )
    names, others = [[name.strip() for name in points.names] for points in (fixed, moving)]
    if names != others and set(names) == set(others) and len(set(names)) == count and all(names):
        place = next(n for n in range(count) if names[n] != others[n])
        raise InputError(
            f"The landmarks of the two scans have the same names in another order (number {place + 1} is {names[place]!r} in the "
            f"fixed scan and {others[place]!r} in the moving one): put them in one order, by which they are matched."
        )


def outside(points: Points, grid: Grid) -> NDArray[np.bool_]:
    """Which of the points, (N,), lie beyond the outermost voxels of ``grid``."""
    voxels = grid.world_to_voxel(points.coordinates)
    return np.asarray(((voxels < -0.5) | (voxels > np.array(grid.size) - 0.5)).any(axis=1))


def outside_messages(landmarks: tuple[Points, Points] | None, *, fixed: Grid, moving: Grid) -> list[str]:
    """A sentence for each scan, by its grid, beyond which some of its landmarks (fixed, moving) lie."""
    messages = []
    for (role, grid), points in zip((("fixed", fixed), ("moving", moving)), landmarks or (), strict=False):
        beyond = outside(points, grid)
        if number := int(np.count_nonzero(beyond)):
            lie = "lies" if number == 1 else "lie"
            messages.append(
                f"{some_of(number, len(beyond), 'landmark')} of the {role} scan {lie} outside of it: are they LPS millimetres, "
                "and of this scan?"
            )
    return messages


def registration_errors(moved: ArrayLike, moving: Points) -> NDArray[np.float64]:
    """Distance in mm of each fixed landmark, taken to the moving scan (``moved``, (N, 3) LPS mm), from the moving one."""
    errors: NDArray[np.float64] = np.linalg.norm(np.asarray(moved) - moving.coordinates, axis=1)
    return errors

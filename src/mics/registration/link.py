"""A transform of any kind that a user names: a displacement field, an affine, an affine's inverse, or another tool's file."""

import re
from pathlib import Path

import numpy as np

from mics.deformation.chain import Link
from mics.deformation.read_formats import read_transform
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.checks import refuse_unreadable_name
from mics.image.grid import Grid


def read_link(name: str, grid: Grid | None = None) -> Link:
    """The transform in a file, by its ending: see :func:`mics.deformation.read_formats.read_transform`, also on ``grid``.

    ``[FILE,1]`` is the inverse of the affine in FILE, as antsApplyTransforms has it.

    Raises InputError for a file that is missing or unreadable, and for the inverse of a displacement field.
    """
    inverse = re.fullmatch(r"\[(.+),\s*1\]", name)
    path = Path(inverse[1] if inverse else name)
    refuse_unreadable_name(path)
    if inverse is None:
        return read_transform(path, grid)
    found = read_transform(path)
    if isinstance(found, Transform):
        raise InputError(f"{path} is not an affine, whose inverse can be taken: give the other direction's transform.")
    return np.linalg.inv(found).astype(np.float64)

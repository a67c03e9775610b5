"""A transform of any kind that a user names: a displacement field, an affine, or an affine's inverse."""

import re
from pathlib import Path

import numpy as np

from mics.deformation.chain import Link
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.checks import refuse_unreadable_name
from mics.registration.affine_file import SUFFIXES, read_affine


def read_link(name: str) -> Link:
    """The transform in a file: a displacement field, or an affine of ITK or ANTs, by the file's ending.

    ``[FILE,1]`` is the inverse of the affine in FILE, as antsApplyTransforms has it.

    Raises InputError for a file that is missing or unreadable, and for the inverse of a displacement field.
    """
    inverse = re.fullmatch(r"\[(.+),\s*1\]", name)
    path = Path(inverse[1] if inverse else name)
    refuse_unreadable_name(path)
    if path.suffix.lower() in SUFFIXES:
        affine = read_affine(path)
        return np.linalg.inv(affine).astype(np.float64) if inverse else affine
    if inverse:
        raise InputError(f"{path} is not an affine, whose inverse can be taken: give the other direction's transform.")
    return Transform.load(path)

"""A transform of any kind that a user names: a displacement field, an affine, an affine's inverse, or another tool's file."""

import re
from pathlib import Path

import numpy as np

from mics.deformation.chain import Link
from mics.deformation.read_formats import read_transform
from mics.deformation.transform import Transform
from mics.errors import InputError, SettingError
from mics.image.checks import refuse_unreadable_name
from mics.image.content import is_dicom
from mics.image.grid import Grid

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".tfm", ".mat", ".txt", ".x5")


def read_link(name: str, grid: Grid | None = None) -> Link:
    """The transform in a file, by its ending: see :func:`mics.deformation.read_formats.read_transform`, also on ``grid``.

    ``[FILE,1]`` is the inverse of the affine in FILE, as antsApplyTransforms has it.

    Raises InputError for a file that is missing, unreadable or of a kind that holds no transform, and for the inverse of a
    displacement field.
    """
    inverse = re.fullmatch(r"\[(.+),\s*1\]", name)
    path = Path(inverse[1] if inverse else name)
    refuse_unreadable_name(path)
    _refuse_other_kinds(path)
    if inverse is None:
        return read_transform(path, grid)
    found = read_transform(path)
    if isinstance(found, Transform):
        raise InputError(f"{path} is not an affine, whose inverse can be taken: give the other direction's transform.")
    return np.linalg.inv(found).astype(np.float64)


def _refuse_other_kinds(path: Path) -> None:
    """Raise InputError for a file whose name or content says that it holds no transform that is read."""
    if path.is_dir() or path.name.lower().endswith(_ENDINGS):
        return
    if path.is_file() and is_dicom(path):
        raise InputError(
            f"{path} is DICOM, and transforms are not read from that, spatial registrations (REG) neither: give the file of the "
            "program that registered."
        )
    raise SettingError(
        f"{path} is no kind of transform that MICS reads: give a displacement field (.nii.gz, .nii, .nrrd, .mha), or .h5, .tfm, "
        ".mat, .txt or .x5 of ITK, ANTs, transformix or nitransforms."
    )

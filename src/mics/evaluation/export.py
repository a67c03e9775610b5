"""Write deformations as a Learn2Reg submission: a folder or a zip of ``disp_….nii.gz``."""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mics.choices import SubmissionNames
from mics.data.pairs import PairSource
from mics.errors import RunError
from mics.evaluation.learn2reg import displacement_name, write_displacement
from mics.files.whole import folder_beside, give_name, write_whole


@dataclass(frozen=True)
class Export:
    """A submission in the making, in ``folder``; without one nothing is written. See :func:`exported`."""

    folder: Path | None = None
    names: SubmissionNames = "current"

    def add(self, pair: PairSource, displacement: NDArray[np.floating]) -> None:
        """Add the displacement ``(3, X, Y, Z)`` of a pair, in voxels."""
        if self.folder is not None:
            name = displacement_name(pair.fixed.name, pair.moving.name, script=self.names)
            write_displacement(displacement, self.folder / name)


@contextmanager
def exported(path: str | Path | None, names: SubmissionNames) -> Iterator[Export]:
    """A submission that appears under its name when the ``with`` block ends well, or not at all.

    ``path`` is a new folder or a name ending in ``.zip``; with None nothing is written. ``names`` says which form the file
    names have, that of the challenge's current script or that of 2020.

    Raises RunError if the name is taken or its folder cannot be written.
    """
    if path is None:
        yield Export()
        return
    path = Path(path)
    if path.exists():
        raise RunError(f"{path} exists already; choose another name, so that nothing is overwritten.")
    with folder_beside(path) as folder:
        yield Export(folder, names)
        if path.suffix.lower() == ".zip":
            write_whole(path, lambda temporary: pack(sorted(folder.iterdir()), temporary))
        else:
            give_name(folder, path)


def pack(files: Iterable[Path], packed: Path) -> None:
    """Write a zip of files, which are compressed already, without their folders."""
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)

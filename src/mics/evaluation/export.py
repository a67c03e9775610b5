"""Write deformations as a Learn2Reg submission: a folder or a zip of ``disp_….nii.gz``."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from mics.data.pairs import Pair
from mics.errors import RunError
from mics.evaluation.learn2reg import displacement_name, write_displacement


class Export:
    """A submission in the making; it appears under its name when the ``with`` block ends well, or not at all.

    ``path`` is a new folder or a name ending in ``.zip``; with None nothing is written. ``names`` says which form the file
    names have, that of the challenge's current script or that of 2020. Raises InputError if the name is taken or its folder
    cannot be written.
    """

    def __init__(self, path: str | Path | None, names: Literal["current", "2020"] = "current") -> None:
        self.path = None if path is None else Path(path)
        self.names = names
        self._folder: Path | None = None
        if self.path is not None and self.path.exists():
            raise RunError(f"{self.path} exists already; choose another name, so that nothing is overwritten.")

    def __enter__(self) -> Self:
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
            except OSError as error:
                raise RunError(f"Cannot write {self.path}: {error.strerror}.") from error
        return self

    def add(self, pair: Pair, displacement: NDArray[np.floating]) -> None:
        """Add the displacement ``(3, X, Y, Z)`` of a pair, in voxels."""
        if self._folder is not None:
            name = displacement_name(pair.fixed.name, pair.moving.name, script=self.names)
            write_displacement(displacement, self._folder / name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is None or self.path is None:
            return
        try:
            if kind is None:
                finished = self._zipped() if self.path.suffix == ".zip" else self._folder
                finished.chmod(0o755 if finished.is_dir() else 0o644)
                os.replace(finished, self.path)
        except OSError as failure:
            raise RunError(f"Cannot write {self.path}: {failure.strerror}.") from failure
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _zipped(self) -> Path:
        assert self._folder is not None
        packed = self._folder / "submission.zip"
        # The files are compressed already.
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(self._folder.glob("disp_*")):
                archive.write(file, file.name)
        return packed

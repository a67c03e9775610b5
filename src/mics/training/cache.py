"""Training cases at the network's resolution, as plain memory-mapped numpy files.

The training core reads nothing else, so that it runs where neither SimpleITK nor nibabel is installed. A case is three
files: ``NAME.hu.npy`` (int16), ``NAME.labels.npy`` (uint8) and ``NAME.json`` (split and annotated organs), written last;
and for a network that sees organ maps a fourth, ``NAME.maps.npy`` (uint8).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mics.errors import InputError, MissingFileError
from mics.files.whole import write_whole
from mics.organs import ORGAN_NAMES


@dataclass(frozen=True, eq=False)
class CachedCase:
    """One subject on the network's grid: ``hu`` int16 and ``labels`` uint8, both (X, Y, Z) in LAS array order.

    ``split`` is ``"train"`` or ``"val"``. ``organs`` are the ids that were looked for when the case was labelled; where
    another organ lies, ``labels`` says nothing about it.
    """

    name: str
    split: str
    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    organs: tuple[int, ...] = tuple(ORGAN_NAMES)
    maps: npt.NDArray[np.uint8] | None = None
    """Soft organ maps, (organs, X, Y, Z), 255 for a probability of one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        x, y, z = self.hu.shape
        return x, y, z

    def __reduce__(self) -> tuple[Any, ...]:
        # numpy would send a worker process a copy of the whole volume; it opens the file again instead.
        if isinstance(self.hu, np.memmap) and self.hu.filename is not None:
            return read_case, (Path(self.hu.filename).parent, self.name)
        return CachedCase, (self.name, self.split, self.hu, self.labels, self.organs, self.maps)


def is_cached(name: str, folder: Path, *, maps: bool = False) -> bool:
    """Whether the case has been written completely, with its ``maps`` if they are wanted."""
    return (folder / f"{name}.json").is_file() and (not maps or (folder / f"{name}.maps.npy").is_file())


def write_case(case: CachedCase, folder: Path) -> None:
    """Write one case, each file under a temporary name first and the one that makes it count last."""
    maps = case.maps
    if maps is not None:
        _write(folder / f"{case.name}.maps.npy", lambda file: np.save(file, maps))
    about = {"split": case.split, "organs": case.organs, "shape": case.shape}
    _write(folder / f"{case.name}.hu.npy", lambda file: np.save(file, case.hu.astype(np.int16, casting="safe")))
    _write(folder / f"{case.name}.labels.npy", lambda file: np.save(file, case.labels.astype(np.uint8, casting="safe")))
    _write(folder / f"{case.name}.json", lambda file: file.write(json.dumps(about).encode()))


def read_case(folder: Path, name: str) -> CachedCase:
    """One case, its volumes memory-mapped. Raises :class:`InputError` if a file is missing, damaged or of another case."""
    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        part, organs, shape = str(about["split"]), tuple(about["organs"]), tuple(about["shape"])
        if not set(organs) <= ORGAN_NAMES.keys():
            raise ValueError(f"{organs} are not all organs")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, name, f"{name}.json", error) from error
    hu = _mapped(folder, name, f"{name}.hu.npy", np.int16, shape)
    labels = _mapped(folder, name, f"{name}.labels.npy", np.uint8, shape)
    maps = None
    if is_cached(name, folder, maps=True):
        maps = _mapped(folder, name, f"{name}.maps.npy", np.uint8, (len(ORGAN_NAMES), *shape))
    return CachedCase(name, part, hu, labels, organs, maps)


def read_cases(folder: Path) -> list[CachedCase]:
    """All complete cases of a cache folder, sorted by name; raises :class:`InputError` if there is none or one is damaged."""
    names = sorted(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))
    if not names:
        raise MissingFileError(f"{folder} holds no training case (NAME.json with its NAME.hu.npy and NAME.labels.npy).")
    return [read_case(folder, name) for name in names]


def split(cases: Sequence[CachedCase], name: str) -> list[CachedCase]:
    """The cases of one split; raises :class:`InputError` if it is empty."""
    chosen = [case for case in cases if case.split == name]
    if not chosen:
        raise InputError(f"The training data have no case in the split {name!r}.")
    return chosen


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write(file)

    write_whole(path, fill)


def _mapped(folder: Path, name: str, file: str, dtype: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        volume: npt.NDArray[Any] = np.load(folder / file, mmap_mode="r")
        if volume.dtype != dtype or volume.shape != shape or len(shape) not in (3, 4):
            raise ValueError(f"{volume.dtype} {volume.shape} where {np.dtype(dtype)} {shape} was written")
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder, name, file, error) from error
    return volume


def _damaged(folder: Path, name: str, file: str, error: Exception) -> InputError:
    return InputError(
        f"The prepared case {name} cannot be read: {folder / file} is missing or damaged ({error}); delete {name}.json "
        "there and start again, which prepares the case anew."
    )

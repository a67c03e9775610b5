"""Training cases at the network's resolution, as plain numpy files.

The training core reads nothing else, so that it runs where neither SimpleITK nor nibabel is installed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mics.errors import InputError


@dataclass(frozen=True)
class CachedCase:
    """One person on the network's grid: ``hu`` int16 and ``labels`` uint8, both (X, Y, Z) in LAS array order.

    ``split`` is ``"train"`` or ``"val"``.
    """

    name: str
    split: str
    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]


def block_mean(array: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Average of ``factor``³ blocks of (X, Y, Z); voxels that fill no block at the high ends are dropped."""
    x, y, z = (n // factor for n in array.shape)
    blocks = array[: x * factor, : y * factor, : z * factor].reshape(x, factor, y, factor, z, factor)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def block_majority(labels: npt.NDArray[np.uint8], factor: int, count: int) -> npt.NDArray[np.uint8]:
    """The label with the largest share of each ``factor``³ block; ``count`` labels, background included."""
    shares = [block_mean((labels == label).astype(np.float32), factor) for label in range(count)]
    return np.argmax(shares, axis=0).astype(np.uint8)


def write_case(case: CachedCase, folder: Path) -> None:
    """Write one case as ``NAME.npz``, under a temporary name first."""
    temporary = folder / f".{case.name}.partial.npz"
    np.savez_compressed(temporary, hu=case.hu, labels=case.labels, split=np.array(case.split))
    os.replace(temporary, folder / f"{case.name}.npz")


def read_cases(folder: Path) -> list[CachedCase]:
    """All cases of a cache folder, sorted by name; raises :class:`InputError` if there is none."""
    files = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no training case (*.npz).")
    cases = []
    for path in files:
        with np.load(path) as data:
            cases.append(CachedCase(path.stem, str(data["split"]), data["hu"], data["labels"]))
    return cases


def split(cases: Sequence[CachedCase], name: str) -> list[CachedCase]:
    """The cases of one split; raises :class:`InputError` if it is empty."""
    chosen = [case for case in cases if case.split == name]
    if not chosen:
        raise InputError(f"The training data have no case in the split {name!r}.")
    return chosen

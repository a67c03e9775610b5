"""From a data set to cached training cases at the spacing that a recipe asks for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mics.data.cohorts.learn2reg import open_learn2reg
from mics.data.organs import ORGAN_NAMES
from mics.data.phantom import network_scanner, phantom
from mics.errors import InputError
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.network.segmentation import Segmentation
from mics.network.weights import DEFAULT_SEGMENTATION, LoadedModel, load_model
from mics.training.cache import CachedCase, block_majority, block_mean, is_cached, write_case

PHANTOMS = "phantom:"
PHANTOM_VALIDATION = 3
"""So many of the generated people are for validation."""


def prepare(
    data: str,
    folder: Path,
    spacing_mm: float,
    *,
    organ_maps: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the cases of ``data`` into ``folder``; cases that are already there stay.

    ``data`` is a Learn2Reg folder, whose ``registration_val`` people become the validation cases, or ``phantom:N`` for
    N generated people. With ``organ_maps`` each gets those that the shipped segmentation network finds in its image; those
    of generated people, at whom it never looked, are their labels. ``progress`` is told the name of each case. Raises
    :class:`InputError` for anything else, or if ``spacing_mm`` is not a multiple of the data's voxel edge.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if data.startswith(PHANTOMS):
        cases = _phantoms(data, folder, spacing_mm, organ_maps)
    else:
        cases = _learn2reg(Path(data), folder, spacing_mm, load_model(DEFAULT_SEGMENTATION) if organ_maps else None)
    for case in cases:
        write_case(case, folder)
        progress(case.name)


def _learn2reg(root: Path, folder: Path, spacing_mm: float, segmentation: LoadedModel | None) -> Iterator[CachedCase]:
    cohort = open_learn2reg(root)
    validation = {case.number for case in cohort.validation}
    for number, case in sorted(cohort.cases.items()):
        if not is_cached(number, folder, maps=segmentation is not None):
            image = case.image()
            cached = _cached(number, number in validation, image, case.labels(), spacing_mm)
            maps = None if segmentation is None else _predicted_maps(number, image, segmentation, spacing_mm)
            yield replace(cached, maps=maps)


def _phantoms(data: str, folder: Path, spacing_mm: float, organ_maps: bool) -> Iterator[CachedCase]:
    count = data.removeprefix(PHANTOMS)
    if not count.isdigit() or int(count) <= PHANTOM_VALIDATION:
        raise InputError(f"--data {data}: give phantom:N with N people, more than {PHANTOM_VALIDATION}.")
    fine = min(spacing_mm, 4.0)
    for seed in range(int(count)):
        name = f"phantom{seed:04d}"
        if not is_cached(name, folder, maps=organ_maps):
            person = phantom(seed, network_scanner(seed, spacing_mm=fine))
            cached = _cached(name, seed < PHANTOM_VALIDATION, person.image, person.labels, spacing_mm)
            maps = _label_maps(name, person.labels, spacing_mm) if organ_maps else None
            yield replace(cached, maps=maps)


def _predicted_maps(name: str, image: Image, segmentation: LoadedModel, spacing_mm: float) -> NDArray[np.uint8]:
    """Soft organ maps of a scan on the grid of the cached case, (organs, X, Y, Z); 255 for a probability of one."""
    hu = block_mean(image.array.astype(np.float32), _factor(name, image, segmentation.spacing_mm))
    windows = hu_windows(torch.from_numpy(hu)[None, None], segmentation.hu_range)
    with torch.no_grad():
        maps = cast(Segmentation, segmentation.network).organ_maps(windows, segmentation.crop)
    size = [n // _factor(name, image, spacing_mm) for n in image.grid.size]
    # Cells, not cell centres, lie upon each other: the cases are averages of blocks.
    how = "area" if spacing_mm >= segmentation.spacing_mm else "trilinear"
    return _stored(functional.interpolate(maps, size, mode=how)[0].numpy())


def _label_maps(name: str, labels: Image, spacing_mm: float) -> NDArray[np.uint8]:
    factor = _factor(name, labels, spacing_mm)
    return _stored(np.stack([block_mean((labels.array == organ).astype(np.float32), factor) for organ in ORGAN_NAMES]))


def _stored(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(maps * 255).astype(np.uint8)


def _cached(name: str, validation: bool, image: Image, labels: Image, spacing_mm: float) -> CachedCase:
    factor = _factor(name, image, spacing_mm)
    hu = block_mean(image.array.astype(np.float32), factor)
    majority = block_majority(labels.array.astype(np.uint8), factor, len(ORGAN_NAMES) + 1)
    return CachedCase(name, "val" if validation else "train", np.round(hu).astype(np.int16), majority)


def _factor(name: str, image: Image, spacing_mm: float) -> int:
    """Voxels of ``image`` along the edge of one of ``spacing_mm``; InputError where that is no whole number."""
    factor = round(spacing_mm / image.grid.spacing[0])
    if factor < 1 or any(abs(edge * factor - spacing_mm) > 1e-3 for edge in image.grid.spacing):
        raise InputError(f"Case {name} has {image.grid.spacing} mm voxels, of which {spacing_mm} mm is no multiple.")
    return factor

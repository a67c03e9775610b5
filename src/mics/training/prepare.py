"""From a data set to cached training cases at the spacing that a recipe asks for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mics.data.cohorts.learn2reg import open_learn2reg
from mics.data.manifest import MANIFEST, Entry, read_manifest
from mics.data.organs import ORGAN_NAMES
from mics.data.phantom import network_scanner, phantom
from mics.errors import InputError
from mics.image.blocks import block_majority, block_mean
from mics.image.io import Image, read_image, read_labels
from mics.network.weights import LoadedModel, load_model
from mics.training.cache import CachedCase, is_cached, write_case
from mics.training.organ_maps import label_maps, predicted_maps, voxels_per_edge

PHANTOMS = "phantom:"
PHANTOM_VALIDATION = 3
"""So many of the generated people are for validation."""


def prepare(
    data: str,
    folder: Path,
    spacing_mm: float,
    *,
    organ_maps: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the cases of ``data`` into ``folder``; cases that are already there stay.

    ``data`` is a folder that ``mics prepare`` or ``mics pseudo-labels`` has made, a Learn2Reg folder, whose
    ``registration_val`` people become the validation cases, or ``phantom:N`` for N generated people. With ``organ_maps`` each
    gets those that the segmentation model of that name or path finds in its image; those of generated people, whom it does not
    know, are their labels. ``progress`` is told the name of each case. Raises :class:`InputError` for anything else, or if
    ``spacing_mm`` is not a multiple of the data's voxel edge.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if data.startswith(PHANTOMS):
        cases = _phantoms(data, folder, spacing_mm, organ_maps is not None)
    else:
        segmentation = load_model(organ_maps) if organ_maps else None
        read = _prepared if (Path(data) / MANIFEST).is_file() else _learn2reg
        cases = read(Path(data), folder, spacing_mm, segmentation)
    for case in cases:
        write_case(case, folder)
        progress(case.name)


def _prepared(root: Path, folder: Path, spacing_mm: float, segmentation: LoadedModel | None) -> Iterator[CachedCase]:
    """The cases of a manifest; those of a test split, and those that left it, are passed over."""
    entries = [entry for entry in read_manifest(root) if entry.status == "prepared" and entry.split != "test"]
    if not entries:
        raise InputError(f"{root / MANIFEST} lists no case to train on: see its column reason.")
    for entry in entries:
        if not is_cached(entry.name, folder, maps=segmentation is not None):
            image = read_image(root / entry.image)
            labels = _labels(root, entry, image)
            case = _cached(entry.name, entry.split == "val", image, labels, spacing_mm, segmentation)
            yield replace(case, organs=tuple(sorted({*entry.organs, *entry.pseudo_organs})))


def _labels(root: Path, entry: Entry, image: Image) -> Image:
    """Where nothing is annotated, nothing is known of any voxel: :attr:`CachedCase.organs` says so."""
    return read_labels(root / entry.labels) if entry.labels else Image(np.zeros(image.grid.size, np.uint8), image.grid)


def _learn2reg(root: Path, folder: Path, spacing_mm: float, segmentation: LoadedModel | None) -> Iterator[CachedCase]:
    cohort = open_learn2reg(root)
    validation = {case.number for case in cohort.validation}
    for number, case in sorted(cohort.cases.items()):
        if not is_cached(number, folder, maps=segmentation is not None):
            yield _cached(number, number in validation, case.image(), case.labels(), spacing_mm, segmentation)


def _phantoms(data: str, folder: Path, spacing_mm: float, organ_maps: bool) -> Iterator[CachedCase]:
    count = data.removeprefix(PHANTOMS)
    if not count.isdigit() or int(count) <= PHANTOM_VALIDATION:
        raise InputError(f"--data {data}: give phantom:N with N people, more than {PHANTOM_VALIDATION}.")
    fine = min(spacing_mm, 4.0)
    for seed in range(int(count)):
        name = f"phantom{seed:04d}"
        if not is_cached(name, folder, maps=organ_maps):
            person = phantom(seed, network_scanner(seed, spacing_mm=fine))
            case = _cached(name, seed < PHANTOM_VALIDATION, person.image, person.labels, spacing_mm, None)
            yield replace(case, maps=label_maps(name, person.labels, spacing_mm) if organ_maps else None)


def _cached(
    name: str, validation: bool, image: Image, labels: Image, spacing_mm: float, segmentation: LoadedModel | None
) -> CachedCase:
    factor = voxels_per_edge(name, image.grid, spacing_mm)
    hu = np.round(block_mean(image.array.astype(np.float32), factor)).astype(np.int16)
    majority = block_majority(labels.array.astype(np.uint8), factor, len(ORGAN_NAMES) + 1)
    maps = None if segmentation is None else predicted_maps(name, image, segmentation, spacing_mm)
    return CachedCase(name, "val" if validation else "train", hu, majority, maps=maps)

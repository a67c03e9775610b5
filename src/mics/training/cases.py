"""From a data set to cached training cases at the spacing that a recipe asks for."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mics.data.cohorts.learn2reg import open_learn2reg
from mics.data.manifest import MANIFEST, Entry
from mics.data.phantom import network_scanner, phantom
from mics.image.blocks import block_majority, block_mean
from mics.image.io import Image, read_image, read_labels
from mics.network.weights import LoadedModel, load_model_for
from mics.organs import ORGAN_NAMES
from mics.training.cache import CachedCase, is_cached, write_case
from mics.training.organ_maps import label_maps, predicted_maps, voxels_per_edge
from mics.training.phases import PhaseChange
from mics.training.source import (
    PHANTOM_VALIDATION,
    PHANTOMS,
    note,
    phantom_count,
    refuse_other,
    source_of,
    usable,
)


def prepare(
    data: str,
    folder: Path,
    spacing_mm: float,
    *,
    organ_maps: str | None = None,
    phase_variants: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the cases of ``data`` into ``folder``; cases that are already there stay.

    ``data`` is a folder that ``mics prepare`` or ``mics pseudo-labels`` has made, a Learn2Reg folder, whose
    ``registration_val`` subjects become the validation cases, or ``phantom:N`` for N generated subjects. With ``organ_maps`` each
    gets those that the segmentation model of that name or path finds in its image; those of generated subjects, whom it does not
    know, are their labels. With ``phase_variants`` each scan for training is there so many times more, in random contrast phases
    (:mod:`mics.training.phases`) that follow from its name, with the organ maps that are found in them. ``progress`` is called
    with the name of each case. Raises :class:`InputError` for anything else, if ``spacing_mm`` is not a multiple of the data's
    voxel edge, or if ``folder`` holds cases of other data, or made with other settings.
    """
    segmentation = load_model_for("segmentation", organ_maps) if organ_maps else None
    source = source_of(data, spacing_mm, None if segmentation is None else segmentation.sha256, phase_variants)
    refuse_other(source, folder)
    if data.startswith(PHANTOMS):
        cases = _phantoms(phantom_count(data), folder, spacing_mm, organ_maps is not None)
    else:
        read = _prepared if (Path(data) / MANIFEST).is_file() else _learn2reg
        cases = read(Path(data), _CaseSettings(folder, spacing_mm, segmentation, phase_variants))
    noted = False
    for case in cases:
        if not noted:  # not earlier: data of which no case can be made leave nothing
            folder.mkdir(parents=True, exist_ok=True)
            note(source, folder)
            noted = True
        write_case(case, folder)
        progress(case.name)


@dataclass(frozen=True)
class _CaseSettings:
    """What is made of every scan, and where: see :func:`prepare`."""

    folder: Path
    spacing_mm: float
    segmentation: LoadedModel | None
    phase_variants: int

    def missing(self, name: str, validation: bool) -> list[int]:
        """The numbers of the case's phases that are not there yet; 0 is the scan as it is."""
        count = 1 if validation else 1 + self.phase_variants
        maps = self.segmentation is not None
        return [n for n in range(count) if not is_cached(_phase_name(name, n), self.folder, maps=maps)]


def _prepared(root: Path, settings: _CaseSettings) -> Iterator[CachedCase]:
    """The cases of a manifest."""
    for entry in usable(root):
        numbers = settings.missing(entry.name, entry.split == "val")
        if numbers:
            image = read_image(root / entry.image)
            labels = _labels(root, entry, image)
            organs = tuple(sorted({*entry.organs, *entry.pseudo_organs}))
            for case in _phases(entry.name, entry.split == "val", image, labels, settings, numbers):
                yield replace(case, organs=organs)


def _labels(root: Path, entry: Entry, image: Image) -> Image:
    """Where nothing is annotated, nothing is known of any voxel: :attr:`CachedCase.organs` says so."""
    return read_labels(root / entry.labels) if entry.labels else Image(np.zeros(image.grid.size, np.uint8), image.grid)


def _learn2reg(root: Path, settings: _CaseSettings) -> Iterator[CachedCase]:
    cohort = open_learn2reg(root)
    validation = {case.number for case in cohort.validation}
    for number, case in sorted(cohort.cases.items()):
        numbers = settings.missing(number, number in validation)
        if numbers:
            yield from _phases(number, number in validation, case.image(), case.labels(), settings, numbers)


def _phases(
    name: str, validation: bool, image: Image, labels: Image, settings: _CaseSettings, numbers: Sequence[int]
) -> Iterator[CachedCase]:
    """The case, for number 0, and its variants in other phases."""
    for number in numbers:
        called = _phase_name(name, number)
        shown = image if number == 0 else _in_another_phase(called, image, labels)
        yield _cached(called, validation, shown, labels, settings.spacing_mm, settings.segmentation)


def _phase_name(name: str, number: int) -> str:
    return name if number == 0 else f"{name}_phase{number}"


def _in_another_phase(name: str, image: Image, labels: Image) -> Image:
    phase = PhaseChange.random(torch.Generator().manual_seed(zlib.crc32(name.encode())))
    hu, where = (torch.from_numpy(volume.array.astype(np.float32))[None, None] for volume in (image, labels))
    return Image(phase.apply(hu, where)[0, 0].numpy(), image.grid)


def _phantoms(count: int, folder: Path, spacing_mm: float, organ_maps: bool) -> Iterator[CachedCase]:
    fine = min(spacing_mm, 4.0)
    for seed in range(count):
        name = f"phantom{seed:04d}"
        if not is_cached(name, folder, maps=organ_maps):
            subject = phantom(seed, network_scanner(seed, spacing_mm=fine))
            case = _cached(name, seed < PHANTOM_VALIDATION, subject.image, subject.labels, spacing_mm, None)
            yield replace(case, maps=label_maps(name, subject.labels, spacing_mm) if organ_maps else None)


def _cached(
    name: str, validation: bool, image: Image, labels: Image, spacing_mm: float, segmentation: LoadedModel | None
) -> CachedCase:
    factor = voxels_per_edge(name, image.grid, spacing_mm)
    hu = np.round(block_mean(image.array.astype(np.float32), factor)).astype(np.int16)
    majority = block_majority(labels.array.astype(np.uint8), factor, len(ORGAN_NAMES) + 1)
    maps = None if segmentation is None else predicted_maps(name, image, segmentation, spacing_mm)
    return CachedCase(name, "val" if validation else "train", hu, majority, maps=maps)

"""Whose scans are the nearest to a label map, before anything is registered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mics.data.manifest import Entry
from mics.image.io import Image, read_labels
from mics.losses.overlap import bray_curtis_loss
from mics.organs import ORGAN_NAMES
from mics.pipeline.reshape import fitted_voxels
from mics.training.organ_maps import label_maps


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A case of a prepared set, and where its annotated organs are: ``shares`` of coarse voxels, (organs, X, Y, Z) uint8."""

    entry: Entry
    shares: NDArray[np.uint8]


def read_labelled_case(root: Path, entry: Entry) -> LabelledCase:
    """A case of the manifest in ``root``; its predicted organs do not count."""
    labels = read_labels(root / entry.labels)
    drawn = np.where(np.isin(labels.array, entry.organs), labels.array, 0)
    return LabelledCase(entry, coarse_shares(entry.name, Image(drawn, labels.grid)))


def coarse_shares(name: str, labels: Image) -> NDArray[np.uint8]:
    """Organs' shares of voxels of twice the edge that they are fitted at (:func:`fitted_voxels`)."""
    return label_maps(name, labels, 2 * fitted_voxels(labels.grid) * labels.grid.spacing[0])


def best_source_cases(
    target_shares: NDArray[np.uint8], subjects: Sequence[LabelledCase], count: int
) -> list[LabelledCase]:
    """The ``count`` subjects whose organs overlap those of ``target_shares`` (:func:`coarse_shares`) most, best first.

    The mean is over the organs of ``target_shares``: a subject without one has no overlap there. One without any
    is no source case.
    """
    organs = [organ - 1 for organ in ORGAN_NAMES if target_shares[organ - 1].any()]
    target = _tensor(target_shares[organs])
    losses = [
        (float(bray_curtis_loss(_tensor(subject.shares[organs]), target)), subject.entry.name, subject)
        for subject in subjects
        if subject.shares[organs].any()
    ]
    return [subject for _, _, subject in sorted(losses, key=lambda item: item[:2])[:count]]


def _tensor(shares: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(shares)[None].float() / 255

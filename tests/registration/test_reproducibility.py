"""One pair, refined in ways that differ by rounding, ends at one place; on real scans: benchmarks/reproducibility.py."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mics.data.phantom import phantom
from mics.data.phantom.scanner import network_grid
from mics.image.intensity import hu_windows
from mics.losses.overlap import one_hot
from mics.organs import ORGAN_NAMES
from mics.registration.refine import refine
from mics.registration.refine_settings import Level, RefineSettings

SPACING = 8.0
SETTINGS = RefineSettings((Level(16, 16, 16, 12), Level(16, 8, 8, 18)), integrated_mm=SPACING, result_mm=SPACING)


@dataclass(frozen=True)
class Subject:
    window: Tensor
    organs: Tensor


def subject(seed: int) -> Subject:
    scan = phantom(seed, network_grid(SPACING))
    hu, labels = (
        torch.from_numpy(np.ascontiguousarray(image.array))[None, None] for image in (scan.image, scan.labels)
    )
    return Subject(hu_windows(hu.float(), (-125.0, 275.0))[:, :1], one_hot(labels, list(ORGAN_NAMES)))


@pytest.fixture(scope="module")
def subjects() -> tuple[Subject, Subject]:
    return subject(0), subject(1)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def refined(a: Subject, b: Subject) -> Tensor:
    """Displacement of a to b in mm."""
    still = torch.zeros(1, 3, *a.window.shape[2:])
    there, _ = refine(a.window, b.window, a.organs, b.organs, still, still, spacing_mm=SPACING, settings=SETTINGS)
    return there * SPACING


def apart(one: Tensor, other: Tensor, b: Subject) -> tuple[float, float]:
    """Mean and 99th percentile of the distance within the body, in mm."""
    body = functional.avg_pool3d((b.window > 0.15).float(), 5, 1, 2)[0, 0] > 0.5
    distance = (one - other).norm(dim=1)[0][body].numpy()
    return float(distance.mean()), float(np.quantile(distance, 0.99))


@pytest.mark.nightly
def test_one_and_two_threads_end_at_the_same_place(
    subjects: tuple[Subject, Subject], threads: Callable[[int], None]
) -> None:
    threads(1)
    alone = refined(*subjects)
    threads(2)
    mean, most = apart(refined(*subjects), alone, subjects[1])
    assert alone.norm(dim=1).mean() > 5
    assert mean < 0.05
    assert most < 0.5

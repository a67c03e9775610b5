"""Small cases and recipes that the training tests share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mics.training.cache import CachedCase, write_case
from mics.training.recipe import Recipe

SHAPE = (16, 16, 16)


@pytest.fixture
def make_case() -> Callable[..., CachedCase]:
    """A bright ball somewhere in the volume, organ 6, with a right kidney (2) at low and a left one (3) at high i."""

    def make(name: str, seed: int, split: str = "train", **more: object) -> CachedCase:
        rng = np.random.default_rng(seed)
        axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
        distance = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, rng.uniform(6, 10, 3), strict=True)))
        labels = np.where(distance < 4, 6, 0).astype(np.uint8)
        labels[1:3, 4:7, 2:5], labels[12:15, 5:8, 3:5] = 2, 3
        hu = np.where(labels > 0, 120, -80) + rng.integers(-9, 10, SHAPE)
        return CachedCase(name, split, hu.astype(np.int16), labels, **more)

    return make


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """Two epochs of two iterations of the small registration network, with changes."""
    settings = {
        "task": "registration",
        "preset": "small",
        "epochs": 2,
        "iterations_per_epoch": 2,
        "learning_rate": 1e-3,
    }
    return lambda **changes: Recipe.model_validate({**settings, **changes})


@pytest.fixture
def cases(tmp_path: Path, make_case: Callable[..., CachedCase]) -> Path:
    """A cache of two subjects for validation and two for training."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for i in range(4):
        write_case(make_case(f"subject{i}", i, "val" if i < 2 else "train"), folder)
    return folder

"""A stage is done once for the same input, and anew for another or after it was stopped."""

import numpy as np
import pytest

from mics.data.manifest import Entry, read_manifest, write_manifest
from mics.image.grid import Grid
from mics.image.io import Image, write_image
from mics.pipeline.stages import once, state


def test_a_stage_is_done_once_for_its_inputs(tmp_path):
    done, message = [], []

    def work(folder):
        folder.mkdir(exist_ok=True)
        done.append(folder)

    def stopped(folder):
        work(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once("train", tmp_path, {"epochs": 1}, stopped, message.append)
    first = once("train", tmp_path, {"epochs": 1}, work, message.append)
    assert done == [first, first]
    assert once("train", tmp_path, {"epochs": 1}, stopped, message.append) == first
    assert message[-1].startswith("train: current")
    assert once("train", tmp_path, {"epochs": 2}, work, message.append) != first
    assert len(done) == 3


def test_the_state_of_a_training_set_is_what_a_training_sees(tmp_path):
    grid = Grid.axis_aligned((0, 0, 0), (4, 4, 4), 2, "LAS")
    rows = []
    for name in "ab":
        write_image(Image(np.eye(3, dtype=np.int16) * np.ones((3, 1, 1), np.int16), grid), tmp_path / f"{name}.nii.gz")
        rows.append(
            Entry(name=name, cohort="own", split="train", status="prepared", organs=(6,), image=f"{name}.nii.gz")
        )
    states = []
    for change in (
        {},
        {"source_image": "/elsewhere", "warnings": ("odd",)},
        {"pseudo_organs": (1,)},
        {"split": "val"},
        {"status": "rejected"},
    ):
        write_manifest([rows[0], rows[1].model_copy(update=change)], tmp_path)
        states.append(state(tmp_path))
    assert states[0] == states[1]
    assert len(set(states)) == 4
    assert len(read_manifest(tmp_path)) == 2
    write_manifest(rows, tmp_path)
    write_image(Image(np.eye(3, dtype=np.int16) * np.full((3, 1, 1), 2, np.int16), grid), tmp_path / "b.nii.gz")
    assert state(tmp_path) not in states

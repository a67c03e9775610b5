"""Source cases: those whose organs lie most like those of the target, of as many organs as possible."""

import numpy as np

from mics.data.manifest import Entry
from mics.image.grid import Grid
from mics.image.io import Image, write_image
from mics.pipeline.source_cases import best_source_cases, coarse_shares, read_labelled_case

GRID = Grid.axis_aligned((0, 0, 0), (62, 62, 62), 2, "LAS")


def subject(root, name, start, organs):
    """Boxes of the liver and the spleen from voxel `start` on, of which `organs` are annotated."""
    labels = np.zeros(GRID.size, np.uint8)
    labels[start : start + 8, :16, :16] = 6
    labels[start : start + 8, 16:, :16] = 1
    write_image(Image(labels, GRID), root / f"{name}.nii.gz")
    return read_labelled_case(
        root,
        Entry(name=name, cohort="own", split="train", status="prepared", organs=organs, labels=f"{name}.nii.gz"),
    )


def test_the_nearest_with_the_most_organs_come_first(tmp_path):
    places = {"far": (24, (1, 6)), "near": (12, (1, 6)), "here": (8, (1, 6)), "half": (8, (6,)), "other": (8, (4,))}
    subjects = [subject(tmp_path, name, *place) for name, place in places.items()]
    labels = np.zeros(GRID.size, np.uint8)
    labels[8:16, :16, :16] = 6
    labels[8:16, 16:, :16] = 1
    target = coarse_shares("target", Image(labels, GRID))
    assert target.shape == (13, 8, 8, 8)
    found = [chosen.entry.name for chosen in best_source_cases(target, subjects, 5)]
    assert found[0] == "here"
    assert set(found[1:3]) == {"near", "half"}
    assert found[3:] == ["far"]
    assert [chosen.entry.name for chosen in best_source_cases(target, subjects, 1)] == ["here"]

"""Of real scans that are something else than turned, nobody's header is blamed; of one that is turned, it is."""

import dataclasses

import numpy as np
import pytest
import torch

from mics.data.cohorts.learn2reg import open_learn2reg
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.header_orientation import wrong_orientations


def messages(image):
    return wrong_orientations({"moving": image}, torch.device("cpu"))


def turned(image):
    """Head and feet, front and back exchanged, in the world."""
    direction = np.diag([1.0, -1, -1]) @ np.reshape(image.grid.direction, (3, 3))
    return dataclasses.replace(image.grid, direction=tuple(direction.ravel()))


def lower_third(image):
    """The pelvis; the cohort's last array axis runs from feet to head."""
    grid = image.grid
    size = (*grid.size[:2], grid.size[2] // 3)
    return Image(image.array[:, :, : size[2]], Grid(size, grid.spacing, grid.origin, grid.direction))


@pytest.mark.nightly
def test_a_pelvis_and_noise_have_no_header_to_blame_and_a_turned_patient_has(real_data):
    scans = [case.image() for case in open_learn2reg(real_data / "AbdomenCTCT").validation]
    for image in scans:
        assert image.grid.orientation.endswith("S")
        assert messages(image) == []
        assert messages(lower_third(image)) == []
        drawn = np.random.default_rng(0).normal(40, 40, image.array.shape)
        assert messages(Image(np.where(image.array > -115, drawn, image.array), image.grid)) == []
        (message,) = messages(Image(image.array, turned(image)))
        assert "turned about its left-right axis" in message

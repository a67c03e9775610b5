"""A header that turns its patient is named; that of a scan which is no CT is left alone."""

import numpy as np
import pytest
import torch

import mics
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.header_orientation import wrong_orientations


@pytest.mark.nightly
def test_a_turned_patient_is_named_but_not_where_the_values_are_no_ct():
    subject = mics.phantom_pair(0)[1].image
    grid = subject.grid
    direction = np.diag([1.0, -1, -1]) @ np.reshape(grid.direction, (3, 3))
    turned = Grid(grid.size, grid.spacing, grid.origin, tuple(direction.ravel()))
    device = torch.device("cpu")
    assert wrong_orientations({"fixed": subject}, device) == []
    (message,) = wrong_orientations({"moving": Image(subject.array, turned)}, device)
    assert "turned about its left-right axis" in message
    # As in some magnetic resonance images: fat is bright, and what is dense is dark.
    inverted = np.where(subject.array > -115, 120 - subject.array, subject.array)
    assert wrong_orientations({"fixed": Image(inverted, grid), "moving": Image(inverted, turned)}, device) == []

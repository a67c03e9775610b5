"""The affine by organs: patients made of ellipsoids, and a network that tells these by their HU."""

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image
from mics.network.config import SegmentationConfig
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel, load_model
from mics.registration.organ_affine import register_affine_by_organs
from mics.registration.pair import Pair

# A small patient. HU, centre and semi-axes in mm, LPS.
ORGANS = {
    1: (60.0, (49, 28, 42), (21, 18, 31)),
    2: (110.0, (-42, 42, -7), (18, 15, 31)),
    3: (160.0, (42, 42, -14), (18, 15, 31)),
    4: (210.0, (-38, 4, 35), (49, 42, 42)),
    5: (-20.0, (21, -21, 7), (24, 21, 21)),
}
TISSUE_HU, AIR_HU = -70.0, -1000.0
# From the fixed to the moving world: turned by 11 degrees about the body's axis, wider and shorter, far off.
TRUE = np.array([[1.10, -0.20, 0.02, 40.0], [0.19, 0.96, -0.04, -65.0], [0.0, 0.05, 0.93, 800.0], [0, 0, 0, 1]])
GRID = Grid.axis_aligned((-126, -91, -105), (126, 105, 105), (4, 4, 5), "RAS")


class ByLevel(Segmentation):
    """Tells organs by their HU: a voxel is of the organ whose level it has."""

    def forward(self, windows):
        """Scores fall with the distance from each level, in the abdominal window."""
        hu = windows[:, :1] * 400 - 125
        levels = torch.tensor([TISSUE_HU, *(hu for hu, _, _ in ORGANS.values())]).view(1, -1, 1, 1, 1)
        return 20 - ((hu - levels) / 8).square()


class ByLevelConfig(SegmentationConfig):
    """Its settings."""

    kind: Literal["by level"] = "by level"

    @property
    def features_per_voxel(self):
        """None to speak of."""
        return 1.0


@pytest.fixture(scope="module")
def model():
    card = load_model("organs-coarse").card
    return LoadedModel(ByLevel(ByLevelConfig(organs=len(ORGANS))), "by level", card)


def patient(grid, to_fixed=None, without=()):
    """A scan on ``grid``; ``to_fixed`` (4, 4) takes its points to those where the organs are."""
    points = grid.voxel_to_world(np.indices(grid.size).reshape(3, -1).T)
    x, y, z = (points if to_fixed is None else apply_matrix(to_fixed, points)).T
    hu = np.full(len(points), AIR_HU)
    hu[(x / 112) ** 2 + ((y - 7) / 77) ** 2 < 1] = TISSUE_HU
    for organ, (level, centre, axes) in ORGANS.items():
        if organ not in without:
            distance = sum(((p - c) / a) ** 2 for p, c, a in zip((x, y, z), centre, axes, strict=True))
            hu[distance < 1] = level
    return Image(hu.reshape(grid.size).astype(np.float32), grid)


def moved_grid(oblique=True):
    centre = apply_matrix(TRUE, GRID.centre)
    spacing, size = (4.2, 3.9, 4.5), (77, 60, 56)
    turn = np.eye(3)
    if oblique:
        c, s = np.cos(0.15), np.sin(0.15)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    origin = centre - turn @ (np.array(spacing) * (np.array(size) - 1) / 2)
    return Grid(size, spacing, tuple(origin), tuple(turn.ravel()))


def error_mm(found, true=TRUE):
    centres = np.array([centre for _, centre, _ in ORGANS.values()], dtype=float)
    return np.linalg.norm(apply_matrix(found, centres) - apply_matrix(true, centres), axis=1)


@pytest.fixture(scope="module")
def pair():
    return patient(GRID), patient(moved_grid(), np.linalg.inv(TRUE))


@pytest.fixture(scope="module")
def found(pair, model):
    return register_affine_by_organs(fixed=pair[0], moving=pair[1], model=model)


def test_a_known_affine_is_recovered_to_half_a_voxel(found):
    # Organs' voxels are of 8 mm, and strain is held back. An unregistered start is 800 mm off.
    assert error_mm(found).max() < 6
    assert error_mm(found).mean() < 4


def test_exchanged_scans_give_the_inverse(pair, found, model):
    back = register_affine_by_organs(fixed=pair[1], moving=pair[0], model=model)
    assert error_mm(back @ found, np.eye(4)).max() < 0.5


def test_a_scan_onto_itself_stays(pair, model):
    same = register_affine_by_organs(fixed=pair[0], moving=pair[0], model=model)
    assert error_mm(same, np.eye(4)).max() < 0.05


@pytest.mark.nightly
def test_a_scan_of_a_part_is_not_stretched_over_the_whole(pair, model):
    upper = GRID.size[2] * 2 // 5
    i, j, k = GRID.voxel_to_world([0, 0, upper]).tolist()
    part = Image(
        pair[0].array[:, :, upper:], dataclasses.replace(GRID, size=pair[0].array[:, :, upper:].shape, origin=(i, j, k))
    )
    for fixed, moving in ((pair[0], part), (part, pair[0])):
        matrix = register_affine_by_organs(fixed=fixed, moving=moving, model=model)
        assert error_mm(matrix, np.eye(4)).max() < 4


def test_tissue_and_the_search_decide_where_no_organ_is_found(model):
    fixed, moving = (
        patient(GRID, without=range(1, 6)),
        patient(moved_grid(oblique=False), np.linalg.inv(TRUE), range(1, 6)),
    )
    matrix = register_affine_by_organs(fixed=fixed, moving=moving, model=model)
    # A cylinder has no heights: its axis comes onto the other's.
    middle = np.array([[0.0, 7, z] for z in (-70, 0, 70)])
    apart = apply_matrix(np.linalg.inv(TRUE), apply_matrix(matrix, middle)) - middle
    assert np.linalg.norm(apart[:, :2], axis=1).max() < 12


def test_organs_that_one_scan_lacks_do_not_count(model, pair, found):
    lacking = patient(moved_grid(), np.linalg.inv(TRUE), without=(3, 5))
    matrix = register_affine_by_organs(fixed=pair[0], moving=lacking, model=model)
    assert error_mm(matrix).max() < 8


def test_a_network_that_finds_nothing_leaves_a_sound_affine(pair, model):
    class Nothing(ByLevel):
        def forward(self, windows):
            return functional.pad(super().forward(windows)[:, :1], (0,) * 6 + (0, len(ORGANS)), value=-100.0)

    blind = dataclasses.replace(model, network=Nothing(model.network.config))
    matrix = register_affine_by_organs(fixed=pair[0], moving=pair[1], model=blind)
    assert np.isfinite(matrix).all()
    assert np.linalg.det(matrix[:3, :3]) > 0.3


def test_organs_that_lie_turned_do_not_turn_the_patient_as_far(pair, model):
    left = np.array([1.0, 0, 0])
    turned = np.linalg.inv(TRUE[:3, :3]).T @ left
    degrees = []
    for other in (turned / np.linalg.norm(turned), left):
        matrix = register_affine_by_organs(
            fixed=pair[0], moving=pair[1], model=model, lefts=Pair(fixed=left, moving=other)
        )
        found = np.linalg.inv(matrix[:3, :3]).T @ left
        degrees.append(np.degrees(np.arccos(found @ left / np.linalg.norm(found))))
    assert degrees[0] == pytest.approx(np.degrees(np.arccos(turned @ left / np.linalg.norm(turned))), abs=1.5)
    assert degrees[1] < degrees[0] / 2

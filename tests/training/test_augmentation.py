"""Augmentation against known movements, and its limits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mics.training.augmentation import Deformation, Intensity, Region, deform, names
from mics.training.recipe import Augmentation

STRONG = Augmentation(rotation_degrees=25, scale=0.2, shift=4, elastic=1.5)


def still(shape: tuple[int, int, int]) -> Deformation:
    return Deformation(torch.zeros(3, 3), torch.zeros(3), torch.zeros(1, 3, 3, 3, 3), shape)


def whole(shape: tuple[int, int, int]) -> Region:
    return Region((0, 0, 0), shape)


def test_a_quarter_turn_is_that_of_numpy() -> None:
    hu = np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # pulls voxel (i, j) from (-j, i) about the middle
    field = still(hu.shape)._replace(linear=turn - torch.eye(3)).displacement(whole(hu.shape))
    turned, _ = deform(torch.from_numpy(hu)[None, None], torch.zeros(1, 1, 9, 9, 9), field)
    np.testing.assert_allclose(turned[0, 0], np.rot90(hu, -1, axes=(0, 1)), atol=1e-4)


def test_a_shift_in_any_of_its_two_forms_moves_by_whole_voxels() -> None:
    labels = torch.randint(0, 14, (1, 1, 8, 9, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    by_shift = still((8, 9, 10))._replace(shift=torch.tensor([2.0, 0, -1]))
    by_nodes = still((8, 9, 10))._replace(nodes=torch.tensor([2.0, 0, -1]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 4, 5))
    for deformation in (by_shift, by_nodes):
        _, moved = deform(labels.float(), labels, deformation.displacement(whole((8, 9, 10))))
        assert moved.dtype == torch.uint8
        torch.testing.assert_close(moved[:, :, :-2, :, 1:], labels[:, :, 2:, :, :-1])
        assert not moved[:, :, -2:].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.tuples(*[st.integers(0, 12)] * 3), st.tuples(*[st.integers(1, 8)] * 3))
def test_a_box_is_displaced_as_in_the_volume_and_filled_from_its_source(
    seed: int, start: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    shape, box = (20, 24, 20), Region(start, size)
    deformation = Deformation.random(shape, STRONG, torch.Generator().manual_seed(seed))
    field = deformation.displacement(box)
    everywhere = deformation.displacement(whole(shape))
    torch.testing.assert_close(field, everywhere[:, :, *box.slices], atol=1e-4, rtol=0)
    source = deformation.source(box)
    position = (
        field
        + torch.tensor(start).view(1, 3, 1, 1, 1)
        + torch.stack(torch.meshgrid(*[torch.arange(n) for n in size], indexing="ij"))
    )
    for axis in range(3):
        first, last = source.start[axis], source.start[axis] + source.size[axis] - 1
        inside = position[:, axis].clamp(0, shape[axis] - 1)
        assert 0 <= first <= float(inside.min())
        assert float(inside.max()) <= last < shape[axis]


def test_a_small_deformation_reads_little_more_than_the_crop() -> None:
    mild = Augmentation(rotation_degrees=3, scale=0.02, shift=1, elastic=0.3)
    deformation = Deformation.random((200, 160, 180), mild, torch.Generator().manual_seed(0))
    assert all(n <= 64 + 20 for n in deformation.source(Region((60, 40, 50), (64, 64, 64))).size)


def test_a_box_that_is_moved_out_of_the_volume_is_filled_from_its_border() -> None:
    far = still((6, 6, 6))._replace(shift=torch.tensor([100.0, -100, 0]))
    source = far.source(Region((0, 0, 0), (4, 4, 4)))
    assert (source.start[:2], source.size[:2]) == ([5, 0], [1, 1])


def test_intensity_by_hand() -> None:
    intensity = Intensity(1.5, -20, torch.tensor(3.0))
    assert intensity.apply(torch.tensor([50.0, 150.0])).tolist() == [33, 183]


def test_random_intensity_stays_within_its_limits() -> None:
    limits = Augmentation(contrast=0.2, brightness=30, noise=10)
    drawn = [Intensity.random((12, 12, 12), limits, torch.Generator().manual_seed(seed)) for seed in range(50)]
    assert 0.8 <= min(d.gain for d in drawn) < 0.9 < 1.1 < max(d.gain for d in drawn) <= 1.2
    assert -30 <= min(d.offset for d in drawn) < -15 < 15 < max(d.offset for d in drawn) <= 30
    deviations = [float(d.noise.float().std()) for d in drawn]
    assert min(deviations) < 2.5 < 7.5 < max(deviations) < 10.5


def test_no_noise_leaves_the_voxels_alone() -> None:
    hu = torch.randn(1, 1, 4, 4, 4)
    still = Intensity.random((4, 4, 4), Augmentation(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(still.apply(hu), hu)


def test_swapped_names_exchange_left_and_right_and_nothing_else() -> None:
    table, annotated = names(range(1, 14), None, swapped=True)
    assert table[:14].tolist() == [0, 1, 3, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 12]
    assert annotated.all()


@pytest.mark.parametrize(
    ("organs", "supervised", "swapped", "kept"),
    [
        ((2, 6), None, False, {2: 2, 6: 6}),
        ((2, 6), None, True, {2: 3, 6: 6}),
        ((2, 6), (3,), True, {2: 3}),
        ((2, 6), (2,), True, {}),
        ((1, 2, 6), (), False, {}),
        ((1, 2), (1, 13), False, {1: 1}),
    ],
)
def test_names_keep_what_is_annotated_and_supervised(
    organs: tuple[int, ...], supervised: tuple[int, ...] | None, swapped: bool, kept: dict[int, int]
) -> None:
    table, annotated = names(organs, supervised, swapped=swapped)
    assert {old: new for old, new in enumerate(table.tolist()) if new} == kept
    assert {i + 1 for i, there in enumerate(annotated.tolist()) if there} == set(kept.values())

"""Boxes in a row, numbered in one way and in another."""

import numpy as np
import pytest

from mics.evaluation.numbering import numbering_warning, other_numbering


def row_of_boxes(labels, shift=0, dtype=np.int64):
    """Boxes of 8 voxels along i, 10 from each to the next."""
    array = np.zeros((62, 12, 12), dtype)
    for place, label in enumerate(labels):
        start = 2 + 10 * place + shift
        array[start : start + 8, 2:10, 2:10] = label
    return array


def test_the_same_numbers_are_no_reason_to_ask():
    assert other_numbering(row_of_boxes([1, 2, 3, 4]), row_of_boxes([1, 2, 3, 4], 2)) == []


def test_ids_of_totalsegmentator_upon_those_of_btcv():
    """Spleen and gallbladder have the same number; liver, stomach and pancreas have not."""
    btcv, total = row_of_boxes([1, 4, 6, 7, 11]), row_of_boxes([1, 4, 5, 6, 7], 2)
    assert other_numbering(btcv, total) == [(6, 5), (7, 6), (11, 7)]
    (message,) = numbering_warning(btcv, total)
    assert "5 on 6, 6 on 7, 7 on 11" in message


def test_numbers_that_the_other_map_lacks():
    large = 614454277
    assert other_numbering(row_of_boxes([1, 2]), row_of_boxes([large, 2**40])) == [(1, large), (2, 2**40)]
    mixed = row_of_boxes([7, 8], dtype=np.uint64)
    assert other_numbering(mixed, row_of_boxes([1, 2], dtype=np.uint8)) == [(7, 1), (8, 2)]


@pytest.mark.parametrize(
    ("fixed", "moving", "shift"),
    [
        ([1, 2], [2, 9], 9),  # laid upon the wrong organ by a failed registration, one of them alone
        ([1, 2, 3], [1, 2, 9], 0),  # one label of another number
        ([1, 2, 3], [1, 5, 6], 6),  # overlap of 2/8: nothing lies plainly upon anything
        ([], [1, 2], 0),
        ([], [], 0),
    ],
)
def test_what_is_not_plain_is_not_asked_about(fixed, moving, shift):
    assert other_numbering(row_of_boxes(fixed), row_of_boxes(moving, shift)) == []

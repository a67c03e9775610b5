"""Post-processing by hand."""

import numpy as np

from mics.pseudo_labels.clean import PSEUDO_ORGANS, completed, largest_parts


def line(*values):
    """A volume of one row."""
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def test_the_largest_part_of_each_organ_stays():
    cleaned, shares = largest_parts(line(6, 0, 6, 6, 1, 0, 1, 1, 1, 12), PSEUDO_ORGANS)
    np.testing.assert_array_equal(cleaned, line(0, 0, 6, 6, 0, 0, 1, 1, 1, 0))
    assert shares == {1: 0.75, 6: 2 / 3}


def test_parts_that_touch_at_a_corner_are_one():
    volume = np.zeros((4, 4, 4), np.uint8)
    volume[0, 0, 0] = volume[1, 1, 1] = volume[3, 3, 3] = 7
    cleaned, shares = largest_parts(volume, [7])
    assert np.argwhere(cleaned).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert shares == {7: 2 / 3}


def test_annotations_are_kept_and_of_annotated_organs_nothing_is_added():
    annotated = line(0, 6, 6, 0, 0, 0)
    cleaned = line(6, 6, 1, 1, 11, 3)
    labels = completed(annotated, organs=(6, 11), cleaned=cleaned, wanted=(1, 6, 11))
    np.testing.assert_array_equal(labels, line(0, 6, 6, 1, 0, 0))


def test_without_annotations_all_wanted_organs_are_predicted():
    np.testing.assert_array_equal(completed(None, (), line(6, 1, 3), (1, 6)), line(6, 1, 0))

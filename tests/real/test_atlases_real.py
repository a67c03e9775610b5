"""Folders of real scans as atlases."""

import pytest

from mics.atlas.members import meaning, read_member, read_members
from mics.organs import ORGAN_NAMES


def test_learn2regs_subjects_are_found_with_names_and_in_true_orientation(real_data):
    members = read_members(real_data / "AbdomenCTCT", labelled=True)
    assert len(members) == 14
    assert meaning(members) == ORGAN_NAMES
    image, labels = read_member(members[0])
    assert image.grid == labels.grid
    assert labels.grid.orientation == "LAS"


def test_pairs_of_files_of_a_hospital(real_data):
    with pytest.warns(
        UserWarning, match="totalsegmentator_example_ct, totalsegmentator_example_seg without a label map"
    ):
        members = read_members(real_data / "native", labelled=True)
    assert [member.name for member in members] == ["0005", "0031", "0039"]
    image, labels = read_member(members[1])
    assert image.grid.is_close(labels.grid)
    assert {1, 2, 3, 6} <= set(labels.array.ravel()[::50].tolist())

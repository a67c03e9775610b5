"""The Learn2Reg adapter on the development data's real volumes."""

import numpy as np

from mics.data.cohorts.catalogue import open_cohorts
from mics.data.cohorts.learn2reg import label_maps, open_learn2reg
from mics.organs import LIVER, RIGHT_KIDNEY, SPLEEN


def centre(labels, label):
    """LPS mm of a label's centre of mass, from every fourth voxel."""
    return labels.grid.voxel_to_world(4 * np.argwhere(labels.array[::4, ::4, ::4] == label).mean(axis=0))


def test_every_liver_is_on_the_right_and_every_spleen_on_the_left(real_data):
    subjects = [*open_learn2reg(real_data / "AbdomenCTCT").cases.values(), *label_maps(real_data / "label-maps-only")]
    assert len(subjects) == 20
    for subject in subjects:
        labels = subject.labels()
        liver, spleen, kidney = (centre(labels, organ) for organ in (LIVER, SPLEEN, RIGHT_KIDNEY))
        assert liver[0] < spleen[0] - 50, subject.number
        assert kidney[0] < spleen[0] - 50, subject.number
        # The spleen lies behind the liver's centre, the kidneys below it.
        assert spleen[1] > liver[1], subject.number
        assert kidney[2] < liver[2], subject.number


def test_the_adapter_reads_everybody_with_all_organs_and_their_split(real_data):
    cohort = open_cohorts({"learn2reg": real_data / "AbdomenCTCT"})["learn2reg"]
    assert [case.name for case in cohort.cases if case.split == "val"] == ["0027", "0033", "0039"]
    assert len(cohort.cases) == 14
    case = cohort.cases[0]
    image = case.image()
    labels = case.labels(image)
    assert labels.grid.is_close(image.grid)
    assert set(np.unique(labels.array)) == {0, *case.organs}


def test_nobody_is_in_both_training_and_validation(real_data):
    dataset = open_learn2reg(real_data / "AbdomenCTCT")
    assert len(dataset.training) == 11
    assert [case.number for case in dataset.validation] == ["0027", "0033", "0039"]
    assert len(dataset.ordered_validation_pairs) == 6

"""The public re-split's measures, by hand: every other voxel, thirteen organs, those that a scan lacks as 0; and its pairs."""

import contextlib
import itertools

import numpy as np
import pytest

from mics.data.cohorts.splits import LEARN2REG_2020, LEARN2REG_TODAY, release_of
from mics.errors import InputError
from mics.evaluation.evaluate import evaluate
from mics.evaluation.learn2reg import displacement_name, write_displacement

SIZE = (16, 14, 12)
MOVES = {("p1", "p2"): 2, ("p1", "p3"): -1}
"""Of the fixture's subjects, in voxels along i."""


def halves(tmp_path):
    """The same displacements on every other voxel, in voxels twice as large."""
    folder = tmp_path / "halves"
    folder.mkdir()
    for (fixed, moving), move in MOVES.items():
        small = np.zeros((3, *((n + 1) // 2 for n in SIZE)), np.float32)
        small[0] = move / 2
        write_displacement(small, folder / displacement_name(fixed, moving))
    return folder


def test_it_tests_on_the_last_seven_annotated_subjects_in_both_directions():
    old, today = LEARN2REG_2020.resplit_pairs, LEARN2REG_TODAY.resplit_pairs
    assert (len(old), len(set(old)), len(today)) == (42, 42, 42)
    assert {number for pair in old for number in pair} == {f"00{n}" for n in range(34, 41)}
    assert {number for pair in today for number in pair} == {f"00{n}" for n in range(24, 31)}
    assert release_of(["0005", "0034"]) is LEARN2REG_2020
    assert release_of(["0005", "0015"]) is LEARN2REG_TODAY
    assert release_of(["0005", "0024"]) is None  # of either


@pytest.mark.filterwarnings("ignore:.* of the 42 pairs")
def test_absent_organs_count_as_zero_and_both_resolutions_of_a_field_give_the_same(pairs, submit, tmp_path):
    """A shift by two voxels is one of the halved grid; of thirteen organs two are there, and they fit."""
    moved = submit("moved", MOVES)
    full = evaluate(moved, pairs, resplit=True)
    half = evaluate(halves(tmp_path), pairs, resplit=True)
    assert full.scores[0].dice == {organ: float(organ in (1, 6)) for organ in range(1, 14)}
    assert full.summary.organs[2].dice.value == 0
    assert set(full.scores[0].hd95_mm) == {1, 6}
    # Before: the liver's 4 voxels along i become 2, p2's lie one further: half of it overlaps.
    assert full.scores[0].initial_dice[6] == pytest.approx(0.5)
    for one, other in zip(full.scores, half.scores, strict=True):
        assert one.dice == other.dice
        assert one.hd95_mm == pytest.approx(other.hd95_mm)
    with pytest.raises(InputError, match="half the resolution"):
        evaluate(tmp_path / "halves", pairs)
    full.save(tmp_path / "out")
    assert "absent one with Dice 0" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.parametrize("count", [41, 42])
def test_fewer_than_its_pairs_are_told_and_all_of_them_are_not(pairs, submit, tmp_path, count):
    """Seven subjects in both directions, all alike and unmoved."""
    subjects = [f"p{n}" for n in range(1, 8)]
    listed = list(itertools.permutations(subjects, 2))[:count]
    for subject in subjects[1:]:
        (tmp_path / f"{subject}.nii.gz").write_bytes((tmp_path / "p1.nii.gz").read_bytes())
    lines = [f"{fixed},{moving},{fixed}.nii.gz,{moving}.nii.gz" for fixed, moving in listed]
    pairs.write_text("\n".join(["fixed,moving,fixed_labels,moving_labels", *lines]) + "\n")
    still = submit("still", dict.fromkeys(listed, 0))
    told = pytest.warns(UserWarning, match="41 of the 42 pairs") if count < 42 else contextlib.nullcontext()
    with told:
        found = evaluate(still, pairs, resplit=True)
    assert (len(found.scores), len(found.warnings)) == (count, 42 - count)


def test_r_is_the_share_of_the_gap_that_is_left(pairs, perfect, submit):
    """Unmoved, r is 1; perfect, 0; by hand for one pair: Dice of two organs before, of two after."""
    still = evaluate(submit("still", dict.fromkeys(MOVES, 0)), pairs).summary
    assert still.ratio.value == pytest.approx(1)
    assert still.initial_dice.value == pytest.approx(still.measures["dice"].value)
    assert evaluate(perfect, pairs).summary.ratio.value == pytest.approx(0)
    halfway = evaluate(submit("halfway", {("p1", "p2"): 1, ("p1", "p3"): 0}), pairs).summary
    # Liver 4 and spleen 3 long: a shift by n leaves (4 - n) / 4 and (3 - n) / 3.
    before = 1 - (np.mean([2 / 4, 1 / 3]) + np.mean([3 / 4, 2 / 3])) / 2
    after = 1 - (np.mean([3 / 4, 2 / 3]) + np.mean([3 / 4, 2 / 3])) / 2
    assert halfway.ratio.value == pytest.approx(after / before)

"""Landmarks of two scans, matched by their order, and lists that their names say are in another one."""

import pytest

from mics.errors import InputError
from mics.evaluation.landmarks import read_landmarks


def lists(folder, *names):
    for number, own in enumerate(names):
        lines = [f"{len(name)},{index},0,{name}" for index, name in enumerate(own)]
        (folder / f"{number}.csv").write_text("\n".join(["x,y,z,name", *lines]) + "\n")
    return [folder / f"{number}.csv" for number in range(len(names))]


@pytest.mark.parametrize(
    "moving", [["liver", "spleen", "aorta"], ["a", "b", "c"], ["", "", ""], ["liver", "aorta", "b"]]
)
def test_lists_in_one_order_or_without_the_same_names_are_matched(tmp_path, moving):
    fixed, other = read_landmarks(*lists(tmp_path, ["liver", "spleen", "aorta"], moving))
    assert fixed.names == ("liver", "spleen", "aorta")
    assert other.names == tuple(moving)


def test_names_that_come_several_times_say_nothing_of_the_order(tmp_path):
    assert read_landmarks(*lists(tmp_path, ["F", "F", "G"], ["F", "G", "F"])) is not None


def test_the_same_names_in_another_order_are_refused(tmp_path):
    with pytest.raises(InputError, match="number 2 is 'spleen' in the fixed scan and 'aorta' in the moving one"):
        read_landmarks(*lists(tmp_path, ["liver", "spleen", "aorta"], ["liver", "aorta", "spleen"]))


def test_lists_of_unlike_length_are_refused(tmp_path):
    with pytest.raises(InputError, match="fixed scan has 3 landmarks, the moving one 2"):
        read_landmarks(*lists(tmp_path, ["a", "b", "c"], ["a", "b"]))

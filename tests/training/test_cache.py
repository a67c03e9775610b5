"""The cache: what is written is read, memory-mapped; an interrupted or damaged case is noticed."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mics.errors import InputError
from mics.training.cache import CachedCase, is_cached, read_cases, split, write_case

MakeCase = Callable[..., CachedCase]


def test_round_trip(tmp_path: Path, make_case: MakeCase) -> None:
    written = make_case("a", 0, "val", organs=(2, 6))
    write_case(written, tmp_path)
    (read,) = read_cases(tmp_path)
    assert (read.name, read.split, read.organs) == ("a", "val", (2, 6))
    assert (read.hu.dtype, read.labels.dtype) == (np.int16, np.uint8)
    np.testing.assert_array_equal(read.hu, written.hu)
    np.testing.assert_array_equal(read.labels, written.labels)


def test_organ_maps_are_a_file_more_and_wanted_ones_that_are_missing_make_a_case_incomplete(
    tmp_path: Path, make_case: MakeCase
) -> None:
    maps = np.random.default_rng(0).integers(0, 256, (13, 16, 16, 16), np.uint8)
    write_case(make_case("with", 0, maps=maps), tmp_path)
    write_case(make_case("without", 1), tmp_path)
    found = {case.name: case.maps for case in read_cases(tmp_path)}
    np.testing.assert_array_equal(found["with"], maps)
    assert found["without"] is None
    assert [is_cached(name, tmp_path, maps=True) for name in found] == [True, False]
    assert is_cached("without", tmp_path)


def test_files_are_plain_numpy_and_all_organs_count_unless_told(tmp_path: Path, make_case: MakeCase) -> None:
    write_case(make_case("a", 0), tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "a.hu.npy"), make_case("a", 0).hu)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hu.npy", "a.json", "a.labels.npy"]
    assert read_cases(tmp_path)[0].organs == tuple(range(1, 14))


def test_a_worker_gets_the_files_name_and_not_their_content(tmp_path: Path, make_case: MakeCase) -> None:
    write_case(make_case("a", 0), tmp_path)
    (read,) = read_cases(tmp_path)
    sent = pickle.dumps(read)
    assert len(sent) < 1000 < read.hu.nbytes
    np.testing.assert_array_equal(pickle.loads(sent).hu, read.hu)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(make_case("b", 1))).hu, make_case("b", 1).hu)


def test_a_case_counts_once_all_its_files_are_there(tmp_path: Path, make_case: MakeCase) -> None:
    write_case(make_case("whole", 0), tmp_path)
    write_case(make_case("stopped", 1), tmp_path)
    (tmp_path / "stopped.json").rename(tmp_path / ".stopped.json.partial")
    assert [case.name for case in read_cases(tmp_path)] == ["whole"]
    assert (is_cached("whole", tmp_path), is_cached("stopped", tmp_path)) == (True, False)


def truncate(folder: Path) -> None:
    file = folder / "a.hu.npy"
    file.write_bytes(file.read_bytes()[:-100])


def empty(folder: Path) -> None:
    (folder / "a.labels.npy").write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / "a.labels.npy").unlink()


def exchange(folder: Path) -> None:
    (folder / "a.labels.npy").write_bytes((folder / "a.hu.npy").read_bytes())


def another_size(folder: Path) -> None:
    np.save(folder / "a.hu.npy", np.zeros((3, 4, 5), np.int16))


def not_json(folder: Path) -> None:
    (folder / "a.json").write_text("{")


def unknown_organ(folder: Path) -> None:
    (folder / "a.json").write_text('{"split": "train", "organs": [77], "shape": [16, 16, 16]}')


@pytest.mark.parametrize("harm", [truncate, empty, remove, exchange, another_size, not_json, unknown_organ])
def test_a_damaged_case_is_an_input_error_that_says_what_to_do(
    harm: Callable[[Path], None], tmp_path: Path, make_case: MakeCase
) -> None:
    write_case(make_case("a", 0), tmp_path)
    harm(tmp_path)
    with pytest.raises(InputError, match=r"case a .* delete a\.json"):
        read_cases(tmp_path)


def test_no_case_and_no_case_of_a_split_are_input_errors(tmp_path: Path, make_case: MakeCase) -> None:
    with pytest.raises(InputError, match="no training case"):
        read_cases(tmp_path)
    with pytest.raises(InputError, match="'val'"):
        split([make_case("a", 0)], "val")

"""Folders of results: claimed before the work, filled with all files or none."""

import os

import pytest

from mics.errors import InputError
from mics.image.folder import usable_folder, writable_folder, write_together
from mics.image.whole import write_text


@pytest.mark.parametrize("place", ["a_file", "a_file/out"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, place):
    (tmp_path / "a_file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        usable_folder(tmp_path / place)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user to whom permissions apply")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        usable_folder(tmp_path)


def test_a_folder_to_go_on_in_may_hold_something(tmp_path):
    (tmp_path / "cell.json").write_text("done")
    assert writable_folder(tmp_path) == tmp_path
    with pytest.raises(InputError, match="not empty"):
        usable_folder(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["cell.json"]


def test_files_appear_together_or_not_at_all(tmp_path):
    def fail(path):
        raise OSError(28, "No space left on device")

    write_together(tmp_path, {"a": lambda path: path.write_text("1"), "b": lambda path: path.write_text("2")})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(InputError, match="No space left"):
        write_together(tmp_path, {"c": lambda path: path.write_text("3"), "d": fail})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def test_a_text_replaces_the_old_one_whole(tmp_path):
    write_text("old", tmp_path / "table.md")
    write_text("neu: Φ", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == "neu: Φ"
    assert [file.name for file in tmp_path.iterdir()] == ["table.md"]
    with pytest.raises(InputError, match="Cannot write"):
        write_text("lost", tmp_path / "nowhere" / "table.md")

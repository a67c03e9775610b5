"""Files that appear whole or not at all."""

import os
import stat

import pytest

from mics.errors import InputError, RunError
from mics.files.whole import folder_beside, give_name, write_text, write_whole
from mics.image.points import Points, write_points


def test_a_file_appears_whole_with_its_ending_and_replaces_the_old_one(tmp_path):
    seen = []

    def write(temporary):
        seen.append(temporary.name)
        temporary.write_bytes(b"new")

    (tmp_path / "case.hu.npy").write_bytes(b"old")
    write_whole(tmp_path / "case.hu.npy", write)
    assert (tmp_path / "case.hu.npy").read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["case.hu.npy"]
    assert seen[0].endswith(".npy")
    assert seen[0] != "case.hu.npy"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("ITK ERROR: No space left")])
def test_after_a_failure_the_old_file_is_there_and_nothing_else(tmp_path, error):
    def write(temporary):
        temporary.write_bytes(b"half")
        raise error

    (tmp_path / "a.json").write_bytes(b"old")
    with pytest.raises(InputError, match=r"Cannot write .*a\.json: No space left"):
        write_whole(tmp_path / "a.json", write)
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_what_the_disk_refuses_late_is_told(tmp_path, monkeypatch):
    """A network drive accepts what is written, and says only on fsync that the quota is used up."""

    def full(descriptor):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="Disk quota exceeded"):
        write_text("lost", tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_line_feeds_and_letters_stay_what_they_are(tmp_path):
    write_text("neu: Φ\n\r\n", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_bytes() == "neu: Φ\n\r\n".encode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_landmarks_have_the_permissions_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_points(Points([[1.0, 2.0, 3.0]], ("tip",)), tmp_path / "p.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "p.csv").stat().st_mode) == 0o666 & ~umask


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_folder_appears_filled_with_the_permissions_of_any_new_one(tmp_path):
    before = os.umask(0o027)
    try:
        with folder_beside(tmp_path / "new" / "out") as folder:
            write_text("whole", folder / "a.txt")
            assert not (tmp_path / "new" / "out").exists()
            give_name(folder, tmp_path / "new" / "out")
    finally:
        os.umask(before)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["out"]
    assert (tmp_path / "new" / "out" / "a.txt").read_text() == "whole"
    assert stat.S_IMODE((tmp_path / "new" / "out").stat().st_mode) == 0o750


def test_of_a_folder_that_is_not_finished_nothing_is_left(tmp_path):
    with folder_beside(tmp_path / "out") as folder:
        write_text("half", folder / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_meanwhile_is_told(tmp_path):
    with folder_beside(tmp_path / "out") as folder:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs.txt").touch()
        with pytest.raises(RunError, match=r"Cannot write .*out: "):
            give_name(folder, tmp_path / "out")
    assert [entry.name for entry in tmp_path.rglob("*")] == ["out", "theirs.txt"]

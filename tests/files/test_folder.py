"""Folders of results: claimed before the work, filled with all files or none."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mics.errors import InputError
from mics.files.folder import (
    free_folder,
    locked_usable_folder,
    temporary_folder,
    usable_folder,
    writable_folder,
    write_together,
)


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


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._something"])
def test_what_file_managers_leave_does_not_count(tmp_path, name):
    (tmp_path / name).write_text("of the system")
    assert usable_folder(tmp_path) == tmp_path
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", [".gitignore", "desktop.ini.txt", ".partial-file"])
def test_what_somebody_may_have_put_there_counts(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        usable_folder(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from mics.files.folder import locked_usable_folder, write_together
with locked_usable_folder(sys.argv[1]) as folder:
    write_together(folder, {"a": lambda path: (path.write_text("1"), os.kill(os.getpid(), signal.SIGKILL))})
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_after_a_kill_while_writing_the_same_folder_is_free_and_clean(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [file.name[:9] for file in tmp_path.iterdir()] == [".partial-"]
    with locked_usable_folder(tmp_path) as folder:
        assert list(folder.iterdir()) == []


HOLDS = """
import sys
from mics.files.folder import locked_usable_folder
with locked_usable_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not lock folders")
def test_a_second_run_learns_at_once_that_the_folder_is_taken(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another run"), locked_usable_folder(tmp_path):
            pass
        first.stdin.close()
        first.wait()
    with locked_usable_folder(tmp_path) as folder:
        assert folder == tmp_path


@pytest.mark.skipif(os.name == "nt", reason="Windows does not lock folders")
def test_what_another_run_is_writing_is_left_alone(tmp_path):
    def meanwhile(path):
        with pytest.raises(InputError, match="not empty"):
            usable_folder(tmp_path)
        path.write_text("1")

    write_together(tmp_path, {"a": meanwhile})
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_finished_work_goes_beside_what_has_come_into_its_folder(tmp_path):
    out = usable_folder(tmp_path / "out")
    assert free_folder(out) == out
    (out / "notes.txt").write_text("mine")
    assert free_folder(out) == tmp_path / "out-2"
    (tmp_path / "out-2" / "summary.json").write_text("another's")
    assert free_folder(out) == tmp_path / "out-3"
    assert [file.name for file in out.iterdir()] == ["notes.txt"]


def test_without_room_beside_finished_work_goes_within(tmp_path, monkeypatch):
    out = usable_folder(tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    make = Path.mkdir

    def refuse_beside(self, *arguments, **options):
        if self.parent == tmp_path and self != out:
            raise PermissionError(13, "Permission denied")
        make(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse_beside)
    assert free_folder(out) == out / "results-2"


def test_without_any_temporary_folder_the_sentence_names_the_remedy(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    with pytest.raises(InputError, match="TMPDIR"), temporary_folder("mics-"):
        pass


def test_a_temporary_folder_is_taken_away():
    with temporary_folder("mics-") as folder:
        (folder / "a").write_text("1")
    assert not folder.exists()


def test_what_a_writer_puts_beside_its_file_comes_along_or_goes_too(tmp_path):
    def write(path):
        path.write_text("field")
        path.with_name(f"{path.name}.json").write_text("note")

    write_together(tmp_path, {"a.nii": write})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.nii": "field", "a.nii.json": "note"}
    (tmp_path / "b.nii").mkdir()  # a file cannot take its place
    with pytest.raises(InputError, match="cannot be written"):
        write_together(tmp_path, {"b.nii": write})
    assert {path.name for path in tmp_path.iterdir()} == {"a.nii", "a.nii.json", "b.nii"}

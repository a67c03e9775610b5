import os

import pytest

from mics.cli.output import output_folder
from mics.errors import InputError


def test_the_folder_is_made_and_kept(tmp_path):
    with output_folder(tmp_path / "a" / "b") as folder:
        (folder / "result").touch()
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["result"]


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
def test_folders_made_for_a_run_that_failed_are_taken_away(tmp_path, error):
    with pytest.raises(error), output_folder(tmp_path / "a" / "b"):
        raise error("stop")
    assert list(tmp_path.iterdir()) == []


def interrupted_after_writing(path):
    with output_folder(path) as folder:
        (folder / "result").touch()
        raise KeyboardInterrupt


def test_what_was_there_or_was_written_stays(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "a"):
        raise KeyboardInterrupt
    assert (tmp_path / "a").is_dir()
    with pytest.raises(KeyboardInterrupt):
        interrupted_after_writing(tmp_path / "b")
    assert (tmp_path / "b" / "result").exists()


def test_a_second_command_is_refused_while_the_first_is_at_work(tmp_path):
    if os.name == "nt":
        pytest.skip("Windows does not lock folders")
    with output_folder(tmp_path / "out") as folder:
        with pytest.raises(InputError, match="Another run"), output_folder(tmp_path / "out"):
            pass
        assert folder.is_dir()

"""The kinds of error: all are caught as one, and travel between processes whole."""

import pickle

import pytest

from mics import errors
from mics.data.pairs import read_pairs
from mics.files.folder import usable_folder
from mics.image.grid import Grid

KINDS = ["MissingFileError", "GeometryError", "SettingError", "InsufficientMemoryError", "RunError"]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_an_input_error_and_drawn_at_the_top(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.InputError)
    assert f"── {name} " in errors.__doc__


def test_an_error_from_a_worker_keeps_its_kind_its_sentence_and_its_option():
    error = pickle.loads(pickle.dumps(errors.SettingError("No device `cuda:9`.", option="device")))
    assert type(error) is errors.SettingError
    assert (str(error), error.option) == ("No device `cuda:9`.", "device")
    assert errors.InputError("a").option is None


def test_what_is_wrong_has_its_kind(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    for kind, wrong in {
        errors.MissingFileError: lambda: read_pairs(tmp_path / "no.csv"),
        errors.GeometryError: lambda: Grid((0, 1, 1), (1, 1, 1), (0, 0, 0)),
        errors.SettingError: lambda: errors.require_type("1", int, "A seed is an int"),
        errors.RunError: lambda: usable_folder(tmp_path / "full"),
    }.items():
        with pytest.raises(errors.InputError) as raised:
            wrong()
        assert type(raised.value) is kind

"""The kinds of error: all are caught as one, and travel between processes whole."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

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


def _told_by_the_library() -> Iterator[tuple[str, int, str]]:
    """File, line and code of all that the package, without its commands, raises or warns of."""
    package = Path(errors.__file__).parent
    for file in package.rglob("*.py"):
        if file.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"):
                yield str(file.relative_to(package)), node.lineno, ast.unparse(node)


def test_the_library_speaks_of_arguments_and_not_of_flags():
    told = list(_told_by_the_library())
    assert len(told) > 500  # of about 700: the search finds them
    assert [(file, line) for file, line, code in told if re.search(r"(^|\W)--[a-z]", code)] == []


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

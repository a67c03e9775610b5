"""The kinds of error: all are caught as one, and travel between processes whole."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from mics import errors
from mics.data.pairs import read_pairs
from mics.files.folder import usable_folder
from mics.image.grid import Grid

_FLAG = re.compile(r"(^|\W)--[a-z]")
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


def _flags_told(source: str) -> list[int]:
    """Lines of a module where it raises or warns of something in words that name a command's flag."""
    if not _FLAG.search(source):
        return []
    told = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn")
    )
    return [node.lineno for node in told if _FLAG.search(ast.unparse(node))]


def test_the_library_speaks_of_arguments_and_not_of_flags():
    assert _flags_told('raise ValueError(\n    "use --affine none"\n)\nwarnings.warn("give --scan")\n"--out"') == [1, 4]
    package = Path(errors.__file__).parent
    library = [file for file in package.rglob("*.py") if file.parent != package / "cli"]
    found = {file.name: _flags_told(file.read_text("utf-8")) for file in library}
    assert {name: lines for name, lines in found.items() if lines} == {}


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


def test_one_thing_is_counted_in_the_singular():
    assert [errors.counted(number, "point") for number in (0, 1, 2)] == ["0 points", "1 point", "2 points"]
    assert [errors.counted(number, "atlas") for number in (1, 2)] == ["1 atlas", "2 atlases"]
    said = [errors.some_of(number, total, "point") for number, total in ((1, 1), (1, 3), (3, 3))]
    assert said == ["The only point", "1 of the 3 points", "3 of the 3 points"]

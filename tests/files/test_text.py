"""Text as editors and spreadsheets save it, and what is none."""

import csv
from pathlib import Path

import pytest

from mics.atlas.members import read_members
from mics.data.label_names import read_label_names
from mics.data.pairs import read_pairs
from mics.errors import InputError
from mics.files.text import read_text
from mics.image.points import read_points

TABLE = "id,name\r\n6,Leber\r\n13,Drüse\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_python_writes_in_an_encoding_is_read_again(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(TABLE.encode(encoding))
    assert read_text(path) == TABLE


def test_a_big_endian_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xfe\xff" + TABLE.encode("utf-16-be"))
    assert read_text(path) == TABLE


def test_tables_in_utf_16_are_read(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_bytes(TABLE.encode("utf-16"))
    assert read_label_names(tmp_path / "names.csv") == {6: "Leber", 13: "Drüse"}
    (tmp_path / "points.csv").write_bytes("x,y,z\r\n1,2,3\r\n".encode("utf-16"))
    assert read_points(tmp_path / "points.csv").coordinates.tolist() == [[1, 2, 3]]
    (tmp_path / "scan.nii").touch()
    (tmp_path / "pairs.csv").write_bytes("fixed,moving\r\nscan.nii,scan.nii\r\n".encode("utf-16"))
    (pair,) = read_pairs(tmp_path / "pairs.csv", needs=("image",))
    assert (pair.fixed.name, pair.moving.name) == ("scan", "scan")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32"])
def test_encodings_that_do_not_tell_what_they_are_get_the_sentence(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(TABLE.encode(encoding))
    with pytest.raises(UnicodeError, match="not UTF-8 text"):
        read_text(path)


@pytest.mark.parametrize(
    "reader", [read_label_names, read_points, read_pairs, lambda path: read_members(path, labelled=False)]
)
def test_other_encodings_get_one_sentence(reader, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", encoding="latin-1", newline="") as file:
        csv.writer(file).writerows([["x", "y", "z", "name"], [1, 2, 3, "Läsion"]])
    with pytest.raises(InputError, match="not UTF-8 text") as error:
        reader(path)
    assert "codec" not in str(error.value)

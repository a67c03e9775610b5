"""Names that become parts of files' names lead nowhere else, in every table that gives them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mics.data.manifest import Entry, read_manifest, write_manifest
from mics.data.names import is_file_name
from mics.data.pairs import read_pairs
from mics.errors import InputError

ELSEWHERE = ["../../x", "/tmp/x", "..", ".", "", "a/b", "a\\b", "C:x", "a\nb", "a\0b", ".hidden", "x" * 300, "ü" * 120]


@given(st.text())
def test_a_name_that_is_taken_stays_in_its_folder(name: str) -> None:
    if is_file_name(name):
        assert Path("folder", f"{name}.json").parent == Path("folder")
        assert Path(name).name == name


@pytest.mark.parametrize("name", ["0027", "kits19_case_00000", "Müller 2", "a..b", "-x"])
def test_usual_names_are_taken(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_manifest_with_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    rows = [Entry(name=case, cohort="own", split="train", status="prepared") for case in ("zz", name)]
    write_manifest(rows, tmp_path)
    with pytest.raises(InputError, match=r"manifest\.csv, line [23]: the case needs a name"):
        read_manifest(tmp_path)


def test_a_manifest_with_a_case_twice_is_refused(tmp_path: Path) -> None:
    write_manifest([Entry(name="a", cohort="own", split="train", status="prepared")] * 2, tmp_path)
    with pytest.raises(InputError, match="line 3: the case a is there already"):
        read_manifest(tmp_path)


def test_a_manifest_that_a_spreadsheet_has_saved_is_read_or_told_what_is_wrong(tmp_path: Path) -> None:
    rows = [Entry(name=name, cohort="own", split="val", status="prepared", organs=(1, 2)) for name in "ab"]
    path = write_manifest(rows, tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    assert read_manifest(tmp_path) == rows
    for changed, message in (
        (text.replace(",", ";"), "semicolons divide its values"),
        (
            text.replace(",val,", ",validation,"),
            r"line 2 is not a manifest .*split: Input should be 'train', 'val' or 'test'",
        ),
        (text.replace(",organs,", ",organ,"), "it has no column organs"),
    ):
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_manifest(tmp_path)


@pytest.mark.parametrize("cell", ["[" * 100_000, "x" * 200_000, "[1]", '{"a": 1}'])
def test_a_manifest_with_absurd_cells_is_told_in_a_sentence(cell: str, tmp_path: Path) -> None:
    columns = list(Entry.model_fields)
    row = ['"' + (cell if column == "checks" else "a").replace('"', '""') + '"' for column in columns]
    (tmp_path / "manifest.csv").write_text(",".join(columns) + "\n" + ",".join(row) + "\n")
    with pytest.raises(InputError, match="not a manifest of this version"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", [name for name in ELSEWHERE if "\n" not in name and "\0" not in name])
def test_a_list_of_pairs_with_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"fixed,moving\n{name},b\n")
    with pytest.raises(InputError, match="line 2: the fixed scan needs a name"):
        read_pairs(tmp_path / "pairs.csv")

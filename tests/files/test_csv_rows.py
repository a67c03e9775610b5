"""Rows of CSV files: what would go into another column is told, in every table that a user writes."""

import csv

import pytest

from mics.atlas.members import read_members
from mics.data.label_names import read_label_names
from mics.data.pairs import read_pairs
from mics.errors import InputError
from mics.files.csv_rows import CsvRows


def test_rows_are_those_of_the_csv_module():
    text = ["a, b,,", '1, "2,5",,', "3,4,,,,", "", "5"]
    assert list(CsvRows(text)) == [
        {"a": "1", "b": "2,5", "": ""},
        {"a": "3", "b": "4", "": ""},
        {"a": "5", "b": None, "": None},
    ]


def test_blanks_and_lines_without_values_do_not_count():
    text = [" a ,b ", "1 , 2 3 ", ",", "  ,  ", "4,5"]
    assert list(CsvRows(text)) == [{"a": "1", "b": "2 3"}, {"a": "4", "b": "5"}]


@pytest.mark.parametrize(("sign", "message"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_signs_than_commas_are_named(tmp_path, sign, message):
    path = tmp_path / "table.csv"
    for read, columns in ((read_pairs, ("fixed", "moving")), (read_label_names, ("id", "name"))):
        path.write_text(f"{sign.join(columns)}\n1,5{sign}2\n")
        with pytest.raises(InputError, match=f"{message} divide its values: save it with commas"):
            read(path)


def test_a_first_line_for_excel_is_no_row():
    lines = ["sep=,\n", "name, mm\n", "a, 1\n", "b, 2\n"]
    rows = CsvRows(lines)
    assert list(rows) == list(csv.DictReader(lines[1:], skipinitialspace=True))
    assert rows.line_num == len(lines)
    with pytest.raises(csv.Error, match="semicolons"):
        CsvRows(["sep=;\n", "name;mm\n"])


def test_a_value_too_many_is_told_with_its_line():
    rows = CsvRows(["a,b", "1,2", "", "1,2,3"])
    assert next(rows) == {"a": "1", "b": "2"}
    with pytest.raises(csv.Error, match="line 4 has 3 values and the first line 2 columns"):
        next(rows)


@pytest.mark.parametrize(
    ("read", "columns", "line"),
    [
        (read_pairs, "fixed,moving,fixed_labels,moving_labels", "a,b,Liver, left.nii.gz,b.nii.gz"),
        (lambda path: read_members(path, labelled=False), "image,labels", "scan, of May.nii.gz,labels.nii.gz"),
        (read_label_names, "id,name", "1,kidney, left"),
    ],
)
def test_every_table_of_a_user_refuses_it(tmp_path, read, columns, line):
    (tmp_path / "table.csv").write_text(f"{columns}\n{line}\n")
    with pytest.raises(InputError, match=r"line 2 has \d values and the first line \d columns"):
        read(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_text(f"{columns},{columns.split(',')[0]}\n")
    with pytest.raises(InputError, match="two columns"):
        read(tmp_path / "table.csv")

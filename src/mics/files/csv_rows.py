"""The rows of a CSV file as a user writes it, refused where a value would go into another column or be lost."""

import csv
from collections.abc import Iterable
from typing import Any


class CsvRows(csv.DictReader):  # type: ignore[type-arg]
    """Rows by the names of the first line.

    ``csv.DictReader`` takes the last of two columns of one name, and puts aside what goes beyond the last column, as where a
    decimal comma divides a number. Making it raises csv.Error for the former, iterating for the latter.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__(lines, skipinitialspace=True)
        names = [name for name in self.fieldnames or () if name]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise csv.Error(f"it has two columns {twice}")

    def __next__(self) -> dict[str, Any]:
        row: dict[Any, Any] = super().__next__()
        beyond = row.pop(None, [])
        if any(value.strip() for value in beyond):
            count = len(self.fieldnames or ())
            raise csv.Error(
                f"line {self.line_num} has {count + len(beyond)} values and the first line {count} columns: numbers have a "
                "decimal point, and text with a comma stands between quotes"
            )
        return row

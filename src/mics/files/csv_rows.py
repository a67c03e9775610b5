"""The rows of a CSV file as a user writes it, refused where a value would go into another column or be lost."""

import csv
from collections.abc import Iterable
from typing import Any

_DIVIDERS = ((";", "semicolons"), ("\t", "tabs"))


class CsvRows(csv.DictReader):  # type: ignore[type-arg]
    """Rows by the names of the first line.

    ``csv.DictReader`` takes the last of two columns of one name, and puts aside what goes beyond the last column, as where a
    decimal comma divides a number. Making it raises csv.Error for the former, and where other signs than commas divide the
    values; iterating for the latter. Blanks around names of columns and values do not count, nor do lines without any value, as
    spreadsheets leave them, nor a first line ``sep=,``, by which Excel knows the sign.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__(lines, skipinitialspace=True)
        if [name.strip() for name in self.fieldnames or ()] == ["sep=", ""]:
            self.fieldnames = None  # the next line's are read when they are asked for
        self.fieldnames = [name.strip() for name in self.fieldnames or ()] or None
        names = [name for name in self.fieldnames or () if name]
        if len(names) == 1 and (other := next((word for sign, word in _DIVIDERS if sign in names[0]), None)):
            raise csv.Error(f"{other} divide its values: save it with commas, and numbers with a decimal point")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise csv.Error(f"it has two columns {twice}")

    def __next__(self) -> dict[str, Any]:
        row: dict[Any, Any] = super().__next__()
        beyond = row.pop(None, [])
        if not any(value and value.strip() for value in (*row.values(), *beyond)):
            return next(self)
        row = {name: value.strip() if value else value for name, value in row.items()}
        if any(value.strip() for value in beyond):
            count = len(self.fieldnames or ())
            raise csv.Error(
                f"line {self.line_num} has {count + len(beyond)} values and the first line {count} columns: numbers have a "
                "decimal point, and text with a comma stands between quotes"
            )
        return row

"""Every row of docs/files-tried.md names a test that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    line
    for line in (ROOT / "docs" / "files-tried.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not re.match(r"\| situation|\|-", line)
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_tests_that_are_there(row):
    named = re.findall(r"`([\w/.]*)::(\w+)`", row.rsplit("|", 2)[1])
    assert named
    file = ""
    for path, name in named:
        file = path or file
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")

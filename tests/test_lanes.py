"""The list of slow tests names tests that are there, and marks them alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.parametrize("name", (TESTS / "slow.txt").read_text(encoding="utf-8").split())
def test_what_is_called_slow_is_there(name):
    file, _, test = name.partition("::")
    place = TESTS.parent / file
    assert place.exists()
    assert not test or re.search(rf"^ *def {test}\(", place.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("marks", "expected"), [("slow", {True}), ("not slow", {False})])
def test_what_is_called_slow_is_marked_and_nothing_else(marks, expected):
    """Of a file of which one test is named, with several cases."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", marks, "tests/deformation/test_field.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, check=True)
    names = [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line]
    assert {name.startswith("test_the_number_of_threads_changes_nothing[") for name in names} == expected


def test_files_of_slow_tests_alone_are_not_even_loaded_where_no_slow_ones_are_asked_for():
    """In this folder nothing but whole files is called slow, so that no test is left out after it was loaded."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not slow", "tests/training"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, check=True)
    assert "tests/training/test_recipe.py::" in done.stdout
    assert "deselected" not in done.stdout

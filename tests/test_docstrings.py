"""Docstrings of what `import mics` offers and docs/api names have one form: Google's, with all arguments and the result."""

import doctest
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mics

API = Path(__file__).parents[1] / "docs" / "api"
MADE_BY_THE_PACKAGE = (
    "Registration",
    "Evaluation",
    "LoadedModel",
    "ModelCard",
    "PairArguments",
    "Provenance",
    "Phantom",
)
SECTIONS = ("Args", "Returns", "Raises", "References", "Example")


def _methods(owner: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, member in vars(owner).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(function) and not name.startswith("_"):
            yield f"{owner.__name__}.{name}", function


def _named() -> Iterator[Any]:
    """What `import mics` offers, and functions and classes that docs/api names."""
    yield from (getattr(mics, name) for name in sorted(set(mics.__all__) - {"__version__"}))
    for page in sorted(API.glob("*.md")):
        for name in re.findall(r"^::: mics\.(\S+)\.(\w+)$", page.read_text("utf-8"), flags=re.MULTILINE):
            one = getattr(importlib.import_module(f"mics.{name[0]}"), name[1], None)
            if inspect.isclass(one) or inspect.isfunction(one):
                yield one


def _public() -> dict[str, Any]:
    """Functions, methods, and classes that a user makes, by name."""
    found: dict[str, Any] = {}
    for one in _named():
        if not inspect.isclass(one):
            found[one.__name__] = one
        elif not issubclass(one, Exception):
            found |= dict(_methods(one))
            if one.__name__ not in MADE_BY_THE_PACKAGE:
                found[one.__name__] = one
    return found


PUBLIC = _public()


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^(\w+):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", PUBLIC)
def test_sections_name_every_argument_and_what_comes_back(name):
    one = PUBLIC[name]
    signature = inspect.signature(one)
    sections = _sections(inspect.getdoc(one) or "")
    assert list(sections) == [section for section in SECTIONS if section in sections]
    described = re.findall(r"^    (\w+(?:, \w+)*):", sections.get("Args", ""), flags=re.MULTILINE)
    assert [argument for line in described for argument in line.split(", ")] == [
        argument for argument in signature.parameters if argument not in ("self", "cls")
    ]
    returns = not inspect.isclass(one) and signature.return_annotation not in (None, "None")
    assert ("Returns" in sections) == returns


@pytest.mark.parametrize("name", PUBLIC)
def test_what_a_function_raises_itself_is_told(name):
    source = inspect.getsource(PUBLIC[name])
    if not inspect.isclass(PUBLIC[name]) and re.search(r"^ +raise |\brequire_type\(", source, flags=re.MULTILINE):
        assert "Raises" in _sections(inspect.getdoc(PUBLIC[name]) or "")


@pytest.mark.parametrize("module", sorted({PUBLIC[name].__module__ for name in PUBLIC}))
def test_examples_run(module):
    found = doctest.testmod(sys.modules[module], optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


def test_there_are_examples():
    assert [name for name, one in PUBLIC.items() if ">>>" in (inspect.getdoc(one) or "")]

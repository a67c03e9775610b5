"""Docstrings of what `import mics` offers and docs/api shows have one form: Google's, with all arguments and the result."""

import doctest
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

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
NEEDS_LIGHTNING = "mics.training.start"  # the train extra
SECTIONS = ("Args", "Returns", "Raises", "References", "Example")


def _methods(owner: type) -> dict[str, Callable[..., Any]]:
    public = (member for name, member in vars(owner).items() if not name.startswith("_"))
    functions = (one.__func__ if isinstance(one, classmethod | staticmethod) else one for one in public)
    return {_name(one): one for one in functions if inspect.isfunction(one)}


def _inside(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Functions and methods of a module of which a page shows all."""
    own = [inspect.unwrap(one) for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__]
    found = {_name(one): one for one in own if inspect.isfunction(one) and not one.__name__.startswith("_")}
    for one in own:
        found |= _methods(one) if inspect.isclass(one) else {}
    return found


def _name(one: Any) -> str:
    return f"{one.__module__}.{one.__qualname__}"


def _shown() -> Iterator[tuple[Any, list[str]]]:
    """What `import mics` offers and docs/api shows, each with the patterns of what its page keeps off."""
    yield from ((getattr(mics, name), []) for name in sorted(set(mics.__all__) - {"__version__"}))
    for page in sorted(API.glob("*.md")):
        for name, block in re.findall(r"^::: (\S+)\n((?:    .*\n)*)", page.read_text("utf-8"), flags=re.MULTILINE):
            filters = yaml.safe_load(block)["options"].get("filters", []) if block else []
            assert all(pattern.startswith("!") for pattern in filters)
            if name != NEEDS_LIGHTNING or find_spec("lightning"):
                yield pkgutil.resolve_name(name), [pattern[1:] for pattern in filters]


def _public() -> dict[str, Any]:
    """Functions, methods, and classes that a user makes, by name; of modules that are shown whole, no classes."""
    found: dict[str, Any] = {}
    for one, kept_off in _shown():
        if inspect.ismodule(one):
            for name, function in _inside(one).items():
                if not any(re.search(pattern, function.__name__) for pattern in kept_off):
                    found[name] = function
        elif not inspect.isclass(one):
            found[_name(one)] = one
        elif not issubclass(one, Exception):
            found |= _methods(one)
            if one.__name__ not in MADE_BY_THE_PACKAGE:
                found[_name(one)] = one
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

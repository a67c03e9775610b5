"""Writes summary.md, every key of summary.json with its meaning: python docs/summary.py. A test holds that they agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mics.run_summary import RunSummary

PAGE = Path(__file__).with_name("summary.md")

HEAD = """# Every key of the summary

`summary.json`, and `Registration.summary` in Python, hold what follows: shares are 0 to 1, lengths mm, places LPS. What is
null was not asked for or cannot be said; `stages` and `stored_transforms` are then left out. In Python
`mics.run_summary.read_summary(path)` reads the file of this version or an earlier one as typed objects; other programs
find the JSON schema in `mics/summary.schema.json`. A new key does not
raise `schema_version`; a key that goes or changes its meaning does. What the numbers mean for you:
[How to read a result](reading.md). This page is printed by `python docs/summary.py`.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as the model has it."""
    schema = RunSummary.model_json_schema()
    parts = {"RunSummary": schema, **schema["$defs"]}
    order = list(dict.fromkeys(["RunSummary", *_reached("RunSummary", parts)]))
    return "\n".join([HEAD, *(line for name in order for line in _section(name, parts))])


def _reached(name: str, parts: dict[str, Any]) -> Iterator[str]:
    """The parts that a part consists of, and theirs, in order of the keys."""
    for key in parts[name]["properties"].values():
        for inner in _parts_of(key):
            yield inner
            yield from _reached(inner, parts)


def _parts_of(key: dict[str, Any]) -> list[str]:
    """The parts that a value is, or that an object or list holds as its values."""
    options = [key, *key.get("anyOf", ())]
    values = (option.get(name) for option in options for name in ("additionalProperties", "items"))
    options += [value for value in values if isinstance(value, dict)]
    return [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]


def _section(name: str, parts: dict[str, Any]) -> list[str]:
    part = parts[name]
    head = [] if name == "RunSummary" else [f"## {name}", "", _sentence(part["description"]), ""]
    rows = []
    for key, what in part["properties"].items():
        meanings = [what.get("description"), *(parts[inner]["description"] for inner in _parts_of(what))]
        rows.append(f"| `{key}` | {_kind(what)} | {_sentence(next(filter(None, meanings), ''))} |")
    return [*head, "| key | | meaning |", "|---|---|---|", *rows, ""]


def _kind(key: dict[str, Any]) -> str:
    """What the value is, in the words of JSON."""
    if "enum" in key:
        return " or ".join(f"`{value}`" for value in key["enum"])
    if "anyOf" in key:
        return " or ".join(_kind(option) for option in key["anyOf"])
    if "$ref" in key:
        name = key["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if key["type"] == "array":
        items = key.get("items") or key["prefixItems"][0]
        count = key.get("minItems")
        return f"{count} times {_kind(items)}" if count else f"list of {_kind(items)}"
    if key["type"] == "object":
        inner = key.get("additionalProperties")
        return f"object of {_kind(inner)}" if isinstance(inner, dict) else "object"
    return str(key["type"])


def _sentence(text: str) -> str:
    """In one line, with Sphinx's roles as plain code."""
    return " ".join(text.split()).replace(":func:`", "`").replace(":class:`", "`").replace("``", "`").replace("|", "∣")


if __name__ == "__main__":
    main()

"""The Dockerfile, as a parser reads it: an image cannot be built here."""

import io
import json
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_it_copies_what_is_there_and_runs_mics():
    parse = pytest.importorskip("dockerfile_parse")
    steps = parse.DockerfileParser(fileobj=io.BytesIO((ROOT / "Dockerfile").read_bytes())).structure
    by_name: dict[str, list[str]] = {}
    for step in steps:
        by_name.setdefault(step["instruction"], []).append(step["value"])
    allowed = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = [source for value in by_name["COPY"] for source in value.split()[:-1]]
    assert set(copied) == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert json.loads(by_name["ENTRYPOINT"][0]) == ["mics"]
    assert by_name["USER"] == ["1000:1000"]
    (run,) = by_name["RUN"]
    assert '"$TORCH_LINKS"' in run
    assert by_name["ARG"] == ['TORCH_LINKS=""']
    extras = run.split("/mics[")[1].split("]")[0].split(",")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) <= known.keys()
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert sum(pin.startswith("torch==") for pin in pins) == 1

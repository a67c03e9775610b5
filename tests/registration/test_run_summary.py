"""The summary as a contract: what register writes, earlier summaries, the schema as it is shipped."""

import copy
import json

import pydantic
import pytest

from mics.errors import InputError
from mics.registration.register import register
from mics.run_summary import SCHEMA, SCHEMA_VERSION, RunSummary, read_summary


@pytest.fixture(scope="module")
def registration(patients, options):
    return register(**patients, **{**options, "affine": "none", "topology": "preserve"})


@pytest.fixture(scope="module")
def written(tmp_path_factory, registration):
    folder = tmp_path_factory.mktemp("run") / "out"
    registration.save(folder)
    return folder / "summary.json"


def test_the_typed_summary_is_that_of_the_file(registration, written):
    assert registration.run_summary == read_summary(written)
    assert registration.verdict.word == registration.summary["verdict"]["word"]


def test_the_model_holds_all_that_is_written_and_names_every_key(written):
    content = json.loads(written.read_text())
    summary = read_summary(written)
    assert summary.model_dump(mode="json", exclude_unset=True) == content
    assert not _unnamed(summary)
    assert set(json.loads(SCHEMA.read_text())["required"]) <= content.keys()


def _unnamed(part):
    """Keys that no part of the model documents."""
    found = list(part.model_extra or {})
    for value in dict(part).values():
        found += _unnamed(value) if hasattr(value, "model_extra") else []
    return found


def test_summaries_of_before_the_schema_are_read(written, tmp_path):
    content = json.loads(written.read_text())
    old = copy.deepcopy(content)
    for key in ("schema_version", "verdict", "jacobian", "landmarks", "label_names", "evidence", "peak_memory_gb"):
        old.pop(key, None)
    (tmp_path / "summary.json").write_text(json.dumps(old))
    summary = read_summary(tmp_path / "summary.json")
    assert (summary.verdict, summary.label_names, summary.schema_version) == (None, {}, 1)
    assert summary.seconds == content["seconds"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "later version"),
        ({"warnings": "none"}, "not the summary of a registration: warnings"),
        ({"verdict": {"word": "fine", "reasons": []}}, r"verdict\.word"),
    ],
)
def test_what_is_no_summary_of_this_version_is_refused(written, tmp_path, change, message):
    (tmp_path / "summary.json").write_text(json.dumps({**json.loads(written.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        read_summary(tmp_path / "summary.json")


def test_a_missing_summary_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_summary(tmp_path / "summary.json")


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 11),
    reason="pydantic before 2.11 words the same schema otherwise",
)
def test_the_shipped_schema_is_that_of_the_model():
    """After a change: write `json.dumps(RunSummary.model_json_schema(), indent=2)` and a newline into the file."""
    assert json.loads(SCHEMA.read_text()) == RunSummary.model_json_schema()

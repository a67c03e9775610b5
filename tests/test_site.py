"""The documentation as a site: its nav, the reference, the models' page, and the notebooks."""

import hashlib
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import mics
from mics.run_summary import RunSummary

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", ["models", "summary"])
def test_what_is_printed_is_of_today(name):
    printed = runpy.run_path(str(DOCS / f"{name}.py"))["page"]()
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == printed, f"run python docs/{name}.py"


def test_the_page_of_models_names_every_file_of_weights_and_its_own_checksum():
    page = (DOCS / "models.md").read_text(encoding="utf-8")
    weights = sorted((ROOT / "src/mics/network/weights").glob("*.safetensors"))
    assert re.findall(r"^## (\S+)$", page, re.M) == sorted(
        (file.stem for file in weights), key=lambda n: ("organs" in n, n)
    )
    for file in weights:
        assert f"`{hashlib.sha256(file.read_bytes()).hexdigest()}`" in page


def test_the_reference_has_every_public_name():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    described = set(re.findall(r"^::: [\w.]+?\.?(\w+)$", pages, re.M)) | {"InputError", "__version__"}
    assert set(mics.__all__) <= described
    assert set(mics.__all__) <= set(re.findall(r"`mics\.(\w+)`", (DOCS / "api" / "index.md").read_text()))


def test_every_key_of_the_summary_that_a_page_explains_is_there():
    explained = re.findall(r"^\| `([a-z_]+)", (DOCS / "reading.md").read_text(encoding="utf-8"), re.M)
    assert len(explained) >= 6
    assert set(explained) <= set(RunSummary.model_fields)


def test_every_page_is_in_the_navigation_and_nothing_else():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

    def pages(part):
        if isinstance(part, str):
            return [part]
        return [page for inner in (part.values() if isinstance(part, dict) else part) for page in pages(inner)]

    listed = pages(yaml.safe_load(text)["nav"])
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version


@pytest.mark.nightly
@pytest.mark.parametrize("notebook", sorted((DOCS / "notebooks").glob("*.md")), ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(notebook, tmp_path, monkeypatch):
    jupytext = pytest.importorskip("jupytext", reason="notebooks need the docs extra")
    cells = [cell.source for cell in jupytext.read(notebook).cells if cell.cell_type == "code"]
    assert len(cells) > 4
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for number, source in enumerate(cells):
        exec(compile(source, f"{notebook.stem}, cell {number}", "exec"), namespace)


@pytest.mark.nightly
def test_the_site_is_built_without_a_warning_and_asks_for_nothing_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="the site needs the docs extra")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]+src="?(http[^"> ]+)', page.read_text(encoding="utf-8"))
        loaded += re.findall(
            r'<link[^>]+rel="?(?:stylesheet|preconnect|icon)[^>]+href="?(http[^"> ]+)', page.read_text()
        )
        assert loaded == [], page.name

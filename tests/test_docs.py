"""The Python code that the documentation shows runs, page by page, on small files with the names that the pages use."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mics import Grid, Image, Transform, write_image
from mics.data.cohorts.catalogue import ADAPTERS
from mics.experiments.baselines.methods import METHODS
from mics.image.io import READERS
from mics.losses.similarities import SIMILARITIES
from mics.losses.total import LOSSES
from mics.network.kinds import NETWORKS
from mics.network.presets import PRESETS

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
NOTEBOOKS = DOCS / "notebooks"  # tests/test_site.py runs them
PAGES = {
    page.name: BLOCK.findall(page.read_text(encoding="utf-8"))
    for page in DOCS.rglob("*.md")
    if page.parent != NOTEBOOKS
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A fixed and a moving scan on different grids, and a pair of transforms that are each other's inverse."""
    fixed = Grid.axis_aligned((-60, -70, 40), (60, 70, 120), (4, 4, 5), orientation="LPS")
    moving = Grid.axis_aligned((-70, -80, 30), (75, 80, 130), (5, 4, 4), orientation="RAS")
    (tmp_path / "out").mkdir()
    for name, grid in (("fixed", fixed), ("moving", moving)):
        x, y, z = np.moveaxis(grid.points(), -1, 0)
        hu = 100 * np.cos(x / 20 + z / 30) * np.cos(y / 25)
        write_image(Image(hu.astype(np.float32), grid), tmp_path / f"{name}.nii.gz")
    shift = np.array([3.0, -2.0, 1.5])
    for name, grid, sign in (("moving_to_fixed", fixed, 1), ("fixed_to_moving", moving, -1)):
        displacement = np.broadcast_to(sign * shift, (*grid.size, 3)).astype(np.float32)
        Transform(displacement, grid).save(tmp_path / "out" / f"transform_{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as of a script that lies there
    for registry in (LOSSES, NETWORKS, PRESETS, SIMILARITIES, ADAPTERS, METHODS, READERS):
        monkeypatch.setattr(registry, "_entries", dict(registry))  # what a page adds is for that page


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_the_code_on_a_page_runs(page):
    namespace: dict = {}
    for block in PAGES[page]:
        if page == "extending.md":  # whose examples are copied singly
            namespace = {}
        exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize("page", [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")], ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_layout_names_every_file():
    layout = (DOCS / "architecture.md").read_text(encoding="utf-8")
    files = (DOCS.parent / "src" / "mics").rglob("*.py")
    listed = Counter(re.findall(r"\b\w+\.py\b", layout))
    needed = Counter(file.name for file in files if file.name != "__init__.py")
    assert {name: count - listed[name] for name, count in needed.items() if listed[name] < count} == {}


def test_no_name_of_a_file_is_there_three_times():
    """Whoever opens `summary.py` is to know which."""
    files = (DOCS.parent / "src" / "mics").rglob("*.py")
    names = Counter(file.name for file in files if file.name != "__init__.py")
    assert [name for name, count in names.items() if count > 2] == []


def test_no_two_classes_have_the_same_name():
    """Whoever reads `Pair` is to know which."""
    files = (DOCS.parent / "src" / "mics").rglob("*.py")
    names = Counter(name for file in files for name in re.findall(r"^class (\w+)", file.read_text("utf-8"), re.M))
    assert [name for name, count in names.items() if count > 1] == []

"""What others add: registered here, or by an installed package, also for the commands and their processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import READERS, Image, read_image, read_labels
from mics.registry import GROUP, Registry


def test_entries_come_in_order_and_ones_own_can_be_replaced():
    registry = Registry("colour", {"red": 1})
    registry.register("blue", 2)
    registry.register("blue", 3)
    assert dict(registry) == {"red": 1, "blue": 3}
    with pytest.raises(InputError, match="has a colour called 'red' itself"):
        registry.register("red", 4)
    assert registry["red"] == registry.find("red") == 1
    with pytest.raises(InputError, match="no colour called 'green'; choose one of red, blue"):
        registry.find("green")


@pytest.fixture
def installed(tmp_path):
    """`installed(code)` is the environment of a process in which a package of that code is installed."""

    def install(code: str) -> dict[str, str]:
        site = tmp_path / "site"
        info = site / "pelvis-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "pelvis.py").write_text(code)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pelvis\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\npelvis = pelvis\n")
        paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    return install


def mics(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mics.cli.main import main; main()", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_commands_know_what_an_installed_package_adds(installed, tmp_path):
    environment = installed(
        "from mics.data.cohorts.case import Adapter, Cohort\n"
        "from mics.data.cohorts.catalogue import ADAPTERS\n"
        "ADAPTERS.register('pelvis', Adapter('pelvis', 'Pelvic CT', '7', 'bladder', 'any', '', lambda path: Cohort([])))\n"
    )
    listed = mics(environment, "prepare", "--list")
    assert listed.returncode == 0, listed.stderr
    assert "Pelvic CT" in listed.stdout


def test_a_package_that_cannot_be_loaded_is_named(installed):
    broken = mics(installed("import a_library_that_is_not_there\n"), "prepare", "--list")
    assert broken.returncode == 2
    assert "installed package pelvis extends MICS and cannot be loaded" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_a_registered_reader_reads_scans_and_labels_and_what_it_gives_is_checked(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(READERS, "_entries", {})
    grid = Grid((3, 4, 5), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    READERS.register(".npy", lambda path: Image(np.load(path), grid))
    READERS.register(".mask.npy", lambda path: Image((np.load(path) > 10).astype(np.uint8), grid))
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    np.save(tmp_path / "scan.npy", values)
    np.save(tmp_path / "organs.mask.npy", values)
    scan, labels = read_image(tmp_path / "scan.npy"), read_labels(tmp_path / "organs.MASK.npy".lower())
    assert (scan.grid, scan.array.dtype, labels.array.dtype) == (grid, np.float32, np.uint8)
    np.testing.assert_array_equal(scan.array, values)
    np.testing.assert_array_equal(labels.array, values > 10)
    np.save(tmp_path / "empty.npy", np.full((3, 4, 5), np.nan))
    with pytest.raises(InputError, match="60 NaN or infinite voxels"):
        read_image(tmp_path / "empty.npy")
    with pytest.raises(InputError, match=r"scan\.numpy does not exist"):
        read_image(tmp_path / "scan.numpy")

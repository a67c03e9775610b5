"""What a training cannot begin with is refused before anything is written, and nobody's folder is written into."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mics.data.manifest import Entry, write_manifest
from mics.errors import InputError
from mics.files.folder import locked_folder
from mics.image.grid import Grid
from mics.image.io import Image, write_image
from mics.network.kinds import build
from mics.network.presets import preset
from mics.training.cases import prepare
from mics.training.divergence import require_finite_weights
from mics.training.recipe import load_recipe

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.training.source import source_of
from mics.training.start import resume, start

SMALL = ["spacing_mm=16", "epochs=1", "iterations_per_epoch=1"]


GRID = Grid.axis_aligned((0, 0, 0), (12, 12, 12), 4, "LAS")


def scan(seed: int) -> Image:
    return Image(np.random.default_rng(seed).integers(-900, 200, GRID.size).astype(np.int16), GRID)


def begin(output: Path, data: str = "phantom:5", **options: Any) -> Path:
    return start("phantom-small", data, output, **{"overrides": SMALL, **options})


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A prepared set by hand: two subjects for training, two for validation."""
    root = tmp_path / "prepared"
    root.mkdir()
    rows = []
    for name in "abcd":
        write_image(scan(ord(name)), root / f"{name}.nii.gz")
        split = "train" if name in "ab" else "val"
        rows.append(Entry(name=name, cohort="own", split=split, status="prepared", image=f"{name}.nii.gz"))
    write_manifest(rows, root)
    return root


def test_a_segmentation_without_annotated_validation_is_refused_before_anything_is_written(
    prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has an annotated organ, and a segmentation is validated by them"):
        start("organs-coarse", str(prepared), tmp_path / "a" / "run", overrides=["epochs=1"])
    assert not (tmp_path / "a").exists()
    source_of("phantom:5", 8.0, None, 0).require_annotated_validation()  # all organs of which are known


def test_a_prepared_set_of_which_a_volume_has_gone_is_refused_before_anything_is_written(
    prepared: Path, tmp_path: Path
) -> None:
    (prepared / "c.nii.gz").rename(tmp_path / "elsewhere.nii.gz")
    with pytest.raises(
        InputError, match=r"manifest\.csv lists .*/c\.nii\.gz, which is not there: its files are relative to it"
    ):
        begin(tmp_path / "a" / "run", str(prepared))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": "no-such-model"}, "There is no model no-such-model"),
        ({"initial": "organs-small"}, "another network shape"),
        ({"initial": "mics-velocity"}, "another network shape"),
        ({"data": "phantom:0"}, "phantom:N"),
        ({"data": "phantom:4"}, "1 subject in the split 'train'"),
        ({"data": "phantom:²"}, "phantom:N"),
        ({"data": "phantom:" + "9" * 5000}, "phantom:N"),
        ({"data": "no/such/folder"}, "no/such/folder"),
        ({"devices": 1_000_000}, "1000000 devices"),
        ({"overrides": [*SMALL, "preset=small-organs", "organs_model=mics-small"]}, "not for segmentation"),
        ({"overrides": [*SMALL, "preset=small-organs", "organs_model=nothing"]}, "There is no model nothing"),
    ],
)
def test_refused_before_anything_is_written(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        begin(tmp_path / "a" / "run", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        *("steps=1000000000000000000000", "epochs=1000000000000000000000", "workers=100000", "batch_size=0"),
        *("losses.similarity=.inf", "losses.inverse=-1", "learning_rate=.nan", "learning_rate=0", "seed=-1"),
        *("spacing_mm=.inf", "spacing_mm=0", "crop=[0, 1, 1]", "augmentation.noise=.inf", "losses=3", "epochs=[1"),
    ],
)
def test_settings_that_no_run_could_have_are_refused(change: str) -> None:
    with pytest.raises(InputError, match=change.partition("=")[0].partition(".")[0]):
        load_recipe("phantom-small", [change])


@pytest.mark.parametrize("content", [b"- 1\n", b"3", b"", b"\xff\xfe", b"a: [", b"[" * 1000, b"1: 2"])
def test_a_recipe_that_is_no_mapping_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        load_recipe(path)


@pytest.mark.parametrize("name", ["model.safetensors", "notes.txt", "best.ckpt", "cases"])
def test_somebodys_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name == "cases" else (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        begin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_second_training_in_one_folder_is_refused_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked_folder(run), pytest.raises(InputError, match="Another run"):
        begin(run)
    recipe = load_recipe("phantom-small").model_dump(mode="json")
    (run / "run.json").write_text(json.dumps({"recipe": recipe, "initial": None, "devices": 1, "nodes": 1}))
    with locked_folder(run), pytest.raises(InputError, match="Another run"):
        resume(run)


def rescanned(root: Path) -> None:
    write_image(scan(0), root / "b.nii.gz")


def annotated(root: Path) -> None:
    write_image(Image(np.full(GRID.size, 6, np.uint8), GRID), root / "a_labels.nii.gz")
    rows = [Entry(name="a", cohort="own", split="train", status="prepared", image="a.nii.gz", labels="a_labels.nii.gz")]
    write_manifest(rows, root)


@pytest.mark.parametrize("change", [rescanned, annotated])
def test_cases_of_data_that_have_changed_are_not_taken_for_those_of_today(
    tmp_path: Path, prepared: Path, change: Callable[[Path], None]
) -> None:
    added: list[str] = []
    cases = tmp_path / "cases"
    prepare(str(prepared), cases, 4.0)
    prepare(str(prepared), cases, 4.0, progress=added.append)
    assert added == []
    change(prepared)
    with pytest.raises(InputError, match="before those data changed: delete that folder"):
        prepare(str(prepared), cases, 4.0)


def test_cases_of_other_data_or_settings_are_not_taken(tmp_path: Path, prepared: Path) -> None:
    cases = tmp_path / "cases"
    prepare(str(prepared), cases, 4.0)
    for data, spacing in (("phantom:5", 4.0), (str(prepared), 8.0)):
        with pytest.raises(InputError, match="other settings"):
            prepare(data, cases, spacing)


def test_weights_that_have_become_no_numbers_stop_the_run() -> None:
    network = build(preset("small"))
    require_finite_weights(network, 3)
    with torch.no_grad():
        list(network.parameters())[-1].view(-1)[0] = torch.nan
    with pytest.raises(InputError, match="epoch 3"):
        require_finite_weights(network, 3)

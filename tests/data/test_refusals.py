"""What prepares, completes and adds cases refuses before anything is written, and leaves somebody's folder alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mics.data.cohorts.catalogue import ADAPTERS, open_cohorts
from mics.data.manifest import Entry, write_manifest
from mics.data.prepare import prepare
from mics.errors import InputError
from mics.files.folder import locked_folder
from mics.image.grid import Grid
from mics.image.io import Image, write_image
from mics.pipeline.synthesise import synthesise
from mics.pseudo_labels.complete import complete
from mics.pseudo_labels.label_review import read_reviews

GRID = Grid.axis_aligned((0, 0, 0), (48, 48, 48), 4, "LAS")


@pytest.fixture
def own(tmp_path):
    """A subject in an nnU-Net folder of one's own, described by a YAML file."""
    scan = Image(np.random.default_rng(0).integers(-900, 200, GRID.size).astype(np.int16), GRID)
    for kind, volume in (("imagesTr/a_0000", scan), ("labelsTr/a", Image((scan.array > 150).astype(np.uint8), GRID))):
        path = tmp_path / "own" / f"{kind}.nii.gz"
        path.parent.mkdir(parents=True)
        write_image(volume, path)
    (tmp_path / "own" / "own.yaml").write_text("labels: {liver: 1}\n")
    return tmp_path / "own" / "own.yaml"


@pytest.fixture
def prepared(own, tmp_path):
    """The same subject as a prepared set, whose other organs nobody looked for."""
    root = tmp_path / "prepared"
    root.mkdir()
    shutil.copy(own.parent / "imagesTr" / "a_0000.nii.gz", root / "a.nii.gz")
    shutil.copy(own.parent / "labelsTr" / "a.nii.gz", root / "labels.nii.gz")
    common = {"cohort": "own", "status": "prepared", "image": "a.nii.gz", "labels": "labels.nii.gz", "organs": (6,)}
    write_manifest([Entry(**common, name="a", split="train")], root)
    return root


def prepare_own(own, output, **more):
    return prepare(open_cohorts({"nnunet": own}), output, affine=None, **{"size": (8, 8, 8), "spacing_mm": 8.0, **more})


def absurd_size(own, prepared, output):
    prepare_own(own, output, size=(8, 8, 10**21))


def absurd_spacing(own, prepared, output):
    prepare_own(own, output, spacing_mm=float("nan"))


def twice(own, prepared, output):
    (own.parent / "imagesTs").mkdir()
    shutil.copy(own.parent / "imagesTr" / "a_0000.nii.gz", own.parent / "imagesTs")
    prepare_own(own, output)


def of_registration(own, prepared, output):
    complete(prepared, output, model="mics-small")


def no_multiple(own, prepared, output):
    coarse = Grid.axis_aligned((0, 0, 0), (48, 48, 48), 8, "LAS")
    write_image(
        Image(np.random.default_rng(0).integers(-900, 200, coarse.size).astype(np.int16), coarse), prepared / "a.nii.gz"
    )
    complete(prepared, output, model="organs-small")


def no_source_case(own, prepared, output):
    write_manifest([Entry(name="a", cohort="own", split="val", status="prepared", image="a.nii.gz")], prepared)
    synthesise(prepared, None, output, between=1)


def too_many(own, prepared, output):
    synthesise(prepared, None, output, between=10**21)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (absurd_size, "up to 2048 voxels"),
        (absurd_spacing, "up to 2048 voxels"),
        (twice, "two cases nnunet_a"),
        (of_registration, "is for registration, not for segmentation"),
        (no_multiple, "no multiple of the prepared 8 mm"),
        (no_source_case, "there is no source case"),
        (too_many, "up to 1000 subjects between"),
    ],
)
def test_refused_before_anything_is_written(own, prepared, tmp_path, work, message):
    with pytest.raises(InputError, match=message):
        work(own, prepared, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "work",
    [
        lambda own, prepared, output: prepare_own(own, output),
        lambda own, prepared, output: complete(prepared, output, model="organs-coarse"),
        lambda own, prepared, output: synthesise(prepared, None, output),
    ],
    ids=["prepare", "complete", "synthesise"],
)
def test_somebodys_folder_and_one_in_use_are_left_alone(own, prepared, tmp_path, work):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "manifest.csv").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        work(own, prepared, mine)
    assert [path.read_text() for path in mine.iterdir()] == ["mine"]
    with locked_folder(tmp_path / "busy"), pytest.raises(InputError, match="Another run"):
        work(own, prepared, tmp_path / "busy")
    assert not any((tmp_path / "busy").iterdir())


@pytest.mark.parametrize(
    "content", ["", "[]", "3", "{", '{"labels": 3, "training": 3}', "[" * 9999, '{"training": [3]}']
)
@pytest.mark.parametrize(("cohort", "file"), [("msd-liver", "dataset.json"), ("learn2reg", "AbdomenCTCT_dataset.json")])
def test_a_publishers_file_of_another_type_is_told(tmp_path: Path, cohort: str, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=file):
        ADAPTERS[cohort].open(tmp_path)


def test_a_test_case_without_a_number_is_told(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").touch()
    (tmp_path / "AbdomenCTCT_dataset.json").write_text(json.dumps({"training": [], "test": ["scan.nii.gz"]}))
    with pytest.raises(InputError, match="not laid out as Learn2Reg"):
        ADAPTERS["learn2reg"].open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "- 1",
        "3",
        "labels: 3",
        "labels: {liver: 1}\nfolder: 3",
        "labels: {liver: 1}\nvalidation: 3",
        "a: [",
        "[" * 1000,
    ],
)
def test_a_description_of_another_type_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(InputError, match=r"own\.yaml"):
        ADAPTERS["nnunet"].open(tmp_path / "own.yaml")


@pytest.mark.parametrize("content", [b"\x80\xff", b"case,organ,verdict\na,liver," + b"x" * 200_000])
def test_verdicts_that_are_no_csv_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "verdicts.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"verdicts\.csv is not a CSV file"):
        read_reviews(tmp_path / "verdicts.csv", {"a"})


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (["a_.nii.gz"], "not laid out as Learn2Reg"),
        (["a_1\n.nii.gz"], "not laid out as Learn2Reg"),
        (["x/a_0001.nii.gz", "y/a_0001.nii.gz"], "lists case 0001 twice"),
    ],
)
def test_case_numbers_that_are_none_or_are_there_twice_are_told(
    tmp_path: Path, listed: list[str], message: str
) -> None:
    for name in listed:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    cases = [{"image": name} for name in listed]
    (tmp_path / "AbdomenCTCT_dataset.json").write_text(json.dumps({"training": cases}))
    with pytest.raises(InputError, match=message):
        ADAPTERS["learn2reg"].open(tmp_path)

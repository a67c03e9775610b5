"""A prepared set, completed by a network with random weights: what is kept, added, rejected, and done again."""

import csv

import numpy as np
import pytest
import torch
from scipy import ndimage

from mics.data.manifest import Entry, read_manifest, write_manifest
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, read_labels, write_image
from mics.network.segmentation import OrganSegmentation, OrganSegmentationConfig
from mics.network.weights import save_model
from mics.organs import ORGAN_NAMES
from mics.pseudo_labels.clean import PSEUDO_ORGANS
from mics.pseudo_labels.complete import complete

GRID = Grid.axis_aligned((0, 0, 0), (62, 62, 62), 2, "LAS")
ANNOTATED = {"full": tuple(range(1, 14)), "liver": (6,), "kidneys": (2, 3), "nothing": (), "test": ()}


@pytest.fixture
def prepared(tmp_path):
    """Five subjects of noise, whose organs are boxes, annotated in part."""
    root = tmp_path / "prepared"
    root.mkdir()
    rows = [Entry(name="broken", cohort="own", split="train", status="failed", reason="cut short")]
    for seed, (name, organs) in enumerate(ANNOTATED.items()):
        rng = np.random.default_rng(seed)
        noise = ndimage.gaussian_filter(rng.normal(size=GRID.size), 3)
        write_image(Image((300 * noise / noise.std() + 40).astype(np.int16), GRID), root / f"{name}.nii.gz")
        truth = np.zeros(GRID.size, np.uint8)
        for organ in organs:
            truth[2 * organ : 2 * organ + 2, 5:20, 5:20] = organ
        if organs:
            write_image(Image(truth, GRID), root / f"{name}_labels.nii.gz")
        labels = f"{name}_labels.nii.gz" if organs else ""
        split = "test" if name == "test" else "train"
        rows.append(
            Entry(
                name=name,
                cohort="own",
                split=split,
                status="prepared",
                organs=organs,
                image=f"{name}.nii.gz",
                labels=labels,
            )
        )
    write_manifest(rows, root)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights, large enough in the last layer that every organ is predicted somewhere."""
    torch.manual_seed(3)
    network = OrganSegmentation(OrganSegmentationConfig(channels=(6, 8), stride=2))
    torch.nn.init.normal_(network.head.weight, std=3)
    torch.nn.init.zeros_(network.head.bias)
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_model(network, {"spacing_mm": 4.0, "hu_range": None}, path)
    return path


def labels_of(folder, name):
    entry = next(entry for entry in read_manifest(folder) if entry.name == name)
    return entry, read_labels(folder / entry.labels).array


def test_annotations_stay_and_the_largest_part_of_every_other_organ_is_added(prepared, model, tmp_path):
    out, predicted = tmp_path / "out", []
    rows = complete(prepared, out, model=model, progress=predicted.append)
    assert rows == read_manifest(out)
    assert sorted(predicted) == ["kidneys", "liver", "nothing"]
    added = 0
    for name, organs in ANNOTATED.items():
        if name == "test":
            continue
        entry, labels = labels_of(out, name)
        assert entry.organs == organs
        assert (out / entry.image).resolve() == prepared / f"{name}.nii.gz"
        truth = read_labels(prepared / f"{name}_labels.nii.gz").array if organs else np.zeros(GRID.size, int)
        np.testing.assert_array_equal(labels[truth > 0], truth[truth > 0])
        assert set(np.unique(labels)) <= {0, *organs, *entry.pseudo_organs}
        assert set(entry.pseudo_organs) <= set(PSEUDO_ORGANS) - set(organs)
        raw = out / "predicted" / f"{name}.nii.gz"
        assert raw.is_file() == (name != "full")
        for organ in entry.pseudo_organs:
            mask = labels == organ
            seen = read_labels(raw).array == organ
            parts, _ = ndimage.label(seen, np.ones((3, 3, 3)))
            largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
            np.testing.assert_array_equal(mask, largest & (truth == 0))
            added += 1
    assert added > 8
    untouched = {row.name: row for row in rows}
    assert (untouched["test"].status, untouched["test"].pseudo_organs, untouched["test"].labels) == ("prepared", (), "")
    assert untouched["broken"].status == "failed"


def test_the_ranking_and_the_page_show_what_was_added(prepared, model, tmp_path):
    out = tmp_path / "out"
    rows = {row.name: row for row in complete(prepared, out, model=model)}
    with (out / "ranking.csv").open() as file:
        ranked = list(csv.DictReader(file))
    assert {row["case"] for row in ranked} == {"liver", "kidneys", "nothing"}
    assert sum(row["because of"] != "found" for row in ranked) == sum(len(row.pseudo_organs) for row in rows.values())
    of_nobody = [row for row in ranked if row["case"] == "nothing" and row["agreement"]]
    assert {row["agreement"] for row in of_nobody} == {"1.000"}
    page = (out / "review.html").read_text(encoding="utf-8")
    places = [page.index(f"pictures/{name}.png") for name in dict.fromkeys(row["case"] for row in ranked)]
    assert places == sorted(places)
    assert all((out / "pictures" / f"{name}.png").is_file() for name in ("liver", "kidneys", "nothing"))


def test_verdicts_are_honoured_without_predicting_again(prepared, model, tmp_path):
    out, predicted = tmp_path / "out", []
    rows = {row.name: row for row in complete(prepared, out, model=model)}
    organ = rows["liver"].pseudo_organs[0]
    (out / "verdicts.csv").write_text(
        f"case,organ,verdict,comment\nliver,{ORGAN_NAMES[organ]},reject,in the lung\n"
        "kidneys,right kidney,reject,\nnothing,,reject,wrong patient\nfull,,keep,\n"
    )
    rows = {row.name: row for row in complete(prepared, out, model=model, progress=predicted.append)}
    assert predicted == []
    assert organ not in rows["liver"].pseudo_organs
    assert not (labels_of(out, "liver")[1] == organ).any()
    assert rows["liver"].reason == f"Rejected by hand: {ORGAN_NAMES[organ]} (in the lung)."
    assert (rows["liver"].status, rows["kidneys"].organs) == ("prepared", (3,))
    assert (rows["nothing"].status, rows["nothing"].reason) == (
        "rejected",
        "Rejected by hand: the whole case (wrong patient).",
    )
    (out / "verdicts.csv").unlink()
    rows = {row.name: row for row in complete(prepared, out, model=model)}
    assert organ in rows["liver"].pseudo_organs
    assert (labels_of(out, "liver")[1] == organ).any()
    assert rows["nothing"].status == "prepared"


def test_only_what_has_changed_is_predicted_again(prepared, model, tmp_path):
    out, predicted = tmp_path / "out", []
    complete(prepared, out, model=model)
    before = {path: path.stat().st_mtime_ns for path in (out / "labels").iterdir()}
    write_image(
        Image(np.full(GRID.size, 50, np.int16) - 200 * np.eye(32, dtype=np.int16), GRID), prepared / "liver.nii.gz"
    )
    (out / "predicted" / "nothing.json").write_text("{")
    complete(prepared, out, model=model, progress=predicted.append)
    assert sorted(predicted) == ["liver", "nothing"]
    assert {path.name for path in (out / "labels").iterdir() if before[path] == path.stat().st_mtime_ns} == {
        "full.nii.gz",
        "kidneys.nii.gz",
    }


def test_a_folder_with_something_else_the_prepared_one_among_them_is_left_alone(prepared, model):
    before = {path: path.read_bytes() for path in prepared.iterdir()}
    with pytest.raises(InputError, match="something else than completed cases"):
        complete(prepared, prepared, model=model)
    assert {path: path.read_bytes() for path in prepared.iterdir()} == before

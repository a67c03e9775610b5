"""From a data set to cached cases: values, splits, and cases that are already there."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from mics.data.manifest import Entry, write_manifest
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, write_image
from mics.training.cache import read_cases
from mics.training.cases import prepare
from mics.training.source import SOURCE, note, refuse_other, source_of


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A Learn2Reg folder of three subjects of 8 x 8 x 8 voxels of 2 mm; the first two are a validation pair."""
    root = tmp_path / "data"
    listed = []
    for kind in ("imagesTr", "labelsTr"):
        (root / kind).mkdir(parents=True)
    for number in (1, 2, 3):
        name = f"AbdomenCTCT_{number:04d}_0000.nii.gz"
        # In every block of 2 x 2 x 2 voxels, half lie 100 HU above the mean and half below, as fat does.
        hu = 10 * number + 100 * (-1) ** np.indices((8, 8, 8)).sum(0)
        for kind, values in (("imagesTr", hu.astype(np.int16)), ("labelsTr", np.full((8, 8, 8), number, np.uint8))):
            volume = sitk.GetImageFromArray(values)
            volume.SetSpacing((2.0, 2.0, 2.0))
            volume.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS, as the challenge's headers say
            sitk.WriteImage(volume, str(root / kind / name))
        listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    pairs = [{"fixed": listed[0]["image"], "moving": listed[1]["image"]}]
    (root / "AbdomenCTCT_dataset.json").write_text(json.dumps({"training": listed, "registration_val": pairs}))
    return root


def test_cases_are_averaged_split_and_prepared_once(cohort: Path, tmp_path: Path) -> None:
    folder, prepared = tmp_path / "cases", []
    prepare(str(cohort), folder, 4.0, progress=prepared.append)
    assert prepared == ["0001", "0002", "0003"]
    cases = read_cases(folder)
    assert [case.split for case in cases] == ["val", "val", "train"]
    for number, case in enumerate(cases, start=1):
        np.testing.assert_array_equal(case.hu, np.full((4, 4, 4), 10 * number))
        np.testing.assert_array_equal(case.labels, np.full((4, 4, 4), number))
    (folder / "0002.json").unlink()
    prepare(str(cohort), folder, 4.0, progress=prepared.append)
    assert prepared[3:] == ["0002"]


def test_a_spacing_that_is_no_multiple_and_too_few_phantoms_are_input_errors(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no multiple"):
        prepare(str(cohort), tmp_path / "cases", 3.0)
    with pytest.raises(InputError, match="phantom:N"):
        prepare("phantom:3", tmp_path / "cases", 8.0)


def test_what_cases_are_made_of_is_noted_as_in_earlier_versions(tmp_path: Path) -> None:
    earlier = {
        "data": "phantom:4",
        "people": [[f"phantom{seed:04d}", "val" if seed < 3 else "train", []] for seed in range(4)],
        "files": {},
        "spacing_mm": 8.0,
        "organ_maps": None,
        "phase_variants": 0,
    }
    source = source_of("phantom:4", 8.0, None, 0)
    note(source, tmp_path)
    assert json.loads((tmp_path / SOURCE).read_text()) == earlier
    (tmp_path / SOURCE).write_text(json.dumps(earlier))
    refuse_other(source, tmp_path)
    with pytest.raises(InputError, match="with other settings"):
        refuse_other(source_of("phantom:5", 8.0, None, 0), tmp_path)


@pytest.mark.nightly
def test_organ_maps_of_generated_subjects_are_shares_of_their_labels(tmp_path: Path) -> None:
    prepare("phantom:4", tmp_path, 16.0, organ_maps="organs-small")
    for case in read_cases(tmp_path):
        assert case.maps is not None
        largest = case.maps.argmax(0) + 1
        inside = case.labels > 0
        # The majority of a block outweighs each other organ there, not always the background.
        assert (largest[inside] == case.labels[inside]).all()
        assert case.maps.sum(0, dtype=int).max() <= 255 + len(case.maps)


def test_organ_maps_of_scans_lie_where_the_scan_does_and_come_with_a_later_run_too(
    cohort: Path, tmp_path: Path
) -> None:
    for spacing in (2.0, 4.0):
        prepare(str(cohort), tmp_path / str(spacing), spacing)
        prepare(str(cohort), tmp_path / str(spacing), spacing, organ_maps="organs-small")
        for case in read_cases(tmp_path / str(spacing)):
            assert case.maps is not None
            assert case.maps.shape == (13, *case.shape)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A prepared folder by hand: a subject with two organs annotated and one by a network, one without, and four others."""
    root = tmp_path / "prepared"
    root.mkdir()
    grid = Grid.axis_aligned((0, 0, 0), (14, 14, 14), 2, "LAS")
    rng = np.random.default_rng(0)
    write_image(Image(rng.integers(-100, 200, grid.size).astype(np.int16), grid), root / "scan.nii.gz")
    write_image(Image(np.full(grid.size, 6, np.uint8), grid), root / "labels.nii.gz")
    common = {"cohort": "own", "status": "prepared", "image": "scan.nii.gz", "labels": "labels.nii.gz"}
    rows = [
        Entry(**common, name="a", split="train", organs=(6, 11), pseudo_organs=(1,)),
        Entry(**{**common, "labels": ""}, name="b", split="train"),
        Entry(**common, name="c", split="val", organs=(6,)),
        Entry(**common, name="d", split="test", organs=(6,)),
        Entry(**{**common, "status": "rejected"}, name="e", split="train", organs=(6,), reason="no liver"),
        Entry(cohort="own", name="f", split="train", status="failed", reason="cut short"),
    ]
    write_manifest(rows, root)
    return root


def test_a_manifest_gives_its_cases_with_their_organs_and_leaves_out_test_and_rejected_subjects(
    manifest: Path, tmp_path: Path
) -> None:
    prepare(str(manifest), tmp_path / "cases", 4.0)
    cases = {case.name: case for case in read_cases(tmp_path / "cases")}
    assert {name: (case.split, case.organs) for name, case in cases.items()} == {
        "a": ("train", (1, 6, 11)),
        "b": ("train", ()),
        "c": ("val", (6,)),
    }
    np.testing.assert_array_equal(cases["a"].labels, np.full((4, 4, 4), 6))
    assert not cases["b"].labels.any()
    assert cases["b"].hu.any()


def test_a_manifest_without_a_case_to_train_on_is_an_input_error(manifest: Path, tmp_path: Path) -> None:
    write_manifest([Entry(cohort="own", name="f", split="train", status="failed", reason="cut short")], manifest)
    with pytest.raises(InputError, match="lists no case to train on"):
        prepare(str(manifest), tmp_path / "cases", 4.0)


def test_phase_variants_are_other_scans_of_the_same_anatomy_for_training_alone(cohort: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "first", tmp_path / "again"):
        prepare(str(cohort), folder, 4.0, organ_maps="organs-small", phase_variants=2)
    cases = {case.name: case for case in read_cases(tmp_path / "first")}
    assert sorted(cases) == ["0001", "0002", "0003", "0003_phase1", "0003_phase2"]
    assert {case.split for case in cases.values() if "phase" in case.name} == {"train"}
    scans = [cases[name].hu for name in ("0003", "0003_phase1", "0003_phase2")]
    assert len({scan.tobytes() for scan in scans}) == 3
    for case in read_cases(tmp_path / "again"):
        np.testing.assert_array_equal(case.hu, cases[case.name].hu)
        np.testing.assert_array_equal(case.labels, cases[case.name.split("_")[0]].labels)
        assert case.maps is not None


def test_phase_variants_that_are_missing_are_added(cohort: Path, tmp_path: Path) -> None:
    prepare(str(cohort), tmp_path / "cases", 4.0)
    added: list[str] = []
    prepare(str(cohort), tmp_path / "cases", 4.0, phase_variants=1, progress=added.append)
    assert added == ["0003_phase1"]

"""From a data set to cached cases: values, splits, and cases that are already there."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.training.cache import read_cases
from mics.training.prepare import prepare


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A Learn2Reg folder of three people of 8 x 8 x 8 voxels of 2 mm; the first two are a validation pair."""
    root = tmp_path / "data"
    listed = []
    for kind in ("imagesTr", "labelsTr"):
        (root / kind).mkdir(parents=True)
    for number in (1, 2, 3):
        name = f"AbdomenCTCT_{number:04d}_0000.nii.gz"
        # In every block of 2 x 2 x 2 voxels, half lie 300 HU above and half below the mean.
        hu = 10 * number + 300 * (-1) ** np.indices((8, 8, 8)).sum(0)
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


def test_organ_maps_of_generated_people_are_shares_of_their_labels(tmp_path: Path) -> None:
    prepare("phantom:4", tmp_path, 16.0, organ_maps=True)
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
        prepare(str(cohort), tmp_path / str(spacing), spacing, organ_maps=True)
        for case in read_cases(tmp_path / str(spacing)):
            assert case.maps is not None
            assert case.maps.shape == (13, *case.shape)

"""Preparation of real scans: a subject's scan as the hospital has it comes to lie where the challenge put that subject."""

import numpy as np
import pytest

from mics.data.cohorts.catalogue import open_cohorts
from mics.data.prepare import prepare
from mics.evaluation.metrics import dice
from mics.image.grid import Grid
from mics.image.io import read_labels
from mics.image.resample import resample
from mics.registration.affine import register_affine


@pytest.mark.nightly
def test_a_native_scan_is_brought_onto_the_challenges_volume_of_the_same_subject(real_data, tmp_path):
    for kind, folder in (("img0005", "imagesTr/native_0000"), ("label0005", "labelsTr/native")):
        link = tmp_path / "own" / f"{folder}.nii.gz"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(real_data / "native" / f"{kind}.nii.gz")
    description = tmp_path / "own.yaml"
    organs = "spleen: 1, right kidney: 2, left kidney: 3, gallbladder: 4, liver: 6, stomach: 7, aorta: 8, pancreas: 11"
    description.write_text(f"folder: own\nlabels: {{{organs}}}\n")
    cohorts = open_cohorts({"learn2reg": real_data / "AbdomenCTCT", "nnunet": description})
    cohorts["learn2reg"] = type(cohorts["learn2reg"])(cohorts["learn2reg"].cases[:1], registered=True)
    rows = {row.name: row for row in prepare(cohorts, tmp_path / "out", affine=register_affine)}
    challenge, native = rows["learn2reg_0005"], rows["nnunet_native"]
    assert (challenge.warnings, native.status) == ((), "prepared")
    truth, found = (read_labels(tmp_path / "out" / row.labels) for row in (challenge, native))
    original = cohorts["learn2reg"].cases[0].labels()
    assert truth.grid.is_close(original.grid)
    np.testing.assert_array_equal(truth.array, original.array)
    overlaps = dice(truth.array, found.array, native.organs)
    assert overlaps.keys() == set(native.organs)
    assert min(overlaps[organ] for organ in (1, 2, 3, 6, 7, 8)) > 0.85
    own = Grid.from_dict(native.native)
    back = resample(found, own, np.linalg.inv(native.affine), nearest=True, outside=0)
    mine = cohorts["nnunet"].cases[0].labels()
    assert min(dice(mine.array, back.array, (1, 2, 3, 6)).values()) > 0.9

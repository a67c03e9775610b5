import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from mics.atlas.members import read_members
from mics.atlas.propagate import propagate
from mics.errors import InputError
from mics.image.io import read_image, read_labels


@pytest.fixture
def atlases(tmp_path, make):
    """A scan to label, and a folder of it, two others with labels, and one that cannot be read."""
    folder = tmp_path / "atlases"
    folder.mkdir()
    hu = make.body()
    for name, shift in (("a", 0.0), ("b", 12.0)):
        make(folder / f"{name}.nii.gz", np.roll(hu, 1, axis=0) if shift else hu, centre=shift)
        make(folder / f"{name}_labels.nii.gz", ((hu > 0) * 3).astype(np.uint8), centre=shift)
    (folder / "broken.nii.gz").write_bytes(b"nothing")
    make(folder / "broken_labels.nii.gz", (hu > 0).astype(np.uint8))
    names = tmp_path / "names.json"
    names.write_text('{"3": "liver"}')
    scan = make(tmp_path / "scan.nii.gz", np.where(hu > 0, hu + 10, hu))
    make(folder / "same.nii.gz", np.where(hu > 0, hu + 10, hu))
    make(folder / "same_labels.nii.gz", (hu > 0).astype(np.uint8))
    return scan, folder, names


@pytest.mark.nightly
def test_labels_are_carried_over_told_and_not_registered_twice(tmp_path, atlases, quick, run):
    scan, folder, names = atlases
    out = tmp_path / "out"
    command = ["propagate", scan, "--atlases", folder, "-o", out, "--label-names", names, *quick[2:]]
    first = run(*command)
    assert first.exit_code == 0, first.output
    assert "2 of 4 atlases used" in first.output
    labels, agreement = read_labels(out / "labels.nii.gz"), read_image(out / "agreement.nii.gz").array
    truth = read_image(scan).array > 0
    assert labels.grid == read_image(scan).grid
    assert set(np.unique(labels.array)) == {0, 3}
    overlap = 2 * ((labels.array == 3) & truth).sum() / ((labels.array == 3).sum() + truth.sum())
    assert overlap > 0.8
    assert 0.5 <= agreement.min() <= agreement.max() == 1

    with (out / "volumes.csv").open() as file:
        (row,) = csv.DictReader(file)
    # Voxels of a cubic centimetre.
    assert (row["name"], float(row["fused_ml"]), row["atlases"]) == ("liver", (labels.array == 3).sum(), "2")
    own = [(read_labels(out / "atlases" / name / "labels.nii.gz").array == 3).sum() for name in "ab"]
    np.testing.assert_allclose(float(row["mean_ml"]), np.mean(own), atol=1e-3)
    np.testing.assert_allclose(float(row["sd_ml"]), np.std(own, ddof=1), atol=1e-3)

    summary = json.loads((out / "summary.json").read_text())
    message = {one["name"]: one for one in summary["atlases"]}
    assert [name for name, one in message.items() if one["used"]] == ["a", "b"]
    assert "the scan itself" in message["same"]["reasons"][0]
    assert message["broken"]["reasons"][0].startswith("broken.nii.gz ")
    for path in out.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()
    assert summary["verdict"]["word"] == "look"

    made = (out / "atlases" / "a" / "record.json").stat().st_mtime_ns
    (out / "atlases" / "b" / "record.json").unlink()
    again = run(*command, "--fusion", "majority", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == {"folder": str(out), **json.loads((out / "summary.json").read_text())}
    assert (out / "atlases" / "a" / "record.json").stat().st_mtime_ns == made
    assert (out / "atlases" / "b" / "record.json").exists()
    assert json.loads((out / "summary.json").read_text())["settings"]["fusion"] == "majority"

    other = run(*command[:-1], "fast")
    assert other.exit_code == 2
    assert "earlier work with another refine" in " ".join(other.output.split())


def test_what_cannot_be_used_is_told_before_the_work(tmp_path, atlases, make, run):
    scan, folder, _ = atlases
    out = tmp_path / "out"
    for options, message in (
        ([scan, "--atlases", folder, "--fusion", "best"], "'joint'"),
        ([scan, "--atlases", tmp_path / "none"], "is not there"),
        ([tmp_path / "none.nii.gz", "--atlases", folder], "none.nii.gz"),
    ):
        result = run("propagate", *options, "-o", out)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
        assert not out.exists()


def test_one_number_with_two_meanings_is_refused(tmp_path, make):
    members = []
    for folder, meaning in (("one", "liver"), ("two", "spleen")):
        for kind, name in (("imagesTr", f"{folder}_0000.nii.gz"), ("labelsTr", f"{folder}.nii.gz")):
            (tmp_path / folder / kind).mkdir(parents=True)
            values = make.body() if kind == "imagesTr" else (make.body() > 0).astype(np.uint8)
            make(tmp_path / folder / kind / name, values)
        (tmp_path / folder / "dataset.json").write_text(json.dumps({"labels": {meaning: 1}}))
        members += read_members(tmp_path / folder, labelled=True)
    with pytest.raises(InputError, match="1 is liver in one, spleen in another"):
        propagate(make(tmp_path / "scan.nii.gz"), members, tmp_path / "out")


@pytest.mark.slow
def test_the_scan_itself_in_another_format_a_scan_twice_and_names_of_others_are_told(tmp_path, make, quick, run):
    folder = tmp_path / "atlases"
    folder.mkdir()
    hu = make.body()
    hu[14:] += np.where(hu[14:] > 0, 37, 0)  # unlike from both sides
    scan = make(tmp_path / "scan.nii.gz", hu + 0.3)
    for name, values in (("a", np.roll(hu, 1, axis=0)), ("b", np.roll(hu, 1, axis=0)), ("c", np.roll(hu, 1, axis=1))):
        make(folder / f"{name}.nii.gz", values)
        make(folder / f"{name}_labels.nii.gz", ((values > 0) * (5 if name == "c" else 3)).astype(np.uint8))
    # Whole HU, and axes turned round, as another converter writes the same series.
    own = sitk.Flip(sitk.ReadImage(str(scan)), [True, False, True])
    sitk.WriteImage(sitk.Cast(own, sitk.sitkInt16), str(folder / "same.nrrd"))
    sitk.WriteImage(sitk.Cast(own > 0, sitk.sitkUInt8), str(folder / "same_labels.nrrd"))
    (tmp_path / "names.json").write_text('{"1": "liver"}')
    command = ["propagate", scan, "--atlases", folder, "-o", tmp_path / "out", "--fusion", "majority"]
    done = run(*command, "--label-names", tmp_path / "names.json", *quick[2:])
    assert done.exit_code == 0, done.output
    reasons = json.loads((tmp_path / "out" / "summary.json").read_text())["verdict"]["reasons"]
    for sentence in (
        "Atlas same is left out: It is the scan itself.",
        "Atlases a and b are the same scan, which so votes twice: leave one of them out.",
        "1 of 3 atlases shows no label 3 (c): they vote for what else they show.",
        "2 of 3 atlases show no label 5 (a, b): they vote for what else they show.",
    ):
        assert sentence in reasons
    assert any("No label of the maps is among those that have a name (1 liver)" in one for one in reasons)

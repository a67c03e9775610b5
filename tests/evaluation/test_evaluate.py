"""Many pairs from files to tables: numbers known by hand, in every file that is written."""

import csv
import json
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk

import mics
from mics.errors import InputError
from mics.evaluation.learn2reg import displacement_name, read_displacement, write_displacement
from mics.evaluation.pair_score import PairScore
from mics.evaluation.result import Evaluation
from mics.evaluation.summary import summarise
from mics.image.io import Image, read_labels, write_image
from mics.image.points import Points, write_points

PERFECT, OFF = {("p1", "p2"): 2, ("p1", "p3"): -1}, {("p1", "p2"): 1, ("p1", "p3"): 0}


def rows(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_perfect_submission_scores_one_in_every_file(pairs, perfect, tmp_path):
    result = mics.evaluate(perfect, pairs)
    result.save(tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "organs.csv",
        "pairs.csv",
        "summary.json",
        "summary.md",
    ]
    by_pair = rows(tmp_path / "out" / "pairs.csv")
    assert [(row["fixed"], row["moving"], float(row["dice"])) for row in by_pair] == [("p1", "p2", 1), ("p1", "p3", 1)]
    assert all(row["inverse_mean_mm"] == row["seconds"] == row["landmark_mm"] == "" for row in by_pair)
    by_organ = rows(tmp_path / "out" / "organs.csv")
    assert [(row["label"], row["organ"]) for row in by_organ] == 2 * [("1", "label 1"), ("6", "label 6")]
    content = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert content["summary"]["measures"]["dice"] == {"value": 1, "low": 1, "high": 1}
    assert content["summary"]["dice30"]["value"] == 1
    assert content["summary"]["organs"]["6"]["pairs"] == 2
    assert content["pairs"][0]["hd95_mm"] == content["pairs"][0]["mda_mm"] == {"1": 0, "6": 0}
    assert (by_pair[0]["jacobian_min"], by_pair[0]["jacobian_max"]) == ("1.0", "1.0")
    text = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "| Dice30 | 1.000 (1.000 to 1.000) |" in text
    assert "| label 6 | 2 | 0 | 1.000 (1.000 to 1.000) |" in text


def test_means_over_organs_then_pairs(pairs, submit):
    # One voxel off along i: the liver is 4 long, the spleen 3, so Dice is 3/4 and 2/3 in both pairs.
    result = mics.evaluate(submit("off", OFF), pairs)
    assert result.summary.measures["dice"].value == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert (result.summary.measures["hd95_voxels"].value, result.summary.measures["hd95_mm"].value) == (1, 2)
    assert result.summary.organs[1].dice.value == pytest.approx(2 / 3)


def test_the_other_direction_gives_the_inverse_error(pairs, submit):
    both = {**PERFECT, ("p2", "p1"): -2, ("p3", "p1"): 2}  # the last one a voxel, 2 mm, too far
    result = mics.evaluate(submit("both", both), pairs)
    assert [score.inverse_mean_mm for score in result.scores] == pytest.approx([0, 2], abs=1e-4)


def test_two_submissions_are_tested_against_each_other(pairs, perfect, submit, tmp_path):
    off = submit("off", OFF)
    result = mics.evaluate(perfect, pairs, against=off)
    assert result.differences["dice"].estimate.value == pytest.approx(1 - (3 / 4 + 2 / 3) / 2)
    assert result.differences["dice"].p == pytest.approx(0.5)  # two pairs, both better: 2 of 4 arrangements
    assert result.differences["sd_log_jacobian"].p == 1
    assert "seconds" not in result.differences
    result.save(tmp_path / "out")
    assert f"Difference from {off.name}" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert (
        json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["differences"]["hd95_mm"]["pairs"]
        == 2
    )


def test_a_lost_organ_is_told_and_keeps_the_files_readable(pairs, submit, tmp_path):
    result = mics.evaluate(submit("lost", {("p1", "p2"): 40, ("p1", "p3"): -1}), pairs)
    assert result.summary.organs[6].lost == 1
    result.save(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["pairs"][0]["hd95_mm"] == {"1": None, "6": None}
    assert rows(tmp_path / "out" / "pairs.csv")[0]["hd95_mm"] == "inf"
    assert "| label 6 | 2 | 1 | 0.500" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")


def test_landmarks_of_the_list_are_measured(pairs, perfect, tmp_path):
    points = np.array([[20.0, -5.0, 40.0], [22.0, -8.0, 42.0]])
    for subject, shift in (("p1", 0), ("p2", 4), ("p3", -2 + 3)):  # mm; the last one is 3 mm off
        write_points(Points(points + [shift, 0, 0], ("a", "b")), tmp_path / f"{subject}.csv")
    lines = pairs.read_text(encoding="utf-8").splitlines()
    lines[0] += ",fixed_landmarks,moving_landmarks"
    lines[1:] = [f"{line},p1.csv,{line.split(',')[1]}.csv" for line in lines[1:]]
    pairs.write_text("\n".join(lines))
    result = mics.evaluate(perfect, pairs)
    assert [score.measures()["landmark_mm"] for score in result.scores] == pytest.approx([0, 3], abs=1e-3)
    result.save(tmp_path / "out")
    assert [float(row["landmark_max_mm"]) for row in rows(tmp_path / "out" / "pairs.csv")] == pytest.approx(
        [0, 3], abs=1e-3
    )


def test_a_measure_of_some_pairs_only_is_averaged_over_those(pairs, submit, tmp_path):
    """The opposite direction of one pair alone."""
    result = mics.evaluate(submit("some", {**PERFECT, ("p2", "p1"): -3}), pairs)
    assert result.summary.measures["inverse_mean_mm"].value == pytest.approx(2, abs=1e-4)
    assert result.summary.counts == {"inverse_mean_mm": 1, "inverse_max_mm": 1}
    result.save(tmp_path / "out")
    assert "| inverse error, mean, mm (1 of 2 pairs) | 2.00 |" in (tmp_path / "out" / "summary.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
@pytest.mark.parametrize(("names", "file"), [("current", "disp_p1_0000_p3_0000.nii.gz"), ("2020", "disp_p1_p3.nii.gz")])
def test_an_exported_submission_holds_the_same_displacements(pairs, submit, tmp_path, name, names, file):
    result = mics.evaluate(submit("off", OFF), pairs, export=tmp_path / "new" / name, names=names)
    assert mics.evaluate(tmp_path / "new" / name, pairs).scores == result.scores
    if name.endswith("zip"):
        with zipfile.ZipFile(tmp_path / "new" / name) as archive:
            assert file in archive.namelist()
            archive.extract(file, tmp_path)
    else:
        (tmp_path / "new" / name / file).rename(tmp_path / file)
    assert read_displacement(tmp_path / file).max() == 0
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == [name]


def test_an_export_never_overwrites_and_is_whole_or_absent(pairs, perfect, submit, tmp_path):
    (tmp_path / "taken.zip").write_text("years of work")
    with pytest.raises(InputError, match="exists already"):
        mics.evaluate(perfect, pairs, export=tmp_path / "taken.zip")
    spoilt = submit("spoilt", PERFECT)
    last = sorted(spoilt.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-20])  # the header is whole
    with pytest.raises(InputError, match="cannot be read"):
        mics.evaluate(spoilt, pairs, export=tmp_path / "new" / "out.zip")
    assert list((tmp_path / "new").iterdir()) == []


def test_displacements_in_other_units_are_warned_about(pairs, submit):
    with pytest.warns(UserWarning, match="read as millimetres, they would give Dice 1.00"):
        result = mics.evaluate(submit("mm", {("p1", "p2"): 4, ("p1", "p3"): -2}), pairs)
    assert len(result.warnings) == 1


def test_labels_are_called_what_the_user_says(pairs, perfect, tmp_path):
    (tmp_path / "names.csv").write_text("id,name\n6,Magen\n")
    result = mics.evaluate(perfect, pairs, label_names=tmp_path / "names.csv")
    result.save(tmp_path / "out")
    assert [row["organ"] for row in rows(tmp_path / "out" / "organs.csv")] == 2 * ["label 1", "Magen"]
    assert "| Magen | 2 |" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["label_names"] == {"6": "Magen"}


def test_segments_of_slicer_are_called_as_there_and_contradictions_told(pairs, perfect, tmp_path):
    for subject, name in (("p1", "Liver"), ("p2", "liver"), ("p3", "Spleen")):
        labels = sitk.ReadImage(str(tmp_path / f"{subject}.nii.gz"))
        labels.SetMetaData("Segment0_LabelValue", "6")
        labels.SetMetaData("Segment0_Name", name)
        sitk.WriteImage(labels, str(tmp_path / f"{subject}.seg.nrrd"))
    pairs.write_text(pairs.read_text().replace(".nii.gz", ".seg.nrrd"))
    with pytest.warns(UserWarning, match="6 is Liver in one, Spleen in another"):
        result = mics.evaluate(perfect, pairs)
    assert {label: organ.name for label, organ in result.summary.organs.items()} == {1: "label 1", 6: "Liver"}


def test_maps_of_another_numbering_are_told(pairs, perfect, tmp_path):
    for subject in ("p2", "p3"):
        labels = read_labels(tmp_path / f"{subject}.nii.gz")
        exchanged = np.select([labels.array == 1, labels.array == 6], [6, 1], 0).astype(np.uint8)
        write_image(Image(exchanged, labels.grid), tmp_path / f"{subject}.nii.gz")
    with pytest.warns(UserWarning, match=r"p1_p2: .*\(6 on 1, 1 on 6\)"):
        assert len(mics.evaluate(perfect, pairs).warnings) == 1


def test_label_maps_that_measure_nothing_are_told(pairs, perfect, tmp_path):
    grid = read_labels(tmp_path / "p3.nii.gz").grid
    write_image(Image(np.zeros(grid.size, np.uint8), grid), tmp_path / "p3.nii.gz")
    with pytest.warns(UserWarning, match="."):
        messages = mics.evaluate(perfect, pairs).warnings
    assert "The label map of p3 is 0 in every voxel, so it holds no label: is it the right file?" in messages
    assert "1 of the 2 pairs has label maps without a label in common, and so no Dice: p1_p3." in messages
    write_image(Image(np.full(grid.size, 6, np.uint8), grid), tmp_path / "p3.nii.gz")
    with pytest.warns(UserWarning, match="The label map of p3 is 6 in every voxel"):
        mics.evaluate(perfect, pairs)


def test_landmarks_beyond_their_scan_are_told_once(pairs, perfect, tmp_path):
    (tmp_path / "in.csv").write_text("x,y,z\n20,-10,40\n")
    (tmp_path / "out.csv").write_text("x,y,z\n500,-10,40\n")
    lines = pairs.read_text().splitlines()
    more = [",fixed_landmarks,moving_landmarks", ",out.csv,in.csv", ",in.csv,in.csv"]
    pairs.write_text("\n".join(line + end for line, end in zip(lines, more, strict=True)) + "\n")
    with pytest.warns(UserWarning, match="lies outside of it"):
        result = mics.evaluate(perfect, pairs, against=perfect)
    told = [message for message in result.warnings if "lies outside of it" in message]
    assert len(told) == 1
    assert told[0].startswith("p1_p2: The only landmark of the fixed scan lies outside")


@pytest.mark.parametrize(("values", "part"), [((-1024, -1000), "negative"), ((0, 400), "more than 256")])
def test_scans_in_the_place_of_label_maps_are_refused(pairs, perfect, tmp_path, values, part):
    array = np.linspace(*values, 16 * 14 * 12).reshape(16, 14, 12).astype(np.int16)
    write_image(Image(array, read_labels(tmp_path / "p1.nii.gz").grid), tmp_path / "p1.nii.gz")
    with pytest.raises(InputError, match=part):
        mics.evaluate(perfect, pairs)


def test_readers_see_shares_to_a_thousandth_and_lengths_to_a_hundredth(tmp_path):
    """Two thirds of everything, of one pair."""
    each = {6: 2 / 3}
    lengths = dict.fromkeys(("inverse_mean_mm", "inverse_max_mm", "seconds", "jacobian_min", "jacobian_max"), 2 / 3)
    score = PairScore(
        *(each, each, each, 2 / 3, 2 / 300, 2 / 3),
        landmark_mm=(2 / 3,),
        mda_mm=each,
        initial_dice={6: 1 / 6},
        **lengths,
    )
    Evaluation("two thirds", [("p1", "p2")], [score], summarise([score]), []).save(tmp_path / "out")
    lines = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8").splitlines()
    assert lines[4:] == [
        "| measure | mean |",
        "|---|---|",
        "| Dice | 0.667 |",
        "| Dice30 | 0.667 |",
        "| Dice before | 0.167 |",
        "| r = (1 − Dice) / (1 − Dice before) | 0.400 |",
        "| HD95, voxels | 0.67 |",
        "| HD95, mm | 0.67 |",
        "| MDA, mm | 0.67 |",
        "| SdLogJ | 0.667 |",
        "| smallest J | 0.67 |",
        "| largest J | 0.67 |",
        "| voxels with J ≤ 0, % | 0.6667 |",
        "| non-diffeomorphic volume, % | 0.6667 |",
        "| inverse error, mean, mm | 0.67 |",
        "| inverse error, largest, mm | 0.7 |",
        "| TRE, mean, mm | 0.67 |",
        "| TRE, largest, mm | 0.67 |",
        "| seconds | 0.7 |",
        "",
        "| organ | pairs | lost | Dice | HD95, voxels | HD95, mm | MDA, mm |",
        "|---|---|---|---|---|---|---|",
        "| label 6 | 1 | 0 | 0.667 | 0.67 | 0.67 | 0.67 |",
    ]


def test_a_displacement_of_another_size_is_told_before_anything_is_measured(pairs, perfect):
    other = np.zeros((3, 9, 9, 9), np.float32)
    write_displacement(other, perfect / displacement_name("p1", "p3"))
    begun = []
    with pytest.raises(InputError, match="9x9x9"):
        mics.evaluate(perfect, pairs, progress=begun.append)
    assert begun == []


def test_where_nothing_was_lacking_before_there_is_no_ratio():
    """Of two pairs one fitted from the start: of samples that are this one alone r is not known, nor the interval."""
    rest = (0.0, 0.0, 0.0, None, None, None)
    scores = [
        PairScore({6: dice}, {}, {}, *rest, initial_dice={6: before}) for dice, before in ((0.9, 0.5), (1.0, 1.0))
    ]
    ratio = summarise(scores).ratio
    assert ratio.value == pytest.approx(0.1 / 0.5)
    assert np.isnan(ratio.low)
    assert np.isnan(ratio.high)
    assert summarise(scores[1:]).ratio is None


def test_each_pair_is_told_as_it_begins(pairs, perfect):
    messages = []
    mics.evaluate(perfect, pairs, progress=messages.append)
    assert sorted(messages) == ["perfect: pair 1 of 2, p1_p2", "perfect: pair 2 of 2, p1_p3"]

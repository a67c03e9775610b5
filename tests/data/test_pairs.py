"""Lists of pairs: what a CSV may say, and what is refused in a sentence."""

import numpy as np
import pytest

from mics.data.pairs import read_pairs
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, write_image

HEADER = "fixed,moving,fixed_labels,moving_labels"


@pytest.fixture
def csv(tmp_path):
    for name in "ab":
        write_image(
            Image(np.eye(4, dtype=np.uint8)[..., None].repeat(4, 2), Grid((4, 4, 4), (1, 1, 1), (0, 0, 0))),
            tmp_path / f"{name}.nii.gz",
        )

    def write(*lines, header=HEADER):
        path = tmp_path / "pairs.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


def test_files_are_relative_to_the_list_and_only_read_when_asked_for(csv):
    (pair,) = read_pairs(csv("a,b,a.nii.gz,b.nii.gz"))
    assert pair.name == "a_b"
    assert pair.moving.labels().array.sum() == 16
    assert pair.fixed.landmarks is None
    needed = r"pairs\.csv, line 2: no fixed_image is given"
    with pytest.raises(InputError, match=needed):
        pair.fixed.image()
    with pytest.raises(InputError, match=needed):
        read_pairs(csv("a,b,a.nii.gz,b.nii.gz"), needs=("labels", "image"))


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([], HEADER, "lists no pair"),
        (["a,b"], "fixed,source", "unknown column 'source'"),
        (["c,d"], "a,b", "does not name its columns: put a first line there, as fixed, moving"),
        (["a"], "fixed", "no column 'moving'"),
        (["a,b,a.nii.gz,c.nii.gz"], HEADER, r"line 2: .*c\.nii\.gz is not there; correct moving_labels"),
        (["a,b,a.nii.gz,b.nii.gz"] * 2, HEADER, "lists the pair a_b twice"),
        ([",b,a.nii.gz,b.nii.gz"], HEADER, "line 2: the fixed scan needs a name"),
        (["../a,b,a.nii.gz,b.nii.gz"], HEADER, "'../a' is neither"),
    ],
)
def test_a_bad_list_is_refused(csv, lines, header, message):
    with pytest.raises(InputError, match=message):
        read_pairs(csv(*lines, header=header))


@pytest.mark.parametrize("line", ["a.nii.gz,b.nii.gz", "./a.nii.gz,{folder}/b.nii.gz"])
def test_the_scans_may_be_files_which_give_the_names(csv, tmp_path, line):
    (pair,) = read_pairs(csv(line.format(folder=tmp_path), header="fixed,moving"), needs=("image",))
    assert pair.name == "a_b"
    assert [member.files["image"].resolve() for member in (pair.fixed, pair.moving)] == [
        tmp_path / name for name in ("a.nii.gz", "b.nii.gz")
    ]
    assert read_pairs(csv("a.nii.gz,b,b.nii.gz", header="fixed,moving,moving_image"), needs=("image",))[0].name == "a_b"


def test_a_folder_is_a_scan_only_where_one_is_needed(csv, tmp_path):
    for name in ("c", "d"):
        (tmp_path / name).mkdir()
    assert "image" not in read_pairs(csv("c,d", header="fixed,moving"))[0].fixed.files
    (pair,) = read_pairs(csv("c,d", header="fixed,moving"), needs=("image",))
    assert pair.fixed.files["image"] == tmp_path / "c"


def test_a_missing_list_and_one_that_is_no_text(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "none.csv")
    (tmp_path / "pairs.csv").write_bytes(b"\x80\x00fixed")
    with pytest.raises(InputError, match="not a CSV file"):
        read_pairs(tmp_path / "pairs.csv")


def test_a_name_that_stands_for_two_scans_is_refused(csv, tmp_path):
    """Files of one name in a folder for each patient, as hospitals and nnU-Net's users have them."""
    for patient in ("p1", "p2", "p3"):
        (tmp_path / patient).mkdir()
        for name in ("ct", "labels"):
            (tmp_path / patient / f"{name}.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    rows = [f"p1/ct.nii.gz,p{n}/ct.nii.gz,p1/labels.nii.gz,p{n}/labels.nii.gz" for n in (2, 3)]
    for listed in (rows[:1], rows):
        with pytest.raises(InputError, match=r"two scans by the name ct \(.*p1/ct.*p2/ct.*a name of its own"):
            read_pairs(csv(*listed), needs=("labels",))
    named = csv(
        *[f"p1,p{n},p1/ct.nii.gz,p{n}/ct.nii.gz" for n in (2, 3)], header="fixed,moving,fixed_image,moving_image"
    )
    assert [pair.name for pair in read_pairs(named, needs=("image",))] == ["p1_p2", "p1_p3"]


def test_a_scan_with_other_labels_further_down_is_refused_and_a_link_to_the_same_is_not(csv, tmp_path):
    with pytest.raises(InputError, match=r"two label maps by the name a \(.*a\.nii\.gz and .*b\.nii\.gz\)"):
        read_pairs(csv("a,b,a.nii.gz,b.nii.gz", "a,c,b.nii.gz,b.nii.gz"))
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    assert len(read_pairs(csv("a,b,a.nii.gz,b.nii.gz", "a,c,link.nii.gz,b.nii.gz"))) == 2


def test_two_pairs_whose_results_would_have_one_name_are_told_as_that(csv):
    with pytest.raises(InputError, match=r"a_b with c and a with b_c, whose results would both be called a_b_c"):
        read_pairs(csv("a_b,c,a.nii.gz,b.nii.gz", "a,b_c,a.nii.gz,b.nii.gz"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "a.nii.gz,z.nii.gz",
            r"line 2: .*/z\.nii\.gz is not there; correct moving\. Files are relative to the folder of the",
        ),
        ("sub/a.nii.gz,b.nii.gz", r"line 2: .*/sub/a\.nii\.gz is not there; correct fixed\."),
        ("sub\\a.nii.gz,b.nii.gz", r"is not there; correct fixed\..* have / between folders"),
        ("a,b", "line 2: no fixed_image is given, and it is needed here"),
    ],
)
def test_a_scan_that_is_not_there_is_told_as_that(csv, line, message):
    with pytest.raises(InputError, match=message):
        read_pairs(csv(line, header="fixed,moving"), needs=("image",))


def test_a_folder_that_is_none_of_learn2reg_is_told_what_is_wanted(tmp_path):
    with pytest.raises(InputError, match="give a CSV file of pairs, or such a folder"):
        read_pairs(tmp_path)

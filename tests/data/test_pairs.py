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
    needed = r"pairs\.csv, line 2: a fixed_image is needed"
    with pytest.raises(InputError, match=needed):
        pair.fixed.image()
    with pytest.raises(InputError, match=needed):
        read_pairs(csv("a,b,a.nii.gz,b.nii.gz"), needs=("labels", "image"))


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([], HEADER, "lists no pair"),
        (["a,b"], "fixed,source", "unknown column 'source'"),
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

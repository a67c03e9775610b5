"""Every change of what a result was made from is noticed, also where number, bytes and the latest time stay."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from mics.data.state import state_of


def set_time(path, seconds):
    os.utime(path, (seconds, seconds))


@pytest.fixture
def series(tmp_path):
    folder = tmp_path / "ct"
    for name in ("a/1.dcm", "a/2.dcm", "b/3.dcm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
        set_time(folder / name, 1_000_000)
    set_time(folder / "b" / "3.dcm", 2_000_000)
    return folder


def test_a_folder_that_nobody_touches_stays_as_it_is(series):
    assert state_of(series) == state_of(series)
    assert state_of(series)[:3] == [3, 3 * len("a/1.dcm"), 2_000_000 * 10**9]


def exchanged(folder):
    (folder / "a" / "1.dcm").rename(folder / "x")
    (folder / "a" / "2.dcm").rename(folder / "a" / "1.dcm")
    (folder / "x").rename(folder / "a" / "2.dcm")
    set_time(folder / "a" / "1.dcm", 1_000_001)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a" / "1.dcm").unlink(),
        lambda folder: (folder / "b" / "4.dcm").write_bytes(b""),
        lambda folder: set_time(folder / "a" / "1.dcm", 500_000),  # earlier than the latest
        lambda folder: (folder / "a" / "1.dcm").rename(folder / "b" / "1.dcm"),
        exchanged,
    ],
)
def test_a_change_within_folders_is_noticed(series, change):
    before = state_of(series)
    change(series)
    assert state_of(series) != before


@pytest.mark.parametrize(("header", "voxels"), [("scan.mhd", "scan.raw"), ("scan.nhdr", "scan.raw")])
def test_the_voxels_of_a_header_are_a_part_of_it(tmp_path, header, voxels):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.int16)), str(tmp_path / header))
    assert (tmp_path / voxels).exists()
    for path in tmp_path.iterdir():
        set_time(path, 1_000_000)
    before = state_of(tmp_path / header)
    assert before[:2] == [2, sum(path.stat().st_size for path in tmp_path.iterdir())]
    set_time(tmp_path / voxels, 900_000)
    assert state_of(tmp_path / header) != before
    (tmp_path / voxels).unlink()
    assert state_of(tmp_path / header)[0] == 1


def test_what_is_not_there(tmp_path):
    assert state_of(tmp_path / "none.nii.gz") == [0, 0, 0, 0]

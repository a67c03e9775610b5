"""Deformations in folders, zips and under every name are found; what is wrong with them is said in a sentence."""

import gzip
import hashlib
import json
import shutil
import zipfile

import nibabel
import numpy as np
import pytest

from mics.data.pairs import read_pairs
from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.evaluation.learn2reg import read_displacement
from mics.evaluation.submission import Submission
from mics.image.grid import Grid


@pytest.fixture
def listed(pairs):
    return read_pairs(pairs)


@pytest.fixture
def grid(listed):
    return listed[0].fixed.labels().grid


def zipped(folder, root=""):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, f"{root}{file.relative_to(folder).as_posix()}")
    return path


def as_windows_packs(path, *, method=None, flag=0):
    """Change the method and the flags of the zip's only entry, in its header and in the table at the end (APPNOTE 4.3)."""
    raw = bytearray(path.read_bytes())
    table = raw.rfind(b"PK\x01\x02")
    for flags, compression in ((6, 8), (table + 8, table + 10)):
        raw[flags] |= flag
        if method is not None:
            raw[compression : compression + 2] = method.to_bytes(2, "little")
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("changes", "message"), [({"method": 9}, "Deflate64"), ({"flag": 1}, "password"), ({"method": 99}, "compression")]
)
def test_zips_that_cannot_be_unpacked_are_told_in_a_sentence(listed, grid, submit, changes, message):
    path = zipped(submit("mine", {("p1", "p2"): 2}))
    as_windows_packs(path, **changes)
    found = Submission(path)
    for read in (
        lambda: found.require_size(listed[0], grid),
        lambda: found.forward(listed[0], fixed=grid, moving=grid),
    ):
        with pytest.raises(InputError, match=message):
            read()


@pytest.mark.parametrize("name", ["disp_p1_p2.nii.gz", "p1_p2/transform_moving_to_fixed.nii.gz", "seconds.csv"])
def test_a_name_that_is_twice_in_a_zip_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr(name, b"one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(name, b"another")
    with pytest.raises(InputError, match=f"{name} 2 times"):
        Submission(tmp_path / "twice.zip")


@pytest.mark.parametrize("script", ["current", "2020"])
@pytest.mark.parametrize(
    "packed",
    [None, "", "submission/task_03/", "submission\\task_03\\"],
    ids=["folder", "zip", "zip-in-folders", "backslashes"],
)
def test_both_names_are_found_in_folders_and_zips(listed, grid, submit, script, packed):
    folder = submit("mine", {("p1", "p2"): 2, ("p1", "p3"): -1, ("p2", "p1"): -2}, script)
    found = Submission(folder if packed is None else zipped(folder, packed))
    found.require(listed)
    for pair, shift in zip(listed, (2, -1), strict=True):
        found.require_size(pair, grid)
        forward = found.forward(pair, fixed=grid, moving=grid)
        assert forward.shape == (3, *grid.size)
        assert (np.unique(forward[0]).tolist(), np.unique(forward[1:]).tolist()) == ([shift], [0])
    assert np.unique(found.backward(listed[0], fixed=grid, moving=grid)[0]).tolist() == [-2]
    assert found.backward(listed[1], fixed=grid, moving=grid) is None
    assert found.seconds(listed[0]) is None


def test_seconds_are_read_from_a_table(listed, submit):
    folder = submit("mine", {("p1", "p2"): 2, ("p1", "p3"): -1})
    (folder / "seconds.csv").write_text("fixed,moving,seconds\np1,p2,12.5\n")
    assert [Submission(folder).seconds(pair) for pair in listed] == [12.5, None]
    (folder / "seconds.csv").write_text("fixed,moving,time\np1,p2,12.5\n")
    with pytest.raises(InputError, match="columns fixed, moving, seconds"):
        Submission(folder).seconds(listed[0])


def test_seconds_lie_beside_the_deformations_wherever_these_do_and_once_a_pair(listed, submit):
    folder = submit("mine", {("p1", "p2"): 2, ("p1", "p3"): -1})
    (folder / "run").mkdir()
    (folder / "run" / "seconds.csv").write_text("fixed,moving,seconds\np1,p2,12.5\n")
    found = Submission(folder)
    assert (found.seconds(listed[0]), found.odd_seconds(listed)) == (12.5, [])
    (folder / "run" / "seconds.csv").write_text("fixed,moving,seconds\n1,2,12.5\n")
    (message,) = Submission(folder).odd_seconds(listed)
    assert "has none of the pairs, its first is 1, 2" in message
    (folder / "run" / "seconds.csv").write_text("fixed,moving,seconds\np1,p2,12.5\np1,p2,13\n")
    with pytest.raises(InputError, match="has the pair p1, p2 twice"):
        Submission(folder).odd_seconds(listed)
    (folder / "two").mkdir()
    (folder / "two" / "seconds.csv").write_text("fixed,moving,seconds\n")
    with pytest.raises(InputError, match=r"holds seconds\.csv 2 times"):
        Submission(folder)


def test_an_npz_of_another_shape_is_told_as_that_alone(listed, grid, submit):
    folder = submit("packed", {})
    np.savez(folder / "disp_p1_p2.npz", np.zeros((3, *grid.size), np.float16))
    with pytest.raises(InputError, match=r"\.npz has shape 3x.*: move the first axis to the end\.$"):
        Submission(folder).require_size(listed[0], grid)


@pytest.mark.parametrize("time", ["-1", "inf", "nan", "soon"])
def test_what_is_no_time_is_refused_with_its_table(listed, submit, time):
    folder = submit("timed", {("p1", "p2"): 0})
    (folder / "seconds.csv").write_text(f"fixed,moving,seconds\np1,p2,{time}\n")
    with pytest.raises(InputError, match=r"seconds\.csv"):
        Submission(folder).seconds(listed[0])


@pytest.fixture
def registered(tmp_path, listed, grid, full_summary):
    """What `mics register` leaves for the first pair: two transforms in mm, and a summary."""
    folder = tmp_path / "registered" / listed[0].name
    folder.mkdir(parents=True)
    for name, shift in (("moving_to_fixed", 4.0), ("fixed_to_moving", -3.0)):
        Transform(np.full((*grid.size, 3), [shift, 0, 0], np.float32), grid).save(folder / f"transform_{name}.nii.gz")
    (folder / "summary.json").write_text(json.dumps({**full_summary, "seconds": {"total": 15.25}}))
    return folder.parent


@pytest.mark.parametrize("packed", [False, True])
def test_folders_of_register_are_converted_to_voxels(listed, grid, registered, packed):
    found = Submission(zipped(registered) if packed else registered)
    pair = listed[0]
    found.require([pair])
    found.require_size(pair, grid)
    np.testing.assert_allclose(found.forward(pair, fixed=grid, moving=grid)[0], 2, atol=1e-4)
    np.testing.assert_allclose(found.backward(pair, fixed=grid, moving=grid)[0], -1.5, atol=1e-4)
    assert found.seconds(pair) == 15.25
    (registered / pair.name / "transform_fixed_to_moving.nii.gz").unlink()
    assert Submission(registered).backward(pair, fixed=grid, moving=grid) is None


def test_a_transform_on_another_grid_than_the_labels_is_refused(listed, grid, registered):
    other = Grid(grid.size, grid.spacing, (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="another grid than that of the labels"):
        Submission(registered).forward(listed[0], fixed=other, moving=other)


@pytest.mark.parametrize(
    ("shifts", "message"),
    [
        ({("p1", "p2"): 2}, r"lacks 1 of 2 pairs.*disp_p1_0000_p3_0000\.nii\.gz .*add them"),
        ({("p2", "p1"): 2, ("p3", "p1"): 1}, "lacks 2 of 2 pairs.*may be exchanged"),
        ({}, r"lacks 2 of 2 pairs, the first is disp_p1_0000_p2_0000\.nii\.gz "),
    ],
)
def test_missing_pairs_are_counted_and_the_first_is_named(listed, submit, shifts, message):
    with pytest.raises(InputError, match=message):
        Submission(submit("mine", shifts)).require(listed)


def test_a_zip_without_them_says_what_it_holds(listed, submit):
    folder = submit("mine", {})
    (folder / "field_p1_p2.nii").write_bytes(b"")
    with pytest.raises(InputError, match=r"lacks 2 of 2 pairs.*it holds field_p1_p2\.nii; add them"):
        Submission(zipped(folder)).require(listed)


@pytest.mark.parametrize("packed", [False, True])
def test_a_full_size_npz_is_the_same_displacement(listed, grid, submit, packed):
    folder = submit("mine", {("p1", "p2"): 2, ("p1", "p3"): -1})
    expected = Submission(folder).forward(listed[0], fixed=grid, moving=grid)
    (file,) = folder.glob("*p2*")
    file.unlink()
    np.savez_compressed(folder / "disp_p1_p2.npz", np.moveaxis(expected, 0, -1).astype(np.float16))
    found = Submission(zipped(folder) if packed else folder)
    found.require(listed)
    found.require_size(listed[0], grid)
    np.testing.assert_array_equal(found.forward(listed[0], fixed=grid, moving=grid), expected)


def test_two_files_of_one_pair_are_refused(listed, submit):
    folder = submit("mine", {("p1", "p2"): 2, ("p1", "p3"): -1})
    np.savez(folder / "disp_p1_0000_p2_0000.npz", np.zeros(3))
    with pytest.raises(InputError, match=r"holds both disp_p1_0000_p2_0000\.nii\.gz and"):
        Submission(folder).require(listed)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"arr_0": np.zeros((3, 8, 7, 6), np.float16)}, "double its values .*2020"),
        ({"arr_0": np.zeros((8, 7, 6, 3), np.float16)}, "half the resolution"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "2 arrays"),
        ({"arr_0": np.array([None])}, "shape 1"),
        (b"", "cannot be read as an .npz file"),
    ],
)
def test_other_npz_files_are_told_apart(listed, grid, submit, stored, message):
    folder = submit("mine", {})
    path = folder / "disp_p1_p2.npz"
    if isinstance(stored, bytes):
        path.write_bytes(stored)
    else:
        np.savez(path, **stored)
    for read in (
        Submission(folder).require_size,
        lambda pair, fixed: Submission(folder).forward(pair, fixed=fixed, moving=fixed),
    ):
        with pytest.raises(InputError, match=message):
            read(listed[0], grid)


def test_a_wrong_size_is_told_from_the_header_alone(listed, grid, submit):
    folder = submit("mine", {("p1", "p2"): 2, ("p1", "p3"): -1})
    file = next(folder.glob("*p3*"))
    nibabel.save(nibabel.Nifti1Image(np.zeros((*grid.size[::-1], 3), np.float32), np.eye(4)), file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])  # the rest is not needed
    Submission(folder).require_size(listed[0], grid)
    with pytest.raises(InputError, match=r"p3_0000\.nii\.gz covers 12x14x16 voxels.*reverse order"):
        Submission(folder).require_size(listed[1], grid)
    with pytest.raises(InputError, match="reverse order"):
        Submission(zipped(folder)).require_size(listed[1], grid)


def test_the_same_pair_twice_is_refused(submit):
    folder = submit("mine", {("p1", "p2"): 2})
    shutil.copytree(folder, folder / "copy")
    with pytest.raises(InputError, match=r"holds disp_p1_0000_p2_0000\.nii\.gz 2 times"):
        Submission(folder)


@pytest.mark.parametrize("content", [None, b"not a zip"])
def test_neither_a_folder_nor_a_zip(tmp_path, content):
    path = tmp_path / "submission.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        Submission(path)


def test_a_pair_of_two_folders_is_refused(listed, grid, registered):
    folder = registered
    for other in ("first", "second"):
        shutil.copytree(folder / "p1_p2", folder / other / "p1_p2")
    shutil.rmtree(folder / "p1_p2")
    with pytest.raises(InputError, match=r"holds p1_p2/transform_moving_to_fixed\.nii\.gz 2 times"):
        Submission(folder).forward(listed[0], fixed=grid, moving=grid)


@pytest.mark.parametrize("name", ["disp_p1_p2.nii.gz", "p1_p2/transform_moving_to_fixed.nii.gz"])
def test_a_small_zip_of_a_large_file_is_not_unpacked(tmp_path, monkeypatch, listed, grid, name):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
        for _ in range(40):
            file.write(bytes(1 << 20))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))  # does not exist: nothing is written to it
    with pytest.raises(InputError, match=f"holds {name} of 42 MB, more than it can need"):
        Submission(tmp_path / "bomb.zip").forward(listed[0], fixed=grid, moving=grid)


def test_a_table_of_seconds_of_many_megabytes_is_not_read(tmp_path, listed):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("disp_p1_p2.nii.gz", b"")
        archive.writestr("seconds.csv", bytes(1 << 25))
    with pytest.raises(InputError, match=r"holds seconds\.csv of 34 MB"):
        Submission(tmp_path / "bomb.zip").seconds(listed[0])


def test_a_displacement_file_is_refused_by_its_header_before_it_is_unpacked(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000, 3))
    header.set_data_dtype(np.float32)
    path = tmp_path / "disp_p1_p2.nii.gz"
    with gzip.open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4))
    for size, message in (((16, 14, 12), "covers 2000x2000x2000 voxels"), (None, r"192\.0 GB of voxels")):
        with pytest.raises(InputError, match=message):
            read_displacement(path, size)


def test_two_forms_of_one_pair_are_refused(listed, registered, submit):
    folder = submit("mine", {("p1", "p2"): 2, ("p1", "p3"): -1})
    shutil.copytree(registered / "p1_p2", folder / "p1_p2")
    with pytest.raises(InputError, match=r"holds both disp_p1_0000_p2_0000\.nii\.gz and p1_p2/transform_moving_to"):
        Submission(folder).require(listed)


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_that_was_renamed_to_another_pair(listed, grid, registered, packed):
    """Of three subjects' scans on one grid, p2 was registered to p1, and the folder is taken for p3 to p1."""
    voxels = {name: np.random.default_rng(seed).normal(size=grid.size) for seed, name in enumerate(("p1", "p2", "p3"))}
    sha256 = {  # as docs/summary.md has it: float32, the first axis running fastest
        name: hashlib.sha256(values.astype("<f4").tobytes(order="F")).hexdigest() for name, values in voxels.items()
    }
    right, wrong = listed
    forward = registered / right.name / "transform_moving_to_fixed.nii.gz"
    scans = {"fixed": KnownScan(grid, sha256["p1"]), "moving": KnownScan(grid, sha256["p2"])}
    Provenance("moving", "fixed", scans).save(forward)
    shutil.copytree(registered / right.name, registered / wrong.name)
    found = Submission(zipped(registered) if packed else registered)
    assert found.made_for_others(right, grid, sha256.get) == []
    (message,) = found.made_for_others(wrong, grid, sha256.get)
    assert "p1_p3" in message
    assert "another moving scan than p3" in message
    assert found.made_for_others(wrong, grid, lambda name: None) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_transform_that_was_renamed_to_the_other_direction(listed, grid, registered, packed):
    """Both scans have one grid here, so that nothing else tells them apart."""
    scan = KnownScan(grid, "0" * 64)
    both = {"fixed": scan, "moving": scan}
    pair = listed[0]
    folder = registered / pair.name
    forward, backward = folder / "transform_moving_to_fixed.nii.gz", folder / "transform_fixed_to_moving.nii.gz"
    Provenance("moving", "fixed", both).save(forward)
    Provenance("fixed", "moving", both).save(backward)
    right = Submission(zipped(registered) if packed else registered)
    np.testing.assert_allclose(right.forward(pair, fixed=grid, moving=grid)[0], 2, atol=1e-4)
    np.testing.assert_allclose(right.backward(pair, fixed=grid, moving=grid)[0], -1.5, atol=1e-4)
    for path in (forward, backward):
        for end in ("", ".json"):
            path.with_name(path.name + end).rename(folder / f"{path.name}{end}.away")
    for old, new in ((forward, backward), (backward, forward)):
        for end in ("", ".json"):
            (folder / f"{old.name}{end}.away").rename(folder / f"{new.name}{end}")
    wrong = Submission(zipped(registered) if packed else registered)
    with pytest.raises(InputError, match="takes images of the fixed scan onto the moving one"):
        wrong.forward(pair, fixed=grid, moving=grid)
    with pytest.raises(InputError, match="takes images of the moving scan onto the fixed one"):
        wrong.backward(pair, fixed=grid, moving=grid)

import contextlib
import hashlib
import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.provenance import KnownScan, Provenance, provenance_path
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.io import Image, read_image, write_image


@pytest.fixture
def saved(tmp_path, grids, smooth_image):
    """A transform with its provenance, in a file, and both scans."""
    fixed, moving = smooth_image(grids["oblique"], 1), smooth_image(grids["ras"], 2)
    scans = {"fixed": KnownScan.of(fixed), "moving": KnownScan.of(moving)}
    known = Provenance("moving", "fixed", scans, {"mics_version": "0.1.0", "settings": {"steps": 2}})
    shift = np.full((*fixed.grid.size, 3), 1.5, np.float32)
    path = tmp_path / "there.nii.gz"
    Transform(shift, fixed.grid, known).save(path)
    return path, fixed, moving


def test_what_is_written_beside_a_transform_is_loaded_with_it(saved):
    path, fixed, moving = saved
    known = Transform.load(path).provenance
    assert (known.source, known.target) == ("moving", "fixed")
    assert known.scans["fixed"].grid.is_close(fixed.grid)
    assert known.scans["moving"].grid.is_close(moving.grid)
    assert known.made == {"mics_version": "0.1.0", "settings": {"steps": 2}}
    content = json.loads((path.parent / "there.nii.gz.json").read_text())
    assert content["transform"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert content["scans"]["moving"]["grid"]["size"] == list(moving.grid.size)


def test_a_scan_is_known_again_from_a_file_and_no_other_on_its_grid(saved, tmp_path):
    path, fixed, moving = saved
    scan = Transform.load(path).provenance.scans["moving"]
    write_image(moving, tmp_path / "again.nrrd")
    assert scan.is_scan(read_image(tmp_path / "again.nrrd"))
    assert not scan.is_scan(fixed)
    assert not scan.is_scan(Image(moving.array + 1, moving.grid))


def test_the_checksum_is_that_of_the_voxels_in_a_nifti_file(tmp_path, grids, smooth_image):
    image = smooth_image(grids["lps"])
    write_image(image, tmp_path / "scan.nii")
    offset = nibabel.load(tmp_path / "scan.nii").dataobj.offset
    values = (tmp_path / "scan.nii").read_bytes()[offset:]
    assert KnownScan.of(image).voxels_sha256 == hashlib.sha256(values).hexdigest()


def test_rounded_voxels_have_the_checksum_of_the_same_voxels_as_integers(tmp_path, grids, smooth_image):
    image = smooth_image(grids["lps"])
    rounded = Image(np.rint(image.array / 10), image.grid)
    assert np.signbit(rounded.array[rounded.array == 0]).any()  # -0.4 becomes -0.0
    write_image(rounded, tmp_path / "floats.nii.gz")
    sitk.WriteImage(sitk.Cast(sitk.ReadImage(tmp_path / "floats.nii.gz"), sitk.sitkInt16), tmp_path / "integers.nii.gz")
    known = KnownScan.of(read_image(tmp_path / "floats.nii.gz"))
    assert known.is_scan(read_image(tmp_path / "integers.nii.gz"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("absent", None),
        ("other transform", "is not of this file"),
        ("same length", "is not of this file"),
        ("no JSON", "is damaged"),
        ("a list", "is damaged"),
        ("newer", "is of another version of MICS"),
        ("partial", "is damaged"),
        ("turned", "tells its direction in two ways"),
    ],
)
def test_what_does_not_belong_to_the_transform_is_passed_over(saved, change, why):
    path, _, _ = saved
    beside = provenance_path(path)
    content = json.loads(beside.read_text())
    if change == "absent":
        beside.unlink()
    elif change == "other transform":
        transform = Transform.load(path)
        Transform(transform.displacement_mm * 0, transform.grid).save(path)
    else:
        broken = {
            "same length": {**content, "transform": {**content["transform"], "sha256": "0" * 64}},
            "newer": {**content, "schema": "mics-transform/2"},
            "partial": {**content, "scans": {"fixed": content["scans"]["fixed"]}},
            "a list": [content],
            "turned": {**content, "images": content["points"]},
        }
        beside.write_text(json.dumps(broken[change]) if change in broken else "{")
    told = contextlib.nullcontext() if why is None else pytest.warns(UserWarning, match=rf"there\.nii\.gz\.json {why}")
    with told:
        assert Transform.load(path).provenance is None


def test_a_json_that_an_editor_gave_a_mark_of_its_encoding_counts(saved):
    path, _, _ = saved
    beside = provenance_path(path)
    beside.write_bytes(b"\xef\xbb\xbf" + beside.read_bytes())
    assert Transform.load(path).provenance is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda grid: {**grid, "spacing_mm": [length / 2 for length in grid["spacing_mm"]]},
        lambda grid: {**grid, "origin_lps_mm": [place + 5 for place in grid["origin_lps_mm"]]},
        lambda grid: {**grid, "size": [10**6] * 3, "spacing_mm": [1e-5] * 3},
    ],
)
def test_a_json_whose_grid_is_not_that_of_the_field_is_refused(saved, change):
    """A field may be coarser than the scan that it fills, and then covers it."""
    path, _, _ = saved
    beside = provenance_path(path)
    content = json.loads(beside.read_text())
    content["scans"]["fixed"]["grid"] = change(content["scans"]["fixed"]["grid"])
    beside.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"there\.nii\.gz\.json says that the transform fills the grid .* lies on another"
    ):
        Transform.load(path)


def test_a_json_turned_round_by_hand_is_refused(saved):
    """The field would be brought onto the grid of the other scan."""
    path, _, _ = saved
    beside = provenance_path(path)
    content = json.loads(beside.read_text())
    beside.write_text(json.dumps({**content, "images": content["points"], "points": content["images"]}))
    with pytest.raises(InputError, match="lies on another"):
        Transform.load(path)

import hashlib
import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.provenance import KnownScan, Provenance, provenance_path
from mics.deformation.transform import Transform
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
    "change", ["absent", "other transform", "same length", "no JSON", "a list", "newer", "partial"]
)
def test_what_does_not_belong_to_the_transform_is_passed_over(saved, change):
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
        }
        beside.write_text(json.dumps(broken[change]) if change in broken else "{")
    assert Transform.load(path).provenance is None

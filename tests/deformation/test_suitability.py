import warnings
from pathlib import Path

import pytest
import SimpleITK as sitk

from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.suitability import check_scan
from mics.image.io import from_itk, to_itk


@pytest.fixture
def known(grids, smooth_image):
    """What a transform from a scan on the grid "ras" to one on "oblique" knows."""
    scans = {
        "fixed": KnownScan.of(smooth_image(grids["oblique"], 1)),
        "moving": KnownScan.of(smooth_image(grids["ras"], 2)),
    }
    return Provenance("moving", "fixed", scans, {})


def rearranged(image):
    """A part of a volume with other axes, by SimpleITK: as a DICOM segmentation, which leaves out empty slices."""
    return from_itk(
        sitk.Flip(sitk.PermuteAxes(sitk.Crop(to_itk(image), [0, 0, 5], [0, 0, 4]), [1, 0, 2]), [False, True, False])
    )


def test_a_part_of_the_scans_grid_is_taken_without_a_word(known, grids, smooth_image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_scan(rearranged(smooth_image(grids["ras"])), known, Path("seg.dcm"), "there.nii.gz")


def test_a_part_of_the_grid_of_the_other_scan_is_told(known, grids, smooth_image):
    with pytest.warns(
        UserWarning, match=r"seg.dcm lies on the grid of the fixed scan, and there.nii.gz takes images of the moving"
    ):
        check_scan(rearranged(smooth_image(grids["oblique"])), known, Path("seg.dcm"), "there.nii.gz")


def test_a_grid_of_neither_is_told(known, grids, smooth_image):
    with pytest.warns(UserWarning, match=r"on the grid of neither scan"):
        check_scan(smooth_image(grids["anisotropic"]), known, Path("dose.dcm"), "there.nii.gz")

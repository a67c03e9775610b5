"""A transform that is evaluated where it is asked for, against the whole of it and against SimpleITK."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mics.deformation import stored
from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.on_demand import OnDemand
from mics.deformation.provenance import Provenance
from mics.deformation.stored import as_stored
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.evaluation.consistency import inverse_consistency_mm
from mics.image.grid import Grid
from mics.image.io import to_itk

LPS = Grid((29, 23, 31), (1.3, 1.7, 1.1), (-20.0, 5.0, 7.0))
TURNED = Grid((21, 27, 17), (1.5, 1.2, 2.0), (15.0, 40.0, 7.0), (-0.96, 0.28, 0, -0.28, -0.96, 0, 0, 0, 1))
AFFINE = np.array([[1.02, 0.05, 0, 3], [-0.05, 0.98, 0.02, -2], [0, -0.02, 1.05, 1], [0, 0, 0, 1]])


@pytest.fixture
def transforms():
    """Both directions of a deformation on a coarse grid, on one grid parallel to it and on one that is not."""
    coarse = Grid((9, 10, 11), (4.0, 4.0, 4.0), (-18.0, 8.0, 9.0))
    random = np.random.default_rng(3).normal(size=(2, 1, 3, *coarse.size)).astype(np.float32) / 4
    there, back = (torch.from_numpy(one) for one in random)
    field = BidirectionalField(moving_to_fixed=there, fixed_to_moving=back, grid=coarse)
    made = field.to_transforms(fixed=LPS, moving=TURNED, to_fixed=np.eye(4), to_moving=AFFINE)
    return made.moving_to_fixed, made.fixed_to_moving


@pytest.fixture(params=[0, 1], ids=["parallel axes", "turned axes"])
def transform(transforms, request):
    return transforms[request.param]


BOXES = [
    (slice(3, 4), slice(None), slice(None)),
    (slice(None), slice(None), slice(16, 17)),
    (slice(None), slice(2, 5), slice(0, 3)),
    (slice(None, None, 4), slice(1, None, 3), slice(2, 15, 5)),
    (slice(6, 7), slice(8, 9), slice(9, 10)),
]


@pytest.mark.parametrize("box", BOXES)
def test_a_part_is_exactly_what_the_whole_has_there(transform, box):
    parts = [transform.part(box), *(transform.part(box, slice(c, c + 1)) for c in range(3))]
    whole = transform.displacement_mm[box]
    np.testing.assert_array_equal(parts[0], whole)
    np.testing.assert_array_equal(np.concatenate(parts[1:], axis=-1), whole)


@pytest.mark.parametrize("axis", range(3))
def test_an_empty_part_is_an_empty_array_as_numpys(transform, axis):
    box = tuple(slice(4, 4) if n == axis else slice(0, 6, 2) for n in range(3))
    part = transform.part(box, slice(1, 3))
    assert part.shape == transform.displacement_mm[box][..., 1:3].shape
    assert part.dtype == np.float32


def test_nothing_that_a_registration_does_makes_the_whole(transforms, smooth_image, tmp_path):
    there, back = transforms
    image = smooth_image(TURNED)
    found = [
        there.transform_image(image).array,
        there.subsampled((2, 2, 2)).displacement_mm,
        there.volume_change(),
        there.transform_points(LPS.corners()),
        inverse_consistency_mm(there, back),
    ]
    there.save(tmp_path / "on_demand.nii.gz")
    assert "displacement_mm" not in vars(there)
    assert "displacement_mm" not in vars(back)
    dense = Transform(there.displacement_mm, LPS)
    expected = [
        dense.transform_image(image).array,
        dense.subsampled((2, 2, 2)).displacement_mm,
        dense.volume_change(),
        dense.transform_points(LPS.corners()),
        inverse_consistency_mm(dense, Transform(back.displacement_mm, TURNED)),
    ]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(
            *(dataclasses.astuple(value) if dataclasses.is_dataclass(value) else value for value in (one, other))
        )
    dense.save(tmp_path / "dense.nii.gz")
    assert (tmp_path / "dense.nii.gz").read_bytes() == (tmp_path / "on_demand.nii.gz").read_bytes()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slabs_of_a_file_make_what_itk_writes_at_once(transform, suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_SLAB_VOXELS", 2 * 29 * 23)
    transform.save(tmp_path / f"slabs{suffix}")
    rounded = Transform(as_stored(transform.displacement_mm), transform.grid)
    field = sitk.Cast(sitk.DisplacementFieldTransform(rounded.to_sitk()).GetDisplacementField(), sitk.sitkVectorFloat32)
    sitk.WriteImage(field, str(tmp_path / "itk.nii"))
    plain = sitk.ReadImage(str(tmp_path / f"slabs{suffix}"))
    sitk.WriteImage(plain, str(tmp_path / "again.nii"))
    assert (tmp_path / "again.nii").read_bytes() == (tmp_path / "itk.nii").read_bytes()
    if suffix == ".nii":
        assert (tmp_path / "slabs.nii").read_bytes() == (tmp_path / "itk.nii").read_bytes()


def test_itk_moves_points_as_it_does(transform):
    field = sitk.DisplacementFieldTransform(transform.to_sitk())
    inner = transform.grid.voxel_to_world(np.random.default_rng(0).uniform(0.5, 15.5, (40, 3)))
    expected = [field.TransformPoint(point.tolist()) for point in inner]
    fresh = transform.known_as(None)
    np.testing.assert_allclose(fresh.transform_points(inner), expected, atol=1e-4)


def test_points_are_moved_the_same_by_blocks(transform, monkeypatch):
    points = transform.grid.voxel_to_world(np.random.default_rng(0).uniform(-3, 30, (200, 3)))
    at_once = transform.transform_points(points)
    monkeypatch.setattr("mics.deformation.on_demand._BLOCK_VOXELS", 900)
    np.testing.assert_allclose(transform.transform_points(points), at_once, atol=1e-5)


def test_a_shift_is_itself_everywhere():
    size = (5, 6, 7)
    source = torch.tensor([1.0, -2.0, 3.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 2, 2, 2)
    straight = np.zeros((4, 4))
    straight[:3, 3] = 0.5
    values = OnDemand(source, np.diag([0.3, 0.2, 0.1, 1.0]), straight, size)
    transform = Transform.on_demand(values, Grid(size, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    expected = np.broadcast_to([1.5, -1.5, 3.5], (*size, 3))
    np.testing.assert_allclose(transform.displacement_mm, expected, rtol=1e-6)


def test_what_it_is_for_is_added_without_making_the_whole(transforms):
    there, _ = transforms
    known = there.known_as(Provenance("moving", "fixed", {}))
    assert known.provenance is not None
    assert there.provenance is None
    assert "displacement_mm" not in vars(known)
    assert dataclasses.replace(known, provenance=None) == there


def test_what_are_no_numbers_is_refused_before_anything_is_evaluated():
    grid = Grid((5, 6, 7), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    nothing = torch.full((1, 3, *grid.size), torch.nan)
    field = BidirectionalField(moving_to_fixed=nothing, fixed_to_moving=nothing, grid=grid)
    with pytest.raises(InputError, match="NaN"):
        field.to_transforms(fixed=grid, moving=grid, to_fixed=np.eye(4), to_moving=np.eye(4))


def test_threads_that_ask_at_once_get_one_array(transforms):
    there, _ = transforms
    barrier = threading.Barrier(4)

    def ask(_):
        barrier.wait()
        return there.displacement_mm

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert all(one is found[0] for one in found)


def test_there_is_no_other_attribute(transforms):
    with pytest.raises(AttributeError, match="displacement_cm"):
        _ = transforms[0].displacement_cm


def test_slabs_of_a_warped_scan_are_what_itk_fills_at_once(transforms, smooth_image):
    there, _ = transforms
    image = smooth_image(TURNED)
    at_once = sitk.Resample(
        to_itk(image), LPS.size, there.to_sitk(), sitk.sitkLinear, LPS.origin, LPS.spacing, LPS.direction, -1000.0
    )
    ours = there.known_as(None).transform_image(image, outside=-1000.0).array
    np.testing.assert_allclose(ours, sitk.GetArrayFromImage(at_once).transpose(2, 1, 0), atol=0.02)

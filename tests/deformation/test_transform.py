import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from mics.deformation import slabs
from mics.deformation.field import warp
from mics.deformation.jacobian import fold_share
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, write_image
from mics.image.resample import inside

LINEAR = np.array([[0.04, -0.03, 0.02], [0.01, 0.05, -0.02], [0.03, 0.02, -0.04]])
SHIFT = np.array([2.0, -1.5, 1.0])


def smooth_transform(grid: Grid, seed: int = 0, size_mm: float = 4.0) -> Transform:
    """A random smooth displacement of a few millimetres."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(*grid.size, 3)), (3, 3, 3, 0))
    return Transform((size_mm * noise / np.abs(noise).max()).astype(np.float32), grid)


def linear_transform(grid: Grid) -> Transform:
    """The displacement LINEAR (x - centre) + SHIFT, which linear interpolation reproduces exactly."""
    points = grid.voxel_to_world(np.moveaxis(np.indices(grid.size), 0, -1))
    return Transform(((points - grid.centre) @ LINEAR.T + SHIFT).astype(np.float32), grid)


def as_itk(image: Image) -> sitk.Image:
    itk = sitk.GetImageFromArray(np.ascontiguousarray(image.array.transpose(2, 1, 0)))
    itk.SetSpacing(image.grid.spacing)
    itk.SetOrigin(image.grid.origin)
    itk.SetDirection(image.grid.direction)
    return itk


def by_itk(image: Image, path, grid: Grid) -> np.ndarray:
    """The image resampled by SimpleITK with the displacement field in a file: none of our code."""
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    reference = as_itk(Image(np.zeros(grid.size, np.uint8), grid))
    moved = sitk.Resample(as_itk(image), reference, field, sitk.sitkLinear, -1000)
    return sitk.GetArrayFromImage(moved).transpose(2, 1, 0)


# --- other tools ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_simpleitk_applies_the_saved_file_as_we_do(tmp_path, grid, grids, suffix, smooth_image):
    transform = smooth_transform(grid)
    transform.save(tmp_path / f"field{suffix}")
    for moving in (grids["oblique"], grids["left_handed"]):
        image = smooth_image(moving)
        ours = transform.transform_image(image)
        theirs = by_itk(image, tmp_path / f"field{suffix}", grid)
        assert ours.grid == grid
        # The file is rounded to 1/256 mm, so at the rim of the field of view a voxel may fall on either side.
        same_side = (ours.array == -1000) == (theirs == -1000)
        assert same_side.mean() > 0.999
        np.testing.assert_allclose(ours.array[same_side], theirs[same_side], atol=0.8)


def test_ants_applies_the_saved_file_as_we_do(tmp_path, grid, grids, smooth_image):
    ants = pytest.importorskip("ants")
    moving = grids["left_handed"] if grid == grids["oblique_left_handed"] else grids["oblique_left_handed"]
    transform, image = smooth_transform(grid), smooth_image(moving)
    labels = Image((image.array > 50).astype(np.uint8) + (image.array > 120), moving)
    transform.save(tmp_path / "field.nii.gz")
    fixed = Image(np.zeros(grid.size, np.float32), grid)
    for name, volume in {"fixed": fixed, "moving": image, "labels": labels}.items():
        write_image(volume, tmp_path / f"{name}.nii.gz")

    def applied(name: str, interpolator: str, outside: float) -> np.ndarray:
        volumes = [ants.image_read(str(tmp_path / file)) for file in ("fixed.nii.gz", name)]
        field = [str(tmp_path / "field.nii.gz")]
        return ants.apply_transforms(*volumes, field, interpolator=interpolator, defaultvalue=outside).numpy()

    ours, theirs = transform.transform_image(image).array, applied("moving.nii.gz", "linear", -1000)
    same_side = (ours == -1000) == (theirs == -1000)
    assert same_side.mean() > 0.999
    np.testing.assert_allclose(ours[same_side], theirs[same_side], atol=0.8)
    same_label = transform.transform_labels(labels).array == applied("labels.nii.gz", "nearestNeighbor", 0)
    assert same_label.mean() > 0.999


def test_points_move_as_simpleitk_moves_them(tmp_path, grid):
    transform = smooth_transform(grid)
    transform.save(tmp_path / "field.nii.gz")
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64))
    voxels = np.random.default_rng(0).uniform(0.1, 0.9, size=(30, 3)) * (np.array(grid.size) - 1)
    points = grid.voxel_to_world(voxels)
    expected = [field.TransformPoint(point.tolist()) for point in points]
    np.testing.assert_allclose(transform.transform_points(points), expected, atol=4e-3)


def test_points_move_as_ants_moves_them(tmp_path, grids):
    ants, pandas = pytest.importorskip("ants"), pytest.importorskip("pandas")
    grid = grids["oblique_left_handed"]
    transform = smooth_transform(grid)
    transform.save(tmp_path / "field.nii.gz")
    points = grid.voxel_to_world(np.random.default_rng(0).uniform(3, 11, size=(10, 3)))
    table = pandas.DataFrame(points, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, [str(tmp_path / "field.nii.gz")])
    np.testing.assert_allclose(transform.transform_points(points), moved[["x", "y", "z"]].to_numpy(), atol=5e-3)


def test_the_file_is_an_itk_displacement_field(tmp_path, grids):
    transform = smooth_transform(grids["oblique"])
    transform.save(tmp_path / "field.nii.gz")
    nifti = nibabel.load(tmp_path / "field.nii.gz")
    assert nifti.shape == (*transform.grid.size, 1, 3)
    assert nifti.header["intent_code"] == 1007
    assert nifti.get_data_dtype() == np.float32
    np.testing.assert_allclose(nifti.get_fdata()[..., 0, :], transform.displacement_mm, atol=1 / 512)


# --- fields whose answer is known -------------------------------------------------------------------------------------


def test_a_linear_map_of_a_linear_image_is_exact(grid, grids):
    slope = np.array([3.0, -2.0, 4.0])
    transform = linear_transform(grid)
    for moving in grids.values():
        image = Image((moving.points() @ slope).astype(np.float32), moving)
        there = grid.points() + transform.displacement_mm
        voxels = moving.world_to_voxel(there)
        within = ((voxels >= 0) & (voxels <= np.array(moving.size) - 1)).all(axis=-1)
        assert within.mean() > 0.3
        result = transform.transform_image(image)
        np.testing.assert_allclose(result.array[within], (there @ slope)[within], atol=0.01)


def test_a_linear_map_moves_points_exactly(grid):
    points = grid.voxel_to_world(np.random.default_rng(1).uniform(0, 8, size=(12, 3)))
    expected = points + (points - grid.centre) @ LINEAR.T + SHIFT
    np.testing.assert_allclose(linear_transform(grid).transform_points(points), expected, atol=1e-4)


def test_a_landmark_and_the_image_around_it_go_together(grids):
    fixed, moving = grids["oblique"], grids["oblique_left_handed"]
    transform = linear_transform(fixed)
    landmark = fixed.centre + [3.0, -2.0, 4.0]
    (there,) = transform.transform_points(landmark[None])
    assert np.linalg.norm(there - landmark) > 2
    blob = np.exp(-(np.linalg.norm(moving.points() - there, axis=-1) ** 2) / (2 * 4.0**2))
    warped = transform.transform_image(Image(blob.astype(np.float32), moving), outside=0).array
    found = (fixed.points() * warped[..., None]).sum(axis=(0, 1, 2)) / warped.sum()
    assert np.linalg.norm(found - landmark) < 0.1


def test_beyond_the_image_is_air_and_beyond_the_labels_background(grids, smooth_image):
    transform = Transform(np.full((*grids["lps"].size, 3), (15, 0, 0), np.float32), grids["lps"])
    image = smooth_image(grids["ras"])
    there = np.eye(4)
    there[0, 3] = 15
    within = inside(image.grid, grids["lps"], there)
    assert 0.3 < within.mean() < 0.9
    assert ((transform.transform_image(image).array == -1000) == ~within).all()
    labels = Image(np.full(image.grid.size, 7, np.int16), image.grid)
    assert ((transform.transform_labels(labels).array == 7) == within).all()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.int32, np.int64])
def test_labels_keep_their_type_and_none_is_invented(grids, dtype):
    values = np.array([0, 1]) if dtype == np.bool_ else np.array([0, 2, 11, 120])
    labels = Image(np.random.default_rng(0).choice(values, size=grids["ras"].size).astype(dtype), grids["ras"])
    result = smooth_transform(grids["oblique"]).transform_labels(labels)
    assert result.array.dtype == dtype
    assert set(np.unique(result.array).tolist()) == set(values.tolist())


def test_beyond_the_grid_points_move_like_its_border():
    grid = Grid((4, 4, 4), (2, 2, 2), (0, 0, 0))
    displacement = np.zeros((4, 4, 4, 3), np.float32)
    displacement[..., 0] = np.arange(4)[:, None, None]
    moved = Transform(displacement, grid).transform_points([[-50.0, 3, 3], [3, 3, 3], [90, 3, 3]])
    np.testing.assert_allclose(moved, [[-50, 3, 3], [4.5, 3, 3], [93, 3, 3]])


# --- our own pieces agree ---------------------------------------------------------------------------------------------


def test_voxels_and_millimetres(grid):
    """The displacement in voxels leads where the one in millimetres leads."""
    transform = smooth_transform(grid)
    voxels = transform.displacement_voxels()
    assert voxels.shape == (1, 3, *grid.size)
    index = np.moveaxis(np.indices(grid.size), 0, -1)
    there = grid.voxel_to_world(index + np.moveaxis(voxels[0].numpy(), 0, -1))
    np.testing.assert_allclose(there, grid.points() + transform.displacement_mm, atol=1e-4)
    back = Transform.from_voxels(voxels, grid)
    np.testing.assert_allclose(back.displacement_mm, transform.displacement_mm, atol=1e-5)


def test_on_one_grid_it_is_the_warp_of_tensors(grid, smooth_image):
    image, transform = smooth_image(grid), smooth_transform(grid)
    warped = warp(torch.from_numpy(image.array.copy())[None, None], transform.displacement_voxels())[0, 0].numpy()
    ours = transform.transform_image(image).array
    within = ours > -999
    assert within.mean() > 0.7
    np.testing.assert_allclose(ours[within], warped[within], atol=0.05)


def test_composed_is_one_after_the_other(grid, grids, smooth_image):
    first, second = linear_transform(grids["permuted"]), smooth_transform(grid, seed=3)
    composed = second.compose(first)
    points = grid.voxel_to_world(np.random.default_rng(0).uniform(0.3, 0.7, size=(20, 3)) * grid.size)
    expected = first.transform_points(second.transform_points(points))
    assert composed.grid == grid
    np.testing.assert_allclose(composed.transform_points(points), expected, atol=0.02)
    image = smooth_image(grids["oblique"])
    twice = second.transform_image(first.transform_image(image, outside=0), outside=0).array
    once = composed.transform_image(image, outside=0).array
    middle = tuple(slice(n // 3, 2 * n // 3) for n in grid.size)
    # The second interpolation blurs, so the two agree on the whole and not voxel by voxel.
    assert np.abs(once[middle] - twice[middle]).mean() < 0.1 * image.array.std()


def test_resampled_moves_points_alike(grid, grids):
    transform = linear_transform(grids["ras"])
    other = transform.resampled(grid)
    points = grid.points().reshape(-1, 3)
    assert other.grid == grid
    expected = transform.transform_points(points) - points
    np.testing.assert_allclose(other.displacement_mm.reshape(-1, 3), expected, atol=1e-3)


def test_another_grid_may_be_asked_for(grid, grids, smooth_image):
    transform, image = linear_transform(grids["lps"]), smooth_image(grids["oblique"])
    asked = transform.transform_image(image, grid=grid)
    there = grid.points().reshape(-1, 3)
    voxels = image.grid.world_to_voxel(transform.transform_points(there)).T
    expected = map_coordinates(image.array, voxels, order=1, mode="nearest").reshape(grid.size)
    within = asked.array != -1000
    assert asked.grid == grid
    assert within.mean() > 0.5
    np.testing.assert_allclose(asked.array[within], expected[within], atol=0.1)
    labels = transform.transform_labels(Image(image.array > 0, image.grid), grid=grid)
    assert labels.grid == grid


def test_slabs_leave_no_seam(grids, smooth_image, monkeypatch):
    transform, image, other = smooth_transform(grids["oblique"]), smooth_image(grids["ras"]), grids["anisotropic"]

    def results() -> list[np.ndarray]:
        composed, resampled = transform.compose(linear_transform(other)), transform.resampled(other)
        return [transform.transform_image(image).array, composed.displacement_mm, resampled.displacement_mm]

    whole = results()
    monkeypatch.setattr(slabs, "_SLAB_VOXELS", 24 * 20 * 4)
    for a, b, tolerance in zip(whole, results(), (0.01, 1e-4, 1e-4), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_saved_and_loaded(tmp_path, grid, suffix):
    transform = smooth_transform(grid)
    transform.save(tmp_path / f"field{suffix}")
    loaded = Transform.load(tmp_path / f"field{suffix}")
    assert loaded.grid.is_close(grid)
    assert loaded.displacement_mm.dtype == np.float32
    np.testing.assert_allclose(loaded.displacement_mm, transform.displacement_mm, atol=1 / 512)
    loaded.save(tmp_path / f"again{suffix}")
    assert np.array_equal(Transform.load(tmp_path / f"again{suffix}").displacement_mm, loaded.displacement_mm)


def test_a_displacement_of_single_precision_is_loaded_from_double(tmp_path):
    field = sitk.GetImageFromArray(np.ones((4, 5, 6, 3)), isVector=True)
    sitk.WriteImage(field, str(tmp_path / "field.nrrd"))
    assert Transform.load(tmp_path / "field.nrrd").displacement_mm.dtype == np.float32


def test_what_is_not_a_displacement_field(tmp_path, grids, smooth_image):
    write_image(smooth_image(grids["lps"]), tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match="not a displacement field"):
        Transform.load(tmp_path / "scan.nii.gz")
    learn2reg = nibabel.Nifti1Image(np.zeros((6, 5, 4, 3), np.float32), np.eye(4))
    nibabel.save(learn2reg, tmp_path / "disp.nii.gz")
    with pytest.raises(InputError, match="4D"):
        Transform.load(tmp_path / "disp.nii.gz")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_field_with_holes(tmp_path, grids, suffix):
    transform = smooth_transform(grids["lps"])
    transform.displacement_mm[3, 2, 1, 0] = np.nan
    transform.save(tmp_path / f"field{suffix}")
    with pytest.raises(InputError, match="NaN or infinite"):
        Transform.load(tmp_path / f"field{suffix}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_displacements_that_are_no_numbers(grids, value):
    displacement = np.zeros((*grids["lps"].size, 3), np.float32)
    displacement[3, 2, 1, 0] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        Transform(displacement, grids["lps"])


def test_shapes_that_do_not_fit(grids):
    with pytest.raises(InputError, match="does not fit"):
        Transform(np.zeros((3, *grids["lps"].size), np.float32), grids["lps"])
    with pytest.raises(InputError, match=r"\(N, 3\)"):
        smooth_transform(grids["lps"]).transform_points([1.0, 2.0, 3.0])


@pytest.mark.parametrize("name", ["lps", "oblique_left_handed"])
def test_folds_are_counted_slab_by_slab_as_in_the_whole(name, grids, monkeypatch):
    """A shift of growing size against the axes folds a part of the grid, its border among it."""
    grid = grids[name]
    place = np.indices(grid.size, dtype=np.float32)
    voxels = np.zeros((3, *grid.size), np.float32)
    voxels[0] = np.where(place[1] > grid.size[1] // 2, 1, -1) * 3 * np.sin(place[0])
    transform = Transform.from_voxels(torch.from_numpy(voxels), grid)
    monkeypatch.setattr("mics.deformation.jacobian_slabs.CACHED_VOXELS", 1000)
    expected = fold_share(transform.displacement_voxels())
    assert transform.volume_change().fold_share == expected
    assert 0.1 < expected < 0.9


def test_every_nth_voxel_stays_where_it_is_and_moves_as_it_did(grid):
    transform = smooth_transform(grid)
    thinned = transform.subsampled((2, 3, 1))
    np.testing.assert_array_equal(thinned.displacement_mm, transform.displacement_mm[::2, ::3])
    np.testing.assert_allclose(thinned.grid.points(), grid.points()[::2, ::3], atol=1e-3)


@pytest.mark.parametrize("length", [32767, 32768])
def test_the_longest_axis_that_a_nifti_header_can_tell_is_written_and_one_more_is_refused(tmp_path, length):
    grid = Grid((length, 2, 2), (0.01, 1.0, 1.0), (0.0, 0.0, 0.0))
    displacement = np.zeros((*grid.size, 3), np.float32)
    displacement[-1] = [2, 3, 4]
    path = tmp_path / "long.nii.gz"
    if length > 32767:
        with pytest.raises(InputError, match=r"long\.nii\.gz.* 32767"):
            Transform(displacement, grid).save(path)
        assert not path.exists()
    else:
        Transform(displacement, grid).save(path)
        theirs = sitk.ReadImage(str(path))
        assert theirs.GetSize() == grid.size
        assert theirs[length - 1, 1, 0] == (2, 3, 4)
        assert theirs[length - 2, 1, 0] == (0, 0, 0)

import warnings

import numpy as np
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, to_itk, write_image
from mics.registration.inputs import load_pair, load_scan, meaning_of_labels
from mics.registration.pair import Pair

GRID = Grid((8, 9, 10), (2.0, 2.0, 3.0), (-8.0, -9.0, 100.0))


def volume(grid=GRID, dtype=np.float32):
    return Image((np.arange(np.prod(grid.size)).reshape(grid.size) % 100 - 50).astype(dtype), grid)


def labels(grid=GRID, dtype=np.uint8):
    array = np.zeros(grid.size, dtype)
    array[2:4, 2:4, 2:4] = 3
    return Image(array, grid)


def with_voxel(value):
    image = volume()
    image.array[3, 4, 5] = value
    return image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (with_voxel(np.nan), "The moving scan holds NaN"),
        (with_voxel(np.inf), "The moving scan holds NaN or infinite"),
        (Image(np.full(GRID.size, 40), GRID), "The moving scan is constant"),
    ],
)
def test_arrays_with_the_faults_of_files_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        load_scan(image, None, "moving")


def test_an_array_becomes_float32_and_keeps_its_labels():
    scan = load_scan(volume(dtype=np.int16), labels(), "fixed")
    assert scan.image.array.dtype == np.float32
    assert scan.labels is not None
    assert scan.labels.array.dtype == np.uint8
    assert (scan.path, scan.labels_path) == (None, None)


SHIFTED = Grid(GRID.size, GRID.spacing, (-7.0, -9.0, 100.0))
LARGER = Grid((9, 9, 10), GRID.spacing, GRID.origin)
COARSER = Grid(GRID.size, (2.0, 2.0, 3.5), GRID.origin)
FLIPPED = Grid(GRID.size, GRID.spacing, (8.0, -9.0, 100.0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        pytest.param(SHIFTED, "voxels that lie up to 1 mm elsewhere", id="shifted"),
        pytest.param(LARGER, "9 × 9 × 10 against 8 × 9 × 10 voxels", id="larger"),
        pytest.param(COARSER, "a spacing of 2 × 2 × 3.5 against 2 × 2 × 3 mm", id="coarser"),
        pytest.param(FLIPPED, "voxels that lie up to 2 mm elsewhere", id="flipped about another place"),
    ],
)
def test_labels_on_another_grid_are_refused_with_both_names_and_the_difference(tmp_path, grid, why):
    write_image(volume(), tmp_path / "scan.nii.gz")
    write_image(labels(grid), tmp_path / "labels.nii.gz")
    with pytest.raises(InputError, match=rf"labels\.nii\.gz is on another grid than .*scan\.nii\.gz \(.*{why}"):
        load_scan(tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz", "fixed")


@pytest.mark.parametrize("given", ["fixed_labels", "moving_labels", "moving_exclude", "fixed_lesions"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_label_map_that_fits_the_other_scan_is_told_so_and_not_to_be_resampled(tmp_path, given, as_file):
    other = LARGER if given.startswith("fixed") else GRID
    scans, maps = [volume(GRID), volume(LARGER)], labels(other)
    if as_file:
        for image, name in zip([*scans, maps], ["fixed.nii.gz", "moving.nii.gz", "map.nii.gz"], strict=True):
            write_image(image, tmp_path / name)
        scans, maps = [tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"], tmp_path / "map.nii.gz"
    with pytest.raises(InputError, match=r"another grid .*\): it fits the other scan, so are they exchanged\?$"):
        load_pair(fixed=scans[0], moving=scans[1], **{given: maps})


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PIR", "SLP", "ARI"])
def test_labels_whose_axes_run_otherwise_lie_where_simpleitk_has_them(tmp_path, orientation):
    # As NIfTI written from a DICOM series has them: the same places, other axes.
    array = np.random.default_rng(1).integers(0, 4, GRID.size).astype(np.uint8)
    sitk.WriteImage(sitk.DICOMOrient(to_itk(Image(array, GRID)), orientation), tmp_path / "labels.nii.gz")
    write_image(volume(), tmp_path / "scan.mha")
    scan = load_scan(tmp_path / "scan.mha", tmp_path / "labels.nii.gz", "fixed")
    assert scan.labels is not None
    assert scan.labels.grid == scan.image.grid
    assert np.array_equal(scan.labels.array, array)


def test_labels_whose_header_differs_in_the_last_digits_are_taken():
    nearly = Grid(GRID.size, (2.0, 2.0, 3.001), (-8.01, -9.0, 100.0))
    assert load_scan(volume(), labels(nearly), "fixed").labels.grid == GRID


def test_labels_that_are_not_integers_are_refused():
    with pytest.raises(InputError, match="The fixed label map is not a label map"):
        load_scan(volume(), labels(dtype=np.float32), "fixed")


def test_truth_values_and_other_byte_orders_are_taken():
    expected = labels().array
    for array in (expected == 3, expected.astype(">i4"), expected.astype(">u2")):
        taken = load_scan(volume(), Image(array, GRID), "fixed", exclude=Image(array, GRID))
        for image in (taken.labels, taken.exclude):
            assert image.array.dtype.isnative
            assert np.issubdtype(image.array.dtype, np.integer)
            assert np.array_equal(image.array, array.astype(int))


@pytest.mark.parametrize("dtype", [">f4", ">i2", np.float16, np.float64])
def test_scans_of_any_real_type_become_float32(dtype):
    scan = load_scan(volume(dtype=dtype), None, "moving")
    assert scan.image.array.dtype == np.dtype("=f4")
    assert np.array_equal(scan.image.array, volume().array)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (complex, "not values of the type complex128"),
        (object, "not values of the type object"),
        (bool, "The moving scan is"),
    ],
)
def test_scans_of_other_types_are_refused(dtype, message):
    with pytest.raises(InputError, match=message):
        load_scan(volume(dtype=dtype), None, "moving")


def test_a_scan_given_as_a_label_map_is_refused(tmp_path):
    write_image(Image(volume().array.astype(np.int16), GRID), tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=r"scan\.nii\.gz is not a label map: it holds negative values, down to -50"):
        load_scan(volume(), tmp_path / "scan.nii.gz", "fixed")
    many = Image(np.arange(720, dtype=np.uint16).reshape(GRID.size), GRID)
    for role in ({"labels": many}, {"labels": None, "exclude": many}):
        with pytest.raises(InputError, match="more than 256 different values"):
            load_scan(volume(), role["labels"], "fixed", exclude=role.get("exclude"))


def test_a_few_large_labels_are_taken():
    large = Image(labels().array.astype(np.uint32) * 204_818_092, GRID)
    assert load_scan(volume(), large, "fixed").labels.array.max() == 614_454_276


@pytest.mark.parametrize("start", [(2, 3, 4), (-1, 7, 0)])
def test_a_cropped_segmentation_of_slicer_is_laid_onto_the_scan(tmp_path, start):
    crop = Grid((4, 4, 5), GRID.spacing, tuple(GRID.voxel_to_world(start)))
    inside = np.random.default_rng(0).integers(1, 4, crop.size).astype(np.uint8)
    write_image(volume(), tmp_path / "scan.nii.gz")
    write_image(Image(inside, crop), tmp_path / "organs.seg.nrrd")
    read = load_scan(tmp_path / "scan.nii.gz", tmp_path / "organs.seg.nrrd", "fixed").labels
    assert read.grid == load_scan(tmp_path / "scan.nii.gz", None, "fixed").image.grid
    expected = np.zeros(GRID.size, np.uint8)
    for index in np.ndindex(crop.size):
        place = np.add(index, start)
        if (place >= 0).all() and (place < GRID.size).all():
            expected[tuple(place)] = inside[index]
    assert np.array_equal(read.array, expected)


def test_a_segmentation_of_slicer_beside_the_lattice_is_refused(tmp_path):
    write_image(labels(SHIFTED), tmp_path / "organs.seg.nrrd")
    with pytest.raises(InputError, match="on another grid"):
        load_scan(volume(), tmp_path / "organs.seg.nrrd", "fixed")


def test_a_mask_is_checked_as_labels_are():
    assert load_scan(volume(), None, "fixed", exclude=labels()).exclude is not None
    with pytest.raises(InputError, match="The fixed mask of what to leave out is on another grid"):
        load_scan(volume(), None, "fixed", exclude=labels(SHIFTED))


def test_what_a_file_is_warned_about_is_kept_and_still_warned_about(tmp_path):
    soft = np.random.default_rng(0).normal(60, 8, GRID.size).clip(5).astype(np.float32)
    write_image(Image(soft, GRID), tmp_path / "doubtful.nii.gz")
    with pytest.warns(UserWarning, match="doubtful.nii.gz"):
        _, messages = load_pair(fixed=volume(), moving=tmp_path / "doubtful.nii.gz")
    assert len(messages) == 1
    assert "Hounsfield" in messages[0]


@pytest.mark.parametrize("as_file", [True, False])
def test_stored_values_are_refused_from_files_and_arrays(tmp_path, as_file):
    stored = Image((volume().array + 1024).astype(np.uint16), GRID)
    write_image(stored, tmp_path / "raw.nii.gz")
    name = r"raw\.nii\.gz" if as_file else "The moving scan"
    with pytest.raises(InputError, match=f"{name} does not hold Hounsfield units.*rescale intercept"):
        load_scan(tmp_path / "raw.nii.gz" if as_file else stored, None, "moving")


def test_padding_is_air_for_the_registration():
    padded = volume()
    padded.array[:2] = -2000
    scan = load_scan(padded, None, "fixed")
    assert (scan.image.array[:2] == -1000).all()
    assert (scan.image.array[2:] == padded.array[2:]).all()


def test_a_good_pair_raises_no_warning(tmp_path):
    write_image(volume(), tmp_path / "scan.nii.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = Image(volume().array[::-1].copy(), GRID)
        scans, messages = load_pair(fixed=tmp_path / "scan.nii.gz", moving=other, moving_labels=labels())
    assert messages == []
    assert scans.fixed.path == str(tmp_path / "scan.nii.gz")
    assert scans.moving.labels is not None


@pytest.mark.filterwarnings("ignore:The .* scan may not hold Hounsfield units")  # noise and air make no CT
def test_a_mask_that_leaves_out_everything_or_nothing():
    scan = Image(np.where(np.indices(GRID.size)[0] < 2, np.float32(-1000), volume().array), GRID)
    everything, air = np.ones(GRID.size, np.uint8), (scan.array > -300).astype(np.uint8)
    for left_out in (everything, air):
        with pytest.raises(InputError, match="The moving mask of what to leave out leaves out all of the scan"):
            load_scan(scan, None, "moving", exclude=Image(left_out, GRID))
    with pytest.warns(UserWarning, match="The fixed mask of what to leave out leaves out nothing"):
        load_scan(scan, None, "fixed", exclude=Image(np.zeros(GRID.size, np.uint8), GRID))


def test_names_of_labels_are_those_given_or_those_of_the_maps(tmp_path):
    scans = []
    for role, name in (("fixed", "Liver"), ("moving", "Stomach")):
        itk = to_itk(labels())
        itk.SetMetaData("Segment0_LabelValue", "3")
        itk.SetMetaData("Segment0_Name", name)
        sitk.WriteImage(itk, str(tmp_path / f"{role}.seg.nrrd"))
        scans.append(load_scan(volume(), tmp_path / f"{role}.seg.nrrd", role))
    scans = Pair(fixed=scans[0], moving=scans[1])
    names, messages = meaning_of_labels(None, scans)
    assert names == {3: "Liver"}
    assert "3 is Liver in one, Stomach in another" in messages[0]
    assert meaning_of_labels({3: "Leber"}, scans) == ({3: "Leber"}, [])
    with pytest.warns(UserWarning, match="are the same"):
        unlabelled, _ = load_pair(fixed=volume(), moving=volume())
    with pytest.raises(InputError, match="names are for label maps"):
        meaning_of_labels({3: "Leber"}, unlabelled)


@pytest.mark.parametrize(("value", "meaning"), [(0, "holds no label"), (3, "no more than how the fields of view lie")])
def test_a_label_map_of_one_value_is_told_and_taken(value, meaning):
    one = Image(np.full(GRID.size, value, np.uint8), GRID)
    other = Image(volume().array[::-1].copy(), GRID)
    with pytest.warns(UserWarning, match=f"The moving label map is {value} in every voxel.*{meaning}"):
        scans, messages = load_pair(fixed=volume(), moving=other, fixed_labels=labels(), moving_labels=one)
    assert np.array_equal(scans.moving.labels.array, one.array)
    assert any("in every voxel" in message for message in messages)


def test_labels_too_large_to_be_told_apart_are_refused_before_any_work():
    large = Image(np.where(labels().array > 0, np.int64(2**53 + 1), 0), GRID)
    with pytest.raises(InputError, match=f"The fixed label map has labels up to {2**53 + 1}"):
        load_scan(volume(), large, "fixed")

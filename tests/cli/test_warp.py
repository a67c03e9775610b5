import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

SHIFT = np.array([10.0, -20.0, 10.0])  # mm, whole voxels of the test scans


@pytest.fixture
def field(tmp_path, make):
    """A shift written by SimpleITK on the grid of the test scans, in ITK's own form of a displacement field."""
    reference = sitk.ReadImage(str(make(tmp_path / "reference.nii.gz")))
    array = np.broadcast_to(SHIFT, (*reference.GetSize()[::-1], 3)).astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=True)
    image.CopyInformation(reference)
    sitk.WriteImage(image, str(tmp_path / "field.nii.gz"))
    return tmp_path / "field.nii.gz"


def by_itk(path, field, interpolator, outside):
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform, interpolator, outside))


def test_an_image_is_warped_as_itk_does(run, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    result = run("warp", scan, field, "-o", tmp_path / "warped.nrrd")
    assert result.exit_code == 0, result.output
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "warped.nrrd")))
    np.testing.assert_allclose(ours, by_itk(scan, field, sitk.sitkLinear, -1000), atol=1e-3)


def test_labels_stay_labels(run, make, field, tmp_path):
    labels = make(tmp_path / "labels.nii.gz", np.random.default_rng(0).integers(0, 14, (24, 22, 20)).astype(np.uint8))
    assert run("warp", labels, field, "-o", tmp_path / "warped.nii.gz", "--labels").exit_code == 0
    warped = sitk.ReadImage(str(tmp_path / "warped.nii.gz"))
    assert warped.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(warped), by_itk(labels, field, sitk.sitkNearestNeighbor, 0))


def test_segments_keep_their_names_and_colours(run, make, field, tmp_path):
    label_map = sitk.ReadImage(str(make(tmp_path / "plain.nrrd", (make.body() > 0).astype(np.uint8) * 3)))
    fields = {
        "Segment0_ID": "Segment_1",
        "Segment0_Name": "left kidney, lower half",
        "Segment0_Color": "0.5 0.1 0.7",
        "Segment0_LabelValue": "3",
        "Segment0_Extent": "4 5 4 5 4 5",
        "Segmentation_ReferenceImageExtentOffset": "7 7 7",
        "Segmentation_MasterRepresentation": "Binary labelmap",
    }
    for key, value in fields.items():
        label_map.SetMetaData(key, value)
    sitk.WriteImage(label_map, str(tmp_path / "organs.seg.nrrd"))
    assert run("warp", tmp_path / "organs.seg.nrrd", field, "-o", tmp_path / "on.seg.nrrd", "--labels").stderr == ""
    header = (tmp_path / "on.seg.nrrd").read_bytes().split(b"\n\n")[0].decode().splitlines()
    written = dict(line.split(":=") for line in header if ":=" in line and line.startswith("Segment"))
    expected = {**fields, "Segment0_Extent": "0 23 0 21 0 19"}
    del expected["Segmentation_ReferenceImageExtentOffset"]
    assert written == expected
    result = run("warp", tmp_path / "organs.seg.nrrd", field, "-o", tmp_path / "on.nii.gz", "--labels")
    assert result.exit_code == 0
    assert "names its segments" in result.stderr
    assert "write a .seg.nrrd" in result.stderr


def test_points_go_where_itk_takes_them(run, field, tmp_path):
    (tmp_path / "points.csv").write_text("x,y,z,name\n12,-30,25,tip\n-50,40,0,\n")
    assert run("warp", tmp_path / "points.csv", field, "-o", tmp_path / "moved.csv").exit_code == 0
    moved = np.genfromtxt(tmp_path / "moved.csv", delimiter=",", skip_header=1, usecols=(0, 1, 2))
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    expected = [transform.TransformPoint(point) for point in ((12.0, -30.0, 25.0), (-50.0, 40.0, 0.0))]
    np.testing.assert_allclose(moved, expected, atol=1e-3)
    assert "tip" in (tmp_path / "moved.csv").read_text()


DOSE = np.random.default_rng(1).random((24, 22, 20)).astype(np.float32) * 60


@pytest.mark.parametrize(
    ("array", "options", "outside"),
    [
        (None, (), -1000.0),
        (DOSE, (), 0.0),
        (DOSE - 3, (), 0.0),  # normalised: below 0, yet not Hounsfield units
        (DOSE, ("--outside", "-7.5"), -7.5),
        (None, ("--outside", "0"), 0.0),
    ],
)
def test_the_value_outside_goes_by_the_kind_of_image(run, make, field, tmp_path, array, options, outside):
    source = make(tmp_path / "in.nii.gz", array)
    result = run("warp", source, field, "-o", tmp_path / "out.nii.gz", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz")))
    np.testing.assert_allclose(ours, by_itk(source, field, sitk.sitkLinear, outside), atol=1e-3)
    assert outside in ours


@pytest.mark.parametrize("kind", ["labels.nii.gz", "points.csv"])
def test_a_value_outside_is_for_images(refused, make, field, tmp_path, kind):
    make(tmp_path / "labels.nii.gz", np.ones((24, 22, 20), np.uint8))
    (tmp_path / "points.csv").write_text("x,y,z\n1,2,3\n")
    options = ["--labels"] if kind == "labels.nii.gz" else []
    assert "--outside" in refused("warp", tmp_path / kind, field, "-o", tmp_path / "o.nii.gz", "--outside", 3, *options)


@pytest.mark.parametrize("value", ["1e39", "-1e300", "nan", "inf"])
def test_a_value_outside_that_no_voxel_can_hold_is_refused(refused, make, field, tmp_path, value):
    message = refused("warp", make(tmp_path / "in.nii.gz"), field, "-o", tmp_path / "out.nii.gz", "--outside", value)
    assert "is a finite number, below 3.4e38" in message
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_label_map_without_labels_is_told(run, make, field, tmp_path, dtype):
    array = np.zeros((24, 22, 20), dtype)
    array[5:12, 5:12, 5:12], array[12:15, 5:12, 5:12] = 6, 104
    labels = make(tmp_path / "labels.nii.gz", array)
    result = run("warp", labels, field, "-o", tmp_path / "warped.nii.gz")
    assert result.exit_code == 0
    assert "--labels" in result.stderr
    assert "Hounsfield" not in result.stderr
    assert run("warp", labels, field, "-o", tmp_path / "asked.nii.gz", "--labels").stderr == ""


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transform_moving_to_fixed.nii.gz", "transform_fixed_to_moving"),
        ("transform_fixed_to_moving.nii.gz", "transform_moving_to_fixed"),
        ("mine.nii.gz", "opposite direction"),
    ],
)
def test_where_nothing_comes_into_view_the_other_direction_is_named(
    refused, make, field, tmp_path, name, message, labels
):
    field.rename(tmp_path / name)
    values = np.rint(make.body()).astype(np.int16)
    scan = make(tmp_path / "far.nii.gz", (values > 0).astype(np.uint8) if labels else values, centre=2000.0)
    options = ["--labels"] if labels else []
    refusal = refused("warp", scan, tmp_path / name, "-o", tmp_path / "out.nii.gz", *options)
    assert message in refusal
    assert not (tmp_path / "out.nii.gz").exists()


def test_what_only_just_comes_into_view_is_warped(run, field, tmp_path):
    """Smaller than the distance of the samples that are looked at first."""
    small = sitk.GetImageFromArray(np.arange(27, dtype=np.float32).reshape(3, 3, 3) * 10 - 100)
    small.SetOrigin([float(value) for value in np.array([5.0, 15.0, 5.0]) + SHIFT - 1])
    sitk.WriteImage(small, str(tmp_path / "small.nii.gz"))
    fine = sitk.ReadImage(str(field), sitk.sitkVectorFloat64)
    reference = sitk.Image((40, 40, 40), sitk.sitkFloat32)
    reference.SetOrigin((-14.0, -4.0, -14.0))
    transform = sitk.Resample(fine, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, fine.GetPixelID())
    sitk.WriteImage(sitk.Cast(transform, sitk.sitkVectorFloat32), str(tmp_path / "fine.nii.gz"))
    result = run("warp", tmp_path / "small.nii.gz", tmp_path / "fine.nii.gz", "-o", tmp_path / "out.nii.gz")
    assert result.exit_code == 0, result.output
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz"))) > -1000).sum() == 27


@pytest.mark.parametrize("labels", [[], ["--labels"]])
def test_a_result_without_anything_of_the_input_is_told(run, make, field, tmp_path, labels):
    """Its right and left exchanged in the header, the body lies beyond the grid, and air at its border within."""
    body = (make.body() > 0) * 5.0 if labels else make.body()
    scan = sitk.ReadImage(str(make(tmp_path / "scan.nii.gz", body)))
    scan.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    scan.SetOrigin((np.array(scan.GetOrigin()) + SHIFT).tolist())
    sitk.WriteImage(sitk.Cast(scan, sitk.sitkInt16), str(tmp_path / "flipped.nrrd"))
    result = run("warp", tmp_path / "flipped.nrrd", field, "-o", tmp_path / "out.nii.gz", *labels)
    assert result.exit_code == 0
    assert f"holds nothing but {0 if labels else -1000}: are its header's directions" in result.stderr


def test_points_outside_are_counted(run, field, tmp_path):
    # The grid of the field reaches from -115, -105, -95 to 115, 105, 95 mm, and half a voxel, 5 mm, on.
    (tmp_path / "p.csv").write_text("x,y,z\n119,0,0\n121,0,0\n0,-5000,0\n-1,2,3\n")
    result = run("warp", tmp_path / "p.csv", field, "-o", tmp_path / "q.csv")
    assert result.exit_code == 0
    assert "2 of the 4 points" in result.stderr
    (tmp_path / "within.csv").write_text("x,y,z\n119,0,0\n")
    assert run("warp", tmp_path / "within.csv", field, "-o", tmp_path / "r.csv").stderr == ""


def test_fields_of_vectors_and_series_of_other_formats_are_refused(refused, make, field, tmp_path):
    series = [make(tmp_path / f"four{suffix}", np.zeros((6, 5, 4, 3), np.float32)) for suffix in (".nrrd", ".mha")]
    for source, message in ((field, "3 values per voxel"), *((one, "one 3D volume") for one in series)):
        assert message in refused("warp", source, field, "-o", tmp_path / "out.nii.gz")
        assert message in refused("warp", source, field, "-o", tmp_path / "out.nii.gz", "--labels")
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize(
    ("dtype", "options", "interpolator", "outside"),
    [
        (np.float32, [], sitk.sitkLinear, 0.0),
        (np.float32, ["--outside", "-3"], sitk.sitkLinear, -3.0),
        (np.int16, ["--labels"], sitk.sitkNearestNeighbor, 0.0),
    ],
)
def test_a_series_is_warped_volume_by_volume(run, make, field, tmp_path, dtype, options, interpolator, outside):
    array = (np.random.default_rng(0).random((24, 22, 20, 3)) * 60).astype(dtype)
    result = run("warp", make(tmp_path / "in.nii.gz", array), field, "-o", tmp_path / "out.nii.gz", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    warped = nibabel.load(tmp_path / "out.nii.gz")
    assert warped.get_data_dtype() == dtype
    assert warped.header.get_zooms()[3] == 10.0  # as `make` writes it
    for time in range(3):
        volume = make(tmp_path / f"{time}.nii.gz", array[..., time])
        expected = by_itk(volume, field, interpolator, outside).T
        np.testing.assert_allclose(warped.get_fdata()[..., time], expected, atol=1e-3)


def test_a_series_of_labels_without_labels_is_told(run, make, field, tmp_path):
    series = make(tmp_path / "in.nii.gz", np.random.default_rng(0).integers(0, 5, (8, 7, 6, 2), np.uint8))
    assert "looks like a label map" in run("warp", series, field, "-o", tmp_path / "out.nii.gz").stderr


def test_labels_too_large_to_be_told_apart_are_refused(refused, run, make, field, tmp_path):
    array = np.full((24, 22, 20), 2**53, np.int64)
    array[:12] = 0
    labels = make(tmp_path / "in.nii.gz", array)
    assert run("warp", labels, field, "-o", tmp_path / "out.nii.gz", "--labels").exit_code == 0
    assert np.unique(nibabel.load(tmp_path / "out.nii.gz").dataobj).tolist() == [0, 2**53]
    array[6:] += 1
    larger = make(tmp_path / "larger.nii.gz", array)
    message = refused("warp", larger, field, "-o", tmp_path / "larger_out.nii.gz", "--labels")
    assert f"labels up to {2**53 + 1}, which cannot be told from their neighbours" in message


def test_a_series_of_real_numbers_is_no_label_map(refused, make, field, tmp_path):
    series = make(tmp_path / "in.nii.gz", np.ones((6, 5, 4, 3), np.float32))
    assert "integer" in refused("warp", series, field, "-o", tmp_path / "out.nii.gz", "--labels")


@pytest.mark.parametrize("name", ["out.mhd", "out.nhdr", "out.NII.GZ"])
def test_a_name_that_is_not_written_is_refused_before_anything_is_read(refused, field, tmp_path, name):
    assert name in refused("warp", tmp_path / "absent.nii.gz", field, "-o", tmp_path / name)


def test_what_exists_is_not_overwritten(refused, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    (tmp_path / "there.nii.gz").write_text("mine")
    assert "there.nii.gz" in refused("warp", scan, field, "-o", tmp_path / "there.nii.gz")
    assert (tmp_path / "there.nii.gz").read_text() == "mine"
    (tmp_path / "link.nii.gz").symlink_to("on_a_drive_that_is_not_mounted.nii.gz")
    assert "exists already" in refused("warp", scan, field, "-o", tmp_path / "link.nii.gz")
    assert (tmp_path / "link.nii.gz").is_symlink()


def test_a_scan_is_not_a_transform(refused, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    assert "scan.nii.gz" in refused("warp", scan, scan, "-o", tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()


def test_an_unwritable_place_and_an_unknown_format_are_refused(refused, make, field, tmp_path):
    scan = make(tmp_path / "scan.nii.gz")
    assert "absent" in refused("warp", scan, field, "-o", tmp_path / "absent" / "out.nii.gz")
    assert "out.jpeg" in refused("warp", scan, field, "-o", tmp_path / "out.jpeg")


@pytest.mark.parametrize("number", [1, 2])
def test_a_scan_as_label_map_is_refused(refused, make, field, tmp_path, number):
    scan = make.body().astype(np.int16)
    source = make(tmp_path / "in.nii.gz", scan if number == 1 else np.stack([scan] * 2, -1))
    assert "negative values" in refused("warp", source, field, "-o", tmp_path / "out.nii.gz", "--labels")
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize(("low", "warned"), [(-1000.0, False), (-60.0, True), (-20.0, False)])
def test_an_image_that_may_be_ct_or_not_is_told_what_it_was_filled_with(run, make, field, tmp_path, low, warned):
    source = make(tmp_path / "in.nii.gz", np.where(make.body() > 0, make.body(), low).astype(np.float32))
    result = run("warp", source, field, "-o", tmp_path / "out.nii.gz")
    warped = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz")))
    outside = 0 if low == -20 else -1000
    np.testing.assert_allclose(warped.T, by_itk(source, field, sitk.sitkLinear, outside).T, atol=1e-3)
    assert ("was taken for CT by its lowest value, -60, and is -1000" in result.stderr) == warned
    assert ("--outside" in result.stderr) == warned
    quiet = run("warp", source, field, "-o", tmp_path / "quiet.nii.gz", "--outside", "0")
    assert "taken for CT" not in quiet.stderr


@pytest.mark.parametrize(("length", "share"), [(24, None), (23, None), (48, 50), (32, 25)])
def test_a_reference_beyond_the_transforms_grid_is_told(run, make, field, tmp_path, length, share):
    """The field has 24 voxels along the first axis, both begin at one place."""
    source = make(tmp_path / "in.nii.gz")
    reference = sitk.Image([length, 22, 20], sitk.sitkInt16)
    reference.SetSpacing((10, 10, 10))
    reference.SetOrigin(sitk.ReadImage(str(source)).GetOrigin())
    sitk.WriteImage(reference, str(tmp_path / "reference.nrrd"))
    options = ["--reference", tmp_path / "reference.nrrd", "-o"]
    for done in (
        run("warp", source, field, *options, tmp_path / "out.nii.gz"),
        run("convert", field, *options, tmp_path / "out.nrrd"),
    ):
        assert done.exit_code == 0
        assert ("of the grid to fill lie outside" in done.stderr) == (share is not None)
        assert share is None or f"{share}% of the grid" in done.stderr

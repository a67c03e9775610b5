"""`mics warp` with several inputs, several transforms, another grid, and what transforms remember."""

import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.transform import Transform
from mics.image.io import read_image

AFFINE = sitk.AffineTransform((1.02, 0.03, 0, -0.03, 0.97, 0, 0, 0.01, 1.0), (6.0, -4.0, 3.0))


@pytest.fixture
def pair(make, tmp_path):
    """Two scans on different grids, and a transform each way that remembers them, as `mics register` writes it."""
    fixed = make(tmp_path / "fixed.nii.gz")
    moving = make(tmp_path / "moving.nii.gz", make.body((20, 24, 22)) + 7, spacing=9.0, centre=4.0)
    images = {"fixed": read_image(fixed), "moving": read_image(moving)}
    scans = {name: KnownScan.of(image) for name, image in images.items()}
    for source, target, shift in (("moving", "fixed", 5.0), ("fixed", "moving", -5.0)):
        displacement = np.full((*images[target].grid.size, 3), shift, np.float32)
        path = tmp_path / f"transform_{source}_to_{target}.nii.gz"
        Transform(displacement, images[target].grid, Provenance(source, target, scans)).save(path)
    return tmp_path


@pytest.fixture
def affine(tmp_path):
    sitk.WriteTransform(AFFINE, str(tmp_path / "affine.tfm"))
    return tmp_path / "affine.tfm"


def by_itk(folder, source, reference, *transforms, interpolator=sitk.sitkLinear, outside=-1000.0):
    """Resampled by SimpleITK through transforms and names of transform files, the image's first one first."""
    links = []
    for link in transforms:
        if isinstance(link, str):
            link = sitk.DisplacementFieldTransform(sitk.ReadImage(str(folder / link), sitk.sitkVectorFloat64))
        links.append(link)
    volumes = [sitk.ReadImage(str(folder / name)) for name in (source, reference)]
    return sitk.GetArrayFromImage(sitk.Resample(*volumes, sitk.CompositeTransform(links), interpolator, outside))


def values(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


TO_FIXED, TO_MOVING = "transform_moving_to_fixed.nii.gz", "transform_fixed_to_moving.nii.gz"


def inner(array):
    """Where no tool looks beyond the grid of a transform."""
    return array[4:-4, 4:-4, 4:-4]


# --- several transforms, another grid -----------------------------------------------------------------------------------


def test_a_chain_is_one_interpolation_in_the_order_of_the_image(run, pair, affine):
    result = run("warp", pair / "moving.nii.gz", pair / TO_FIXED, "--then", affine, "--then", f"[{affine},1]",
                 "--then", pair / TO_MOVING, "--reference", pair / "moving.nii.gz", "-o", pair / "out.nii.gz")  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    through = (TO_FIXED, AFFINE, AFFINE.GetInverse(), TO_MOVING)
    expected = by_itk(pair, "moving.nii.gz", "moving.nii.gz", *through)
    np.testing.assert_allclose(inner(values(pair / "out.nii.gz")), inner(expected), atol=0.05)
    # There and back in two interpolations would be smoother than the scan.
    np.testing.assert_allclose(inner(expected), inner(values(pair / "moving.nii.gz")), atol=0.05)


def test_an_affine_alone_fills_the_reference(run, refused, pair, affine):
    assert "--reference" in refused("warp", pair / "moving.nii.gz", affine, "-o", pair / "out.nii.gz")
    options = ["--reference", pair / "fixed.nii.gz", "-o", pair / "out.nii.gz"]
    assert run("warp", pair / "moving.nii.gz", affine, *options).exit_code == 0
    expected = by_itk(pair, "moving.nii.gz", "fixed.nii.gz", AFFINE)
    np.testing.assert_allclose(values(pair / "out.nii.gz"), expected, atol=0.05)


def test_another_grid_is_filled_as_itk_does(run, pair, make):
    make(pair / "fine.nii.gz", np.arange(64, dtype=np.float32).reshape(4, 4, 4), spacing=3.7, centre=11.0)
    options = ["--reference", pair / "fine.nii.gz", "-o", pair / "out.nii.gz"]
    assert run("warp", pair / "moving.nii.gz", pair / TO_FIXED, *options).exit_code == 0
    expected = by_itk(pair, "moving.nii.gz", "fine.nii.gz", TO_FIXED)
    np.testing.assert_allclose(values(pair / "out.nii.gz"), expected, atol=0.05)


def test_points_go_through_a_chain_from_its_end(run, pair, affine):
    (pair / "points.csv").write_text("x,y,z\n12,-30,25\n-50,40,0\n")
    done = run("warp", pair / "points.csv", pair / TO_FIXED, "--then", affine, "-o", pair / "moved.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    moved = np.genfromtxt(pair / "moved.csv", delimiter=",", skip_header=1, usecols=(0, 1, 2))
    expected = [np.add(AFFINE.TransformPoint(point), 5.0) for point in ((12.0, -30.0, 25.0), (-50.0, 40.0, 0.0))]
    np.testing.assert_allclose(moved, expected, atol=1e-3)


def test_what_is_no_part_of_a_chain_is_refused(refused, pair, affine):
    sitk.WriteTransform(
        sitk.BSplineTransformInitializer(sitk.Image(9, 9, 9, sitk.sitkInt16), [3] * 3), str(pair / "b.h5")
    )
    out = ["-o", pair / "out.nii.gz"]
    for link, message in (
        (f"[{pair / TO_FIXED},1]", "other direction"),
        (pair / "b.h5", "does not say on which grid"),
        (pair / "absent.mat", "does not exist"),
        (pair / "fixed.nii.gz", "not a displacement field"),
    ):
        assert message in refused("warp", pair / "moving.nii.gz", pair / TO_FIXED, "--then", link, *out)
    (pair / "points.csv").write_text("x,y,z\n1,2,3\n")
    refusal = refused("warp", pair / "points.csv", affine, "--reference", pair / "fixed.nii.gz", "-o", pair / "o.csv")
    assert "--reference" in refusal
    assert not (pair / "out.nii.gz").exists()


def test_a_chain_in_the_wrong_order_is_told(run, pair):
    (pair / "points.csv").write_text("x,y,z\n1,2,3\n")
    right = run("warp", pair / "points.csv", pair / TO_FIXED, "--then", pair / TO_MOVING, "-o", pair / "a.csv")
    assert right.stderr == ""
    wrong = run("warp", pair / "points.csv", pair / TO_FIXED, "--then", pair / TO_FIXED, "-o", pair / "b.csv")
    assert wrong.exit_code == 0
    assert "order" in wrong.stderr


# --- several inputs -----------------------------------------------------------------------------------------------------


def test_several_inputs_are_written_into_a_folder(run, pair, make):
    make(pair / "dose.mha", np.random.default_rng(0).random((20, 24, 22)).astype(np.float32), spacing=9.0, centre=4.0)
    (pair / "points.csv").write_text("x,y,z\n1,2,3\n")
    inputs = [pair / "moving.nii.gz", pair / "dose.mha", pair / "points.csv"]
    result = run("warp", *inputs, pair / TO_FIXED, "-o", pair / "new" / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert sorted(path.name for path in (pair / "new" / "out").iterdir()) == ["dose.mha", "moving.nii.gz", "points.csv"]
    for name, outside in (("moving.nii.gz", -1000.0), ("dose.mha", 0.0)):
        expected = by_itk(pair, name, "fixed.nii.gz", TO_FIXED, outside=outside)
        np.testing.assert_allclose(values(pair / "new" / "out" / name), expected, atol=0.05)
    assert (pair / "new" / "out" / "points.csv").read_text().splitlines()[1].startswith("6.0000,7.0000,8.0000")


def test_of_several_inputs_all_are_written_or_none(refused, pair, make):
    (pair / "broken.nii.gz").write_text("no image")
    inputs = [pair / "moving.nii.gz", pair / "broken.nii.gz"]
    assert "broken" in refused("warp", *inputs, pair / TO_FIXED, "-o", pair / "out")
    assert not (pair / "out").exists()
    assert "absent.nii.gz" in refused("warp", *inputs, pair / "absent.nii.gz", pair / TO_FIXED, "-o", pair / "out")
    assert "name a folder" in refused("warp", *inputs, pair / TO_FIXED, "-o", pair / "out.nii.gz")
    (pair / "other").mkdir()
    again = make(pair / "other" / "moving.nii.gz")
    assert "moving.nii.gz" in refused("warp", pair / "moving.nii.gz", again, pair / TO_FIXED, "-o", pair / "out")
    (pair / "full").mkdir()
    (pair / "full" / "mine.txt").write_text("mine")
    assert "not empty" in refused("warp", *inputs, pair / TO_FIXED, "-o", pair / "full")


# --- what transforms remember -------------------------------------------------------------------------------------------


def test_the_scan_of_the_other_side_is_refused_with_the_file_to_take(refused, run, pair):
    message = refused("warp", pair / "fixed.nii.gz", pair / TO_FIXED, "-o", pair / "out.nii.gz")
    assert f"take {TO_MOVING}" in message
    assert not (pair / "out.nii.gz").exists()
    (pair / f"{TO_FIXED}.json").unlink()
    assert run("warp", pair / "fixed.nii.gz", pair / TO_FIXED, "-o", pair / "out.nii.gz").stderr == ""


@pytest.mark.parametrize("name", ["t.h5", "t.txt", "t.x5"])
def test_a_transform_for_another_tool_knows_its_scans(refused, run, pair, name):
    assert run("convert", pair / TO_FIXED, "-o", pair / name).exit_code == 0
    assert "is the fixed scan" in refused("warp", pair / "fixed.nii.gz", pair / name, "-o", pair / "out.nii.gz")
    assert run("warp", pair / "moving.nii.gz", pair / name, "-o", pair / "out.nii.gz").stderr == ""


def test_scans_on_one_grid_are_told_apart_by_their_voxels(refused, run, pair, make):
    for name in (TO_FIXED, TO_MOVING):
        (pair / f"{name}.json").unlink()
    moving = make(pair / "moving.nii.gz", make.body() + 7)
    images = {"fixed": read_image(pair / "fixed.nii.gz"), "moving": read_image(moving)}
    scans = {name: KnownScan.of(image) for name, image in images.items()}
    field = Transform.load(pair / TO_FIXED)
    Transform(field.displacement_mm, field.grid, Provenance("moving", "fixed", scans)).save(pair / "mine.nii.gz")
    assert TO_MOVING in refused("warp", pair / "fixed.nii.gz", pair / "mine.nii.gz", "-o", pair / "a.nii.gz")
    assert run("warp", moving, pair / "mine.nii.gz", "-o", pair / "b.nii.gz").stderr == ""


@pytest.mark.parametrize("options", [[], ["--labels"]])
def test_other_images_are_warped_with_a_word_where_their_grid_is_not_the_scans(run, pair, make, options):
    array = np.random.default_rng(0).integers(0, 200, (24, 22, 20)).astype(np.int16)
    kinds = {
        "on_fixed": (make(pair / "a.nii.gz", array), TO_MOVING),
        "on_neither": (make(pair / "b.nii.gz", array, spacing=8.0), "neither"),
        "on_moving": (make(pair / "c.nii.gz", array.transpose(2, 0, 1), spacing=9.0, centre=4.0), None),
    }
    for kind, (source, message) in kinds.items():
        result = run("warp", source, pair / TO_FIXED, "-o", pair / f"{kind}.nii.gz", *options)
        assert result.exit_code == 0, result.output
        assert message in result.stderr if message else result.stderr == ""


def test_landmarks_of_the_other_scan_are_told_the_file_to_take(run, pair):
    # The moving scan reaches to 4 + 12 * 9 = 112 mm along y, the fixed one to 110.
    (pair / "points.csv").write_text("x,y,z\n1,2,3\n4,111,6\n")
    result = run("warp", pair / "points.csv", pair / TO_FIXED, "-o", pair / "out.csv")
    assert result.exit_code == 0
    assert f"take {TO_MOVING}" in result.stderr

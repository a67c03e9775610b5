"""Transforms as other tools write them, read by us, and compared with where the tool itself takes points."""

import subprocess
import sys
import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from mics.deformation.formats import write_transform
from mics.deformation.read_formats import read_transform
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import set_grid

AFFINE = np.array([[1.1, 0.05, 0, 4], [-0.04, 0.9, 0.02, -7], [0, 0.03, 1.05, 11], [0, 0, 0, 1.0]])
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def bumps(grid: Grid, seed: int = 3) -> np.ndarray:
    """A smooth displacement of some millimetres that is 0 at the border, (X, Y, Z, 3)."""
    random = np.random.default_rng(seed)
    inside = np.zeros(grid.size)
    inside[3:-3, 3:-3, 2:-2] = 1
    smooth = [gaussian_filter(random.normal(size=grid.size) * inside, 2) * 40 for _ in range(3)]
    return np.stack(smooth, axis=-1)


def itk_field(grid: Grid, displacement: np.ndarray) -> sitk.DisplacementFieldTransform:
    field = sitk.GetImageFromArray(np.ascontiguousarray(displacement.transpose(2, 1, 0, 3)), isVector=True)
    set_grid(field, grid)
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def itk_affine(matrix: np.ndarray = AFFINE) -> sitk.AffineTransform:
    return sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())


def voxels_of(grid: Grid, count: int = 60) -> np.ndarray:
    return grid.voxel_to_world(np.random.default_rng(1).integers(0, grid.size, (count, 3)))


def check(found, grid: Grid, moved) -> None:
    """That a transform lies on ``grid`` and takes its voxels where ``moved`` does."""
    assert isinstance(found, Transform)
    assert found.grid.is_close(grid)
    points = voxels_of(grid)
    np.testing.assert_allclose(found.transform_points(points), [moved(point) for point in points.tolist()], atol=1e-3)


@pytest.mark.parametrize("ending", [".h5", ".tfm"])
def test_itks_field_alone_and_in_a_composite(tmp_path, grid, ending):
    field = itk_field(grid, bumps(grid))
    sitk.WriteTransform(field, str(tmp_path / f"field{ending}"))
    check(read_transform(tmp_path / f"field{ending}"), grid, field.TransformPoint)
    composite = sitk.CompositeTransform([itk_affine(), field])
    sitk.WriteTransform(composite, str(tmp_path / f"both{ending}"))
    check(read_transform(tmp_path / f"both{ending}"), grid, composite.TransformPoint)


def test_a_composite_whose_affine_comes_first_and_b_splines_need_a_grid(tmp_path, grids):
    lps, oblique = grids["lps"], grids["oblique"]
    reference = sitk.Image([40, 40, 40], sitk.sitkInt16)
    reference.SetOrigin((-60.0, -60.0, -40.0))
    reference.SetSpacing((3.0, 3.0, 3.0))
    spline = sitk.BSplineTransformInitializer(reference, [4, 4, 4])
    spline.SetParameters(np.random.default_rng(0).normal(0, 3, len(spline.GetParameters())).tolist())
    first = sitk.CompositeTransform([itk_field(lps, bumps(lps)), itk_affine()])
    for name, transform in (("first.h5", first), ("spline.tfm", spline)):
        sitk.WriteTransform(transform, str(tmp_path / name))
        with pytest.raises(InputError, match=r"does not say on which grid .* mics convert takes as a reference"):
            read_transform(tmp_path / name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*lie beyond the deformation in .*first.h5")
            check(read_transform(tmp_path / name, oblique), oblique, transform.TransformPoint)


def spline_between(lower: float, upper: float) -> sitk.BSplineTransform:
    """A B-spline over the cube from ``lower`` to ``upper``, mm along every axis."""
    reference = sitk.Image([int(upper - lower)] * 3, sitk.sitkInt16)
    reference.SetOrigin([lower + 0.5] * 3)
    spline = sitk.BSplineTransformInitializer(reference, [3, 3, 3])
    spline.SetParameters([4.0] * len(spline.GetParameters()))
    return spline


@pytest.mark.parametrize("name", ["spline.tfm", "field.h5", "composite.tfm"])
def test_a_grid_beyond_itks_deformation_is_told_with_the_share_that_itk_leaves_in_place(tmp_path, name):
    own = Grid((30, 30, 30), (2.0, 2.0, 2.0), (-29.0, -29.0, -29.0))  # -30 to 30 mm
    field = itk_field(own, np.full((*own.size, 3), 4.0))
    shifted = sitk.TranslationTransform(3, (0.0, 0.0, 20.0))  # points meet the field after it
    made = {
        "spline.tfm": spline_between(-30, 30),
        "field.h5": field,
        "composite.tfm": sitk.CompositeTransform([field, shifted]),
    }
    sitk.WriteTransform(made[name], str(tmp_path / name))
    reference = Grid((40, 30, 30), (2.0, 2.0, 2.0), (-29.0, -29.0, -49.0 if name == "composite.tfm" else -29.0))
    with pytest.warns(UserWarning, match=rf"25% of the grid to fill lie beyond the deformation in .*{name}") as told:
        found = read_transform(tmp_path / name, reference)
    assert len(told) == 1
    moved = np.abs(found.displacement_mm[..., 0]) > 2
    assert np.mean(~moved) == pytest.approx(0.25, abs=0.04)  # by SimpleITK, within a voxel of the border


def test_an_affine_stays_a_matrix_and_is_a_field_on_a_grid(tmp_path, grids):
    sitk.WriteTransform(itk_affine(), str(tmp_path / "a.tfm"))
    np.testing.assert_allclose(read_transform(tmp_path / "a.tfm"), AFFINE, atol=1e-6)
    check(read_transform(tmp_path / "a.tfm", grids["ras"]), grids["ras"], itk_affine().TransformPoint)


def test_a_field_on_another_grid_is_interpolated(tmp_path, grids):
    lps = grids["lps"]
    inside = Grid((8, 8, 6), (2.2, 2.1, 2.6), tuple(lps.origin + np.array([8.0, 8, 8])), lps.direction)
    field = itk_field(lps, bumps(lps))
    write_transform(Transform(bumps(lps).astype(np.float32), lps), tmp_path / "t.nii.gz")
    check(read_transform(tmp_path / "t.nii.gz", inside), inside, field.TransformPoint)


def test_ants_composite(tmp_path, grids):
    ants = pytest.importorskip("ants")
    grid = grids["oblique"]
    values = bumps(grid)
    axes = np.reshape(grid.direction, (3, 3))
    image = ants.from_numpy(values, origin=grid.origin, spacing=grid.spacing, direction=axes, has_components=True)
    linear = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, matrix=AFFINE[:3, :3], translation=AFFINE[:3, 3]
    )
    both = ants.compose_ants_transforms([ants.transform_from_displacement_field(image), linear])
    ants.write_transform(both, str(tmp_path / "ants.h5"))
    check(read_transform(tmp_path / "ants.h5"), grid, lambda point: ants.apply_ants_transform_to_point(both, point))


def test_a_parameter_file_of_transformix_and_its_field(tmp_path, grid):
    transform = Transform(bumps(grid).astype(np.float32), grid)
    write_transform(transform, tmp_path / "t.txt")
    text = (tmp_path / "t.txt").read_text()
    for folder in ("", "/data/old/", "C:\\data\\old\\"):  # of another machine
        elsewhere = text.replace('"t_field.mha"', f'"{folder}t_field.mha"')
        (tmp_path / "t.txt").write_text("// a comment\n\n" + elsewhere)
        assert read_transform(tmp_path / "t.txt").grid.is_close(grid)
    check(read_transform(tmp_path / "t.txt"), grid, itk_field(grid, transform.displacement_mm).TransformPoint)
    (tmp_path / "bspline.txt").write_text('(Transform "BSplineTransform")\n(NumberOfParameters 3)\n')
    with pytest.raises(InputError, match=r"BSplineTransform of elastix: let transformix .* -tp bspline\.txt"):
        read_transform(tmp_path / "bspline.txt")
    (tmp_path / "after.txt").write_text(text.replace('"NoInitialTransform"', '"other.txt"'))
    with pytest.raises(InputError, match="after another transform"):
        read_transform(tmp_path / "after.txt")
    (tmp_path / "t_field.mha").unlink()
    with pytest.raises(InputError, match=r"t_field\.mha, does not lie beside it"):
        read_transform(tmp_path / "t.txt")


def test_nitransforms_x5(tmp_path, grid):
    nonlinear, linear = pytest.importorskip("nitransforms.nonlinear"), pytest.importorskip("nitransforms.linear")
    x5 = pytest.importorskip("nitransforms.io.x5")
    in_ras = (bumps(grid) * [-1, -1, 1]).astype(np.float32)
    theirs = nonlinear.DenseFieldTransform(nibabel.Nifti1Image(in_ras, TO_RAS @ grid.matrix), is_deltas=True)
    moved = lambda point: (theirs.map(np.array([point]) * [-1, -1, 1]) * [-1, -1, 1])[0]  # noqa: E731
    node = theirs.to_x5()
    x5.to_filename(tmp_path / "dense.x5", [node])
    check(read_transform(tmp_path / "dense.x5"), grid, moved)
    x5.to_filename(tmp_path / "two.x5", [node, node])
    with pytest.raises(InputError, match="holds 2 transforms instead of one"):
        read_transform(tmp_path / "two.x5")
    linear.Affine(TO_RAS @ AFFINE @ TO_RAS).to_filename(tmp_path / "affine.x5", fmt="X5")
    np.testing.assert_allclose(read_transform(tmp_path / "affine.x5"), AFFINE, atol=1e-9)


# In a process of its own: where itk's libraries are loaded too, greedy silently reads nothing.
GREEDY = """
import io, sys
import numpy as np, SimpleITK as sitk
from picsl_greedy import Greedy3D
def blob(centre):
    z, y, x = np.indices((24, 26, 28), dtype=np.float32)
    image = sitk.GetImageFromArray(np.exp(-((x-centre[0])**2 + (y-centre[1])**2 + 1.5*(z-centre[2])**2) / 40) * 100)
    image.SetSpacing((2.0, 2.0, 2.5)); image.SetOrigin((-30.0, -20.0, 5.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image
fixed, moving = blob((14, 13, 12)), blob((16, 12, 13))
tool = Greedy3D()
tool.execute("-d 3 -i f m -o warp.nii.gz -m SSD -n 20x20 -s 1.5vox 0.5vox -V 0", f=fixed, m=moving, out=io.StringIO())
found = []
for axis in range(3):
    values = np.moveaxis(np.indices((100, 100, 100), dtype=np.float32)[axis] * 3 - 150, (0, 1, 2), (2, 1, 0))
    ramp = sitk.GetImageFromArray(np.ascontiguousarray(values))
    ramp.SetSpacing((3.0, 3.0, 3.0)); ramp.SetOrigin((-150.0, -150.0, -150.0))
    tool = Greedy3D()
    tool.execute("-d 3 -rf f -rm m w -ri LINEAR -r warp.nii.gz -V 0", f=fixed, m=ramp, w=None, out=io.StringIO())
    found.append(sitk.GetArrayFromImage(tool["w"]).transpose(2, 1, 0))
np.save("where.npy", np.stack(found, axis=-1))
"""


def test_a_warp_that_greedy_has_computed(tmp_path):
    pytest.importorskip("picsl_greedy")
    subprocess.run([sys.executable, "-c", GREEDY], cwd=tmp_path, check=True)
    found = read_transform(tmp_path / "warp.nii.gz")
    assert np.abs(found.displacement_mm).max() > 2  # it moved something
    np.testing.assert_allclose(found.grid.points() + found.displacement_mm, np.load(tmp_path / "where.npy"), atol=1e-3)


def test_what_says_too_little_is_told_apart(tmp_path):
    np.savetxt(tmp_path / "greedy.mat", AFFINE)
    with pytest.raises(InputError, match=r"bare matrix, and greedy .* FLIRT .* alike"):
        read_transform(tmp_path / "greedy.mat")
    warp = nibabel.Nifti1Image(np.zeros((5, 5, 5, 3), np.float32), np.eye(4))
    warp.header.set_intent(2006, allow_unknown=True)
    nibabel.save(warp, tmp_path / "fnirt.nii.gz")
    with pytest.raises(InputError, match="warp of FSL"):
        read_transform(tmp_path / "fnirt.nii.gz")
    (tmp_path / "no.x5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as a transform of X5"):
        read_transform(tmp_path / "no.x5")

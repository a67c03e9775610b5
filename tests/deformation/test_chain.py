import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from mics.deformation.chain import chained, points_through
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import write_image

AFFINE = np.array([[1.03, 0.02, 0, 1.5], [-0.03, 0.98, 0.01, -2.0], [0, 0.02, 1.01, 1.0], [0, 0, 0, 1]])
# Within all of the grids, also after the transforms.
INNER = Grid((9, 8, 7), (1.3, 1.2, 1.4), (-4.0, -2.5, 20.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def smooth(grid, seed):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(*grid.size, 3)), (3, 3, 3, 0))
    return Transform((3 * noise / np.abs(noise).max()).astype(np.float32), grid)


def in_itk(link):
    if not isinstance(link, Transform):
        return sitk.AffineTransform(link[:3, :3].ravel().tolist(), link[:3, 3].tolist())
    array = link.displacement_mm.transpose(2, 1, 0, 3).astype(np.float64)
    field = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=True)
    field.SetSpacing(link.grid.spacing)
    field.SetOrigin(link.grid.origin)
    field.SetDirection(link.grid.direction)
    return sitk.DisplacementFieldTransform(field)


@pytest.fixture(
    params=["dense dense dense", "dense affine dense", "affine dense dense", "dense dense affine", "affine"]
)
def links(request, grids):
    """A chain of that kind, on grids that lie differently."""
    dense = iter([smooth(grids["oblique"], 1), smooth(grids["left_handed"], 2), smooth(grids["anisotropic"], 3)])
    return [AFFINE if kind == "affine" else next(dense) for kind in request.param.split()]


def test_a_chain_is_simpleitks_composite(links):
    # ITK takes points through the transform that was added last first, as points go through a chain against its order.
    composite = sitk.CompositeTransform([in_itk(link) for link in links])
    points = INNER.voxel_to_world(np.moveaxis(np.indices(INNER.size), 0, -1)).reshape(-1, 3)
    expected = np.array([composite.TransformPoint(point) for point in points.tolist()])
    assert np.abs(expected - points).max() > 1
    joined = chained(links, INNER)
    assert joined.grid == INNER
    np.testing.assert_allclose(points + joined.displacement_mm.reshape(-1, 3), expected, atol=1e-3)
    np.testing.assert_allclose(points_through(links, points), expected, atol=1e-3)


def test_the_grid_is_the_last_transforms_unless_another_is_named(grids):
    first, last = smooth(grids["oblique"], 1), smooth(grids["lps"], 2)
    assert chained([first, last]).grid == grids["lps"]
    assert chained([last]) is last
    with pytest.raises(InputError, match="affine, which has no grid"):
        chained([first, AFFINE])
    with pytest.raises(InputError, match="at least one"):
        chained([])
    with pytest.raises(InputError, match="not 'warp"):
        chained([first, "warp.nii.gz"])


@pytest.mark.parametrize(
    ("links", "message"),
    [
        (None, "a list of them, not None"),
        (INNER, "a list of them"),
        ([[[1, 2], [3]]], "a Transform or an affine of shape"),
        ([np.diag([1.0, 1, 1, 2])], "last row of an affine is 0, 0, 0, 1, not 0, 0, 0, 2"),
        ([np.diag([1.0, 1, 0, 1])], "not invertible"),
        ([AFFINE.astype(complex)], "4 x 4 real numbers"),
        ([np.full((4, 4), np.nan)], "last row"),
    ],
)
def test_what_is_no_chain_is_refused(links, message):
    with pytest.raises(InputError, match=message):
        chained(links, INNER)


def test_what_is_no_grid_is_refused():
    with pytest.raises(InputError, match="fills is a Grid, not 3"):
        chained([AFFINE], 3)


def test_ants_joins_the_same_files_in_the_other_order(tmp_path, grids, smooth_image):
    ants = pytest.importorskip("ants")
    links = [smooth(grids["oblique"], 1), AFFINE, smooth(grids["left_handed"], 2)]
    image = smooth_image(grids["anisotropic"])
    write_image(image, tmp_path / "image.nii.gz")
    ours = chained(links).transform_image(image)
    write_image(ours, tmp_path / "reference.nii.gz")
    sitk.WriteTransform(in_itk(AFFINE), str(tmp_path / "1.mat"))
    for number in (0, 2):
        links[number].save(tmp_path / f"{number}.nii.gz")
    volumes = [ants.image_read(str(tmp_path / f"{name}.nii.gz")) for name in ("reference", "image")]
    files = [str(tmp_path / name) for name in ("2.nii.gz", "1.mat", "0.nii.gz")]
    theirs = ants.apply_transforms(*volumes, files, defaultvalue=-1000).numpy()
    # Beyond a field's grid ITK moves nothing, where we go on with its border.
    inner = (slice(5, -5), slice(5, -5), slice(5, -5))
    assert ours.array[inner].std() > 10
    np.testing.assert_allclose(ours.array[inner], theirs[inner], atol=1)

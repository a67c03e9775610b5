import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.itk_transform import affine_of
from mics.errors import InputError
from mics.registration.affine_file import read_affine

MATRIX = np.array([[1.1, 0.05, -0.02, 12.0], [-0.04, 0.93, 0.1, -30.0], [0.03, -0.08, 1.02, 250.0], [0, 0, 0, 1]])
POINTS = np.array([[0.0, 0.0, 0.0], [100.0, -50.0, 300.0], [-80.0, 20.0, -10.0]])


def affine(centre=(0.0, 0.0, 0.0)):
    """MATRIX as ITK stores it, about a centre."""
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre)
    transform.SetMatrix(MATRIX[:3, :3].ravel().tolist())
    transform.SetTranslation((MATRIX[:3, :3] @ centre + MATRIX[:3, 3] - centre).tolist())
    return transform


def moved(matrix):
    return POINTS @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".mat", ".h5"])
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (20.0, -100.0, 400.0)])
def test_every_format_gives_the_map_that_itk_applies(tmp_path, suffix, centre):
    path = tmp_path / f"affine{suffix}"
    sitk.WriteTransform(affine(centre), str(path))
    applied = [sitk.ReadTransform(str(path)).TransformPoint(point) for point in POINTS.tolist()]
    np.testing.assert_allclose(moved(read_affine(path)), applied, atol=1e-4)
    np.testing.assert_allclose(read_affine(path), MATRIX, atol=1e-4)


def test_a_rigid_transform_and_a_composite_of_two_are_multiplied_out(tmp_path):
    turn = sitk.Euler3DTransform((0.0, 10.0, 0.0), 0.1, 0.2, -0.1, (5.0, 6.0, 7.0))
    both = sitk.CompositeTransform([affine(), turn])
    sitk.WriteTransform(both, str(tmp_path / "both.h5"))
    expected = [both.TransformPoint(point) for point in POINTS.tolist()]
    np.testing.assert_allclose(moved(read_affine(tmp_path / "both.h5")), expected, atol=1e-6)


def as_legacy_list(path, transforms):
    """Several transforms one after the other in a text file, as ITK's writer puts a list."""
    lines = ["#Insight Transform File V1.0"]
    for number, transform in enumerate(transforms):
        sitk.WriteTransform(transform, str(path.with_name("one.tfm")))
        lines += [f"#Transform {number}", *path.with_name("one.tfm").read_text().splitlines()[2:]]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("suffix", [".tfm", ".txt"])
def test_several_transforms_in_one_file_are_refused(tmp_path, suffix):
    path = tmp_path / f"list{suffix}"
    as_legacy_list(path, [affine(), affine()])
    with pytest.raises(InputError, match=f"list{suffix} holds several transforms"):
        read_affine(path)
    as_legacy_list(path, [affine()])
    np.testing.assert_allclose(read_affine(path), MATRIX, atol=1e-4)


def test_a_binary_file_of_several_transforms_is_refused(tmp_path):
    parts = [tmp_path / "0.mat", tmp_path / "1.mat"]
    for part in parts:
        sitk.WriteTransform(affine(), str(part))
    (tmp_path / "list.mat").write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(InputError, match="several transforms"):
        read_affine(tmp_path / "list.mat")


def flat():
    transform = affine()
    transform.SetMatrix([1, 0, 0, 0, 1, 0, 0, 0, 0])
    return transform


def deformation():
    return sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [(flat, "not invertible"), (deformation, "not an affine"), (lambda: sitk.AffineTransform(2), "2D")],
    ids=["flat", "deformation", "2D"],
)
def test_what_is_no_invertible_affine_in_3d_is_refused(tmp_path, make, message):
    path = tmp_path / "transform.h5"
    sitk.WriteTransform(make(), str(path))
    with pytest.raises(InputError, match=message) as error:
        read_affine(path)
    assert str(path) in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """Found by benchmarks/fuzz: ITK quotes the name of a transform that it does not know, and Python could not decode it."""
    path = tmp_path / "affine.tfm"
    path.write_bytes(b"#Transform 0\nTransform: AffineTra\x99sform_double_3_3\nParameters: 1 0 0 0 1 0 0 0 1 1 2 3\n")
    with pytest.raises(InputError, match="not a transform that ITK can read"):
        read_affine(path)


def test_what_is_no_transform_is_refused(tmp_path):
    path = tmp_path / "matrix.txt"
    path.write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(InputError, match="holds a bare matrix"):
        read_affine(path)
    path.write_text("a matrix")
    with pytest.raises(InputError, match="not a transform that ITK can read"):
        read_affine(path)


def test_a_missing_file_is_refused_with_the_choices(tmp_path):
    with pytest.raises(InputError, match=r"no affine file .*absent\.tfm.*'organs', 'ants', 'none'"):
        read_affine(tmp_path / "absent.tfm")


def test_an_array_is_the_affine_that_it_holds():
    for dtype in (np.float64, np.float32, np.int32):
        array = np.array([[1, 2, 0, 40], [0, 1, 0, -3], [0, 0, 1, 7], [0, 0, 0, 1]], dtype=dtype)
        taken = affine_of(array)
        assert taken.dtype == np.float64
        np.testing.assert_array_equal(taken, array)
        taken[0, 0] = 9
        assert array[0, 0] == 1


def changed(place, value, dtype=float):
    array = np.eye(4, dtype=dtype)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.eye(3), r"4 x 4 real numbers, not of the shape \(3, 3\)"),
        (np.eye(4)[:3], r"not of the shape \(3, 4\)"),
        (np.eye(4, dtype=complex), "type complex128"),
        (np.eye(4, dtype=bool), "type bool"),
        (np.eye(4).astype(str), "type <U"),
        (changed((0, 3), np.nan), "NaN or infinite"),
        (changed((1, 1), np.inf), "NaN or infinite"),
        (changed((2, 2), 0), "not invertible"),
        (changed((3, 3), 2), "last row of an affine is 0, 0, 0, 1, not 0, 0, 0, 2"),
        (changed((3, 0), 5), "last row of an affine is 0, 0, 0, 1, not 5, 0, 0, 1"),
    ],
)
def test_arrays_that_are_no_affine_are_refused(array, message):
    with pytest.raises(InputError, match=message) as error:
        affine_of(array)
    assert str(error.value).endswith(".")


def test_a_kind_of_transform_without_a_class_is_refused(tmp_path):
    path = tmp_path / "affine.tfm"
    sitk.WriteTransform(sitk.ComposeScaleSkewVersor3DTransform(), str(path))
    with pytest.raises(InputError, match="holds a kind of transform that is not read: save it as an affine one"):
        read_affine(path)


def test_every_kind_of_linear_transform_moves_points_as_itk_does(tmp_path):
    similarity = sitk.Similarity3DTransform()
    similarity.SetScale(1.2)
    similarity.SetCenter((5, 6, 7))
    kinds = [
        sitk.Euler3DTransform((10, 20, 30), 0.1, 0.2, -0.3, (1, 2, 3)),
        similarity,
        sitk.ScaleTransform(3, (1.1, 1, 0.9)),
        sitk.TranslationTransform(3, (1, 2, 3)),
        sitk.ScaleSkewVersor3DTransform(),
        sitk.VersorTransform((0, 0, 1), 0.2),
    ]
    for transform in [*kinds, sitk.CompositeTransform(kinds)]:
        sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
        matrix = read_affine(tmp_path / "t.tfm")
        expected = transform.TransformPoint((11.0, -4.0, 8.0))
        np.testing.assert_allclose(matrix @ [11, -4, 8, 1], [*expected, 1], atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FixedParameters: 0 0 0\n", "", "has 0 lines FixedParameters for 1 transforms"),
        ("FixedParameters: 0 0 0", "FixedParameters: 0 0 0mm", "'0mm' among its FixedParameters, which is no number"),
        ("1.5 2.5 3.5", "1.5 2.5 3.5x", "'3.5x' among its Parameters, which is no number"),
        ("1.5 2.5 3.5", "1.5 2.5 3.5 99", "has 13 Parameters, and a transform of its kind has 12"),
    ],
)
def test_numbers_of_a_text_that_itk_leaves_aside_are_told(tmp_path, old, new, message):
    """Without FixedParameters, ITK gives the identity."""
    shift = sitk.AffineTransform(3)
    shift.SetTranslation((1.5, 2.5, 3.5))
    sitk.WriteTransform(shift, str(tmp_path / "a.tfm"))
    text = (tmp_path / "a.tfm").read_text()
    assert old in text
    np.testing.assert_array_equal(read_affine(tmp_path / "a.tfm")[:3, 3], [1.5, 2.5, 3.5])
    (tmp_path / "a.tfm").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_affine(tmp_path / "a.tfm")

"""NIfTI headers of every kind against nibabel's reading, and those that nobody can trust."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.image.io import read_image, read_labels

HU = np.random.default_rng(0).integers(-1000, 1500, size=(7, 6, 5)).astype(np.int16)
STRAIGHT = np.array([[-0.8, 0, 0, 100], [0, -0.8, 0, 90], [0, 0, 5, -300], [0, 0, 0, 1.0]])
# Where fields lie in a NIfTI-1 header, in bytes.
DIM, DATATYPE, PIXDIM, UNITS, QUATERNION, SROW = 40, 70, 76, 123, 256, 280


def save(path, *, qform=STRAIGHT, sform=STRAIGHT, array=HU):
    """A file with the forms that are not None."""
    nifti = nibabel.Nifti1Image(array, None)
    nifti.set_qform(qform, 0 if qform is None else 1)
    nifti.set_sform(sform, 0 if sform is None else 1)
    nibabel.save(nifti, path)
    return path


def patch(path, offset, form, *values):
    raw = bytearray(path.read_bytes())
    struct.pack_into(form, raw, offset, *values)
    path.write_bytes(raw)
    return path


def places(affine, points):
    """LPS mm of voxels by an affine to RAS."""
    return nibabel.affines.apply_affine(affine, points) * [-1, -1, 1]


CORNERS = [[0, 0, 0], [6, 0, 0], [0, 5, 0], [6, 5, 4]]


def read_as(path, affine):
    image = read_image(path)
    assert np.array_equal(image.array, HU)
    np.testing.assert_allclose(image.grid.voxel_to_world(CORNERS), places(affine, CORNERS), atol=1e-3)


@st.composite
def affines(draw):
    turn = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True).as_matrix()
    turn = turn @ np.diag([draw(st.sampled_from([-1, 1])) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = turn * [draw(st.floats(0.3, 8)) for _ in range(3)]
    affine[:3, 3] = [draw(st.floats(-900, 900)) for _ in range(3)]
    return affine


NEARLY_HALF_A_TURN = np.eye(4)
NEARLY_HALF_A_TURN[:3, :3] = Rotation.from_rotvec([np.pi - 0.001, 0, 0]).as_matrix()


@example(affine=NEARLY_HALF_A_TURN, forms=(1, 0), endian="<", kind=nibabel.Nifti1Image, suffix=".nii")
@example(affine=NEARLY_HALF_A_TURN, forms=(1, 0), endian=">", kind=nibabel.Nifti2Image, suffix=".nii")
@given(
    affine=affines(),
    forms=st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 4)]),
    endian=st.sampled_from("<>"),
    kind=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
    suffix=st.sampled_from([".nii", ".nii.gz", ".NII.GZ"]),
)
@settings(max_examples=60, deadline=None)
def test_voxels_lie_where_nibabel_finds_them(tmp_path_factory, affine, forms, endian, kind, suffix):
    path = tmp_path_factory.mktemp("nifti") / f"scan{suffix}"
    nifti = kind(HU, None, kind.header_class(endianness=endian))
    nifti.set_qform(affine, forms[0])
    nifti.set_sform(affine, forms[1])
    content = nifti.to_bytes()
    path.write_bytes(gzip.compress(content) if suffix.lower().endswith("gz") else content)
    read_as(path, kind.from_bytes(content).affine)


@pytest.mark.parametrize("read", [read_image, read_labels])
@pytest.mark.parametrize("other", [HU[::-1], np.zeros((3, 4, 5), np.float32)], ids=["same_size", "other_type"])
def test_a_compressed_file_beside_a_plain_one_of_the_same_name(tmp_path, read, other):
    # ITK finds the voxels by the bare name and takes those of the plain one
    save(tmp_path / "scan.nii", array=np.ascontiguousarray(other))
    assert np.array_equal(read(save(tmp_path / "scan.nii.gz")).array, HU)


def test_a_transform_beside_another(tmp_path):
    for suffix, millimetres in ((".nii", 9), (".nii.gz", 2)):
        Transform(np.full((*HU.shape, 3), millimetres, np.float32), read_image(save(tmp_path / "s.nii")).grid).save(
            tmp_path / f"t{suffix}"
        )
    assert np.all(Transform.load(tmp_path / "t.nii.gz").displacement_mm == 2)


SLOPE, ORIGIN = np.array([20.0, -30.0, 16.0]), np.array([10.0, -20, 30])


def tilted_file(path, order, axes, degrees, qform):
    """Values that are linear in the world (LPS), of slices that lie aside of each other; array axes in the ``order``."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes * [0.8, 0.9, 2.5]
    matrix[:3, 3] = ORIGIN
    straight = matrix.copy()
    matrix[:3, 2] += 2.5 * np.tan(np.deg2rad(degrees)) * (axes @ [0.6, 0.8, 0])
    voxels = np.moveaxis(np.indices((14, 12, 8)), 0, -1)
    values = (voxels @ matrix[:3, :3].T) @ SLOPE
    ras = np.diag([-1.0, -1, 1, 1])
    permuted = [*order, 3]
    array = np.rint(values).astype(np.int16).transpose(order)
    save(path, array=array, qform=(ras @ straight)[:, permuted] if qform else None, sform=(ras @ matrix)[:, permuted])
    return matrix, values


OBLIQUE = Rotation.from_euler("xyz", [12, -7, 25], degrees=True).as_matrix()


@pytest.mark.parametrize("qform", [True, False])
@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE, np.diag([-1, 1, 1]), np.diag([1, 1, -1])])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_tilted_gantry_that_only_the_sform_tells(tmp_path, order, axes, qform):
    """Of values that are linear in the world, linear interpolation within the slices gives them everywhere."""
    matrix, _ = tilted_file(tmp_path / "tilt.nii.gz", order, axes, 17, qform)
    with pytest.warns(UserWarning, match=r"by up to 5\.4 mm over 1[78] mm, as with a gantry tilted by 17\.0 degrees"):
        image = read_image(tmp_path / "tilt.nii.gz")
    direction = np.array(image.grid.direction).reshape(3, 3)
    np.testing.assert_allclose(direction, axes[:, order], atol=1e-6)
    np.testing.assert_allclose(image.grid.spacing, np.array([0.8, 0.9, 2.5])[list(order)], atol=1e-6)
    world = image.grid.voxel_to_world(np.moveaxis(np.indices(image.grid.size), 0, -1).reshape(-1, 3))
    within = np.linalg.solve(matrix[:3, :3], (world - ORIGIN).T).T
    seen = ((within >= -1e-5) & (within <= np.array([13, 11, 7]) + 1e-5)).all(axis=1)
    assert seen.sum() >= 0.6 * 14 * 12 * 8
    np.testing.assert_allclose(image.array.reshape(-1)[seen], ((world - ORIGIN) @ SLOPE)[seen], atol=1)
    assert (image.array.reshape(-1)[~seen] == -1000).all()


def test_labels_of_a_tilted_gantry_stay_labels(tmp_path):
    matrix, _ = tilted_file(tmp_path / "scan.nii", (0, 1, 2), np.eye(3), 17, True)
    labels = np.zeros((14, 12, 8), np.uint8)
    labels[5:9, 4:8, 2:6] = 7
    ras = np.diag([-1.0, -1, 1, 1]) @ matrix
    with pytest.warns(UserWarning, match="gantry tilted by"):
        found = read_labels(save(tmp_path / "labels.nii", array=labels, qform=None, sform=ras))
    with pytest.warns(UserWarning, match="gantry tilted by"):
        scan = read_image(tmp_path / "scan.nii")
    assert found.grid == scan.grid
    assert set(np.unique(found.array)) == {0, 7}
    assert found.array.dtype == np.uint8
    assert (found.array == 7).sum() == (labels == 7).sum()
    centre = found.grid.voxel_to_world(np.argwhere(found.array == 7).mean(axis=0))
    np.testing.assert_allclose(centre, matrix[:3, :3] @ [6.5, 5.5, 3.5] + matrix[:3, 3], atol=0.3)


def test_a_tilted_gantry_whose_qform_has_the_first_slice_elsewhere(tmp_path):
    tilted = STRAIGHT.copy()
    tilted[1, 2] = 5 * np.tan(np.deg2rad(17))
    elsewhere = STRAIGHT.copy()
    elsewhere[0, 3] += 3
    with pytest.raises(InputError, match=r"places its first slice in two ways that are up to 3\.0 mm apart"):
        read_image(save(tmp_path / "scan.nii", qform=elsewhere, sform=tilted))


def test_a_field_on_a_tilted_grid_is_refused(tmp_path):
    tilted = STRAIGHT.copy()
    tilted[1, 2] = 5 * np.tan(np.deg2rad(17))
    field = nibabel.Nifti1Image(np.ones((7, 6, 5, 1, 3), np.float32), tilted)
    field.header.set_intent(1007)
    nibabel.save(field, tmp_path / "field.nii")
    with pytest.raises(InputError, match="is sheared"):
        Transform.load(tmp_path / "field.nii")


def test_forms_that_contradict_each_other_are_both_named(tmp_path):
    mirrored = STRAIGHT.copy()
    mirrored[0, 0], mirrored[0, 3] = 0.8, 100 - 6 * 0.8  # the same seven columns of voxels, from the other side
    path = save(tmp_path / "scan.nii", sform=mirrored)
    with pytest.raises(InputError, match=r"up to 4\.8 mm apart, by its sform .*RPS.* and by its qform .*LPS") as error:
        read_image(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("zoom", [-0.8, 0, np.nan, np.inf])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_voxel_size_that_makes_no_sense(tmp_path, zoom, axis):
    path = patch(save(tmp_path / "both.nii"), PIXDIM + 4 * axis, "<f", zoom)
    read_as(path, STRAIGHT)
    path = patch(save(tmp_path / "qform.nii", sform=None), PIXDIM + 4 * axis, "<f", zoom)
    with pytest.raises(InputError, match="qform in its header that places it nowhere"):
        read_image(path)


def test_a_sign_of_the_third_axis_of_which_readers_disagree(tmp_path):
    read_as(patch(save(tmp_path / "both.nii"), PIXDIM, "<f", -0.5), STRAIGHT)
    path = patch(save(tmp_path / "qform.nii", sform=None), PIXDIM, "<f", -0.5)
    with pytest.raises(InputError, match=r"qform in its header that places it nowhere \(pixdim -0\.5"):
        read_image(path)


@pytest.mark.parametrize("qform", [STRAIGHT, None])
def test_a_voxel_size_other_than_the_sforms(tmp_path, qform):
    path = patch(save(tmp_path / "scan.nii", qform=qform), PIXDIM + 4, "<3f", 0.8, 0.8, 2.5)
    with pytest.raises(InputError, match=r"0\.8 0\.8 5.*0\.8 0\.8 2\.5"):
        read_image(path)


def test_a_voxel_size_that_nobody_set(tmp_path):
    path = save(tmp_path / "scan.nii", qform=None)
    assert nibabel.load(path).header.get_zooms() == (1, 1, 1)
    read_as(path, STRAIGHT)


@pytest.mark.parametrize("quaternion", [(np.nan, 0, 0), (0, np.inf, 0), (0.9, 0.9, 0)])
def test_a_quaternion_that_makes_no_sense(tmp_path, quaternion):
    read_as(patch(save(tmp_path / "both.nii"), QUATERNION, "<3f", *quaternion), STRAIGHT)
    path = patch(save(tmp_path / "qform.nii", sform=None), QUATERNION, "<3f", *quaternion)
    with pytest.raises(InputError, match="qform in its header that places it nowhere"):
        read_image(path)


def test_a_half_turn_of_rounded_numbers_is_one(tmp_path):
    tilt = np.deg2rad(0.5)
    half = Rotation.from_rotvec(np.pi * np.array([np.cos(tilt), np.sin(tilt), 0])).as_matrix()
    affine = nibabel.affines.from_matvec(half * 100)
    grid = read_image(save(tmp_path / "scan.nii", qform=affine, sform=None)).grid
    np.testing.assert_allclose(grid.voxel_to_world(CORNERS), places(affine, CORNERS), atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_sform_that_is_no_number(tmp_path, value):
    with pytest.raises(InputError, match=f"degenerate direction in its header .sform {value} "):
        read_image(patch(save(tmp_path / "sform.nii", qform=None), SROW, "<f", value))
    read_as(patch(save(tmp_path / "both.nii"), SROW, "<f", value), STRAIGHT)


@pytest.mark.parametrize(("code", "unit"), [(1, "metres"), (3, "micrometres")])
def test_lengths_in_other_units(tmp_path, code, unit):
    with pytest.raises(InputError, match=f"lengths in {unit}"):
        read_image(patch(save(tmp_path / "scan.nii"), UNITS, "<B", code))


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("length", [0, -7])
def test_a_dimension_below_one(tmp_path, axis, length):
    with pytest.raises(InputError, match="damaged: its header gives it 3 dimensions"):
        read_image(patch(save(tmp_path / "scan.nii"), DIM + 2 * axis, "<h", length))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_sizes_that_no_file_can_hold(tmp_path, suffix):
    path = patch(save(tmp_path / "scan.nii"), DIM + 2, "<3h", 32767, 32767, 32767)
    content = path.read_bytes()
    path = tmp_path / f"huge{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(InputError, match="cut short"):
        read_image(path)


@pytest.mark.parametrize("intent", [1006, 1007])
def test_a_scaled_field_of_integers(tmp_path, intent):
    # ITK writes beyond its memory when it reads one
    field = np.random.default_rng(0).normal(scale=10, size=(7, 6, 5, 1, 3))
    nifti = nibabel.Nifti1Image(field, STRAIGHT)
    nifti.header["intent_code"] = intent
    nifti.set_data_dtype(np.int16)
    nibabel.save(nifti, tmp_path / "field.nii.gz")
    expected = nibabel.load(tmp_path / "field.nii.gz").get_fdata()[:, :, :, 0] * ([-1, -1, 1] if intent == 1006 else 1)
    np.testing.assert_allclose(Transform.load(tmp_path / "field.nii.gz").displacement_mm, expected, atol=1e-5)


def test_a_plain_file_named_as_a_compressed_one_and_the_other_way_round(tmp_path):
    content = save(tmp_path / "scan.nii").read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(content)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(content))
    read_as(tmp_path / "plain.nii.gz", STRAIGHT)
    read_as(tmp_path / "packed.nii", STRAIGHT)


@pytest.mark.parametrize("end", [b"\0" * 700, b"rubbish", b"\x1f"])
def test_bytes_after_the_compressed_ones(tmp_path, end):
    path = save(tmp_path / "scan.nii.gz")
    path.write_bytes(path.read_bytes() + end)
    read_as(path, STRAIGHT)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [(DIM + 6, "<h", 3), (DATATYPE, "<h", 256)],  # 3 of 5 slices; a byte a voxel of 2
    ids=["size", "type"],
)
def test_more_voxels_than_the_header_tells_of(tmp_path, suffix, offset, form, value):
    path = patch(save(tmp_path / "scan.nii"), offset, form, value)
    if suffix == ".nii.gz":
        path = tmp_path / "scan.nii.gz"
        path.write_bytes(gzip.compress((tmp_path / "scan.nii").read_bytes()))
    for read in (read_image, read_labels):
        with pytest.raises(InputError, match=r"goes on after the \d+ bytes of voxels"):
            read(path)


def test_zeros_that_fill_up_the_last_block(tmp_path):
    path = save(tmp_path / "scan.nii")
    path.write_bytes(path.read_bytes() + bytes(512))
    assert np.array_equal(read_image(path).array, HU)


def test_a_file_compressed_in_several_members(tmp_path):
    content = save(tmp_path / "scan.nii").read_bytes()
    parts = [content[:100], content[100:400], content[400:401], content[401:]]
    (tmp_path / "parts.nii.gz").write_bytes(b"".join(gzip.compress(part) for part in parts))
    read_as(tmp_path / "parts.nii.gz", STRAIGHT)


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    whole = save(tmp_path / "scan.nii.gz").read_bytes()
    for place in np.random.default_rng(0).integers(20, len(whole), 25):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << 3
        (tmp_path / "damaged.nii.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"damaged\.nii\.gz .*(damaged|cut short)"):
            read_image(tmp_path / "damaged.nii.gz")


def test_voxels_in_another_file_and_of_an_odd_type(tmp_path):
    with pytest.raises(InputError, match="in another file"):
        read_image(patch(save(tmp_path / "pair.nii"), 344, "<4s", b"ni1\0"))
    nibabel.save(nibabel.Nifti1Image(HU.astype(np.complex64), STRAIGHT), tmp_path / "complex.nii")
    with pytest.raises(InputError, match="integers or real numbers"):
        read_image(tmp_path / "complex.nii")


LABELS = np.zeros((300, 300, 6), np.uint8)
LABELS[280, 280] = 3


def labels_of(path, kind=np.uint8, *header):
    save(path, array=LABELS.astype(kind))
    return patch(path, *header) if header else path


@pytest.mark.parametrize(
    ("kind", "header"),
    [(np.uint8, (DIM + 6, "<h", 4)), (np.int16, (DATATYPE, "<h", 2)), (np.float32, (DATATYPE, "<h", 4))],
)
def test_more_labels_than_the_header_tells_of_are_noticed_behind_much_background(tmp_path, kind, header):
    """More than 64 KB of what follows are 0."""
    path = labels_of(tmp_path / "labels.nii", kind, *header)
    with pytest.raises(InputError, match=r"goes on after the \d+ bytes of voxels"):
        read_labels(path)


def with_extension(path, offset):
    content = save(path, array=LABELS).read_bytes()
    extension = struct.pack("<ii", 32, 6) + b"a comment".ljust(24, b"\0")
    path.write_bytes(content[:348] + b"\1\0\0\0" + extension + content[352:])
    return patch(path, 108, "<f", offset)


def test_an_extension_for_which_the_header_has_no_room(tmp_path):
    """Background at the end of the file would hide that it goes on."""
    assert np.array_equal(read_labels(with_extension(tmp_path / "sound.nii", 384)).array, LABELS)
    with pytest.raises(InputError, match="extensions follow its header, and its voxels begin right behind that"):
        read_labels(with_extension(tmp_path / "labels.nii", 352))


def test_voxels_that_seem_to_begin_before_the_place_that_the_header_names_are_told(tmp_path):
    path = save(tmp_path / "scan.nii")
    path.write_bytes(path.read_bytes() + bytes(32))
    with pytest.warns(UserWarning, match="has 32 bytes between header and voxels that are no extension"):
        read_image(patch(path, 108, "<f", 384))


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "i4"])
def test_labels_whose_bytes_are_in_another_order_than_the_header_says(tmp_path, kind):
    path = save(tmp_path / "labels.nii", array=LABELS.astype(kind))
    path.write_bytes(path.read_bytes()[:352] + LABELS.astype(f">{kind}").tobytes(order="F"))
    if kind.startswith("f"):
        with pytest.raises(InputError, match=r"its values are all next to 0, .* the order of their bytes"):
            read_labels(path)
    else:
        with pytest.warns(UserWarning, match="is the order of its bytes another than its header says"):
            read_labels(path)


def test_labels_that_a_slope_makes_next_to_nothing(tmp_path):
    path = patch(save(tmp_path / "labels.nii", array=LABELS), 112, "<ff", 1 / 65535, 0)
    with pytest.raises(InputError, match=r"its values are all next to 0, from 0 to 4\.58e-05"):
        read_labels(path)

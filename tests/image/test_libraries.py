"""Volumes of other libraries, their place and order of axes compared with what those libraries themselves say of a point."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, read_image
from mics.image.libraries import as_image

RAS = np.diag([-1.0, -1.0, 1.0])
VOXELS = [(0, 0, 0), (3, 1, 2), (1, 4, 5)]


def numbered(grid):
    """A volume whose every value is another."""
    return Image(np.arange(np.prod(grid.size), dtype=np.float32).reshape(grid.size), grid)


def same_place(image, value, world_lps):
    """Whether the voxel of ``value`` is the one at the point."""
    voxel = np.argwhere(image.array == value)[0]
    np.testing.assert_allclose(image.grid.voxel_to_world(voxel), world_lps, atol=1e-3)


def test_simpleitk_there_and_back(grid):
    image = numbered(grid)
    volume = image.to_sitk()
    for voxel in VOXELS:
        assert volume[voxel] == image.array[voxel]
        same_place(Image.of(volume), volume[voxel], volume.TransformIndexToPhysicalPoint(voxel))


def test_nibabel_there_and_back(grid):
    image = numbered(grid)
    volume = image.to_nibabel()
    for voxel in VOXELS:
        world = nibabel.affines.apply_affine(volume.affine, voxel)
        value = volume.get_fdata()[voxel]
        assert value == image.array[voxel]
        same_place(Image.of(volume), value, RAS @ world)
    assert volume.get_sform(coded=True)[1] == volume.get_qform(coded=True)[1] == 1


def test_ants_there_and_back(grid):
    ants = pytest.importorskip("ants")
    image = numbered(grid)
    volume = image.to_ants()
    for voxel in VOXELS:
        world = ants.transform_index_to_physical_point(volume, np.array(voxel))
        value = volume[voxel[0], voxel[1], voxel[2]]
        assert value == image.array[voxel]
        same_place(Image.of(volume), value, world)


def test_monai_there_and_back(grid, tmp_path):
    transforms = pytest.importorskip("monai.transforms")
    image = numbered(grid)
    volume = image.to_monai()
    assert volume.shape == (1, *grid.size)
    nibabel.save(image.to_nibabel(), tmp_path / "volume.nii.gz")
    read = transforms.LoadImage(reader="NibabelReader", ensure_channel_first=True)(tmp_path / "volume.nii.gz")
    np.testing.assert_allclose(read.affine, volume.affine, atol=1e-3)
    assert Image.of(read) == Image(image.array, Image.of(read).grid)


def test_torchio_there_and_back(grid, tmp_path):
    torchio = pytest.importorskip("torchio")
    image = numbered(grid)
    nibabel.save(image.to_nibabel(), tmp_path / "volume.nii.gz")
    read = torchio.ScalarImage(tmp_path / "volume.nii.gz")
    found = Image.of(read)
    assert found.grid.is_close(grid)
    np.testing.assert_array_equal(found.array, image.array)
    ours = image.to_torchio()
    np.testing.assert_allclose(ours.affine, read.affine, atol=1e-3)
    assert torch.equal(ours.data, read.data.float())
    labels = Image(image.array.astype(np.uint8), grid).to_torchio(labels=True)
    assert isinstance(labels, torchio.LabelMap)


@pytest.mark.parametrize(
    "kind", [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float16, ">i2"]
)
@pytest.mark.parametrize("library", ["sitk", "nibabel", "ants", "monai", "torchio"])
def test_values_of_every_type_stay(kind, library):
    if library in ("ants", "monai", "torchio"):
        pytest.importorskip(library)
    grid = Grid((4, 3, 2), (1, 2, 3), (5, 6, 7))
    array = (np.arange(24).reshape(grid.size) % 2 if kind == np.bool_ else np.arange(24).reshape(grid.size)).astype(
        kind
    )
    there = getattr(Image(array, grid), f"to_{library}")()
    back = Image.of(there)
    np.testing.assert_array_equal(back.array, array)
    assert back.grid.is_close(grid)


def test_what_comes_out_is_a_copy():
    image = numbered(Grid((4, 3, 2), (1, 2, 3), (5, 6, 7)))
    volume = image.to_nibabel()
    Image.of(volume).array[:] = -1
    assert volume.get_fdata().min() == 0
    assert image.array.min() == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_place_of_a_simpleitk_volume_is_its_own_to_the_last_digit(seed):
    random = np.random.default_rng(seed)
    direction = Rotation.from_rotvec(random.normal(size=3)).as_matrix()
    grid = Grid((4, 5, 6), tuple(random.uniform(0.5, 5, 3)), tuple(random.normal(0, 200, 3)), tuple(direction.ravel()))
    volume = Image(random.normal(size=grid.size).astype(np.float32), grid).to_sitk()
    found = Image.of(volume).grid
    assert (found.spacing, found.origin, found.direction) == (
        volume.GetSpacing(),
        volume.GetOrigin(),
        volume.GetDirection(),
    )


def test_an_array_with_its_grid():
    image = numbered(Grid((4, 3, 2), (1, 2, 3), (5, 6, 7)))
    assert as_image((image.array, image.grid), "it") == image


def test_lps_of_monai_is_taken_at_its_word():
    monai = pytest.importorskip("monai.data")
    affine = torch.tensor([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    tensor = monai.MetaTensor(torch.zeros(1, 4, 5, 6), affine=affine, meta={"space": "LPS"})
    assert Image.of(tensor).grid.origin == (10, 20, 30)
    tensor = monai.MetaTensor(torch.zeros(1, 4, 5, 6), affine=affine)
    assert Image.of(tensor).grid.origin == (-10, -20, 30)


def refused(volume):
    with pytest.raises(InputError) as caught:
        as_image(volume, "The fixed scan")
    assert str(caught.value).startswith("The fixed scan ")
    return str(caught.value)


def test_what_is_no_lone_volume_is_refused():
    ants = pytest.importorskip("ants")
    assert "one 3D volume" in refused(sitk.Image(4, 5, sitk.sitkFloat32))
    assert "one 3D volume" in refused(sitk.Image([4, 5, 6], sitk.sitkVectorFloat32, 3))
    assert "4x5x6x7" in refused(nibabel.Nifti1Image(np.zeros((4, 5, 6, 7)), np.eye(4)))
    assert "no affine" in refused(nibabel.Nifti1Image(np.zeros((4, 5, 6)), None))
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    assert "sheared" in refused(nibabel.Nifti1Image(np.zeros((40, 50, 60)), sheared))
    assert "one 3D volume" in refused(ants.from_numpy(np.zeros((4, 5))))


def test_several_channels_or_times_are_no_axis_of_the_volume():
    """A slice of three channels, and one sagittal plane over seven times, have an axis of length 1 where a channel is not."""
    assert "1x5x6x7" in refused(nibabel.Nifti1Image(np.zeros((1, 5, 6, 7)), np.eye(4)))
    torchio = pytest.importorskip("torchio")
    assert "3x5x6x1" in refused(torchio.ScalarImage(tensor=torch.zeros(3, 5, 6, 1)))
    monai = pytest.importorskip("monai.data")
    assert "3x5x6x1" in refused(monai.MetaTensor(torch.zeros(3, 5, 6, 1)))
    flat = monai.MetaTensor(torch.zeros(4, 5, 6), affine=torch.eye(3))
    assert "an affine of the shape (3, 3): give it one of (4, 4)" in refused(flat)


def test_bfloat16_which_numpy_does_not_have():
    monai = pytest.importorskip("monai.data")
    values = torch.arange(24.0).reshape(1, 4, 3, 2)
    found = Image.of(monai.MetaTensor(values.to(torch.bfloat16).requires_grad_()))
    assert found.array.dtype == np.float32
    np.testing.assert_array_equal(found.array, values[0].numpy())


def test_what_is_no_volume_is_left_to_the_caller():
    assert as_image("scan.nii.gz", "it") is None
    assert as_image(np.zeros((3, 3, 3)), "it") is None
    with pytest.raises(InputError, match="an array with its Grid, not a ndarray"):
        Image.of(np.zeros((30, 3, 3)))


def test_label_maps_of_other_libraries_hold_real_numbers():
    from mics.registration.inputs import load_scan

    grid = Grid((8, 9, 10), (2.0, 2.0, 3.0), (-8.0, -9.0, 100.0))
    scan = Image((np.arange(720).reshape(grid.size) % 100 - 50).astype(np.float32), grid)
    labels = np.zeros(grid.size, np.float32)
    labels[2:4, 2:4, 2:4] = 3
    found = load_scan(scan.to_sitk(), Image(labels, grid).to_nibabel(), "fixed")
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels.array, labels)
    assert found.labels.array.dtype.kind == "i"
    np.testing.assert_array_equal(found.image.array, scan.array)


PLACE = np.diag([-1.5, -1.5, 2.0, 1.0])
FORM_CODES, UNITS = 252, 123  # where they lie in a NIfTI-1 header, in bytes


def loaded(path, qform=PLACE, codes=b"\1\0\1\0", units=2):
    """A file of nibabel's with other bytes in its header, read by nibabel."""
    volume = nibabel.Nifti1Image(np.zeros((8, 7, 6), np.int16), PLACE)
    volume.set_sform(PLACE, 1)
    volume.set_qform(qform, 1)
    nibabel.save(volume, path)
    raw = bytearray(path.read_bytes())
    raw[FORM_CODES : FORM_CODES + 4], raw[UNITS] = codes, units
    path.write_bytes(raw)
    return nibabel.load(path)


def test_what_the_header_of_a_nibabel_image_says_beside_its_affine(tmp_path):
    turned = np.diag([1.5, 1.5, 2.0, 1.0])
    assert as_image(loaded(tmp_path / "sound.nii"), "it").grid.spacing == (1.5, 1.5, 2)
    assert "its lengths in metres" in refused(loaded(tmp_path / "metres.nii", units=1))
    assert "no orientation" in refused(loaded(tmp_path / "nowhere.nii", codes=bytes(4)))
    assert "in two ways" in refused(loaded(tmp_path / "two.nii", qform=turned))
    nibabel.save(nibabel.AnalyzeImage(np.zeros((8, 7, 6), np.int16), None), tmp_path / "analyze.img")
    assert "no orientation" in refused(nibabel.load(tmp_path / "analyze.img"))


def test_an_affine_that_a_program_gave_an_image_counts(tmp_path):
    of_file = loaded(tmp_path / "two.nii", qform=np.diag([1.5, 1.5, 2.0, 1.0]))
    given = nibabel.Nifti1Image(np.asarray(of_file.dataobj), PLACE, of_file.header)
    given.affine[:3, 3] = 5, 6, 7
    assert as_image(given, "it").grid.origin == (-5, -6, 7)
    assert as_image(nibabel.AnalyzeImage(np.zeros((8, 7, 6), np.int16), PLACE), "it").grid.orientation == "LPS"
    assert as_image(nibabel.MGHImage(np.zeros((8, 7, 6), np.float32), PLACE), "it").grid.orientation == "LPS"


def tilted(library):
    """A volume whose third axis leaves the normal of its slices by 17 degrees along y (LPS)."""
    array = np.arange(6 * 7 * 5, dtype=np.float32).reshape(6, 7, 5)
    lps = np.array([[0.8, 0, 0, 10], [0, 0.8, 5 * np.tan(np.deg2rad(17)), 20], [0, 0, 5, 30], [0, 0, 0, 1]])
    if library == "nibabel":
        return nibabel.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]) @ lps)
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    volume = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    volume.SetSpacing(lengths.tolist())
    volume.SetDirection((lps[:3, :3] / lengths).ravel().tolist())
    volume.SetOrigin(lps[:3, 3].tolist())
    return volume


@pytest.mark.parametrize("library", ["nibabel", "SimpleITK"])
def test_a_tilted_gantry_is_put_straight_as_its_file_is(tmp_path, library):
    volume = tilted(library)
    nibabel.save(tilted("nibabel"), tmp_path / "scan.nii.gz")
    with pytest.warns(UserWarning, match=r"gantry tilted by 17\.0 degrees"):
        of_file = read_image(tmp_path / "scan.nii.gz")
    with pytest.warns(UserWarning, match=r"^The fixed scan has slices .* gantry tilted by 17\.0 degrees"):
        image = as_image(volume, "The fixed scan", labels=False)
    assert image.grid.is_close(of_file.grid)
    np.testing.assert_allclose(image.array, of_file.array, atol=1e-3)
    with pytest.warns(UserWarning, match="gantry tilted"):
        labels = as_image(volume, "The fixed label map", labels=True)
    assert set(np.unique(labels.array)) <= set(range(6 * 7 * 5))
    with pytest.raises(InputError, match="The scan is sheared"):
        as_image(volume, "The scan")

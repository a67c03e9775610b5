from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from mics.data.phantom import network_grid, phantom
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, to_itk
from mics.organs import AORTA, LIVER, ORGAN_NAMES, RIGHT_KIDNEY, STOMACH

VOXELS = [(0, 0, 0), (5, 3, 2), (47, 39, 63)]


@pytest.fixture(scope="module")
def hard(benchmark_script: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_script("hard_versions")


@pytest.fixture(scope="module")
def scan(hard: ModuleType) -> object:
    """A generated subject, whose array runs as Learn2Reg's do."""
    subject = phantom(3, network_grid())
    return hard.Scan(subject.image, subject.labels)


def ramp(hard: ModuleType, grid: Grid, axis: int) -> object:
    """A scan whose voxels hold their own number along an axis, and are liver from the fourth on."""
    values = np.broadcast_to(np.moveaxis(np.arange(grid.size[axis])[:, None, None], 0, axis), grid.size)
    return hard.Scan(
        Image(values.astype(np.float32), grid), Image(np.where(values >= 4, LIVER, 0).astype(np.uint8), grid)
    )


def test_a_shift_moves_every_point_by_40_mm_along_x_and_z(hard: ModuleType, scan: object) -> None:
    before, after = to_itk(scan.image), to_itk(hard.shifted(scan).image)
    for voxel in VOXELS:
        moved = np.subtract(*(itk.TransformIndexToPhysicalPoint(voxel) for itk in (after, before)))
        np.testing.assert_allclose(moved, [40 / np.sqrt(2), 0, 40 / np.sqrt(2)], atol=1e-9)
    assert np.array_equal(sitk.GetArrayViewFromImage(before), sitk.GetArrayViewFromImage(after))


def test_a_roll_turns_every_point_about_the_body_axis(hard: ModuleType, grid: Grid) -> None:
    scan = hard.Scan(Image(np.zeros(grid.size, np.float32), grid), Image(np.zeros(grid.size, np.uint8), grid))
    before, rolled = to_itk(scan.image), hard.rolled(scan)
    after = to_itk(rolled.image)
    turn = sitk.Euler3DTransform()
    turn.SetCenter(before.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.size]))
    turn.SetRotation(0, 0, np.deg2rad(15))
    for voxel in [(0, 0, 0), (5, 3, 2), tuple(n - 1 for n in grid.size)]:
        expected = turn.TransformPoint(before.TransformIndexToPhysicalPoint(voxel))
        np.testing.assert_allclose(after.TransformIndexToPhysicalPoint(voxel), expected, atol=1e-6)
    assert rolled.labels.grid == rolled.image.grid
    own, turned = (np.reshape(g.direction, (3, 3)) for g in (grid, rolled.image.grid))
    np.testing.assert_allclose(turned @ own.T, Rotation.from_euler("z", 15, degrees=True).as_matrix(), atol=1e-6)


def test_slices_of_two_and_a_half_voxels_are_their_weighted_means(hard: ModuleType) -> None:
    grid = Grid((3, 2, 11), (2.0, 2.0, 2.0), (7.0, 8.0, 100.0))
    thick = hard.thick_slices(ramp(hard, grid, 2))
    # 5 mm hold voxels 0, 1 and half of 2; then half of 2, 3 and 4; ...; 2 mm are left over.
    np.testing.assert_allclose(thick.image.array[1, 1], [0.8, 3.2, 5.8, 8.2], rtol=1e-6)
    assert thick.labels.array[1, 1].tolist() == [0, 0, LIVER, LIVER]
    assert thick.image.grid == thick.labels.grid
    assert thick.image.grid.spacing == (2.0, 2.0, 5.0)
    # The lowest face of the scan is at 99 mm, so that the middle of the first slice is at 101.5.
    np.testing.assert_allclose(thick.image.grid.voxel_to_world([0, 0, 0]), [7, 8, 101.5])


def test_slices_of_whole_voxels_are_what_simpleitk_averages(hard: ModuleType, scan: object) -> None:
    thick = hard.thick_slices(scan, 8.0)
    expected = sitk.BinShrink(to_itk(scan.image), [1, 1, 2])
    np.testing.assert_allclose(to_itk(thick.image).GetOrigin(), expected.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(thick.image.array, sitk.GetArrayFromImage(expected).transpose(2, 1, 0), atol=1e-2)


def test_slices_run_along_the_body_whatever_the_array_order(hard: ModuleType) -> None:
    # The first axis runs downwards.
    grid = Grid((10, 4, 3), (2.0, 1.0, 1.0), (0.0, 0.0, 50.0), (0, 1, 0, 0, 0, 1, -1, 0, 0))
    thick = hard.thick_slices(ramp(hard, grid, 0))
    assert thick.image.grid.size == (4, 4, 3)
    assert thick.image.grid.spacing == (5.0, 1.0, 1.0)
    np.testing.assert_allclose(thick.image.grid.origin, [0, 0, 48.5])  # the upper face, 51, less 2.5 mm
    np.testing.assert_allclose(thick.image.array[:, 0, 0], [0.8, 3.2, 5.8, 8.2], rtol=1e-6)


def test_a_scan_thinner_than_a_slice_is_refused(hard: ModuleType) -> None:
    with pytest.raises(InputError, match="no slice of 5 mm"):
        hard.thick_slices(ramp(hard, Grid((3, 3, 2), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0)), 2))


def test_without_contrast_organs_measure_what_unenhanced_ones_do(hard: ModuleType) -> None:
    grid = Grid((48, 40, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    texture = np.random.default_rng(0).normal(0, 8, grid.size)
    hu, labels = np.full(grid.size, -90.0), np.zeros(grid.size, np.uint8)
    enhanced = {LIVER: 110.0, AORTA: 180.0, RIGHT_KIDNEY: 150.0, STOMACH: 120.0}
    boxes = dict(zip(enhanced, (slice(2, 12), slice(14, 22), slice(24, 34), slice(37, 46)), strict=True))
    for organ, box in boxes.items():
        hu[box, 5:-5, 5:-5], labels[box, 5:-5, 5:-5] = enhanced[organ], organ
    scan = hard.Scan(Image((hu + texture).astype(np.float32), grid), Image(labels, grid))
    plain = hard.without_contrast(scan).image.array
    for organ, level in ((LIVER, 55), (AORTA, 40), (RIGHT_KIDNEY, 32), (STOMACH, 120)):
        inner = plain[boxes[organ].start + 3 : boxes[organ].stop - 3, 8:-8, 8:-8]
        assert np.median(inner) == pytest.approx(level, abs=2), ORGAN_NAMES[organ]
        assert inner.std() == pytest.approx(8, rel=0.15), ORGAN_NAMES[organ]
    # Along the border the fall is gradual, and nowhere else does anything change.
    fall = scan.image.array - plain
    assert 0.3 < fall[14, 20, 20] / fall[17, 20, 20] < 0.8
    assert np.abs(fall[:, 0]).max() < 0.1
    assert fall.min() > -1e-4


def test_an_unenhanced_organ_stays_as_it_is(hard: ModuleType) -> None:
    grid = Grid((12, 12, 12), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    hu = np.random.default_rng(0).normal(30, 5, grid.size).astype(np.float32)
    scan = hard.Scan(Image(hu, grid), Image(np.full(grid.size, LIVER, np.uint8), grid))
    np.testing.assert_allclose(hard.without_contrast(scan).image.array, hu, atol=1e-4)


@pytest.mark.parametrize("direction", [1, -1])
def test_the_upper_part_lies_where_it_was(hard: ModuleType, direction: int) -> None:
    grid = Grid((4, 4, 30), (2.0, 2.0, 3.0), (0.0, 0.0, 10.0), (1, 0, 0, 0, 1, 0, 0, 0, direction))
    hu = np.random.default_rng(0).normal(size=grid.size).astype(np.float32)
    labels = np.zeros(grid.size, np.uint8)
    # Of twenty labelled planes the upper twelve stay, from plane 13 on, with all that is above them.
    from_bottom = labels if direction > 0 else labels[..., ::-1]
    from_bottom[..., 5:25] = AORTA
    from_bottom[0, :, 12:20] = LIVER  # 7 of 8 planes stay, 13 to 19
    from_bottom[1, :, 8:15] = RIGHT_KIDNEY  # 2 of 7 planes stay
    part = hard.upper_part(hard.Scan(Image(hu, grid), Image(labels, grid)))
    assert part.image.grid.size == (4, 4, 30 - 13)
    assert part.image.grid == part.labels.grid
    original = to_itk(Image(hu, grid))
    itk = to_itk(part.image)
    for voxel in [(0, 0, 0), (2, 1, 16), (3, 3, 8)]:
        same = original.TransformPhysicalPointToIndex(itk.TransformIndexToPhysicalPoint(voxel))
        assert itk[voxel] == original[same]
    lowest = min(itk.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in (0, 16))
    bottom = min(original.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in (0, 29))
    assert lowest == pytest.approx(bottom + 13 * 3.0)
    # 12 of 20 planes of the aorta are too few as well.
    assert set(np.unique(part.labels.array).tolist()) == {0, LIVER}


def test_a_scan_without_labels_cannot_be_cut_by_them(hard: ModuleType) -> None:
    grid = Grid((4, 4, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    scan = hard.Scan(Image(np.zeros(grid.size, np.float32), grid), Image(np.zeros(grid.size, np.uint8), grid))
    with pytest.raises(InputError, match="no label"):
        hard.upper_part(scan)
    with pytest.raises(InputError, match="liver"):
        hard.noisier(scan)


def test_double_noise_doubles_the_standard_deviation(hard: ModuleType) -> None:
    grid = Grid((40, 40, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    noise = np.random.default_rng(5).normal(60, 12, grid.size).astype(np.float32)
    hu = np.where(np.arange(40)[:, None, None] < 6, np.float32(-1000), noise)
    labels = np.zeros(grid.size, np.uint8)
    labels[10:, 4:-4, 4:-4] = LIVER
    noisy = hard.noisier(hard.Scan(Image(hu, grid), Image(labels, grid))).image.array
    inside = labels == LIVER
    assert noisy[inside].std() == pytest.approx(24, rel=0.06)
    added = (noisy - hu)[12:, 6:-6, 6:-6]
    neighbours = np.corrcoef(added[:, :, 1:].ravel(), added[:, :, :-1].ravel())[0, 1]
    assert 0.2 < neighbours < 0.8
    assert np.array_equal(noisy[:6], hu[:6])


def test_a_sharp_kernel_sharpens_within_the_slices_only(hard: ModuleType) -> None:
    grid = Grid((40, 8, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    x = np.arange(40)
    wave = 50 * np.sin(2 * np.pi * x / 8)
    labels = Image(np.zeros(grid.size, np.uint8), grid)
    across = np.broadcast_to(wave[:, None, None], grid.size).astype(np.float32) * 1.0
    across[0, 0, 0], across[0, 0, 1] = -900, 900  # a range to stay in
    sharp = hard.sharper(hard.Scan(Image(across, grid), labels)).image.array
    # A Gaussian of one voxel takes exp(-(2 pi / 8)^2 / 2) of this wave; 1.5 times the rest is added.
    gain = 1 + 1.5 * (1 - np.exp(-((2 * np.pi / 8) ** 2) / 2))
    np.testing.assert_allclose(sharp[10:30, 4, 20], gain * wave[10:30], atol=0.5)
    along = np.broadcast_to(wave, grid.size).astype(np.float32)
    np.testing.assert_allclose(hard.sharper(hard.Scan(Image(along, grid), labels)).image.array, along, atol=1e-3)


def test_all_versions_of_a_subject_are_scans_and_always_the_same(hard: ModuleType, scan: object) -> None:
    for name, make in hard.HARD_VERSIONS.items():
        first, again = make(scan), make(scan)
        assert first.image.grid == first.labels.grid, name
        assert first.image.array.dtype == np.float32, name
        assert first.labels.array.dtype == scan.labels.array.dtype, name
        assert np.array_equal(first.image.array, again.image.array), name
        assert scan.image.array.min() <= first.image.array.min() < first.image.array.max() <= scan.image.array.max(), (
            name
        )

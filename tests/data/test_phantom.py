"""The phantom against anatomy: sides, sizes, connections, Hounsfield units, and its own ground truth."""

import numpy as np
import pytest
from scipy import ndimage

from mics import organs
from mics.data.phantom import (
    Phantom,
    deformed_pair,
    hospital_scanner,
    network_grid,
    network_scanner,
    phantom,
    phantom_pair,
)
from mics.errors import InputError
from mics.image.grid import Grid

# Millilitres of an adult's organ, generous on both sides: the family holds small and enlarged ones.
ADULT_ML = {
    organs.SPLEEN: (50, 900),
    organs.RIGHT_KIDNEY: (70, 350),
    organs.LEFT_KIDNEY: (70, 350),
    organs.GALLBLADDER: (3, 120),
    organs.OESOPHAGUS: (3, 60),
    organs.LIVER: (900, 3000),
    organs.STOMACH: (80, 1200),
    organs.AORTA: (25, 250),
    organs.INFERIOR_VENA_CAVA: (25, 250),
    organs.PORTAL_AND_SPLENIC_VEIN: (8, 120),
    organs.PANCREAS: (25, 180),
    organs.RIGHT_ADRENAL: (1, 15),
    organs.LEFT_ADRENAL: (1, 15),
}
GRID = network_grid(4.0)


@pytest.fixture(scope="module", params=[3, 11])
def subject(request: pytest.FixtureRequest) -> Phantom:
    return phantom(request.param, GRID, phase="portal")


def centroid_lps(volume: Phantom, label: int) -> np.ndarray:
    return volume.labels.grid.voxel_to_world(np.argwhere(volume.labels.array == label)).mean(axis=0)


def median_hu(volume: Phantom, label: int) -> float:
    inside = ndimage.binary_erosion(volume.labels.array == label)
    return float(np.median(volume.image.array[inside if inside.sum() > 20 else volume.labels.array == label]))


def test_default_is_the_networks_grid() -> None:
    made = network_scanner(0).grid
    assert made.size == (96, 80, 128)
    assert made.spacing == (4.0, 4.0, 4.0)
    assert made.orientation == "LAS"
    np.testing.assert_allclose(made.centre, 0, atol=1e-6)


def test_the_seed_decides_everything() -> None:
    coarse = network_grid(8.0)
    one, again, other = phantom(5, coarse), phantom(5, coarse), phantom(6, coarse)
    np.testing.assert_array_equal(one.image.array, again.image.array)
    np.testing.assert_array_equal(one.labels.array, again.labels.array)
    assert (one.labels.array != other.labels.array).mean() > 0.02


def test_what_is_no_subject_is_refused() -> None:
    coarse = network_grid(8.0)
    for make in (phantom, phantom_pair):
        with pytest.raises(InputError, match="The seed of a phantom is 0 or above, not -1"):
            make(-1, coarse)
        with pytest.raises(InputError, match=r"The seed of a phantom is a whole number, not 1\.5"):
            make(1.5, coarse)
    with pytest.raises(InputError, match="phase of contrast is native, arterial, portal or None, not 'venous'"):
        phantom(1, coarse, phase="venous")


def test_all_organs_of_an_adult_in_one_piece(subject: Phantom) -> None:
    assert set(np.unique(subject.labels.array)) == {0, *organs.ORGAN_NAMES}
    voxel_ml = float(np.prod(GRID.spacing)) / 1000
    for label, (low, high) in ADULT_ML.items():
        mask = subject.labels.array == label
        assert low < mask.sum() * voxel_ml < high, organs.ORGAN_NAMES[label]
        assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 1, organs.ORGAN_NAMES[label]


def test_organs_lie_where_anatomy_puts_them(subject: Phantom) -> None:
    at = {label: centroid_lps(subject, label) for label in organs.ORGAN_NAMES}
    left, back, up = range(3)
    for right_sided in (organs.LIVER, organs.GALLBLADDER, organs.RIGHT_KIDNEY, organs.RIGHT_ADRENAL):
        assert at[right_sided][left] < at[organs.AORTA][left]
    for left_sided in (organs.SPLEEN, organs.STOMACH, organs.LEFT_KIDNEY, organs.LEFT_ADRENAL):
        assert at[left_sided][left] > at[organs.AORTA][left]
    assert at[organs.INFERIOR_VENA_CAVA][left] < at[organs.AORTA][left]
    assert at[organs.RIGHT_KIDNEY][left] < at[organs.RIGHT_ADRENAL][left]
    assert at[organs.RIGHT_KIDNEY][back] > at[organs.PANCREAS][back] > at[organs.GALLBLADDER][back]
    assert at[organs.OESOPHAGUS][up] > at[organs.LIVER][up] > at[organs.RIGHT_KIDNEY][up]


def test_hounsfield_units_by_organ(subject: Phantom) -> None:
    hu = {label: median_hu(subject, label) for label in organs.ORGAN_NAMES}
    assert 60 < hu[organs.LIVER] < 150
    assert 80 < hu[organs.SPLEEN] < 180
    assert 90 < hu[organs.AORTA] < 230
    assert 100 < hu[organs.LEFT_KIDNEY] < 260
    assert -10 < hu[organs.GALLBLADDER] < 40
    assert hu[organs.AORTA] > hu[organs.LIVER] > hu[organs.GALLBLADDER]


def test_the_rest_of_the_body_is_there(subject: Phantom) -> None:
    litres = float(np.prod(GRID.spacing)) / 1e6
    hu = subject.image.array
    assert hu.min() >= -1024
    assert hu.max() > 300  # bone
    inside = ndimage.binary_fill_holes(ndimage.binary_opening(hu > -150, iterations=2))
    # Real trunks on this grid measure .22 to .62.
    assert 0.18 < ((hu > -130) & (hu < -60) & inside).sum() / (inside & (hu > -150)).sum() < 0.68
    lungs = ndimage.binary_erosion((hu > -920) & (hu < -700))
    middle = round(float(GRID.world_to_voxel([5.0, 0, 0])[0]))
    for lung in (lungs[:middle], lungs[middle:]):
        assert 0.4 < lung.sum() * litres < 4
    assert (hu[[0, -1]] < -900).mean() > 0.5  # air beside the patient


def test_contrast_phases_enhance_as_they_do() -> None:
    box = Grid.axis_aligned((-150, -110, -60), (150, 110, 140), 5.0)
    native, arterial, portal = (phantom(3, box, phase=phase) for phase in ("native", "arterial", "portal"))
    np.testing.assert_array_equal(native.labels.array, portal.labels.array)
    assert median_hu(native, organs.AORTA) < 70
    assert median_hu(arterial, organs.AORTA) > median_hu(portal, organs.AORTA) + 40
    assert median_hu(portal, organs.LIVER) > median_hu(arterial, organs.LIVER) + 8
    assert median_hu(arterial, organs.PORTAL_AND_SPLENIC_VEIN) < median_hu(arterial, organs.AORTA)


def test_the_same_subject_on_any_grid() -> None:
    """A subject is a function of the world: a turned, shifted, anisotropic grid shows the same organ at a point."""
    straight = phantom(4, Grid.axis_aligned((-150, -110, -60), (150, 110, 150), 4.0, "LAS"))
    axes = np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]], float)  # array axes run I, R, P
    size, spacing = (34, 56, 40), (5.0, 4.5, 5.0)
    origin = np.array([0, 0, 45]) - axes @ ((np.array(size) - 1) / 2 * spacing)
    turned = phantom(4, Grid(size, spacing, tuple(origin), tuple(axes.ravel())))
    points = turned.labels.grid.points()
    voxels = np.moveaxis(straight.labels.grid.world_to_voxel(points), -1, 0)
    seen = ndimage.map_coordinates(straight.labels.array, voxels, order=0, mode="constant")
    for label in (organs.LIVER, organs.SPLEEN, organs.LEFT_KIDNEY, organs.STOMACH):
        a, b = seen == label, turned.labels.array == label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9, organs.ORGAN_NAMES[label]


def test_field_of_view_varies_and_is_air_outside() -> None:
    scans = [phantom(seed, network_scanner(seed, 8.0)) for seed in range(5)]
    lowest = [np.flatnonzero((s.image.array > -900).any(axis=(0, 1))).min() for s in scans]
    highest = [np.flatnonzero((s.image.array > -900).any(axis=(0, 1))).max() for s in scans]
    assert len(set(lowest)) > 1
    assert max(highest) < scans[0].image.array.shape[2] - 1
    for scan, top in zip(scans, highest, strict=True):
        assert not scan.labels.array[:, :, top + 1 :].any()


def test_two_subjects_differ_as_two_subjects_do() -> None:
    fixed, moving = phantom_pair(2, network_grid(6.0), network_grid(6.0))
    a, b = fixed.labels.array, moving.labels.array
    dice = [2 * ((a == o) & (b == o)).sum() / ((a == o).sum() + (b == o).sum()) for o in organs.ORGAN_NAMES]
    assert 0.02 < np.mean(dice) < 0.6
    assert dice[organs.LIVER - 1] > 0.25


def overlap(a: np.ndarray, b: np.ndarray, label: int) -> float:
    return float(2 * ((a == label) & (b == label)).sum() / ((a == label).sum() + (b == label).sum()))


BIG = (organs.LIVER, organs.SPLEEN, organs.STOMACH, organs.RIGHT_KIDNEY, organs.LEFT_KIDNEY)


def test_truth_brings_moving_onto_fixed() -> None:
    pair = deformed_pair(1, GRID, GRID)
    fixed = pair.fixed.labels.array
    warped = pair.moving_to_fixed.transform_labels(pair.moving.labels).array
    for label in BIG:
        assert overlap(fixed, warped, label) > 0.9, organs.ORGAN_NAMES[label]
    before = np.mean([overlap(fixed, pair.moving.labels.array, label) for label in BIG])
    after = np.mean([overlap(fixed, warped, label) for label in BIG])
    assert before < 0.85 < after
    image = pair.moving_to_fixed.transform_image(pair.moving.image).array
    apart = [
        np.abs(np.clip(i, -200, 300) - np.clip(pair.fixed.image.array, -200, 300))
        for i in (image, pair.moving.image.array)
    ]
    assert np.mean(apart[0]) < 0.5 * np.mean(apart[1])


def test_truth_is_smooth_and_without_folds() -> None:
    truth = deformed_pair(1, network_grid(8.0), network_grid(8.0)).moving_to_fixed.displacement_mm
    length = np.linalg.norm(truth, axis=-1)
    assert 3 < length.mean() < 20
    jacobian = np.stack([np.stack(np.gradient(truth[..., c], 8.0, axis=(0, 1, 2)), -1) for c in range(3)], -2)
    # LAS: the second array axis runs against the world's.
    jacobian[..., 1] *= -1
    assert np.linalg.det(jacobian + np.eye(3)).min() > 0.1


def test_truth_holds_between_two_hospitals() -> None:
    """Other spacing, orientation, origin, pose and size of the subject: the transform carries all of it."""
    fixed_scanner, moving_scanner = hospital_scanner(8, pixels=72), hospital_scanner(9, pixels=80)
    assert fixed_scanner.grid.spacing != moving_scanner.grid.spacing
    assert np.linalg.norm(fixed_scanner.grid.centre - moving_scanner.grid.centre) > 50
    pair = deformed_pair(3, fixed_scanner, moving_scanner)
    warped = pair.moving_to_fixed.transform_labels(pair.moving.labels).array
    for label in (organs.LIVER, organs.SPLEEN, organs.LEFT_KIDNEY):
        assert overlap(pair.fixed.labels.array, warped, label) > 0.85, organs.ORGAN_NAMES[label]
    assert {organs.LIVER, organs.SPLEEN} <= set(np.unique(pair.moving.labels.array))
    liver, spleen = centroid_lps(pair.moving, organs.LIVER), centroid_lps(pair.moving, organs.SPLEEN)
    assert liver[0] < spleen[0]

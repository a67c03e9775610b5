"""Made follow-ups: what moved, by how much, and how it is measured, against values found by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mics.deformation.jacobian import jacobian_determinant
from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image
from mics.organs import LIVER

GRID = Grid((64, 56, 60), (4, 4, 4), (-128, -112, -120))
POINTS = GRID.points().astype(float)
INSIDE = Grid((20, 18, 16), (2, 2, 2), (-20, -18, -16))


@pytest.fixture(scope="module")
def made(benchmark_script):
    return benchmark_script("made_follow_ups")


@pytest.fixture(scope="module")
def follow_up(benchmark_script):
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        return benchmark_script("follow_up")


@pytest.fixture(scope="module")
def patient():
    """A cylinder of 200 by 160 mm with a spine and a liver, a ball of 40 mm."""
    hu = np.full(GRID.size, -1000, np.float32)
    hu[(POINTS[..., 0] / 100) ** 2 + (POINTS[..., 1] / 80) ** 2 < 1] = 40
    hu[np.hypot(POINTS[..., 0], POINTS[..., 1] - 60) < 12] = 500
    liver = np.linalg.norm(POINTS - (-30, -10, 30), axis=-1) < 40
    hu[liver] = 110
    return Image(hu, GRID), Image(liver.astype(np.uint8) * LIVER, GRID)


def test_breathing_by_hand(made):
    """w = 1: at the diaphragm half of the dome's 24 mm, at its height plus falloff times ln 3 three quarters."""
    within = np.ones(GRID.size[:2])
    breathing = made.Breathing(within, GRID, 10.0, front_y=-80, back_y=80, dome_mm=24, falloff_mm=30, front_mm=4)
    points = np.array([[0, 80, 10], [0, -80, 10], [50, 0, 10 + 30 * np.log(3)], [0, 80, -1000]])
    expected = [[0, 0, 12], [0, -2, 12], [0, -1.5, 18], [0, 0, 0]]
    np.testing.assert_allclose(breathing(points), expected, atol=1e-6)
    still = made.Breathing(0 * within, GRID, 10.0, front_y=-80, back_y=80, dome_mm=24, front_mm=0)
    np.testing.assert_allclose(still(points), 0)


def test_volumes_change_as_the_formula_says(made):
    """J = 1 + dome w g', g' = 1/4 over the falloff at the diaphragm."""
    breathing = made.Breathing(np.ones(GRID.size[:2]), GRID, 0.0, front_y=-80, back_y=80, front_mm=0, dome_mm=24)
    found = jacobian_determinant(made.of_map(GRID, breathing, np.eye(4)).displacement_voxels())[0].numpy()
    assert found[30, 30, 30] == pytest.approx(1 + 24 / 4 / 30, abs=2e-3)
    assert found.min() > 0.99


def test_lying_turns_about_the_centre_and_shifts(made):
    matrix = made.lying(np.array([10.0, 0, 0]), (0, 0, 90), (0, 0, 5))
    np.testing.assert_allclose(matrix @ [10, 0, 0, 1], [10, 0, 5, 1], atol=1e-12)
    np.testing.assert_allclose(matrix @ [11, 0, 0, 1], [10, 1, 5, 1], atol=1e-12)


def test_a_made_follow_up_is_what_it_says(made, patient):
    scan, labels = patient
    case = made.make(scan, labels, noise_hu=0, radius_mm=12, grown_mm=20)
    for lesion, radius in ((case.baseline_lesion, 12), (case.follow_up_lesion, 20)):
        assert lesion.array.sum() * 0.064 == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.06)
    later, earlier = (
        lesion.grid.voxel_to_world(np.argwhere(lesion.array)).mean(axis=0)
        for lesion in (case.follow_up_lesion, case.baseline_lesion)
    )
    np.testing.assert_allclose(case.truth.transform_points(later[None])[0], earlier, atol=1.5)
    warped = case.truth.transform_image(case.baseline, outside=-1000).array
    apart = np.abs(warped - case.follow_up.array)[case.follow_up_lesion.array == 0]
    assert np.quantile(apart, 0.99) < 30
    assert np.median(case.follow_up.array[case.follow_up_lesion.array > 0]) == pytest.approx(50, abs=1)
    # Bones only turn with the patient, and hardly go forward.
    spine = case.bones
    assert spine.sum() * 0.064 == pytest.approx(np.pi * 12**2 * 240 / 1000, rel=0.2)


def test_what_rigid_motions_leave_by_hand(follow_up):
    """A turn leaves nothing; a stretch by a tenth along x leaves a tenth of x."""
    points = np.array([[-10.0, 0, 0], [10, 0, 0], [0, 5, 0], [0, 0, 7], [0, -5, -7]])
    turn = Rotation.from_euler("xyz", [30, 20, 170], degrees=True).as_matrix()
    np.testing.assert_allclose(follow_up.left_by_rigid(points, points @ turn.T + 3), 0, atol=1e-9)
    left = follow_up.left_by_rigid(points, points * (1.1, 1, 1))
    np.testing.assert_allclose(left, [1, 1, 0, 0, 0], atol=1e-9)


def test_how_far_from_a_rotation_by_hand(follow_up):
    places = INSIDE.points().astype(float)
    turn = Rotation.from_euler("z", 40, degrees=True).as_matrix()
    everywhere = np.ones(INSIDE.size, bool)
    turned = Transform((places @ turn.T - places).astype(np.float32), INSIDE)
    assert follow_up.from_rotation(turned, everywhere).max() < 1e-5
    stretched = Transform((places * (1.03, 0.96, 1) @ turn.T - places).astype(np.float32), INSIDE)
    np.testing.assert_allclose(follow_up.from_rotation(stretched, everywhere), 0.05, atol=1e-5)


def test_the_truth_measures_as_the_truth(made, follow_up, patient):
    scan, labels = patient
    case = made.make(scan, labels, radius_mm=12, grown_mm=20)
    row = follow_up.measure(case, case.truth)
    assert (row["tre"], row["tre95"], row["bone_tre"], row["folds_percent"]) == (0, 0, 0, 0)
    shifted = Transform(case.truth.displacement_mm + np.float32([0, 3, 4]), case.truth.grid)
    assert follow_up.measure(case, shifted)["tre"] == pytest.approx(5, abs=1e-4)
    assert row["lesion"] == pytest.approx(1, abs=0.25)  # the truth itself breathes

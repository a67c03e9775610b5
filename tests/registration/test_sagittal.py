"""Which way left is in patients whose bones are drawn, rolled by known angles."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mics.data.phantom import network_scanner, phantom
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.coarse import coarse
from mics.registration.half_way import half_way
from mics.registration.pair import Pair
from mics.registration.sagittal import LEFT, sagittal_normal

GRID = Grid.axis_aligned((-190, -150, -140), (190, 150, 140), (4, 4, 5), "LPS")
WIDE = Grid.axis_aligned((-230, -190, -140), (230, 190, 140), (4, 4, 5), "LPS")
# Boxes: middle and half edges in mm; what comes in pairs is named once.
SPINE = ((0, 60, 0), (18, 18, 140))
PAIRS = [((z_x, y, z), (9, 30, 9)) for z in (-20, 20, 60, 100) for z_x, y in ((115, 0), (85, 55))]
ILIAC = ((85, 40, -100), (35, 14, 30))
SPLEEN = ((75, 15, 60), (28, 32, 40))


def lying(roll=0.0, yaw=0.0, aside=0.0, bones="all", arms=(), grid=GRID):
    """A patient with enhanced organs on one side, rolled, turned about the front-back axis, and off the middle.

    ``arms``: 1 for the left one beside the body, -1 for the right one.
    """
    turn = Rotation.from_euler("zy", [roll, yaw], degrees=True)
    x, y, z = turn.inv().apply(grid.points().reshape(-1, 3) - (aside, 0, 0)).T
    hu = np.where((x / 150) ** 2 + (y / 100) ** 2 < 1, 30.0, -1000.0)

    def paint(box, value, mirrored=False):
        middle, edges = (np.array(part, dtype=float) for part in box)
        places = (np.abs(x) if mirrored else x, y, z)
        inside = np.all([abs(p - m) < e for p, m, e in zip(places, middle, edges, strict=True)], axis=0)
        hu[inside & (hu > -1000)] = value

    paint(SPLEEN, 160)
    if bones != "none":
        paint(SPINE, 400)
    if bones == "all":
        for box in (*PAIRS, ILIAC):
            paint(box, 500, mirrored=True)
    for side in arms:
        from_arm = np.hypot(x - side * 178, y - 20)
        hu[(from_arm < 38) & (hu == -1000)] = 40
        hu[from_arm < 14] = 900
    return Image(hu.reshape(grid.size).astype(np.float32), grid), turn.apply(LEFT)


def degrees_between(one, other):
    return np.degrees(np.arccos(np.clip(one @ other, -1, 1)))


@pytest.mark.parametrize(("roll", "yaw", "aside"), [(0, 0, 0), (15, 0, 20), (-28, 5, -30), (38, -6, 0), (3, -4, 35)])
def test_the_bones_tell_how_a_patient_lies(roll, yaw, aside):
    image, left = lying(roll, yaw, aside)
    assert degrees_between(sagittal_normal(coarse(image, 8.0)), left) < 1


def test_a_header_that_turns_the_patient_turns_what_is_found():
    subject = phantom(3, network_scanner(3, 4.0)).image
    upright = sagittal_normal(coarse(subject, 8.0))
    turn = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    grid = subject.grid
    direction = turn @ np.reshape(grid.direction, (3, 3))
    centre = grid.centre
    origin = centre - turn @ (centre - np.array(grid.origin))
    rolled = Image(subject.array, Grid(grid.size, grid.spacing, tuple(origin), tuple(direction.ravel())))
    assert degrees_between(sagittal_normal(coarse(rolled, 8.0)), turn @ upright) < 1


@pytest.mark.parametrize("bones", ["none", "spine"])
def test_without_bones_or_by_a_spine_alone_it_is_not_known(bones):
    image, _ = lying(roll=20, bones=bones)
    assert sagittal_normal(coarse(image, 8.0)) is None


@pytest.mark.parametrize(("roll", "arms"), [(0, (1,)), (60, (1, -1)), (60, (1,))])
def test_one_arm_or_lying_on_the_side_is_not_taken_for_another_roll(roll, arms):
    """Where one arm lies beside the body, two planes fit; on the side, one fits that is 17 degrees off upright."""
    image, _ = lying(roll, aside=10, arms=arms, grid=WIDE)
    assert sagittal_normal(coarse(image, 8.0)) is None


def test_the_edge_of_a_scan_does_not_draw_the_plane():
    """Of a patient cut 30 mm beside the middle: near that edge, the little that was scanned on both sides is like itself."""
    image, left = lying(25, grid=Grid.axis_aligned((-190, -150, -140), (30, 150, 140), (4, 4, 5), "LPS"))
    assert degrees_between(sagittal_normal(coarse(image, 8.0)), left) < 2


def test_what_is_usual_does_not_draw_the_plane_upright():
    """Ribs round as a ring say little of a roll, and what is usual alone moved the plane by a degree."""
    image, left = lying(30)
    assert degrees_between(sagittal_normal(coarse(image, 8.0)), left) < 0.5


@pytest.mark.parametrize(("fixed", "moving"), [(20, 20), (24, 10), (-8, -20), (15, 0)])
def test_half_way_the_patient_lies_upright(fixed, moving):
    scans = Pair(fixed=lying(fixed)[0], moving=lying(moving)[0])
    lefts = Pair(fixed=sagittal_normal(coarse(scans.fixed, 8.0)), moving=sagittal_normal(coarse(scans.moving, 8.0)))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", moving - fixed, degrees=True).as_matrix()
    to = half_way(affine, lefts)
    np.testing.assert_allclose(to.moving @ np.linalg.inv(to.fixed), affine, atol=1e-9)
    for matrix, roll in ((to.fixed, fixed), (to.moving, moving)):
        expected = Rotation.from_euler("z", roll, degrees=True).as_matrix()
        np.testing.assert_allclose(matrix[:3, :3], expected, atol=np.radians(1))

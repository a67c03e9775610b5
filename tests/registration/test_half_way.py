import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mics.registration.half_way import half_way
from mics.registration.pair import Pair

turns = st.tuples(*[st.floats(-25, 25)] * 3).filter(lambda degrees: np.linalg.norm(degrees) < 44)
stretches = st.tuples(*[st.floats(0.7, 1.4)] * 3)
shifts = st.tuples(*[st.floats(-1000, 1000)] * 3)


def affine_of(turn, stretch=(1, 1, 1), shift=(0, 0, 0)):
    """A stretch along the axes and then a turn about the axis ``turn`` by its length in degrees."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn, degrees=True).as_matrix() * stretch
    matrix[:3, 3] = shift
    return matrix


@given(turns, stretches, shifts)
def test_from_one_scan_to_the_other_it_is_the_affine_and_either_bears_the_same(turn, stretch, shift):
    affine = affine_of(turn, stretch, shift)
    found = half_way(affine)
    np.testing.assert_allclose(found.moving @ np.linalg.inv(found.fixed), affine, atol=1e-8)
    np.testing.assert_allclose(found.moving @ found.fixed, np.eye(4), atol=1e-8)


@given(turns, stretches, shifts)
def test_exchanging_the_scans_exchanges_the_matrices(turn, stretch, shift):
    affine = affine_of(turn, stretch, shift)
    one, other = half_way(affine), half_way(np.linalg.inv(affine))
    np.testing.assert_allclose(one.fixed, other.moving, atol=1e-8)
    np.testing.assert_allclose(one.moving, other.fixed, atol=1e-8)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 0, -1), (0.6, 0, 0.8), (2 / 3, 1 / 3, 2 / 3)])
@pytest.mark.parametrize("stretch", [(1, 1, 1), (0.9, 1.1, 1.2)])
def test_45_degrees_are_halved_whoever_is_fixed(axis, stretch):
    affine = affine_of(45 * np.array(axis), stretch, (10, 20, 30))
    one, other = half_way(affine), half_way(np.linalg.inv(affine))
    np.testing.assert_allclose(one.fixed, other.moving, atol=1e-8)
    assert np.abs(one.fixed - np.eye(4)).max() > 0.1


def test_it_is_half_of_a_turn_of_a_size_and_of_a_shift():
    np.testing.assert_allclose(half_way(affine_of((0, 0, 40))).moving, affine_of((0, 0, 20)), atol=1e-12)
    larger = half_way(affine_of((0, 0, 0), (1.44, 1.21, 1.0)))
    np.testing.assert_allclose(larger.moving, np.diag([1.2, 1.1, 1, 1]), atol=1e-12)
    np.testing.assert_allclose(larger.fixed, np.diag([1 / 1.2, 1 / 1.1, 1, 1]), atol=1e-12)
    moved = half_way(affine_of((0, 0, 0), shift=(10, -20, 300)))
    np.testing.assert_allclose(moved.moving[:3, 3], (5, -10, 150), atol=1e-12)


@pytest.mark.parametrize("affine", [affine_of((46, 0, 0)), affine_of((0, 180, 0)), np.diag([-1.0, 1, 1, 1])])
def test_half_way_of_a_large_turn_or_a_mirror_nobody_lies_as_the_networks_know_it(affine):
    found = half_way(affine)
    np.testing.assert_array_equal(found.fixed, np.eye(4))
    np.testing.assert_array_equal(found.moving, affine)


def test_without_an_affine_it_is_both_scans_own_space():
    found = half_way(np.eye(4))
    np.testing.assert_array_equal(found.fixed, np.eye(4))
    np.testing.assert_array_equal(found.moving, np.eye(4))


@given(turns, stretches, st.floats(-40, 40), st.floats(-40, 40))
def test_turned_upright_it_is_the_same_whoever_is_fixed(turn, stretch, roll, other):
    affine, (left, right) = affine_of(turn, stretch), (affine_of((0, 0, degrees))[:3, 0] for degrees in (roll, other))
    one = half_way(affine, Pair(fixed=left, moving=right))
    exchanged = half_way(np.linalg.inv(affine), Pair(fixed=right, moving=left))
    np.testing.assert_allclose(one.moving @ np.linalg.inv(one.fixed), affine, atol=1e-8)
    np.testing.assert_allclose(one.fixed, exchanged.moving, atol=1e-8)
    np.testing.assert_allclose(one.moving, exchanged.fixed, atol=1e-8)


def test_one_patient_of_whom_it_is_known_tells_of_both():
    turn = affine_of((0, 0, 20))
    found = half_way(np.eye(4), Pair(fixed=None, moving=turn[:3, 0]))
    np.testing.assert_allclose(found.fixed, turn, atol=1e-12)
    np.testing.assert_allclose(found.moving, turn, atol=1e-12)


@pytest.mark.parametrize("degrees", [2.9, 0, -2.9])
def test_who_lies_nearly_upright_is_not_turned(degrees):
    left = affine_of((0, degrees, 0))[:3, 0]
    found = half_way(np.eye(4), Pair(fixed=left, moving=left))
    np.testing.assert_array_equal(found.fixed, np.eye(4))
    np.testing.assert_array_equal(found.moving, np.eye(4))

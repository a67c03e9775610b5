"""Mirrored patients, told by liver and spleen."""

import numpy as np
import pytest
import torch

from mics.data.phantom import network_grid, phantom
from mics.errors import InputError
from mics.organs import LIVER, SPLEEN
from mics.registration.laterality import check_laterality, liver_is_left
from mics.registration.register import register

SPACING = 8.0  # a voxel has half a millilitre


def maps(liver: slice, spleen: slice) -> torch.Tensor:
    organs = torch.zeros(1, 13, 20, 8, 8)
    organs[0, LIVER - 1, liver] = 0.9
    organs[0, SPLEEN - 1, spleen] = 0.9
    return organs


UPRIGHT = maps(slice(2, 8), slice(14, 18))


def test_the_liver_is_on_the_right() -> None:
    assert liver_is_left(UPRIGHT, SPACING) is False
    assert liver_is_left(UPRIGHT.flip(2), SPACING) is True


def test_scans_alike_are_taken_with_a_word_if_mirrored() -> None:
    assert check_laterality(organs_moving=UPRIGHT, organs_fixed=UPRIGHT, spacing_mm=SPACING) == []
    (message,) = check_laterality(organs_moving=UPRIGHT.flip(2), organs_fixed=UPRIGHT.flip(2), spacing_mm=SPACING)
    assert "left and right exchanged" in message


@pytest.mark.parametrize(("moving", "fixed", "role"), [(True, False, "moving"), (False, True, "fixed")])
def test_one_mirrored_scan_is_refused_by_name(moving: bool, fixed: bool, role: str) -> None:
    moving_maps, fixed_maps = (UPRIGHT.flip(2) if mirrored else UPRIGHT for mirrored in (moving, fixed))
    with pytest.raises(InputError, match=f"^The {role} scan"):
        check_laterality(organs_moving=moving_maps, organs_fixed=fixed_maps, spacing_mm=SPACING)


def test_without_a_spleen_in_view_nothing_is_said() -> None:
    unseen = maps(slice(2, 8), slice(0, 0))
    assert liver_is_left(unseen, SPACING) is None
    assert check_laterality(organs_moving=unseen, organs_fixed=UPRIGHT.flip(2), spacing_mm=SPACING) == []


def test_a_spleen_of_which_little_is_seen_tells_no_side() -> None:
    """A plane of it has 33 ml, and 40 are asked for."""
    assert liver_is_left(maps(slice(2, 8), slice(14, 15)), SPACING) is None
    assert liver_is_left(maps(slice(2, 8), slice(14, 16)), SPACING) is False


def test_what_the_network_only_guesses_at_says_nothing_of_a_header() -> None:
    guessed = torch.where(UPRIGHT > 0, 0.7, 0.0)
    assert liver_is_left(guessed.flip(2), SPACING) is True
    assert check_laterality(organs_moving=guessed.flip(2), organs_fixed=UPRIGHT, spacing_mm=SPACING) == []


def test_an_affine_that_mirrors_is_told_as_that() -> None:
    """The header is good, and advice to change it would be wrong."""
    fixed, moving = (phantom(number, network_grid(6.0)).image for number in (0, 1))
    with pytest.raises(InputError, match=r"^The affine mirrors the moving scan .* give an affine that does not mirror"):
        register(fixed, moving, affine=np.diag([-1.0, 1, 1, 1]), refine="none", model="mics-fast", device="cpu")

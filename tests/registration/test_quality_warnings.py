"""What a registration warns of: each message from its bound on, and not before."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mics.registration.summary import quality_warnings


def messages_for(*, scales=(1.0, 1.0, 1.0), shared=0.5, folds=(0.0, 0.0)):
    """The messages for an affine with these singular values, turned on both sides."""
    turns = [Rotation.from_euler("xyz", angles, degrees=True).as_matrix() for angles in ((10, 20, 30), (-40, 5, 12))]
    affine = np.eye(4)
    affine[:3, :3] = turns[0] @ np.diag(scales) @ turns[1]
    return quality_warnings(
        affine,
        {"field_of_view": {"shared_by_both": shared}},
        {"moving_to_fixed": folds[0], "fixed_to_moving": folds[1], "network_grid_moving_to_fixed": 1.0},
    )


def test_nothing_is_told_of_what_is_usual():
    assert messages_for(scales=(0.63, 1.0, 1.59), shared=0.25, folds=(1e-3, 1e-3)) == []


@pytest.mark.parametrize("scales", [(0.62, 1.0, 1.2), (0.9, 1.0, 1.61)])
def test_an_affine_that_scales_more_than_adults_differ(scales):
    (message,) = messages_for(scales=scales)
    assert message.startswith(f"The affine scales by {min(scales):.2f} to {max(scales):.2f}, which is much")
    assert "overview" in message


@pytest.mark.parametrize("scale", [0.61, 0.64, 1.59, 1.65])
def test_it_is_much_whichever_scan_is_fixed(scale):
    assert len(messages_for(scales=(scale,) * 3)) == len(messages_for(scales=(1 / scale,) * 3))


def test_little_in_common():
    (message,) = messages_for(shared=0.244)
    assert message.startswith("Both scans show only 24% of the region")


@pytest.mark.parametrize("folds", [(0.0012, 0.0), (0.0, 0.0012)])
def test_folds_in_either_direction(folds):
    assert messages_for(folds=folds) == ["The deformation folds at 0.12% of the voxels."]


def test_a_mirror_and_all_the_rest_at_once():
    messages = messages_for(scales=(-0.5, 1.0, 1.0), shared=0.1, folds=(0.5, 0.5))
    assert [message.split(":")[0][:22] for message in messages] == [
        "The affine mirrors the",
        "The affine scales by 0",
        "Both scans show only 1",
        "The deformation folds ",
    ]

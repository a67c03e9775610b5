"""MIND-SSC against sums written out at single voxels, and what it must not see."""

import itertools

import numpy as np
import pytest
import torch

from mics.losses.mind import mind_ssc

VOLUME = torch.rand(1, 1, 9, 8, 10, generator=torch.Generator().manual_seed(0))


def written_out(volume: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
    """The descriptor at one place (Heinrich et al. 2013, equations 1 and 2), cubes of three voxels; sorted."""
    padded = np.pad(volume, 2, mode="edge")
    faces = [np.array(step) for step in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]

    def patch(offset: np.ndarray) -> np.ndarray:
        x, y, z = np.array(place) + 2 + offset
        return padded[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2]

    pairs = [(a, b) for a, b in itertools.combinations(faces, 2) if np.linalg.norm(a - b) < 1.9]
    distances = np.array([np.mean((patch(a) - patch(b)) ** 2) for a, b in pairs])
    distances -= distances.min()
    return np.sort(np.exp(-distances / distances.mean()))


@pytest.mark.parametrize("place", [(4, 4, 4), (0, 0, 0), (8, 3, 9)])
def test_is_what_the_formula_says(place: tuple[int, int, int]) -> None:
    found = mind_ssc(VOLUME)[0, :, *place].numpy()
    np.testing.assert_allclose(np.sort(found), written_out(VOLUME[0, 0].numpy().astype(float), place), rtol=1e-4)


def test_twelve_channels_in_the_volume_s_own_extent() -> None:
    assert mind_ssc(VOLUME).shape == (1, 12, 9, 8, 10)


def test_brightness_and_contrast_do_not_matter() -> None:
    torch.testing.assert_close(mind_ssc(0.3 + 0.5 * VOLUME), mind_ssc(VOLUME), rtol=1e-3, atol=1e-4)


def test_faint_noise_has_hardly_a_structure() -> None:
    """A thousandth of the window wide: all twelve values near one."""
    assert mind_ssc(0.5 + 0.001 * VOLUME).min() > 0.95

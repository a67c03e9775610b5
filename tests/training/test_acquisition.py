"""What a scanner makes of a body, against scipy and hand-made cases."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mics.image.hu import AIR_HU
from mics.training.acquisition import Acquisition, ScannerFieldOfView, noise_profile, unseen_as_air
from mics.training.recipe import Augmentation


def volume(shape: tuple[int, int, int] = (9, 8, 11)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32) * 100)[None, None]


def scanner(**changes: object) -> Acquisition:
    return Acquisition(**{"slices": 0.0, "kernel": 0.0, "noise": None, "view": None, **changes})


def test_thick_slices_are_weighted_means_over_three_slices():
    hu = volume()
    weights = np.array([0.4, 1, 0.4]) / 1.8
    expected = ndimage.correlate1d(hu[0, 0].numpy(), weights, axis=2, mode="nearest")
    np.testing.assert_allclose(scanner(slices=0.4).apply(hu, 4.0)[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kernel", [-0.7, 1.0])
def test_a_kernel_adds_or_takes_away_what_a_mean_takes_away(kernel):
    hu = volume()
    values = hu[0, 0].numpy()
    expected = values + kernel * (values - ndimage.uniform_filter(values, 3))
    inside = (slice(1, -1),) * 3
    found = scanner(kernel=kernel).apply(hu, 4.0)[0, 0].numpy()
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)
    assert (found.std() > values.std()) == (kernel > 0)


def test_noise_grows_with_the_diameter_as_the_photons_become_fewer():
    hu = torch.full((1, 1, 60, 60, 3), AIR_HU)
    x, y = np.ogrid[:60, :60]
    for z, radius in enumerate((10, 15, 20)):
        hu[0, 0, :, :, z][torch.from_numpy((x - 30) ** 2 + (y - 30) ** 2 <= radius**2)] = 40
    profile = noise_profile(hu, 5.0).flatten().numpy()
    # Diameters of 100, 150 and 200 mm: every 50 mm of water let exp(-50 * .019) of the photons through.
    np.testing.assert_allclose(profile[1:] / profile[:-1], math.exp(50 * 0.019 / 2), rtol=0.02)
    flat = torch.full((1, 1, 60, 60, 3), 40.0)
    noisy = scanner(noise=torch.randn(1, 1, 60, 60, 3, generator=torch.Generator().manual_seed(0)) * 10).apply(
        flat, 5.0
    )
    assert (noisy - flat).std() == pytest.approx(10, rel=0.03)


def test_beyond_the_field_of_view_there_is_air():
    view = ScannerFieldOfView(centre=(4.0, 3.0), radius=2.5, bottom=2.0, top=7.0)
    shown = view.shown((0, 0, 0), (9, 8, 11), torch.device("cpu"))
    x, y, z = np.indices((9, 8, 11))
    expected = (np.hypot(x - 4, y - 3) <= 2.5) & (z >= 2) & (z <= 7)
    np.testing.assert_array_equal(shown.numpy(), expected)
    part = view.shown((3, 1, 4), (5, 6, 7), torch.device("cpu"))
    np.testing.assert_array_equal(part.numpy(), expected[3:8, 1:7, 4:11])
    hu = unseen_as_air(volume(), shown)
    np.testing.assert_array_equal(hu[0, 0].numpy()[~expected], AIR_HU)
    np.testing.assert_array_equal(hu[0, 0].numpy()[expected], volume()[0, 0].numpy()[expected])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31))
def test_a_random_field_of_view_shows_most_of_the_body(seed):
    view = ScannerFieldOfView.random((96, 80, 128), torch.Generator().manual_seed(seed))
    shown = view.shown((0, 0, 0), (96, 80, 128), torch.device("cpu")).numpy()
    assert shown[48, 40].sum() >= 0.6 * 128 - 1
    assert shown[38:58, 30:50].any(2).all()
    assert shown[..., 0].any() or shown[..., -1].any()


def test_nothing_is_drawn_where_nothing_is_asked_for():
    generator = torch.Generator().manual_seed(3)
    assert Acquisition.random((9, 8, 11), (9, 8, 11), Augmentation(noise=5), generator) == scanner()
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


def test_doses_differ_by_factors_and_the_settings_are_their_limits():
    settings_ = Augmentation(thick_slices=1, kernel=1, dose_noise=40, field_of_view=1)
    drawn = [
        Acquisition.random((40, 40, 40), (12, 12, 12), settings_, torch.Generator().manual_seed(seed))
        for seed in range(200)
    ]
    deviations = np.array([float(one.noise.float().std()) for one in drawn if one.noise is not None])
    assert len(deviations) == 200
    assert 3.5 < deviations.min() < 6 < 30 < deviations.max() < 43
    assert np.median(deviations) == pytest.approx(40 / math.sqrt(10), rel=0.25)
    assert all(0 <= one.slices <= 1 and -0.7 <= one.kernel <= 1 and one.view is not None for one in drawn)

import torch

from mics.image.intensity import WINDOWS, hu_windows


def test_each_channel_is_one_window_in_the_papers_order():
    # the bounds of abdomen (400, 40), lung (1400, -500) and bone (1000, 400), by hand
    hu = torch.tensor([-3000.0, -1200, -500, -160, -100, 40, 200, 240, 400, 900, 3000]).view(1, 1, -1, 1, 1)
    expected = torch.tensor(
        [
            [0, 0, 0, 0, 0.15, 0.5, 0.9, 1, 1, 1, 1],
            [0, 0, 0.5, 1040 / 1400, 1100 / 1400, 1240 / 1400, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0.14, 0.3, 0.34, 0.5, 1, 1],
        ]
    ).view(1, 3, -1, 1, 1)
    assert list(WINDOWS) == ["abdomen", "lung", "bone"]
    torch.testing.assert_close(hu_windows(hu), expected)


def test_bounds_do_not_depend_on_the_volume():
    volume = torch.linspace(-200, 300, 64).view(1, 1, 4, 4, 4)
    brighter = torch.cat([volume, torch.full_like(volume, 3000)], dim=2)
    assert torch.equal(hu_windows(brighter)[:, :, :4], hu_windows(volume))


def test_values_beyond_the_trained_range_look_like_its_ends():
    hu = torch.tensor([-1000.0, -125, 275, 2000]).view(1, 1, 4, 1, 1)
    windows = hu_windows(hu, hu_range=(-125, 275))
    assert torch.equal(windows[:, :, 0], windows[:, :, 1])
    assert torch.equal(windows[:, :, 2], windows[:, :, 3])


def test_integer_volumes_and_batches():
    hu = torch.randint(-1000, 1000, (2, 1, 3, 4, 5), dtype=torch.int16)
    assert hu_windows(hu).shape == (2, 3, 3, 4, 5)
    assert hu_windows(hu).dtype == torch.float32

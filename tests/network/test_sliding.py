"""A whole volume in windows: covered, seamless, and what each window sees."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mics.network.sliding import sliding_windows


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(3, 14)] * 3), st.tuples(*[st.integers(2, 9)] * 3))
def test_a_function_of_the_voxel_alone_is_the_same_in_any_windows(
    shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    volume = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    found = sliding_windows(lambda part: torch.cat([part, part**2], dim=1), volume, size)
    torch.testing.assert_close(found, torch.cat([volume, volume**2], dim=1))


def test_windows_have_the_given_size_and_overlap() -> None:
    seen = []

    def look(part: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(part.shape[2:]), float(part.min()), float(part.max())))
        return part

    volume = torch.arange(128.0).expand(1, 1, 4, 23, 128)
    # Along the second axis a little larger than the window.
    sliding_windows(look, volume, (96, 20, 80))
    assert seen == [((4, 23, 80), 0, 79), ((4, 23, 80), 48, 127)]


def test_the_middle_of_a_window_counts_more_than_its_border() -> None:
    """Each window says its own mean: where two overlap, the nearer middle wins."""
    volume = torch.zeros(1, 1, 2, 2, 12)
    volume[..., 6:] = 1
    found = sliding_windows(lambda part: part.mean().expand(part.shape), volume, (2, 2, 8))[0, 0, 0, 0]
    assert torch.all(found.diff() >= 0)
    assert found[4] < 0.5 < found[7]


def test_without_a_size_or_in_a_small_volume_there_is_one_window() -> None:
    volume = torch.rand(1, 1, 3, 4, 5)
    for size in (None, (8, 8, 8)):
        assert sliding_windows(lambda part: part.mean().expand(part.shape), volume, size).unique().numel() == 1

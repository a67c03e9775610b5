"""The mean shape: the same from whomever one begins with, and nobody's own."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mics import Grid, Image, Transform
from mics.atlas.mean_shape import in_mean_frame, inverse, log_jacobian, mean_displacement, root_mean_square
from mics.atlas.template_rounds import Round, converged, errs_alike

GRID = Grid((26, 24, 22), (4.0, 4.0, 4.0), (-50.0, -46.0, -42.0))
INNER = (slice(6, -6),) * 3


def subject(seed):
    """Where each point of a common body lies in one subject, as a displacement of up to 6 mm or so."""
    rng = np.random.default_rng(seed)
    bumps = np.stack([gaussian_filter(rng.normal(size=GRID.size), 5, mode="constant") for _ in range(3)], axis=-1)
    return Transform((bumps / np.abs(bumps).max() * 6).astype(np.float32), GRID)


def to_everyone(subjects, first):
    """Perfect registrations of one subject to everyone: out of the first, into the other."""
    out = inverse(subjects[first])
    return [out.compose(one) for one in subjects]


def unbiased(transforms):
    """As a round does."""
    back = inverse(mean_displacement(transforms))
    return [back.compose(transform) for transform in transforms]


def test_what_is_taken_out_leaves_a_mean_displacement_of_zero():
    transforms = to_everyone([subject(seed) for seed in range(4)], first=0)
    assert root_mean_square(mean_displacement(transforms).displacement_mm[INNER]) > 1
    left = mean_displacement(unbiased(transforms))
    assert root_mean_square(left.displacement_mm[INNER]) < 0.05
    assert np.abs(left.displacement_mm[INNER]).max() < 0.3


def test_whoever_one_begins_with_the_template_is_the_same():
    """Seen by what it shows: the average of everyone's picture, each through its transform."""
    subjects = [subject(seed) for seed in range(4)]
    picture = Image(gaussian_filter(np.random.default_rng(9).normal(size=GRID.size), 3).astype(np.float32) * 3000, GRID)
    pictures = [inverse(one).transform_image(picture, outside=0) for one in subjects]

    def average(start):
        transforms = unbiased(to_everyone(subjects, start))
        return np.mean(
            [t.transform_image(p, outside=0).array for t, p in zip(transforms, pictures, strict=True)], axis=0
        )

    begun_with_first, begun_with_other = average(0)[INNER], average(3)[INNER]
    contrast = begun_with_first.std()
    assert np.abs(begun_with_first - begun_with_other).mean() < 0.03 * contrast
    biased = np.mean(
        [t.transform_image(p, outside=0).array for t, p in zip(to_everyone(subjects, 3), pictures, strict=True)],
        axis=0,
    )
    assert np.abs(begun_with_first - biased[INNER]).mean() > 0.1 * contrast


def test_affines_in_the_mean_frame_do_not_know_whose_frame_they_were_given_in():
    rng = np.random.default_rng(0)
    bodies = []
    for _ in range(4):
        matrix = np.eye(4)
        matrix[:3] += rng.normal(0, 0.1, (3, 4)) * [1, 1, 1, 100]
        bodies.append(matrix)
    frames = [
        in_mean_frame({str(k): body @ np.linalg.inv(first) for k, body in enumerate(bodies)})
        for first in (bodies[0], bodies[2])
    ]
    for name in frames[0]:
        np.testing.assert_allclose(frames[0][name], frames[1][name], atol=1e-9)
    np.testing.assert_allclose(np.mean(list(frames[0].values()), axis=0), np.eye(4), atol=1e-12)


def test_the_log_jacobian_of_a_scaling_is_that_of_its_volume():
    scaled = Transform((GRID.points() * 0.1).astype(np.float32), GRID)
    np.testing.assert_allclose(log_jacobian(scaled), 3 * np.log(1.1), atol=1e-4)
    folded = Transform((GRID.points() * -2).astype(np.float32), GRID)
    np.testing.assert_allclose(log_jacobian(folded), np.log(0.01), atol=1e-4)


@pytest.mark.parametrize(
    ("drifts", "spreads", "stands", "done"),
    [
        ((7.8, 4.5, 4.1, 4.1), (198, 196, 196, 196), True, False),
        ((7.8, 4.5, 2.6), (198, 196, 196), False, False),
        ((7.8, 4.5, 4.4), (198, 190, 170), False, False),
        ((7.8, 0.41, 0.4), (198, 196, 196), False, True),
        ((7.8,), (198,), False, False),
    ],
)
def test_a_mean_shape_that_moves_alike_in_every_round_is_no_reason_for_more(drifts, spreads, stands, done):
    rounds = enumerate(zip((None, *drifts), (230, *spreads), strict=True))
    table = [Round(number, 3, drift, 0.0, spread, 17.0, None) for number, (drift, spread) in rounds]
    assert (errs_alike(table), converged(table)) == (stands, done)

"""What cannot be registered is told in one sentence, before anything long begins."""

import numpy as np
import pytest

from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration import memory
from mics.registration.register import register
from mics.registration.stages import affine, resampling


def test_masks_without_refinement_are_refused(patients, options, label_map, known_map):
    with pytest.raises(InputError, match='for the refinement: use `refine="fast"` or `refine="accurate"`'):
        register(**patients, **options, fixed_exclude=label_map(known_map.grid, known_map.to_moving))


def test_an_unknown_refinement_is_refused(patients, options):
    with pytest.raises(InputError, match=r"no refinement called 'best'; choose none, fast or accurate"):
        register(**patients, **{**options, "refine": "best"})


def flat(image):
    return Image(np.zeros_like(image.array), image.grid)


def hole(image):
    return Image(np.where(image.array > 300, np.nan, image.array), image.grid)


def elsewhere(image):
    return Image(image.array, Grid(image.grid.size, image.grid.spacing, (0.0, 0.0, 9000.0), image.grid.direction))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cuda:7"}, "cuda:7"),
        ({"device": "abacus"}, "abacus"),
        ({"model": "no-such-model"}, "no-such-model"),
        ({"steps": 0}, "at least one step"),
        ({"steps": 10**21}, "at most 100 steps"),
        ({"affine": "no_such_file.tfm"}, "no_such_file.tfm"),
        ({"fixed": flat}, "fixed scan is constant"),
        ({"moving": hole}, "moving scan holds NaN"),
        ({"moving_labels": elsewhere}, "moving label map is on another grid"),
        ({"fixed": elsewhere, "fixed_labels": elsewhere}, "do not overlap"),
        ({"fixed": "no_such_scan.nii.gz"}, "no_such_scan.nii.gz"),
    ],
    ids=lambda change: "-".join(change) if isinstance(change, dict) else "",
)
def test_bad_input_is_one_sentence_before_anything_long_begins(monkeypatch, patients, options, change, message):
    monkeypatch.setattr(resampling, "windows", lambda *arguments: pytest.fail("the work has begun"))
    arguments = {**patients, **options}
    arguments |= {key: value(arguments[key]) if callable(value) else value for key, value in change.items()}
    with pytest.raises(InputError, match=message) as error:
        register(**arguments)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_a_segmentation_model_cannot_register(patients, options, tiny_segmentation):
    with pytest.raises(InputError, match="tiny-organs is for segmentation"):
        register(**patients, **{**options, "model": tiny_segmentation})


def test_too_little_memory_is_told_before_anything_long_begins(monkeypatch, patients, options):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 1e6)
    monkeypatch.setattr(affine, "register_affine", lambda **arguments: pytest.fail("the work has begun"))
    with pytest.raises(InputError, match=r"needs .* GB of memory"):
        register(**patients, **{**options, "affine": "ants"})

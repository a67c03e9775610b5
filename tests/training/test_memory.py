"""Whether a training fits into memory, against what torch's own profiler sees allocated in a real step."""

import numpy as np
import pytest
import torch
from torch.profiler import profile

from mics.errors import InsufficientMemoryError
from mics.training import memory
from mics.training.cache import CachedCase
from mics.training.datamodule import Cases
from mics.training.memory import estimate, require_memory
from mics.training.networks import network_training
from mics.training.recipe import load_recipe
from mics.training.run import train

GB = 1e9


def cases_of(name, *settings, size=(32, 32, 32)):
    """Two subjects a split, of air; memory does not depend on what they hold."""
    recipe = load_recipe(name, [f"crop={list(size)}", *settings])
    hu, labels = np.zeros(size, np.int16), np.zeros(size, np.uint8)
    maps = None if recipe.organ_maps is None else np.zeros((13, *size), np.uint8)
    subjects = [CachedCase(f"{part}{n}", part, hu, labels, maps=maps) for part in ("train", "val") for n in (0, 1)]
    return Cases(subjects, recipe)


def allocated(cases):
    """Bytes at the fullest moment of a step with values, and of its batch, weights and optimiser, by torch's profiler."""
    recipe, size = cases.recipe, cases.training[0].shape
    module = network_training(recipe)
    shape = (recipe.batch_size, cases.members)
    batch = {"hu": torch.zeros(*shape, 1, *size), "labels": torch.zeros(*shape, 1, *size, dtype=torch.uint8)}
    batch["annotated"] = torch.ones(*shape, 13, dtype=torch.bool)
    if recipe.organ_maps is not None:
        batch["maps"] = torch.zeros(*shape, 13, *size)
    with profile(profile_memory=True) as seen:
        module.loss(batch)[0].backward()
    changes = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    peak = np.cumsum([event.nbytes() for event in changes]).max()
    weights = sum(weight.nbytes for weight in module.parameters())
    return peak + sum(tensor.nbytes for tensor in batch.values()) + 4 * weights


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("phantom-small", (), marks=pytest.mark.nightly),
        ("phantom-small", ("batch_size=1", "recompute_activations=true")),
        ("organs-small", ("batch_size=2",)),
        pytest.param("lapirn-small", (), marks=pytest.mark.nightly),
    ],
)
def test_the_estimate_is_what_a_step_allocates_to_a_fifth(name, settings):
    cases = cases_of(name, *settings)
    assert estimate(cases) == pytest.approx(allocated(cases), rel=0.2)


def test_what_takes_more_memory_is_estimated_to_take_more():
    one, two, three = (
        estimate(cases_of("organs-small", "precision=float32", size=(length, 32, 32))) for length in (32, 64, 96)
    )
    assert three - two == pytest.approx(two - one, rel=0.05)
    assert two > one
    assert estimate(cases_of("organs-small", "precision=bfloat16")) < one


def test_a_training_that_does_not_fit_is_refused_with_settings_that_do(monkeypatch):
    cases = cases_of("organs-small", "batch_size=4")
    need, one = estimate(cases), estimate(cases_of("organs-small", "batch_size=1", "recompute_activations=true"))
    for left, advice in (
        (0.999 * need, r"set recompute_activations=true, which needs"),
        (0.9 * one, "give smaller crops"),
    ):
        monkeypatch.setattr(memory, "available_host_bytes", lambda left=left: left)
        with pytest.raises(
            InsufficientMemoryError,
            match=rf"needs {need / GB:.1f} GB of memory, and {left / GB:.1f} GB are left: {advice}",
        ):
            require_memory(cases, 1)
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 1.001 * need)
    require_memory(cases, 1)
    with pytest.raises(InsufficientMemoryError):
        require_memory(cases, 2)  # processes of one machine share its memory


def test_nothing_is_written_by_a_training_that_does_not_fit(monkeypatch, cases, recipe, tmp_path):
    monkeypatch.setattr(memory, "available_host_bytes", lambda: 1e6)
    with pytest.raises(InsufficientMemoryError):
        train(recipe(), cases, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_callers_random_numbers_stay_as_they_were():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    estimate(cases_of("organs-small"))
    assert torch.equal(torch.rand(2), expected)

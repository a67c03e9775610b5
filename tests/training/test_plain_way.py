"""The fast training step has the loss and the gradients of the same network trained the plain way."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from mics.training.cache import CachedCase
from mics.training.recipe import Recipe

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.training.registration import RegistrationTraining
from mics.training.samples import RandomSamples, collate


def test_the_fast_step_equals_the_plain_one(
    benchmark_script: Callable[[str], ModuleType], recipe: Callable[..., Recipe], make_case: Callable[..., CachedCase]
) -> None:
    torch.manual_seed(0)
    module = RegistrationTraining(recipe(recompute_activations=True))
    with torch.no_grad():
        for head in (module.network.gradient_head, module.network.offset_head):
            head.weight.mul_(100)  # so that the second step starts somewhere else
    samples = RandomSamples([make_case(f"subject{i}", i) for i in range(4)], 2, module.recipe)
    batch = collate([samples[0], samples[1]])
    fast = module.loss(batch)[0]
    slow = benchmark_script("training_step").plain_loss(
        module.network, module.volumes(batch, 0), module.volumes(batch, 1), module.recipe.steps, module.recipe.losses
    )
    assert fast.item() == pytest.approx(slow.item(), rel=1e-5)
    weights = list(module.network.parameters())
    for ours, theirs in zip(torch.autograd.grad(fast, weights), torch.autograd.grad(slow, weights), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)

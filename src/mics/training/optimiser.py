"""Adam and its schedule, as a recipe says."""

import math
from collections.abc import Iterator

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter

from mics.training.recipe import Recipe


def configure(parameters: Iterator[Parameter], recipe: Recipe) -> OptimizerLRScheduler:
    """What Lightning's ``configure_optimizers`` returns: Adam, and the cosine decay per iteration if asked for."""
    optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate)
    if not recipe.decay:
        return {"optimizer": optimiser}
    # Lightning takes a step at the end of every epoch, full or not.
    steps = recipe.epochs * math.ceil(recipe.iterations_per_epoch / recipe.accumulate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=recipe.learning_rate / 100)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

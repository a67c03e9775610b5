"""A loss that is no longer a number stops the run, and says where it happened."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mics.errors import RunError


def require_finite(losses: Mapping[str, Tensor], step: int, cases: Callable[[], Sequence[str]]) -> None:
    """Raise InputError, with the step, the names of the cases and the terms, where any of ``losses`` is NaN or infinite.

    It is raised before the weights are touched, and checkpoints are written after whole epochs: the last one is good.
    """
    if bool(torch.stack([value.detach().isfinite().all() for value in losses.values()]).all()):
        return
    wrong = ", ".join(name for name, value in losses.items() if not bool(value.isfinite().all()))
    raise RunError(
        f"The loss is no longer a finite number at step {step} with {' and '.join(cases())}: {wrong}. The run has stopped, and "
        "its last checkpoint is from before; start again from it (`initial`) with a lower learning rate, or look at those cases.",
        option="initial",
    )


def require_finite_weights(network: nn.Module, epoch: int) -> None:
    """Raise InputError where a step of the optimiser has left weights that are no numbers; before the epoch's checkpoint."""
    if not all(bool(weights.isfinite().all()) for weights in network.parameters()):
        raise RunError(
            f"Weights of the network have become NaN or infinite in epoch {epoch}. The run has stopped, and its last checkpoint "
            "is from before; start again from it (`initial`) with a lower learning rate.",
            option="initial",
        )

"""A loaded registration model asked about a pair: every step and both directions in one call, which can be compiled."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor

from mics.network.pair import Prediction, RegistrationNetwork
from mics.network.precision import half_precision
from mics.network.weights import LoadedModel

Both = tuple[Tensor, Tensor]
"""One tensor for the moving scan (A) or the direction A→B, one for the fixed scan (B) or B→A."""

Call = Callable[[Tensor, Tensor], Both]

_FIELD_MM = 4.0


def displacements(model: LoadedModel, a: Tensor, b: Tensor, *, steps: int) -> Both:
    """Both displacements of a pair. Where the model's card says so, averaged over the pair and its mirror image.

    Args:
        model: A registration model.
        a: What the network takes of the moving volume (:meth:`RegistrationNetwork.network_input`), ``(B, channels, X, Y, Z)``,
            on the network's device.
        b: The same of the fixed one.
        steps: Of the network.

    Returns:
        A→B and B→A, ``(B, 3, X, Y, Z)`` each, in voxels of about 4 mm (or the model's, where those are finer).
    """
    return _in_inference(_call(model, steps))(a, b)


def compiled(model: LoadedModel, *, steps: int) -> Call:
    """:func:`displacements` in so many steps, from the volumes to the result one compiled call, for many pairs of one grid.

    The first pair of every grid waits until the call is compiled for it, a minute or more (``torch.compile``; on a CPU that
    needs a C++ compiler). The result is the same up to rounding.

    Args:
        model: A registration model.
        steps: Of the network.

    Returns:
        A function of ``a`` and ``b``, as :func:`displacements`.
    """
    return _in_inference(torch.compile(_call(model, steps), fullgraph=True, dynamic=False))


def _call(model: LoadedModel, steps: int) -> Call:
    """What is asked of the network, with all that its card says looked up."""
    network = cast(RegistrationNetwork, model.network)
    predict = network.flip_averaged if model.card.averages_flips else network
    # A network that predicts velocities has them integrated on a finer grid: interpolation spoils the inverse less there.
    return partial(_predicted, predict, steps, max(1, round(model.spacing_mm / _FIELD_MM)))


def _predicted(predict: Callable[..., Prediction], steps: int, finer: int, a: Tensor, b: Tensor) -> Both:
    return predict(a, b, steps=steps).displacements(finer=finer)


def _in_inference(call: Call) -> Call:
    """Without gradients, convolutions in half precision where that pays."""

    def in_inference(a: Tensor, b: Tensor) -> Both:
        with torch.no_grad(), half_precision(a.device):
            return call(a, b)

    return in_inference

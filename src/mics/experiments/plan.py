"""What a table or figure of the paper is made of: networks, and evaluations of them, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ELEVEN_ORGANS = tuple(range(1, 12))
"""All but the adrenal glands."""

GAMMA, DELTA, EPSILON = 0.1, 1e-2, 10.0
"""The paper's weights of Table 4, with α = β = 1."""


@dataclass(frozen=True)
class PaperNetwork:
    """A network of the paper: trained with ``steps`` steps and the paper's weights γ, δ, ε (α = β = 1), in two stages.

    ``organs``: ids of the organs whose labels supervise the pretraining, ``()`` for none of them, None for no pretraining
    at all. The fine-tuning has the same weights and all organs. ``long_pretraining``: twice the recipe's epochs of pretraining,
    the paper's 48 instead of 24 hours.

    ``kind``: ``mics``, or ``lapirn`` for the network of Mok and Chung 2020, which has a recipe of its own at every budget, with
    its own losses, and one stage, on the fine-tuning's data.
    """

    steps: int
    gamma: float = GAMMA
    delta: float = DELTA
    epsilon: float = EPSILON
    organs: tuple[int, ...] | None = ELEVEN_ORGANS
    long_pretraining: bool = False
    kind: Literal["mics", "lapirn"] = "mics"

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of its training, in their order; each is a recipe of the budget."""
        if self.kind != "mics":
            return (self.kind,)
        return ("finetune",) if self.organs is None else ("pretrain", "finetune")

    @property
    def name(self) -> str:
        """Name of its cell and folder: ``steps2-gamma0.1-delta0.01-epsilon10-organs11``."""
        if self.kind != "mics":
            return self.kind
        organs = "none" if self.organs is None else str(len(self.organs))
        weights = f"gamma{self.gamma:g}-delta{self.delta:g}-epsilon{self.epsilon:g}"
        return f"steps{self.steps}-{weights}-organs{organs}" + ("-long" if self.long_pretraining else "")

    def weights(self, reference: Mapping[str, float]) -> dict[str, float]:
        """The recipe's own weights where the paper has those of Table 4, and by the paper's factors away from it.

        A recipe for a coarser grid or fewer iterations has other weights at the same working point; the paper's recipes have
        the paper's, so that there these are the paper's numbers. Weights of other losses stay the recipe's.
        """
        factors = {"gradient": self.gamma / GAMMA, "jacobian": self.delta / DELTA, "inverse": self.epsilon / EPSILON}
        return {name: weight * factors.get(name, 1.0) for name, weight in reference.items()}


@dataclass(frozen=True)
class Measurement:
    """A network on the validation pairs, registered in ``steps`` steps."""

    network: PaperNetwork
    steps: int

    @property
    def name(self) -> str:
        """Name of its cell and file."""
        return f"{self.network.name}-inference{self.steps}"


def trained_and_used(network: PaperNetwork) -> Measurement:
    """The network with as many steps as it was trained with."""
    return Measurement(network, network.steps)

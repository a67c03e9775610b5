"""What the training of either network has in common."""

import math
from collections.abc import Mapping

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from mics.errors import RunError
from mics.network.blocks import recompute_activations
from mics.network.kinds import build
from mics.network.precision import mend_gradients_of_few_planes
from mics.network.presets import preset
from mics.training.datamodule import Cases
from mics.training.divergence import require_finite, require_finite_weights
from mics.training.recipe import Recipe
from mics.training.samples import Sample


class Averages:
    """Means of named values over a validation; a value need not be there for every case."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.sums = torch.zeros(len(names), 2)
        """Sum and count of each value."""

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """The values of one case."""
        for name, value in values.items():
            self.sums[self.names.index(name)] += torch.tensor([float(value), 1.0])

    def means(self, sums: Tensor) -> dict[str, float]:
        """Means of :attr:`sums`, or of those of several devices added up; values that no case had are left out."""
        return {name: total / count for name, (total, count) in zip(self.names, sums.tolist(), strict=True) if count}


class NetworkTraining(lightning.LightningModule):
    """A network and its recipe: Adam, and a validation averaged over all cases, whichever device sees them.

    ``measured`` are the names of what :meth:`validation_step` adds to :attr:`averages`; ``val/loss`` chooses the epoch.
    """

    def __init__(self, recipe: Recipe, measured: list[str]) -> None:
        super().__init__()
        self.recipe = recipe
        self.save_hyperparameters({"recipe": recipe.model_dump(mode="json")})
        self.network = build(preset(recipe.preset))
        recompute_activations(self.network, recipe.recompute_activations)
        mend_gradients_of_few_planes(self.network)
        self.averages = Averages(measured)

    @property
    def optimiser_steps(self) -> int:
        """Number of optimiser steps of the whole run."""
        # Lightning takes a step at the end of every epoch, full or not.
        return self.recipe.epochs * math.ceil(self.recipe.iterations_per_epoch / self.recipe.accumulate)

    def on_train_epoch_start(self) -> None:
        """Whether the epoch that begins is validated at its end: every n-th is, and the last."""
        last = self.current_epoch + 1 == self.trainer.max_epochs
        self.trainer.check_val_every_n_epoch = 1 if last else self.recipe.validate_every

    def on_validation_epoch_start(self) -> None:
        """Nothing is measured yet; weights that are no numbers are not worth it."""
        require_finite_weights(self.network, self.current_epoch)
        self.averages.sums.zero_()

    def on_validation_epoch_end(self) -> None:
        """Log the means over the cases of all devices."""
        sums = self.trainer.strategy.reduce(self.averages.sums.to(self.device), reduce_op="sum")
        means = self.averages.means(torch.as_tensor(sums))
        if "val/loss" not in means:
            raise RunError(
                "No case of the validation shows an organ, so that no epoch is better than another: hold out others."
            )
        require_finite({"val/loss": torch.tensor(means["val/loss"])}, self.global_step, lambda: ["the validation"])
        for name, value in means.items():
            self.log(name, value, prog_bar=name in ("val/loss", "val/dice"), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, and the cosine decay per iteration if the recipe asks for it."""
        recipe = self.recipe
        optimiser = torch.optim.Adam(self.network.parameters(), lr=recipe.learning_rate)
        if not recipe.decay:
            return {"optimizer": optimiser}
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimiser, self.optimiser_steps, eta_min=recipe.learning_rate / 100
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def case_names(self, batch: Sample, split: str = "train") -> list[str]:
        """Names of the subjects in a batch of that split."""
        data: Cases = self.trainer.datamodule  # type: ignore[attr-defined]
        cases = data.training if split == "train" else data.validation
        return [cases[place].name for place in batch["case"].flatten().tolist()]

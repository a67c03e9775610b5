"""Training of the organ segmentation network."""

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional

from mics.data.organs import ORGAN_NAMES
from mics.image.intensity import hu_windows
from mics.losses.segmentation import dice_loss, marginal_logits, one_hot
from mics.network.blocks import recompute_activations
from mics.network.presets import preset
from mics.network.segmentation import OrganSegmentation
from mics.training.datamodule import case_names
from mics.training.divergence import require_finite
from mics.training.optimiser import configure
from mics.training.recipe import Recipe
from mics.training.samples import Sample


class SegmentationTraining(lightning.LightningModule):
    """Soft Dice plus cross-entropy in which rare organs weigh more."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.save_hyperparameters({"recipe": recipe.model_dump(mode="json")})
        self.network = OrganSegmentation(preset(recipe.preset))
        recompute_activations(self.network, recipe.recompute_activations)

    def training_step(self, batch: Sample, _: int) -> Tensor:
        """One random case; the loss counts the organs that the case annotates and shows."""
        labels = batch["labels"][:, 0]
        logits = self.network(hu_windows(batch["hu"][:, 0], self.recipe.hu_range))
        organs = self.network.config.organs
        truth = one_hot(labels, organs)
        present = truth.amax((2, 3, 4)) > 0
        dice = dice_loss(logits.softmax(1)[:, 1:], truth, present)
        counts = torch.bincount(labels.flatten(), minlength=organs + 1).float()
        # The fourth root lifts an adrenal gland against the liver without drowning the background.
        weights = (counts.sum() / counts.clamp_min(1)).pow(0.25) * (counts > 0)
        told = marginal_logits(logits, batch["annotated"][:, 0])
        entropy = functional.cross_entropy(told, labels[:, 0].long(), weight=weights)
        terms = {"dice_loss": dice, "cross_entropy": entropy}
        require_finite(terms, self.global_step, lambda: case_names(self.trainer, batch))
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, on_step=False, on_epoch=True)
        return dice + entropy

    def validation_step(self, batch: Sample, _: int) -> None:
        """Dice per organ of the hard prediction, and ``val/loss``, one minus their mean."""
        truth = batch["labels"][:, 0]
        windows = hu_windows(batch["hu"][:, 0], self.recipe.hu_range)
        predicted = self.network.probabilities(windows, self.recipe.crop).argmax(1, keepdim=True)
        trained = self.recipe.supervised_organs
        organs = tuple(ORGAN_NAMES) if trained is None else trained
        p, q = one_hot(predicted, organs), one_hot(truth, organs)
        present = q.amax((2, 3, 4)) > 0
        loss = dice_loss(p, q, present)
        self.log("val/loss", loss, prog_bar=True)
        self.log("val/dice", 1 - loss, prog_bar=True)
        for channel, organ in enumerate(organs):
            if present[0, channel]:
                self.log(f"val/dice_{organ:02d}", 1 - dice_loss(p[:, [channel]], q[:, [channel]]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam as the recipe says."""
        return configure(self.network.parameters(), self.recipe)

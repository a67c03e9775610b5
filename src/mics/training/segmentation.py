"""Training of the organ segmentation network."""

import torch
from torch import Tensor
from torch.nn import functional

from mics.image.intensity import hu_windows
from mics.losses.overlap import dice_loss, marginal_logits, one_hot
from mics.network.segmentation import Segmentation
from mics.organs import ORGAN_NAMES
from mics.training.divergence import require_finite
from mics.training.module import NetworkTraining
from mics.training.recipe import Recipe
from mics.training.samples import Sample

_SMOOTH_VOXELS = 1.0
"""Added to both sides of Dice's fraction, so that an organ the crop does not show has no loss where none is found."""


class SegmentationTraining(NetworkTraining):
    """Soft Dice over the organs that a case annotates, plus cross-entropy in which rare organs weigh more.

    An organ that is annotated and that the crop does not show counts too: what is called so there is wrong.
    """

    network: Segmentation

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, ["val/loss", "val/dice", *(f"val/dice_{organ:02d}" for organ in ORGAN_NAMES)])

    def training_step(self, batch: Sample, _: int) -> Tensor:
        """One batch of random cases."""
        loss, terms = self.loss(batch)
        require_finite(terms, self.global_step, lambda: self.case_names(batch))
        self.log_dict({f"train/{k}": v for k, v in terms.items()}, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def loss(self, batch: Sample) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and its terms, of the organs that the cases annotate, shown in the crop or not."""
        labels = batch["labels"][:, 0]
        logits = self.network(hu_windows(batch["hu"][:, 0], self.recipe.hu_range))
        organs = self.network.config.organs
        truth = one_hot(labels, organs)
        annotated = batch["annotated"][:, 0, :organs]
        squared = self.recipe.loss_forms.get("segmentation") == "squared"
        overlap = dice_loss(logits.softmax(1)[:, 1:], truth, annotated, squared=squared, smooth=_SMOOTH_VOXELS)
        terms = {"dice_loss": overlap}
        if self.recipe.cross_entropy:
            marginal = marginal_logits(logits, annotated)
            entropies = [class_weighted_entropy(*case) for case in zip(marginal, labels, strict=True)]
            terms["cross_entropy"] = torch.stack(entropies).mean()
        loss: Tensor = terms["dice_loss"] + self.recipe.cross_entropy * terms.get("cross_entropy", 0)
        return loss, terms

    def validation_step(self, batch: Sample, _: int) -> None:
        """Dice per organ of the hard prediction, and ``val/loss``, one minus their mean; nothing of a case without any organ."""
        truth = batch["labels"][:, 0]
        windows = hu_windows(batch["hu"][:, 0], self.recipe.hu_range)
        predicted = self.network.probabilities(windows, self.recipe.crop).argmax(1, keepdim=True)
        trained = self.recipe.supervised_organs
        organs = tuple(ORGAN_NAMES)[: self.network.config.organs] if trained is None else trained
        p, q = one_hot(predicted, organs), one_hot(truth, organs)
        present = q.amax((2, 3, 4)) > 0
        if not present.any():
            return
        loss = dice_loss(p, q, present)
        overlaps = {
            f"val/dice_{organ:02d}": 1 - dice_loss(p[:, [channel]], q[:, [channel]])
            for channel, organ in enumerate(organs)
            if present[0, channel]
        }
        self.averages.add({"val/loss": loss, "val/dice": 1 - loss, **overlaps})


def class_weighted_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of one case, ``(classes, X, Y, Z)`` and ``(1, X, Y, Z)``, in which rare organs weigh more. Scalar."""
    counts = (labels == torch.arange(logits.shape[0], device=labels.device).view(-1, 1, 1, 1)).sum((1, 2, 3)).float()
    # The fourth root lifts an adrenal gland against the liver without drowning the background.
    weights = (counts.sum() / counts.clamp_min(1)).pow(0.25) * (counts > 0)
    return functional.cross_entropy(logits[None], labels.long(), weight=weights)

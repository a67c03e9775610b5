"""Training of the registration network."""

import math

import torch
from torch import Tensor

from mics.deformation.field import compose, warp
from mics.deformation.jacobian import fold_share
from mics.evaluation.metrics import dice, sd_log_jacobian
from mics.image.intensity import hu_windows
from mics.losses.overlap import one_hot
from mics.losses.total import Volumes, step_losses, weighted_sum
from mics.network.blocks import pad_to_multiple
from mics.network.pair import Prediction, RegistrationNetwork
from mics.organs import ORGAN_NAMES
from mics.training.divergence import require_finite
from mics.training.module import NetworkTraining
from mics.training.recipe import Recipe
from mics.training.samples import Sample

MEASURED = ("val/loss", "val/dice", "val/sd_log_jacobian", "val/folds", "val/inverse_error_mm")


class RegistrationTraining(NetworkTraining):
    """The weighted losses summed over the steps; validation by that loss, Dice, SdLogJ and folds."""

    network: RegistrationNetwork

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, [*MEASURED, *(f"val/dice_{organ:02d}" for organ in ORGAN_NAMES)])

    def on_train_batch_start(self, batch: Sample, batch_idx: int) -> None:
        """Tell a network that is trained in stages how far the training is."""
        self.network.progress(self.global_step / self.optimiser_steps)

    def training_step(self, batch: Sample, _: int) -> Tensor:
        """One batch of random pairs."""
        loss, terms, _prediction = self.loss(batch)
        named = by_step_and_direction(terms)
        require_finite(named, self.global_step, lambda: self.case_names(batch))
        sums = {name: value.sum() for name, value in terms.items()}
        logged = {f"train/{name}": value for name, value in {**sums, **named}.items()}
        self.log_dict(logged, on_step=False, on_epoch=True, sync_dist=True)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Sample, _: int) -> dict[str, Tensor]:
        """One pair: the same loss, and both directions measured on the network's grid: Dice, also per organ, SdLogJ, folds.

        Returns ``displacement_ab`` and ``displacement_ba``, each ``(1, 3, X, Y, Z)`` in voxels.
        """
        loss, _terms, prediction = self.loss(batch)
        x, y, z = batch["hu"].shape[3:]
        ab, ba = (field[..., :x, :y, :z] for field in (prediction.displacement_ab, prediction.displacement_ba))
        self.averages.add({"val/loss": loss})
        for moving, field, opposite in ((0, ab, ba), (1, ba, ab)):
            self.averages.add(self._measured(batch["labels"][0], moving, field, opposite))
        return {"displacement_ab": ab, "displacement_ba": ba}

    def _measured(self, labels: Tensor, moving: int, field: Tensor, opposite: Tensor) -> dict[str, Tensor | float]:
        """One direction of a pair: ``labels`` ``(2, 1, X, Y, Z)``, of which ``field`` warps that with the number ``moving``."""
        warped = warp(labels[[moving]], field, mode="nearest", padding="zeros")
        before, fixed = (labels[member, 0].cpu().numpy() for member in (moving, 1 - moving))
        moved = warped[0, 0].round().to(torch.int64).cpu().numpy()
        overlaps = dice(fixed, moved, ORGAN_NAMES, moving_labels=before)
        mean = {"val/dice": sum(overlaps.values()) / len(overlaps)} if overlaps else {}
        return {
            **mean,
            "val/sd_log_jacobian": sd_log_jacobian(field[0].cpu().numpy()),
            "val/folds": fold_share(field),
            "val/inverse_error_mm": compose(opposite, field).norm(dim=1).mean() * self.recipe.spacing_mm,
            **{f"val/dice_{organ:02d}": overlap for organ, overlap in overlaps.items()},
        }

    def loss(self, batch: Sample) -> tuple[Tensor, dict[str, Tensor], Prediction]:
        """The weighted sum, its terms, each ``(steps, 2)`` with A→B and B→A, and the prediction."""
        a, b = (self.volumes(batch, member) for member in (0, 1))
        prediction = self.network(
            self._network_input(batch, 0, a), self._network_input(batch, 1, b), steps=self.recipe.steps
        )
        shape = tuple(prediction.steps[0].gradients.shape[3:])
        x, y, z = (
            self.recipe.spacing_mm * (n - 1) / max(m - 1, 1) for n, m in zip(a.windows.shape[2:], shape, strict=True)
        )
        halvings = round(math.log2(a.windows.shape[2] / shape[0]))
        a, b = a.resized(shape), b.resized(shape)
        weights, forms = self.recipe.losses, self.recipe.loss_forms
        per_step = [
            step_losses(
                a,
                b,
                step.gradients,
                step.displacement,
                weights,
                forms=forms,
                voxel_mm=(x, y, z),
                halvings=halvings,
            )
            for step in prediction.steps
        ]
        terms = {name: torch.stack([losses[name] for losses in per_step]) for name in per_step[0]}
        return weighted_sum(terms, weights), terms, prediction

    def volumes(self, batch: Sample, member: int) -> Volumes:
        """Windows and supervised organs of one member of every pair, padded as the network takes them."""
        windows = hu_windows(batch["hu"][:, member], self.recipe.hu_range)
        divisor = self.network.config.divisor
        ids = tuple(ORGAN_NAMES) if self.recipe.supervised_organs is None else self.recipe.supervised_organs
        organs = pad_to_multiple(one_hot(batch["labels"][:, member], ids), divisor) if ids else None
        return Volumes(pad_to_multiple(windows, divisor), organs)

    def _network_input(self, batch: Sample, member: int, volumes: Volumes) -> Tensor:
        maps = batch.get("maps")
        padded = None if maps is None else pad_to_multiple(maps[:, member], self.network.config.divisor)
        return self.network.network_input(volumes.windows, padded)


def by_step_and_direction(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Terms ``(steps, 2)`` as scalars, named like ``similarity_1_ab``: first step, A→B."""
    return {
        f"{name}_{step}_{direction}": value
        for name, values in terms.items()
        for step, both in enumerate(values, start=1)
        for direction, value in zip(("ab", "ba"), both, strict=True)
    }

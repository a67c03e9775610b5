"""A training run: recipe and cached cases in; checkpoints, curves and a model that ``register`` takes out."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from mics.errors import RunError
from mics.network.weights import load_initial_weights, load_model, save_model
from mics.training.cache import read_cases
from mics.training.checkpoints import WholeCheckpoints, read_checkpoint
from mics.training.datamodule import Cases
from mics.training.interrupt import StopOnInterrupt, room_on_disk
from mics.training.journal import BEST_BY, Journal
from mics.training.memory import require_memory
from mics.training.networks import network_training
from mics.training.recipe import Recipe

BEST, LAST = "best", "last"
MODEL = "model.safetensors"


def train(
    recipe: Recipe,
    cache: Path,
    output: Path,
    *,
    initial: str | Path | None = None,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    callbacks: Sequence[lightning.Callback] = (),
    progress: bool = True,
) -> Path:
    """Train on the cases of ``cache`` into the folder ``output``; returns the path of the exported best model.

    ``initial`` names a model to start from. With ``resume`` the run in ``output`` goes on from its last epoch; otherwise
    ``output`` must not hold a run. ``training.log`` there has a line an epoch (:mod:`mics.training.journal`). Checkpoints after
    every epoch and on Ctrl-C, which ends in KeyboardInterrupt; the epoch with the lowest validation loss is exported. Raises
    InputError where a loss is no longer finite, or the disk is full.

    ``devices`` of each of ``nodes`` train together, one process a device, each with the recipe's batch size; the folders are
    shared by all. ``callbacks`` are Lightning's, to watch the run; ``progress``: its bar on stdout.
    """
    last = output / f"{LAST}.ckpt"
    if not resume and any(path.exists() for path in (last, output / f"{BEST}.ckpt", output / MODEL)):
        raise RunError(
            f"{output} already holds a run; go on with it by `resume {output}`, or give another folder.",
            option="output",
        )
    cases = Cases(read_cases(cache), recipe)
    require_memory(cases, devices)
    output.mkdir(parents=True, exist_ok=True)
    with _lightning_silent():
        return _train(recipe, cases, output, initial, resume, devices, nodes, callbacks, progress)


def _train(
    recipe: Recipe,
    cases: Cases,
    output: Path,
    initial: str | Path | None,
    resume: bool,
    devices: int,
    nodes: int,
    callbacks: Sequence[lightning.Callback],
    progress: bool,
) -> Path:
    last = output / f"{LAST}.ckpt"
    lightning.seed_everything(recipe.seed)
    module = network_training(recipe)
    if initial is not None:
        load_initial_weights(module.network, initial)
    # Two, because the one that keeps the best epoch skips all others, and sees only those that are validated.
    rarely = recipe.validate_every > 1
    keepers = [
        ModelCheckpoint(
            output,
            filename=BEST,
            monitor=BEST_BY,
            enable_version_counter=False,
            save_on_train_epoch_end=False if rarely else None,
        ),
        ModelCheckpoint(
            output, filename=LAST, enable_version_counter=False, save_on_train_epoch_end=True if rarely else None
        ),
    ]
    stop = StopOnInterrupt(last)
    epochs = min(recipe.epochs, recipe.stop_after_epochs or recipe.epochs)
    trainer = _trainer(
        devices,
        nodes,
        max_epochs=epochs,
        precision="bf16-mixed" if recipe.precision == "bfloat16" else "32-true",
        accumulate_grad_batches=recipe.accumulate,
        callbacks=[*keepers, stop, Journal(output, epochs), *callbacks],
        plugins=[WholeCheckpoints()],
        logger=_loggers(output),
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=recipe.iterations_per_epoch,
    )
    with room_on_disk(output), stop.listening():
        trainer.fit(module, datamodule=cases, ckpt_path=last if resume and last.exists() else None)
        return export(output) if trainer.is_global_zero else output / MODEL


@contextmanager
def _lightning_silent() -> Iterator[None]:
    """Lightning says what hardware it sees, gives tips and advises on loaders; none of it is about the run."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            for logger in loggers:
                logger.setLevel(logging.WARNING)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def require_devices(devices: int) -> None:
    """Raise InputError for more devices of this machine than it has: graphics cards, or cores where there is no card."""
    cards = torch.cuda.device_count()
    there = cards or max(os.cpu_count() or 1, 2)
    if devices > there:
        kind = "graphics cards" if cards else "processes at most, as it has no graphics card"
        raise RunError(f"Training on {devices} devices cannot begin here: this machine has {there} {kind}.")


def _trainer(devices: int, nodes: int, **settings: Any) -> lightning.Trainer:
    """Lightning's trainer on so many devices of so many nodes; raises InputError where they are not there."""
    strategy = "ddp" if devices * nodes > 1 else "auto"
    try:
        # The data module shares the samples out itself.
        return lightning.Trainer(
            devices=devices, num_nodes=nodes, strategy=strategy, use_distributed_sampler=False, **settings
        )
    except (MisconfigurationException, ValueError) as error:
        raise RunError(f"Training on {devices} devices of {nodes} nodes cannot begin here: {error}") from error


def _loggers(output: Path) -> list[Logger]:
    """CSV always, TensorBoard where it is installed; each part of a resumed run is a version of its own."""
    loggers: list[Logger] = [CSVLogger(output, name="curves")]
    if find_spec("tensorboard") is not None:
        loggers.append(TensorBoardLogger(output, name="tensorboard"))
    return loggers


def export(run: Path) -> Path:
    """Write the best epoch of a run as ``model.safetensors`` with its card; works while the run goes on.

    The recipe in the card is that of the last epoch: a run that was extended has had its epochs to choose from.
    """
    checkpoint = read_checkpoint(run / f"{BEST}.ckpt")
    last = read_checkpoint(run / f"{LAST}.ckpt")
    recipe = Recipe.model_validate(last["hyper_parameters"]["recipe"])
    module = network_training(recipe)
    module.load_state_dict(checkpoint["state_dict"])
    scores = [
        state["best_model_score"] for state in checkpoint["callbacks"].values() if state.get("monitor") == BEST_BY
    ]
    card: dict[str, Any] = {
        "spacing_mm": recipe.spacing_mm,
        "hu_range": recipe.hu_range,
        "crop": recipe.crop,
        "steps": recipe.steps,
        "trained_with_flips": recipe.augmentation.mirror_probability > 0,
        "organs_model": recipe.organs_model,
        "limits": module.network.config.limits,
        "recipe": recipe.model_dump(mode="json"),
        "best_epoch": int(checkpoint["epoch"]),
        "best_validation_loss": float(scores[0]),
        "best_measures": checkpoint["callbacks"].get(Journal.__name__, {}).get("measures", {}),
    }
    path = run / MODEL
    save_model(module.network, card, path)
    load_model(path)
    return path

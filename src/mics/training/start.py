"""From what a user types to a training run, and from a run's folder to the rest of it."""

import json
import logging
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_only
from pydantic import BaseModel, Field, ValidationError

from mics.errors import InputError, MissingFileError, RunError, SettingError, counted
from mics.files.folder import locked_folder, own_folder
from mics.files.whole import write_text
from mics.network.kinds import build
from mics.network.presets import preset
from mics.network.weights import load_initial_weights
from mics.training.cache import read_cases
from mics.training.cases import prepare
from mics.training.checkpoints import read_checkpoint
from mics.training.datamodule import Cases
from mics.training.recipe import Recipe, changed_recipe, load_recipe
from mics.training.run import LAST, require_devices, train
from mics.training.source import SOURCE, source_of

RUN = "run.json"
CASES = "cases"
CHANGEABLE = ("epochs", "stop_after_epochs", "workers", "recompute_activations")
"""Settings that a run may go on with another value of, and be what its record says: they leave what is done as it is."""

_log = logging.getLogger("mics.training")


def start(
    recipe: str | Path,
    data: str,
    output: Path,
    *,
    overrides: list[str] | None = None,
    initial: str | Path | None = None,
    devices: int = 1,
    nodes: int = 1,
    callbacks: Sequence[lightning.Callback] = (),
    progress: bool = True,
) -> Path:
    """Prepare cases once into ``output/cases`` and train on them as a recipe says (:func:`mics.training.run.train`).

    ``output/run.json`` keeps all that the run depends on: the resolved recipe, data, initial model, devices, cases, versions.
    What cannot be trained on is refused before anything is written. With several processes, the first prepares and writes, and
    the others wait for its ``run.json``.

    Args:
        recipe: A shipped recipe by name, or a YAML file (:func:`mics.training.recipe.load_recipe`).
        data: A folder that ``mics prepare`` or ``mics pseudo-labels`` has made, a Learn2Reg folder, or ``phantom:N`` for N
            generated subjects (:func:`mics.training.cases.prepare`).
        output: A folder that is new, empty, or holds the cases of the same data alone.
        overrides: Values in place of the recipe's, each ``key=value``.
        initial: A model to start from, shipped or a file.
        devices: How many of each node train together, one process each with the recipe's batch size.
        nodes: How many machines; they share the folders.
        callbacks: Lightning's, to watch the run.
        progress: Whether to show a bar on stdout.

    Returns:
        The path of the exported model, that of the epoch with the lowest validation loss.

    Raises:
        InputError: For a recipe, data, a model or devices that cannot be used; where ``output`` already holds a run or something
            else, or another run writes into it; where a loss is no longer finite, or the disk is full.
        KeyboardInterrupt: On Ctrl-C and SIGTERM; in training after a checkpoint, from which :func:`resume` goes on.
    """
    checked = load_recipe(recipe, overrides)
    if not _first():
        while not (output / RUN).exists():
            time.sleep(0.5)
        return _trained(checked, output, initial, devices, nodes, callbacks, progress)
    if (output / RUN).exists():
        raise RunError(
            f"{output} already holds a run; go on with it by `resume {output}`, or give another folder.",
            option="output",
        )
    _check(checked, data, initial, devices, nodes)
    with own_folder(output, f"{CASES}/{SOURCE}", "the cases of a training"):
        prepare(
            data,
            output / CASES,
            checked.spacing_mm,
            organ_maps=checked.organ_maps,
            phase_variants=checked.phase_variants,
            progress=lambda name: _log.info("prepared %s", name),
        )
        Cases(read_cases(output / CASES), checked)  # refuses what cannot be trained on while there is no run yet
        where = {"data": _where(data), "initial": _resolved(initial), "devices": devices, "nodes": nodes}
        _write(output, {"recipe": checked.model_dump(mode="json"), **where})
        return _trained(checked, output, initial, devices, nodes, callbacks, progress)


def resume(
    output: Path,
    *,
    overrides: list[str] | None = None,
    callbacks: Sequence[lightning.Callback] = (),
    progress: bool = True,
) -> Path:
    """Go on with a run from its last checkpoint, on as many devices.

    Args:
        output: The run's folder.
        overrides: Each ``key=value``, changes of its recipe for the rest: ``epochs`` to extend it, and the others of
            :data:`CHANGEABLE`; ``run.json`` keeps what was changed after which epoch.
        callbacks: Lightning's, to watch the run.
        progress: Whether to show a bar on stdout.

    Returns:
        The path of the exported model, that of the epoch with the lowest validation loss.

    Raises:
        InputError: Where there is no run, where its ``run.json`` is damaged, for a change after which the record would not be
            true of the run, where another run writes into the folder, where a loss is no longer finite, or the disk is full.
        KeyboardInterrupt: On Ctrl-C and SIGTERM, after a checkpoint.
    """
    path = output / RUN
    try:
        record = path.read_bytes()
        settings = _Run.model_validate_json(record)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{output} holds no run ({RUN} is missing): start one with mics train RECIPE."
        ) from error
    except (OSError, ValidationError) as error:
        raise InputError(f"{path} is damaged: start the run anew in another folder.") from error
    recipe, epochs = settings.recipe, _epochs_begun(output)
    if overrides:
        recipe = changed_recipe(settings.recipe, overrides)
        _require_true(settings.recipe, recipe, epochs)
    given = recipe, output, settings.initial, settings.devices, settings.nodes, callbacks, progress
    if not _first():
        return _trained(*given, resume=True)
    with locked_folder(output):
        if recipe != settings.recipe:
            content = json.loads(record)
            changes = [*content.get("changes", []), {"after_epoch": epochs, "set": overrides}]
            content |= {"recipe": recipe.model_dump(mode="json"), "changes": changes}
            write_text(json.dumps(content, indent=2) + "\n", path)
        return _trained(*given, resume=True)


def _epochs_begun(output: Path) -> int:
    """Epochs that the last checkpoint has seen, the one that it is in counted too."""
    last = output / f"{LAST}.ckpt"
    return int(read_checkpoint(last)["epoch"]) + 1 if last.exists() else 0


def _require_true(before: Recipe, after: Recipe, epochs: int) -> None:
    """Raise SettingError for a change that the epochs that are done would not be in keeping with."""
    changed = [name for name in Recipe.model_fields if getattr(before, name) != getattr(after, name)]
    if other := [name for name in changed if name not in CHANGEABLE]:
        raise SettingError(
            f"{' and '.join(other)} cannot change within a run, which was trained otherwise for {counted(epochs, 'epoch')}: only "
            f"{', '.join(CHANGEABLE)} can. Start a new run from its model by `initial`.",
            option="overrides",
        )
    if "epochs" in changed and (after.decay or after.staged):
        what = "learning rate of this run decays" if after.decay else "parts of this run's network take their turns"
        raise SettingError(
            f"The {what} over its {counted(before.epochs, 'epoch')}, so that with {after.epochs} the first would have been "
            "others. Start a new run from its model by `initial`.",
            option="overrides",
        )
    asked = min(after.epochs, after.stop_after_epochs or after.epochs)
    if changed and asked < epochs:
        raise SettingError(f"The run is in epoch {epochs} already: it cannot end after {asked}.", option="overrides")


class _Run(BaseModel):
    """What :func:`resume` needs of ``run.json``."""

    recipe: Recipe
    initial: str | None
    devices: int = Field(ge=1)
    nodes: int = Field(ge=1)


def _trained(
    recipe: Recipe,
    output: Path,
    initial: str | Path | None,
    devices: int,
    nodes: int,
    callbacks: Sequence[lightning.Callback],
    progress: bool,
    *,
    resume: bool = False,
) -> Path:
    return train(
        recipe,
        output / CASES,
        output,
        initial=initial,
        resume=resume,
        devices=devices,
        nodes=nodes,
        callbacks=callbacks,
        progress=progress,
    )


def _first() -> bool:
    """Whether this is the first of several processes, or the only one."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _check(recipe: Recipe, data: str, initial: str | Path | None, devices: int, nodes: int) -> None:
    """Raise InputError for what a run cannot begin with, before anything is written."""
    if devices * nodes > 1 and recipe.staged:
        raise RunError(f"The parts of {recipe.preset} are trained one after the other, on one device alone.")
    if initial is not None:
        load_initial_weights(build(preset(recipe.preset)), initial)
    require_devices(devices)
    source = source_of(data, recipe.spacing_mm, None, recipe.phase_variants)
    source.require_subjects(2 if recipe.task == "registration" else 1)
    if recipe.task == "segmentation":
        source.require_annotated_validation()


def _write(output: Path, settings: dict[str, Any]) -> None:
    """``run.json``, last of what a run needs to begin: where it is, :func:`resume` works."""
    cases = [{"name": case.name, "split": case.split} for case in read_cases(output / CASES)]
    versions = {name: version(name) for name in ("mics-registration", "torch", "lightning", "numpy")}
    record = {**settings, "cases": cases, "versions": {"python": platform.python_version(), **versions}}
    write_text(json.dumps(record, indent=2) + "\n", output / RUN)


def _where(data: str) -> str:
    folder = Path(data)
    return str(folder.resolve()) if folder.exists() else data


def _resolved(initial: str | Path | None) -> str | None:
    """A path as it is from anywhere; the name of a shipped model as it is."""
    if initial is None:
        return None
    return str(Path(initial).resolve()) if Path(initial).exists() else str(initial)

"""From what a user types to a training run, and from a run's folder to the rest of it."""

import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.utilities import rank_zero_only
from pydantic import BaseModel, Field, ValidationError

from mics.errors import InputError, MissingFileError, RunError
from mics.files.folder import held_folder, own_folder
from mics.files.whole import write_text
from mics.network.kinds import build
from mics.network.presets import preset
from mics.network.weights import load_initial_weights
from mics.training.cache import read_cases
from mics.training.datamodule import Cases
from mics.training.prepare import prepare
from mics.training.recipe import Recipe, load_recipe
from mics.training.run import require_devices, train
from mics.training.source import SOURCE, source_of

RUN = "run.json"
CASES = "cases"


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
) -> Path:
    """Prepare the cases of ``data`` once into ``output/cases`` and train as ``recipe`` says; returns the model's path.

    ``output/run.json`` keeps all that the run depends on: the resolved recipe, data, initial model, devices, cases, versions.
    See :func:`mics.training.recipe.load_recipe`, :func:`mics.training.prepare.prepare` and :func:`mics.training.run.train`
    for what the arguments may be and what is raised; InputError too where ``output`` already holds a run or something else, or
    another run writes into it. What cannot be trained on is refused before anything is written. With several
    processes, the first prepares and writes, and the others wait for its ``run.json``.
    """
    checked = load_recipe(recipe, overrides)
    if not _first():
        while not (output / RUN).exists():
            time.sleep(0.5)
        return _trained(checked, output, initial, devices, nodes, callbacks)
    if (output / RUN).exists():
        raise RunError(
            f"{output} already holds a run; go on with it by `resume {output}`, or give another folder.",
            option="output",
        )
    _check(checked, data, initial, devices)
    with own_folder(output, f"{CASES}/{SOURCE}", "the cases of a training"):
        prepare(
            data,
            output / CASES,
            checked.spacing_mm,
            organ_maps=checked.organ_maps,
            phase_variants=checked.phase_variants,
            progress=_told,
        )
        Cases(read_cases(output / CASES), checked)  # refuses what cannot be trained on while there is no run yet
        where = {"data": _where(data), "initial": _given(initial), "devices": devices, "nodes": nodes}
        _write(output, {"recipe": checked.model_dump(mode="json"), **where})
        return _trained(checked, output, initial, devices, nodes, callbacks)


def resume(output: Path, *, callbacks: Sequence[lightning.Callback] = ()) -> Path:
    """Go on with the run in ``output`` from its last checkpoint, on as many devices; returns the model's path.

    Raises InputError where there is no run, or where its ``run.json`` is damaged.
    """
    path = output / RUN
    try:
        settings = _Run.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{output} holds no run ({RUN} is missing): start one with mics train RECIPE."
        ) from error
    except (OSError, ValidationError) as error:
        raise InputError(f"{path} is damaged: start the run anew in another folder.") from error
    given = settings.recipe, output, settings.initial, settings.devices, settings.nodes, callbacks
    if not _first():
        return _trained(*given, resume=True)
    with held_folder(output):
        return _trained(*given, resume=True)


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
    )


def _first() -> bool:
    """Whether this is the first of several processes, or the only one."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _check(recipe: Recipe, data: str, initial: str | Path | None, devices: int) -> None:
    """Raise InputError for what a run cannot begin with, before anything is written."""
    if initial is not None:
        load_initial_weights(build(preset(recipe.preset)), initial)
    require_devices(devices)
    source = source_of(data, recipe.spacing_mm, None, recipe.phase_variants)
    source.require_people(2 if recipe.task == "registration" else 1)


def _write(output: Path, settings: dict[str, Any]) -> None:
    """``run.json``, last of what a run needs to begin: where it is, :func:`resume` works."""
    cases = [{"name": case.name, "split": case.split} for case in read_cases(output / CASES)]
    versions = {name: version(name) for name in ("mics-registration", "torch", "lightning", "numpy")}
    record = {**settings, "cases": cases, "versions": {"python": platform.python_version(), **versions}}
    write_text(json.dumps(record, indent=2) + "\n", output / RUN)


def _where(data: str) -> str:
    folder = Path(data)
    return str(folder.resolve()) if folder.exists() else data


def _given(initial: str | Path | None) -> str | None:
    """A path as it is from anywhere; the name of a shipped model as it is."""
    if initial is None:
        return None
    return str(Path(initial).resolve()) if Path(initial).exists() else str(initial)


def _told(name: str) -> None:
    print(f"prepared {name}", flush=True)

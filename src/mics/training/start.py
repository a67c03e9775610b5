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
from pydantic import ValidationError

from mics.errors import InputError
from mics.image.whole import write_text
from mics.training.cache import read_cases
from mics.training.prepare import prepare
from mics.training.recipe import Recipe, load_recipe
from mics.training.run import train

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
    for what the arguments may be and what is raised; InputError too where ``output`` already holds a run. With several
    processes, the first prepares and writes, and the others wait for its ``run.json``.
    """
    checked = load_recipe(recipe, overrides)
    if getattr(rank_zero_only, "rank", 0) == 0:
        if (output / RUN).exists():
            raise InputError(
                f"{output} already holds a run; go on with it by --resume {output}, or give another folder."
            )
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{output} cannot be made ({error.strerror}); give another output folder.") from error
        prepare(
            data,
            output / CASES,
            checked.spacing_mm,
            organ_maps=checked.organ_maps,
            phase_variants=checked.phase_variants,
            progress=_told,
        )
        where = {"data": _where(data), "initial": _given(initial), "devices": devices, "nodes": nodes}
        _write(output, {"recipe": checked.model_dump(mode="json"), **where})
    while not (output / RUN).exists():
        time.sleep(0.5)
    return train(checked, output / CASES, output, initial=initial, devices=devices, nodes=nodes, callbacks=callbacks)


def resume(output: Path, *, callbacks: Sequence[lightning.Callback] = ()) -> Path:
    """Go on with the run in ``output`` from its last checkpoint, on as many devices; returns the model's path.

    Raises InputError where there is no run, or where its ``run.json`` is damaged.
    """
    path = output / RUN
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(settings["recipe"])
        initial, devices, nodes = settings["initial"], settings["devices"], settings["nodes"]
    except FileNotFoundError as error:
        raise InputError(f"{output} holds no run ({RUN} is missing): start one with mics train RECIPE.") from error
    except (OSError, KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
        raise InputError(f"{path} is damaged: start the run anew in another folder.") from error
    return train(
        recipe,
        output / CASES,
        output,
        initial=initial,
        resume=True,
        devices=devices,
        nodes=nodes,
        callbacks=callbacks,
    )


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

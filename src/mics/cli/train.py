"""`mics train`: train a registration or a segmentation network."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mics.cli.extras import needs_training
from mics.cli.manners import asked, lines_of, results
from mics.errors import SettingError


def train(
    recipe: Annotated[str | None, typer.Argument(help="Name of a shipped recipe or path of a YAML file.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Folder made by mics prepare, or in the Learn2Reg layout, or phantom:N (generated)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run: cases, checkpoints, curves, model.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")
    ] = None,
    initial: Annotated[str | None, typer.Option(help="Model to start from: a name or a path.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Graphics cards (or processes, without any) on each node.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, started by torchrun or Slurm.")] = 1,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with the run in this folder; with --set epochs=N, for longer."),
    ] = None,
) -> None:
    """Train a network as a recipe says, and export its best epoch as a model that `mics register` takes."""
    with needs_training():
        from lightning.pytorch.utilities import rank_zero_only

        from mics.report.training import OverviewPerEpoch
        from mics.training.start import resume as go_on
        from mics.training.start import start
    shown = sys.stdout.isatty() and not (asked().quiet or asked().as_json)
    with lines_of("mics.training"):
        if resume is not None:
            if any((recipe, data, output, initial, devices > 1, nodes > 1)):
                raise SettingError(
                    "--resume RUN takes everything from the run: leave out the recipe and all other options but --set."
                )
            model = go_on(resume, overrides=overrides, callbacks=[OverviewPerEpoch(resume)], progress=shown)
        elif recipe is None or data is None or output is None:
            raise SettingError("A new run needs a recipe, --data and --output; --resume RUN continues a run.")
        else:
            model = start(
                recipe,
                data,
                output,
                overrides=overrides,
                initial=initial,
                devices=devices,
                nodes=nodes,
                callbacks=[OverviewPerEpoch(output)],
                progress=shown,
            )
    rank_zero_only(_report)(model)


def _report(model: Path) -> None:
    """Report the best epoch, where its model is, and what to do with it."""
    from mics.network.weights import load_model
    from mics.training.journal import LOG

    card = load_model(model).card
    extra: dict[str, Any] = card.model_extra or {}
    measures = ", ".join(f"{name} {value:.4g}" for name, value in extra["best_measures"].items())
    epochs = extra["best_epoch"] + 1
    run = model.parent
    task = card.network.task
    recipe = card.recipe.model_extra or {}
    results(
        "\n".join(
            [
                f"Best: epoch {epochs}" + (f" ({measures})" if measures else ""),
                f"Written to {model}",
                "Next:",
                *(f"  {command}" for command in _next(run, task, recipe)),
            ]
        ),
        {
            "model": model,
            "best_epoch": epochs,
            "best_measures": extra["best_measures"],
            "log": run / LOG,
            "next": _next(run, task, recipe),
        },
    )


def _next(run: Path, task: str, recipe: dict[str, Any]) -> list[str]:
    """Commands that use the model, and one that trains it on."""
    place = shlex.quote(str(run))
    use = {
        "registration": [
            f"mics register FIXED MOVING -o OUT --model {place}",
            f"mics compare PAIRS -o RESULTS --methods network,network={place}",
        ],
        "segmentation": [f"mics pseudo-labels PREPARED -o OUT --model {place}"],
    }
    stopped = recipe["stop_after_epochs"]
    if stopped is not None and stopped < recipe["epochs"]:
        return [*use[task], f"mics train --resume {place} --set stop_after_epochs=null"]
    if recipe["decay"]:  # its schedule is over
        return [*use[task], f"mics train RECIPE --data DIR -o OTHER --initial {place}"]
    return [*use[task], f"mics train --resume {place} --set epochs={2 * recipe['epochs']}"]

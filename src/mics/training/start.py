"""From what a user types to a training run."""

from pathlib import Path

from mics.errors import InputError
from mics.training.prepare import prepare
from mics.training.recipe import load_recipe
from mics.training.run import train


def start(
    recipe: str | Path,
    data: str,
    output: Path,
    *,
    overrides: list[str] | None = None,
    initial: str | Path | None = None,
    resume: bool = False,
) -> Path:
    """Prepare the cases of ``data`` once into ``output/cases`` and train as ``recipe`` says; returns the model's path.

    See :func:`mics.training.recipe.load_recipe`, :func:`mics.training.prepare.prepare` and
    :func:`mics.training.run.train` for what the arguments may be and what is raised.
    """
    checked = load_recipe(recipe, overrides)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output} cannot be made ({error.strerror}); give another output folder.") from error
    cases = output / "cases"
    prepare(data, cases, checked.spacing_mm, progress=lambda name: print(f"prepared {name}", flush=True))
    return train(checked, cases, output, initial=initial, resume=resume)

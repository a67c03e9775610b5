"""What a pipeline does: a YAML file, checked on load.

.. code-block:: yaml

    cohorts:                      # as mics prepare takes them; paths relative to this file
      learn2reg: AbdomenCTCT
      kits19: kits19/data
    segmentation:                 # or {model: organs-small}, to train none
      recipe: organs-small
      initial: runs/organs-coarse
    segmentation_validation:      # subjects to validate this network on, not to train, beside those of the cohorts' own splits
      pancreas-ct: [PANCREAS_0034]
    unannotated: false            # no subject is trained on of whom nothing is annotated, as the decathlon's test subjects
    pretrain: {recipe: pretrain}
    finetune: {recipe: finetune, set: [epochs=100]}

``paper`` is a shipped one (:data:`BUNDLED_PLANS`), whose cohorts lie in the current folder under their publishers' names.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from mics.data.frame import PAPER_SIZE, PAPER_SPACING_MM
from mics.data.settings_file import FileSettings, read_yaml
from mics.errors import SettingError

BUNDLED_PLANS = Path(__file__).parent / "plans"


class Training(FileSettings):
    """A run of ``mics train``: its recipe, changes of single values, and the model to start from."""

    recipe: str
    set: list[str] = Field([])
    initial: str | None = None


class ExistingModel(FileSettings):
    """A segmentation model that there is already: a shipped one by name, or a path."""

    model: str


class Plan(FileSettings):
    """Every setting of a pipeline; unknown keys are refused."""

    cohorts: dict[str, str] = Field(min_length=1)
    reference: str | None = None
    spacing_mm: float = Field(PAPER_SPACING_MM, gt=0, le=100)
    size: tuple[int, int, int] = PAPER_SIZE
    workers: int | None = Field(None, ge=1, le=1024)
    scheduler: str | None = None
    segmentation: Training | ExistingModel = Training(recipe="organs-small")
    segmentation_validation: dict[str, tuple[str, ...]] = Field({})
    unannotated: bool = True
    pretrain: Training = Training(recipe="pretrain")
    finetune: Training = Training(recipe="finetune")
    finetune_cohort: str = "learn2reg"
    """Whose training subjects the last training sees, with what was annotated alone, and whose validation pairs are scored."""


def load_plan(path: Path) -> Plan:
    """Read a plan, a YAML file or a shipped one by name; names of files in it become paths from anywhere.

    Raises :class:`InputError` for anything amiss.
    """
    folder = path.resolve().parent
    if not path.exists() and (BUNDLED_PLANS / f"{path}.yaml").is_file():
        path = BUNDLED_PLANS / f"{path}.yaml"
    try:
        plan = Plan.model_validate(read_yaml(path, "a plan of mics pipeline"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise SettingError(f"{path} is not a plan: {where}: {first['msg']}.") from error
    if plan.finetune_cohort not in plan.cohorts:
        raise SettingError(f"{path}: finetune_cohort {plan.finetune_cohort} is not among its cohorts.")
    if unknown := [name for name in plan.segmentation_validation if name not in plan.cohorts]:
        raise SettingError(f"{path}: segmentation_validation {unknown[0]} is not among its cohorts.")
    update = {
        "cohorts": {name: str(folder / place) for name, place in plan.cohorts.items()},
        "segmentation": _resolved(plan.segmentation, folder),
        "pretrain": _resolved(plan.pretrain, folder),
        "finetune": _resolved(plan.finetune, folder),
    }
    return plan.model_copy(update=update)


def _resolved(stage: Training | ExistingModel, folder: Path) -> Training | ExistingModel:
    """A path where the plan names a file that is there; else a name, of something shipped."""
    found = {key: value for key, value in stage if key != "set" and value is not None and (folder / value).exists()}
    return stage.model_copy(update={key: str(folder / value) for key, value in found.items()})

"""Whether a pipeline can come to its end, as far as that is known before its first stage begins."""

from collections.abc import Mapping, Sequence

import torch

from mics.data.cohorts.case import Cohort
from mics.errors import GeometryError, InputError, SettingError
from mics.network.kinds import build
from mics.network.presets import preset
from mics.network.weights import load_initial_weights, load_model_for, takes_weights_of
from mics.pipeline.plan import ExistingModel, Plan, Training
from mics.training.recipe import Recipe, load_recipe


def require_models(plan: Plan) -> dict[str, float]:
    """The voxel edge, mm, that each stage works at; raises InputError for recipes and models that are not there or do not fit."""
    stages = {"segmentation": plan.segmentation, "pretrain": plan.pretrain, "finetune": plan.finetune}
    recipes = {name: _recipe(name, training) for name, training in stages.items() if isinstance(training, Training)}
    spacings = {name: recipe.spacing_mm for name, recipe in recipes.items()}
    if isinstance(plan.segmentation, ExistingModel):
        spacings["segmentation"] = load_model_for("segmentation", plan.segmentation.model).spacing_mm
    if plan.finetune.initial is None:
        _require_same_network(recipes["pretrain"], recipes["finetune"])
    return spacings


def require_multiples(spacings: Mapping[str, float], prepared_mm: float) -> None:
    """Raise InputError for a stage (:func:`require_models`) that cannot average the prepared voxels down to its own."""
    for name, spacing_mm in spacings.items():
        factor = round(spacing_mm / prepared_mm)
        if factor < 1 or abs(factor * prepared_mm - spacing_mm) > 1e-3:
            raise GeometryError(
                f"The stage {name} has voxels of {spacing_mm:g} mm, which is no multiple of the plan's {prepared_mm:g} mm: "
                "change one of the two."
            )


def require_held_out(plan: Plan, cohorts: Mapping[str, Cohort]) -> None:
    """Raise InputError for subjects to validate the segmentation on who are not there, or are held out of everything."""
    for name, subjects in plan.segmentation_validation.items():
        splits = {case.name: case.split for case in cohorts[name].cases}
        if missing := [subject for subject in subjects if splits.get(subject) != "train"]:
            raise InputError(
                f"segmentation_validation names {missing[0]}, who is not among the training subjects of {name}: leave them out."
            )


def require_subjects(splits: Sequence[str], cohort: str) -> None:
    """Raise InputError where the subjects of the last cohort, by their ``splits``, are too few to be registered to each other."""
    for split in ("train", "val"):
        if splits.count(split) < 2:
            raise InputError(
                f"The cohort {cohort} has fewer than two subjects in the split {split!r}, and registration needs pairs: "
                "choose another finetune_cohort, or hold subjects out (docs/cohorts.md)."
            )


def _recipe(name: str, training: Training) -> Recipe:
    """The recipe of a stage; InputError too for one of another task, and for a model to start from that does not fit."""
    recipe = load_recipe(training.recipe, training.set)
    task = "segmentation" if name == "segmentation" else "registration"
    if recipe.task != task:
        raise SettingError(f"The stage {name} needs a recipe for {task}; {training.recipe} is for {recipe.task}.")
    if training.initial is not None:
        load_initial_weights(build(preset(recipe.preset)), training.initial)
    if recipe.organ_maps is not None:
        load_model_for("segmentation", recipe.organ_maps)
    return recipe


def _require_same_network(first: Recipe, second: Recipe) -> None:
    with torch.device("meta"):  # shapes alone
        networks = [build(preset(recipe.preset)) for recipe in (second, first)]
    if not takes_weights_of(*networks):
        raise SettingError(
            f"The stage finetune starts from the network of pretrain, which has another shape ({first.preset}) than its own "
            f"({second.preset}): give both one preset, or finetune an initial model."
        )

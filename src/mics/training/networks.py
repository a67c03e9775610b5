"""The training of each kind of network."""

from mics.training.recipe import Recipe
from mics.training.registration import RegistrationTraining
from mics.training.segmentation import SegmentationTraining


def network_training(recipe: Recipe) -> RegistrationTraining | SegmentationTraining:
    """The untrained network of a recipe, with its losses."""
    return RegistrationTraining(recipe) if recipe.task == "registration" else SegmentationTraining(recipe)

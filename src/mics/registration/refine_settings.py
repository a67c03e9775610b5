"""How much work the refinement of a pair may take, and what its loss weighs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One resolution of the optimisation: spacing of the velocity's, the organ maps' and the image's grid, iterations."""

    velocity_mm: float
    organs_mm: float
    image_mm: float
    iterations: int


@dataclass(frozen=True)
class RefineSettings:
    """Stages from coarse to fine, at most so many iterations each, and the weights of the loss.

    ``image`` weighs local correlation of the abdominal window, ``descriptors`` its MIND-SSC, ``organs`` the overlap of the
    organ maps, ``smoothness`` the diffusion of the velocity. All were chosen on the validation pairs.
    """

    stages: tuple[Stage, ...]
    integrated_mm: float = 4.0
    """Spacing of the grid on which the velocity is integrated in the end."""
    result_mm: float = 3.0
    """Spacing of the grid on which both directions are then made inverse to each other, as the result."""
    learning_rate: float = 0.3
    """In voxels of the velocity grid per iteration."""
    image: float = 1.0
    descriptors: float = 5.0
    organs: float = 0.1
    smoothness: float = 0.6
    squarings: int = 2
    patience: int = 10
    """A stage ends early where the best loss of so many iterations is not clearly below the best before them."""


BUDGETS = {
    "fast": RefineSettings((Stage(16, 16, 16, 8), Stage(16, 8, 8, 12), Stage(8, 8, 4, 5))),
    "accurate": RefineSettings((Stage(16, 16, 16, 8), Stage(16, 8, 8, 24), Stage(8, 8, 4, 12), Stage(4, 8, 4, 5))),
}

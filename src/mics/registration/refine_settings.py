"""How much work the refinement of a pair may take, and what its loss weighs."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Level:
    """One resolution of the optimisation: spacing of the velocity's, the organ maps' and the image's grid, iterations.

    ``organs_alone``: organ maps and descriptors are compared where either volume's maps show an organ, and nowhere else.
    """

    velocity_mm: float
    organs_mm: float
    image_mm: float
    iterations: int
    organs_alone: bool = False


@dataclass(frozen=True)
class RefineSettings:
    """Levels from coarse to fine, of a fixed number of iterations, and the weights of the loss.

    ``image`` weighs the similarity of the abdominal window, ``descriptors`` its MIND-SSC, ``organs`` the overlap of the
    organ maps, ``smoothness`` the diffusion of the velocity. These were chosen on the validation pairs.
    """

    levels: tuple[Level, ...]
    integrated_mm: float = 4.0
    """Spacing of the grid on which the velocity is integrated in the end."""
    result_mm: float = 3.0
    """Spacing of the grid on which both directions are then made inverse to each other, as the result."""
    step_mm: float = 1.6
    """What a level's first iteration moves where the gradient is of ordinary size. In mm, so that no grid takes leaps."""
    still_counts: bool = False
    """Whether voxels that nothing pulls count for the gradient's ordinary size. With them steps are longer, which fits true organ
    maps, whose gradients are at the organs' borders alone; the more air is around a body, the more."""
    similarity: str = "lncc"
    """By which the images are compared, a name of :data:`mics.losses.similarities.SIMILARITIES`."""
    image: float = 1.0
    descriptors: float = 5.0
    organs: float = 1.0
    smoothness: float = 0.9
    labels: float = 1.0
    """Overlap of given labels, each as much as another; where labels steer."""
    landmarks: float = 0.002
    """Of each landmark, for every mm that it misses its counterpart by; where landmarks steer."""
    rigidity: float = 0.0
    """Of bones and of lesions that keep their volume: how far the deformation is from a rigid motion there."""
    squarings: int = 2
    bytes_per_mm3: float = 40.0
    """Memory at its peak for the box of the network's grid; measured, and rounded up."""


_EVERYWHERE, _ORGANS = Level(8, 8, 8, 12), Level(8, 4, 4, 6, organs_alone=True)
EFFORTS = {
    "fast": RefineSettings((_EVERYWHERE, _ORGANS), bytes_per_mm3=16),
    "accurate": RefineSettings((replace(_EVERYWHERE, iterations=20), _ORGANS, replace(_ORGANS, velocity_mm=4))),
}

_STIFFER, _RIGIDITY = 2.0, 3.0
"""For one patient: smoothness as a multiple of that between two patients, and the rigidity of bones."""


def for_one_patient(settings: RefineSettings) -> RefineSettings:
    """The settings for two scans of one patient: stiffer, bones nearly rigid, and fine enough at last to tell ribs apart.

    It begins at rest, from where a breath is a long way: so a coarser level comes first, and there are more iterations.
    """
    first, last = settings.levels[0], settings.levels[-1]
    return replace(
        settings,
        levels=(
            replace(first, velocity_mm=16, iterations=2 * first.iterations),
            *(replace(level, iterations=20) for level in settings.levels[:-1]),
            replace(last, velocity_mm=4, iterations=2 * last.iterations),
        ),
        smoothness=_STIFFER * settings.smoothness,
        rigidity=_RIGIDITY,
        bytes_per_mm3=EFFORTS["accurate"].bytes_per_mm3,  # whose velocities are as fine
    )

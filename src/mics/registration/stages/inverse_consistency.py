"""Both directions made inverse to each other."""

from dataclasses import dataclass

from mics.deformation.bidirectional import of_spacing
from mics.deformation.inverse import regularise_sharp_bends, upsample_and_correct
from mics.registration.stage import Stage, State


@dataclass(frozen=True)
class InverseConsistency(Stage):
    """Make directions that nearly invert each other do so more closely, on a grid of at most about ``spacing_mm``.

    The finer the grid, the better the inverse (:mod:`mics.deformation.inverse`).
    """

    spacing_mm: float = 3.0
    name: str = "inverse"
    title = "Correcting the inverse"

    def run(self, state: State) -> State:
        """Correct the deformation."""
        forward, backward = regularise_sharp_bends(state.field.moving_to_fixed, state.field.fixed_to_moving)
        size = of_spacing(state.grid, self.spacing_mm).size
        if forward.shape[2] <= size[0]:
            forward, backward = upsample_and_correct(forward, backward, size)
        return state.with_displacements(moving_to_fixed=forward, fixed_to_moving=backward)

"""From the network's grid to the scans: one transform per direction, the affine within it."""

from dataclasses import dataclass, replace

from mics.errors import InputError
from mics.registration.stage import Stage, State


@dataclass(frozen=True)
class Composition(Stage):
    """The deformation on the scans' own grids; what the networks have seen is let go of."""

    name = "compose"
    title = "Composing with the affine"

    def run(self, state: State) -> State:
        """Add the transforms. Raises InputError for displacements that are no numbers."""
        field = state.field.to("cpu")
        if not bool(field.moving_to_fixed.isfinite().all() and field.fixed_to_moving.isfinite().all()):
            raise InputError("A stage has made displacements that are NaN or infinite: correct it, or leave it out.")
        transforms = field.to_transforms(
            fixed=state.scans.fixed.image.grid,
            moving=state.scans.moving.image.grid,
            to_fixed=state.to_scans.fixed,
            to_moving=state.to_scans.moving,
        )
        return replace(state, windows=None, organ_views=None, deformation=field, native=transforms)

"""The scans brought together by an affine, and the grid over what both then show."""

from dataclasses import dataclass, replace

from mics.deformation.topology import refuse_mirrors
from mics.network.weights import LoadedModel
from mics.registration.affine import register_affine
from mics.registration.half_way import half_way
from mics.registration.network_grid import in_view, network_grid
from mics.registration.organ_affine import register_affine_by_organs
from mics.registration.stage import Alignment, Matrix, Stage, State


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Stage):
    """``matrix`` (4, 4), fixed to moving LPS points; None to compute it: by the organs that ``model`` finds, or else with ANTs.

    ``spacing_mm``: of the network's grid. ``keeps_orientation``: an affine that mirrors is refused. ``rigid``: what ANTs computes
    is a rotation and a shift.
    """

    matrix: Matrix | None
    model: LoadedModel | None = None
    spacing_mm: float
    keeps_orientation: bool = False
    rigid: bool = False
    name = "affine"
    title = "Affine registration"

    def run(self, state: State) -> State:
        """Add the alignment. Raises InputError where the scans do not overlap."""
        fixed, moving = state.scans.fixed.image, state.scans.moving.image
        matrix = self._computed(state) if self.matrix is None else self.matrix
        if self.keeps_orientation:
            refuse_mirrors(matrix)
        to_scans = half_way(matrix, state.lefts)
        grid = network_grid(fixed=fixed.grid, moving=moving.grid, to_scans=to_scans, spacing_mm=self.spacing_mm)
        views = in_view(fixed=fixed.grid, moving=moving.grid, grid=grid, to_scans=to_scans)
        return replace(state, alignment=Alignment(affine=matrix, to_scans=to_scans, grid=grid, in_view=views))

    def _computed(self, state: State) -> Matrix:
        fixed, moving = state.scans.fixed.image, state.scans.moving.image
        if self.model is None:
            return register_affine(fixed=fixed, moving=moving, rigid=self.rigid)
        return register_affine_by_organs(
            fixed=fixed, moving=moving, model=self.model, device=state.device, lefts=state.lefts
        )

"""What a stage of a registration is, and what is handed from stage to stage.

A registration is a list of stages on a pair: each takes the :class:`State` and gives the next one back. The package's own are
in ``stages/``, and whoever has an idea of his own writes another and gives it to :func:`mics.registration.register.register`.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mics.deformation.bidirectional import BidirectionalField, Transforms, same_box
from mics.errors import InputError, require_type, shown
from mics.image.grid import Grid
from mics.registration.inputs import Scan
from mics.registration.pair import Pair, T
from mics.registration.sagittal import UNKNOWN, Direction

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Need = Literal["organ_maps", "transforms", "orientation"]
"""``organ_maps``: :attr:`State.views`; ``transforms``: :attr:`State.transforms`; ``orientation``: no affine that mirrors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """The scans' position to each other before any deformation.

    ``affine`` (4, 4) maps fixed to moving LPS points; ``to_scans`` (4, 4) those of a half-way space to those of either scan.
    ``grid`` is the network's, in the half-way space; ``in_view`` tells which of its voxels (X, Y, Z) lie in either scan's field
    of view.
    """

    affine: Matrix
    to_scans: Pair[Matrix]
    grid: Grid
    in_view: Pair[Mask]


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Both scans as the segmentation network sees them, on one grid of ``spacing_mm`` over the box of the network's grid.

    ``windows``: HU windows (1, 3, X, Y, Z) in [0, 1] after the affine, the abdominal one first. ``organs``: soft organ maps
    (1, organs, X, Y, Z). ``compared``: where a scan has data that count, (1, 1, X, Y, Z) in [0, 1].
    """

    windows: Pair[Tensor]
    organs: Pair[Tensor]
    compared: Pair[Tensor]
    spacing_mm: float


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """All that is known of a pair so far; frozen, every stage makes another."""

    scans: Pair[Scan]
    device: torch.device
    lefts: Pair[Direction | None] = UNKNOWN
    """Which way is left in either patient, None where that is not known."""
    alignment: Alignment | None = None
    windows: Pair[Tensor] | None = None
    """HU windows (1, 3, X, Y, Z) on the network's grid, until the transforms are made; None where no network predicts."""
    organ_windows: Pair[Tensor] | None = None
    """The same at the segmentation network's spacing."""
    organ_views: Views | None = None
    deformation: BidirectionalField | None = None
    native: Transforms | None = None
    evidence: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()
    reports: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Parts of the summary, by the stage that reports them."""

    @property
    def affine(self) -> Matrix:
        """(4, 4), from fixed to moving LPS points."""
        return _at_hand(self.alignment, "affine", "it has to come after the affine's stage").affine

    @property
    def to_scans(self) -> Pair[Matrix]:
        """(4, 4) each, from LPS points of the half-way space, where :attr:`grid` lies, to those of either scan."""
        return _at_hand(self.alignment, "affine", "it has to come after the affine's stage").to_scans

    @property
    def grid(self) -> Grid:
        """The network's grid: cubic voxels in the half-way space."""
        return _at_hand(self.alignment, "affine", "it has to come after the affine's stage").grid

    @property
    def in_view(self) -> Pair[Mask]:
        """Masks of the voxels of :attr:`grid` that lie in either scan's field of view."""
        return _at_hand(self.alignment, "affine", "it has to come after the affine's stage").in_view

    @property
    def views(self) -> Views:
        """Windows and organ maps of both scans, for a stage that needs ``organ_maps`` and before the transforms are made."""
        return _at_hand(self.organ_views, "organ maps", "name 'organ_maps' in its needs")

    @property
    def field(self) -> BidirectionalField:
        """The deformation so far: the identity before anything is predicted. Finer stages may lie on finer grids."""
        return (
            BidirectionalField.identity(self.grid, device=self.device) if self.deformation is None else self.deformation
        )

    @property
    def transforms(self) -> Transforms:
        """Both directions on the scans' own grids, for a stage that needs ``transforms``."""
        return _at_hand(self.native, "transforms", "name 'transforms' in its needs")

    def with_field(self, field: BidirectionalField) -> "State":
        """The state with another deformation.

        Args:
            field: Over the box of :attr:`grid`, of any number of voxels.

        Returns:
            The state with it.
        """
        return replace(self, deformation=field)

    def with_displacements(self, *, moving_to_fixed: Tensor, fixed_to_moving: Tensor) -> "State":
        """The state with another deformation, given as tensors.

        Args:
            moving_to_fixed: (1, 3, X, Y, Z) float32, in voxels of a grid of that shape with the outermost voxel centres of
                :attr:`grid`; it pulls: what warps the moving scan onto the fixed one.
            fixed_to_moving: Likewise, of the other direction, on the same grid.

        Returns:
            The state with it.

        Raises:
            InputError: Before the affine's stage, and for tensors that do not fit one grid.
        """
        grid = same_box(self.grid, moving_to_fixed.shape[2:])
        return self.with_field(
            BidirectionalField(moving_to_fixed=moving_to_fixed, fixed_to_moving=fixed_to_moving, grid=grid)
        )

    def with_transforms(self, transforms: Transforms) -> "State":
        """The state with other transforms.

        Args:
            transforms: Both directions, each on the grid of the scan that it fills.

        Returns:
            The state with them.
        """
        return replace(self, native=transforms)

    def with_report(self, stage: str, part: Mapping[str, Any]) -> "State":
        """The state with what a stage reports to the summary.

        Args:
            stage: Its name.
            part: What it reports, in place of what has been reported under that name before.

        Returns:
            The state with it.

        Raises:
            InputError: For what JSON does not know.
        """
        try:
            json.dumps(part, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"The stage {stage} reports what is no plain data for JSON: {error}.") from error
        return replace(self, reports={**self.reports, stage: part})


@runtime_checkable
class Stage(Protocol):
    """A step of a registration; its options are its attributes. Subclasses inherit what they need not say."""

    @property
    def name(self) -> str:
        """Its key in the summary, unlike that of any other stage."""
        ...

    @property
    def title(self) -> str:
        """The message for a user who waits."""
        return self.name

    @property
    def needs(self) -> Sequence[Need]:
        """The inputs that have to be at hand when it runs."""
        return ()

    def memory(self, grid: Grid, device: torch.device) -> float:
        """How much memory it takes; asked before anything is done.

        Args:
            grid: The largest that the affine may lead the network to; of a stage that needs ``transforms``, which works in main
                memory, the larger scan's own.
            device: Where it will run.

        Returns:
            Bytes at its peak, on the device; 0 unless a stage says otherwise.
        """
        return 0.0

    def run(self, state: State) -> State:
        """Do its work on a pair.

        Args:
            state: All that is known of the pair so far.

        Returns:
            The state after it. Its part of the summary goes through :meth:`State.with_report`.
        """
        ...


def run_stage(stage: Stage, state: State) -> State:
    """Run it; InputError where it gives back no state."""
    result = stage.run(state)
    require_type(result, State, f"The stage {stage.name} gives the state back")
    return result


def refuse_other_than_stages(stages: Sequence[Stage]) -> None:
    """Raise InputError for what is no list of stages, or a stage without a name or with an unknown need."""
    require_type(stages, (list, tuple), "The stages are a list")
    for stage in stages:
        if isinstance(stage, type):
            raise InputError(f"A stage is an object and not a class: give {stage.__name__}() with its options.")
        if not isinstance(stage, Stage):
            raise InputError(f"A stage is an object with name, title, needs, memory and run, not {shown(stage)}.")
        require_type(stage.name, str, "A stage's name is a str")
        for need in stage.needs:
            if need not in get_args(Need):
                raise InputError(
                    f"The stage {stage.name} needs {shown(need)}: choose from {', '.join(get_args(Need))}."
                )
        if {"organ_maps", "transforms"} <= set(stage.needs):
            raise InputError(
                f"The stage {stage.name} needs organ maps and transforms, but the maps are let go of before the transforms are "
                "made: make two stages of it."
            )


def _at_hand(value: T | None, name: str, remedy: str) -> T:
    if value is None:
        raise InputError(f"A stage asks for the {name}, which it does not have when it runs: {remedy}.")
    return value

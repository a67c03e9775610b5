"""Where a template lies: the affines from its mean frame to every member, and the grid over what they show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mics.atlas.folder import Clock, failure_message, read_json, state_of_files, write_json
from mics.atlas.mean_shape import Matrix, in_mean_frame
from mics.atlas.members import read_member
from mics.data.pairs import ScanSource
from mics.errors import InputError, RunError, counted
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image
from mics.registration.device import choose_device
from mics.registration.organ_affine import register_affine_by_organs

MIN_MEMBERS = 2
"""Members of a group."""
_AFFINES = "affines.json"


@dataclass(frozen=True, eq=False)
class TemplateFrame:
    """The frame of a group: ``affines`` (4, 4) take points of the template to points of each of ``members``, in LPS mm.

    ``grid`` is the template's; ``left_out``: members that cannot be used, with the reason.
    """

    members: Sequence[ScanSource]
    affines: Mapping[str, Matrix]
    grid: Grid
    left_out: Mapping[str, str]


def mean_frame(
    folder: Path,
    members: Sequence[ScanSource],
    *,
    start: str | None,
    spacing_mm: float,
    device: str,
    progress: Callable[[str], None],
) -> TemplateFrame:
    """The mean frame of a group, and a grid of cubic voxels of ``spacing_mm`` in it; affines are kept in ``folder``.

    Raises InputError where fewer than two members can be used, or where their files have changed since the affines were kept.
    """
    affines, left_out = _affines(folder, members, start, device, progress)
    used = [member for member in members if member.name in affines]
    if len(used) < MIN_MEMBERS:
        raise RunError(f"Only {counted(len(used), 'scan')} can be used. {' '.join(left_out.values())}")
    affines = in_mean_frame(affines)
    return TemplateFrame(used, affines, _mean_grid(used, affines, spacing_mm), left_out)


def _affines(
    folder: Path,
    members: Sequence[ScanSource],
    start: str | None,
    device: str,
    progress: Callable[[str], None],
) -> tuple[dict[str, Matrix], dict[str, str]]:
    """From points of the member ``start``, or the first that can be read, to points of each (4, 4); kept in the folder.

    And of members that cannot be used, the reason.
    """
    path = folder / _AFFINES
    files = {member.name: state_of_files(member) for member in members}
    known = read_json(path)
    if known is not None and known["files"] == files:
        return {name: np.array(matrix) for name, matrix in known["affines"].items()}, dict(known["left_out"])
    if known is not None:
        raise RunError(f"Scans have changed since the template in {folder} was begun: give a new folder.")
    left_out: dict[str, str] = {}
    first, reference = _reference(members, start, left_out)
    affines: dict[str, Matrix] = {first: np.eye(4)}
    others = [member for member in members if member.name not in {first, *left_out}]
    clock = Clock(len(others))
    for number, member in enumerate(others, start=1):
        progress(f"Affine {number} of {len(others)}, {member.name}{clock}")
        try:
            image, _ = read_member(member)
            affines[member.name] = register_affine_by_organs(
                fixed=reference, moving=image, device=choose_device(device)
            )
        except InputError as error:
            left_out[member.name] = failure_message(member, error)
        clock.tick()
    ordered = {member.name: affines[member.name] for member in members if member.name in affines}
    plain = {name: matrix.tolist() for name, matrix in ordered.items()}
    write_json({"files": files, "left_out": left_out, "affines": plain}, path)
    return ordered, left_out


def _reference(members: Sequence[ScanSource], start: str | None, left_out: dict[str, str]) -> tuple[str, Image]:
    """The member that all others are brought onto; members that cannot be read go into ``left_out``."""
    for member in members:
        if start is None or member.name == start:
            try:
                return member.name, read_member(member)[0]
            except InputError as error:
                if start is not None:
                    raise
                left_out[member.name] = failure_message(member, error)
    raise RunError(f"None of the scans can be read. {' '.join(left_out.values())}")


def _mean_grid(members: Sequence[ScanSource], affines: Mapping[str, Matrix], spacing_mm: float) -> Grid:
    """Over the mean of what the members show, in the template's frame."""
    lower, upper = [], []
    for member in members:
        grid = read_member(member)[0].grid
        corners = apply_matrix(np.linalg.inv(affines[member.name]), grid.corners())
        lower.append(corners.min(axis=0))
        upper.append(corners.max(axis=0))
    return Grid.axis_aligned(np.mean(lower, axis=0), np.mean(upper, axis=0), spacing_mm)

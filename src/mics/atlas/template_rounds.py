"""The rounds of a template: everyone registered to the last average, their mean displacement taken out, averaged again."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mics.atlas.folder import Clock, failure_message, read_json, write_json
from mics.atlas.group import GroupMean, pairwise_dice
from mics.atlas.mean_shape import inverse, mean_displacement, root_mean_square
from mics.atlas.members import read_member
from mics.atlas.registering import AtlasSettings, in_view, register_scans
from mics.atlas.template_frame import MIN_MEMBERS, TemplateFrame
from mics.data.pairs import ScanSource
from mics.deformation.chain import chained
from mics.deformation.transform import Transform
from mics.errors import InputError, InsufficientMemoryError, RunError, counted
from mics.files.folder import write_together
from mics.image.io import Image, read_image, write_image

TO_TEMPLATE, FROM_TEMPLATE = "transform_member_to_template.nii.gz", "transform_template_to_member.nii.gz"
MEAN, TEMPLATE = "mean_displacement.nii.gz", "template.nii.gz"
DRIFT_MM = 0.5
_LESS_SPREAD = 0.02
"""Converged: the mean shape moves by less than ``DRIFT_MM`` (root mean square), and the spread of HU falls by a smaller share."""
_LESS_DRIFT = 0.1
_ROUNDS, _RECORD, _LINE = "rounds", "record.json", "round.json"


@dataclass(frozen=True)
class Round:
    """One line of the table of convergence; round 0 is the average after the affine alone.

    ``drift_mm``: root mean square of the mean displacement that was taken out; ``bias_mm``: of what is left of it, over what most
    members see. ``spread_hu``: standard deviation over the
    members, root mean square over what most of them see; ``sharpness_hu_per_mm``: mean length of the template's gradient there.
    ``dice``: of the warped labels, mean over organs and pairs of members; None without labels. ``members`` took part.
    """

    round: int
    members: int
    drift_mm: float | None
    bias_mm: float
    spread_hu: float
    sharpness_hu_per_mm: float
    dice: float | None


class Rounds:
    """The work in a template's folder, one folder a round; what is done is not done again.

    Args:
        folder: The template's.
        frame: The group's members, affines and grid.
        settings: Of the registrations.
        progress: Called with a few words as each step begins.
    """

    def __init__(
        self, folder: Path, frame: TemplateFrame, settings: AtlasSettings, progress: Callable[[str], None]
    ) -> None:
        self.folder, self.frame, self.settings, self.progress = folder, frame, settings, progress

    def run(self, rounds: int) -> list[Round]:
        """Go on until it has converged, or so many rounds; returns the table of convergence."""
        table = [self._begin()]
        # Of rounds that are done only the last has kept its transforms.
        while self._is_done(len(table)) or (len(table) <= rounds and not converged(table)):
            table.append(self._round(len(table), rounds))
        return table

    def round_folder(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder / _ROUNDS / f"{number:02d}"

    def _is_done(self, number: int) -> bool:
        return (self.round_folder(number) / _LINE).exists()

    def _begin(self) -> Round:
        """Round 0: the average after the affines."""
        folder = self.round_folder(0)
        earlier = read_json(folder / _LINE)
        if earlier is not None:
            return Round(**earlier)
        self.progress("Averaging after the affines")
        still = {
            member.name: chained([self.frame.affines[member.name]], self.frame.grid) for member in self.frame.members
        }
        return self._averaged(0, None, still.__getitem__)

    def _round(self, number: int, of: int) -> Round:
        """Register everyone to the last average, take the mean displacement out, and average again."""
        folder = self.round_folder(number)
        earlier = read_json(folder / _LINE)
        if earlier is not None:
            return Round(**earlier)
        average = read_image(self.round_folder(number - 1) / TEMPLATE)
        settings = replace(self.settings, refine="none") if number == 1 else self.settings
        waiting = [member for member in self.frame.members if read_json(folder / member.name / _RECORD) is None]
        clock = Clock(len(waiting))
        for member in waiting:
            done = len(self.frame.members) - clock.left + 1
            self.progress(f"Round {number} of at most {of}: {member.name}, {done} of {len(self.frame.members)}{clock}")
            self._register(member, average, settings, folder / member.name)
            clock.tick()
        self.progress(f"Round {number} of at most {of}: averaging")
        taking_part = self.taking_part(number)
        if len(taking_part) < MIN_MEMBERS:
            raise RunError(
                f"Of round {number} only {counted(len(taking_part), 'registration')} worked: see the verdicts in {folder}."
            )
        mean = mean_displacement([Transform.load(folder / member.name / TO_TEMPLATE) for member in taking_part])
        mean.save(folder / MEAN)
        inverse_mean = inverse(mean)
        line = self._averaged(
            number, mean, lambda name: inverse_mean.compose(Transform.load(folder / name / TO_TEMPLATE)), taking_part
        )
        if number > 1:  # only the last round's transforms are needed any more
            for member in self.frame.members:
                shutil.rmtree(self.round_folder(number - 1) / member.name, ignore_errors=True)
        return line

    def _register(self, member: ScanSource, average: Image, settings: AtlasSettings, folder: Path) -> None:
        """Write the member's transforms to and from the last average and its verdict; that alone of one that fails."""
        try:
            image, _ = read_member(member)
            result = register_scans(settings, fixed=average, moving=image, affine=self.frame.affines[member.name])
        except InsufficientMemoryError:
            raise
        except InputError as error:
            folder.mkdir(parents=True, exist_ok=True)
            write_json({"word": "failed", "reasons": [failure_message(member, error)]}, folder / _RECORD)
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_together(
            folder,
            {
                TO_TEMPLATE: result.moving_to_fixed.save,
                FROM_TEMPLATE: result.fixed_to_moving.save,
                _RECORD: partial(write_json, result.verdict.model_dump()),
            },
        )

    def taking_part(self, number: int) -> Sequence[ScanSource]:
        """The members whose registration in this round has not failed."""
        if number == 0:
            return self.frame.members
        words = {
            member.name: read_json(self.round_folder(number) / member.name / _RECORD) for member in self.frame.members
        }
        return [member for member in self.frame.members if (words[member.name] or {}).get("word") != "failed"]

    def _averaged(
        self,
        number: int,
        drift: Transform | None,
        transform_of: Callable[[str], Transform],
        members: Sequence[ScanSource] | None = None,
    ) -> Round:
        folder = self.round_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        group, maps = GroupMean(self.frame.grid), []
        total = np.zeros((*self.frame.grid.size, 3), np.float32)
        for member in members or self.frame.members:
            image, labels = read_member(member)
            transform = transform_of(member.name)
            total += transform.displacement_mm
            group.add(transform.transform_image(image).array, in_view(transform, image.grid).array > 0)
            if labels is not None:
                maps.append(transform.transform_labels(labels).array)
        line = Round(
            round=number,
            members=group.count,
            drift_mm=None if drift is None else root_mean_square(drift.displacement_mm),
            bias_mm=root_mean_square(total[group.in_view] / group.count),
            spread_hu=group.spread(),
            sharpness_hu_per_mm=group.sharpness(),
            dice=pairwise_dice(maps) if len(maps) > 1 else None,
        )
        write_together(
            folder,
            {TEMPLATE: partial(write_image, group.image()), _LINE: partial(write_json, asdict(line))},
        )
        return line


def converged(table: Sequence[Round]) -> bool:
    """Whether the last round of a table has changed the template too little for another one."""
    if len(table) < 3 or table[-1].drift_mm is None:
        return False
    return table[-1].drift_mm <= DRIFT_MM and not _spread_falls(table)


def errs_alike(table: Sequence[Round]) -> bool:
    """Whether the last round has moved the mean shape hardly less than the round before.

    The average then stands: what every registration misses alike is found again in each round.
    """
    if len(table) < 3 or (last := table[-1].drift_mm) is None or (before := table[-2].drift_mm) is None:
        return False
    return last > max(DRIFT_MM, (1 - _LESS_DRIFT) * before) and not _spread_falls(table)


def _spread_falls(table: Sequence[Round]) -> bool:
    return table[-2].spread_hu - table[-1].spread_hu > _LESS_SPREAD * table[-2].spread_hu

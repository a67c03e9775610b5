"""An unbiased average of a group of scans, its transforms to everyone, and how everyone's volumes differ from it.

The shape is Guimond's (Guimond, Meunier and Thirion 2000, "Average brain models: a convergence study", CVIU 77(2), 192-210): with
T_k from points of the template to points of member k, affine included, the template lies where the mean over k of T_k(x) is x
itself. Where it does not yet, the mean φ(x) = mean T_k(x) is taken out of all of them: T_k ∘ φ⁻¹ has that property exactly,
whatever scan or order one has begun with.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mics.atlas.folder import Clock, read_json, require_progress, settle, state_of_files, told, write_json
from mics.atlas.fusion import Atlases, fuse
from mics.atlas.group import GroupMean, pairwise_dice
from mics.atlas.members import given_members, meaning, read_member
from mics.atlas.registering import Settings, in_view, register_scans
from mics.atlas.tables import to_csv
from mics.data.pairs import Member
from mics.deformation.chain import chained
from mics.deformation.field import invert
from mics.deformation.maps import jacobian_map
from mics.deformation.transform import Transform
from mics.errors import InputError, InsufficientMemoryError, RunError, SettingError, shown
from mics.files.folder import own_folder, write_together
from mics.files.whole import write_text
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image, read_image, write_image, write_labels
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration.choices import Refine
from mics.registration.device import choose_device
from mics.registration.organ_affine import register_affine_by_organs

MEMBERS = "members"
TO_TEMPLATE, FROM_TEMPLATE = "transform_member_to_template.nii.gz", "transform_template_to_member.nii.gz"
_NOTE, _AFFINES, _ROUNDS, _RECORD = "template.json", "affines.json", "rounds", "record.json"
_LINE, _MEAN, _TEMPLATE = "round.json", "mean_displacement.nii.gz", "template.nii.gz"
_DRIFT_MM, _LESS_SPREAD = 0.5, 0.02
"""Converged: the mean shape moves by less (root mean square), and the spread of HU falls by a smaller share."""
_FEWEST = 2
_LEAST_DETERMINANT = 0.01

Affine = NDArray[np.float64]


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


@dataclass(frozen=True, eq=False)
class Template:
    """The average of a group: ``image`` (HU), mean and standard deviation over members of the logarithm of the Jacobian
    determinant (template to member, affine included; float32), ``labels`` by majority (None without), and how it converged.

    ``left_out``: members that took no part, with the reason. ``verdict``: good or look, ``reasons`` why.
    """

    image: Image
    mean_log_jacobian: Image
    sd_log_jacobian: Image
    labels: Image | None
    rounds: Sequence[Round]
    left_out: Mapping[str, str]
    verdict: Literal["good", "look"]
    reasons: Sequence[str]


def template(
    scans: str | Path | Sequence[Member],
    output: str | Path,
    *,
    rounds: int = 4,
    spacing_mm: float = 2.0,
    start: str | None = None,
    model: str | Path = DEFAULT_REGISTRATION,
    refine: Refine = "fast",
    device: str = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> Template:
    """Average a group of scans in shape and grey values, and write it with everyone's transforms into ``output``.

    All members are brought by an affine onto one of them and averaged in the mean frame of all; then, round after round, each is
    registered to the average, the mean of their displacements is taken out of the transforms, and a new average is made, until
    the shape stays where it is. What is done is not done again: an interrupted run goes on. The first round, on a blurred
    average, does without refinement.

    Args:
        scans: A folder or CSV file that :func:`mics.atlas.members.read_members` reads, with or without labels, or its members.
        output: A new or empty folder, or one that this has been begun in. It gets ``template.nii.gz``,
            ``mean_log_jacobian.nii.gz``, ``sd_log_jacobian.nii.gz``, with labels ``labels.nii.gz`` and ``agreement.nii.gz``,
            ``convergence.csv``, ``summary.json``, and both transforms of every member in ``members/NAME/``.
        rounds: At most; fewer where it has converged.
        spacing_mm: Of the template's cubic voxels.
        start: The member to begin with, by default the first by name; the result does not depend on it but for what the
            registrations do.
        model: As in :func:`mics.registration.pipeline.register`; so are ``refine`` and ``device``.
        refine: How much work is spent on each registration, from the second round on.
        device: Where the networks run.
        progress: Called with a few words as each step begins.

    Returns:
        The template, the log-Jacobians, and how it converged.

    Raises:
        InputError: For settings that cannot be used, fewer than two scans, and a folder that holds something else or other work.
    """
    settings = Settings(model=model, refine=refine, device=device)
    require_progress(progress)
    if not isinstance(rounds, int) or not 1 <= rounds <= 99:
        raise SettingError(f"`rounds` is a whole number from 1 to 99, not {shown(rounds)}.", option="rounds")
    if not isinstance(spacing_mm, int | float) or not 0.5 <= spacing_mm <= 20:
        raise SettingError(f"`spacing_mm` is from 0.5 to 20 mm, not {shown(spacing_mm)}.", option="spacing_mm")
    members = given_members(scans, "The scans of a group", labelled=False)
    label_names = meaning(members)
    names = [member.name for member in members]
    if len(members) < _FEWEST:
        raise SettingError(f"A template needs at least two scans: {len(members)} found.")
    if start is not None and start not in names:
        raise SettingError(
            f"`start` is the name of one of the scans, {', '.join(names)}, not {start!r}.", option="start"
        )
    settings.refuse_unusable()
    with own_folder(output, _NOTE, "a template") as folder:
        content = {"scans": names, "spacing_mm": spacing_mm, "start": start, **settings.to_dict()}
        settle(folder, _NOTE, {**content, "version": version("mics-registration")})
        return _Building(folder, members, start, spacing_mm, settings, label_names, progress).run(rounds)


class _Building:
    """The work in a folder: affines, then rounds, then what is delivered."""

    def __init__(
        self,
        folder: Path,
        members: Sequence[Member],
        start: str | None,
        spacing_mm: float,
        settings: Settings,
        label_names: Mapping[int, str],
        progress: Callable[[str], None],
    ) -> None:
        self.folder, self.settings, self.label_names, self.progress = folder, settings, label_names, progress
        self.left_out: dict[str, str] = {}
        affines = self._affines(members, start)
        self.members = [member for member in members if member.name in affines]
        if len(self.members) < _FEWEST:
            raise RunError(f"Only {len(self.members)} scans can be used. {' '.join(self.left_out.values())}")
        self.affines = in_mean_frame(affines)
        self.grid = self._mean_grid(spacing_mm)

    def run(self, rounds: int) -> Template:
        """Until it has converged, or so many rounds."""
        table = [self._begin()]
        # Of rounds that are done only the last has kept its transforms.
        while self._is_done(len(table)) or (len(table) <= rounds and not _converged(table)):
            table.append(self._round(len(table), rounds))
        return self._deliver(table)

    def _is_done(self, number: int) -> bool:
        return (self._place(number) / _LINE).exists()

    def _affines(self, members: Sequence[Member], start: str | None) -> dict[str, Affine]:
        """From points of the member ``start``, or the first that can be read, to points of each (4, 4); kept in the folder."""
        path = self.folder / _AFFINES
        files = {member.name: state_of_files(member) for member in members}
        known = read_json(path)
        if known is not None and known["files"] == files:
            self.left_out |= known["left_out"]
            return {name: np.array(matrix) for name, matrix in known["affines"].items()}
        if known is not None:
            raise RunError(f"Scans have changed since the template in {self.folder} was begun: give a new folder.")
        first, reference = self._reference(members, start)
        affines: dict[str, Affine] = {first: np.eye(4)}
        others = [member for member in members if member.name not in {first, *self.left_out}]
        clock = Clock(len(others))
        for number, member in enumerate(others, start=1):
            self.progress(f"Affine {number} of {len(others)}, {member.name}{clock}")
            try:
                image, _ = read_member(member)
                affines[member.name] = register_affine_by_organs(
                    fixed=reference, moving=image, device=choose_device(self.settings.device)
                )
            except InputError as error:
                self.left_out[member.name] = told(member, error)
            clock.tick()
        ordered = {member.name: affines[member.name] for member in members if member.name in affines}
        plain = {name: matrix.tolist() for name, matrix in ordered.items()}
        write_json({"files": files, "left_out": self.left_out, "affines": plain}, path)
        return ordered

    def _reference(self, members: Sequence[Member], start: str | None) -> tuple[str, Image]:
        for member in members:
            if start is None or member.name == start:
                try:
                    return member.name, read_member(member)[0]
                except InputError as error:
                    if start is not None:
                        raise
                    self.left_out[member.name] = told(member, error)
        raise RunError(f"None of the scans can be read. {' '.join(self.left_out.values())}")

    def _mean_grid(self, spacing_mm: float) -> Grid:
        """Over the mean of what the members show, in the template's frame."""
        lower, upper = [], []
        for member in self.members:
            grid = read_member(member)[0].grid
            corners = apply_matrix(np.linalg.inv(self.affines[member.name]), grid.corners())
            lower.append(corners.min(axis=0))
            upper.append(corners.max(axis=0))
        return Grid.axis_aligned(np.mean(lower, axis=0), np.mean(upper, axis=0), spacing_mm)

    def _begin(self) -> Round:
        """Round 0: the average after the affines."""
        place = self._place(0)
        earlier = read_json(place / _LINE)
        if earlier is not None:
            return Round(**earlier)
        self.progress("Averaging after the affines")
        still = {member.name: chained([self.affines[member.name]], self.grid) for member in self.members}
        return self._averaged(0, None, still.__getitem__)

    def _round(self, number: int, of: int) -> Round:
        """Register everyone to the last average, take the mean displacement out, and average again."""
        place = self._place(number)
        earlier = read_json(place / _LINE)
        if earlier is not None:
            return Round(**earlier)
        average = read_image(self._place(number - 1) / _TEMPLATE)
        settings = replace(self.settings, refine="none") if number == 1 else self.settings
        waiting = [member for member in self.members if read_json(place / member.name / _RECORD) is None]
        clock = Clock(len(waiting))
        for member in waiting:
            done = len(self.members) - clock.left + 1
            self.progress(f"Round {number} of at most {of}: {member.name}, {done} of {len(self.members)}{clock}")
            try:
                image, _ = read_member(member)
                result = register_scans(average, image, settings, affine=self.affines[member.name])
            except InsufficientMemoryError:
                raise
            except InputError as error:
                (place / member.name).mkdir(parents=True, exist_ok=True)
                write_json({"word": "failed", "reasons": [told(member, error)]}, place / member.name / _RECORD)
                clock.tick()
                continue
            (place / member.name).mkdir(parents=True, exist_ok=True)
            write_together(
                place / member.name,
                {
                    TO_TEMPLATE: result.moving_to_fixed.save,
                    FROM_TEMPLATE: result.fixed_to_moving.save,
                    _RECORD: partial(write_json, result.summary["verdict"]),
                },
            )
            clock.tick()
        self.progress(f"Round {number} of at most {of}: averaging")
        taking_part = self._taking_part(number)
        if len(taking_part) < _FEWEST:
            raise RunError(
                f"Of round {number} only {len(taking_part)} registrations have worked: see the verdicts in {place}."
            )
        mean = mean_displacement([Transform.load(place / member.name / TO_TEMPLATE) for member in taking_part])
        mean.save(place / _MEAN)
        back = inverse(mean)
        line = self._averaged(
            number, mean, lambda name: back.compose(Transform.load(place / name / TO_TEMPLATE)), taking_part
        )
        if number > 1:  # only the last round's transforms are needed any more
            for member in self.members:
                shutil.rmtree(self._place(number - 1) / member.name, ignore_errors=True)
        return line

    def _taking_part(self, number: int) -> list[Member]:
        """Those whose registration in this round has not failed."""
        if number == 0:
            return self.members
        words = {member.name: read_json(self._place(number) / member.name / _RECORD) for member in self.members}
        return [member for member in self.members if (words[member.name] or {}).get("word") != "failed"]

    def _averaged(
        self,
        number: int,
        drift: Transform | None,
        transform_of: Callable[[str], Transform],
        members: Sequence[Member] | None = None,
    ) -> Round:
        place = self._place(number)
        place.mkdir(parents=True, exist_ok=True)
        group, maps = GroupMean(self.grid), []
        total = np.zeros((*self.grid.size, 3), np.float32)
        for member in members or self.members:
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
            place,
            {_TEMPLATE: partial(write_image, group.image()), _LINE: partial(write_json, asdict(line))},
        )
        return line

    def _deliver(self, table: Sequence[Round]) -> Template:
        """The last round's template, and everyone's transforms to and from it, its mean displacement taken out."""
        last = self._place(len(table) - 1)
        mean = Transform.load(last / _MEAN)
        back = inverse(mean)
        logs, maps, views = [], [], []
        for member in self._taking_part(len(table) - 1):
            self.progress(f"Transforms of {member.name}")
            image, labels = read_member(member)
            to_template = back.compose(Transform.load(last / member.name / TO_TEMPLATE))
            from_template = Transform.load(last / member.name / FROM_TEMPLATE).compose(mean)
            place = self.folder / MEMBERS / member.name
            place.mkdir(parents=True, exist_ok=True)
            write_together(place, {TO_TEMPLATE: to_template.save, FROM_TEMPLATE: from_template.save})
            logs.append(log_jacobian(to_template))
            if labels is not None:
                maps.append(to_template.transform_labels(labels).array)
                views.append(in_view(to_template, image.grid).array > 0)
        image = read_image(last / _TEMPLATE)
        files: dict[str, Callable[[Path], object]] = {}
        labels = None
        if maps:
            kind = np.result_type(*maps)
            voting = Atlases(
                images=np.zeros((len(maps), *image.grid.size), np.int8),
                labels=np.stack([labels.astype(kind) for labels in maps]),
                seen=np.stack(views),
                spacing=image.grid.spacing,
            )
            fused = fuse(image.array, voting, "majority")
            labels = Image(fused.labels, image.grid)
            files["labels.nii.gz"] = partial(write_labels, labels)
            if self.label_names:
                plain = {str(label): name for label, name in self.label_names.items()}
                files["label_names.json"] = partial(write_json, plain)
            files["agreement.nii.gz"] = partial(write_image, Image(fused.agreement, image.grid))
        reasons = [f"{name} is left out: {reason}" for name, reason in self.left_out.items()]
        reasons += [
            f"{member.name} is left out: its registration to the template has failed by its verdict."
            for member in self.members
            if member not in self._taking_part(len(table) - 1)
        ]
        if not _converged(table):
            reasons.append(
                f"The shape still moved, or the spread still fell, in round {table[-1].round}: give more rounds."
            )
        if table[-1].bias_mm > _DRIFT_MM:
            reasons.append(
                f"The mean displacement of the members is {table[-1].bias_mm:.1f} mm, not zero: its own map has no good "
                "inverse, so that the template is biased."
            )
        result = Template(
            image=image,
            mean_log_jacobian=Image(np.asarray(np.mean(logs, axis=0, dtype=np.float32)), image.grid),
            sd_log_jacobian=Image(np.asarray(np.std(logs, axis=0, ddof=1, dtype=np.float32)), image.grid),
            labels=labels,
            rounds=table,
            left_out=self.left_out,
            verdict="look" if reasons else "good",
            reasons=reasons,
        )
        self.progress("Writing")
        summary = {
            "verdict": {"word": result.verdict, "reasons": reasons},
            "settings": self.settings.to_dict(),
            "rounds": [asdict(line) for line in table],
            "affines_template_to_member_lps_mm": {name: matrix.tolist() for name, matrix in self.affines.items()},
        }
        write_together(
            self.folder,
            {
                **files,
                "template.nii.gz": partial(write_image, image),
                "mean_log_jacobian.nii.gz": partial(write_image, result.mean_log_jacobian),
                "sd_log_jacobian.nii.gz": partial(write_image, result.sd_log_jacobian),
                "convergence.csv": partial(write_text, to_csv([asdict(line) for line in table])),
                "summary.json": partial(write_json, summary),
            },
        )
        return result

    def _place(self, number: int) -> Path:
        return self.folder / _ROUNDS / f"{number:02d}"


def in_mean_frame(affines: Mapping[str, Affine]) -> dict[str, Affine]:
    """Affines from one common frame to each member, (4, 4), as affines from the members' mean frame, whose mean is the identity.

    With the mean Ā of all A_k they are A_k Ā⁻¹: the same whichever member the common frame is taken from, where the A_k are
    consistent.
    """
    back = np.linalg.inv(np.mean(list(affines.values()), axis=0))
    return {name: matrix @ back for name, matrix in affines.items()}


def mean_displacement(transforms: Sequence[Transform]) -> Transform:
    """The mean of the displacements of transforms on one grid."""
    total = np.zeros_like(transforms[0].displacement_mm, dtype=np.float64)
    for transform in transforms:
        total += transform.displacement_mm
    return Transform((total / len(transforms)).astype(np.float32), transforms[0].grid)


def inverse(transform: Transform) -> Transform:
    """The inverse on the same grid (:func:`mics.deformation.field.invert`)."""
    return Transform.from_voxels(invert(transform.displacement_voxels()), transform.grid)


def log_jacobian(transform: Transform) -> NDArray[np.float32]:
    """The natural logarithm of the Jacobian determinant at each voxel, (X, Y, Z); below 0.01, as in folds, that of 0.01."""
    logarithm: NDArray[np.float32] = np.log(np.maximum(jacobian_map(transform).array, _LEAST_DETERMINANT))
    return logarithm


def root_mean_square(displacement_mm: NDArray[np.floating]) -> float:
    """Of the lengths of vectors (…, 3)."""
    return float(np.sqrt(np.mean(np.sum(np.square(displacement_mm, dtype=np.float64), axis=-1))))


def _converged(table: Sequence[Round]) -> bool:
    if len(table) < 3 or table[-1].drift_mm is None:
        return False
    fell = table[-2].spread_hu - table[-1].spread_hu
    return table[-1].drift_mm <= _DRIFT_MM and fell <= _LESS_SPREAD * table[-2].spread_hu

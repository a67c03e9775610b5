"""What a finished template delivers: its volumes, its labels, everyone's transforms to and from it, and its verdict."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mics.atlas.folder import write_json
from mics.atlas.fusion import Atlases, Fused, fuse
from mics.atlas.mean_shape import inverse, log_jacobian
from mics.atlas.members import read_member
from mics.atlas.registering import in_view
from mics.atlas.tables import to_csv
from mics.atlas.template_frame import TemplateFrame
from mics.atlas.template_rounds import (
    DRIFT_MM,
    FROM_TEMPLATE,
    MEAN,
    TEMPLATE,
    TO_TEMPLATE,
    Round,
    Rounds,
    converged,
    errs_alike,
)
from mics.data.pairs import ScanSource
from mics.deformation.provenance import voxels_sha256
from mics.deformation.transform import Transform
from mics.evaluation.numbering import unlike_numbering
from mics.files.folder import write_together
from mics.files.whole import write_text
from mics.image.grid import Grid
from mics.image.io import Image, read_image, write_image, write_labels

MEMBERS = "members"


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

    def __repr__(self) -> str:
        return f"Template({self.image.grid}; rounds: {len(self.rounds)}; {self.verdict})"


@dataclass(frozen=True, eq=False)
class _Delivered:
    """A member on the template: the logarithm of its Jacobian determinant, its labels (None without), where it is in view.

    ``scan``: a checksum of its voxels.
    """

    name: str
    scan: str
    log_jacobian: NDArray[np.float32]
    labels: NDArray[np.integer] | None
    in_view: NDArray[np.bool_]


def deliver(rounds: Rounds, table: Sequence[Round], label_names: Mapping[int, str]) -> Template:
    """The last round's template, and everyone's transforms to and from it, its mean displacement taken out, written.

    ``table`` is that of the ``rounds``; ``label_names`` what the labels mean, where that is known.
    """
    taking_part = rounds.taking_part(len(table) - 1)
    delivered = _members_delivered(rounds, rounds.round_folder(len(table) - 1), taking_part)
    image = read_image(rounds.round_folder(len(table) - 1) / TEMPLATE)
    fused = _fused([one for one in delivered if one.labels is not None], image.grid)
    reasons = [*_reasons(rounds.frame, taking_part, table), *_doubled(delivered), *_odd_labels(delivered, fused)]
    logs = [one.log_jacobian for one in delivered]
    result = Template(
        image=image,
        mean_log_jacobian=Image(np.asarray(np.mean(logs, axis=0, dtype=np.float32)), image.grid),
        sd_log_jacobian=Image(np.asarray(np.std(logs, axis=0, ddof=1, dtype=np.float32)), image.grid),
        labels=None if fused is None else Image(fused.labels, image.grid),
        rounds=table,
        left_out=rounds.frame.left_out,
        verdict="look" if reasons else "good",
        reasons=reasons,
    )
    rounds.progress("Writing")
    write_together(rounds.folder, {**_label_files(fused, image.grid, label_names), **_files(result, rounds)})
    return result


def _members_delivered(rounds: Rounds, last: Path, taking_part: Sequence[ScanSource]) -> list[_Delivered]:
    """Everyone's transforms written, and what the template needs of each."""
    mean = Transform.load(last / MEAN)
    inverse_mean = inverse(mean)
    delivered = []
    for member in taking_part:
        rounds.progress(f"Transforms of {member.name}")
        image, labels = read_member(member)
        to_template = inverse_mean.compose(Transform.load(last / member.name / TO_TEMPLATE))
        from_template = Transform.load(last / member.name / FROM_TEMPLATE).compose(mean)
        place = rounds.folder / MEMBERS / member.name
        place.mkdir(parents=True, exist_ok=True)
        write_together(place, {TO_TEMPLATE: to_template.save, FROM_TEMPLATE: from_template.save})
        carried = None if labels is None else to_template.transform_labels(labels).array
        seen = in_view(to_template, image.grid).array > 0
        delivered.append(_Delivered(member.name, voxels_sha256(image), log_jacobian(to_template), carried, seen))
    return delivered


def _fused(labelled: Sequence[_Delivered], grid: Grid) -> Fused | None:
    """The majority's labels on the template; None where no member has any."""
    maps = [one.labels for one in labelled if one.labels is not None]
    if not maps:
        return None
    kind = np.result_type(*maps)
    images = np.zeros((len(maps), *grid.size), np.int8)  # The majority looks at none.
    voting = Atlases(
        images=images,
        labels=np.stack([labels.astype(kind) for labels in maps]),
        in_view=np.stack([one.in_view for one in labelled]),
        spacing=grid.spacing,
    )
    return fuse(images[0], voting, "majority")


def _reasons(frame: TemplateFrame, taking_part: Sequence[ScanSource], table: Sequence[Round]) -> list[str]:
    """Why to look at the template before it is used."""
    reasons = [f"{name} is left out: {reason}" for name, reason in frame.left_out.items()]
    reasons += [
        f"{member.name} is left out: its registration to the template has failed by its verdict."
        for member in frame.members
        if member not in taking_part
    ]
    if errs_alike(table):
        reasons.append(
            f"Round {table[-1].round} moved the mean shape by {table[-1].drift_mm:.1f} mm, hardly less than the round before: "
            "that is what the registrations miss alike, so more rounds do not help; another --refine or --model may."
        )
    elif not converged(table):
        reasons.append(
            f"The shape still moved, or the spread still fell, in round {table[-1].round}: give more rounds."
        )
    if table[-1].bias_mm > DRIFT_MM:
        reasons.append(
            f"The mean displacement of the members is {table[-1].bias_mm:.1f} mm, not zero: its own map has no good "
            "inverse, so that the template is biased."
        )
    return reasons


def _doubled(delivered: Sequence[_Delivered]) -> list[str]:
    """A sentence for each scan that is there under two names."""
    return [
        f"{one.name} and {two.name} are the same scan, voxel by voxel, which so counts twice: leave one of them out."
        for one, two in itertools.combinations(delivered, 2)
        if one.scan == two.scan
    ]


def _odd_labels(delivered: Sequence[_Delivered], fused: Fused | None) -> list[str]:
    """Sentences on members whose labels cannot be those of the others, or are none."""
    if fused is None:
        return []
    reasons = []
    without = [one.name for one in delivered if one.labels is None]
    if without:
        number, of = len(delivered) - len(without), len(delivered)
        reasons.append(f"Labels are of {number} of {of} scans, and missing of {', '.join(without)}.")
    for one in delivered:
        if one.labels is None:
            continue
        own, common = (set(np.unique(labels).tolist()) - {0} for labels in (one.labels, fused.labels))
        if not own:
            reasons.append(f"The label map of {one.name} is empty, so that it votes for background.")
        elif common and not own & common:
            reasons.append(
                f"{one.name} shows none of the labels that the others agree on: does it use the same numbering?"
            )
        else:
            reasons += unlike_numbering(one.name, one.labels, fused.labels)
    return reasons


def _label_files(
    fused: Fused | None, grid: Grid, label_names: Mapping[int, str]
) -> dict[str, Callable[[Path], object]]:
    """What writes the labels, by file name."""
    if fused is None:
        return {}
    files: dict[str, Callable[[Path], object]] = {
        "labels.nii.gz": partial(write_labels, Image(fused.labels, grid)),
        "agreement.nii.gz": partial(write_image, Image(fused.agreement, grid)),
    }
    if label_names:
        plain = {str(label): name for label, name in label_names.items()}
        files["label_names.json"] = partial(write_json, plain)
    return files


def _files(result: Template, rounds: Rounds) -> dict[str, Callable[[Path], object]]:
    """What writes the template, by file name, the summary last."""
    table = [asdict(line) for line in result.rounds]
    summary = {
        "verdict": {"word": result.verdict, "reasons": result.reasons},
        "settings": rounds.settings.to_dict(),
        "rounds": table,
        "affines_template_to_member_lps_mm": {name: matrix.tolist() for name, matrix in rounds.frame.affines.items()},
    }
    return {
        TEMPLATE: partial(write_image, result.image),
        "mean_log_jacobian.nii.gz": partial(write_image, result.mean_log_jacobian),
        "sd_log_jacobian.nii.gz": partial(write_image, result.sd_log_jacobian),
        "convergence.csv": partial(write_text, to_csv(table)),
        "summary.json": partial(write_json, summary),
    }

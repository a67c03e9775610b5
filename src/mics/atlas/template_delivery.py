"""What a finished template delivers: its volumes, its labels, everyone's transforms to and from it, and its verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from mics.atlas.folder import write_json
from mics.atlas.fusion import Atlases, fuse
from mics.atlas.mean_shape import inverse, log_jacobian
from mics.atlas.members import read_member
from mics.atlas.registering import in_view
from mics.atlas.tables import to_csv
from mics.atlas.template_rounds import DRIFT_MM, FROM_TEMPLATE, MEAN, TEMPLATE, TO_TEMPLATE, Round, Rounds, converged
from mics.deformation.transform import Transform
from mics.files.folder import write_together
from mics.files.whole import write_text
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


def deliver(rounds: Rounds, table: Sequence[Round], label_names: Mapping[int, str]) -> Template:
    """The last round's template, and everyone's transforms to and from it, its mean displacement taken out, written.

    ``table`` is that of the ``rounds``; ``label_names`` what the labels mean, where that is known.
    """
    frame, folder, progress = rounds.frame, rounds.folder, rounds.progress
    last = rounds.place(len(table) - 1)
    mean = Transform.load(last / MEAN)
    back = inverse(mean)
    logs, maps, views = [], [], []
    taking_part = rounds.taking_part(len(table) - 1)
    for member in taking_part:
        progress(f"Transforms of {member.name}")
        image, labels = read_member(member)
        to_template = back.compose(Transform.load(last / member.name / TO_TEMPLATE))
        from_template = Transform.load(last / member.name / FROM_TEMPLATE).compose(mean)
        place = folder / MEMBERS / member.name
        place.mkdir(parents=True, exist_ok=True)
        write_together(place, {TO_TEMPLATE: to_template.save, FROM_TEMPLATE: from_template.save})
        logs.append(log_jacobian(to_template))
        if labels is not None:
            maps.append(to_template.transform_labels(labels).array)
            views.append(in_view(to_template, image.grid).array > 0)
    image = read_image(last / TEMPLATE)
    files: dict[str, Callable[[Path], object]] = {}
    labels = None
    if maps:
        kind = np.result_type(*maps)
        voting = Atlases(
            images=np.zeros((len(maps), *image.grid.size), np.int8),
            labels=np.stack([labels.astype(kind) for labels in maps]),
            in_view=np.stack(views),
            spacing=image.grid.spacing,
        )
        fused = fuse(image.array, voting, "majority")
        labels = Image(fused.labels, image.grid)
        files["labels.nii.gz"] = partial(write_labels, labels)
        if label_names:
            plain = {str(label): name for label, name in label_names.items()}
            files["label_names.json"] = partial(write_json, plain)
        files["agreement.nii.gz"] = partial(write_image, Image(fused.agreement, image.grid))
    reasons = [f"{name} is left out: {reason}" for name, reason in frame.left_out.items()]
    reasons += [
        f"{member.name} is left out: its registration to the template has failed by its verdict."
        for member in frame.members
        if member not in taking_part
    ]
    if not converged(table):
        reasons.append(
            f"The shape still moved, or the spread still fell, in round {table[-1].round}: give more rounds."
        )
    if table[-1].bias_mm > DRIFT_MM:
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
        left_out=frame.left_out,
        verdict="look" if reasons else "good",
        reasons=reasons,
    )
    progress("Writing")
    summary = {
        "verdict": {"word": result.verdict, "reasons": reasons},
        "settings": rounds.settings.to_dict(),
        "rounds": [asdict(line) for line in table],
        "affines_template_to_member_lps_mm": {name: matrix.tolist() for name, matrix in frame.affines.items()},
    }
    write_together(
        folder,
        {
            **files,
            TEMPLATE: partial(write_image, image),
            "mean_log_jacobian.nii.gz": partial(write_image, result.mean_log_jacobian),
            "sd_log_jacobian.nii.gz": partial(write_image, result.sd_log_jacobian),
            "convergence.csv": partial(write_text, to_csv([asdict(line) for line in table])),
            "summary.json": partial(write_json, summary),
        },
    )
    return result

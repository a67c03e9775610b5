"""How well labels are carried over to the validation subjects from all others, by every fusion.

    python benchmarks/propagate.py AbdomenCTCT -o work                       # the default registration
    python benchmarks/propagate.py AbdomenCTCT -o work-quick --model mics-fast --refine none --ants

Mean Dice over the organs that a subject has, on the scan's voxels. The best and the mean single atlas are of the same warped
label maps; the best is chosen by its Dice, which nobody knows of a new scan. `organs-small` is the shipped segmentation network,
on the same subject. With --ants also ANTs' joint label fusion of the same warped atlases, with the same neighbourhoods.
Registrations are kept in the folder: an interrupted run goes on.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mics.atlas.fusion import FUSIONS, Atlases, fuse, undisputed
from mics.atlas.members import read_members
from mics.atlas.propagate import ATLASES, propagate, read_atlases
from mics.data.cohorts.learn2reg import Learn2RegCase, open_learn2reg
from mics.evaluation.metrics import dice
from mics.evaluation.tables import number, table
from mics.network.weights import DEFAULT_REGISTRATION, load_model
from mics.organs import ORGAN_NAMES
from mics.pseudo_labels.predict import predict


def overlap(truth: NDArray[np.integer], found: NDArray[np.integer]) -> float:
    """Mean Dice over the organs of ``truth``."""
    shown = [organ for organ in ORGAN_NAMES if (truth == organ).any()]
    return float(np.mean(list(dice(truth, found, shown, moving_labels=truth).values())))


def ants_joint_fusion(scan: NDArray[np.floating], atlases: Atlases) -> NDArray[np.integer]:
    """ANTs' joint label fusion where the atlases disagree, with our neighbourhoods and numbers."""
    import ants

    def volume(array: NDArray[np.generic]) -> ants.ANTsImage:
        return ants.from_numpy(np.asarray(array, np.float32))

    labels, disputed = undisputed(atlases)
    found = ants.joint_label_fusion(
        volume(np.clip(scan, -160, 240)),
        volume(disputed),
        [volume(np.clip(image, -160, 240)) for image in atlases.images],
        label_list=[volume(own + 1) for own in atlases.labels],  # ANTs leaves 0 out of the vote
        beta=2,
        rho=0.1,
        rad=list(atlases.radius(4.0)),
        r_search=atlases.radius(2.0)[0],
    )["segmentation"].numpy()
    voted = disputed & (found > 0)
    labels[voted] = found[voted].astype(labels.dtype) - 1
    return labels


def measured(case: Learn2RegCase, options: argparse.Namespace) -> dict[str, float]:
    """Every way's Dice on one subject, and the seconds of each fusion on stderr."""
    data = open_learn2reg(options.data)
    training = {other.number for other in data.training}
    members = [member for member in read_members(options.data, labelled=True) if member.name in training]
    image, truth = case.image(), case.labels().array
    output = options.output / case.number
    result = propagate(
        image,
        members,
        output,
        fusion="majority",
        model=options.model,
        refine=options.refine,
        progress=lambda words: print(f"{case.number}: {words}", file=sys.stderr, flush=True),
    )
    used = [outcome.name for outcome in result.atlases if outcome.used]
    atlases = read_atlases([output / ATLASES / name for name in used], image.grid)
    single = [overlap(truth, labels) for labels in atlases.labels]
    scores = {"atlases": len(used), "mean single": float(np.mean(single)), "best single": max(single)}
    rules = {name: lambda scan, shown, name=name: fuse(scan, shown, name).labels for name in FUSIONS}
    if options.ants:
        rules["ANTs' joint"] = ants_joint_fusion
    for name, rule in rules.items():
        began = time.process_time()
        scores[name] = overlap(truth, rule(image.array, atlases))
        print(f"{case.number}: {name} {time.process_time() - began:.0f} processor seconds", file=sys.stderr, flush=True)
    scores["organs-small"] = overlap(truth, predict(load_model("organs-small"), image, torch.device("cpu")).labels)
    return scores


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Learn2Reg layout")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder that keeps the registrations")
    parser.add_argument("--subjects", nargs="+", help="numbers of validation subjects; by default all")
    parser.add_argument("--model", default=DEFAULT_REGISTRATION)
    parser.add_argument("--refine", default="fast")
    parser.add_argument("--ants", action="store_true", help="ANTs' joint label fusion as well")
    options = parser.parse_args()
    subjects = open_learn2reg(options.data).validation
    scores = {
        case.number: measured(case, options)
        for case in subjects
        if options.subjects is None or case.number in options.subjects
    }
    names = list(next(iter(scores.values())))
    rows = [
        [name, *(number(one[name], 0 if name == "atlases" else 3) for one in scores.values()), average(name, scores)]
        for name in names
    ]
    print("\n".join(table(["", *scores, "mean"], rows)))


def average(name: str, scores: dict[str, dict[str, float]]) -> str:
    """Over the subjects."""
    return "" if name == "atlases" else number(float(np.mean([one[name] for one in scores.values()])), 3)


if __name__ == "__main__":
    main()

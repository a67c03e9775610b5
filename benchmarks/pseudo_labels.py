"""How good pseudo-labels are: organs that are known are hidden, completed, and compared.

    mics prepare learn2reg=AbdomenCTCT -o prepared
    python benchmarks/pseudo_labels.py hide prepared study
    mics train organs-coarse --data study/hidden -o study/organs-coarse
    mics train organs-small  --data study/hidden -o study/organs --initial study/organs-coarse
    mics pseudo-labels study/hidden -o study/completed --model study/organs
    python benchmarks/pseudo_labels.py score prepared study

``hide`` leaves every third training subject all annotations, and of the others what one of the public cohorts annotates. It
writes the set ``study/hidden``, and ``study/annotated`` with the fully annotated subjects alone, to train registration with and
without pseudo-labels. ``score`` prints Dice with the hidden truth for each organ, before and after the post-processing, and
how well the ranking knows the bad ones.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mics.data.cohorts.pancreas_ct import SEVEN
from mics.data.manifest import Entry, moved, read_manifest, write_manifest
from mics.evaluation.metrics import dice
from mics.image.io import Image, read_labels, write_image
from mics.organs import LEFT_KIDNEY, LIVER, ORGAN_NAMES, PANCREAS, RIGHT_KIDNEY, SPLEEN
from mics.pseudo_labels.clean import PSEUDO_ORGANS
from mics.pseudo_labels.rank import OrganStatistics, Plausibility, rank
from mics.pseudo_labels.record import read_record

ALL = tuple(ORGAN_NAMES)
COHORTS = (SEVEN, (RIGHT_KIDNEY, LEFT_KIDNEY), (LIVER,), (PANCREAS,), (SPLEEN,))
EVERY = 3


def hide(prepared: Path, study: Path) -> None:
    """Write the two sets and print who keeps what."""
    subjects = [entry for entry in read_manifest(prepared) if entry.status == "prepared" and entry.split != "test"]
    hidden, annotated = study / "hidden", study / "annotated"
    (hidden / "labels").mkdir(parents=True)
    annotated.mkdir()
    rows, full, partial = [], [], 0
    for place, entry in enumerate([entry for entry in subjects if entry.split == "train"]):
        if place % EVERY == 0:
            kept = ALL
        else:
            kept, partial = COHORTS[partial % len(COHORTS)], partial + 1
        labels = read_labels(prepared / entry.labels)
        shown = np.where(np.isin(labels.array, kept), labels.array, 0).astype(np.uint8)
        write_image(Image(shown, labels.grid), hidden / "labels" / f"{entry.name}.nii.gz")
        row = moved(entry, prepared, hidden)
        rows.append(row.model_copy(update={"labels": f"labels/{entry.name}.nii.gz", "organs": kept}))
        if kept == ALL:
            full.append(moved(entry, prepared, annotated))
        print(entry.name, ", ".join(ORGAN_NAMES[organ] for organ in kept))
    validation = [entry for entry in subjects if entry.split == "val"]
    write_manifest([*rows, *(moved(entry, prepared, hidden) for entry in validation)], hidden)
    write_manifest([*full, *(moved(entry, prepared, annotated) for entry in validation)], annotated)


def score(prepared: Path, study: Path) -> str:
    """The table of ``study/completed``."""
    truth = {entry.name: entry for entry in read_manifest(prepared)}
    found: dict[int, list[tuple[str, float, float]]] = {organ: [] for organ in PSEUDO_ORGANS}
    subjects = [entry for entry in read_manifest(study / "completed") if entry.split == "train"]
    for entry in subjects:
        if not (study / "completed" / "predicted" / f"{entry.name}.nii.gz").is_file():
            continue
        real = read_labels(prepared / truth[entry.name].labels).array
        raw = read_labels(study / "completed" / "predicted" / f"{entry.name}.nii.gz").array
        after = read_labels(study / "completed" / entry.labels).array
        missing = [organ for organ in PSEUDO_ORGANS if organ not in entry.organs]
        befores, afters = (dice(real, labels, missing, moving_labels=real) for labels in (raw, after))
        for organ in befores:
            found[organ].append((entry.name, befores[organ], afters[organ]))
    scores = _scores(study / "completed", subjects)
    lines = ["| organ | cases | Dice before | Dice after |", "|---|---|---|---|"]
    for organ, values in found.items():
        if values:
            before, after = (np.mean([value[column] for value in values]) for column in (1, 2))
            lines.append(f"| {ORGAN_NAMES[organ]} | {len(values)} | {before:.3f} | {after:.3f} |")
    flat = [(scores[name, organ].score, after) for organ, values in found.items() for name, _, after in values]
    order = spearmanr(*zip(*flat, strict=True)).statistic
    worst = sorted(flat)[: max(len(flat) // 5, 1)]
    lines += [
        "",
        f"{len(flat)} organs. Spearman's correlation of plausibility and Dice {order:.2f}; mean Dice of the fifth ranked "
        f"worst {np.mean([dice for _, dice in worst]):.3f}, of all {np.mean([dice for _, dice in flat]):.3f}.",
    ]
    return "\n".join(lines)


def _scores(completed: Path, subjects: Iterable[Entry]) -> dict[tuple[str, int], Plausibility]:
    organs: dict[str, dict[int, OrganStatistics]] = {}
    agreement = {}
    for entry in subjects:
        record = read_record(completed, entry.name)
        if record is not None:
            organs[entry.name] = record.organs
            if record.agreement is not None:
                agreement[entry.name] = record.agreement
    return rank(organs, agreement)


def main() -> None:
    """Do one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["hide", "score"])
    parser.add_argument("prepared", type=Path, help="folder that mics prepare has made")
    parser.add_argument("study", type=Path, help="folder of the study; new for hide")
    options = parser.parse_args()
    if options.step == "hide":
        hide(options.prepared, options.study)
    else:
        text = score(options.prepared, options.study)
        (options.study / "table.md").write_text(text + "\n")
        print(text)


if __name__ == "__main__":
    main()

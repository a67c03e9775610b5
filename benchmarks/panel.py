"""How methods generalise: the validation pairs, plain and with a hard version of the moving scan, and a pair of two hospitals.

    python benchmarks/panel.py AbdomenCTCT -o panel
    python benchmarks/panel.py AbdomenCTCT -o panel --methods network --conditions plain "5 mm slices" --model my-model
    python benchmarks/panel.py AbdomenCTCT -o panel --baselines \
        --native img0039.nii.gz label0039.nii.gz totalsegmentator_example_ct.nii.gz totalsegmentator_example_seg.nii.gz

Each pair is registered once by a method, through the adapters that `mics compare` uses (ours through `mics.register`), and counts
in both directions; one affine a pair, that of `mics register`, is computed first and given to all methods. The hard versions are
those of hard_versions.py. Writes `panel.md` and `panel.csv`, and a file for every registration,
`cells/CONDITION/PAIR/METHOD-KEY.json`: the key is of all that the figures depend on (scans, labels, affine, models, settings,
code), and a cell that is there is not computed again.
"""

import argparse
import csv
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from hard_versions import HARD_VERSIONS, Scan

import mics
from mics.data.pairs import read_pairs
from mics.errors import InputError
from mics.evaluation.pair_score import PairScore, score_pair
from mics.evaluation.statistics import quantile30
from mics.evaluation.summary import MEASURES
from mics.evaluation.tables import number, table
from mics.experiments.baselines.methods import METHODS, Choice, choose, run
from mics.files.folder import writable_folder
from mics.files.whole import write_text
from mics.image.io import Image, read_image, read_labels
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration.organ_affine import register_affine_by_organs
from mics.registration.settings import resolve

NATIVE = "native pair"
OURS = {"network": ("network", "none"), "fast": ("mics", "fast"), "accurate": ("mics-accurate", "accurate")}
"""Of our methods the adapter and the refinement."""
BASELINES = ("convexadam", "greedy")
_AFFINE = "affine"
_PACKAGES = ("image", "deformation", "evaluation", "experiments/baselines")
_OUR_PACKAGES = (*_PACKAGES, "data", "losses", "network", "registration")
_COLUMNS = ("sd_log_jacobian", "fold_percent")

TOTALSEGMENTATOR = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 7, 7: 11, 8: 12, 9: 13, 52: 8, 63: 9, 64: 10}
"""Organ ids of TotalSegmentator's task ``total`` to those of :data:`mics.organs.ORGAN_NAMES`."""


@dataclass(frozen=True)
class Case:
    """A condition's version of a pair, named."""

    condition: str
    names: tuple[str, str]
    fixed: Scan
    moving: Scan


@dataclass(frozen=True)
class Row:
    """A method on one ordered pair; ``score`` is None where it refused the pair."""

    condition: str
    fixed: str
    moving: str
    method: str
    score: PairScore | None
    affine_dice: float
    affine_seconds: float

    @property
    def dice(self) -> float:
        """Mean over the organs that both scans show; 0 where the method refused the pair, which leaves a user with nothing."""
        return 0.0 if self.score is None else float(np.mean(list(self.score.dice.values())))

    @property
    def failed(self) -> bool:
        """Whether the affine alone does better."""
        return self.dice < self.affine_dice


def cases(folder: Path, native: Sequence[Path] | None, conditions: Sequence[str]) -> Iterator[Case]:
    """Every pair under every condition that is asked for, the easy one first."""
    listed = read_pairs(folder, needs=("image", "labels"))
    for condition, make in HARD_VERSIONS.items():
        if condition in conditions:
            for pair in listed:
                fixed, moving = (Scan(member.image(), member.labels()) for member in (pair.fixed, pair.moving))
                yield Case(condition, (pair.fixed.name, pair.moving.name), fixed, make(moving))
    if NATIVE in conditions and native is not None:
        yield native_case(*native)


def native_case(fixed: Path, fixed_labels: Path, moving: Path, moving_labels: Path) -> Case:
    """Two scans as their hospitals have them; the second label map has TotalSegmentator's ids."""
    theirs = read_labels(moving_labels)
    ours = np.zeros(theirs.array.shape, dtype=np.uint8)
    for their_id, organ in TOTALSEGMENTATOR.items():
        ours[theirs.array == their_id] = organ
    names = (_stem(fixed), _stem(moving))
    target = Scan(read_image(fixed), read_labels(fixed_labels))
    return Case(NATIVE, names, target, Scan(read_image(moving), Image(ours, theirs.grid)))


def measured(case: Case, methods: Sequence[str], model: str, output: Path) -> list[Row]:
    """Two rows a method, one for each direction, the affine's first; what ``output`` holds already is read from there."""
    fixed, moving = case.fixed, case.moving
    scans = {"scans": _checksum(fixed.image, fixed.labels, moving.image, moving.labels), "torch": version("torch")}
    folder = output / "cells" / case.condition.replace(" ", "-") / "_".join(case.names)

    def affine_cell() -> dict[str, Any]:
        start = time.perf_counter()
        matrix = register_affine_by_organs(fixed=fixed.image, moving=moving.image)
        seconds = time.perf_counter() - start
        return {"affine": matrix.tolist(), "seconds": seconds, **_both_directions(case, Choice(_AFFINE), matrix)}

    start = _kept(folder, _AFFINE, {**scans, "code": _code(_OUR_PACKAGES)}, affine_cell)
    matrix = np.array(start["affine"])
    affine_scores = [PairScore.from_dict(score) for score in start["scores"]]
    cells = {_AFFINE: start}
    for method in methods:
        choice = Choice(OURS[method][0], model) if method in OURS else Choice(method)
        depends_on = {**scans, "affine": start["affine"], **depends(method, model)}
        cells[method] = _kept(folder, method, depends_on, partial(_both_directions, case, choice, matrix))
    rows = []
    for method, cell in cells.items():
        for names, score, alone in zip((case.names, case.names[::-1]), cell["scores"], affine_scores, strict=True):
            own = None if score is None else PairScore.from_dict(score)
            affine_dice = float(np.mean(list(alone.dice.values())))
            rows.append(Row(case.condition, *names, method, own, affine_dice, start["seconds"]))
    return rows


def depends(method: str, model: str) -> dict[str, Any]:
    """What the figures of a method depend on besides the scans and the affine."""
    if method not in OURS:
        package = METHODS[method].package
        return {"code": _code(_PACKAGES), "package": None if package is None else version(package)}
    refine = OURS[method][1]
    settings = resolve(affine="none", steps=None, model=model, refine=refine, topology="free", device="auto")
    used = [loaded for loaded in (settings.model, settings.segmentation) if loaded is not None]
    return {
        "code": _code(_OUR_PACKAGES),
        "torch": version("torch"),
        "refine": refine,
        "device": str(settings.device),
        "models": [loaded.sha256 for loaded in used],
        # The checksum is of the weights; their cards say how they are used.
        "cards": [hashlib.sha256(loaded.card.model_dump_json().encode()).hexdigest() for loaded in used],
    }


def markdown(rows: Sequence[Row]) -> str:
    """A line for each condition and method, and the mean of the conditions for the methods that have them all."""
    titles = ["condition", "method", "ordered pairs", "Dice", "Dice30", "SdLogJ", "J ≤ 0, %"]
    titles += ["inverse error, mean (largest), mm", "failures"]
    conditions, methods = (_unique(getattr(row, name) for row in rows) for name in ("condition", "method"))
    found = {
        (condition, method): _summary([row for row in rows if (row.condition, row.method) == (condition, method)])
        for condition in conditions
        for method in methods
        if any((row.condition, row.method) == (condition, method) for row in rows)
    }
    lines = [[*names, *_formatted(summary)] for names, summary in found.items()]
    for method in methods:
        summaries = [found[condition, method] for condition in conditions if (condition, method) in found]
        if len(summaries) == len(conditions):
            lines.append([f"mean of the {len(conditions)} conditions", method, *_formatted(_overall(summaries))])
    return "\n".join(table(titles, lines)) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each method and ordered pair, with every measure; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["condition", "fixed", "moving", "method", *MEASURES, "affine_dice", "affine_seconds", "failed", "refused"]
    )
    for row in rows:
        measures = dict.fromkeys(MEASURES) if row.score is None else row.score.measures()
        values = [*measures.values(), row.affine_dice, row.affine_seconds, int(row.failed), int(row.score is None)]
        names = [row.condition, row.fixed, row.moving, row.method]
        writer.writerow([*names, *("" if value is None else value for value in values)])
    return text.getvalue()


def _both_directions(case: Case, choice: Choice, affine: np.ndarray) -> dict[str, Any]:
    """The scores of both directions, None for a pair that the method refuses, with its sentence."""
    fixed, moving = case.fixed, case.moving
    try:
        outcome = run(choice, fixed.image, moving.image, affine)
        backward = outcome.backward
        if backward is None:
            # A tool without an inverse registers the other direction anew.
            again = run(choice, moving.image, fixed.image, np.linalg.inv(affine))
            one = score_pair(fixed.labels, moving.labels, outcome.forward, seconds=outcome.seconds)
            other = score_pair(moving.labels, fixed.labels, again.forward, seconds=again.seconds)
            return {"scores": [one.to_dict(), other.to_dict()]}
    except InputError as error:
        return {"scores": [None, None], "refused": str(error)}
    one = score_pair(fixed.labels, moving.labels, outcome.forward, backward, seconds=outcome.seconds)
    other = score_pair(moving.labels, fixed.labels, backward, outcome.forward, seconds=outcome.seconds)
    return {"scores": [one.to_dict(), other.to_dict()]}


def _kept(
    folder: Path, method: str, depends_on: dict[str, Any], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The cell of this method and of all that it depends on, computed if it is not there."""
    key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{method}-{key}.json"
    if not path.exists():
        print(f"{folder.parent.name} {folder.name} {method}", flush=True)
        cell = {"depends_on": depends_on, **compute()}
        folder.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps(cell) + "\n", path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _checksum(*images: Image) -> str:
    found = hashlib.sha256()
    for image in images:
        found.update(json.dumps(image.grid.to_dict()).encode() + str(image.array.dtype).encode())
        found.update(np.ascontiguousarray(image.array).tobytes())
    return found.hexdigest()


def _code(packages: Iterable[str]) -> str:
    """Of the source of these packages: figures of another state of the code are not mixed in."""
    root, found = Path(mics.__file__).parent, hashlib.sha256()
    for path in sorted(path for package in packages for path in (root / package).rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()


def _summary(rows: Sequence[Row]) -> dict[str, float | None]:
    """Means over ordered pairs; of the pairs that were refused only Dice and the failure count."""
    dice = [row.dice for row in rows]
    scores = [row.score.measures() for row in rows if row.score is not None]

    def having(key: str) -> list[float]:
        return [value for score in scores if (value := score[key]) is not None]

    return {
        "pairs": len(rows),
        "dice": float(np.mean(dice)),
        "dice30": float(quantile30(np.array(dice))),
        **{key: _mean(having(key)) for key in (*_COLUMNS, "inverse_mean_mm")},
        "inverse_max_mm": max(having("inverse_max_mm"), default=None),
        "failures": sum(row.failed for row in rows),
    }


def _overall(summaries: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Of the conditions, each counted alike: means, but the largest error of all and the sum of pairs and failures."""
    combined = {"pairs": sum, "failures": sum, "inverse_max_mm": max}
    columns = {key: [s[key] for s in summaries if s[key] is not None] for key in summaries[0]}
    return {key: combined.get(key, _mean)(values) if values else None for key, values in columns.items()}


def _formatted(summary: dict[str, float | None]) -> list[str]:
    mean, largest = number(summary["inverse_mean_mm"], 2), number(summary["inverse_max_mm"], 1)
    return [
        number(summary["pairs"], 0),
        *(number(summary[key], 3) for key in ("dice", "dice30", "sd_log_jacobian")),
        number(summary["fold_percent"], 4),
        mean if summary["inverse_max_mm"] is None else f"{mean} ({largest})",
        number(summary["failures"], 0),
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def main() -> None:
    """Fill the folder, cell by cell, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Learn2Reg layout")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder; a run goes on with what it holds")
    parser.add_argument(
        "--native",
        nargs=4,
        type=Path,
        metavar=("FIXED", "LABELS", "MOVING", "TOTALSEGMENTATOR"),
        help="two scans of different hospitals with label maps; the second with TotalSegmentator's ids",
    )
    parser.add_argument("--conditions", nargs="+", choices=[*HARD_VERSIONS, NATIVE], help="all by default")
    parser.add_argument("--methods", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--model", default=DEFAULT_REGISTRATION, help="registration model of our methods")
    parser.add_argument("--baselines", action="store_true", help=f"{' and '.join(BASELINES)} too, on the plain pairs")
    options = parser.parse_args()
    conditions = options.conditions or [*HARD_VERSIONS, *([NATIVE] if options.native else [])]
    if NATIVE in conditions and options.native is None:
        parser.error(f"the {NATIVE} needs --native with its four files")
    output = writable_folder(options.output)
    baselines, messages = choose(BASELINES if options.baselines else [])
    print("".join(f"{message}\n" for message in messages), end="")
    rows: list[Row] = []
    for case in cases(options.data, options.native, conditions):
        others = [baseline.method for baseline in baselines] if case.condition == "plain" else []
        rows += measured(case, [*options.methods, *others], options.model, output)
        # After every case: what is finished can be read while the rest goes on.
        write_text(markdown(rows), output / "panel.md")
        write_text(to_csv(rows), output / "panel.csv")
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()

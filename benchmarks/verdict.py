"""How often the verdict of a registration is wrong: good pairs called failed, and made failures called good.

    python benchmarks/verdict.py AbdomenCTCT -o verdicts
    python benchmarks/verdict.py AbdomenCTCT -o verdicts --native img0031.nii.gz img0039.nii.gz totalsegmentator_example_ct.nii.gz

Good pairs are the validation pairs under every condition of hard_versions.py, the native scans, each pair of them, and digital
patients. The failures are made from the same pairs, each kind from two of them: headers that turn or mirror the patient, scans
that share no anatomy, affines that do not fit, and things that are no CT. Every registration is `mics.register` with default
settings, once; its summary is kept in `OUTPUT/KIND/PAIR.json`, and a run goes on with what is there. The verdicts are drawn
anew from the kept evidence. Prints a line for each kind: how many pairs, what they were called, and the mean Dice where labels
are at hand.
"""

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hard_versions import HARD_VERSIONS, Scan, body_axis, moved

import mics
from mics.data.pairs import ScanSource, read_pairs
from mics.errors import InputError
from mics.evaluation.tables import table
from mics.files.folder import writable_folder
from mics.files.whole import write_text
from mics.image.grid import Grid
from mics.image.io import Image, read_image
from mics.registration.verdict import VerdictInputs, judge

_WELL = 0.5
VERDICTS = ("good", "look", "failed", "refused")


@dataclass(frozen=True)
class Case:
    """One registration to judge; ``fixed`` and ``moving`` make its scans."""

    kind: str
    name: str
    good: bool
    fixed: Callable[[], Scan | Image]
    moving: Callable[[], Scan | Image]
    settings: dict[str, Any] = field(default_factory=dict)


def turned(axes: tuple[int, int, int]) -> Callable[[Scan], Scan]:
    """A header that takes left-right, front-back and head-feet the other way where the sign is -1."""

    def make(scan: Scan) -> Scan:
        rotation = np.diag(np.array(axes, dtype=float))
        centre = scan.image.grid.centre
        return moved(scan, rotation, centre - rotation @ centre)

    return make


def third(scan: Scan, which: str) -> Scan:
    """The upper or the lower third of the scan along the body."""
    axis, grid = body_axis(scan.image.grid), scan.image.grid
    length = grid.size[axis]
    upwards = (grid.orientation[axis] == "S") == (which == "upper")
    part = slice(length - length // 3, length) if upwards else slice(0, length // 3)
    box = tuple(part if other == axis else slice(None) for other in range(3))
    corner = np.zeros(3)
    corner[axis] = part.start
    size = list(grid.size)
    size[axis] = length // 3
    cropped = Grid(tuple(size), grid.spacing, tuple(grid.voxel_to_world(corner)), grid.direction)  # type: ignore[arg-type]
    return Scan(Image(scan.image.array[box].copy(), cropped), Image(scan.labels.array[box].copy(), cropped))


def shifted_by(distance_mm: float) -> Callable[[Scan], Scan]:
    """The patient so far along the body."""
    return lambda scan: moved(scan, np.eye(3), np.array([0.0, 0.0, distance_mm]))


def rolled_by(degrees: float) -> Callable[[Scan], Scan]:
    """The patient turned about the body axis, with the header of it."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return lambda scan: moved(scan, rotation, scan.image.grid.centre - rotation @ scan.image.grid.centre)


def with_values(change: Callable[[Scan], np.ndarray]) -> Callable[[Scan], Scan]:
    """The scan with other values in its voxels."""
    return lambda scan: replace(scan, image=Image(change(scan).astype(np.float32), scan.image.grid))


def inverted_contrast(scan: Scan) -> np.ndarray:
    """Dense is dark and fat is bright, air stays: as in some magnetic resonance images."""
    hu = scan.image.array
    return np.where(hu > -115, 120 - hu, hu)


def noise(scan: Scan) -> np.ndarray:
    """Nothing but noise of soft tissue's values, where the patient was."""
    hu = scan.image.array
    drawn = np.random.default_rng(0).normal(40, 40, hu.shape)
    return np.where(hu > -115, drawn, hu)


def water(scan: Scan) -> np.ndarray:
    """A cylinder of water in air: a phantom for quality assurance."""
    across = [
        index - (length - 1) / 2
        for index, length in zip(
            np.ogrid[tuple(map(slice, scan.image.array.shape))], scan.image.array.shape, strict=True
        )
    ]
    axis = body_axis(scan.image.grid)
    radius = sum(
        (index * spacing) ** 2
        for other, (index, spacing) in enumerate(zip(across, scan.image.grid.spacing, strict=True))
        if other != axis
    )
    return np.broadcast_to(np.where(radius < 110**2, 0.0, scan.image.array.min()), scan.image.array.shape)


MOVING = {
    "moving header turned about the left-right axis": turned((1, -1, -1)),
    "moving header turned about the front-back axis": turned((-1, 1, -1)),
    "moving header turned about the body axis": turned((-1, -1, 1)),
    "moving header mirrored head to feet": turned((1, 1, -1)),
    "moving header mirrored front to back": turned((1, -1, 1)),
    "moving header mirrored left to right": turned((-1, 1, 1)),
    "moving scan with contrast inverted": with_values(inverted_contrast),
    "moving scan of noise": with_values(noise),
    "moving scan of water": with_values(water),
    "moving scan is a label map": with_values(lambda scan: scan.labels.array),
    "moving scan without its rescale intercept": with_values(lambda scan: scan.image.array + 1024),
}
FIXED = {
    "fixed header turned about the left-right axis": turned((1, -1, -1)),
    "fixed header turned about the front-back axis": turned((-1, 1, -1)),
    "fixed header turned about the body axis": turned((-1, -1, 1)),
}
PHANTOMS = 2
UNALIGNED = {"affine 120 mm off along the body": shifted_by(120.0), "affine 70 degrees off": rolled_by(70.0)}


def cases(folder: Path, native: list[Path]) -> Iterator[Case]:
    """All that is judged, the good first."""
    pairs = [
        (f"{pair.fixed.name}_{pair.moving.name}", *(partial(_scan, member) for member in (pair.fixed, pair.moving)))
        for pair in read_pairs(folder, needs=("image", "labels"))
    ]
    for condition, hard in HARD_VERSIONS.items():
        for name, fixed, moving in pairs:
            yield Case(condition, name, True, fixed, _made(hard, moving))
    for one, other in itertools.combinations(native, 2):
        names = "_".join(path.name.removesuffix(".gz").removesuffix(".nii") for path in (one, other))
        yield Case("native", names, True, partial(read_image, one), partial(read_image, other))
    subjects = [[partial(_phantom, seed, which) for which in range(2)] for seed in range(PHANTOMS)]
    for seed, (fixed, moving) in enumerate(subjects):
        yield Case("phantom", str(seed), True, fixed, moving)
    for seed, (fixed, moving) in enumerate(subjects):
        yield Case("phantom upside down", str(seed), False, fixed, _made(turned((1, -1, -1)), moving))
    two = itertools.cycle(itertools.combinations(range(len(pairs)), 2) if len(pairs) > 2 else [range(len(pairs))])
    for kind, make in MOVING.items():
        for name, fixed, moving in (pairs[place] for place in next(two)):
            yield Case(kind, name, False, fixed, _made(make, moving))
    for kind, make in FIXED.items():
        for name, fixed, moving in (pairs[place] for place in next(two)):
            yield Case(kind, name, False, _made(make, fixed), moving)
    for kind, make in UNALIGNED.items():
        for name, fixed, moving in (pairs[place] for place in next(two)):
            # The validation scans of one cohort lie on one grid: unmoved, they would nearly fit.
            yield Case(kind, name, False, fixed, _made(make, moving), {"affine": "none"})
    for name, fixed, moving in pairs:
        lower, upper = _made(partial(third, which="lower"), fixed), _made(partial(third, which="upper"), moving)
        yield Case("no shared anatomy", name, False, lower, upper)


def _scan(member: ScanSource) -> Scan:
    return Scan(member.image(), member.labels())


def _phantom(seed: int, which: int) -> Scan:
    subject = mics.phantom_pair(seed)[which]
    return Scan(subject.image, subject.labels)


def _made(change: Callable[[Scan], Scan], scan: Callable[[], Scan]) -> Callable[[], Scan]:
    return lambda: change(scan())


def registered(case: Case, output: Path) -> dict[str, Any]:
    """What is known of the registration: evidence and Dice, or the sentence that refused it."""
    path = output / case.kind.replace(" ", "-") / f"{case.name}.json"
    if not path.exists():
        print(f"{case.kind}: {case.name}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps(_register(case), indent=1) + "\n", path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _register(case: Case) -> dict[str, Any]:
    scans = {"fixed": case.fixed(), "moving": case.moving()}
    images = {role: scan.image if isinstance(scan, Scan) else scan for role, scan in scans.items()}
    labels = {f"{role}_labels": scan.labels for role, scan in scans.items() if isinstance(scan, Scan)}
    try:
        summary = mics.register(**images, **labels, **case.settings).summary  # type: ignore[arg-type]
    except InputError as error:
        return {"refused": str(error)}
    kept = ("evidence", "folds", "inverse_consistency_mm", "geometry", "labels", "verdict", "warnings")
    return {key: summary[key] for key in kept}


def came_out_well(found: dict[str, Any]) -> bool:
    """Whether the labels overlap well all the same: then what was made is no failure, and counts for nothing."""
    dice = (found.get("labels") or {}).get("moving_to_fixed", {}).get("mean_dice")
    return dice is not None and dice >= _WELL


def verdict_of(found: dict[str, Any]) -> str:
    """One of :data:`VERDICTS`."""
    return "refused" if "refused" in found else judge(VerdictInputs.model_validate(found)).word


def main() -> None:
    """Fill the folder, case by case, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Learn2Reg layout")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder; a run goes on with what it holds")
    parser.add_argument(
        "--native", nargs="+", type=Path, default=[], help="scans of hospitals, each pair of which is good"
    )
    options = parser.parse_args()
    output = writable_folder(options.output)
    called: dict[tuple[bool, str], Counter[str]] = {}
    dice: dict[str, list[float]] = {}
    for case in cases(options.data, options.native):
        found = registered(case, output)
        if not case.good and came_out_well(found):
            print(f"{case.kind}, {case.name}: came out well all the same, not counted; called {verdict_of(found)}")
            continue
        called.setdefault((case.good, case.kind), Counter())[verdict_of(found)] += 1
        if found.get("labels"):
            dice.setdefault(case.kind, []).append(found["labels"]["moving_to_fixed"]["mean_dice"] or 0.0)
    lines = [_line(kind, counts, dice.get(kind)) for (_, kind), counts in called.items()]
    for good, kind in ((False, "all made failures"), (True, "all good pairs")):
        together = sum((counts for (own, _), counts in called.items() if own == good), Counter[str]())
        lines.append(_line(kind, together, None))
    print("\n".join(table(["kind", "pairs", *VERDICTS, "Dice"], lines)))


def _line(kind: str, counts: Counter[str], dice: list[float] | None) -> list[str]:
    numbers = [str(counts[verdict] or "") for verdict in VERDICTS]
    return [kind, str(counts.total()), *numbers, f"{np.mean(dice):.2f}" if dice else ""]


if __name__ == "__main__":
    main()

"""What given labels and landmarks bring where they steer: Dice of the organs that are not given, with and without.

    python benchmarks/steering.py AbdomenCTCT -o steering            # goes on where it was stopped
    python benchmarks/steering.py AbdomenCTCT -o steering --variants fast "labels" --pairs 1

Of the thirteen organs every second one is given, once the odd and once the even ids; the others judge. Landmarks are the middles
of the given organs, and how far the middles of the others are apart is their error. Affine, organ maps and the network's
prediction are computed once a pair, and each pair counts in both directions. Writes a file a pair, variant and half, and prints
the table of them.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from kept_results import kept_rows, parser_with_folders
from refinement import Prepared, prepared_pair
from scipy import ndimage

from mics.allocator import keep_freed_memory
from mics.data.pairs import read_pairs
from mics.deformation.jacobian import fold_share
from mics.evaluation.landmarks import registration_errors
from mics.evaluation.metrics import dice, sd_log_jacobian
from mics.image.io import Image
from mics.image.points import Points
from mics.network.weights import DEFAULT_REGISTRATION
from mics.organs import ORGAN_NAMES
from mics.registration.pair import Pair
from mics.registration.refine_settings import EFFORTS, RefineSettings
from mics.registration.stages.composition import Composition
from mics.registration.stages.instance_optimisation import InstanceOptimisation
from mics.registration.stages.inverse_consistency import InverseConsistency
from mics.registration.stages.landmark_fit import LandmarkFit
from mics.registration.steering import Steering

_FAST = EFFORTS["fast"]
HALVES = tuple(tuple(organ for organ in ORGAN_NAMES if organ % 2 == odd) for odd in (1, 0))


@dataclass(frozen=True)
class Variant:
    """What steers, with which weights."""

    labels: bool = False
    landmarks: bool = False
    tolerance_mm: float | None = None
    settings: RefineSettings = _FAST


VARIANTS = {
    "fast": Variant(),
    "labels": Variant(labels=True),
    "labels, weight a third": Variant(labels=True, settings=replace(_FAST, labels=_FAST.labels / 3)),
    "labels, weight threefold": Variant(labels=True, settings=replace(_FAST, labels=_FAST.labels * 3)),
    "landmarks": Variant(landmarks=True),
    "landmarks, weight a third": Variant(landmarks=True, settings=replace(_FAST, landmarks=_FAST.landmarks / 3)),
    "landmarks, weight threefold": Variant(landmarks=True, settings=replace(_FAST, landmarks=_FAST.landmarks * 3)),
    "landmarks to 1 mm": Variant(landmarks=True, tolerance_mm=1.0),
    "labels and landmarks to 1 mm": Variant(labels=True, landmarks=True, tolerance_mm=1.0),
}
MAIN = ("fast", "labels", "landmarks", "landmarks to 1 mm", "labels and landmarks to 1 mm")


def middles(labels: Image, organs: Iterable[int]) -> Points:
    """The centres of mass of the organs, LPS mm."""
    places = ndimage.center_of_mass(np.ones(labels.grid.size), labels.array, list(organs))
    return Points(labels.grid.voxel_to_world(np.array(places)), tuple(ORGAN_NAMES[organ] for organ in organs))


def measure(prepare: Callable[[], Prepared], variant: Variant, half: tuple[int, ...]) -> list[dict[str, float]]:
    """A row for each direction, where the organs of ``half`` are given."""
    prepared = prepare()
    labels = Pair(fixed=prepared.fixed.labels(), moving=prepared.moving.labels())
    common = [
        organ for organ in ORGAN_NAMES if (labels.fixed.array == organ).any() and (labels.moving.array == organ).any()
    ]
    given = tuple(organ for organ in common if organ in half)
    rest = [organ for organ in common if organ not in half]
    landmarks = Pair(fixed=middles(labels.fixed, given), moving=middles(labels.moving, given))
    others = Pair(fixed=middles(labels.fixed, rest), moving=middles(labels.moving, rest))
    steering = Steering(
        labels=given if variant.labels else (),
        landmarks=landmarks if variant.landmarks else None,
        tolerance_mm=variant.tolerance_mm,
    )
    scans = Pair(
        fixed=replace(prepared.state.scans.fixed, labels=labels.fixed),
        moving=replace(prepared.state.scans.moving, labels=labels.moving),
    )
    start = time.process_time()
    state = InstanceOptimisation(variant.settings, steering=steering).run(replace(prepared.state, scans=scans))
    state = InverseConsistency().run(state)
    if variant.tolerance_mm is not None:
        state = LandmarkFit(steering).run(state)
    seconds = time.process_time() - start
    transforms = Composition().run(state).transforms
    rows = []
    for transform, target, source, own in (
        (transforms.moving_to_fixed, "fixed", "moving", "moving"),
        (transforms.fixed_to_moving, "moving", "fixed", "fixed"),
    ):
        warped = transform.transform_labels(getattr(labels, source)).array
        scores = dice(getattr(labels, target).array, warped, common)
        errors = [
            registration_errors(transform.transform_points(getattr(points, target).coordinates), getattr(points, own))
            for points in (landmarks, others)
        ]
        voxels = transform.displacement_voxels()
        rows.append(
            {
                "given_dice": statistics.fmean(scores[organ] for organ in given),
                "other_dice": statistics.fmean(scores[organ] for organ in rest),
                "given_mm": float(errors[0].mean()),
                "largest_given_mm": float(errors[0].max()),
                "other_mm": float(errors[1].mean()),
                "sd_log_j": sd_log_jacobian(voxels[0].numpy()),
                "folds_percent": 100 * fold_share(voxels),
                "seconds": seconds,
            }
        )
    return rows


def main() -> None:
    """Print a line a variant."""
    parser = parser_with_folders(__doc__)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(MAIN))
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 2, 3], help="which, from 1 (default: all)")
    options = parser.parse_args()
    keep_freed_memory()
    listed = read_pairs(options.data, needs=("image", "labels"))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.variants}
    for number in options.pairs:
        prepared = cache(partial(prepared_pair, listed[number - 1], DEFAULT_REGISTRATION))
        for name in options.variants:
            for which, half in zip(("odd", "even"), HALVES, strict=True):
                place = options.output / f"pair{number}" / f"{name.replace(' ', '-')}-{which}.json"
                found[name] += kept_rows(
                    place, dataclasses.asdict(VARIANTS[name]), partial(measure, prepared, VARIANTS[name], half)
                )
    print(
        "| steered by | Dice, given | Dice, others | middles of given, mm | largest | middles of others, mm | SdLogJ "
        f"| J ≤ 0, % | s |\n{'|---' * 9}|"
    )
    for name, rows in found.items():
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        largest = max(row["largest_given_mm"] for row in rows)
        print(
            f"| {name} | {mean['given_dice']:.3f} | {mean['other_dice']:.3f} | {mean['given_mm']:.1f} | {largest:.1f} "
            f"| {mean['other_mm']:.1f} | {mean['sd_log_j']:.3f} | {mean['folds_percent']:.5f} | {mean['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()

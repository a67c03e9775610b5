"""What each part of the refinement brings: variants of it on the validation pairs, from the same start.

    python benchmarks/refinement.py AbdomenCTCT                                  # all variants
    python benchmarks/refinement.py AbdomenCTCT --variants network fast accurate
    python benchmarks/refinement.py AbdomenCTCT --model mics-small               # from the paper's form of network

Affine, organ maps and the network's prediction are computed once a pair. Each pair counts in both directions; printed are means
over them, the standard deviation of Dice over them, and the processor's seconds for the refinement alone.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mics.allocator import keep_freed_memory
from mics.data.pairs import PairSource, ScanSource, read_pairs
from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.jacobian import fold_share
from mics.deformation.transform import Transform
from mics.evaluation.metrics import dice, sd_log_jacobian
from mics.network.weights import DEFAULT_REGISTRATION
from mics.organs import ORGAN_NAMES
from mics.registration.inputs import load_pair
from mics.registration.quality import inverse_consistency
from mics.registration.refine_settings import EFFORTS, RefineSettings
from mics.registration.settings import resolve
from mics.registration.stage import State
from mics.registration.stage_order import plan
from mics.registration.stages.composition import Composition
from mics.registration.stages.instance_optimisation import InstanceOptimisation
from mics.registration.stages.inverse_consistency import InverseConsistency
from mics.registration.stages.network_prediction import NetworkPrediction

_FAST, _FROM_IDENTITY = EFFORTS["fast"], "fast, from the identity"
_EVERYWHERE = replace(_FAST.levels[-1], organs_alone=False)
_AT_8_MM = replace(_EVERYWHERE, organs_mm=8)
VARIANTS: dict[str, RefineSettings | None] = {
    "network": None,
    **EFFORTS,
    "fast, image alone": replace(_FAST, organs=0, descriptors=0),
    "fast, organ maps alone": replace(_FAST, image=0, organs=2, descriptors=0),
    "fast, MIND alone": replace(_FAST, image=0, organs=0, descriptors=20),
    "fast, no image": replace(_FAST, image=0),
    "fast, no organ maps": replace(_FAST, organs=0),
    "fast, no MIND": replace(_FAST, descriptors=0),
    "fast, organ maps a tenth": replace(_FAST, organs=_FAST.organs / 10),
    "fast, organ maps half": replace(_FAST, organs=_FAST.organs / 2),
    "fast, organ maps double": replace(_FAST, organs=_FAST.organs * 2),
    "fast, all at 8 mm": replace(_FAST, levels=(*_FAST.levels[:-1], _AT_8_MM)),
    "fast, all at 4 mm, everywhere": replace(_FAST, levels=(*_FAST.levels[:-1], _EVERYWHERE)),
    "fast, half as smooth": replace(_FAST, smoothness=_FAST.smoothness / 2),
    "fast, twice as smooth": replace(_FAST, smoothness=_FAST.smoothness * 2),
    _FROM_IDENTITY: _FAST,
}


@dataclass(frozen=True)
class Prepared:
    """What all variants of a pair start from."""

    state: State
    fixed: ScanSource
    moving: ScanSource


def prepare(folder: Path, model: str) -> Iterator[Prepared]:
    """The validation pairs, each once."""
    for listed in read_pairs(folder, needs=("image", "labels")):
        yield prepared_pair(listed, model)


def prepared_pair(listed: PairSource, model: str) -> Prepared:
    """A pair up to the network's prediction."""
    settings = resolve(affine="organs", steps=None, model=model, refine="fast", topology="free", device="cpu")
    stages = plan(settings)
    last = next(place for place, stage in enumerate(stages) if isinstance(stage, NetworkPrediction))
    scans, _ = load_pair(fixed=listed.fixed.image(), moving=listed.moving.image())
    state = State(scans=scans, device=settings.device)
    for stage in stages[: last + 1]:
        state = stage.run(state)
    return Prepared(state, listed.fixed, listed.moving)


def measure(prepared: Prepared, settings: RefineSettings | None, *, from_identity: bool) -> list[dict[str, float]]:
    """One row for each direction."""
    state = prepared.state
    if from_identity:
        state = state.with_field(BidirectionalField.identity(state.field.grid))
    start = time.process_time()
    if settings is not None:
        state = InstanceOptimisation(settings).run(state)
    seconds = time.process_time() - start
    transforms = Composition().run(InverseConsistency().run(state)).transforms
    forward, backward = transforms.moving_to_fixed, transforms.fixed_to_moving
    labels = prepared.fixed.labels(), prepared.moving.labels()

    def row(forward: Transform, backward: Transform, target: np.ndarray, source: object) -> dict[str, float]:
        warped = forward.transform_labels(source).array  # type: ignore[arg-type]
        voxels = forward.displacement_voxels()
        error = inverse_consistency(forward=forward, backward=backward)
        return {
            "dice": statistics.fmean(dice(target, warped, ORGAN_NAMES).values()),
            "sd_log_j": sd_log_jacobian(voxels[0].numpy()),
            "folds_percent": 100 * fold_share(voxels),
            "inverse_mean": error["mean"] or 0.0,
            "inverse_max": error["max"] or 0.0,
            "seconds": seconds,
        }

    return [
        row(forward, backward, labels[0].array, labels[1]),
        row(backward, forward, labels[1].array, labels[0]),
    ]


def main() -> None:
    """Print a line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in the Learn2Reg layout")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--model", default=DEFAULT_REGISTRATION, help="whose prediction it starts from")
    options = parser.parse_args()
    keep_freed_memory()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in options.variants}
    for prepared in prepare(options.data, options.model):
        for name in options.variants:
            rows[name] += measure(prepared, VARIANTS[name], from_identity=name == _FROM_IDENTITY)
    titles = ["dice", "sd_log_j", "folds_percent", "inverse_mean", "inverse_max", "seconds"]
    print(f"| variant | Dice | SdLogJ | J ≤ 0, % | inverse error, mm | largest | s |\n{'|---' * 7}|")
    for name, measured in rows.items():
        mean = {title: statistics.fmean(row[title] for row in measured) for title in titles}
        spread = statistics.stdev(row["dice"] for row in measured)
        largest = max(row["inverse_max"] for row in measured)
        print(
            f"| {name} | {mean['dice']:.3f} ± {spread:.3f} | {mean['sd_log_j']:.3f} | {mean['folds_percent']:.5f} "
            f"| {mean['inverse_mean']:.2f} | {largest:.1f} | {mean['seconds']:.1f} |"
        )


if __name__ == "__main__":
    main()

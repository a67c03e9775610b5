"""What our pipeline runs: as the command does, and a network alone, ours, the predecessor's form of it or LapIRN."""

import time

from mics.allocator import keep_freed_memory
from mics.choices import Refine
from mics.evaluation.learn2reg import from_transform
from mics.experiments.baselines.baseline_result import BaselineResult, Matrix
from mics.image.io import Image
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration.register import register


def fast(fixed: Image, moving: Image, affine: Matrix, model: str | None = None) -> BaselineResult:
    """What ``mics register`` does."""
    return _register(fixed, moving, affine, model, refine="fast")


def accurate(fixed: Image, moving: Image, affine: Matrix, model: str | None = None) -> BaselineResult:
    """What ``mics register --refine accurate`` does."""
    return _register(fixed, moving, affine, model, refine="accurate")


def network(fixed: Image, moving: Image, affine: Matrix, model: str | None = None) -> BaselineResult:
    """The prediction of the registration network, without refinement on the pair."""
    return _register(fixed, moving, affine, model, refine="none")


def _register(fixed: Image, moving: Image, affine: Matrix, model: str | None, *, refine: Refine) -> BaselineResult:
    keep_freed_memory()  # as the command does
    start = time.perf_counter()
    result = register(fixed=fixed, moving=moving, affine=affine, refine=refine, model=model or DEFAULT_REGISTRATION)
    seconds = time.perf_counter() - start
    return BaselineResult(
        forward=from_transform(result.moving_to_fixed, moving.grid),
        backward=from_transform(result.fixed_to_moving, fixed.grid),
        seconds=seconds,
        details=result.run_summary.model_dump(mode="json", include={"settings", "seconds"}),
    )

"""Whether a training fits into memory, found by one step on tensors that have sizes and no values, before the real ones."""

import logging
import math
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mics.errors import InsufficientMemoryError
from mics.image.available import available_host_bytes
from mics.organs import ORGAN_NAMES
from mics.training.datamodule import Cases
from mics.training.networks import network_training
from mics.training.recipe import Recipe
from mics.training.registration import RegistrationTraining
from mics.training.samples import Sample, crop_size
from mics.training.segmentation import SegmentationTraining

Size = tuple[int, int, int]

_GB = 1e9
_SURELY_ENOUGH_PER_VOXEL = (
    4000.0  # bytes, of every volume at every step: more than the paper's network takes in float32
)
_KEPT = 1.15  # of freed blocks that stay with the process and do not fit what comes next, and what convolutions work in

_log = logging.getLogger("mics.training")


def require_memory(cases: Cases, devices: int) -> None:
    """Raise InputError, with the need and a setting that fits, where a training needs more memory than is left.

    Where so much is left that no network needs it, or the step cannot be done without values, nothing is estimated.
    """
    on_gpu = torch.cuda.is_available()
    left = float(torch.cuda.mem_get_info()[0]) if on_gpu else available_host_bytes()
    processes = 1 if on_gpu else devices  # each card has a memory of its own
    if left is None or processes * _SURELY_ENOUGH_PER_VOXEL * _voxels(cases) < left:
        return
    need = estimate(cases)
    if need is None:
        return
    _log.info("the training needs %.1f GB of memory", need / _GB)
    if processes * need <= left:
        return
    advice = "give smaller crops, or take a machine with more memory"
    for changes in _thriftier(cases.recipe):
        other = estimate(Cases([*cases.training, *cases.validation], cases.recipe.model_copy(update=changes)))
        if other is not None and processes * other <= left:
            settings = " and ".join(f"{name}={str(value).lower()}" for name, value in changes.items())
            advice = f"set {settings}, which needs {processes * other / _GB:.1f} GB"
            break
    raise InsufficientMemoryError(
        f"This training needs {processes * need / _GB:.1f} GB of memory, and {left / _GB:.1f} GB are left"
        f"{' on the GPU' if on_gpu else ''}: {advice}.",
        option="overrides",
    )


def estimate(cases: Cases) -> float | None:
    """Bytes that one process's training adds to what it has already: weights, the optimiser, a step, a validation.

    None where the network or a loss looks at values on its way.
    """
    recipe = cases.recipe
    crop = crop_size(cases.training[0].shape, recipe.crop)
    whole = [case.shape for case in cases.validation] if recipe.task == "registration" else []
    try:
        with torch.random.fork_rng(devices=[]), FakeTensorMode():
            module = network_training(recipe)
            if isinstance(module, RegistrationTraining):
                module.network.progress(1.0)  # all of a network that is trained in stages
            needs = [_peak(module, _batch(recipe, recipe.batch_size, crop), train=True)]
            needs += [_peak(module, _batch(recipe, 1, size), train=False) for size in set(whole)]
            parameters = _bytes(list(module.parameters()))
    except RuntimeError as error:  # of an operation whose result depends on values, as far as fake tensors know it
        _log.debug("memory is not estimated: %s", error)
        return None
    # The weights, Adam's two numbers for each, and a gradient, which stays through a validation.
    return _KEPT * (max(needs) + 4 * parameters)


def _voxels(cases: Cases) -> float:
    """Of all volumes that a step of the optimiser or a validation sees, at each of the registration's steps."""
    recipe = cases.recipe
    crop = recipe.batch_size * math.prod(crop_size(cases.training[0].shape, recipe.crop))
    whole = max(math.prod(case.shape) for case in cases.validation) if recipe.task == "registration" else 0
    return float(cases.members * recipe.steps * max(crop, whole))


def _thriftier(recipe: Recipe) -> list[dict[str, Any]]:
    """Settings that need less memory and train alike, by the settings to change."""
    one_by_one = {"batch_size": 1, "accumulate": recipe.accumulate * recipe.batch_size}
    again = {"recompute_activations": True}
    options: list[dict[str, Any]] = [] if recipe.recompute_activations else [again]
    if recipe.batch_size > 1:
        options.append(one_by_one)
        options += [one_by_one | again] if options[0] == again else []
    return options


def _batch(recipe: Recipe, count: int, size: Size) -> Sample:
    """A batch of so many samples of a size, as :func:`mics.training.samples.collate` makes it."""
    members = 2 if recipe.task == "registration" else 1
    volume = torch.zeros(count, members, 1, *size)
    organs = len(ORGAN_NAMES)
    sample = {
        "hu": volume,
        "labels": volume.to(torch.uint8),
        "annotated": torch.zeros(count, members, organs, dtype=torch.bool),
    }
    if recipe.organ_maps is not None:
        sample["maps"] = torch.zeros(count, members, organs, *size)
    return sample


def _peak(module: RegistrationTraining | SegmentationTraining, sample: Sample, *, train: bool) -> float:
    """Bytes at the fullest moment of a loss and, in a training step, of the way back, the sample and the gradients included."""
    half = torch.autocast("cpu", torch.bfloat16, enabled=module.recipe.precision == "bfloat16")
    with half, torch.set_grad_enabled(train), _LiveBytes(list(module.parameters())) as live:
        loss = module.loss(sample)[0]
        if train:
            loss.backward()
    module.zero_grad()
    peak: float = live.peak
    return peak + _bytes(list(sample.values()))


def _bytes(tensors: Sequence[Tensor]) -> float:
    return float(sum(tensor.nbytes for tensor in tensors))


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that operations make, as long as something holds them; ``without`` are not counted."""

    def __init__(self, without: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.peak = 0.0, 0.0
        self._known = weakref.WeakSet(tensor.untyped_storage() for tensor in without)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size

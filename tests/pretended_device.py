"""A device that is pretended, for machines without a GPU: what CUDA would refuse is refused, what is left is done on the CPU.

Tensors say that they lie on ``pretended:0``, and so torch takes them for those of a backend of its own. Refused is what mixes
devices where CUDA's kernels do not, what NumPy is given, and a generator of the CPU's. Autocast has CUDA's rules, for the
operations that are named here. What it cannot show: memory, streams, kernels that CUDA has for fewer types, other rounding, the
branches of ``device.type == "cuda"``, and tensors that are resized in place, which end in an error.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "pretended"
AVAILABLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
"""Whether this torch takes a backend that is written in Python."""

_aten = torch.ops.aten
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
_TO_PYTHON = (_aten._local_scalar_dense.default, _aten.equal.default)
_HALF = (
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
    "matmul",
    "einsum",
    "bmm",
    "mm",
    "addmm",
)
_FULL = (
    *(
        "exp",
        "log",
        "log1p",
        "pow",
        "reciprocal",
        "rsqrt",
        "softmax",
        "log_softmax",
        "cumsum",
        "prod",
        "sum",
        "group_norm",
    ),
    *("upsample_trilinear3d", "upsample_nearest3d", "linalg_vector_norm", "mse_loss", "nll_loss", "nll_loss_nd"),
)
_MADE = ("arange", "eye", "linspace", "randperm")
"""What torch would make by resizing a tensor without voxels, which a wrapper cannot."""
_WIDEST = ("addcdiv", "addcmul", "atan2", "cross", "dot", "grid_sampler", "scatter_add", "tensordot")
_kept: list[torch.library.Library] = []
"""What is registered, as long as the process lives."""


class OnDevice(torch.Tensor):
    """A tensor on the pretended device; ``held`` has its numbers."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnDevice":
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.size(), device=torch.device(NAME, 0), **layout)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"OnDevice({self.held!r})"

    def numpy(self, *, force: bool = False) -> Any:
        """As CUDA's: refused, unless by force."""
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first.")

    def tolist(self) -> Any:
        """Its numbers, which torch does not give of a subclass."""
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as if it lay on the CPU."""
        return self.detach().cpu().__reduce_ex__(protocol)


class _Rules:
    """What is known of one of torch's operations, looked up once."""

    def __init__(self, func: Any) -> None:
        arguments = func._schema.arguments
        self.name = func._schema.name
        self.names = [argument.name for argument in arguments]
        self.written = {argument.name for argument in arguments if argument.is_write}
        self.aliases = any(argument.alias_info is not None for argument in arguments)
        self.one_number_may_differ = torch.Tag.pointwise in func.tags or self.name in _INDEXED


_rules = cache(_Rules)


def _held(value: Any, met: list[torch.Tensor]) -> Any:
    """Arguments with the numbers in place of what holds them; all tensors that are met are added to ``met``."""
    if isinstance(value, torch.Tensor):
        met.append(value)
        return value.held if isinstance(value, OnDevice) else value
    if isinstance(value, list | tuple):
        return type(value)(_held(part, met) for part in value)
    return value


def _wrapped(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return OnDevice(value)
    return type(value)(map(_wrapped, value)) if isinstance(value, list | tuple) else value


def _done(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of one of torch's operations, for which a tensor or ``device=`` is of the pretended device."""
    rules, met = _rules(func), []
    own_args = _held(args, met)
    own_kwargs = {name: _held(value, met) for name, value in kwargs.items()}
    here = any(isinstance(part, OnDevice) for part in met)
    wanted = kwargs.get("device")
    there = here if wanted is None else torch.device(wanted).type == NAME
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != NAME and there:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{generator.device.type}'")
    if here and not all(isinstance(part, OnDevice) for part in met):
        _refuse_mixed(rules, dict(zip(rules.names, args, strict=False)) | kwargs)
    if wanted is not None:
        own_kwargs["device"] = "cpu"
    out = func(*own_args, **own_kwargs)
    if func in _TO_PYTHON or not there:
        return out
    if func is _aten.copy_.default and not isinstance(args[0], OnDevice):
        return args[0]
    out = _wrapped(out)
    if here and rules.aliases:
        out = return_and_correct_aliasing(func, args, kwargs, out)
    if any(isinstance(part, OnDevice) and part.shape != part.held.shape for part in met):
        raise RuntimeError(f"{func} has resized a tensor in place, whose new shape a wrapper cannot show.")
    return out


def _refuse_mixed(rules: _Rules, given: dict[str, Any]) -> None:
    """Raise RuntimeError where CUDA's kernel would, for a tensor that lies on the CPU."""
    if rules.name == "aten::copy_":
        return
    if rules.name in _INDEXED and isinstance(given["self"], OnDevice):
        del given["indices"]  # these may lie on either
    for argument, value in given.items():
        for part in tree_leaves(value):
            if not isinstance(part, torch.Tensor) or isinstance(part, OnDevice):
                continue
            if part.dim() or not rules.one_number_may_differ or argument in rules.written:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! "
                    f"({rules.name}, {argument} of shape {tuple(part.shape)})"
                )


def _made(func: Any, *args: Any, **kwargs: Any) -> Any:
    return _done(func, args, kwargs)


def _autocast(overload: Any, dtype: Callable[[list[torch.Tensor]], torch.dtype]) -> Callable[..., Any]:
    """The operation with all that is of a real type below float64 brought to one type first."""

    def lower(part: torch.Tensor) -> bool:
        return isinstance(part, OnDevice) and part.is_floating_point() and part.dtype != torch.float64

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            real = [part for part in tree_leaves((args, kwargs)) if lower(part)]
            if real:
                kind = dtype(real)
                args, kwargs = tree_map_only(
                    OnDevice, lambda part: part.to(kind) if lower(part) else part, (args, kwargs)
                )
            return overload(*args, **kwargs)

    return run


def _widest(real: list[torch.Tensor]) -> torch.dtype:
    return torch.float32 if any(part.dtype == torch.float32 for part in real) else real[0].dtype


def _register() -> None:
    """Make the device known to torch, for the rest of the process."""

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16, torch.float16]

    # The first gradient starts a thread for each device there is, and after that no fork may ask for gradients: so it is this.
    torch.zeros(1, requires_grad=True).sum().backward()
    backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
    everything, operations = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(_made, "PrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in _MADE:
        for kind in getattr(_aten, name).overloads():
            overload = getattr(getattr(_aten, name), kind)
            if not overload._schema.is_mutable:
                operations.impl(overload, partial(_made, overload), "PrivateUse1")
    rules: list[tuple[Sequence[str], Callable[[list[torch.Tensor]], torch.dtype]]] = [
        (_HALF, lambda real: torch.get_autocast_dtype(NAME)),
        (_FULL, lambda real: torch.float32),
        (_WIDEST, _widest),
    ]
    for names, dtype in rules:
        for name in names:
            for kind in getattr(_aten, name).overloads():
                overload = getattr(getattr(_aten, name), kind)
                if not overload._schema.is_mutable:
                    operations.impl(overload, _autocast(overload, dtype), "AutocastPrivateUse1")
    _kept.extend((everything, operations))


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """The device, for as long as tensors are to be made on it; gradients are taken in the thread that asks for them."""
    if not _kept:
        _register()
    engine = torch.autograd._engine_run_backward

    def in_this_thread(*args: Any, **kwargs: Any) -> Any:
        with torch.autograd.set_multithreading_enabled(False):
            return engine(*args, **kwargs)

    torch.autograd._engine_run_backward = in_this_thread
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...): made on the CPU, then brought over
    try:
        yield torch.device(NAME, 0)
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.autograd._engine_run_backward = engine

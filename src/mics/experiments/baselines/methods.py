"""The methods that can be compared: their names, where they live, and what they need."""

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mics.errors import SettingError
from mics.experiments.baselines.baseline_result import BaselineResult, Matrix
from mics.image.io import Image
from mics.registry import Registry

_EXTRA = "install mics-registration[baselines]"


@dataclass(frozen=True)
class Method:
    """A method: its title in tables, its adapter (``package.module:function``), and what it needs.

    The adapter is named, not given, because each registration has a process of its own, which imports it.

    ``package``: a Python package, as pip calls it; ``program``: an executable on the PATH; ``install``: how to come by either.
    ``model``: whether it takes a trained model, and ``own_model`` whether it cannot do without being given one.
    """

    title: str
    adapter: str
    package: str | None = None
    program: str | None = None
    install: str = _EXTRA
    model: bool = False
    own_model: bool = False


_BASELINES = "mics.experiments.baselines"

METHODS: Registry[Method] = Registry(
    "method",
    {
        "unregistered": Method("unregistered", f"{_BASELINES}.initial:unregistered"),
        "affine": Method("affine alone", f"{_BASELINES}.initial:affine_alone"),
        "network": Method("MICS, network alone", f"{_BASELINES}.mics_methods:network", model=True),
        "predecessor": Method(
            "predecessor's form of the network", f"{_BASELINES}.mics_methods:network", model=True, own_model=True
        ),
        "lapirn": Method("LapIRN", f"{_BASELINES}.mics_methods:network", model=True, own_model=True),
        "mics": Method("MICS, as the command runs it", f"{_BASELINES}.mics_methods:fast", model=True),
        "mics-accurate": Method("MICS, accurate", f"{_BASELINES}.mics_methods:accurate", model=True),
        "ants-syn": Method("ANTs SyN", f"{_BASELINES}.ants_syn:register", package="antspyx"),
        "greedy": Method("greedy", f"{_BASELINES}.greedy:register", package="picsl-greedy"),
        "elastix": Method("elastix", f"{_BASELINES}.elastix:register", package="itk-elastix"),
        "convexadam": Method("convexAdam (MIND)", f"{_BASELINES}.convex_adam:register", package="convexadam"),
        "dense-displacement": Method("dense displacements (MIND)", f"{_BASELINES}.dense_displacement:register"),
        "fireants": Method(
            "FireANTs", f"{_BASELINES}.fire_ants:register", package="fireants", install="pip install --no-deps fireants"
        ),
        "deeds": Method(
            "deeds", f"{_BASELINES}.deeds:register", program="deedsBCV", install="build it and put it on the PATH"
        ),
    },
)


@dataclass(frozen=True)
class Choice:
    """A method with the model it is to use, if one was given: a shipped one's name or a path."""

    method: str
    model: str | None = None

    @property
    def word(self) -> str:
        """The word by which it is asked for."""
        return self.method if self.model is None else f"{self.method}={self.model}"

    @property
    def folder(self) -> str:
        """The name of its folder, another for every model: ``network``, ``network-mics-1f0c9a3e``."""
        if self.model is None:
            return self.method
        key = hashlib.sha256(self.model.encode()).hexdigest()[:8]
        return f"{self.method}-{re.sub(r'[^0-9A-Za-z]+', '-', Path(self.model).stem)[:40]}-{key}"


def choose(words: Iterable[str]) -> tuple[list[Choice], list[str]]:
    """Choices of words like ``greedy`` or ``network=MODEL``, and a sentence for each that cannot run here.

    A method may be given several models. Raises InputError for a name that is none of the methods, and for a model given to a
    method that takes none.
    """
    choices: list[Choice] = []
    messages = []
    for word in words:
        name, _, model = word.partition("=")
        if name not in METHODS:
            raise SettingError(f"There is no method {name!r}; choose of {', '.join(METHODS)}.")
        if model and not METHODS[name].model:
            raise SettingError(f"{name} takes no model; write {name} without '={model}'.")
        message = lacking(name, model)
        choice = Choice(name, model or None)
        if message is not None:
            messages.append(message)
        elif choice not in choices:
            choices.append(choice)
    return choices, messages


def lacking(name: str, model: str) -> str | None:
    """Why a method is skipped here, or None if it can run."""
    method = METHODS[name]
    if method.own_model and not model:
        return f"{name} is skipped: it needs a model, {name}=RUN, trained by mics train {name}-small."
    if method.package is not None and not _installed(method.package):
        return f"{name} is skipped, because it is not installed: {method.install}."
    if method.program is not None and shutil.which(method.program) is None:
        return f"{name} is skipped, because {method.program} is not on the PATH: {method.install}."
    return None


def run(choice: Choice, fixed: Image, moving: Image, affine: Matrix, adapter: str | None = None) -> BaselineResult:
    """Register a pair by a method, or by the ``adapter`` where this process does not know the method."""
    module, _, function = (adapter or METHODS[choice.method].adapter).partition(":")
    register = getattr(import_module(module), function)
    outcome: BaselineResult = register(fixed, moving, affine, **({"model": choice.model} if choice.model else {}))
    return outcome


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True

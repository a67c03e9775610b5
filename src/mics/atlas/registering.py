"""The registration that propagation and template are made of: called here alone."""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.choices import Refine
from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image
from mics.network.weights import DEFAULT_REGISTRATION, load_model_for
from mics.registration.register import Registration, register
from mics.registration.registrar import Registrar
from mics.registration.settings import resolve


@dataclass(frozen=True, kw_only=True)
class AtlasSettings:
    """``model``, ``refine`` and ``device`` of :func:`mics.registration.register.register`."""

    model: str | Path = DEFAULT_REGISTRATION
    refine: Refine = "fast"
    device: str = "auto"

    def refuse_unusable(self) -> None:
        """Raise InputError for what no registration takes, before any is begun."""
        resolve(affine="organs", steps=None, topology="free", model=self.model, refine=self.refine, device=self.device)

    def to_dict(self) -> dict[str, Any]:
        """What decides the result, plain: everything but the device."""
        model = load_model_for("registration", self.model)
        return {"model": model.name, "model_sha256": model.sha256, "refine": self.refine}


def register_scans(
    settings: AtlasSettings,
    *,
    fixed: Image,
    moving: Image,
    moving_labels: Image | None = None,
    affine: NDArray[np.float64] | None = None,
) -> Registration:
    """``moving`` registered to ``fixed``, both ways; raises InputError as :func:`mics.registration.register.register` does."""
    if affine is None:
        return _kept_registrar(settings)(fixed, moving, moving_labels=moving_labels)
    return register(fixed, moving, moving_labels=moving_labels, affine=affine, **asdict(settings))


@cache
def _kept_registrar(settings: AtlasSettings) -> Registrar:
    """Its models are loaded once."""
    return Registrar(**asdict(settings))


def in_view(transform: Transform, grid: Grid) -> Image:
    """1 where a scan on ``grid`` covers the voxels that ``transform`` fills from it, else 0; uint8 on the transform's grid."""
    return transform.transform_labels(Image(np.ones(grid.size, np.uint8), grid))

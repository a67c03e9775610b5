"""Symmetric, multi-step, inverse-consistent deformable registration of 3D abdominal CT.

    import mics
    result = mics.register("fixed.nii.gz", "moving.nii.gz")
    result.save("out")

The names below are the public interface. Each is loaded when it is first used, so that `import mics` and `mics --help`
do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mics.atlas.propagate import propagate
    from mics.atlas.template import template
    from mics.data.phantom import phantom, phantom_pair
    from mics.deformation.chain import chained
    from mics.deformation.transform import Transform
    from mics.errors import InputError
    from mics.evaluation.evaluate import evaluate
    from mics.image.grid import Grid
    from mics.image.io import Image, read_image, read_labels, write_image
    from mics.network.weights import available_models, load_model
    from mics.registration.affine_file import read_affine
    from mics.registration.register import Registration, register
    from mics.registration.registrar import Registrar

__all__ = [
    "Grid",
    "Image",
    "InputError",
    "Registrar",
    "Registration",
    "Transform",
    "__version__",
    "available_models",
    "chained",
    "evaluate",
    "load_model",
    "phantom",
    "phantom_pair",
    "propagate",
    "read_affine",
    "read_image",
    "read_labels",
    "register",
    "template",
    "write_image",
]

_HOMES = {
    "Grid": "mics.image.grid",
    "Image": "mics.image.io",
    "InputError": "mics.errors",
    "Registrar": "mics.registration.registrar",
    "Registration": "mics.registration.register",
    "Transform": "mics.deformation.transform",
    "available_models": "mics.network.weights",
    "chained": "mics.deformation.chain",
    "evaluate": "mics.evaluation.evaluate",
    "load_model": "mics.network.weights",
    "phantom": "mics.data.phantom",
    "phantom_pair": "mics.data.phantom",
    "propagate": "mics.atlas.propagate",
    "read_affine": "mics.registration.affine_file",
    "read_image": "mics.image.io",
    "read_labels": "mics.image.io",
    "register": "mics.registration.register",
    "template": "mics.atlas.template",
    "write_image": "mics.image.io",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("mics-registration")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'mics' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

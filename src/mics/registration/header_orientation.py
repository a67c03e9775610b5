"""Whether a scan's header has two directions exchanged, found by turning the scan and looking for its organs.

The segmentation network knows patients the right way up, mirrored or not. Turned about any axis, a patient shows it about
half as much of organs, and it is less sure of them. Of what is no CT it knows nothing, so that its header is not judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mics.image.grid import NETWORK_ORIENTATION, Grid
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel, load_model
from mics.registration.evidence import expected_precision_of_all, large_organs, tissue_shares
from mics.registration.laterality import liver_is_left
from mics.registration.network_grid import Samples
from mics.registration.verdict import is_like_ct

_ORIENTATIONS = {
    "turned about its left-right axis (head and feet, front and back exchanged)": (1, 2),
    "turned about its front-back axis (left and right, head and feet exchanged)": (0, 2),
    "turned about the body's axis (left and right, front and back exchanged)": (0, 1),
    "with head and feet exchanged": (2,),
    "with front and back exchanged": (1,),
}
# Six times through a scan: the one that takes a quarter of the time.
_MODEL = "organs-coarse"
_CLEARLY, _NEARLY = 1.3, 0.9
_MIN_LARGE_ORGANS, _MIN_CERTAINTY = 3, 0.8
"""What a patient who is turned the right way round shows of six, and how sure the network then is of all organs (.90 to .94 of
whole abdomens, .89 of their upper parts); a pelvis turned shows up to three by chance, of which it is less sure (.55 to .76)."""


@dataclass(frozen=True)
class _Organs:
    """What is found in an orientation: voxels, each weighed by how sure the network is; that, on average; how many of six large
    organs; and whether the liver lies left.
    """

    amount: float
    certainty: float
    large: int
    liver_left: bool


def wrong_orientations(scans: Mapping[str, Image], device: torch.device) -> list[str]:
    """A sentence for each of the ``scans``, by role, whose organs are found far better in another orientation than its own."""
    model = load_model(_MODEL)
    found = (_wrong_orientation(scan, role, model, device) for role, scan in scans.items())
    return [message for message in found if message is not None]


def _wrong_orientation(scan: Image, role: str, model: LoadedModel, device: torch.device) -> str | None:
    lower, upper = scan.grid.corners().min(axis=0), scan.grid.corners().max(axis=0)
    grid = Grid.axis_aligned(lower, upper, model.spacing_mm, NETWORK_ORIENTATION)
    hu = Samples.of(scan, grid, np.eye(4)).downsampled(grid, model.hu_range)
    assert hu is not None
    volume = hu_windows(hu.to(device), model.hu_range)
    if not is_like_ct(tissue_shares(volume[:, :1])):
        return None
    as_it_lies = _organs(volume, model)
    others = {name: _organs(volume.flip([axis + 2 for axis in axes]), model) for name, axes in _ORIENTATIONS.items()}
    most = max(found.amount for found in others.values())
    if most < _CLEARLY * as_it_lies.amount:
        return None
    # A patient turned and mirrored shows as much as one who is only turned, but the liver on the left.
    best = min(
        (name for name, found in others.items() if found.amount > _NEARLY * most),
        key=lambda name: others[name].liver_left,
    )
    # In noise the network finds organs any way round, of which it is no surer.
    certainty = others[best].certainty
    if others[best].large < _MIN_LARGE_ORGANS or certainty <= max(_MIN_CERTAINTY, as_it_lies.certainty):
        return None
    return (
        f"The organs of the {role} scan are found when it is {best} and not as its header has it: check that header's "
        "direction against the patient."
    )


@torch.no_grad()
def _organs(volume: Tensor, model: LoadedModel) -> _Organs:
    network = model.network
    assert isinstance(network, Segmentation)
    maps = network.to(volume.device).organ_maps(volume, model.crop)
    return _Organs(
        amount=float(maps.square().sum()),
        certainty=expected_precision_of_all(maps) or 0.0,
        large=large_organs(maps, model.spacing_mm),
        liver_left=bool(liver_is_left(maps, model.spacing_mm)),
    )

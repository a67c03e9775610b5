"""Whether a scan's header has two directions exchanged, found by turning the scan and looking for its organs.

The segmentation network knows patients the right way up, mirrored or not. Turned about any axis, a patient shows it about
half as much of organs, and it is less sure of them. Of what is no CT it knows nothing, so that its header is not judged.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mics.image.grid import NETWORK_ORIENTATION, Grid
from mics.image.intensity import hu_windows
from mics.image.io import Image
from mics.network.segmentation import Segmentation
from mics.network.weights import LoadedModel, load_model
from mics.registration.evidence import tissue_shares
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
    as_it_lies, _ = _organ_evidence(volume, model)
    others = {
        name: _organ_evidence(volume.flip([axis + 2 for axis in axes]), model) for name, axes in _ORIENTATIONS.items()
    }
    most = max(found for found, _ in others.values())
    if most < _CLEARLY * as_it_lies:
        return None
    # A patient turned and mirrored shows as much as one who is only turned, but the liver on the left.
    best = min(
        (name for name, (found, _) in others.items() if found > _NEARLY * most), key=lambda name: others[name][1]
    )
    return (
        f"The organs of the {role} scan are found when it is {best} and not as its header has it: check that header's "
        "direction against the patient."
    )


@torch.no_grad()
def _organ_evidence(volume: Tensor, model: LoadedModel) -> tuple[float, bool]:
    """How much of organs is found, each voxel weighed by how sure the network is; and whether the liver lies left."""
    network = model.network
    assert isinstance(network, Segmentation)
    maps = network.to(volume.device).organ_maps(volume, model.crop)
    return float(maps.square().sum()), bool(liver_is_left(maps, model.spacing_mm))

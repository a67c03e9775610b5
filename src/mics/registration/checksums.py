"""By what a pair's inputs, and what they are computed with, are known again."""

import hashlib
from typing import Any

import isal
import numpy as np
import SimpleITK as sitk
import torch

from mics.deformation.provenance import voxels_sha256
from mics.image.points import Points
from mics.registration.inputs import Scan
from mics.registration.pair import Pair

KINDS = ("voxels", "labels", "exclude", "lesions", "landmarks")
"""What of a scan has a checksum, ``KIND_sha256`` in the summary."""


def checksums(scan: Scan, landmarks: Points | None) -> dict[str, str | None]:
    """SHA-256 of each of :data:`KINDS`, by its key in the summary; None for what was not given."""
    images = {"voxels": scan.image, "labels": scan.labels, "exclude": scan.exclude, "lesions": scan.lesions}
    found = {f"{kind}_sha256": None if image is None else voxels_sha256(image) for kind, image in images.items()}
    return {**found, "landmarks_sha256": None if landmarks is None else _points_sha256(landmarks)}


def pair_checksums(scans: Pair[Scan], landmarks: tuple[Points, Points] | None) -> dict[str, dict[str, str | None]]:
    """:func:`checksums` of the fixed and of the moving scan; ``landmarks`` fixed, then moving."""
    fixed, moving = (None, None) if landmarks is None else landmarks
    return {"fixed": checksums(scans.fixed, fixed), "moving": checksums(scans.moving, moving)}


def environment(device: torch.device) -> dict[str, Any]:
    """What results depend on in their last digits: libraries, threads, and what computes."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "simpleitk": sitk.Version.VersionString(),
        "isal": isal.__version__,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _points_sha256(points: Points) -> str:
    """Of their LPS mm as float64, little-endian, point by point."""
    return hashlib.sha256(np.ascontiguousarray(points.coordinates, dtype="<f8").data).hexdigest()

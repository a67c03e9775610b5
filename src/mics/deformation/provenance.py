"""What a transform is for, in a JSON file beside it: which scan it takes onto which, and how it was made."""

import hashlib
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from mics.errors import GeometryError, InputError
from mics.files.whole import write_text
from mics.image.grid import Grid
from mics.image.io import Image

_SCHEMA = "mics-transform/1"
_OWN = ("schema", "images", "points", "transform", "scans")
# Of a stored voxel: so little, by rounding, a coarse grid may end before the scan's outermost voxels.
_UNCOVERED = 0.1
# A scan has fewer voxels for each of a field's, of any sizes of both.
_MOST_VOXELS = 1e5


@dataclass(frozen=True)
class KnownScan:
    """A scan as a transform remembers it: where its voxels are, and the SHA-256 of their values."""

    grid: Grid
    voxels_sha256: str

    @classmethod
    def of(cls, image: Image) -> Self:
        """What is remembered of ``image``."""
        return cls(image.grid, voxels_sha256(image))

    def is_scan(self, image: Image) -> bool:
        """Whether ``image`` is the remembered scan, voxel by voxel."""
        return self.grid.is_close(image.grid) and self.voxels_sha256 == voxels_sha256(image)


@dataclass(frozen=True)
class Provenance:
    """A transform that brings images from the scan ``source`` onto the grid of ``target``, and points the other way.

    ``source`` and ``target`` are keys of ``scans``: "fixed" and "moving". ``made``: how the transform came about, plain data.
    """

    source: str
    target: str
    scans: Mapping[str, KnownScan]
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def opposite_name(self) -> str:
        """The name that `mics register` gives the file of the other direction."""
        return f"transform_{self.target}_to_{self.source}.nii.gz"

    def opposite(self) -> "Provenance":
        """Say the same of the inverse transform.

        Returns:
            The provenance with both scans in each other's place.
        """
        return Provenance(
            self.target, self.source, self.scans, {**self.made, "inverse_of": f"{self.source}_to_{self.target}"}
        )

    def save(self, transform: Path) -> None:
        """Write the JSON beside a transform's file, whole or not at all.

        Args:
            transform: The file, which is there already.
        """
        scans = {
            name: {"grid": scan.grid.to_dict(), "voxels_sha256": scan.voxels_sha256}
            for name, scan in self.scans.items()
        }
        content = {
            "schema": _SCHEMA,
            "images": {"from": self.source, "to": self.target},
            "points": {"from": self.target, "to": self.source},
            "transform": {"bytes": transform.stat().st_size, "sha256": _file_sha256(transform)},
            "scans": scans,
            **self.made,
        }
        write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", provenance_path(transform))

    @classmethod
    def load(cls, transform: Path) -> Self | None:
        """Read the JSON beside a transform's file.

        Args:
            transform: The file of the transform.

        Returns:
            Its provenance; None where there is no JSON, and with a warning where it is damaged, of another kind, contradicts
            itself, or is not of the file as it is.
        """
        beside = provenance_path(transform)
        try:
            content = json.loads(beside.read_text(encoding="utf-8-sig"))
            why = _contradiction(content, transform)
            if why is None:
                return cls._parsed(content)
        except OSError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError):
            why = "is damaged"
        warnings.warn(
            f"{beside} {why}: it is passed over, and nothing tells for which scans {transform} is.", stacklevel=1
        )
        return None

    @classmethod
    def _parsed(cls, content: dict[str, Any]) -> Self:
        images = content["images"]
        scans = {
            name: KnownScan(Grid.from_dict(scan["grid"]), scan["voxels_sha256"])
            for name, scan in content["scans"].items()
        }
        if not {images["from"], images["to"]} <= scans.keys():
            raise KeyError("the scans that it is for")
        made = {name: value for name, value in content.items() if name not in _OWN}
        return cls(images["from"], images["to"], scans, made)

    def filled_grid(self, stored: Grid, transform: Path) -> Grid:
        """The grid of the scan that is filled, of which that of the file is a coarser one that covers it.

        Args:
            stored: The grid of the file.
            transform: The file.

        Returns:
            The scan's grid.

        Raises:
            InputError: Where the file's grid is no such one, so that one of the two is wrong.
        """
        own = self.scans[self.target].grid
        corners = stored.world_to_voxel(own.corners())
        covers = corners.min() >= -_UNCOVERED and np.all(corners <= np.array(stored.size) - 1 + _UNCOVERED)
        if not covers or not 1 < math.prod(own.size) / math.prod(stored.size) <= _MOST_VOXELS:
            raise GeometryError(
                f"{provenance_path(transform)} says that the transform fills the grid {own}, and the field in {transform} lies "
                f"on another, {stored}: take that file away, or put the one back that was written with the transform."
            )
        return own


def _contradiction(content: dict[str, Any], transform: Path) -> str | None:
    """Why the JSON beside a transform's file does not count; None where it does, as far as it is whole."""
    if content["schema"] != _SCHEMA:
        return "is of another version of MICS, or of another program"
    stated, images, points = content["transform"], content["images"], content["points"]
    if stated["bytes"] != transform.stat().st_size or stated["sha256"] != _file_sha256(transform):
        return "is not of this file, or the file was changed since"
    if (images["from"], images["to"]) != (points["to"], points["from"]):
        return "tells its direction in two ways (images and points)"
    return None


def provenance_path(transform: Path) -> Path:
    """Where the JSON of a transform's file lies: its whole name and .json, which no other file beside it is called."""
    return transform.with_name(f"{transform.name}.json")


def voxels_sha256(image: Image) -> str:
    """SHA-256 of the values as float32, little-endian, the first axis running fastest: the same for every file of them."""
    found = hashlib.sha256()
    for plane in image.array.T:
        # Zeros that carry a minus, as rounding leaves them, do so in files of floats alone.
        found.update(np.ascontiguousarray(plane.astype("<f4") + 0).data)
    return found.hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

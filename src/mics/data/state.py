"""By what a file that changes, or lies elsewhere, is noticed, without reading it."""

import hashlib
import os
import zlib
from pathlib import Path

from mics.image.text_headers import voxels_of


def state_of(path: Path) -> list[int]:
    """Files, bytes, time of the last change (ns), and a checksum over the names, bytes and times of all.

    Of a file with that in which its voxels lie where that is another (.mhd, .nhdr), or of all files in a folder and those within
    it (a DICOM series); zeros for none.
    """
    stats = [(name, file.stat()) for name, file in sorted(_files(path)) if file.exists()]
    if not stats:
        return [0, 0, 0, 0]
    each = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return [
        len(stats),
        sum(stat.st_size for _, stat in stats),
        max(stat.st_mtime_ns for _, stat in stats),
        zlib.crc32(each.encode("utf-8", "surrogateescape")),
    ]


def location_of(path: Path) -> str:
    """A checksum of where a file lies, for results that are handed on: it tells nothing of its folders' names."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _files(path: Path) -> list[tuple[str, Path]]:
    """The files by their names from ``path``, its own being empty."""
    if path.is_dir():
        found = (Path(place, name) for place, _, names in os.walk(path) for name in names)
        return [(file.relative_to(path).as_posix(), file) for file in found]
    return [("", path), *((file.name, file) for file in voxels_of(path))]

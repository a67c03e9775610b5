"""By what a file that changes is noticed, without reading it."""

from pathlib import Path


def state_of(path: Path) -> list[int]:
    """Files, bytes and time of the last change (ns) of a file, or of a folder's files (a DICOM series); zeros for none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    stats = [file.stat() for file in files if file.exists()]
    return [len(stats), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)]

"""Names of scans, which become part of their results' names: what a table may give, and what a file gives."""

from pathlib import Path

from mics.errors import InputError
from mics.image.checks import known_suffix
from mics.image.io import READERS

MAX_NAME = 100
"""In bytes: two of them make a file's name."""
_LABELS_OF = ("_labels", "_label", "_seg", ".seg")
_REFUSED = frozenset('/\\:*?"<>|')


def is_file_name(name: str, longest: int = 200) -> bool:
    """Whether ``name`` can be part of a file's name, on any system, and so names no other folder.

    ``longest``: so many bytes leave room for what is put before and behind it.
    """
    return (
        0 < len(name.encode(errors="replace")) <= longest
        and min(name) >= " "
        and not name.startswith(".")  # hidden, or the folder above
        and not _REFUSED & set(name)
    )


def names_of_labels(name: str) -> list[str]:
    """What the label map that lies beside a scan may be called.

    Args:
        name: the scan's, without its ending.

    Returns:
        Names without their endings.
    """
    own = [f"label{name.removeprefix('img')}"] if name.startswith("img") else []
    return [*own, *(f"{name}{word}" for word in _LABELS_OF)]


def name_of_scan(path: Path) -> str:
    """The name of a scan's file, or of its folder of DICOM slices, without what says the format.

    Args:
        path: the file or the folder, which is there.

    Returns:
        A name of at most :data:`MAX_NAME` bytes that names no other folder.

    Raises:
        InputError: where the file's name cannot be a part of another name.
    """
    own = path.resolve().name if path.is_dir() else path.name
    endings = [".dcm", *READERS] if not path.is_dir() else []
    name = next((own[: -len(ending)] for ending in endings if own.lower().endswith(ending)), own)
    if name == own and not path.is_dir():
        name = own.removesuffix(known_suffix(path))
    if not is_file_name(name, MAX_NAME):
        raise InputError(
            f"{path} has a name that cannot be a part of its results' names: rename it, with 1 to 100 characters."
        )
    return name

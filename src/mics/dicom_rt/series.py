"""A CT series with the headers of its slices, which DICOM objects made for it refer to."""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mics.errors import InputError, counted
from mics.image.checks import refuse_unreadable_name
from mics.image.content import first_bytes, lacks_preamble
from mics.image.grid import Grid
from mics.image.io import Image, read_image
from mics.image.zipped import unpacked

_TAGS = ["SOPClassUID", "Modality", "SeriesInstanceUID", "SeriesDescription", "ImagePositionPatient"]
# What pydicom raises for elements that are missing, broken off or hold something else.
_DAMAGED = (
    *(AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError),
    *(OSError, RuntimeError, TypeError, ValueError, struct.error),
)
# In a slice's own pixels or slices.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Series:
    """``scan`` in HU, and ``headers``, one a slice, without pixels, in the order of the scan's third axis."""

    scan: Image
    headers: tuple[Dataset, ...]

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return self.scan.grid

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def frame_of_reference(self) -> str:
        """Frame of Reference UID; raises InputError where the series has none."""
        if not (uid := self.headers[0].get("FrameOfReferenceUID")):
            raise InputError("The series has no frame of reference, to which DICOM objects refer: export it again.")
        return str(uid)


def read_series(study: Path, uid: str | None = None) -> Series:
    """The CT series in a folder, the folders within it, or a zip of them; ``uid`` (Series Instance UID) chooses one of several.

    Raises InputError if there is none, or several of which none is chosen, for one in a multi-frame file, and as
    :func:`mics.image.io.read_image` does.
    """
    refuse_unreadable_name(study)
    with unpacked(study) as folder:
        found = ct_series(Path(place) / name for place, _, names in os.walk(folder) for name in names)
        wanted = found.keys() & {uid.strip()} if uid is not None else found.keys()
        if len(wanted) != 1:
            held = (
                "; ".join(f"{key} with {counted(len(paths), 'file')}" for key, paths in sorted(found.items())) or "none"
            )
            sought = "a single CT series" if uid is None else f"the CT series {uid}"
            raise InputError(
                f"{study} does not hold {sought}: there is {held}. Give its folder, or choose it by its UID."
            )
        return series_of(found[next(iter(wanted))])


def series_of(files: list[Path]) -> Series:
    """The series of these files, with all that lies in the folder that they share; raises InputError as :func:`read_series`."""
    folder = Path(os.path.commonpath([file.parent for file in files]))
    headers = [_dataset(path, pixels=False) for path in files]
    scan = read_image(folder, str(headers[0].SeriesInstanceUID))
    return Series(scan, _slices(folder, scan.grid, headers))


@contextmanager
def refused_if_damaged(path: Path) -> Iterator[None]:
    """Around the reading of an object's elements: raises InputError for those that are missing or hold something else."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path} is damaged: {error}") from error
    except _DAMAGED as error:
        message = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{path} is damaged or stored in a way that is not read ({message}): export it again."
        ) from error


def ct_series(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The files among ``paths`` that are of a CT series, by its UID."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        header = _header(path)
        if header is not None and header.get("Modality") == "CT" and "SeriesInstanceUID" in header:
            found.setdefault(str(header.SeriesInstanceUID), []).append(path)
    return found


def modality(path: Path) -> str | None:
    """The modality of a DICOM file, "RTSTRUCT", "SEG", "CT", ...; None for any other file and for a folder."""
    header = _header(path)
    return None if header is None else str(header.get("Modality", ""))


def read_object(path: Path, kinds: tuple[str, ...]) -> Dataset:
    """A whole DICOM file; raises InputError unless its modality is one of ``kinds``."""
    refuse_unreadable_name(path)
    kind = modality(path)
    if kind not in kinds:
        found = "no DICOM file, or damaged" if kind is None else f"a DICOM file of the modality {kind or 'unknown'}"
        raise InputError(f"{path} is {found}: give one of the modality {' or '.join(kinds)}.")
    with refused_if_damaged(path):
        return _dataset(path)


def _header(path: Path) -> Dataset | None:
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        header = _dataset(path, pixels=False, tags=_TAGS)
        header.decode()  # values are else looked at when they are asked for
    except _DAMAGED:
        return None
    return header


def _dataset(path: Path, *, pixels: bool = True, tags: list[str] | None = None) -> Dataset:
    """What pydicom reads of a file: of one without preamble too, whose form is then told as the others tell it."""
    found = dcmread(path, stop_before_pixels=not pixels, force=lacks_preamble(first_bytes(path)), specific_tags=tags)
    if "TransferSyntaxUID" not in found.file_meta:
        implicit, _ = found.original_encoding
        found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return found


def _slices(folder: Path, grid: Grid, headers: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """The headers of the slices of ``grid``, in its order; localisers, which are none of them, are left out."""
    slices: dict[int, Dataset] = {}
    # Slices of a tilted gantry lie aside of the straight grid's corner, but in its planes.
    for aside in (_TOLERANCE, np.inf):
        for header in headers:
            if "ImagePositionPatient" not in header or not _is_parallel(header, grid):
                continue
            column, row, number = grid.world_to_voxel([float(x) for x in header.ImagePositionPatient])
            nearest = int(np.rint(number))
            if max(abs(column), abs(row)) < aside and abs(number - nearest) < 0.5:
                slices.setdefault(nearest, header)
        if sorted(slices) == list(range(grid.size[2])):
            return tuple(slices[number] for number in range(grid.size[2]))
    raise InputError(
        f"{folder} holds no series of single slices, one a plane, to which structures and doses could refer: export it "
        "again, not as a multi-frame file."
    )


def _is_parallel(header: Dataset, grid: Grid) -> bool:
    """Whether the slice's rows and columns run as the grid's do."""
    directions = np.array([float(x) for x in header.get("ImageOrientationPatient", [])]).reshape(-1, 3)
    axes = np.array(grid.direction).reshape(3, 3)[:, :2].T
    return len(directions) == 2 and bool(np.abs(directions - axes).max() < _TOLERANCE)

"""What NRRD and MetaImage say in their headers of lines, looked at before ITK reads them.

ITK passes over units, scalings and frames that it does not know, and makes up what is missing or no number.
"""

import math
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mics.errors import GeometryError, InputError
from mics.image import checks
from mics.image.grid import Grid
from mics.image.slice_stack import Tilt, tilt_of

_MAX_HEADER = 1 << 20
# Directions in text headers are rounded.
_UNIT_TOLERANCE = 1e-3
_SPACES = {"left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las"}
_MILLIMETRES = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}
# MetaImage's names of one thing, the numbers that each has, and what it is.
_PLACE = (
    (("transformmatrix", "rotation", "orientation"), 9, "direction"),
    (("offset", "position", "origin"), 3, "origin"),
    (("elementspacing",), 3, "voxel size"),
    (("elementsize",), 3, "voxel size"),
    (("centerofrotation",), 3, "centre of rotation"),
)

# The encodings that ITK reads, and NRRD's fields of one value an axis, whose number has to be known before.
_ENCODINGS = {"raw", "gzip", "gz", "ascii", "txt", "text", "hex"}
_PER_AXIS = {
    "sizes",
    "kinds",
    "centers",
    "centerings",
    "labels",
    "units",
    "spacings",
    "thicknesses",
    "axis mins",
    "axis maxs",
}

# NRRD's kinds of an axis in space, with those that say nothing.
_ALONG_SPACE = {"domain", "space", "time", "none", "???"}

# MetaImage's letters of where an axis comes from, by where it goes to in LPS.
_FROM = {"L": "R", "R": "L", "P": "A", "A": "P", "S": "I", "I": "S"}
_AXES = {frozenset(pair) for pair in _FROM.items()}

_Pairs = list[tuple[str, str]]


def refuse_unclear_header(path: Path) -> None:
    """Raise InputError where an NRRD or MetaImage header does not say, or says in a way that ITK passes over, how the volume lies
    and what its values are.

    What is neither of the two, and what has not three dimensions, is left to ITK.
    """
    _, pairs = header_lines(path)
    names = Counter(name for name, _ in pairs)
    fields = dict(pairs)
    if path.name.lower().endswith((".mha", ".mhd")):
        refuse_parted(path, fields)
        _refuse_no_metaimage(path)
    if not {"type", "sizes"} & names.keys() and "dimsize" not in names:
        return
    if not all(length.isdecimal() for length in fields.get("dimsize", "").split()):
        raise InputError(f"{path} has a damaged size in its header: DimSize is {fields['dimsize']}, not whole numbers.")
    if "dimsize" not in names:
        _refuse_other_axes(path, fields)
    if len(fields.get("dimsize", "x y z").split()) != 3 or fields.get("space dimension", "3") != "3":
        return
    # NRRD's own keys, which end in a colon ("key:=value"), may differ in capitals alone.
    stated = [name for name, times in names.items() if times > 1 and not name.endswith(":")]
    if twice := next((name for name in stated if name != "comment"), None):
        raise InputError(f"{path} has two lines {twice} in its header: leave the right one.")
    refuse_parted(path, fields)
    if "dimsize" in names:
        _refuse_unclear_metaimage(path, fields)
    else:
        _refuse_unclear_nrrd(path, fields)


def _refuse_no_metaimage(path: Path) -> None:
    """Raise InputError without the lines that MetaIO asks for, in its own capitals: it would say so itself, on the terminal."""
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER).partition(b"ElementDataFile")
    for name in ("NDims", "DimSize", "ElementType"):
        if not re.search(rf"^\s*{name}\s*[=:]".encode(), head[0], re.MULTILINE):
            raise checks.unreadable(path, ValueError(f"its header has no line {name} before ElementDataFile"))


def refuse_parted(path: Path, fields: dict[str, str]) -> None:
    """Raise InputError where the voxels lie in several files, of which ITK takes those that there are, or in a missing one."""
    other = data_file(fields)
    if other.upper() == "LOCAL":
        return
    if "%" in other or other.upper().startswith("LIST"):
        raise InputError(
            f"{path} has its voxels in several files: save the volume in one file (.nrrd, .mha or .nii.gz)."
        )
    data = path.parent / other
    # os.path.isfile asks without raising where no file can have such a name.
    if not os.path.isfile(data):
        raise InputError(f"{path} has its voxels in {data}, which is not there: copy both files into one folder.")


def _refuse_unclear_nrrd(path: Path, fields: dict[str, str]) -> None:
    _refuse_unusual_lines(path, fields)
    if fields.get("space", "").lower() not in _SPACES:
        raise checks.no_orientation(path)
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", "")))
    if others := {unit for unit in units if unit.lower() not in _MILLIMETRES}:
        raise _other_lengths(path, min(others))
    if "space directions" not in fields:
        raise checks.no_orientation(path)
    if "space origin" not in fields:
        raise _nowhere(path, "space origin")
    directions = fields["space directions"]
    if fields.get("dimension") == "3" and "none" in directions:
        raise GeometryError(
            f"{path} has an axis without direction in its header ({directions}): convert it from DICOM again."
        )
    for name in ("space directions", "space origin"):
        numbers = _floats(re.sub(r"none|[(),]", " ", fields[name]))
        if not numbers or not all(math.isfinite(number) for number in numbers):
            raise InputError(
                f"{path} has a damaged {name} in its header ({fields[name]}): convert it from DICOM again."
            )


def _refuse_other_axes(path: Path, fields: dict[str, str]) -> None:
    """Raise GeometryError where NRRD's kinds make an axis one of time, or leave other than three in space."""
    kinds = fields.get("kinds", "").lower().split()
    if str(len(kinds)) != fields.get("dimension"):
        return
    across = [kind for kind in kinds if kind in _ALONG_SPACE]
    if "time" in kinds or len(across) < min(len(kinds), 3):
        raise GeometryError(
            f"{path} is no 3D volume: the kinds of its axes are {' '.join(kinds)}. Give one volume, with three axes in space."
        )


def _refuse_unusual_lines(path: Path, fields: dict[str, str]) -> None:
    """Raise InputError where lines are missing, in an order in which ITK does not read them, or of an encoding that it lacks."""
    if missing := {"type", "dimension", "sizes", "encoding"} - fields.keys():
        raise InputError(f"{path} is damaged: its header has no line {min(missing)}. Copy it again.")
    order = list(fields)
    space = "space" if "space" in fields else "space dimension"
    pairs = [("dimension", name) for name in order if name in _PER_AXIS]
    pairs += [(space, name) for name in ("space directions", "space origin", "space units") if name in fields]
    for first, second in pairs:
        if first in fields and order.index(first) > order.index(second):
            raise InputError(
                f"{path} has its lines in another order than NRRD asks for ({second} before {first}): put {first} first."
            )
    if fields["encoding"].lower() not in _ENCODINGS:
        raise InputError(
            f"{path} holds its voxels in the encoding {fields['encoding']}, which MICS does not read: save it with gzip or raw."
        )
    if {"old min", "oldmin", "old max", "oldmax"} & fields.keys():
        raise InputError(
            f"{path} asks to scale its values (old min, old max): apply that and save it unscaled, without these lines."
        )
    if fields["type"].lower() == "block":
        raise InputError(
            f"{path} holds blocks of bytes (type block), not numbers: save it with integers or real numbers."
        )


def _refuse_unclear_metaimage(path: Path, fields: dict[str, str]) -> None:
    _refuse_ambiguous_geometry(path, fields)
    _refuse_unclear_bytes(path, fields)
    for name, neutral in (("elementtointensityfunctionslope", 1.0), ("elementtointensityfunctionoffset", 0.0)):
        if name in fields and _floats(fields[name]) != [neutral]:
            raise InputError(
                f"{path} asks to scale its values ({name} {fields[name]}): apply that and save it unscaled."
            )


def _refuse_unclear_bytes(path: Path, fields: dict[str, str]) -> None:
    """Raise InputError where a MetaImage header does not say how its voxels are stored, or says it in two ways."""
    if fields.get("ndims") != "3":
        raise InputError(
            f"{path} is damaged: NDims is {fields.get('ndims', 'missing')} in its header, and DimSize has 3."
        )
    orders = set()
    for name in ("binarydatabyteordermsb", "elementbyteordermsb"):
        stated = fields.get(name, "false").lower()
        if stated[:1] not in tuple("tf10"):
            raise InputError(
                f"{path} does not say in which order its bytes are: {name} is {stated}, neither True nor False."
            )
        orders |= {stated[:1]} if name in fields else set()
    if orders & {"t", "1"} and orders & {"f", "0"}:
        raise InputError(
            f"{path} tells the order of its bytes in two ways (BinaryDataByteOrderMSB and ElementByteOrderMSB): leave the "
            "right one."
        )
    if fields.get("headersize", "0") not in ("0", "-1") and fields.get("elementdatafile", "").upper() == "LOCAL":
        raise InputError(
            f"{path} tells in two ways where its voxels begin (HeaderSize {fields['headersize']}, and after the header): take "
            "HeaderSize out."
        )
    if not fields.get("binarydata", "").lower().startswith(("t", "1")):
        raise InputError(f"{path} holds its voxels as text (BinaryData is not True): save it with binary ones.")
    if fields.get("compresseddata", "false").lower()[:1] not in tuple("tf10"):
        raise InputError(
            f"{path} does not say whether its voxels are compressed: CompressedData is {fields['compresseddata']}, neither True "
            "nor False."
        )


def _refuse_ambiguous_geometry(path: Path, fields: dict[str, str]) -> None:
    """Raise InputError where a MetaImage header does not say where its voxels lie, in mm, or says it in two ways."""
    if not fields.keys() & set(_PLACE[0][0]):
        raise checks.no_orientation(path)
    if fields.get("distanceunits", "?").lower() not in {"?", *_MILLIMETRES}:
        raise _other_lengths(path, fields["distanceunits"])
    for names, count, what in _PLACE:
        _refuse_unclear_numbers(path, {name: fields[name] for name in names if name in fields}, count, what)
    if not fields.keys() & set(_PLACE[1][0]):
        raise _nowhere(path, "Offset")
    spacing = fields.get("elementspacing", fields.get("elementsize"))
    if spacing is None or min(_floats(spacing)) <= 0:
        raise GeometryError(
            f"{path} has no voxel size above 0 in its header (ElementSpacing {spacing or 'is missing'}): write it there."
        )
    if "elementsize" in fields and _floats(spacing) != _floats(fields["elementsize"]):
        warnings.warn(
            f"{path} tells two sizes of its voxels, {spacing} by ElementSpacing, which is taken, and {fields['elementsize']} by "
            "ElementSize.",
            stacklevel=5,
        )
    if any(_floats(fields.get("centerofrotation", "0"))):
        raise GeometryError(f"{path} turns about another point than its origin (CenterOfRotation): set that to 0 0 0.")


def _refuse_unclear_numbers(path: Path, lines: dict[str, str], count: int, what: str) -> None:
    """Raise InputError unless each of the lines has so many finite numbers, and all say the same."""
    stated = {name: _floats(value) for name, value in lines.items()}
    for name, numbers in stated.items():
        if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
            raise InputError(
                f"{path} has a damaged {what} in its header: {name} is {lines[name]}, not {count} numbers."
            )
    if len({tuple(numbers) for numbers in stated.values()}) > 1:
        raise InputError(f"{path} tells its {what} in two ways ({' and '.join(stated)}): leave the right one.")


def _floats(text: str) -> list[float]:
    """Numbers divided by spaces; NaN for what is none."""
    numbers = []
    for part in text.split():
        try:
            numbers.append(float(part))
        except ValueError:
            numbers.append(math.nan)
    return numbers


def _other_lengths(path: Path, unit: str) -> InputError:
    return GeometryError(f"{path} gives its lengths in {unit}: save it in millimetres.")


def _nowhere(path: Path, field: str) -> InputError:
    return GeometryError(
        f"{path} does not say where its first voxel is (its header has no {field}): convert it from DICOM again, or write "
        "it into the header if you know it."
    )


def header_fields(path: Path) -> dict[str, str]:
    """The lines of an NRRD or MetaImage header by their names in small letters; none of a file that cannot be read."""
    try:
        return dict(header_lines(path)[1])
    except OSError:
        return {}


def voxels_of(path: Path) -> list[Path]:
    """The file that holds the voxels of an NRRD or MetaImage header, as far as the header names one; none of another file."""
    if not path.name.lower().endswith((".mhd", ".nhdr")):
        return []
    other = data_file(header_fields(path))
    return [] if other.upper().startswith(("LOCAL", "LIST")) else [path.parent / other]


def is_compressed(fields: dict[str, str]) -> bool:
    """Whether MetaImage's voxels are compressed, by the one letter that ITK looks at."""
    return fields.get("compresseddata", "").lower()[:1] in ("t", "1")


def data_file(fields: dict[str, str]) -> str:
    """Where the voxels are, as the header says: LOCAL, after it, or in a file."""
    return fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile", "LOCAL")


def place(path: Path, reader: sitk.ImageFileReader, *, may_be_tilted: bool) -> Grid | Tilt:
    """Where a header that ``reader`` has read, which takes axes of any kind, places its volume; on a tilted gantry, if it may be.

    Raises InputError where axes are sheared otherwise, span no space, or are no unit vectors.
    """
    size = reader.GetSize()
    axes = np.array(reader.GetDirection()).reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * reader.GetSpacing()
    matrix[:3, 3] = reader.GetOrigin()
    lengths = np.linalg.norm(axes, axis=0)
    if checks.is_valid_affine(matrix) and np.abs(lengths - 1).max() > _UNIT_TOLERANCE:
        raise GeometryError(
            f"{path} has a direction whose columns are {' '.join(f'{length:.4g}' for length in lengths)} long instead "
            "of 1, so its spacing is uncertain: convert it from DICOM again."
        )
    tilt = None
    if may_be_tilted and checks.is_valid_affine(matrix) and checks.is_sheared(matrix, size):
        tilt = tilt_of(matrix, size)
    if tilt is not None:
        return tilt
    grid = checks.orthonormal_grid(path, matrix, size)
    _warn_of_other_orientation(path, grid)
    return grid


def _warn_of_other_orientation(path: Path, grid: Grid) -> None:
    """Warn where MetaImage's letters for the axes say something else than its matrix, by which ``grid`` lies."""
    letters = header_fields(path).get("anatomicalorientation", "").upper()
    own = "".join(_FROM[letter] for letter in grid.orientation)
    if {frozenset((letter, _FROM.get(letter))) for letter in letters} == _AXES and len(letters) == 3 and letters != own:
        warnings.warn(
            f"{path} tells its orientation in two ways: {letters} by AnatomicalOrientation and {own} by TransformMatrix (where "
            "its axes come from), which is taken.",
            stacklevel=3,
        )


def header_lines(path: Path) -> tuple[int, _Pairs]:
    """Bytes before the voxels, and the lines "name: value" (NRRD) or "name = value" (MetaImage), names in small letters."""
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER)
    end = re.search(rb"\r?\n\r?\n" if head.startswith(b"NRRD") else rb"ElementDataFile\s*[=:][^\n]*\n?", head)
    lines = (head[: end.end()] if end else head).decode("latin-1").splitlines()
    parts = (re.split(r"\s*:\s+|\s*=\s*", line.strip(), maxsplit=1) for line in lines if not line.startswith("#"))
    return end.end() if end else 0, [(part[0].lower(), part[1]) for part in parts if len(part) == 2]

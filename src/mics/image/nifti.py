"""NIfTI files, by an own reading of their headers; ITK serves for the other formats only.

ITK's reader takes the voxels of ``a.nii`` where it is asked for ``a.nii.gz`` in the same folder, makes up a place where
qform, sform and voxel size contradict each other or hold NaN, fills up what is cut off, puts 0 in place of NaN, and
writes beyond its memory for a scaled vector field.
"""

import io
import math
import warnings
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.errors import GeometryError, InputError, InsufficientMemoryError, MissingFileError
from mics.image import checks
from mics.image.grid import Grid
from mics.image.slice_stack import Tilt, correct_tilt, tilt_of

Array = NDArray[np.float64]

_CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"
# numpy's names of NIfTI's voxel types, and the values a voxel of its colours has.
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOURS = {128: 3, 2304: 4}
_LENGTHS = {1: "metres", 3: "micrometres"}
_DISPLACEMENT_INTENT = 1006
# NIfTI's codes of the unit of time.
_SECONDS = {16: 1e-3, 24: 1e-6}
_VECTOR_INTENTS = (1006, 1007)
# A unit quaternion of single precision is no longer than this.
_MAX_QUATERNION = 1 + 1e-5


class _Inflated(io.RawIOBase):
    """What a gzip file of one or more members unpacks to, its check sums verified; bytes after them are passed over."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self._rest, self._member = file, b"", zlib.decompressobj(31)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._member.eof:
                self._rest = self._member.unused_data
                if len(self._rest) < len(_GZIP):
                    self._rest += self._file.read(_CHUNK)
                if not self._rest.startswith(_GZIP):
                    return 0
                self._member = zlib.decompressobj(31)
            elif not self._rest:
                self._rest = self._file.read(_CHUNK)
                if not self._rest:
                    raise EOFError("gzip data break off")
            data = self._member.decompress(self._rest, len(buffer))
            self._rest = self._member.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)


def read_nifti(path: Path, components: int | None, *, labels: bool = False) -> sitk.Image:
    """A volume with ``components`` values a voxel, its slope and intercept applied, placed as its header says.

    ``components`` None: one value a voxel, or as many as a 4-D file has volumes over time.

    Slices of a tilted gantry are put straight, with a warning, those of ``labels`` by the nearest pixel.

    The content tells a compressed file from a plain one, whatever the name. Voxels keep their type unless they are
    scaled. Vectors of intent 1006 (displacements, RAS) become LPS, those of other intents stay, as ITK has it.

    Raises InputError for what is damaged, cut short, of another shape, and for a place that is missing, makes no sense,
    is given in two ways or sheared.
    """
    try:
        with path.open("rb") as file:
            packed, stream = _is_packed(file), _unpacked(file)
            most = path.stat().st_size * (checks.MAX_INFLATION if packed else 1)
            header = _header(path, stream)
            if components is None:
                components = _time_as_components(header)
            size = _size(path, header, components)
            straight_from = tilt(path, header, size) if components == 1 else None
            grid = place(path, header, size) if straight_from is None else None
            before, voxels = _voxels(path, header, stream, math.prod(size) * components, most)
            # Read to the end, as a damage further on shows only in the check sum there.
            after = stream.read(checks.MAX_PADDING + 1)
            if packed and len(after) > checks.MAX_PADDING:
                raise checks.unpacks_to_more(path, voxels.nbytes)
            checks.refuse_left_over(path, after, voxels.nbytes)
            _refuse_other_start(path, before, after)
            itk = _volume(path, header, voxels, size)
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged or was cut short (its gzip data break off): copy it again.") from error
    except OSError as error:
        raise MissingFileError(f"Cannot read {path}: {error.strerror}.") from error
    except MemoryError as error:
        raise InsufficientMemoryError(
            f"{path} does not fit into memory: give a part of it, or use a larger machine."
        ) from error
    if straight_from is not None:
        return correct_tilt(path, itk, straight_from, labels=labels)
    assert grid is not None
    itk.SetSpacing(grid.spacing)
    itk.SetOrigin(grid.origin)
    itk.SetDirection(grid.direction)
    return itk


def tilt(path: Path | str, header: Any, size: tuple[int, int, int]) -> Tilt | None:
    """The tilt of the gantry that an sform tells of, None where there is none.

    Raises InputError where the qform, which can tell of no tilt, places the first slice elsewhere.
    """
    sform = _lps(_rows(header))
    metres = int(header["xyzt_units"]) & 7 in _LENGTHS
    if (
        int(header["sform_code"]) <= 0
        or metres
        or not checks.is_valid_affine(sform)
        or not checks.is_sheared(sform, size)
    ):
        return None
    found = tilt_of(sform, size)
    if found is None:
        return None
    pixdim = header["pixdim"].astype(np.float64)
    qform = _qform(header, pixdim) if int(header["qform_code"]) > 0 else None
    if qform is not None:
        corners = np.array([[0, 0], [size[found.axes[0]] - 1, 0], [0, size[found.axes[1]] - 1]])
        plane = list(found.axes[:2])
        apart = np.linalg.norm(corners @ (qform - sform)[:3, plane].T + (qform - sform)[:3, 3], axis=1).max()
        if apart > min(found.grid.spacing) / 2:
            raise GeometryError(
                f"{path} places its first slice in two ways that are up to {apart:.1f} mm apart, by its sform, of a tilted "
                "gantry, and by its qform: set the wrong one's code to 0."
            )
    return found


def _header(path: Path, stream: io.BufferedIOBase) -> Any:
    """The header as nibabel reads its fields, in either byte order, the stream standing behind its last byte."""
    length = stream.read(4)
    kinds: dict[int, Any] = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    kind = kinds.get(int.from_bytes(length, "little")) or kinds.get(int.from_bytes(length, "big"))
    if kind is None:
        raise checks.unreadable(path, ValueError("it has no NIfTI header"))
    content = length + stream.read(kind.sizeof_hdr - 4)
    if len(content) < kind.sizeof_hdr:
        raise InputError(f"{path} was cut short (it ends within its header): copy it again.")
    header = kind(content, check=False)
    magic = bytes(header["magic"])
    if not magic.startswith((b"n+1", b"n+2")):
        wrong = "its voxels are in another file (.img)" if magic.startswith((b"ni1", b"ni2")) else "it is not NIfTI"
        raise checks.unreadable(path, ValueError(wrong))
    return header


def header_of(path: Path) -> Any:
    """The header in nibabel's hands; raises InputError where there is none."""
    try:
        with path.open("rb") as file:
            return _header(path, _unpacked(file))
    except (EOFError, zlib.error, OSError) as error:
        raise checks.unreadable(path, error) from error


def time_step(path: Path) -> float | None:
    """Seconds between the volumes of a 4-D file, 1 where it does not say how many; None where it holds a single volume.

    Raises InputError where there is no NIfTI header.
    """
    header = header_of(path)
    if _time_as_components(header) == 1:
        return None
    step = float(header["pixdim"][4]) * _SECONDS.get(int(header["xyzt_units"]) & 56, 1.0)
    return step if math.isfinite(step) and step > 0 else 1.0


def _unpacked(file: io.BufferedReader) -> io.BufferedReader:
    """The content of a file that may be compressed, which the content itself tells."""
    return io.BufferedReader(_Inflated(file), _CHUNK) if _is_packed(file) else file


def _is_packed(file: io.BufferedReader) -> bool:
    return file.peek(len(_GZIP)).startswith(_GZIP)


def _time_as_components(header: Any) -> int:
    """Let a 4-D header say that its volumes over time are the values of one volume's voxels; returns their number."""
    dims = header["dim"]
    if int(dims[0]) != 4 or int(dims[4]) < 2 or int(header["intent_code"]) in _VECTOR_INTENTS:
        return 1
    count = int(dims[4])
    dims[0], dims[4], dims[5] = 5, 1, count
    return count


def _size(path: Path, header: Any, components: int) -> tuple[int, int, int]:
    """The volume's size; raises InputError for other dimensions or another number of values a voxel."""
    count, *dims = (int(length) for length in header["dim"])
    if not 1 <= count <= 7 or min(dims[: min(count, 3)]) < 1:
        raise InputError(f"{path} is damaged: its header gives it {count} dimensions of the lengths {dims[:count]}.")
    dims = [max(length, 1) if axis < count else 1 for axis, length in enumerate(dims)]
    found = dims[4] * _COLOURS.get(int(header["datatype"]), 1)
    size = dims[:4] if dims[3] > 1 else dims[:3]
    if max(dims[5:]) > 1:
        size = dims[:count]
    checks.refuse_other_shapes(path, tuple(size[:2] if count == 2 else size), found, components)
    return dims[0], dims[1], dims[2]


def _voxels(path: Path, header: Any, stream: io.BufferedIOBase, count: int, most: int) -> tuple[bytes, NDArray[Any]]:
    """What stands between header and voxels, up to a limit, and the ``count`` voxels, in this machine's byte order.

    ``most`` bytes can follow the header at most.
    """
    code = int(header["datatype"])
    if code not in _TYPES:
        raise InputError(f"{path} holds voxels of NIfTI's type {code}: give integers or real numbers.")
    kind = np.dtype(header.endianness + _TYPES[code])
    start, header_bytes = float(header["vox_offset"]), int(header.sizeof_hdr)
    # Four bytes after the header say whether extensions follow.
    start = max(int(start), header_bytes + 4) if math.isfinite(start) else header_bytes + 4
    expected = count * kind.itemsize
    if start + expected > most:
        raise InputError(f"{path} was cut short: its header promises {start + expected} bytes. Copy it again.")
    checks.refuse_larger_than_memory(path, expected)
    skip = start - header_bytes
    before = stream.read(min(skip, _CHUNK))
    skip -= len(before)
    while skip and (passed := len(stream.read(min(skip, _CHUNK)))):
        skip -= passed
    voxels = np.empty(expected, np.uint8)
    filled, view = 0, voxels.data
    while filled < expected and (step := stream.readinto(view[filled : filled + _CHUNK])):
        filled += step
    if filled < expected:
        raise InputError(f"{path} was cut short (it has {filled} of {expected} bytes of voxels): copy it again.")
    numbers: NDArray[Any] = voxels.view(kind).astype(kind.newbyteorder("="), copy=False)
    return before, numbers


def _refuse_other_start(path: Path, before: bytes, after: bytes) -> None:
    """Raise InputError where extensions have no room before the voxels; warn of bytes before them that are no extension.

    ``before`` stands between header and voxels, ``after`` behind the voxels. The first of four bytes says whether extensions
    follow (NIfTI-1, section "extended header").
    """
    extended, rest = before[:1] not in (b"", b"\0"), before[4:]
    if extended and not rest and after:
        raise InputError(
            f"{path} contradicts itself: extensions follow its header, and its voxels begin right behind that (vox_offset), and "
            f"end {len(after)} bytes before the file: convert it again."
        )
    if not extended and rest.strip(b"\0"):
        warnings.warn(
            f"{path} has {len(rest)} bytes between header and voxels that are no extension: does its header say rightly where "
            "the voxels begin (vox_offset)?",
            stacklevel=2,
        )


def _volume(path: Path, header: Any, voxels: NDArray[Any], xyz: tuple[int, int, int]) -> sitk.Image:
    """SimpleITK's volume of ``voxels``, which follow each other as in the file, without a place."""
    size = xyz[::-1]
    components = voxels.size // math.prod(size)
    array = np.moveaxis(_scaled(path, header, voxels).reshape(components, *size), 0, -1)
    if components > 1 and int(header["intent_code"]) == _DISPLACEMENT_INTENT:
        array = array * np.array([-1, -1, 1], array.dtype)
    shaped = array if components > 1 else array[..., 0]
    return sitk.GetImageFromArray(np.ascontiguousarray(shaped), isVector=components > 1)


def _scaled(path: Path, header: Any, voxels: NDArray[Any]) -> NDArray[Any]:
    """slope × voxel + intercept, as float32 where that holds the file's type; a slope of 0 or NaN means unscaled."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0 or (slope, intercept) == (1, 0):
        return voxels
    if not math.isfinite(intercept):
        raise InputError(f"{path} is damaged: its header asks to add {intercept} to every voxel (scl_inter).")
    scaled = np.empty(voxels.shape, np.result_type(voxels.dtype, np.float32))
    for first in range(0, voxels.size, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        scaled[chunk] = voxels[chunk].astype(np.float64) * slope + intercept
    return scaled


def place(path: Path | str, header: Any, size: tuple[int, ...]) -> Grid:
    """Where a header, in nibabel's hands, places a volume: by its sform, else by its qform.

    Raises InputError, calling the volume ``path``, if they contradict each other or the voxel size, or there is neither.
    """
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not by_sform and not by_qform:
        raise checks.no_orientation(path)
    units = int(header["xyzt_units"]) & 7
    if units in _LENGTHS:
        raise GeometryError(f"{path} gives its lengths in {_LENGTHS[units]}: save it in millimetres.")
    pixdim = header["pixdim"].astype(np.float64)
    zooms = pixdim[1:4]
    rows = _rows(header)
    sform, qform = _lps(rows), _qform(header, pixdim)
    if by_sform and checks.is_valid_affine(sform):
        grid = checks.orthonormal_grid(path, sform, size)
        lengths = np.array(grid.spacing)
        # Without a qform, 1 1 1 is what nibabel leaves where no voxel size was set.
        set_zooms = np.isfinite(zooms) & (zooms > 0) & (by_qform or not np.all(zooms == 1))
        tolerance = lengths.min() / 2
        if by_qform and set_zooms.all() and qform is not None:
            other = checks.orthonormal_grid(path, qform, size)
            apart = float(np.linalg.norm(grid.corners() - other.corners(), axis=1).max())
            if apart > tolerance:
                raise GeometryError(
                    f"{path} places its voxels in two ways that are up to {apart:.1f} mm apart, by its sform "
                    f"({_in_words(grid)}) and by its qform ({_in_words(other)}): set the wrong one's code to 0."
                )
        elif (np.abs(lengths - zooms) * (np.array(size) - 1))[set_zooms].max(initial=0) > tolerance:
            raise GeometryError(
                f"{path} contradicts itself: its voxels measure {_numbers(lengths)} mm by its sform and "
                f"{_numbers(zooms)} mm by its pixdim: write the right ones into both."
            )
        return grid
    if by_qform and qform is not None:
        return checks.orthonormal_grid(path, qform, size)
    if by_qform:
        raise GeometryError(
            f"{path} has a qform in its header that places it nowhere (pixdim {_numbers(pixdim[:4])}, quaternion "
            f"{_numbers([header[f'quatern_{name}'] for name in 'bcd'])}, offset "
            f"{_numbers([header[f'qoffset_{axis}'] for axis in 'xyz'])}): convert it from DICOM again."
        )
    text = "; ".join(_numbers(row) for row in rows)
    raise GeometryError(f"{path} has a degenerate direction in its header (sform {text}): convert it from DICOM again.")


def _rows(header: Any) -> Array:
    """The sform, (3, 4), in RAS mm."""
    return np.array([header[f"srow_{axis}"] for axis in "xyz"], dtype=np.float64)


def _qform(header: Any, pixdim: Array) -> Array | None:
    """Voxel to LPS mm (4, 4) by quaternion, offset and voxel size (NIfTI-1, method 2); None where these make no sense."""
    b, c, d = (float(header[f"quatern_{name}"]) for name in "bcd")
    offset = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    squared = b * b + c * c + d * d
    if not np.isfinite([*pixdim[:4], *offset, squared]).all() or pixdim[1:4].min() <= 0:
        return None
    # Readers disagree about a sign of another size than 1 (qfac): the reference takes it, nibabel does not.
    if squared > _MAX_QUATERNION**2 or (pixdim[0] < 0 and pixdim[0] != -1):
        return None
    # Near a half turn, the rounding of the three given would make up an angle (nibabel and the reference set 0 as well). NIfTI-2
    # has them in double precision.
    rounded = 3 * float(np.finfo(header["quatern_b"].dtype).eps)
    a = math.sqrt(1 - squared) if 1 - squared >= rounded else 0.0
    a, b, c, d = np.array([a, b, c, d]) / math.sqrt(a * a + squared)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    steps = pixdim[1:4] * [1, 1, -1 if pixdim[0] < 0 else 1]
    return _lps(np.column_stack([rotation * steps, offset]))


def _lps(rows: Array) -> Array:
    """NIfTI's RAS mm as LPS mm: (3, 4) to (4, 4)."""
    return np.vstack([rows * [[-1.0], [-1.0], [1.0]], [0.0, 0.0, 0.0, 1.0]])


def _in_words(grid: Grid) -> str:
    """A grid as a reader of headers knows it."""
    return f"voxels of {_numbers(grid.spacing)} mm, {grid.orientation}, the first at LPS {_numbers(grid.origin)} mm"


def _numbers(values: Any) -> str:
    return " ".join(f"{float(value):.6g}" for value in values)

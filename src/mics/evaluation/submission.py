"""The deformations that somebody hands in for a list of pairs: found, checked and read.

A submission is a folder or a zip file. Per pair it holds one of

- ``disp_FIXED_MOVING.nii.gz`` or ``disp_FIXED_0000_MOVING_0000.nii.gz``: a Learn2Reg displacement (both names of the
  challenge's scripts), or the same as a full-size ``.npz``; the opposite direction, where it is wanted, is the file of the
  opposite pair;
- ``FIXED_MOVING/transform_moving_to_fixed.nii.gz`` and ``…/transform_fixed_to_moving.nii.gz``: what ``mics register`` writes
  into a folder of that name, its ``summary.json`` with it.

Seconds come from that ``summary.json`` or from a ``seconds.csv`` (columns fixed, moving, seconds).
"""

import csv
import gzip
import io
import lzma
import math
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mics.data.cohorts.learn2reg import mirror
from mics.data.pairs import PairSource
from mics.deformation.provenance import Provenance, provenance_path
from mics.deformation.transform import Transform
from mics.errors import GeometryError, InputError, MissingFileError
from mics.evaluation.learn2reg import (
    displacement_name,
    from_transform,
    halved_grid,
    read_displacement,
    require_displacement_of,
    require_npz_of,
    text,
)
from mics.files.csv_rows import CsvRows
from mics.files.folder import temporary_folder
from mics.files.paths import as_path
from mics.image.grid import GRID_TOLERANCE_VOXELS, Grid
from mics.run_summary import parse_summary

Displacement = NDArray[np.float32]

_DEFLATE64 = 9  # zip's number of the method
_PER_VOXEL = 3 * 8  # bytes of a displacement, at most and not compressed
_MAX_TEXT = 1 << 24  # bytes of a table of seconds, or of all in a file but voxels
_HEADER, _ENOUGH = 348, 1 << 16  # bytes of a NIfTI header, and of a file that surely hold it
_SECONDS = "seconds.csv"
_FORWARD, _BACKWARD = "transform_moving_to_fixed.nii.gz", "transform_fixed_to_moving.nii.gz"


class Submission:
    """A folder or zip of deformations. Raises InputError if it is neither, or damaged.

    ``halved``: Learn2Reg displacements may also cover every other voxel of the fixed volume, in voxels twice as large.
    """

    def __init__(self, path: str | Path, *, halved: bool = False) -> None:
        self.path = as_path(path)
        self._stored: dict[str, str] = {}
        """Files in a zip as it calls them, by their names with slashes."""
        self.halved = halved
        if self.path.is_dir():
            files = [file for file in self.path.rglob("*") if file.is_file()]
            names = [file.relative_to(self.path).as_posix() for file in files]
        elif zipfile.is_zipfile(self.path):
            # Some Windows programs write backslashes between folders.
            self._stored = {name.replace("\\", "/"): name for name in self._packed()}
            names = list(self._stored)
        else:
            raise MissingFileError(
                f"{self.path} is neither a folder nor a zip file; give the one that holds the deformations."
            )
        self._files = {name: name for name in names if not PurePosixPath(name).name.startswith(".")}
        counts = Counter(PurePosixPath(name).name for name in self._files)
        for name in list(self._files):
            base = PurePosixPath(name).name
            if base.startswith("disp_"):
                if counts[base] > 1:
                    raise InputError(f"{self.path} holds {base} {counts[base]} times; leave one of them.")
                self._files[base] = name
        tables = [name for name in self._files if PurePosixPath(name).name == _SECONDS]
        if _SECONDS not in tables and len(tables) > 1:
            raise InputError(f"{self.path} holds {_SECONDS} {len(tables)} times; leave one of them.")
        self._seconds_table = _SECONDS if _SECONDS in tables else next(iter(tables), None)

    def missing(self, pairs: list[PairSource]) -> list[PairSource]:
        """The ``pairs`` for which there is no deformation."""
        return [pair for pair in pairs if self._find(pair) is None]

    def require(self, pairs: list[PairSource]) -> None:
        """Raise InputError if a pair's deformation is missing; the message says how many, which, and what is there."""
        missing = self.missing(pairs)
        if not missing:
            return
        first = missing[0]
        lacking = "the only pair," if len(pairs) == 1 else f"{len(missing)} of {len(pairs)} pairs, the first is"
        message = f"{self.path} lacks {lacking} "
        message += f"{displacement_name(first.fixed.name, first.moving.name)} (or {first.name}/{_FORWARD}): "
        opposite = sum(self._find(PairSource(fixed=pair.moving, moving=pair.fixed)) is not None for pair in missing)
        if opposite == len(missing):
            message += "the opposite pairs are there, so fixed and moving may be exchanged; name the fixed scan first."
        else:
            present = sorted(PurePosixPath(name).name for name in self._files)
            content = (
                f"it holds {', '.join(present[:3])}{', ...' if len(present) > 3 else ''}"
                if present
                else "it holds no file"
            )
            message += f"{content}; add them, or leave these pairs out of the list."
        raise InputError(message)

    def require_size(self, pair: PairSource, fixed: Grid) -> None:
        """Raise InputError, from the file's header alone, if the pair's deformation does not cover ``fixed``."""
        name = self._find(pair)
        if name is None or name.endswith(_FORWARD):
            return
        where = f"{self.path / name}"
        if name.endswith(".npz"):
            with self._on_disk(name, math.prod(fixed.size)) as path:
                require_npz_of(path, fixed.size, where, or_size=self._or_size(fixed))
            return
        with self._open(name) as file:
            header = _start(file, where)
        require_displacement_of(header, fixed.size, where, or_size=self._or_size(fixed))

    def forward(self, pair: PairSource, *, fixed: Grid, moving: Grid) -> Displacement:
        """Displacement (3, X, Y, Z) on ``fixed``: voxel x is filled from ``x + d(x)`` in voxels of ``moving``."""
        name = self._find(pair)
        if name is None:
            raise MissingFileError(f"{self.path} has no deformation of the pair {pair.name}; add it.")
        return self._read(name, fixed, moving, mirrored=pair.fixed.mirrored_header)

    def backward(self, pair: PairSource, *, fixed: Grid, moving: Grid) -> Displacement | None:
        """The opposite direction, (3, X, Y, Z) on ``moving`` in voxels of ``fixed``; None if there is none."""
        name = self._find(pair)
        if name is not None and name.endswith(_FORWARD):
            opposite: str | None = name.removesuffix(_FORWARD) + _BACKWARD
            opposite = opposite if opposite in self._files else None
        else:
            opposite = self._find(PairSource(fixed=pair.moving, moving=pair.fixed))
        return None if opposite is None else self._read(opposite, moving, fixed, mirrored=pair.fixed.mirrored_header)

    def made_for_others(self, pair: PairSource, fixed: Grid, checksum: Callable[[str], str | None]) -> list[str]:
        """A sentence for each scan of a pair that its transform was not made for, as far as the file beside it says.

        ``fixed`` is the grid of the fixed scan; ``checksum`` gives :func:`mics.deformation.provenance.voxels_sha256` of the
        scan of a name, None where the list has no file of it.
        """
        name = self._find(pair)
        if name is None or provenance_path(Path(name)).as_posix() not in self._files:
            return []
        with self._on_disk(name, math.prod(fixed.size)) as path:
            known = Provenance.load(path)
        if known is None:
            return []
        return [
            f"{self.path / name} was made for another {role} scan than {scan}: its voxels are not those that the file beside the "
            "transform remembers. Has a folder been renamed, or the scan been changed since?"
            for role, scan in (("fixed", pair.fixed.name), ("moving", pair.moving.name))
            if role in known.scans and checksum(scan) not in (None, known.scans[role].voxels_sha256)
        ]

    def seconds(self, pair: PairSource) -> float | None:
        """Seconds that the registration took, where the submission says it."""
        name = self._find(pair)
        summary = None if name is None else str(PurePosixPath(name).with_name("summary.json"))
        if name is not None and name.endswith(_FORWARD) and summary in self._files:
            try:
                with self._text(summary) as file:
                    return parse_summary(file.read(), self.path / summary).total_seconds
            except (EOFError, zlib.error, zipfile.BadZipFile) as error:
                raise InputError(f"{self.path} is damaged at {summary} ({error}); pack it again.") from error
        return self._listed_seconds.get((pair.fixed.name, pair.moving.name))

    def odd_seconds(self, pairs: Sequence[PairSource]) -> list[str]:
        """A sentence where the table of seconds names none of the ``pairs``; raises InputError for one that cannot be read."""
        listed = self._listed_seconds
        if not listed or any((pair.fixed.name, pair.moving.name) in listed for pair in pairs):
            return []
        fixed, moving = next(iter(listed))
        return [
            f"{self.path / str(self._seconds_table)} has none of the pairs, its first is {fixed}, {moving}: it names the scans "
            "otherwise than the list."
        ]

    @cached_property
    def _listed_seconds(self) -> dict[tuple[str, str], float]:
        """Of the table of seconds, by fixed and moving scan; raises InputError for one that cannot be read."""
        if self._seconds_table is None:
            return {}
        where, listed = self.path / self._seconds_table, dict[tuple[str, str], float]()
        try:
            with self._text(self._seconds_table) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
                for row in CsvRows(text):
                    pair = row["fixed"], row["moving"]
                    if pair in listed:
                        raise InputError(f"{where} has the pair {', '.join(pair)} twice; leave one line out.")
                    listed[pair] = _positive(row["seconds"])
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, csv.Error, EOFError, zlib.error, zipfile.BadZipFile) as error:
            what = f"it has no column {error}" if isinstance(error, KeyError) else error
            raise InputError(f"{where} cannot be read ({what}); it has the columns fixed, moving, seconds.") from error
        return listed

    def _find(self, pair: PairSource) -> str | None:
        """Name of the file that fills the pair's fixed volume."""
        fixed, moving = pair.fixed.name, pair.moving.name
        names = [displacement_name(fixed, moving), displacement_name(fixed, moving, script="2020")]
        names += [name.removesuffix(".nii.gz") + ".npz" for name in names]
        present = [name for name in names if name in self._files]
        ending = f"{pair.name}/{_FORWARD}"
        found = [name for name in self._files if name == ending or name.endswith("/" + ending)]
        if len(found) > 1:
            raise InputError(
                f"{self.path} holds {ending} {len(found)} times ({found[0]}, {found[1]}); leave one of them."
            )
        if len(present + found) > 1:
            raise InputError(f"{self.path} holds both {present[0]} and {(present + found)[1]}; leave one of them.")
        return self._files[present[0]] if present else found[0] if found else None

    def _read(self, name: str, filled: Grid, sampled: Grid, *, mirrored: bool) -> Displacement:
        with self._on_disk(name, math.prod(filled.size)) as path:
            if not name.endswith((_FORWARD, _BACKWARD)):
                return read_displacement(path, filled.size, or_size=self._or_size(filled))
            transform = Transform.load(path)
        known, taken = transform.provenance, "moving" if name.endswith(_FORWARD) else "fixed"
        if known is not None and known.source != taken:
            raise InputError(
                f"{self.path / name} takes images of the {known.source} scan onto the {known.target} one, as the file beside it "
                "says, which is not what it is called: has it been renamed?"
            )
        if mirrored and transform.grid.orientation == mirror(filled).orientation:
            # Registered as the files' headers lie. In voxels it is the same map, whatever the headers say.
            filled, sampled = mirror(filled), mirror(sampled)
        if not transform.grid.is_close(filled, GRID_TOLERANCE_VOXELS * min(filled.spacing)):
            raise GeometryError(
                f"{self.path / name} fills another grid than that of the labels ({text(transform.grid.size)} against "
                f"{text(filled.size)} voxels, or another place): give the labels on the grid of their scan."
            )
        return from_transform(transform, sampled)

    def _or_size(self, grid: Grid) -> tuple[int, ...] | None:
        return halved_grid(grid).size if self.halved else None

    def _packed(self) -> list[str]:
        """Names of the files in the zip; raises InputError where one is there twice, as then it is not known which counts."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
        except (zipfile.BadZipFile, RuntimeError, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path} is damaged ({error}); pack it again.") from error
        name, times = max(Counter(names).items(), key=lambda counted: counted[1], default=("", 0))
        if times > 1:
            raise InputError(f"{self.path} holds {name} {times} times; leave one of them.")
        return names

    def _refuse_larger(self, name: str, most: int) -> None:
        """Raise InputError where the zip's file unpacks to more than ``most`` bytes (and a header's), by the zip's own list."""
        with zipfile.ZipFile(self.path) as archive:
            listed = archive.getinfo(self._stored[name]).file_size
        if listed > most + _MAX_TEXT:
            raise InputError(
                f"{self.path} holds {name} of {listed / 1e6:.0f} MB, more than it can need ({most / 1e6:.0f} MB): leave it out."
            )

    @staticmethod
    def _why(entry: zipfile.ZipInfo, error: Exception) -> str:
        if entry.flag_bits & 1:
            return "it has a password"
        return (
            "it is in Deflate64, as Windows packs more than 2 GB" if entry.compress_type == _DEFLATE64 else str(error)
        )

    @contextmanager
    def _text(self, name: str) -> Iterator[IO[bytes]]:
        """A file that is no deformation, and so has no reason to be large."""
        if not self.path.is_dir():
            self._refuse_larger(name, 0)
        with self._open(name) as file:
            yield file

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if self.path.is_dir():
            with (self.path / name).open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(self.path) as archive:
            try:
                packed = archive.open(self._stored[name])
            except (RuntimeError, zipfile.BadZipFile) as error:
                why = self._why(archive.getinfo(self._stored[name]), error)
                raise InputError(
                    f"{self.path} cannot be unpacked at {name} ({why}); pack it again, without a password and with the usual "
                    "compression (deflate)."
                ) from error
            with packed:
                yield packed

    @contextmanager
    def _on_disk(self, name: str, voxels: int) -> Iterator[Path]:
        """A path under which the deformation of so many voxels can be read, its ending kept."""
        if self.path.is_dir():
            yield self.path / name
            return
        self._refuse_larger(name, _PER_VOXEL * voxels)
        # A transform that is stored coarser than its scan has that scan's grid in the JSON beside it.
        beside = provenance_path(Path(name)).as_posix()
        if beside in self._files:
            self._refuse_larger(beside, 0)
        with temporary_folder("mics-submission-") as folder:
            for one in (name, *([beside] if beside in self._files else [])):
                try:
                    with self._open(one) as packed, (folder / PurePosixPath(one).name).open("wb") as file:
                        shutil.copyfileobj(packed, file)
                except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
                    raise InputError(f"{self.path} is damaged at {one} ({error}); pack it again.") from error
            yield folder / PurePosixPath(name).name


def _positive(text: str) -> float:
    """A number of seconds; ValueError for what is none."""
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{text} is no time")
    return seconds


def _start(file: IO[bytes], where: str) -> bytes:
    """The first 348 bytes, a NIfTI file's header, of a file that may be gzipped."""
    try:
        packed = io.BytesIO(file.read(_ENOUGH))
        return gzip.open(packed).read(_HEADER) if packed.getvalue()[:2] == b"\x1f\x8b" else packed.read(_HEADER)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"{where} is damaged or was cut short ({error}); write it again.") from error

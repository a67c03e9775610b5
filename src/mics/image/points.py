"""Landmarks: lists of named points in LPS millimetres, as CSV or as 3D Slicer's markups.

Slicer's older ``.fcsv`` is read but not written; Slicer itself is giving it up for ``.mrk.json``.
"""

import csv
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.errors import InputError, MissingFileError, SettingError, counted, require_type
from mics.files.csv_rows import CsvRows
from mics.files.paths import as_path, output_path
from mics.files.text import number, read_text
from mics.files.whole import write_text

SUFFIXES = (".csv", ".fcsv", ".mrk.json")

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.0.json#"
)
# How an .fcsv header names its frame; Slicer before 4.11 wrote a number.
_FCSV_FRAMES = {"0": "RAS", "1": "LPS", "RAS": "RAS", "LPS": "LPS"}
# Newer Slicers add two cells without a title to the usual 14 of an .fcsv line; the first says whether the point is placed.
_FCSV_STATUS, _FCSV_DEFINED, _FCSV_STATES = 14, "2", "0123"
# Slicer's markups whose control points say how large a box or a plane is.
_REGIONS = ("ROI", "Plane")
_MILLIMETRES = {"nm": 1e-6, "um": 1e-3, "mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0}

# Columns of a CSV file that would say what a list of LPS mm has no room for.
_OTHER_COLUMNS = {
    "frame",
    "referenceframe",
    "coordinateframe",
    "space",
    "coordinatesystem",
    "coordsystem",
    "system",
    "crs",
    "orientation",
    "ras",
    "lps",
    "unit",
    "units",
    "coordinateunits",
}
# Columns that call a point something, which may look like a frame.
_NAMING = ("x", "y", "z", "name", "label", "id", "description")
# What such a column says, whatever it is called: where two of three axes run to, or that these are of voxels.
_FRAMES = {f"{x}{y}{z}" for x in "LR" for y in "AP" for z in "SI"} | {"IJK", "VOXEL", "VOXELS"}
# What Slicer's tables say in their column "defined" of points that are not placed.
_UNPLACED = ("0", "false")
# Landmarks of a patient, three and more, lie further from each other.
_NEAREST_MM = 1.0

_Row = tuple[list[float], str]


class _FormError(Exception):
    """What is wrong with a list of points, in words."""


@dataclass(frozen=True, eq=False)
class Points:
    """``coordinates`` (N, 3) float64 in LPS mm, and a name for each (empty where the file has none).

    Two are equal if all coordinates and names are. Arrays can be changed, so there is no hash.
    """

    coordinates: NDArray[np.float64]
    names: tuple[str, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Points):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.coordinates, other.coordinates)

    def __repr__(self) -> str:
        return f"Points({len(self.names)} in LPS mm)"


def is_points(path: str | Path) -> bool:
    """Whether the file's name ends like a list of points rather than an image."""
    return str(path).lower().endswith(SUFFIXES)


def read_points(path: str | Path) -> Points:
    """Read landmarks.

    Args:
        path: A ``.csv`` (columns x, y, z and optionally name; LPS mm), ``.fcsv`` or ``.mrk.json`` file. Slicer's say whether they
            are LPS or RAS, and in which unit.

    Returns:
        The points in LPS mm, with their names.

    Raises:
        InputError: For a file that is missing, has another form, holds no point, a coordinate that is not a finite number, a
            point that Slicer marks as not placed, or a unit that is no length.
    """
    path = as_path(path)
    reader = {".csv": _read_csv, ".fcsv": _read_fcsv, ".json": _read_markup}.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is not a list of points: give a .csv, .fcsv or .mrk.json file.")
    try:
        rows, unplaced = reader(read_text(path))
        points = Points(np.array([row[0] for row in rows], dtype=np.float64), tuple(row[1] for row in rows))
    except OSError as error:
        raise MissingFileError(f"Cannot read {path}: {error.strerror}.") from error
    except (csv.Error, _FormError, UnicodeError) as error:
        raise InputError(f"{path} is not a readable list of points: {error}.") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a readable list of points: {_expected(path)}.") from error
    if unplaced:
        # Leaving them out would pair the others with the wrong points of another list.
        raise InputError(
            f"{path} holds {counted(len(unplaced), 'point')} not placed ({', '.join(map(repr, unplaced[:5]))}): place or "
            "delete such points in 3D Slicer."
        )
    if points.coordinates.ndim != 2 or points.coordinates.shape[1] != 3:
        raise InputError(f"{path} is not a readable list of points: {_expected(path)}.")
    if bad := np.flatnonzero(~np.isfinite(points.coordinates).all(axis=1)).tolist():
        raise InputError(
            f"{path} holds {counted(len(bad), 'point')} whose coordinates are not all finite numbers, first point {bad[0] + 1}: "
            "place or delete such points."
        )
    if len(points.names) > 2 and np.ptp(points.coordinates, axis=0).max() < _NEAREST_MM:
        warnings.warn(
            f"{path} has {len(points.names)} points within {_NEAREST_MM:g} mm of each other: are their coordinates millimetres?",
            stacklevel=2,
        )
    return points


def write_points(points: Points, path: str | Path) -> None:
    """Write landmarks, LPS mm, in the form that the file's name asks for; whole or not at all.

    Args:
        points: In LPS mm.
        path: A name that ends in ``.csv`` or ``.mrk.json``.

    Raises:
        InputError: If the points are none, the name has none of these endings, or the folder cannot be written.
    """
    require_type(points, Points, "What is written are Points")
    path = output_path(path)
    writer = {".csv": _csv_text, ".json": _markup_text}.get(path.suffix.lower())
    if writer is None:
        raise SettingError(f"Points cannot be written to {path}: use a name ending in .csv or .mrk.json.")
    write_text(writer(points), path)


def _expected(path: Path) -> str:
    if path.suffix.lower() == ".csv":
        return "expected a header line with the columns x, y and z (LPS mm) and one point a line"
    return "expected control points as 3D Slicer writes them"


def _read_csv(text: str) -> tuple[list[_Row], list[str]]:
    rows = CsvRows(text.splitlines())
    for name in rows.fieldnames or ():
        if name.lower().replace("_", "").replace(" ", "") in _OTHER_COLUMNS:
            raise _FormError(
                f"its column {name} may say another frame or unit than LPS mm: convert it, and leave that out"
            )
    points, unplaced = [], []
    for row in rows:
        name = row.get("name") or ""
        for column, cell in row.items():
            if column not in _NAMING and (cell or "").upper() in _FRAMES:
                raise _FormError(
                    f"its column {column} says {cell}, which may be another frame than LPS: convert it, and leave that out"
                )
        if (row.get("defined") or "").lower() in _UNPLACED:
            unplaced.append(name or row.get("label") or "")
        points.append(([number(row[axis]) for axis in "xyz"], name))
    return points, unplaced


def _read_fcsv(text: str) -> tuple[list[_Row], list[str]]:
    frames, columns, points, unplaced = [], ["id", "x", "y", "z"], [], []
    for line in text.splitlines():
        key, _, value = line.lstrip("# ").partition("=")
        if line.startswith("#") and key.strip().lower() == "coordinatesystem":
            frames.append(_FCSV_FRAMES.get(value.strip().upper(), value.strip()))
        elif line.startswith("#") and key.strip().lower() == "columns":
            columns = [column.strip() for column in value.split(",")]
        elif line.strip() and not line.startswith("#"):
            cells = next(csv.reader([line]))
            row = dict(zip(columns, cells, strict=False))
            points.append(([number(row[axis]) for axis in "xyz"], row.get("label", "")))
            status = _status(line, cells, columns)
            if status not in ("", _FCSV_DEFINED):
                unplaced.append(points[-1][1])
    if len(set(frames)) > 1:
        raise _FormError(f"it names two coordinate systems, {' and '.join(sorted(set(frames)))}")
    return [(_to_lps(point, (frames or ["RAS"])[0]), name) for point, name in points], unplaced


def _status(line: str, cells: list[str], columns: list[str]) -> str:
    """Whether a point is placed, as a line of an .fcsv file says; raises _FormError for more cells than Slicer writes."""
    untitled = cells[len(columns) :]
    status = dict(zip(columns, cells, strict=False)).get("positionStatus", "")
    if len(columns) == _FCSV_STATUS and untitled:
        status, *untitled = untitled[0], *untitled[2:]
    if "".join(untitled).strip() or status.strip() not in ("", *_FCSV_STATES):
        raise _FormError(f"the line {line[:60]!r} has {len(cells)} values, more than there are columns")
    return status.strip()


def _read_markup(text: str) -> tuple[list[_Row], list[str]]:
    points, unplaced = [], []
    for markup in json.loads(text)["markups"]:
        if markup.get("type") in _REGIONS:
            raise _FormError(f"it holds a markup of type {markup['type']}, whose points are no landmarks")
        frame, unit = str(markup.get("coordinateSystem", "LPS")).upper(), markup.get("coordinateUnits", "mm")
        # A unit is its UCUM code or a coded entry, which begins with it.
        others = [] if isinstance(unit, str) else [other for other in unit[1:] if other in _MILLIMETRES]
        unit = unit if isinstance(unit, str) else unit[0]
        if set(others) - {unit}:
            raise _FormError(
                f"its coordinateUnits are {', '.join([unit, *others])}, one for each axis: save it in millimetres"
            )
        if unit not in _MILLIMETRES:
            raise _FormError(f"its coordinateUnits are {unit}, none of {', '.join(_MILLIMETRES)}")
        scale = _MILLIMETRES[unit]
        for point in markup["controlPoints"]:
            label = point.get("label")
            name = "" if label is None else str(label)
            if point.get("positionStatus", "defined") != "defined":
                unplaced.append(name)
                continue
            points.append(([scale * value for value in _to_lps(point["position"], frame)], name))
    return points, unplaced


def _to_lps(point: list[float], frame: str) -> list[float]:
    if frame not in ("LPS", "RAS"):
        raise _FormError(f"its points are placed in {frame}, not in LPS or RAS")
    coordinates: list[float] = (np.asarray(point) * (_RAS_TO_LPS if frame == "RAS" else 1)).tolist()
    return coordinates


def _csv_text(points: Points) -> str:
    lines = ["x,y,z,name"]
    for (x, y, z), name in zip(points.coordinates, points.names, strict=True):
        quoted = '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name
        lines.append(f"{x:.4f},{y:.4f},{z:.4f},{quoted}")
    return "\n".join(lines) + "\n"


def _markup_text(points: Points) -> str:
    control_points = [
        {"id": str(i), "label": name, "position": [round(float(value), 4) for value in position]}
        for i, (position, name) in enumerate(zip(points.coordinates, points.names, strict=True), start=1)
    ]
    markup: dict[str, Any] = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": control_points}
    return json.dumps({"@schema": _SCHEMA, "markups": [markup]}, indent=1) + "\n"

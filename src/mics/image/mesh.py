"""Surfaces and meshes of VTK, STL and PLY files, their points in LPS millimetres; needs the extra mesh."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mics.errors import InputError, MissingFileError, SettingError
from mics.files.paths import as_path, output_path
from mics.files.whole import write_whole

SUFFIXES = (".vtk", ".vtp", ".stl", ".ply")
_FIELD = "SPACE"
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_DIRECTIONS = ("Normals", "Vectors", "Tangents", "Tensors")
# An STL file's header, the bytes of its number of triangles, and of a triangle; writers that did not know it said so.
_STL_HEAD, _STL_COUNT, _STL_TRIANGLE, _STL_UNKNOWN = 80, 4, 50, 2**32 - 1
# No surface of the body is as small, in mm.
_SMALLEST_MM = 1.0
# As 3D Slicer writes it: newer files are not read by most other programs.
_VTK_VERSION = 42


@dataclass(frozen=True, eq=False)
class Mesh:
    """``points`` (N, 3) float64 in LPS mm, in the order in which ``data``, VTK's point set, holds them.

    ``space``: what the file's numbers count in, RAS or LPS.
    """

    points: NDArray[np.float64]
    data: Any
    space: str

    def moved(self, points: NDArray[np.float64]) -> Mesh:
        """The same mesh with its points, LPS mm, elsewhere: faces, scalars and colours stay, directions are left out."""
        data = self.data.NewInstance()
        data.ShallowCopy(self.data)
        for attributes in (data.GetPointData(), data.GetCellData()):
            for kind in _directions(attributes):
                getattr(attributes, f"Set{kind}")(None)
        return Mesh(np.asarray(points, dtype=np.float64), data, self.space)

    @property
    def has_directions(self) -> bool:
        """Whether normals or other vectors are stored with it, which belong to its present shape."""
        return bool(_directions(self.data.GetPointData()) or _directions(self.data.GetCellData()))


def is_mesh(path: str | Path) -> bool:
    """Whether the file's name ends like a mesh."""
    return str(path).lower().endswith(SUFFIXES)


def read_mesh(path: str | Path) -> Mesh:
    """A surface or mesh of a ``.vtk`` (PolyData, UnstructuredGrid), ``.vtp``, ``.stl`` or ``.ply`` file.

    3D Slicer writes ``SPACE=LPS`` or ``SPACE=RAS`` into the header; without it LPS is taken, as Slicer does. Warns of a mesh so
    small that its lengths are hardly millimetres.

    Raises InputError without the extra, for a file that is missing, damaged, cut short or of another kind, without faces, lines
    or elements, in another space, and with points that are not finite.
    """
    path = as_path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no mesh {path}.")
    with _messages() as messages:
        data, header = _read(path)
    if data is None or "ERROR" in messages.GetOutput() or not _is_sound(data):
        raise InputError(
            f"{path} cannot be read as a mesh: it is damaged, holds no face, line or element, or is a volume."
        )
    space = _space(path, header)
    points = _library("vtkmodules.util.numpy_support").vtk_to_numpy(data.GetPoints().GetData()).astype(np.float64)
    if not np.isfinite(points).all():
        raise InputError(f"{path} holds points that are not finite: leave them out.")
    if len(points) > 2 and np.ptp(points, axis=0).max() < _SMALLEST_MM:
        warnings.warn(
            f"{path} is smaller than {_SMALLEST_MM:g} mm: are the coordinates of its points millimetres?", stacklevel=2
        )
    return Mesh(points * (_RAS_TO_LPS if space == "RAS" else 1), data, space)


def write_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh in the form that the file's name asks for, in the space that it was read in, which its header says.

    Raises InputError for another ending, for what the form cannot hold (lines in STL and PLY), and if it cannot be written.
    """
    path = output_path(path)
    ending = path.suffix.lower()
    if ending not in SUFFIXES:
        raise SettingError(f"A mesh cannot be written to {path}: use a name ending in {', '.join(SUFFIXES)}.")
    if ending != ".vtk" and not mesh.data.IsA("vtkPolyData"):
        raise SettingError(f"{path} can hold surfaces only, and the mesh has volume elements: write a .vtk file.")
    if (
        ending in (".stl", ".ply")
        and mesh.data.GetNumberOfPolys() + mesh.data.GetNumberOfStrips() < mesh.data.GetNumberOfCells()
    ):
        raise SettingError(f"{path} can hold faces only, and the mesh has lines or single points: write a .vtk file.")
    core, support = _library("vtkmodules.vtkCommonCore"), _library("vtkmodules.util.numpy_support")
    points = core.vtkPoints()
    stored = mesh.points * (_RAS_TO_LPS if mesh.space == "RAS" else 1)
    kept = support.get_numpy_array_type(mesh.data.GetPoints().GetDataType())
    points.SetData(support.numpy_to_vtk(stored.astype(kept), deep=True))
    data = mesh.data.NewInstance()
    data.ShallowCopy(mesh.data)
    data.SetPoints(points)
    writer = _writer(ending, data, f"{_FIELD}={mesh.space}")

    def write(temporary: Path) -> None:
        writer.SetFileName(str(temporary))
        with _messages():
            done = writer.Write()
        if not done or writer.GetErrorCode():
            raise RuntimeError("VTK could not write it")

    write_whole(path, write)


def _space(path: Path, header: str) -> str:
    """What a header says that the points count in, LPS where it says nothing; raises InputError for another space."""
    stated: set[str] = {word.upper() for word in re.findall(rf"\b{_FIELD}\s*[=:]\s*(\w+)", header, re.IGNORECASE)} or {
        "LPS"
    }
    if len(stated) > 1 or not stated <= {"LPS", "RAS"}:
        raise InputError(
            f"{path} says that its points are placed in {' and in '.join(sorted(stated))} ({_FIELD}), not in LPS or RAS: write "
            "it again in one of these."
        )
    return stated.pop()


def _read(path: Path) -> tuple[Any, str]:
    """VTK's data, None where it finds none or half of it, and what the header says."""
    ending = path.suffix.lower()
    if ending == ".vtk":
        return _read_legacy(path)
    if ending == ".stl" and not _is_whole_stl(path):
        return None, ""
    header = _ply_header(path) if ending == ".ply" else ""
    if header is None:
        return None, ""
    modules = {".vtp": ("vtkIOXML", "vtkXMLPolyDataReader"), ".stl": ("vtkIOGeometry", "vtkSTLReader")}
    module, name = modules.get(ending, ("vtkIOPLY", "vtkPLYReader"))
    reader = getattr(_library(f"vtkmodules.{module}"), name)()
    reader.SetFileName(str(path))
    reader.Update()
    data = reader.GetOutput()
    if ending == ".stl":
        with path.open("rb") as file:
            header = file.read(80).decode("latin-1")
    elif ending == ".vtp":
        array = data.GetFieldData().GetAbstractArray(_FIELD)
        header = "" if array is None else f"{_FIELD}={array.GetValue(0)}"
    return data, header


def _ply_header(path: Path) -> str | None:
    """Comments and remarks of a PLY file; None where it is not whole: VTK takes half for the whole, or ends the process."""
    plyfile = _library("plyfile")
    try:
        whole = plyfile.PlyData.read(str(path))
    except (plyfile.PlyParseError, ValueError, EOFError, MemoryError, OverflowError):
        return None
    return " ".join([*whole.comments, *whole.obj_info])


def _is_whole_stl(path: Path) -> bool:
    """Whether an STL file has as many triangles as it says, as text its end; VTK takes those that there are for all."""
    content = path.read_bytes()
    words = content.split(None, 1)
    if words and words[0] == b"solid" and b"facet" in content:
        return b"endsolid" in content
    stated = int.from_bytes(content[_STL_HEAD : _STL_HEAD + _STL_COUNT], "little")
    found = (len(content) - _STL_HEAD - _STL_COUNT) // _STL_TRIANGLE
    return stated == _STL_UNKNOWN or stated <= found


def _has_all_points(path: Path) -> bool:
    """Of an ASCII file, whether its points are as many as it says; VTK makes up those that are missing."""
    content = path.read_bytes()
    points = re.search(rb"^POINTS\s+(\d+)\s+\w+", content, re.M | re.I)
    if points is None or b"ASCII" not in content.split(b"\n", 3)[2]:
        return True
    numbers = 3 * int(points[1])
    return len(content[points.end() :].split(None, numbers)) >= numbers


def _is_sound(data: Any) -> bool:
    """Whether there are points and cells, and every corner of a cell is one of the points; VTK does not look."""
    if data.GetNumberOfPoints() == 0 or data.GetNumberOfCells() == 0:
        return False
    cells = (
        [data.GetVerts(), data.GetLines(), data.GetPolys(), data.GetStrips()]
        if data.IsA("vtkPolyData")
        else [data.GetCells()]
    )
    corners = [part.GetConnectivityArray().GetRange() for part in cells if part.GetNumberOfConnectivityIds()]
    return all(first >= 0 and last < data.GetNumberOfPoints() for first, last in corners)


def _read_legacy(path: Path) -> tuple[Any, str]:
    reader = _library("vtkmodules.vtkIOLegacy").vtkDataSetReader()
    reader.ReadAllScalarsOn()
    reader.ReadAllVectorsOn()
    reader.ReadAllNormalsOn()
    reader.ReadAllTensorsOn()
    reader.ReadAllColorScalarsOn()
    reader.ReadAllTCoordsOn()
    reader.ReadAllFieldsOn()
    reader.SetFileName(str(path))
    reader.Update()
    data = reader.GetOutput()
    is_mesh = data is not None and (data.IsA("vtkPolyData") or data.IsA("vtkUnstructuredGrid"))
    return (data if is_mesh and _has_all_points(path) else None), reader.GetHeader() or ""


def _writer(ending: str, data: Any, space: str) -> Any:
    if ending == ".vtk":
        writer = _library("vtkmodules.vtkIOLegacy").vtkDataSetWriter()
        writer.SetFileVersion(_VTK_VERSION)
        writer.SetFileTypeToBinary()
        writer.SetHeader(f"MICS output. {space}")
    elif ending == ".vtp":
        writer = _library("vtkmodules.vtkIOXML").vtkXMLPolyDataWriter()
        array = _library("vtkmodules.vtkCommonCore").vtkStringArray()
        array.SetName(_FIELD)
        array.InsertNextValue(space.partition("=")[2])
        data.GetFieldData().RemoveArray(_FIELD)
        data.GetFieldData().AddArray(array)
    else:
        triangles = _library("vtkmodules.vtkFiltersCore").vtkTriangleFilter()
        triangles.SetInputData(data)
        triangles.Update()
        data = triangles.GetOutput()
        if ending == ".stl":
            writer = _library("vtkmodules.vtkIOGeometry").vtkSTLWriter()
            writer.SetHeader(f"MICS output. {space}")
        else:
            writer = _library("vtkmodules.vtkIOPLY").vtkPLYWriter()
            writer.AddComment(space)
            _keep_colours(writer, data)
        writer.SetFileTypeToBinary()
    writer.SetInputData(data)
    return writer


def _keep_colours(writer: Any, data: Any) -> None:
    colours = data.GetPointData().GetScalars()
    if colours is not None and colours.GetNumberOfComponents() in (3, 4) and colours.IsA("vtkUnsignedCharArray"):
        writer.SetArrayName(colours.GetName())
        writer.SetEnableAlpha(colours.GetNumberOfComponents() == 4)


def _directions(attributes: Any) -> list[str]:
    return [kind for kind in _DIRECTIONS if getattr(attributes, f"Get{kind}")() is not None]


@contextmanager
def _messages() -> Iterator[Any]:
    """What VTK says, kept instead of printed: of half a file it reads the first half, and says so."""
    core = _library("vtkmodules.vtkCommonCore")
    before, kept = core.vtkOutputWindow.GetInstance(), core.vtkStringOutputWindow()
    verbosity = core.vtkLogger.GetCurrentVerbosityCutoff()
    core.vtkOutputWindow.SetInstance(kept)
    core.vtkLogger.SetStderrVerbosity(core.vtkLogger.VERBOSITY_OFF)
    try:
        yield kept
    finally:
        core.vtkLogger.SetStderrVerbosity(verbosity)
        core.vtkOutputWindow.SetInstance(before)


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SettingError("Meshes need VTK and plyfile: install mics-registration[mesh].") from error

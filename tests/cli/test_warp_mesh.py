"""Meshes through `mics warp`: files written by hand, their points compared with where SimpleITK takes them."""

import numpy as np
import pytest
import SimpleITK as sitk

from mics import Grid, Transform
from mics.errors import InputError
from mics.image.mesh import read_mesh

vtk = pytest.importorskip("vtk")
plyfile = pytest.importorskip("plyfile")

GRID = Grid((20, 18, 12), (6.0, 6.0, 8.0), (-60.0, -50.0, 10.0))
CORNERS = np.array([[0.0, 0, 50], [20, 0, 50], [0, 30, 50], [5, 5, 90]])  # LPS mm
FACES = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]
LPS_TO_RAS = np.array([-1, -1, 1])


@pytest.fixture
def transform(tmp_path):
    x, y, z = np.moveaxis(GRID.points(), -1, 0)
    Transform(np.stack([0.1 * x + 3, -0.2 * y + 0.1 * x, 0.05 * z - 4], axis=-1), GRID).save(tmp_path / "t.nii.gz")
    return tmp_path / "t.nii.gz"


def by_itk(path, points):
    itk = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return np.array([itk.TransformPoint(point) for point in points.tolist()])


def vtk_text(points, header="a tetrahedron", more=""):
    lines = ["# vtk DataFile Version 3.0", header, "ASCII", "DATASET POLYDATA", f"POINTS {len(points)} float"]
    lines += [" ".join(map(str, point)) for point in points]
    lines += [f"POLYGONS {len(FACES)} {4 * len(FACES)}", *(f"3 {a} {b} {c}" for a, b, c in FACES)]
    return "\n".join(lines) + "\n" + more


def read_ascii_points(path):
    """Of any file that VTK reads, in the file's own numbers."""
    reader = vtk.vtkPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    data = reader.GetOutput()
    return np.array([data.GetPoint(i) for i in range(data.GetNumberOfPoints())]), reader.GetHeader(), data


@pytest.mark.parametrize(
    ("header", "signs", "space"),
    [("3D Slicer output. SPACE=RAS", LPS_TO_RAS, "RAS"), ("SPACE=LPS", 1, "LPS"), ("made by hand", 1, "LPS")],
)
def test_the_headers_space_is_taken_and_kept(run, transform, tmp_path, header, signs, space):
    more = "POINT_DATA 4\nSCALARS thickness float 1\nLOOKUP_TABLE default\n1\n2\n3\n4\n"
    (tmp_path / "in.vtk").write_text(vtk_text(CORNERS * signs, header, more))
    result = run("warp", tmp_path / "in.vtk", transform, "-o", tmp_path / "out.vtk")
    assert (result.exit_code, result.stderr) == (0, "")
    points, message, data = read_ascii_points(tmp_path / "out.vtk")
    np.testing.assert_allclose(points * signs, by_itk(transform, CORNERS), atol=1e-3)
    assert message.endswith(f"SPACE={space}")
    assert data.GetNumberOfPolys() == 4
    assert [data.GetPointData().GetArray("thickness").GetValue(i) for i in range(4)] == [1, 2, 3, 4]


def test_stl_and_ply_of_both_kinds(run, transform, tmp_path):
    triangles = CORNERS[np.array(FACES)] * LPS_TO_RAS
    facet = np.zeros(4, [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facet["corners"] = triangles
    binary = b"3D Slicer output. SPACE=RAS".ljust(80) + np.uint32(4).tobytes() + facet.tobytes()
    (tmp_path / "binary.stl").write_bytes(binary)
    corners = ["".join(f"vertex {x} {y} {z}\n" for x, y, z in triangle) for triangle in triangles]
    facets = "".join(f"facet normal 0 0 1\nouter loop\n{corner}endloop\nendfacet\n" for corner in corners)
    (tmp_path / "ascii.stl").write_text(f"solid 3D Slicer output. SPACE=RAS\n{facets}endsolid\n")
    vertices = np.array([tuple(point) for point in (CORNERS * LPS_TO_RAS)], [(axis, "f4") for axis in "xyz"])
    faces = np.array([(face,) for face in FACES], [("vertex_indices", "i4", (3,))])
    elements = [plyfile.PlyElement.describe(vertices, "vertex"), plyfile.PlyElement.describe(faces, "face")]
    for text in (True, False):
        plyfile.PlyData(elements, text=text, comments=["SPACE=RAS"]).write(tmp_path / f"{text}.ply")
    plyfile.PlyData(elements, obj_info=["SPACE=RAS"]).write(tmp_path / "remark.ply")
    names = ["binary.stl", "ascii.stl", "True.ply", "False.ply", "remark.ply"]
    result = run("warp", *(tmp_path / name for name in names), transform, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    expected = by_itk(transform, CORNERS) * LPS_TO_RAS
    for name in names[:2]:
        content = (tmp_path / "out" / name).read_bytes()
        assert b"SPACE=RAS" in content[:80]
        found = np.frombuffer(content[84:], facet.dtype)["corners"]
        np.testing.assert_allclose(found, expected[np.array(FACES)], atol=1e-3)
    for name in names[2:]:
        ply = plyfile.PlyData.read(tmp_path / "out" / name)
        assert "SPACE=RAS" in ply.comments
        np.testing.assert_allclose(np.stack([ply["vertex"][axis] for axis in "xyz"], axis=-1), expected, atol=1e-3)
        assert [face.tolist() for face in ply["face"]["vertex_indices"]] == FACES


def test_normals_are_left_out_and_another_form_written(run, transform, tmp_path):
    (tmp_path / "in.vtk").write_text(vtk_text(CORNERS, more="POINT_DATA 4\nNORMALS n float\n" + "0 0 1\n" * 4))
    result = run("warp", tmp_path / "in.vtk", transform, "-o", tmp_path / "out.vtp")
    assert result.exit_code == 0
    assert "normals" in result.stderr
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(str(tmp_path / "out.vtp"))
    reader.Update()
    data = reader.GetOutput()
    assert data.GetPointData().GetNormals() is None
    assert data.GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"
    moved = [data.GetPoint(i) for i in range(4)]
    np.testing.assert_allclose(moved, by_itk(transform, CORNERS), atol=1e-3)


def test_volume_elements_stay_volume_elements(run, transform, tmp_path):
    text = vtk_text(CORNERS).split("DATASET")[0] + "DATASET UNSTRUCTURED_GRID\nPOINTS 4 double\n"
    text += "\n".join(" ".join(map(str, point)) for point in CORNERS) + "\nCELLS 1 5\n4 0 1 2 3\nCELL_TYPES 1\n10\n"
    (tmp_path / "in.vtk").write_text(text)
    assert run("warp", tmp_path / "in.vtk", transform, "-o", tmp_path / "out.vtk").exit_code == 0
    reader = vtk.vtkUnstructuredGridReader()
    reader.SetFileName(str(tmp_path / "out.vtk"))
    reader.Update()
    data = reader.GetOutput()
    assert data.GetCellType(0) == vtk.VTK_TETRA
    np.testing.assert_allclose([data.GetPoint(i) for i in range(4)], by_itk(transform, CORNERS), atol=1e-3)


def _binary_ply(folder):
    vertices = np.array([tuple(point) for point in CORNERS], [(axis, "f4") for axis in "xyz"])
    faces = np.array([(face,) for face in FACES], [("vertex_indices", "i4", (3,))])
    elements = [plyfile.PlyElement.describe(vertices, "vertex"), plyfile.PlyElement.describe(faces, "face")]
    plyfile.PlyData(elements).write(folder / "whole.ply")
    return (folder / "whole.ply").read_bytes()


def test_damaged_meshes_and_what_a_form_cannot_hold_are_refused(refused, transform, tmp_path):
    whole = vtk_text(CORNERS)
    contents = {
        "half.vtk": whole[: len(whole) // 2].encode(),
        "corner.vtk": whole.replace("3 2 0 3", "3 2 0 9").encode(),
        "below.vtk": whole.replace("3 2 0 3", "3 2 0 -1").encode(),
        "nan.vtk": whole.replace("20.0", "nan").encode(),
        "half.ply": _binary_ply(tmp_path)[:-20],
        "empty.stl": b"",
        "rubbish.vtp": b"rubbish",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        message = refused("warp", tmp_path / name, transform, "-o", tmp_path / f"out{name[-4:]}")
        assert "cannot be read as a mesh" in message or "not finite" in message
    (tmp_path / "line.vtk").write_text(whole.split("POLYGONS")[0] + "LINES 1 3\n2 0 1\n")
    assert "lines or single points" in refused("warp", tmp_path / "line.vtk", transform, "-o", tmp_path / "out.stl")
    (tmp_path / "in.vtk").write_text(whole)
    assert "a name ending in" in refused("warp", tmp_path / "in.vtk", transform, "-o", tmp_path / "out.nii.gz")
    for option in ("--reference", "--outside"):
        assert "mesh" in refused("warp", tmp_path / "in.vtk", transform, option, 5, "-o", tmp_path / "out.vtk")
    assert not list(tmp_path.glob("out*"))


def _stl(folder, count=None, triangles=4):
    """A binary STL of the tetrahedron's first faces, whose header may state another number of them."""
    corners = CORNERS[np.array(FACES[:triangles])].astype("<f4")
    rows = [bytes(12) + face.tobytes() + bytes(2) for face in corners]
    stated = len(FACES) if count is None else count
    (folder / "in.stl").write_bytes(bytes(80) + stated.to_bytes(4, "little") + b"".join(rows))
    return folder / "in.stl"


def test_an_stl_file_without_its_last_triangles_is_refused(refused, transform, tmp_path):
    """VTK reads those that there are; a number that was not known when the header was written says nothing."""
    for count in (None, 2**32 - 1, 0):
        assert len(read_mesh(_stl(tmp_path, count)).points) == len(CORNERS)
    _stl(tmp_path, triangles=3)
    assert "cannot be read as a mesh" in refused("warp", tmp_path / "in.stl", transform, "-o", tmp_path / "out.stl")
    facets = [
        "facet normal 0 0 0\nouter loop\n"
        + "".join("vertex " + " ".join(map(str, CORNERS[corner])) + "\n" for corner in face)
        + "endloop\nendfacet\n"
        for face in FACES
    ]
    whole = "solid part\n" + "".join(facets) + "endsolid part\n"
    (tmp_path / "text.stl").write_text(whole)
    assert len(read_mesh(tmp_path / "text.stl").points) == len(CORNERS)
    (tmp_path / "cut.stl").write_text(whole[: whole.rindex("facet normal")])
    assert "cannot be read as a mesh" in refused("warp", tmp_path / "cut.stl", transform, "-o", tmp_path / "out.stl")


@pytest.mark.parametrize("header", ["space=ras", "SPACE: RAS", "SPACE = Ras"])
def test_a_space_in_other_letters_is_taken(tmp_path, header):
    (tmp_path / "in.vtk").write_text(vtk_text(CORNERS * LPS_TO_RAS, header))
    np.testing.assert_allclose(read_mesh(tmp_path / "in.vtk").points, CORNERS)


@pytest.mark.parametrize("header", ["SPACE=LAI", "SPACE=IJK", "SPACE=LPS SPACE=RAS"])
def test_another_space_is_refused(tmp_path, header):
    (tmp_path / "in.vtk").write_text(vtk_text(CORNERS, header))
    with pytest.raises(InputError, match="not in LPS or RAS"):
        read_mesh(tmp_path / "in.vtk")


def test_a_mesh_in_metres_is_told(tmp_path):
    (tmp_path / "in.vtk").write_text(vtk_text(CORNERS / 1000))
    with pytest.warns(UserWarning, match="smaller than 1 mm: are the coordinates of its points millimetres"):
        read_mesh(tmp_path / "in.vtk")

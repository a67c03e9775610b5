import json

import numpy as np
import pytest

from mics.errors import InputError
from mics.image.points import Points, is_points, read_points, write_points

COORDINATES = np.array([[1.5, -2.25, 300.0], [-40.0, 12.5, 0.125]])


@pytest.mark.parametrize("name", ["points.csv", "points.mrk.json"])
def test_what_is_written_is_read_back(tmp_path, name):
    write_points(Points(COORDINATES, ("liver, dome", 'the "tip"')), tmp_path / name)
    back = read_points(tmp_path / name)
    np.testing.assert_allclose(back.coordinates, COORDINATES)
    assert back.names == ("liver, dome", 'the "tip"')
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_label_that_reads_like_a_frame_is_a_label(tmp_path):
    """RAS is the right adrenal's short name to some."""
    (tmp_path / "p.csv").write_text("x,y,z,name,label,id\n1,2,3,LAS,RAS,LPI\n")
    found = read_points(tmp_path / "p.csv")
    assert found.names == ("LAS",)
    np.testing.assert_array_equal(found.coordinates, [[1, 2, 3]])


def test_csv_without_names_and_with_other_columns(tmp_path):
    (tmp_path / "p.csv").write_text("t, z, y, x\n0, 3, 2, 1\n")
    back = read_points(tmp_path / "p.csv")
    np.testing.assert_array_equal(back.coordinates, [[1, 2, 3]])
    assert back.names == ("",)


@pytest.mark.parametrize(("frame", "expected"), [("0", [-1, -2, 3]), ("RAS", [-1, -2, 3]), ("LPS", [1, 2, 3])])
def test_fcsv_frames(tmp_path, frame, expected):
    header = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {frame}\n"
    columns = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    (tmp_path / "p.fcsv").write_text(header + columns + "vtk_0,1,2,3,0,0,0,1,1,1,0,F-1,,\n")
    back = read_points(tmp_path / "p.fcsv")
    np.testing.assert_array_equal(back.coordinates, [expected])
    assert back.names == ("F-1",)


def test_slicer_markup_in_ras(tmp_path):
    markup = {"coordinateSystem": "RAS", "controlPoints": [{"label": "a", "position": [1, 2, 3]}]}
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
    np.testing.assert_array_equal(read_points(tmp_path / "p.mrk.json").coordinates, [[-1, -2, 3]])


@pytest.mark.parametrize("status", ["undefined", "missing", "preview"])
def test_points_that_slicer_says_were_not_placed(tmp_path, status):
    points = [
        {"label": "placed", "position": [1, 2, 3], "positionStatus": "defined"},
        {"label": "nowhere", "position": [0, 0, 0], "positionStatus": status},
    ]
    for kept, refused in (
        (points[:1], False),
        (points, True),
        (points[1:], True),
        ([points[0], {**points[1], "position": None}], True),
    ):
        (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [{"controlPoints": kept}]}))
        if refused:
            with pytest.raises(InputError, match=r"p\.mrk\.json .*1 point not placed \('nowhere'\)"):
                read_points(tmp_path / "p.mrk.json")
        else:
            np.testing.assert_array_equal(read_points(tmp_path / "p.mrk.json").coordinates, [[1, 2, 3]])


@pytest.mark.parametrize("status", [0, 1, 3])
def test_fcsv_points_that_were_not_placed(tmp_path, status):
    head = "# CoordinateSystem = LPS\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    (tmp_path / "p.fcsv").write_text(head + "1,1,2,3,0,0,0,1,1,1,0,F-1,,,2,0\n")
    np.testing.assert_array_equal(read_points(tmp_path / "p.fcsv").coordinates, [[1, 2, 3]])
    (tmp_path / "p.fcsv").write_text(
        head + f"1,1,2,3,0,0,0,1,1,1,0,F-1,,,2,0\n2,0,0,0,0,0,0,1,1,1,0,F-2,,,{status},0\n"
    )
    with pytest.raises(InputError, match=r"p\.fcsv holds 1 point not placed \('F-2'\)"):
        read_points(tmp_path / "p.fcsv")


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("mm", 1), ("um", 1e-3), ("cm", 10), ("m", 1000), (["um", "UCUM", "micrometer"], 1e-3)]
)
def test_slicer_markups_in_other_units(tmp_path, unit, millimetres):
    markup = {"coordinateUnits": unit, "controlPoints": [{"position": [1, 2, 3]}]}
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
    np.testing.assert_allclose(read_points(tmp_path / "p.mrk.json").coordinates, np.array([[1, 2, 3]]) * millimetres)


def test_a_unit_for_each_axis(tmp_path):
    for units, message in (
        (["mm", "mm", "cm"], "coordinateUnits are mm, mm, cm, one for each axis"),
        (["cm"] * 3, None),
    ):
        markup = {"coordinateUnits": units, "controlPoints": [{"position": [1, 2, 3]}]}
        (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
        if message is None:
            np.testing.assert_allclose(read_points(tmp_path / "p.mrk.json").coordinates, [[10, 20, 30]])
        else:
            with pytest.raises(InputError, match=message):
                read_points(tmp_path / "p.mrk.json")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_coordinates_that_are_no_numbers_are_counted(tmp_path, value):
    (tmp_path / "p.csv").write_text(f"x,y,z\n1,2,3\n1,2,{value}\n4,5,6\n{value},0,0\n")
    with pytest.raises(InputError, match=r"p\.csv holds 2 points .* first point 2"):
        read_points(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", ""),
        ("p.csv", "x,y,z\n"),
        ("p.csv", "1,2,3\n4,5,6\n"),
        ("p.csv", "x,y,z\n1,2\n"),
        ("p.fcsv", "# CoordinateSystem = IJK\n1,1,2,3\n"),
        ("p.mrk.json", "{}"),
        ("p.mrk.json", "not json"),
        ("p.mrk.json", '{"markups": [{"coordinateSystem": "IJK", "controlPoints": [{"position": [1, 2, 3]}]}]}'),
        ("p.mrk.json", '{"markups": [{"coordinateUnits": "kg", "controlPoints": [{"position": [1, 2, 3]}]}]}'),
        ("p.txt", "x,y,z\n1,2,3\n"),
    ],
)
def test_unreadable_lists_are_refused_with_the_file_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        read_points(tmp_path / name)


def test_missing_file_and_unwritable_place_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.csv"):
        read_points(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="absent"):
        write_points(Points(COORDINATES, ("", "")), tmp_path / "absent" / "p.csv")
    with pytest.raises(InputError, match=r"\.mrk\.json"):
        write_points(Points(COORDINATES, ("", "")), tmp_path / "p.fcsv")


def test_a_scan_is_refused_by_its_name_with_the_endings_of_lists(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"x,y,z\n1,2,3\n")
    with pytest.raises(InputError, match=r"scan\.nii\.gz is not a list of points: give a \.csv, \.fcsv or \.mrk\.json"):
        read_points(tmp_path / "scan.nii.gz")


def test_points_are_told_from_images_by_their_name():
    assert is_points("a/b.CSV")
    assert is_points("a.mrk.json")
    assert not is_points("scan.nii.gz")


FCSV = "# CoordinateSystem = LPS\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("decimal_comma.csv", "x,y,z\n1.5,2,3\n1,5,2,5,3,5\n", "line 3 has 6 values and the first line 3 columns"),
        ("a_name.csv", "x,y,z,name\n1,2,3,liver, dome\n", "text with a comma stands between quotes"),
        ("twice.csv", "x,y,z,x\n1,2,3,9\n", "has two columns x"),
        (
            "decimal_comma.fcsv",
            FCSV + "1,1,5,2,5,3,5,0,0,0,1,1,1,0,F-1,,\n",
            "has 17 values, more than there are columns",
        ),
    ],
)
def test_values_that_would_go_into_another_column(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / name)


def test_empty_cells_that_spreadsheets_append(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z,,\n1,2,3,,,,\n")
    np.testing.assert_array_equal(read_points(tmp_path / "p.csv").coordinates, [[1, 2, 3]])


@pytest.mark.parametrize(("kind", "landmarks"), [("Fiducial", True), ("Curve", True), ("ROI", False), ("Plane", False)])
def test_markups_that_are_no_landmarks(tmp_path, kind, landmarks):
    markup = {"type": kind, "coordinateSystem": "LPS", "controlPoints": [{"label": "a", "position": [1, 2, 3]}]}
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
    if landmarks:
        np.testing.assert_array_equal(read_points(tmp_path / "p.mrk.json").coordinates, [[1, 2, 3]])
        return
    with pytest.raises(InputError, match=f"a markup of type {kind}, whose points are no landmarks"):
        read_points(tmp_path / "p.mrk.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", b"x;y;z\n1,5;2;3\n", "semicolons divide its values"),
        ("p.csv", "x,y,z,name\n1,2,3,L\xe4sion\n".encode("latin-1"), "not UTF-8 text"),
        ("p.csv", b"x,y,z,frame\n1,2,3,RAS\n", "its column frame may say another frame"),
        ("p.csv", b"x,y,z,Coordinate System\n1,2,3,RAS\n", "its column Coordinate System may say another frame"),
        ("p.csv", b"x,y,z,RAS\n1,2,3,1\n", "its column RAS may say another frame"),
        ("p.csv", b"x,y,z,where\n1,2,3,ras\n", "its column where says ras, which may be another frame"),
        ("p.csv", b"x,y,z\n1_5,2,3\n", "expected a header line with the columns x, y and z"),
        ("p.csv", b"label,x,y,z,defined\nF-1,0,0,0,0\nF-2,1,2,3,1\n", "1 point not placed .'F-1'"),
        (
            "p.fcsv",
            FCSV.encode() + b"1,1,2,3,0,0,0,1,1,1,0,F-1,,\n" + FCSV.replace("LPS", "RAS").encode(),
            "it names two coordinate systems, LPS and RAS",
        ),
        (
            "p.fcsv",
            FCSV.replace("LPS", "2").encode() + b"1,1,2,3,0,0,0,1,1,1,0,F-1,,\n",
            "placed in 2, not in LPS or RAS",
        ),
        (
            "p.mrk.json",
            b'{"markups": [{"coordinateUnits": "in", "controlPoints": [{"position": [1, 2, 3]}]}]}',
            "Units are in",
        ),
        ("p.mrk.json", b"[" * 100_000, "not a readable list of points"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / name)


@pytest.mark.parametrize(("label", "name"), [(7, "7"), (None, "")])
def test_labels_that_are_no_text_are_written_as_such(tmp_path, label, name):
    markup = {"coordinateSystem": "ras", "controlPoints": [{"label": label, "position": [1, 2, 3]}]}
    (tmp_path / "p.mrk.json").write_text(json.dumps({"markups": [markup]}))
    points = read_points(tmp_path / "p.mrk.json")
    assert points.names == (name,)
    write_points(points, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == f"x,y,z,name\n-1.0000,-2.0000,3.0000,{name}\n"


def test_the_frame_of_a_list_of_slicer_in_other_capitals(tmp_path):
    text = FCSV.replace("CoordinateSystem", "coordinatesystem") + "1,1,2,3,0,0,0,1,1,1,0,F-1,,\n"
    assert "coordinatesystem" in text
    (tmp_path / "p.fcsv").write_text(text)
    np.testing.assert_array_equal(read_points(tmp_path / "p.fcsv").coordinates, [[1, 2, 3]])


def test_landmarks_in_metres_are_told(tmp_path):
    (tmp_path / "p.csv").write_text("x,y,z\n0.1,0.2,-0.5\n0.05,0.1,0.2\n0,0,0\n")
    with pytest.warns(UserWarning, match="3 points within 1 mm of each other: are their coordinates millimetres"):
        read_points(tmp_path / "p.csv")

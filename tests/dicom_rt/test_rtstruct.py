"""Structures there and back: drawn from a formula, read by us, written by us, read by others."""

import copy
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from matplotlib.path import Path as Polygon
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from mics.dicom_rt.rtstruct import read_rtstruct, write_rtstruct
from mics.dicom_rt.series import read_series
from mics.dicom_rt.structures import Structure, StructureSet
from mics.errors import InputError


def drawn(helpers, folder: Path, path: Path, *, kind="CLOSED_PLANAR", change=None) -> Path:
    """The object of the tests and the small ball alone, drawn as circles on the slices of a series by formula, with pydicom."""
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()]
    row, column = np.reshape(headers[0].ImageOrientationPatient, (2, 3)).astype(float)
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    made.Modality, made.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    made.StudyInstanceUID = headers[0].StudyInstanceUID
    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = headers[0].FrameOfReferenceUID
    series.SeriesInstanceUID = headers[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [frame]
    structures = {"Leber": (*helpers.PARTS, helpers.HOLE), "Milz": helpers.PARTS[1:]}
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, balls) in enumerate(structures.items(), 11):
        roi, contours = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = frame.FrameOfReferenceUID
        contours.ReferencedROINumber = number
        contours.ContourSequence = []
        for header in headers:
            corner = np.array(header.ImagePositionPatient, dtype=float)
            for centre, radius in balls:
                away = np.dot(corner - helpers.CENTRE - centre, np.cross(row, column))
                if abs(away) >= radius:
                    continue
                middle = helpers.CENTRE + centre + away * np.cross(row, column)
                ring = np.outer(np.cos(angles), row) + np.outer(np.sin(angles), column)
                contour = Dataset()
                contour.ContourGeometricType = kind
                contour.NumberOfContourPoints = len(angles)
                points = middle + np.sqrt(radius**2 - away**2) * ring
                contour.ContourData = [f"{x:.3f}" for x in points.ravel()]
                contours.ContourSequence.append(contour)
        made.StructureSetROISequence.append(roi)
        made.ROIContourSequence.append(contours)
    if change is not None:
        change(made)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.save_as(path, enforce_file_format=True)
    return path


def within_a_voxel(mask: np.ndarray, expected: np.ndarray, spacing) -> bool:
    """Whether the surfaces of two masks are never further apart than the diagonal of a voxel, and on average a third of one."""
    volumes = [sitk.GetImageFromArray(one.T.astype(np.uint8)) for one in (mask, expected)]
    for volume in volumes:
        volume.SetSpacing(spacing)
    distances = sitk.HausdorffDistanceImageFilter()
    distances.Execute(*volumes)
    furthest, mean = distances.GetHausdorffDistance(), distances.GetAverageHausdorffDistance()
    return furthest < np.linalg.norm(spacing) and mean < min(spacing) / 3


def test_drawn_contours_become_the_voxels_within(helpers, series_folder, tmp_path):
    structures = read_rtstruct(drawn(helpers, series_folder, tmp_path / "rs.dcm"))
    assert [one.name for one in structures.structures] == ["Leber", "Milz"]
    volume = helpers.by_itk(series_folder)
    np.testing.assert_allclose(structures.grid.points(), helpers.places(volume), atol=1e-3)
    mask, expected = structures.structures[0].mask, helpers.inside(helpers.places(volume))
    assert np.count_nonzero(mask != expected) < 0.01 * np.count_nonzero(expected)
    assert within_a_voxel(mask, expected, volume.GetSpacing())
    for axis in range(3):  # what is compared has no symmetry that could hide a mirrored result
        assert not within_a_voxel(np.flip(mask, axis), expected, volume.GetSpacing())


@pytest.mark.filterwarnings("ignore:.* has slices that lie aside of each other:UserWarning")
@pytest.mark.parametrize("position", ["head_first_supine", "head_first_prone", "oblique"])
def test_contours_on_the_slices_of_a_tilted_gantry(helpers, tmp_path, position):
    """The planes stay where they are: what is drawn on the tilted slices lies in the voxels of the straight grid."""
    name, orientation = helpers.POSITIONS[position]
    folder = helpers.write_series(tmp_path / "ct", orientation, name, aside=(0, 1.4))
    structures = read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm"))
    mask, expected = structures.structures[0].mask, helpers.inside(structures.grid.points())
    assert np.count_nonzero(mask != expected) < 0.01 * np.count_nonzero(expected)
    assert within_a_voxel(mask, expected, structures.grid.spacing)
    series = read_series(folder)
    assert series.grid == structures.grid
    heights = [series.grid.world_to_voxel([float(x) for x in one.ImagePositionPatient])[2] for one in series.headers]
    np.testing.assert_allclose(heights, range(helpers.SIZE[2]), atol=1e-3)


def test_written_contours_enclose_the_same_voxels_elsewhere(helpers, series_folder, tmp_path):
    series = read_series(series_folder)
    mask = helpers.inside(helpers.places(helpers.by_itk(series_folder)))
    write_rtstruct(StructureSet(series.grid, (Structure("größte Leber", mask),)), series, tmp_path / "rs.dcm")
    made = pydicom.dcmread(tmp_path / "rs.dcm")
    assert made.StructureSetROISequence[0].ROIName == "größte Leber"
    found = np.zeros(mask.shape, dtype=bool)
    volume = helpers.by_itk(series_folder)
    uids = {
        header.SOPInstanceUID: header.ImagePositionPatient
        for header in (pydicom.dcmread(file, stop_before_pixels=True) for file in series_folder.iterdir())
    }
    columns, rows, _ = volume.GetSize()
    # Beside the very centres, as channels of keyholes run through some.
    centres = np.moveaxis(np.indices((columns, rows)), 0, -1).reshape(-1, 2) + [1e-4, 2e-4]
    for contour in made.ROIContourSequence[0].ContourSequence:
        points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
        voxels = np.array([volume.TransformPhysicalPointToContinuousIndex(point) for point in points.tolist()])
        position = uids[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        k = volume.TransformPhysicalPointToIndex([float(x) for x in position])[2]
        np.testing.assert_allclose(voxels[:, 2], k, atol=1e-3)  # on the plane of the slice that it names
        ring = np.vstack([voxels[:, :2], voxels[:1, :2]])
        found[:, :, k] ^= Polygon(ring, closed=True).contains_points(centres).reshape(columns, rows)
    np.testing.assert_array_equal(found, mask)
    again = read_rtstruct(tmp_path / "rs.dcm", series)
    np.testing.assert_array_equal(again.structures[0].mask, mask)


@pytest.mark.skipif(shutil.which("plastimatch") is None, reason="needs the Debian package plastimatch")
@pytest.mark.parametrize("name", ["head_first_supine", "feet_first_supine", "head_first_prone"])
def test_plastimatch_reads_the_structures(helpers, tmp_path, name):
    position, orientation = helpers.POSITIONS[name]
    folder = helpers.write_series(tmp_path / "ct", orientation, position)
    series = read_series(folder)
    volume = helpers.by_itk(folder)
    mask = helpers.inside(helpers.places(volume))
    write_rtstruct(StructureSet(series.grid, (Structure("liver", mask),)), series, tmp_path / "rs.dcm")
    command = ["plastimatch", "convert", "--input", tmp_path / "rs.dcm", "--referenced-ct", folder]
    subprocess.run([*command, "--output-prefix", tmp_path / "read", "--prefix-format", "nrrd"], check=True)
    read = sitk.ReadImage(str(tmp_path / "read" / "liver.nrrd"))
    read = sitk.GetArrayFromImage(sitk.Resample(read, volume, sitk.Transform(), sitk.sitkNearestNeighbor)).T > 0
    assert within_a_voxel(read, mask, volume.GetSpacing())


@pytest.mark.parametrize("ct", ["ct", "scans/ct"])
def test_the_series_is_found_in_the_folder_in_one_of_its_folders_and_beside(helpers, tmp_path, ct):
    folder = helpers.write_series(tmp_path / "study" / ct, helpers.POSITIONS["oblique"][1])
    for place in (folder, folder.parent, tmp_path / "study", tmp_path / "study" / "structures"):
        place.mkdir(exist_ok=True)
        path = drawn(helpers, folder, tmp_path / "rs.dcm").rename(place / "rs.dcm")
        assert read_rtstruct(path).grid == read_series(folder).grid
        path.unlink()
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    path = drawn(helpers, folder, tmp_path / "elsewhere" / "deep" / "rs.dcm")
    with pytest.raises(
        InputError, match=r"which is neither in its folder nor in one beside it: .* mics convert, whose `scan`"
    ):
        read_rtstruct(path)


def test_another_series_is_refused(helpers, tmp_path):
    orientation = helpers.POSITIONS["oblique"][1]
    folder = helpers.write_series(tmp_path / "ct", orientation)
    other = read_series(helpers.write_series(tmp_path / "other", orientation))
    with pytest.raises(InputError, match=f"was drawn on the series .*, not on {other.uid}"):
        read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm"), other)


def _tilt(made):
    contour = made.ROIContourSequence[0].ContourSequence[5]
    points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
    contour.ContourData = [f"{x:.3f}" for x in (points + points[:, :1] * [0, 0, 0.1]).ravel()]


def _between(made):
    for contour in made.ROIContourSequence[0].ContourSequence:
        contour.ContourData = [f"{x:.3f}" for x in (np.reshape(contour.ContourData, (-1, 3)) + [0, 0, 1.9]).ravel()]


def _beyond(made):
    for contour in made.ROIContourSequence[0].ContourSequence:
        contour.ContourData = [f"{x:.3f}" for x in (np.reshape(contour.ContourData, (-1, 3)) + [0, 0, 80]).ravel()]


@pytest.mark.parametrize("change", [_tilt, _between, _beyond])
def test_contours_that_lie_on_no_slice_are_refused(helpers, tmp_path, change):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["head_first_supine"][1])
    with pytest.raises(InputError, match="a contour of Leber lies on no slice of the series"):
        read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=change))


def test_points_and_open_contours_have_no_inside(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])

    def open_one(made):
        for contour in made.ROIContourSequence[1].ContourSequence:
            contour.ContourGeometricType = "OPEN_PLANAR"

    with pytest.warns(UserWarning, match="Milz without closed contours left out"):
        structures = read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=open_one))
    assert [one.name for one in structures.structures] == ["Leber"]
    points = drawn(helpers, folder, tmp_path / "points.dcm", kind="POINT")
    with (
        pytest.warns(match="Leber, Milz without"),
        pytest.raises(InputError, match="holds no structure with closed contours"),
    ):
        read_rtstruct(points)


def test_a_contour_that_stands_there_twice_counts_once(helpers, series_folder, tmp_path):
    def twice(made):
        sequence = made.ROIContourSequence[1].ContourSequence
        sequence.append(copy.deepcopy(sequence[1]))

    expected = read_rtstruct(drawn(helpers, series_folder, tmp_path / "once.dcm")).structures[1].mask
    with pytest.warns(UserWarning, match="Milz has 1 of its contours twice: each counts once"):
        structures = read_rtstruct(drawn(helpers, series_folder, tmp_path / "rs.dcm", change=twice))
    np.testing.assert_array_equal(structures.structures[1].mask, expected)


def test_a_structure_beside_the_slices_is_told_and_left_out(helpers, tmp_path):
    def aside(made, numbers=(1,)):
        for number in numbers:
            for contour in made.ROIContourSequence[number].ContourSequence:
                points = np.reshape(contour.ContourData, (-1, 3)).astype(float) + [500, 0, 0]
                contour.ContourData = [f"{x:.3f}" for x in points.ravel()]

    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["head_first_supine"][1])
    with pytest.warns(UserWarning, match="Milz left out: no voxel of the series has its centre within"):
        structures = read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=aside))
    assert [one.name for one in structures.structures] == ["Leber"]
    both = drawn(helpers, folder, tmp_path / "both.dcm", change=partial(aside, numbers=(0, 1)))
    with (
        pytest.warns(match="Leber, Milz left out"),
        pytest.raises(InputError, match="holds no structure with closed contours around voxels of the series"),
    ):
        read_rtstruct(both)


def _no_points(made):
    del made.ROIContourSequence[0].ContourSequence[0].ContourData


def _uneven(made):
    made.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2", "3", "4"]


def _no_number(made):
    del made.ROIContourSequence[0].ReferencedROINumber


@pytest.mark.parametrize("change", [_no_points, _uneven, _no_number])
def test_what_is_damaged_is_told_in_a_sentence(helpers, tmp_path, change):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])
    with pytest.raises(
        InputError, match=r"rs\.dcm is damaged or stored in a way that is not read \(.*\): export it again"
    ):
        read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=change))


def _parted(made):
    """The contours of one structure in two items, as programs leave them that add to a structure."""
    whole = made.ROIContourSequence[0]
    rest = copy.deepcopy(whole)
    whole.ContourSequence, rest.ContourSequence = whole.ContourSequence[:7], rest.ContourSequence[7:]
    made.ROIContourSequence.append(rest)


def test_contours_of_one_structure_in_two_items_all_count(helpers, series_folder, tmp_path):
    expected = read_rtstruct(drawn(helpers, series_folder, tmp_path / "whole.dcm")).structures[0].mask
    found = read_rtstruct(drawn(helpers, series_folder, tmp_path / "parted.dcm", change=_parted)).structures[0].mask
    np.testing.assert_array_equal(found, expected)


def _shifted(made):
    made.ROIContourSequence[1].ContourSequence[0].ContourOffsetVector = [0, 0, 4]


def _not_shifted(made):
    made.ROIContourSequence[1].ContourSequence[0].ContourOffsetVector = [0, 0, 0]


def test_contours_that_are_to_be_shifted_are_refused(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])
    assert len(read_rtstruct(drawn(helpers, folder, tmp_path / "no.dcm", change=_not_shifted)).structures) == 2
    with pytest.raises(InputError, match=r"contours of Milz are to be shifted \(ContourOffsetVector\)"):
        read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=_shifted))


def test_another_frame_of_reference_is_told_or_refused(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])

    def of_one(made):
        made.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = generate_uid()

    def of_all(made):
        of_one(made)
        made.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = generate_uid()
        del made.StructureSetROISequence[0].ReferencedFrameOfReferenceUID

    with pytest.warns(UserWarning, match=r"rs\.dcm: Milz names another frame of reference than that of the series"):
        read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=of_one))
    with pytest.raises(InputError, match="drawn in another frame of reference than that of the series"):
        read_rtstruct(drawn(helpers, folder, tmp_path / "all.dcm", change=of_all))


def test_slices_left_out_between_contours_are_told(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["head_first_supine"][1])

    def every_second(made):
        contours = made.ROIContourSequence[0].ContourSequence
        heights = sorted({float(one.ContourData[2]) for one in contours})
        made.ROIContourSequence[0].ContourSequence = [
            one for one in contours if heights.index(float(one.ContourData[2])) % 2 == 0
        ]

    with pytest.warns(UserWarning, match=r"rs\.dcm: Leber has contours on every second slice or fewer"):
        found = read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=every_second))
    whole = read_rtstruct(drawn(helpers, folder, tmp_path / "whole.dcm"))
    lies_on = [one.structures[0].mask.any(axis=(0, 1)).sum() for one in (found, whole)]
    assert lies_on[0] == (lies_on[1] + 1) // 2


def test_contours_that_cross_are_told(helpers, tmp_path):
    """What lies within two contours is a hole; that both were meant to be joined nobody can see."""
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["head_first_supine"][1])

    def crossing(made):
        sequence = made.ROIContourSequence[1].ContourSequence
        moved = copy.deepcopy(sequence[1])
        points = np.reshape(moved.ContourData, (-1, 3)).astype(float) + [7, 0, 0]
        moved.ContourData = [f"{x:.3f}" for x in points.ravel()]
        sequence.append(moved)

    alone = read_rtstruct(drawn(helpers, folder, tmp_path / "alone.dcm")).structures[1].mask
    with pytest.warns(UserWarning, match=r"contours of Milz cross each other on 1 slice: what lies within two of them"):
        found = read_rtstruct(drawn(helpers, folder, tmp_path / "rs.dcm", change=crossing)).structures[1].mask
    assert np.count_nonzero(alone & ~found) > 0  # the lens within both


def test_structures_that_name_no_series_are_read_with_the_scan(helpers, tmp_path):
    folder = helpers.write_series(tmp_path / "ct", helpers.POSITIONS["oblique"][1])

    def nameless(made):
        del made.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence

    path = drawn(helpers, folder, tmp_path / "rs.dcm", change=nameless)
    with pytest.raises(InputError, match=r"does not name the series that it was drawn on: .* mics convert"):
        read_rtstruct(path)
    assert len(read_rtstruct(path, read_series(folder)).structures) == 2

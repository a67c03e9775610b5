"""Transforms in the files of other tools, each read by its own tool."""

import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from mics.deformation.formats import ENDINGS, files_of, write_transform
from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.read_formats import read_transform
from mics.deformation.transform import Transform
from mics.errors import InputError, SettingError
from mics.image.grid import Grid

AFFINE = np.array([[1.1, 0.05, 0, 4], [-0.04, 0.9, 0.02, -7], [0, 0.03, 1.05, 11], [0, 0, 0, 1.0]])
LPS_TO_RAS = np.array([-1, -1, 1])


def transform_on(grid: Grid, provenance=None) -> Transform:
    """A smooth transform of about ten millimetres, other along each axis."""
    random = np.random.default_rng(3)
    bumps = [gaussian_filter(random.normal(size=grid.size), 3, mode="nearest") * 60 for _ in range(3)]
    return Transform((np.stack(bumps, axis=-1) + [3, -2, 5]).astype(np.float32), grid, provenance)


def points_in(grid: Grid) -> np.ndarray:
    return grid.voxel_to_world(np.random.default_rng(1).uniform(0.1, np.array(grid.size) - 1.1, (40, 3)))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_itk_reads_a_field(tmp_path, grid, ending):
    transform = transform_on(grid)
    write_transform(transform, tmp_path / f"t{ending}")
    field = sitk.ReadImage(str(tmp_path / f"t{ending}"), sitk.sitkVectorFloat64)
    itk, points = sitk.DisplacementFieldTransform(field), points_in(grid)
    moved = [itk.TransformPoint(point) for point in points.tolist()]
    np.testing.assert_allclose(moved, transform.transform_points(points), atol=1e-3)


@pytest.mark.parametrize("ending", [".h5", ".tfm"])
@pytest.mark.parametrize("direction", ["moving_to_fixed", "fixed_to_moving"])
def test_itk_reads_a_composite_of_affine_and_displacement(tmp_path, grid, ending, direction):
    source, target = direction.split("_to_")
    made = {"affine_fixed_to_moving_lps_mm": AFFINE.tolist()}
    scans = {name: KnownScan(grid, "0") for name in (source, target)}
    transform = transform_on(grid, Provenance(source, target, scans, made))
    write_transform(transform, tmp_path / f"t{ending}")
    composite = sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / f"t{ending}")))
    assert composite.GetNumberOfTransforms() == 2
    points = points_in(grid)
    moved = [composite.TransformPoint(point) for point in points.tolist()]
    np.testing.assert_allclose(moved, transform.transform_points(points), atol=1e-3)
    far = (900.0, -800.0, 700.0)  # beyond the grid the affine goes on
    matrix = AFFINE if direction == "moving_to_fixed" else np.linalg.inv(AFFINE)
    np.testing.assert_allclose(composite.TransformPoint(far), (matrix @ [*far, 1])[:3], atol=1e-3)


@pytest.mark.parametrize("ending", [".h5", ".tfm", ".x5", ".txt"])
def test_what_is_no_volume_is_not_loaded_as_one_and_what_reads_it_is_said(tmp_path, grids, ending):
    transform, path = transform_on(grids["oblique"]), tmp_path / f"t{ending}"
    write_transform(transform, path)
    with pytest.raises(InputError, match=r"is not a volume of displacements: .* `mics convert .*read_transform`"):
        Transform.load(path)
    np.testing.assert_allclose(read_transform(path).displacement_mm, transform.displacement_mm, atol=2e-3)


@pytest.mark.parametrize("ending", [".h5", ".tfm"])
def test_without_a_known_affine_the_composite_is_the_displacement(tmp_path, grids, ending):
    transform = transform_on(grids["oblique"])
    write_transform(transform, tmp_path / f"t{ending}")
    composite = sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / f"t{ending}")))
    assert composite.GetNumberOfTransforms() == 1
    point = transform.grid.centre.tolist()
    expected = transform.transform_points([point])[0]
    np.testing.assert_allclose(composite.TransformPoint(point), expected, atol=1e-3)


# In a process of its own, as greedy below. Loading elastix' libraries takes a minute.
TRANSFORMIX = """
import itk, numpy, os, sys
for name in sys.argv[1:]:
    os.chdir(name)  # where the field lies
    parameters = itk.ParameterObject.New()
    parameters.ReadParameterFile("t.txt")
    any_image = itk.image_from_array(numpy.zeros((4, 4, 4), numpy.float32))
    field = itk.transformix_deformation_field(any_image, parameters, output_directory=".")
    numpy.savez(
        "read.npz",
        displacement_mm=numpy.asarray(field).transpose(2, 1, 0, 3),
        direction=itk.array_from_matrix(field.GetDirection()).ravel(),
        origin=list(field.GetOrigin()),
    )
    os.chdir("..")
"""


@pytest.mark.nightly
def test_transformix_reads_its_parameter_file(tmp_path, grids):
    pytest.importorskip("itk")
    for name, grid in grids.items():
        (tmp_path / name).mkdir()
        write_transform(transform_on(grid), tmp_path / name / "t.txt")
        assert str(tmp_path) not in (tmp_path / name / "t.txt").read_text()
    subprocess.run([sys.executable, "-c", TRANSFORMIX, *grids], cwd=tmp_path, check=True)
    for name, grid in grids.items():
        read = np.load(tmp_path / name / "read.npz")
        np.testing.assert_allclose(read["displacement_mm"], transform_on(grid).displacement_mm, atol=1e-3)
        np.testing.assert_allclose(read["direction"], grid.direction, atol=1e-6)
        np.testing.assert_allclose(read["origin"], grid.origin, atol=1e-3)


def test_nitransforms_reads_x5(tmp_path, grid):
    nonlinear = pytest.importorskip("nitransforms.nonlinear")
    pytest.importorskip("nitransforms.io.x5")
    transform = transform_on(grid)
    write_transform(transform, tmp_path / "t.x5")
    read = nonlinear.DenseFieldTransform.from_filename(tmp_path / "t.x5")
    # At voxels: between them it interpolates otherwise.
    voxels = np.random.default_rng(1).integers(0, grid.size, (40, 3))
    points = grid.voxel_to_world(voxels)
    moved = read.map(points * LPS_TO_RAS) * LPS_TO_RAS
    np.testing.assert_allclose(moved, transform.transform_points(points), atol=1e-3)


def test_without_h5py_x5_is_refused_by_the_extra_to_install(tmp_path, grids, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"install mics-registration\[x5\]"):
        write_transform(transform_on(grids["lps"]), tmp_path / "t.x5")


# In a process of its own: where elastix' libraries are loaded too, greedy silently reads nothing.
GREEDY = """
import io, sys
import numpy as np, SimpleITK as sitk
from picsl_greedy import Greedy3D
for name in sys.argv[1:]:
    field = sitk.ReadImage(f"{name}.nii.gz", sitk.sitkVectorFloat32)
    reference = sitk.VectorIndexSelectionCast(field, 0)
    found = []
    for axis in range(3):
        # A moving image whose value is the coordinate: linear interpolation gives back where greedy looked.
        ramp = np.moveaxis(np.indices((80, 80, 80), dtype=np.float32)[axis] * 3 - 120, (0, 1, 2), (2, 1, 0))
        moving = sitk.GetImageFromArray(np.ascontiguousarray(ramp))
        moving.SetSpacing((3.0, 3.0, 3.0))
        moving.SetOrigin((-120.0, -120.0, -120.0))
        tool = Greedy3D()
        command = f"-rf fixed -rm moving warped -ri LINEAR -r {name}.nii.gz -V 0"
        tool.execute(command, fixed=reference, moving=moving, warped=None, out=io.StringIO())
        found.append(sitk.GetArrayFromImage(tool["warped"]).transpose(2, 1, 0))
    np.save(f"{name}.npy", np.stack(found, axis=-1))
"""


def test_greedy_reads_the_field(tmp_path, grids):
    pytest.importorskip("picsl_greedy")
    names = ["lps", "ras", "oblique"]
    for name in names:
        write_transform(transform_on(grids[name]), tmp_path / f"{name}.nii.gz")
    subprocess.run([sys.executable, "-c", GREEDY, *names], cwd=tmp_path, check=True)
    for name in names:
        expected = grids[name].points() + transform_on(grids[name]).displacement_mm
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=1e-3)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_of_any_tool_keeps_what_it_is_for(tmp_path, grids, ending):
    scans = {name: KnownScan(grids["lps"], "0") for name in ("fixed", "moving")}
    known = Provenance("moving", "fixed", scans, {"mics_version": "1"})
    path = tmp_path / f"t{ending}"
    write_transform(transform_on(grids["lps"], known), path)
    assert read_transform(path).provenance == known
    assert set(tmp_path.iterdir()) == set(files_of(path))
    write_transform(Transform(np.ones((*grids["lps"].size, 3), np.float32), grids["lps"]), path)
    with pytest.warns(UserWarning, match="is not of this file, or the file was changed since"):
        assert read_transform(path).provenance is None


@pytest.mark.parametrize("ending", [".h5", ".tfm", ".x5"])
def test_a_json_of_another_grid_is_told_and_passed_over(tmp_path, grids, ending):
    scans = {name: KnownScan(grids["lps"], "0") for name in ("fixed", "moving")}
    path = tmp_path / f"t{ending}"
    write_transform(transform_on(grids["oblique"], Provenance("moving", "fixed", scans, {})), path)
    with pytest.warns(UserWarning, match=r"json is of a transform on another grid than that of .*: it is passed over"):
        assert read_transform(path).provenance is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_cannot_be_written_leaves_nothing(tmp_path, grids, ending):
    path = tmp_path / f"t{ending}"
    path.mkdir()  # in the way of the last file to be written
    with pytest.raises(InputError, match="Cannot write"):
        write_transform(transform_on(grids["lps"]), path)
    assert os.listdir(tmp_path) == [path.name]


WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from mics.deformation.formats import write_transform
from mics.deformation.read_formats import read_transform
from mics.errors import InputError

transform = read_transform(Path(sys.argv[1]))
for argument in sys.argv[3:]:
    name, limit = argument.split("=")
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    try:
        write_transform(transform, Path(sys.argv[2]) / name)
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system does not limit files")
def test_a_file_that_finds_no_room_is_told_and_taken_away(tmp_path, grids):
    transform, limits = transform_on(grids["lps"]), []
    for ending in ENDINGS:
        write_transform(transform, tmp_path / f"t{ending}")
        length = max(path.stat().st_size for path in files_of(tmp_path / f"t{ending}")[:-1])
        limits += [f"t{ending}={limit}" for limit in (0, length // 2, length - 1)]
    (tmp_path / "out").mkdir()
    # In a process of its own: HDF5 ends one in which it could not write.
    arguments = [str(tmp_path / "t.mha"), str(tmp_path / "out"), *limits]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOM, *arguments], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    sentences = ended.stdout.splitlines()
    assert len(sentences) == len(limits)
    assert all(sentence.startswith("Cannot write") and len(sentence) < 300 for sentence in sentences), sentences
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("name", ['day "2".txt', "day\n2.txt"])
def test_a_name_that_transformix_could_not_read_in_its_file_is_refused_before_anything_is_written(
    tmp_path, grids, name
):
    with pytest.raises(SettingError, match="cannot be named in a parameter file of transformix"):
        write_transform(transform_on(grids["lps"]), tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_the_files_of_a_name(tmp_path):
    assert [path.name for path in files_of(tmp_path / "t.h5")] == ["t.h5", "t.h5.json"]
    assert [path.name for path in files_of(tmp_path / "t.txt")] == ["t.txt", "t_field.mha", "t_field.mha.json"]
    with pytest.raises(InputError, match=r"t\.mat is no format of transforms that is written: choose one of \.nii\.gz"):
        files_of(tmp_path / "t.mat")

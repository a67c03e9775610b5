"""Preparation: everybody in one frame, the same bytes again, what is done stays, one bad case does not stop the rest."""

import dataclasses
import json
import os
import re
import shutil

import nibabel
import numpy as np
import pytest

from mics.data.cohorts.catalogue import open_cohorts
from mics.data.frame import centres
from mics.data.manifest import read_manifest
from mics.data.prepare import prepare
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import read_image, read_labels
from mics.image.resample import resample
from mics.registration.affine import register_affine

SETTINGS = {"spacing_mm": 8.0, "size": (48, 40, 64)}
SHIFTS = {"kits19": 500.0, "msd-spleen": 150.0, "pancreas-ct": -300.0}


def shift(fixed, moving):
    """Registration of generated subjects: the middle of one scan goes to the middle of the other."""
    matrix = np.eye(4)
    matrix[:3, 3] = moving.grid.centre - fixed.grid.centre
    return matrix


@pytest.fixture(scope="module")
def learn2reg(publishers, tmp_path_factory):
    """Three annotated subjects of today's release, of whom the first is for training."""
    return publishers.learn2reg(tmp_path_factory.mktemp("learn2reg"), 3, 8.0)


@pytest.fixture
def cohorts(published, learn2reg):
    """Folders of three cohorts."""
    return open_cohorts({"learn2reg": learn2reg, "kits19": published("kits19"), "msd-spleen": published("msd-spleen")})


def contents(folder):
    """Every file of a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everybody_lies_in_the_frame_of_the_reference(cohorts, publishers, tmp_path):
    entries = {entry.name: entry for entry in prepare(cohorts, tmp_path, affine=shift, **SETTINGS)}
    assert {name: (entry.split, entry.organs) for name, entry in entries.items()} == {
        "learn2reg_0001": ("train", tuple(range(1, 14))),
        "learn2reg_0002": ("val", tuple(range(1, 14))),
        "learn2reg_0003": ("val", tuple(range(1, 14))),
        "learn2reg_0004": ("test", ()),
        "kits19_case_00000": ("train", (2, 3)),
        "kits19_case_00001": ("train", (2, 3)),
        "kits19_case_00210": ("train", ()),
        "msd-spleen_spleen_0": ("train", (1,)),
        "msd-spleen_spleen_1": ("train", (1,)),
        "msd-spleen_spleen_2": ("train", ()),
    }
    assert {entry.status for entry in entries.values()} == {"prepared"}
    assert read_manifest(tmp_path) == [entries[name] for name in sorted(entries)]
    grids = {read_image(tmp_path / entry.image).grid for entry in entries.values()}
    assert len(grids) == 1
    (grid,) = grids
    assert (grid.orientation, grid.size, grid.spacing) == ("LAS", (48, 40, 64), (8, 8, 8))
    # The generated subjects all lie about the origin of one anatomy: the same subject drawn in LAS is the truth.
    for name, cohort, number, kept in (
        ("kits19_case_00001", "kits", 1, (2, 3)),
        ("msd-spleen_spleen_0", "msd-spleen", 0, (1,)),
        ("learn2reg_0002", "l2r", 2, range(1, 14)),
    ):
        truth = publishers.subject(cohort, number, 8.0, "LAS").labels.array
        found = read_labels(tmp_path / entries[name].labels).array
        np.testing.assert_array_equal(found, np.where(np.isin(truth, kept), truth, 0))
    assert entries["msd-spleen_spleen_2"].labels == ""
    assert all((tmp_path / "previews" / f"{name}.png").stat().st_size > 500 for name in entries)


@pytest.mark.nightly
def test_ants_brings_other_cohorts_to_the_reference_and_volumes_go_back(published, learn2reg, tmp_path):
    cohorts = open_cohorts({"learn2reg": learn2reg, "pancreas-ct": published("pancreas-ct")})
    entries = {entry.name: entry for entry in prepare(cohorts, tmp_path, affine=register_affine, **SETTINGS)}
    entry = entries["pancreas-ct_PANCREAS_0001"]
    reference = centres(read_labels(tmp_path / entries["learn2reg_0001"].labels))
    prepared = read_labels(tmp_path / entry.labels)
    for organ, place in centres(prepared).items():
        assert np.linalg.norm(np.subtract(place, reference[organ])) < 60, organ
    assert entry.warnings == ("Its organs may not be annotated all the way beyond the rib cage.",)
    original = cohorts["pancreas-ct"].cases[0].labels()
    native = Grid.from_dict(entry.native)
    back = resample(prepared, native, np.linalg.inv(entry.affine), nearest=True, outside=0)
    assert native.is_close(original.grid)
    assert native.orientation == "LPS"
    for organ, place in centres(original).items():
        assert np.linalg.norm(np.subtract(place, centres(back)[organ])) < 8, organ


def test_what_is_prepared_stays_and_what_has_changed_or_failed_is_done_again(cohorts, published, tmp_path):
    folder = tmp_path / "spleens"
    shutil.copytree(published("msd-spleen"), folder)
    (folder / "imagesTr" / "spleen_0.nii.gz").write_bytes(b"not an image")
    cohorts = {**cohorts, **open_cohorts({"msd-spleen": folder})}
    output, done = tmp_path / "prepared", []
    first = prepare(cohorts, output, affine=shift, progress=done.append, **SETTINGS)
    failed = [entry for entry in first if entry.status == "failed"]
    assert [entry.name for entry in failed] == ["msd-spleen_spleen_0"]
    assert "spleen_0.nii.gz" in failed[0].reason
    assert len(done) == len(first) == 10
    assert not list(output.rglob("*spleen_0*"))
    assert not list(output.rglob("*partial*"))

    done.clear()
    shutil.copy(published("msd-spleen") / "imagesTr" / "spleen_0.nii.gz", folder / "imagesTr" / "spleen_0.nii.gz")
    os.utime(folder / "labelsTr" / "spleen_1.nii.gz", (1, 1))
    before = contents(output)
    second = prepare(cohorts, output, affine=shift, progress=done.append, **SETTINGS)
    assert sorted(entry.name for entry in done) == ["msd-spleen_spleen_0", "msd-spleen_spleen_1"]
    assert {entry.status for entry in second} == {"prepared"}
    after = contents(output)
    assert {name for name in before if before[name] != after[name]} == {
        "manifest.csv",
        "cases/msd-spleen_spleen_1.json",
    }


@pytest.mark.nightly
def test_a_worker_that_dies_costs_its_case_alone(cohorts, tmp_path):
    pytest.importorskip("distributed", reason="several workers need the cluster extra")
    cohorts = {name: dataclasses.replace(cohort, cases=cohort.cases[:1]) for name, cohort in cohorts.items()}
    entries = prepare(cohorts, tmp_path, affine=dies, workers=2, **SETTINGS)
    assert {entry.name: entry.status for entry in entries} == {
        "learn2reg_0001": "prepared",
        "kits19_case_00000": "prepared",
        "msd-spleen_spleen_0": "failed",
    }


def dies(fixed, moving):
    """As `shift`, but the process ends at the scans of one cohort, as one that is out of memory does."""
    if moving.grid.orientation == "LAS":
        os._exit(9)
    return shift(fixed=fixed, moving=moving)


def test_a_scheduler_that_is_there_already_is_used(cohorts, tmp_path):
    distributed = pytest.importorskip("distributed", reason="several workers need the cluster extra")
    cohorts = {name: dataclasses.replace(cohort, cases=cohort.cases[:1]) for name, cohort in cohorts.items()}
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        entries = prepare(cohorts, tmp_path, affine=at_work, scheduler=cluster.scheduler_address, **SETTINGS)
    assert {entry.status for entry in entries} == {"prepared"}
    with pytest.raises(InputError, match="No Dask scheduler answers at nowhere"):
        prepare(cohorts, tmp_path / "other", affine=at_work, scheduler="nowhere", **SETTINGS)
    assert not (tmp_path / "other").exists()


def at_work(fixed, moving):
    """As `shift`, and an error outside a Dask worker."""
    from distributed import get_worker

    get_worker()
    return shift(fixed=fixed, moving=moving)


def test_a_folder_with_something_else_is_left_alone(cohorts, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="something else than prepared cases"):
        prepare(cohorts, tmp_path, affine=shift, **SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_frame_needs_another_folder(cohorts, tmp_path):
    prepare(cohorts, tmp_path, affine=shift, **SETTINGS)
    with pytest.raises(InputError, match="another reference, spacing or size"):
        prepare(cohorts, tmp_path, affine=shift, reference="kits19_case_00000", **SETTINGS)
    with pytest.raises(
        InputError, match="no case kits19_case_00009 to be the reference; cases are called learn2reg_0001"
    ):
        prepare(cohorts, tmp_path, affine=shift, reference="kits19_case_00009", **SETTINGS)


def test_a_reference_of_any_orientation_gives_an_upright_frame_around_its_organs(cohorts, tmp_path):
    entries = prepare(cohorts, tmp_path, affine=shift, reference="kits19_case_00000", spacing_mm=8.0, size=(40, 30, 20))
    kidneys = read_labels(tmp_path / "labels" / "kits19_case_00000.nii.gz")
    assert kidneys.grid.orientation == "LAS"
    voxels = np.argwhere(kidneys.array > 0)
    np.testing.assert_allclose((voxels.min(axis=0) + voxels.max(axis=0)) / 2, (19.5, 14.5, 9.5), atol=1)
    affines = {entry.name: np.array(entry.affine) for entry in entries}
    np.testing.assert_array_equal(affines["kits19_case_00000"], np.eye(4))
    assert not np.array_equal(affines["learn2reg_0001"], np.eye(4))


def test_what_is_odd_about_a_case_is_told(cohorts, tmp_path):
    entries = {entry.name: entry for entry in prepare(cohorts, tmp_path, affine=mirror, **SETTINGS)}
    warnings = entries["kits19_case_00000"].warnings
    assert any("right kidney is to the left of the left kidney: mirrored?" in message for message in warnings)
    assert entries["kits19_case_00000"].checks["scale"] == -1
    assert entries["learn2reg_0002"].warnings == ()
    volumes = entries["learn2reg_0002"].checks["volumes_ml"]
    truth = read_labels(tmp_path / entries["learn2reg_0002"].labels).array
    assert volumes["6"] == round(np.count_nonzero(truth == 6) * 0.512, 1)


def mirror(fixed, moving):
    """A registration that has gone wrong: right and left are exchanged."""
    matrix = shift(fixed, moving)
    matrix[0] = -1, 0, 0, fixed.grid.centre[0] + moving.grid.centre[0]
    return matrix


def test_organs_beyond_the_frame_and_far_from_the_references_are_told(cohorts, tmp_path):
    for affine, message in (
        (too_low, "of the right kidney lies in the frame"),
        (askew, r"The organs are 1\d\d mm \(median\) from the reference's"),
    ):
        entries = prepare(cohorts, tmp_path / affine.__name__, affine=affine, **SETTINGS)
        warnings = next(entry.warnings for entry in entries if entry.name == "kits19_case_00000")
        assert any(re.search(message, warning) for warning in warnings), warnings


def askew(fixed, moving):
    """As `shift`, and ten centimetres too far down."""
    matrix = shift(fixed, moving)
    matrix[2, 3] -= 120
    return matrix


def too_low(fixed, moving):
    """As `shift`, and most of the abdomen above the frame."""
    matrix = shift(fixed, moving)
    matrix[2, 3] -= 330
    return matrix


def test_subjects_of_a_registered_cohort_correspond_voxel_by_voxel_whatever_their_origin(learn2reg, tmp_path):
    folder = tmp_path / "learn2reg"
    shutil.copytree(learn2reg, folder)
    for kind in ("imagesTr", "labelsTr"):
        path = folder / kind / "AbdomenCTCT_0002_0000.nii.gz"
        file = nibabel.load(path)
        moved = file.affine.copy()
        moved[:3, 3] = 13, -40, 7
        nibabel.save(nibabel.Nifti1Image(np.asarray(file.dataobj), moved), path)
    small = nibabel.Nifti1Image(4 * np.arange(60, dtype=np.int16).reshape(3, 4, 5) - 120, np.diag([8.0, 8, 8, 1]))
    nibabel.save(small, folder / "imagesTr" / "AbdomenCTCT_0003_0000.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), small.affine),
        folder / "labelsTr" / "AbdomenCTCT_0003_0000.nii.gz",
    )
    entries = {}
    for name, place in (("whole", learn2reg), ("moved", folder)):
        cohorts = open_cohorts({"learn2reg": place})
        entries[name] = {entry.name: entry for entry in prepare(cohorts, tmp_path / name, affine=shift, **SETTINGS)}
        assert entries[name]["learn2reg_0002"].warnings == ()
    for kind in ("images", "labels"):
        whole, moved = (tmp_path / name / kind / "learn2reg_0002.nii.gz" for name in ("whole", "moved"))
        assert whole.read_bytes() == moved.read_bytes()
    assert "not the (48, 40, 64) of learn2reg_0001" in entries["moved"]["learn2reg_0003"].reason


def test_known_bad_cases_have_a_row_that_says_so(published, learn2reg, tmp_path):
    folder = tmp_path / "kits19"
    shutil.copytree(published("kits19"), folder)
    shutil.copytree(folder / "case_00000", folder / "case_00015")
    cohorts = open_cohorts({"learn2reg": learn2reg, "kits19": folder})
    rows = {entry.name: entry for entry in prepare(cohorts, tmp_path / "out", affine=shift, **SETTINGS)}
    assert rows["kits19_case_00015"].status == "excluded"
    assert "as the publisher has confirmed" in rows["kits19_case_00015"].reason


def test_a_manifest_that_is_damaged_or_missing_is_told(tmp_path):
    with pytest.raises(InputError, match="a folder that mics prepare has made"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_text("name,cohort\nx,y\n")
    with pytest.raises(InputError, match="not a manifest of this version"):
        read_manifest(tmp_path)


def test_the_record_of_a_case_is_its_row(cohorts, tmp_path):
    prepare(cohorts, tmp_path, affine=shift, **SETTINGS)
    entry = next(entry for entry in read_manifest(tmp_path) if entry.name == "kits19_case_00000")
    record = json.loads((tmp_path / "cases" / "kits19_case_00000.json").read_text())
    assert type(entry).model_validate(record["entry"]) == entry
    native = Grid.from_dict(entry.native)
    assert (native.orientation, native.size) == ("IPL", (64, 40, 48))

"""Two scans in, two transforms out, with a network whose answer is known, or random but the same every time."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from mics.errors import InputError
from mics.evaluation.metrics import dice
from mics.image.grid import Grid, apply_matrix
from mics.image.io import Image, read_image, read_labels, write_image
from mics.network.weights import load_model
from mics.registration import settings
from mics.registration.register import register
from mics.registration.stage import Stage
from mics.registration.stages import affine, instance_optimisation

ORGANS = (1, 2, 6)


@pytest.fixture(scope="module")
def known(patients, options, known_map):
    """A registration with a stage of one's own, which finds u and its inverse whatever the network predicts."""

    class Known(Stage):
        name = "known"

        def run(self, state):
            return state.with_displacements(**known_map.displacements(state))

    given = {key: value for key, value in options.items() if key != "refine"}
    return register(**patients, **given, stages=[Known()])


def test_points_of_both_scans_go_where_they_belong(known, known_map):
    points = np.random.default_rng(0).uniform((-140, -40, -120), (90, 150, 50), (200, 3))
    forward = known.moving_to_fixed.transform_points(points)
    assert np.linalg.norm(forward - known_map.to_moving(points), axis=1).max() < 0.6
    assert np.linalg.norm(known.fixed_to_moving.transform_points(forward) - points, axis=1).max() < 1.0


def test_warped_scans_and_labels_look_like_the_other_scan(known):
    for target, warped, labels, warped_labels in (
        (known.fixed, known.moving_warped, known.fixed_labels, known.moving_labels_warped),
        (known.moving, known.fixed_warped, known.moving_labels, known.fixed_labels_warped),
    ):
        assert warped.grid == target.grid
        inner = tuple(slice(n // 5, -n // 5) for n in target.grid.size)
        assert np.median(np.abs(warped.array - target.array)[inner]) < 10
        assert min(dice(labels.array, warped_labels.array, ORGANS).values()) > 0.9


def test_labels_and_points_agree(known, known_map):
    """The label at a fixed voxel is the moving label at the place that its point goes to."""
    voxels = np.stack(np.meshgrid(*[np.arange(0, n, 3) for n in known_map.grid.size], indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    places = known.moving_to_fixed.transform_points(known_map.grid.voxel_to_world(voxels))
    i, j, k = np.rint(known.moving.grid.world_to_voxel(places)).astype(int).T
    seen = np.all([(n >= 0) & (n < size) for n, size in zip((i, j, k), known.moving.grid.size, strict=True)], axis=0)
    forward = known.moving_labels.array[i[seen], j[seen], k[seen]]
    here = known.moving_labels_warped.array[tuple(voxels[seen].T)]
    assert set(ORGANS) <= set(here.tolist())
    assert np.mean(forward == here) > 0.999


def determinants_of(function, points, step=0.01):
    """Of the Jacobian matrix of a function of points, by differences over a hundredth of a millimetre."""
    shifts = step * np.eye(3)
    columns = [(function(points + shift) - function(points - shift)) / (2 * step) for shift in shifts]
    return np.linalg.det(np.stack(columns, axis=-1))


def test_the_summary_says_how_good_it_is_and_is_json(known, known_map):
    summary = json.loads(json.dumps(known.summary, allow_nan=False))
    assert summary["folds"] == dict.fromkeys(summary["folds"], 0.0)
    assert len(summary["folds"]) == 4
    determinants = determinants_of(known_map.to_moving, known_map.grid.points().astype(float))
    assert summary["jacobian"]["moving_to_fixed"]["min"] == pytest.approx(determinants.min(), abs=0.02)
    assert summary["jacobian"]["moving_to_fixed"]["max"] == pytest.approx(determinants.max(), abs=0.02)
    for error in summary["inverse_consistency_mm"].values():
        assert error["mean"] < 0.3
        assert error["max"] < 3
    for scores in summary["labels"].values():
        assert set(scores["dice"]) == {"1", "2", "6"}
        assert scores["mean_dice"] > scores["mean_dice_affine_only"] + 0.01
        assert max(scores["hd95_mm"].values()) < 8
    np.testing.assert_allclose(summary["geometry"]["affine_fixed_to_moving_lps_mm"], known_map.affine, atol=1e-6)
    assert Grid.from_dict(summary["inputs"]["fixed"]["grid"]) == known_map.grid
    assert summary["settings"]["steps"] == 2
    assert len(summary["settings"]["model"]["sha256"]) == 64
    assert summary["settings"]["segmentation_model"] is None
    assert summary["seconds"]["total"] >= summary["seconds"]["warp"] >= 0
    assert summary["warnings"] == []


def test_itk_applies_the_written_transforms_as_we_do(tmp_path, known):
    known.save(tmp_path / "out")
    for name, source, warped in (
        ("moving_to_fixed", known.moving, known.moving_warped),
        ("fixed_to_moving", known.fixed, known.fixed_warped),
    ):
        write_image(source, tmp_path / f"{name}.nii.gz")
        image = sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"))
        field = sitk.ReadImage(str(tmp_path / "out" / f"transform_{name}.nii.gz"), sitk.sitkVectorFloat64)
        reference = sitk.Image(field.GetSize(), sitk.sitkFloat32)
        reference.CopyInformation(field)
        moved = sitk.Resample(image, reference, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, -1000.0)
        difference = np.abs(sitk.GetArrayFromImage(moved).transpose(2, 1, 0) - warped.array)
        assert np.quantile(difference, 0.99) < 0.5


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_how_a_file_stores_its_axes_does_not_change_the_world(patients, options, order, known_map):
    """Permuted and flipped arrays with headers that say so are the same scan.

    Without refinement, whose iterations amplify the rounding of coordinates.
    """
    options = {**options, "refine": "none"}
    usual = register(**patients, **options)
    other = register(**{role: restored(image, order) for role, image in patients.items()}, **options)
    assert np.abs(usual.moving_to_fixed.displacement_mm - np.array(known_map.affine[:3, 3])).max() > 10
    for a, b in ((usual.moving_to_fixed, other.moving_to_fixed), (usual.fixed_to_moving, other.fixed_to_moving)):
        b_as_a = np.flip(b.displacement_mm, axis=(0, 2)).transpose(*np.argsort(order), 3)
        np.testing.assert_allclose(b_as_a, a.displacement_mm, atol=0.02)
    for a, b in ((usual.moving_warped, other.moving_warped), (usual.fixed_warped, other.fixed_warped)):
        b_as_a = np.flip(b.array, axis=(0, 2)).transpose(np.argsort(order))
        assert np.quantile(np.abs(b_as_a - a.array), 0.99) < 2
    assert other.summary["labels"]["moving_to_fixed"]["mean_dice"] == pytest.approx(
        usual.summary["labels"]["moving_to_fixed"]["mean_dice"], abs=0.005
    )


def restored(image, order):
    """The same volume in the world, its array axes permuted and the first and last then flipped."""
    grid = image.grid
    axes = np.array(grid.direction).reshape(3, 3)[:, order]
    corner = np.zeros(3)
    corner[order[0]], corner[order[2]] = grid.size[order[0]] - 1, grid.size[order[2]] - 1
    flipped = Grid(
        tuple(grid.size[axis] for axis in order),
        tuple(grid.spacing[axis] for axis in order),
        tuple(grid.voxel_to_world(corner).tolist()),
        tuple((axes * (-1, 1, -1)).ravel().tolist()),
    )
    return Image(np.ascontiguousarray(np.flip(image.array.transpose(order), axis=(0, 2))), flipped)


def test_a_scan_onto_itself_is_the_identity_for_any_weights(scan, options, known_map):
    image = scan(known_map.grid)
    with pytest.warns(UserWarning, match="are the same"):
        result = register(image, image, **{**options, "affine": "none"})
    assert np.abs(result.moving_to_fixed.displacement_mm).max() < 1e-3
    np.testing.assert_allclose(result.moving_warped.array, image.array, atol=0.5)


def test_swapping_the_scans_swaps_the_transforms(patients, options, known_map):
    """On grids of any orientation, with an affine, by a network whose displacements are centimetres."""
    assert_swapped(patients, {**options, "affine": known_map.affine}, {**options, "affine": inverse(known_map.affine)})


@pytest.mark.nightly
def test_swapping_the_scans_swaps_the_transforms_refined(patients):
    """Affine, organ maps, network and refinement of the package's own; on real scans: benchmarks/reproducibility.py."""
    given = {"model": "mics-fast", "device": "cpu"}
    assert_swapped(patients, given, given)


def assert_swapped(patients, forth, back):
    """That the transforms of both scans are each other's, with the options of either order, and not the affines' alone."""
    one = register(patients["fixed"], patients["moving"], **forth)
    other = register(patients["moving"], patients["fixed"], **back)
    np.testing.assert_allclose(other.affine, inverse(one.affine), atol=1e-3)
    for name, swapped, matrix in (
        ("moving_to_fixed", "fixed_to_moving", one.affine),
        ("fixed_to_moving", "moving_to_fixed", inverse(one.affine)),
    ):
        own = getattr(one, name)
        points = own.grid.points().astype(float)
        assert np.abs(apply_matrix(matrix, points) - points - own.displacement_mm).max() > 5
        apart = np.linalg.norm(own.displacement_mm - getattr(other, swapped).displacement_mm, axis=-1)
        assert apart.mean() < 0.01
        assert np.quantile(apart, 0.999) < 0.1


def inverse(matrix):
    return np.linalg.inv(matrix)


def test_files_and_arrays_give_the_same(tmp_path, patients, options):
    paths = {}
    for role, image in patients.items():
        paths[role] = tmp_path / f"{role}.nii.gz"
        write_image(image, paths[role])
    # As the files hold them: half precision would make more of what they round.
    arrays = {role: (read_labels if "labels" in role else read_image)(path) for role, path in paths.items()}
    from_files, from_arrays = register(**paths, **options), register(**arrays, **options)
    np.testing.assert_array_equal(
        from_files.moving_to_fixed.displacement_mm, from_arrays.moving_to_fixed.displacement_mm
    )
    assert from_files.summary["inputs"]["moving"]["path"] == paths["moving"].name
    assert from_files.summary["inputs"]["moving"]["labels"] == paths["moving_labels"].name
    assert from_arrays.summary["inputs"]["moving"]["path"] is None


def test_labels_of_one_scan_alone_are_warped_and_not_scored(patients, options, known_map):
    result = register(**{**patients, "fixed_labels": None}, **options)
    assert result.moving_labels_warped.grid == known_map.grid
    assert result.fixed_labels_warped is None
    assert result.summary["labels"] is None


def test_the_affine_is_computed_from_fixed_to_moving_unless_given(monkeypatch, patients, options, known_map):
    def from_fixed(fixed, moving, rigid):
        return known_map.affine if fixed.grid == known_map.grid and not rigid else None

    monkeypatch.setattr(affine, "register_affine", from_fixed)
    np.testing.assert_array_equal(register(**patients, **{**options, "affine": "ants"}).affine, known_map.affine)


def test_an_array_is_the_same_affine_as_the_file_that_itk_writes_of_it(patients, options, known_map):
    by_file, by_array = (register(**patients, **{**options, **given}) for given in ({}, {"affine": known_map.affine}))
    np.testing.assert_allclose(by_array.affine, by_file.affine, atol=1e-9)
    for name in ("moving_to_fixed", "fixed_to_moving"):
        found, expected = getattr(by_array, name), getattr(by_file, name)
        np.testing.assert_allclose(found.displacement_mm, expected.displacement_mm, atol=2e-3)
        assert found.provenance.made["settings"]["affine"] == "array"
    assert by_array.summary["settings"]["affine"] == "array"
    with pytest.raises(InputError, match="ants, none, a file or a 4x4 array"):
        register(**patients, **{**options, "affine": known_map.affine.tolist()})


def test_stages_are_told_as_they_begin(patients, options):
    message = []
    register(**patients, **options, progress=message.append)
    assert message[0] == "Reading"
    assert message[-1] == "Measuring"
    assert "Network, steps: 2" in message


@pytest.mark.nightly
def test_refinement_gets_the_prediction_organ_maps_and_where_there_is_data(
    monkeypatch, patients, options, tiny_segmentation
):
    calls = []

    def refine(a, b, organs_a, organs_b, displacement_ab, displacement_ba, *, spacing_mm, valid, guides, settings):
        calls.append((a, b, organs_a, organs_b, displacement_ab, displacement_ba, valid, spacing_mm))
        return displacement_ab, displacement_ba

    monkeypatch.setattr(instance_optimisation, "refine", refine)
    monkeypatch.setattr(
        settings, "load_model_for", lambda _, name: load_model(tiny_segmentation if name == "organs-small" else name)
    )
    result = register(**patients, **{**options, "refine": "fast"})
    ((a, b, organs_a, organs_b, ab, ba, valid, spacing_mm),) = calls
    shape = tuple(result.summary["geometry"]["network_grid"]["size"])
    # Integrated at half the 8 mm of the network.
    assert ab.shape == ba.shape == (1, 3, *(2 * n - 1 for n in shape))
    # The networks see the same box, each at its own spacing: 8 and 10 mm.
    expected = tuple(round((n - 1) * 8 / 10) + 1 for n in shape)
    assert a.shape == b.shape == (1, 1, *expected)
    assert organs_a.shape == organs_b.shape == (1, 13, *expected)
    assert spacing_mm == 10.0
    shares = result.summary["geometry"]["field_of_view"]
    assert valid[0].float().mean().item() == pytest.approx(shares["moving_share"], abs=0.02)
    assert valid[1].float().mean().item() == pytest.approx(shares["fixed_share"], abs=0.02)
    assert result.summary["settings"]["segmentation_model"]["name"] == "tiny-organs"
    assert "refine" in result.summary["seconds"]


def test_a_network_that_sees_organ_maps_gets_them_without_refinement_too(
    monkeypatch, patients, options, tiny_organ_model, tiny_segmentation
):
    """Blind to the windows, it can only move by what the maps of the two scans show."""
    blind = load_model(tiny_organ_model)
    stem = blind.network.encoder.levels[0][0]
    stem.weight[:, : blind.network.config.in_channels] = 0
    models = {"organs-small": load_model(tiny_segmentation), "blind": blind}
    monkeypatch.setattr(settings, "load_model_for", lambda _, name: models[name])
    result = register(**patients, **{**options, "model": "blind", "affine": "none"})
    assert np.ptp(result.moving_to_fixed.displacement_mm) > 0.01
    assert result.summary["settings"]["segmentation_model"]["name"] == "tiny-organs"
    assert "refine" not in result.summary["seconds"]


def test_a_mirroring_affine_is_warned_about(tmp_path, scan, options, known_map):
    path = tmp_path / "mirror.tfm"
    sitk.WriteTransform(sitk.AffineTransform([-1.0, 0, 0, 0, 1, 0, 0, 0, 1], [0.0, 0, 0]), str(path))
    with pytest.warns(UserWarning, match="are the same"):
        result = register(scan(known_map.grid), scan(known_map.grid), **{**options, "affine": path})
    assert result.summary["verdict"]["word"] != "good"
    assert any("mirrors the patient" in message for message in result.summary["verdict"]["reasons"])

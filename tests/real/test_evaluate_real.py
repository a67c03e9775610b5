"""One real pair, from files to scores, against a computation that shares no code with ours."""

import csv

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mics import evaluate


def field(shape):
    """A random displacement (3, X, Y, Z) of a few voxels, rough enough to fold in places."""
    rng = np.random.default_rng(0)
    parts = [
        [
            ndimage.zoom(rng.normal(0, sigma, [n // step for n in shape]), [n / (n // step) for n in shape], order=1)
            for _ in range(3)
        ]
        for step, sigma in ((32, 4.0), (8, 2.0))
    ]
    return np.sum(parts, axis=0, dtype=np.float32)


def sd_log_jacobian(displacement):
    """By the challenge's formula: zero-padded central differences in double precision, two voxels cropped."""
    kernel = np.array([-0.5, 0, 0.5])
    rows = [
        [ndimage.correlate1d(c, kernel, axis, mode="constant") for axis in range(3)] for c in displacement.astype(float)
    ]
    (a, b, c), (d, e, f), (g, h, i) = rows
    a, e, i = a + 1, e + 1, i + 1
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return np.log((determinant[2:-2, 2:-2, 2:-2] + 3).clip(1e-9, 1e9)).std()


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_dice_hd95_and_sd_log_jacobian_are_those_of_an_independent_computation(real_data, tmp_path):
    package = pytest.importorskip("surface_distance")
    folder = real_data / "AbdomenCTCT" / "labelsTr"
    files = {case: folder / f"AbdomenCTCT_{case}_0000.nii.gz" for case in ("0027", "0033")}
    fixed, moving = (np.asarray(nibabel.load(file).dataobj) for file in files.values())
    displacement = field(fixed.shape)
    submission = tmp_path / "submission"
    submission.mkdir()
    written = nibabel.Nifti1Image(np.moveaxis(displacement, 0, -1), np.eye(4))
    nibabel.save(written, submission / "disp_0027_0000_0033_0000.nii.gz")
    (tmp_path / "pairs.csv").write_text(
        f"fixed,moving,fixed_labels,moving_labels\n0027,0033,{files['0027']},{files['0033']}\n"
    )
    evaluate(submission, tmp_path / "pairs.csv").save(tmp_path / "out")
    (pair,) = csv.DictReader((tmp_path / "out" / "pairs.csv").open())
    organs = {int(row["label"]): row for row in csv.DictReader((tmp_path / "out" / "organs.csv").open())}

    identity = np.stack(np.meshgrid(*[np.arange(n) for n in fixed.shape], indexing="ij"))
    warped = ndimage.map_coordinates(moving, identity + displacement, order=0)
    labels = [label for label in range(1, 14) if np.any(fixed == label) and np.any(moving == label)]
    assert list(organs) == labels
    overlaps = []
    for label in labels:
        a, b = fixed == label, warped == label
        overlaps.append(2 * np.sum(a & b) / (np.sum(a) + np.sum(b)))
        assert float(organs[label]["dice"]) == pytest.approx(overlaps[-1], abs=1e-6)
        for spacing, column in ((1, "hd95_voxels"), (2, "hd95_mm")):
            distances = package.compute_surface_distances(a, b, np.full(3, float(spacing)))
            expected = package.compute_robust_hausdorff(distances, 95)
            assert float(organs[label][column]) == pytest.approx(expected, abs=1e-3)
    assert float(pair["dice"]) == pytest.approx(np.mean(overlaps), abs=1e-6)
    assert float(pair["sd_log_jacobian"]) == pytest.approx(sd_log_jacobian(displacement), abs=1e-6)
    assert float(pair["fold_percent"]) > 0.01

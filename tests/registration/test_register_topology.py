"""Transforms without folds, from a network whose own fold."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from mics.deformation.jacobian import fold_share, jacobian_determinant, nondiffeomorphic_volume
from mics.deformation.transform import Transform
from mics.errors import InputError
from mics.registration.register import register
from mics.registration.stages import resampling


def test_topology_is_preserved_in_both_directions_and_in_what_is_warped(patients, options, tmp_path):
    """A random network folds; what is delivered, written and warped with does not, and is the nearest to what it was."""
    free = register(**patients, **options)
    kept = register(**patients, **options, topology="preserve")
    kept.save(tmp_path / "out")
    assert free.summary["topology"] is None
    assert max(free.summary["folds"].values()) > 0
    for name in ("moving_to_fixed", "fixed_to_moving"):
        transform, before = getattr(kept, name), getattr(free, name)
        written = Transform.load(tmp_path / "out" / f"transform_{name}.nii.gz")
        assert np.array_equal(written.displacement_mm, transform.displacement_mm)
        assert jacobian_determinant(written.displacement_voxels()).min() > 0
        assert nondiffeomorphic_volume(written.displacement_voxels()) == 0
        found = kept.summary["topology"][name]
        change = np.linalg.norm(transform.displacement_mm - before.displacement_mm, axis=-1)
        assert found["largest_change_mm"] == pytest.approx(change.max(), abs=0.01)
        assert found["folds_before"] == pytest.approx(fold_share(before.displacement_voxels()), abs=1e-4)
        assert found["seconds"] >= 0
        assert kept.summary["folds"][name] == 0
    assert kept.summary["seconds"]["topology"] > 0
    assert kept.summary["settings"]["topology"] == "preserve"
    again = kept.moving_to_fixed.transform_image(kept.moving)
    np.testing.assert_array_equal(again.array, kept.moving_warped.array)
    json.dumps(kept.summary, allow_nan=False)


def test_an_unknown_topology_is_refused(patients, options):
    with pytest.raises(InputError, match=r"no topology called 'kept'; choose free or preserve"):
        register(**patients, **options, topology="kept")


def test_no_topology_can_be_preserved_around_a_mirroring_affine(monkeypatch, tmp_path, scan, options, known_map):
    monkeypatch.setattr(resampling, "windows", lambda *arguments: pytest.fail("the work has begun"))
    path = tmp_path / "mirror.tfm"
    sitk.WriteTransform(sitk.AffineTransform([-1.0, 0, 0, 0, 1, 0, 0, 0, 1], [0.0, 0, 0]), str(path))
    with pytest.warns(UserWarning, match="are the same"), pytest.raises(InputError, match="mirrors or flattens"):
        register(scan(known_map.grid), scan(known_map.grid), **{**options, "affine": path}, topology="preserve")

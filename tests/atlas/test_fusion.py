import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mics import InputError
from mics.atlas import fusion
from mics.atlas.fusion import Atlases, agreement, fuse, joint, joint_weights, undisputed

SPACING = (2.0, 2.0, 2.0)


def line(labels, images=None, in_view=None):
    """Atlases of a few voxels in a row, a list of labels each."""
    labels = np.array(labels, np.uint8)[:, :, None, None]
    images = np.zeros(labels.shape, np.float32) if images is None else np.array(images)[:, :, None, None]
    in_view = np.ones(labels.shape, bool) if in_view is None else np.array(in_view, bool)[:, :, None, None]
    return Atlases(images, labels, in_view, SPACING)


@pytest.fixture(scope="module")
def subjects():
    """A scan, five atlases that are it displaced by a voxel and distorted, and its true labels."""
    rng = np.random.default_rng(0)
    size = (22, 20, 18)

    def smooth(sigma):
        noise = gaussian_filter(rng.normal(size=size), sigma)
        return noise / noise.std() * 60

    truth = smooth(2) + 40

    def labels(hu):
        return np.digitize(hu, [20, 80]).astype(np.uint8)

    images = [np.roll(truth, rng.integers(-1, 2, 3), (0, 1, 2)) + 0.3 * smooth(1) for _ in range(5)]
    shown = Atlases(np.stack(images), np.stack([labels(i) for i in images]), np.ones((5, *size), bool), SPACING)
    return (truth + rng.normal(size=size) * 3).astype(np.float32), shown, labels(truth)


def test_the_majority_wins_and_the_smallest_of_equals():
    atlases = line([[1, 1, 2, 0], [1, 2, 3, 0], [2, 2, 3, 5], [2, 2, 2, 5]])
    fused = fuse(np.zeros((4, 1, 1)), atlases, "majority")
    assert fused.labels.ravel().tolist() == [1, 2, 2, 0]
    np.testing.assert_allclose(fused.agreement.ravel(), [0.5, 0.75, 0.5, 0.5])


def test_an_atlas_does_not_vote_where_it_sees_nothing():
    atlases = line([[0, 0, 7], [0, 0, 7], [4, 4, 4]], in_view=[[1, 0, 0], [1, 0, 0], [1, 1, 0]])
    for rule in fusion.FUSIONS:
        fused = fuse(np.zeros((3, 1, 1)), atlases, rule)
        assert fused.labels.ravel().tolist()[1:] == [4, 0]
        np.testing.assert_allclose(fused.agreement.ravel()[1:], [1, 0])
    assert fuse(np.zeros((3, 1, 1)), atlases, "majority").labels[0, 0, 0] == 0


def test_the_majority_is_itks(subjects):
    scan, atlases, _ = subjects
    itk = sitk.LabelVoting([sitk.GetImageFromArray(labels) for labels in atlases.labels], 99)
    expected = sitk.GetArrayFromImage(itk)
    decided = expected != 99
    assert decided.mean() > 0.9
    np.testing.assert_array_equal(fuse(scan, atlases, "majority").labels[decided], expected[decided])


def test_who_resembles_the_scan_outvotes_two_who_do_not():
    rng = np.random.default_rng(1)
    scan = rng.normal(50, 40, (9, 9, 9))
    labels = np.stack([np.full(scan.shape, label, np.uint8) for label in (1, 2, 2)])
    images = np.stack([scan + 5, *(rng.normal(50, 40, scan.shape) for _ in range(2))])
    atlases = Atlases(images, labels, np.ones(labels.shape, bool), SPACING)
    assert (fuse(scan, atlases, "majority").labels == 2).all()
    assert (fuse(scan, atlases, "local").labels == 1).all()
    assert (fuse(scan, atlases, "joint").labels[2:-2, 2:-2, 2:-2] == 1).all()


def test_joint_weights_of_two_atlases_by_hand():
    unlike = np.array([[[1, 1], [2, 2]]], np.float32)
    # Products 2, 4 and 8, squared 4, 16 and 64; of a symmetric 2 x 2 the weights are in the ratio of d - b to a - b.
    expected = np.array([64.1 - 16, 4.1 - 16])
    weights = joint_weights(unlike, np.ones((1, 2), bool), alpha=0.1, beta=2)
    np.testing.assert_allclose(weights[0], expected / expected.sum(), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_a_copy_of_an_atlas_takes_nothing_from_the_others(seed):
    unlike = np.abs(np.random.default_rng(seed).normal(size=(1, 4, 27))).astype(np.float32)
    alone = joint_weights(unlike, np.ones((1, 4), bool), alpha=1e-9)[0]
    copied = joint_weights(np.concatenate([unlike, unlike[:, :1]], axis=1), np.ones((1, 5), bool), alpha=1e-9)[0]
    np.testing.assert_allclose(copied[[1, 2, 3]], alone[1:], atol=1e-5)
    assert copied[0] + copied[4] == pytest.approx(alone[0], abs=1e-5)


def test_who_does_not_see_a_voxel_weighs_nothing_and_changes_nothing():
    unlike = np.abs(np.random.default_rng(3).normal(size=(2, 4, 27))).astype(np.float32)
    views = np.array([[True, True, False, True]] * 2)
    weights = joint_weights(unlike, views)
    others = joint_weights(unlike[:, [0, 1, 3]], np.ones((2, 3), bool))
    np.testing.assert_array_equal(weights[:, 2], 0)
    np.testing.assert_allclose(weights[:, [0, 1, 3]], others, rtol=1e-9)


def test_joint_fusion_is_ants(subjects):
    ants = pytest.importorskip("ants")
    scan, atlases, truth = subjects
    _, disputed = undisputed(atlases)
    mine = joint(scan, atlases, patch=(2, 2, 2), search=(1, 1, 1))

    def volume(array):
        return ants.from_numpy(np.asarray(array, np.float32))

    found = ants.joint_label_fusion(
        volume(np.clip(scan, -160, 240)),
        volume(disputed),
        [volume(np.clip(image, -160, 240)) for image in atlases.images],
        # ANTs leaves background, 0, out of the vote.
        label_list=[volume(labels + 1) for labels in atlases.labels],
        beta=2,
        rho=0.1,
        rad=[2] * 3,
        r_search=1,
    )
    theirs = found["segmentation"].numpy().astype(int) - 1
    compared = np.zeros_like(disputed)
    # ANTs' patches end at the border of the volume, where ours go on with its values.
    inner = (slice(5, -5),) * 3
    compared[inner] = disputed[inner]
    assert compared.sum() > 500
    assert (theirs[compared] >= 0).all()
    assert (mine == theirs)[compared].mean() > 0.95
    accuracy = [(labels == truth)[compared].mean() for labels in (mine, theirs)]
    assert accuracy[0] > accuracy[1] - 0.01
    assert accuracy[0] > (fuse(scan, atlases, "majority").labels == truth)[compared].mean() + 0.1


def test_slabs_and_chunks_change_nothing(subjects, monkeypatch):
    scan, atlases, _ = subjects
    part = (slice(None), slice(8), slice(8))
    few = Atlases(*(of[:3, *part] for of in (atlases.images, atlases.labels, atlases.in_view)), SPACING)
    whole = joint(scan[part], few, patch=(1, 1, 1))
    monkeypatch.setattr(fusion, "_SLAB_VOXELS", 500)
    monkeypatch.setattr(fusion, "_CHUNK_VOXELS", 300)
    np.testing.assert_array_equal(joint(scan[part], few, patch=(1, 1, 1)), whole)


def test_agreement_of_a_label_that_nobody_shows():
    assert agreement(np.full((2, 1, 1), 9), line([[1, 2], [3, 4]])).max() == 0


def test_what_does_not_fit_is_told():
    with pytest.raises(InputError, match="majority, local, joint, not 'best'"):
        fuse(np.zeros((2, 1, 1)), line([[1, 2]]), "best")
    with pytest.raises(InputError, match="use one grid"):
        fuse(np.zeros((3, 1, 1)), line([[1, 2]]), "majority")
    with pytest.raises(InputError, match="differ in shape"):
        Atlases(np.zeros((1, 2, 1, 1)), np.zeros((1, 3, 1, 1), np.uint8), np.ones((1, 3, 1, 1), bool), SPACING)
    with pytest.raises(InputError, match="at least one"):
        Atlases(*(np.zeros((0, 2, 1, 1), np.uint8),) * 3, SPACING)

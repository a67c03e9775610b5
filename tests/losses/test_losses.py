"""The five losses against hand-computed values, and what they ignore."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch.nn import functional

from mics.deformation.field import exponentiate, identity, resize_displacement
from mics.errors import InputError
from mics.losses.correlation import LocalNCC, box_mean
from mics.losses.overlap import (
    annotated_in_both,
    bray_curtis_loss,
    dice_loss,
    expected_precision,
    marginal_logits,
    one_hot,
)
from mics.losses.paper import Direction, gradient_loss, inverse_loss, jacobian_loss, similarity_loss
from mics.losses.total import (
    FORMS,
    LOSSES,
    PAPER_WEIGHTS,
    LossForms,
    LossWeights,
    Volumes,
    step_losses,
    weighted_sum,
)

SHAPE = (10, 12, 8)


def direction(**given: torch.Tensor) -> Direction:
    """Equal volumes that stay where they are, but for what is given."""
    still = torch.zeros(1, 3, *SHAPE)
    equal = {"warped": still, "target": still, "gradients": still + 1, "displacement": still, "opposite": still}
    return Direction(**{**equal, **given})


def random_pair(seed: int = 0) -> tuple[Volumes, Volumes]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (2, 1, *SHAPE), generator=generator)
    windows = torch.rand(2, 3, *SHAPE, generator=generator)
    a, b = (Volumes(windows[[i]], one_hot(labels[[i]], 3)) for i in (0, 1))
    return a, b


def test_similarity_is_the_mean_squared_error() -> None:
    assert (
        similarity_loss(direction(warped=torch.full((1, 3, 2, 2, 2), 0.75), target=torch.full((1, 3, 2, 2, 2), 0.25)))
        == 0.25
    )


def test_dice_of_hand_made_cubes() -> None:
    labels = torch.zeros(2, 1, 4, 4, 4)
    labels[0, :, :2] = 1  # 32 voxels
    labels[1, :, 1:2] = 1  # 16 voxels, all inside
    a, b = one_hot(labels[:1], 2), one_hot(labels[1:], 2)
    mask = annotated_in_both(a, b)
    assert mask.tolist() == [[True, False]]
    assert dice_loss(a, b, mask) == pytest.approx(1 - 2 * 16 / 48)


def test_an_organ_missing_in_one_volume_does_not_count() -> None:
    a, b = random_pair()
    assert a.organs is not None
    assert b.organs is not None
    without = b.organs.clone()
    without[:, 1] = 0
    mask = annotated_in_both(a.organs, without)
    kept = [0, 2]
    assert dice_loss(a.organs, without, mask) == pytest.approx(float(dice_loss(a.organs[:, kept], b.organs[:, kept])))
    assert dice_loss(a.organs, without, torch.zeros_like(mask)) == 0


def test_organ_maps_of_chosen_ids() -> None:
    labels = torch.randint(0, 14, (2, 1, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.testing.assert_close(one_hot(labels, (6, 2)), one_hot(labels, 13)[:, [5, 1]])


def test_an_organ_without_annotation_adds_its_probability_to_the_background() -> None:
    logits = torch.randn(2, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    annotated = torch.tensor([[True, False, True], [True, True, True]])
    before, after = logits.softmax(1), marginal_logits(logits, annotated).softmax(1)
    torch.testing.assert_close(after[0, 0], before[0, 0] + before[0, 2])
    assert not after[0, 2].any()
    torch.testing.assert_close(after[0, [1, 3]], before[0, [1, 3]])
    torch.testing.assert_close(after[1], before[1])


def test_gradient_loss_of_a_known_scaling() -> None:
    gradients = torch.ones(1, 3, *SHAPE)
    gradients[:, 0] = 1.5
    assert gradient_loss(direction(gradients=gradients)) == pytest.approx(0.25 / 3)


def test_the_papers_gradient_loss_has_no_square() -> None:
    gradients = torch.ones(1, 3, *SHAPE)
    gradients[:, 0], gradients[:, 2] = 1.5, 0.75
    assert FORMS["gradient"]["l1"](direction(gradients=gradients)) == pytest.approx(0.75 / 3)


def test_milletaris_dice_has_squares_below_and_both_forms_agree_on_binary_maps() -> None:
    half, one = torch.full((1, 1, 4, 4, 4), 0.5), torch.ones(1, 1, 4, 4, 4)
    soft = direction(warped_organs=half, target_organs=one, annotated=torch.ones(1, 1, dtype=torch.bool))
    assert FORMS["segmentation"]["plain"](soft) == pytest.approx(1 - 2 * 0.5 / 1.5)
    assert FORMS["segmentation"]["squared"](soft) == pytest.approx(1 - 2 * 0.5 / 1.25)
    cubes = one_hot(torch.randint(0, 3, (2, 1, *SHAPE), generator=torch.Generator().manual_seed(0)), 2)
    assert dice_loss(cubes[:1], cubes[1:], squared=True) == pytest.approx(float(dice_loss(cubes[:1], cubes[1:])))


def test_false_positives_of_an_organ_that_the_patch_does_not_show_cost_something() -> None:
    """Liver perfect, the whole background called spleen: by hand, with one voxel of smoothing on both sides."""
    liver = torch.zeros(1, 1, 6, 6, 6)
    liver[:, :, :3] = 1  # 108 of 216 voxels
    found, truth = torch.cat([1 - liver, liver], 1), torch.cat([torch.zeros_like(liver), liver], 1)
    annotated = torch.tensor([[True, True]])
    assert dice_loss(found, truth, annotated, smooth=1.0) == pytest.approx((1 - 1 / 109) / 2)
    assert dice_loss(truth, truth, annotated, smooth=1.0) == 0
    assert dice_loss(found, truth, torch.tensor([[False, True]]), smooth=1.0) == 0  # not annotated: nothing is known


def test_jacobian_loss_counts_only_folds_and_by_their_size() -> None:
    grid = identity(SHAPE)
    mirrored = torch.zeros_like(grid)
    mirrored[:, 0] = -2 * grid[:, 0]  # x -> -x everywhere, |J| = -1
    assert jacobian_loss(direction(displacement=mirrored)) == pytest.approx(1.0, abs=1e-5)
    stretched = torch.zeros_like(grid)
    stretched[:, 0] = 0.5 * grid[:, 0]
    assert jacobian_loss(direction(displacement=stretched)) == 0


def test_voxels_of_which_nothing_is_said_are_a_millimetre_wide() -> None:
    a, b = random_pair()
    forward = torch.tensor([3.0, 4.0, 12.0]).view(1, 1, 3, 1, 1, 1).expand(2, 1, 3, *SHAPE)
    mm = step_losses(a, b, torch.ones_like(forward), forward, ["inverse"], forms={"inverse": "distance_mm"})
    assert mm["inverse"].tolist() == pytest.approx([26, 26])  # twice 3-4-12


def test_inverse_loss_of_translations_is_the_length_of_what_is_left() -> None:
    forward = torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    backward = torch.tensor([-2.0, 0.5, 0]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    assert inverse_loss(direction(displacement=forward, opposite=backward)) == pytest.approx(0.5, abs=1e-3)


def test_every_form_of_the_inverse_loss_by_hand() -> None:
    forward = torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    backward = torch.tensor([-2.0, 0.5, 0]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    # Half a voxel is left along y, of 12.
    left = Direction(forward, forward, forward, forward, backward, voxel_mm=(1.0, 3.0, 5.0))
    unit = 0.5 * 2 / 11
    expected = {"distance_voxels": 0.5, "distance_mm": 1.5, "distance_unit": unit, "squared_unit": unit**2}
    assert {name: float(form(left)) for name, form in FORMS["inverse"].items()} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("form", ["distance_mm", "distance_unit", "squared_unit"])
def test_the_inverse_loss_in_mm_and_in_the_unit_does_not_depend_on_the_spacing(form: str) -> None:
    """8 mm left along x, over the same 64 mm in voxels of 4 and of 2 mm."""
    values = []
    for voxels, spacing_mm in ((17, 4.0), (33, 2.0)):
        still = torch.zeros(1, 3, voxels, voxels, voxels)
        moved = still.clone()
        moved[:, 0] = 8 / spacing_mm
        values.append(
            float(FORMS["inverse"][form](Direction(still, still, still, moved, still, voxel_mm=(spacing_mm,) * 3)))
        )
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert values[0] == pytest.approx({"distance_mm": 8, "distance_unit": 0.25, "squared_unit": 0.0625}[form], rel=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_inverse_loss_is_small_for_exact_inverses(seed: int) -> None:
    nodes = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(seed)) * 0.3
    velocity = resize_displacement(nodes, (24, 24, 24))
    velocity = velocity * torch.sin(torch.linspace(0, np.pi, 24)).view(1, 1, -1, 1, 1)
    forward, backward = exponentiate(velocity), exponentiate(-velocity)
    twice = inverse_loss(direction(displacement=forward, opposite=forward))
    assert inverse_loss(direction(displacement=forward, opposite=backward)) < 0.1 * twice


def test_correlation_ignores_brightness_and_contrast_but_not_structure() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 12, 12, 12, generator=generator)
    mask = torch.ones_like(image)
    assert LocalNCC(image).loss(0.5 * image + 0.2, mask) < 0.05
    other = torch.rand(1, 1, 12, 12, 12, generator=generator)
    assert LocalNCC(image).loss(other, mask) > 0.5


def test_correlation_against_numpy_in_one_window() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.random((2, 5, 5, 5))
    mask = np.zeros((5, 5, 5))
    mask[2, 2, 2] = 1  # the only place whose window is the whole cube
    expected = 1 - (np.cov(x.ravel(), y.ravel(), bias=True)[0, 1] + 1e-4) ** 2 / ((x.var() + 1e-4) * (y.var() + 1e-4))
    warped, target, counted = (torch.from_numpy(v).float()[None, None] for v in (x, y, mask))
    assert LocalNCC(target).loss(warped, counted) == pytest.approx(expected, abs=1e-4)


def test_means_in_cubes_and_their_derivatives_are_the_library_s_average_pooling() -> None:
    values = torch.rand(1, 2, 7, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    found, expected = box_mean(ours, 3), functional.avg_pool3d(theirs, 3, stride=1)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_absolute_dice_of_binary_maps_is_one_minus_dice_and_weights_multiply() -> None:
    p, q = torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4)
    p[0, 0, :2], q[0, 0, 1:3] = 1, 1  # 32 and 32 voxels, 16 in common
    p[0, 1, 0], q[0, 1, 0] = 1, 1
    assert bray_curtis_loss(p, q) == pytest.approx((0.5 + 0) / 2, abs=0.01)
    assert bray_curtis_loss(p, q, torch.tensor([[3.0, 1.0]])) == pytest.approx(1.5 / 2, abs=0.02)


def test_certainty_is_the_precision_that_a_map_expects_of_itself() -> None:
    maps = torch.zeros(1, 4, 2, 2, 2)
    maps[0, 0, 0] = 1  # sure
    maps[0, 1] = 0.25  # a guess, everywhere alike
    maps[0, 2, 0, 0], maps[0, 2, 1, 1] = 0.8, 0.2  # (2 * 0.64 + 2 * 0.04) / (2 * 0.8 + 2 * 0.2)
    assert expected_precision(maps)[0].tolist() == pytest.approx([1, 0.25, 0.68, 0])


def test_step_losses_do_not_change_when_the_volumes_are_swapped() -> None:
    a, b = random_pair()
    generator = torch.Generator().manual_seed(1)
    displacement = torch.randn(2, 1, 3, *SHAPE, generator=generator)
    gradients = torch.rand(2, 1, 3, *SHAPE, generator=generator) * 2
    forward = step_losses(a, b, gradients, displacement)
    backward = step_losses(b, a, gradients.flip(0), displacement.flip(0))
    assert forward.keys() == {"similarity", "segmentation", "gradient", "jacobian", "inverse"}
    for name in forward:
        torch.testing.assert_close(forward[name], backward[name].flip(0))


def test_each_loss_has_a_value_per_direction() -> None:
    a, b = random_pair()
    still = torch.zeros(2, 1, 3, *SHAPE)
    gradients = torch.ones_like(still)
    gradients[1] += 0.5
    losses = step_losses(a, b, gradients, still)
    assert losses["similarity"].tolist() == pytest.approx(
        [float((a.windows - b.windows).square().mean())] * 2, rel=1e-4
    )
    assert losses["gradient"].tolist() == [0, 0.25]
    assert losses["jacobian"].tolist() == [0, 0]
    assert losses["inverse"].tolist() == pytest.approx([0, 0], abs=1e-3)


def test_weighted_sum_over_steps_and_directions_by_hand() -> None:
    losses = {"similarity": torch.tensor([[0.5, 0.25], [0.125, 0.0]]), "inverse": torch.tensor([0.25, 0.75])}
    assert weighted_sum(losses, PAPER_WEIGHTS) == pytest.approx(0.875 + 10 * 1.0)


def test_paper_weights_are_the_default() -> None:
    assert TypeAdapter(LossWeights).validate_python({}) == {
        "similarity": 1.0,
        "segmentation": 1.0,
        "gradient": 0.1,
        "jacobian": 1e-2,
        "inverse": 10.0,
    }


def test_chosen_forms_take_the_place_of_the_losses_and_the_others_stay() -> None:
    a, b = random_pair()
    displacement = torch.randn(2, 1, 3, *SHAPE, generator=torch.Generator().manual_seed(1))
    gradients = 1 + 0.5 * displacement
    given = a, b, gradients, displacement
    plain, chosen = (
        step_losses(*given),
        step_losses(*given, forms={"gradient": "l1", "inverse": "distance_mm"}, voxel_mm=(2, 2, 2)),
    )
    assert chosen["gradient"][0] == pytest.approx(float(0.5 * displacement[0].abs().mean()))
    torch.testing.assert_close(chosen["inverse"], 2 * plain["inverse"], rtol=1e-4, atol=0)
    for name in ("similarity", "segmentation", "jacobian"):
        assert torch.equal(plain[name], chosen[name])
    assert all(LOSSES[name] is next(iter(forms.values())) for name, forms in FORMS.items())


def test_a_registered_loss_is_computed_and_weighed_where_it_has_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES))
    LOSSES.register("largest_move", lambda direction: direction.displacement.abs().max())
    a, b = random_pair()
    displacement = torch.zeros(2, 1, 3, *SHAPE)
    displacement[0, 0, 1, 2, 3, 4], displacement[1] = -7.0, 0.5
    weights = TypeAdapter(LossWeights).validate_python({"largest_move": 0.25, "inverse": 0})
    losses = step_losses(a, b, torch.ones_like(displacement), displacement, weights)
    assert losses["largest_move"].tolist() == [7.0, 0.5]
    assert weighted_sum({"largest_move": losses["largest_move"]}, weights) == 0.25 * 7.5
    assert "largest_move" not in step_losses(a, b, torch.ones_like(displacement), displacement)


def test_a_loss_of_the_paper_is_not_replaced() -> None:
    with pytest.raises(InputError, match="has a loss called 'inverse' itself"):
        LOSSES.register("inverse", lambda direction: direction.displacement.mean())


def test_volumes_without_labels_are_registered_by_the_image_alone() -> None:
    a, b = random_pair()
    still = torch.zeros(2, 1, 3, *SHAPE)
    losses = step_losses(Volumes(a.windows), b, torch.ones_like(still), still)
    assert "segmentation" not in losses


@pytest.mark.parametrize(
    ("forms", "problem"),
    [
        (
            {"similarity": "l1"},
            "loss_forms.similarity is no loss with forms; there are segmentation, gradient, inverse.",
        ),
        ({"gradient": "huber"}, "loss_forms.gradient is 'huber'; it can be squared, l1."),
    ],
)
def test_forms_that_there_are_not_are_refused_with_those_there_are(forms: dict[str, str], problem: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(problem)):
        TypeAdapter(LossForms).validate_python(forms)
    known = {"gradient": "l1", "inverse": "distance_mm"}
    assert TypeAdapter(LossForms).validate_python(known) == known


def test_volumes_on_a_finer_grid_have_the_same_outermost_voxels() -> None:
    """A ramp from 0 to 1 along each axis stays one."""
    coarse = torch.stack([axis / (n - 1) for axis, n in zip(identity((3, 4, 5))[0], (3, 4, 5), strict=True)])[None]
    fine = torch.stack([axis / (n - 1) for axis, n in zip(identity((5, 7, 9))[0], (5, 7, 9), strict=True)])[None]
    resized = Volumes(coarse, 1 - coarse).resized((5, 7, 9))
    torch.testing.assert_close(resized.windows, fine)
    torch.testing.assert_close(resized.organs, 1 - fine)
    assert Volumes(coarse).resized((5, 7, 9)).organs is None

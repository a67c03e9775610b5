"""Terms for what leads the refinement, against values found by hand, and what they do on volumes that say nothing themselves."""

from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from mics.deformation.field import compose, exponentiate, identity, sample
from mics.deformation.jacobian import fold_share
from mics.registration.guide_terms import GuideTerms, RigidPieces, Stiff
from mics.registration.guides import Guides
from mics.registration.refine import refine
from mics.registration.refine_settings import Level, RefineSettings

SHAPE, SPACING = (24, 20, 28), 8.0
STILL = torch.zeros(1, 3, *SHAPE)
FLAT = torch.full((1, 1, *SHAPE), 0.5)
NO_ORGANS = torch.zeros(1, 1, *SHAPE)
SETTINGS = RefineSettings(levels=(Level(16, 16, 16, 10), Level(8, 8, 8, 12)), result_mm=SPACING, smoothness=0.1)
EDGES = torch.tensor([4.0, 4.0, 5.0]).view(1, 3, 1, 1, 1)


def led(guides: Guides | None, settings: RefineSettings = SETTINGS, start: torch.Tensor = STILL) -> torch.Tensor:
    return refine(FLAT, FLAT, NO_ORGANS, NO_ORGANS, start, -start, spacing_mm=SPACING, guides=guides, settings=settings)


def moved_by(matrix: torch.Tensor) -> torch.Tensor:
    """Of an anisotropic grid, the displacement in voxels of a linear map in mm about its middle."""
    points = (identity(SHAPE) - torch.tensor([12.0, 10.0, 14.0]).view(1, 3, 1, 1, 1)) * EDGES
    return (torch.einsum("ij,bjxyz->bixyz", matrix, points) - points) / EDGES


def test_turns_are_rigid_however_large():
    turn = torch.from_numpy(Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()).float()
    both = torch.cat([moved_by(turn), moved_by(turn.T)])
    assert float(Stiff(torch.ones(2, 1, *SHAPE), EDGES).loss(both)) < 1e-7


def test_a_stretch_costs_the_square_of_what_it_adds_to_squared_lengths():
    stretch = torch.diag(torch.tensor([1.1, 1.0, 1.0]))
    both = torch.cat([moved_by(stretch), torch.zeros(1, 3, *SHAPE)])
    assert float(Stiff(torch.ones(2, 1, *SHAPE), EDGES).loss(both)) == pytest.approx((1.1**2 - 1) ** 2 / 2, rel=1e-3)


def test_what_bends_costs_its_second_derivatives_over_a_centimetre():
    """u = c x² / 2 along y, x in mm: the second derivative is c; the shear counts too."""
    x = (identity(SHAPE)[:, :1] - 12) * 4.0
    both = torch.zeros(2, 3, *SHAPE)
    both[0, 1:2] = 0.002 * x[0] ** 2 / 2 / 4.0
    shear = 0.002 * x[0, 0, 1:-1, 1:-1, 1:-1]
    expected = (2 * shear**2 + shear**4 + (10 * 0.002) ** 2).mean() / 2
    assert float(Stiff(torch.ones(2, 1, *SHAPE), EDGES).loss(both)) == pytest.approx(float(expected), rel=1e-3)


def test_small_turns_and_shifts_stay_as_they_are_and_waves_along_a_bone_go():
    """To first order, of a grid whose voxels are no cubes; the waves are 20 mm long, as the pieces are."""
    bone = torch.zeros(2, 1, *SHAPE)
    bone[:, :, 4:9, 3:17, 5:20] = 1
    spin = torch.tensor([[0.0, -0.03, 0.02], [0.03, 0, -0.01], [-0.02, 0.01, 0]])
    rigid = moved_by(torch.eye(3) + spin) + 0.7
    kept = rigid.clone()
    pieces = RigidPieces(bone, EDGES)
    pieces.project(kept)
    torch.testing.assert_close(kept, rigid, atol=5e-3, rtol=0)  # an edge's voxels have an inertia of their own
    wave = torch.zeros_like(rigid)
    wave[:, 0] = 0.5 * torch.sin(2 * torch.pi / 5 * identity(SHAPE)[:, 1])
    warped = rigid + wave
    pieces.project(warped)
    inside = (..., slice(5, 8), slice(6, 14), slice(8, 17))
    assert (warped - rigid)[inside].abs().mean() < 0.2 * wave[inside].abs().mean()
    assert torch.equal(warped[:, :, 12:], (rigid + wave)[:, :, 12:])


def test_the_fixed_scans_bones_are_stiff_in_the_direction_that_fills_it():
    weights = torch.zeros(2, 1, *SHAPE)
    weights[1, :, 4:8] = 1  # the fixed scan's
    stretched, stiff = moved_by(torch.diag(torch.tensor([1.1, 1.0, 1.0]))), Stiff(weights, EDGES)
    still = torch.zeros_like(stretched)
    assert float(stiff.loss(torch.cat([stretched, still]))) > 0.04
    assert float(stiff.loss(torch.cat([still, stretched]))) == 0


def test_guides_without_anything_change_nothing():
    velocity = torch.nn.functional.pad(
        torch.randn(1, 3, 16, 12, 20, generator=torch.Generator().manual_seed(0)), (4,) * 6
    )
    start = exponentiate(velocity / 4)
    few = replace(SETTINGS, levels=(Level(16, 16, 16, 2), Level(8, 8, 8, 2)))
    for one, other in zip(led(None, few, start), led(Guides(), few, start), strict=True):
        assert torch.equal(one, other)


def test_landmarks_come_together_in_both_directions_without_folds():
    moving = torch.tensor([[8.0, 9, 10], [16, 11, 18], [12, 6, 14]])
    fixed = moving + torch.tensor([[1.5, 0, 0], [0, -1.5, 1], [0, 0, 0]])
    points = torch.stack([moving, fixed]).transpose(1, 2)[..., None, None]
    forward, backward = led(Guides(points=points), replace(SETTINGS, landmarks=0.02))

    def residual(displacement: torch.Tensor, starts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        moved = starts.T[None, ..., None, None] + sample(displacement, starts.T[None, ..., None, None])
        return (moved[0, :, :, 0, 0].T - ends).norm(dim=1)

    assert (moving - fixed).norm(dim=1).mean() > 1
    for displacement, starts, ends in ((forward, fixed, moving), (backward, moving, fixed)):
        assert residual(displacement, starts, ends).mean() < 0.35
        assert fold_share(displacement) == 0
    assert compose(backward, forward).norm(dim=1).mean() < 0.1


@pytest.mark.parametrize(("velocity_mm", "rigid"), [(16.0, False), (8.0, True), (4.0, True)])
def test_bones_are_rigid_once_velocities_are_fine_enough_to_tell_them(velocity_mm, rigid):
    bone = torch.zeros(2, 1, *SHAPE)
    bone[:, :, 4:9, 3:17, 5:20] = 1
    grid = [round((n - 1) * SPACING / velocity_mm) + 1 for n in SHAPE]
    terms = GuideTerms(
        Guides(rigid=bone),
        torch.ones(2, 1, *SHAPE),
        Level(velocity_mm, 8, 8, 1),
        replace(SETTINGS, rigidity=3.0),
        velocity_grid=grid,
        spacing_mm=SPACING,
        shape=SHAPE,
    )
    velocity = torch.randn(1, 3, *grid, generator=torch.Generator().manual_seed(0))
    before = velocity.clone()
    terms.project(velocity)
    assert torch.equal(velocity, before) is not rigid
    assert (float(terms.loss(before, torch.cat([before, -before]), before)) > 0) is rigid


def test_given_labels_come_together_where_the_image_says_nothing():
    places = identity(SHAPE)
    centres = torch.tensor([[10.0, 10, 14], [13, 10, 12]])
    distances = [SPACING * ((places - c.view(1, 3, 1, 1, 1)).norm(dim=1, keepdim=True) - 3.5) for c in centres]
    forward, _ = led(Guides(labels=torch.cat(distances).clamp(-24, 24)))
    at_middle = forward[0, :, 13, 10, 12]
    assert (at_middle - (centres[0] - centres[1])).norm() < 1.2
    assert fold_share(forward) == 0

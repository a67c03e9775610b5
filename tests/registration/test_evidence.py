import pytest
import torch

from mics.image.intensity import hu_windows
from mics.organs import AORTA, LIVER, ORGAN_NAMES, RIGHT_KIDNEY
from mics.registration.evidence import disorder, gather

SHAPE = (24, 20, 22)
SPACING = 4.0
VOXEL_ML = SPACING**3 / 1000


def boxes(places):
    """Organ maps (1, 13, X, Y, Z) of boxes of 10 x 8 x 8 voxels from the given corners on, 41 ml each."""
    maps = torch.zeros(1, len(ORGAN_NAMES), *SHAPE)
    for organ, (x, y, z) in places.items():
        maps[0, organ - 1, x : x + 10, y : y + 8, z : z + 8] = 1
    return maps


def windows(maps):
    """HU windows in which tissue is where any organ is, brighter to the left."""
    tissue = (maps.amax(1, keepdim=True) > 0) * torch.linspace(0.3, 0.8, SHAPE[0])[None, None, :, None, None]
    return tissue.expand(1, 3, *SHAPE).clone()


def shift(voxels):
    return torch.tensor(voxels, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE).clone()


@pytest.fixture
def pair():
    moving, fixed = boxes({LIVER: (2, 6, 7)}), boxes({LIVER: (7, 6, 7)})
    return {
        "volumes": (windows(moving), windows(fixed)),
        "organs": (moving, fixed),
        "valid": torch.ones(2, 1, *SHAPE),
    }


def test_a_box_brought_onto_the_other_overlaps_wholly_and_half_before(pair):
    # Filled from where it came: five voxels to the left lies what was five voxels to the right.
    found = gather(**pair, displacements=(shift((-5, 0, 0)), shift((5, 0, 0))), spacing_mm=SPACING)
    assert found["organ_overlap"] == {"affine": 0.5, "result": 1.0}
    volume = pytest.approx(10 * 8 * 8 * VOXEL_ML, abs=0.1)
    assert found["organs"] == {
        "liver": {
            "moving_ml": volume,
            "fixed_ml": volume,
            "dice_affine": 0.5,
            "dice_result": 1.0,
            "volume_ratio": 1.0,
        }
    }
    assert found["certainty"] == {"moving": 1.0, "fixed": 1.0}
    assert found["large_organs"] == {"moving": 1, "fixed": 1}
    assert found["body_without_data"] == {"moving_to_fixed": 0.0, "fixed_to_moving": 0.0}
    assert found["deformation"]["percentile_99_mm"] == pytest.approx(20.0)
    assert found["deformation"]["sd_log_jacobian"] == pytest.approx(0.0, abs=1e-6)


def test_volumes_are_those_in_the_scans_themselves(pair):
    """Of scans that the grid shows at half and at twice their size; the rest is as the grid shows it."""
    still = shift((0, 0, 0)), shift((0, 0, 0))
    plain = gather(**pair, displacements=still, spacing_mm=SPACING)["organs"]["liver"]
    found = gather(**pair, displacements=still, spacing_mm=SPACING, scales=(2.0, 0.5))["organs"]["liver"]
    assert found["moving_ml"] == pytest.approx(2 * plain["moving_ml"], abs=0.1)
    assert found["fixed_ml"] == pytest.approx(plain["fixed_ml"] / 2, abs=0.1)
    assert found["dice_affine"] == plain["dice_affine"]
    assert found["volume_ratio"] == plain["volume_ratio"]


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_an_organ_that_is_stretched_has_so_many_times_its_volume(pair, factor):
    volumes, organs, valid = pair.values()
    x = torch.arange(SHAPE[0], dtype=torch.float32).view(1, 1, -1, 1, 1)
    centre = 6.5  # of the moving box; x is filled from centre + (x - centre) / factor
    there, back = shift((0, 0, 0)), shift((0, 0, 0))
    there[:, :1] += (x - centre) * (1 / factor - 1)
    back[:, :1] += (x - centre) * (factor - 1)
    found = gather(volumes=volumes, organs=organs, valid=valid, displacements=(there, back), spacing_mm=SPACING)
    # Doubled, a part of it lies beyond the grid, which changes nothing for the rest.
    assert found["organs"]["liver"]["volume_ratio"] == pytest.approx(factor, rel=1e-3)


def test_tissue_is_parted_by_its_values(pair):
    volumes, organs, valid = pair.values()
    hu = torch.tensor([-1000, -116.5, -100, -31, -29, 50, 139, 141, 900])
    body = hu_windows(hu.repeat(SHAPE[0] * SHAPE[1] * SHAPE[2] // 9 + 1)[: 24 * 20 * 22].view(1, 1, *SHAPE))
    found = gather(
        volumes=(body, volumes[1]),
        organs=organs,
        valid=valid,
        displacements=(shift((0, 0, 0)), shift((0, 0, 0))),
        spacing_mm=SPACING,
    )
    assert found["tissue_shares"]["moving"] == {
        "fat": pytest.approx(2 / 7, abs=1e-3),
        "dense": pytest.approx(2 / 7, abs=1e-3),
    }
    empty = gather(
        volumes=(torch.zeros_like(body),) * 2,
        organs=organs,
        valid=valid,
        displacements=(shift((0, 0, 0)), shift((0, 0, 0))),
        spacing_mm=SPACING,
    )
    assert empty["tissue_shares"]["fixed"] == {"fat": None, "dense": None}


def test_similarity_is_the_correlation_over_tissue_of_either(pair):
    volumes, organs, valid = pair.values()
    still = (shift((0, 0, 0)), shift((0, 0, 0)))
    found = gather(
        volumes=(volumes[1],) * 2, organs=(organs[1],) * 2, valid=valid, displacements=still, spacing_mm=SPACING
    )
    assert found["similarity"] == {"affine": 1.0, "result": 1.0}
    tissue = (volumes[0][:, 0] > 0) | (volumes[1][:, 0] > 0)
    expected = torch.corrcoef(torch.stack([volumes[0][:, 0][tissue], volumes[1][:, 0][tissue]]))[0, 1]
    assert gather(**pair, displacements=still, spacing_mm=SPACING)["similarity"]["result"] == pytest.approx(
        float(expected), abs=1e-4
    )


def test_what_comes_from_beyond_the_field_of_view_is_counted_as_lost(pair):
    volumes, organs, valid = pair.values()
    valid[0, 0, :6] = 0  # the moving scan begins at the sixth voxel
    found = gather(
        volumes=volumes,
        organs=organs,
        valid=valid,
        displacements=(shift((-5, 0, 0)), shift((5, 0, 0))),
        spacing_mm=SPACING,
    )
    # The fixed box's voxels 7 to 16 come from 2 to 11, of which 2 to 5 are not seen.
    assert found["body_without_data"]["moving_to_fixed"] == pytest.approx(0.4)
    assert found["organ_overlap"]["result"] == 1.0


def test_a_scan_without_anything_has_no_figures():
    empty = torch.zeros(1, len(ORGAN_NAMES), *SHAPE)
    still = (shift((0, 0, 0)), shift((0, 0, 0)))
    found = gather(
        volumes=(windows(empty),) * 2,
        organs=(empty,) * 2,
        valid=torch.ones(2, 1, *SHAPE),
        displacements=still,
        spacing_mm=SPACING,
    )
    assert found["organ_overlap"] == {"affine": None, "result": None}
    assert found["similarity"] == {"affine": None, "result": None}
    assert found["organs"] == {}
    assert found["large_organs"] == {"moving": 0, "fixed": 0}


def test_organs_the_wrong_way_round_are_named():
    above, below = (2, 6, 13), (2, 6, 2)
    assert disorder(boxes({LIVER: above, RIGHT_KIDNEY: below}), SPACING) == []
    assert disorder(boxes({LIVER: below, RIGHT_KIDNEY: above}), SPACING) == ["the liver below the right kidney"]
    front, back = (2, 12, 2), (2, 2, 2)
    assert disorder(boxes({LIVER: front, AORTA: back}), SPACING) == []
    assert disorder(boxes({LIVER: back, AORTA: front}), SPACING) == ["the liver behind the aorta"]
    assert disorder(boxes({LIVER: below}), SPACING) == []

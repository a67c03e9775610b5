"""What a scan, its place, a transform and a result look like when printed, and when two of them are the same."""

import dataclasses

import numpy as np
import pytest
import torch

from mics.atlas.propagate import AtlasOutcome, Propagation
from mics.atlas.template_delivery import Template
from mics.deformation.bidirectional import BidirectionalField
from mics.deformation.provenance import KnownScan, Provenance
from mics.deformation.transform import Transform
from mics.evaluation.result import Evaluation
from mics.evaluation.summary import summarise
from mics.image.grid import Grid
from mics.image.io import Image
from mics.image.points import Points
from mics.network.weights import load_model
from mics.registration.result import Registration

GRID = Grid((4, 3, 12), (0.84375, 0.84375, 3.0), (-2.5, 1.0, 40.0))


def scan(value=7.0, grid=GRID, dtype=np.float32):
    array = np.full(grid.size, -1000, dtype)
    array[1, 1, 1] = value
    return Image(array, grid)


def transform(longest=0.0, provenance=None):
    displacement = np.zeros((*GRID.size, 3), np.float32)
    displacement[2, 1, 5] = [3 * longest / 13, -4 * longest / 13, 12 * longest / 13]
    return Transform(displacement, GRID, provenance)


def field(first=0.0):
    """Up to 13 times `first` mm, along the axes of 0.84375, 0.84375 and 3 mm."""
    moving_to_fixed = torch.zeros(1, 3, *GRID.size)
    moving_to_fixed[0, :, 2, 1, 5] = first * torch.tensor([3 / 0.84375, -4 / 0.84375, 12 / 3])
    return BidirectionalField(moving_to_fixed=moving_to_fixed, fixed_to_moving=torch.zeros(1, 3, *GRID.size), grid=GRID)


def points(last=3.0, name="tip"):
    return Points(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, last]]), ("", name))


def registration():
    return Registration(scan(), scan(), None, None, np.eye(4), transform(), transform(), scan(), scan(), None, None, {})


def test_each_is_printed_on_one_short_line():
    assert repr(GRID) == "Grid(4×3×12, 0.8438×0.8438×3 mm, LPS, from -2.5, 1, 40 mm)"
    assert repr(scan()) == "Image(4×3×12, 0.8438×0.8438×3 mm, LPS, float32 from -1000 to 7)"
    assert repr(scan(-1002, dtype=np.int16)) == "Image(4×3×12, 0.8438×0.8438×3 mm, LPS, int16 from -1002 to -1000)"
    assert repr(transform(31.2)) == "Transform(4×3×12, 0.8438×0.8438×3 mm, LPS, up to 31.2 mm)"
    assert repr(field(1.0)) == "BidirectionalField(4×3×12, 0.8438×0.8438×3 mm, LPS, up to 13 mm)"
    assert repr(field(1.0).swap()) == repr(field(1.0))
    assert repr(points()) == "Points(2 in LPS mm)"
    shown = repr(registration())
    assert shown == f"Registration(fixed {GRID}; moving {GRID})"


def test_what_the_functions_return_is_printed_on_one_short_line():
    atlases = [AtlasOutcome("a", True, "good"), AtlasOutcome("b", False, None, ("no labels",))]
    carried = Propagation(scan(), scan(), {}, [], atlases, "look", [])
    assert repr(carried) == f"Propagation({GRID}; 1 of 2 atlases; look)"
    average = Template(scan(), scan(), scan(), None, [], {}, "good", [])
    assert repr(average) == f"Template({GRID}; rounds: 0; good)"
    model = load_model("organs-small")
    assert repr(model) == "LoadedModel(organs-small, OrganSegmentation, 4 mm)"
    assert model == model
    assert model != load_model("organs-small")
    scored = Evaluation("sub", [("1", "2")], [], summarise([]), [], other="old")
    assert repr(scored) == "Evaluation(sub, pairs: 1, against old)"


def test_a_large_size_is_printed_whole():
    assert str(Grid((100000, 1, 1), (1, 1, 1), (0, 0, 0))).startswith("100000×1×1, 1×1×1 mm")


def test_grids_are_equal_and_usable_as_keys():
    again = Grid([4, 3, 12], [0.84375, 0.84375, 3], [-2.5, 1, 40])
    assert again == GRID
    assert {GRID: 1}[again] == 1
    assert dataclasses.replace(GRID, origin=(-2.5, 1.0, 41.0)) != GRID


def test_scans_are_equal_where_place_type_and_all_values_are():
    assert scan() == scan()
    assert scan() != scan(8.0)
    assert scan() != scan(dtype=np.float64)
    assert scan() != scan(grid=dataclasses.replace(GRID, origin=(0.0, 0.0, 0.0)))
    assert scan() != scan().array.tolist()
    hole = scan(np.nan)
    assert hole == scan(np.nan)


def test_transforms_are_equal_where_place_displacements_and_what_is_known_are():
    known = Provenance("moving", "fixed", {"fixed": KnownScan.of(scan()), "moving": KnownScan.of(scan(8.0))})
    assert transform(2.0) == transform(2.0)
    assert transform(2.0) != transform(2.001)
    assert transform(2.0, known) != transform(2.0)
    assert transform(2.0, known) == transform(2.0, dataclasses.replace(known))
    assert transform() != GRID


def test_fields_are_equal_where_the_place_and_both_directions_are():
    assert field(1.0) == field(1.0)
    assert field(1.0) != field(1.001)
    assert field(1.0) != field(1.0).swap()
    assert field(1.0) != dataclasses.replace(field(1.0), grid=dataclasses.replace(GRID, origin=(0.0, 0.0, 0.0)))
    assert field(1.0) != field(1.0).moving_to_fixed.tolist()


def test_points_are_equal_where_all_coordinates_and_names_are():
    assert points() == points()
    assert points() != points(3.001)
    assert points() != points(name="dome")
    assert points() != Points(points().coordinates[:1], ("", "tip"))
    assert points() != points().coordinates.tolist()


@pytest.mark.parametrize("value", [scan(), transform(), field(), points()], ids=lambda value: type(value).__name__)
def test_what_can_be_changed_has_no_hash(value):
    with pytest.raises(TypeError, match=f"unhashable type: '{type(value).__name__}'"):
        hash(value)


def test_a_result_is_equal_to_itself_alone():
    first, second = registration(), registration()
    assert first == first
    assert first != second
    assert len({first, second}) == 2

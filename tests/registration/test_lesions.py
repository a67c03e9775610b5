"""Lesions from scan to scan, by hand: cubes and linear maps, whose volumes and Jacobians are known."""

import csv
import io

import numpy as np
import pytest

from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image
from mics.registration.inputs import Scan
from mics.registration.lesions import COLUMNS, lesion_table, lesions_csv, other_numbers
from mics.registration.pair import Pair

MOVING = Grid((30, 30, 20), (2, 2, 2.5), (-30, -30, -25), (0, 1, 0, -1, 0, 0, 0, 0, 1))
FIXED = Grid((40, 40, 30), (1, 1, 2), (0, 0, 0))


def lesions(grid: Grid, **cubes: tuple[int, int]) -> Image:
    array = np.zeros(grid.size, np.uint8)
    for name, (start, edge) in cubes.items():
        array[start : start + edge, start : start + edge, 5:10] = int(name[1:])
    return Image(array, grid)


def scans(fixed: Image | None, moving: Image | None) -> Pair[Scan]:
    def scan(grid: Grid, own: Image | None) -> Scan:
        return Scan(Image(np.zeros(grid.size, np.float32), grid), None, None, None, None, None, lesions=own)

    return Pair(fixed=scan(FIXED, fixed), moving=scan(MOVING, moving))


def scaled(factor: float) -> Transform:
    """On the moving grid, to the fixed world."""
    return Transform((MOVING.points() * (factor - 1)).astype(np.float32), MOVING)


def test_growth_is_told_apart_from_what_the_deformation_makes_of_it():
    """6 x 6 x 5 voxels of 10 mm³ are 1.8 ml; 20 x 20 x 5 of 2 mm³ are 4 ml; the map makes 1.1³ of every volume."""
    table = lesion_table(scans(lesions(FIXED, l2=(3, 20)), lesions(MOVING, l2=(10, 6))), scaled(1.1))
    assert table == {
        "2": {
            "moving_ml": pytest.approx(1.8),
            "fixed_ml": pytest.approx(4.0),
            "change_ml": pytest.approx(2.2),
            "change_percent": pytest.approx(122.2222, abs=1e-3),
            "jacobian": pytest.approx(1.331, abs=1e-3),
            "growth": pytest.approx(2.2222, abs=1e-3),
            "growth_not_absorbed": pytest.approx(2.2222 / 1.331, abs=2e-3),
        }
    }


def test_new_and_gone_lesions_have_no_growth():
    table = lesion_table(scans(lesions(FIXED, l7=(3, 10)), lesions(MOVING, l4=(2, 6))), scaled(1.0))
    assert list(table) == ["4", "7"]
    assert (table["4"]["fixed_ml"], table["4"]["jacobian"], table["4"]["growth"]) == (0, pytest.approx(1), 0)
    assert table["7"] == dict.fromkeys(COLUMNS) | {"moving_ml": 0, "fixed_ml": 1.0, "change_ml": 1.0}


def test_of_one_map_alone_only_its_volumes_are_known():
    table = lesion_table(scans(lesions(FIXED, l1=(3, 10)), None), scaled(1.0))
    assert table == {"1": dict.fromkeys(COLUMNS) | {"fixed_ml": 1.0}}
    assert lesion_table(scans(None, None), scaled(1.0)) is None


def test_the_table_as_csv():
    table = lesion_table(scans(lesions(FIXED, l7=(3, 10)), lesions(MOVING, l4=(2, 6))), scaled(1.0))
    rows = list(csv.DictReader(io.StringIO(lesions_csv(table))))
    assert [row["lesion"] for row in rows] == ["4", "7"]
    assert float(rows[0]["moving_ml"]) == pytest.approx(1.8)
    assert rows[1]["growth"] == ""


def test_a_lesion_that_lies_on_one_of_another_number_is_asked_about():
    """On one grid, with the identity: 1 and 7 share voxels, 2 is in both maps, 5 and 9 lie alone."""
    identity = Transform(np.zeros((*FIXED.size, 3), np.float32), FIXED)
    before = lesions(FIXED, _7=(4, 4), _2=(12, 3), _5=(30, 4))
    after = lesions(FIXED, _1=(3, 6), _2=(12, 4), _9=(20, 3))
    pair = Pair(fixed=scans(after, None).fixed, moving=scans(before, None).fixed)
    (message,) = other_numbers(pair, identity)
    assert message.startswith("Lesion 7 of the moving scan lies on lesion 1 of the fixed scan")
    assert other_numbers(Pair(fixed=pair.fixed, moving=pair.fixed), identity) == []
    assert other_numbers(scans(after, None), identity) == []

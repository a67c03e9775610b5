"""What a command offers by name is what the library knows by name."""

from typing import get_args

import pytest

from mics import choices
from mics.atlas.fusion import FUSIONS
from mics.experiments.budgets import BUDGETS
from mics.registration.refine_settings import EFFORTS


@pytest.mark.parametrize(
    ("offered", "known"),
    [
        (choices.Refine, ["none", *EFFORTS]),
        (choices.FusionName, FUSIONS),
        (choices.BudgetName, BUDGETS),
    ],
    ids=["efforts", "fusions", "budgets"],
)
def test_names_are_those_of_the_tables(offered, known):
    assert list(get_args(offered)) == list(known)

"""What a registration, a fusion, an evaluation or an experiment may be asked for by name."""

from typing import Literal

Refine = Literal["none", "fast", "accurate"]
"""No refinement of the network's prediction, or an effort of :data:`mics.registration.refine_settings.EFFORTS`."""

Topology = Literal["free", "preserve"]
"""The transforms as they come, or changed as little as makes them free of folds."""

Lesions = Literal["keep", "exclude"]
"""Lesions keep their volume, or they are not looked at and the deformation is continued through them."""

FusionName = Literal["majority", "local", "joint"]
"""A name of :data:`mics.atlas.fusion.FUSIONS`."""

SubmissionNames = Literal["current", "2020"]
"""File names of a Learn2Reg submission: those of the challenge's current script, or of that of 2020."""

Experiment = Literal["figure1", "figure2", "figure3", "table2", "table3", "table4", "figure4"]
"""Tables and figures of the paper."""

BudgetName = Literal["smoke", "small", "paper"]
"""Budgets of :data:`mics.experiments.budgets.BUDGETS`."""

SubmittedPairs = Literal["test", "validation"]
"""Which pairs of the Learn2Reg challenge are submitted."""

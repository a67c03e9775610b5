"""What an experiment may be asked for by name."""

from typing import Literal

Experiment = Literal["figure1", "figure2", "figure3", "table2", "table3", "table4", "figure4"]
"""Tables and figures of the paper."""

BudgetName = Literal["smoke", "small", "paper"]
"""Budgets of :data:`mics.experiments.budgets.BUDGETS`."""

Which = Literal["test", "validation"]
"""Which pairs of the Learn2Reg challenge are submitted."""

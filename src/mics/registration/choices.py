"""What a registration may be asked for by name."""

from typing import Literal

Refine = Literal["none", "fast", "accurate"]
"""No refinement of the network's prediction, or a budget of :data:`mics.registration.refine_settings.BUDGETS`."""

Topology = Literal["free", "preserve"]
"""The transforms as they come, or changed as little as makes them free of folds."""

Lesions = Literal["keep", "exclude"]
"""Lesions keep their volume, or they are not looked at and the deformation is continued through them."""

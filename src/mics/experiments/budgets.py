"""How much an experiment may cost: recipes, data and pairs."""

from dataclasses import dataclass

from mics.errors import SettingError


@dataclass(frozen=True)
class Budget:
    """``pretrain``, ``finetune`` and ``lapirn``: a recipe and what is changed of it. ``pretraining``: data where none are given.

    ``sweep_ends``: of every sweep only the first and the last value. ``both_ways``: evaluate every validation pair in both
    directions; the paper takes each once. ``baselines``: the other tools of Table 4. ``one_step``: ending of the names of the
    recipes for networks of one step, where they have their own. Fields keep their names: the note of a folder holds them.
    """

    pretrain: tuple[str, tuple[str, ...]]
    finetune: tuple[str, tuple[str, ...]]
    lapirn: tuple[str, tuple[str, ...]]
    pretraining: str | None
    sweep_ends: bool = False
    both_ways: bool = True
    baselines: tuple[str, ...] = ()
    one_step: str = ""


_SHORT = ("spacing_mm=16", "epochs=1", "iterations_per_epoch=2")
_TINY = ("preset=small", *_SHORT)
_BASELINES = ("ants-syn", "greedy", "elastix", "convexadam", "dense-displacement", "fireants", "deeds")

BUDGETS: dict[str, Budget] = {
    # A minute or two, on a phantom: whether it runs, no more.
    "smoke": Budget(
        ("phantom-small", _TINY), ("mics-small", _TINY), ("lapirn-small", _SHORT), pretraining=None, sweep_ends=True
    ),
    # An hour or two on one core: 60 iterations on the phantom, 140 on real scans, at 8 mm. The paper's network sees no organ
    # maps; without them so few iterations register nothing, and every setting looks alike.
    "small": Budget(
        ("phantom-small", ("epochs=1", "iterations_per_epoch=60")),
        ("mics-small", ("epochs=2", "iterations_per_epoch=70")),
        ("lapirn-small", ("epochs=2", "iterations_per_epoch=100")),
        "phantom:48",
        baselines=_BASELINES,
    ),
    # The paper's settings.
    "paper": Budget(
        ("pretrain", ()),
        ("finetune", ()),
        ("lapirn", ("losses.segmentation=1",)),
        None,
        both_ways=False,
        baselines=_BASELINES,
        one_step="-one-step",
    ),
}


def budget_of(name: str) -> Budget:
    """The budget of that name; raises InputError naming the known ones."""
    if name not in BUDGETS:
        raise SettingError(f"There is no budget {name!r}; choose one of {', '.join(BUDGETS)}.")
    return BUDGETS[name]

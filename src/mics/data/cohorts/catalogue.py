"""All cohorts that can be prepared, by the names that the command takes."""

import difflib
from pathlib import Path

from mics.data.cohorts.case import Adapter, Cohort
from mics.data.cohorts.kits19 import KITS19
from mics.data.cohorts.learn2reg import LEARN2REG
from mics.data.cohorts.msd import MSD_LIVER, MSD_PANCREAS, MSD_SPLEEN
from mics.data.cohorts.nnunet import NNUNET
from mics.data.cohorts.pancreas_ct import PANCREAS_CT
from mics.errors import SettingError
from mics.registry import Registry

ADAPTERS: Registry[Adapter] = Registry(
    "cohort",
    {
        adapter.name: adapter
        for adapter in (LEARN2REG, PANCREAS_CT, KITS19, MSD_LIVER, MSD_PANCREAS, MSD_SPLEEN, NNUNET)
    },
)


def open_cohorts(places: dict[str, str | Path]) -> dict[str, Cohort]:
    """The cohorts in folders, ``{name: folder}`` with the names of :data:`ADAPTERS`.

    The cases' paths are absolute: whoever prepares them may work elsewhere. Raises :class:`InputError` for an unknown name
    and for a folder that is not laid out as that cohort.
    """
    for name in places:
        if name not in ADAPTERS:
            nearest = difflib.get_close_matches(name, list(ADAPTERS), n=1, cutoff=0.0)[0]
            raise SettingError(
                f"There is no cohort {name!r}; did you mean {nearest!r}? There are {', '.join(ADAPTERS)}."
            )
    return {name: ADAPTERS[name].open(Path(place).resolve()) for name, place in places.items()}

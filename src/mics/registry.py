"""Named things that others can add to: losses, networks, presets, similarities, cohorts, methods, readers of images."""

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from mics.errors import InputError

GROUP = "mics.plugins"
"""Entry points of this group name modules that register what a package adds; so the commands know it too."""

T = TypeVar("T")

_state = {"loaded": False}


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name: the package's own, and those that installed packages and callers have registered.

    Args:
        kind: What a sentence calls one of them.
        built_in: The package's own, which cannot be replaced.
    """

    def __init__(self, kind: str, built_in: Mapping[str, T]) -> None:
        self.kind = kind
        self._built_in = frozenset(built_in)
        self._entries = dict(built_in)

    def register(self, name: str, entry: T) -> None:
        """Add an entry, or replace one that was added.

        Args:
            name: By which it is asked for.
            entry: Of the kind that this registry holds.

        Raises:
            InputError: For a name of the package's own.
        """
        if name in self._built_in:
            raise InputError(f"MICS has a {self.kind} called {name!r} itself: give yours another name.")
        self._entries[name] = entry

    def find(self, name: str) -> T:
        """Look an entry up.

        Args:
            name: The package's own, or one that was registered.

        Returns:
            The entry.

        Raises:
            InputError: With all names, where there is none of that name.
        """
        if name not in self:
            raise InputError(f"There is no {self.kind} called {name!r}; choose one of {', '.join(self)}.")
        return self[name]

    def __getitem__(self, name: str) -> T:
        load_plugins()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(self._entries)

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)


def load_plugins() -> None:
    """Import, once a process, the modules that installed packages name in the group :data:`GROUP`.

    Raises :class:`InputError`, with the package's name, where one cannot be imported.
    """
    if _state["loaded"]:
        return
    _state["loaded"] = True  # from now on, as a module that is being imported may look something up
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            package = point.value if point.dist is None else point.dist.name
            raise InputError(
                f"The installed package {package} extends MICS and cannot be loaded ({error!r}): correct or uninstall it."
            ) from error
